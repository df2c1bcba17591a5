//! Votes, and the bytes that validators sign.

use std::ops::Deref;

use prost::Message;
use thiserror::Error;

use crate::{
    Address, BlockId, ChainId, ConsensusKey, Height, Power, Round, Signature, Time, ValidatorSet,
    limits::VOTE_BYTES_MAX,
    pb,
    wire::{self, DecodeError, Wire},
};

/// The two votes of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoteType {
    /// Says which proposal this validator would accept in this round.
    Prevote = 1,
    /// Says that this validator saw a polka for this value, and locks it.
    Precommit = 2,
}

/// What a validator says; nil is `block_id: None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Prevote or precommit.
    pub vote_type: VoteType,
    /// The height voted on.
    pub height: Height,
    /// The round voted in.
    pub round: Round,
    /// The block, or nil.
    pub block_id: Option<BlockId>,
    /// The voter's clock. Informative: nothing is decided by it.
    pub timestamp: Time,
    /// The voter's address.
    pub validator: Address,
    /// The voter's place in the validator set of this height. Not signed; checked against the set.
    pub validator_index: u32,
}

/// A vote with a signature that nobody has checked yet: what peers send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedVote {
    /// What is said.
    pub vote: Vote,
    /// By whom, allegedly.
    pub signature: Signature,
}

/// A vote whose signature, voter and place in the set were checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedVote {
    signed: SignedVote,
    power: Power,
}

/// Why a vote does not count. A peer that sends such a vote is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VoteError {
    /// The index is not of this set, or not this validator's.
    #[error("validator {got} is not at index {index} of the validator set")]
    NotAValidator {
        /// The address in the vote.
        got: Address,
        /// The index in the vote.
        index: u32,
    },
    /// The signature does not hold.
    #[error("the vote's signature is wrong")]
    Signature,
}

impl Vote {
    /// The bytes that are signed: Tendermint's length-delimited canonical vote. The chain id is in them, the validator is not.
    pub fn sign_bytes(&self, chain_id: &ChainId) -> Vec<u8> {
        pb::CanonicalVote {
            r#type: self.vote_type as i32,
            height: wire::height_pb(self.height),
            round: i64::from(self.round.0),
            block_id: self.block_id.and_then(|id| wire::block_id_pb(Some(id))),
            timestamp: wire::time_pb(self.timestamp),
            chain_id: chain_id.as_str().to_owned(),
        }
        .encode_length_delimited_to_vec()
    }

    /// Signs the sign-bytes. Whether it may be signed at all is the guard's question.
    pub fn sign(self, chain_id: &ChainId, key: &impl ConsensusKey) -> SignedVote {
        let signature = key.sign_message(&self.sign_bytes(chain_id));
        SignedVote { vote: self, signature }
    }
}

impl SignedVote {
    /// Checks that the voter stands at its index in `validators` and signed this. Cost: one signature check (60 µs).
    pub fn verify(self, chain_id: &ChainId, validators: &ValidatorSet) -> Result<VerifiedVote, VoteError> {
        self.verify_except(chain_id, validators, |_| false)
    }

    /// As [`SignedVote::verify`], but a signature that is `known` to hold, because these very bytes were checked before, is not
    /// checked again.
    pub fn verify_except(
        self,
        chain_id: &ChainId,
        validators: &ValidatorSet,
        known: impl Fn(&SignedVote) -> bool,
    ) -> Result<VerifiedVote, VoteError> {
        let vote = &self.vote;
        let validator = validators
            .get(vote.validator_index)
            .filter(|validator| validator.address() == vote.validator)
            .ok_or(VoteError::NotAValidator { got: vote.validator, index: vote.validator_index })?;
        if !known(&self) {
            validator
                .public_key
                .verify(&vote.sign_bytes(chain_id), &self.signature)
                .map_err(|_| VoteError::Signature)?;
        }
        let power = validator.power;
        Ok(VerifiedVote { signed: self, power })
    }
}

impl VerifiedVote {
    /// The voter's power in the set that the vote was checked against.
    pub fn power(&self) -> Power {
        self.power
    }

    /// The vote as it travels.
    pub fn into_signed(self) -> SignedVote {
        self.signed
    }

    /// A vote that this process has just signed itself with the key of `validators[index]`.
    ///
    /// Panics if the voter is not at its index: then the caller signs for somebody else's set.
    pub fn of_own(signed: SignedVote, validators: &ValidatorSet) -> Self {
        let validator = validators.get(signed.vote.validator_index).expect("own index is in the set");
        assert_eq!(validator.address(), signed.vote.validator, "own vote stands at its own index");
        Self { power: validator.power, signed }
    }
}

impl Deref for VerifiedVote {
    type Target = SignedVote;
    fn deref(&self) -> &SignedVote {
        &self.signed
    }
}

impl Wire for SignedVote {
    type Pb = pb::Vote;
    const NAME: &'static str = "vote";
    const BYTES_MAX: usize = VOTE_BYTES_MAX;

    fn to_pb(&self) -> pb::Vote {
        let vote = &self.vote;
        pb::Vote {
            r#type: vote.vote_type as i32,
            height: wire::height_pb(vote.height),
            round: wire::round_pb(vote.round),
            block_id: wire::block_id_pb(vote.block_id),
            timestamp: wire::time_pb(vote.timestamp),
            validator_address: vote.validator.0.to_vec(),
            validator_index: vote.validator_index as i32,
            signature: self.signature.0.to_vec(),
        }
    }

    fn from_pb(pb: pb::Vote) -> Result<Self, DecodeError> {
        let vote_type = match pb.r#type {
            1 => VoteType::Prevote,
            2 => VoteType::Precommit,
            other => return Err(DecodeError::field("vote.type", format!("{other} is neither 1 nor 2"))),
        };
        Ok(Self {
            vote: Vote {
                vote_type,
                height: wire::height("vote.height", pb.height)?,
                round: wire::round("vote.round", pb.round)?,
                block_id: wire::block_id_or_nil("vote.block_id", pb.block_id)?,
                timestamp: wire::time("vote.timestamp", pb.timestamp)?,
                validator: wire::address("vote.validator_address", &pb.validator_address)?,
                validator_index: u32::try_from(pb.validator_index)
                    .map_err(|_| DecodeError::field("vote.validator_index", "is negative"))?,
            },
            signature: signature("vote.signature", &pb.signature)?,
        })
    }
}

pub(crate) fn signature(field: &'static str, bytes: &[u8]) -> Result<Signature, DecodeError> {
    bytes
        .try_into()
        .map(Signature)
        .map_err(|_| DecodeError::field(field, format!("{} bytes, a signature has 64", bytes.len())))
}
