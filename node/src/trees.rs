//! Stores the hashes of the state's trees after commits, on a thread with low priority, so that the next start need not
//! read the whole state.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread::JoinHandle,
};

use replica::LiveApp;
use storage::{RocksKv, Store, StoreError};

use crate::{exit::Failure, os};

/// Starts the thread. It looks for work when it is woken. When the sender is dropped, it stores what is left and ends; it
/// also ends when the store reports an error.
pub fn start(
    store: Arc<Store<RocksKv>>,
    app: LiveApp,
    on_end: impl FnOnce(Result<(), Failure>) + Send + 'static,
) -> (SyncSender<()>, JoinHandle<()>) {
    let (wake, woken) = sync_channel(1);
    let run = move || {
        os::work_in_background();
        on_end(store_when_woken(&woken, &store, &app).map_err(Failure::from));
    };
    (wake, std::thread::Builder::new().name("trees".to_owned()).spawn(run).expect("a thread can be started"))
}

fn store_when_woken(woken: &Receiver<()>, store: &Store<RocksKv>, app: &LiveApp) -> Result<(), StoreError> {
    while woken.recv().is_ok() {
        app.store_trees(store, false)?;
    }
    app.store_trees(store, true)
}
