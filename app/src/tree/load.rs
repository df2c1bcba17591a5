//! Reads trees from the nodes of their buckets.

use std::collections::BTreeMap;

use super::{
    Tree,
    bucket::{Place, start_of},
    node::Node,
    stored::{Key, StoredNode, decode, id_of},
};

/// Trees that are read from rows.
#[derive(Default)]
pub struct StoredTrees {
    trees: BTreeMap<u64, Buckets>,
    is_damaged: bool,
}

/// Buckets of one tree, from the first one on: halves, then buckets of the level above.
#[derive(Default)]
struct Buckets {
    /// Depth of the first bucket.
    depth: u32,
    halves: Vec<Node>,
    others: Vec<Node>,
}

impl StoredTrees {
    /// Reads a row; the rows are pushed in the order of their keys. Returns false if they are not rows of trees.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        let is_next = decode(key, value).is_some_and(|(key, node)| {
            let buckets = self.trees.entry(key.tree).or_default();
            buckets.push(key, node)
        });
        self.is_damaged |= !is_next;
        is_next
    }

    /// Returns the tree over the rows under `prefix`, which is empty if it has no rows; `None` if its rows are not those
    /// of a tree.
    pub(crate) fn take(&mut self, prefix: &[u8]) -> Option<Tree> {
        match self.trees.remove(&id_of(prefix)) {
            None => Some(Tree::new(prefix)),
            Some(buckets) => buckets.tree(prefix),
        }
    }

    /// Returns the deletion of the nodes of all trees that were not taken; `None` if a row was not one of a tree.
    pub(crate) fn delete_others(self) -> Option<Vec<StoredNode>> {
        let delete = |(tree, buckets): (u64, Buckets)| {
            buckets.places().into_iter().map(move |place| StoredNode::deleted(Key::new(tree, place)))
        };
        (!self.is_damaged).then(|| self.trees.into_iter().flat_map(delete).collect())
    }
}

impl Buckets {
    fn push(&mut self, key: Key, node: Node) -> bool {
        let depth = u32::from(key.depth);
        if self.halves.is_empty() {
            self.depth = depth;
        }
        let is_half = depth == self.depth && self.others.is_empty();
        if !is_half && (depth + 1 != self.depth || !self.halves.len().is_multiple_of(2)) {
            return false;
        }
        let (level, before) = match is_half {
            true => (&mut self.halves, 0),
            false => (&mut self.others, self.halves.len() / 2),
        };
        let index = before + level.len();
        level.push(node);
        index < 1 << depth && start_of((depth, index)) == key.start
    }

    fn places(&self) -> Vec<Place> {
        let (depth, split) = (self.depth, self.halves.len() / 2);
        let halves = (0..self.halves.len()).map(|index| (depth, index));
        halves.chain((0..self.others.len()).map(|index| (depth - 1, split + index))).collect()
    }

    fn tree(self, prefix: &[u8]) -> Option<Tree> {
        let Self { depth, halves, others } = self;
        if others.is_empty() {
            return (halves.len() == 1 << depth).then(|| Tree::of_buckets(prefix, depth, halves, Vec::new()));
        }
        let above = depth - 1;
        let split = halves.chunks(2).map(|pair| Node::join(pair[0], pair[1]));
        let level: Vec<Node> = split.chain(others).collect();
        (level.len() == 1 << above).then(|| Tree::of_buckets(prefix, above, level, halves))
    }
}
