//! The state during the execution of a block: the stored rows, overlaid by the writes of the block so far.

use std::collections::{BTreeMap, BTreeSet, btree_map::Entry};

use prost::Message;
use types::{
    ConsensusPublicKey, Height, History, Reader, Replaced, ReplacedVersion, Version, Wire, WriteSet,
    pb::{self, public_key::Sum},
};

use crate::{
    area::{Area, key_row, stake_rows},
    mutation::{Mutation, mutated},
    tree::rows::{Path, path_of, row_value, split_row},
};

/// Where a row is: its part of the state, and its path in the tree of that part.
type Place = (Area, Path);

/// The first place of the namespaces: those of the part that is never reverted are below it.
const NAMESPACES: Place = (Area::Namespace(0), [0; 32]);

/// An overlay over a reader. Each row is read at most once; writes stay here until [`View::writes`] returns them.
///
/// Keys are raw keys of one part of the state: of the part that is never reverted where a method names no [`Area`].
/// Memory: the rows that were read or written.
pub struct View<'a, R: ?Sized> {
    reader: &'a R,
    cells: BTreeMap<Place, Cell>,
    /// Bytes of the stored values of namespaces that were read.
    namespace_bytes: usize,
    undo: Option<Vec<(Place, Option<Vec<u8>>)>>,
    /// Keys that lists of rows name, and that were created or deleted, or may have been.
    listed: BTreeSet<Vec<u8>>,
    /// Consensus keys that were parsed, by their bytes. To parse one takes longer than to read its validator.
    consensus_keys: BTreeMap<Vec<u8>, ConsensusPublicKey>,
}

struct Cell {
    key: Vec<u8>,
    before: Option<Vec<u8>>,
    now: Option<Vec<u8>>,
    /// Height of the last change of the stored row, deletions included, if there is one.
    changed: Option<Height>,
}

impl<'a, R: Reader + ?Sized> View<'a, R> {
    /// Creates a view of the state of `reader`, without writes.
    pub fn of_state(reader: &'a R) -> Self {
        Self {
            reader,
            cells: BTreeMap::new(),
            namespace_bytes: 0,
            undo: None,
            listed: BTreeSet::new(),
            consensus_keys: BTreeMap::new(),
        }
    }

    fn cell(&mut self, area: Area, key: &[u8]) -> (Place, &mut Cell) {
        let place = (area, path_of(key));
        let cell = match self.cells.entry(place) {
            Entry::Occupied(cell) => cell.into_mut(),
            Entry::Vacant(entry) => {
                let version = self.reader.version(&area.row_key(&place.1));
                let changed = version.as_ref().map(|(at, _)| *at);
                let before = version.and_then(|(_, row)| row).and_then(|row| match split_row(&row) {
                    Some((stored, value)) if stored == key => Some(value.to_vec()),
                    Some(_) => unreadable(self.reader, place, "it holds another key"),
                    None => unreadable(self.reader, place, "it is incomplete"),
                });
                if area != Area::NeverReverted {
                    self.namespace_bytes += before.as_ref().map_or(0, Vec::len);
                }
                entry.insert(Cell { key: key.to_vec(), now: before.clone(), before, changed })
            }
        };
        (place, cell)
    }

    /// Returns the current value of `key`.
    pub fn get(&mut self, key: &[u8]) -> Option<&[u8]> {
        self.get_in(Area::NeverReverted, key)
    }

    /// Returns the current value of `key` in a part of the state.
    pub fn get_in(&mut self, area: Area, key: &[u8]) -> Option<&[u8]> {
        self.cell(area, key).1.now.as_deref()
    }

    /// Returns the bytes of the stored values of namespaces that were read, and that this view holds.
    pub(crate) fn namespace_bytes(&self) -> usize {
        self.namespace_bytes
    }

    /// Returns the height of the last change of `key` in a part of the state, where `height` is that of this block. A
    /// change within the window of the chain is exact; an older one may be reported at any height before the window.
    /// Call it only for a key that has a value: what is known about a deletion differs from node to node.
    pub(crate) fn changed_in(&mut self, area: Area, key: &[u8], height: Height) -> Height {
        let (_, cell) = self.cell(area, key);
        if cell.now != cell.before && !mutated(Mutation::ForgetOwnBlock) {
            return height;
        }
        cell.changed.unwrap_or(Height::GENESIS)
    }

    /// Returns the current message under `key`; `None` if there is none, or if its row is unreadable (the reader is
    /// informed).
    pub(crate) fn message<M: Message + Default>(&mut self, key: &[u8]) -> Option<M> {
        let read = M::decode(self.get(key)?);
        read.map_or_else(|_| self.unreadable(key, "its value is not of the key's type"), Some)
    }

    /// Parses a consensus key, each only once; `None` if it is not one.
    pub(crate) fn consensus_key(&mut self, pb: pb::PublicKey) -> Option<ConsensusPublicKey> {
        let (Sum::Secp256k1(bytes) | Sum::Ed25519(bytes)) = pb.sum.as_ref()?;
        if let Some(parsed) = self.consensus_keys.get(bytes) {
            return Some(*parsed);
        }
        let bytes = bytes.clone();
        let parsed = ConsensusPublicKey::from_pb(pb).ok()?;
        self.consensus_keys.insert(bytes, parsed);
        Some(parsed)
    }

    /// Informs the reader that the row under `key` is invalid, and returns `None`.
    pub(crate) fn unreadable<T>(&self, key: &[u8], reason: &str) -> Option<T> {
        unreadable(self.reader, (Area::NeverReverted, path_of(key)), reason)
    }

    /// Sets the value of `key`, or removes it if `value` is `None`.
    pub fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        self.set_in(Area::NeverReverted, key, value);
    }

    /// As [`View::set`], for a key that lists of rows name.
    pub(crate) fn set_listed(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        self.listed.insert(key.to_vec());
        self.set(key, value);
    }

    /// Returns the changes of the lists of rows, for the keys of [`View::set_listed`].
    pub(crate) fn list_writes(&self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.listed.iter().flat_map(|key| {
            let cell = self.cells.get(&(Area::NeverReverted, path_of(key)));
            let changed = cell.filter(|cell| cell.now.is_some() != cell.before.is_some());
            let rows =
                changed.map(|cell| stake_rows(key).into_iter().map(|row| (row, cell.now.as_ref().map(|_| Vec::new()))));
            rows.into_iter().flatten()
        })
    }

    /// Sets or removes the value of `key` in a part of the state.
    pub(crate) fn set_in(&mut self, area: Area, key: &[u8], value: Option<Vec<u8>>) {
        let (place, cell) = self.cell(area, key);
        let old = std::mem::replace(&mut cell.now, value);
        if let Some(undo) = &mut self.undo {
            undo.push((place, old));
        }
    }

    /// Runs `act`; if it fails, undoes all its writes. Calls must not be nested.
    ///
    /// Errors: those of `act`.
    pub fn all_or_nothing<T, E>(&mut self, act: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        assert!(self.undo.is_none(), "savepoints are not nested");
        self.undo = Some(Vec::new());
        let done = act(self);
        let undo = self.undo.take().unwrap_or_default();
        if done.is_err() && !mutated(Mutation::KeepFailed) {
            for (place, old) in undo.into_iter().rev() {
                self.cells.get_mut(&place).expect("what was written has a cell").now = old;
            }
        }
        done
    }

    /// Returns the rows of the part that is never reverted that differ from the stored ones.
    pub fn writes(&self) -> WriteSet {
        let changed = self.cells.range(..NAMESPACES).filter(|(_, cell)| cell.now != cell.before);
        WriteSet(changed.map(|(place, cell)| cell.write(place)).collect())
    }

    /// Returns the rows of namespaces that differ from the stored ones, with those that list their keys; and what they
    /// replace.
    pub(crate) fn namespace_writes(&self) -> (WriteSet, Replaced) {
        let (mut writes, mut replaced) = (WriteSet::default(), Replaced::default());
        for (place, cell) in self.cells.range(NAMESPACES..).filter(|(_, cell)| cell.now != cell.before) {
            let (row, value) = cell.write(place);
            let version = cell.changed.map(|at| ReplacedVersion { at, is_deletion: cell.before.is_none() });
            replaced.0.insert(row.clone(), version);
            writes.0.insert(row, value);
            if let (Area::Namespace(number), true) = (place.0, cell.now.is_some() != cell.before.is_some()) {
                writes.0.insert(key_row(number, &cell.key), cell.now.as_ref().map(|_| Vec::new()));
            }
        }
        (writes, replaced)
    }

    /// Returns the keys of the part that is never reverted that begin with `prefix`, and exist now but not in the store;
    /// with their values.
    pub(crate) fn added(&self, prefix: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
        let added = self
            .cells
            .range(..NAMESPACES)
            .filter(move |(_, cell)| cell.before.is_none() && cell.key.starts_with(prefix));
        added.filter_map(|(_, cell)| Some((&cell.key[..], cell.now.as_deref()?)))
    }
}

impl<'a, R: History + ?Sized> View<'a, R> {
    /// Returns the state before this block, with its history.
    pub(crate) fn history(&self) -> &'a R {
        self.reader
    }

    /// Returns the message under `key` after the block of `height`, as [`View::message`].
    pub(crate) fn message_at<M: Message + Default>(&self, height: Height, key: &[u8]) -> Option<M> {
        let row = self.reader.get_at(height, &Area::NeverReverted.row_key(&path_of(key)))?;
        let value = split_row(&row).filter(|(stored, _)| *stored == key).map(|(_, value)| value);
        let message = value.and_then(|value| M::decode(value).ok());
        message.or_else(|| self.unreadable(key, "at an earlier height, its value is not of the key's type"))
    }
}

impl Cell {
    fn write(&self, (area, path): &Place) -> (Vec<u8>, Option<Vec<u8>>) {
        (area.row_key(path), self.now.as_deref().map(|value| row_value(&self.key, value)))
    }
}

fn unreadable<T, R: Reader + ?Sized>(reader: &R, (area, path): Place, reason: &str) -> Option<T> {
    reader.unreadable(&area.row_key(&path), reason);
    None
}

/// The state before the block, read from the cells of the view where possible.
pub(crate) struct Before<'v, 'a, R: ?Sized>(pub &'v View<'a, R>);

impl<R: Reader + ?Sized> Reader for Before<'_, '_, R> {
    fn version(&self, key: &[u8]) -> Option<Version> {
        match Area::of_row(key).and_then(|place| self.0.cells.get(&place)) {
            Some(cell) => Some((cell.changed?, cell.before.as_ref().map(|value| row_value(&cell.key, value)))),
            None => self.0.reader.version(key),
        }
    }

    fn scan_from(&self, prefix: &[u8], from: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.0.reader.scan_from(prefix, from, visit);
    }

    fn scan_some(
        &self,
        prefix: &[u8],
        from: &[u8],
        keys_max: usize,
        visit: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Option<Vec<u8>> {
        self.0.reader.scan_some(prefix, from, keys_max, visit)
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        self.0.reader.unreadable(key, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::rows::{row_key, rows_of};

    #[test]
    fn reads_through_and_writes_only_what_changed() {
        let rows = rows_of(b"n", [("a", "1"), ("b", "2")]);
        let mut view = View::of_state(&rows);
        assert_eq!(view.get(b"a"), Some(&b"1"[..]));
        assert_eq!(view.get(b"c"), None);
        view.set(b"a", Some(b"9".to_vec()));
        view.set(b"b", None);
        view.set(b"c", Some(b"3".to_vec()));
        view.set(b"c", None);
        assert_eq!(view.get(b"a"), Some(&b"9"[..]));
        assert_eq!(view.get(b"b"), None);
        let changed = [(b"a", Some(row_value(b"a", b"9"))), (b"b", None)];
        let expected = changed.map(|(key, value)| (row_key(b"n", &path_of(key)), value));
        assert_eq!(view.writes(), WriteSet(expected.into()));
        let before = Before(&view);
        let row = row_key(b"n", &path_of(b"a"));
        assert_eq!(before.get(&row), rows.get(&row).cloned());
    }

    #[test]
    fn a_failure_takes_back_every_write() {
        let rows = rows_of(b"n", [("a", "1")]);
        let mut view = View::of_state(&rows);
        view.set(b"b", Some(b"2".to_vec()));
        let writes = view.writes();
        let failed: Result<(), ()> = view.all_or_nothing(|view| {
            view.set(b"a", None);
            view.set(b"a", Some(b"7".to_vec()));
            view.set(b"b", None);
            view.set(b"c", Some(b"3".to_vec()));
            Err(())
        });
        assert!(failed.is_err());
        assert_eq!(view.writes(), writes);
        let done: Result<(), ()> = view.all_or_nothing(|view| {
            view.set(b"a", None);
            Ok(())
        });
        assert!(done.is_ok());
        assert_eq!(view.get(b"a"), None);
    }
}
