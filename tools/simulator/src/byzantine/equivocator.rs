//! Equivocation: a validator proposes two blocks, or votes for two values, and sends each to half of the peers.
//!
//! A peer is in the one half or the other depending on its index, the height and the round, so the halves differ from
//! round to round. Sometimes one of the two messages goes to all, so that one half receives both.

use std::{collections::BTreeMap, sync::Arc};

use types::{BlockId, Height, PeerMessage, Round};

use super::{
    conduct::Conduct,
    said::{Said, own_proposal, own_vote, set_of, vote_instead},
    twins::{Twin, Twins},
};
use crate::{liar::Liar, random::Random};

/// Maximum number of rounds whose proposals are remembered.
const PROPOSED_MAX: usize = 32;

/// A validator that equivocates in what it proposes, in what it votes, or in both.
#[derive(Debug)]
pub(super) struct Equivocator {
    proposes: bool,
    votes: bool,
    /// The first round of a height in which it equivocates.
    from: Round,
    twins: Twins,
    /// The last block that was proposed in each round, by anybody.
    proposed: BTreeMap<(Height, Round), BlockId>,
}

impl Equivocator {
    pub fn new(proposes: bool, votes: bool, from: Round) -> Self {
        Self { proposes, votes, from, twins: Twins::default(), proposed: BTreeMap::new() }
    }

    fn split(&self, liar: &Liar<'_>, random: &mut Random, said: Said) -> Vec<Said> {
        let round = match &*said.message {
            PeerMessage::Proposal(signed) => signed.proposal.round,
            PeerMessage::Vote(signed) => signed.vote.round,
            PeerMessage::Part { round, .. } => *round,
            _ => return vec![said],
        };
        if round < self.from {
            return vec![said];
        }
        let is_second = |to: &usize| (*to as u64 + liar.height.0 + u64::from(round.0)) % 2 == 1;
        let (second, first): (Vec<usize>, Vec<usize>) = said.to.iter().partition(|to| is_second(to));
        let one = Said { to: if random.chance(150) { said.to.clone() } else { first }, ..said.clone() };
        if let Some(signed) = own_proposal(liar, &said.message) {
            let Some(twin) = self.twins.of(&signed.proposal.block_id) else { return vec![said] };
            liar.tally.add("second block");
            let mut both = vec![one];
            both.extend(twin.said(&second));
            return both;
        }
        if set_of(&said.message).is_some_and(|parts| self.twins.of_parts(parts).is_some()) {
            return vec![one];
        }
        let Some(signed) = own_vote(liar, &said.message).filter(|_| self.votes) else { return vec![said] };
        let vote = &signed.vote;
        let twin = vote.block_id.and_then(|id| self.twins.of(&id)).filter(|_| random.chance(700));
        let other = match vote.block_id {
            Some(_) => twin.map(|twin| twin.id()),
            None => self.proposed.get(&(vote.height, vote.round)).copied(),
        };
        if other == vote.block_id {
            return vec![said];
        }
        liar.tally.add("second vote");
        vec![one, Said::new(&second, PeerMessage::Vote(vote_instead(liar, vote, other)))]
    }
}

impl Conduct for Equivocator {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        if self.proposes {
            let from = self.from;
            let early = |said: &Said| own_proposal(liar, &said.message).is_some_and(|own| own.proposal.round < from);
            if !said.iter().any(early) {
                self.twins.make(liar, &said, |first, block| Some(Twin::later(liar, first, block)));
            }
        }
        said.into_iter().flat_map(|said| self.split(liar, random, said)).collect()
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        if let PeerMessage::Proposal(signed) = &**message {
            let proposal = &signed.proposal;
            self.proposed.insert((proposal.height, proposal.round), proposal.block_id);
            if self.proposed.len() > PROPOSED_MAX {
                self.proposed.pop_first();
            }
        }
    }
}
