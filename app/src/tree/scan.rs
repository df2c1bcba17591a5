//! Computes the buckets of a tree from its leaves, in one pass, without knowing their number in advance.

use std::collections::BTreeMap;

use super::{
    bucket::{BUCKET_LEAVES, DEPTH_MAX, Place, children, index_at, is_crowded},
    build::Builder,
    node::{Leaf, Node},
};

/// Minimum number of buckets from which the number of all leaves is estimated.
const BUCKETS_MIN: usize = 64;

/// The buckets of the leaves that were pushed so far. They begin at the greatest depth; while they turn out to be too
/// small, each pair becomes one.
pub(super) struct Scan {
    depth: u32,
    /// Nodes of the buckets that are complete, from the first one on.
    buckets: Vec<Node>,
    /// Nodes below the crowded ones of these buckets.
    below: BTreeMap<Place, Node>,
    /// Number of leaves that were pushed.
    leaves: usize,
    /// The next bucket.
    open: Builder,
}

impl Scan {
    pub fn new() -> Self {
        let open = Builder::new((DEPTH_MAX, 0));
        Self { depth: DEPTH_MAX, buckets: Vec::new(), below: BTreeMap::new(), leaves: 0, open }
    }

    /// Adds a leaf; its path is above those before.
    pub fn push(&mut self, leaf: Leaf) {
        while self.buckets.len() < index_at(&leaf.path, self.depth) {
            self.close();
        }
        self.open.push(leaf);
        self.leaves += 1;
    }

    /// Returns the depth of the buckets, their nodes, and those below them.
    pub fn finish(mut self) -> (u32, Vec<Node>, BTreeMap<Place, Node>) {
        while self.buckets.len() < 1 << self.depth {
            self.close();
        }
        while self.depth > 0 && self.is_sparse() {
            self.join();
        }
        (self.depth, self.buckets, self.below)
    }

    fn close(&mut self) {
        self.buckets.push(self.open.finish());
        self.below.extend(self.open.take_nodes());
        let count = self.buckets.len();
        if count >= BUCKETS_MIN && count.is_multiple_of(2) && self.depth > 0 && self.is_sparse() {
            self.join();
        }
        self.open.begin((self.depth, self.buckets.len()));
    }

    fn is_sparse(&self) -> bool {
        2 * self.leaves < BUCKET_LEAVES * self.buckets.len()
    }

    fn join(&mut self) {
        self.depth -= 1;
        let mut joined = Vec::with_capacity(self.buckets.len() / 2);
        for (index, pair) in self.buckets.chunks(2).enumerate() {
            let (place, node) = ((self.depth, index), Node::join(pair[0], pair[1]));
            if is_crowded(place, node.leaves.into()) {
                self.below.extend(children(place).into_iter().zip(pair.iter().copied()));
            }
            joined.push(node);
        }
        self.buckets = joined;
    }
}
