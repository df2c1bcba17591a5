//! The key, behind a guard that refuses to sign twice.

use thiserror::Error;
use types::{
    Address, ChainId, ConsensusPublicKey, ConsensusSecretKey, HardState, Height, Proposal, Round, Signature,
    SignedProposal, SignedVote, Vote, VoteType,
};

/// What was signed last: the meaning of CometBFT's `priv_validator_state.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignState {
    /// Of which height.
    pub height: Height,
    /// Of which round.
    pub round: Round,
    /// 0 nothing, 1 a proposal, 2 a prevote, 3 a precommit.
    pub step: u8,
    /// The bytes that were signed, and the signature over them.
    pub signed: Option<(Vec<u8>, Signature)>,
}

impl SignState {
    /// Nothing of this height, nor below, may be signed: for heights of which it is not known what was signed.
    pub fn sealed(height: Height) -> Self {
        Self { height, round: SEALED_ROUND, step: step(VoteType::Precommit), signed: None }
    }

    /// Whether it seals its height, rather than naming a word that was signed.
    pub fn is_sealed(&self) -> bool {
        self.signed.is_none() && self.round == SEALED_ROUND
    }

    /// Height, round and step, by which signing states are ordered.
    pub fn place(&self) -> (Height, Round, u8) {
        (self.height, self.round, self.step)
    }

    /// Takes in what a hard state says was signed, if that is later.
    pub fn raise_to(&mut self, hard_state: &HardState, chain_id: &ChainId) {
        for proposal in &hard_state.proposals {
            let p = &proposal.proposal;
            self.raise((p.height, p.round, 1), || p.sign_bytes(chain_id), proposal.signature);
        }
        for signed in &hard_state.votes {
            let vote = &signed.vote;
            let place = (vote.height, vote.round, step(vote.vote_type));
            self.raise(place, || vote.sign_bytes(chain_id), signed.signature);
        }
    }

    fn raise(&mut self, place: (Height, Round, u8), sign_bytes: impl FnOnce() -> Vec<u8>, signature: Signature) {
        if place > self.place() {
            let (height, round, step) = place;
            *self = Self { height, round, step, signed: Some((sign_bytes(), signature)) };
        }
    }
}

/// No round is later.
const SEALED_ROUND: Round = Round(i32::MAX as u32);

/// Signing would contradict, or may contradict, what was signed before.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "refused to sign for height {}, round {}, step {}: height {}, round {}, step {} is signed already",
    asked.0, asked.1, asked.2, signed.0, signed.1, signed.2
)]
pub struct DoubleSign {
    /// What was to be signed.
    pub asked: (Height, Round, u8),
    /// What was signed last.
    pub signed: (Height, Round, u8),
}

/// Signs proposals and votes of one key, each (height, round, type) once (I1).
///
/// Places only grow: nothing at or below the last one is signed again, except the very same bytes, which have the very same
/// signature.
#[derive(Clone, Debug)]
pub struct Signer {
    key: ConsensusSecretKey,
    public_key: ConsensusPublicKey,
    state: SignState,
}

impl Signer {
    /// A key, and what it signed last.
    pub fn new(key: impl Into<ConsensusSecretKey>, state: SignState) -> Self {
        let key = key.into();
        Self { public_key: key.public_key(), key, state }
    }

    /// The key's public half.
    pub fn public_key(&self) -> &ConsensusPublicKey {
        &self.public_key
    }

    /// The key's address.
    pub fn address(&self) -> Address {
        self.public_key.address()
    }

    /// What was signed last, to export.
    pub fn state(&self) -> &SignState {
        &self.state
    }

    /// Never signs at or below the last thing signed in `hard_state`.
    pub fn raise_to(&mut self, hard_state: &HardState, chain_id: &ChainId) {
        self.state.raise_to(hard_state, chain_id);
    }

    /// Signs nothing of this height, nor below.
    pub fn seal(&mut self, height: Height) {
        let sealed = SignState::sealed(height);
        if sealed.place() > self.state.place() {
            self.state = sealed;
        }
    }

    /// Signs a proposal.
    pub fn sign_proposal(&mut self, proposal: Proposal, chain_id: &ChainId) -> Result<SignedProposal, DoubleSign> {
        let sign_bytes = proposal.sign_bytes(chain_id);
        let place = (proposal.height, proposal.round, 1);
        if let Some(signature) = self.guard(place, &sign_bytes)? {
            return Ok(SignedProposal { proposal, signature });
        }
        let signed = proposal.sign(chain_id, &self.key);
        self.state.raise(place, || sign_bytes, signed.signature);
        Ok(signed)
    }

    /// Signs a vote.
    pub fn sign_vote(&mut self, vote: Vote, chain_id: &ChainId) -> Result<SignedVote, DoubleSign> {
        let sign_bytes = vote.sign_bytes(chain_id);
        let place = (vote.height, vote.round, step(vote.vote_type));
        if let Some(signature) = self.guard(place, &sign_bytes)? {
            return Ok(SignedVote { vote, signature });
        }
        let signed = vote.sign(chain_id, &self.key);
        self.state.raise(place, || sign_bytes, signed.signature);
        Ok(signed)
    }

    /// The signature made before if these very bytes were signed, nothing if they may be signed now.
    fn guard(&self, asked: (Height, Round, u8), sign_bytes: &[u8]) -> Result<Option<Signature>, DoubleSign> {
        let signed = self.state.place();
        match &self.state.signed {
            _ if asked > signed => Ok(None),
            Some((bytes, signature)) if asked == signed && bytes == sign_bytes => Ok(Some(*signature)),
            _ => Err(DoubleSign { asked, signed }),
        }
    }

    /// Signs whatever it is given. For a Byzantine validator in tests, and for the mutation that proves the checkers.
    #[cfg(any(test, feature = "mutations"))]
    pub fn sign_vote_unguarded(&self, vote: Vote, chain_id: &ChainId) -> SignedVote {
        vote.sign(chain_id, &self.key)
    }
}

fn step(vote_type: VoteType) -> u8 {
    match vote_type {
        VoteType::Prevote => 2,
        VoteType::Precommit => 3,
    }
}
