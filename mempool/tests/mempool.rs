//! Proves the rules of the mempool one by one, and then its invariants after random steps.
#![allow(missing_docs)]
#![allow(clippy::print_stdout, reason = "figures that --nocapture shows")]

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use app::{Account, App, BlockContext, View, genesis_writes};
use mempool::{Added, Config, Mempool, MempoolError, Source};
use proptest::prelude::*;
use types::{
    Address, Block, ChainId, Deadline, Height, Msg, NodeId, Params, SecretKey, Time, Transaction, TxBody, TxId,
    TxOrder, VerifiedTx, Wire, WriteSet,
};

fn chain_id() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn address(seed: u8) -> Address {
    key(seed).public_key().address()
}

/// Returns transfers of `amount` from the account of key `from`; signatures are not tested here.
fn transfers(from: u8, order: TxOrder, fee: u64, amount: u64, count: usize) -> VerifiedTx {
    let messages = vec![Msg::Transfer { to: Address([9; 20]), amount }; count];
    let body = TxBody { chain_id: chain_id(), signer: key(from).public_key(), order, fee, messages };
    VerifiedTx::verified_before(body.sign(&key(from)))
}

fn tx(from: u8, order: TxOrder, fee: u64, amount: u64) -> VerifiedTx {
    transfers(from, order, fee, amount, 1)
}

fn nonce(from: u8, nonce: u64, fee: u64) -> VerifiedTx {
    tx(from, TxOrder::Nonce(nonce), fee, 1)
}

/// Time at which the nodes start.
const START_MS: u64 = 1_700_000_000_000;

/// Returns the order of a transaction that expires this many seconds after the start.
fn until(seconds: u64) -> TxOrder {
    TxOrder::Expires(Deadline::from_unix_millis(START_MS + 1000 * seconds).unwrap())
}

fn expires(from: u8, seconds: u64, fee: u64, amount: u64) -> VerifiedTx {
    tx(from, until(seconds), fee, amount)
}

/// A chain of one node, and its mempool.
struct Node {
    app: App,
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    params: Params,
    pool: Mempool,
    now: Time,
}

impl Node {
    /// Creates a node with accounts of the keys 1, 2, … with these balances.
    fn new(config: Config, balances: &[u64]) -> Self {
        let params = Params::default();
        let first = genesis_writes(&params, &[], (1_u8..).map(address).zip(balances.iter().copied())).unwrap();
        let rows = first.rows().collect();
        let app = App::open(&rows, chain_id(), Height(0));
        let now = Time::from_unix_millis(START_MS);
        Self { app, rows, params, pool: Mempool::new(config, chain_id()), now }
    }

    fn add_from(&self, tx: &VerifiedTx, source: Source) -> Result<Added, MempoolError> {
        let checked = self.pool.check(&self.rows, self.app.height(), &self.params, tx, self.now);
        let added = self.pool.add(&self.rows, self.app.height(), &self.params, tx.clone(), self.now, source);
        assert_eq!(checked, added, "check and add agree");
        added
    }

    fn add(&self, tx: &VerifiedTx) -> Result<Added, MempoolError> {
        self.add_from(tx, Source::Local)
    }

    fn refused(&self, tx: &VerifiedTx) -> (&'static str, String) {
        let error = self.add(tx).expect_err("the mempool refuses it");
        assert!(error.log.starts_with(&format!("{}: ", error.name)), "{error}");
        (error.name, error.log)
    }

    fn reap(&self) -> Vec<VerifiedTx> {
        self.pool.reap(self.now, usize::MAX, -1)
    }

    /// Returns the transactions for a block as (sender, fee).
    fn order(&self) -> Vec<(u8, u64)> {
        let seed = |tx: &VerifiedTx| (1..=9).find(|seed| key(*seed).public_key() == tx.body().signer).unwrap();
        self.reap().iter().map(|tx| (seed(tx), tx.body().fee)).collect()
    }

    /// Commits a block of these transactions and returns the number of those that failed.
    fn commit(&mut self, txs: &[VerifiedTx]) -> usize {
        let height = self.app.height().next();
        let context = BlockContext {
            height,
            time: self.now,
            proposer: Address([1; 20]),
            misbehavior: Vec::new(),
            absent: Vec::new(),
        };
        let outcome = self.app.execute(&self.rows, &context, txs);
        store(&mut self.rows, &outcome.writes);
        self.app.commit(outcome.update);
        let ids: Vec<TxId> = txs.iter().map(|tx| tx.id()).collect();
        self.pool.update(&self.rows, height, self.now, &ids, outcome.writes.0.keys(), self.now);
        outcome.results.txs.iter().filter(|result| result.code != 0).count()
    }

    /// Returns the number of times that the mempool reports from now on that it has a transaction for a block.
    fn count_calls(&self) -> Arc<AtomicUsize> {
        let calls = Arc::new(AtomicUsize::new(0));
        let counter = calls.clone();
        self.pool.on_ready(move || {
            counter.fetch_add(1, Relaxed);
        });
        calls
    }

    fn account(&self, seed: u8) -> Account {
        View::of_state(&self.rows).account(&address(seed))
    }
}

fn store(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, writes: &WriteSet) {
    for (row, value) in &writes.0 {
        match value {
            Some(value) => rows.insert(row.clone(), value.clone()),
            None => rows.remove(row),
        };
    }
}

#[test]
fn the_highest_fee_comes_first_then_the_first_to_come_and_nonces_in_order() {
    let node = Node::new(Config::default(), &[1000, 1000, 1000]);
    for tx in [nonce(1, 0, 5), nonce(1, 1, 90), nonce(2, 0, 10), expires(3, 50, 10, 1), nonce(2, 1, 4)] {
        node.add(&tx).unwrap();
    }
    assert_eq!(node.order(), [(2, 10), (3, 10), (1, 5), (1, 90), (2, 4)]);
    assert_eq!(node.order(), node.order(), "reaping removes nothing");
}

#[test]
fn a_future_nonce_waits_until_the_gap_is_filled() {
    let node = Node::new(Config::default(), &[1000]);
    for n in [3, 1, 2] {
        node.add(&nonce(1, n, 5)).unwrap();
    }
    assert!(node.pool.is_empty() && node.order().is_empty());
    assert_eq!(node.pool.stats().txs, 3);
    node.add(&nonce(1, 0, 5)).unwrap();
    assert!(!node.pool.is_empty());
    assert_eq!(node.order().len(), 4);
    assert_eq!(node.refused(&nonce(1, 4 + app::NONCES_AHEAD_MAX + 1, 5)).0, "E_NONCE");
    node.add(&nonce(1, 4 + app::NONCES_AHEAD_MAX, 5)).unwrap();
}

#[test]
fn held_committed_and_outdated_transactions_are_refused() {
    let mut node = Node::new(Config::default(), &[1000]);
    let first = nonce(1, 0, 5);
    node.add(&first).unwrap();
    assert_eq!(node.refused(&first).0, "E_IN_MEMPOOL");
    assert_eq!(node.pool.known(&first.id()).unwrap().name, "E_IN_MEMPOOL");
    assert_eq!(node.commit(std::slice::from_ref(&first)), 0);
    assert_eq!(node.refused(&first).0, "E_COMMITTED");
    assert_eq!(node.pool.known(&first.id()).unwrap().name, "E_COMMITTED");
    assert_eq!(node.refused(&nonce(1, 0, 6)).0, "E_NONCE");
    assert!(node.pool.known(&nonce(1, 1, 6).id()).is_none());
}

#[test]
fn a_nonce_is_replaced_for_a_tenth_more() {
    let node = Node::new(Config::default(), &[10_000]);
    for n in 0..3 {
        node.add(&nonce(1, n, 100)).unwrap();
    }
    let (name, log) = node.refused(&nonce(1, 1, 109));
    assert_eq!(name, "E_REPLACE_FEE");
    assert!(log.contains("offer 110 or more"), "{log}");
    node.add(&nonce(1, 1, 110)).unwrap();
    assert_eq!(node.order(), [(1, 100), (1, 110), (1, 100)]);
    assert_eq!(node.pool.stats().txs, 3);
    node.add(&nonce(1, 3, 1)).unwrap();
    assert_eq!(node.refused(&tx(1, TxOrder::Nonce(3), 1, 7)).0, "E_REPLACE_FEE", "a tenth of 1 is at least 1");
    node.add(&nonce(1, 3, 2)).unwrap();
}

#[test]
fn waiting_transactions_together_cost_at_most_the_senders_balance() {
    let node = Node::new(Config::default(), &[100]);
    node.add(&tx(1, TxOrder::Nonce(0), 10, 40)).unwrap();
    node.add(&tx(1, TxOrder::Nonce(1), 5, 40)).unwrap();
    let (name, log) = node.refused(&tx(1, until(9), 3, 3));
    assert_eq!((name, log.contains("101 is needed")), ("E_INSUFFICIENT_FUNDS", true), "{log}");
    node.add(&tx(1, until(9), 3, 2)).unwrap();
    // The balance must cover a replacement and the other transactions, but not the replaced one.
    node.add(&tx(1, TxOrder::Nonce(1), 6, 39)).unwrap();
    assert_eq!(node.refused(&tx(1, TxOrder::Nonce(1), 9, 39)).0, "E_INSUFFICIENT_FUNDS");
}

#[test]
fn an_unordered_transaction_is_held_once_and_until_it_expires() {
    let mut node = Node::new(Config::default(), &[1000]);
    let once = expires(1, 2, 5, 1);
    node.add(&once).unwrap();
    node.add(&expires(1, 2, 5, 2)).unwrap();
    assert_eq!(node.refused(&once).0, "E_IN_MEMPOOL");
    assert_eq!(node.refused(&expires(1, 0, 5, 1)).0, "E_EXPIRED");
    assert_eq!(node.refused(&expires(1, 601, 5, 1)).0, "E_EXPIRES_TOO_FAR");
    node.commit(std::slice::from_ref(&once));
    node.now = Time::from_unix_millis(START_MS + 1_999);
    node.commit(&[]);
    assert_eq!((node.pool.stats().txs, node.order()), (1, vec![(1, 5)]));
    node.now = Time::from_unix_millis(START_MS + 2_000);
    node.commit(&[]);
    assert_eq!((node.pool.stats().txs, node.pool.stats().expired), (0, 1));
    assert!(node.pool.has_expired(&expires(1, 2, 5, 2).id()));
    let mut offered: Vec<_> = [expires(1, 2, 5, 2), expires(1, 9, 5, 3)].iter().map(|tx| (tx.id(), 1)).collect();
    node.pool.retain_unknown(&mut offered);
    assert_eq!(offered, [(expires(1, 9, 5, 3).id(), 1)], "what expired here is not fetched from a peer");
    assert!(!node.pool.has_expired(&once.id()), "it was committed");
}

#[test]
fn no_block_is_built_with_a_transaction_that_expires_by_its_time() {
    let mut node = Node::new(Config::default(), &[1000, 1000]);
    for tx in [expires(1, 2, 90, 1), expires(1, 3, 5, 1), nonce(2, 0, 10)] {
        node.add(&tx).unwrap();
    }
    node.now = Time::from_unix_millis(START_MS + 1_999);
    assert_eq!(node.order(), [(1, 90), (2, 10), (1, 5)]);
    node.now = Time::from_unix_millis(START_MS + 2_000);
    assert_eq!(node.order(), [(2, 10), (1, 5)], "the sender's other transaction does not wait for it");
    assert_eq!((node.pool.stats().txs, node.pool.stats().expired), (2, 1));
}

#[test]
fn expiry_counts_from_the_next_block_and_not_from_an_old_last_block() {
    let mut node = Node::new(Config::default(), &[1000]);
    node.commit(&[]);
    // The chain was idle for an hour; the next block has about the time of the clock.
    node.now = Time::from_unix_millis(START_MS + 3_600_000);
    node.add(&expires(1, 3_630, 5, 1)).unwrap();
    assert_eq!(node.refused(&expires(1, 3_600, 5, 1)).0, "E_EXPIRED", "after the last block, but before the next");
    assert_eq!(node.refused(&expires(1, 4_201, 5, 1)).0, "E_EXPIRES_TOO_FAR");
    // A clock that is set back is no reason to accept what has expired.
    node.now = Time::from_unix_millis(START_MS - 3_600_000);
    assert_eq!(node.refused(&expires(1, 0, 5, 1)).0, "E_EXPIRED");
    node.add(&expires(1, 600, 5, 1)).unwrap();
}

#[test]
fn a_full_pool_evicts_the_lowest_fee_and_the_refusal_names_the_least_fee() {
    let node = Node::new(Config { txs_max: 3, ..Config::default() }, &[1000, 1000, 1000, 1000, 1000]);
    for (who, fee) in [(1, 5), (2, 3), (3, 3)] {
        node.add(&nonce(who, 0, fee)).unwrap();
    }
    let (name, log) = node.refused(&nonce(4, 0, 3));
    assert_eq!((name, log.contains("4 is the least")), ("E_MEMPOOL_FULL", true), "{log}");
    node.add(&nonce(4, 0, 4)).unwrap();
    assert_eq!(node.order(), [(1, 5), (4, 4), (2, 3)], "the later of two equals goes");
    assert_eq!(node.pool.stats().evicted, 1);
    let (_, log) = node.refused(&nonce(5, 1, 100));
    assert!(log.contains("send those first"), "{log}");
}

#[test]
fn transactions_that_cannot_be_executed_yet_are_evicted_first() {
    let node = Node::new(Config { txs_max: 3, ..Config::default() }, &[1000, 1000, 1000, 1000]);
    node.add(&nonce(1, 0, 5)).unwrap();
    node.add(&nonce(2, 1, 100)).unwrap();
    node.add(&nonce(3, 0, 5)).unwrap();
    node.add(&nonce(4, 0, 1)).unwrap();
    assert_eq!(node.order(), [(1, 5), (3, 5), (4, 1)]);
}

#[test]
fn only_last_nonces_are_evicted_and_never_the_new_ones_predecessors() {
    let node = Node::new(Config { txs_max: 3, ..Config::default() }, &[1000, 1000]);
    node.add(&nonce(1, 0, 1)).unwrap();
    node.add(&nonce(1, 1, 2)).unwrap();
    node.add(&nonce(1, 2, 3)).unwrap();
    assert_eq!(node.refused(&nonce(1, 3, 50)).0, "E_MEMPOOL_FULL");
    assert_eq!(node.refused(&nonce(2, 0, 3)).0, "E_MEMPOOL_FULL");
    node.add(&nonce(2, 0, 4)).unwrap();
    assert_eq!(node.order(), [(2, 4), (1, 1), (1, 2)]);
}

#[test]
fn bytes_are_bounded_and_several_may_be_evicted_for_a_large_one() {
    let small = nonce(1, 0, 1).encode().len();
    let node = Node::new(Config { bytes_max: 3 * small + 2, ..Config::default() }, &[1000, 1000]);
    for n in 0..3 {
        node.add(&nonce(1, n, n + 1)).unwrap();
    }
    let large = |fee| transfers(2, TxOrder::Nonce(0), fee, 1, 3);
    assert!(large(4).encode().len() > small + 2, "one eviction is not enough");
    let (name, log) = node.refused(&large(3));
    assert_eq!((name, log.contains("4 is the least")), ("E_MEMPOOL_FULL", true), "{log}");
    node.add(&large(4)).unwrap();
    assert_eq!(node.order(), [(2, 4), (1, 1)]);
    assert!(node.pool.stats().bytes <= 3 * small + 2);
}

#[test]
fn the_transactions_of_one_sender_are_bounded() {
    let node = Node::new(Config { sender_txs_max: 2, ..Config::default() }, &[1000, 1000]);
    node.add(&nonce(1, 0, 1)).unwrap();
    node.add(&expires(1, 9, 1, 1)).unwrap();
    assert_eq!(node.refused(&nonce(1, 1, 50)).0, "E_SENDER_FULL");
    node.add(&nonce(1, 0, 2)).expect("a replacement is no more");
    node.add(&nonce(2, 0, 1)).unwrap();
}

#[test]
fn a_block_rechecks_only_the_senders_that_it_affects() {
    let mut node = Node::new(Config::default(), &[100, 100, 100]);
    node.commit(&[]);
    for who in 1..=3 {
        for n in 0..3 {
            node.add(&tx(who, TxOrder::Nonce(n), 5, 20)).unwrap();
        }
    }
    // A proposal of another node spends most of sender 1's balance, with another transaction of the same nonce.
    assert_eq!(node.commit(&[tx(1, TxOrder::Nonce(0), 5, 60)]), 0);
    assert_eq!(node.pool.stats().rechecked, 3);
    assert_eq!(node.order().iter().filter(|(who, _)| *who == 1).count(), 1, "35 are left, two cost 50");
    assert_eq!(node.order().len(), 7);
    node.commit(&[]);
    assert_eq!(node.pool.stats().rechecked, 3);
    let block = node.reap();
    assert_eq!(node.commit(&block), 0);
    assert_eq!(node.pool.stats().txs, 0);
}

#[test]
fn a_transaction_that_waits_too_long_is_dropped() {
    let ttl = Duration::from_secs(10);
    let mut node = Node::new(Config { ttl, ..Config::default() }, &[1000, 1000]);
    node.add(&nonce(1, 0, 1)).unwrap();
    node.now = node.now.saturating_add(ttl);
    node.pool.drop_outdated(node.now);
    node.add(&nonce(2, 0, 1)).unwrap();
    assert_eq!(node.pool.stats().txs, 2);
    node.now = node.now.saturating_add(Duration::from_nanos(1));
    node.pool.drop_outdated(node.now);
    assert_eq!(node.order(), [(2, 1)]);
    node.now = node.now.saturating_add(ttl);
    node.commit(&[]);
    assert_eq!((node.pool.stats().txs, node.pool.stats().expired), (0, 2), "a block drops it too");
}

#[test]
fn a_state_one_block_behind_does_no_harm() {
    let mut node = Node::new(Config::default(), &[1000]);
    let (old_rows, old_height) = (node.rows.clone(), node.app.height());
    node.commit(&[nonce(1, 0, 1)]);
    let late = nonce(1, 0, 7);
    let added = node.pool.add(&old_rows, old_height, &node.params, late, node.now, Source::Local);
    assert!(added.is_ok(), "on the state it was held against it was right");
    node.commit(&[]);
    assert_eq!(node.pool.stats().txs, 0, "and the next block sorts it out");
}

#[test]
fn a_block_is_filled_within_bytes_and_gas() {
    let node = Node::new(Config::default(), &[1000, 1000]);
    let each = Block::tx_bytes_in_block(nonce(1, 0, 5).encode().len()) + 2; // A nonce above 0 takes two bytes more.
    for n in 0..5 {
        node.add(&nonce(1, n, 5)).unwrap();
        node.add(&nonce(2, n, 5)).unwrap();
    }
    let count = |bytes, gas| node.pool.reap(node.now, bytes, gas).len();
    assert_eq!([count(0, -1), count(each - 3, -1), count(each, -1), count(10 * each, -1)], [0, 0, 1, 10]);
    assert_eq!([count(usize::MAX, 0), count(usize::MAX, 3), count(usize::MAX, 100)], [0, 3, 10]);
    // A large transaction that does not fit does not block smaller ones.
    node.add(&transfers(1, until(9), 90, 1, 8)).unwrap();
    assert_eq!([count(usize::MAX, 7), count(2 * each, -1)], [7, 2]);
}

#[test]
fn transactions_of_clients_are_gossiped_once() {
    let node = Node::new(Config::default(), &[1000, 1000]);
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    node.pool.on_outgoing(move || {
        counter.fetch_add(1, Relaxed);
    });
    let (mine, theirs) = (nonce(1, 0, 1), nonce(2, 0, 1));
    node.add(&mine).unwrap();
    node.add_from(&theirs, Source::Peer(NodeId([1; 20]))).unwrap();
    node.add(&nonce(1, 1, 1)).unwrap();
    assert_eq!(calls.load(Relaxed), 1, "until they are taken");
    assert_eq!(node.pool.take_outgoing(1), [mine.encode()], "at least one");
    assert_eq!(node.pool.take_outgoing(usize::MAX), [nonce(1, 1, 1).encode()]);
    assert_eq!((node.pool.take_outgoing(usize::MAX).len(), node.pool.outgoing_bytes()), (0, 0));
    node.add(&nonce(1, 2, 1)).unwrap();
    assert_eq!(calls.load(Relaxed), 2);
}

#[test]
fn waiting_transactions_are_offered_to_a_new_peer_which_gossips_them() {
    let (node, other) = (Node::new(Config::default(), &[1000, 1000]), Node::new(Config::default(), &[1000, 1000]));
    let txs = [nonce(1, 0, 1), nonce(1, 1, 1), nonce(2, 0, 1)];
    for tx in &txs {
        node.add(tx).unwrap();
    }
    node.pool.take_outgoing(usize::MAX); // These were gossiped before any peer was connected.
    let size = txs[0].encode().len();
    let mut waiting = node.pool.waiting(usize::MAX);
    assert_eq!((waiting.len(), waiting[0].1), (3, size as u32));
    assert_eq!(node.pool.waiting(2), waiting[..2], "bounded");
    other.add(&txs[0]).unwrap();
    other.pool.take_outgoing(usize::MAX);
    other.pool.retain_unknown(&mut waiting);
    let ids: Vec<_> = waiting.iter().map(|(id, _)| *id).collect();
    assert_eq!(node.pool.batch(&ids, usize::MAX), [txs[1].encode(), txs[2].encode()]);
    assert_eq!(node.pool.batch(&ids, txs[1].encode().len()), [txs[1].encode()], "bounded");
    for tx in &txs[1..] {
        other.add_from(tx, Source::Fetched(NodeId([1; 20]))).unwrap();
    }
    assert_eq!(other.pool.take_outgoing(usize::MAX), [txs[1].encode(), txs[2].encode()]);
}

#[test]
fn a_transaction_sent_again_is_announced_again_at_a_limited_rate() {
    let node = Node::new(Config::default(), &[1000, 1000]);
    let tx = nonce(1, 0, 1);
    let id = node.add(&tx).unwrap().id;
    let now = node.now;
    assert_eq!(node.pool.announce_again(&id, now), None, "it was announced just now");
    let later = now.saturating_add(mempool::ANNOUNCE_INTERVAL);
    assert_eq!(node.pool.announce_again(&id, later), Some(tx.encode()));
    assert_eq!(node.pool.announce_again(&id, later), None);
    assert_eq!(node.pool.announce_again(&types::TxId([9; 32]), later), None, "unknown");
}

#[test]
fn the_block_builder_is_notified_when_transactions_are_ready() {
    let mut node = Node::new(Config::default(), &[1000, 1000]);
    let calls = node.count_calls();
    node.add(&nonce(1, 1, 1)).unwrap();
    assert_eq!(calls.load(Relaxed), 0, "it cannot be executed yet");
    node.add(&nonce(1, 0, 1)).unwrap();
    node.add(&nonce(2, 0, 1)).unwrap();
    assert_eq!(calls.load(Relaxed), 1);
    let block = node.reap();
    assert_eq!(node.commit(&block), 0);
    assert!(node.pool.is_empty());
    node.add(&nonce(1, 2, 1)).unwrap();
    assert_eq!(calls.load(Relaxed), 2);
    node.pool.flush();
    assert_eq!((node.pool.is_empty(), node.pool.stats().txs, node.pool.outgoing_bytes()), (true, 0, 0));
    assert_eq!(node.refused(&block[0]).0, "E_COMMITTED", "a flush does not forget what was committed");
}

#[derive(Clone, Debug)]
enum Step {
    Nonce { who: u8, ahead: u64, fee: u64, amount: u64 },
    Expires { who: u8, ahead: u64, fee: u64, amount: u64 },
    Commit { txs: usize, others: bool },
    Wait { seconds: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let to = || (1_u8..5, 0_u64..6, 0_u64..12, 0_u64..60);
    prop_oneof![
        6 => to().prop_map(|(who, ahead, fee, amount)| Step::Nonce { who, ahead, fee, amount }),
        2 => to().prop_map(|(who, ahead, fee, amount)| Step::Expires { who, ahead, fee, amount }),
        2 => (0_usize..6, any::<bool>()).prop_map(|(txs, others)| Step::Commit { txs, others }),
        1 => (0_u64..8).prop_map(|seconds| Step::Wait { seconds }),
    ]
}

const TXS_MAX: usize = 8;
const BYTES_MAX: usize = 1_300;

/// Submits a transaction: it is held and new, or it is refused and nothing changes.
fn submit(node: &Node, tx: &VerifiedTx, committed: &[TxId]) -> Result<(), TestCaseError> {
    let before = node.pool.list(100);
    match node.add(tx) {
        Ok(added) => prop_assert!(!committed.contains(&added.id) && node.pool.contains(&added.id)),
        Err(error) => {
            prop_assert_eq!(before, node.pool.list(100), "{}", &error);
            let least =
                error.log.strip_suffix(" is the least that is accepted now").and_then(|log| log.rsplit(' ').next());
            prop_assert!(least.is_none_or(|least| least.parse::<u64>().unwrap() > tx.body().fee), "{}", &error);
        }
    }
    Ok(())
}

/// Checks that the bounds hold, that reaped transactions are executable in order with the highest fee first, and that
/// no transaction is held after it was committed.
fn check(node: &Node, committed: &[TxId]) -> Result<(), TestCaseError> {
    let reaped = node.reap(); // drops what has expired
    let (stats, held) = (node.pool.stats(), node.pool.list(100));
    prop_assert_eq!((stats.txs, stats.bytes), (held.len(), held.iter().map(Vec::len).sum::<usize>()));
    prop_assert!(stats.txs <= TXS_MAX && stats.bytes <= BYTES_MAX);
    prop_assert!(held.iter().all(|bytes| !committed.contains(&TxId::of(bytes))));
    prop_assert_eq!(reaped.is_empty(), node.pool.is_empty());
    let context = BlockContext {
        height: node.app.height().next(),
        time: node.now,
        proposer: Address([1; 20]),
        misbehavior: Vec::new(),
        absent: Vec::new(),
    };
    let results = node.app.execute(&node.rows, &context, &reaped).results;
    prop_assert!(results.txs.iter().all(|result| result.code == 0), "{:?}", results.txs);
    let is_head = |tx: &VerifiedTx| match tx.body().order {
        TxOrder::Nonce(nonce) => View::of_state(&node.rows).account(&tx.body().signer.address()).nonce == nonce,
        TxOrder::Expires(_) => true,
    };
    let heads =
        held.iter().map(|bytes| VerifiedTx::verified_before(Transaction::decode(bytes).unwrap())).filter(is_head);
    prop_assert_eq!(heads.map(|tx| tx.body().fee).max(), reaped.first().map(|tx| tx.body().fee));
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 120, ..ProptestConfig::default() })]

    #[test]
    fn random_steps_keep_the_invariants_of_the_pool(steps in proptest::collection::vec(step(), 1..60)) {
        let ttl = Duration::from_secs(12);
        let config = Config { txs_max: TXS_MAX, sender_txs_max: 4, ttl, bytes_max: BYTES_MAX, ..Config::default() };
        let mut node = Node::new(config, &[300, 300, 300, 300]);
        let mut committed: Vec<TxId> = Vec::new();
        for step in steps {
            match step {
                Step::Nonce { who, ahead, fee, amount } => {
                    let nonce = (node.account(who).nonce + ahead).saturating_sub(1);
                    submit(&node, &tx(who, TxOrder::Nonce(nonce), fee, amount), &committed)?;
                }
                Step::Expires { who, ahead, fee, amount } => {
                    let deadline = Deadline::at(node.now.saturating_add(Duration::from_secs(ahead)));
                    submit(&node, &tx(who, TxOrder::Expires(deadline), fee, amount), &committed)?;
                }
                Step::Commit { txs, others } => {
                    let mut block = node.pool.reap(node.now, usize::MAX, txs as i64);
                    if others {
                        block.insert(0, tx(1, TxOrder::Nonce(node.account(1).nonce), 1, 77));
                    }
                    node.commit(&block);
                    committed.extend(block.iter().map(|tx| tx.id()));
                }
                Step::Wait { seconds } => {
                    node.now = node.now.saturating_add(Duration::from_secs(seconds));
                    node.pool.drop_outdated(node.now);
                }
            }
            check(&node, &committed)?;
        }
    }
}

/// Maximum number of transactions that one block drops for one reason.
const DROPS_MAX: usize = 1024;

/// No block contains transactions that still have to be dropped, and no height starts for them.
#[test]
fn transactions_that_senders_can_no_longer_pay_for_are_dropped_in_portions() {
    let mut node = Node::new(Config::default(), &[1_000_000; 3]);
    for (from, n) in (1..=2).flat_map(|from| (0..3000).map(move |n| (from, n))) {
        let order = if from == 1 { TxOrder::Nonce(n) } else { until(9) };
        node.add(&tx(from, order, 1 + n / 64, 1 + n % 64)).unwrap();
    }
    // The senders spend their whole balance with transactions that clients sent to other nodes.
    let spends = [1, 2].map(|from| transfers(from, TxOrder::Nonce(0), 16, 62_499, 16));
    assert_eq!(node.commit(&spends), 0);
    assert!(node.pool.is_empty() && node.reap().is_empty());
    let calls = node.count_calls();
    node.add(&nonce(3, 0, 1)).unwrap();
    assert_eq!(calls.load(Relaxed), 1, "this one can go into a block");
    // Nonce 0 of sender 1 is already used.
    let (mut waits, mut blocks) = (node.pool.stats().txs, 1);
    assert_eq!(waits, 5999 - DROPS_MAX + 1);
    while waits > 1 {
        assert_eq!(node.order(), [(3, 1)]);
        assert!(!node.pool.is_empty());
        node.commit(&[]);
        let dropped = waits - node.pool.stats().txs;
        assert!((1..=DROPS_MAX).contains(&dropped), "{dropped}");
        (waits, blocks) = (waits - dropped, blocks + 1);
    }
    assert_eq!((node.order(), blocks), (vec![(3, 1)], 5999_usize.div_ceil(DROPS_MAX)));
}

#[test]
fn a_block_with_an_unordered_transaction_leaves_its_senders_others() {
    let mut node = Node::new(Config::default(), &[100]);
    let block = [expires(1, 9, 1, 59)];
    node.add(&block[0]).unwrap();
    node.add(&tx(1, TxOrder::Nonce(0), 1, 39)).unwrap();
    assert_eq!(node.commit(&block), 0);
    assert_eq!((node.account(1).balance, node.reap().len()), (40, 1), "the rest is paid for");
}

#[test]
fn what_a_sender_can_pay_for_is_ready_again_without_a_block() {
    let mut node = Node::new(Config::default(), &[6000, 1]);
    for n in 0..3000 {
        node.add(&tx(1, TxOrder::Nonce(n), 1, 1)).unwrap();
    }
    assert_eq!(node.commit(&[tx(1, TxOrder::Nonce(0), 1, 5899)]), 0);
    assert_eq!(node.account(1).balance, 100);
    for left in [2999 - DROPS_MAX, 2999 - 2 * DROPS_MAX] {
        assert_eq!((node.pool.stats().txs, node.pool.is_empty(), node.reap().len()), (left, true, 0));
        node.pool.drop_outdated(node.now);
    }
    assert_eq!((node.pool.stats().txs, node.pool.is_empty(), node.reap().len()), (50, false, 50));
}

#[test]
fn transactions_that_are_too_old_are_dropped_in_portions() {
    let mut node = Node::new(Config::default(), &[1_000_000]);
    for n in 0..3000 {
        node.add(&expires(1, 2, 1 + n / 64, 1 + n % 64)).unwrap();
    }
    assert!(!node.pool.is_empty());
    node.now = Time::from_unix_millis(START_MS + 1_999);
    node.commit(&[]);
    assert_eq!(node.pool.stats().txs, 3000);
    node.now = Time::from_unix_millis(START_MS + 2_000);
    node.commit(&[]);
    assert_eq!(node.pool.stats().txs, 3000 - DROPS_MAX);
    assert!(node.pool.is_empty(), "what is left is in no block");
    assert!(node.reap().is_empty());
    assert_eq!(node.pool.stats().txs, 3000 - 2 * DROPS_MAX, "a reap drops some too");
    node.pool.drop_outdated(node.now);
    assert_eq!(node.pool.stats().txs, 0);
}

/// Measures the longest update: a block spends the balance of as many senders as fill the pool, so that all of their
/// transactions must be dropped.
///
/// ```sh
/// cargo test --workspace --test mempool -- --ignored --nocapture
/// ```
#[test]
#[ignore = "a measurement"]
fn the_longest_mempool_update_is_measured() {
    let senders = 12_u8;
    for is_ordered in [true, false] {
        let mut node = Node::new(Config::default(), &vec![1_000_000; usize::from(senders)]);
        for (from, n) in (1..=senders).flat_map(|from| (0..4096).map(move |n| (from, n))) {
            let order = if is_ordered { TxOrder::Nonce(n) } else { until(9) };
            node.add(&tx(from, order, 1 + n / 64, 1 + n % 64)).unwrap();
        }
        // Transactions of other nodes' clients spend the whole balance.
        let spends: Vec<VerifiedTx> =
            (1..=senders).map(|from| transfers(from, TxOrder::Nonce(0), 16, 62_499, 16)).collect();
        let before = node.pool.stats().txs;
        let begun = Instant::now();
        assert_eq!(node.commit(&spends), 0);
        let took = begun.elapsed();
        let dropped = before - node.pool.stats().txs;
        println!("a block that drops {dropped} of {before}: {took:?}, {:?} each", took / dropped as u32);
        let begun = Instant::now();
        assert!(node.reap().is_empty());
        println!(
            "a proposer passes over {} that are still to be dropped: {:?}",
            node.pool.stats().txs,
            begun.elapsed()
        );
    }
}
