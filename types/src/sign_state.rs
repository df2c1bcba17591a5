//! What a validator's key signed last.

use crate::{ChainId, HardState, Height, Round, Signature, SignedProposal, SignedVote, VoteType};

/// Describes what was signed last, with the meaning of CometBFT's `priv_validator_state.json`: nothing at or before it
/// may be signed again.
///
/// A signer holds it in memory, the store's hard state implies it, and the crate `files` keeps it in its file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SignState {
    /// Height of the last signed message; 0 before the first one.
    pub height: Height,
    /// Round of the last signed message.
    pub round: Round,
    /// Step of the last signed message: 0 nothing, 1 a proposal, 2 a prevote, 3 a precommit.
    pub step: u8,
    /// The bytes that were signed last and the signature over them, if they are known.
    pub signed: Option<(Vec<u8>, Signature)>,
}

/// Highest round that a message can have, so that no round of a sealed height can be signed.
const SEALED_ROUND: Round = Round(i32::MAX as u32);

impl SignState {
    /// Creates a state that allows no signature at `height` or below. It is for heights at which it is not known what
    /// was signed.
    pub fn sealed(height: Height) -> Self {
        Self { height, round: SEALED_ROUND, step: VoteType::Precommit.step(), signed: None }
    }

    /// Creates the state after a proposal was signed.
    pub fn of_proposal(signed: &SignedProposal, chain_id: &ChainId) -> Self {
        let SignedProposal { proposal, signature } = signed;
        Self::new(proposal.hrs(), proposal.sign_bytes(chain_id), *signature)
    }

    /// Creates the state after a vote was signed.
    pub fn of_vote(signed: &SignedVote, chain_id: &ChainId) -> Self {
        let SignedVote { vote, signature } = signed;
        Self::new(vote.hrs(), vote.sign_bytes(chain_id), *signature)
    }

    /// Creates the state after the last message that `hard_state` contains was signed.
    pub fn of_hard_state(hard_state: &HardState, chain_id: &ChainId) -> Self {
        let proposals = hard_state.proposals.iter().map(|signed| Self::of_proposal(signed, chain_id));
        let votes = hard_state.votes.iter().map(|signed| Self::of_vote(signed, chain_id));
        proposals.chain(votes).max_by_key(Self::hrs).unwrap_or_default()
    }

    fn new((height, round, step): (Height, Round, u8), sign_bytes: Vec<u8>, signature: Signature) -> Self {
        Self { height, round, step, signed: Some((sign_bytes, signature)) }
    }

    /// Returns true if the state seals its height and does not describe a signed message.
    pub fn is_sealed(&self) -> bool {
        self.signed.is_none() && self.round == SEALED_ROUND
    }

    /// Returns height, round and step, the key by which signing states are ordered.
    pub fn hrs(&self) -> (Height, Round, u8) {
        (self.height, self.round, self.step)
    }

    /// Replaces this state by `other` if that is later.
    pub fn raise_to(&mut self, other: Self) {
        if other.hrs() > self.hrs() {
            *self = other;
        }
    }
}
