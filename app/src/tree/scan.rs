//! Computes the buckets of a tree from its leaves, in one pass, without knowing their number in advance.

use super::{
    bucket::{BUCKET_LEAVES, DEPTH_MAX, index_at},
    node::{Leaf, Node, fold},
};

/// Minimum number of buckets from which the number of all leaves is estimated.
const BUCKETS_MIN: usize = 64;

/// The buckets of the leaves that were pushed so far. They begin at the greatest depth; while they turn out to be too
/// small, each pair becomes one.
pub(super) struct Scan {
    depth: u32,
    /// Nodes of the buckets that are complete, from the first one on.
    buckets: Vec<Node>,
    /// Number of leaves in these buckets.
    leaves: usize,
    /// Leaves of the next bucket.
    open: Vec<Leaf>,
}

impl Scan {
    pub fn new() -> Self {
        Self { depth: DEPTH_MAX, buckets: Vec::new(), leaves: 0, open: Vec::new() }
    }

    /// Adds a leaf; its path is above those before.
    pub fn push(&mut self, leaf: Leaf) {
        while self.buckets.len() < index_at(&leaf.path, self.depth) {
            self.close();
        }
        self.open.push(leaf);
    }

    /// Returns the depth of the buckets, and their nodes.
    pub fn finish(mut self) -> (u32, Vec<Node>) {
        while self.buckets.len() < 1 << self.depth {
            self.close();
        }
        while self.depth > 0 && self.is_sparse() {
            self.join();
        }
        (self.depth, self.buckets)
    }

    fn close(&mut self) {
        self.leaves += self.open.len();
        self.buckets.push(fold(&self.open, self.depth));
        self.open.clear();
        let count = self.buckets.len();
        if count >= BUCKETS_MIN && count.is_multiple_of(2) && self.depth > 0 && self.is_sparse() {
            self.join();
        }
    }

    fn is_sparse(&self) -> bool {
        2 * self.leaves < BUCKET_LEAVES * self.buckets.len()
    }

    fn join(&mut self) {
        self.buckets = self.buckets.chunks(2).map(|pair| Node::join(pair[0], pair[1])).collect();
        self.depth -= 1;
    }
}
