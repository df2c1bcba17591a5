//! A history-independent authenticated map over flat rows.
//!
//! The tree is a compact sparse Merkle tree over 256-bit paths ([`rows`] defines the rows, `node` the hashing rules).
//! Its root is a function of the content alone: it does not depend on the order of writes, on restarts, or on values
//! that were changed and restored.
//!
//! The rows are the data. In memory the tree keeps the hashes of its buckets, of 6 to 12 leaves on average, and of the
//! levels above: 6 to 11 bytes per leaf. The leaves of a bucket are read from its rows, which are adjacent, unless they are in
//! the [`Cache`]. The hashes of the buckets are also stored ([`stored`], [`load`]), so that a start need not read all rows.
//!
//! ```text
//!  levels   [0]                       root; the children of node i are 2i and 2i + 1 of the next level
//!           [0]          [1]
//!           …
//!  buckets  [0] [1] [2] [3] [4] …     level `depth`: 2^depth nodes; the first of them are split,
//!  halves   [0][1][2][3]              and their halves, one level deeper, are the buckets instead
//! ```
//!
//! The tree grows and shrinks bucket by bucket (linear hashing), so that no block pays for the writes of earlier
//! blocks. When there are too many leaves, the next bucket in order is split; when all buckets are split, their halves
//! become the buckets. Cost: 12 new leaves split one bucket, about 24 hashes; joining two halves costs none. The shape
//! does not influence the root.
//!
//! Invariants:
//! **T1** Equal content has an equal root (`any_order_of_writes_gives_the_same_root`).
//! **T2** The incremental root equals the root computed from scratch (`incremental_equals_from_scratch`).
//! **T3** [`Tree::update`] changes nothing; only [`Tree::apply`] does, and only with an update of the current content
//! (asserted there; `an_update_that_is_not_applied_leaves_no_trace`).
//! **T4** Rows that were read for an update have the hash that the tree has for them
//! (`a_bucket_is_not_updated_from_damaged_rows`).

mod bucket;
mod cache;
mod compare;
pub(crate) mod earlier;
pub mod load;
pub(crate) mod node;
pub mod proof;
pub mod rows;
mod scan;
pub(crate) mod small;
pub mod stored;
mod way;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use thiserror::Error;
use types::{Hash, Reader, WriteSet};

use bucket::{BUCKET_LEAVES, DEPTH_MAX, Place, index_at, read_leaves};
pub use cache::{Cache, CacheStats};
pub use compare::{Compared, Part};
pub use node::EMPTY_ROOT;
use node::{Leaf, Node, fold, split};
pub use proof::{Existence, Proof, ProofError};
use rows::{Path, hash_value, row_key, rows_under, value_of};
use scan::Scan;
use stored::StoredNode;
pub use way::Way;

/// A new state of one leaf; `None` removes it.
struct Change {
    path: Path,
    after: Option<Leaf>,
}

/// The tree over the rows under one prefix.
pub struct Tree {
    prefix: Vec<u8>,
    depth: u32,
    /// Number of leaves, by which the tree grows and shrinks. After a start, a bucket of more than 255 counts as 255.
    leaves: usize,
    /// Nodes by level; the last level has the halves of those buckets that are split.
    levels: Vec<Vec<Node>>,
}

/// The effect of a set of writes on a tree; created by [`Tree::update`].
#[derive(Clone)]
pub struct Update {
    before: Hash,
    after: Hash,
    leaves: usize,
    nodes: Vec<(Place, Node)>,
    /// The halves of each bucket that is split, in order.
    splits: Vec<[Node; 2]>,
    /// Number of pairs of halves that are joined.
    joins: usize,
    /// The leaves of the buckets that changed.
    buckets: Vec<(Place, Box<[Leaf]>)>,
    /// Places that are no longer those of buckets, or are so again, after `buckets`.
    reshaped: Vec<Place>,
    found: u64,
    missed: u64,
}

impl Update {
    /// Returns the root after the writes.
    pub fn root(&self) -> Hash {
        self.after
    }
}

impl std::fmt::Debug for Update {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Update({} -> {})", self.before, self.after)
    }
}

/// An error: the reader is not at the height of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the state changed while it was being read: try again")]
pub struct StaleReader;

impl Tree {
    /// Creates an empty tree for rows under `prefix`.
    pub fn new(prefix: &[u8]) -> Self {
        Self::of_buckets(prefix, 0, vec![Node::EMPTY], Vec::new())
    }

    /// Creates the tree over the rows under `prefix`. Cost: one scan, about two hashes per row; the rows are not held in
    /// memory.
    pub fn open<R: Reader + ?Sized>(prefix: &[u8], reader: &R) -> Self {
        let mut scan = Scan::new();
        bucket::scan_leaves(prefix, (0, 0), reader, |leaf, _, _| scan.push(leaf));
        let (depth, buckets) = scan.finish();
        Self::of_buckets(prefix, depth, buckets, Vec::new())
    }

    /// Creates the tree over the 2^depth nodes of a level; those above the halves are split.
    fn of_buckets(prefix: &[u8], depth: u32, level: Vec<Node>, halves: Vec<Node>) -> Self {
        let buckets = halves.iter().chain(&level[halves.len() / 2..]);
        let leaves = buckets.map(|node| usize::from(node.leaves)).sum();
        let mut levels = vec![halves, level];
        while let Some([_, _, ..]) = levels.last().map(Vec::as_slice) {
            let above = levels[levels.len() - 1].chunks(2).map(|pair| Node::join(pair[0], pair[1])).collect();
            levels.push(above);
        }
        levels.reverse();
        Self { prefix: prefix.to_vec(), depth, leaves, levels }
    }

    /// Returns the root of the content.
    pub fn root(&self) -> Hash {
        self.levels[0][0].hash
    }

    /// Returns the bytes of memory that the tree uses, without the cache and the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        let levels = self.levels.iter().map(|level| size_of::<Vec<Node>>() + level.len() * size_of::<Node>());
        size_of::<Self>() + self.prefix.len() + levels.sum::<usize>()
    }

    /// Computes the effect of `writes`. `before` is the state that this tree describes; rows under other prefixes are
    /// ignored.
    ///
    /// Cost per row: the hash of its value, the hashes of one bucket, and a share of the levels above; if the bucket is
    /// not in the cache, a scan of its rows.
    pub fn update<R: Reader + ?Sized>(&self, cache: &Cache, before: &R, writes: &WriteSet) -> Update {
        let changes: Vec<Change> = rows_under(&self.prefix, writes).map(change).collect();
        let (mut buckets, mut found, mut old) = (Vec::new(), 0, 0);
        for group in changes.chunk_by(|a, b| self.place_of(&a.path) == self.place_of(&b.path)) {
            let place = self.place_of(&group[0].path);
            let leaves = self.leaves_of(cache, before, place);
            found += u64::from(matches!(leaves, Cow::Borrowed(_)));
            old += leaves.len();
            buckets.push((place, merge(&leaves, group)));
        }
        let missed = buckets.len() as u64 - found;
        Update { found, missed, ..self.replace(cache, before, buckets, old) }
    }

    /// Computes the effect of unknown changes of the rows with these paths. `after` is the state after them.
    ///
    /// Cost per row: a scan of the rows of its bucket, unless another row of the bucket changed too.
    pub fn catch_up<R: Reader + ?Sized>(&self, after: &R, paths: impl IntoIterator<Item = Path>) -> Update {
        let places: BTreeSet<Place> = paths.into_iter().map(|path| self.place_of(&path)).collect();
        let old = places.iter().map(|place| usize::from(self.node(*place).leaves)).sum();
        let read = |place: Place| (place, read_leaves(&self.prefix, place, after).into());
        let buckets = places.into_iter().map(read).collect();
        self.replace(&Cache::new(0), after, buckets, old)
    }

    /// Computes the effect of new leaves in these buckets, which had `old` leaves and ascend within their level. `reader`
    /// has the rows of the others.
    fn replace<R: Reader + ?Sized>(
        &self,
        cache: &Cache,
        reader: &R,
        mut buckets: Vec<(Place, Box<[Leaf]>)>,
        old: usize,
    ) -> Update {
        let new: usize = buckets.iter().map(|(_, leaves)| leaves.len()).sum();
        let leaves = (self.leaves + new).saturating_sub(old);
        let (nodes, after) = self.nodes_above(&buckets);
        let (mut shape, mut splits, mut reshaped) = (self.shape(), Vec::new(), Vec::new());
        let is_too_small = |shape: &Shape| leaves > BUCKET_LEAVES * shape.buckets() && shape.depth < DEPTH_MAX;
        if is_too_small(&shape) {
            let mut changed: BTreeMap<Place, Box<[Leaf]>> = buckets.into_iter().collect();
            while is_too_small(&shape) {
                let place @ (depth, index) = shape.split();
                let whole = match changed.remove(&place) {
                    Some(leaves) => Cow::Owned(leaves.into_vec()),
                    None => self.leaves_of(cache, reader, place),
                };
                let (left, right) = split(&whole, depth);
                splits.push([fold(left, depth + 1), fold(right, depth + 1)]);
                changed.insert((depth + 1, 2 * index), left.into());
                changed.insert((depth + 1, 2 * index + 1), right.into());
                reshaped.push(place);
            }
            buckets = changed.into_iter().collect();
        }
        let mut joins = 0;
        while 2 * leaves < BUCKET_LEAVES * shape.buckets() && shape.buckets() > 1 {
            let (depth, index) = shape.join();
            reshaped.extend([(depth + 1, 2 * index), (depth + 1, 2 * index + 1), (depth, index)]);
            joins += 1;
        }
        Update { before: self.root(), after, leaves, nodes, splits, joins, buckets, reshaped, found: 0, missed: 0 }
    }

    /// Returns the nodes of changed buckets and of the levels above them, and the root.
    fn nodes_above(&self, buckets: &[(Place, Box<[Leaf]>)]) -> (Vec<(Place, Node)>, Hash) {
        let (mut nodes, mut root) = (Vec::new(), self.root());
        let mut level = Vec::new();
        for depth in (0..=self.depth + 1).rev() {
            // The halves have lower paths than the other buckets, and so do their parents.
            if depth >= self.depth {
                let changed = buckets.iter().filter(|(place, _)| place.0 == depth);
                level.extend(changed.map(|((_, index), leaves)| (*index, fold(leaves, depth))));
            }
            let above = if depth > 0 { self.parents(depth, &level) } else { Vec::new() };
            root = level.first().filter(|_| depth == 0).map_or(root, |(_, node)| node.hash);
            nodes.extend(level.into_iter().map(|(index, node)| ((depth, index), node)));
            level = above;
        }
        (nodes, root)
    }

    /// Returns the changed nodes of the level above `depth`, given those of that level in ascending order.
    fn parents(&self, depth: u32, level: &[(usize, Node)]) -> Vec<(usize, Node)> {
        let nodes = &self.levels[depth as usize];
        let same_parent = |a: &(usize, Node), b: &(usize, Node)| a.0 / 2 == b.0 / 2;
        let parent = |children: &[(usize, Node)]| {
            let (left, right) = match *children {
                [(_, left), (_, right)] => (left, right),
                [(index, right), ..] if index % 2 == 1 => (nodes[index - 1], right),
                [(index, left), ..] => (left, nodes[index + 1]),
                [] => unreachable!("chunks are not empty"),
            };
            (children[0].0 / 2, Node::join(left, right))
        };
        level.chunk_by(same_parent).map(parent).collect()
    }

    /// Returns the leaves of a bucket that did not change yet. If rows were read that do not have the hash of the tree,
    /// the reader is informed.
    fn leaves_of<'c, R: Reader + ?Sized>(&self, cache: &'c Cache, reader: &R, place: Place) -> Cow<'c, [Leaf]> {
        if let Some(held) = cache.get(&self.cache_key(place)) {
            return Cow::Borrowed(held);
        }
        let leaves = read_leaves(&self.prefix, place, reader);
        if fold(&leaves, place.0) != self.node(place) {
            let first = leaves.first().map_or_else(|| self.prefix.clone(), |leaf| row_key(&self.prefix, &leaf.path));
            reader.unreadable(&first, "it, or one of the few rows after it, is not what the chain agreed on");
        }
        Cow::Owned(leaves)
    }

    /// Applies an update to the tree, and its leaves to the cache. Call it together with writing the rows. Returns the
    /// nodes to store, see [`stored`].
    ///
    /// Panics if the update was computed for other content, because the caller mixed up blocks.
    pub fn apply(&mut self, cache: &mut Cache, update: Update) -> Vec<StoredNode> {
        assert_eq!(update.before, self.root(), "an update is applied to the content it was made for");
        self.leaves = update.leaves;
        for ((depth, index), node) in update.nodes {
            self.levels[depth as usize][index] = node;
        }
        for halves in update.splits {
            self.levels[self.depth as usize + 1].extend(halves);
            if self.halves() == 2 << self.depth {
                self.depth += 1;
                self.levels.push(Vec::new());
            }
        }
        for _ in 0..update.joins {
            if self.halves() == 0 {
                self.depth -= 1;
                self.levels.pop();
            }
            let halves = self.halves() - 2;
            self.levels[self.depth as usize + 1].truncate(halves);
        }
        cache.found += update.found;
        cache.missed += update.missed;
        let mut changed = Vec::with_capacity(update.buckets.len() + update.reshaped.len());
        // Nothing is stored of an empty tree.
        let node = |place| (self.is_bucket(place) && self.root() != EMPTY_ROOT).then(|| self.node(place));
        for (place, leaves) in update.buckets {
            cache.put(self.cache_key(place), leaves);
            changed.push(StoredNode::new(&self.prefix, place, node(place)));
        }
        for place in update.reshaped {
            cache.remove(&self.cache_key(place));
            changed.push(StoredNode::new(&self.prefix, place, node(place)));
        }
        changed
    }

    /// Returns the nodes of all buckets, to store them.
    pub fn stored(&self) -> impl Iterator<Item = StoredNode> {
        let count = if self.root() == EMPTY_ROOT { 0 } else { self.shape().buckets() };
        (0..count).map(|nth| {
            let place = self.nth_bucket(nth);
            StoredNode::new(&self.prefix, place, Some(self.node(place)))
        })
    }

    fn cache_key(&self, place: Place) -> cache::Key {
        cache::Key::new(stored::id_of(&self.prefix), place)
    }

    fn shape(&self) -> Shape {
        Shape { depth: self.depth, halves: self.halves() }
    }

    /// Returns the number of halves that are buckets.
    fn halves(&self) -> usize {
        self.levels[self.depth as usize + 1].len()
    }

    fn node(&self, (depth, index): Place) -> Node {
        self.levels[depth as usize][index]
    }

    /// Returns the place of a bucket, given its number in the order of paths.
    fn nth_bucket(&self, nth: usize) -> Place {
        let halves = self.halves();
        if nth < halves { (self.depth + 1, nth) } else { (self.depth, nth - halves / 2) }
    }

    fn is_bucket(&self, (depth, index): Place) -> bool {
        depth == self.depth + 1 && index < self.halves()
            || depth == self.depth && 2 * index >= self.halves() && index < 1 << depth
    }

    /// Returns the place of the bucket of a path.
    fn place_of(&self, path: &Path) -> Place {
        let index = index_at(path, self.depth);
        if 2 * index < self.halves() {
            return (self.depth + 1, index_at(path, self.depth + 1));
        }
        (self.depth, index)
    }
}

/// Number of the buckets of a tree, and which of them are split.
struct Shape {
    depth: u32,
    halves: usize,
}

impl Shape {
    fn buckets(&self) -> usize {
        (1 << self.depth) + self.halves / 2
    }

    /// Splits the next bucket in order, and returns its place. After the last one, the halves become the buckets.
    fn split(&mut self) -> Place {
        let place = (self.depth, self.halves / 2);
        self.halves += 2;
        if self.halves == 2 << self.depth {
            (self.depth, self.halves) = (self.depth + 1, 0);
        }
        place
    }

    /// Joins the last two halves, and returns the place of the bucket. If there are none, the buckets become the halves
    /// first.
    fn join(&mut self) -> Place {
        if self.halves == 0 {
            (self.depth, self.halves) = (self.depth - 1, 1 << self.depth);
        }
        self.halves -= 2;
        (self.depth, self.halves / 2)
    }
}

/// Returns the leaves of a bucket after the changes, which all belong to it.
fn merge(bucket: &[Leaf], changes: &[Change]) -> Box<[Leaf]> {
    let mut leaves = Vec::with_capacity(bucket.len() + changes.len());
    let mut rest = bucket;
    for change in changes {
        let (smaller, others) = rest.split_at(rest.partition_point(|leaf| leaf.path < change.path));
        leaves.extend_from_slice(smaller);
        leaves.extend(change.after);
        rest = match others {
            [first, others @ ..] if first.path == change.path => others,
            _ => others,
        };
    }
    leaves.extend_from_slice(rest);
    leaves.into_boxed_slice()
}

fn change((path, row): (Path, Option<&[u8]>)) -> Change {
    Change { path, after: row.map(|row| Leaf::new(path, &hash_value(value_of(row)))) }
}

#[cfg(test)]
mod tests;
