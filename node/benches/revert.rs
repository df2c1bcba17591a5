//! Benchmark of a revert over RocksDB: the block that executes it, a new proposal and its preview, and the read of a kept height.
//!
//! `cargo bench --workspace --bench revert --profile dev -- KEYS CHANGED`, with 100,000 and 10,000 by default: a namespace
//! with KEYS keys, of which CHANGED change after the target. The goal is 5 ms and 2 µs per changed key, whatever KEYS is.
//! CPU time of the process.
#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types)]

#[path = "../../storage/benches/common/cpu.rs"]
mod cpu;

use std::{hint::black_box, time::Duration};

use app::{App, BlockContext, FirstValidator, area::Area, genesis_writes, preview};
use cpu::cpu;
use storage::{CommitBatch, Genesis, GenesisBatch, RocksKv, Store};
use types::{
    Block, ChainId, Commit, Header, Height, History, KvOp, Msg, NsOwner, Params, Power, ProposalKind, Propose, Reader,
    Revert, RevertScope, Round, SecretKey, Time, TxBody, TxOrder, ValidatorSet, VerifiedTx, Wire,
};

/// Operations of one transaction.
const OPS: u64 = 64;
/// Transactions of one block that fills the namespace.
const TXS: usize = 200;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).expect("a scalar")
}

/// A chain without consensus.
struct Chain {
    store: Store<RocksKv>,
    app: App,
    params: Params,
    validators: ValidatorSet,
    nonces: [u64; 4],
    /// Time for the execution and the commit of the last block.
    took: [Duration; 2],
}

impl Chain {
    fn new(store: Store<RocksKv>) -> Self {
        let mut params = Params::default();
        params.block.bytes_max = 16 << 20;
        (params.proposals.notice_min, params.proposals.cooldown) = (Duration::ZERO, Duration::ZERO);
        params.proposals.revert_keys_max = 100_000;
        params.proposals.revert_bytes_max = 64 << 20;
        let (public_key, power) = (key(1).public_key().into(), Power(10));
        let validator = FirstValidator { public_key, power, operator: Some(key(2).public_key().address()) };
        let accounts = [2, 3].map(|seed| (key(seed).public_key().address(), 1 << 50));
        let first = genesis_writes(&params, &[validator], accounts).expect("a first state");
        let validators = ValidatorSet::new(vec![(public_key, power)]).expect("a set");
        let hash = first.app_hash;
        let time = Time::from_unix_millis(1_700_000_000_000);
        let genesis = Genesis { initial_height: Height(1), time, app_hash: hash, document_hash: hash };
        let batch = GenesisBatch { genesis, validators: &validators, params: &params };
        store.init_genesis(&batch, first.rows()).expect("an empty store");
        let app = App::open(&store.reader().expect("a state"), chain_id(), Height(0));
        Self { store, app, params, validators, nonces: [0; 4], took: [Duration::ZERO; 2] }
    }

    fn tx(&mut self, from: u8, message: Msg) -> VerifiedTx {
        let nonce = &mut self.nonces[usize::from(from)];
        let (signer, order, fee) = (key(from).public_key(), TxOrder::Nonce(*nonce), 1000);
        *nonce += 1;
        let body = TxBody { chain_id: chain_id(), signer, order, fee, messages: vec![message] };
        VerifiedTx::verified_before(body.sign(&key(from)))
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
        let context = BlockContext { height, time, proposer: header.proposer };
        let block = Block { header, txs: bytes, evidence: Vec::new(), last_commit: None };
        let parts = block.part_set();
        let (block_id, block_bytes) = (block.id(&parts), block.encode());
        let seen_commit = Commit { height, round: Round(0), block_id, signatures: Vec::new() };
        let start = cpu();
        let reader = self.store.reader().expect("a state");
        let outcome = self.app.execute(&reader, &context, txs);
        reader.check().expect("reads");
        drop(reader);
        self.took[0] = cpu() - start;
        assert!(outcome.results.txs.iter().all(|result| result.code == 0), "{:?}", outcome.results.txs[0]);
        let start = cpu();
        let (validators, params) = (&self.validators, &self.params);
        let (results, writes) = (&outcome.results, &outcome.writes);
        let batch = CommitBatch {
            block_id,
            block: &block,
            block_bytes: &block_bytes,
            seen_commit: &seen_commit,
            results,
            writes,
            validators,
            params,
        };
        self.store.commit_block(&batch).expect("commits");
        self.app.commit(outcome.update);
        self.took[1] = cpu() - start;
        outcome.results.events.into_iter().map(|event| event.kind).collect()
    }

    /// Writes a value to keys of the namespace.
    fn write(&mut self, epoch: u64, keys: impl Iterator<Item = u64>, value: u8) {
        let keys: Vec<u64> = keys.collect();
        for some in keys.chunks(TXS * OPS as usize) {
            let message = |keys: &[u64]| {
                let op = |key: &u64| KvOp { key: name(*key), value: Some(vec![value; 64]), if_height: None };
                Msg::KvWrite { ns: "bench".into(), data_epoch: epoch, ops: keys.iter().map(op).collect() }
            };
            let txs: Vec<VerifiedTx> = some.chunks(OPS as usize).map(|keys| self.tx(3, message(keys))).collect();
            self.block(&txs);
        }
    }
}

/// Returns the times for finding the changed keys, and for reading their values now and at the target.
fn reads(chain: &Chain, target: Height) -> [Duration; 3] {
    let reader = chain.store.reader().expect("a state");
    let mut rows = Vec::new();
    let start = cpu();
    reader.changed_since(target, &Area::Namespace(0).prefix(), &mut |row| {
        rows.push(row.to_vec());
        true
    });
    rows.sort_unstable();
    let keys = cpu() - start;
    let start = cpu();
    rows.iter().for_each(|row| drop(black_box(reader.get(row))));
    let now = cpu() - start;
    let start = cpu();
    rows.iter().for_each(|row| drop(black_box(reader.get_at(target, row))));
    let then = cpu() - start;
    reader.check().expect("reads");
    [keys, now, then]
}

fn chain_id() -> ChainId {
    ChainId::new("bench").expect("a name")
}

fn name(key: u64) -> Vec<u8> {
    format!("key/{:016x}", key.wrapping_mul(0x9E37_79B9_7F4A_7C15)).into_bytes()
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let (keys, changed) = match numbers[..] {
        [keys, changed, ..] => (keys, changed),
        _ => (100_000, 10_000),
    };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(RocksKv::open(&folder.path().join("db")).expect("opens"), &chain_id()).expect("opens");
    let mut chain = Chain::new(store);
    let create =
        Msg::NsCreate { ns: "bench".into(), owner: NsOwner::Shared, quota_keys: 1 << 40, quota_bytes: 1 << 50 };
    let create = chain.tx(3, create);
    chain.block(&[create]);
    let start = cpu();
    chain.write(1, 0..keys, 1);
    println!("{keys} keys written in {:.1} s", (cpu() - start).as_secs_f64());
    for run in 0..3 {
        let epoch = run + 1;
        let target = chain.app.height();
        // The changed keys are spread over the namespace, and change twice.
        chain.write(epoch, (0..changed).map(|key| key * (keys / changed)), 2);
        chain.write(epoch, (0..changed).map(|key| key * (keys / changed)), 3);
        for _ in 0..20 {
            chain.block(&[]);
        }
        let idle = ms(chain.took[0] + chain.took[1]);
        let scope = vec![RevertScope { ns: "bench".into(), expect_root: None }];
        let kind = ProposalKind::Revert(Revert { target, scope, notice: None, dirty_after: None });
        let propose = Propose { kind, reason: String::new(), uri: String::new() };
        let (height, time) = (chain.app.height(), chain.store.tip().expect("a tip").time);
        let start = cpu();
        let reader = chain.store.reader().expect("a state");
        let shown = preview(&reader, height, time, &propose.encode());
        reader.check().expect("reads");
        drop(reader);
        let previewed = cpu() - start;
        let shown = shown.expect("a preview");
        assert_eq!((shown.keys, shown.refusals.len()), (changed, 0), "{:?}", shown.refusals);
        let reads = reads(&chain, target);
        let propose = chain.tx(3, Msg::Propose(Box::new(propose)));
        chain.block(&[propose]);
        let proposed = chain.took[0];
        let vote = chain.tx(2, Msg::Vote { id: run + 1, yes: true });
        assert_eq!(chain.block(&[vote]), ["revert.scheduled"]);
        assert_eq!(chain.block(&[]), ["revert.executed"]);
        let (execute, commit) = (ms(chain.took[0]), ms(chain.took[1]));
        println!(
            "run {run}: keys {:.1} ms, values now {:.1} ms, then {:.1} ms; preview {:.1} ms, proposal {:.1} ms, execution {execute:.1} ms and commit {commit:.1} ms: \
             {:.2} µs per changed key; an empty block takes {idle:.1} ms",
            ms(reads[0]),
            ms(reads[1]),
            ms(reads[2]),
            ms(previewed),
            ms(proposed),
            (execute + commit - idle) * 1000.0 / changed as f64
        );
    }
}
