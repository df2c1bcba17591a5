//! Computes what new leaves change at and below the buckets.
//!
//! A node that becomes crowded is divided: its children become nodes. A node that is no longer crowded becomes an end, and
//! the nodes below it end. Both depend on the numbers of leaves alone, so the nodes are a function of the content and of
//! the places of the buckets.
//!
//! Cost: a node is visited if it is above a changed end; a node that becomes crowded costs one hash per leaf, and one that
//! becomes an end reads fewer leaves than make it crowded.

use super::{
    bucket::{CROWDED, Place, children, is_crowded},
    node::{Leaf, Node, fold, split},
};
use crate::mutation::{Mutation, mutated};

/// The leaves of an end.
pub(super) type EndLeaves = (Place, Box<[Leaf]>);

/// The tree before the changes.
pub(super) struct Before<'a> {
    /// Returns the place of the bucket that is at or above a place.
    pub bucket_above: &'a dyn Fn(Place) -> Place,
    /// Returns the node at a place.
    pub node: &'a dyn Fn(Place) -> Node,
    /// Returns the leaves of an end that does not change.
    pub leaves: &'a dyn Fn(Place) -> Vec<Leaf>,
}

/// Changes at and below the buckets.
#[derive(Default)]
pub(super) struct Divided {
    /// Nodes of the buckets that changed, ascending within their level.
    pub buckets: Vec<(Place, Node)>,
    /// Nodes below buckets that changed; `None` for those that end.
    pub below: Vec<(Place, Option<Node>)>,
    /// The ends that changed, in ascending order.
    pub ends: Vec<EndLeaves>,
    /// Crowded buckets that changed, and places that are no longer ends.
    pub reshaped: Vec<Place>,
}

/// A node, with its leaves if it is an end that changed.
type Subtree = (Node, Option<Box<[Leaf]>>);

impl Divided {
    /// Computes the effect of new leaves of ends, in ascending order.
    pub fn new(tree: &Before<'_>, mut changed: Vec<EndLeaves>) -> Self {
        let mut divided = Self::default();
        let bucket_above = tree.bucket_above;
        for group in changed.chunk_by_mut(|(a, _), (b, _)| bucket_above(*a) == bucket_above(*b)) {
            let bucket = bucket_above(group[0].0);
            let (node, leaves) = divided.subtree(tree, bucket, group);
            divided.buckets.push((bucket, node));
            match leaves {
                Some(leaves) => divided.ends.push((bucket, leaves)),
                None => divided.reshaped.push(bucket),
            }
        }
        divided
    }

    /// Computes a node that is above changed ends, or is one.
    fn subtree(&mut self, tree: &Before<'_>, place: Place, changed: &mut [EndLeaves]) -> Subtree {
        if let [(end, leaves)] = changed
            && *end == place
        {
            let subtree = self.of_leaves(place, std::mem::take(leaves));
            if subtree.1.is_none() {
                self.reshaped.push(place);
            }
            return subtree;
        }
        let places = children(place);
        let (left, right) = changed.split_at_mut(changed.partition_point(|(end, _)| !is_above(places[1], *end)));
        let is_changed = [!left.is_empty(), !right.is_empty()];
        let mut side = |place, changed: &mut [EndLeaves]| match changed {
            [] => ((tree.node)(place), None),
            _ => self.subtree(tree, place, changed),
        };
        let sides = [side(places[0], left), side(places[1], right)];
        let node = Node::join(sides[0].0, sides[1].0);
        if node.leaves < CROWDED && !mutated(Mutation::KeepDivided) {
            let mut all = Vec::new();
            for (place, (_, leaves)) in places.into_iter().zip(sides) {
                all.extend(leaves.map_or_else(|| (tree.leaves)(place), <[Leaf]>::into_vec));
                self.below.push((place, None));
                self.reshaped.push(place);
            }
            return (node, Some(all.into()));
        }
        for ((place, subtree), is_changed) in places.into_iter().zip(sides).zip(is_changed) {
            if is_changed {
                self.put(place, subtree);
            }
        }
        (node, None)
    }

    /// Computes a node from its leaves.
    fn of_leaves(&mut self, place: Place, leaves: Box<[Leaf]>) -> Subtree {
        if !is_crowded(place, leaves.len()) {
            return (fold(&leaves, place.0), Some(leaves));
        }
        let (left, right) = split(&leaves, place.0);
        let places = children(place);
        let nodes = [(places[0], left), (places[1], right)].map(|(place, leaves)| {
            let subtree = self.of_leaves(place, leaves.into());
            let node = subtree.0;
            self.put(place, subtree);
            node
        });
        (Node::join(nodes[0], nodes[1]), None)
    }

    fn put(&mut self, place: Place, (node, leaves): Subtree) {
        self.below.push((place, Some(node)));
        self.ends.extend(leaves.map(|leaves| (place, leaves)));
    }
}

/// Returns true if `above` is `place` or above it.
fn is_above(above: Place, place: Place) -> bool {
    place.0 >= above.0 && place.1 >> (place.0 - above.0) == above.1
}
