//! The nodes of the buckets and ends as rows, so that a start reads them instead of the rows of the whole state.
//!
//! | part of a row | bytes |
//! |---|---|
//! | key, depth of the node at most 32 | tree: the prefix of its rows, filled up with zeros (8) ‖ first bits of the paths below the node (4) ‖ depth (1) |
//! | key, depth 33 to 63 | tree (8) ‖ first bits of the paths (4) ‖ 33 (1) ‖ further bits of the paths (4) ‖ depth (1) |
//! | value | number of leaves, at most 255 (1) ‖ hash (32) ‖ first bytes of the BLAKE3 of all before, the key included (4) |
//!
//! The last four bytes are for the number of leaves, which the root does not always depend on.
//!
//! The rows of a tree ascend by path: a row for each bucket, and after that of a crowded bucket the rows of the ends below it. No
//! other tree has the same rows ([`load`](super::load)). They describe the state at one height; each later state follows from them and from
//! the keys that changed since. They are derived data: the root that they lead to must be the one that the chain agreed
//! on, else they are computed again.

use std::collections::BTreeMap;

use types::Hash;

use super::{
    bucket::{END_DEPTH_MAX, Place, start_of},
    node::Node,
};

/// Bytes of the start of a node in the key of a row, if the node is not deeper than their bits.
const START_BYTES: usize = 4;

/// The byte after them in the key of the row of a deeper node: it is above all depths of others.
const DEEPER: u8 = 33;

/// Bytes of the value of a row.
const VALUE_BYTES: usize = 37;

/// A node of one of the trees, as the key of its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub tree: u64,
    /// First 64 bits of the lowest path below the node.
    pub start: u64,
    pub depth: u8,
}

impl Key {
    pub fn new(tree: u64, place: Place) -> Self {
        Self { tree, start: start_of(place), depth: place.0 as u8 }
    }
}

/// The node of a bucket or end that changed, or `None` if it is no longer there.
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
        let (start, deeper) = (start.to_be_bytes(), [DEEPER]);
        let (first, more) = start.split_at(START_BYTES);
        let between = if depth < DEEPER { [&[][..], &[]] } else { [&deeper, more] };
        let key = [&tree.to_be_bytes()[..], first, between[0], between[1], &[depth]].concat();
        let value = self.node.map(|node| {
            let content = [&[node.leaves][..], &node.hash.0].concat();
            [&content[..], &check(&key, &content)].concat()
        });
        (key, value)
    }
}

/// The nodes of buckets and ends that changed since some height, each in its last state. Their number is bounded by the
/// greatest numbers of them since.
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

/// Returns place and node of a row; `None` for other bytes.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<(Key, Node)> {
    let value: &[u8; VALUE_BYTES] = value.try_into().ok()?;
    let (content, written) = value.split_last_chunk::<4>()?;
    if check(key, content) != *written {
        return None;
    }
    let (tree, place) = key.split_first_chunk()?;
    let (start, depth) = match *place {
        [a, b, c, d, depth] if depth < DEEPER => ([a, b, c, d, 0, 0, 0, 0], depth),
        [a, b, c, d, DEEPER, e, f, g, h, depth] if depth >= DEEPER => ([a, b, c, d, e, f, g, h], depth),
        _ => return None,
    };
    let key = Key { tree: u64::from_be_bytes(*tree), start: u64::from_be_bytes(start), depth };
    let node = Node { leaves: value[0], hash: Hash(*value[1..].first_chunk()?) };
    (u32::from(depth) <= END_DEPTH_MAX).then_some((key, node))
}
