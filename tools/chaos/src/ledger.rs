//! What was sent, and what the nodes answered about it.

use std::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicU64, Ordering},
};

use types::{Address, TxId};

/// A transaction of which a node said that it is committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Committed {
    /// Id of the transaction.
    pub id: TxId,
    /// Height of its block, as the node said.
    pub height: u64,
}

/// A transaction that was not committed when the run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unfinished {
    /// Id of the transaction.
    pub id: TxId,
    /// Reason why it was not committed.
    pub why: Why,
}

/// Reason why a transaction was not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Its time was over, so that no block may contain it any more.
    Expired,
    /// A node refused it by a rule of the chain, with this code.
    Refused(u64),
    /// The time for it was over: it was sent again and again.
    Late,
}

/// What was sent in a run. Threads share it.
#[derive(Default)]
pub struct Ledger {
    committed: Mutex<Vec<Committed>>,
    unfinished: Mutex<Vec<Unfinished>>,
    accounts: Mutex<Vec<Address>>,
    /// Number of transfers that were sent, each counted once.
    pub transfers: AtomicU64,
    /// Number of operations of stake that were sent.
    pub stakes: AtomicU64,
    /// Number of operations of stake that the chain refused by its rules.
    pub refused: AtomicU64,
    /// Number of requests that were sent again, because their result was unknown.
    pub repeated: AtomicU64,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nothing panics while it holds the lock")
}

impl Ledger {
    /// Adds a transaction of which a node said that it is committed.
    pub fn committed(&self, id: TxId, height: u64) {
        lock(&self.committed).push(Committed { id, height });
    }

    /// Adds a transaction that was not committed.
    pub fn unfinished(&self, id: TxId, why: Why) {
        lock(&self.unfinished).push(Unfinished { id, why });
    }

    /// Adds an account whose money comes and goes by transfers alone.
    pub fn account(&self, address: Address) {
        lock(&self.accounts).push(address);
    }

    /// Returns all committed transactions.
    pub fn all_committed(&self) -> Vec<Committed> {
        lock(&self.committed).clone()
    }

    /// Returns all transactions that were not committed.
    pub fn all_unfinished(&self) -> Vec<Unfinished> {
        lock(&self.unfinished).clone()
    }

    /// Returns the accounts whose money comes and goes by transfers alone.
    pub fn accounts(&self) -> Vec<Address> {
        lock(&self.accounts).clone()
    }

    /// Counts one more in a counter of the ledger.
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}
