//! Counts the votes of one height.

use std::collections::{BTreeMap, BTreeSet};

use types::{
    BitSet, BlockId, Certificate, Power, Round, SignedVote, ValidatorSet, VerifiedVote, VoteType,
    limits::VALIDATORS_MAX,
};

use crate::mutation::{Mutation, is_any_rule_broken, mutated};

/// Result of adding a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// The vote was counted for the first time.
    New,
    /// A vote of this validator for the same value is already held.
    Duplicate,
    /// The vote contradicts `first`, which is held. It was also counted for its own value if there was room for it.
    Conflicting {
        /// The vote that was held before.
        first: Box<SignedVote>,
        /// True if this is the first contradiction of the validator in this round and type, so that it can be reported.
        report: bool,
    },
    /// The round or the validator index is out of the range that is kept.
    OutOfBounds,
}

/// Holds the votes of one validator in one round and type: one value, or two if it equivocates.
#[derive(Clone, Debug)]
struct Said {
    first: VerifiedVote,
    second: Option<VerifiedVote>,
}

impl Said {
    fn votes(&self) -> impl Iterator<Item = &VerifiedVote> {
        std::iter::once(&self.first).chain(&self.second)
    }
}

/// Holds the votes of one round and type.
///
/// Each validator counts once towards a threshold over all values, and once for each value that it voted for (at most
/// two). Both votes of an equivocator are kept: otherwise this node might never see a quorum that other nodes saw.
#[derive(Clone, Debug)]
pub struct VoteSet {
    /// Votes by validator index.
    said: BTreeMap<u32, Said>,
    by_value: BTreeMap<Option<BlockId>, Power>,
    power: Power,
    total: Power,
    validators: u32,
}

impl VoteSet {
    /// Creates an empty vote set for `validators`.
    pub fn new(validators: &ValidatorSet) -> Self {
        Self {
            said: BTreeMap::new(),
            by_value: BTreeMap::new(),
            power: Power::ZERO,
            total: if mutated(Mutation::CountHeads) {
                Power(validators.len() as u64)
            } else {
                validators.total_power()
            },
            validators: validators.len() as u32,
        }
    }

    /// Counts a vote.
    ///
    /// A `proven` vote is part of a quorum that a certificate shows. If both places of an equivocator are taken, a
    /// proven vote replaces one of its two votes, but never one that belongs to a quorum held here.
    fn add(&mut self, vote: VerifiedVote, proven: bool) -> Added {
        let (index, value, power) = (vote.vote.validator_index, vote.vote.block_id, power_of(&vote));
        if index >= self.validators {
            return Added::OutOfBounds;
        }
        let has_quorum = |held: &VerifiedVote| {
            self.by_value.get(&held.vote.block_id).is_some_and(|power| power.is_quorum_of(self.total))
        };
        let Some(said) = self.said.get_mut(&index) else {
            self.said.insert(index, Said { first: vote, second: None });
            self.power = plus(self.power, power);
            assert!(self.power <= self.total, "each validator counts once");
            self.count(value, power);
            return Added::New;
        };
        if said.votes().any(|held| held.vote.block_id == value) {
            if mutated(Mutation::CountTwice) {
                self.count(value, power);
            }
            return Added::Duplicate;
        }
        let first = Box::new((*said.first).clone());
        let dropped = match &said.second {
            None if mutated(Mutation::FirstVoteOnly) => return Added::Conflicting { first, report: true },
            None => {
                said.second = Some(vote);
                self.count(value, power);
                return Added::Conflicting { first, report: true };
            }
            Some(second) if proven && !has_quorum(second) => said.second.replace(vote),
            Some(second) if proven && !has_quorum(&said.first) => {
                let second = second.clone();
                said.second = Some(vote);
                Some(std::mem::replace(&mut said.first, second))
            }
            Some(_) => None,
        };
        if let Some(dropped) = dropped {
            self.discount(dropped.vote.block_id, power);
            self.count(value, power);
        }
        Added::Conflicting { first, report: false }
    }

    fn discount(&mut self, value: Option<BlockId>, power: Power) {
        let tally = self.by_value.get_mut(&value).expect("a counted value has a tally");
        *tally = Power(tally.0.checked_sub(power.0).expect("the power of a counted vote is part of its tally"));
        if *tally == Power::ZERO {
            self.by_value.remove(&value);
        }
    }

    fn count(&mut self, value: Option<BlockId>, power: Power) {
        let tally = self.by_value.entry(value).or_default();
        *tally = plus(*tally, power);
        assert!(*tally <= self.power || is_any_rule_broken(), "each validator that voted counts once for a value");
    }

    /// Returns the power of the distinct validators that voted for any value.
    pub fn power(&self) -> Power {
        self.power
    }

    /// Returns true if validators with more than two thirds of the power voted, for any values.
    pub fn has_quorum(&self) -> bool {
        self.power.is_quorum_of(self.total)
    }

    /// Returns the value that more than two thirds of the power voted for; `Some(None)` is nil.
    ///
    /// Two values can both reach this only if more than a third of the power equivocates, and no rule promises safety
    /// then.
    pub fn quorum(&self) -> Option<Option<BlockId>> {
        if mutated(Mutation::AnyValueQuorum) && self.has_quorum() {
            return self.by_value.keys().next_back().copied();
        }
        self.by_value.iter().find(|(_, power)| power.is_quorum_of(self.total)).map(|(value, _)| *value)
    }

    /// Returns true if more than two thirds of the power voted for `block_id`.
    pub fn has_quorum_for(&self, block_id: &BlockId) -> bool {
        self.by_value.get(&Some(*block_id)).is_some_and(|power| power.is_quorum_of(self.total))
    }

    /// Returns true if this vote, with this signature, is held. Cost: O(log n).
    pub fn has(&self, vote: &SignedVote) -> bool {
        let said = self.said.get(&vote.vote.validator_index);
        said.is_some_and(|said| said.votes().any(|held| held.signature == vote.signature))
    }

    /// Iterates over all votes that are held, by ascending validator index.
    pub fn votes(&self) -> impl Iterator<Item = &VerifiedVote> {
        self.said.values().flat_map(Said::votes)
    }

    /// Iterates over the votes of the validator at an index, at most two. Cost: O(log n).
    pub(crate) fn votes_of(&self, index: u32) -> impl Iterator<Item = &VerifiedVote> {
        self.said.get(&index).into_iter().flat_map(Said::votes)
    }

    /// Iterates over the first vote of each validator that voted.
    pub fn first_votes(&self) -> impl Iterator<Item = &VerifiedVote> {
        self.said.values().map(|said| &said.first)
    }

    /// Iterates over the votes for `value`, at most one of each validator.
    pub fn votes_for(&self, value: Option<BlockId>) -> impl Iterator<Item = &VerifiedVote> {
        self.votes().filter(move |vote| vote.vote.block_id == value)
    }

    /// Returns the set of validators that voted.
    pub fn held(&self) -> BitSet {
        let mut bits = BitSet::new(self.validators);
        self.said.keys().for_each(|index| bits.set(*index));
        bits
    }

    /// Returns a certificate of the votes for `value`, or `None` if there are no such votes.
    pub fn certificate_for(&self, value: Option<BlockId>) -> Option<Certificate> {
        Certificate::new(self.votes_for(value).map(|vote| (**vote).clone()).collect()).ok()
    }

    /// Returns a certificate of the first vote of each validator, for any value, or `None` if there are no votes.
    pub fn certificate(&self) -> Option<Certificate> {
        Certificate::new(self.first_votes().map(|vote| (**vote).clone()).collect()).ok()
    }

    fn forget(&mut self, index: u32) {
        let Some(said) = self.said.remove(&index) else { return };
        let power = power_of(&said.first);
        said.votes().for_each(|vote| self.discount(vote.vote.block_id, power));
        self.power = Power(self.power.0.checked_sub(power.0).expect("the power of each voter is part of the sum"));
    }

    fn bytes(&self) -> usize {
        self.said.len() * SAID_BYTES + self.by_value.len() * VALUE_BYTES
    }
}

/// Memory of the votes of one validator, with their entry in a map, in bytes.
const SAID_BYTES: usize = size_of::<Said>() + 2 * size_of::<u32>();

/// Memory of the tally of one value, in bytes.
const VALUE_BYTES: usize = size_of::<(Option<BlockId>, Power)>();

/// Returns the power that a vote counts for.
fn power_of(vote: &VerifiedVote) -> Power {
    if mutated(Mutation::CountHeads) { Power(1) } else { vote.power() }
}

fn plus(a: Power, b: Power) -> Power {
    a.checked_add(b).expect("each validator counts once, and the set's total is bounded")
}

/// Holds the two vote sets of a round.
#[derive(Clone, Debug)]
pub struct RoundVotes {
    /// Prevotes of the round.
    pub prevotes: VoteSet,
    /// Precommits of the round.
    pub precommits: VoteSet,
}

impl RoundVotes {
    fn new(validators: &ValidatorSet) -> Self {
        Self { prevotes: VoteSet::new(validators), precommits: VoteSet::new(validators) }
    }

    /// Returns the vote set of one type.
    pub fn of(&self, vote_type: VoteType) -> &VoteSet {
        match vote_type {
            VoteType::Prevote => &self.prevotes,
            VoteType::Precommit => &self.precommits,
        }
    }

    /// Returns the power of the distinct validators that sent any vote of this round. A prevote and a precommit of one
    /// validator count once.
    ///
    /// Cost: O(votes of this round), independent of the number of validators, because there may be many far rounds with
    /// one vote each.
    fn voters(&self) -> Power {
        let others = self.precommits.said.iter().filter(|(index, _)| !self.prevotes.said.contains_key(index));
        let power = others.fold(self.prevotes.power, |power, (_, said)| plus(power, power_of(&said.first)));
        assert!(power <= self.prevotes.total, "each validator counts once, whatever it votes");
        power
    }

    fn is_empty(&self) -> bool {
        self.prevotes.said.is_empty() && self.precommits.said.is_empty()
    }

    fn has_decision(&self) -> bool {
        self.precommits.quorum().flatten().is_some()
    }
}

/// Number of rounds below the current one whose votes are all kept.
pub const PAST_ROUNDS_MAX: u32 = 32;

/// Number of older rounds that are kept in addition because they have a quorum: a decision whose block is not available
/// yet, or a polka that a certificate proved.
pub const OLD_ROUNDS_MAX: usize = 4;

/// Maximum number of rounds that are kept at any age because rules refer to them: the rounds of `locked` and of
/// `valid`, and the POL rounds of two proposals of this round and of two of the next.
pub const PINNED_ROUNDS_MAX: usize = 6;

/// Holds all votes of one height.
///
/// Its memory is bounded (I6). It keeps the current round, the next one, [`PAST_ROUNDS_MAX`] rounds before,
/// [`PINNED_ROUNDS_MAX`] rounds that rules refer to, [`OLD_ROUNDS_MAX`] older rounds with a quorum, and of rounds
/// further ahead only the latest of each validator.
#[derive(Clone, Debug)]
pub struct HeightVotes {
    validators: ValidatorSet,
    rounds: BTreeMap<Round, RoundVotes>,
    current: Round,
    pinned: BTreeSet<Round>,
    /// Round beyond the next one whose votes are kept, for each validator.
    far: Vec<Option<Round>>,
}

impl HeightVotes {
    /// Creates an empty set of votes for one height.
    pub fn new(validators: ValidatorSet) -> Self {
        assert!(validators.len() <= VALIDATORS_MAX, "a validator set is bounded");
        let far = vec![None; validators.len()];
        Self { validators, rounds: BTreeMap::new(), current: Round::ZERO, pinned: BTreeSet::new(), far }
    }

    /// Counts a vote of this height that was verified against its validators. `proven` means that the vote is part of a
    /// quorum for its value that a certificate shows.
    pub fn add(&mut self, vote: VerifiedVote, proven: bool) -> Added {
        let (round, index) = (vote.vote.round, vote.vote.validator_index);
        let round = if mutated(Mutation::CountOtherRounds) { self.current } else { round };
        let has_room = if index as usize >= self.far.len() {
            false
        } else if round > self.current.next() {
            self.make_far_room(round, index)
        } else {
            !self.is_old(round) || self.rounds.contains_key(&round) || proven && self.make_old_room(&vote)
        };
        if !has_room {
            return Added::OutOfBounds;
        }
        let votes = self.rounds.entry(round).or_insert_with(|| RoundVotes::new(&self.validators));
        match vote.vote.vote_type {
            VoteType::Prevote if mutated(Mutation::CountOtherType) => {
                let _ = votes.precommits.add(vote.clone(), proven);
                votes.prevotes.add(vote, proven)
            }
            VoteType::Prevote => votes.prevotes.add(vote, proven),
            VoteType::Precommit => votes.precommits.add(vote, proven),
        }
    }

    /// Keeps only the latest far round of this validator. Returns false if `round` is earlier than the far round that
    /// is kept.
    fn make_far_room(&mut self, round: Round, index: u32) -> bool {
        let far = &mut self.far[index as usize];
        match *far {
            Some(kept) if kept > round => return false,
            Some(kept) if kept < round && kept > self.current.next() => {
                if let Some(votes) = self.rounds.get_mut(&kept) {
                    votes.prevotes.forget(index);
                    votes.precommits.forget(index);
                    if votes.is_empty() {
                        self.rounds.remove(&kept);
                    }
                }
            }
            _ => {}
        }
        *far = Some(round);
        true
    }

    /// Returns true if a round is too old to be kept for its age alone and is not pinned.
    fn is_old(&self, round: Round) -> bool {
        round.0 < self.oldest().0 && !self.pinned.contains(&round)
    }

    /// Returns the earliest round whose votes are all kept.
    pub fn oldest(&self) -> Round {
        Round(self.current.0.saturating_sub(PAST_ROUNDS_MAX))
    }

    fn old_rounds(&self) -> impl Iterator<Item = (Round, &RoundVotes)> {
        self.rounds
            .range(..self.oldest())
            .map(|(round, votes)| (*round, votes))
            .filter(|(round, _)| self.is_old(*round))
    }

    /// Makes room for an old round with a quorum by removing the lowest one without a decision. Returns false if there
    /// is no such round, or if the vote is a prevote of an earlier round: an earlier polka does not displace a later
    /// one.
    fn make_old_room(&mut self, vote: &VerifiedVote) -> bool {
        if self.old_rounds().count() < OLD_ROUNDS_MAX {
            return true;
        }
        let lowest = self.old_rounds().find(|(_, votes)| !votes.has_decision()).map(|(round, _)| round);
        let Some(lowest) =
            lowest.filter(|lowest| vote.vote.vote_type == VoteType::Precommit || vote.vote.round > *lowest)
        else {
            return false;
        };
        self.rounds.remove(&lowest);
        true
    }

    /// Keeps the votes of these rounds at any age. Asserts that there are at most [`PINNED_ROUNDS_MAX`].
    pub fn pin(&mut self, rounds: BTreeSet<Round>) {
        assert!(rounds.len() <= PINNED_ROUNDS_MAX, "I6: {} rounds are pinned", rounds.len());
        self.pinned = rounds;
        self.trim();
    }

    /// Moves to `round` and forgets rounds that are too old.
    pub fn enter_round(&mut self, round: Round) {
        assert!(round >= self.current, "the rounds of a height only grow: {round} after {}", self.current);
        self.current = round;
        self.trim();
    }

    /// Removes old rounds. Those with a quorum stay while there is room: decisions before polkas, later rounds before
    /// earlier ones.
    fn trim(&mut self) {
        if mutated(Mutation::KeepRounds) {
            return;
        }
        let worth = |(round, votes): (Round, &RoundVotes)| {
            let has_quorum = votes.has_decision() || votes.prevotes.quorum().flatten().is_some();
            (has_quorum, votes.has_decision(), round)
        };
        let mut old: Vec<(bool, bool, Round)> = self.old_rounds().map(worth).collect();
        old.sort_unstable();
        let stay = old.iter().filter(|(has_quorum, ..)| *has_quorum).count().min(OLD_ROUNDS_MAX);
        for (_, _, round) in &old[..old.len() - stay] {
            self.rounds.remove(round);
        }
        let kept = self.old_rounds().count();
        assert!(kept <= OLD_ROUNDS_MAX, "I6: {kept} old rounds are kept");
    }

    /// Returns the memory in use, in bytes.
    pub fn bytes(&self) -> usize {
        let bytes = |votes: &RoundVotes| size_of::<RoundVotes>() + votes.prevotes.bytes() + votes.precommits.bytes();
        self.rounds.values().map(bytes).sum()
    }

    /// Returns the maximum memory for a height with this number of validators, in bytes (I6).
    pub fn bytes_max(validators: usize) -> usize {
        let near = PAST_ROUNDS_MAX as usize + 2 + PINNED_ROUNDS_MAX + OLD_ROUNDS_MAX;
        // Each validator has at most two votes of each type in each near round and in one far round.
        let said = 2 * validators * (near + 1);
        (near + validators) * size_of::<RoundVotes>() + said * (SAID_BYTES + 2 * VALUE_BYTES)
    }

    /// Returns the votes of a round, if there are any.
    pub fn round(&self, round: Round) -> Option<&RoundVotes> {
        self.rounds.get(&round)
    }

    /// Iterates over the rounds with votes, in ascending order.
    pub fn rounds(&self) -> impl DoubleEndedIterator<Item = (Round, &RoundVotes)> {
        self.rounds.iter().map(|(round, votes)| (*round, votes))
    }

    /// Returns true if there is a polka for `block_id` in `round`.
    pub fn has_polka(&self, round: Round, block_id: &BlockId) -> bool {
        self.round(round).is_some_and(|votes| votes.prevotes.has_quorum_for(block_id))
    }

    /// Returns the latest round in `from..below` that has a polka for a block, and that block.
    pub fn latest_polka(&self, from: Round, below: Round) -> Option<(Round, BlockId)> {
        let polka = |(round, votes): (&Round, &RoundVotes)| Some((*round, votes.prevotes.quorum()??));
        self.rounds.range(from..below).rev().find_map(polka)
    }

    /// Returns the highest round above `current` in which validators with more than a third of the power voted.
    pub fn honest_round_above(&self, current: Round) -> Option<Round> {
        let total = self.validators.total_power();
        self.rounds
            .range(current.next()..)
            .rev()
            .find(|(_, votes)| votes.voters().is_honest_of(total) || mutated(Mutation::SkipForOne) && !votes.is_empty())
            .map(|(round, _)| *round)
    }

    /// Iterates over all rounds in which a quorum precommitted one block, with that block.
    pub fn decision(&self) -> impl Iterator<Item = (Round, BlockId)> {
        self.rounds.iter().filter_map(|(round, votes)| Some((*round, votes.precommits.quorum()??)))
    }
}
