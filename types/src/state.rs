//! The interface between the application and the store: the application reads from a [`Reader`] and returns a
//! [`WriteSet`].

use std::collections::BTreeMap;

use crate::Height;

/// First byte of the keys of revertible rows. The store has an index over the heights of their last changes, so the
/// cost of [`History::changed_since`] does not depend on how often a row changed.
pub const REVERTIBLE: u8 = b'r';

/// Number of bytes at the start of the key of a revertible row that name its part of the state: [`REVERTIBLE`], and a
/// number of 4 bytes.
pub const REVERTIBLE_PART_BYTES: usize = 5;

/// Splits the key of a revertible row, or a prefix of such keys, after the name of the part; `None` for other bytes.
pub fn split_revertible(key: &[u8]) -> Option<(&[u8], &[u8])> {
    key.split_at_checked(REVERTIBLE_PART_BYTES).filter(|(part, _)| part[0] == REVERTIBLE)
}

/// What a height wrote under a key: the height, and the value, `None` for a deletion.
pub type Version = (Height, Option<Vec<u8>>);

/// State at one height. Keys are ordered bytewise.
///
/// Reads return no errors, so that the application's rules need no error handling: a reader that fails answers as if
/// the row did not exist, and remembers the reason. Before a caller uses a result that was computed from a reader that
/// can fail, it must ask that reader for errors (`storage::StateReader::check`).
pub trait Reader {
    /// Returns what last changed the row under `key`, at or below the height of this state.
    ///
    /// A deletion is a change as long as it is kept; `None` if there is neither a row nor a kept deletion. The rows of
    /// the genesis state have the height before the initial one.
    fn version(&self, key: &[u8]) -> Option<Version>;

    /// Returns the value under `key`, if there is one.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.version(key)?.1
    }

    /// Returns the height that last changed the row under `key`, as [`Reader::version`].
    fn changed_at(&self, key: &[u8]) -> Option<Height> {
        Some(self.version(key)?.0)
    }

    /// Calls `visit` with each row whose key starts with `prefix`, in ascending order, until it returns false.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.scan_from(prefix, prefix, visit);
    }

    /// As [`Reader::scan`], for the rows from the key `from` on, which itself starts with `prefix`.
    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool);

    /// As [`Reader::scan_from`], over `keys_max` keys at most. Returns the key after them, at which to continue; `None` at
    /// the end, or if `visit` returned false.
    ///
    /// A reader that passes over keys without a row at its height, which were deleted or are of later heights, counts them
    /// too. This implementation is for readers that do not.
    fn scan_some(
        &self,
        prefix: &[u8],
        from: &[u8],
        keys_max: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        let (mut keys, mut next) = (0, None);
        self.scan_from(prefix, from, &mut |key, value| {
            if keys == keys_max {
                next = Some(key.to_vec());
                return false;
            }
            keys += 1;
            visit(key, value)
        });
        next
    }

    /// Records that the application cannot decode the row under `key`; this counts as a failed read, as above.
    fn unreadable(&self, key: &[u8], reason: &str);
}

/// A [`Version`] that is borrowed, if there is one.
pub type Now<'a> = Option<(Height, Option<&'a [u8]>)>;

/// Receives a row of [`History::compare`]: the index of its key, what last changed it, and its value at the earlier height.
/// False ends the calls.
pub type CompareVisit<'v> = dyn FnMut(usize, Now<'_>, Option<&[u8]>) -> bool + 'v;

/// State of a chain whose earlier heights can be read too.
///
/// Reads below the window count as failed reads, as [`Reader`] describes them.
pub trait History: Reader {
    /// Returns the value that the row under `key` had at `height`, which is within the window and not above the height of
    /// this state.
    fn get_at(&self, height: Height, key: &[u8]) -> Option<Vec<u8>>;

    /// Calls `visit` with each of these rows, now and at `height` as in [`History::get_at`]. The keys ascend.
    fn compare(&self, height: Height, keys: &[Vec<u8>], visit: &mut CompareVisit<'_>) {
        for (index, key) in keys.iter().enumerate() {
            let (now, then) = (self.version(key), self.get_at(height, key));
            if !visit(index, now.as_ref().map(|(at, value)| (*at, value.as_deref())), then.as_deref()) {
                return;
            }
        }
    }

    /// Calls `visit` once with the key of each row under `prefix` that changed above `height`, up to the height of this
    /// state, until it returns false. A row that was deleted, or that has its earlier value again, counts.
    ///
    /// The order is the same on all nodes: by the height of the last change, the newest first, then by key.
    fn changed_since(&self, height: Height, prefix: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool);
}

/// Rows to write by key; `None` deletes the row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet(pub BTreeMap<Vec<u8>, Option<Vec<u8>>>);

/// The versions of revertible rows that writes replace, by key, so that the store need not search for them; `None` where
/// there is no version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replaced(pub BTreeMap<Vec<u8>, Option<ReplacedVersion>>);

/// A [`Version`] without its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplacedVersion {
    /// Height of the version.
    pub at: Height,
    /// True for a deletion.
    pub is_deletion: bool,
}

impl<R: Reader + ?Sized> Reader for &R {
    fn version(&self, key: &[u8]) -> Option<Version> {
        (**self).version(key)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        (**self).scan_from(prefix, from, visit);
    }

    fn scan_some(
        &self,
        prefix: &[u8],
        from: &[u8],
        keys_max: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        (**self).scan_some(prefix, from, keys_max, visit)
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        (**self).unreadable(key, reason);
    }
}

impl<R: History + ?Sized> History for &R {
    fn get_at(&self, height: Height, key: &[u8]) -> Option<Vec<u8>> {
        (**self).get_at(height, key)
    }

    fn compare(&self, height: Height, keys: &[Vec<u8>], visit: &mut CompareVisit<'_>) {
        (**self).compare(height, keys, visit);
    }

    fn changed_since(&self, height: Height, prefix: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) {
        (**self).changed_since(height, prefix, visit);
    }
}

/// State in memory, for tests and for the genesis state. Its rows have height 0.
impl Reader for BTreeMap<Vec<u8>, Vec<u8>> {
    fn version(&self, key: &[u8]) -> Option<Version> {
        Some((Height::GENESIS, Some(BTreeMap::get(self, key)?.clone())))
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        for (key, value) in self.range(from.to_vec()..) {
            if !key.starts_with(prefix) || !visit(key, value) {
                return;
            }
        }
    }

    /// Panics, because rows in memory were put there by the caller.
    fn unreadable(&self, key: &[u8], reason: &str) {
        panic!("the row of key {}: {reason}", data_encoding::HEXLOWER.encode(key));
    }
}

/// Height 0 is the only height of rows in memory.
impl History for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get_at(&self, _height: Height, key: &[u8]) -> Option<Vec<u8>> {
        BTreeMap::get(self, key).cloned()
    }

    fn changed_since(&self, _height: Height, _prefix: &[u8], _visit: &mut dyn FnMut(&[u8]) -> bool) {}
}
