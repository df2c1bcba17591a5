//! Benchmark of what a block does about stake over RocksDB: without transactions, with income and absent validators, when
//! unbondings are due, and for a double sign.
//!
//! `cargo bench --workspace --bench stake --profile dev -- [delegators]`: 100 validators, the first with that many
//! delegators, 1,000,000 by default. CPU time of the thread, unless said otherwise. The goals: 1 ms for a block's own work,
//! 5 ms for the double sign, 50 ms for 10,000 unbondings.
#![allow(missing_docs, clippy::print_stdout, clippy::disallowed_methods, clippy::disallowed_types)]

use std::{
    env,
    time::{Duration, Instant},
};

use app::{App, BlockContext, FirstDelegation, FirstStake, FirstValidator, MATURED_MAX, first_state};
use replica::LiveApp;
use rpc::thread_cpu;
use storage::{RocksKv, Store};
use types::{
    Address, Event, EvidenceParams, Hash, Height, Misbehavior, MisbehaviorKind, Msg, Params, Power, SecretKey,
    StakeMsg, StakingParams, Time, TxBody, TxOrder, VerifiedTx, WriteSet, limits::TX_MESSAGES_MAX,
};

#[allow(unexpected_cfgs)]
#[path = "../../storage/tests/suite/chain.rs"]
mod chain;

use chain::{Chain, chain_id};

const VALIDATORS: u8 = 100;
/// Unbondings that are due at one time.
const UNBONDINGS: usize = 10_000;
/// Accounts that delegate to all validators: together they can have [`UNBONDINGS`], seven for each pair.
const SAVERS: u8 = (UNBONDINGS / (7 * VALIDATORS as usize) + 1) as u8;
const UNBONDING: Duration = Duration::from_secs(3600);
const SECOND: Duration = Duration::from_secs(1);
/// Stake that gives a power of 1.
const UNIT: u64 = 1_000_000;
/// Blocks of which the median is printed.
const BLOCKS: usize = 101;

fn key(kind: u8, seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[&[kind; 31][..], &[seed]].concat()).expect("a key")
}

fn operator(seed: u8) -> Address {
    key(1, seed).public_key().address()
}

fn consensus(seed: u8) -> SecretKey {
    key(2, seed)
}

fn saver(seed: u8) -> SecretKey {
    key(3, seed)
}

/// What a block takes.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Took {
    /// CPU time of the thread for the execution and the trees.
    own: Duration,
    /// Time on the wall for both.
    wall: Duration,
    /// Time on the wall of the write to the store.
    stored: Duration,
}

struct Net {
    store: Store<RocksKv>,
    app: LiveApp,
    chain: Chain,
    time: Time,
    /// Next nonces of the savers.
    nonces: [u64; SAVERS as usize + 1],
}

impl Net {
    fn new(store: Store<RocksKv>, delegators: u32) -> Self {
        let staking = StakingParams {
            unbonding: UNBONDING,
            issuance_bps_per_year: 500,
            community_bps: 200,
            ..StakingParams::default()
        };
        let evidence = EvidenceParams { age_max: UNBONDING / 2, ..EvidenceParams::default() };
        let params = Params { staking, evidence, ..Params::default() };
        let delegation = |delegator, validator, amount| FirstDelegation { delegator, validator, amount };
        let crowd = (0..delegators).map(|index| {
            let mut address = [9; 20];
            address[..4].copy_from_slice(&index.to_be_bytes());
            delegation(Address(address), operator(1), 1000)
        });
        let own = (1..=VALIDATORS).map(|seed| delegation(operator(seed), operator(seed), 10 * UNIT));
        let savings = (1..=SAVERS).flat_map(|one| {
            (1..=VALIDATORS).map(move |seed| delegation(saver(one).public_key().address(), operator(seed), 1000))
        });
        let stake = FirstStake { delegations: crowd.chain(own).chain(savings).collect(), ..FirstStake::default() };
        let power = |seed| match seed {
            1 => 10 + (u64::from(delegators) * 1000 + u64::from(SAVERS) * 1000) / UNIT,
            _ => 10,
        };
        let validators = (1..=VALIDATORS).map(|seed| FirstValidator {
            public_key: consensus(seed).public_key().into(),
            power: Power(power(seed)),
            operator: Some(operator(seed)),
        });
        let accounts = (1..=SAVERS).map(|seed| (saver(seed).public_key().address(), 1_000_000_000));
        let first = first_state(&params, &validators.collect::<Vec<_>>(), accounts, &stake).expect("a first state");
        let rows: WriteSet = WriteSet(first.rows().map(|(row, value)| (row, Some(value))).collect());
        println!("{VALIDATORS} validators, {delegators} delegators of the first, {} rows", rows.0.len());
        let mut chain = Chain::start(&store, 1, rows);
        chain.remember = false;
        chain.states.clear();
        store.kv().compact().expect("compacts");
        let app = LiveApp::new(App::open(&store.reader().expect("a state"), chain_id(), Height(0)));
        Self { store, app, time: chain.genesis.time, chain, nonces: [0; SAVERS as usize + 1] }
    }

    /// Executes and commits a block that is `after` the last one. Returns what it takes, and its own events.
    fn block(&mut self, after: Duration, context: BlockContext, txs: &[VerifiedTx]) -> (Took, Vec<Event>) {
        self.time = self.time.saturating_add(after);
        let context = BlockContext { height: self.chain.height.next(), time: self.time, ..context };
        let (wall, cpu) = (Instant::now(), thread_cpu());
        let reader = self.store.reader().expect("a state");
        let outcome = self.app.read().execute(&reader, &context, txs);
        reader.check().expect("reads");
        drop(reader);
        let executed = (wall.elapsed(), thread_cpu() - cpu);
        assert!(outcome.results.txs.iter().all(|result| result.code == 0), "{:?}", outcome.results.txs);
        let mut made = self.chain.next(outcome.writes, txs.iter().map(|tx| tx.bytes().to_vec()).collect());
        made.results = outcome.results;
        let wall = Instant::now();
        self.store.commit_block(&made.batch()).expect("commits");
        let stored = wall.elapsed();
        let (wall, cpu) = (Instant::now(), thread_cpu());
        self.app.commit(outcome.update);
        let took = Took { own: executed.1 + thread_cpu() - cpu, wall: executed.0 + wall.elapsed(), stored };
        (took, made.results.events)
    }

    fn tx(&mut self, from: u8, messages: Vec<Msg>) -> VerifiedTx {
        let nonce = &mut self.nonces[usize::from(from)];
        let (signer, order) = (saver(from).public_key(), TxOrder::Nonce(*nonce));
        *nonce += 1;
        let body = TxBody { chain_id: chain_id(), signer, order, fee: 10_000, messages };
        VerifiedTx::verified_before(body.sign(&saver(from)))
    }
}

/// Returns the context of a block in which nothing happens; its height and time are set by [`Net::block`].
fn quiet() -> BlockContext {
    let proposer = consensus(1).public_key().address();
    BlockContext { height: Height(0), time: Time::UNIX_EPOCH, proposer, misbehavior: Vec::new(), absent: Vec::new() }
}

fn median(mut took: Vec<Took>) -> Took {
    took.sort_unstable();
    took[took.len() / 2]
}

fn shown(took: Took) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    format!("{:.2} ms ({:.2} on the wall, {:.2} to store)", ms(took.own), ms(took.wall), ms(took.stored))
}

/// Measures blocks without unbondings that are due.
fn own_work(net: &mut Net) {
    let idle = median((0..BLOCKS).map(|_| net.block(SECOND, quiet(), &[]).0).collect());
    println!("  a block without transactions, with issuance: {}", shown(idle));
    let income = (0..BLOCKS).map(|_| {
        let pay = net.tx(1, vec![Msg::Transfer { to: operator(1), amount: 1 }]);
        net.block(SECOND, quiet(), &[pay]);
        net.block(SECOND, quiet(), &[]).0
    });
    println!("  with a fee of the block before: {}", shown(median(income.collect())));
    for missing in [1, 33] {
        let absent: Vec<Address> = (2..2 + missing).map(|seed| consensus(seed).public_key().address()).collect();
        let blocks = (0..BLOCKS).map(|_| net.block(SECOND, BlockContext { absent: absent.clone(), ..quiet() }, &[]).0);
        println!("  with {missing} absent validators: {}", shown(median(blocks.collect())));
    }
}

/// Measures unbondings that begin in one block, and mature together.
fn unbondings(net: &mut Net) {
    let pairs = (1..=SAVERS).flat_map(|one| (1..=VALIDATORS).map(move |seed| (one, seed)));
    let mut some: Vec<(u8, u8)> = (0..7).flat_map(|_| pairs.clone()).take(UNBONDINGS).collect();
    some.sort_unstable();
    let mut txs = Vec::new();
    for of_one in some.chunk_by(|one, other| one.0 == other.0) {
        for part in of_one.chunks(TX_MESSAGES_MAX) {
            let message = |validator| Msg::Stake(StakeMsg::Undelegate { validator, amount: Some(1) });
            let messages = part.iter().map(|(_, seed)| message(operator(*seed))).collect();
            txs.push(net.tx(of_one[0].0, messages));
        }
    }
    let (began, _) = net.block(SECOND, quiet(), &txs);
    println!("  {UNBONDINGS} unbondings begin: {}", shown(began));
    net.block(SECOND, quiet(), &[]);
    let (mut blocks, mut ended, mut after) = (Vec::new(), 0, UNBONDING);
    while ended < UNBONDINGS {
        let (took, events) = net.block(after, quiet(), &[]);
        ended += events.iter().filter(|event| event.kind == "staking.unbonded").count();
        blocks.push(took);
        after = Duration::from_millis(1);
    }
    let sum = blocks.iter().fold(Took::default(), |sum, took| Took {
        own: sum.own + took.own,
        wall: sum.wall + took.wall,
        stored: sum.stored + took.stored,
    });
    println!("  they are paid in {} blocks of at most {MATURED_MAX}: {}", blocks.len(), shown(sum));
    println!("    each: {}", shown(median(blocks)));
}

/// Measures double signs of the validator with most delegators, and of one with few.
fn double_signs(net: &mut Net, delegators: u32) {
    for (seed, of) in [(1, delegators), (2, 0)] {
        let named = Misbehavior {
            kind: MisbehaviorKind::DuplicateVote,
            validator: consensus(seed).public_key().address(),
            height: net.chain.height,
            time: net.time,
            power: Power(10),
            total_power: Power(1000),
            evidence: Hash([seed; 32]),
        };
        let (took, events) = net.block(SECOND, BlockContext { misbehavior: vec![named], ..quiet() }, &[]);
        assert!(events.iter().any(|event| event.kind == "staking.slashed"), "{events:?}");
        let delegators = of + u32::from(SAVERS) + 1;
        println!("  a double sign of a validator with {delegators} delegators: {}", shown(took));
    }
}

fn main() {
    let delegators = env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(1_000_000);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open(RocksKv::open(&folder.path().join("db")).expect("opens"), &chain_id()).expect("opens");
    let net = &mut Net::new(store, delegators);
    own_work(net);
    unbondings(net);
    double_signs(net, delegators);
}
