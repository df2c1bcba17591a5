//! Validators and their signed messages, so that a test reads as input → exact output.
#![allow(dead_code, reason = "each test file uses its part")]

use std::time::Duration;

use consensus::{Engine, Input, Message, Output, Signer, Timeout, TimeoutKind};
use types::*;

/// A validator set, with the key seed of each validator by index.
pub struct Cast {
    pub set: ValidatorSet,
    seeds: Vec<u8>,
}

pub const HEIGHT: Height = Height(1);

pub fn chain() -> ChainId {
    ChainId::new("cairn-test").unwrap()
}

pub fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

pub fn now() -> Time {
    Time::from_unix_millis(1_800_000_000_000)
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// Returns a block id that is derived from a letter.
pub fn block(letter: char) -> BlockId {
    BlockId { hash: Hash([letter as u8; 32]), parts: PartSetHeader { total: 1, hash: Hash([letter as u8 + 100; 32]) } }
}

/// Returns a block id that is derived from a number.
pub fn numbered(n: u32) -> BlockId {
    let hash = |salt: u8| blake3(&[&n.to_be_bytes()[..], &[salt]].concat());
    BlockId { hash: hash(0), parts: PartSetHeader { total: 1, hash: hash(1) } }
}

impl Cast {
    pub fn new(validators: u8) -> Self {
        Self::with_powers(&vec![1; validators as usize])
    }

    pub fn with_powers(powers: &[u64]) -> Self {
        let members = powers.iter().enumerate().map(|(i, p)| (key(i as u8 + 1).public_key(), Power(*p))).collect();
        let set = ValidatorSet::new(members).unwrap();
        let seed = |validator: &Validator| (1..=200).find(|s| key(*s).public_key() == validator.public_key).unwrap();
        let seeds = set.iter().map(seed).collect();
        Self { set, seeds }
    }

    pub fn key(&self, index: u32) -> SecretKey {
        key(self.seeds[index as usize])
    }

    pub fn proposer(&self, round: u32) -> u32 {
        let address = self.set.proposer_of_round(Round(round)).address();
        self.set.by_address(&address).unwrap().0
    }

    /// Returns a validator that proposes in none of the first `rounds` rounds.
    pub fn not_proposer(&self, rounds: u32) -> u32 {
        (0..self.set.len() as u32)
            .find(|i| (0..rounds).all(|r| self.proposer(r) != *i))
            .expect("fewer rounds than validators")
    }

    pub fn proposal(&self, round: u32, pol_round: Option<u32>, block_id: BlockId) -> VerifiedProposal {
        let proposal = Proposal {
            height: HEIGHT,
            round: Round(round),
            pol_round: pol_round.map(Round),
            block_id,
            timestamp: now(),
        };
        let key = self.key(self.proposer(round));
        proposal.sign(&chain(), &key).verify(&chain(), &key.public_key().into()).unwrap()
    }

    /// Returns the proposal of round 0 of any height. The set is not rotated here, so the proposer is always the same.
    pub fn proposal_of_height(&self, height: u64, block_id: BlockId) -> VerifiedProposal {
        let (height, round, timestamp) = (Height(height), Round(0), now());
        let key = self.key(self.proposer(0));
        let proposal = Proposal { height, round, pol_round: None, block_id, timestamp };
        proposal.sign(&chain(), &key).verify(&chain(), &key.public_key().into()).unwrap()
    }

    pub fn signed_vote(&self, index: u32, vote_type: VoteType, round: u32, block_id: Option<BlockId>) -> SignedVote {
        let vote = Vote {
            vote_type,
            height: HEIGHT,
            round: Round(round),
            block_id,
            timestamp: now(),
            validator: self.set.get(index).unwrap().address(),
            validator_index: index,
        };
        vote.sign(&chain(), &self.key(index))
    }

    pub fn vote(&self, index: u32, vote_type: VoteType, round: u32, block_id: Option<BlockId>) -> VerifiedVote {
        self.signed_vote(index, vote_type, round, block_id).verify(&chain(), &self.set).unwrap()
    }

    pub fn prevote(&self, index: u32, round: u32, block_id: Option<BlockId>) -> Input {
        Input::Vote(self.vote(index, VoteType::Prevote, round, block_id))
    }

    pub fn precommit(&self, index: u32, round: u32, block_id: Option<BlockId>) -> Input {
        Input::Vote(self.vote(index, VoteType::Precommit, round, block_id))
    }

    pub fn certificate(&self, who: &[u32], vote_type: VoteType, round: u32, block_id: Option<BlockId>) -> Certificate {
        let mut who = who.to_vec();
        who.sort_unstable();
        Certificate::new(who.iter().map(|i| self.signed_vote(*i, vote_type, round, block_id)).collect()).unwrap()
    }

    pub fn start(&self) -> Input {
        self.start_with(None)
    }

    pub fn start_with(&self, hard_state: Option<HardState>) -> Input {
        Input::StartHeight {
            height: HEIGHT,
            validators: self.set.clone(),
            timeouts: Timeouts::default(),
            synchrony: Params::default().synchrony,
            hard_state: hard_state.map(Box::new),
            abstain: false,
        }
    }

    pub fn start_height(&self, height: u64) -> Input {
        let Input::StartHeight { validators, timeouts, synchrony, .. } = self.start() else { unreachable!() };
        let height = Height(height);
        Input::StartHeight { height, validators, timeouts, synchrony, hard_state: None, abstain: false }
    }

    /// Returns a certificate as an input.
    pub fn show(&self, who: &[u32], vote_type: VoteType, round: u32, block_id: Option<BlockId>) -> Input {
        let certificate = self.certificate(who, vote_type, round, block_id);
        Input::Certificate(certificate.verify(&chain(), &self.set).unwrap())
    }

    pub fn signer(&self, index: u32) -> Signer {
        Signer::new(self.key(index), SignState::default())
    }

    pub fn engine(&self, index: u32) -> Engine {
        Engine::new(chain(), Some(self.signer(index)), self.set.clone())
    }

    /// Returns an engine of validator `index` that has started the height.
    pub fn started(&self, index: u32) -> Engine {
        let mut engine = self.engine(index);
        engine.step(now(), self.start());
        engine
    }

    // The outputs that are expected of validator `index`.

    pub fn say_vote(&self, index: u32, vote_type: VoteType, round: u32, block_id: Option<BlockId>) -> Output {
        Output::Broadcast(Message::Vote(self.signed_vote(index, vote_type, round, block_id)))
    }

    pub fn say_prevote(&self, index: u32, round: u32, block_id: Option<BlockId>) -> Output {
        self.say_vote(index, VoteType::Prevote, round, block_id)
    }

    pub fn say_precommit(&self, index: u32, round: u32, block_id: Option<BlockId>) -> Output {
        self.say_vote(index, VoteType::Precommit, round, block_id)
    }
}

pub fn proposal(proposal: VerifiedProposal) -> Input {
    Input::Proposal { proposal, received: now() }
}

pub fn checked(block_id: BlockId, valid: bool) -> Input {
    Input::BlockChecked { block_id, time: now(), valid }
}

pub fn timeout(kind: TimeoutKind, round: u32) -> Input {
    Input::Timeout(Timeout { kind, height: HEIGHT, round: Round(round) })
}

pub fn timer(kind: TimeoutKind, round: u32, after: Duration) -> Output {
    Output::StartTimer(Timeout { kind, height: HEIGHT, round: Round(round) }, after)
}

/// Stands for the write-ahead of the engine's hard state after the step.
pub fn write() -> Output {
    Output::WriteAhead(Box::default())
}

/// Returns the expected outputs, with the engine's own hard state in place of [`write`].
pub fn filled(engine: &Engine, mut expected: Vec<Output>) -> Vec<Output> {
    for output in &mut expected {
        if *output == write() {
            *output = Output::WriteAhead(Box::new(engine.hard_state()));
        }
    }
    expected
}

/// Executes one step and compares its outputs with the exact expected ones.
#[macro_export]
macro_rules! expect {
    ($engine:expr, $input:expr => [$($output:expr),* $(,)?]) => {{
        let outputs = $engine.step(support::now(), $input);
        assert_eq!(outputs, support::filled(&$engine, vec![$($output),*]));
    }};
}
