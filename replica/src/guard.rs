//! Decides whether this validator may sign. A validator whose data was restored from an older copy must not sign again
//! at heights that its data does not contain.
//!
//! The newest messages that a key signed are recorded in two places: the store's hard state, and the signing state
//! beside it (a file, see [`crate::SigningRecord`]). A crash leaves the two equal, or the file one message behind,
//! which was never sent. So where they agree at the start, the node knows all that it signed, and signs immediately: a
//! network that restarts as a whole continues immediately.
//!
//! - **G1** The file is ahead, so the database is older; or there is a chain but no signing state. Then nothing is
//!   signed until a block is decided here that was begun after this process, so that no earlier process can have signed
//!   at the next height. If there were no blocks to catch up with, it is enough that votes of more than 1/3 of the
//!   power (without ours) have arrived for the height being decided, and that peers had [`ASKING_INTERVALS`] gossip
//!   intervals to send what we lack. Without a file, only votes signed after our start count, because our own store and
//!   peers that are equally old hold older ones; and if more than 1/3 of the power is in a later round than the hard
//!   state, our earlier process may have been there too, and we abstain at this height.
//! - **G2** After catching up, nothing is signed at the first height that is decided live, even where file and store
//!   agree: an equally old copy of both looks the same. If there is a file, and the height stays undecided for
//!   [`STUCK_INTERVALS`] gossip intervals with votes of more than 1/3 of the power, our vote is probably the missing
//!   one, and the file allows it.
//! - **G3** While we abstain, a vote of ours that the hard state lacks ends all signing at its height.
//! - **G4** While we sign, such a vote stops the node: another process signs with our key.
//! - **G5** Heights up to that of a signing state that is ahead are never signed at, because it is unknown what was
//!   locked there.
//!
//! A height at which G1 or G3 abstains is sealed in the file, so that after a restart the node abstains there without a
//! new decision, and may sign above it. Only signed messages count; claims of peers about what they hold or decided
//! have no effect here. A validator that is a quorum alone at the start needs no votes of others, and one that has become
//! a quorum while it caught up only waits as G1 and G2 say.

use std::{collections::BTreeSet, time::Duration};

use consensus::Engine;
use types::{Address, HardState, Height, Power, Round, SignState, SignedVote, Time, ValidatorSet, VoteType};

use crate::{
    Silence,
    mutation::{Mutation, mutated},
};

/// Number of gossip intervals in which peers send us the votes that we lack, ours among them, before the received votes
/// are enough (G1).
const ASKING_INTERVALS: u32 = 2;

/// Number of gossip intervals after which a height at which we abstain as a precaution counts as waiting for us (G2).
const STUCK_INTERVALS: u32 = 10;

/// Reason why nothing is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Closed {
    /// There is a chain but no signing state.
    NoSigningState,
    /// The signing state is ahead of the hard state.
    DatabaseOlder,
    /// The two agree, but others decided heights that we know nothing of.
    CaughtUp,
}

/// Power of the other validators whose votes of the height being decided have arrived.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Words {
    /// Power with votes of any round, signed since the requested time.
    pub here: Power,
    /// Power with votes of rounds later than the one in our hard state.
    pub ahead: Power,
    /// True if our power is a quorum, so that the others have too little for these votes to be enough.
    pub is_alone: bool,
}

impl Words {
    /// Returns true if at least one correct validator is at this height, or none has to be.
    fn are_enough_of(self, total: Power) -> bool {
        self.is_alone || self.here.is_honest_of(total)
    }
}

/// State of the decision whether we may sign.
#[derive(Clone, Debug)]
pub(crate) struct Guard {
    closed: Option<Closed>,
    /// True if, since the start, others decided heights that we know nothing of.
    caught_up: bool,
    /// True once a height that began after this process was decided here: no earlier process can have signed at a later
    /// one.
    settled: bool,
    /// Height at which nothing is signed, whatever votes arrive.
    never_at: Option<Height>,
    /// The last height and round that our own state knows.
    known: (Height, Round),
    /// Time at which this process started, by a clock that may have been ahead then.
    started: Time,
    /// Time at which the height being decided started here.
    live_since: Time,
}

impl Guard {
    /// Creates a guard from the signing state `file` and the store's hard state. `has_blocks`: the store is beyond
    /// genesis.
    pub fn new(file: &SignState, hard_state: Option<&HardState>, stored: &SignState, has_blocks: bool) -> Self {
        let closed = match () {
            () if file.height == Height::GENESIS && has_blocks => Some(Closed::NoSigningState),
            () if !file.is_sealed() && file.hrs() > stored.hrs() => Some(Closed::DatabaseOlder),
            () => None,
        };
        let of_store = hard_state.map(|hard_state| (hard_state.height, hard_state.round)).unwrap_or_default();
        Self {
            closed,
            caught_up: false,
            settled: false,
            never_at: None,
            known: of_store.max((file.height, file.round)),
            started: Time::UNIX_EPOCH,
            live_since: Time::UNIX_EPOCH,
        }
    }

    /// Notes the start of the process. A node without a key, or that is a quorum alone, needs no votes of others.
    pub fn on_start(&mut self, own: Option<Address>, validators: &ValidatorSet, now: Time) {
        self.started = now;
        let power =
            own.and_then(|own| validators.by_address(&own)).map_or(Power::ZERO, |(_, validator)| validator.power);
        if own.is_none() || power.is_quorum_of(validators.total_power()) {
            (self.settled, self.closed) = (true, None);
        }
    }

    /// Corrects the start time if the clock was ahead at the start and was set back.
    pub fn on_time(&mut self, now: Time) {
        self.started = self.started.min(now);
    }

    /// Returns true if we may sign at the height being decided.
    pub fn signs(&self) -> bool {
        self.closed.is_none() || mutated(Mutation::SignAtOnce)
    }

    /// Returns true if no later input can stop signing again.
    pub fn is_settled(&self) -> bool {
        self.settled
    }

    /// Returns true if file and store disagree.
    fn doubts(&self) -> bool {
        matches!(self.closed, Some(Closed::NoSigningState | Closed::DatabaseOlder))
    }

    /// Returns true if there is no record of what we signed.
    fn is_blind(&self) -> bool {
        self.closed == Some(Closed::NoSigningState)
    }

    /// Notes the start of a height.
    pub fn on_height(&mut self, now: Time) {
        self.live_since = now;
    }

    /// Notes a committed block whose header has `time`. `synced`: block sync delivered it. `is_signed`: we voted at its
    /// height in this process or, according to the hard state, before. `slack`: maximum difference of clocks, used in
    /// case of doubt.
    pub fn on_committed(&mut self, height: Height, time: Time, synced: bool, is_signed: bool, slack: Duration) {
        if self.settled {
            return;
        }
        let slack = if self.doubts() { slack } else { Duration::ZERO };
        if !synced && time > self.started.saturating_add(slack) {
            (self.settled, self.closed) = (true, None);
        } else if self.doubts() || height > self.known.0 && !is_signed {
            self.caught_up = true;
            self.closed.get_or_insert(Closed::CaughtUp);
        }
    }

    /// Handles a vote of ours for `height` that we do not know. Returns true if the node must stop (G4).
    pub fn on_unknown_vote(&mut self, height: Height) -> bool {
        if self.signs() {
            return true;
        }
        self.never_at = Some(height);
        false
    }

    /// Returns true if `height` must be sealed: an earlier process may have signed at it, and this node must abstain
    /// there after a restart too.
    pub fn must_seal(&self, height: Height) -> bool {
        !self.signs() && (self.never_at == Some(height) || self.is_blind() && self.caught_up)
    }

    /// Returns the round up to which our own state knows what was signed at `height`.
    pub fn known_round(&self, height: Height) -> Round {
        if self.known.0 == height { self.known.1 } else { Round::ZERO }
    }

    /// Evaluates the votes of a height that has started. Returns true if we sign from now on.
    pub fn look(&mut self, height: Height, now: Time, interval: Duration, words: Words, total: Power) -> bool {
        if self.signs() || self.never_at == Some(height) {
            return false;
        }
        let waited = now.since(self.live_since);
        let may_open = match self.caught_up {
            true => !self.is_blind() && waited >= interval * STUCK_INTERVALS,
            false if self.is_blind() && words.ahead.is_honest_of(total) => {
                self.never_at = Some(height);
                false
            }
            false => waited >= interval * ASKING_INTERVALS,
        };
        let opens = may_open && words.are_enough_of(total);
        if opens {
            (self.closed, self.caught_up) = (None, false);
        }
        opens
    }

    /// Returns the time from which a vote counts as evidence that its validator is at its height now.
    pub fn words_count_from(&self) -> Time {
        if self.is_blind() { self.started } else { Time::UNIX_EPOCH }
    }

    /// Returns the reason why nothing is signed at `height`, for the operator.
    pub fn silence(&self, height: Height, words: Words, total: Power) -> Option<Silence> {
        let why = self.closed?;
        let heard = words.here;
        Some(match why {
            _ if self.never_at == Some(height) => Silence::MayHaveSigned { height },
            Closed::NoSigningState => Silence::NoSigningState { heard, total },
            Closed::DatabaseOlder => Silence::DatabaseOlder { heard, total },
            Closed::CaughtUp => Silence::CaughtUp,
        })
    }
}

/// Returns the power of the other validators with votes at the engine's height: since `from`, and in rounds later than
/// `known`.
pub(crate) fn words(engine: &Engine, from: Time, known: Round) -> Words {
    let (mut here, mut ahead) = (BTreeSet::new(), BTreeSet::new());
    for (round, votes) in engine.votes().rounds() {
        for vote in [VoteType::Prevote, VoteType::Precommit].into_iter().flat_map(|of| votes.of(of).votes()) {
            if vote.vote.timestamp >= from {
                here.insert(vote.vote.validator_index);
            }
            if round > known {
                ahead.insert(vote.vote.validator_index);
            }
        }
    }
    let power = |of: BTreeSet<u32>| {
        let others = of.into_iter().filter(|index| engine.own_index() != Some(*index));
        Power(others.filter_map(|index| engine.validators().get(index)).map(|validator| validator.power.0).sum())
    };
    let own = engine.own_index().and_then(|index| engine.validators().get(index));
    let is_alone = own.is_some_and(|own| own.power.is_quorum_of(engine.validators().total_power()));
    Words { here: power(here), ahead: power(ahead), is_alone }
}

/// Returns true if we made this vote, as far as the hard state goes back.
pub(crate) fn is_known(vote: &SignedVote, hard_state: &HardState) -> bool {
    if hard_state.height != vote.vote.height {
        return false;
    }
    // Votes that we signed in much earlier rounds are not kept.
    let oldest = hard_state.votes.iter().map(|ours| ours.vote.round).min();
    oldest.is_some_and(|oldest| vote.vote.round < oldest) || hard_state.votes.contains(vote)
}

#[cfg(test)]
mod tests {
    use types::{ChainId, SecretKey, Vote};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn key(seed: u8) -> SecretKey {
        SecretKey::from_bytes(&[seed; 32]).unwrap()
    }

    fn set(powers: &[u64]) -> ValidatorSet {
        let members = powers.iter().zip(1..).map(|(power, seed)| (key(seed).public_key(), Power(*power)));
        ValidatorSet::new(members.collect()).unwrap()
    }

    fn own(seed: u8) -> Option<Address> {
        Some(key(seed).public_key().address())
    }

    fn now(ms: u64) -> Time {
        Time::from_unix_millis(1_000_000 + ms)
    }

    fn state_at(height: u64, round: u32, step: u8) -> SignState {
        SignState { height: Height(height), round: Round(round), step, signed: None }
    }

    /// Returns a guard of a chain beyond genesis, started at 0, with these signing states of file and store.
    fn guard(file: &SignState, stored: &SignState) -> Guard {
        let hard_state = HardState { height: stored.height, round: stored.round, ..HardState::default() };
        let mut guard = Guard::new(file, Some(&hard_state), stored, true);
        guard.on_start(own(1), &set(&[10, 10, 10, 10]), now(0));
        guard.on_height(now(0));
        guard
    }

    fn look(guard: &mut Guard, ms: u64, here: u64, ahead: u64) -> bool {
        guard.look(
            Height(8),
            now(ms),
            SECOND,
            Words { here: Power(here), ahead: Power(ahead), is_alone: false },
            Power(40),
        )
    }

    #[test]
    fn a_node_whose_state_file_and_store_agree_signs_at_once() {
        assert!(guard(&state_at(7, 0, 3), &state_at(7, 0, 3)).signs());
        assert!(guard(&state_at(7, 0, 2), &state_at(7, 0, 3)).signs(), "a crash came between the two");
        assert!(
            guard(&SignState::sealed(Height(7)), &state_at(3, 0, 3)).signs(),
            "the height above which it may sign is known"
        );
        assert!(Guard::new(&SignState::default(), None, &SignState::default(), false).signs(), "a new chain");
    }

    #[test]
    fn with_an_older_database_or_no_signing_state_the_node_waits_for_voting_power() {
        for file in [state_at(7, 1, 2), SignState::default()] {
            let mut guard = guard(&file, &state_at(7, 0, 3));
            assert!(!guard.signs());
            assert!(!look(&mut guard, 60_000, 0, 0), "no validator votes");
            assert!(!look(&mut guard, 60_000, 10, 0), "a quarter of the power is not enough");
            assert!(!look(&mut guard, 1_999, 20, 0), "peers have not had the time to send what we lack");
            assert!(look(&mut guard, 2_000, 20, 0) && guard.signs());
        }
    }

    #[test]
    fn a_height_where_peers_are_in_later_rounds_is_not_signed() {
        let mut guard = guard(&SignState::default(), &state_at(8, 1, 2));
        assert_eq!((guard.known_round(Height(8)), guard.known_round(Height(9))), (Round(1), Round(0)));
        assert!(!look(&mut guard, 9_000, 30, 20));
        assert!(guard.must_seal(Height(8)) && !guard.must_seal(Height(9)));
        assert!(!look(&mut guard, 9_000, 30, 0), "it stays so");
    }

    #[test]
    fn doubt_ends_with_a_block_whose_height_started_after_the_node() {
        let mut guard = guard(&SignState::default(), &state_at(7, 0, 3));
        guard.on_committed(Height(8), now(0), true, false, SECOND);
        guard.on_committed(Height(9), now(999), false, false, SECOND);
        assert!(!guard.signs() && guard.must_seal(Height(10)));
        assert!(!look(&mut guard, 90_000, 30, 0), "after catching up, the first live height is left out");
        guard.on_committed(Height(10), now(1_500), true, false, SECOND);
        assert!(!guard.signs(), "others sent it");
        guard.on_committed(Height(11), now(1_500), false, false, SECOND);
        assert!(guard.signs() && guard.is_settled());
    }

    #[test]
    fn heights_that_this_node_signed_are_not_caught_up() {
        let mut guard = guard(&state_at(9, 0, 3), &state_at(9, 0, 3));
        guard.on_committed(Height(9), now(0), true, false, SECOND);
        guard.on_committed(Height(10), now(0), false, true, SECOND);
        assert!(guard.signs());
        guard.on_committed(Height(11), now(0), true, false, SECOND);
        assert!(!guard.signs() && !guard.must_seal(Height(12)), "the files agree: only the next height is left out");
        assert!(!look(&mut guard, 9_999, 20, 20), "unless it waits for us");
        assert!(!look(&mut guard, 10_000, 10, 0), "and more than a third of the power is there");
        assert!(look(&mut guard, 10_000, 20, 20));
    }

    #[test]
    fn a_clock_that_was_ahead_at_the_start_does_not_silence_for_ever() {
        let mut guard = guard(&SignState::default(), &state_at(7, 0, 3));
        guard.on_start(own(1), &set(&[10, 10, 10, 10]), now(3_600_000));
        guard.on_time(now(10));
        guard.on_committed(Height(8), now(1_011), false, false, SECOND);
        assert!(guard.signs());
    }

    #[test]
    fn with_a_state_file_a_height_that_needs_this_node_is_signed_after_a_wait() {
        let mut guard = guard(&state_at(7, 1, 2), &state_at(5, 0, 3));
        guard.on_committed(Height(7), now(0), true, false, SECOND);
        assert!(!guard.must_seal(Height(8)) && !look(&mut guard, 9_999, 20, 20));
        assert!(look(&mut guard, 10_000, 20, 20));
    }

    #[test]
    fn a_quorum_of_one_or_a_full_node_does_not_wait() {
        for (own, powers) in [(own(1), &[10][..]), (own(1), &[100, 10, 10]), (None, &[10, 10])] {
            let mut guard = Guard::new(&SignState::default(), None, &SignState::default(), true);
            guard.on_start(own, &set(powers), now(0));
            assert!(guard.signs());
        }
    }

    #[test]
    fn a_validator_that_became_a_quorum_while_it_caught_up_signs_after_a_wait() {
        let (words, total) = (Words { here: Power(0), ahead: Power(0), is_alone: true }, Power(40));
        let mut caught_up = guard(&state_at(7, 0, 3), &state_at(7, 0, 3));
        caught_up.on_committed(Height(8), now(0), true, false, SECOND);
        assert!(!caught_up.look(Height(9), now(9_999), SECOND, words, total));
        assert!(caught_up.look(Height(9), now(10_000), SECOND, words, total) && caught_up.signs());
        let mut blind = guard(&SignState::default(), &state_at(7, 0, 3));
        blind.on_committed(Height(8), now(0), true, false, SECOND);
        assert!(!blind.look(Height(9), now(90_000), SECOND, words, total), "no file says what its key signed");
    }

    #[test]
    fn an_own_vote_missing_here_stops_the_node_or_its_height_is_not_signed() {
        let mut silent = guard(&SignState::default(), &state_at(7, 0, 3));
        assert!(!silent.on_unknown_vote(Height(8)) && silent.must_seal(Height(8)));
        assert!(!look(&mut silent, 90_000, 30, 0));
        assert!(
            guard(&state_at(7, 0, 3), &state_at(7, 0, 3)).on_unknown_vote(Height(8)),
            "a node that signs must stop"
        );
    }

    #[test]
    fn an_own_vote_that_is_known_changes_nothing() {
        let chain = ChainId::new("cairn-test").unwrap();
        let vote = |round, ms| {
            Vote {
                vote_type: VoteType::Prevote,
                height: Height(5),
                round: Round(round),
                block_id: None,
                timestamp: now(ms),
                validator: own(1).unwrap(),
                validator_index: 2,
            }
            .sign(&chain, &key(1))
        };
        let hard_state = HardState { height: Height(5), votes: vec![vote(3, 1)], ..HardState::default() };
        assert!(is_known(&vote(3, 1), &hard_state) && is_known(&vote(2, 1), &hard_state));
        assert!(!is_known(&vote(3, 2), &hard_state), "another process, at another time");
        assert!(!is_known(&vote(4, 1), &hard_state));
    }
}
