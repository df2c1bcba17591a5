//! The coalition that equivocates: it needs more than a third of the power, and then it breaks agreement.
//!
//! In a round in which one of them proposes, the correct validators are in two halves of about equal power. The one half
//! receives one block, and for it a prevote and a precommit of each member of the coalition; the other half receives the
//! other block, and the votes for it. If each half and the coalition are a quorum together, both blocks are decided. Two
//! quorums that share no correct validator exist only if the coalition has more than a third of the power.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use types::{BlockId, Height, PeerMessage, Round, Time, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, own_proposal, own_vote, set_of, vote_at},
    twins::{Twin, Twins},
};
use crate::{liar::Liar, random::Random};

/// Maximum number of rounds that are remembered.
const ROUNDS_MAX: usize = 32;

/// A member of the coalition.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    twins: Twins,
    /// The blocks that were proposed in each round, ordered by time, so that all members order them equally.
    proposed: BTreeMap<(Height, Round), BTreeSet<(Time, BlockId)>>,
    voted: BTreeSet<(Height, Round)>,
    /// The halves of the validators of a height.
    halves: (Height, [Vec<usize>; 2]),
}

/// Returns the correct validators in two halves of about equal power.
fn halves(liar: &Liar<'_>) -> [Vec<usize>; 2] {
    let mut correct = (liar.powers)();
    correct.retain(|(node, _)| !liar.allies.contains(node));
    correct.sort_by_key(|(node, power)| (std::cmp::Reverse(*power), *node));
    let (mut halves, mut powers) = ([Vec::new(), Vec::new()], [0, 0]);
    for (node, power) in correct {
        let half = usize::from(powers[1] < powers[0]);
        halves[half].push(node);
        powers[half] += power;
    }
    halves
}

impl Splitter {
    fn note(&mut self, message: &PeerMessage) {
        if let PeerMessage::Proposal(signed) = message {
            let proposal = &signed.proposal;
            let round = self.proposed.entry((proposal.height, proposal.round)).or_default();
            round.insert((proposal.timestamp, proposal.block_id));
            if self.proposed.len() > ROUNDS_MAX {
                self.proposed.pop_first();
            }
        }
    }

    fn is_split(&self, height: Height, round: Round) -> bool {
        self.proposed.get(&(height, round)).is_some_and(|blocks| blocks.len() > 1)
    }

    /// Sends the first block to the first half, the second block to the second half, and both to the allies.
    fn split(&self, liar: &Liar<'_>, halves: &[Vec<usize>; 2], said: Said) -> Vec<Said> {
        let with_allies = |half: &[usize]| [half, liar.allies].concat();
        if let Some(signed) = own_proposal(liar, &said.message) {
            let Some(twin) = self.twins.of(&signed.proposal.block_id) else { return vec![said] };
            liar.tally.add("second block");
            let mut both = vec![Said { to: with_allies(&halves[0]), ..said }];
            both.extend(twin.said(&with_allies(&halves[1])));
            return both;
        }
        match &*said.message {
            PeerMessage::Part { .. } => {
                let is_first = set_of(&said.message).is_some_and(|parts| self.twins.of_parts(parts).is_some());
                let first = with_allies(&halves[0]);
                vec![if is_first { said.only(|to| first.contains(to)) } else { said }]
            }
            // What one half voted would reach the other half.
            PeerMessage::Certificate(_) => Vec::new(),
            PeerMessage::Vote(signed) if self.is_split(signed.vote.height, signed.vote.round) => Vec::new(),
            PeerMessage::Vote(_) if own_vote(liar, &said.message).is_none() => Vec::new(),
            _ => vec![said],
        }
    }

    /// Votes for both blocks of each round that has two.
    fn vote(&mut self, liar: &Liar<'_>, halves: &[Vec<usize>; 2]) -> Vec<Said> {
        let mut said = Vec::new();
        for (place, blocks) in self.proposed.iter().filter(|(_, blocks)| blocks.len() > 1) {
            if place.0 != liar.height || !self.voted.insert(*place) {
                continue;
            }
            for ((_, id), half) in blocks.iter().zip(halves) {
                for vote_type in [VoteType::Prevote, VoteType::Precommit] {
                    if let Some(vote) = vote_at(liar, *place, vote_type, Some(*id)) {
                        liar.tally.add("vote for one of two blocks");
                        said.push(Said::new(half, PeerMessage::Vote(vote)));
                    }
                }
            }
        }
        said
    }
}

impl Conduct for Splitter {
    fn twist(&mut self, liar: &Liar<'_>, _random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        if self.halves.0 != liar.height {
            self.halves = (liar.height, halves(liar));
        }
        let halves = self.halves.1.clone();
        self.twins.make(liar, &said, |first, block| Some(Twin::later(liar, first, block)));
        let own = said.iter().filter_map(|said| own_proposal(liar, &said.message));
        let twins = own.filter_map(|own| self.twins.of(&own.proposal.block_id));
        let twins: Vec<PeerMessage> = twins.map(|twin| PeerMessage::Proposal(twin.proposal.clone())).collect();
        twins.iter().for_each(|twin| self.note(twin));
        said.iter().for_each(|said| self.note(&said.message));
        let mut twisted: Vec<Said> = said.into_iter().flat_map(|said| self.split(liar, &halves, said)).collect();
        twisted.extend(self.vote(liar, &halves));
        twisted
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        self.note(message);
    }
}
