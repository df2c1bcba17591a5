//! The hashing rules of subtrees.
//!
//! | subtree | hash | bytes hashed |
//! |---|---|---|
//! | no leaf | 32 zero bytes | – |
//! | one leaf, at any depth | BLAKE3 of [`LEAF_PREFIX`] ‖ path ‖ BLAKE3(value) | 96 |
//! | several leaves | BLAKE3 of left ‖ right | 64: one block of BLAKE3 |
//!
//! A proof format of other software, ICS-23, can express exactly these rules; `docs/proofs.md` has them in its terms.
//!
//! No leaf can pass for an inner node, because their lengths differ. A verifier of ICS-23 accepts operations of other
//! lengths, but an inner one may not begin with the prefix of leaves, and no hash in the tree is equal to that prefix:
//! decision 32 has the whole argument.

use types::Hash;

use super::rows::{Path, bit};

/// First bytes under the hash of a leaf. It is as long as a hash, so that a verifier can tell it from the left child of
/// an inner node; no input is known whose BLAKE3 it is.
pub const LEAF_PREFIX: &[u8; 32] = b"cairn state tree v2: a leaf hash";

/// Root of an empty tree, and hash of an empty subtree.
pub const EMPTY_ROOT: Hash = Hash([0; 32]);

/// Summary of a subtree: 33 bytes without padding, because many are held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub hash: Hash,
    /// Number of leaves of the subtree; 255 stands for 255 or more.
    pub leaves: u8,
}

impl Node {
    pub const EMPTY: Self = Self { hash: EMPTY_ROOT, leaves: 0 };

    /// Returns the subtree above two siblings; a single leaf below them is not wrapped.
    pub fn join(left: Self, right: Self) -> Self {
        match (left.leaves, right.leaves) {
            (0, 0 | 1) => right,
            (1, 0) => left,
            (some, more) => Self { hash: hash_pair(&left.hash, &right.hash), leaves: some.saturating_add(more) },
        }
    }
}

pub(crate) fn hash_pair(left: &Hash, right: &Hash) -> Hash {
    let mut block = [0; 64];
    block[..32].copy_from_slice(&left.0);
    block[32..].copy_from_slice(&right.0);
    types::blake3(&block)
}

/// A key and its value in the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub path: Path,
    pub hash: Hash,
}

impl Leaf {
    pub fn new(path: Path, value_hash: &Hash) -> Self {
        let mut bytes = [0; 96];
        bytes[..32].copy_from_slice(LEAF_PREFIX);
        bytes[32..64].copy_from_slice(&path);
        bytes[64..].copy_from_slice(&value_hash.0);
        Self { path, hash: types::blake3(&bytes) }
    }
}

/// Returns the subtree at `depth` over `leaves`, which are ascending, different, and equal in their first `depth`
/// bits.
///
/// The recursion ends because different paths differ in one of their 256 bits. Cost: one hash per leaf, and one per
/// further bit that neighbours share.
pub(crate) fn fold(leaves: &[Leaf], depth: u32) -> Node {
    match leaves {
        [] => Node::EMPTY,
        [one] => Node { hash: one.hash, leaves: 1 },
        _ => {
            let (left, right) = split(leaves, depth);
            Node::join(fold(left, depth + 1), fold(right, depth + 1))
        }
    }
}

/// Adds to `siblings` the hashes of the siblings on the way from the subtree at `depth` over `leaves` along `path`, down
/// to a subtree with at most one leaf.
pub(crate) fn descend(mut leaves: &[Leaf], path: &Path, mut depth: u32, siblings: &mut Vec<Hash>) {
    while leaves.len() > 1 {
        let (left, right) = split(leaves, depth);
        let (ours, other) = if bit(path, depth) { (right, left) } else { (left, right) };
        siblings.push(fold(other, depth + 1).hash);
        leaves = ours;
        depth += 1;
    }
}

/// Splits leaves that are equal in their first `depth` bits by the next bit.
pub(crate) fn split(leaves: &[Leaf], depth: u32) -> (&[Leaf], &[Leaf]) {
    leaves.split_at(leaves.partition_point(|leaf| !bit(&leaf.path, depth)))
}
