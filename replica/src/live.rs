//! The application at the tip, for proofs: any thread reads it, only the replica's thread changes it.

use std::sync::{Arc, RwLock, RwLockReadGuard};

use app::{App, StateUpdate};
use storage::{Kv, Store, StoreError};

/// Number of changed hashes of trees after which they are stored: a batch of some ten milliseconds.
const STORED_NODES: usize = 8192;

/// Number of heights after which the hashes of trees are stored, so that they stay within the kept heights.
const STORED_HEIGHTS: u64 = 16;

/// Shared handle to the application of a running replica. Clones refer to the same application.
///
/// The replica writes once per height. A reader holds the lock for the microseconds of a path through the tree, and reads
/// no row of the store in that time.
#[derive(Clone)]
pub struct LiveApp(Arc<RwLock<App>>);

impl LiveApp {
    /// Creates a shared handle to an application.
    pub fn new(app: App) -> Self {
        Self(Arc::new(RwLock::new(app)))
    }

    /// Returns the application at the tip. Drop the guard soon: the replica waits for it before a commit.
    pub fn read(&self) -> RwLockReadGuard<'_, App> {
        self.0.read().expect("a thread that panics stops the process")
    }

    /// Applies a state update, as [`App::commit`] does.
    pub fn commit(&self, update: StateUpdate) {
        self.0.write().expect("a thread that panics stops the process").commit(update);
    }

    /// Stores the hashes of the trees that changed, if they are many or some heights old; always if `all` is true. Call
    /// it after commits, from one thread; the replica does not wait for the write.
    ///
    /// Errors: `Damaged` or `Io` when the write fails; the caller must stop.
    pub fn store_trees<K: Kv>(&self, store: &Store<K>, all: bool) -> Result<(), StoreError> {
        let (nodes, heights) = if all { (1, 1) } else { (STORED_NODES, STORED_HEIGHTS) };
        let taken = self.0.write().expect("a thread that panics stops the process").take_changed(nodes, heights);
        taken.map_or(Ok(()), |(height, nodes)| store.update_trees(height, nodes.rows()))
    }
}
