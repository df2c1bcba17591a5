//! Evidence: two signed votes of one validator that contradict each other, or an attack on light clients.
//!
//! Bytes, hash and order of the votes are CometBFT's. [`crate::LightClientAttackEvidence`] has the rules of attacks.

use prost::Message;
use thiserror::Error;

use crate::{
    Address, AttackError, BlockId, ChainId, Hash, Height, LightClientAttackEvidence, List, Power, SignedVote, Time,
    Validator, ValidatorSet, Vote, VoteError, attack,
    limits::{ATTACK_BYTES_MAX, VALIDATORS_MAX},
    pb, sha256,
    wire::{self, DecodeError, Wire},
};

/// A proof that a validator misbehaved.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant)] // Two votes are the common kind; an attack may be 100 times larger.
pub enum Evidence {
    /// Two votes of one height, round and type for different values.
    DuplicateVote(DuplicateVoteEvidence),
    /// A block that contradicts the chain, signed so that a light client believes it.
    LightClientAttack(Box<LightClientAttackEvidence>),
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

/// Identity of an infraction: evidence of one validator and one height is used once, however many votes it signed there.
pub type Infraction = (Height, Address);

/// Key of a piece of evidence among others: its height, and the validator of two votes or the first 20 bytes of the hash
/// of an attack. Two pieces with the same key prove the same.
pub type EvidenceKey = (Height, Address);

/// The validator of an [`Infraction`] that no validator is punished for: an attack in which none can be named.
pub const UNNAMED: Address = Address([0; 20]);

/// What a validator did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MisbehaviorKind {
    /// It signed two votes that contradict each other.
    DuplicateVote,
    /// It signed a block for light clients that contradicts the chain.
    LightClientAttack,
}

impl MisbehaviorKind {
    /// Returns the name in events.
    pub fn name(self) -> &'static str {
        match self {
            Self::DuplicateVote => "duplicate_vote",
            Self::LightClientAttack => "light_client_attack",
        }
    }
}

/// What a validator did according to evidence in a block, for the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Misbehavior {
    /// What the validator did.
    pub kind: MisbehaviorKind,
    /// Address of the validator.
    pub validator: Address,
    /// Height of the misbehavior.
    pub height: Height,
    /// Time of the block of that height.
    pub time: Time,
    /// Power of the validator at that height.
    pub power: Power,
    /// Total power of the validator set at that height.
    pub total_power: Power,
    /// Hash of the evidence.
    pub evidence: Hash,
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
    /// The attack on light clients is none, or not the work of those that are named.
    #[error("{0}")]
    Attack(#[from] AttackError),
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
        let place = |vote: &Vote| (vote.vote_type, vote.height, vote.round, vote.validator, vote.validator_index);
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
    /// Returns the height of the misbehavior; of an attack on light clients, the common height.
    pub fn height(&self) -> Height {
        match self {
            Self::DuplicateVote(evidence) => evidence.vote_a.vote.height,
            Self::LightClientAttack(evidence) => evidence.common_height,
        }
    }

    /// Returns the time that the evidence gives for the block of its height.
    pub fn time(&self) -> Time {
        match self {
            Self::DuplicateVote(evidence) => evidence.timestamp,
            Self::LightClientAttack(evidence) => evidence.timestamp,
        }
    }

    /// Sets the time, when the block of its height is decided.
    pub fn set_time(&mut self, time: Time) {
        match self {
            Self::DuplicateVote(evidence) => evidence.timestamp = time,
            Self::LightClientAttack(evidence) => evidence.timestamp = time,
        }
    }

    /// Returns what the validator did.
    pub fn kind(&self) -> MisbehaviorKind {
        match self {
            Self::DuplicateVote(_) => MisbehaviorKind::DuplicateVote,
            Self::LightClientAttack(_) => MisbehaviorKind::LightClientAttack,
        }
    }

    /// Returns the key of the evidence among others.
    pub fn key(&self) -> EvidenceKey {
        match self {
            Self::DuplicateVote(evidence) => (self.height(), evidence.vote_a.vote.validator),
            Self::LightClientAttack(evidence) => {
                (self.height(), Address(*evidence.hash().0.first_chunk().expect("a hash is longer than an address")))
            }
        }
    }

    /// Returns the infractions that the evidence proves: one for each validator that it names, in their order. If an
    /// attack names none, the only one is that of [`UNNAMED`]: one such attack for each height is enough.
    pub fn infractions(&self) -> Vec<Infraction> {
        let height = self.height();
        match self {
            Self::DuplicateVote(evidence) => vec![(height, evidence.vote_a.vote.validator)],
            Self::LightClientAttack(evidence) if evidence.byzantine.is_empty() => vec![(height, UNNAMED)],
            Self::LightClientAttack(evidence) => {
                evidence.byzantine.iter().map(|validator| (height, validator.address())).collect()
            }
        }
    }

    /// Returns true if the evidence names this validator.
    pub fn names(&self, validator: &Address) -> bool {
        *validator != UNNAMED && self.infractions().iter().any(|(_, named)| named == validator)
    }

    /// Returns what the application is informed of: one misbehavior for each validator that the evidence names.
    pub fn misbehavior(&self) -> Vec<Misbehavior> {
        let (kind, height, time, hash) = (self.kind(), self.height(), self.time(), self.hash());
        match self {
            Self::DuplicateVote(evidence) => vec![Misbehavior {
                kind,
                validator: evidence.vote_a.vote.validator,
                height,
                time,
                power: evidence.validator_power,
                total_power: evidence.total_power,
                evidence: hash,
            }],
            Self::LightClientAttack(evidence) => {
                let named = |validator: &Validator| Misbehavior {
                    kind,
                    validator: validator.address(),
                    height,
                    time,
                    power: validator.power,
                    total_power: evidence.total_power,
                    evidence: hash,
                };
                evidence.byzantine.iter().map(named).collect()
            }
        }
    }

    /// Returns the number of validators that the evidence names.
    pub fn named(&self) -> usize {
        match self {
            Self::DuplicateVote(_) => 1,
            Self::LightClientAttack(evidence) => evidence.byzantine.len(),
        }
    }

    /// Returns the number of signatures that a check takes.
    pub fn signatures(&self) -> usize {
        match self {
            Self::DuplicateVote(_) => 2,
            Self::LightClientAttack(evidence) => evidence.signatures(),
        }
    }

    /// Returns the bytes that the list of evidence of a block takes, by which `evidence.max_bytes` bounds it.
    pub fn list_bytes(list: &[Self]) -> usize {
        pb::EvidenceList { evidence: list.iter().map(Wire::to_pb).collect() }.encoded_len()
    }

    /// Checks that the evidence does not contradict itself: two votes of one validator, height, round and type, for
    /// different values, in their order; or a block whose commit and validators are those of its header. Cheap: no
    /// signature is checked.
    ///
    /// Errors: `NoConflict` or `Order`; those of [`LightClientAttackEvidence::check_conflict`].
    pub fn check_conflict(&self) -> Result<(), EvidenceError> {
        match self {
            Self::DuplicateVote(evidence) => evidence.check_conflict(),
            Self::LightClientAttack(evidence) => Ok(evidence.check_conflict()?),
        }
    }

    /// Returns the bytes under the header's `evidence_hash`: those of this kind of evidence, without [`Evidence`]'s own
    /// tag.
    pub fn hashed_bytes(&self) -> Vec<u8> {
        match self {
            Self::DuplicateVote(evidence) => evidence.to_pb().encode_to_vec(),
            Self::LightClientAttack(evidence) => attack::bytes_of(evidence),
        }
    }

    /// Returns the hash by which Tendermint's tools identify evidence: the SHA-256 of [`Evidence::hashed_bytes`] for two
    /// votes, [`LightClientAttackEvidence::hash`] for an attack.
    pub fn hash(&self) -> Hash {
        match self {
            Self::DuplicateVote(_) => sha256(&self.hashed_bytes()),
            Self::LightClientAttack(evidence) => evidence.hash(),
        }
    }

    /// Checks the powers and the signatures against the validator set of the height. Of an attack on light clients, what
    /// [`LightClientAttackEvidence::check_attack`] compares with the chain is not checked again.
    ///
    /// Errors: those of [`DuplicateVoteEvidence::verify`] and [`LightClientAttackEvidence::verify`].
    pub fn verify(&self, chain_id: &ChainId, validators: &ValidatorSet) -> Result<(), EvidenceError> {
        match self {
            Self::DuplicateVote(evidence) => evidence.verify(chain_id, validators),
            Self::LightClientAttack(evidence) => Ok(evidence.verify(chain_id)?),
        }
    }
}

impl Wire for Evidence {
    type Pb = pb::Evidence;
    const NAME: &'static str = "evidence";
    const BYTES_MAX: usize = ATTACK_BYTES_MAX;
    const LISTS: &'static [List] = &[
        List::new("commit.signatures", &[2, 1, 1, 2, 4], VALIDATORS_MAX),
        List::new("validators", &[2, 1, 2, 1], VALIDATORS_MAX),
        List::new("evidence.byzantine_validators", &[2, 3], VALIDATORS_MAX),
    ];

    fn to_pb(&self) -> pb::Evidence {
        pb::Evidence {
            sum: Some(match self {
                Self::DuplicateVote(evidence) => pb::evidence::Sum::DuplicateVoteEvidence(evidence.to_pb()),
                Self::LightClientAttack(evidence) => pb::evidence::Sum::LightClientAttackEvidence(evidence.to_pb()),
            }),
        }
    }

    fn from_pb(pb: pb::Evidence) -> Result<Self, DecodeError> {
        let pb = match wire::required("evidence", pb.sum)? {
            pb::evidence::Sum::DuplicateVoteEvidence(pb) => pb,
            pb::evidence::Sum::LightClientAttackEvidence(pb) => {
                return LightClientAttackEvidence::from_pb(pb).map(|attack| Self::LightClientAttack(Box::new(attack)));
            }
        };
        Ok(Self::DuplicateVote(DuplicateVoteEvidence {
            vote_a: SignedVote::from_pb(wire::required("evidence.vote_a", pb.vote_a)?)?,
            vote_b: SignedVote::from_pb(wire::required("evidence.vote_b", pb.vote_b)?)?,
            total_power: Power(wire::unsigned("evidence.total_voting_power", pb.total_voting_power)?),
            validator_power: Power(wire::unsigned("evidence.validator_power", pb.validator_power)?),
            timestamp: wire::time("evidence.timestamp", pb.timestamp)?,
        }))
    }
}
