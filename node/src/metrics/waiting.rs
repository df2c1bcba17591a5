//! Arrival times of transactions until they are committed: for two histograms.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard},
    time::{Duration, Instant},
};

use types::TxId;

/// Maximum number of remembered transactions. When full, the oldest ones are dropped and not measured.
const WAITING_MAX: usize = 65_536;

/// The arrival times of transactions that are not committed yet.
#[derive(Debug, Default)]
pub struct Waiting(Mutex<Generations>);

/// Two maps: when the newer one has half of all entries, the older one is dropped. So eviction has no cost per
/// transaction.
#[derive(Debug, Default)]
struct Generations {
    newer: HashMap<TxId, (Instant, bool)>,
    older: HashMap<TxId, (Instant, bool)>,
}

impl Waiting {
    /// Remembers a transaction that entered the mempool and arrived at `since`. `is_local`: a client of this node sent
    /// it.
    pub fn note(&self, id: TxId, since: Instant, is_local: bool) {
        let mut generations = self.lock();
        if generations.newer.len() >= WAITING_MAX / 2 {
            generations.older = std::mem::take(&mut generations.newer);
        }
        generations.newer.insert(id, (since, is_local));
    }

    /// Removes these transactions; returns how long each waited, and if it is local. Unknown ones are left out.
    pub fn take(&self, ids: impl Iterator<Item = TxId>) -> Vec<(Duration, bool)> {
        let now = Instant::now();
        let mut generations = self.lock();
        if generations.newer.is_empty() && generations.older.is_empty() {
            return Vec::new();
        }
        ids.filter_map(|id| generations.newer.remove(&id).or_else(|| generations.older.remove(&id)))
            .map(|(since, is_local)| (now.saturating_duration_since(since), is_local))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().expect("a thread that panics stops the process")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> TxId {
        TxId::of(&n.to_be_bytes())
    }

    #[test]
    fn a_transaction_is_measured_once_and_the_memory_is_bounded() {
        let waiting = Waiting::default();
        waiting.note(id(1), Instant::now(), true);
        assert_eq!(waiting.take([id(1), id(2)].into_iter()).len(), 1);
        assert!(waiting.take([id(1)].into_iter()).is_empty());
        (0..2 * WAITING_MAX).for_each(|n| waiting.note(id(n), Instant::now(), false));
        let generations = waiting.lock();
        assert!(generations.newer.len() + generations.older.len() <= WAITING_MAX);
    }
}
