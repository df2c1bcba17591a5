//! The validator set and its proposer rotation (weighted round robin, as in Tendermint).
//!
//! Each call of the rotation works as follows. If the priorities differ by more than `2 · total`, each is divided by
//! `ceil(diff / (2 · total))`, truncating toward zero. Then the floor of their average is subtracted from each. Then,
//! in each step, every validator's priority grows by its power, the validator with the highest priority proposes (ties
//! go to the lower address), and `total` is subtracted from its priority. Over a full cycle the share of proposals is
//! exactly the share of power.

use std::{cmp::Reverse, collections::BTreeSet};

use prost::Message;
use thiserror::Error;

use crate::{
    Address, ConsensusPublicKey, Hash, List, Power, Round,
    limits::{POWER_TOTAL_MAX, VALIDATORS_MAX},
    merkle,
    mutation::{Mutation, mutated},
    pb,
    wire::{self, DecodeError, Wire},
};

/// One member of a validator set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validator {
    /// Consensus key of the validator.
    pub public_key: ConsensusPublicKey,
    /// Power of the validator, at least 1.
    pub power: Power,
    /// Priority in the proposer rotation; changes at every increment.
    pub proposer_priority: i64,
}

impl Validator {
    /// Returns the address of the validator's key.
    pub fn address(&self) -> Address {
        self.public_key.address()
    }

    pub(crate) fn to_pb(&self) -> pb::Validator {
        pb::Validator {
            address: self.address().0.to_vec(),
            pub_key: Some(self.public_key.to_pb()),
            voting_power: self.power.0 as i64,
            proposer_priority: self.proposer_priority,
        }
    }
}

/// A change of the validator set; power 0 removes the validator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorUpdate {
    /// Consensus key of the validator whose power changes.
    pub public_key: ConsensusPublicKey,
    /// New power of the validator.
    pub power: Power,
}

/// Reason why validators do not form a valid set.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ValidatorSetError {
    /// The set would have no validator.
    #[error("a validator set needs at least one validator")]
    Empty,
    /// The set would have too many validators.
    #[error("{got} validators, at most {VALIDATORS_MAX} are allowed")]
    TooMany {
        /// Number of validators that the set would have.
        got: usize,
    },
    /// A validator has power 0.
    #[error("validator {0} has power 0")]
    NoPower(Address),
    /// A validator is listed twice.
    #[error("validator {0} is listed twice")]
    Duplicate(Address),
    /// The total power exceeds [`POWER_TOTAL_MAX`].
    #[error("the total power exceeds {POWER_TOTAL_MAX}")]
    TooMuchPower,
    /// An update removes a validator that is not in the set.
    #[error("validator {0} is to be removed but is not in the set")]
    Unknown(Address),
}

/// The validators of a height, sorted by power descending, then by address ascending. The set is never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidatorSet {
    validators: Vec<Validator>,
    total: Power,
    /// Index of the current proposer.
    proposer: u32,
}

/// Maximum difference of the priorities, in multiples of the total power.
const PRIORITY_WINDOW: i128 = 2;

impl ValidatorSet {
    /// Creates a first set: every priority is 0, and the rotation is advanced once, as in Tendermint.
    ///
    /// Errors: `Empty`, `TooMany`, `NoPower`, `Duplicate` or `TooMuchPower` if the validators do not form a valid set.
    pub fn new(validators: Vec<(impl Into<ConsensusPublicKey>, Power)>) -> Result<Self, ValidatorSetError> {
        let validators = validators
            .into_iter()
            .map(|(key, power)| Validator { public_key: key.into(), power, proposer_priority: 0 })
            .collect();
        let mut set = Self::checked(validators)?;
        set.increment(1);
        Ok(set)
    }

    /// Sorts and checks the validators; the proposer is the one with the highest priority.
    fn checked(mut validators: Vec<Validator>) -> Result<Self, ValidatorSetError> {
        if validators.is_empty() {
            return Err(ValidatorSetError::Empty);
        }
        if validators.len() > VALIDATORS_MAX {
            return Err(ValidatorSetError::TooMany { got: validators.len() });
        }
        let mut total = Power::ZERO;
        let mut seen = BTreeSet::new();
        for validator in &validators {
            if validator.power == Power::ZERO {
                return Err(ValidatorSetError::NoPower(validator.address()));
            }
            if !seen.insert(validator.address()) {
                return Err(ValidatorSetError::Duplicate(validator.address()));
            }
            total = total.checked_add(validator.power).ok_or(ValidatorSetError::TooMuchPower)?;
        }
        validators.sort_by_key(|validator| (std::cmp::Reverse(validator.power), validator.address()));
        let mut set = Self { validators, total, proposer: 0 };
        set.proposer = set.highest();
        Ok(set)
    }

    /// Iterates over the members in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Validator> {
        self.validators.iter()
    }

    /// Returns the number of members, 1 to [`VALIDATORS_MAX`].
    pub fn len(&self) -> usize {
        self.validators.len()
    }

    /// Returns true if the set is empty, which is never the case. It exists because `len` exists.
    pub fn is_empty(&self) -> bool {
        self.validators.is_empty()
    }

    /// Returns the member at `index`.
    pub fn get(&self, index: u32) -> Option<&Validator> {
        self.validators.get(index as usize)
    }

    /// Returns the member with this address, and its index. Cost: O(n).
    pub fn by_address(&self, address: &Address) -> Option<(u32, &Validator)> {
        let index = self.validators.iter().position(|validator| validator.address() == *address)?;
        Some((index as u32, &self.validators[index]))
    }

    /// Returns the sum of all power, at most [`POWER_TOTAL_MAX`].
    pub fn total_power(&self) -> Power {
        self.total
    }

    /// Returns the proposer of round 0 of the height that this set is for.
    pub fn proposer(&self) -> &Validator {
        &self.validators[self.proposer as usize]
    }

    /// Returns the proposer of a round: the proposer of a copy that is advanced `round` more times. Cost: O(n · round),
    /// where `round` counts at most `ROUNDS_COMPUTED_MAX`.
    pub fn proposer_of_round(&self, round: Round) -> &Validator {
        if round == Round::ZERO || mutated(Mutation::RoundsStay) {
            return self.proposer();
        }
        let mut copy = self.clone();
        copy.increment(u32::from(mutated(Mutation::RoundsOneLater)));
        copy.increment(round.0);
        &self.validators[copy.proposer as usize]
    }

    /// Returns the Merkle root (SHA-256) over key and power of each member, as light clients recompute it.
    pub fn hash(&self) -> Hash {
        let leaves: Vec<Vec<u8>> = self
            .validators
            .iter()
            .map(|validator| {
                pb::SimpleValidator {
                    pub_key: Some(validator.public_key.to_pb()),
                    voting_power: validator.power.0 as i64,
                }
                .encode_to_vec()
            })
            .collect();
        merkle::root(merkle::Hasher::Sha256, &leaves)
    }

    /// Advances the rotation by `times` turns. At most `ROUNDS_COMPUTED_MAX` turns are computed; more turns give the
    /// same result.
    pub fn increment(&mut self, times: u32) {
        if times == 0 {
            return;
        }
        self.rescale();
        self.center();
        for _ in 0..times.min(ROUNDS_COMPUTED_MAX) {
            for validator in &mut self.validators {
                validator.proposer_priority = validator.proposer_priority.saturating_add(validator.power.0 as i64);
            }
            self.proposer = self.highest();
            let winner = &mut self.validators[self.proposer as usize];
            winner.proposer_priority = winner.proposer_priority.saturating_sub(self.total.0 as i64);
        }
    }

    /// Returns the index of the validator with the highest priority; ties go to the lower address.
    fn highest(&self) -> u32 {
        let best = (0..self.validators.len())
            .max_by_key(|index| {
                let validator = &self.validators[*index];
                let (higher, address) = (mutated(Mutation::TiesGoHigher), validator.address());
                (validator.proposer_priority, higher.then_some(address), Reverse(address))
            })
            .expect("a set is never empty");
        best as u32
    }

    /// Scales the priorities so that they differ by at most `2 · total`.
    fn rescale(&mut self) {
        let priorities = || self.validators.iter().map(|validator| i128::from(validator.proposer_priority));
        let diff = priorities().max().expect("never empty") - priorities().min().expect("never empty");
        let window = PRIORITY_WINDOW * i128::from(self.total.0);
        if diff > window {
            let ratio = (diff + window - 1) / window;
            for validator in &mut self.validators {
                validator.proposer_priority = (i128::from(validator.proposer_priority) / ratio) as i64;
            }
        }
    }

    /// Subtracts the floor of the average from each priority.
    fn center(&mut self) {
        let sum: i128 = self.validators.iter().map(|validator| i128::from(validator.proposer_priority)).sum();
        if mutated(Mutation::SkipCenter) {
            return;
        }
        let average = sum.div_euclid(self.validators.len() as i128) as i64;
        for validator in &mut self.validators {
            validator.proposer_priority = validator.proposer_priority.saturating_sub(average);
        }
    }

    /// Returns the set with `updates` applied. A new validator starts at priority −(T + T/8), where T is the total
    /// power after updates and before removals, so that leaving and returning gains no advantage.
    ///
    /// Errors: those of [`ValidatorSet::new`]; `Duplicate` also for two updates of one validator; `Unknown` for the
    /// removal of a validator that is not in the set.
    pub fn update(&self, updates: &[ValidatorUpdate]) -> Result<Self, ValidatorSetError> {
        if updates.is_empty() {
            return Ok(self.clone());
        }
        let mut seen = BTreeSet::new();
        let mut validators = self.validators.clone();
        let mut removed = BTreeSet::new();
        let mut added = BTreeSet::new();
        for update in updates {
            let address = update.public_key.address();
            if !seen.insert(address) {
                return Err(ValidatorSetError::Duplicate(address));
            }
            let known = validators.iter_mut().find(|validator| validator.address() == address);
            match (known, update.power) {
                (None, Power::ZERO) => return Err(ValidatorSetError::Unknown(address)),
                (Some(_), Power::ZERO) => {
                    removed.insert(address);
                }
                (Some(validator), power) => validator.power = power,
                (None, power) => {
                    added.insert(address);
                    validators.push(Validator { public_key: update.public_key, power, proposer_priority: 0 });
                }
            }
        }
        let before_removals: i128 = validators.iter().map(|validator| i128::from(validator.power.0)).sum();
        let entry = i64::try_from(-(before_removals + (before_removals >> 3))).unwrap_or(i64::MIN);
        for validator in &mut validators {
            if added.contains(&validator.address()) && !mutated(Mutation::NewcomerFirst) {
                validator.proposer_priority = entry;
            }
        }
        validators.retain(|validator| !removed.contains(&validator.address()));
        let mut set = Self::checked(validators)?;
        set.rescale();
        set.center();
        set.proposer = set.highest();
        Ok(set)
    }
}

/// Maximum number of turns of the rotation that one call computes. In later rounds of a height the proposer no longer
/// changes. Without this bound a peer's vote for round 2^31 would cost minutes.
pub const ROUNDS_COMPUTED_MAX: u32 = 10_000;

impl Wire for ValidatorSet {
    type Pb = pb::ValidatorSet;
    const NAME: &'static str = "validator set";
    const BYTES_MAX: usize = VALIDATORS_MAX * 128 + 256;
    const LISTS: &'static [List] = &[List::new("validators", &[1], VALIDATORS_MAX)];

    fn to_pb(&self) -> pb::ValidatorSet {
        pb::ValidatorSet {
            validators: self.validators.iter().map(Validator::to_pb).collect(),
            proposer: Some(self.proposer().to_pb()),
            total_voting_power: self.total.0 as i64,
        }
    }

    fn from_pb(pb: pb::ValidatorSet) -> Result<Self, DecodeError> {
        wire::at_most("validators", pb.validators.len(), VALIDATORS_MAX)?;
        let validators = pb.validators.into_iter().map(validator_from_pb).collect::<Result<Vec<_>, _>>()?;
        let proposer = validator_from_pb(wire::required("proposer", pb.proposer)?)?.address();
        let mut set = Self::checked(validators).map_err(|e| DecodeError::field("validators", e))?;
        set.proposer = wire::required("proposer", set.by_address(&proposer))?.0;
        Ok(set)
    }
}

pub(crate) fn validator_from_pb(pb: pb::Validator) -> Result<Validator, DecodeError> {
    let public_key = ConsensusPublicKey::from_pb(wire::required("validator.pub_key", pb.pub_key)?)?;
    if wire::address("validator.address", &pb.address)? != public_key.address() {
        return Err(DecodeError::field("validator.address", "is not the address of pub_key"));
    }
    Ok(Validator {
        public_key,
        power: Power(wire::unsigned("validator.voting_power", pb.voting_power)?),
        proposer_priority: pb.proposer_priority,
    })
}

impl Wire for ValidatorUpdate {
    type Pb = pb::ValidatorUpdate;
    const NAME: &'static str = "validator update";
    const BYTES_MAX: usize = 64;

    fn to_pb(&self) -> pb::ValidatorUpdate {
        pb::ValidatorUpdate { pub_key: Some(self.public_key.to_pb()), power: self.power.0 as i64 }
    }

    fn from_pb(pb: pb::ValidatorUpdate) -> Result<Self, DecodeError> {
        Ok(Self {
            public_key: ConsensusPublicKey::from_pb(wire::required("validator_update.pub_key", pb.pub_key)?)?,
            power: Power(wire::unsigned("validator_update.power", pb.power)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ConsensusSecretKey, KeyType};
    use std::collections::BTreeMap;

    fn key(seed: u8) -> ConsensusPublicKey {
        let key_type = KeyType::ALL[usize::from(seed % 2)];
        ConsensusSecretKey::from_bytes(key_type, &[seed; 32]).unwrap().public_key()
    }

    fn set(powers: &[u64]) -> ValidatorSet {
        ValidatorSet::new(powers.iter().enumerate().map(|(i, p)| (key(i as u8 + 1), Power(*p))).collect()).unwrap()
    }

    #[test]
    fn sorted_by_power_then_address() {
        let set = set(&[1, 5, 1, 3]);
        let order: Vec<_> = set.iter().map(|v| (std::cmp::Reverse(v.power), v.address())).collect();
        assert!(order.is_sorted());
    }

    #[test]
    fn share_of_proposals_is_share_of_power_over_a_full_cycle() {
        for powers in [&[1, 1, 1, 1][..], &[1, 2, 3], &[1000, 1, 10], &[7], &[3, 3, 4, 90]] {
            let mut set = set(powers);
            let total: u64 = powers.iter().sum();
            let mut turns = BTreeMap::new();
            for _ in 0..total {
                *turns.entry(set.proposer().address()).or_insert(0) += 1;
                set.increment(1);
            }
            for validator in set.iter() {
                assert_eq!(turns.get(&validator.address()).copied().unwrap_or(0), validator.power.0, "{powers:?}");
            }
        }
    }

    #[test]
    fn the_proposer_of_a_round_is_that_of_an_advanced_copy() {
        let set = set(&[4, 3, 2, 1]);
        for round in 0..20 {
            let mut copy = set.clone();
            copy.increment(round);
            assert_eq!(set.proposer_of_round(Round(round)).address(), copy.proposer().address());
        }
        set.proposer_of_round(Round(i32::MAX as u32));
    }

    #[test]
    fn a_new_validator_starts_behind_and_removals_must_exist() {
        let before = set(&[10, 10]);
        let update = |seed, power| ValidatorUpdate { public_key: key(seed), power: Power(power) };
        let after = before.update(&[update(9, 10)]).unwrap();
        assert_eq!(after.len(), 3);
        assert_ne!(after.proposer().address(), key(9).address());
        assert_eq!(after.update(&[update(9, 0)]).unwrap().len(), 2);
        assert_eq!(before.update(&[update(9, 0)]), Err(ValidatorSetError::Unknown(key(9).address())));
        assert_eq!(before.update(&[update(1, 0), update(2, 0)]), Err(ValidatorSetError::Empty));
        assert_eq!(before.update(&[update(1, 5), update(1, 6)]), Err(ValidatorSetError::Duplicate(key(1).address())));
        assert_eq!(before.update(&[update(9, POWER_TOTAL_MAX)]), Err(ValidatorSetError::TooMuchPower));
    }

    #[test]
    fn priorities_stay_centred_and_bounded() {
        let mut set = set(&[1, 1_000_000, 50]);
        for _ in 0..1000 {
            set.increment(3);
            let window = 2 * set.total_power().0 as i64 + set.total_power().0 as i64;
            assert!(set.iter().all(|v| v.proposer_priority.abs() <= window));
        }
    }

    #[test]
    fn bytes_and_back_keep_priorities_and_proposer() {
        let mut set = set(&[5, 4, 3]);
        set.increment(2);
        assert_eq!(ValidatorSet::decode(&set.encode()), Ok(set));
    }
}
