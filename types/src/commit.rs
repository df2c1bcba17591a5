//! Commits: the precommits of more than 2/3 of the power, kept with a block.

use std::collections::BTreeMap;

use prost::Message;
use thiserror::Error;

use crate::{
    Address, BlockId, Certificate, ChainId, Hash, Height, List, Power, Round, Signature, SignedVote, Time,
    ValidatorSet, Vote, VoteType,
    limits::VALIDATORS_MAX,
    merkle,
    mutation::{Mutation, mutated},
    pb,
    vote::signature,
    wire::{self, DecodeError, Wire},
};

/// A commit, with one entry for each validator of the height's set, in the order of the set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The height that was decided.
    pub height: Height,
    /// The round in which the block was decided.
    pub round: Round,
    /// The block that was decided.
    pub block_id: BlockId,
    /// The precommit of each validator.
    pub signatures: Vec<CommitSig>,
}

/// The precommit of one validator in the deciding round.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommitSig {
    /// No precommit was seen, or it was for another block.
    Absent,
    /// A precommit for the decided block.
    Commit {
        /// Address of the validator.
        validator: Address,
        /// Time in the vote, from the validator's clock.
        timestamp: Time,
        /// Signature over the sign-bytes of the precommit.
        signature: Signature,
    },
    /// A precommit for nil.
    Nil {
        /// Address of the validator.
        validator: Address,
        /// Time in the vote, from the validator's clock.
        timestamp: Time,
        /// Signature over the sign-bytes of the precommit.
        signature: Signature,
    },
}

/// Reason why a commit does not prove a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// The number of entries is not the number of validators.
    #[error("the commit has {got} signatures, the validator set has {expected} members")]
    Length {
        /// Number of entries in the commit.
        got: usize,
        /// Number of validators in the set.
        expected: usize,
    },
    /// An entry is of a validator that is not at this index of the set.
    #[error("signature {index} does not name the validator at that index of the set")]
    Validator {
        /// Index of the entry in the commit.
        index: usize,
    },
    /// A signature of the commit does not hold.
    #[error("signature {index} is wrong")]
    Signature {
        /// Index of the entry in the commit.
        index: usize,
    },
    /// At most one third of the power of an earlier set signed for the block.
    #[error("power {got} of {total} signed, more than one third is needed")]
    Trust {
        /// Power that signed for the block.
        got: Power,
        /// Total power of the earlier set.
        total: Power,
    },
    /// At most two thirds of the power signed for the block.
    #[error("power {got} of {total} signed, more than two thirds are needed")]
    Power {
        /// Power that signed for the block.
        got: Power,
        /// Total power of the set.
        total: Power,
    },
}

/// Go's zero time in seconds since the epoch. Tendermint writes it as the time of an absent validator.
const ZERO_TIME_SECONDS: i64 = -62_135_596_800;

impl Commit {
    /// Creates a commit from the votes that were counted. Votes that are not precommits of this height and round are
    /// left out, as are votes for another block. Nothing is verified again.
    pub fn from_votes<'a>(
        height: Height,
        round: Round,
        block_id: BlockId,
        validators: &ValidatorSet,
        votes: impl IntoIterator<Item = &'a SignedVote>,
    ) -> Self {
        let mut signatures = vec![CommitSig::Absent; validators.len()];
        for SignedVote { vote, signature } in votes {
            let place = (vote.height, vote.round, vote.vote_type) == (height, round, VoteType::Precommit);
            let Some(entry) = signatures.get_mut(vote.validator_index as usize).filter(|_| place) else { continue };
            let (validator, timestamp, signature) = (vote.validator, vote.timestamp, *signature);
            match vote.block_id {
                Some(id) if id == block_id => *entry = CommitSig::Commit { validator, timestamp, signature },
                None if *entry == CommitSig::Absent => *entry = CommitSig::Nil { validator, timestamp, signature },
                _ => {}
            }
        }
        Self { height, round, block_id, signatures }
    }

    /// Returns the next header's `last_commit_hash`: the Merkle root (SHA-256) over the bytes of the entries.
    pub fn hash(&self) -> Hash {
        let leaves: Vec<Vec<u8>> = self.signatures.iter().map(|entry| entry.to_pb().encode_to_vec()).collect();
        merkle::root(merkle::Hasher::Sha256, &leaves)
    }

    /// Returns the root over no entries: the `last_commit_hash` of the first block of a chain.
    pub fn empty_hash() -> Hash {
        merkle::root(merkle::Hasher::Sha256, &[] as &[Vec<u8>])
    }

    /// Returns the addresses of the validators that signed nothing in the deciding round, in the order of `validators`, which
    /// is the set of the height. A vote for nil is a signature.
    pub fn absent(&self, validators: &ValidatorSet) -> Vec<Address> {
        let entries = self.signatures.iter().zip(validators.iter());
        entries
            .filter(|(entry, _)| matches!(entry, CommitSig::Absent))
            .map(|(_, validator)| validator.address())
            .collect()
    }

    /// Returns the precommit of the entry at `index`, or `None` if it is absent.
    pub fn vote(&self, index: usize) -> Option<SignedVote> {
        let (block_id, validator, timestamp, signature) = match self.signatures.get(index)? {
            CommitSig::Absent => return None,
            CommitSig::Commit { validator, timestamp, signature } => {
                (Some(self.block_id), validator, timestamp, signature)
            }
            CommitSig::Nil { validator, timestamp, signature } => (None, validator, timestamp, signature),
        };
        Some(SignedVote {
            vote: Vote {
                vote_type: VoteType::Precommit,
                height: self.height,
                round: self.round,
                block_id,
                timestamp: *timestamp,
                validator: *validator,
                validator_index: index as u32,
            },
            signature: *signature,
        })
    }

    /// Returns the precommits for the block, to send to a peer that lacks them; `None` if there are none.
    pub fn to_certificate(&self) -> Option<Certificate> {
        let votes = (0..self.signatures.len())
            .filter_map(|index| self.vote(index))
            .filter(|signed| signed.vote.block_id == Some(self.block_id))
            .collect();
        Certificate::new(votes).ok()
    }

    /// Checks every signature, and that more than two thirds of the power signed for the block.
    ///
    /// Cost: one signature check for each entry that is not absent.
    ///
    /// Errors: those of [`Commit::unverified`], and [`CommitError::Signature`] for the first signature that does not
    /// hold.
    pub fn verify(&self, chain_id: &ChainId, validators: &ValidatorSet) -> Result<(), CommitError> {
        for signed in self.unverified(validators, None)? {
            let index = signed.vote.validator_index as usize;
            let validator = validators.get(signed.vote.validator_index).ok_or(CommitError::Validator { index })?;
            let bytes = signed.vote.sign_bytes(chain_id);
            if !mutated(Mutation::AnyCommitSignature) {
                validator.public_key.verify(&bytes, &signed.signature).map_err(|_| CommitError::Signature { index })?;
            }
        }
        Ok(())
    }

    /// Checks everything except signatures: that each entry is of the validator at its index, and that more than two
    /// thirds of the power has an entry for the block. Returns the precommits that are not in `known`, a commit built
    /// on this node from verified votes.
    ///
    /// Errors: [`CommitError::Length`], [`CommitError::Validator`], or [`CommitError::Power`] if too little power has
    /// an entry for the block.
    pub fn unverified(&self, validators: &ValidatorSet, known: Option<&Self>) -> Result<Vec<SignedVote>, CommitError> {
        if self.signatures.len() != validators.len() {
            return Err(CommitError::Length { got: self.signatures.len(), expected: validators.len() });
        }
        let known = known
            .filter(|known| (known.height, known.round, known.block_id) == (self.height, self.round, self.block_id));
        let (mut power, mut unverified) = (Power::ZERO, Vec::new());
        for (index, validator) in validators.iter().enumerate() {
            let Some(signed) = self.vote(index) else { continue };
            if signed.vote.validator != validator.address() && !mutated(Mutation::AnyCommitIndex) {
                return Err(CommitError::Validator { index });
            }
            if signed.vote.block_id.is_some() {
                power = Power(power.0 + validator.power.0);
            }
            if known.is_none_or(|known| known.signatures.get(index) != self.signatures.get(index)) {
                unverified.push(signed);
            }
        }
        let total = validators.total_power();
        if power.is_quorum_of(total) || mutated(Mutation::AnyCommitPower) {
            Ok(unverified)
        } else {
            Err(CommitError::Power { got: power, total })
        }
    }

    /// Checks that more than two thirds of the power of `known` signed for the block. `known` may be the set of an
    /// earlier height: a validator that is not in it does not count, and the commit may have another number of entries.
    /// So it proves to a node that has not seen the earlier blocks that a height was decided.
    ///
    /// Cost: one signature check for each entry of a known validator, until two thirds are reached or a signature is
    /// wrong.
    ///
    /// Errors: [`CommitError::Signature`], or [`CommitError::Power`] if too little of the known power signed.
    pub fn verify_by_known(&self, chain_id: &ChainId, known: &ValidatorSet) -> Result<(), CommitError> {
        let (got, total) = (self.power_of(chain_id, known, Power::is_quorum_of)?, known.total_power());
        if got.is_quorum_of(total) { Ok(()) } else { Err(CommitError::Power { got, total }) }
    }

    /// Checks that more than a third of the power of `known`, a set of an earlier height, signed for the block: at least
    /// one honest validator. This links the set of the commit to one that a light client trusts.
    ///
    /// Cost: as for [`Commit::verify_by_known`].
    ///
    /// Errors: [`CommitError::Signature`], or [`CommitError::Trust`] if too little of the known power signed.
    pub fn verify_by_a_third_of(&self, chain_id: &ChainId, known: &ValidatorSet) -> Result<(), CommitError> {
        let (got, total) = (self.power_of(chain_id, known, Power::is_honest_of)?, known.total_power());
        if got.is_honest_of(total) { Ok(()) } else { Err(CommitError::Trust { got, total }) }
    }

    /// Returns the power of the members of `known` that signed for the block, counted until it is `enough` of their
    /// total.
    fn power_of(
        &self,
        chain_id: &ChainId,
        known: &ValidatorSet,
        enough: fn(Power, Power) -> bool,
    ) -> Result<Power, CommitError> {
        let total = known.total_power();
        let mut left: BTreeMap<Address, _> = known.iter().map(|validator| (validator.address(), validator)).collect();
        let mut power = Power::ZERO;
        for index in 0..self.signatures.len() {
            if enough(power, total) {
                break;
            }
            let Some(signed) = self.vote(index).filter(|signed| signed.vote.block_id.is_some()) else { continue };
            let Some(validator) = left.remove(&signed.vote.validator) else { continue };
            let bytes = signed.vote.sign_bytes(chain_id);
            validator.public_key.verify(&bytes, &signed.signature).map_err(|_| CommitError::Signature { index })?;
            power = Power(power.0 + validator.power.0);
        }
        Ok(power)
    }
}

impl CommitSig {
    fn to_pb(&self) -> pb::CommitSig {
        let entry = |flag, validator: &Address, timestamp: &Time, signature: &Signature| pb::CommitSig {
            block_id_flag: flag,
            validator_address: validator.0.to_vec(),
            timestamp: wire::time_pb(*timestamp),
            signature: signature.0.to_vec(),
        };
        match self {
            Self::Absent => pb::CommitSig {
                block_id_flag: 1,
                timestamp: Some(pb::Timestamp { seconds: ZERO_TIME_SECONDS, nanos: 0 }),
                ..Default::default()
            },
            Self::Commit { validator, timestamp, signature } => entry(2, validator, timestamp, signature),
            Self::Nil { validator, timestamp, signature } => entry(3, validator, timestamp, signature),
        }
    }

    fn from_pb(pb: pb::CommitSig) -> Result<Self, DecodeError> {
        let parts = |pb: &pb::CommitSig| -> Result<(Address, Time, Signature), DecodeError> {
            Ok((
                wire::address("commit_sig.validator_address", &pb.validator_address)?,
                wire::time("commit_sig.timestamp", pb.timestamp)?,
                signature("commit_sig.signature", &pb.signature)?,
            ))
        };
        match pb.block_id_flag {
            1 if pb.signature.is_empty() && pb.validator_address.is_empty() => Ok(Self::Absent),
            1 => Err(DecodeError::field("commit_sig", "an absent validator has neither address nor signature")),
            2 => parts(&pb).map(|(validator, timestamp, signature)| Self::Commit { validator, timestamp, signature }),
            3 => parts(&pb).map(|(validator, timestamp, signature)| Self::Nil { validator, timestamp, signature }),
            other => Err(DecodeError::field("commit_sig.block_id_flag", format!("{other} is not 1, 2 or 3"))),
        }
    }
}

impl Wire for Commit {
    type Pb = pb::Commit;
    const NAME: &'static str = "commit";
    const BYTES_MAX: usize = crate::limits::CERTIFICATE_BYTES_MAX;
    const LISTS: &'static [List] = &[List::new("commit.signatures", &[4], VALIDATORS_MAX)];

    fn to_pb(&self) -> pb::Commit {
        pb::Commit {
            height: wire::height_pb(self.height),
            round: wire::round_pb(self.round),
            block_id: wire::block_id_pb(Some(self.block_id)),
            signatures: self.signatures.iter().map(CommitSig::to_pb).collect(),
        }
    }

    fn from_pb(pb: pb::Commit) -> Result<Self, DecodeError> {
        wire::at_most("commit.signatures", pb.signatures.len(), VALIDATORS_MAX)?;
        Ok(Self {
            height: wire::height("commit.height", pb.height)?,
            round: wire::round("commit.round", pb.round)?,
            block_id: wire::block_id("commit.block_id", pb.block_id)?,
            signatures: pb.signatures.into_iter().map(CommitSig::from_pb).collect::<Result<_, _>>()?,
        })
    }
}
