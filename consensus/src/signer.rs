//! The consensus key of a validator, behind a guard that prevents double signing.

use thiserror::Error;
use types::{
    Address, ChainId, ConsensusPublicKey, ConsensusSecretKey, HardState, Height, Proposal, Round, Signature,
    SignedProposal, SignedVote, Vote, VoteType,
};

/// Describes what was signed last, with the meaning of CometBFT's `priv_validator_state.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignState {
    /// Height of the last signed message.
    pub height: Height,
    /// Round of the last signed message.
    pub round: Round,
    /// Step of the last signed message: 0 nothing, 1 a proposal, 2 a prevote, 3 a precommit.
    pub step: u8,
    /// The bytes that were signed last and the signature over them, if they are known.
    pub signed: Option<(Vec<u8>, Signature)>,
}

impl SignState {
    /// Creates a state that allows no signature at `height` or below. It is for heights at which it is not known what
    /// was signed.
    pub fn sealed(height: Height) -> Self {
        Self { height, round: SEALED_ROUND, step: step(VoteType::Precommit), signed: None }
    }

    /// Returns true if the state seals its height and does not describe a signed message.
    pub fn is_sealed(&self) -> bool {
        self.signed.is_none() && self.round == SEALED_ROUND
    }

    /// Returns height, round and step, the key by which signing states are ordered.
    pub fn hrs(&self) -> (Height, Round, u8) {
        (self.height, self.round, self.step)
    }

    /// Raises this state to the last message that `hard_state` contains, if that is later.
    pub fn raise_to(&mut self, hard_state: &HardState, chain_id: &ChainId) {
        for proposal in &hard_state.proposals {
            let p = &proposal.proposal;
            self.raise(proposal_hrs(p), || p.sign_bytes(chain_id), proposal.signature);
        }
        for signed in &hard_state.votes {
            let vote = &signed.vote;
            self.raise(vote_hrs(vote), || vote.sign_bytes(chain_id), signed.signature);
        }
    }

    fn raise(&mut self, hrs: (Height, Round, u8), sign_bytes: impl FnOnce() -> Vec<u8>, signature: Signature) {
        if hrs > self.hrs() {
            let (height, round, step) = hrs;
            *self = Self { height, round, step, signed: Some((sign_bytes(), signature)) };
        }
    }
}

/// Highest round that a message can have, so that no round of a sealed height can be signed.
const SEALED_ROUND: Round = Round(i32::MAX as u32);

/// Refusal to sign a message that contradicts, or may contradict, one that was signed before.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "refused to sign for height {}, round {}, step {}: height {}, round {}, step {} is signed already",
    asked.0, asked.1, asked.2, signed.0, signed.1, signed.2
)]
pub struct DoubleSign {
    /// Height, round and step of the message to be signed.
    pub asked: (Height, Round, u8),
    /// Height, round and step of the message that was signed last.
    pub signed: (Height, Round, u8),
}

/// Signs proposals and votes with one key, at most one for each (height, round, type) (I1).
///
/// The signed (height, round, step) only grows: no message at or below the last one is signed. The only exception is a
/// message with exactly the bytes that were signed last, for which the same signature is returned.
#[derive(Clone, Debug)]
pub struct Signer {
    key: ConsensusSecretKey,
    public_key: ConsensusPublicKey,
    state: SignState,
}

impl Signer {
    /// Creates a signer from a key and the state of what it signed last.
    pub fn new(key: impl Into<ConsensusSecretKey>, state: SignState) -> Self {
        let key = key.into();
        Self { public_key: key.public_key(), key, state }
    }

    /// Returns the public half of the key.
    pub fn public_key(&self) -> &ConsensusPublicKey {
        &self.public_key
    }

    /// Returns the validator address of the key.
    pub fn address(&self) -> Address {
        self.public_key.address()
    }

    /// Returns what was signed last, for export.
    pub fn state(&self) -> &SignState {
        &self.state
    }

    /// Raises the signing state to the last message in `hard_state`, so that no message at or below it is signed.
    pub fn raise_to(&mut self, hard_state: &HardState, chain_id: &ChainId) {
        let before = self.state.hrs();
        self.state.raise_to(hard_state, chain_id);
        assert!(self.state.hrs() >= before, "I1: what is signed only grows");
    }

    /// Seals `height`: from now on no message of this height or below is signed.
    pub fn seal(&mut self, height: Height) {
        let sealed = SignState::sealed(height);
        let hrs = sealed.hrs();
        if hrs > self.state.hrs() {
            self.state = sealed;
        }
        assert!(self.state.hrs() >= hrs, "I1: nothing is signed at a sealed height");
    }

    /// Signs a proposal of this node.
    ///
    /// Errors: [`DoubleSign`] if a proposal of the same height and round with other or unknown bytes, or any later
    /// message, was signed before.
    pub fn sign_proposal(&mut self, proposal: Proposal, chain_id: &ChainId) -> Result<SignedProposal, DoubleSign> {
        let sign_bytes = proposal.sign_bytes(chain_id);
        let hrs = proposal_hrs(&proposal);
        if let Some(signature) = self.guard(hrs, &sign_bytes)? {
            return Ok(SignedProposal { proposal, signature });
        }
        let signed = proposal.sign(chain_id, &self.key);
        self.record(hrs, sign_bytes, signed.signature);
        Ok(signed)
    }

    /// Signs a vote of this node.
    ///
    /// Errors: [`DoubleSign`] if a vote of the same height, round and type with other or unknown bytes, or any later
    /// message, was signed before.
    pub fn sign_vote(&mut self, vote: Vote, chain_id: &ChainId) -> Result<SignedVote, DoubleSign> {
        let sign_bytes = vote.sign_bytes(chain_id);
        let hrs = vote_hrs(&vote);
        if let Some(signature) = self.guard(hrs, &sign_bytes)? {
            return Ok(SignedVote { vote, signature });
        }
        let signed = vote.sign(chain_id, &self.key);
        self.record(hrs, sign_bytes, signed.signature);
        Ok(signed)
    }

    /// Records a new signature.
    fn record(&mut self, hrs: (Height, Round, u8), sign_bytes: Vec<u8>, signature: Signature) {
        assert!(hrs > self.state.hrs(), "I1: {hrs:?} is signed after {:?}", self.state.hrs());
        self.state.raise(hrs, || sign_bytes, signature);
        assert!(self.state.hrs() == hrs && self.state.signed.is_some(), "I1: the last signature is known");
    }

    /// Returns the earlier signature if the same bytes were signed last, or `None` if the message may be signed now.
    ///
    /// Errors: [`DoubleSign`] if the message is not later than the last signed one and its bytes differ, or the last
    /// bytes are not known.
    fn guard(&self, asked: (Height, Round, u8), sign_bytes: &[u8]) -> Result<Option<Signature>, DoubleSign> {
        let signed = self.state.hrs();
        match &self.state.signed {
            _ if asked > signed => Ok(None),
            Some((bytes, signature)) if asked == signed && bytes == sign_bytes => Ok(Some(*signature)),
            _ => Err(DoubleSign { asked, signed }),
        }
    }

    /// Signs a vote without the guard: for a Byzantine validator in tests, and for the mutation that proves the
    /// checkers.
    #[cfg(any(test, feature = "mutations"))]
    pub fn sign_vote_unguarded(&self, vote: Vote, chain_id: &ChainId) -> SignedVote {
        vote.sign(chain_id, &self.key)
    }
}

/// Returns height, round and step of a proposal.
pub(crate) fn proposal_hrs(proposal: &Proposal) -> (Height, Round, u8) {
    (proposal.height, proposal.round, 1)
}

/// Returns height, round and step of a vote.
pub(crate) fn vote_hrs(vote: &Vote) -> (Height, Round, u8) {
    (vote.height, vote.round, step(vote.vote_type))
}

fn step(vote_type: VoteType) -> u8 {
    match vote_type {
        VoteType::Prevote => 2,
        VoteType::Precommit => 3,
    }
}
