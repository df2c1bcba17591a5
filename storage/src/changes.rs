//! The keys that changed above a height, from the lists of changed keys of the heights.

use std::collections::BTreeSet;

use types::{Hash, Height, blake3};

use crate::{
    error::{Result, StoreError},
    hold::Hold,
    kv::{Cf, Kv, View},
    schema,
    store::Store,
};

/// Maximum number of keys that are remembered as returned, 32 bytes each. Whether another key was returned already is
/// read from its newest version.
const REMEMBERED_MAX: usize = 1 << 18;

/// Iterator over the distinct keys that changed above a height, each with the height of its last change, descending. The
/// keys of one height ascend. Commits in the meantime do not affect it.
///
/// Cost: a look at each entry in the lists of the heights; beyond 262,144 distinct keys also a read for each.
///
/// An item is an error, and the last one, when a row cannot be read: `Damaged` or `Io`.
pub struct ChangedKeys<'a, K: Kv> {
    store: &'a Store<K>,
    view: K::View<'a>,
    tip: Height,
    /// The lists of heights above this one are read.
    above: Height,
    prefix: Vec<u8>,
    /// The height whose list is being read; the next one is the height before it.
    height: Height,
    /// The rest of its list with the prefix, in descending order.
    keys: Vec<Vec<u8>>,
    returned: BTreeSet<Hash>,
    _hold: Hold<'a>,
}

impl<K: Kv> Store<K> {
    /// Returns the keys with this prefix that changed above `height`, up to the tip. The lowest possible height is the
    /// one before [`Store::earliest`].
    ///
    /// Errors: `Pruned` below that, `Future` above the tip, `NoGenesis` before there is a state; `Damaged` or `Io` when
    /// the tip cannot be read.
    pub fn changed_since(&self, height: Height, prefix: &[u8]) -> Result<ChangedKeys<'_, K>> {
        let hold = self.hold(height)?;
        let view = self.kv.view();
        let tip = self.tip_in(&view)?;
        if height > tip {
            return Err(StoreError::Future { got: height, tip });
        }
        Ok(ChangedKeys {
            store: self,
            view,
            tip,
            above: height,
            prefix: prefix.to_vec(),
            height: tip.next(),
            keys: Vec::new(),
            returned: BTreeSet::new(),
            _hold: hold,
        })
    }

    /// Returns the keys that a height changed, ascending; true stands for a deletion.
    pub(crate) fn changes_in(&self, view: &K::View<'_>, height: Height) -> Result<Vec<(Vec<u8>, bool)>> {
        let list = view.get(Cf::Changes, &schema::height(height))?.ok_or_else(|| self.absent(Cf::Changes, height))?;
        let change = |change: Option<(&[u8], bool)>| change.map(|(key, is_deletion)| (key.to_vec(), is_deletion));
        let changes: Option<Vec<_>> = schema::Changes::new(&list).map(change).collect();
        changes.ok_or_else(|| self.unreadable(Cf::Changes, height))
    }
}

impl<K: Kv> ChangedKeys<'_, K> {
    fn read(&mut self) -> Result<Option<(Vec<u8>, Height)>> {
        loop {
            while let Some(key) = self.keys.pop() {
                if self.is_last_change(&key)? {
                    return Ok(Some((key, self.height)));
                }
            }
            if self.height.0 <= self.above.0 + 1 {
                return Ok(None);
            }
            self.height = Height(self.height.0 - 1);
            let changes = self.store.changes_in(&self.view, self.height)?.into_iter().rev();
            self.keys = changes.map(|(key, _)| key).filter(|key| key.starts_with(&self.prefix)).collect();
        }
    }

    /// Returns true if no higher height changed the key.
    fn is_last_change(&mut self, key: &[u8]) -> Result<bool> {
        let hash = blake3(key);
        if self.returned.len() < REMEMBERED_MAX {
            return Ok(self.returned.insert(hash));
        }
        if self.returned.contains(&hash) {
            return Ok(false);
        }
        let newest = self.store.version_in(&self.view, key, self.tip)?;
        Ok(newest.is_some_and(|(at, _)| at == self.height))
    }
}

impl<K: Kv> Iterator for ChangedKeys<'_, K> {
    type Item = Result<(Vec<u8>, Height)>;

    fn next(&mut self) -> Option<Self::Item> {
        let read = self.read();
        if read.is_err() {
            (self.height, self.keys) = (self.above, Vec::new());
        }
        read.transpose()
    }
}
