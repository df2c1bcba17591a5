//! The ordered stream of events that the network delivers to its consumer.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::control::Refusal;
use crate::gossip::GossipId;
use crate::requests::RequestId;
use crate::{Channel, NodeId, PeerInfo};

/// An event on the network.
#[derive(Debug)]
pub enum Event {
    /// A peer is connected and accepted. This is the first event of the connection.
    Up {
        /// The peer, with all its counters at zero.
        peer: PeerInfo,
    },
    /// A peer is no longer connected. This is the last event of the connection.
    Down {
        /// Id of the lost peer.
        peer: NodeId,
        /// Why the connection ended.
        reason: DownReason,
    },
    /// A message on a direct stream. Messages of one peer and channel come in the order they were sent.
    Message {
        /// Peer that sent the message.
        peer: NodeId,
        /// Channel on which the message arrived.
        channel: Channel,
        /// The bytes that the peer passed to `send`.
        bytes: Vec<u8>,
        /// Time at which the last byte was read.
        received: SystemTime,
    },
    /// A gossiped batch. It is forwarded only after `Network::verdict(id, Verdict::Accept)`.
    Txs {
        /// Peer that forwarded the batch to us, not necessarily its author.
        from: NodeId,
        /// Id to pass to `Network::verdict`.
        id: GossipId,
        /// The bytes that the author passed to `publish`.
        bytes: Vec<u8>,
    },
    /// A request of a peer. It is answered with `Network::respond`; without an answer, the requester times out.
    Request {
        /// Peer that sent the request.
        peer: NodeId,
        /// Id to pass to `Network::respond`.
        id: RequestId,
        /// The bytes that the peer passed to `request`.
        bytes: Vec<u8>,
    },
    /// A connection did not become a peer, because one side refused it. For logs: the event may be lost if the consumer
    /// is behind.
    Refused {
        /// Id of the other node, if known.
        peer: Option<NodeId>,
        /// The address that was dialled, or the address of the other end.
        address: String,
        /// True if we refused the connection or detected the error; false if the other side did.
        by_us: bool,
        /// Reason of the refusal.
        refusal: Refusal,
    },
}

/// The reason why a peer is no longer connected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The other side closed the connection, or the transport broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// The peer did not answer pings.
    #[error("pings were not answered")]
    Silent,
    /// The peer restarted and connected again before we noticed that the old connection was broken.
    #[error("replaced by a newer connection")]
    Replaced,
    /// The peer is banned for an offence.
    #[error("banned: the peer {0}")]
    Banned(&'static str),
    /// This node ended the connection because its consumer asked for it.
    #[error("disconnected by us")]
    Disconnected,
}

/// A queued event, with the part of the byte quota that is released when the event is taken.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) event: Event,
    /// Number of the connection that the event belongs to.
    pub(crate) link: u64,
    /// Share of the peer's byte quota that the event occupies.
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// The stream of events. The consumer must take them promptly: when the queue is full, reading from peers stops.
///
/// Invariant: for each peer the consumer receives `Up (Message | Txs | Request)* Down`, repeated. Connections run in
/// parallel, so a late event of a connection that is already down is dropped here.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Item>,
    up: BTreeMap<NodeId, u64>,
}

impl Events {
    pub(crate) fn new(receiver: mpsc::Receiver<Item>) -> Events {
        Events { receiver, up: BTreeMap::new() }
    }

    /// Waits for the next event. Returns `None` when the network has shut down.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            let item = self.receiver.recv().await?;
            if let Some(event) = self.admit(item) {
                return Some(event);
            }
        }
    }

    /// Waits for the next event on a plain thread. Returns `None` when the network has shut down.
    ///
    /// Panics inside an async task, like the blocking calls of tokio.
    pub fn blocking_recv(&mut self) -> Option<Event> {
        loop {
            let item = self.receiver.blocking_recv()?;
            if let Some(event) = self.admit(item) {
                return Some(event);
            }
        }
    }

    /// Returns the next event if one is queued.
    pub fn try_recv(&mut self) -> Option<Event> {
        loop {
            let item = self.receiver.try_recv().ok()?;
            if let Some(event) = self.admit(item) {
                return Some(event);
            }
        }
    }

    fn admit(&mut self, item: Item) -> Option<Event> {
        let is_current = |peer: &NodeId| self.up.get(peer) == Some(&item.link);
        let admitted = match &item.event {
            Event::Up { peer } => {
                self.up.insert(peer.id, item.link);
                true
            }
            Event::Down { peer, .. } => self.up.remove(peer).is_some(),
            Event::Message { peer, .. } | Event::Request { peer, .. } => is_current(peer),
            Event::Txs { from, .. } => is_current(from),
            Event::Refused { .. } => true,
        };
        admitted.then_some(item.event)
    }
}
