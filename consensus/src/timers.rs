//! How long to wait.
//!
//! `timeout(round) = base + delta · round` from the chain's parameters is the upper bound. Below it the wait for a proposal
//! adapts to the delays measured here, as a retransmission timer does: twice the smoothed delay and four deviations,
//! doubled in each round that failed, never below a floor. So a proposer that is down costs little, and a wait that
//! was too short is followed by longer ones. Safety never depends on any of this.
//!
//! A delay is what a round waits for: from its start to the verdict on its block. A proposal is small and comes soon; its block may
//! take long, so once the proposal is here in time the wait for its block goes up to the bound.

use std::{collections::BTreeSet, time::Duration};

use types::{Address, Round, Timeouts};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeoutKind {
    /// The proposal did not come (L57).
    Propose,
    /// The prevotes stay mixed (L61).
    Prevote,
    /// The precommits stay mixed (L65).
    Precommit,
    /// Say again what we said; `round` counts how often.
    Rebroadcast,
}

/// A timer, by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeout {
    /// What for.
    pub kind: TimeoutKind,
    /// In which height.
    pub height: types::Height,
    /// In which round.
    pub round: Round,
}

/// Least wait for a proposal.
pub const PROPOSE_FLOOR: Duration = Duration::from_millis(200);

/// Least wait for a proposal of somebody who missed its last turn.
pub const PROPOSE_FLOOR_MISSED: Duration = Duration::from_millis(50);

/// Proposals measured before the wait adapts.
const SAMPLES_MIN: u32 = 8;

/// Delays from the start of a round to the verdict on its block, smoothed (RFC 6298's estimator, in integers), and who missed its turn.
#[derive(Clone, Debug, Default)]
pub struct Delays {
    smoothed: Duration,
    deviation: Duration,
    samples: u32,
    missed: BTreeSet<Address>,
}

impl Delays {
    /// A proposal of `proposer` came.
    pub fn proposal_came(&mut self, proposer: &Address) {
        self.missed.remove(proposer);
    }

    /// The block of a round was here and checked `delay` after the round started. One sample for each round.
    pub fn block_checked(&mut self, delay: Duration) {
        if self.samples == 0 {
            (self.smoothed, self.deviation) = (delay, delay / 2);
        } else {
            self.deviation = (self.deviation * 3 + self.smoothed.abs_diff(delay)) / 4;
            self.smoothed = (self.smoothed * 7 + delay) / 8;
        }
        self.samples = self.samples.saturating_add(1);
    }

    /// The proposal of `proposer` did not come in time. At most one entry for each validator of the set.
    pub fn proposal_missed(&mut self, proposer: Address) {
        self.missed.insert(proposer);
    }

    /// Forgets who is no validator any more.
    pub fn retain(&mut self, is_validator: impl Fn(&Address) -> bool) {
        self.missed.retain(is_validator);
    }

    /// How long to wait for the proposal of `proposer` in `round`.
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

/// `base + delta · round`, at most an hour.
pub fn bound(base: Duration, delta: Duration, round: Round) -> Duration {
    delta
        .checked_mul(round.0)
        .and_then(|more| base.checked_add(more))
        .unwrap_or(Duration::MAX)
        .min(Duration::from_secs(3600))
}

/// Rounds of a height that may end in nil without a pause: a proposer or two that are down or wrong cost no more than that.
const NIL_ROUNDS_FREE: u32 = 2;

/// The least time that a round takes which ends in nil: none for the first two, then as long as the wait for a proposer that
/// missed its turn, up to the round's precommit timeout.
pub fn nil_round(timeouts: &Timeouts, round: Round) -> Duration {
    if round.0 < NIL_ROUNDS_FREE {
        return Duration::ZERO;
    }
    let most = bound(timeouts.precommit, timeouts.precommit_delta, round).max(PROPOSE_FLOOR_MISSED);
    (PROPOSE_FLOOR_MISSED * (1 << round.0.min(16))).min(most)
}

/// When to say again what we said, the `attempt`-th time: a quarter of the shortest timeout, doubling up to four times it.
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
