//! Evidence: two signed votes of one validator that contradict each other.

use prost::Message;
use thiserror::Error;

use crate::{
    BlockId, ChainId, Hash, Height, Power, SignedVote, Time, ValidatorSet, VoteError,
    limits::VOTE_BYTES_MAX,
    pb, sha256,
    wire::{self, DecodeError, Wire},
};

/// A proof that a validator misbehaved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// Two votes of one height, round and type for different values.
    DuplicateVote(DuplicateVoteEvidence),
}

/// Two votes of one validator for one height, round and type with different values, the lower value first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DuplicateVoteEvidence {
    /// The vote for the lower block id; nil is lowest.
    pub vote_a: SignedVote,
    /// The vote for the higher block id.
    pub vote_b: SignedVote,
    /// Total power of the validator set at that height.
    pub total_power: Power,
    /// Power of the validator at that height.
    pub validator_power: Power,
    /// Time of the block of that height, or of the report if the height is not decided yet.
    pub timestamp: Time,
}

/// Reason why evidence proves nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum EvidenceError {
    /// The votes do not contradict each other: they differ in voter, height, round or type, or have the same value.
    #[error("the votes do not contradict each other")]
    NoConflict,
    /// The votes are not ordered by value.
    #[error("the votes are not ordered by block id")]
    Order,
    /// The powers are not those of the validator set.
    #[error("the powers are not those of the validator set at that height")]
    Power,
    /// One of the votes is not valid.
    #[error("{0}")]
    Vote(VoteError),
}

impl DuplicateVoteEvidence {
    /// Creates evidence: orders the votes and records the powers. The signatures are not checked.
    ///
    /// Errors: `NoConflict` if the votes do not contradict each other; `Vote` if the voter is not in `validators`.
    pub fn new(
        a: SignedVote,
        b: SignedVote,
        validators: &ValidatorSet,
        timestamp: Time,
    ) -> Result<Self, EvidenceError> {
        let (vote_a, vote_b) = if order_of(a.vote.block_id) <= order_of(b.vote.block_id) { (a, b) } else { (b, a) };
        let index = vote_a.vote.validator_index;
        let validator_power = validators
            .get(index)
            .ok_or(EvidenceError::Vote(VoteError::NotAValidator { got: vote_a.vote.validator, index }))?
            .power;
        let evidence = Self { vote_a, vote_b, total_power: validators.total_power(), validator_power, timestamp };
        evidence.check_conflict()?;
        Ok(evidence)
    }

    fn to_pb(&self) -> pb::DuplicateVoteEvidence {
        pb::DuplicateVoteEvidence {
            vote_a: Some(self.vote_a.to_pb()),
            vote_b: Some(self.vote_b.to_pb()),
            total_voting_power: self.total_power.0 as i64,
            validator_power: self.validator_power.0 as i64,
            timestamp: wire::time_pb(self.timestamp),
        }
    }

    fn check_conflict(&self) -> Result<(), EvidenceError> {
        let (a, b) = (&self.vote_a.vote, &self.vote_b.vote);
        let place =
            |vote: &crate::Vote| (vote.vote_type, vote.height, vote.round, vote.validator, vote.validator_index);
        if place(a) != place(b) || a.block_id == b.block_id {
            return Err(EvidenceError::NoConflict);
        }
        if order_of(a.block_id) > order_of(b.block_id) { Err(EvidenceError::Order) } else { Ok(()) }
    }

    /// Checks the conflict, both signatures and the powers against the validator set of that height.
    ///
    /// Errors: `NoConflict`, `Order`, `Vote` if a vote is not valid, or `Power` if the powers are not those of the set.
    pub fn verify(&self, chain_id: &ChainId, validators: &ValidatorSet) -> Result<(), EvidenceError> {
        self.check_conflict()?;
        let first = self.vote_a.clone().verify(chain_id, validators).map_err(EvidenceError::Vote)?;
        self.vote_b.clone().verify(chain_id, validators).map_err(EvidenceError::Vote)?;
        if (first.power(), validators.total_power()) != (self.validator_power, self.total_power) {
            return Err(EvidenceError::Power);
        }
        Ok(())
    }
}

/// Returns the key of Tendermint's order of values in evidence: the bytes of the block id, so that its tools accept our
/// evidence. Nil is lowest.
fn order_of(id: Option<BlockId>) -> Option<(Hash, Vec<u8>)> {
    id.map(|id| (id.hash, wire::parts_header_pb(id.parts).unwrap_or_default().encode_to_vec()))
}

impl Evidence {
    /// Returns the height of the misbehaviour.
    pub fn height(&self) -> Height {
        match self {
            Self::DuplicateVote(evidence) => evidence.vote_a.vote.height,
        }
    }

    /// Returns the bytes under the header's `evidence_hash`: those of this kind of evidence, without [`Evidence`]'s own
    /// tag.
    pub fn hashed_bytes(&self) -> Vec<u8> {
        match self {
            Self::DuplicateVote(evidence) => evidence.to_pb().encode_to_vec(),
        }
    }

    /// Returns the SHA-256 of [`Evidence::hashed_bytes`], by which Tendermint's tools identify evidence.
    pub fn hash(&self) -> Hash {
        sha256(&self.hashed_bytes())
    }

    /// Checks the evidence against the validator set of its height.
    ///
    /// Errors: those of [`DuplicateVoteEvidence::verify`].
    pub fn verify(&self, chain_id: &ChainId, validators: &ValidatorSet) -> Result<(), EvidenceError> {
        match self {
            Self::DuplicateVote(evidence) => evidence.verify(chain_id, validators),
        }
    }
}

impl Wire for Evidence {
    type Pb = pb::Evidence;
    const NAME: &'static str = "evidence";
    const BYTES_MAX: usize = 2 * VOTE_BYTES_MAX + 64;

    fn to_pb(&self) -> pb::Evidence {
        let Self::DuplicateVote(evidence) = self;
        pb::Evidence { sum: Some(pb::evidence::Sum::DuplicateVoteEvidence(evidence.to_pb())) }
    }

    fn from_pb(pb: pb::Evidence) -> Result<Self, DecodeError> {
        let pb::evidence::Sum::DuplicateVoteEvidence(pb) = wire::required("evidence", pb.sum)?;
        Ok(Self::DuplicateVote(DuplicateVoteEvidence {
            vote_a: SignedVote::from_pb(wire::required("evidence.vote_a", pb.vote_a)?)?,
            vote_b: SignedVote::from_pb(wire::required("evidence.vote_b", pb.vote_b)?)?,
            total_power: Power(wire::unsigned("evidence.total_voting_power", pb.total_voting_power)?),
            validator_power: Power(wire::unsigned("evidence.validator_power", pb.validator_power)?),
            timestamp: wire::time("evidence.timestamp", pb.timestamp)?,
        }))
    }
}
