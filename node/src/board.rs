//! What other threads can see of the consensus thread: where it stands, and each height that it commits.

use std::{
    sync::{Arc, RwLock, RwLockReadGuard},
    time::Instant,
};

use host::{Committed, Status};
use tokio::sync::broadcast;

/// Committed heights kept for a reader that is behind; one that is further behind misses some and is told so.
pub const COMMITTED_KEPT_MAX: usize = 256;

/// Written by the consensus thread, read by any.
#[derive(Debug)]
pub struct Board {
    seen: RwLock<Seen>,
    committed: broadcast::Sender<Arc<Committed>>,
}

#[derive(Debug)]
struct Seen {
    status: Arc<Status>,
    last_block: Option<Instant>,
}

impl Board {
    /// A board that shows where the host stands at the start.
    pub fn new(status: Status) -> Self {
        let seen = Seen { status: Arc::new(status), last_block: None };
        Self { seen: RwLock::new(seen), committed: broadcast::Sender::new(COMMITTED_KEPT_MAX) }
    }

    /// Where the host stands.
    pub fn status(&self) -> Arc<Status> {
        self.read().status.clone()
    }

    /// When this process committed a height last; `None` before its first.
    pub fn last_block(&self) -> Option<Instant> {
        self.read().last_block
    }

    /// Heights committed from now on, in order. They are in the store and searchable before they are told here.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Committed>> {
        self.committed.subscribe()
    }

    pub(crate) fn publish_status(&self, status: Status) -> Arc<Status> {
        let status = Arc::new(status);
        self.seen.write().expect("a thread that panics stops the process").status = status.clone();
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
