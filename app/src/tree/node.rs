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

/// Number of leaves of a subtree: none, one, or several. A single leaf is not wrapped in inner nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Empty,
    Leaf,
    Branch,
}

/// Summary of a subtree: 33 bytes without padding, because many are held in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub hash: Hash,
    pub kind: Kind,
}

impl Node {
    pub const EMPTY: Self = Self { hash: EMPTY_ROOT, kind: Kind::Empty };

    pub fn leaf(path: &Path, value_hash: &Hash) -> Self {
        let mut bytes = [0; 96];
        bytes[..32].copy_from_slice(LEAF_PREFIX);
        bytes[32..64].copy_from_slice(path);
        bytes[64..].copy_from_slice(&value_hash.0);
        Self { hash: types::blake3(&bytes), kind: Kind::Leaf }
    }

    /// Returns the subtree above two siblings; a single leaf below them is not wrapped.
    pub fn join(left: Self, right: Self) -> Self {
        match (left.kind, right.kind) {
            (Kind::Empty, Kind::Empty | Kind::Leaf) => right,
            (Kind::Leaf, Kind::Empty) => left,
            _ => Self { hash: hash_pair(&left.hash, &right.hash), kind: Kind::Branch },
        }
    }
}

pub(crate) fn hash_pair(left: &Hash, right: &Hash) -> Hash {
    let mut block = [0; 64];
    block[..32].copy_from_slice(&left.0);
    block[32..].copy_from_slice(&right.0);
    types::blake3(&block)
}

/// An element with a path in the tree.
pub(crate) trait Entry {
    /// Returns bit `depth` of the path.
    fn bit(&self, depth: u32) -> bool;
    /// Returns the subtree at `depth` that contains only this entry; `None` if it must be split further.
    fn alone(&self, depth: u32) -> Option<Node>;
}

/// A leaf with its full path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Leaf {
    pub path: Path,
    pub value_hash: Hash,
}

impl Leaf {
    pub fn new(path: Path, value_hash: Hash) -> Self {
        Self { path, value_hash }
    }

    pub fn node(&self) -> Node {
        Node::leaf(&self.path, &self.value_hash)
    }
}

impl Entry for Leaf {
    fn bit(&self, depth: u32) -> bool {
        bit(&self.path, depth)
    }

    fn alone(&self, _depth: u32) -> Option<Node> {
        Some(self.node())
    }
}

/// Returns the subtree at `depth` over `entries`, which are ascending, different, and equal in their first `depth`
/// bits.
///
/// The recursion ends because different paths differ in one of their 256 bits. Cost: one hash per entry, and one per
/// further bit that neighbours share.
pub(crate) fn fold<E: Entry>(entries: &[E], depth: u32) -> Node {
    match entries {
        [] => return Node::EMPTY,
        [one] => {
            if let Some(node) = one.alone(depth) {
                return node;
            }
        }
        _ => {}
    }
    let (left, right) = split(entries, depth);
    Node::join(fold(left, depth + 1), fold(right, depth + 1))
}

/// Walks from the subtree at `depth` over `entries` along `path`, down to a subtree with at most one entry, which it
/// returns. The hashes of the siblings are added to `siblings`.
pub(crate) fn descend<'a, E: Entry>(
    mut entries: &'a [E],
    path: &Path,
    mut depth: u32,
    siblings: &mut Vec<Hash>,
) -> Option<&'a E> {
    loop {
        match entries {
            [] => return None,
            [one] if one.alone(depth).is_some() => return Some(one),
            _ => {}
        }
        let (left, right) = split(entries, depth);
        let (ours, other) = if bit(path, depth) { (right, left) } else { (left, right) };
        siblings.push(fold(other, depth + 1).hash);
        entries = ours;
        depth += 1;
    }
}

fn split<E: Entry>(entries: &[E], depth: u32) -> (&[E], &[E]) {
    entries.split_at(entries.partition_point(|entry| !entry.bit(depth)))
}
