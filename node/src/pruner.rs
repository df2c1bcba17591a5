//! Deletes data that need not be kept, on a thread with low priority. [`replica::first_kept`] decides what that is.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use replica::first_kept;
use storage::{RocksKv, Store, StoreError};

use crate::{exit::Failure, metrics::Metrics, os};

/// Retention of a node beyond what its chain requires.
#[derive(Clone, Copy, Debug)]
pub struct Keeps {
    /// Keeps every height and disables pruning.
    pub all: bool,
    /// Keeps heights that are younger than this.
    pub time: Duration,
}

/// Starts the pruner. It looks for work when it is woken, and ends when the sender is dropped or the store reports an
/// error.
pub fn start(
    store: Arc<Store<RocksKv>>,
    metrics: Arc<Metrics>,
    keeps: Keeps,
    on_end: impl FnOnce(Result<(), Failure>) + Send + 'static,
) -> (SyncSender<()>, JoinHandle<()>) {
    let (wake, woken) = sync_channel(1);
    let run = move || {
        os::work_in_background();
        on_end(prune_when_woken(&woken, &store, &metrics, keeps).map_err(Failure::from));
    };
    (wake, std::thread::Builder::new().name("pruner".to_owned()).spawn(run).expect("a thread can be started"))
}

fn prune_when_woken(
    woken: &Receiver<()>,
    store: &Store<RocksKv>,
    metrics: &Metrics,
    keeps: Keeps,
) -> Result<(), StoreError> {
    while woken.recv().is_ok() {
        if !keeps.all
            && let Some(retain) = first_kept(store, keeps.time)
        {
            let begun = Instant::now();
            store.prune(retain)?;
            metrics.on_pruned(begun.elapsed());
            tracing::debug!(target: "state", below = retain.0, "pruned");
        }
    }
    Ok(())
}
