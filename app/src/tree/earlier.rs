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
//! than some 700,000 leaves, the buckets are larger than those of the tree at the tip, and a proof reads more rows. A bucket
//! with many more leaves than the others is divided as that of a tree at the tip is: the nodes below it are copied too, and
//! each pair of them counts only if it leads to the node above it. So it does not matter at which heights they were copied.

use std::{
    collections::BTreeMap,
    mem,
    ops::Bound::{Excluded, Unbounded},
};

use types::Reader;

use super::{
    Tree,
    bucket::{CROWDED, END_DEPTH_MAX, Place, children, index_at, keys_below},
    build::Builder,
    node::{Leaf, Node},
    rows::{Path, read_row},
};

/// Maximum depth of the copied level: its 65,536 nodes and those above take 4 MB.
const LEVEL_MAX: u32 = 16;

/// Maximum number of nodes that one call copies: 33 KiB.
const COPIED_MAX: usize = 1024;

/// As [`COPIED_MAX`], for nodes below the level.
const COPIED_BELOW_MAX: usize = 256;

/// Maximum number of nodes below the level: some 5 MB. If there are more, those at the greatest depth are left out.
pub(super) const BELOW_MAX: usize = 1 << 16;

/// Maximum number of rows that one scan reads.
const SCANNED_MAX: usize = 4096;

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
    /// Nodes below the level, not all of which fit to those above.
    below: BTreeMap<Place, Node>,
    /// Maximum depth of these.
    below_depth_max: u32,
    /// The last of the nodes below the buckets at the tip that was copied.
    copied: Option<Place>,
    /// Number of leaves from which on a node that is computed is crowded.
    crowded: usize,
    /// Index of a node before which none is marked.
    first: usize,
    open: Option<Open>,
}

/// Adjacent nodes of the level that are being computed.
struct Open {
    /// Index of the node that the next leaf belongs to, or of one before, and the end of the indices.
    next: usize,
    end: usize,
    builder: Builder,
    /// Prefix of the keys, and the key from which the next scan continues.
    prefix: Vec<u8>,
    from: Vec<u8>,
}

impl Earlier {
    /// Begins with nothing. `prefix` is that of the tree.
    pub fn new(prefix: Vec<u8>) -> Self {
        Self {
            prefix,
            depth: LEVEL_MAX,
            nodes: Vec::new(),
            is_marked: Vec::new(),
            marked: 0,
            below: BTreeMap::new(),
            below_depth_max: END_DEPTH_MAX,
            copied: None,
            crowded: CROWDED.into(),
            first: 0,
            open: None,
        }
    }

    /// Copies some nodes of the tree at the tip. Returns true when all are copied.
    pub fn copy(&mut self, tree: &Tree) -> bool {
        if self.nodes.len() < 1 << self.depth {
            self.copy_level(tree);
        }
        self.nodes.len() == 1 << self.depth && self.copy_below(tree)
    }

    fn copy_level(&mut self, tree: &Tree) {
        if tree.depth < self.depth {
            // The tree has no such level; or it has none any more, because it shrank.
            (self.depth, self.nodes) = (tree.depth, Vec::new());
        }
        let level = &tree.levels[self.depth as usize];
        let rest = &level[self.nodes.len()..];
        // Space for all at once: to move what was copied before would take longer than the copy.
        self.nodes.reserve_exact(rest.len());
        self.nodes.extend_from_slice(&rest[..rest.len().min(COPIED_MAX)]);
        self.crowded = ((4 * tree.leaves) >> self.depth).max(CROWDED.into());
    }

    fn copy_below(&mut self, tree: &Tree) -> bool {
        let from = self.copied.map_or(Unbounded, Excluded);
        let mut copied = 0;
        // The upper ones come first.
        for place in tree.below.range((from, Unbounded)).map(|(place, _)| *place) {
            if place.0 > self.below_depth_max {
                break;
            }
            if copied >= COPIED_BELOW_MAX {
                return false;
            }
            let mut at = place;
            while at.0 > self.depth && !self.below.contains_key(&at) {
                let above = (at.0 - 1, at.1 / 2);
                children(above).into_iter().for_each(|at| self.keep(at, tree.node(at)));
                (at, copied) = (above, copied + 2);
            }
            self.copied = Some(place);
        }
        true
    }

    /// Keeps a node below the level, if there is space.
    pub(super) fn keep(&mut self, place: Place, node: Node) {
        if place.0 > self.below_depth_max {
            return;
        }
        self.below.insert(place, node);
        if self.below.len() > BELOW_MAX
            && let Some(((deepest, _), _)) = self.below.last_key_value()
        {
            self.below_depth_max = deepest - 1;
            self.below.split_off(&(self.below_depth_max + 1, 0));
        }
    }

    #[cfg(test)]
    pub(super) fn below(&self) -> &BTreeMap<Place, Node> {
        &self.below
    }

    /// Marks the node above the leaf with this path. All nodes must have been copied.
    pub fn mark(&mut self, path: &Path) {
        self.is_marked.resize(self.nodes.len(), false);
        let was_marked = mem::replace(&mut self.is_marked[index_at(path, self.depth)], true);
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
    /// Cost: a scan of its rows for each node, or one for some adjacent nodes; more scans if there are more than
    /// [`SCANNED_MAX`] rows.
    pub fn read<R: Reader + ?Sized>(&mut self, reader: &R, may_go_on: &mut dyn FnMut() -> bool) -> bool {
        self.is_marked.resize(self.nodes.len(), false);
        while let Some(open) = self.open.take().or_else(|| self.next_marked()) {
            if !may_go_on() {
                self.open = Some(open);
                return false;
            }
            self.scan(reader, open);
        }
        true
    }

    /// Returns the next marked nodes that one scan reads, if there are any.
    fn next_marked(&mut self) -> Option<Open> {
        let levels = self.depth.min(SCANNED_LEVELS);
        let count = 1 << levels;
        while self.first < self.nodes.len() {
            let group = self.first..self.first + count;
            let marked = group.clone().filter(|index| self.is_marked[*index]);
            let (place, next, end) = match (marked.clone().next(), marked.count()) {
                (None, _) => {
                    self.first += count;
                    continue;
                }
                (_, marked) if 2 * marked > count => {
                    ((self.depth - levels, self.first >> levels), group.start, group.end)
                }
                (Some(index), _) => ((self.depth, index), index, index + 1),
            };
            let (prefix, from) = keys_below(&self.prefix, place);
            let builder = Builder::with_crowded((self.depth, next), self.crowded);
            return Some(Open { next, end, builder, prefix, from });
        }
        None
    }

    /// Reads the next rows of adjacent nodes.
    fn scan<R: Reader + ?Sized>(&mut self, reader: &R, mut open: Open) {
        let (prefix, from) = (mem::take(&mut open.prefix), mem::take(&mut open.from));
        let next = reader.scan_some(&prefix, &from, SCANNED_MAX, &mut |key, row| {
            let Some((path, value_hash)) = read_row(reader, &self.prefix, key, row) else { return false };
            let index = index_at(&path, self.depth);
            if index >= open.end {
                return false;
            }
            while open.next < index {
                self.close(&mut open);
            }
            open.builder.push(Leaf::new(path, &value_hash));
            true
        });
        match next {
            Some(from) => {
                open.builder.take_nodes().into_iter().for_each(|(place, node)| self.keep(place, node));
                (open.prefix, open.from) = (prefix, from);
                self.open = Some(open);
            }
            None => {
                while open.next < open.end {
                    self.close(&mut open);
                }
            }
        }
    }

    /// Completes a node, and begins the next one.
    fn close(&mut self, open: &mut Open) {
        (self.nodes[open.next], self.is_marked[open.next]) = (open.builder.finish(), false);
        open.builder.take_nodes().into_iter().for_each(|(place, node)| self.keep(place, node));
        open.next += 1;
        open.builder.begin((self.depth, open.next));
    }

    /// Returns the number of nodes that were marked, and how many of them are computed.
    pub fn progress(&self) -> (usize, usize) {
        let left = self.is_marked.iter().filter(|is_marked| **is_marked).count();
        (self.marked, self.marked - left)
    }

    /// Returns the bytes of memory that it uses.
    pub fn memory_bytes(&self) -> usize {
        self.nodes.len() * (size_of::<Node>() + size_of::<bool>()) + self.below.len() * size_of::<(Place, Node)>()
    }

    /// Returns the tree of the earlier height. All nodes must have been computed.
    pub fn into_tree(self) -> Tree {
        let mut below = BTreeMap::new();
        for (left @ (depth, index), node) in self.below.iter().filter(|((_, index), _)| index.is_multiple_of(2)) {
            let (right, above) = ((*depth, index + 1), (depth - 1, index / 2));
            let above = if above.0 == self.depth { self.nodes.get(above.1) } else { below.get(&above) };
            if let Some((above, sibling)) = above.zip(self.below.get(&right))
                && Node::join(*node, *sibling) == *above
            {
                below.extend([(*left, *node), (right, *sibling)]);
            }
        }
        Tree::of_nodes(&self.prefix, self.depth, self.nodes, Vec::new(), below)
    }
}
