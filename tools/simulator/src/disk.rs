//! The disk of a node: [`MemDisk`], or one that violates what the store relies on.

use storage::{Batch, Cf, Durability, Kv, MemDisk, MemKv, MemView, Result, Row, Stats, View};
use types::Height;

use crate::mutation::Mutation;

/// Bytes of the height at the end of a version's key.
const VERSION_HEIGHT_BYTES: usize = 8;

/// Handle of one process to its disk.
pub struct SimKv {
    kv: MemKv,
    /// The violation, if there is one.
    mutation: Option<Mutation>,
}

impl SimKv {
    /// Opens the disk for a new process.
    pub fn open(disk: &MemDisk, mutation: Option<Mutation>) -> Self {
        Self { kv: disk.open(), mutation }
    }

    /// Gives all earlier versions of a row the value of the newest one (`Mutation::RewriteHistory`).
    fn rewrite_history(&self) -> Result<()> {
        let key = |(row, _): &Row| row[..row.len() - VERSION_HEIGHT_BYTES].to_vec();
        let rows: Vec<Row> = self.kv.view().rows(Cf::State, &[], &[]).collect::<Result<_>>()?;
        let mut batch = Batch::new();
        for versions in rows.chunk_by(|a, b| key(a) == key(b)) {
            let older = versions.iter().filter(|version| version.1 != versions[0].1);
            older.for_each(|version| batch.put(Cf::State, version.0.to_vec(), versions[0].1.to_vec()));
        }
        if batch.is_empty() { Ok(()) } else { self.kv.write(batch, Durability::Buffered) }
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
        match self.mutation {
            Some(Mutation::LoseSyncs) => self.kv.write(batch, Durability::Buffered),
            Some(Mutation::RewriteHistory) => {
                self.kv.write(batch, durability)?;
                self.rewrite_history()
            }
            _ => self.kv.write(batch, durability),
        }
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
