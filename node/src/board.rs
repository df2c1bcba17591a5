//! What other threads can see of the consensus thread: where it stands, each height that it commits, and what happens inside one.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Mutex, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use consensus::RoundNote;
use host::{Committed, Status};
use tokio::sync::broadcast;
use types::{Address, Evidence, Height, Round};

/// Committed heights kept for a reader that is behind; one that is further behind misses some and is told so.
pub const COMMITTED_KEPT_MAX: usize = 256;

/// Happenings inside heights kept for a reader that is behind: a few rounds of a hundred validators.
pub const HAPPENED_KEPT_MAX: usize = 1024;

/// Contradictions that are remembered, so that each is told once.
const REMEMBERED_MAX: usize = 1024;

/// What happened inside a height.
#[derive(Clone, Debug)]
pub enum Happened {
    /// In a round.
    Round(RoundNote),
    /// A contradiction was seen, here or by a client, and verified.
    Evidence(Box<Evidence>),
}

/// The contradictions that were told last.
#[derive(Debug, Default)]
pub struct Told {
    places: BTreeSet<Place>,
    order: VecDeque<Place>,
}

/// What one validator contradicted itself in: its address, height, round and type of vote.
type Place = (Address, Height, Round, u8);

impl Told {
    /// Whether this one was not told yet; then it counts as told.
    pub fn is_news(&mut self, evidence: &Evidence) -> bool {
        let Evidence::DuplicateVote(double) = evidence;
        let vote = &double.vote_a.vote;
        let place = (vote.validator, vote.height, vote.round, vote.vote_type as u8);
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

/// Written by the consensus thread, read by any.
#[derive(Debug)]
pub struct Board {
    happened: broadcast::Sender<Arc<Happened>>,
    seen: RwLock<Seen>,
    committed: broadcast::Sender<Arc<Committed>>,
    told: Mutex<Told>,
}

#[derive(Debug)]
struct Seen {
    status: Arc<Status>,
    /// Since when height, round and step are these.
    step_since: Instant,
    last_block: Option<Instant>,
}

impl Board {
    /// A board that shows where the host stands at the start.
    pub fn new(status: Status) -> Self {
        let seen = Seen { status: Arc::new(status), step_since: Instant::now(), last_block: None };
        Self {
            happened: broadcast::Sender::new(HAPPENED_KEPT_MAX),
            seen: RwLock::new(seen),
            committed: broadcast::Sender::new(COMMITTED_KEPT_MAX),
            told: Mutex::default(),
        }
    }

    /// Where the host stands.
    pub fn status(&self) -> Arc<Status> {
        self.read().status.clone()
    }

    /// Where the host stands, and for how long in this step.
    pub fn status_since(&self) -> (Arc<Status>, Duration) {
        let seen = self.read();
        (seen.status.clone(), seen.step_since.elapsed())
    }

    /// When this process committed a height last; `None` before its first.
    pub fn last_block(&self) -> Option<Instant> {
        self.read().last_block
    }

    /// Heights committed from now on, in order. They are in the store and searchable before they are told here.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.committed.subscribe()
    }

    /// What happens inside heights from now on. While nobody holds such a receiver, nothing is noted.
    pub fn watch(&self) -> broadcast::Receiver<Arc<Happened>> {
        self.happened.subscribe()
    }

    /// Whether somebody watches what happens inside heights.
    pub(crate) fn is_watched(&self) -> bool {
        self.happened.receiver_count() > 0
    }

    /// Tells those who watch, if there are any.
    pub(crate) fn publish_happened(&self, happened: Happened) {
        if self.is_watched() {
            let _ = self.happened.send(Arc::new(happened)); // fails when the last one has just left
        }
    }

    /// Tells those who watch of a contradiction, whether it was seen here or sent by a client. False when it was told before.
    pub(crate) fn publish_evidence(&self, evidence: &Evidence) -> bool {
        let is_news = self.told.lock().expect("a thread that panics stops the process").is_news(evidence);
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
        let _ = self.committed.send(committed); // fails when nobody listens
    }

    fn read(&self) -> RwLockReadGuard<'_, Seen> {
        self.seen.read().expect("a thread that panics stops the process")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rpc::samples::{committed, status};

    /// Evidence of the same two votes, said to be of another height: only its place is looked at.
    fn evidence(height: u64) -> Evidence {
        let mut evidence = committed(7, &[]).block.evidence[0].clone();
        let Evidence::DuplicateVote(double) = &mut evidence;
        double.vote_a.vote.height = Height(height);
        evidence
    }

    #[test]
    fn what_was_seen_here_and_sent_by_a_client_is_news_once() {
        let board = Board::new(status());
        let mut watch = board.watch();
        assert!(board.publish_evidence(&evidence(5)), "seen here");
        assert!(!board.publish_evidence(&evidence(5)), "sent by a client");
        assert!(matches!(&*watch.try_recv().unwrap(), Happened::Evidence(_)) && watch.try_recv().is_err());
    }

    #[test]
    fn each_contradiction_is_told_once_and_few_are_remembered() {
        let mut told = Told::default();
        assert!(told.is_news(&evidence(1)) && !told.is_news(&evidence(1)));
        for height in 2..=REMEMBERED_MAX as u64 + 1 {
            assert!(told.is_news(&evidence(height)));
        }
        assert!(told.is_news(&evidence(1)), "it was forgotten");
        assert_eq!(told.places.len(), REMEMBERED_MAX);
    }
}
