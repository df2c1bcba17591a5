//! One connected peer: its send queues and its counters.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use libp2p::bytes::Bytes;
use tokio::sync::{Semaphore, mpsc};

use crate::limits::*;
use crate::stats::Counter;
use crate::{NodeId, PeerAddress};

/// An ordered stream of messages to each peer. The channels do not delay each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Small urgent messages: proposals, votes, certificates, round states. At most [`CONSENSUS_FRAME_BYTES_MAX`] bytes
    /// each.
    Consensus,
    /// Block parts of at most [`PARTS_FRAME_BYTES_MAX`] bytes each.
    Parts,
}

impl Channel {
    /// All channels, in the order of their indices.
    pub const ALL: [Channel; 2] = [Channel::Consensus, Channel::Parts];

    /// Returns the maximum size of a message, in bytes.
    pub const fn bytes_max(self) -> usize {
        match self {
            Channel::Consensus => CONSENSUS_FRAME_BYTES_MAX,
            Channel::Parts => PARTS_FRAME_BYTES_MAX,
        }
    }

    /// Returns the name of the channel for labels.
    pub const fn name(self) -> &'static str {
        match self {
            Channel::Consensus => "consensus",
            Channel::Parts => "parts",
        }
    }
}

/// Description of a connected peer for users and dashboards.
#[derive(Clone, Debug)]
pub struct PeerInfo {
    /// Id that the peer has proved.
    pub id: NodeId,
    /// Name that the peer gives itself: at most [`TEXT_BYTES_MAX`] bytes, no control characters.
    pub moniker: String,
    /// Software version that the peer reports; bounded like the moniker.
    pub version: String,
    /// libp2p address of the other end of the connection.
    pub remote: String,
    /// Address at which other nodes can dial the peer, if it reports one.
    pub address: Option<PeerAddress>,
    /// True if this node dialled the peer.
    pub is_outbound: bool,
    /// True if the peer is one of our persistent peers.
    pub is_persistent: bool,
    /// Time at which the peer was accepted.
    pub since: SystemTime,
    /// Counters per channel, in the order of [`Channel::ALL`].
    pub channels: [ChannelInfo; 2],
    /// Round trip time of the last ping.
    pub rtt: Option<Duration>,
    /// Current sum of its penalties: 0 is good, a peer is banned at [`crate::BAN_AT`].
    pub penalties: f64,
}

/// Counters of one channel of one peer, since the peer was accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelInfo {
    /// Payload bytes that were received.
    pub bytes_in: u64,
    /// Messages that were received.
    pub messages_in: u64,
    /// Payload bytes that were written to the stream.
    pub bytes_out: u64,
    /// Messages that were written to the stream.
    pub messages_out: u64,
    /// Bytes that currently wait to be written.
    pub queued_bytes: u64,
    /// Messages that currently wait to be written.
    pub queued_messages: u64,
    /// Messages that were dropped because the queue was full.
    pub dropped: u64,
}

/// One connected peer, shared by the handle (sends), its connection (writes, reads) and the swarm task.
#[derive(Debug)]
pub(crate) struct ConnectedPeer {
    pub(crate) id: NodeId,
    /// Number of this connection in this run of the node; events of an older connection are dropped.
    pub(crate) link: u64,
    pub(crate) moniker: String,
    pub(crate) version: String,
    pub(crate) remote: String,
    pub(crate) address: Option<PeerAddress>,
    pub(crate) is_outbound: bool,
    pub(crate) is_persistent: bool,
    pub(crate) since: SystemTime,
    pub(crate) since_instant: Instant,
    lanes: [Lane; 2],
    rtt_us: AtomicU64,
    is_proven: AtomicBool,
    /// Bytes of this peer's messages that may still be queued for the consumer.
    pub(crate) quota: Arc<Semaphore>,
}

/// One channel of a peer: the sending half of its queue, and its counters.
#[derive(Debug)]
pub(crate) struct Lane {
    sender: mpsc::UnboundedSender<Bytes>,
    queued_bytes: AtomicUsize,
    queued_messages: AtomicUsize,
    dropped: Counter,
    bytes_in: Counter,
    messages_in: Counter,
    bytes_out: Counter,
    messages_out: Counter,
}

/// The properties that are known about a peer when it is accepted.
pub(crate) struct PeerFacts {
    pub(crate) id: NodeId,
    pub(crate) link: u64,
    pub(crate) moniker: String,
    pub(crate) version: String,
    pub(crate) remote: String,
    pub(crate) address: Option<PeerAddress>,
    pub(crate) is_outbound: bool,
    pub(crate) is_persistent: bool,
    pub(crate) is_proven: bool,
}

/// The receiving halves of a peer's queues, in the order of [`Channel::ALL`].
pub(crate) type LaneReceivers = [mpsc::UnboundedReceiver<Bytes>; 2];

impl ConnectedPeer {
    pub(crate) fn new(facts: PeerFacts) -> (Arc<ConnectedPeer>, LaneReceivers) {
        let PeerFacts { id, link, moniker, version, remote, address, is_outbound, is_persistent, is_proven } = facts;
        let ((consensus, consensus_receiver), (parts, parts_receiver)) = (Lane::new(), Lane::new());
        let peer = ConnectedPeer {
            id,
            link,
            moniker,
            version,
            remote,
            address,
            is_outbound,
            is_persistent,
            since: SystemTime::now(),
            since_instant: Instant::now(),
            lanes: [consensus, parts],
            rtt_us: AtomicU64::new(u64::MAX),
            is_proven: AtomicBool::new(is_proven),
            quota: Arc::new(Semaphore::new(EVENT_BYTES_PER_PEER_MAX)),
        };
        (Arc::new(peer), [consensus_receiver, parts_receiver])
    }

    pub(crate) fn lane(&self, channel: Channel) -> &Lane {
        &self.lanes[channel as usize]
    }

    /// Marks the peer as proven. Returns true the first time.
    pub(crate) fn prove(&self) -> bool {
        !self.is_proven.load(Ordering::Relaxed) && !self.is_proven.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn set_rtt(&self, rtt: Duration) {
        self.rtt_us.store(rtt.as_micros().min(u128::from(u64::MAX - 1)) as u64, Ordering::Relaxed);
    }

    pub(crate) fn info(&self, penalties: f64) -> PeerInfo {
        let rtt_us = self.rtt_us.load(Ordering::Relaxed);
        PeerInfo {
            id: self.id,
            moniker: self.moniker.clone(),
            version: self.version.clone(),
            remote: self.remote.clone(),
            address: self.address.clone(),
            is_outbound: self.is_outbound,
            is_persistent: self.is_persistent,
            since: self.since,
            channels: Channel::ALL.map(|channel| self.lane(channel).info()),
            rtt: (rtt_us != u64::MAX).then_some(Duration::from_micros(rtt_us)),
            penalties,
        }
    }
}

impl Lane {
    fn new() -> (Lane, mpsc::UnboundedReceiver<Bytes>) {
        // The channel itself is unbounded; `push` keeps the bounds, by count and by bytes.
        let (sender, receiver) = mpsc::unbounded_channel();
        let lane = Lane {
            sender,
            queued_bytes: AtomicUsize::new(0),
            queued_messages: AtomicUsize::new(0),
            dropped: Counter::default(),
            bytes_in: Counter::default(),
            messages_in: Counter::default(),
            bytes_out: Counter::default(),
            messages_out: Counter::default(),
        };
        (lane, receiver)
    }

    /// Queues a message. Drops and counts it if the queue is full or the connection has ended. Never blocks.
    pub(crate) fn push(&self, message: Bytes) -> bool {
        let bytes = message.len();
        let messages_before = self.queued_messages.fetch_add(1, Ordering::Relaxed);
        let bytes_before = self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        let fits = messages_before < SEND_QUEUE_MESSAGES_MAX && bytes_before + bytes <= SEND_QUEUE_BYTES_MAX;
        if fits && self.sender.send(message).is_ok() {
            return true;
        }
        self.queued_messages.fetch_sub(1, Ordering::Relaxed);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.dropped.add(1);
        false
    }

    /// Records that queued messages were written to the stream.
    pub(crate) fn on_written(&self, messages: usize, bytes: usize) {
        self.queued_messages.fetch_sub(messages, Ordering::Relaxed);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
        self.messages_out.add(messages as u64);
        self.bytes_out.add(bytes as u64);
    }

    /// Records that a message was read from the stream.
    pub(crate) fn on_read(&self, bytes: usize) {
        self.messages_in.add(1);
        self.bytes_in.add(bytes as u64);
    }

    fn info(&self) -> ChannelInfo {
        ChannelInfo {
            bytes_in: self.bytes_in.get(),
            messages_in: self.messages_in.get(),
            bytes_out: self.bytes_out.get(),
            messages_out: self.messages_out.get(),
            queued_bytes: self.queued_bytes.load(Ordering::Relaxed) as u64,
            queued_messages: self.queued_messages.load(Ordering::Relaxed) as u64,
            dropped: self.dropped.get(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_bounded_by_count_and_by_bytes() {
        let (lane, mut receiver) = Lane::new();
        for _ in 0..SEND_QUEUE_MESSAGES_MAX {
            assert!(lane.push(Bytes::from_static(b"x")));
        }
        assert!(!lane.push(Bytes::from_static(b"x")));
        assert_eq!((lane.info().queued_messages, lane.info().dropped), (SEND_QUEUE_MESSAGES_MAX as u64, 1));
        receiver.try_recv().unwrap();
        lane.on_written(1, 1);
        assert!(lane.push(Bytes::from_static(b"x")));

        let (lane, receiver) = Lane::new();
        let large = Bytes::from(vec![0; CONSENSUS_FRAME_BYTES_MAX]);
        let fitting = SEND_QUEUE_BYTES_MAX / CONSENSUS_FRAME_BYTES_MAX;
        assert_eq!((0..2 * fitting).filter(|_| lane.push(large.clone())).count(), fitting);
        drop(receiver);
        assert!(!lane.push(Bytes::new()), "the connection has gone");
    }
}
