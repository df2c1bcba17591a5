//! Forgets what the chain need not keep, on a thread of its own that lets every other go first.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
    time::Instant,
};

use storage::{FORGET_STEP, RocksKv, Store, StoreError};
use types::Height;

use crate::{exit::Failure, metrics::Metrics, os};

/// Starts the pruner; `keeps_all` makes it do nothing. It looks when it is woken, and ends when the sender is dropped, or with an error of the store.
pub fn start(
    store: Arc<Store<RocksKv>>,
    metrics: Arc<Metrics>,
    keeps_all: bool,
    on_end: impl FnOnce(Result<(), Failure>) + Send + 'static,
) -> (SyncSender<()>, JoinHandle<()>) {
    let (wake, woken) = sync_channel(1);
    let run = move || {
        os::work_in_background();
        on_end(prune_when_woken(&woken, &store, &metrics, keeps_all).map_err(Failure::from));
    };
    (wake, std::thread::Builder::new().name("pruner".to_owned()).spawn(run).expect("a thread can be started"))
}

fn prune_when_woken(
    woken: &Receiver<()>,
    store: &Store<RocksKv>,
    metrics: &Metrics,
    keeps_all: bool,
) -> Result<(), StoreError> {
    while woken.recv().is_ok() {
        let Some(tip) = store.tip().map(|tip| tip.height).filter(|_| !keeps_all) else { continue };
        let kept = store.params(tip.next())?.retain_blocks;
        let retain = Height((tip.0 + 1).saturating_sub(kept));
        // Forgetting in steps costs one small write a step instead of one a height.
        if retain.0 >= store.earliest().0 + FORGET_STEP {
            let begun = Instant::now();
            store.prune(retain)?;
            metrics.on_pruned(begun.elapsed());
            tracing::debug!(target: "state", below = retain.0, "pruned");
        }
    }
    Ok(())
}
