//! Claims that nothing follows from: of far heights, and of ever new rounds in which everything is missing.

use std::time::Duration;

use types::{BlockResponse, Height, PeerMessage, Round, RoundState, Time};

use super::{conduct::Conduct, said::Said};
use crate::{liar::Liar, random::Random};

/// Minimum interval between two sends, so that the node is active but does not fill the world's queue.
const INTERVAL: Duration = Duration::from_millis(20);

/// A node that sends nothing but false round states, and serves no block.
#[derive(Debug, Default)]
pub(super) struct Claimant {
    last: Option<Time>,
    claims: u32,
}

impl Conduct for Claimant {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, _said: Vec<Said>) -> Vec<Said> {
        if self.last.is_some_and(|last| liar.now >= last && liar.now.since(last) < INTERVAL) {
            return Vec::new();
        }
        self.last = Some(liar.now);
        self.claims += 1;
        liar.tally.add("false round state");
        vec![Said::new(liar.others, PeerMessage::RoundState(claim(liar, random, self.claims)))]
    }

    fn serve(&mut self, liar: &Liar<'_>, _random: &mut Random, _response: BlockResponse) -> Option<BlockResponse> {
        liar.tally.add("withheld blocks");
        None
    }
}

/// Returns a false round state: far ahead with nothing to serve, one or two heights ahead, or at the current height in
/// a new or an existing round, without any vote or with all votes.
fn claim(liar: &Liar<'_>, random: &mut Random, claims: u32) -> RoundState {
    let ahead = random.pick(&[0, 0, 1, 2, 1_000_000]);
    let height = Height(liar.height.0 + ahead);
    let round = Round(if ahead == 0 { random.pick(&[claims, claims, 0, 1]) } else { 0 });
    let earliest = if random.chance(500) { height } else { Height(1) };
    let mut state = RoundState::empty(height, round, liar.validators.len() as u32, earliest);
    if random.chance(500) {
        let held = [&mut state.current.prevotes, &mut state.current.precommits];
        held.into_iter().for_each(|votes| (0..votes.len()).for_each(|index| votes.set(index)));
    }
    state
}
