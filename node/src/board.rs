//! What other threads can see of the consensus thread: where it stands, each height that it commits, and what happens inside one.

use std::{
    sync::{Arc, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use consensus::RoundNote;
use host::{Committed, Status};
use tokio::sync::broadcast;
use types::Evidence;

/// Committed heights kept for a reader that is behind; one that is further behind misses some and is told so.
pub const COMMITTED_KEPT_MAX: usize = 256;

/// Happenings inside heights kept for a reader that is behind: a few rounds of a hundred validators.
pub const HAPPENED_KEPT_MAX: usize = 1024;

/// What happened inside a height.
#[derive(Clone, Debug)]
pub enum Happened {
    /// In a round.
    Round(RoundNote),
    /// A contradiction was seen, here or by a client, and verified.
    Evidence(Box<Evidence>),
}

/// Written by the consensus thread, read by any.
#[derive(Debug)]
pub struct Board {
    happened: broadcast::Sender<Arc<Happened>>,
    seen: RwLock<Seen>,
    committed: broadcast::Sender<Arc<Committed>>,
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
