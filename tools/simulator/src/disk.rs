//! The disk of a node: [`MemDisk`], or one that only claims to sync.

use storage::{Batch, Cf, Durability, Kv, MemDisk, MemKv, MemView, Result, Stats};
use types::Height;

/// Handle of one process to its disk.
pub struct SimKv {
    kv: MemKv,
    /// True if syncs are only claimed: a power failure also loses synced writes.
    lies: bool,
}

impl SimKv {
    /// Opens the disk for a new process.
    pub fn open(disk: &MemDisk, lies: bool) -> Self {
        Self { kv: disk.open(), lies }
    }
}

impl Kv for SimKv {
    type View<'a> = MemView;

    fn place(&self) -> String {
        self.kv.place()
    }

    fn get(&self, cf: Cf, key: &[u8]) -> Result<Option<Vec<u8>>> {
        self.kv.get(cf, key)
    }

    fn multi_get(&self, cf: Cf, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>> {
        self.kv.multi_get(cf, keys)
    }

    fn view(&self) -> MemView {
        self.kv.view()
    }

    fn write(&self, batch: Batch, durability: Durability) -> Result<()> {
        self.kv.write(batch, if self.lies { Durability::Buffered } else { durability })
    }

    fn forget_below(&self, cf: Cf, height: Height) -> Result<()> {
        self.kv.forget_below(cf, height)
    }

    fn stats(&self) -> Stats {
        self.kv.stats()
    }

    fn sizes(&self) -> Vec<(Cf, u64)> {
        self.kv.sizes()
    }
}
