//! A state in memory that keeps its history, for tests and checks.

use std::{cmp::Reverse, collections::BTreeMap};

use crate::{Height, History, Reader, Version, WriteSet};

/// The versions of a row by height; `None` stands for a deletion.
type Row = BTreeMap<Height, Option<Vec<u8>>>;

/// State in memory at all heights since genesis, for tests and checks: it never forgets a version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Versions {
    rows: BTreeMap<Vec<u8>, Row>,
}

impl Versions {
    /// Creates the state of genesis. Its rows have height 0.
    pub fn genesis(rows: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Self {
        let row = |(key, value)| (key, Row::from([(Height::GENESIS, Some(value))]));
        Self { rows: rows.into_iter().map(row).collect() }
    }

    /// Adds the writes of a height above all heights so far.
    pub fn write(&mut self, height: Height, writes: &WriteSet) {
        for (key, value) in &writes.0 {
            self.rows.entry(key.clone()).or_default().insert(height, value.clone());
        }
    }

    /// Returns the state at a height, as rows.
    pub fn at(&self, height: Height) -> BTreeMap<Vec<u8>, Vec<u8>> {
        self.rows.keys().filter_map(|key| Some((key.clone(), self.get_at(height, key)?))).collect()
    }
}

impl Reader for Versions {
    fn version(&self, key: &[u8]) -> Option<Version> {
        self.rows.get(key)?.last_key_value().map(|(height, value)| (*height, value.clone()))
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        for (key, _) in self.rows.range(from.to_vec()..).take_while(|(key, _)| key.starts_with(prefix)) {
            if self.get(key).is_some_and(|value| !visit(key, &value)) {
                return;
            }
        }
    }

    /// Panics, because rows in memory were put there by the caller.
    fn unreadable(&self, key: &[u8], reason: &str) {
        panic!("the row of key {}: {reason}", data_encoding::HEXLOWER.encode(key));
    }
}

impl History for Versions {
    fn get_at(&self, height: Height, key: &[u8]) -> Option<Vec<u8>> {
        self.rows.get(key)?.range(..=height).next_back()?.1.clone()
    }

    fn changed_since(&self, height: Height, prefix: &[u8], visit: &mut dyn FnMut(&[u8]) -> bool) {
        let rows = self.rows.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
        let last = |row: &Row| row.last_key_value().map(|(last, _)| Reverse(*last));
        let mut changed: Vec<_> = rows.filter_map(|(key, row)| Some((last(row)?, key))).collect();
        changed.retain(|(last, _)| last.0 > height);
        changed.sort();
        changed.into_iter().all(|(_, key)| visit(key));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_height_can_be_read() {
        let write = |rows: &[(&str, Option<&str>)]| {
            WriteSet(rows.iter().map(|(key, value)| (key.as_bytes().into(), value.map(|value| value.into()))).collect())
        };
        let mut state = Versions::genesis([(b"a".to_vec(), b"0".to_vec())]);
        state.write(Height(2), &write(&[("a", Some("2")), ("ab", Some("2"))]));
        state.write(Height(5), &write(&[("a", None), ("b", Some("5"))]));
        let at = |height| state.get_at(Height(height), b"a");
        assert_eq!(
            [at(0), at(1), at(2), at(4), at(5)],
            [Some(b"0".to_vec()), Some(b"0".to_vec()), Some(b"2".to_vec()), Some(b"2".to_vec()), None]
        );
        assert_eq!((state.get(b"a"), state.changed_at(b"a")), (None, Some(Height(5))));
        let since = |height, prefix: &str| {
            let mut keys = Vec::new();
            state.changed_since(Height(height), prefix.as_bytes(), &mut |key| {
                keys.push(String::from_utf8(key.to_vec()).unwrap());
                keys.len() < 2
            });
            keys.join(" ")
        };
        assert_eq!([since(0, "a"), since(2, ""), since(0, ""), since(5, "")], ["a ab", "a b", "a b", ""]);
        assert_eq!(state.at(Height(5)).into_keys().collect::<Vec<_>>(), [b"ab".to_vec(), b"b".to_vec()]);
    }
}
