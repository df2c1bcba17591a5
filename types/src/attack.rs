//! Evidence of an attack on light clients: a block that contradicts the chain, signed so that a light client believes it.
//!
//! | the conflicting block, compared with the chain's block of its height | is | signers that it names |
//! |---|---|---|
//! | says something false about validators, parameters, state or results | lunatic | those of the common set |
//! | is of a height that is not decided, and is not later than the tip | lunatic | those of the common set |
//! | differs otherwise, with a commit of the same round | equivocation | those that signed both commits |
//! | differs otherwise, with a commit of another round | amnesia | none: the votes do not show who broke a lock |
//!
//! The *common* height is the last one on which the light client and the chain agreed; its validators had the light
//! client's trust. Bytes, hash, rules and order of the names are CometBFT's, with one difference: each signature of the
//! commit must hold, as in its later versions (`VerifyCommitLightAllSignatures`), because an entry that is not checked could
//! name any validator.

use std::{cmp::Reverse, collections::BTreeMap};

use prost::Message;
use thiserror::Error;

use crate::{
    Address, ChainId, Commit, CommitError, CommitSig, Hash, Header, Height, Power, Round, Time, Validator,
    ValidatorSet,
    limits::VALIDATORS_MAX,
    mutation::{Mutation, mutated},
    pb, sha256,
    validators::validator_from_pb,
    wire::{self, DecodeError, Wire},
};

/// A header with its commit and its validators: what a light client reads of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LightBlock {
    /// The header of the block.
    pub header: Header,
    /// The precommits for the header.
    pub commit: Commit,
    /// The validators of the header's height, as the header says.
    pub validators: ValidatorSet,
}

/// A block that contradicts the chain, signed so that a light client believes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LightClientAttackEvidence {
    /// The block that contradicts the chain.
    pub conflicting: LightBlock,
    /// The last height on which the light client and the chain agreed; at most that of the conflicting block.
    pub common_height: Height,
    /// The validators that misbehaved, by power descending, then by address ascending.
    pub byzantine: Vec<Validator>,
    /// Total power of the validator set at the common height.
    pub total_power: Power,
    /// Time of the block at the common height.
    pub timestamp: Time,
}

/// What a node knows of a block of the chain when it judges an attack, also long after it has deleted the block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedBlock {
    /// Hash of the header.
    pub hash: Hash,
    /// Hash of what the chain determines in the header: [`Header::derived_hash`].
    pub derived: Hash,
    /// The commit of the block that the next block contains; `None` while there is no next block.
    pub commit: Option<Signers>,
}

/// The round of a commit, and which validators signed for the block in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signers {
    /// The round in which the block was decided.
    pub round: Round,
    /// One bit for each validator of the set, in its order, the lowest bit of a byte first; set for a precommit for the
    /// block.
    pub bits: Vec<u8>,
}

/// Reason why a block is no attack on light clients, or why the evidence of it names others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AttackError {
    /// The common height is 0, or above that of the conflicting block.
    #[error("the common height {common} is not between 1 and that of the conflicting block, {conflicting}")]
    Heights {
        /// Common height in the evidence.
        common: Height,
        /// Height of the conflicting block.
        conflicting: Height,
    },
    /// The commit is of another height than the conflicting header.
    #[error("the commit is of height {got}, the conflicting header of height {expected}")]
    CommitHeight {
        /// Height of the commit.
        got: Height,
        /// Height of the header.
        expected: Height,
    },
    /// The commit is for another block than the conflicting header.
    #[error("the commit is for block {got}, the hash of the conflicting header is {expected}")]
    CommitBlock {
        /// Block of the commit.
        got: Hash,
        /// Hash of the header.
        expected: Hash,
    },
    /// The validators are not those of the conflicting header.
    #[error("the validators have hash {got}, the conflicting header says {expected}")]
    Validators {
        /// Hash of the given validators.
        got: Hash,
        /// Hash in the header.
        expected: Hash,
    },
    /// The conflicting block is a block of the chain.
    #[error("block {0} is a block of this chain")]
    NoConflict(Hash),
    /// The common height is that of the conflicting block, whose header says something false: a light client that trusts
    /// the set of this height has nothing to verify such a header with.
    #[error(
        "the conflicting header of the common height says something false about validators, parameters, state or results"
    )]
    NotDerived,
    /// At most a third of the power of the common set signed the conflicting block.
    #[error("power {got} of {total} of the common height signed, more than one third is needed")]
    Trust {
        /// Power of the common set that signed the conflicting block.
        got: Power,
        /// Total power of the common set.
        total: Power,
    },
    /// The total power is not that of the common set.
    #[error("the total power is {got}, that of the set at the common height is {expected}")]
    TotalPower {
        /// Power in the evidence.
        got: Power,
        /// Total power of the common set.
        expected: Power,
    },
    /// The named validators are not those that misbehaved.
    #[error(
        "{got} validators are named, not exactly the {expected} that misbehaved, in their order and with their power"
    )]
    Named {
        /// Number of validators that the evidence names.
        got: usize,
        /// Number of validators that misbehaved.
        expected: usize,
    },
    /// The commit of the conflicting block does not hold.
    #[error("the commit of the conflicting block: {0}")]
    Commit(CommitError),
}

impl Header {
    /// Returns the SHA-256 over the five hashes in the header that the blocks before it determine: validators, next
    /// validators, parameters, state and results. A header that differs in it is false, whoever proposed it.
    pub fn derived_hash(&self) -> Hash {
        let hashes = [
            self.validators_hash,
            self.next_validators_hash,
            self.consensus_hash,
            self.app_hash,
            self.last_results_hash,
        ];
        sha256(&hashes.map(|hash| hash.0).concat())
    }
}

impl Signers {
    /// Returns the signers of a commit.
    pub fn of(commit: &Commit) -> Self {
        let mut bits = vec![0; commit.signatures.len().div_ceil(8)];
        for (index, entry) in commit.signatures.iter().enumerate() {
            bits[index / 8] |= u8::from(matches!(entry, CommitSig::Commit { .. })) << (index % 8);
        }
        Self { round: commit.round, bits }
    }

    /// Returns true if the validator at this index of the set signed for the block.
    pub fn has(&self, index: usize) -> bool {
        self.bits.get(index / 8).is_some_and(|byte| byte & 1 << (index % 8) != 0)
    }
}

impl LightClientAttackEvidence {
    /// Creates evidence that names the validators that misbehaved. `trusted` is the chain's block of the conflicting
    /// height, or `None` if that is not decided; `common` has the validators of the common height, and `timestamp` is the
    /// time of its block. The signatures are not checked.
    ///
    /// Errors: those of [`LightClientAttackEvidence::check_conflict`] and
    /// [`LightClientAttackEvidence::check_attack`], without `Named`.
    pub fn new(
        conflicting: LightBlock,
        common_height: Height,
        trusted: Option<&TrustedBlock>,
        common: &ValidatorSet,
        timestamp: Time,
    ) -> Result<Self, AttackError> {
        let total_power = common.total_power();
        let mut evidence = Self { conflicting, common_height, byzantine: Vec::new(), total_power, timestamp };
        evidence.check_conflict()?;
        evidence.byzantine = evidence.guilty(trusted, common)?;
        Ok(evidence)
    }

    /// Checks that the evidence does not contradict itself: heights, and that commit and validators are those of the
    /// header. Cost: one hash of the header and one of the set.
    ///
    /// Errors: `Heights`, `CommitHeight`, `CommitBlock` or `Validators`.
    pub fn check_conflict(&self) -> Result<(), AttackError> {
        let LightBlock { header, commit, validators } = &self.conflicting;
        let (common, conflicting) = (self.common_height, header.height);
        if common == Height::GENESIS || common > conflicting {
            return Err(AttackError::Heights { common, conflicting });
        }
        if commit.height != conflicting {
            return Err(AttackError::CommitHeight { got: commit.height, expected: conflicting });
        }
        let (got, expected) = (commit.block_id.hash, header.hash());
        if got != expected {
            return Err(AttackError::CommitBlock { got, expected });
        }
        let (got, expected) = (validators.hash(), header.validators_hash);
        if got != expected {
            return Err(AttackError::Validators { got, expected });
        }
        Ok(())
    }

    /// Returns true if the header says something false about what the blocks before it determine.
    pub fn is_lunatic(&self, trusted: &TrustedBlock) -> bool {
        self.conflicting.header.derived_hash() != trusted.derived
    }

    /// Checks all but the signatures against the chain: that the block is an attack, and that exactly the validators are
    /// named that misbehaved in it. `trusted` is the chain's block of the conflicting height. It is `None` if that
    /// height is not decided; the caller has compared the times then. `common` has the validators of the common height.
    ///
    /// Cost: one address for each validator of the two sets.
    ///
    /// Errors: `NoConflict`, `NotDerived`, `Trust`, `TotalPower` or `Named`.
    pub fn check_attack(&self, trusted: Option<&TrustedBlock>, common: &ValidatorSet) -> Result<(), AttackError> {
        let guilty = self.guilty(trusted, common)?;
        let identity = |validator: &Validator| (validator.address(), validator.power);
        if !guilty.iter().map(identity).eq(self.byzantine.iter().map(identity)) {
            return Err(AttackError::Named { got: self.byzantine.len(), expected: guilty.len() });
        }
        Ok(())
    }

    /// Returns the validators that misbehaved, in their order.
    fn guilty(&self, trusted: Option<&TrustedBlock>, common: &ValidatorSet) -> Result<Vec<Validator>, AttackError> {
        let hash = self.conflicting.commit.block_id.hash;
        if trusted.is_some_and(|trusted| trusted.hash == hash) {
            return Err(AttackError::NoConflict(hash));
        }
        let of_common = self.signers_in(common);
        let is_lunatic = trusted.is_none_or(|trusted| self.is_lunatic(trusted));
        if self.common_height != self.conflicting.header.height {
            let got = Power(of_common.iter().map(|validator| validator.power.0).sum());
            if !got.is_honest_of(common.total_power()) {
                return Err(AttackError::Trust { got, total: common.total_power() });
            }
        } else if is_lunatic {
            return Err(AttackError::NotDerived);
        }
        if self.total_power != common.total_power() {
            return Err(AttackError::TotalPower { got: self.total_power, expected: common.total_power() });
        }
        let both = trusted.and_then(|trusted| trusted.commit.as_ref());
        if mutated(Mutation::BlameAll) {
            return Ok(common.iter().cloned().collect());
        }
        let mut guilty = match both.filter(|signers| signers.round == self.conflicting.commit.round) {
            _ if is_lunatic => of_common,
            Some(signers) => {
                self.signers().filter(|(index, _)| signers.has(*index)).map(|(_, one)| one.clone()).collect()
            }
            None => Vec::new(),
        };
        guilty.sort_by_cached_key(|validator| (Reverse(validator.power), validator.address()));
        Ok(guilty)
    }

    /// Iterates over the validators of the conflicting set that signed the conflicting block, with their indices.
    fn signers(&self) -> impl Iterator<Item = (usize, &Validator)> {
        let LightBlock { commit, validators, .. } = &self.conflicting;
        let signed = |(_, (entry, _)): &(usize, (&CommitSig, &Validator))| matches!(entry, CommitSig::Commit { .. });
        let entries = commit.signatures.iter().zip(validators.iter()).enumerate();
        entries.filter(signed).map(|(index, (_, validator))| (index, validator))
    }

    /// Returns the members of `common` that signed the conflicting block with the same key.
    fn signers_in(&self, common: &ValidatorSet) -> Vec<Validator> {
        let members: BTreeMap<Address, &Validator> = common.iter().map(|member| (member.address(), member)).collect();
        let member = |(_, signer): (usize, &Validator)| {
            let member = members.get(&signer.address()).filter(|member| member.public_key == signer.public_key);
            member.map(|member| (*member).clone())
        };
        self.signers().filter_map(member).collect()
    }

    /// Checks that more than 2/3 of the conflicting set signed the conflicting block, and each signature of its commit.
    ///
    /// Cost: one signature check for each entry that is not absent ([`LightClientAttackEvidence::signatures`]).
    ///
    /// Errors: `Commit`.
    pub fn verify(&self, chain_id: &ChainId) -> Result<(), AttackError> {
        let LightBlock { commit, validators, .. } = &self.conflicting;
        commit.verify(chain_id, validators).map_err(AttackError::Commit)
    }

    /// Returns the number of signatures to check, at most [`VALIDATORS_MAX`].
    pub fn signatures(&self) -> usize {
        self.conflicting.commit.signatures.iter().filter(|entry| **entry != CommitSig::Absent).count()
    }

    /// Returns CometBFT's hash: that of the header's hash and the common height, so that the same block with other
    /// signatures is the same evidence. It leaves out the last byte of the header's hash, as CometBFT does.
    pub fn hash(&self) -> Hash {
        let mut bytes = self.conflicting.header.hash().0.to_vec();
        bytes[31] = 0;
        // Go's `binary.PutVarint` doubles a number that is not negative, to have a place for the sign.
        prost::encoding::encode_varint(self.common_height.0 << 1, &mut bytes);
        sha256(&bytes)
    }

    pub(crate) fn to_pb(&self) -> pb::LightClientAttackEvidence {
        let LightBlock { header, commit, validators } = &self.conflicting;
        // CometBFT hashes these bytes in a block, and leaves the sum out of them.
        let validators = pb::ValidatorSet { total_voting_power: 0, ..validators.to_pb() };
        pb::LightClientAttackEvidence {
            conflicting_block: Some(pb::LightBlock {
                signed_header: Some(pb::SignedHeader { header: Some(header.to_pb()), commit: Some(commit.to_pb()) }),
                validator_set: Some(validators),
            }),
            common_height: wire::height_pb(self.common_height),
            byzantine_validators: self.byzantine.iter().map(Validator::to_pb).collect(),
            total_voting_power: self.total_power.0 as i64,
            timestamp: wire::time_pb(self.timestamp),
        }
    }

    pub(crate) fn from_pb(pb: pb::LightClientAttackEvidence) -> Result<Self, DecodeError> {
        wire::at_most("evidence.byzantine_validators", pb.byzantine_validators.len(), VALIDATORS_MAX)?;
        let block = wire::required("evidence.conflicting_block", pb.conflicting_block)?;
        let signed = wire::required("evidence.signed_header", block.signed_header)?;
        let validators = wire::required("evidence.validator_set", block.validator_set)?;
        let header = Header::from_pb(wire::required("evidence.header", signed.header)?)?;
        let commit = Commit::from_pb(wire::required("evidence.commit", signed.commit)?)?;
        // Before the keys of the set, whose decoding costs most.
        if commit.signatures.len() != validators.validators.len() {
            let (got, expected) = (commit.signatures.len(), validators.validators.len());
            let reason = format!("{got} signatures, the conflicting set has {expected} validators");
            return Err(DecodeError::field("evidence.commit", reason));
        }
        Ok(Self {
            conflicting: LightBlock { header, commit, validators: ValidatorSet::from_pb(validators)? },
            common_height: wire::height("evidence.common_height", pb.common_height)?,
            byzantine: pb.byzantine_validators.into_iter().map(validator_from_pb).collect::<Result<_, _>>()?,
            total_power: Power(wire::unsigned("evidence.total_voting_power", pb.total_voting_power)?),
            timestamp: wire::time("evidence.timestamp", pb.timestamp)?,
        })
    }
}

/// Returns the bytes of evidence as in a block, without the tag of its kind.
pub(crate) fn bytes_of(evidence: &LightClientAttackEvidence) -> Vec<u8> {
    evidence.to_pb().encode_to_vec()
}
