//! The coalition that forgets: with more than a third of the power it breaks agreement without a vote that contradicts another
//! one of its round, if the network is divided.
//!
//! One half decides a block with the votes of the coalition. The other half does not see that, and goes through further
//! rounds. In the first one in which one of them proposes, the coalition votes for that block too, as if it had not
//! precommitted another one before.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use types::{BlockId, BlockResponse, Height, PeerMessage, Round, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, own_proposal, set_of, vote_at},
};
use crate::{liar::Liar, random::Random};

/// Maximum number of rounds that are remembered.
const ROUNDS_MAX: usize = 256;

/// A member of the coalition. In each round it prevotes and precommits the first block that is proposed, or nil when it receives
/// the first prevote for nil, whatever the height is. It sends nothing else but its proposals.
#[derive(Debug, Default)]
pub(super) struct Forgetful {
    /// What it votes in each round.
    votes: BTreeMap<(Height, Round), Option<BlockId>>,
    voted: BTreeSet<(Height, Round)>,
}

impl Forgetful {
    fn note(&mut self, message: &PeerMessage) {
        let (place, value) = match message {
            PeerMessage::Proposal(signed) => {
                ((signed.proposal.height, signed.proposal.round), Some(signed.proposal.block_id))
            }
            PeerMessage::Vote(signed)
                if signed.vote.vote_type == VoteType::Prevote && signed.vote.block_id.is_none() =>
            {
                ((signed.vote.height, signed.vote.round), None)
            }
            _ => return,
        };
        self.votes.entry(place).or_insert(value);
        if self.votes.len() > ROUNDS_MAX {
            self.votes.pop_first();
        }
    }
}

impl Conduct for Forgetful {
    fn twist(&mut self, liar: &Liar<'_>, _random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let own = said.iter().filter_map(|said| own_proposal(liar, &said.message));
        let own: Vec<_> = own.map(|signed| signed.proposal.block_id.parts).collect();
        said.iter()
            .filter(|said| own_proposal(liar, &said.message).is_some())
            .for_each(|said| self.note(&said.message));
        let is_own_block = |said: &Said| {
            own_proposal(liar, &said.message).is_some()
                || set_of(&said.message).is_some_and(|parts| own.contains(&parts))
        };
        let mut twisted: Vec<Said> = said.into_iter().filter(is_own_block).collect();
        for (place, value) in &self.votes {
            if !self.voted.insert(*place) {
                continue;
            }
            for vote_type in [VoteType::Prevote, VoteType::Precommit] {
                if let Some(vote) = vote_at(liar, *place, vote_type, *value) {
                    liar.tally.add("vote without regard to the lock");
                    twisted.push(Said::new(liar.others, PeerMessage::Vote(vote)));
                }
            }
        }
        self.voted.retain(|place| self.votes.contains_key(place));
        twisted
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        self.note(message);
    }

    fn serve(&mut self, _liar: &Liar<'_>, _random: &mut Random, _response: BlockResponse) -> Option<BlockResponse> {
        None
    }
}
