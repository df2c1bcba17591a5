//! Proves the outputs of single steps: each test passes an input to one replica and checks exactly what follows.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use consensus::Signer;
use genesis::{Document, Genesis, GenesisValidator};
use mempool::{Mempool, SharedPool};
use replica::{Checked, Committed, Config, Halt, Input, Offence, Output, Replica, SigningRecord, Timer, Verifier};
use storage::{Fault, MemDisk, MemKv, Store, StoreError};
use types::*;

const PEER: NodeId = NodeId([7; 20]);

fn key() -> SecretKey {
    key_of(1)
}

fn key_of(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

fn genesis_time() -> Time {
    Time::from_unix_millis(1_700_000_000_000)
}

/// Returns a time in ms after the start of the test, which is 1 s after the genesis time.
fn now(ms: u64) -> Time {
    genesis_time().saturating_add(Duration::from_millis(1000 + ms))
}

/// Returns the genesis of a chain with one validator, so that the test can sign every vote of a quorum.
fn genesis() -> Genesis {
    genesis_of(&[1])
}

/// Returns the genesis of a chain whose validators have the keys of these seeds.
fn genesis_of(seeds: &[u8]) -> Genesis {
    let validator = |seed: &u8| GenesisValidator {
        public_key: key_of(*seed).public_key().into(),
        power: Power(10),
        name: String::new(),
        operator: None,
    };
    Genesis::new(Document {
        genesis_time: genesis_time(),
        chain_id: chain(),
        initial_height: Height(1),
        params: Params::default(),
        validators: seeds.iter().map(validator).collect(),
        app_hash: None,
        stake: genesis::FirstStake::default(),
        accounts: Vec::new(),
    })
    .unwrap()
}

struct Node {
    replica: Replica<MemKv>,
    txs: SharedPool,
    verifier: Verifier,
}

fn node(signer: Option<Signer>) -> Node {
    node_on(&MemDisk::new(), &genesis(), signer)
}

fn node_on(disk: &MemDisk, genesis: &Genesis, signer: Option<Signer>) -> Node {
    let store = Arc::new(Store::open(disk.open(), &chain()).unwrap());
    let txs =
        SharedPool { mempool: Arc::new(Mempool::new(mempool::Config::default(), chain())), verifier: Arc::default() };
    let (replica, verifier) = Replica::open(Config::default(), genesis, store, signer).unwrap();
    Node { replica, verifier, txs }
}

/// Returns a full node that has started and has a peer.
fn follower() -> Node {
    let mut node = node(None);
    node.step_at(now(0), vec![Input::Start, Input::PeerUp(PEER)]);
    node
}

impl Node {
    fn step_at(&mut self, now: Time, inputs: Vec<Input>) -> Vec<Output> {
        self.replica.step(now, inputs, &self.txs)
    }

    fn says(&mut self, message: PeerMessage) -> Vec<Output> {
        let message: Checked = self.verifier.check(message);
        self.step_at(now(1), vec![Input::Message { peer: PEER, message, received: now(1) }])
    }

    fn says_parts(&mut self, round: u32, parts: &PartSet) -> Vec<Output> {
        let (height, round) = (Height(1), Round(round));
        let parts = (0..parts.header().total).map(|index| parts.get(index).unwrap().clone());
        parts.flat_map(|part| self.says(PeerMessage::Part { height, round, part })).collect()
    }
}

/// Returns the first block, as the validator itself decides it.
fn first_block() -> Block {
    let mut node = node(Some(Signer::new(key(), SignState::default())));
    let outputs = node.step_at(now(0), vec![Input::Start]);
    let committed: Vec<&Arc<Committed>> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Committed(committed) => Some(committed),
            _ => None,
        })
        .collect();
    committed[0].block.clone()
}

/// Returns another valid first block, with a time that depends on `ms`.
fn block(ms: u64) -> (BlockId, PartSet, Time) {
    let mut block = first_block();
    block.header.time = now(ms);
    let parts = block.part_set();
    (block.id(&parts), parts, block.header.time)
}

fn proposal(round: u32, pol_round: Option<u32>, block_id: BlockId, timestamp: Time) -> PeerMessage {
    let pol_round = pol_round.map(Round);
    let proposal = Proposal { height: Height(1), round: Round(round), pol_round, block_id, timestamp };
    PeerMessage::Proposal(proposal.sign(&chain(), &key()))
}

fn vote(vote_type: VoteType, round: u32, block_id: Option<BlockId>) -> SignedVote {
    let validator = key().public_key().address();
    let (height, round, timestamp) = (Height(1), Round(round), now(1));
    Vote { vote_type, height, round, block_id, timestamp, validator, validator_index: 0 }.sign(&chain(), &key())
}

fn certificate(vote_type: VoteType, round: u32, block_id: BlockId) -> PeerMessage {
    PeerMessage::Certificate(Certificate::new(vec![vote(vote_type, round, Some(block_id))]).unwrap())
}

#[test]
fn i4_a_polka_counts_only_while_the_bytes_of_its_block_are_held() {
    let mut node = follower();
    let (id, parts, time) = block(0);
    node.says(proposal(0, None, id, time));
    node.says_parts(0, &parts);
    for round in 1..=9 {
        node.says(PeerMessage::Vote(vote(VoteType::Prevote, round, None)));
        let (other, parts, time) = block(u64::from(round));
        node.says(proposal(round, None, other, time));
        node.says_parts(round, &parts);
    }
    assert_eq!(node.replica.engine().round(), Round(9));
    node.says(certificate(VoteType::Prevote, 0, id));
    assert_eq!(node.replica.engine().valid(), None, "its bytes are gone");
    node.says_parts(9, &parts);
    assert_eq!(node.replica.engine().valid(), Some(Lock { round: Round(0), block_id: id }), "they came again");
    // The valid block stays, whatever other blocks are named.
    for round in 10..=20 {
        node.says(PeerMessage::Vote(vote(VoteType::Prevote, round, None)));
        let (other, parts, time) = block(u64::from(round));
        node.says(proposal(round, None, other, time));
        node.says_parts(round, &parts);
    }
    let held = node.replica.held();
    assert!(held.iter().all(|held| held.bytes <= held.bytes_max), "{held:?}");
    let outputs = node.says(certificate(VoteType::Precommit, 0, id));
    let is_decided = |output: &Output| matches!(output, Output::Committed(committed) if committed.block_id == id);
    assert!(outputs.iter().any(is_decided), "{outputs:?}");
}

#[test]
fn i4_a_block_that_was_evicted_before_its_parts_came_still_gets_a_verdict() {
    let mut node = follower();
    let (id, parts, time) = block(0);
    node.says(proposal(0, None, id, time));
    for round in 1..=9 {
        node.says(PeerMessage::Vote(vote(VoteType::Prevote, round, None)));
        let (other, _, time) = block(u64::from(round));
        node.says(proposal(round, None, other, time));
    }
    node.says(certificate(VoteType::Precommit, 0, id));
    let outputs = node.says_parts(0, &parts);
    let is_decided = |output: &Output| matches!(output, Output::Committed(committed) if committed.block_id == id);
    assert!(outputs.iter().any(is_decided), "{outputs:?}");
}

#[test]
fn a_decided_block_that_is_invalid_here_halts_the_node_with_the_reason() {
    let mut node = follower();
    let mut wrong = first_block();
    wrong.header.app_hash = Hash([9; 32]);
    let outputs = syncs(&mut node, &wrong);
    let halts: Vec<String> = outputs
        .iter()
        .filter_map(|output| match output {
            Output::Halt(why @ Halt::Differs { .. }) => Some(why.to_string()),
            _ => None,
        })
        .collect();
    let expected = first_block().header.app_hash;
    assert_eq!(halts.len(), 1, "{outputs:?}");
    assert!(
        halts[0].contains(&format!("header.app_hash is {}, expected {expected}", Hash([9; 32]))),
        "it says what is wrong: {}",
        halts[0]
    );
}

/// Claims that the peer is two heights ahead, and sends the first block with its commit as the response.
fn syncs(node: &mut Node, block: &Block) -> Vec<Output> {
    let answer = answer_of(node, block, commit_of(block));
    node.step_at(now(2), vec![answer])
}

fn commit_of(block: &Block) -> Commit {
    let id = block.id(&block.part_set());
    let validators = &genesis().first_state().validators;
    Commit::from_votes(Height(1), Round(0), id, validators, &[vote(VoteType::Precommit, 0, Some(id))])
}

/// Claims that the peer is two heights ahead, and returns its response to the request that follows.
fn answer_of(node: &mut Node, block: &Block, commit: Commit) -> Input {
    let bytes = block.part_set().bytes().unwrap();
    let outputs = node.step_at(now(1), vec![Input::Timer(Timer::Gossip)]);
    let ours = outputs.iter().find_map(|output| match output {
        Output::Broadcast(message) => match &**message {
            PeerMessage::RoundState(state) => Some(state.clone()),
            _ => None,
        },
        _ => None,
    });
    let outputs = node.says(PeerMessage::RoundState(RoundState { height: Height(3), ..ours.unwrap() }));
    let request = outputs.iter().find_map(|output| match output {
        Output::RequestBlocks { request, .. } => Some(*request),
        _ => None,
    });
    let blocks = vec![BlockAndCommit { block: bytes, commit }];
    let response = BlockResponse { earliest: Height(1), latest: Height(2), latest_commit: None, blocks };
    let response = Some(node.verifier.check_blocks(response));
    Input::Blocks { request: request.unwrap(), response }
}

/// Signatures of a commit are checked outside of the replica's thread, which only receives the result.
#[test]
fn a_commit_checked_for_one_validator_set_is_checked_again_for_another() {
    let block = first_block();
    let mut wrong = commit_of(&block);
    let CommitSig::Commit { signature, .. } = &mut wrong.signatures[0] else { panic!("it signed") };
    signature.0[7] ^= 1;
    for (commit, holds) in [(commit_of(&block), true), (wrong, false)] {
        let mut node = follower();
        let mut answer = answer_of(&mut node, &block, commit);
        let Input::Blocks { response: Some(response), .. } = &mut answer else { panic!("{answer:?}") };
        let verified = response.blocks[0].verified.as_mut().unwrap();
        assert_eq!(verified.result.is_ok(), holds);
        verified.validators = Hash([3; 32]);
        let outputs = node.step_at(now(2), vec![answer]);
        let asked: Vec<Arc<Commit>> = outputs
            .iter()
            .filter_map(|output| match output {
                Output::VerifyCommit { commit } => Some(commit.clone()),
                _ => None,
            })
            .collect();
        let acts = |output: &Output| {
            matches!(output, Output::Committed(_) | Output::Penalize { .. } | Output::VerifyCommit { .. })
        };
        assert_eq!((asked.len(), outputs.iter().filter(|output| acts(output)).count()), (1, 1), "{outputs:?}");
        assert!(!node.step_at(now(3), vec![Input::Timer(Timer::Sync)]).iter().any(acts), "it asks once");
        let verified = node.verifier.verify_commit(asked[0].clone());
        let outputs = node.step_at(now(4), vec![Input::CommitVerified(verified)]);
        match outputs.iter().find(|output| acts(output)) {
            Some(Output::Committed(committed)) => assert!(holds && committed.synced),
            Some(Output::Penalize { offence, .. }) => assert!(!holds && offence.to_string().contains("signature 0")),
            _ => panic!("{outputs:?}"),
        }
    }
}

/// Simulator seed 305: the engine decided a height again that block sync had committed.
#[test]
fn a_late_precommit_of_a_synced_height_changes_nothing() {
    let mut node = follower();
    let (id, parts, time) = block(0);
    node.says(proposal(0, None, id, time));
    node.says_parts(0, &parts);
    let block = Block::decode(&parts.bytes().unwrap()).unwrap();
    let outputs = syncs(&mut node, &block);
    assert!(outputs.iter().any(|output| matches!(output, Output::Committed(committed) if committed.synced)));
    let outputs = node.says(PeerMessage::Vote(vote(VoteType::Precommit, 0, Some(id))));
    assert!(outputs.iter().all(|output| matches!(output, Output::StartTimer { .. })), "{outputs:?}");
    assert!(!node.replica.engine().is_decided());
}

#[test]
fn a_garbage_part_of_a_known_block_is_an_offence() {
    let mut node = follower();
    let (id, parts, time) = block(0);
    node.says(proposal(0, None, id, time));
    let part = parts.get(0).unwrap().clone();
    let mut bytes = part.bytes.clone();
    bytes[3] ^= 1;
    let garbage =
        PeerMessage::Part { height: Height(1), round: Round(0), part: Arc::new(Part { bytes, ..Part::clone(&part) }) };
    for _ in 0..2 {
        let outputs = node.says(garbage.clone());
        let [Output::Penalize { peer: PEER, offence: Offence::BadBlock(reason) }] = &outputs[..] else {
            panic!("{outputs:?}")
        };
        assert_eq!(reason, "part 0 is not in this block");
        // The second iteration tests it when the block already has that part.
        node.says_parts(0, &parts);
    }
}

#[test]
fn no_height_starts_before_the_time_of_the_last_block() {
    let mut node = node(Some(Signer::new(key(), SignState::default())));
    let early = genesis_time().saturating_sub(Duration::from_secs(10));
    let timers = |outputs: &[Output]| -> Vec<(Timer, Duration)> {
        let timer = |output: &Output| match output {
            Output::StartTimer { timer, after } => Some((*timer, *after)),
            _ => None,
        };
        outputs.iter().filter_map(timer).collect()
    };
    let outputs = node.step_at(early, vec![Input::Start]);
    let wait = (Timer::EmptyBlock(Height(1)), Duration::from_secs(10));
    assert_eq!(timers(&outputs), [(Timer::Gossip, Config::default().gossip_interval), wait]);
    assert_eq!(outputs.len(), 2, "nothing is built, signed or written: {outputs:?}");
    assert_eq!((node.replica.status().waits_until, node.replica.status().syncs), (Some(genesis_time()), 0));
    let later = genesis_time().saturating_sub(Duration::from_millis(1));
    let outputs = node.step_at(later, vec![Input::Timer(Timer::Gossip)]);
    assert!(!outputs.iter().any(|output| matches!(output, Output::Committed(_))));
    // The clock may be corrected in the meantime: every input makes the replica check the time again.
    let outputs = node.step_at(genesis_time(), vec![Input::TxsAvailable]);
    assert!(outputs.iter().any(|output| matches!(output, Output::Committed(_))), "{outputs:?}");
    assert_eq!(node.replica.status().waits_until, None);
}

/// A signing state outside of the store, which is durable once it is finished.
#[derive(Clone, Default)]
struct Record {
    begun: SignState,
    finished: Arc<Mutex<SignState>>,
}

impl SigningRecord for Record {
    fn begin(&mut self, signed: &SignState) {
        self.begun = signed.clone();
    }

    fn finish(&mut self) -> Result<(), StoreError> {
        *self.finished.lock().unwrap() = self.begun.clone();
        Ok(())
    }
}

/// Simulator seed 1486: a message to a peer showed our proposal, and the write that should have made it durable failed
/// in the same step.
#[test]
fn a_node_whose_write_fails_sends_nothing_in_that_step() {
    let seeds = [1, 2, 3, 4];
    let genesis = genesis_of(&seeds);
    let proposer = genesis.first_state().validators.proposer().address();
    let ours = seeds.into_iter().map(key_of).find(|key| key.public_key().address() == proposer).unwrap();
    // The node proposes in its first step, and its round state shows that to each peer.
    let inputs = || [Input::Start].into_iter().chain((1..4).map(|n| Input::PeerUp(NodeId([n; 20])))).collect();
    let says = |outputs: &[Output]| {
        outputs.iter().filter(|output| matches!(output, Output::Send { .. } | Output::Broadcast(_))).count()
    };
    for fails in [false, true] {
        let (disk, record) = (MemDisk::new(), Record::default());
        let mut node = node_on(&disk, &genesis, Some(Signer::new(ours.clone(), SignState::default())));
        node.replica.keep_signed_in(record.clone()).unwrap();
        if fails {
            disk.fail_write(0, Fault::Lost);
        }
        let outputs = node.step_at(now(0), inputs());
        let signed = record.finished.lock().unwrap().clone();
        if !fails {
            assert!(says(&outputs) > 0 && signed.hrs() == (Height(1), Round(0), 2), "{outputs:?}");
            continue;
        }
        assert!(outputs.iter().any(|output| matches!(output, Output::Halt(Halt::Store(_)))), "{outputs:?}");
        assert_eq!(says(&outputs), 0, "{outputs:?}");
        let store = Store::open(disk.open(), &chain()).unwrap();
        assert!(store.hard_state().unwrap().is_none());
        assert_eq!(signed, SignState::default(), "the signing state is never ahead of the store");
    }
}
