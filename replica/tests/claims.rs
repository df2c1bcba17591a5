//! Proves that claims of a peer without stake have bounded effects: a replica responds within bounds, sends requests, and
//! accepts only what is signed.
#![allow(clippy::print_stdout, reason = "figures that --nocapture shows")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use consensus::Signer;
use genesis::{Document, Genesis, GenesisAccount, GenesisValidator};
use mempool::{Mempool, SharedPool, Source};
use replica::{Config, HaltAt, Input, Offence, Output, Replica, Timer, Verifier};
use storage::{MemDisk, MemKv, Store};
use types::{
    Address, BlockRequest, BlockResponse, ChainId, CommitSig, Height, Msg, NodeId, Params, PeerMessage, Power, Round,
    RoundState, SecretKey, SignState, Time, Transaction, TxBody, TxOrder, Wire,
};

const STRANGER: NodeId = NodeId([66; 20]);

/// Maximum bytes that one peer receives in half a gossip interval, with some margin for messages to all peers.
const BYTES_MAX: usize = 5 * 1024 * 1024;

/// Minimum interval between two blocks: within it no height starts, so that a test controls all inputs of the replica.
const BLOCK_INTERVAL: Duration = Duration::from_secs(60);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

/// Returns a genesis with one validator and one funded account.
fn genesis() -> Genesis {
    let validator = GenesisValidator {
        public_key: key(1).public_key().into(),
        power: Power(10),
        name: String::new(),
        operator: None,
    };
    let address = key(200).public_key().address();
    Genesis::new(Document {
        genesis_time: Time::from_unix_millis(1_700_000_000_000),
        chain_id: chain(),
        initial_height: Height(1),
        params: Params::default(),
        validators: vec![validator],
        app_hash: None,
        stake: genesis::FirstStake::default(),
        accounts: vec![GenesisAccount { address, balance: 1 << 40, name: String::new() }],
    })
    .unwrap()
}

/// A single replica: the validator, which decides alone, or a full node.
struct One {
    replica: Replica<MemKv>,
    verifier: Verifier,
    store: Arc<Store<MemKv>>,
    txs: SharedPool,
    now: Time,
}

impl One {
    fn new(signs: bool) -> Self {
        Self::with(signs, HaltAt::default())
    }

    fn with(signs: bool, halt: HaltAt) -> Self {
        let store = Arc::new(Store::open(MemDisk::new().open(), &chain()).unwrap());
        let txs = SharedPool {
            mempool: Arc::new(Mempool::new(mempool::Config::default(), chain())),
            verifier: Arc::default(),
        };
        let signer = signs.then(|| Signer::new(key(1), SignState::default()));
        let pace = Config { empty_block_interval: None, block_interval_min: BLOCK_INTERVAL, ..Config::default() };
        let config = Config { halt, ..pace };
        let (replica, verifier) = Replica::open(config, &genesis(), store.clone(), signer).unwrap();
        let now = Time::from_unix_millis(1_700_000_001_000);
        let mut one = Self { replica, verifier, store, txs, now };
        one.step(vec![Input::Start, Input::PeerUp(STRANGER)]);
        one
    }

    fn step(&mut self, inputs: Vec<Input>) -> Vec<Output> {
        self.replica.step(self.now, inputs, &self.txs)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
    }

    fn tip(&self) -> Height {
        self.store.tip().unwrap().height
    }

    /// Decides the heights that are due, then a block with `txs` transactions of 16 transfers each.
    fn decide(&mut self, txs: u64) {
        let mut before = None;
        while before != Some(self.tip()) {
            before = Some(self.tip());
            self.pass(BLOCK_INTERVAL);
            self.step(vec![Input::TxsAvailable]);
        }
        let (tip, address) = (self.tip(), key(200).public_key().address());
        let reader = self.store.reader().unwrap();
        let first = app::View::of_state(&reader).account(&address).nonce;
        for nonce in first..first + txs {
            let tx = types::VerifiedTx::from_bytes(transfers(nonce).bytes()).unwrap();
            let params = self.store.params(tip.next()).unwrap();
            self.txs.mempool.add(&reader, tip, &params, tx, self.now, Source::Local).unwrap();
        }
        drop(reader);
        self.pass(BLOCK_INTERVAL);
        self.step(vec![Input::TxsAvailable]);
        assert_eq!(self.tip(), tip.next(), "the block is decided");
    }

    /// Responds to all requests, from the store of another replica, until there are no more.
    fn sync_from(&mut self, other: &Self, mut outputs: Vec<Output>) {
        loop {
            let answer = |output: &Output| match output {
                Output::VerifyTxs { block_id, .. } => Some(Input::TxsVerified { block_id: *block_id, valid: true }),
                Output::RequestBlocks { request, blocks, .. } => {
                    let response = replica::serve(&other.store, *blocks).0;
                    let response = Some(self.verifier.check_blocks(response));
                    Some(Input::Blocks { request: *request, response })
                }
                _ => None,
            };
            let answers: Vec<Input> = outputs.iter().filter_map(answer).collect();
            if answers.is_empty() {
                return;
            }
            outputs = self.step(answers);
        }
    }

    fn says(&self, state: RoundState) -> Input {
        let message = self.verifier.check(PeerMessage::RoundState(state));
        Input::Message { peer: STRANGER, message, received: self.now }
    }
}

fn transfers(nonce: u64) -> Transaction {
    let messages = vec![Msg::Transfer { to: Address([9; 20]), amount: 1 }; 16];
    let body =
        TxBody { chain_id: chain(), signer: key(200).public_key(), order: TxOrder::Nonce(nonce), fee: 1, messages };
    body.sign(&key(200))
}

/// Returns the round state of a peer at this height and round that holds nothing.
fn state(height: Height, round: u32) -> RoundState {
    RoundState::empty(height, Round(round), 1, Height(1))
}

fn sent(outputs: &[Output]) -> Vec<Arc<PeerMessage>> {
    let to_one = outputs.iter().filter_map(|output| match output {
        Output::Send { message, .. } => Some(message.clone()),
        _ => None,
    });
    to_one.collect()
}

fn bytes(messages: &[Arc<PeerMessage>]) -> usize {
    messages.iter().map(|message| message.encode().len()).sum()
}

fn requested(outputs: &[Output]) -> Vec<(u64, BlockRequest)> {
    let asked = outputs.iter().filter_map(|output| match output {
        Output::RequestBlocks { request, blocks, .. } => Some((*request, *blocks)),
        _ => None,
    });
    asked.collect()
}

#[test]
fn answers_to_round_states_are_always_bounded() {
    let mut one = One::new(true);
    one.decide(1500);
    let tip = one.tip();
    let parts = one.store.block_bytes(tip).map(|bytes| types::PartSet::from_bytes(&bytes)).unwrap();
    assert!(parts.header().total >= 10, "a block of {} parts", parts.header().total);
    let lacks = |round| RoundState { parts_header: Some(parts.header()), ..state(tip, round) };
    for count in [100, 1024] {
        one.pass(Duration::from_secs(1));
        let inputs: Vec<Input> = (0..count).map(|round| one.says(lacks(round))).collect();
        let begun = Instant::now();
        let answer = one.step(inputs);
        let took = begun.elapsed();
        let messages = sent(&answer);
        println!("{count} round states in one step: {} bytes out, {took:?}", bytes(&messages));
        let of_block = messages.iter().filter(|message| matches!(***message, PeerMessage::Part { .. })).count();
        assert_eq!(of_block as u32, parts.header().total, "what it lacks is sent, once");
    }
    // The same states in separate steps, faster than rounds can fail.
    one.pass(Duration::from_secs(1));
    let (mut out, mut answers) = (0, 0);
    for round in 0..1024 {
        one.pass(Duration::from_micros(400));
        let input = one.says(lacks(round));
        let messages = sent(&one.step(vec![input]));
        (out, answers) = (out + bytes(&messages), answers + usize::from(!messages.is_empty()));
    }
    println!("1024 round states in 1024 steps within an interval: {out} bytes in {answers} answers");
    assert!(out <= BYTES_MAX && (1..=4).contains(&answers), "{out} bytes in {answers} answers");
    // Parts are shared with the block, not copied for each response.
    one.pass(Duration::from_secs(1));
    let part = |one: &mut One, round| {
        let input = one.says(lacks(round));
        let parts = sent(&one.step(vec![input])).into_iter().find_map(|message| match &*message {
            PeerMessage::Part { part, .. } => Some(part.clone()),
            _ => None,
        });
        parts.unwrap()
    };
    assert!(Arc::ptr_eq(&part(&mut one, 1), &part(&mut one, 2)));
}

#[test]
fn a_claimed_height_is_a_reason_to_ask_and_a_commit_proves_it() {
    let mut ahead = One::new(true);
    (0..5).for_each(|_| ahead.decide(1));
    let tip = ahead.tip();
    let mut one = One::new(false);
    // A claim causes a request and nothing else.
    let claim = one.says(state(Height(1_000_000), 0));
    let outputs = one.step(vec![claim]);
    let (request, blocks) = requested(&outputs)[0];
    assert_eq!(blocks.from, Height(1));
    let status = one.replica.status();
    assert!(!status.catching_up && status.proven_height == Height(0), "{status:?}");
    // A claim that is not served causes a penalty.
    one.pass(Duration::from_secs(5));
    let outputs = one.step(vec![Input::Timer(Timer::Sync)]);
    assert!(matches!(outputs[..], [Output::Penalize { peer: STRANGER, offence: Offence::Unserved(_) }]), "{outputs:?}");
    assert!(requested(&one.step(vec![Input::Blocks { request, response: None }])).is_empty(), "too late");
    // A commit with an invalid signature proves nothing.
    one.pass(Duration::from_secs(2));
    let (request, blocks) = requested(&one.step(vec![Input::Timer(Timer::Gossip)]))[0];
    let genuine = replica::serve(&ahead.store, blocks).0;
    let nothing = BlockResponse { blocks: Vec::new(), latest: Height(1_000_000), ..genuine.clone() };
    let mut commit = genuine.latest_commit.clone().unwrap();
    commit.height = Height(1_000_000);
    let forged = BlockResponse { latest_commit: Some(commit), ..nothing.clone() };
    let response = Some(one.verifier.check_blocks(forged));
    let outputs = one.step(vec![Input::Blocks { request, response }]);
    assert!(matches!(outputs[0], Output::Penalize { offence: Offence::Unserved(_), .. }), "{outputs:?}");
    assert!(!one.replica.status().catching_up);
    // A valid commit proves the height, even without a block.
    one.pass(Duration::from_secs(3));
    let (request, _) = requested(&one.step(vec![Input::Timer(Timer::Gossip)]))[0];
    let response = Some(one.verifier.check_blocks(nothing));
    one.step(vec![Input::Blocks { request, response }]);
    let status = one.replica.status();
    assert!(status.catching_up && status.proven_height == tip, "{status:?}");
    // The blocks are served and applied, and no height is missing after that.
    one.pass(Duration::from_secs(10));
    let outputs = one.step(vec![Input::Timer(Timer::Gossip)]);
    one.sync_from(&ahead, outputs);
    assert_eq!(one.tip(), tip);
    assert!(!one.replica.status().catching_up);
}

#[test]
fn a_commit_with_a_wrong_signature_or_of_unknown_validators_proves_nothing() {
    let mut ahead = One::new(true);
    (0..3).for_each(|_| ahead.decide(1));
    let validators = ahead.store.validators(ahead.tip()).unwrap();
    let commit = ahead.store.commit(ahead.tip()).unwrap();
    assert_eq!(commit.verify_by_known(&chain(), &validators), Ok(()));
    let strangers = types::ValidatorSet::new(vec![(key(5).public_key(), Power(10))]).unwrap();
    assert!(commit.verify_by_known(&chain(), &strangers).is_err());
    let mut twice = commit.clone();
    twice.signatures.extend(commit.signatures.clone());
    let two =
        types::ValidatorSet::new(vec![(key(1).public_key(), Power(10)), (key(5).public_key(), Power(10))]).unwrap();
    assert!(twice.verify_by_known(&chain(), &two).is_err(), "no peer counts twice");
    let mut wrong = commit;
    let CommitSig::Commit { signature, .. } = &mut wrong.signatures[0] else { panic!("it signed") };
    signature.0[7] ^= 1;
    assert!(wrong.verify_by_known(&chain(), &validators).is_err());
}

fn has_finished(outputs: &[Output]) -> bool {
    outputs.iter().any(|output| matches!(output, Output::Finished))
}

/// A peer that has the last height lets the replica finish at once. One that says that it has not, or says nothing, delays
/// that for ten seconds, and gets what it lacks meanwhile.
#[test]
fn after_its_last_height_a_replica_signs_nothing_and_waits_for_peers_at_most_ten_seconds() {
    let last = HaltAt { height: Some(Height(2)), time: None };
    let halted = || {
        let mut one = One::with(true, last);
        one.decide(1);
        assert_eq!(one.tip(), Height(2));
        one
    };
    let mut one = halted();
    for _ in 0..9 {
        one.pass(Duration::from_secs(1));
        let behind = one.says(state(Height(2), 0));
        let outputs = one.step(vec![Input::Timer(Timer::Gossip), Input::TxsAvailable, behind]);
        assert!(!has_finished(&outputs) && !sent(&outputs).is_empty(), "it helps: {outputs:?}");
    }
    one.pass(Duration::from_secs(1));
    let outputs = one.step(vec![Input::Timer(Timer::Gossip)]);
    assert!(has_finished(&outputs), "{outputs:?}");
    let ahead = one.says(state(Height(3), 0));
    assert!(one.step(vec![Input::Timer(Timer::Gossip), ahead]).is_empty(), "nothing follows");
    assert_eq!((one.tip(), one.replica.status().tip), (Height(2), Height(2)));

    let mut one = halted();
    let there = one.says(state(Height(3), 0));
    assert!(has_finished(&one.step(vec![there])), "the peer has the last height");

    let mut one = halted();
    assert!(has_finished(&one.step(vec![Input::PeerDown(STRANGER)])), "it is alone");
}

#[test]
fn a_full_node_fetches_no_block_above_its_last_height() {
    let mut other = One::new(true);
    (0..4).for_each(|_| other.decide(1));
    let time = other.store.head(Height(3)).unwrap().header.time;
    for halt in [HaltAt { height: Some(Height(3)), time: None }, HaltAt { height: None, time: Some(time) }] {
        let mut one = One::with(false, halt);
        let claim = one.says(state(other.tip().next(), 0));
        let outputs = one.step(vec![claim]);
        one.sync_from(&other, outputs);
        assert_eq!(one.tip(), Height(3), "{halt:?}");
        let outputs = one.step(vec![Input::Timer(Timer::Gossip)]);
        assert!(requested(&outputs).is_empty(), "{outputs:?}");
    }
}
