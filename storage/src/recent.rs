//! The index over the last changes of revertible rows: the rows of a part that changed above a height are adjacent.
//!
//! A commit moves a row in the index from the height of its previous change to its own, so each row is there once,
//! however often it changed. Rows below the window are deleted by their height; no read reaches them.

use std::collections::BTreeSet;

use types::{Height, ReplacedVersion};

use crate::{
    error::Result,
    kv::{Cf, Kv, View},
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
    /// Returns the version of `key` that a write after the height `tip` replaces, which `view` shows.
    pub(crate) fn replaced(&self, view: &K::View<'_>, tip: Height, key: &[u8]) -> Result<Option<ReplacedVersion>> {
        let version = self.version_in(view, key, tip)?;
        Ok(version.map(|(at, value)| ReplacedVersion { at, is_deletion: value.is_none() }))
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
        let mut rows = self.view.between(Cf::Recent, &from, Some(to))?;
        let (mut count, mut key) = (0, Vec::new());
        while let Some((row, _)) = rows.row() {
            if count == MOVED_MAX {
                return Ok(None);
            }
            count += 1;
            self.split_recent(row, &mut key)?;
            if key.starts_with(prefix)
                && let Some((at, _)) =
                    self.store.version_in(&self.view, &key, self.height)?.filter(|(at, _)| *at > above)
            {
                let row = schema::recent(&key, at).expect("it was in the index");
                if *row >= *first {
                    moved.insert(row);
                }
            }
            rows.advance()?;
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
        let mut key = Vec::new();
        let mut visit = |row: &[u8]| {
            let at = self.split_recent(row, &mut key)?;
            Ok(!key.starts_with(prefix) || visit(&key, at))
        };
        let mut rows = self.view.between(Cf::Recent, first, Some(start(prefix, above)))?;
        while let Some((row, _)) = rows.row() {
            while moved.first().is_some_and(|before| **before < *row) {
                if !visit(&moved.pop_first().expect("it is not empty"))? {
                    return Ok(());
                }
            }
            if !visit(row)? {
                return Ok(());
            }
            rows.advance()?;
        }
        for row in moved {
            if !visit(&row)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Replaces `key` by the key in a row of the index, and returns the height in it.
    fn split_recent(&self, row: &[u8], key: &mut Vec<u8>) -> Result<Height> {
        let split = schema::split_recent(row).ok_or_else(|| self.store.unreadable_key(Cf::Recent, row));
        let (part, at, rest) = split?;
        key.clear();
        key.extend(part);
        key.extend(rest);
        Ok(at)
    }
}

/// Returns the start of the rows of a part that changed at or below `at`; `prefix` begins with the name of the part.
pub(crate) fn start(prefix: &[u8], at: Height) -> Vec<u8> {
    let part = types::split_revertible(prefix).and_then(|(part, _)| schema::recent(part, at));
    part.expect("the caller names a part")
}
