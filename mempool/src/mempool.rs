//! The shared mempool: one lock around the pool, and the transactions to announce.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, OnceLock},
};

use types::{Address, ChainId, Height, Moment, Params, Reader, Time, TxId, VerifiedTx, limits::TX_BATCH_MAX};

use crate::{
    config::{Added, Config, Source, Stats},
    error::MempoolError,
    pool::{self, Pool},
};

type Hook = OnceLock<Box<dyn Fn() + Send + Sync>>;

/// The transactions that wait for a block. For any number of threads.
pub struct Mempool {
    inner: Mutex<Inner>,
    on_outgoing: Hook,
    on_ready: Hook,
}

struct Inner {
    pool: Pool,
    /// Ids to announce to peers with their sizes in bytes, oldest first. At most as many as the pool; the oldest is
    /// dropped when full.
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
    /// Creates an empty mempool.
    pub fn new(config: Config, chain_id: ChainId) -> Self {
        let outgoing_max = config.txs_max;
        let pool = Pool::new(config, chain_id);
        let inner = Inner { pool, outgoing: VecDeque::new(), outgoing_bytes: 0, outgoing_max };
        Self { inner: Mutex::new(inner), on_outgoing: OnceLock::new(), on_ready: OnceLock::new() }
    }

    /// Sets the hook that is called when [`Mempool::take_outgoing`] has transactions again, after there were none.
    ///
    /// It is set once, before the first transaction. It runs on the thread that added the transaction, with no lock
    /// held, and must not wait.
    pub fn on_outgoing(&self, hook: impl Fn() + Send + Sync + 'static) {
        let is_first = self.on_outgoing.set(Box::new(hook)).is_ok();
        debug_assert!(is_first, "the hook is set once");
    }

    /// Sets the hook that is called when an added transaction could go into a block, after there was none
    /// ([`Mempool::is_empty`]). The rules are those of [`Mempool::on_outgoing`].
    pub fn on_ready(&self, hook: impl Fn() + Send + Sync + 'static) {
        let is_first = self.on_ready.set(Box::new(hook)).is_ok();
        debug_assert!(is_first, "the hook is set once");
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("a thread that panics stops the process")
    }

    /// Adds a transaction to the mempool.
    ///
    /// `reader` is the state after block `height`, `params` are those of the next height. `now` dates the block that
    /// could contain the transaction, and measures how long it waits. A state that is one block
    /// behind the mempool's is allowed: the sender is checked again after the next block. Cost: O(log n)
    /// and a few reads.
    ///
    /// Errors: [`MempoolError`], with the remedy.
    pub fn add<R: Reader + ?Sized>(
        &self,
        reader: &R,
        height: Height,
        params: &Params,
        tx: VerifiedTx,
        now: impl Into<Moment>,
        source: Source,
    ) -> Result<Added, MempoolError> {
        let now = now.into();
        let added = Added { id: tx.id(), gas_wanted: pool::gas(&tx) };
        let mut guard = self.inner();
        let inner = &mut *guard;
        let (was_ready, was_outgoing) = (inner.pool.has_ready(), !inner.outgoing.is_empty());
        let rules = inner.pool.rules_at(height, params, now.wall);
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
        inner.pool.add(reader, &rules, plan, tx, now.steady);
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

    /// Checks if [`Mempool::add`] would accept the transaction. Changes nothing.
    ///
    /// Errors: [`MempoolError`], the one that [`Mempool::add`] would return.
    pub fn check<R: Reader + ?Sized>(
        &self,
        reader: &R,
        height: Height,
        params: &Params,
        tx: &VerifiedTx,
        now: impl Into<Moment>,
    ) -> Result<Added, MempoolError> {
        let added = Added { id: tx.id(), gas_wanted: pool::gas(tx) };
        let inner = self.inner();
        let rules = inner.pool.rules_at(height, params, now.into().wall);
        inner.pool.plan(reader, &rules, tx)?;
        Ok(added)
    }

    /// Returns the reason why bytes with this id need no check: they wait here, or were committed recently.
    pub fn known(&self, id: &TxId) -> Option<MempoolError> {
        let inner = self.inner();
        if inner.pool.get(id).is_some() {
            return Some(MempoolError::held());
        }
        inner.pool.is_committed(id).then(MempoolError::committed)
    }

    /// Returns true if the transaction waits here.
    pub fn contains(&self, id: &TxId) -> bool {
        self.inner().pool.get(id).is_some()
    }

    /// Returns true if the transaction waited here recently and expired. It may still be in a block, by way of another
    /// node.
    pub fn has_expired(&self, id: &TxId) -> bool {
        self.inner().pool.has_expired(id)
    }

    /// Returns a transaction that waits here.
    pub fn get(&self, id: &TxId) -> Option<VerifiedTx> {
        self.inner().pool.get(id).map(|entry| entry.tx.clone())
    }

    /// Returns the nonce after the sender's last waiting one before a gap; `None` if no transaction with the next nonce
    /// waits.
    pub fn next_nonce(&self, sender: &Address) -> Option<u64> {
        self.inner().pool.next_nonce(sender)
    }

    /// Returns true if there is no transaction for a block. Transactions that wait for an earlier nonce do not count,
    /// nor do those that still have to be dropped.
    pub fn is_empty(&self) -> bool {
        !self.inner().pool.has_ready()
    }

    /// Returns the content and the counters of the mempool.
    pub fn stats(&self) -> Stats {
        self.inner().pool.stats()
    }

    /// Returns the first `limit` transactions in the order of arrival.
    pub fn list(&self, limit: usize) -> Vec<Vec<u8>> {
        self.inner().pool.in_order_of_arrival().take(limit).map(|entry| entry.tx.bytes().to_vec()).collect()
    }

    /// Returns the transactions for a block with the time `time`, in an order in which they can be executed: the highest
    /// fees first, each sender's nonces in order.
    ///
    /// `bytes_max` is counted as by [`types::Block::tx_bytes_in_block`]; `gas_max` is −1 for no bound. Only what
    /// expires by `time` is removed.
    pub fn reap(&self, time: Time, bytes_max: usize, gas_max: i64) -> Vec<VerifiedTx> {
        self.inner().pool.reap(time, bytes_max, gas_max)
    }

    /// Updates the mempool after a committed block: `time` is the time in its header, `reader` the state after it,
    /// `touched` are the keys of the rows that it wrote.
    ///
    /// The block's transactions are removed and not accepted again; senders whose account it changed are checked again;
    /// transactions that are too old are dropped.
    pub fn update<'a, R: Reader + ?Sized>(
        &self,
        reader: &R,
        height: Height,
        time: Time,
        block_txs: &[TxId],
        touched: impl IntoIterator<Item = &'a Vec<u8>>,
        now: Time,
    ) {
        let touched = touched.into_iter().map(Vec::as_slice);
        self.inner().pool.update(reader, height, time, block_txs, touched, now);
    }

    /// Drops a limited number of transactions that waited too long, or that their senders cannot pay for any more.
    /// [`Mempool::update`] does it too; call this when there are no blocks.
    pub fn drop_outdated(&self, now: Time) {
        self.inner().pool.drop_outdated(now);
    }

    /// Drops all waiting transactions.
    pub fn flush(&self) {
        let mut inner = self.inner();
        inner.pool.flush();
        inner.outgoing.clear();
        inner.outgoing_bytes = 0;
    }

    /// Removes and returns transactions to announce to peers, oldest first; those that no longer wait are left out.
    ///
    /// The result has at most `bytes_max` bytes, or one transaction, and at most [`TX_BATCH_MAX`] transactions.
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

    /// Returns the size of the transactions to announce, in bytes.
    pub fn outgoing_bytes(&self) -> usize {
        self.inner().outgoing_bytes
    }

    /// Returns the first `limit` transaction ids in the order of arrival, with their sizes in bytes, for a peer that
    /// connects.
    pub fn waiting(&self, limit: usize) -> Vec<(TxId, u32)> {
        let inner = self.inner();
        let entries = inner.pool.in_order_of_arrival().take(limit);
        entries.map(|entry| (entry.tx.id(), u32::try_from(entry.tx.bytes().len()).unwrap_or(u32::MAX))).collect()
    }

    /// Returns the transactions of `ids` that wait here, in that order, up to `bytes_max` bytes together.
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

    /// Keeps in `txs` only ids that neither wait here nor were committed or expired recently. Otherwise two peers would
    /// keep a transaction alive forever by fetching it from each other.
    pub fn retain_unknown(&self, txs: &mut Vec<(TxId, u32)>) {
        let inner = self.inner();
        let is_known =
            |id: &TxId| inner.pool.get(id).is_some() || inner.pool.is_committed(id) || inner.pool.has_expired(id);
        txs.retain(|(id, _)| !is_known(id));
    }

    /// Returns the bytes of a waiting transaction that a client sent again, if it is to be announced again: at most
    /// once each [`ANNOUNCE_INTERVAL`](crate::ANNOUNCE_INTERVAL).
    pub fn announce_again(&self, id: &TxId, now: Time) -> Option<Vec<u8>> {
        self.inner().pool.announce(id, now).map(|entry| entry.tx.bytes().to_vec())
    }
}
