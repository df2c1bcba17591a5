//! The heights of the newest versions of recently written keys, so that most reads of the tip are a look-up of one row.
//!
//! A look-up of a known row ends in the first file or buffer that has it. A search for the newest version must ask each
//! of them that has any version of the key, because RocksDB does not know that newer files have newer versions.

#![allow(clippy::disallowed_types)] // The seed differs in every process on purpose, and decides only what is known.

use std::{
    hash::{BuildHasher, RandomState},
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
};

use types::Height;

/// Number of keys that are known at most, 16 bytes each. A key takes the slot of another one with the same remainder.
const SLOTS: usize = 1 << 18;

/// For each slot a key and the height of its newest version, if known.
///
/// The key is represented by a hash of 64 bits, and its slot by another one. Both are keyed with numbers of this
/// process, so that no client can choose keys that are confused.
#[derive(Default)]
pub(crate) struct Newest {
    slots: RwLock<Vec<Slot>>,
    slot_hash: RandomState,
    key_hash: RandomState,
}

type Slot = Option<(u64, Height)>;

impl Newest {
    /// Records that versions are written: these keys, each with a height and true for a new version, false for a removed
    /// one. Must be called before a reader can see the write, so that no reader takes an older version for the newest.
    pub(crate) fn write<'a>(&self, versions: impl Iterator<Item = (&'a [u8], Height, bool)>) {
        let mut slots: Option<RwLockWriteGuard<'_, Vec<Slot>>> = None;
        for (key, at, is_new) in versions {
            let slots = slots.get_or_insert_with(|| self.slots.write().expect("no thread panics while it writes"));
            if slots.is_empty() {
                slots.resize(SLOTS, None);
            }
            let (index, key) = self.place(key);
            let known = slots[index].filter(|(other, _)| *other == key).map(|(_, at)| at);
            if is_new && known <= Some(at) {
                slots[index] = Some((key, at));
            } else if !is_new && known == Some(at) {
                slots[index] = None;
            }
        }
    }

    /// Returns the height of the newest version of `key`, if it is known.
    pub(crate) fn height(&self, key: &[u8]) -> Option<Height> {
        let slots: RwLockReadGuard<'_, Vec<Slot>> = self.slots.read().expect("no thread panics while it writes");
        if slots.is_empty() {
            return None;
        }
        let (index, key) = self.place(key);
        slots[index].filter(|(other, _)| *other == key).map(|(_, at)| at)
    }

    fn place(&self, key: &[u8]) -> (usize, u64) {
        (self.slot_hash.hash_one(key) as usize % SLOTS, self.key_hash.hash_one(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_is_known_until_it_is_removed() {
        let newest = Newest::default();
        let write = |at: u64, is_new: bool| newest.write([(&b"k"[..], Height(at), is_new)].into_iter());
        assert_eq!(newest.height(b"k"), None);
        write(5, true);
        write(7, true);
        write(6, true);
        assert_eq!((newest.height(b"k"), newest.height(b"l")), (Some(Height(7)), None));
        write(5, false);
        assert_eq!(newest.height(b"k"), Some(Height(7)));
        write(7, false);
        assert_eq!(newest.height(b"k"), None, "which of the older ones is the newest now is unknown");
    }
}
