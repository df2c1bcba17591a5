//! The keys that changed above a height: from the index over last changes, or for rows that are not revertible from the
//! lists of changed keys of the heights.

use std::collections::BTreeSet;

use types::{Height, blake3, split_revertible};

use crate::{
    error::Result,
    kv::{Cf, Kv, View},
    reader::StateReader,
    schema::{self, Change},
    store::Store,
};

/// Maximum number of keys that are remembered as returned, 32 bytes each. Whether another key was returned already is
/// read from its newest version.
const REMEMBERED_MAX: usize = 1 << 18;

impl<K: Kv> Store<K> {
    /// Returns the keys that a height changed, ascending, with the heights of the replaced values that its list has.
    pub(crate) fn changes_in(&self, view: &K::View<'_>, height: Height) -> Result<Vec<(Vec<u8>, Option<Height>)>> {
        let list = view.get(Cf::Changes, &schema::height(height))?.ok_or_else(|| self.absent(Cf::Changes, height))?;
        let change = |change: Option<Change<'_>>| change.map(|change| (change.key.to_vec(), change.before));
        let changes: Option<Vec<_>> = schema::Changes::new(&list).map(change).collect();
        changes.ok_or_else(|| self.unreadable(Cf::Changes, height))
    }
}

impl<K: Kv> StateReader<'_, K> {
    /// As [`types::History::changed_since`], for callers that can handle an error; `visit` also receives the height of the
    /// last change at or below the height of this reader. The lowest possible height is the one before
    /// [`Store::earliest`].
    ///
    /// Cost for revertible rows, if `prefix` names their part: a row of an index for each key, and below the tip a read for
    /// each key that changed after the height of this reader. For other rows, and if more than 4,096 changed after it: a
    /// look at each change of these heights; beyond 262,144 distinct keys also a read for each.
    ///
    /// Errors: `Pruned` below that, `Future` above the height of this reader; `Damaged` or `Io` when a row cannot be
    /// read, and `visit` was then called for the keys before it.
    pub fn try_changed_since(
        &self,
        height: Height,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], Height) -> bool,
    ) -> Result<()> {
        let _hold = self.hold(height)?;
        let moved = match split_revertible(prefix) {
            Some(_) => self.moved(height, prefix)?,
            None => None,
        };
        match moved {
            Some(moved) => self.changed_in_index(height, prefix, moved, visit),
            None => self.changed_in_lists(height, prefix, visit),
        }
    }

    fn changed_in_lists(
        &self,
        height: Height,
        prefix: &[u8],
        visit: &mut dyn FnMut(&[u8], Height) -> bool,
    ) -> Result<()> {
        let mut returned = BTreeSet::new();
        for at in (height.next().0..=self.height.0).rev().map(Height) {
            for (key, _) in self.store.changes_in(&self.view, at)? {
                if !key.starts_with(prefix) {
                    continue;
                }
                let hash = blake3(&key);
                let is_last = if returned.len() < REMEMBERED_MAX {
                    returned.insert(hash)
                } else {
                    let newest = || self.store.version_in(&self.view, &key, self.height);
                    !returned.contains(&hash) && newest()?.is_some_and(|(newest, _)| newest == at)
                };
                if is_last && !visit(&key, at) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
