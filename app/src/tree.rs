//! A history-independent authenticated map over flat rows.
//!
//! The tree is a compact sparse Merkle tree over 256-bit paths ([`rows`] defines the rows, `node` the hashing rules).
//! Its root is a function of the content alone: it does not depend on the order of writes, on restarts, or on values
//! that were changed and restored.
//!
//! The rows are the data; nothing else is stored. In memory the tree keeps 8 bytes of the path and the hash of each
//! leaf, and the hashes of the top levels: about 50 to 60 bytes per leaf in total, regardless of the size of keys and
//! values. An update therefore reads no neighbouring rows; it hashes the changed values, one bucket of leaves each, and
//! the levels above.
//!
//! ```text
//!  levels   [0]                       root; the children of node i are 2i and 2i + 1 of the next level
//!           [0]          [1]
//!           …                         down to level `depth`
//!  buckets  -  -  [2] [3] [4] …       2^depth lists of slots, ascending; the first of them are split,
//!  halves   [0][1][2][3]              and their halves hang one level deeper
//!  slot     first 64 bits of a path, and the subtree below them: nearly always one leaf
//! ```
//!
//! The tree grows and shrinks bucket by bucket (linear hashing), so that no block pays for the writes of earlier
//! blocks. When there are too many slots, the next bucket in order is split; when all buckets are split, their halves
//! become the buckets. Cost: 12 new slots split one bucket, about 24 hashes; joining two halves costs none.
//!
//! Two keys can share 64 bits of their paths; an attacker finds such a pair with 2^32 hashes. Their slot then holds the
//! hash of the subtree below bit 64, which is computed from the rows by a scan when it changes.
//!
//! Invariants:
//! **T1** Equal content has an equal root (`any_order_of_writes_gives_the_same_root`).
//! **T2** The incremental root equals the root computed from scratch (`incremental_equals_from_scratch`).
//! **T3** [`Tree::update`] changes nothing; only [`Tree::apply`] does, and only with an update of the current content
//! (asserted there; `an_update_that_is_not_applied_leaves_no_trace`).

pub(crate) mod node;
pub mod proof;
pub mod rows;
pub(crate) mod small;

use std::{collections::BTreeMap, mem};

use thiserror::Error;
use types::{Hash, Reader, WriteSet};

pub use node::EMPTY_ROOT;
use node::{Entry, Kind, Leaf, Node, descend, fold};
pub use proof::{Existence, Proof, ProofError};
use rows::{Path, bit, hash_value, path_of, read_row, row_key, rows_under, split_row, value_of};

/// Number of bits of a path that a slot stores.
const SLOT_BITS: u32 = 64;

/// Maximum average number of slots per bucket, and twice the minimum average. A larger value saves memory, a smaller
/// one saves hashing.
const BUCKET_LEAVES: usize = 12;

/// Maximum number of levels above the buckets: 2^26 buckets suit 800 million leaves; beyond, the buckets grow.
const DEPTH_MAX: u32 = 26;

/// An entry of a bucket: 41 bytes without padding.
#[derive(Clone, Copy)]
struct Slot {
    prefix: [u8; 8],
    /// `Leaf`, or `Branch` if several leaves share the prefix: then it is the subtree at depth 64.
    node: Node,
}

impl Entry for Slot {
    fn bit(&self, depth: u32) -> bool {
        bit(&self.prefix, depth)
    }

    fn alone(&self, depth: u32) -> Option<Node> {
        (self.node.kind == Kind::Leaf || depth == SLOT_BITS).then_some(self.node)
    }
}

/// A new state of one leaf; `EMPTY` removes it.
struct Change {
    path: Path,
    after: Node,
    value_hash: Hash,
}

impl Change {
    fn prefix(&self) -> [u8; 8] {
        prefix_of(&self.path)
    }
}

fn prefix_of(path: &Path) -> [u8; 8] {
    *path.first_chunk().expect("a path has 32 bytes")
}

/// Position of a bucket or node: its level, and its index in the level.
type Place = (u32, usize);

/// The tree over the rows under one prefix.
pub struct Tree {
    prefix: Vec<u8>,
    depth: u32,
    slots: usize,
    /// Buckets of level `depth`; the first `halves.len() / 2` are split, and empty here.
    buckets: Vec<Box<[Slot]>>,
    /// Buckets of the level below, as far as buckets are split.
    halves: Vec<Box<[Slot]>>,
    /// Nodes by level; the last level is as long as `halves`.
    levels: Vec<Vec<Node>>,
}

/// The effect of a set of writes on a tree; created by [`Tree::update`].
#[derive(Clone)]
pub struct Update {
    before: Hash,
    after: Hash,
    buckets: Vec<(Place, Box<[Slot]>)>,
    nodes: Vec<(Place, Node)>,
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
        Self::lay_out(prefix.to_vec(), Vec::new())
    }

    /// Creates the tree over the rows under `prefix`. Cost: one scan, about two hashes per row.
    pub fn open<R: Reader + ?Sized>(prefix: &[u8], reader: &R) -> Self {
        Self::lay_out(prefix.to_vec(), slots_of(prefix, prefix, reader, &mut |_, _| {}))
    }

    fn lay_out(prefix: Vec<u8>, slots: Vec<Slot>) -> Self {
        let depth = slots.len().div_ceil(BUCKET_LEAVES).next_power_of_two().ilog2().min(DEPTH_MAX);
        let (buckets, halves) = (Vec::with_capacity(1 << depth), Vec::new());
        let mut tree = Self { prefix, depth, slots: slots.len(), buckets, halves, levels: Vec::new() };
        let mut rest = &slots[..];
        for index in 0..1 << depth {
            let (bucket, others) = rest.split_at(rest.partition_point(|slot| index_at(&slot.prefix, depth) == index));
            tree.buckets.push(bucket.into());
            rest = others;
        }
        let mut level: Vec<Node> = tree.buckets.iter().map(|bucket| fold(bucket, depth)).collect();
        tree.levels.push(Vec::new());
        while let [_, _, ..] = level[..] {
            let above = level.chunks(2).map(|children| Node::join(children[0], children[1])).collect();
            tree.levels.push(mem::replace(&mut level, above));
        }
        tree.levels.push(level);
        tree.levels.reverse();
        tree
    }

    /// Returns the root of the content.
    pub fn root(&self) -> Hash {
        self.levels[0][0].hash
    }

    /// Returns the bytes of memory that the tree uses, without the overhead of the allocator.
    pub fn memory_bytes(&self) -> usize {
        self.slots * size_of::<Slot>()
            + (self.buckets.len() + self.halves.len()) * size_of::<Box<[Slot]>>()
            + self.levels.iter().map(Vec::len).sum::<usize>() * size_of::<Node>()
    }

    /// Computes the effect of `writes`. `before` is the state that this tree describes; rows under other prefixes are
    /// ignored.
    ///
    /// Cost per row: one get of the row, the hash of its value, the hashes of one bucket (about 10 leaves), and a share
    /// of the levels above.
    pub fn update<R: Reader + ?Sized>(&self, before: &R, writes: &WriteSet) -> Update {
        let changes: Vec<Change> = rows_under(&self.prefix, writes).map(change).collect();
        let mut update = Update { before: self.root(), after: self.root(), buckets: Vec::new(), nodes: Vec::new() };
        let (mut halves, mut buckets) = (Vec::new(), Vec::new());
        for group in changes.chunk_by(|a, b| self.place_of(&a.path) == self.place_of(&b.path)) {
            let (depth, index) = self.place_of(&group[0].path);
            let bucket = self.merge(before, self.bucket((depth, index)), group);
            let level = if depth > self.depth { &mut halves } else { &mut buckets };
            level.push((index, fold(&bucket, depth)));
            update.buckets.push(((depth, index), bucket));
        }
        // Halves come before buckets, in the same order as their paths.
        let mut level = self.parents(self.depth + 1, &halves);
        level.extend(buckets);
        update.nodes.extend(halves.into_iter().map(|(index, node)| ((self.depth + 1, index), node)));
        for depth in (0..=self.depth).rev() {
            let above = if depth > 0 { self.parents(depth, &level) } else { Vec::new() };
            update.after = level.first().map_or(update.after, |(_, node)| node.hash);
            update
                .nodes
                .extend(mem::replace(&mut level, above).into_iter().map(|(index, node)| ((depth, index), node)));
        }
        update
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

    /// Returns the content of a bucket after the changes, which all belong to it.
    fn merge<R: Reader + ?Sized>(&self, before: &R, bucket: &[Slot], changes: &[Change]) -> Box<[Slot]> {
        let mut slots = Vec::with_capacity(bucket.len() + changes.len());
        let mut rest = bucket;
        for same in changes.chunk_by(|a, b| a.prefix() == b.prefix()) {
            let prefix = same[0].prefix();
            let (smaller, others) = rest.split_at(rest.partition_point(|slot| slot.prefix < prefix));
            slots.extend_from_slice(smaller);
            let (current, others) = match others {
                [first, others @ ..] if first.prefix == prefix => (first.node, others),
                _ => (Node::EMPTY, others),
            };
            rest = others;
            let node = self.slot_after(before, current, same);
            if node.kind != Kind::Empty {
                slots.push(Slot { prefix, node });
            }
        }
        slots.extend_from_slice(rest);
        slots.into_boxed_slice()
    }

    /// Returns the subtree at depth 64 after changes to paths that share these 64 bits.
    fn slot_after<R: Reader + ?Sized>(&self, before: &R, current: Node, changes: &[Change]) -> Node {
        if let [change] = changes {
            match current.kind {
                Kind::Empty => return change.after,
                // The leaf in this slot belongs to this key, unless another key shares its 64 bits.
                Kind::Leaf if before.get(&row_key(&self.prefix, &change.path)).is_some() => return change.after,
                Kind::Leaf if change.after.kind == Kind::Empty => return current,
                Kind::Leaf | Kind::Branch => {}
            }
        }
        let mut leaves = leaves_at(&self.prefix, before, &changes[0].prefix());
        for change in changes {
            match change.after.kind {
                Kind::Empty => leaves.remove(&change.path),
                _ => leaves.insert(change.path, change.value_hash),
            };
        }
        let leaves: Vec<Leaf> = leaves.into_iter().map(|(path, hash)| Leaf::new(path, hash)).collect();
        fold(&leaves, SLOT_BITS)
    }

    /// Applies an update to the tree. Call it together with writing the rows.
    ///
    /// Panics if the update was computed for other content, because the caller mixed up blocks.
    pub fn apply(&mut self, update: Update) {
        assert_eq!(update.before, self.root(), "an update is applied to the content it was made for");
        for (place, bucket) in update.buckets {
            let held = self.bucket_mut(place);
            let (before, after) = (held.len(), bucket.len());
            *held = bucket;
            self.slots = self.slots - before + after;
        }
        for ((depth, index), node) in update.nodes {
            self.levels[depth as usize][index] = node;
        }
        while self.slots > BUCKET_LEAVES * self.bucket_count() && self.depth < DEPTH_MAX {
            self.split_one();
        }
        while 2 * self.slots < BUCKET_LEAVES * self.bucket_count() && self.bucket_count() > 1 {
            self.join_one();
        }
    }

    fn bucket_count(&self) -> usize {
        self.buckets.len() + self.halves.len() / 2
    }

    /// Splits the next bucket in order. After the last one, the halves become the buckets.
    fn split_one(&mut self) {
        let (index, depth) = (self.halves.len() / 2, self.depth + 1);
        let bucket = mem::take(&mut self.buckets[index]);
        let (left, right) = bucket.split_at(bucket.partition_point(|slot| !slot.bit(self.depth)));
        for half in [left, right] {
            self.levels[depth as usize].push(fold(half, depth));
            self.halves.push(half.into());
        }
        if self.halves.len() == 2 * self.buckets.len() {
            self.buckets = mem::take(&mut self.halves);
            self.depth = depth;
            self.levels.push(Vec::new());
        }
    }

    /// Joins the last two halves. If there are none, the buckets become the halves first.
    fn join_one(&mut self) {
        if self.halves.is_empty() {
            self.halves = mem::take(&mut self.buckets);
            self.buckets.resize_with(self.halves.len() / 2, Box::default);
            self.depth -= 1;
            self.levels.pop();
        }
        let halves = self.halves.split_off(self.halves.len() - 2);
        let index = self.halves.len() / 2;
        self.buckets[index] = halves.concat().into();
        self.levels[self.depth as usize + 1].truncate(self.halves.len());
    }

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
        let prefix = prefix_of(&path);
        let place = self.place_of(&path);
        let bucket = self.bucket(place);
        let (smaller, others) = bucket.split_at(bucket.partition_point(|slot| slot.prefix < prefix));
        let (own, greater) = others.split_at(others.partition_point(|slot| slot.prefix == prefix));
        let before = smaller.last().or_else(|| self.nearest(place, false));
        let after = greater.first().or_else(|| self.nearest(place, true));
        let way = |slot: &Slot| self.way_to_slot(slot.prefix);
        Way {
            tree: self.prefix.clone(),
            root: self.root(),
            key: key.to_vec(),
            before: before.map(way),
            own: own.first().map(way),
            after: after.map(way),
        }
    }

    /// Returns the slot that is nearest to a bucket on the side of greater (or smaller) paths.
    fn nearest(&self, (mut depth, mut index): Place, greater: bool) -> Option<&Slot> {
        // Up, until there is something on that side; then down along its near edge.
        loop {
            if depth == 0 {
                return None;
            }
            let is_far = (index % 2 == 1) == greater;
            if !is_far && self.levels[depth as usize][index ^ 1].kind != Kind::Empty {
                break;
            }
            (depth, index) = (depth - 1, index / 2);
        }
        index ^= 1;
        while !self.has_bucket(depth, index) {
            let near = 2 * index + usize::from(!greater);
            depth += 1;
            index = if self.levels[depth as usize][near].kind == Kind::Empty { near ^ 1 } else { near };
        }
        let bucket = self.bucket((depth, index));
        if greater { bucket.first() } else { bucket.last() }
    }

    /// Returns true for the places of buckets, which have no nodes below them.
    fn has_bucket(&self, depth: u32, index: usize) -> bool {
        depth > self.depth || depth == self.depth && 2 * index >= self.halves.len()
    }

    fn way_to_slot(&self, prefix: [u8; 8]) -> SlotWay {
        let mut path = Path::default();
        path[..8].copy_from_slice(&prefix);
        let mut siblings = Vec::new();
        let (mut index, mut depth) = (0, 0);
        while self.levels[depth as usize][index].kind == Kind::Branch && !self.has_bucket(depth, index) {
            index = 2 * index + usize::from(bit(&path, depth));
            depth += 1;
            siblings.push(self.levels[depth as usize][index ^ 1].hash);
        }
        if self.levels[depth as usize][index].kind == Kind::Branch {
            descend(self.bucket((depth, index)), &path, depth, &mut siblings);
        }
        SlotWay { prefix, siblings }
    }

    /// Returns the leaves whose paths begin with the byte `first`: a 256th of the tree. It reads no rows, so a lock on
    /// the tree is held only while 41 bytes per leaf are copied.
    pub fn part(&self, first: u8) -> Part {
        let depth = self.depth.min(u8::BITS);
        let mut slots = self.slots_below(depth, usize::from(first) >> (u8::BITS - depth));
        slots.retain(|slot| slot.prefix[0] == first);
        Part { prefix: self.prefix.clone(), first, slots }
    }

    /// Returns the slots below a node: those of one bucket, or of all buckets below it.
    fn slots_below(&self, depth: u32, index: usize) -> Vec<Slot> {
        if depth > self.depth {
            return self.halves[index].to_vec();
        }
        let below = self.depth - depth;
        let (first, end) = (index << below, (index + 1) << below);
        let half = |bucket: usize| (2 * bucket).min(self.halves.len());
        [self.halves[half(first)..half(end)].concat(), self.buckets[first..end].concat()].concat()
    }

    fn place_of(&self, path: &[u8]) -> Place {
        let index = index_at(path, self.depth);
        if 2 * index < self.halves.len() {
            return (self.depth + 1, index_at(path, self.depth + 1));
        }
        (self.depth, index)
    }

    fn bucket(&self, (depth, index): Place) -> &[Slot] {
        if depth > self.depth { &self.halves[index] } else { &self.buckets[index] }
    }

    fn bucket_mut(&mut self, (depth, index): Place) -> &mut Box<[Slot]> {
        if depth > self.depth { &mut self.halves[index] } else { &mut self.buckets[index] }
    }
}

/// Returns the first `depth` bits of a path or of a path's prefix.
fn index_at(path: &[u8], depth: u32) -> usize {
    let first = u32::from_be_bytes(*path.first_chunk().expect("paths and prefixes have 8 bytes or more"));
    (u64::from(first) >> (32 - depth)) as usize
}

/// Returns the slots of the rows that begin with `rows`, which itself begins with the prefix of their tree. `visit` is
/// called for each row.
fn slots_of<R: Reader + ?Sized>(
    tree: &[u8],
    rows: &[u8],
    reader: &R,
    visit: &mut dyn FnMut(&[u8], &[u8]),
) -> Vec<Slot> {
    let mut slots = Vec::new();
    let mut same: Vec<Leaf> = Vec::new();
    let mut close = |same: &mut Vec<Leaf>| {
        if let Some(first) = same.first() {
            slots.push(Slot { prefix: prefix_of(&first.path), node: fold(same, SLOT_BITS) });
            same.clear();
        }
    };
    reader.scan(rows, &mut |row, value| {
        let Some((path, value_hash)) = read_row(reader, tree, row, value) else { return false };
        visit(row, value);
        if same.first().is_some_and(|first| prefix_of(&first.path) != prefix_of(&path)) {
            close(&mut same);
        }
        same.push(Leaf::new(path, value_hash));
        true
    });
    close(&mut same);
    slots
}

/// Returns all leaves whose paths begin with these 64 bits, read from the rows under `tree`.
fn leaves_at<R: Reader + ?Sized>(tree: &[u8], reader: &R, prefix: &[u8; 8]) -> BTreeMap<Path, Hash> {
    let mut leaves = BTreeMap::new();
    reader.scan(&[tree, prefix].concat(), &mut |row, value| {
        let read = read_row(reader, tree, row, value);
        leaves.extend(read);
        read.is_some()
    });
    leaves
}

/// The part of a proof that is in memory: the ways to the slots that hold a key or its neighbours; created by
/// [`Tree::way_to`].
pub struct Way {
    tree: Vec<u8>,
    root: Hash,
    key: Vec<u8>,
    before: Option<SlotWay>,
    /// The slot with the first 64 bits of the key's path.
    own: Option<SlotWay>,
    after: Option<SlotWay>,
}

/// The hashes of the siblings on the way from the root to a slot.
struct SlotWay {
    prefix: [u8; 8],
    siblings: Vec<Hash>,
}

impl Way {
    /// Returns the root of the tree.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Completes the proof with the rows. `reader` is the state that the tree described.
    ///
    /// Cost: the rows of at most three slots, nearly always one each.
    ///
    /// Errors: [`StaleReader`] if `reader` is at another height.
    pub fn prove<R: Reader + ?Sized>(&self, reader: &R) -> Result<Proof, StaleReader> {
        let proof = self.find(reader);
        let verified = proof.verify(&self.root, &self.key, proof.value());
        verified.map(|()| proof).map_err(|_| StaleReader)
    }

    fn find<R: Reader + ?Sized>(&self, reader: &R) -> Proof {
        let path = path_of(&self.key);
        let leaves = |slot: &Option<SlotWay>| slot.as_ref().map_or_else(Vec::new, |slot| self.leaves(reader, slot));
        let own = leaves(&self.own);
        let (smaller, others) = own.split_at(own.partition_point(|(at, _)| *at < path));
        if let [(at, leaf), ..] = others
            && *at == path
        {
            return Proof::Existence(leaf.clone());
        }
        let left = smaller.last().cloned().or_else(|| leaves(&self.before).pop());
        let right = others.first().cloned().or_else(|| leaves(&self.after).into_iter().next());
        let key = self.key.clone();
        Proof::Absence { key, left: left.map(|(_, leaf)| leaf), right: right.map(|(_, leaf)| leaf) }
    }

    /// Returns the leaves of a slot, ascending by path, each with its way from the root.
    fn leaves<R: Reader + ?Sized>(&self, reader: &R, slot: &SlotWay) -> Vec<(Path, Existence)> {
        let (mut leaves, mut found) = (Vec::new(), Vec::new());
        reader.scan(&[&self.tree[..], &slot.prefix].concat(), &mut |row, value| {
            let Some((path, value_hash)) = read_row(reader, &self.tree, row, value) else { return false };
            leaves.push(Leaf::new(path, value_hash));
            let parts = split_row(value).map(|(key, value)| (key.to_vec(), value.to_vec()));
            found.extend(parts);
            true
        });
        let with_way = |(leaf, (key, value)): (&Leaf, _)| {
            let mut siblings = slot.siblings.clone();
            descend(&leaves, &leaf.path, SLOT_BITS, &mut siblings);
            (leaf.path, Existence { key, value, siblings })
        };
        leaves.iter().zip(found).map(with_way).collect()
    }
}

/// A copy of the leaves of a part of a tree; created by [`Tree::part`].
pub struct Part {
    prefix: Vec<u8>,
    first: u8,
    slots: Vec<Slot>,
}

/// Result of the comparison of a part with its rows; created by [`Part::compare`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compared {
    /// Number of rows that were read.
    pub rows: u64,
    /// Bytes of the keys and values of these rows.
    pub bytes: usize,
    /// Keys, or first bytes of keys, of the rows that differ from the tree, with a description of the difference.
    pub different: Vec<(Vec<u8>, &'static str)>,
}

impl Part {
    /// Compares the part with its rows. `reader` is the state that the tree described. A failed read ends the
    /// comparison; the reader is informed of it.
    pub fn compare<R: Reader + ?Sized>(&self, reader: &R) -> Compared {
        let mut compared = Compared::default();
        let rows = [&self.prefix[..], &[self.first]].concat();
        let found = slots_of(&self.prefix, &rows, reader, &mut |key, row| {
            compared.rows += 1;
            compared.bytes += key.len() + row.len();
            // The raw key in a row is not part of any hash, so it is checked here.
            if rows::split_row(row).is_none_or(|(raw, _)| row_key(&self.prefix, &path_of(raw)) != key) {
                compared.different.push((key.to_vec(), "the row holds another key"));
            }
        });
        let row_of = |slot: &[u8; 8]| [&self.prefix[..], slot].concat();
        let mut expected: BTreeMap<[u8; 8], Node> = self.slots.iter().map(|slot| (slot.prefix, slot.node)).collect();
        for Slot { prefix, node } in found {
            let what = match expected.remove(&prefix) {
                Some(of_tree) if of_tree.hash == node.hash => continue,
                Some(_) => "the row's value is not what the chain agreed on",
                None => "the chain has no such row",
            };
            compared.different.push((row_of(&prefix), what));
        }
        let missing = expected.keys().map(|prefix| (row_of(prefix), "the row is missing"));
        compared.different.extend(missing);
        compared
    }
}

fn change((path, row): (Path, Option<&[u8]>)) -> Change {
    match row {
        Some(row) => {
            let leaf = Leaf::new(path, hash_value(value_of(row)));
            Change { path, after: leaf.node(), value_hash: leaf.value_hash }
        }
        None => Change { path, after: Node::EMPTY, value_hash: EMPTY_ROOT },
    }
}

#[cfg(test)]
mod tests;
