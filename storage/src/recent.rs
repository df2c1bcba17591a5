//! The index over the last changes of revertible rows: the rows of a part that changed above a height are adjacent.
//!
//! A commit moves a row in the index from the height of its previous change to its own, so each row is there once,
//! however often it changed. Rows below the window are deleted by their height; no read reaches them.

use std::collections::BTreeSet;

use types::{Height, split_revertible};

use crate::{
    error::Result,
    kv::{Batch, Cf, Kv, View},
    reader::StateReader,
    schema,
    store::Store,
};

/// Maximum number of rows that changed after the height of a reader, with which the reader uses the index: each costs a
/// search (up to 40 µs) and about 100 bytes of memory.
const MOVED_MAX: usize = 1 << 12;

/// Rows that changed after the height of a reader: where the index had them at this height.
pub(crate) type Moved = BTreeSet<Vec<u8>>;

impl<K: Kv> Store<K> {
    /// Adds to a batch the move of `key` in the index to `row`, from where it is at the tip, which `view` shows. Returns
    /// the height of the value of `key` at the tip.
    pub(crate) fn move_recent(
        &self,
        view: &K::View<'_>,
        tip: Height,
        batch: &mut Batch,
        key: &[u8],
        row: Vec<u8>,
    ) -> Result<Option<Height>> {
        let version = self.version_in(view, key, tip)?;
        if let Some((at, _)) = &version {
            // The row is deleted below the window too: what is the start of the window in memory may not be durable.
            batch.delete(Cf::Recent, schema::recent(key, *at).expect("the row is revertible"));
        }
        batch.put(Cf::Recent, row, []);
        Ok(version.and_then(|(at, value)| value.map(|_| at)))
    }
}

impl<K: Kv> StateReader<'_, K> {
    /// Returns the revertible rows under `prefix` that changed after the height of this reader, and also between `above`
    /// and it, from the row `first` of the index on. `None` if too many changed after it.
    pub(crate) fn moved(&self, above: Height, prefix: &[u8], first: &[u8]) -> Result<Option<Moved>> {
        let mut moved = Moved::new();
        if self.height == self.tip {
            return Ok(Some(moved));
        }
        let [from, to] = [Height(u64::MAX), self.height].map(|at| start(prefix, at));
        for (rows, row) in self.view.between(Cf::Recent, &from, &to).enumerate() {
            if rows == MOVED_MAX {
                return Ok(None);
            }
            let (key, _) = self.split_recent(&row?.0)?;
            if !key.starts_with(prefix) {
                continue;
            }
            let version = self.store.version_in(&self.view, &key, self.height)?;
            if let Some((at, _)) = version.filter(|(at, _)| *at > above) {
                let row = schema::recent(&key, at).expect("it was in the index");
                if *row >= *first {
                    moved.insert(row);
                }
            }
        }
        Ok(Some(moved))
    }

    /// Calls `visit` with the revertible rows under `prefix` that changed above `above`, as
    /// [`StateReader::try_changed_since`] does, from the row `first` on, with the result of [`StateReader::moved`].
    pub(crate) fn changed_in_index(
        &self,
        above: Height,
        prefix: &[u8],
        first: &[u8],
        mut moved: Moved,
        visit: &mut dyn FnMut(&[u8], Height) -> bool,
    ) -> Result<()> {
        let mut visit = |row: &[u8]| {
            let (key, at) = self.split_recent(row)?;
            Ok(!key.starts_with(prefix) || visit(&key, at))
        };
        for row in self.view.between(Cf::Recent, first, &start(prefix, above)) {
            let (row, _) = row?;
            let rest = moved.split_off(&*row);
            for before in std::mem::replace(&mut moved, rest) {
                if !visit(&before)? {
                    return Ok(());
                }
            }
            if !visit(&row)? {
                return Ok(());
            }
        }
        for row in moved {
            if !visit(&row)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Returns the key and the height in a row of the index.
    fn split_recent(&self, row: &[u8]) -> Result<(Vec<u8>, Height)> {
        let split = schema::split_recent(row).map(|(part, at, rest)| ([part, rest].concat(), at));
        split.ok_or_else(|| self.store.unreadable_key(Cf::Recent, row))
    }
}

/// Returns the start of the rows of a part that changed at or below `at`; `prefix` begins with the name of the part.
pub(crate) fn start(prefix: &[u8], at: Height) -> Vec<u8> {
    let part = split_revertible(prefix).and_then(|(part, _)| schema::recent(part, at));
    part.expect("the caller names a part")
}
