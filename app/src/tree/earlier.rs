//! The tree of an earlier height, from the tree at the tip and from the rows of the earlier height.
//!
//! 1. [`Earlier::copy`] copies the nodes of one level of the tree at the tip. It copies some nodes at a time, so a lock on
//!    the tree is held for microseconds only, and the tip may advance between two calls.
//! 2. [`Earlier::mark`] marks the nodes above the rows that changed between the earlier height and the tips of the copies.
//! 3. [`Earlier::read`] computes the marked nodes from the rows of the earlier height, in any number of calls.
//!
//! A node that is not marked has the same leaves at all these heights, so it does not matter when it was copied. A node
//! that is marked without need costs time and is right too.
//!
//! The nodes of this level are the buckets of the result, so its memory does not depend on the number of leaves. With more
//! than some 700,000 leaves, the buckets are larger than those of the tree at the tip, and a proof reads more rows.

use types::Reader;

use super::{
    Tree,
    bucket::{Place, index_at, read_leaves},
    node::{Node, fold},
    rows::Path,
};

/// Maximum depth of the copied level: its 65,536 nodes and those above take 4 MB.
const LEVEL_MAX: u32 = 16;

/// Maximum number of nodes that one call copies: 33 KiB.
const COPIED_MAX: usize = 1024;

/// Number of levels above the copied one of a subtree that is read by one scan if most of its nodes are marked. A scan begins
/// with a seek, which takes as long as some 30 rows.
const SCANNED_LEVELS: u32 = 4;

/// The tree of an earlier height while it is computed.
pub struct Earlier {
    prefix: Vec<u8>,
    /// Depth of the copied level.
    depth: u32,
    /// Nodes of this level, from the first one on.
    nodes: Vec<Node>,
    /// True for each node of the level that has to be computed.
    is_marked: Vec<bool>,
    /// Number of nodes that were marked.
    marked: usize,
}

impl Earlier {
    /// Begins with nothing. `prefix` is that of the tree.
    pub fn new(prefix: Vec<u8>) -> Self {
        Self { prefix, depth: LEVEL_MAX, nodes: Vec::new(), is_marked: Vec::new(), marked: 0 }
    }

    /// Copies some nodes of the tree at the tip. Returns true when all are copied.
    pub fn copy(&mut self, tree: &Tree) -> bool {
        if tree.depth < self.depth {
            // The tree has no such level; or it has none any more, because it shrank.
            (self.depth, self.nodes) = (tree.depth, Vec::new());
        }
        let level = &tree.levels[self.depth as usize];
        let rest = &level[self.nodes.len()..];
        // Space for all at once: to move what was copied before would take longer than the copy.
        self.nodes.reserve_exact(rest.len());
        self.nodes.extend_from_slice(&rest[..rest.len().min(COPIED_MAX)]);
        self.nodes.len() == level.len()
    }

    /// Marks the node above the leaf with this path. All nodes must have been copied.
    pub fn mark(&mut self, path: &Path) {
        self.is_marked.resize(self.nodes.len(), false);
        let was_marked = std::mem::replace(&mut self.is_marked[index_at(path, self.depth)], true);
        self.marked += usize::from(!was_marked);
    }

    /// Marks all nodes, for a caller that does not know which rows changed.
    pub fn mark_all(&mut self) {
        self.is_marked = vec![true; self.nodes.len()];
        self.marked = self.nodes.len();
    }

    /// Computes marked nodes from the rows of the earlier height, as long as `may_go_on` returns true; it is asked before each
    /// scan. Returns true when no node is left.
    ///
    /// Cost: a scan of its rows for each node, or one for some adjacent nodes.
    pub fn read<R: Reader + ?Sized>(&mut self, reader: &R, may_go_on: &mut dyn FnMut() -> bool) -> bool {
        self.is_marked.resize(self.nodes.len(), false);
        let levels = self.depth.min(SCANNED_LEVELS);
        let count = 1 << levels;
        for first in (0..self.nodes.len()).step_by(count) {
            let marked: Vec<usize> = (first..first + count).filter(|index| self.is_marked[*index]).collect();
            let places = match 2 * marked.len() > count {
                true => vec![(self.depth - levels, first >> levels)],
                false => marked.into_iter().map(|index| (self.depth, index)).collect(),
            };
            for place in places {
                if !may_go_on() {
                    return false;
                }
                self.compute(reader, place);
            }
        }
        true
    }

    /// Computes the nodes below a subtree with one scan.
    fn compute<R: Reader + ?Sized>(&mut self, reader: &R, place @ (depth, index): Place) {
        let leaves = read_leaves(&self.prefix, place, reader);
        let (mut rest, levels) = (&leaves[..], self.depth - depth);
        for index in index << levels..(index + 1) << levels {
            let own;
            (own, rest) = rest.split_at(rest.partition_point(|leaf| index_at(&leaf.path, self.depth) <= index));
            (self.nodes[index], self.is_marked[index]) = (fold(own, self.depth), false);
        }
    }

    /// Returns the number of nodes that were marked, and how many of them are computed.
    pub fn progress(&self) -> (usize, usize) {
        let left = self.is_marked.iter().filter(|is_marked| **is_marked).count();
        (self.marked, self.marked - left)
    }

    /// Returns the bytes of memory that it uses.
    pub fn memory_bytes(&self) -> usize {
        self.nodes.len() * (size_of::<Node>() + size_of::<bool>())
    }

    /// Returns the tree of the earlier height. All nodes must have been computed.
    pub fn into_tree(self) -> Tree {
        Tree::of_buckets(&self.prefix, self.depth, self.nodes, Vec::new())
    }
}
