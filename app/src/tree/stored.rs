//! The nodes of the buckets as rows, so that a start reads them instead of the rows of the whole state.
//!
//! | part of a row | bytes |
//! |---|---|
//! | key | tree: the prefix of its rows, filled up with zeros (8) ‖ first bits of the paths below the bucket (4) ‖ depth of the bucket (1) |
//! | value | number of leaves, at most 255 (1) ‖ hash (32) ‖ first bytes of the BLAKE3 of all before, the key included (4) |
//!
//! The last four bytes are for the number of leaves, which the root does not always depend on.
//!
//! The rows of a tree ascend by path. They describe the state at one height; each later state follows from them and from
//! the keys that changed since. They are derived data: the root that they lead to must be the one that the chain agreed
//! on, else they are computed again.

use std::collections::BTreeMap;

use types::Hash;

use super::{
    bucket::{DEPTH_MAX, Place, start_of},
    node::Node,
};

/// Bytes of the key of a row.
const KEY_BYTES: usize = 13;

/// Bytes of the value of a row.
const VALUE_BYTES: usize = 37;

/// A bucket of one of the trees, as the key of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub tree: u64,
    pub start: u32,
    pub depth: u8,
}

impl Key {
    pub fn new(tree: u64, place: Place) -> Self {
        Self { tree, start: start_of(place), depth: place.0 as u8 }
    }
}

/// The node of a bucket that changed, or `None` if the bucket is no longer there.
pub struct StoredNode {
    key: Key,
    node: Option<Node>,
}

impl StoredNode {
    pub(super) fn new(tree: &[u8], place: Place, node: Option<Node>) -> Self {
        Self { key: Key::new(id_of(tree), place), node }
    }

    pub(super) fn deleted(key: Key) -> Self {
        Self { key, node: None }
    }

    /// Returns key and value of the row; `None` instead of the value deletes it.
    pub fn row(self) -> (Vec<u8>, Option<Vec<u8>>) {
        let Key { tree, start, depth } = self.key;
        let key = [&tree.to_be_bytes()[..], &start.to_be_bytes(), &[depth]].concat();
        let value = self.node.map(|node| {
            let content = [&[node.leaves][..], &node.hash.0].concat();
            [&content[..], &check(&key, &content)].concat()
        });
        (key, value)
    }
}

/// The nodes of buckets that changed since some height, each in its last state. Their number is bounded by that of the
/// buckets.
#[derive(Default)]
pub struct ChangedNodes(BTreeMap<Key, Option<Node>>);

impl ChangedNodes {
    /// Adds nodes that changed after those before.
    pub fn add(&mut self, nodes: Vec<StoredNode>) {
        self.0.extend(nodes.into_iter().map(|StoredNode { key, node }| (key, node)));
    }

    /// Returns the number of nodes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if no node changed.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the rows to write, as [`StoredNode::row`].
    pub fn rows(self) -> impl Iterator<Item = (Vec<u8>, Option<Vec<u8>>)> {
        self.0.into_iter().map(|(key, node)| StoredNode { key, node }.row())
    }
}

/// Returns the number that identifies a tree: its prefix, of at most 8 bytes, filled up with zeros.
pub(super) fn id_of(prefix: &[u8]) -> u64 {
    let mut bytes = [0; 8];
    bytes[..prefix.len()].copy_from_slice(prefix);
    u64::from_be_bytes(bytes)
}

/// Returns the last bytes of the value of a row, given the others.
fn check(key: &[u8], content: &[u8]) -> [u8; 4] {
    *types::blake3(&[key, content].concat()).0.first_chunk().expect("a hash has 32 bytes")
}

/// Returns bucket and node of a row; `None` for other bytes.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<(Key, Node)> {
    let (key, value): (&[u8; KEY_BYTES], &[u8; VALUE_BYTES]) = (key.try_into().ok()?, value.try_into().ok()?);
    let tree = u64::from_be_bytes(*key.first_chunk()?);
    let start = u32::from_be_bytes(*key[8..].first_chunk()?);
    let node = Node { leaves: value[0], hash: Hash(*value[1..].first_chunk()?) };
    let depth = key[KEY_BYTES - 1];
    let (content, written) = value.split_last_chunk::<4>()?;
    let is_whole = check(key, content) == *written && u32::from(depth) <= DEPTH_MAX;
    is_whole.then_some((Key { tree, start, depth }, node))
}
