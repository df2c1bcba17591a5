//! Durations of the timeouts.
//!
//! The upper bound of a timeout is `timeout(round) = base + delta · round`, from the chain's parameters. Below this
//! bound the wait for a proposal adapts to the measured delays, as a retransmission timer does: it is twice the sum of
//! the smoothed delay and four deviations, doubled in each failed round, and never below a floor. So a proposer that is
//! down costs little time, and a wait that was too short is followed by longer ones. Safety does not depend on these
//! durations.
//!
//! A delay is the time from the start of a round to the verdict on its block. A proposal is small and arrives early,
//! but its block may need longer. So if a timely proposal has arrived, the wait for its block extends up to the bound.

use std::{collections::BTreeSet, time::Duration};

use types::{Address, Round, Timeouts};

use crate::mutation::{Mutation, mutated};

/// Names the purpose of a timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeoutKind {
    /// The wait for the proposal of a round (L57).
    Propose,
    /// The wait for more prevotes of a round (L61).
    Prevote,
    /// The wait for more precommits of a round (L65).
    Precommit,
    /// The wait until our last messages are sent again; its `round` is the number of the attempt.
    Rebroadcast,
}

/// Identifies a timer by its purpose, height and round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout {
    /// Purpose of the timer.
    pub kind: TimeoutKind,
    /// Height in which the timer is valid.
    pub height: types::Height,
    /// Round in which the timer is valid, or the number of the attempt for [`TimeoutKind::Rebroadcast`].
    pub round: Round,
}

/// Minimum wait for a proposal.
pub const PROPOSE_FLOOR: Duration = Duration::from_millis(200);

/// Minimum wait for a proposal of a validator that missed its last turn.
pub const PROPOSE_FLOOR_MISSED: Duration = Duration::from_millis(50);

/// Number of delays that are measured before the wait adapts.
const SAMPLES_MIN: u32 = 8;

/// Smooths the delays from the start of a round to the verdict on its block (RFC 6298's estimator, in integers), and
/// records which proposers missed their turn.
#[derive(Clone, Debug, Default)]
pub struct Delays {
    smoothed: Duration,
    deviation: Duration,
    samples: u32,
    missed: BTreeSet<Address>,
}

impl Delays {
    /// Records that a proposal of `proposer` has arrived.
    pub fn proposal_came(&mut self, proposer: &Address) {
        self.missed.remove(proposer);
    }

    /// Records that the block of a round was available and checked `delay` after the start of the round. Takes one
    /// sample per round.
    pub fn block_checked(&mut self, delay: Duration) {
        if self.samples == 0 {
            (self.smoothed, self.deviation) = (delay, delay / 2);
        } else {
            self.deviation = (self.deviation * 3 + self.smoothed.abs_diff(delay)) / 4;
            self.smoothed = (self.smoothed * 7 + delay) / 8;
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// Records that the proposal of `proposer` did not arrive in time. There is at most one record per validator of the
    /// set.
    pub fn proposal_missed(&mut self, proposer: Address) {
        self.missed.insert(proposer);
    }

    /// Forgets proposers that are no longer validators.
    pub fn retain(&mut self, is_validator: impl Fn(&Address) -> bool) {
        self.missed.retain(is_validator);
    }

    /// Returns how long to wait for the proposal of `proposer` in `round`.
    pub fn propose(&self, timeouts: &Timeouts, proposer: &Address, round: Round) -> Duration {
        let bound = bound(timeouts.propose, timeouts.propose_delta, round);
        if self.samples < SAMPLES_MIN {
            return bound;
        }
        let floor = if self.missed.contains(proposer) { PROPOSE_FLOOR_MISSED } else { PROPOSE_FLOOR };
        let adapted = (2 * (self.smoothed + 4 * self.deviation)).max(floor);
        adapted.saturating_mul(1 << round.0.min(16)).min(bound)
    }
}

/// Returns `base + delta · round`, at most one hour.
pub fn bound(base: Duration, delta: Duration, round: Round) -> Duration {
    let round = if mutated(Mutation::SameTimers) { Round::ZERO } else { round };
    delta
        .checked_mul(round.0)
        .and_then(|more| base.checked_add(more))
        .unwrap_or(Duration::MAX)
        .min(Duration::from_secs(3600))
}

/// Number of rounds of a height that may end in nil without a pause, so that one or two faulty proposers cause no extra
/// delay.
const NIL_ROUNDS_FREE: u32 = 2;

/// Returns the minimum duration of a round that ends in nil: zero in the first two rounds, then
/// [`PROPOSE_FLOOR_MISSED`] doubled in each round (200 ms in the third), up to the precommit timeout of the round.
pub fn nil_round(timeouts: &Timeouts, round: Round) -> Duration {
    if round.0 < NIL_ROUNDS_FREE {
        return Duration::ZERO;
    }
    let most = bound(timeouts.precommit, timeouts.precommit_delta, round).max(PROPOSE_FLOOR_MISSED);
    (PROPOSE_FLOOR_MISSED * (1 << round.0.min(16))).min(most)
}

/// Returns the delay before our last messages are sent again for the `attempt`-th time: a quarter of the shortest
/// timeout, doubled in each attempt, up to four times the shortest timeout.
pub fn rebroadcast(timeouts: &Timeouts, attempt: Round) -> Duration {
    let shortest = timeouts.propose.min(timeouts.prevote).min(timeouts.precommit);
    (shortest / 4).max(Duration::from_millis(1)) * (1 << attempt.0.min(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHO: Address = Address([1; 20]);

    #[test]
    fn the_bound_grows_by_delta_in_each_round() {
        let t = Timeouts::default();
        let delays = Delays::default();
        for (round, ms) in [(0, 3000), (1, 3500), (10, 8000)] {
            assert_eq!(delays.propose(&t, &WHO, Round(round)), Duration::from_millis(ms));
        }
        assert_eq!(bound(t.propose, t.propose_delta, Round(u32::MAX)), Duration::from_secs(3600));
    }

    #[test]
    fn the_wait_for_a_proposal_adapts_between_floor_and_bound() {
        let t = Timeouts::default();
        let mut delays = Delays::default();
        for _ in 0..100 {
            delays.block_checked(Duration::from_millis(2));
        }
        assert_eq!(delays.propose(&t, &WHO, Round(0)), PROPOSE_FLOOR);
        assert_eq!(delays.propose(&t, &WHO, Round(1)), 2 * PROPOSE_FLOOR, "a failed round doubles it");
        delays.proposal_missed(WHO);
        assert_eq!(delays.propose(&t, &WHO, Round(0)), PROPOSE_FLOOR_MISSED);
        delays.proposal_came(&WHO);
        assert_eq!(delays.propose(&t, &WHO, Round(0)), PROPOSE_FLOOR, "it came back");
        for _ in 0..100 {
            delays.block_checked(Duration::from_secs(60));
        }
        assert_eq!(delays.propose(&t, &WHO, Round(0)), t.propose, "never above the bound");
    }

    #[test]
    fn rounds_that_end_in_nil_back_off_up_to_the_precommit_timeout() {
        let t = Timeouts::default();
        let waits: Vec<u128> = (0..8).map(|round| nil_round(&t, Round(round)).as_millis()).collect();
        assert_eq!(waits, [0, 0, 200, 400, 800, 1600, 3200, 4500]);
        let least = Timeouts { precommit: Duration::from_millis(1), precommit_delta: Duration::ZERO, ..t };
        assert_eq!(nil_round(&least, Round(90)), PROPOSE_FLOOR_MISSED, "however short the chain's timeouts are");
    }

    #[test]
    fn rebroadcasting_backs_off() {
        let t = Timeouts::default();
        let waits: Vec<u128> = (0..7).map(|n| rebroadcast(&t, Round(n)).as_millis()).collect();
        assert_eq!(waits, [250, 500, 1000, 2000, 4000, 4000, 4000]);
    }
}
