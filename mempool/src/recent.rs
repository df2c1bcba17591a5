//! A bounded set of transaction ids that evicts the oldest.

use std::{collections::HashSet, mem};

use types::TxId;

/// The ids that were inserted last: at least `max`, at most twice that number.
///
/// The set has two generations: when the young one is full it becomes the old one, and the previous old one is dropped.
/// The sets are never iterated, so the order of a hash set has no effect.
#[derive(Debug)]
pub(crate) struct Recent {
    young: HashSet<TxId>,
    old: HashSet<TxId>,
    max: usize,
}

impl Recent {
    /// Creates an empty set. `max` is at least 1.
    pub fn new(max: usize) -> Self {
        Self { young: HashSet::new(), old: HashSet::new(), max: max.max(1) }
    }

    /// Returns true if `id` is in the set.
    pub fn contains(&self, id: &TxId) -> bool {
        self.young.contains(id) || self.old.contains(id)
    }

    /// Inserts `id` as the newest.
    pub fn insert(&mut self, id: TxId) {
        if self.young.len() >= self.max && !self.young.contains(&id) {
            self.old = mem::take(&mut self.young);
        }
        self.young.insert(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_recent_ids_are_remembered_and_memory_is_bounded() {
        let id = |n: u32| TxId::of(&n.to_be_bytes());
        let mut recent = Recent::new(10);
        for n in 0..1000 {
            recent.insert(id(n));
            assert!((n.saturating_sub(9)..=n).all(|n| recent.contains(&id(n))));
            assert!(recent.young.len() + recent.old.len() <= 20);
        }
        assert!(!recent.contains(&id(0)));
    }
}
