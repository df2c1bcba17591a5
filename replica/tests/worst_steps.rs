//! Measures the longest steps that peers can cause, with the largest validator set and many peers, and proves that no single
//! message takes longer than [`MESSAGE_MAX`].
//!
//! ```sh
//! cargo test --workspace --test worst_steps -- --nocapture
//! ```
#![allow(clippy::print_stdout, reason = "figures that --nocapture shows")]

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use genesis::{Document, Genesis, GenesisValidator};
use mempool::{Mempool, SharedPool};
use replica::{Config, Input, Output, Replica, Verifier};
use storage::{MemDisk, MemKv, Store};
use types::{NodeId, limits::VALIDATORS_MAX, *};

const PEERS: u8 = 64;

/// Maximum time of the consensus thread for one message.
const MESSAGE_MAX: Duration = Duration::from_millis(5);

/// Number of runs. The minimum of their figures is the duration without disturbance by other processes.
const RUNS: usize = 3;

fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

fn start_time() -> Time {
    Time::from_unix_millis(1_700_000_000_000)
}

fn keys() -> Vec<SecretKey> {
    (1..=VALIDATORS_MAX as u8).map(|seed| SecretKey::from_bytes(&[seed; 32]).unwrap()).collect()
}

fn peer(n: u32) -> NodeId {
    NodeId([1 + (n % u32::from(PEERS)) as u8; 20])
}

/// A full node of a chain of 200 validators, with 64 peers, in the first height.
struct One {
    replica: Replica<MemKv>,
    txs: SharedPool,
    verifier: Verifier,
    validators: ValidatorSet,
    /// Keys by validator index.
    keys: Vec<SecretKey>,
    now: Time,
    /// For each step: the kind of input, the number of inputs, the duration, and that of the status after it.
    figures: Vec<(String, u32, Duration, Duration)>,
}

impl One {
    fn new() -> Self {
        let validator = |key: &SecretKey| GenesisValidator {
            public_key: key.public_key().into(),
            power: Power(10),
            name: String::new(),
            operator: None,
        };
        let genesis = Genesis::new(Document {
            genesis_time: start_time(),
            chain_id: chain(),
            initial_height: Height(1),
            params: {
                let mut params = Params::default();
                params.staking.validators_max = VALIDATORS_MAX as u64;
                params
            },
            validators: keys().iter().map(validator).collect(),
            app_hash: None,
            stake: genesis::FirstStake::default(),
            accounts: Vec::new(),
        })
        .unwrap();
        let store = Arc::new(Store::open(MemDisk::new().open(), &chain()).unwrap());
        let txs = SharedPool {
            mempool: Arc::new(Mempool::new(mempool::Config::default(), chain())),
            verifier: Arc::default(),
        };
        let (replica, verifier) = Replica::open(Config::default(), &genesis, store, None).unwrap();
        let validators = genesis.first_state().validators.clone();
        let mut keys = keys();
        keys.sort_by_key(|key| validators.by_address(&key.public_key().address()).map(|(index, _)| index));
        let now = start_time().saturating_add(Duration::from_secs(1));
        let mut one = Self { replica, txs, verifier, validators, keys, now, figures: Vec::new() };
        let up = (0..u32::from(PEERS)).map(|n| Input::PeerUp(peer(n)));
        one.replica.step(now, [Input::Start].into_iter().chain(up).collect(), &one.txs);
        one
    }

    fn vote(&self, vote_type: VoteType, round: u32, index: u32, block_id: Option<BlockId>) -> SignedVote {
        let key = &self.keys[index as usize];
        let (height, round, timestamp, validator) = (Height(1), Round(round), self.now, key.public_key().address());
        Vote { vote_type, height, round, block_id, timestamp, validator, validator_index: index }.sign(&chain(), key)
    }

    fn proposal(&self, round: u32, block_id: BlockId) -> PeerMessage {
        let (height, round, timestamp) = (Height(1), Round(round), self.now);
        let proposer = self.validators.proposer_of_round(round).address();
        let (index, _) = self.validators.by_address(&proposer).expect("a validator");
        let proposal = Proposal { height, round, pol_round: None, block_id, timestamp };
        PeerMessage::Proposal(proposal.sign(&chain(), &self.keys[index as usize]))
    }

    fn certificate(&self, vote_type: VoteType, round: u32, block_id: Option<BlockId>) -> PeerMessage {
        let votes = (0..VALIDATORS_MAX as u32).map(|index| self.vote(vote_type, round, index, block_id)).collect();
        PeerMessage::Certificate(Certificate::new(votes).unwrap())
    }

    fn says(&self, n: u32, message: &PeerMessage) -> Input {
        Input::Message { peer: peer(n), message: self.verifier.check(message.clone()), received: self.now }
    }

    /// Executes one step and records its duration.
    fn step(&mut self, what: &str, inputs: Vec<Input>) -> Vec<Output> {
        self.now = self.now.saturating_add(Duration::from_millis(700));
        let count = inputs.len();
        let begun = Instant::now();
        let outputs = self.replica.step(self.now, inputs, &self.txs);
        let took = begun.elapsed();
        let begun = Instant::now();
        let status = self.replica.status();
        let status_took = begun.elapsed();
        assert_eq!(status.peer_heights.len(), usize::from(PEERS));
        self.figures.push((what.to_owned(), count as u32, took, status_took));
        outputs
    }
}

fn id(n: u8) -> BlockId {
    BlockId { hash: Hash([n; 32]), parts: PartSetHeader { total: 1, hash: Hash([n; 32]) } }
}

fn state(height: u64, round: u32, votes: &BitSet) -> PeerMessage {
    let mut state = RoundState::empty(Height(height), Round(round), votes.len(), Height(1));
    (state.current.prevotes, state.current.precommits) = (votes.clone(), votes.clone());
    state.previous = Some(RoundVotes { round: Round(round.saturating_sub(1)), ..state.current.clone() });
    PeerMessage::RoundState(state)
}

#[test]
fn no_message_takes_longer_than_five_milliseconds() {
    let runs: Vec<_> = (0..RUNS).map(|_| steps()).collect();
    for index in 0..runs[0].len() {
        let (what, count, ..) = &runs[0][index];
        let took = runs.iter().map(|figures| figures[index].2).min().unwrap_or_default();
        let status = runs.iter().map(|figures| figures[index].3).min().unwrap_or_default();
        println!("{what:50} {count:5} inputs {took:>12?}, {:>10?} each, status {status:>10?}", took / *count);
        assert!(took / *count <= MESSAGE_MAX, "{what}: {:?} each", took / *count);
    }
}

fn steps() -> Vec<(String, u32, Duration, Duration)> {
    let mut one = One::new();
    let (none, mut all) = (BitSet::new(VALIDATORS_MAX as u32), BitSet::new(VALIDATORS_MAX as u32));
    (0..all.len()).for_each(|index| all.set(index));

    let prevotes = one.certificate(VoteType::Prevote, 0, None);
    let inputs = vec![one.says(0, &prevotes)];
    one.step("a certificate of 200 new votes, which starts", inputs);
    let precommits = one.certificate(VoteType::Precommit, 0, Some(id(7)));
    let inputs = vec![one.says(0, &precommits)];
    one.step("a certificate of 200 new votes", inputs);
    let inputs = (0..1024).map(|n| one.says(n, &prevotes)).collect();
    one.step("certificates of 200 votes that are held", inputs);
    let votes: Vec<PeerMessage> =
        (0..200).map(|index| PeerMessage::Vote(one.vote(VoteType::Prevote, 1, index, Some(id(1))))).collect();
    let inputs = votes.iter().map(|vote| one.says(0, vote)).collect();
    one.step("votes that are new", inputs);
    let inputs = (0..1024).map(|n| one.says(n, &votes[n as usize % 200])).collect();
    one.step("votes that are held", inputs);

    // More than a third of the validators sign twice: each pair is evidence, which is stored, reported and sent to all peers.
    let twice: Vec<PeerMessage> =
        (0..70).map(|index| PeerMessage::Vote(one.vote(VoteType::Prevote, 1, index, Some(id(2))))).collect();
    let inputs = twice.iter().map(|vote| one.says(0, vote)).collect();
    let outputs = one.step("votes that contradict those that are held", inputs);
    let found = outputs.iter().filter(|output| matches!(output, Output::Evidence(_))).count();
    assert_eq!(found, twice.len());
    let inputs = (0..1024).map(|n| one.says(n, &twice[n as usize % 70])).collect();
    one.step("the same contradicting votes again", inputs);

    for (what, votes) in [("round states that lack every vote", &none), ("round states that hold every vote", &all)] {
        let inputs = (0..1024).map(|n| one.says(n, &state(1, n / 64 % 2, votes))).collect();
        one.step(what, inputs);
    }
    let inputs = (0..1024).map(|n| one.says(n, &state(1 + u64::from(n / 64), 0, &none))).collect();
    one.step("round states of always different heights", inputs);
    let inputs = (0..1024).map(|n| one.says(n, &state(2, 0, &none))).collect();
    one.step("round states of the next height", inputs);

    // A proposal that is new makes its part set known, and one for a block that was never sent is the only one of its round.
    let proposals: Vec<PeerMessage> = (0..2).map(|round| one.proposal(round, id(20 + round as u8))).collect();
    for proposal in proposals {
        let inputs = vec![one.says(0, &proposal)];
        one.step("a proposal that is new", inputs);
        let inputs = (0..1024).map(|n| one.says(n, &proposal)).collect();
        one.step("proposals that are held", inputs);
    }

    let bytes: Vec<u8> = (0..64 * 65_536_u32).map(|n| (n / 7) as u8).collect();
    let parts = PartSet::from_bytes(&bytes);
    let part =
        |n: u32| PeerMessage::Part { height: Height(1), round: Round(0), part: parts.get(n % 64).unwrap().clone() };
    let begun = Instant::now();
    let inputs: Vec<Input> = (0..64).map(|n| one.says(n, &part(n))).collect();
    one.figures.push(("not in a step: parts are hashed".to_owned(), 64, begun.elapsed(), Duration::ZERO));
    one.step("parts of blocks without a proposal", inputs.clone());
    one.step("the same parts again", inputs);
    let unchecked =
        |n| Input::Message { peer: peer(n), message: replica::Checked::Unchecked(part(n)), received: one.now };
    let inputs = (0..64).map(unchecked).collect();
    one.step("parts without a hash check", inputs);

    // The last part of a block of 4 MiB, which is decoded then. It is no block.
    let proposal = one.proposal(2, BlockId { hash: Hash([8; 32]), parts: parts.header() });
    let votes_of_2: Vec<PeerMessage> =
        (0..67).map(|index| PeerMessage::Vote(one.vote(VoteType::Prevote, 2, index, None))).collect();
    let mut inputs: Vec<Input> = votes_of_2.iter().map(|vote| one.says(0, vote)).collect();
    let last = inputs.pop().into_iter().collect();
    one.step("votes of a later round", inputs);
    one.step("the vote that starts a later round", last);
    let inputs = vec![one.says(0, &proposal)];
    one.step("a proposal of a large block", inputs);
    let last = vec![one.says(0, &part(63))];
    let inputs = (0..63).map(|n| one.says(0, &part(n))).collect();
    one.step("all parts of a block but the last", inputs);
    one.step("the last part of a block of 4 MiB", last);

    // Votes in far rounds, of as many validators as can be faulty.
    let far: Vec<PeerMessage> =
        (0..66).map(|index| PeerMessage::Vote(one.vote(VoteType::Prevote, 1000 + index, index, Some(id(2))))).collect();
    let inputs = far.iter().map(|vote| one.says(0, vote)).collect();
    one.step("votes of 66 far rounds", inputs);
    let inputs = (0..1024).map(|n| one.says(n, &votes[n as usize % 200])).collect();
    one.step("votes that are held, beside 66 far rounds", inputs);
    let inputs = (0..1024).map(|n| one.says(n, &prevotes)).collect();
    one.step("certificates that are held, beside 66 far rounds", inputs);

    // Messages that peers sent before the replica moved, so that they were not checked.
    let unchecked =
        |n| Input::Message { peer: peer(n), message: replica::Checked::Unchecked(prevotes.clone()), received: one.now };
    let inputs = (0..64).map(unchecked).collect();
    one.step("unchecked certificates", inputs);
    let unchecked = |n: u32| Input::Message {
        peer: peer(n),
        message: replica::Checked::Unchecked(votes[n as usize % 200].clone()),
        received: one.now,
    };
    let inputs = (0..1024).map(unchecked).collect();
    one.step("unchecked votes", inputs);

    one.step("an input that changes nothing", vec![Input::TxsAvailable]);
    let inputs = (0..u32::from(PEERS)).map(|n| Input::PeerUp(peer(n))).collect();
    one.step("connections of all peers", inputs);

    synced(&mut one);
    one.figures
}

/// Measures responses with commits in which only the last signature is invalid.
fn synced(one: &mut One) {
    let bytes = vec![7; 1000];
    let parts = PartSet::from_bytes(&bytes);
    let block_id = BlockId { hash: Hash([9; 32]), parts: parts.header() };
    let votes: Vec<SignedVote> =
        (0..VALIDATORS_MAX as u32).map(|index| one.vote(VoteType::Precommit, 0, index, Some(block_id))).collect();
    let mut commit = Commit::from_votes(Height(1), Round(0), block_id, &one.validators, &votes);
    let Some(CommitSig::Commit { signature, .. }) = commit.signatures.last_mut() else { panic!("it signed") };
    signature.0[9] ^= 1;
    let inputs = (0..64).map(|n| one.says(n, &state(5, 0, &BitSet::default()))).collect();
    let outputs = one.step("round states that are ahead", inputs);
    let answers = outputs.iter().filter_map(|output| {
        let Output::RequestBlocks { request, .. } = output else { return None };
        let blocks = vec![BlockAndCommit { block: bytes.clone(), commit: commit.clone() }];
        let answer = BlockResponse { earliest: Height(1), latest: Height(4), latest_commit: None, blocks };
        Some(Input::Blocks { request: *request, response: Some(one.verifier.check_blocks(answer)) })
    });
    let answers: Vec<Input> = answers.collect();
    let outputs = one.step("blocks whose commit does not hold", answers);
    assert!(outputs.iter().any(|output| matches!(output, Output::Penalize { .. })), "{outputs:?}");
}
