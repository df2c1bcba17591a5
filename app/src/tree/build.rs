//! Computes the nodes below a subtree in one pass over its leaves or ends, without holding them.

use super::{
    bucket::{CROWDED, END_DEPTH_MAX, Place, children, is_below},
    node::{Leaf, Node, fold},
    rows::bit,
};
use crate::mutation::{Mutation, mutated};

/// Nodes below a subtree, from those of its ends in ascending order.
pub(super) struct Assembly {
    /// Depth of the subtree.
    top: u32,
    /// Place of the next end, or one above it that begins at the same path.
    next: Place,
    /// Siblings of those nodes on the way from the subtree to `next` that are right children.
    lefts: Vec<Node>,
    /// Nodes below the subtree that are complete, the subtree itself excluded.
    nodes: Vec<(Place, Node)>,
}

impl Assembly {
    /// Begins the subtree at `place`.
    pub fn new(place: Place) -> Self {
        Self { top: place.0, next: place, lefts: Vec::new(), nodes: Vec::new() }
    }

    /// Returns the place of the next end, or one above it that begins at the same path.
    pub fn next(&self) -> Place {
        self.next
    }

    /// Moves to the left child of the next place.
    pub fn descend(&mut self) {
        self.next = children(self.next)[0];
    }

    /// Makes the next place an end with this node. Returns the node of the subtree, if this was its last end.
    pub fn close(&mut self, mut node: Node) -> Option<Node> {
        let (mut depth, mut index) = self.next;
        while depth > self.top {
            self.nodes.push(((depth, index), node));
            if index.is_multiple_of(2) {
                self.lefts.push(node);
                self.next = (depth, index + 1);
                return None;
            }
            let left = self.lefts.pop().expect("a left child is complete before its sibling begins");
            node = Node::join(left, node);
            (depth, index) = (depth - 1, index / 2);
        }
        Some(node)
    }

    /// Removes and returns the nodes that are complete.
    pub fn take_nodes(&mut self) -> Vec<(Place, Node)> {
        std::mem::take(&mut self.nodes)
    }
}

/// Nodes below a subtree, from its leaves in ascending order: the children of each node that is crowded.
pub(super) struct Builder {
    assembly: Assembly,
    /// Number of leaves from which on a node is crowded.
    crowded: usize,
    /// Leaves of the next end so far, fewer than `crowded` unless it is at the greatest depth.
    open: Vec<Leaf>,
}

impl Builder {
    /// Begins the subtree at `place`.
    pub fn new(place: Place) -> Self {
        let crowded = if mutated(Mutation::CrowdedEnds) { usize::MAX } else { CROWDED.into() };
        Self::with_crowded(place, crowded)
    }

    /// As [`Builder::new`], with another number of leaves from which on a node is crowded.
    pub fn with_crowded(place: Place, crowded: usize) -> Self {
        Self { assembly: Assembly::new(place), crowded, open: Vec::new() }
    }

    /// Begins another subtree, after [`Builder::finish`].
    pub fn begin(&mut self, place: Place) {
        self.assembly = Assembly::new(place);
    }

    /// Adds a leaf of the subtree; its path is above those before.
    pub fn push(&mut self, leaf: Leaf) {
        while !is_below(&leaf.path, self.assembly.next()) {
            self.close();
        }
        self.open.push(leaf);
        while self.open.len() >= self.crowded && self.assembly.next().0 < END_DEPTH_MAX {
            self.divide();
        }
    }

    /// Continues with the child of the next end that has the last leaf.
    fn divide(&mut self) {
        let depth = self.assembly.next().0;
        let left = self.open.partition_point(|leaf| !bit(&leaf.path, depth));
        self.assembly.descend();
        if left < self.open.len() {
            self.assembly.close(fold(&self.open[..left], depth + 1));
            self.open.drain(..left);
        }
    }

    fn close(&mut self) -> Option<Node> {
        let node = fold(&self.open, self.assembly.next().0);
        self.open.clear();
        self.assembly.close(node)
    }

    /// Returns the node of the subtree, after its last leaf.
    pub fn finish(&mut self) -> Node {
        loop {
            if let Some(node) = self.close() {
                return node;
            }
        }
    }

    /// Removes and returns the nodes below the subtree that are complete.
    pub fn take_nodes(&mut self) -> Vec<(Place, Node)> {
        self.assembly.take_nodes()
    }
}
