//! What the network tells its consumer, in order.

use std::collections::BTreeMap;
use std::time::SystemTime;

use tokio::sync::{OwnedSemaphorePermit, mpsc};

use crate::control::Refusal;
use crate::gossip::GossipId;
use crate::requests::RequestId;
use crate::{Channel, NodeId, PeerInfo};

/// Something that happened on the network.
#[derive(Debug)]
pub enum Event {
    /// A peer is connected and accepted. Comes before anything else of this connection.
    Up {
        /// The peer, with its numbers still at zero.
        peer: PeerInfo,
    },
    /// The peer is connected no more. Nothing of this connection comes after.
    Down {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: DownReason,
    },
    /// A message on a direct stream. Messages of one peer and channel come in the order they were sent.
    Message {
        /// Sender.
        peer: NodeId,
        /// Stream it came on.
        channel: Channel,
        /// What was handed to `send`.
        bytes: Vec<u8>,
        /// When its last byte was read.
        received: SystemTime,
    },
    /// A gossiped batch. It is forwarded only after `Network::verdict(id, Verdict::Accept)`.
    Txs {
        /// Who forwarded it to us; not necessarily its author.
        from: NodeId,
        /// Name for the verdict.
        id: GossipId,
        /// What was handed to `publish`.
        bytes: Vec<u8>,
    },
    /// A question. Answer with `Network::respond`, or let it run into the asker's time-out.
    Request {
        /// Asker.
        peer: NodeId,
        /// Name for the response.
        id: RequestId,
        /// What was handed to `request`.
        bytes: Vec<u8>,
    },
    /// A connection did not become a peer, by our or by their choice. For logs: may be lost when the consumer is behind.
    Refused {
        /// Who, when known.
        peer: Option<NodeId>,
        /// Where: the address dialled, or the other end.
        address: String,
        /// We refused (or noticed); otherwise they did.
        by_us: bool,
        /// Why.
        refusal: Refusal,
    },
}

/// Why a peer is connected no more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DownReason {
    /// The other side closed the connection, or the transport broke.
    #[error("connection lost: {0}")]
    Lost(String),
    /// Pings stayed without answer.
    #[error("pings stayed without answer")]
    Silent,
    /// The peer restarted and came back on a new connection before the old one was seen to break.
    #[error("replaced by a newer connection")]
    Replaced,
    /// Banned for what it did.
    #[error("banned: the peer {0}")]
    Banned(&'static str),
    /// We asked for it.
    #[error("disconnected by us")]
    Disconnected,
}

/// An event on its way, with what must be given back when it is taken.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) event: Event,
    /// Number of the connection it belongs to.
    pub(crate) link: u64,
    /// Share of the peer's byte quota.
    pub(crate) _permit: Option<OwnedSemaphorePermit>,
}

/// The stream of events. Take them promptly: when it is full, reading from peers stops.
///
/// Invariant: for each peer the consumer sees `Up (Message | Txs | Request)* Down`, over and over. Connections run in
/// parallel, so what is late (from a connection that went down meanwhile) is dropped here.
#[derive(Debug)]
pub struct Events {
    receiver: mpsc::Receiver<Item>,
    up: BTreeMap<NodeId, u64>,
}

impl Events {
    pub(crate) fn new(receiver: mpsc::Receiver<Item>) -> Events {
        Events { receiver, up: BTreeMap::new() }
    }

    /// The next event. `None` when the network has shut down.
    pub async fn recv(&mut self) -> Option<Event> {
        loop {
            let item = self.receiver.recv().await?;
            if let Some(event) = self.admit(item) {
                return Some(event);
            }
        }
    }

    /// The next event, for a plain thread. `None` when the network has shut down.
    ///
    /// Panics inside an async task, as tokio's blocking calls do.
    pub fn blocking_recv(&mut self) -> Option<Event> {
        loop {
            let item = self.receiver.blocking_recv()?;
            if let Some(event) = self.admit(item) {
                return Some(event);
            }
        }
    }

    /// The next event if there is one.
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
