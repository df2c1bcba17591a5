//! What others may read of an engine, and the height that it may be sealed at.

use types::{
    BlockId, Certificate, Commit, ConsensusSecretKey, HardState, Height, Lock, Round, SignState, SignedProposal, Step,
    Time, ValidatorSet,
};

use super::{Engine, commit_of};
use crate::{
    mutation::{Mutation, mutated},
    signer::Signer,
    votes::{HeightVotes, RoundVotes, VoteSet},
};

impl Engine {
    /// Returns the state that must be durable before this node sends the messages it has signed.
    pub fn hard_state(&self) -> HardState {
        let mut hard_state = HardState {
            height: self.height,
            round: self.round,
            step: self.step,
            locked: self.locked,
            valid: self.valid,
            valid_polka: self.valid_polka.clone(),
            proposals: self.own_proposals.clone(),
            votes: self.own_votes.clone(),
        };
        if mutated(Mutation::LoseLastVote) {
            hard_state.votes.pop();
        }
        if mutated(Mutation::LoseLock) {
            (hard_state.locked, hard_state.valid, hard_state.valid_polka) = (None, None, None);
        }
        if mutated(Mutation::LowerStep) {
            hard_state.step = if self.step == Step::Precommit { Step::Prevote } else { Step::Propose };
        }
        hard_state
    }

    /// Returns the height that is being decided, or that was decided last.
    pub fn height(&self) -> Height {
        self.height
    }

    /// Returns the current round of the height.
    pub fn round(&self) -> Round {
        self.round
    }

    /// Returns the current step of the round.
    pub fn current_step(&self) -> Step {
        self.step
    }

    /// Returns true if this height is decided; then the engine waits for the next height.
    pub fn is_decided(&self) -> bool {
        self.decided.is_some()
    }

    /// Returns the round and the block of the decision of this height, if it is decided.
    pub fn decision(&self) -> Option<(Round, BlockId)> {
        self.decided
    }

    /// Returns the lock of this node, if it has one.
    pub fn locked(&self) -> Option<Lock> {
        self.locked
    }

    /// Returns the latest block that is known to have a polka and to be valid, with the round of the polka.
    pub fn valid(&self) -> Option<Lock> {
        self.valid
    }

    /// Returns the polka behind [`Engine::valid`].
    pub fn valid_polka(&self) -> Option<&Certificate> {
        self.valid_polka.as_ref()
    }

    /// Returns the certificates that brought this node into its round.
    pub fn entry_certificates(&self) -> &[Certificate] {
        &self.entry
    }

    /// Returns the first proposal that arrived for a round, if it is held.
    pub fn proposal(&self, round: Round) -> Option<&SignedProposal> {
        self.proposals_of(round).first().map(|known| &known.signed)
    }

    /// Iterates over the proposals held for a round, at most two.
    pub fn proposals(&self, round: Round) -> impl Iterator<Item = &SignedProposal> {
        self.proposals_of(round).iter().map(|known| &known.signed)
    }

    /// Returns the votes that are held for this height.
    pub fn votes(&self) -> &HeightVotes {
        &self.votes
    }

    /// Returns the validators of this height.
    pub fn validators(&self) -> &ValidatorSet {
        &self.validators
    }

    /// Returns the steady time at which the current round started.
    pub fn round_started(&self) -> Time {
        self.round_started
    }

    /// Seals `height`: from now on no message of this height or below is signed.
    pub fn seal(&mut self, height: Height) {
        if let Some(signer) = &mut self.signer {
            signer.raise_to(SignState::sealed(height));
        }
    }

    /// Holds a further key of this node, if it has one: see [`Signer::hold`].
    pub fn hold(&mut self, key: ConsensusSecretKey) {
        if let Some(signer) = &mut self.signer {
            signer.hold(key);
        }
    }

    /// Returns the guarded keys of this node, if it has one.
    pub fn signer(&self) -> Option<&Signer> {
        self.signer.as_ref()
    }

    /// Returns the index of this node in the validator set of this height, if it is a validator.
    pub fn own_index(&self) -> Option<u32> {
        self.own_index
    }

    /// Returns the commit of the height before, including precommits that arrived late. `None` if that height was not
    /// decided here.
    pub fn last_commit(&self) -> Option<Commit> {
        let last = self.last.as_ref()?;
        Some(commit_of(&last.votes, self.height.prev()?, last.round, last.block_id, &last.validators))
    }

    /// Returns the votes held for a round of this height or of the height before, if there are any.
    pub fn votes_at(&self, height: Height, round: Round) -> Option<&RoundVotes> {
        let last = self.last.as_ref().filter(|_| height.next() == self.height);
        let votes = if height == self.height { Some(&self.votes) } else { last.map(|last| &last.votes) };
        votes?.round(round)
    }

    /// Returns the precommits held for a round, if any vote of the round is held.
    pub fn precommits(&self, round: Round) -> Option<&VoteSet> {
        self.votes.round(round).map(|votes| &votes.precommits)
    }

    /// Returns the prevotes held for a round, if any vote of the round is held.
    pub fn prevotes(&self, round: Round) -> Option<&VoteSet> {
        self.votes.round(round).map(|votes| &votes.prevotes)
    }
}
