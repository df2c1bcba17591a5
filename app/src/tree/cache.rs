//! The leaves of recently changed ends, so that most changes read no neighbouring rows.
//!
//! What is in the cache decides only what is read, never what is computed
//! (`a_cache_of_any_size_gives_the_same_roots_and_proofs`). One cache serves the trees of all parts of the state.

use std::{collections::BTreeMap, mem};

use super::{bucket::Place, node::Leaf};

/// Bytes that an end takes beside its leaves, in a map and in the allocator; estimated.
const END_BYTES: usize = 80;

/// Tree and place of an end, in one number that is compared quickly: a bit marks the depth, above the bits of the index.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(u128);

impl Key {
    pub fn new(tree: u64, (depth, index): Place) -> Self {
        Self(u128::from(tree) << 64 | 1 << depth | index as u128)
    }
}

/// A bounded number of ends. When it is full, an end is dropped that was not put in since the generations last
/// changed.
pub struct Cache {
    bytes_max: usize,
    bytes: usize,
    young: BTreeMap<Key, Box<[Leaf]>>,
    old: BTreeMap<Key, Box<[Leaf]>>,
    /// Ends that were found, and those that had to be read, in updates that were applied.
    pub(super) found: u64,
    pub(super) missed: u64,
}

/// Size and use of a [`Cache`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CacheStats {
    /// Bytes of memory of the cached ends.
    pub bytes: usize,
    /// Number of ends that changed and were in the cache.
    pub hits: u64,
    /// Number of ends that changed and were read from the rows of the state.
    pub misses: u64,
}

impl Cache {
    /// Maximum bytes in a node: the leaves of about 900,000 rows.
    pub const BYTES_MAX: usize = 64 << 20;

    /// Creates an empty cache of at most `bytes_max` bytes.
    pub fn new(bytes_max: usize) -> Self {
        let (young, old) = (BTreeMap::new(), BTreeMap::new());
        Self { bytes_max, bytes: 0, young, old, found: 0, missed: 0 }
    }

    /// Returns size and use.
    pub fn stats(&self) -> CacheStats {
        CacheStats { bytes: self.bytes, hits: self.found, misses: self.missed }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&[Leaf]> {
        self.young.get(key).or_else(|| self.old.get(key)).map(|leaves| &**leaves)
    }

    pub(super) fn put(&mut self, key: Key, leaves: Box<[Leaf]>) {
        self.bytes += bytes_of(&leaves);
        let before = self.young.insert(key, leaves).or_else(|| self.old.remove(&key));
        self.bytes -= before.map_or(0, |leaves| bytes_of(&leaves));
        while self.bytes > self.bytes_max {
            if self.old.is_empty() {
                mem::swap(&mut self.young, &mut self.old);
            }
            let (_, dropped) = self.old.pop_first().expect("some end has the bytes");
            self.bytes -= bytes_of(&dropped);
        }
    }

    pub(super) fn remove(&mut self, key: &Key) {
        let before = self.young.remove(key).or_else(|| self.old.remove(key));
        self.bytes -= before.map_or(0, |leaves| bytes_of(&leaves));
    }
}

fn bytes_of(leaves: &[Leaf]) -> usize {
    size_of_val(leaves) + END_BYTES
}
