//! Benchmark of reverts over RocksDB: the block that executes one, its proposal and its preview, and commits beside previews.
//!
//! `cargo bench --workspace --bench revert --profile dev -- [keys …]`, with 100,000, 1,000,000 and 10,000,000 by default: a
//! namespace with that many keys, of which 1,000 and then 10,000 change twice after the target. The goal is 5 ms and 2 µs per
//! changed key, whatever the number of keys. CPU time of the process, unless said otherwise. Ten million keys take about 3 GB
//! in the folder for temporary files, and some minutes.
#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../../storage/benches/common/cpu.rs"]
mod cpu;
#[path = "../../storage/benches/common/random.rs"]
mod random;

use std::{
    collections::BTreeMap,
    hint::black_box,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use app::{
    App, BlockContext, FirstValidator,
    area::{Area, key_row},
    genesis_writes, preview,
    state::key,
    tree::rows::{path_of, row_value, split_row},
};
use cpu::{cpu, thread_cpu};
use random::Random;
use storage::{CommitBatch, Genesis, GenesisBatch, RocksKv, Store};
use types::{
    Address, Block, ChainId, Choice, Commit, Header, Height, History, KvOp, Msg, NsOwner, Params, Power, ProposalKind,
    Propose, Reader, Revert, RevertScope, Round, SecretKey, Time, TxBody, TxOrder, ValidatorSet, VerifiedTx, Wire, pb,
};

/// Operations of one transaction.
const OPS: u64 = 64;
/// Transactions of one block that writes to the namespace.
const TXS: usize = 200;
/// Runs for each number of changed keys.
const RUNS: u64 = 5;
/// Numbers of changed keys.
const CHANGED: [u64; 2] = [1_000, 10_000];
/// Accounts that are paid by the transfers beside previews, and transfers of one block.
const ACCOUNTS: u64 = 100_000;
const TRANSFERS: usize = 500;
/// Blocks of each phase beside previews, and number of pairs of phases.
const PHASE: usize = 8;
const PAIRS: usize = 16;
/// Bytes of a value.
const VALUE: usize = 64;

fn secret(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).expect("a scalar")
}

fn account(number: u64) -> Address {
    Address(*types::blake3(&number.to_be_bytes()).0.first_chunk().expect("a hash has 32 bytes"))
}

/// Time of something.
#[derive(Clone, Copy, Default)]
struct Took {
    /// CPU time of the process.
    cpu: Duration,
    /// CPU time of the thread.
    own: Duration,
    wall: Duration,
}

/// Returns the result of `act` and its time.
fn timed<T>(act: impl FnOnce() -> T) -> (T, Took) {
    let (all, own, wall) = (cpu(), thread_cpu(), Instant::now());
    let done = act();
    let wall = wall.elapsed();
    (done, Took { cpu: cpu() - all, own: thread_cpu() - own, wall })
}

/// A chain without consensus.
struct Chain {
    store: Arc<Store<RocksKv>>,
    app: App,
    params: Params,
    validators: ValidatorSet,
    nonces: [u64; 4],
    /// Times for the execution and the commit of the last block.
    took: [Took; 2],
    /// Number of proposals so far.
    proposals: u64,
}

impl Chain {
    /// Creates a chain whose first state has a namespace with `keys` keys. Block 1 was executed in memory.
    fn new(store: Store<RocksKv>, keys: u64) -> Self {
        let mut params = Params::default();
        params.block.bytes_max = 16 << 20;
        (params.proposals.notice_min, params.proposals.cooldown) = (Duration::ZERO, Duration::ZERO);
        let (public_key, power) = (secret(1).public_key().into(), Power(10));
        let validator = FirstValidator { public_key, power, operator: Some(secret(2).public_key().address()) };
        let owners = [2, 3].map(|seed| (secret(seed).public_key().address(), 1 << 50));
        let accounts = owners.into_iter().chain((0..ACCOUNTS).map(|number| (account(number), 1)));
        let first = genesis_writes(&params, &[validator], accounts).expect("a first state");
        let mut rows: BTreeMap<Vec<u8>, Vec<u8>> = first.rows().collect();
        let validators = ValidatorSet::new(vec![(public_key, power)]).expect("a set");
        let (hash, time) = (first.app_hash, Time::from_unix_millis(1_700_000_000_000));
        let app = App::open(&rows, chain_id(), Height(0));
        let mut nonces = [0; 4];
        let create =
            Msg::NsCreate { ns: "bench".into(), owner: NsOwner::Shared, quota_keys: 1 << 40, quota_bytes: 1 << 50 };
        let context =
            BlockContext { height: Height(1), time, proposer: account(0), misbehavior: Vec::new(), absent: Vec::new() };
        let outcome = app.execute(&rows, &context, &[tx(&mut nonces, 3, create)]);
        rows.extend(outcome.writes.0.into_iter().filter_map(|(row, value)| Some((row, value?))));
        count_keys(&mut rows, keys);
        // Rows in ascending order are compacted without being rewritten.
        let mut order: Vec<(u64, u64)> = (0..keys).map(|key| (start(&path_of(&name(key))), key)).collect();
        order.sort_unstable();
        let paths = order.into_iter().map(|(_, key)| {
            let name = name(key);
            (Area::Namespace(0).row_key(&path_of(&name)), row_value(&name, &[1; VALUE]))
        });
        let mut names: Vec<Vec<u8>> = (0..keys).map(|key| key_row(0, &name(key))).collect();
        names.sort_unstable();
        let names = names.into_iter().map(|row| (row, Vec::new()));
        let genesis = Genesis { initial_height: Height(2), time, app_hash: hash, document_hash: hash };
        let batch = GenesisBatch { genesis, validators: &validators, params: &params };
        store.init_genesis(&batch, rows.into_iter().chain(names).chain(paths)).expect("an empty store");
        store.kv().compact().expect("compacts");
        let app = App::open(&store.reader().expect("a state"), chain_id(), Height(1));
        Self { store: Arc::new(store), app, params, validators, nonces, took: Default::default(), proposals: 0 }
    }

    fn tx(&mut self, from: u8, message: Msg) -> VerifiedTx {
        tx(&mut self.nonces, from, message)
    }

    /// Executes and commits a block. Returns the kinds of its own events.
    fn block(&mut self, txs: &[VerifiedTx]) -> Vec<String> {
        let tip = self.store.tip().expect("a tip");
        let (height, time) = (tip.height.next(), tip.time.saturating_add(Duration::from_millis(20)));
        let bytes: Vec<Vec<u8>> = txs.iter().map(|tx| tx.bytes().to_vec()).collect();
        let header = Header {
            version_app: 1,
            chain_id: chain_id(),
            height,
            time,
            last_block_id: tip.block_id,
            last_commit_hash: Commit::empty_hash(),
            data_hash: Block::data_hash(&bytes),
            validators_hash: self.validators.hash(),
            next_validators_hash: self.validators.hash(),
            consensus_hash: self.params.hash(),
            app_hash: tip.app_hash,
            last_results_hash: tip.results_hash,
            evidence_hash: Block::evidence_hash(&[]),
            proposer: self.validators.proposer().address(),
        };
        let context =
            BlockContext { height, time, proposer: header.proposer, misbehavior: Vec::new(), absent: Vec::new() };
        let block = Block { header, txs: bytes, evidence: Vec::new(), last_commit: None };
        let parts = block.part_set();
        let (block_id, block_bytes) = (block.id(&parts), block.encode());
        let seen_commit = Commit { height, round: Round(0), block_id, signatures: Vec::new() };
        let (outcome, executed) = timed(|| {
            let reader = self.store.reader().expect("a state");
            let outcome = self.app.execute(&reader, &context, txs);
            reader.check().expect("reads");
            outcome
        });
        assert!(outcome.results.txs.iter().all(|result| result.code == 0), "{:?}", outcome.results.txs[0]);
        let (validators, params) = (&self.validators, &self.params);
        let (results, writes) = (&outcome.results, &outcome.writes);
        let batch = CommitBatch {
            block_id,
            block: &block,
            block_bytes: &block_bytes,
            seen_commit: &seen_commit,
            results,
            writes,
            replaced: &outcome.replaced,
            validators,
            params,
            evidence_floor: height,
        };
        let ((), committed) = timed(|| {
            self.store.commit_block(&batch).expect("commits");
            self.app.commit(outcome.update);
        });
        self.took = [executed, committed];
        outcome.results.events.into_iter().map(|event| event.kind).collect()
    }

    /// Writes a value to keys of the namespace.
    fn write(&mut self, keys: impl Iterator<Item = u64>, value: u8) {
        let (keys, epoch): (Vec<u64>, u64) = (keys.collect(), self.proposals + 1);
        for some in keys.chunks(TXS * OPS as usize) {
            let message = |keys: &[u64]| {
                let op = |key: &u64| KvOp { key: name(*key), value: Some(vec![value; VALUE]), if_height: None };
                Msg::KvWrite { ns: "bench".into(), data_epoch: epoch, ops: keys.iter().map(op).collect() }
            };
            let txs: Vec<VerifiedTx> = some.chunks(OPS as usize).map(|keys| self.tx(3, message(keys))).collect();
            self.block(&txs);
        }
    }

    /// Changes keys that are spread over the namespace, each twice, and lets some heights pass. Returns a proposal to take
    /// the changes back.
    fn change(&mut self, keys: u64, changed: u64) -> Propose {
        self.write([0].into_iter(), 2);
        let target = self.app.height();
        for value in [3, 4] {
            self.write((0..changed).map(|key| key * (keys / changed)), value);
        }
        for _ in 0..20 {
            self.block(&[]);
        }
        let scope = vec![RevertScope { ns: "bench".into(), expect_root: None }];
        let kind = ProposalKind::Revert(Revert { target, scope, notice: None, dirty_after: None });
        Propose { kind, reason: String::new(), uri: String::new() }
    }
}

/// Sets the numbers in the row of the namespace to those of its keys.
fn count_keys(rows: &mut BTreeMap<Vec<u8>, Vec<u8>>, keys: u64) {
    let key = key::namespace("bench");
    let row = rows.get_mut(&Area::NeverReverted.row_key(&path_of(&key))).expect("it was created");
    let mut namespace: pb::Namespace = prost::Message::decode(split_row(row).expect("a row").1).expect("a namespace");
    (namespace.keys, namespace.bytes) = (keys, keys * (name(0).len() + VALUE) as u64);
    *row = row_value(&key, &prost::Message::encode_to_vec(&namespace));
}

fn tx(nonces: &mut [u64; 4], from: u8, message: Msg) -> VerifiedTx {
    let nonce = &mut nonces[usize::from(from)];
    let (signer, order, fee) = (secret(from).public_key(), TxOrder::Nonce(*nonce), 1000);
    *nonce += 1;
    let body = TxBody { chain_id: chain_id(), signer, order, fee, messages: vec![message] };
    VerifiedTx::verified_before(body.sign(&secret(from)))
}

/// Returns the times for finding the changed keys, and for reading their values now and at the target.
fn reads(chain: &Chain, target: Height) -> [Took; 3] {
    let reader = chain.store.reader().expect("a state");
    let mut rows = Vec::new();
    let ((), found) = timed(|| {
        reader.changed_since(target, &Area::Namespace(0).prefix(), &mut |row| {
            rows.push(row.to_vec());
            true
        });
        rows.sort_unstable();
    });
    let ((), now) = timed(|| rows.iter().for_each(|row| drop(black_box(reader.get(row)))));
    let ((), then) = timed(|| rows.iter().for_each(|row| drop(black_box(reader.get_at(target, row)))));
    reader.check().expect("reads");
    [found, now, then]
}

fn chain_id() -> ChainId {
    ChainId::new("bench").expect("a name")
}

fn name(key: u64) -> Vec<u8> {
    format!("key/{:016x}", key.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes()
}

/// Returns the first bytes of a path as a number.
fn start(path: &[u8; 32]) -> u64 {
    u64::from_be_bytes(*path.first_chunk().expect("a path has 32 bytes"))
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Runs a preview.
fn previewed(store: &Store<RocksKv>, propose: &[u8]) -> app::Preview {
    let reader = store.reader().expect("a state");
    let shown = preview(&reader, reader.height(), Time::from_unix_millis(1_800_000_000_000), propose);
    reader.check().expect("reads");
    shown.expect("a preview")
}

/// Measures reverts of `changed` keys. Returns the medians of the times for execution and commit, in ms, each without that
/// of an empty block.
fn reverts(chain: &mut Chain, keys: u64, changed: u64) -> [f64; 2] {
    let mut times = [Vec::new(), Vec::new()];
    for run in 0..RUNS {
        let propose = chain.change(keys, changed);
        let idle = chain.took.map(|took| ms(took.cpu));
        let ProposalKind::Revert(Revert { target, .. }) = &propose.kind else { unreachable!("it proposes reverts") };
        let (target, bytes) = (*target, propose.encode());
        let (shown, preview) = timed(|| previewed(&chain.store, &bytes));
        assert_eq!((shown.keys, shown.refusals.len()), (changed, 0), "{:?}", shown.refusals);
        let reads = reads(chain, target).map(|took| ms(took.cpu));
        let propose = chain.tx(3, Msg::Propose(Box::new(propose)));
        chain.block(&[propose]);
        let proposed = ms(chain.took[0].cpu);
        chain.proposals += 1;
        let vote = chain.tx(2, Msg::Vote { id: chain.proposals, choice: Choice::Yes });
        assert_eq!(chain.block(&[vote]), ["revert.scheduled"]);
        assert_eq!(chain.block(&[]), ["revert.executed"]);
        let wall = ms(chain.took[0].wall + chain.took[1].wall);
        let [execute, commit] = chain.took.map(|took| ms(took.cpu));
        println!(
            "  {changed} keys, run {run}: found in {:.2} ms, read now {:.2}, then {:.2}; preview {:.2}, proposal {proposed:.2}; execution \
             {execute:.2}, commit {commit:.2}, both on the wall {wall:.2}; an empty block {:.2} and {:.2}",
            reads[0],
            reads[1],
            reads[2],
            ms(preview.cpu),
            idle[0],
            idle[1]
        );
        times[0].push(execute - idle[0]);
        times[1].push(commit - idle[1]);
    }
    times.map(median)
}

/// Measures blocks of transfers with and without a thread that runs one preview after the other, at the priority of
/// clients, in pairs of phases (ABBA).
fn beside(chain: &mut Chain, keys: u64) {
    let propose = chain.change(keys, CHANGED[1]).encode();
    let (store, is_on, is_over) = (chain.store.clone(), AtomicBool::new(false), AtomicBool::new(false));
    let (running, previews, mut random) = (Mutex::new(()), AtomicU64::new(0), Random(7));
    let mut times: [[Vec<f64>; 2]; 2] = Default::default();
    let mut took = [Duration::ZERO; 2];
    thread::scope(|scope| {
        scope.spawn(|| {
            node::os::serve_clients();
            while !is_over.load(Ordering::Relaxed) {
                if is_on.load(Ordering::Relaxed) {
                    let _running = running.lock().expect("no thread panics");
                    assert_eq!(previewed(&store, &propose).keys, CHANGED[1]);
                    previews.fetch_add(1, Ordering::Relaxed);
                } else {
                    thread::sleep(Duration::from_millis(1));
                }
            }
        });
        for pair in 0..2 * PAIRS {
            for on in [pair % 2, 1 - pair % 2] {
                is_on.store(on == 1, Ordering::Relaxed);
                if on == 0 {
                    drop(running.lock().expect("no thread panics")); // the last preview has ended
                }
                let since = Instant::now();
                for _ in 0..PHASE {
                    let to = |_| Msg::Transfer { to: account(random.next() % ACCOUNTS), amount: 1 };
                    let txs: Vec<VerifiedTx> = (0..TRANSFERS).map(to).map(|message| chain.tx(3, message)).collect();
                    chain.block(&txs);
                    times[on][0].push(ms(chain.took[0].wall + chain.took[1].wall));
                    times[on][1].push(ms(chain.took[0].own + chain.took[1].own));
                }
                took[on] += since.elapsed();
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let [off, on] = times.map(|times| times.map(median));
    let rate = previews.into_inner() as f64 / took[1].as_secs_f64();
    println!(
        "  blocks of {TRANSFERS} transfers, executed and committed, beside {rate:.1} previews of {} keys per second: {:.2} ms on the wall \
         and {:.2} ms of CPU of the thread, without {:.2} and {:.2}: ratios {:.3} and {:.3}",
        CHANGED[1],
        on[0],
        on[1],
        off[0],
        off[1],
        on[0] / off[0],
        on[1] / off[1]
    );
}

fn main() {
    let mut sizes: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    if sizes.is_empty() {
        sizes = vec![100_000, 1_000_000, 10_000_000];
    }
    for keys in sizes {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store = Store::open(RocksKv::open(&folder.path().join("db")).expect("opens"), &chain_id()).expect("opens");
        let wall = Instant::now();
        let mut chain = Chain::new(store, keys);
        println!("{keys} keys, made in {:.1} s", wall.elapsed().as_secs_f64());
        let [few, many] = CHANGED.map(|changed| reverts(&mut chain, keys, changed));
        let (execution, commit) = (many[0] - few[0], many[1] - few[1]);
        let each = |time: f64| time * 1000.0 / (CHANGED[1] - CHANGED[0]) as f64;
        let all = each(execution + commit);
        println!(
            "  revert: {:.2} ms and {all:.2} µs per changed key: execution {:.2} µs, commit {:.2} µs",
            few[0] + few[1] - all * CHANGED[0] as f64 / 1000.0,
            each(execution),
            each(commit)
        );
        beside(&mut chain, keys);
    }
}
