//! A flood of votes and proposals of rounds and heights that have not started.

use std::time::Duration;

use types::{PeerMessage, Proposal, Round, Time, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, proposes, random_id, vote_at},
};
use crate::{liar::Liar, random::Random};

/// Minimum interval between two bursts.
const INTERVAL: Duration = Duration::from_millis(50);

/// Distances of the rounds of a burst from the present one.
const AHEAD: [u32; 8] = [3, 4, 5, 10, 99, 101, 1_000_000, 2_000_000_000];

/// Number of the next rounds in which it looks for its turn to propose.
const TURNS: u32 = 12;

/// A validator that follows the protocol and additionally votes nil in rounds far ahead of its own, at this height and the
/// next, and proposes blocks that do not exist in later rounds in which it is the proposer. Its signatures are true.
#[derive(Debug, Default)]
pub(super) struct RoundFlood {
    last: Option<Time>,
}

impl Conduct for RoundFlood {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, mut said: Vec<Said>) -> Vec<Said> {
        if self.last.is_some_and(|last| liar.now >= last && liar.now.since(last) < INTERVAL) {
            return said;
        }
        self.last = Some(liar.now);
        for ahead in AHEAD {
            let round = Round(liar.round.0.saturating_add(ahead).min(i32::MAX as u32));
            let height = if random.chance(200) { liar.height.next() } else { liar.height };
            for vote_type in [VoteType::Prevote, VoteType::Precommit] {
                if let Some(vote) = vote_at(liar, (height, round), vote_type, None) {
                    liar.tally.add("vote of a later round");
                    said.push(Said::new(liar.others, PeerMessage::Vote(vote)));
                }
            }
        }
        let later = (1..=TURNS).map(|ahead| Round(liar.round.0.saturating_add(ahead)));
        if let Some(round) = later.rev().find(|round| proposes(liar, *round)) {
            liar.tally.add("proposal of a later round");
            let (height, timestamp) = (liar.height, liar.now);
            let pol_round = random.chance(500).then_some(Round::ZERO);
            let proposal = Proposal { height, round, pol_round, block_id: random_id(random), timestamp };
            said.push(Said::new(liar.others, PeerMessage::Proposal(proposal.sign(liar.chain_id, liar.key))));
        }
        said
    }
}
