//! The application at the tip, for proofs: read by any thread, changed by the host's.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use app::{App, StateUpdate, StateWay};

/// The application of a running host. Clones are the same application.
///
/// The host writes once a height; a reader holds it for the microseconds of a way through the tree, and no row is read meanwhile.
#[derive(Clone)]
pub struct LiveApp(Arc<RwLock<App>>);

impl LiveApp {
    /// Shares an application.
    pub fn new(app: App) -> Self {
        Self(Arc::new(RwLock::new(app)))
    }

    /// The part of a proof about a raw key that is in memory, at the tip.
    pub fn way_to(&self, key: &[u8]) -> StateWay {
        self.read().way_to(key)
    }

    /// The application as it is now. Let go of it soon: the host waits to commit.
    pub fn read(&self) -> RwLockReadGuard<'_, App> {
        self.0.read().expect("a thread that panics stops the process")
    }

    /// As [`App::commit`].
    pub fn commit(&self, update: StateUpdate) {
        self.0.write().expect("a thread that panics stops the process").commit(update);
    }
}
