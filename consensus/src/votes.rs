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
#[derive(Clone, Debug, Default)]
struct Said {
    first: Option<VerifiedVote>,
    second: Option<VerifiedVote>,
}

/// Votes of one round and type.
///
/// Each validator counts once towards any threshold over all values, and once for each value it voted for (at most two): an
/// equivocator's votes for both are kept, else a quorum that others saw would never be seen here.
#[derive(Clone, Debug)]
pub struct VoteSet {
    said: Vec<Said>,
    by_value: BTreeMap<Option<BlockId>, Power>,
    power: Power,
    total: Power,
}

impl VoteSet {
    /// No votes yet.
    pub fn new(validators: &ValidatorSet) -> Self {
        Self {
            said: vec![Said::default(); validators.len()],
            by_value: BTreeMap::new(),
            power: Power::ZERO,
            total: validators.total_power(),
        }
    }

    /// Counts a vote. One that comes in a certificate takes the place of an equivocator's second vote if there is no other room.
    fn add(&mut self, vote: VerifiedVote, certified: bool) -> Added {
        let value = vote.vote.block_id;
        let power = vote.power();
        let Some(said) = self.said.get_mut(vote.vote.validator_index as usize) else { return Added::OutOfBounds };
        let Some(first) = &said.first else {
            said.first = Some(vote);
            self.power = plus(self.power, power);
            self.count(value, power);
            return Added::New;
        };
        if first.vote.block_id == value || said.second.as_ref().is_some_and(|second| second.vote.block_id == value) {
            return Added::Duplicate;
        }
        let first = Box::new((**first).clone());
        let report = said.second.is_none();
        if report || certified {
            let dropped = said.second.replace(vote);
            if let Some(dropped) = dropped {
                let tally = self.by_value.get_mut(&dropped.vote.block_id).expect("a counted value has a tally");
                *tally = Power(tally.0 - power.0);
            }
            self.count(value, power);
        }
        Added::Conflicting { first, report }
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

    /// Every vote held, by ascending validator index.
    pub fn votes(&self) -> impl Iterator<Item = &VerifiedVote> {
        self.said.iter().flat_map(|said| said.first.iter().chain(&said.second))
    }

    /// One vote of each validator that voted.
    pub fn first_votes(&self) -> impl Iterator<Item = &VerifiedVote> {
        self.said.iter().filter_map(|said| said.first.as_ref())
    }

    /// The votes for `value`, one of each validator.
    pub fn votes_for(&self, value: Option<BlockId>) -> impl Iterator<Item = &VerifiedVote> {
        self.votes().filter(move |vote| vote.vote.block_id == value)
    }

    /// Which validators voted.
    pub fn held(&self) -> BitSet {
        let mut bits = BitSet::new(self.said.len() as u32);
        self.first_votes().for_each(|vote| bits.set(vote.vote.validator_index));
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

    fn forget(&mut self, index: usize) {
        let Some(said) = self.said.get_mut(index).map(std::mem::take) else { return };
        for (vote, is_first) in
            said.first.iter().map(|vote| (vote, true)).chain(said.second.iter().map(|vote| (vote, false)))
        {
            let tally = self.by_value.get_mut(&vote.vote.block_id).expect("a counted value has a tally");
            *tally = Power(tally.0 - vote.power().0);
            if is_first {
                self.power = Power(self.power.0 - vote.power().0);
            }
        }
        self.by_value.retain(|_, power| *power > Power::ZERO);
    }
}

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
    fn voters(&self, validators: &ValidatorSet) -> Power {
        let voted = |index: usize| [&self.prevotes, &self.precommits].iter().any(|set| set.said[index].first.is_some());
        Power(validators.iter().enumerate().filter(|(index, _)| voted(*index)).map(|(_, v)| v.power.0).sum())
    }

    fn is_empty(&self) -> bool {
        self.prevotes.power == Power::ZERO && self.precommits.power == Power::ZERO
    }
}

/// Rounds below the current one that are kept. What is older can still arrive as a certificate.
pub const PAST_ROUNDS_MAX: u32 = 32;

/// All votes of one height.
///
/// Bounded (I6): the current round, the next one, [`PAST_ROUNDS_MAX`] before, those that are pinned by a lock, and of rounds
/// further ahead only the latest of each validator.
#[derive(Clone, Debug)]
pub struct HeightVotes {
    validators: ValidatorSet,
    rounds: BTreeMap<Round, RoundVotes>,
    current: Round,
    /// The far round that each validator's votes are kept of.
    far: Vec<Option<Round>>,
}

impl HeightVotes {
    /// No votes yet.
    pub fn new(validators: ValidatorSet) -> Self {
        assert!(validators.len() <= VALIDATORS_MAX, "a validator set is bounded");
        let far = vec![None; validators.len()];
        Self { validators, rounds: BTreeMap::new(), current: Round::ZERO, far }
    }

    /// Counts a vote of this height, checked against its validators.
    pub fn add(&mut self, vote: VerifiedVote, certified: bool) -> Added {
        let (round, index) = (vote.vote.round, vote.vote.validator_index as usize);
        if index >= self.far.len() {
            return Added::OutOfBounds;
        }
        if round > self.current.next() && !self.make_room(round, index) {
            return Added::OutOfBounds;
        }
        let votes = self.rounds.entry(round).or_insert_with(|| RoundVotes::new(&self.validators));
        match vote.vote.vote_type {
            VoteType::Prevote => votes.prevotes.add(vote, certified),
            VoteType::Precommit => votes.precommits.add(vote, certified),
        }
    }

    /// Keeps of the rounds far ahead only this validator's latest; false if `round` is not later than the one kept.
    fn make_room(&mut self, round: Round, index: usize) -> bool {
        match self.far[index] {
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
        self.far[index] = Some(round);
        true
    }

    /// Moves to `round` and forgets what is too old, except the rounds in `pinned`.
    pub fn enter_round(&mut self, round: Round, pinned: &BTreeSet<Round>) {
        self.current = round;
        let oldest = Round(round.0.saturating_sub(PAST_ROUNDS_MAX));
        self.rounds.retain(|round, _| *round >= oldest || pinned.contains(round));
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
            .find(|(_, votes)| votes.voters(&self.validators).is_honest_of(total))
            .map(|(round, _)| *round)
    }

    /// The block that a quorum precommitted, and its round, whatever the round.
    pub fn decision(&self) -> impl Iterator<Item = (Round, BlockId)> {
        self.rounds.iter().filter_map(|(round, votes)| Some((*round, votes.precommits.quorum()??)))
    }
}
