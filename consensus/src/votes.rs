//! The votes of one height, counted.

use std::collections::{BTreeMap, BTreeSet};

use types::{
    BitSet, BlockId, Certificate, Power, Round, SignedVote, ValidatorSet, VerifiedVote, VoteType,
    limits::VALIDATORS_MAX,
};

/// What became of a vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Added {
    /// Counted for the first time.
    New,
    /// Held already.
    Duplicate,
    /// Contradicts `first`, which is held; counted for its own value if there was room for it.
    Conflicting {
        /// The vote held before.
        first: Box<SignedVote>,
        /// Whether this pair was not seen before, and so is worth reporting.
        report: bool,
    },
    /// Of a round that is too far away to be kept.
    OutOfBounds,
}

/// What one validator said in one round and type: one value, or two if it equivocates.
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

/// Votes of one round and type.
///
/// Each validator counts once towards any threshold over all values, and once for each value it voted for (at most two): an
/// equivocator's votes for both are kept, else a quorum that others saw would never be seen here.
#[derive(Clone, Debug)]
pub struct VoteSet {
    /// By validator index.
    said: BTreeMap<u32, Said>,
    by_value: BTreeMap<Option<BlockId>, Power>,
    power: Power,
    total: Power,
    validators: u32,
}

impl VoteSet {
    /// No votes yet.
    pub fn new(validators: &ValidatorSet) -> Self {
        Self {
            said: BTreeMap::new(),
            by_value: BTreeMap::new(),
            power: Power::ZERO,
            total: validators.total_power(),
            validators: validators.len() as u32,
        }
    }

    /// Counts a vote. A `proven` one, which is part of a quorum that a certificate shows, takes the place of one of an
    /// equivocator's two votes if there is no other room, but never of one that a quorum held here needs.
    fn add(&mut self, vote: VerifiedVote, proven: bool) -> Added {
        let (index, value, power) = (vote.vote.validator_index, vote.vote.block_id, vote.power());
        if index >= self.validators {
            return Added::OutOfBounds;
        }
        let has_quorum = |held: &VerifiedVote| {
            self.by_value.get(&held.vote.block_id).is_some_and(|power| power.is_quorum_of(self.total))
        };
        let Some(said) = self.said.get_mut(&index) else {
            self.said.insert(index, Said { first: vote, second: None });
            self.power = plus(self.power, power);
            self.count(value, power);
            return Added::New;
        };
        if said.votes().any(|held| held.vote.block_id == value) {
            return Added::Duplicate;
        }
        let first = Box::new((*said.first).clone());
        let dropped = match &said.second {
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
        *tally = Power(tally.0 - power.0);
        if *tally == Power::ZERO {
            self.by_value.remove(&value);
        }
    }

    fn count(&mut self, value: Option<BlockId>, power: Power) {
        let tally = self.by_value.entry(value).or_default();
        *tally = plus(*tally, power);
    }

    /// Power of the distinct validators that voted for anything.
    pub fn power(&self) -> Power {
        self.power
    }

    /// Whether more than two thirds voted, for whatever.
    pub fn has_quorum(&self) -> bool {
        self.power.is_quorum_of(self.total)
    }

    /// The value that more than two thirds voted for: `Some(None)` is nil.
    ///
    /// Two values can reach it only if more than a third equivocates, which is beyond what any rule promises to survive.
    pub fn quorum(&self) -> Option<Option<BlockId>> {
        self.by_value.iter().find(|(_, power)| power.is_quorum_of(self.total)).map(|(value, _)| *value)
    }

    /// Whether more than two thirds voted for `block_id`.
    pub fn has_quorum_for(&self, block_id: &BlockId) -> bool {
        self.by_value.get(&Some(*block_id)).is_some_and(|power| power.is_quorum_of(self.total))
    }

    /// Whether this very vote is held. Cost: O(log n).
    pub fn has(&self, vote: &SignedVote) -> bool {
        let said = self.said.get(&vote.vote.validator_index);
        said.is_some_and(|said| said.votes().any(|held| held.signature == vote.signature))
    }

    /// Every vote held, by ascending validator index.
    pub fn votes(&self) -> impl Iterator<Item = &VerifiedVote> {
        self.said.values().flat_map(Said::votes)
    }

    /// One vote of each validator that voted.
    pub fn first_votes(&self) -> impl Iterator<Item = &VerifiedVote> {
        self.said.values().map(|said| &said.first)
    }

    /// The votes for `value`, one of each validator.
    pub fn votes_for(&self, value: Option<BlockId>) -> impl Iterator<Item = &VerifiedVote> {
        self.votes().filter(move |vote| vote.vote.block_id == value)
    }

    /// Which validators voted.
    pub fn held(&self) -> BitSet {
        let mut bits = BitSet::new(self.validators);
        self.said.keys().for_each(|index| bits.set(*index));
        bits
    }

    /// A certificate of the votes for `value`, if there are any.
    pub fn certificate_for(&self, value: Option<BlockId>) -> Option<Certificate> {
        Certificate::new(self.votes_for(value).map(|vote| (**vote).clone()).collect()).ok()
    }

    /// A certificate of one vote of each validator, whatever it says.
    pub fn certificate(&self) -> Option<Certificate> {
        Certificate::new(self.first_votes().map(|vote| (**vote).clone()).collect()).ok()
    }

    fn forget(&mut self, index: u32) {
        let Some(said) = self.said.remove(&index) else { return };
        let power = said.first.power();
        said.votes().for_each(|vote| self.discount(vote.vote.block_id, power));
        self.power = Power(self.power.0 - power.0);
    }

    fn bytes(&self) -> usize {
        self.said.len() * SAID_BYTES + self.by_value.len() * VALUE_BYTES
    }
}

/// Memory of what one validator said, with its place in a map.
const SAID_BYTES: usize = size_of::<Said>() + 2 * size_of::<u32>();

/// Memory of the tally of one value.
const VALUE_BYTES: usize = size_of::<(Option<BlockId>, Power)>();

fn plus(a: Power, b: Power) -> Power {
    a.checked_add(b).expect("each validator counts once, and the set's total is bounded")
}

/// The two vote sets of a round.
#[derive(Clone, Debug)]
pub struct RoundVotes {
    /// Prevotes.
    pub prevotes: VoteSet,
    /// Precommits.
    pub precommits: VoteSet,
}

impl RoundVotes {
    fn new(validators: &ValidatorSet) -> Self {
        Self { prevotes: VoteSet::new(validators), precommits: VoteSet::new(validators) }
    }

    /// The set of one type.
    pub fn of(&self, vote_type: VoteType) -> &VoteSet {
        match vote_type {
            VoteType::Prevote => &self.prevotes,
            VoteType::Precommit => &self.precommits,
        }
    }

    /// Power of the distinct validators that sent any vote of this round: a prevote and a precommit of one count once.
    ///
    /// Cost: O(votes of this round), whatever the number of validators: there may be many far rounds with a vote each.
    fn voters(&self) -> Power {
        let others = self.precommits.said.iter().filter(|(index, _)| !self.prevotes.said.contains_key(index));
        others.fold(self.prevotes.power, |power, (_, said)| plus(power, said.first.power()))
    }

    fn is_empty(&self) -> bool {
        self.prevotes.said.is_empty() && self.precommits.said.is_empty()
    }

    fn has_decision(&self) -> bool {
        self.precommits.quorum().flatten().is_some()
    }
}

/// Rounds below the current one of which every vote is kept.
pub const PAST_ROUNDS_MAX: u32 = 32;

/// Rounds below those that are kept besides, for a quorum: a decision whose block is not here yet, or a polka that a certificate
/// proved.
pub const OLD_ROUNDS_MAX: usize = 4;

/// Rounds that rules name whatever their age: those of `locked`, of `valid`, and the POL rounds of two proposals of this round and
/// of two of the next.
pub const PINNED_ROUNDS_MAX: usize = 6;

/// All votes of one height.
///
/// Bounded (I6): the current round, the next one, [`PAST_ROUNDS_MAX`] before, [`PINNED_ROUNDS_MAX`] that rules name,
/// [`OLD_ROUNDS_MAX`] older ones with a quorum, and of rounds further ahead only the latest of each validator.
#[derive(Clone, Debug)]
pub struct HeightVotes {
    validators: ValidatorSet,
    rounds: BTreeMap<Round, RoundVotes>,
    current: Round,
    pinned: BTreeSet<Round>,
    /// The far round that each validator's votes are kept of.
    far: Vec<Option<Round>>,
    #[cfg(any(test, feature = "mutations"))]
    keeps_all: bool,
}

impl HeightVotes {
    /// No votes yet.
    pub fn new(validators: ValidatorSet) -> Self {
        assert!(validators.len() <= VALIDATORS_MAX, "a validator set is bounded");
        let far = vec![None; validators.len()];
        Self {
            validators,
            rounds: BTreeMap::new(),
            current: Round::ZERO,
            pinned: BTreeSet::new(),
            far,
            #[cfg(any(test, feature = "mutations"))]
            keeps_all: false,
        }
    }

    /// Forgets nothing any more, to prove that a checker notices.
    #[cfg(any(test, feature = "mutations"))]
    pub(crate) fn keep_all(&mut self, keeps_all: bool) {
        self.keeps_all = keeps_all;
    }

    /// Counts a vote of this height, checked against its validators. `proven`: it is part of a quorum for its value that a
    /// certificate shows.
    pub fn add(&mut self, vote: VerifiedVote, proven: bool) -> Added {
        let (round, index) = (vote.vote.round, vote.vote.validator_index);
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
            VoteType::Prevote => votes.prevotes.add(vote, proven),
            VoteType::Precommit => votes.precommits.add(vote, proven),
        }
    }

    /// Keeps of the rounds far ahead only this validator's latest; false if `round` is not later than the one kept.
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

    /// Whether a round is too far back to be kept for itself.
    fn is_old(&self, round: Round) -> bool {
        round.0 < self.oldest().0 && !self.pinned.contains(&round)
    }

    /// The first round of which every vote is kept.
    pub fn oldest(&self) -> Round {
        Round(self.current.0.saturating_sub(PAST_ROUNDS_MAX))
    }

    fn old_rounds(&self) -> impl Iterator<Item = (Round, &RoundVotes)> {
        self.rounds
            .range(..self.oldest())
            .map(|(round, votes)| (*round, votes))
            .filter(|(round, _)| self.is_old(*round))
    }

    /// Makes room for an old round with a quorum. The lowest other one without a decision gives way; an earlier polka does not
    /// push out a later one.
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

    /// Keeps the votes of these rounds whatever their age; asserts that there are few.
    pub fn pin(&mut self, rounds: BTreeSet<Round>) {
        assert!(rounds.len() <= PINNED_ROUNDS_MAX, "I6: {} rounds are pinned", rounds.len());
        self.pinned = rounds;
        self.trim();
    }

    /// Moves to `round` and forgets what is too old.
    pub fn enter_round(&mut self, round: Round) {
        self.current = round;
        self.trim();
    }

    /// Of the old rounds those with a quorum stay as long as there is room, decisions before polkas, later ones before earlier ones.
    fn trim(&mut self) {
        #[cfg(any(test, feature = "mutations"))]
        if self.keeps_all {
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
    }

    /// Memory held, in bytes.
    pub fn bytes(&self) -> usize {
        let bytes = |votes: &RoundVotes| size_of::<RoundVotes>() + votes.prevotes.bytes() + votes.precommits.bytes();
        self.rounds.values().map(bytes).sum()
    }

    /// The most that is held for a height of so many validators, in bytes (I6).
    pub fn bytes_max(validators: usize) -> usize {
        let near = PAST_ROUNDS_MAX as usize + 2 + PINNED_ROUNDS_MAX + OLD_ROUNDS_MAX;
        // A validator says two things of each type in a near round, and in one far round.
        let said = 2 * validators * (near + 1);
        (near + validators) * size_of::<RoundVotes>() + said * (SAID_BYTES + 2 * VALUE_BYTES)
    }

    /// The votes of a round, if there are any.
    pub fn round(&self, round: Round) -> Option<&RoundVotes> {
        self.rounds.get(&round)
    }

    /// The rounds with votes, ascending.
    pub fn rounds(&self) -> impl DoubleEndedIterator<Item = (Round, &RoundVotes)> {
        self.rounds.iter().map(|(round, votes)| (*round, votes))
    }

    /// Whether there is a polka for `block_id` in `round`.
    pub fn has_polka(&self, round: Round, block_id: &BlockId) -> bool {
        self.round(round).is_some_and(|votes| votes.prevotes.has_quorum_for(block_id))
    }

    /// The latest round from `from` on and below `below` with a polka for a block, and that block.
    pub fn latest_polka(&self, from: Round, below: Round) -> Option<(Round, BlockId)> {
        let polka = |(round, votes): (&Round, &RoundVotes)| Some((*round, votes.prevotes.quorum()??));
        self.rounds.range(from..below).rev().find_map(polka)
    }

    /// The highest round above `current` in which more than a third of the power voted.
    pub fn honest_round_above(&self, current: Round) -> Option<Round> {
        let total = self.validators.total_power();
        self.rounds
            .range(current.next()..)
            .rev()
            .find(|(_, votes)| votes.voters().is_honest_of(total))
            .map(|(round, _)| *round)
    }

    /// The block that a quorum precommitted, and its round, whatever the round.
    pub fn decision(&self) -> impl Iterator<Item = (Round, BlockId)> {
        self.rounds.iter().filter_map(|(round, votes)| Some((*round, votes.precommits.quorum()??)))
    }
}
