//! The bounds of a mempool, and the values that it reports.

use std::time::Duration;

use types::{NodeId, TxId, limits::TX_BYTES_MAX};

/// Bounds of a mempool, chosen by the operator, not by the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Maximum number of transactions that wait.
    pub txs_max: usize,
    /// Maximum total size of the transactions that wait, in bytes.
    pub bytes_max: usize,
    /// Maximum size of one transaction, in bytes.
    pub tx_bytes_max: usize,
    /// Maximum number of transactions of one sender that wait.
    pub sender_txs_max: usize,
    /// Minimum fee increase to replace a transaction with the same nonce, in percent.
    pub replace_percent: u64,
    /// Maximum time that a transaction waits.
    pub ttl: Duration,
    /// Number of committed transactions that are remembered, so that they are not accepted again.
    pub committed_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            txs_max: 50_000,
            bytes_max: 64 << 20,
            tx_bytes_max: TX_BYTES_MAX,
            sender_txs_max: 4_096,
            replace_percent: 10,
            ttl: Duration::from_secs(600),
            committed_max: 100_000,
        }
    }
}

/// Origin of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client of this node; the transaction is announced to peers.
    Local,
    /// Gossip of a peer, which reaches the other peers without us.
    Peer(NodeId),
    /// The response of a peer that was asked for its waiting transactions; it is announced to the other peers.
    Fetched(NodeId),
}

/// A transaction that the mempool accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Id of the transaction.
    pub id: TxId,
    /// Gas that the transaction requests.
    pub gas_wanted: i64,
}

/// Content of the mempool, and counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Number of transactions that wait.
    pub txs: usize,
    /// Total size of the transactions that wait, in bytes.
    pub bytes: usize,
    /// Number of transactions that were accepted.
    pub added: u64,
    /// Number of transactions that were refused, including duplicates.
    pub refused: u64,
    /// Number of transactions that were evicted to make room.
    pub evicted: u64,
    /// Number of transactions that were dropped because they waited too long.
    pub expired: u64,
    /// Number of transactions that were checked again after a block.
    pub rechecked: u64,
    /// Number of transactions that were dropped because a block or new parameters made them invalid.
    pub dropped: u64,
    /// Number of transactions that were put into proposals.
    pub reaped: u64,
}

/// Minimum interval between two announcements of one transaction, however often clients send it.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);
