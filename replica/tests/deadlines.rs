//! Proves that a height starts when block time reaches a deadline of the application: exact outputs of a lone validator
//! whose chain is idle.

use std::{sync::Arc, time::Duration};

use consensus::Signer;
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use mempool::{Mempool, SharedPool, Source};
use replica::{Committed, Config, Input, Output, Replica, Timer};
use storage::{MemDisk, MemKv, Store};
use types::*;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

fn start_time() -> Time {
    Time::from_unix_millis(1_700_000_000_000)
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A lone validator without empty blocks, at the moment of its last step.
struct One {
    replica: Replica<MemKv>,
    store: Arc<Store<MemKv>>,
    txs: SharedPool,
    now: Moment,
}

impl One {
    /// Creates a validator whose chain waits for the end of a vote. Returns the outputs since the vote began, too.
    fn waiting(disk: &MemDisk) -> (Self, Vec<Output>) {
        let now = start_time().saturating_add(ms(1000));
        let mut one = Self::on(disk, SignState::default(), now);
        one.step(vec![Input::Start]);
        let ns = "shared/policy".to_owned();
        let create = Msg::NsCreate { ns: ns.clone(), owner: NsOwner::Shared, quota_keys: 9, quota_bytes: 99 };
        one.decide(vec![create]);
        let op = KvOp { key: b"rules".to_vec(), value: Some(b"poison".to_vec()), if_height: None };
        let target = one.store.tip().unwrap().height;
        one.decide(vec![Msg::KvWrite { ns: ns.clone(), data_epoch: 1, ops: vec![op] }]);
        let scope = vec![RevertScope { ns, expect_root: None }];
        let kind = ProposalKind::Revert(Revert { target, scope, notice: None, dirty_after: None });
        let propose = Propose { kind, reason: String::new(), uri: String::new() };
        let outputs = one.decide(vec![Msg::Propose(Box::new(propose))]);
        (one, outputs)
    }

    /// Opens a validator on a disk, before its first step.
    fn on(disk: &MemDisk, signed: SignState, now: Time) -> Self {
        let operator = key(2).public_key().address();
        let genesis = Genesis::new(Document {
            genesis_time: start_time(),
            chain_id: chain(),
            initial_height: Height(1),
            params: Params::default(),
            validators: vec![GenesisValidator {
                public_key: key(1).public_key().into(),
                power: Power(10),
                name: String::new(),
                operator: Some(operator),
            }],
            app_hash: None,
            stake: genesis::FirstStake::default(),
            accounts: vec![GenesisAccount { address: operator, balance: 1_000_000, name: String::new() }],
        })
        .unwrap();
        let store = Arc::new(Store::open(disk.open(), &chain()).unwrap());
        let txs = SharedPool {
            mempool: Arc::new(Mempool::new(mempool::Config::default(), chain())),
            verifier: Arc::default(),
        };
        let config = Config { empty_block_interval: None, ..Config::default() };
        let (replica, _) = Replica::open(config, &genesis, store.clone(), Some(Signer::new(key(1), signed))).unwrap();
        Self { replica, store, txs, now: now.into() }
    }

    fn step(&mut self, inputs: Vec<Input>) -> Vec<Output> {
        self.replica.step(self.now, inputs, &self.txs)
    }

    /// Decides a block with these messages of the operator, and the heights that are due after it. Returns the outputs.
    fn decide(&mut self, messages: Vec<Msg>) -> Vec<Output> {
        self.pass(ms(10));
        self.step_until_idle();
        let reader = self.store.reader().unwrap();
        let nonce = app::View::of_state(&reader).account(&key(2).public_key().address()).nonce;
        let (signer, order) = (key(2).public_key(), TxOrder::Nonce(nonce));
        let body = TxBody { chain_id: chain(), signer, order, fee: 50, messages };
        let tx = VerifiedTx::verified_before(body.sign(&key(2)));
        self.txs.mempool.add(&reader, reader.height(), &Params::default(), tx, self.now.wall, Source::Local).unwrap();
        drop(reader);
        let outputs = self.step_until_idle();
        let codes: Vec<u32> = committed(&outputs)[0].results.txs.iter().map(|result| result.code).collect();
        assert_eq!(codes, [0], "{outputs:?}");
        outputs
    }

    /// Decides heights until none is due, and returns all outputs.
    fn step_until_idle(&mut self) -> Vec<Output> {
        let mut all = Vec::new();
        loop {
            self.pass(ms(1));
            let outputs = self.step(vec![Input::TxsAvailable]);
            let is_idle = committed(&outputs).is_empty();
            all.extend(outputs);
            if is_idle {
                return all;
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now.wall = self.now.wall.saturating_add(time);
        self.now.steady = self.now.steady.saturating_add(time);
    }

    fn deadline(&self) -> Time {
        app::earliest_deadline(&self.store.reader().unwrap()).expect("a deadline")
    }

    /// Passes the time of the last timer that was started for the next height, and lets it expire.
    fn pass_timer(&mut self, outputs: &[Output]) -> Vec<Output> {
        let (height, after) = *timers(outputs).last().expect("a timer");
        self.pass(after);
        self.step(vec![Input::Timer(Timer::EmptyBlock(height))])
    }
}

/// Returns the heights for which timers were started, with their durations.
fn timers(outputs: &[Output]) -> Vec<(Height, Duration)> {
    let timer = |output: &Output| match output {
        Output::StartTimer { timer: Timer::EmptyBlock(height), after } => Some((*height, *after)),
        _ => None,
    };
    outputs.iter().filter_map(timer).collect()
}

fn committed(outputs: &[Output]) -> Vec<Arc<Committed>> {
    let committed = |output: &Output| match output {
        Output::Committed(committed) => Some(committed.clone()),
        _ => None,
    };
    outputs.iter().filter_map(committed).collect()
}

/// Returns the only committed block of the outputs: its height, its time and its events.
fn one_block(outputs: &[Output]) -> (Height, Time, Vec<String>) {
    let [committed] = &committed(outputs)[..] else { panic!("{outputs:?}") };
    let header = &committed.block.header;
    (header.height, header.time, committed.results.events.iter().map(|event| event.kind.clone()).collect())
}

#[test]
fn an_idle_chain_meets_a_deadline_with_one_block_and_rests() {
    let (mut one, outputs) = One::waiting(&MemDisk::new());
    let (deadline, height) = (one.deadline(), one.replica.status().height);
    let begun = committed(&outputs)[0].block.header.time;
    assert_eq!(deadline, Deadline::at(begun.saturating_add(ms(200_000))).time());
    let left = deadline.since(one.now.wall);
    assert_eq!(timers(&outputs).last(), Some(&(height, ms(60_000))), "a timer runs for a minute at most");
    assert!(timers(&one.step(vec![Input::TxsAvailable])).is_empty(), "it is not started twice");

    let mut outputs = one.pass_timer(&outputs);
    assert_eq!(timers(&outputs), [(height, ms(60_000))]);
    outputs = one.pass_timer(&outputs);
    outputs = one.pass_timer(&outputs);
    assert_eq!(timers(&outputs), [(height, left - ms(180_000))]);
    assert_eq!(one.replica.status().height, height);

    let outputs = one.pass_timer(&outputs);
    assert_eq!(one_block(&outputs), (height, deadline, vec!["revert.expired".to_owned()]));
    assert_eq!(app::earliest_deadline(&one.store.reader().unwrap()), None);
    // One more block has the state after the deadline in its header, and then there is no reason for another.
    one_block(&one.step_until_idle());
    one.pass(ms(1_000_000));
    assert!(committed(&one.step(vec![Input::Timer(Timer::Gossip)])).is_empty());
}

#[test]
fn no_height_starts_before_a_deadline_by_this_clock() {
    let (mut one, _) = One::waiting(&MemDisk::new());
    let (deadline, height) = (one.deadline(), one.replica.status().height);
    one.pass(deadline.since(one.now.wall));
    one.now.wall = one.now.wall.saturating_sub(ms(10_000));
    let outputs = one.step(vec![Input::Timer(Timer::EmptyBlock(height))]);
    assert_eq!((timers(&outputs), committed(&outputs).len()), (vec![(height, ms(10_000))], 0));
    assert_eq!(one_block(&one.pass_timer(&outputs)).1, deadline);
}

/// A clock that is ahead would start a height after the other, none of which the others' clocks let meet the deadline.
#[test]
fn a_clock_that_jumps_ahead_starts_no_height() {
    let (mut one, outputs) = One::waiting(&MemDisk::new());
    let height = one.replica.status().height;
    let left = one.deadline().since(one.store.tip().unwrap().time);
    one.now.wall = one.now.wall.saturating_add(ms(3_600_000));
    for _ in 0..3 {
        assert!(committed(&one.pass_timer(&outputs)).is_empty());
        one.now.wall = one.now.wall.saturating_add(ms(3_600_000));
    }
    let waited = one.now.steady.since(one.replica.status().height_started);
    one.pass(left - waited - ms(1));
    assert!(committed(&one.step(vec![Input::TxsAvailable])).is_empty());
    one.pass(ms(1));
    assert_eq!(
        one_block(&one.step(vec![Input::TxsAvailable])).0,
        height,
        "the tip's time and the time since then decide"
    );
}

#[test]
fn a_deadline_that_passed_while_the_node_was_down_is_decided_at_its_start() {
    let disk = MemDisk::new();
    let (one, _) = One::waiting(&disk);
    let (deadline, height) = (one.deadline(), one.replica.status().height);
    let signed = one.replica.signer().expect("it signs").state().clone();
    drop(one);
    let now = deadline.saturating_add(ms(5_000));
    let mut one = One::on(&disk, signed.clone(), now);
    assert_eq!(one_block(&one.step(vec![Input::Start])), (height, now, vec!["revert.expired".to_owned()]));
}
