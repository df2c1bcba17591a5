//! Reads trees from the nodes of their buckets and ends.
//!
//! The rows of a tree are its buckets in ascending order; after a crowded bucket come the ends below it, which are also in
//! ascending order and leave no gap. So a bucket whose ends are missing is refused, as an older program wrote it.

use std::collections::BTreeMap;

use super::{
    Tree,
    bucket::{CROWDED, DEPTH_MAX, Place, is_crowded, start_of},
    build::Assembly,
    node::Node,
    stored::{Key, StoredNode, decode, id_of},
};

/// Trees that are read from rows.
#[derive(Default)]
pub struct StoredTrees {
    trees: BTreeMap<u64, Nodes>,
    is_damaged: bool,
}

/// Nodes of one tree.
#[derive(Default)]
struct Nodes {
    /// Depth of the first bucket.
    depth: u32,
    /// Buckets from the first one on: halves, then buckets of the level above.
    halves: Vec<Node>,
    others: Vec<Node>,
    /// The last bucket, if it is crowded and not all ends below it were read.
    open: Option<(Node, Assembly)>,
    /// Nodes below the buckets.
    below: BTreeMap<Place, Node>,
}

impl StoredTrees {
    /// Reads a row; the rows are pushed in the order of their keys. Returns false if they are not rows of trees.
    pub fn push(&mut self, key: &[u8], value: &[u8]) -> bool {
        let is_next = decode(key, value).is_some_and(|(key, node)| {
            let nodes = self.trees.entry(key.tree).or_default();
            match nodes.open.take() {
                None => nodes.push_bucket(key, node),
                Some((bucket, ends)) => nodes.push_end(bucket, ends, key, node).is_some(),
            }
        });
        self.is_damaged |= !is_next;
        is_next
    }

    /// Returns the tree over the rows under `prefix`, which is empty if it has no rows; `None` if its rows are not those
    /// of a tree.
    pub(crate) fn take(&mut self, prefix: &[u8]) -> Option<Tree> {
        match self.trees.remove(&id_of(prefix)) {
            None => Some(Tree::new(prefix)),
            Some(nodes) => nodes.tree(prefix),
        }
    }

    /// Returns the deletion of the nodes of all trees that were not taken; `None` if a row was not one of a tree.
    pub(crate) fn delete_others(self) -> Option<Vec<StoredNode>> {
        let is_whole = !self.is_damaged && self.trees.values().all(|nodes| nodes.open.is_none());
        let delete = |(tree, nodes): (u64, Nodes)| {
            nodes.places().into_iter().map(move |place| StoredNode::deleted(Key::new(tree, place)))
        };
        is_whole.then(|| self.trees.into_iter().flat_map(delete).collect())
    }
}

impl Nodes {
    fn push_bucket(&mut self, key: Key, node: Node) -> bool {
        let depth = u32::from(key.depth);
        if self.halves.is_empty() {
            self.depth = depth;
        }
        let is_half = depth == self.depth && self.others.is_empty();
        if depth > DEPTH_MAX || !is_half && (depth + 1 != self.depth || !self.halves.len().is_multiple_of(2)) {
            return false;
        }
        let (level, before) = match is_half {
            true => (&mut self.halves, 0),
            false => (&mut self.others, self.halves.len() / 2),
        };
        let place = (depth, before + level.len());
        level.push(node);
        if is_crowded(place, node.leaves.into()) {
            self.open = Some((node, Assembly::new(place)));
        }
        place.1 < 1 << depth && start_of(place) == key.start
    }

    /// Adds the next end below the last bucket; `None` if this is none.
    fn push_end(&mut self, bucket: Node, mut ends: Assembly, key: Key, node: Node) -> Option<()> {
        while ends.next().0 < u32::from(key.depth) {
            ends.descend();
        }
        let place = ends.next();
        if Key::new(key.tree, place) != key || is_crowded(place, node.leaves.into()) {
            return None;
        }
        match ends.close(node) {
            None => self.open = Some((bucket, ends)),
            Some(whole) if whole == bucket => self.below.extend(ends.take_nodes()),
            Some(_) => return None,
        }
        Some(())
    }

    fn places(&self) -> Vec<Place> {
        let (depth, split) = (self.depth, self.halves.len() / 2);
        let halves = (0..self.halves.len()).map(|index| (depth, index));
        let others = (0..self.others.len()).map(|index| (depth - 1, split + index));
        halves.chain(others).chain(self.below.keys().copied()).collect()
    }

    fn tree(self, prefix: &[u8]) -> Option<Tree> {
        let Self { depth, halves, others, open, below } = self;
        // A node with children is crowded.
        let mut pairs = below.iter().filter(|((_, index), _)| index.is_multiple_of(2));
        let is_pair = |((depth, index), left): (&Place, &Node)| {
            let right = below.get(&(*depth, index + 1));
            right.is_some_and(|right| left.leaves.saturating_add(right.leaves) >= CROWDED)
        };
        if open.is_some() || !pairs.all(is_pair) {
            return None;
        }
        if others.is_empty() {
            return (halves.len() == 1 << depth).then(|| Tree::of_nodes(prefix, depth, halves, Vec::new(), below));
        }
        let above = depth - 1;
        let split = halves.chunks(2).map(|pair| Node::join(pair[0], pair[1]));
        let level: Vec<Node> = split.chain(others).collect();
        (level.len() == 1 << above).then(|| Tree::of_nodes(prefix, above, level, halves, below))
    }
}
