//! Proves the rules of evidence at one replica: what it takes, from whom, what it does with it, and for how long.

use std::{sync::Arc, time::Duration};

use consensus::Signer;
use genesis::{Document, Genesis, GenesisValidator};
use mempool::{Mempool, SharedPool};
use replica::{
    Checked, Committed, Config, EvidenceRefusal, Halt, Input, Offence, Output, Replica, Timer, Verifier, check_evidence,
};
use storage::{MemDisk, MemKv, Store};
use types::*;

const PEER: NodeId = NodeId([7; 20]);

/// Heights and time after which evidence expires here.
const AGE_HEIGHTS: u64 = 6;
const AGE: Duration = Duration::from_secs(5);

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

/// Returns a genesis whose first validator decides alone; the second one has little power.
fn genesis() -> Genesis {
    let validator = |(seed, power)| GenesisValidator {
        public_key: key(seed).public_key().into(),
        power: Power(power),
        name: String::new(),
        operator: None,
    };
    let mut params = Params::default();
    (params.evidence.age_heights_max, params.evidence.age_max) = (AGE_HEIGHTS, AGE);
    Genesis::new(Document {
        genesis_time: Time::from_unix_millis(1_700_000_000_000),
        chain_id: chain(),
        initial_height: Height(1),
        params,
        validators: [(1, 100), (2, 1)].map(validator).to_vec(),
        app_hash: None,
        accounts: Vec::new(),
    })
    .unwrap()
}

/// The validator that decides alone, with a peer.
struct One {
    disk: MemDisk,
    replica: Replica<MemKv>,
    verifier: Verifier,
    store: Arc<Store<MemKv>>,
    txs: SharedPool,
    now: Time,
    committed: Vec<Arc<Committed>>,
}

impl One {
    fn new() -> Self {
        Self::on(MemDisk::new(), Time::from_unix_millis(1_700_000_001_000), SignState::default())
    }

    fn on(disk: MemDisk, now: Time, signed: SignState) -> Self {
        let store = Arc::new(Store::open(disk.open(), &chain()).unwrap());
        let mempool = Arc::new(Mempool::new(mempool::Config::default(), chain()));
        let txs = SharedPool { mempool, verifier: Arc::default() };
        let config = Config { empty_block_interval: Some(Duration::from_secs(1)), ..Config::default() };
        let signer = Signer::new(key(1), signed);
        let (replica, verifier) = Replica::open(config, &genesis(), store.clone(), Some(signer)).unwrap();
        let mut one = Self { disk, replica, verifier, store, txs, now, committed: Vec::new() };
        one.step(vec![Input::Start, Input::PeerUp(PEER)]);
        one
    }

    /// Starts another process on the same disk.
    fn restart(self) -> Self {
        let signed = self.replica.signer().unwrap().state().clone();
        let Self { disk, now, .. } = self;
        Self::on(disk, now, signed)
    }

    fn step(&mut self, inputs: Vec<Input>) -> Vec<Output> {
        let outputs = self.replica.step(self.now, inputs, &self.txs);
        self.committed.extend(outputs.iter().filter_map(|output| match output {
            Output::Committed(committed) => Some(committed.clone()),
            _ => None,
        }));
        outputs
    }

    fn tip(&self) -> Height {
        self.store.tip().unwrap().height
    }

    /// Lets time pass until this height is decided.
    fn decide(&mut self, height: u64) {
        while self.tip().0 < height {
            self.now = self.now.saturating_add(Duration::from_secs(1));
            let next = self.tip().next();
            self.step(vec![Input::Timer(Timer::EmptyBlock(next))]);
        }
    }

    fn time_of(&self, height: u64) -> Time {
        self.store.header(Height(height)).unwrap().time
    }

    /// Returns the vote of a validator at a height.
    fn vote(&self, seed: u8, height: u64, byte: u8) -> SignedVote {
        let set = self.store.validators_for_evidence(Height(1)).unwrap();
        let validator = key(seed).public_key().address();
        let validator_index = set.by_address(&validator).map_or(0, |(index, _)| index);
        let hash = Hash([byte; 32]);
        let block_id = Some(BlockId { hash, parts: PartSetHeader { total: 1, hash } });
        let (vote_type, height, round, timestamp) = (VoteType::Precommit, Height(height), Round(0), self.now);
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index }.sign(&chain(), &key(seed))
    }

    /// Returns evidence against a validator, valid if the height is decided.
    fn evidence(&self, seed: u8, height: u64) -> Evidence {
        let set = self.store.validators_for_evidence(Height(1)).unwrap();
        let time = if height <= self.tip().0 { self.store.block_time(Height(height)).unwrap() } else { self.now };
        let (a, b) = (self.vote(seed, height, 1), self.vote(seed, height, 2));
        Evidence::DuplicateVote(DuplicateVoteEvidence::new(a, b, &set, time).unwrap())
    }

    /// Passes evidence from the peer.
    fn says(&mut self, evidence: &Evidence) -> (Checked, Vec<Output>) {
        let message = self.verifier.check(PeerMessage::Evidence(Box::new(evidence.clone())));
        (message.clone(), self.step(vec![Input::Message { peer: PEER, message, received: self.now }]))
    }

    /// Returns the heights of the blocks with evidence, as far as this process committed them.
    fn blocks_with_evidence(&self) -> Vec<u64> {
        let blocks = self.committed.iter().map(|committed| &committed.block);
        blocks.filter(|block| !block.evidence.is_empty()).map(|block| block.header.height.0).collect()
    }
}

fn is_sent(outputs: &[Output]) -> bool {
    let is_evidence = |message: &PeerMessage| matches!(message, PeerMessage::Evidence(_));
    outputs.iter().any(|output| match output {
        Output::Broadcast(message) | Output::Send { message, .. } => is_evidence(message),
        _ => false,
    })
}

#[test]
fn valid_evidence_is_stored_sent_on_and_in_the_next_block_once() {
    let mut one = One::new();
    one.decide(3);
    let evidence = one.evidence(2, 2);
    let (checked, outputs) = one.says(&evidence);
    assert!(matches!(checked, Checked::Evidence(_)), "{checked:?}");
    assert!(is_sent(&outputs) && outputs.iter().any(|output| matches!(output, Output::Evidence(_))), "{outputs:?}");
    // Evidence is a reason to start a height at once.
    assert_eq!((one.tip(), one.blocks_with_evidence()), (Height(4), vec![4]));
    let committed = one.committed.last().unwrap();
    assert_eq!(committed.block.evidence, std::slice::from_ref(&evidence));
    assert_eq!(committed.block.check_content(), Ok(()));
    let event = &committed.results.events[0];
    assert_eq!(event.kind, "evidence");
    assert_eq!(event.attributes[0].value, key(2).public_key().address().to_string());
    assert_eq!(event.attributes[1].value, "2");
    assert_eq!(one.store.waiting_evidence().unwrap(), []);

    let (checked, outputs) = one.says(&evidence);
    assert!(matches!(checked, Checked::Unchecked(_)), "a peer may not have that block yet");
    assert!(outputs.is_empty(), "{outputs:?}");
    one.decide(8);
    assert_eq!(one.blocks_with_evidence(), [4]);
}

#[test]
fn each_reason_for_a_refusal_is_named() {
    let mut one = One::new();
    one.decide(3);
    let good = one.evidence(2, 2);
    let Evidence::DuplicateVote(pair) = good.clone();
    let refused = |one: &One, evidence: Evidence| check_evidence(&one.store, evidence).unwrap_err();
    let with = |change: fn(&mut DuplicateVoteEvidence)| {
        let mut pair = pair.clone();
        change(&mut pair);
        Evidence::DuplicateVote(pair)
    };
    let invalid = |evidence| match refused(&one, evidence) {
        EvidenceRefusal::Invalid(error) => error,
        other => panic!("{other}"),
    };
    assert_eq!(invalid(with(|pair| pair.vote_b = pair.vote_a.clone())), EvidenceError::NoConflict);
    assert_eq!(invalid(with(|pair| pair.vote_b.vote.round = Round(1))), EvidenceError::NoConflict);
    assert_eq!(invalid(with(|pair| std::mem::swap(&mut pair.vote_a, &mut pair.vote_b))), EvidenceError::Order);
    assert_eq!(invalid(with(|pair| pair.validator_power = Power(2))), EvidenceError::Power);
    assert_eq!(invalid(with(|pair| pair.total_power = Power(2))), EvidenceError::Power);
    let signature = EvidenceError::Vote(VoteError::Signature);
    assert_eq!(invalid(with(|pair| pair.vote_a.signature.0[3] ^= 1)), signature);
    assert_eq!(invalid(with(|pair| pair.vote_b.signature.0[3] ^= 1)), signature);
    let other_chain = with(|pair| {
        let sign = |vote: &SignedVote| vote.vote.clone().sign(&ChainId::new("other").unwrap(), &key(2));
        (pair.vote_a, pair.vote_b) = (sign(&pair.vote_a), sign(&pair.vote_b));
    });
    assert_eq!(invalid(other_chain), signature);
    assert!(matches!(invalid(one.evidence(9, 2)), EvidenceError::Vote(VoteError::NotAValidator { .. })));
    let mut late = good.clone();
    late.set_time(one.time_of(3));
    assert!(matches!(refused(&one, late), EvidenceRefusal::Time { height: Height(2), .. }));
    let future = refused(&one, one.evidence(2, 4));
    assert!(matches!(future, EvidenceRefusal::Future { height: Height(4), tip: Height(3) }));
    one.says(&good);
    let repeated = refused(&one, good);
    assert!(matches!(repeated, EvidenceRefusal::Repeated { block: Height(4), .. }), "{repeated}");
}

#[test]
fn evidence_that_proves_nothing_costs_its_sender_and_is_never_forwarded() {
    let mut one = One::new();
    one.decide(3);
    let mut forged = one.evidence(2, 2);
    let Evidence::DuplicateVote(pair) = &mut forged;
    pair.vote_b.signature.0[9] ^= 1;
    let mut wrong_time = one.evidence(2, 2);
    wrong_time.set_time(one.now);
    for bad in [forged, wrong_time, one.evidence(9, 2)] {
        let (checked, outputs) = one.says(&bad);
        assert!(matches!(checked, Checked::Bad(Offence::BadEvidence(_))), "{checked:?}");
        assert!(matches!(outputs[..], [Output::Penalize { peer: PEER, .. }]), "{outputs:?}");
    }
    // Evidence of a height that is not decided here, or that has expired here, may be good elsewhere.
    let future = one.evidence(2, 9);
    one.decide(12);
    let expired = one.evidence(2, 1);
    for useless in [future, expired] {
        let (checked, outputs) = one.says(&useless);
        assert!(matches!(checked, Checked::Unchecked(_)) || matches!(checked, Checked::Bad(_)), "{checked:?}");
        assert!(!is_sent(&outputs), "{outputs:?}");
    }
    assert_eq!(one.store.waiting_evidence().unwrap(), []);
    assert_eq!(one.blocks_with_evidence(), Vec::<u64>::new());
}

#[test]
fn late_votes_that_contradict_each_other_become_evidence_with_the_time_of_their_block() {
    let mut one = One::new();
    one.decide(5);
    let mut outputs = Vec::new();
    for byte in [1, 2] {
        let message = one.verifier.check(PeerMessage::Vote(one.vote(2, 5, byte)));
        outputs.extend(one.step(vec![Input::Message { peer: PEER, message, received: one.now }]));
    }
    assert!(is_sent(&outputs), "{outputs:?}");
    assert_eq!(one.blocks_with_evidence(), [6]);
    let evidence = &one.committed.last().unwrap().block.evidence[0];
    assert_eq!((evidence.height(), evidence.time()), (Height(5), one.time_of(5)));
    assert_eq!(evidence.validator(), key(2).public_key().address());
}

#[test]
fn what_waits_survives_the_process_and_expires() {
    let mut one = One::new();
    one.decide(3);
    let evidence = one.evidence(2, 2);
    // The process ends before the evidence is in a block; a row has the time of the report, because its height was not
    // decided when it was found.
    let mut waiting = evidence.clone();
    waiting.set_time(Time::from_unix_millis(5));
    one.store.put_waiting_evidence(&waiting).unwrap();
    let mut one = one.restart();
    assert_eq!(one.blocks_with_evidence(), [4], "it starts a height at once");
    assert_eq!(one.committed[0].block.evidence, [evidence], "with the time of its block");

    one.decide(12);
    let expired = one.evidence(2, 3);
    one.store.put_waiting_evidence(&expired).unwrap();
    let one = one.restart();
    assert_eq!((one.replica.status().evidence_waiting, one.store.waiting_evidence().unwrap()), (0, vec![]));
}

/// Evidence expires when it is older than both bounds; the times of the blocks are irregular.
#[test]
fn the_floor_is_the_lowest_height_that_is_young_by_one_of_both_bounds() {
    let mut one = One::new();
    for (height, pause_ms) in (1..40).zip([1000, 10, 3000, 20, 10, 10, 9000, 400].into_iter().cycle()) {
        one.now = one.now.saturating_add(Duration::from_millis(pause_ms));
        while one.tip().0 < height {
            one.now = one.now.saturating_add(Duration::from_millis(100));
            let next = one.tip().next();
            one.step(vec![Input::Timer(Timer::EmptyBlock(next)), Input::TxsAvailable]);
        }
        let tip = one.store.tip().unwrap();
        let is_expired = |at: &u64| tip.height.0 - at > AGE_HEIGHTS && tip.time.since(one.time_of(*at)) > AGE;
        let expected = (1..=tip.height.0).find(|at| !is_expired(at)).unwrap();
        assert_eq!(one.store.evidence_floor().unwrap(), Height(expected), "after {}", tip.height);
    }
    assert!(one.store.evidence_floor().unwrap() > Height(15));
}

#[test]
fn evidence_against_our_own_key_stops_the_node_if_it_is_of_this_process() {
    let mut one = One::new();
    one.decide(3);
    let evidence = one.evidence(1, 2);
    let verified = check_evidence(&one.store, evidence.clone()).unwrap();
    let outputs = one.step(vec![Input::Evidence(verified)]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Evidence(_))), "it is reported: {outputs:?}");
    let halt = outputs.iter().find_map(|output| match output {
        Output::Halt(halt) => Some(halt.clone()),
        _ => None,
    });
    assert!(matches!(halt, Some(Halt::AnotherSigner { height: Height(2) })), "{halt:?}");

    // The operator has found the other process: what it signed before is no reason to stop again.
    let mut one = one.restart();
    one.decide(5);
    assert_eq!(one.blocks_with_evidence(), [4], "and it is used like any other evidence");
}
