//! Publishes the state of the consensus thread to other threads: its status, each height that it commits, and events
//! inside a height.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use replica::{Committed, Status};
use rpc::Happened;
use tokio::sync::broadcast;
use types::{Address, Evidence, Height, Round};

/// Maximum number of committed heights kept for a slow reader. A reader that is further behind misses some and receives
/// an error.
pub const COMMITTED_KEPT_MAX: usize = 256;

/// Maximum number of events inside heights kept for a slow reader: a few rounds of a hundred validators.
pub const HAPPENED_KEPT_MAX: usize = 1024;

/// Maximum number of double signs and attacks on light clients that are remembered, so that each is reported once.
const REMEMBERED_MAX: usize = 1024;

/// The double signs and attacks on light clients that were reported last.
#[derive(Debug, Default)]
pub struct ReportedEvidence {
    places: BTreeSet<Place>,
    order: VecDeque<Place>,
}

/// Identity of a double sign: the validator's address, the height, the round and the type of vote. That of an attack: the
/// start of its hash, the height, and two zeros.
type Place = (Address, Height, Round, u8);

impl ReportedEvidence {
    /// Returns true if this evidence was not reported yet, and remembers it as reported.
    pub fn is_news(&mut self, evidence: &Evidence) -> bool {
        let (height, name) = evidence.key();
        let place = match evidence {
            Evidence::DuplicateVote(double) => {
                (name, height, double.vote_a.vote.round, double.vote_a.vote.vote_type as u8)
            }
            Evidence::LightClientAttack(_) => (name, height, Round::ZERO, 0),
        };
        if !self.places.insert(place) {
            return false;
        }
        self.order.push_back(place);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.places.remove(&oldest);
        }
        true
    }
}

/// The shared state that the consensus thread writes and any thread reads.
#[derive(Debug)]
pub struct Board {
    happened: broadcast::Sender<Arc<Happened>>,
    seen: RwLock<Seen>,
    committed: broadcast::Sender<Arc<Committed>>,
    reported: Mutex<ReportedEvidence>,
}

#[derive(Debug)]
struct Seen {
    status: Arc<Status>,
    /// When the replica entered the current height, round and step.
    step_since: Instant,
    last_block: Option<Instant>,
}

impl Board {
    /// Creates a board that shows the replica's status at the start.
    pub fn new(status: Status) -> Self {
        let seen = Seen { status: Arc::new(status), step_since: Instant::now(), last_block: None };
        Self {
            happened: broadcast::Sender::new(HAPPENED_KEPT_MAX),
            seen: RwLock::new(seen),
            committed: broadcast::Sender::new(COMMITTED_KEPT_MAX),
            reported: Mutex::default(),
        }
    }

    /// Returns the last published status of the replica.
    pub fn status(&self) -> Arc<Status> {
        self.read().status.clone()
    }

    /// Returns the status of the replica and the time that it has spent in the current step.
    pub fn status_since(&self) -> (Arc<Status>, Duration) {
        let seen = self.read();
        (seen.status.clone(), seen.step_since.elapsed())
    }

    /// Returns when this process last committed a height; `None` before its first commit.
    pub fn last_block(&self) -> Option<Instant> {
        self.read().last_block
    }

    /// Subscribes to the heights that are committed from now on, in order. Each is stored and searchable before it is
    /// published here.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.committed.subscribe()
    }

    /// Subscribes to events inside heights from now on. While there is no subscriber, the replica records no events.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Happened>> {
        self.happened.subscribe()
    }

    /// Returns true if events inside heights have at least one subscriber.
    pub(crate) fn is_watched(&self) -> bool {
        self.happened.receiver_count() > 0
    }

    /// Publishes an event inside a height to its subscribers, if there are any.
    pub(crate) fn publish_happened(&self, happened: Happened) {
        if self.is_watched() {
            let _ = self.happened.send(Arc::new(happened)); // fails when the last subscriber has just left
        }
    }

    /// Publishes a double sign that was seen here or sent by a client. Returns false if it was published before.
    pub(crate) fn publish_evidence(&self, evidence: &Evidence) -> bool {
        let is_news = self.reported.lock().expect("a thread that panics stops the process").is_news(evidence);
        if is_news {
            self.publish_happened(Happened::Evidence(Box::new(evidence.clone())));
        }
        is_news
    }

    pub(crate) fn publish_status(&self, status: Status) -> Arc<Status> {
        let status = Arc::new(status);
        let mut seen = self.seen.write().expect("a thread that panics stops the process");
        let place = |status: &Status| (status.height, status.round, status.step);
        if place(&seen.status) != place(&status) {
            seen.step_since = Instant::now();
        }
        seen.status = status.clone();
        status
    }

    pub(crate) fn publish_committed(&self, committed: Arc<Committed>) {
        self.seen.write().expect("a thread that panics stops the process").last_block = Some(Instant::now());
        let _ = self.committed.send(committed); // fails when there is no subscriber
    }

    fn read(&self) -> RwLockReadGuard<'_, Seen> {
        self.seen.read().expect("a thread that panics stops the process")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples::{committed, status};

    /// Returns evidence with the same two votes but another claimed height: the board looks only at the identity of the
    /// double sign.
    fn evidence(height: u64) -> Evidence {
        let mut evidence = committed(7, &[]).block.evidence[0].clone();
        let Evidence::DuplicateVote(double) = &mut evidence else { panic!("the sample is a double sign") };
        double.vote_a.vote.height = Height(height);
        evidence
    }

    #[test]
    fn evidence_seen_here_and_sent_by_a_client_is_published_once() {
        let board = Board::new(status());
        let mut watch = board.watch();
        assert!(board.publish_evidence(&evidence(5)), "seen here");
        assert!(!board.publish_evidence(&evidence(5)), "sent by a client");
        assert!(matches!(&*watch.try_recv().unwrap(), Happened::Evidence(_)) && watch.try_recv().is_err());
    }

    #[test]
    fn each_evidence_is_reported_once_and_few_are_remembered() {
        let mut reported = ReportedEvidence::default();
        assert!(reported.is_news(&evidence(1)) && !reported.is_news(&evidence(1)));
        for height in 2..=REMEMBERED_MAX as u64 + 1 {
            assert!(reported.is_news(&evidence(height)));
        }
        assert!(reported.is_news(&evidence(1)), "it was forgotten");
        assert_eq!(reported.places.len(), REMEMBERED_MAX);
    }
}
