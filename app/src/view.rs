//! The state during the execution of a block: the stored rows, overlaid by the writes of the block so far.

use std::collections::{BTreeMap, btree_map::Entry};

use prost::Message;
use types::{Height, Reader, WriteSet};

use crate::tree::rows::{Path, path_in, path_of, row_key, row_value, split_row};

/// An overlay over a reader. Each row is read at most once; writes stay here until [`View::writes`] returns them.
///
/// Keys are raw keys of one part of the state. Memory: the rows that were read or written.
pub struct View<'a, R: ?Sized> {
    reader: &'a R,
    prefix: &'static [u8],
    cells: BTreeMap<Path, Cell>,
    undo: Option<Vec<(Path, Option<Vec<u8>>)>>,
}

struct Cell {
    key: Vec<u8>,
    before: Option<Vec<u8>>,
    now: Option<Vec<u8>>,
}

impl<'a, R: Reader + ?Sized> View<'a, R> {
    /// Creates a view of the rows of `reader` under `prefix`, without writes.
    pub fn new(prefix: &'static [u8], reader: &'a R) -> Self {
        Self { reader, prefix, cells: BTreeMap::new(), undo: None }
    }

    fn cell(&mut self, key: &[u8]) -> (Path, &mut Cell) {
        let path = path_of(key);
        let cell = match self.cells.entry(path) {
            Entry::Occupied(cell) => cell.into_mut(),
            Entry::Vacant(place) => {
                let row = self.reader.get(&row_key(self.prefix, &path));
                let before = row.and_then(|row| match split_row(&row) {
                    Some((stored, value)) if stored == key => Some(value.to_vec()),
                    Some(_) => unreadable(self.reader, self.prefix, &path, "it holds another key"),
                    None => unreadable(self.reader, self.prefix, &path, "it is incomplete"),
                });
                place.insert(Cell { key: key.to_vec(), now: before.clone(), before })
            }
        };
        (path, cell)
    }

    /// Returns the current value of `key`.
    pub fn get(&mut self, key: &[u8]) -> Option<&[u8]> {
        self.cell(key).1.now.as_deref()
    }

    /// Returns the current message under `key`; `None` if there is none, or if its row is unreadable (the reader is
    /// informed).
    pub(crate) fn message<M: Message + Default>(&mut self, key: &[u8]) -> Option<M> {
        let read = M::decode(self.get(key)?);
        read.map_or_else(|_| self.unreadable(key, "its value is not of the key's type"), Some)
    }

    /// Informs the reader that the row under `key` is invalid, and returns `None`.
    pub(crate) fn unreadable<T>(&self, key: &[u8], reason: &str) -> Option<T> {
        unreadable(self.reader, self.prefix, &path_of(key), reason)
    }

    /// Sets the value of `key`, or removes it if `value` is `None`.
    pub fn set(&mut self, key: &[u8], value: Option<Vec<u8>>) {
        let (path, cell) = self.cell(key);
        let old = std::mem::replace(&mut cell.now, value);
        if let Some(undo) = &mut self.undo {
            undo.push((path, old));
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
        if done.is_err() {
            for (path, old) in undo.into_iter().rev() {
                self.cells.get_mut(&path).expect("what was written has a cell").now = old;
            }
        }
        done
    }

    /// Returns the rows that differ from the stored ones.
    pub fn writes(&self) -> WriteSet {
        let changed = self.cells.iter().filter(|(_, cell)| cell.now != cell.before);
        WriteSet(
            changed
                .map(|(path, cell)| {
                    let value = cell.now.as_deref().map(|value| row_value(&cell.key, value));
                    (row_key(self.prefix, path), value)
                })
                .collect(),
        )
    }
}

fn unreadable<T, R: Reader + ?Sized>(reader: &R, prefix: &[u8], path: &Path, reason: &str) -> Option<T> {
    reader.unreadable(&row_key(prefix, path), reason);
    None
}

/// The state before the block, read from the cells of the view where possible.
pub(crate) struct Before<'v, 'a, R: ?Sized>(pub &'v View<'a, R>);

impl<R: Reader + ?Sized> Reader for Before<'_, '_, R> {
    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        let view = self.0;
        let path = key.starts_with(view.prefix).then(|| path_in(view.prefix, key)).flatten();
        let known = path.and_then(|path| view.cells.get(&path));
        match known {
            Some(cell) => cell.before.as_ref().map(|value| row_value(&cell.key, value)),
            None => view.reader.get(key),
        }
    }

    fn changed_at(&self, key: &[u8]) -> Option<Height> {
        self.0.reader.changed_at(key)
    }

    fn scan(&self, prefix: &[u8], visit: &mut dyn FnMut(&[u8], &[u8]) -> bool) {
        self.0.reader.scan(prefix, visit);
    }

    fn unreadable(&self, key: &[u8], reason: &str) {
        self.0.reader.unreadable(key, reason);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tree::rows::rows_of;

    #[test]
    fn reads_through_and_writes_only_what_changed() {
        let rows = rows_of(b"n", [("a", "1"), ("b", "2")]);
        let mut view = View::new(b"n", &rows);
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
        let mut view = View::new(b"n", &rows);
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
