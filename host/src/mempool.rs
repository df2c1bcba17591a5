//! Transactions that wait for a block.
//!
//! ```text
//!   clients ─┐                        ┌─> reap: the proposer's block
//!            ├─> check the signature ─> add ──> take_outgoing: gossip (gossip forwards by itself what came by it)
//!   peers ───┘   (TxVerifier)         ├─> waiting, batch: what a peer that comes up asks for
//!                                     └─< update: after each block
//! ```
//! | rule | bound |
//! |---|---|
//! | transactions, bytes, bytes of one, transactions of one sender | [`Config`] |
//! | nonces ahead of the next one that is missing | [`app::NONCES_AHEAD_MAX`]; held, but not for a block yet |
//! | order | highest fee first, earlier arrival first; each sender's nonces in order |
//! | one nonce twice | the second takes the first's place if it pays [`Config::replace_percent`] more |
//! | full | what ranks lowest gives way to what ranks higher: first what cannot be executed yet, then lower fees, then later arrivals |
//! | money | all that waits of a sender together may cost what the sender has |
//! | time to live | [`Config::ttl`], [`Config::ttl_heights`], and an unordered transaction's own last height |
//! | after a block | only senders whose account it touched are checked again; of what they cannot pay for any more 1,024 are dropped, and as many of what is too old. The rest waits for the next block, and is in none |
//! | after new parameters | everything is checked again: only the validators' decision brings that about |
//!
//! One lock guards everything and is held for microseconds: signatures are checked before, waiting happens elsewhere.

mod error;
mod pool;

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, OnceLock},
    time::Duration,
};

use app::Rules;
pub use error::MempoolError;
use pool::Pool;
use types::{
    Address, ChainId, Height, Params, Reader, Time, TxId, VerifiedTx,
    limits::{TX_BATCH_MAX, TX_BYTES_MAX},
};

use crate::Peer;

/// Bounds of a mempool; an operator's choices, not the chain's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Transactions that may wait.
    pub txs_max: usize,
    /// Bytes that they may have together.
    pub bytes_max: usize,
    /// Bytes that one may have.
    pub tx_bytes_max: usize,
    /// Transactions of one sender that may wait.
    pub sender_txs_max: usize,
    /// By how much more a fee must be to replace a transaction with the same nonce, in percent.
    pub replace_percent: u64,
    /// How long one may wait.
    pub ttl: Duration,
    /// How many heights one may wait.
    pub ttl_heights: Option<u64>,
    /// Committed transactions that are remembered, so that they are not taken again.
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
            ttl_heights: None,
            committed_max: 100_000,
        }
    }
}

/// Where a transaction comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A client of ours: peers are to be told.
    Local,
    /// A peer's gossip, which reaches the others without us.
    Peer(Peer),
    /// A peer that we asked what waits with it: the other peers are to be told.
    Fetched(Peer),
}

/// A transaction that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its id.
    pub id: TxId,
    /// Gas that it asks for.
    pub gas_wanted: i64,
}

/// How much waits, and what has happened since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions that wait.
    pub txs: usize,
    /// Their bytes.
    pub bytes: usize,
    /// Taken.
    pub added: u64,
    /// Refused, duplicates among them.
    pub refused: u64,
    /// Dropped to make room.
    pub evicted: u64,
    /// Dropped because they waited too long.
    pub expired: u64,
    /// Looked at again after a block.
    pub rechecked: u64,
    /// Dropped because a block or new parameters left them without a chance.
    pub dropped: u64,
    /// Handed to proposals.
    pub reaped: u64,
}

/// Least time between two announcements of one transaction, however often clients send it.
pub const ANNOUNCE_INTERVAL: Duration = Duration::from_secs(5);

type Hook = OnceLock<Box<dyn Fn() + Send + Sync>>;

/// Transactions that wait for a block. For any number of threads.
pub struct Mempool {
    inner: Mutex<Inner>,
    on_outgoing: Hook,
    on_ready: Hook,
}

struct Inner {
    pool: Pool,
    /// What peers are to be told, oldest first, with its bytes. As long as the pool may be; the oldest is forgotten when full.
    outgoing: VecDeque<(TxId, usize)>,
    outgoing_bytes: usize,
    outgoing_max: usize,
}

impl Inner {
    fn push_outgoing(&mut self, id: TxId, bytes: usize) {
        if self.outgoing.len() >= self.outgoing_max {
            self.pop_outgoing();
        }
        self.outgoing.push_back((id, bytes));
        self.outgoing_bytes += bytes;
    }

    fn pop_outgoing(&mut self) -> Option<TxId> {
        let (id, bytes) = self.outgoing.pop_front()?;
        self.outgoing_bytes -= bytes;
        Some(id)
    }
}

fn call(hook: &Hook) {
    if let Some(hook) = hook.get() {
        hook();
    }
}

impl Mempool {
    /// Nothing waits yet.
    pub fn new(config: Config, chain_id: ChainId) -> Self {
        let outgoing_max = config.txs_max;
        let pool = Pool::new(config, chain_id);
        let inner = Inner { pool, outgoing: VecDeque::new(), outgoing_bytes: 0, outgoing_max };
        Self { inner: Mutex::new(inner), on_outgoing: OnceLock::new(), on_ready: OnceLock::new() }
    }

    /// Calls `hook` whenever there is something in [`Mempool::take_outgoing`] again. Set once, before the first transaction; it
    /// runs on the thread that added the transaction, with no lock held, and must not wait.
    pub fn on_outgoing(&self, hook: impl Fn() + Send + Sync + 'static) {
        let is_first = self.on_outgoing.set(Box::new(hook)).is_ok();
        debug_assert!(is_first, "the hook is set once");
    }

    /// Calls `hook` whenever a block could take something again, after there was nothing ([`Mempool::is_empty`]). As
    /// [`Mempool::on_outgoing`].
    pub fn on_ready(&self, hook: impl Fn() + Send + Sync + 'static) {
        let is_first = self.on_ready.set(Box::new(hook)).is_ok();
        debug_assert!(is_first, "the hook is set once");
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("a thread that panics stops the process")
    }

    /// Takes a transaction in, or says why not.
    ///
    /// `reader` is the state after block `height`, `params` are those of the next height. A state that is one block behind the
    /// mempool's does no harm: the sender is looked at again after the next block. Cost: a few reads and O(log n).
    ///
    /// Errors: [`MempoolError`], with the way out.
    pub fn add<R: Reader + ?Sized>(
        &self,
        reader: &R,
        height: Height,
        params: &Params,
        tx: VerifiedTx,
        now: Time,
        source: Source,
    ) -> Result<Added, MempoolError> {
        let added = Added { id: tx.id(), gas_wanted: pool::gas(&tx) };
        let mut guard = self.inner();
        let inner = &mut *guard;
        let (was_ready, was_outgoing) = (inner.pool.has_ready(), !inner.outgoing.is_empty());
        let rules = inner.rules(height, params);
        let plan = match inner.pool.plan(reader, &rules, &tx) {
            Ok(plan) => plan,
            Err(error) => {
                inner.pool.stats.refused += 1;
                return Err(error);
            }
        };
        inner.pool.stats.added += 1;
        if !matches!(source, Source::Peer(_)) {
            inner.push_outgoing(added.id, tx.bytes().len());
        }
        inner.pool.add(reader, &rules, plan, tx, now);
        let (is_ready, is_outgoing) = (inner.pool.has_ready(), !inner.outgoing.is_empty());
        drop(guard);
        if is_outgoing && !was_outgoing {
            call(&self.on_outgoing);
        }
        if is_ready && !was_ready {
            call(&self.on_ready);
        }
        Ok(added)
    }

    /// Whether [`Mempool::add`] would take it. Changes nothing.
    pub fn check<R: Reader + ?Sized>(
        &self,
        reader: &R,
        height: Height,
        params: &Params,
        tx: &VerifiedTx,
    ) -> Result<Added, MempoolError> {
        let added = Added { id: tx.id(), gas_wanted: pool::gas(tx) };
        let inner = self.inner();
        inner.pool.plan(reader, &inner.rules(height, params), tx)?;
        Ok(added)
    }

    /// Why bytes with this id need not be looked at: they wait here, or were committed not long ago.
    pub fn known(&self, id: &TxId) -> Option<MempoolError> {
        let inner = self.inner();
        if inner.pool.get(id).is_some() {
            return Some(MempoolError::held());
        }
        inner.pool.is_committed(id).then(MempoolError::committed)
    }

    /// Whether it waits here.
    pub fn contains(&self, id: &TxId) -> bool {
        self.inner().pool.get(id).is_some()
    }

    /// Whether it waited here, lately, until it was too late for it. It may be in a block all the same, by way of another node.
    pub fn has_expired(&self, id: &TxId) -> bool {
        self.inner().pool.has_expired(id)
    }

    /// A transaction that waits here.
    pub fn get(&self, id: &TxId) -> Option<VerifiedTx> {
        self.inner().pool.get(id).map(|entry| entry.tx.clone())
    }

    /// The nonce after the last one of a sender that waits here without a gap; `None` when none does.
    pub fn next_nonce(&self, sender: &Address) -> Option<u64> {
        self.inner().pool.next_nonce(sender)
    }

    /// Whether there is nothing that a block could take. What waits for an earlier nonce does not count.
    pub fn is_empty(&self) -> bool {
        !self.inner().pool.has_ready()
    }

    /// How much waits.
    pub fn stats(&self) -> Stats {
        self.inner().pool.stats()
    }

    /// The first `limit` transactions in the order in which they came.
    pub fn list(&self, limit: usize) -> Vec<Vec<u8>> {
        self.inner().pool.in_order_of_arrival().take(limit).map(|entry| entry.tx.bytes().to_vec()).collect()
    }

    /// What a block can take, in the order in which it can be executed: the highest fees first, each sender's nonces in order.
    ///
    /// `bytes_max` counts as [`types::Block::tx_bytes_in_block`] does; `gas_max` is −1 for no bound. Nothing is removed.
    pub fn reap(&self, bytes_max: usize, gas_max: i64) -> Vec<VerifiedTx> {
        self.inner().pool.reap(bytes_max, gas_max)
    }

    /// A block was committed: `reader` is the state after it, `touched` are the rows that it wrote.
    ///
    /// What it holds is removed and not taken again; senders whose account it touched are checked again; what is too old goes.
    pub fn update<'a, R: Reader + ?Sized>(
        &self,
        reader: &R,
        height: Height,
        block_txs: &[TxId],
        touched: impl IntoIterator<Item = &'a Vec<u8>>,
        now: Time,
    ) {
        let touched = touched.into_iter().map(Vec::as_slice);
        self.inner().pool.update(reader, height, block_txs, touched, now);
    }

    /// Drops what has waited too long. [`Mempool::update`] does it too; call it when no blocks come.
    pub fn expire(&self, now: Time) {
        self.inner().pool.expire(now);
    }

    /// Drops everything that waits.
    pub fn flush(&self) {
        let mut inner = self.inner();
        inner.pool.flush();
        inner.outgoing.clear();
        inner.outgoing_bytes = 0;
    }

    /// Transactions that peers are to be told, oldest first; those that are gone by now are left out.
    ///
    /// At most `bytes_max` bytes, or one transaction, and at most [`TX_BATCH_MAX`] transactions.
    pub fn take_outgoing(&self, bytes_max: usize) -> Vec<Vec<u8>> {
        let mut inner = self.inner();
        let (mut taken, mut bytes_left): (Vec<Vec<u8>>, _) = (Vec::new(), bytes_max);
        while taken.len() < TX_BATCH_MAX {
            let Some((_, bytes)) = inner.outgoing.front() else { break };
            if *bytes > bytes_left && !taken.is_empty() {
                break;
            }
            bytes_left = bytes_left.saturating_sub(*bytes);
            let id = inner.pop_outgoing();
            taken.extend(id.and_then(|id| inner.pool.get(&id)).map(|entry| entry.tx.bytes().to_vec()));
        }
        taken
    }

    /// Bytes of what peers are to be told.
    pub fn outgoing_bytes(&self) -> usize {
        self.inner().outgoing_bytes
    }

    /// The first `limit` transactions in the order in which they came, with their sizes in bytes: for a peer that comes up.
    pub fn waiting(&self, limit: usize) -> Vec<(TxId, u32)> {
        let inner = self.inner();
        let entries = inner.pool.in_order_of_arrival().take(limit);
        entries.map(|entry| (entry.tx.id(), u32::try_from(entry.tx.bytes().len()).unwrap_or(u32::MAX))).collect()
    }

    /// Those of `ids` that wait here, in that order, as long as they have at most `bytes_max` bytes together.
    pub fn batch(&self, ids: &[TxId], mut bytes_max: usize) -> Vec<Vec<u8>> {
        let inner = self.inner();
        let mut batch = Vec::new();
        for entry in ids.iter().filter_map(|id| inner.pool.get(id)) {
            let Some(left) = bytes_max.checked_sub(entry.tx.bytes().len()) else { break };
            bytes_max = left;
            batch.push(entry.tx.bytes().to_vec());
        }
        batch
    }

    /// Keeps of `txs` what does not wait here, and neither was committed nor expired lately: else two peers would keep a transaction
    /// alive for ever by fetching it from each other.
    pub fn retain_unknown(&self, txs: &mut Vec<(TxId, u32)>) {
        let inner = self.inner();
        let is_known =
            |id: &TxId| inner.pool.get(id).is_some() || inner.pool.is_committed(id) || inner.pool.has_expired(id);
        txs.retain(|(id, _)| !is_known(id));
    }

    /// The bytes of a transaction that waits here and that a client sends again, when peers are to be told of it again: at
    /// most once each [`ANNOUNCE_INTERVAL`].
    pub fn announce_again(&self, id: &TxId, now: Time) -> Option<Vec<u8>> {
        self.inner().pool.announce(id, now).map(|entry| entry.tx.bytes().to_vec())
    }
}

impl Inner {
    fn rules(&self, height: Height, params: &Params) -> Rules {
        Rules { chain_id: self.pool.chain_id().clone(), height: height.next(), params: params.clone() }
    }
}
