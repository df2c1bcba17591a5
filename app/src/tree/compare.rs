//! Compares a tree with the rows that it describes.

use types::Reader;

use super::{
    Tree,
    bucket::{Place, scan_leaves, start_of},
    node::{Node, fold},
    rows::{Path, path_of, row_key, split_row},
};

/// A copy of the nodes of some ends of a tree; created by [`Tree::part`].
pub struct Part {
    prefix: Vec<u8>,
    ends: Vec<(Place, Node)>,
}

/// Result of the comparison of a part with its rows; created by [`Part::compare`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Number of rows that were read.
    pub rows: u64,
    /// Bytes of the keys and values of these rows.
    pub bytes: usize,
    /// Keys of the rows that differ from the tree, with a description of the difference. An end that differs is
    /// described by its first row.
    pub different: Vec<(Vec<u8>, String)>,
}

impl Tree {
    /// Returns at most `ends_max` ends, from the one on that has the path beginning with the bits of `start`, and the start
    /// of the next one. It reads no rows, so a lock on the tree is held for microseconds only.
    pub fn part(&self, start: u64, ends_max: usize) -> (Part, Option<u64>) {
        let (mut ends, mut next) = (Vec::new(), Some(start));
        while ends.len() < ends_max
            && let Some(start) = next
        {
            let mut path = Path::default();
            path[..size_of::<u64>()].copy_from_slice(&start.to_be_bytes());
            let place @ (depth, index) = self.end_of(&path);
            ends.push((place, self.node(place)));
            next = (index + 1 < 1 << depth).then(|| start_of((depth, index + 1)));
        }
        (Part { prefix: self.prefix.clone(), ends }, next)
    }
}

impl Part {
    /// Returns the number of ends.
    pub fn ends(&self) -> usize {
        self.ends.len()
    }

    /// Compares the part with its rows. `reader` is the state that the tree described. A failed read ends the
    /// comparison; the reader is informed of it.
    pub fn compare<R: Reader + ?Sized>(&self, reader: &R) -> Compared {
        let mut compared = Compared::default();
        for (place, node) in &self.ends {
            let (mut leaves, mut first) = (Vec::new(), None);
            scan_leaves(&self.prefix, *place, reader, |leaf, key, row| {
                compared.rows += 1;
                compared.bytes += key.len() + row.len();
                // The raw key in a row is not part of any hash, so it is checked here.
                if split_row(row).is_none_or(|(raw, _)| row_key(&self.prefix, &path_of(raw)) != key) {
                    compared.different.push((key.to_vec(), "the row holds another key".to_owned()));
                }
                first.get_or_insert_with(|| key.to_vec());
                leaves.push(leaf);
            });
            if fold(&leaves, place.0) != *node {
                let key = first.unwrap_or_else(|| [&self.prefix[..], &start_of(*place).to_be_bytes()].concat());
                let reason = match leaves.len() {
                    0 => "rows from this key on are missing".to_owned(),
                    rows => format!(
                        "one of {rows} rows from this key on is not what the chain agreed on, or one is missing among them"
                    ),
                };
                compared.different.push((key, reason));
            }
        }
        compared
    }
}
