//! The keys that changed above a height: from the index over last changes, or for rows that are not revertible from the
//! lists of changed keys of the heights.

use std::collections::BTreeSet;

use types::{Height, blake3, split_revertible};

use crate::{
    error::Result,
    kv::{Cf, Kv, View},
    reader::StateReader,
    recent, schema,
    store::Store,
};

/// Maximum number of keys that are remembered as returned, 32 bytes each. Whether another key was returned already is
/// read from its newest version.
const REMEMBERED_MAX: usize = 1 << 18;

/// Number of changes in lists, and of lists, after which [`StateReader::try_changed_from`] stops at the next height.
const LISTED_MAX: usize = 20_000;

/// The last change of a row: a place in the order in which changes are visited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Height of the change.
    pub at: Height,
    /// Key of the row.
    pub key: Vec<u8>,
}

impl<K: Kv> Store<K> {
    /// Returns the keys that a height changed, ascending, with the heights of the replaced values that its list has.
    pub(crate) fn changes_in(&self, view: &K::View<'_>, height: Height) -> Result<Vec<(Vec<u8>, Option<Height>)>> {
        let mut changes = Vec::new();
        self.visit_changes(view, height, &mut |change| changes.push((change.key.to_vec(), change.before)))?;
        Ok(changes)
    }

    /// Calls `visit` with the changes of a height, their keys ascending.
    pub(crate) fn visit_changes(
        &self,
        view: &K::View<'_>,
        height: Height,
        visit: &mut dyn FnMut(schema::Change<'_>),
    ) -> Result<()> {
        let list = view.get(Cf::Changes, &schema::height(height))?.ok_or_else(|| self.absent(Cf::Changes, height))?;
        for change in schema::Changes::new(&list) {
            visit(change.ok_or_else(|| self.unreadable(Cf::Changes, height))?);
        }
        Ok(())
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
        if split_revertible(prefix).is_some() {
            let first = recent::start(prefix, self.height);
            if let Some(moved) = self.moved(height, prefix, &first)? {
                return self.changed_in_index(height, prefix, &first, moved, visit);
            }
        }
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
                    !returned.contains(&hash) && self.is_last_change(&key, at)?
                };
                if is_last && !visit(&key, at) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// As [`StateReader::try_changed_since`] for the revertible rows of one part, from a place on and with a bounded amount
    /// of work. Returns the place at which to continue; `None` at the end, or if `visit` returned false.
    ///
    /// Errors: as [`StateReader::try_changed_since`].
    pub fn try_changed_from(
        &self,
        height: Height,
        part: &[u8],
        from: &Change,
        visit: &mut dyn FnMut(&[u8], Height) -> bool,
    ) -> Result<Option<Change>> {
        let _hold = self.hold(height)?;
        if from.at <= height {
            return Ok(None);
        }
        let highest = from.at.min(self.height);
        let first = match from.at <= self.height {
            true => schema::recent(&from.key, from.at).unwrap_or_else(|| recent::start(part, from.at)),
            false => recent::start(part, self.height),
        };
        if let Some(moved) = self.moved(height, part, &first)? {
            self.changed_in_index(height, part, &first, moved, visit)?;
            return Ok(None);
        }
        let mut work = 0;
        for at in (height.next().0..=highest.0).rev().map(Height) {
            if work >= LISTED_MAX {
                return Ok(Some(Change { at, key: part.to_vec() }));
            }
            let changes = self.store.changes_in(&self.view, at)?;
            work += 1 + changes.len();
            for (key, _) in changes.into_iter().filter(|(key, _)| key.starts_with(part)) {
                if (at < from.at || key >= from.key) && self.is_last_change(&key, at)? && !visit(&key, at) {
                    return Ok(None);
                }
            }
        }
        Ok(None)
    }

    /// Calls `visit` with the key of each change above `height`, up to the height of this reader: the newest height first, and a
    /// key once for each height that changed it. Returns false if it ended early, because there are more than `changes_max`
    /// changes; a height counts as one too.
    ///
    /// Cost: about 0.1 µs per change, and a read per height.
    ///
    /// Errors: as [`StateReader::try_changed_since`].
    pub fn try_each_change(&self, height: Height, changes_max: usize, visit: &mut dyn FnMut(&[u8])) -> Result<bool> {
        let _hold = self.hold(height)?;
        let mut changes = 0;
        for at in (height.next().0..=self.height.0).rev().map(Height) {
            self.store.visit_changes(&self.view, at, &mut |change| {
                changes += 1;
                visit(change.key);
            })?;
            changes += 1;
            if changes > changes_max {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Returns true if no height above `at`, up to the height of this reader, changed the key.
    fn is_last_change(&self, key: &[u8], at: Height) -> Result<bool> {
        let newest = self.store.version_in(&self.view, key, self.height)?;
        Ok(newest.is_some_and(|(newest, _)| newest == at))
    }
}
