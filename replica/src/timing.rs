//! Measures of a decided height.

use std::time::Duration;

use consensus::{Engine, votes::VoteSet};
use types::{BlockId, Power, Round, Time};

/// Durations of the phases of a height, from the times passed to the replica and those in the votes; zero and `None` for a
/// block that block sync delivered.
#[derive(Clone, Copy, Debug, Default)]
pub struct CommitTiming {
    /// Duration from the start of the height to the decision.
    pub decide: Duration,
    /// Number of rounds that failed.
    pub rounds: u32,
    /// Duration from the block's time to the prevote that completed the polka.
    pub quorum_prevote: Option<Duration>,
    /// Duration from the block's time to the last prevote, if all validators prevoted the block.
    pub full_prevote: Option<Duration>,
    /// Duration from the block's time to the precommit that completed the decision.
    pub quorum_precommit: Option<Duration>,
}

impl CommitTiming {
    /// Returns the durations from proposal to decision of a decided height.
    pub(crate) fn of(engine: &Engine, block_id: BlockId, round: Round, proposed: Time, decide: Duration) -> Self {
        let total = engine.validators().total_power();
        let ordered = |votes: Option<&VoteSet>| {
            let votes = votes.into_iter().flat_map(|votes| votes.votes_for(Some(block_id)));
            let mut votes: Vec<(Time, Power)> = votes.map(|vote| (vote.vote.timestamp, vote.power())).collect();
            votes.sort_unstable();
            votes
        };
        let reached = |votes: &[(Time, Power)], enough: &dyn Fn(Power) -> bool| {
            let mut power = Power::ZERO;
            let at = votes.iter().find(|(_, one)| {
                power = Power(power.0 + one.0);
                enough(power)
            });
            at.map(|(at, _)| at.since(proposed))
        };
        let quorum = |power: Power| power.is_quorum_of(total);
        let (prevotes, precommits) = (ordered(engine.prevotes(round)), ordered(engine.precommits(round)));
        Self {
            decide,
            rounds: round.0,
            quorum_prevote: reached(&prevotes, &quorum),
            full_prevote: reached(&prevotes, &|power| power == total),
            quorum_precommit: reached(&precommits, &quorum),
        }
    }
}
