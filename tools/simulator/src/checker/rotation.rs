//! Whose turn it is: the proposer rotation, computed a second time from its rules, and the sets that it turns.
//!
//! The rules are those of Tendermint's "Proposer Selection Procedure" (spec/consensus/proposer-selection.md of CometBFT
//! v0.38): a validator's priority grows by its power at each turn, the highest one proposes and pays the total. The code of
//! the validators is not used here, except for the keys and the addresses.

use std::collections::{BTreeMap, BTreeSet};

use replica::Committed;
use types::{Address, ConsensusPublicKey, Height, Power, Round, ValidatorSet, ValidatorUpdate};

use crate::broken::{Broken, ensure};

/// Maximum number of turns within a height for which the proposer is computed.
const ROUNDS_MAX: u32 = 1000;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Member {
    key: ConsensusPublicKey,
    power: i128,
    priority: i128,
}

/// The validators of one height, with their turns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Turns {
    members: BTreeMap<Address, Member>,
    proposer: Address,
}

impl Turns {
    /// Creates the first set, after its first turn.
    pub fn first(members: impl IntoIterator<Item = (ConsensusPublicKey, Power)>) -> Self {
        let member = |(key, power): (ConsensusPublicKey, Power)| {
            (key.address(), Member { key, power: i128::from(power.0), priority: 0 })
        };
        let mut turns = Self { members: members.into_iter().map(member).collect(), proposer: Address::default() };
        turns.advance(1);
        turns
    }

    /// Returns the sum of all power.
    pub fn total(&self) -> i128 {
        self.members.values().map(|member| member.power).sum()
    }

    /// Returns the power of a validator, 0 if it is no member.
    pub fn power_of(&self, address: &Address) -> i128 {
        self.members.get(address).map_or(0, |member| member.power)
    }

    /// Returns true if validators have more than two thirds of the power.
    pub fn is_quorum<'a>(&self, voters: impl IntoIterator<Item = &'a Address>) -> bool {
        3 * voters.into_iter().map(|voter| self.power_of(voter)).sum::<i128>() > 2 * self.total()
    }

    /// Returns the key of a member.
    pub fn key_of(&self, address: &Address) -> Option<&ConsensusPublicKey> {
        self.members.get(address).map(|member| &member.key)
    }

    /// Returns the proposer of a round; `None` for a round so late that no world reaches it.
    pub fn proposer_of(&self, round: Round) -> Option<Address> {
        if round == Round::ZERO {
            return Some(self.proposer);
        }
        (round.0 <= ROUNDS_MAX).then(|| {
            let mut later = self.clone();
            later.advance(round.0);
            later.proposer
        })
    }

    /// Keeps the priorities within a window of twice the total, and their average at 0.
    fn settle(&mut self) {
        let window = 2 * self.total();
        let priorities = || self.members.values().map(|member| member.priority);
        let difference = priorities().max().unwrap_or(0) - priorities().min().unwrap_or(0);
        if difference > window {
            let ratio = difference / window + i128::from(difference % window > 0);
            self.members.values_mut().for_each(|member| member.priority /= ratio);
        }
        let sum: i128 = self.members.values().map(|member| member.priority).sum();
        let average = sum.div_euclid(self.members.len() as i128);
        self.members.values_mut().for_each(|member| member.priority -= average);
    }

    fn advance(&mut self, times: u32) {
        self.settle();
        let total = self.total();
        for _ in 0..times {
            self.members.values_mut().for_each(|member| member.priority += member.power);
            let highest = self.members.values().map(|member| member.priority).max();
            // The map is ordered by address, and of several members with this priority the lowest address proposes.
            let winner = self.members.iter_mut().find(|(_, member)| Some(member.priority) == highest);
            let (address, member) = winner.expect("a set has members");
            member.priority -= total;
            self.proposer = *address;
        }
    }

    /// Returns the set of the next height, after updates.
    fn next(&self, updates: &[ValidatorUpdate]) -> Self {
        let mut next = self.clone();
        if !updates.is_empty() {
            let mut new = BTreeSet::new();
            for ValidatorUpdate { public_key, power } in updates.iter().filter(|update| update.power > Power::ZERO) {
                let (address, power) = (public_key.address(), i128::from(power.0));
                let known = next.members.contains_key(&address);
                let entry = next.members.entry(address);
                let member = entry.or_insert(Member { key: *public_key, power, priority: 0 });
                member.power = power;
                if !known {
                    new.insert(address);
                }
            }
            // The total that the entry costs is that after changes and before removals.
            let total = next.total();
            let entry = -(total + total / 8);
            next.members.iter_mut().filter(|(one, _)| new.contains(one)).for_each(|(_, one)| one.priority = entry);
            let leaves =
                |one: &Address| updates.iter().any(|u| u.power == Power::ZERO && u.public_key.address() == *one);
            next.members.retain(|one, _| !leaves(one));
            next.settle();
        }
        next.advance(1);
        next
    }

    fn powers(&self) -> impl PartialEq + use<> {
        self.members.iter().map(|(address, member)| (*address, member.power)).collect::<Vec<_>>()
    }

    /// Returns the number of turns after which the first set is as it was before its first turn, and the power of one turn.
    fn cycle(&self) -> (usize, i128) {
        let gcd = self.members.values().map(|member| member.power).fold(0, gcd);
        ((self.total() / gcd) as usize, gcd)
    }
}

fn gcd(a: i128, b: i128) -> i128 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The sets of a world's chain, and who proposed.
pub struct Rotation {
    /// Addresses of the validators that follow the protocol.
    correct: BTreeSet<Address>,
    /// The sets of the decided heights, and of the two after them.
    sets: BTreeMap<Height, Turns>,
    /// True once members or powers differ from those of the first height.
    has_changed: bool,
}

impl Rotation {
    /// Creates the record of a chain that begins with height 1 and these validators.
    pub fn new(correct: BTreeSet<Address>, first: Turns) -> Self {
        let sets = [(Height(1), first.clone()), (Height(2), first.next(&[]))].into();
        Self { correct, sets, has_changed: false }
    }

    /// Returns the set of a height that is decided, or of the two after the last one.
    pub fn at(&self, height: Height) -> Option<&Turns> {
        self.sets.get(&height)
    }

    /// Returns the last height whose successor has a known set.
    pub fn followed(&self) -> Height {
        let last = self.sets.last_key_value().map_or(Height::GENESIS, |(height, _)| *height);
        Height(last.0.saturating_sub(2))
    }

    /// Follows a height that is decided for the first time. The one before was followed.
    pub fn follow(&mut self, height: Height, updates: &[ValidatorUpdate]) {
        let next = self.sets[&height.next()].next(updates);
        self.has_changed |= next.powers() != self.sets[&height.next()].powers();
        self.sets.insert(height.next().next(), next);
    }

    /// Checks the set of a decision, the proposer in the header, and at a first decision the share of each validator.
    ///
    /// Errors: [`Broken`] if the set turned otherwise, or the block is of a validator whose turn it was not.
    pub fn check(&mut self, committed: &Committed, is_first: bool) -> Result<(), Broken> {
        let (header, validators) = (&committed.block.header, &committed.validators);
        let height = header.height;
        let Some(turns) = self.sets.get(&height) else { return Ok(()) };
        check_set(height, turns, validators)?;
        if !is_first {
            return Ok(());
        }
        let proposers: Option<Vec<Address>> =
            (0..=committed.commit.round.0).map(|round| turns.proposer_of(Round(round))).collect();
        // A validator that violates the protocol may name another one in its block.
        if let Some(proposers) = proposers.filter(|all| all.iter().all(|one| self.correct.contains(one))) {
            ensure!(
                proposers.contains(&header.proposer),
                "proposer: {} proposed height {height}, up to round {} it was the turn of {proposers:?}",
                header.proposer,
                committed.commit.round
            );
        }
        if self.has_changed {
            return Ok(());
        }
        let done: Vec<Address> = self.sets.range(..=height).map(|(_, turns)| turns.proposer).collect();
        check_share(height, turns, &done)
    }
}

/// Compares the set that a node uses with the one that is computed here.
fn check_set(height: Height, turns: &Turns, validators: &ValidatorSet) -> Result<(), Broken> {
    let (expected, got) = (turns.proposer, validators.proposer().address());
    ensure!(got == expected, "proposer: it is the turn of {got} at height {height}, not of {expected}");
    ensure!(validators.len() == turns.members.len(), "proposer: the set of height {height} has another size");
    for one in validators.iter() {
        let expected = turns.members.get(&one.address()).map(|member| (member.power, member.priority));
        let got = (i128::from(one.power.0), i128::from(one.proposer_priority));
        ensure!(
            Some(got) == expected,
            "proposer: {} has power and priority {got:?} at height {height}, not {expected:?}",
            one.address()
        );
    }
    Ok(())
}

/// Checks that each validator proposed as often in the last cycle as its power says.
fn check_share(height: Height, turns: &Turns, done: &[Address]) -> Result<(), Broken> {
    let (cycle, unit) = turns.cycle();
    let Some(last) = done.len().checked_sub(cycle).map(|from| &done[from..]) else { return Ok(()) };
    for (address, member) in &turns.members {
        let (got, expected) = (last.iter().filter(|one| *one == address).count() as i128, member.power / unit);
        ensure!(
            got == expected,
            "proposer: {address} had {got} of the {cycle} turns up to height {height}, its power gives it {expected}"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use types::KeyType;

    use super::*;
    use crate::{node::validator_key, random::Random};

    fn key(index: usize) -> ConsensusPublicKey {
        validator_key(index, KeyType::Ed25519, 0).public_key()
    }

    fn members(random: &mut Random, count: usize, power_max: u64) -> Vec<(ConsensusPublicKey, Power)> {
        (0..count).map(|index| (key(index), Power(random.within(1, power_max)))).collect()
    }

    #[test]
    fn both_computations_of_the_rotation_agree_through_changes_of_the_set() {
        let random = &mut Random::new(7);
        for power_max in [1, 10, 1 << 50] {
            let first = members(random, 5, power_max);
            let (mut turns, mut set) = (Turns::first(first.clone()), ValidatorSet::new(first).unwrap());
            for height in 1..200 {
                assert_eq!(check_set(Height(height), &turns, &set), Ok(()));
                for round in [0, 1, 7] {
                    let expected = set.proposer_of_round(Round(round)).address();
                    assert_eq!(turns.proposer_of(Round(round)), Some(expected));
                }
                let mut updates = Vec::new();
                for index in 0..8 {
                    let (public_key, is_in) = (key(index), turns.members.contains_key(&key(index).address()));
                    let power = Power(random.within(1, power_max));
                    match random.below(20) {
                        0 => updates.push(ValidatorUpdate { public_key, power }),
                        1 if is_in && index > 0 => updates.push(ValidatorUpdate { public_key, power: Power::ZERO }),
                        _ => {}
                    }
                }
                if !turns.members.contains_key(&key(0).address()) {
                    updates = vec![ValidatorUpdate { public_key: key(0), power: Power(1) }];
                }
                set = set.update(&updates).unwrap();
                set.increment(1);
                turns = turns.next(&updates);
            }
        }
    }

    #[test]
    fn in_each_cycle_from_the_first_height_on_the_share_of_turns_is_the_share_of_power() {
        let random = &mut Random::new(9);
        for _ in 0..50 {
            let count = random.within(1, 7) as usize;
            let mut turns = Turns::first(members(random, count, 9));
            let mut done = Vec::new();
            for height in 1..3 * turns.cycle().0 as u64 + 2 {
                done.push(turns.proposer);
                assert_eq!(check_share(Height(height), &turns, &done), Ok(()));
                turns = turns.next(&[]);
            }
        }
    }

    #[test]
    fn another_turn_another_priority_and_an_unfair_share_are_noticed() {
        let first: Vec<_> = (0..4).map(|index| (key(index), Power(1 + index as u64))).collect();
        let turns = Turns::first(first.clone());
        let mut set = ValidatorSet::new(first).unwrap();
        set.increment(1);
        assert!(check_set(Height(1), &turns, &set).unwrap_err().0.starts_with("proposer: "));
        let done = vec![turns.proposer; 10];
        assert!(check_share(Height(10), &turns, &done).unwrap_err().0.contains("of the 10 turns"));
    }
}
