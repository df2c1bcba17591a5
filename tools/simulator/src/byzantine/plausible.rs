//! Plausible lies: round states and answers about blocks that a correct node in another situation could send.
//!
//! The node keeps to one lie for [`LIE_HEIGHTS`] heights, so that a peer has no contradiction to notice. It moves with the
//! chain, and signs what the protocol says.
//!
//! | lie | its round states, and its answers to requests for blocks |
//! |---|---|
//! | ahead | at a height that is 1 to 3 ahead; it claims to serve it |
//! | later round | one round ahead, without any vote of it |
//! | earlier round | in round 0, with the votes of that round only |
//! | holds all | it has the proposal, all parts of its block and all votes |
//! | holds nothing | it has no proposal, no part and no vote |
//! | all votes | it has all votes, and lacks the proposal |
//! | all parts | it has the proposal and all parts, and lacks all votes |
//! | serves all | the earliest height that it serves is 1, and it serves no block |
//! | serves nothing | the earliest height that it serves is its own |

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use types::{BitSet, BlockId, BlockResponse, Height, PeerMessage, Round, RoundState, RoundVotes, Time};

use super::{conduct::Conduct, said::Said};
use crate::{liar::Liar, random::Random};

/// Number of heights for which it keeps to one lie.
const LIE_HEIGHTS: u64 = 4;

/// Interval at which it repeats its round state to all.
const INTERVAL: Duration = Duration::from_millis(100);

/// Maximum number of remembered proposals.
const PROPOSED_MAX: usize = 16;

/// The lies, by name.
pub(super) const LIES: [&str; 9] = [
    "ahead",
    "later round",
    "earlier round",
    "holds all",
    "holds nothing",
    "all votes",
    "all parts",
    "serves all",
    "serves nothing",
];

/// A node whose unsigned claims are false.
#[derive(Debug, Default)]
pub(super) struct Plausible {
    /// Number of the first lie, drawn once.
    first: Option<u64>,
    last: Option<RoundState>,
    spoke: Option<Time>,
    proposed: BTreeMap<(Height, Round), BlockId>,
}

fn all(bits: &mut BitSet) {
    (0..bits.len()).for_each(|index| bits.set(index));
}

fn none(votes: &RoundVotes) -> RoundVotes {
    let none = |bits: &BitSet| BitSet::new(bits.len());
    RoundVotes { round: votes.round, prevotes: none(&votes.prevotes), precommits: none(&votes.precommits) }
}

impl Plausible {
    fn lie(&self, height: Height) -> &'static str {
        LIES[((self.first.unwrap_or(0) + height.0 / LIE_HEIGHTS) % LIES.len() as u64) as usize]
    }

    /// Claims to have the proposal of the round and all parts of its block.
    fn has_block(&self, state: &mut RoundState) {
        let id = self.proposed.get(&(state.height, state.round));
        if let Some(parts) = id.map(|id| id.parts).or(state.parts_header) {
            state.has_proposal = true;
            state.parts_header = Some(parts);
            state.parts = BitSet::new(parts.total);
            all(&mut state.parts);
        }
    }

    fn has_votes(state: &mut RoundState, has_all: bool) {
        for votes in [Some(&mut state.current), state.previous.as_mut()].into_iter().flatten() {
            *votes = none(votes);
            if has_all {
                all(&mut votes.prevotes);
                all(&mut votes.precommits);
            }
        }
    }

    fn has_nothing(state: &mut RoundState) {
        (state.has_proposal, state.parts_header, state.parts) = (false, None, BitSet::default());
    }

    fn lied(&self, liar: &Liar<'_>, mut state: RoundState) -> RoundState {
        let (lie, validators) = (self.lie(liar.height), liar.validators.len() as u32);
        liar.tally.add(lie);
        match lie {
            "ahead" => {
                let height = Height(state.height.0 + 1 + liar.index as u64 % 3);
                RoundState::empty(height, Round::ZERO, validators, state.earliest_height)
            }
            "later round" => {
                let round = Round(state.round.0.saturating_add(1));
                let previous = Some(state.current);
                RoundState { previous, ..RoundState::empty(state.height, round, validators, state.earliest_height) }
            }
            "earlier round" => {
                let current = if state.round == Round::ZERO { none(&state.current) } else { state.current };
                let current = RoundVotes { round: Round::ZERO, ..current };
                RoundState { round: Round::ZERO, current, previous: None, ..state }
            }
            "holds all" => {
                self.has_block(&mut state);
                Self::has_votes(&mut state, true);
                state
            }
            "holds nothing" => {
                Self::has_nothing(&mut state);
                Self::has_votes(&mut state, false);
                state
            }
            "all votes" => {
                Self::has_nothing(&mut state);
                Self::has_votes(&mut state, true);
                state
            }
            "all parts" => {
                self.has_block(&mut state);
                Self::has_votes(&mut state, false);
                state
            }
            "serves all" => RoundState { earliest_height: Height(1), ..state },
            _ => RoundState { earliest_height: state.height, ..state },
        }
    }
}

impl Conduct for Plausible {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        self.first.get_or_insert_with(|| random.below(LIES.len() as u64));
        let mut twisted: Vec<Said> = Vec::with_capacity(said.len() + 1);
        for said in said {
            let PeerMessage::RoundState(state) = &*said.message else {
                twisted.push(said);
                continue;
            };
            self.last = Some(state.clone());
            twisted.push(Said::new(&said.to, PeerMessage::RoundState(self.lied(liar, state.clone()))));
        }
        let is_due = self.spoke.is_none_or(|spoke| liar.now < spoke || liar.now.since(spoke) >= INTERVAL);
        if let Some(state) = self.last.clone().filter(|state| is_due && state.height == liar.height) {
            self.spoke = Some(liar.now);
            twisted.push(Said::new(liar.others, PeerMessage::RoundState(self.lied(liar, state))));
        }
        twisted
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        if let PeerMessage::Proposal(signed) = &**message {
            self.proposed.insert((signed.proposal.height, signed.proposal.round), signed.proposal.block_id);
            if self.proposed.len() > PROPOSED_MAX {
                self.proposed.pop_first();
            }
        }
    }

    fn serve(&mut self, liar: &Liar<'_>, _random: &mut Random, mut response: BlockResponse) -> Option<BlockResponse> {
        match self.lie(liar.height) {
            "ahead" => response.latest = Height(response.latest.0 + 1 + liar.index as u64 % 3),
            "serves all" => {
                response.earliest = Height(1);
                response.blocks.clear();
            }
            "serves nothing" => {
                response.earliest = response.latest.next();
                response.blocks.clear();
            }
            _ => return Some(response),
        }
        liar.tally.add("false answer to a request for blocks");
        Some(response)
    }
}
