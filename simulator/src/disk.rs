//! A node's disk: [`MemDisk`], and one that lies about its syncs.

use storage::{Batch, Cf, Durability, Kv, MemDisk, MemKv, MemView, Result, Stats};
use types::Height;

/// One life's handle to a disk.
pub struct SimKv {
    kv: MemKv,
    /// A sync is only claimed: what it wrote is lost with the power all the same.
    lies: bool,
}

impl SimKv {
    /// Starts a life on this disk.
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
