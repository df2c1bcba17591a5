//! Buckets: the lowest subtrees whose hashes are in memory. Their leaves are read from the rows.

use types::Reader;

use super::{
    node::Leaf,
    rows::{Path, read_row},
};

/// Maximum average number of leaves per bucket, and twice the minimum average. A larger value saves memory, a smaller
/// one saves hashing and reading.
pub(super) const BUCKET_LEAVES: usize = 12;

/// Maximum number of levels above the buckets: 2^26 buckets suit 800 million leaves; beyond, the buckets grow.
pub(super) const DEPTH_MAX: u32 = 26;

/// Position of a subtree: its depth, and its index among the subtrees of this depth.
pub(crate) type Place = (u32, usize);

/// Returns the first `depth` bits of a path as a number; at most 32.
pub(crate) fn index_at(path: &Path, depth: u32) -> usize {
    let first = u32::from_be_bytes(*path.first_chunk().expect("a path has 32 bytes"));
    (u64::from(first) >> (32 - depth)) as usize
}

/// Returns the first 32 bits of the lowest path below a subtree.
pub(crate) fn start_of((depth, index): Place) -> u32 {
    ((index as u64) << (32 - depth)) as u32
}

/// Calls `visit` with each leaf below a subtree, in ascending order, with the key and the value of its row. `tree` is
/// the prefix of the tree's rows. A malformed row ends the scan; the reader is informed of it.
///
/// Cost: one seek, and a step for each key below the subtree that has a version in the store, deletions included.
pub(crate) fn scan_leaves<R: Reader + ?Sized>(
    tree: &[u8],
    place @ (depth, index): Place,
    reader: &R,
    mut visit: impl FnMut(Leaf, &[u8], &[u8]),
) {
    let start = start_of(place).to_be_bytes();
    let (whole, all) = (depth as usize / 8, depth.div_ceil(8) as usize);
    let (prefix, from) = ([tree, &start[..whole]].concat(), [tree, &start[..all]].concat());
    reader.scan_from(&prefix, &from, &mut |key, row| {
        let Some((path, value_hash)) = read_row(reader, tree, key, row) else { return false };
        let is_below = index_at(&path, depth) == index;
        if is_below {
            visit(Leaf::new(path, &value_hash), key, row);
        }
        is_below
    });
}

/// Returns the leaves below a subtree, as [`scan_leaves`] reads them.
pub(crate) fn read_leaves<R: Reader + ?Sized>(tree: &[u8], place: Place, reader: &R) -> Vec<Leaf> {
    let mut leaves = Vec::new();
    scan_leaves(tree, place, reader, |leaf, _, _| leaves.push(leaf));
    leaves
}
