//! The seam between the application and the store: the application reads through a [`Reader`] and returns a [`WriteSet`].

use std::collections::BTreeMap;

/// State at one height. Keys are ordered bytewise.
///
/// Reads have no error, so that the application's rules stay free of them: a reader that fails answers as if nothing were there and
/// remembers why. Whoever uses what was worked out from a reader that can fail asks that reader first
/// (`storage::StateReader::check`).
pub trait Reader {
    /// The value under `key`.
    fn get(&self, key: &[u8]) -> Option<Vec<u8>>;

    /// Calls `visit` with each row whose key starts with `prefix`, ascending, until it returns false.
    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool);

    /// Takes note that the application cannot make sense of the row under `key`: a failed read, as above.
    fn unreadable(&self, key: &[u8], reason: &str);
}

/// Rows to write; `None` deletes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet(pub BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl<R: Reader + ?Sized> Reader for &R {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        (**self).get(key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        (**self).scan(prefix, visit);
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        (**self).unreadable(key, reason);
    }
}

/// State in memory, for tests and for the first state.
impl Reader for BTreeMap<Vec<u8>, Vec<u8>> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        BTreeMap::get(self, key).cloned()
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        for (key, value) in self.range(prefix.to_vec()..) {
            if !key.starts_with(prefix) || !visit(key, value) {
                return;
            }
        }
    }

    /// Panics: what is in memory was put there by the caller.
    fn unreadable(&self, key: &[u8], reason: &str) {
        panic!("the row of key {}: {reason}", data_encoding::HEXLOWER.encode(key));
    }
}
