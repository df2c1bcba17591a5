//! The keys that changed above a height, from the lists of changed keys of the heights.

use std::collections::BTreeSet;

use types::{Height, blake3};

use crate::{
    error::Result,
    kv::{Cf, Kv, View},
    reader::StateReader,
    schema,
    store::Store,
};

/// Maximum number of keys that are remembered as returned, 32 bytes each. Whether another key was returned already is
/// read from its newest version.
const REMEMBERED_MAX: usize = 1 << 18;

impl<K: Kv> Store<K> {
    /// Returns the keys that a height changed, ascending; true stands for a deletion.
    pub(crate) fn changes_in(&self, view: &K::View<'_>, height: Height) -> Result<Vec<(Vec<u8>, bool)>> {
        let list = view.get(Cf::Changes, &schema::height(height))?.ok_or_else(|| self.absent(Cf::Changes, height))?;
        let change = |change: Option<(&[u8], bool)>| change.map(|(key, is_deletion)| (key.to_vec(), is_deletion));
        let changes: Option<Vec<_>> = schema::Changes::new(&list).map(change).collect();
        changes.ok_or_else(|| self.unreadable(Cf::Changes, height))
    }
}

impl<K: Kv> StateReader<'_, K> {
    /// As [`types::History::changed_since`], for callers that can handle an error; `visit` also receives the height of the
    /// last change at or below the height of this reader. The lowest possible height is the one before
    /// [`Store::earliest`].
    ///
    /// Cost: a look at each entry in the lists of the heights; beyond 262,144 distinct keys also a read for each.
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
