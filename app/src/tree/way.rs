//! Proofs of the content of a tree: the upper part of the way from the root is in memory, the lower part follows from
//! the rows of an end.

use types::{Hash, Reader};

use super::{
    Existence, Proof, StaleReader, Tree,
    bucket::{Place, children, read_leaves},
    node::{Leaf, descend},
    rows::{Path, bit, path_of, row_key, split_row},
};

/// The part of a proof that is in memory: the ways to the ends that have a key or its neighbours; created by
/// [`Tree::way_to`].
pub struct Way {
    tree: Vec<u8>,
    root: Hash,
    key: Vec<u8>,
    /// The subtree that the path of the key leads to.
    own: Region,
    /// The nearest subtrees with leaves below and above it.
    before: Option<Region>,
    after: Option<Region>,
}

/// A subtree without inner nodes in memory, and the hashes of the siblings on the way from the root to it.
struct Region {
    place: Place,
    siblings: Vec<Hash>,
}

impl Tree {
    /// Proves the value or absence of `key`. `reader` is the state that this tree describes.
    ///
    /// Errors: [`StaleReader`] if `reader` is at another height.
    pub fn prove<R: Reader + ?Sized>(&self, reader: &R, key: &[u8]) -> Result<Proof, StaleReader> {
        self.way_to(key).prove(reader)
    }

    /// Returns the part of a proof that is in memory. It reads no rows, so a lock on the tree is held for microseconds
    /// only.
    pub fn way_to(&self, key: &[u8]) -> Way {
        let path = path_of(key);
        let mut own = Region { place: (0, 0), siblings: Vec::new() };
        while !self.is_way_end(own.place) {
            own.step(self, bit(&path, own.place.0));
        }
        let (before, after) = (self.nearest(&own, false), self.nearest(&own, true));
        Way { tree: self.prefix.clone(), root: self.root(), key: key.to_vec(), own, before, after }
    }

    /// Returns the region with leaves that is nearest to another one, on the side of greater (or smaller) paths.
    fn nearest(&self, from: &Region, greater: bool) -> Option<Region> {
        // Up, until there is something on that side; then down along its near edge.
        let (mut depth, mut index) = from.place;
        loop {
            if depth == 0 {
                return None;
            }
            let is_far = (index % 2 == 1) == greater;
            if !is_far && self.node((depth, index ^ 1)).leaves > 0 {
                break;
            }
            (depth, index) = (depth - 1, index / 2);
        }
        let mut siblings = from.siblings[..depth as usize].to_vec();
        siblings[depth as usize - 1] = self.node((depth, index)).hash;
        let mut region = Region { place: (depth, index ^ 1), siblings };
        while !self.is_way_end(region.place) {
            let near = children(region.place)[usize::from(!greater)];
            region.step(self, (self.node(near).leaves > 0) != greater);
        }
        Some(region)
    }

    /// Returns true for ends, and for nodes with at most one leaf, which has no siblings below.
    fn is_way_end(&self, place: Place) -> bool {
        self.node(place).leaves < 2 || self.is_end(place)
    }
}

impl Region {
    fn step(&mut self, tree: &Tree, right: bool) {
        let (depth, index) = (self.place.0 + 1, 2 * self.place.1 + usize::from(right));
        self.siblings.push(tree.node((depth, index ^ 1)).hash);
        self.place = (depth, index);
    }
}

impl Way {
    /// Returns the root of the tree.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Completes the proof with the rows. `reader` is the state that the tree described.
    ///
    /// Cost: a scan of the rows of one end; for an absence, sometimes of two more.
    ///
    /// Errors: [`StaleReader`] if `reader` is at another height.
    pub fn prove<R: Reader + ?Sized>(&self, reader: &R) -> Result<Proof, StaleReader> {
        let proof = self.find(reader);
        let verified = proof.verify(&self.root, &self.key, proof.value());
        verified.map(|()| proof).map_err(|_| StaleReader)
    }

    pub(super) fn find<R: Reader + ?Sized>(&self, reader: &R) -> Proof {
        let path = path_of(&self.key);
        let own = read_leaves(&self.tree, self.own.place, reader);
        let at = own.partition_point(|leaf| leaf.path < path);
        let existence =
            |region: &Region, leaves: &[Leaf], leaf: Option<&Leaf>| self.existence(reader, region, leaves, &leaf?.path);
        if own.get(at).is_some_and(|leaf| leaf.path == path)
            && let Some(leaf) = existence(&self.own, &own, own.get(at))
        {
            return Proof::Existence(leaf);
        }
        let neighbour = |region: &Option<Region>, side: fn(&[Leaf]) -> Option<&Leaf>| {
            let region = region.as_ref()?;
            let leaves = read_leaves(&self.tree, region.place, reader);
            existence(region, &leaves, side(&leaves))
        };
        let left = match own[..at].last() {
            None => neighbour(&self.before, <[Leaf]>::last),
            leaf => existence(&self.own, &own, leaf),
        };
        let right = match own.get(at) {
            None => neighbour(&self.after, <[Leaf]>::first),
            leaf => existence(&self.own, &own, leaf),
        };
        Proof::Absence { key: self.key.clone(), left, right }
    }

    /// Returns a leaf of a region with key, value and way from the root; `None` if the reader has no such row.
    fn existence<R: Reader + ?Sized>(
        &self,
        reader: &R,
        region: &Region,
        leaves: &[Leaf],
        path: &Path,
    ) -> Option<Existence> {
        let row = reader.get(&row_key(&self.tree, path))?;
        let (key, value) = split_row(&row)?;
        let mut siblings = region.siblings.clone();
        descend(leaves, path, region.place.0, &mut siblings);
        Some(Existence { key: key.to_vec(), value: value.to_vec(), siblings })
    }
}
