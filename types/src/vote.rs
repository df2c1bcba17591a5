//! Votes, and the bytes that validators sign.

use std::{ops::Deref, sync::Arc};

use prost::Message;
use thiserror::Error;

use crate::{
    Address, BlockId, ChainId, ConsensusKey, ConsensusPublicKey, Height, Power, PreparedKey, PublicKey, Round,
    Signature, Time, ValidatorSet,
    limits::VOTE_BYTES_MAX,
    mutation::{Mutation, mutated},
    pb,
    wire::{self, DecodeError, Wire},
};

/// Names the two types of votes in a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum VoteType {
    /// States which proposal this validator accepts in this round.
    Prevote = 1,
    /// States that this validator saw a polka for this value and locks it.
    Precommit = 2,
}

/// The content of a vote; nil is `block_id: None`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// Type of the vote: prevote or precommit.
    pub vote_type: VoteType,
    /// Height of the vote.
    pub height: Height,
    /// Round of the vote.
    pub round: Round,
    /// Id of the block, or `None` for nil.
    pub block_id: Option<BlockId>,
    /// Time from the voter's clock. It is informative only and decides nothing.
    pub timestamp: Time,
    /// Address of the voter.
    pub validator: Address,
    /// Index of the voter in the validator set of this height. It is not signed; it is checked against the set.
    pub validator_index: u32,
}

/// A vote with an unverified signature, as peers send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedVote {
    /// Content of the vote.
    pub vote: Vote,
    /// Signature, which should be of the voter.
    pub signature: Signature,
}

/// A vote whose signature, voter and index in the set were verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedVote {
    signed: SignedVote,
    power: Power,
}

/// Reason why a vote is not valid. A peer that sends such a vote is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VoteError {
    /// The index is not in the set, or belongs to another validator.
    #[error("validator {got} is not at index {index} of the validator set")]
    NotAValidator {
        /// Address in the vote.
        got: Address,
        /// Index in the vote.
        index: u32,
    },
    /// The signature does not hold.
    #[error("the vote's signature is wrong")]
    Signature,
}

impl VoteType {
    /// Returns the step in which such a vote is signed: 2 or 3, after 1, which is a proposal's.
    pub fn step(self) -> u8 {
        match self {
            Self::Prevote => 2,
            Self::Precommit => 3,
        }
    }
}

impl Vote {
    /// Returns height, round and step, by which all signed messages of one key are ordered.
    pub fn hrs(&self) -> (Height, Round, u8) {
        (self.height, self.round, self.vote_type.step())
    }

    /// Returns the bytes that are signed: Tendermint's length-delimited canonical vote. They contain the chain id, but
    /// not the validator.
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

    /// Signs the sign-bytes without any check against double signing, which is the task of the signer's guard.
    pub fn sign(self, chain_id: &ChainId, key: &impl ConsensusKey) -> SignedVote {
        let signature = key.sign_message(&self.sign_bytes(chain_id));
        SignedVote { vote: self, signature }
    }
}

impl SignedVote {
    /// Checks that the voter is at its index in `validators` and signed the vote. Cost: one signature check (about 60
    /// µs for secp256k1).
    ///
    /// Errors: [`VoteError::NotAValidator`] if the voter is not at its index, [`VoteError::Signature`] if the signature
    /// does not hold.
    pub fn verify(self, chain_id: &ChainId, validators: &ValidatorSet) -> Result<VerifiedVote, VoteError> {
        self.verify_by(chain_id, validators, &())
    }

    /// Verifies as [`SignedVote::verify`] does, with what is remembered of earlier checks.
    ///
    /// Errors: those of [`SignedVote::verify`].
    pub fn verify_by(
        self,
        chain_id: &ChainId,
        validators: &ValidatorSet,
        earlier: &impl EarlierChecks,
    ) -> Result<VerifiedVote, VoteError> {
        let vote = &self.vote;
        let validator = validators
            .get(vote.validator_index)
            .filter(|validator| validator.address() == vote.validator)
            .ok_or(VoteError::NotAValidator { got: vote.validator, index: vote.validator_index })?;
        if !earlier.knows(&self) && !is_excused(&self, chain_id, validators) {
            validator
                .public_key
                .verify_prepared(&vote.sign_bytes(chain_id), &self.signature, |key| earlier.prepared(key))
                .map_err(|_| VoteError::Signature)?;
        }
        let power = validator.power;
        Ok(VerifiedVote { signed: self, power })
    }
}

/// What a node remembers of the signatures that it has checked. `()` remembers nothing.
pub trait EarlierChecks {
    /// Returns true if exactly the bytes of this vote were checked before, and were valid.
    fn knows(&self, _: &SignedVote) -> bool {
        false
    }

    /// Returns the prepared form of a key, if there is one.
    fn prepared(&self, _: &PublicKey) -> Option<Arc<PreparedKey>> {
        None
    }
}

impl EarlierChecks for () {}

/// Returns true for a vote whose signature a broken rule accepts.
fn is_excused(signed: &SignedVote, chain_id: &ChainId, validators: &ValidatorSet) -> bool {
    let is_by = |key: &ConsensusPublicKey| key.verify(&signed.vote.sign_bytes(chain_id), &signed.signature).is_ok();
    mutated(Mutation::AnyVoteSignature)
        || mutated(Mutation::SignatureOfAnother) && validators.iter().any(|validator| is_by(&validator.public_key))
}

impl VerifiedVote {
    /// Returns the voter's power in the set that the vote was checked against.
    pub fn power(&self) -> Power {
        self.power
    }

    /// Returns the signed vote, as it is sent to peers.
    pub fn into_signed(self) -> SignedVote {
        self.signed
    }

    /// Wraps, without a check, a vote that this node signed itself or that comes from its own durable state.
    ///
    /// Panics if the voter is not at its index, because then `validators` is not the set of this vote.
    pub fn of_own(signed: SignedVote, validators: &ValidatorSet) -> Self {
        let validator = validators.get(signed.vote.validator_index).expect("own index is in the set");
        assert_eq!(validator.address(), signed.vote.validator, "own vote is at its own index");
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
