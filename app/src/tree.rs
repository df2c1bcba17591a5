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
//! A client can choose keys whose paths fall into one bucket. A bucket of `CROWDED` leaves is therefore divided: its
//! children are nodes too, and so on below them. The lowest nodes are the ends: buckets that are not crowded, and the
//! nodes below crowded ones that are not. What is read, hashed, cached, stored, compared and proven is an end, and an end
//! has fewer than `CROWDED` leaves.
//!
//! ```text
//!  levels   [0]                       root; the children of node i are 2i and 2i + 1 of the next level
//!           [0]          [1]
//!           …
//!  buckets  [0] [1] [2] [3] [4] …     level `depth`: 2^depth nodes; the first of them are split,
//!  halves   [0][1][2][3]              and their halves, one level deeper, are the buckets instead
//!  below       [4][5]                 the children of each bucket that is crowded, and of each crowded one of them
//! ```
//!
//! The tree grows and shrinks bucket by bucket (linear hashing), so that no block pays for the writes of earlier
//! blocks. When there are too many leaves, the next bucket in order is split; when all buckets are split, their halves
//! become the buckets. Cost: 12 new leaves split one bucket, about 24 hashes; joining two halves costs none. The shape
//! does not influence the root. Which nodes are below the buckets is a function of the content and of the buckets: a crowded
//! bucket that is split has its halves already, and two halves that are joined become the children of a crowded bucket.
//!
//! Invariants:
//! **T1** Equal content has an equal root (`any_order_of_writes_gives_the_same_root`).
//! **T2** The incremental root equals the root computed from scratch (`incremental_equals_from_scratch`).
//! **T3** [`Tree::update`] changes nothing; only [`Tree::apply`] does, and only with an update of the current content
//! (asserted there; `an_update_that_is_not_applied_leaves_no_trace`).
//! **T4** Rows that were read for an update have the hash that the tree has for them
//! (`a_bucket_is_not_updated_from_damaged_rows`).
//! **T5** An end has fewer than `CROWDED` leaves, and each node below the buckets is the child of one with at least as
//! many (`crowded_buckets_are_divided_in_any_order_of_writes`). Deeper than 63 levels, which costs 2^66 hashes, there are no nodes.

mod bucket;
mod build;
mod cache;
mod compare;
mod divide;
pub(crate) mod earlier;
pub mod load;
pub(crate) mod node;
pub mod proof;
pub mod rows;
mod scan;
pub(crate) mod small;
pub mod stored;
mod way;

use std::{borrow::Cow, collections::BTreeMap};

use thiserror::Error;
use types::{Hash, Reader, WriteSet};

use bucket::{
    BUCKET_LEAVES, CROWDED, DEPTH_MAX, Place, children, index_at, is_below, is_crowded, read_leaves, start_of,
};
pub use cache::{Cache, CacheStats};
pub use compare::{Compared, Part};
use divide::{Before, Divided, EndLeaves};
pub use node::EMPTY_ROOT;
use node::{Leaf, Node, fold, split};
pub use proof::{Existence, Proof, ProofError};
use rows::{Path, hash_value, row_key, rows_under, value_of};
use scan::Scan;
use stored::StoredNode;
pub use way::Way;

/// Number of buckets that each update may split, besides one for each leaf of the ends that it changes. A tree that was
/// computed from all rows can have too few buckets, above all if many leaves are in a few of the last ones.
const SPLITS_MIN: usize = 64;

/// A new state of one leaf; `None` removes it.
struct Change {
    path: Path,
    after: Option<Leaf>,
}

/// The tree over the rows under one prefix.
pub struct Tree {
    prefix: Vec<u8>,
    depth: u32,
    /// Number of leaves, by which the tree grows and shrinks.
    leaves: usize,
    /// Nodes by level; the last level has the halves of those buckets that are split.
    levels: Vec<Vec<Node>>,
    /// Nodes below the buckets, in pairs: the children of each node that is crowded.
    below: BTreeMap<Place, Node>,
}

/// The effect of a set of writes on a tree; created by [`Tree::update`].
#[derive(Clone)]
pub struct Update {
    before: Hash,
    after: Hash,
    leaves: usize,
    nodes: Vec<(Place, Node)>,
    /// Nodes below the buckets that changed, before splits and joins; `None` for those that end.
    below: Vec<(Place, Option<Node>)>,
    /// The halves of each bucket that is split, in order.
    splits: Vec<[Node; 2]>,
    /// Number of pairs of halves that are joined.
    joins: usize,
    /// The leaves of the ends that changed.
    ends: Vec<EndLeaves>,
    /// Places whose stored node changes too: crowded buckets, and places that are no longer those of buckets or ends, or are
    /// so again.
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
        Self::of_nodes(prefix, 0, vec![Node::EMPTY], Vec::new(), BTreeMap::new())
    }

    /// Creates the tree over the rows under `prefix`. Cost: one scan, about two hashes per row; the rows are not held in
    /// memory.
    pub fn open<R: Reader + ?Sized>(prefix: &[u8], reader: &R) -> Self {
        let mut scan = Scan::new();
        bucket::scan_leaves(prefix, (0, 0), reader, |leaf, _, _| scan.push(leaf));
        let (depth, buckets, below) = scan.finish();
        Self::of_nodes(prefix, depth, buckets, Vec::new(), below)
    }

    /// Creates the tree over the 2^depth nodes of a level, of which those above the halves are split, and the nodes below
    /// the buckets.
    fn of_nodes(prefix: &[u8], depth: u32, level: Vec<Node>, halves: Vec<Node>, below: BTreeMap<Place, Node>) -> Self {
        let mut levels = vec![halves, level];
        while let Some([_, _, ..]) = levels.last().map(Vec::as_slice) {
            let above = levels[levels.len() - 1].chunks(2).map(|pair| Node::join(pair[0], pair[1])).collect();
            levels.push(above);
        }
        levels.reverse();
        let mut tree = Self { prefix: prefix.to_vec(), depth, leaves: 0, levels, below };
        let leaves = tree.ends().map(|place| usize::from(tree.node(place).leaves)).sum();
        tree.leaves = leaves;
        tree
    }

    /// Returns the root of the content.
    pub fn root(&self) -> Hash {
        self.levels[0][0].hash
    }

    /// Returns the bytes of memory that the tree uses, without the cache and the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        let levels = self.levels.iter().map(|level| size_of::<Vec<Node>>() + level.len() * size_of::<Node>());
        let below = self.below.len() * size_of::<(Place, Node)>();
        size_of::<Self>() + self.prefix.len() + levels.sum::<usize>() + below
    }

    /// Computes the effect of `writes`. `before` is the state that this tree describes; rows under other prefixes are
    /// ignored.
    ///
    /// Cost per row: the hash of its value, the hashes of one end, and a share of the levels above; if the end is not in the
    /// cache, a scan of its rows.
    pub fn update<R: Reader + ?Sized>(&self, cache: &Cache, before: &R, writes: &WriteSet) -> Update {
        let changes: Vec<Change> = rows_under(&self.prefix, writes).map(change).collect();
        let (mut ends, mut found, mut old) = (Vec::new(), 0, 0);
        let mut rest = &changes[..];
        while let Some(first) = rest.first() {
            let place = self.end_of(&first.path);
            let count = rest.iter().take_while(|change| is_below(&change.path, place)).count();
            let group;
            (group, rest) = rest.split_at(count);
            let leaves = self.leaves_of(cache, before, place);
            found += u64::from(matches!(leaves, Cow::Borrowed(_)));
            old += leaves.len();
            ends.push((place, merge(&leaves, group)));
        }
        let missed = ends.len() as u64 - found;
        Update { found, missed, ..self.replace(cache, before, ends, old) }
    }

    /// Computes the effect of unknown changes of the rows with these paths. `after` is the state after them.
    ///
    /// Cost per row: a scan of the rows of its end, unless another row of the end changed too.
    pub fn catch_up<R: Reader + ?Sized>(&self, after: &R, paths: impl IntoIterator<Item = Path>) -> Update {
        let ends = paths.into_iter().map(|path| self.end_of(&path)).map(|place| (start_of(place), place));
        let ends: BTreeMap<u64, Place> = ends.collect();
        let old = ends.values().map(|place| usize::from(self.node(*place).leaves)).sum();
        let read = |place: Place| (place, read_leaves(&self.prefix, place, after).into());
        let ends = ends.into_values().map(read).collect();
        self.replace(&Cache::new(0), after, ends, old)
    }

    /// Computes the effect of new leaves of these ends, which had `old` leaves and ascend. `reader` has the rows of the
    /// others.
    fn replace<R: Reader + ?Sized>(&self, cache: &Cache, reader: &R, ends: Vec<EndLeaves>, old: usize) -> Update {
        let new: usize = ends.iter().map(|(_, leaves)| leaves.len()).sum();
        let before = Before {
            bucket_above: &|place| self.bucket_above(place),
            node: &|place| self.node(place),
            leaves: &|place| self.leaves_of(cache, reader, place).into_owned(),
        };
        let Divided { buckets, below, ends, reshaped } = Divided::new(&before, ends);
        let (nodes, after) = self.nodes_above(&buckets);
        let leaves = (self.leaves + new).saturating_sub(old);
        let (splits, joins) = (Vec::new(), 0);
        let (found, missed, before) = (0, 0, self.root());
        let mut update = Update { before, after, leaves, nodes, below, splits, joins, ends, reshaped, found, missed };
        self.reshape(cache, reader, &mut update);
        update
    }

    /// Adds the splits and joins to an update.
    fn reshape<R: Reader + ?Sized>(&self, cache: &Cache, reader: &R, update: &mut Update) {
        let (mut shape, leaves) = (self.shape(), update.leaves);
        let is_too_small = |shape: &Shape| leaves > BUCKET_LEAVES * shape.buckets() && shape.depth < DEPTH_MAX;
        // As many as the block's leaves need, and some of those that an estimate of the number of leaves left to be made.
        let splits_max = SPLITS_MIN + update.ends.iter().map(|(_, leaves)| leaves.len()).sum::<usize>();
        if is_too_small(&shape) {
            let below: BTreeMap<Place, Option<Node>> = update.below.iter().copied().collect();
            let below = |place| below.get(&place).copied().unwrap_or_else(|| self.below.get(&place).copied());
            let mut ends: BTreeMap<Place, Box<[Leaf]>> = std::mem::take(&mut update.ends).into_iter().collect();
            while is_too_small(&shape) && update.splits.len() < splits_max {
                let place = shape.split();
                let halves = children(place);
                update.reshaped.push(place);
                if let [Some(left), Some(right)] = halves.map(below) {
                    update.splits.push([left, right]);
                    update.reshaped.extend(halves);
                    continue;
                }
                let whole = match ends.remove(&place) {
                    Some(leaves) => Cow::Owned(leaves.into_vec()),
                    None => self.leaves_of(cache, reader, place),
                };
                let (left, right) = split(&whole, place.0);
                update.splits.push([fold(left, place.0 + 1), fold(right, place.0 + 1)]);
                ends.extend(halves.into_iter().zip([left.into(), right.into()]));
            }
            update.ends = ends.into_iter().collect();
        }
        while 2 * leaves < BUCKET_LEAVES * shape.buckets() && shape.buckets() > 1 {
            let place = shape.join();
            update.reshaped.extend(children(place));
            update.reshaped.push(place);
            update.joins += 1;
        }
    }

    /// Returns the nodes of changed buckets and of the levels above them, and the root.
    fn nodes_above(&self, buckets: &[(Place, Node)]) -> (Vec<(Place, Node)>, Hash) {
        let (mut nodes, mut root) = (Vec::new(), self.root());
        let mut level = Vec::new();
        for depth in (0..=self.depth + 1).rev() {
            // The halves have lower paths than the other buckets, and so do their parents.
            if depth >= self.depth {
                let changed = buckets.iter().filter(|(place, _)| place.0 == depth);
                level.extend(changed.map(|((_, index), node)| (*index, *node)));
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

    /// Returns the leaves of an end that did not change yet. If rows were read that do not have the hash of the tree,
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
        for (place, node) in update.below {
            match node {
                Some(node) => self.below.insert(place, node),
                None => self.below.remove(&place),
            };
        }
        for halves in update.splits {
            for half in children((self.depth, self.halves() / 2)) {
                self.below.remove(&half);
            }
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
            let place = (self.depth, halves / 2);
            if is_crowded(place, self.node(place).leaves.into()) {
                self.below.extend(children(place).map(|half| (half, self.levels[half.0 as usize][half.1])));
            }
            self.levels[self.depth as usize + 1].truncate(halves);
        }
        cache.found += update.found;
        cache.missed += update.missed;
        let mut changed = Vec::with_capacity(update.ends.len() + update.reshaped.len());
        // Nothing is stored of an empty tree.
        let is_empty = self.root() == EMPTY_ROOT;
        let node = |place| (!is_empty && self.is_stored(place)).then(|| self.node(place));
        for (place, leaves) in update.ends {
            cache.put(self.cache_key(place), leaves);
            changed.push(StoredNode::new(&self.prefix, place, node(place)));
        }
        for place in update.reshaped {
            cache.remove(&self.cache_key(place));
            changed.push(StoredNode::new(&self.prefix, place, node(place)));
        }
        changed
    }

    /// Returns the nodes of all buckets and ends, to store them.
    pub fn stored(&self) -> impl Iterator<Item = StoredNode> {
        let buckets = (0..self.shape().buckets()).map(|nth| self.nth_bucket(nth));
        let places = buckets.chain(self.ends_below()).take_while(|_| self.root() != EMPTY_ROOT);
        places.map(|place| StoredNode::new(&self.prefix, place, Some(self.node(place))))
    }

    fn is_stored(&self, place: Place) -> bool {
        self.is_bucket(place) || self.below.contains_key(&place) && self.is_end(place)
    }

    /// Returns the places of all ends.
    fn ends(&self) -> impl Iterator<Item = Place> {
        let buckets = (0..self.shape().buckets()).map(|nth| self.nth_bucket(nth));
        buckets.filter(|place| self.is_end(*place)).chain(self.ends_below())
    }

    /// Returns the places of the ends below crowded buckets.
    fn ends_below(&self) -> impl Iterator<Item = Place> {
        self.below.keys().copied().filter(|place| self.is_end(*place))
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

    fn node(&self, place @ (depth, index): Place) -> Node {
        let above = self.levels.get(depth as usize).and_then(|level| level.get(index));
        *above.unwrap_or_else(|| &self.below[&place])
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

    /// Returns the place of the bucket that is at or above a place.
    fn bucket_above(&self, (depth, index): Place) -> Place {
        let above = index >> (depth - self.depth);
        if 2 * above < self.halves() {
            return (self.depth + 1, index >> (depth - self.depth - 1));
        }
        (self.depth, above)
    }

    /// Returns true if no nodes are below the place of a node.
    fn is_end(&self, place @ (depth, index): Place) -> bool {
        let is_above = depth < self.depth || depth == self.depth && 2 * index < self.halves();
        !is_above && (self.node(place).leaves < CROWDED || !self.below.contains_key(&children(place)[0]))
    }

    /// Returns the place of the end of a path.
    fn end_of(&self, path: &Path) -> Place {
        let mut place = (self.depth, index_at(path, self.depth));
        if 2 * place.1 < self.halves() {
            place = (self.depth + 1, index_at(path, self.depth + 1));
        }
        while !self.below.is_empty() && !self.is_end(place) {
            place = (place.0 + 1, index_at(path, place.0 + 1));
        }
        place
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

/// Returns the leaves of an end after the changes, which all belong to it.
fn merge(end: &[Leaf], changes: &[Change]) -> Box<[Leaf]> {
    let mut leaves = Vec::with_capacity(end.len() + changes.len());
    let mut rest = end;
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
