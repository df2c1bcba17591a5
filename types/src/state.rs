//! The interface between the application and the store: the application reads from a [`Reader`] and returns a
//! [`WriteSet`].

use std::collections::BTreeMap;

use crate::Height;

/// State at one height. Keys are ordered bytewise.
///
/// Reads return no errors, so that the application's rules need no error handling: a reader that fails answers as if
/// the row did not exist, and remembers the reason. Before a caller uses a result that was computed from a reader that
/// can fail, it must ask that reader for errors (`storage::StateReader::check`).
pub trait Reader {
    /// Returns the value under `key`, if there is one.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Returns the height that last changed the row under `key`, at or below the height of this state.
    ///
    /// A deletion is a change as long as it is kept; `None` if there is neither a row nor a kept deletion. The rows of
    /// the genesis state have the height before the initial one.
    fn changed_at(&self, key: &[u8]) -> Option<Height>;

    /// Calls `visit` with each row whose key starts with `prefix`, in ascending order, until it returns false.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.scan_from(prefix, prefix, visit);
    }

    /// As [`Reader::scan`], for the rows from the key `from` on, which itself starts with `prefix`.
    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool);

    /// Records that the application cannot decode the row under `key`; this counts as a failed read, as above.
    fn unreadable(&self, key: &[u8], reason: &str);
}

/// Rows to write by key; `None` deletes the row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet(pub BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl<R: Reader + ?Sized> Reader for &R {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        (**self).get(key)
    }

    fn changed_at(&self, key: &[u8]) -> Option<Height> {
        (**self).changed_at(key)
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        (**self).scan_from(prefix, from, visit);
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        (**self).unreadable(key, reason);
    }
}

/// State in memory, for tests and for the genesis state. Its rows have height 0.
impl Reader for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        BTreeMap::get(self, key).cloned()
    }

    fn changed_at(&self, key: &[u8]) -> Option<Height> {
        self.contains_key(key).then_some(Height::GENESIS)
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
