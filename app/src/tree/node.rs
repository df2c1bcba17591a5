//! The hashing rules of subtrees.
//!
//! | subtree | hash |
//! |---|---|
//! | no leaf | 32 zero bytes |
//! | one leaf, at any depth | keyed BLAKE3 "leaf" of path ‖ BLAKE3(value) |
//! | several leaves | keyed BLAKE3 "node" of left ‖ right |
//!
//! The key of the hash distinguishes leaves from inner nodes, so both fill exactly one 64-byte block of BLAKE3.

use types::Hash;

use super::rows::{Path, bit};

const LEAF_KEY: &[u8; 32] = b"cairn state tree v1: a leaf hash";
const NODE_KEY: &[u8; 32] = b"cairn state tree v1: a node hash";

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
        Self { hash: keyed(LEAF_KEY, path, &value_hash.0), kind: Kind::Leaf }
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
    keyed(NODE_KEY, &left.0, &right.0)
}

fn keyed(key: &[u8; 32], left: &[u8; 32], right: &[u8; 32]) -> Hash {
    let mut block = [0; 64];
    block[..32].copy_from_slice(left);
    block[32..].copy_from_slice(right);
    Hash(*blake3::keyed_hash(key, &block).as_bytes())
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
