//! Checks the consensus messages of peers on a thread of their own: votes, proposals, certificates, parts, round states
//! and evidence. The queue is fair between peers and bounded in bytes per peer and in total; what does not fit is
//! dropped and counted, and the repetitions of peers repair it.
//!
//! Messages are also rated by their signatures, and one without a signature as one: messages of a peer beyond
//! [`SIGNATURES_PER_SECOND`] are dropped, and the peer gets a penalty.

use std::{
    collections::BTreeMap,
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use p2p::{Network, NodeId};
use replica::{Checked, Input, Offence, Verifier};
use types::{PeerMessage, Wire};

use super::{bucket::Bucket, fair::FairQueue};
use crate::{
    clock::time_of,
    inbox::Inbox,
    metrics::{Metrics, message_type},
    os,
    penalty::penalize,
};

/// Maximum bytes of one peer's queued messages: the parts of the largest block, with a reserve.
const BYTES_PER_PEER_MAX: usize = 20 << 20;
/// Maximum bytes of all peers' queued messages.
const BYTES_MAX: usize = 64 << 20;

/// Maximum rate of signature checks for the messages of one peer, per second: the votes of 5,000 / (2 · n) heights with
/// n validators. A message without a signature counts as one: the hash of a part takes half as long as a check, and each round
/// state is work for the consensus thread.
pub const SIGNATURES_PER_SECOND: u32 = 5_000;
/// Maximum signature checks that a peer may save up for a burst: certificates of a few rounds of the largest set.
pub const SIGNATURES_BURST: u32 = 10_000;

/// Minimum interval between two flood penalties for one peer.
const FLOOD_PENALTY_INTERVAL: Duration = Duration::from_secs(1);

/// The queue of messages, and what their check needs.
pub(super) struct Messages {
    verifier: Verifier,
    network: Network,
    inbox: Arc<Inbox>,
    metrics: Arc<Metrics>,
    queue: Mutex<Queue>,
    work: Condvar,
}

struct Queue {
    waiting: FairQueue<NodeId, Message>,
    /// The rate of each connected peer.
    rates: BTreeMap<NodeId, Rate>,
    is_closed: bool,
    /// The thread sleeps. A notification is a system call, so none is sent while it works.
    sleeps: bool,
}

struct Message {
    bytes: Vec<u8>,
    received: SystemTime,
}

struct Rate {
    bucket: Bucket,
    penalized: Option<Instant>,
}

impl Messages {
    /// Creates an empty queue that no thread works on yet.
    pub(super) fn new(verifier: Verifier, network: Network, inbox: Arc<Inbox>, metrics: Arc<Metrics>) -> Self {
        let queue = Queue {
            waiting: FairQueue::new(BYTES_PER_PEER_MAX, BYTES_MAX),
            rates: BTreeMap::new(),
            is_closed: false,
            sleeps: false,
        };
        Self { verifier, network, inbox, metrics, queue: Mutex::new(queue), work: Condvar::new() }
    }

    /// Starts the thread that checks the messages. It ends after [`Self::close`].
    pub(super) fn start(self: &Arc<Self>) -> JoinHandle<()> {
        let this = self.clone();
        let work = move || {
            os::prefer_latency();
            while let Some((peer, message)) = this.next() {
                this.check(peer, message);
            }
        };
        std::thread::Builder::new().name("verify-messages".to_owned()).spawn(work).expect("a thread can be started")
    }

    /// Ends the thread after the message that it checks. Queued messages are dropped.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.work.notify_all();
    }

    /// Prepares for the messages of a peer that has connected.
    pub(super) fn expect(&self, peer: NodeId) {
        let bucket = Bucket::new(SIGNATURES_PER_SECOND, SIGNATURES_BURST, Instant::now());
        self.lock().rates.insert(peer, Rate { bucket, penalized: None });
    }

    /// Queues a message of a connected peer. Returns false if it does not fit and was dropped. Never blocks.
    pub(super) fn push(&self, peer: NodeId, bytes: Vec<u8>, received: SystemTime) -> bool {
        let size = bytes.len();
        let mut queue = self.lock();
        let fits = queue.waiting.push(peer, size, Message { bytes, received });
        let sleeps = queue.sleeps;
        drop(queue);
        if sleeps {
            self.work.notify_one();
        }
        fits
    }

    /// Drops the rate and the messages of a peer that has disconnected: the replica would take none of them.
    pub(super) fn forget(&self, peer: NodeId) {
        let mut queue = self.lock();
        queue.rates.remove(&peer);
        queue.waiting.forget(&peer);
    }

    /// Returns the number of queued messages.
    pub(super) fn queued(&self) -> usize {
        self.lock().waiting.len()
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("a thread that panics stops the process")
    }

    /// Waits for a message and returns it; `None` when the queue is closed.
    fn next(&self) -> Option<(NodeId, Message)> {
        let mut queue = self.lock();
        loop {
            if queue.is_closed {
                return None;
            }
            if let Some(next) = queue.waiting.pop() {
                return Some(next);
            }
            queue.sleeps = true;
            queue = self.work.wait(queue).expect("a thread that panics stops the process");
            queue.sleeps = false;
        }
    }

    fn check(&self, peer: NodeId, message: Message) {
        let metrics = &self.metrics;
        let begun = Instant::now();
        let waited = message.received.elapsed().unwrap_or_default();
        metrics.verify.wait_seconds.with_label_values(&["message"]).observe(waited.as_secs_f64());
        let checked = match PeerMessage::decode(&message.bytes) {
            Ok(decoded) => {
                let kind = message_type(&decoded);
                metrics.p2p.messages_received.with_label_values(&[kind, "consensus"]).inc();
                metrics.p2p.message_receive_bytes_total.with_label_values(&[kind]).inc_by(message.bytes.len() as u64);
                if !self.may_check(peer, signatures_in(&decoded)) {
                    return;
                }
                metrics.verify.messages_total.with_label_values(&[kind]).inc();
                let checked = self.verifier.check(decoded);
                if matches!(checked, Checked::Vote(_) | Checked::Proposal(_)) {
                    // A validator signed it, so the peer is a validator or is connected to one.
                    self.network.prove(NodeId(peer.0));
                }
                checked
            }
            Err(error) => Checked::Bad(Offence::Malformed(error.to_string())),
        };
        metrics.verify.message_seconds.observe(begun.elapsed().as_secs_f64());
        let received = time_of(message.received);
        self.inbox.push(Input::Message { peer, message: checked, received });
    }

    /// Takes signature checks from the peer's budget; returns false if the budget is used up, or the peer has disconnected.
    fn may_check(&self, peer: NodeId, signatures: usize) -> bool {
        let now = Instant::now();
        let mut queue = self.lock();
        let Some(rate) = queue.rates.get_mut(&peer) else { return false };
        if rate.bucket.take(now, signatures as u32) {
            return true;
        }
        let is_first = rate.penalized.is_none_or(|at| now - at >= FLOOD_PENALTY_INTERVAL);
        if is_first {
            rate.penalized = Some(now);
        }
        drop(queue);
        self.metrics.verify.dropped_total.with_label_values(&["flood"]).inc();
        if is_first {
            let offence =
                Offence::Flood(format!("more than {SIGNATURES_PER_SECOND} signatures and other messages per second"));
            penalize(&self.network, peer, &offence);
        }
        false
    }
}

/// Returns the number of signatures in a message that have to be checked, or 1 if there are none.
fn signatures_in(message: &PeerMessage) -> usize {
    match message {
        PeerMessage::Certificate(certificate) => certificate.votes().len(),
        PeerMessage::Evidence(evidence) => evidence.signatures().max(1),
        PeerMessage::Proposal(_) | PeerMessage::Vote(_) | PeerMessage::Part { .. } | PeerMessage::RoundState(_) => 1,
    }
}
