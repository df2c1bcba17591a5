//! Places in the tree, buckets and ends. An end is a lowest subtree whose hash is in memory: its leaves are read from the
//! rows.

use types::Reader;

use super::{
    node::Leaf,
    rows::{Path, read_row},
};
use crate::mutation::{Mutation, mutated};

/// Maximum average number of leaves per bucket, and twice the minimum average. A larger value saves memory, a smaller
/// one saves hashing and reading.
pub(super) const BUCKET_LEAVES: usize = 12;

/// Maximum number of levels above the buckets: 2^26 buckets suit 800 million leaves; beyond, buckets become crowded.
pub(super) const DEPTH_MAX: u32 = 26;

/// Number of leaves from which on a bucket, or a node below one, is crowded: its two children are nodes too. The largest
/// buckets of evenly distributed paths have 24 leaves on average, and one of 10^11 of these is crowded.
pub(super) const CROWDED: u8 = 64;

/// Maximum depth of an end. To find 64 keys whose paths have 63 equal bits takes some 2^66 hashes, so the ends at this
/// depth are as small as the others.
pub(super) const END_DEPTH_MAX: u32 = 63;

/// Position of a subtree: its depth, and its index among the subtrees of this depth.
pub(crate) type Place = (u32, usize);

const _: () = assert!(usize::BITS > END_DEPTH_MAX, "an index has a bit for each level");

/// Returns true if the subtree at a place at or below the buckets has children that are nodes, given the number of its
/// leaves.
pub(super) fn is_crowded(place: Place, leaves: usize) -> bool {
    leaves >= usize::from(CROWDED) && place.0 < END_DEPTH_MAX && !mutated(Mutation::CrowdedEnds)
}

/// Returns the places of the two children.
pub(super) fn children((depth, index): Place) -> [Place; 2] {
    [(depth + 1, 2 * index), (depth + 1, 2 * index + 1)]
}

/// Returns the first `depth` bits of a path as a number; at most 64.
pub(crate) fn index_at(path: &Path, depth: u32) -> usize {
    let first = u64::from_be_bytes(*path.first_chunk().expect("a path has 32 bytes"));
    first.checked_shr(u64::BITS - depth).unwrap_or(0) as usize
}

/// Returns true if a path leads through a place.
pub(super) fn is_below(path: &Path, (depth, index): Place) -> bool {
    index_at(path, depth) == index
}

/// Returns the first 64 bits of the lowest path below a subtree.
pub(crate) fn start_of((depth, index): Place) -> u64 {
    (index as u64).checked_shl(u64::BITS - depth).unwrap_or(0)
}

/// Returns a prefix of the keys of all rows below a subtree, and a lower bound of these keys that starts with it. `tree`
/// is the prefix of the tree's rows.
pub(super) fn keys_below(tree: &[u8], place: Place) -> (Vec<u8>, Vec<u8>) {
    let (start, depth) = (start_of(place).to_be_bytes(), place.0);
    let (whole, all) = (depth as usize / 8, depth.div_ceil(8) as usize);
    ([tree, &start[..whole]].concat(), [tree, &start[..all]].concat())
}

/// Calls `visit` with each leaf below a subtree, in ascending order, with the key and the value of its row. `tree` is
/// the prefix of the tree's rows. A malformed row ends the scan; the reader is informed of it.
///
/// Cost: one seek, and a step for each key below the subtree that has a version in the store, deletions included.
pub(crate) fn scan_leaves<R: Reader + ?Sized>(
    tree: &[u8],
    place: Place,
    reader: &R,
    mut visit: impl FnMut(Leaf, &[u8], &[u8]),
) {
    let (prefix, from) = keys_below(tree, place);
    reader.scan_from(&prefix, &from, &mut |key, row| {
        let Some((path, value_hash)) = read_row(reader, tree, key, row) else { return false };
        let is_below = is_below(&path, place);
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
