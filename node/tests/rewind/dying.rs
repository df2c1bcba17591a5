//! A database whose process is killed with SIGKILL at one of its writes or orders to delete.

use std::{
    process::Command,
    sync::atomic::{AtomicI64, Ordering},
};

use storage::{Batch, Cf, Durability, Kv, RocksKv, RocksView, Stats, StoreError};
use types::Height;

/// The database. Its process is not killed before [`Dying::die_at`] was called.
pub struct Dying {
    kv: RocksKv,
    /// Writes and orders to delete until the process is killed.
    left: AtomicI64,
    /// True if it is killed after that write, not before it.
    after: bool,
}

impl Dying {
    pub fn new(kv: RocksKv, after: bool) -> Self {
        Self { kv, left: AtomicI64::new(i64::MAX), after }
    }

    /// Kills the process at the write or order with this number, from now on; the first one is 0.
    pub fn die_at(&self, nth: i64) {
        self.left.store(nth, Ordering::Relaxed);
    }

    fn step<T>(&self, step: impl FnOnce() -> T) -> T {
        let is_last = self.left.fetch_sub(1, Ordering::Relaxed) == 0;
        if is_last && !self.after {
            die();
        }
        let done = step();
        if is_last {
            die();
        }
        done
    }
}

fn die() -> ! {
    let id = std::process::id().to_string();
    assert!(Command::new("kill").args(["-KILL", &id]).status().unwrap().success());
    loop {
        std::thread::park();
    }
}

impl Kv for Dying {
    type View<'a> = RocksView<'a>;

    fn place(&self) -> String {
        self.kv.place()
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.kv.get(cf, key)
    }

    fn multi_get(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, StoreError> {
        self.kv.multi_get(cf, keys)
    }

    fn view(&self) -> Self::View<'_> {
        self.kv.view()
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<(), StoreError> {
        self.step(|| self.kv.write(batch, durability))
    }

    fn forget_below(&self, cf: Cf, height: Height) -> Result<(), StoreError> {
        self.step(|| self.kv.forget_below(cf, height))
    }

    fn stats(&self) -> Stats {
        self.kv.stats()
    }

    fn sizes(&self) -> Vec<(Cf, u64)> {
        self.kv.sizes()
    }
}
