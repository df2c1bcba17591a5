//! Amnesia: a validator forgets its lock, as if it had lost its hard state.

use std::{collections::BTreeMap, sync::Arc};

use types::{BlockId, Height, PeerMessage, Proposal, Round, Vote, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, is_own, own_proposal, own_vote, vote_instead, without},
};
use crate::{liar::Liar, random::Random};

/// A validator that prevotes and precommits the first block that is proposed in a round, whatever it is locked on, whether
/// it is valid and whether it has a polka. It proposes its valid block as a new one. It votes once in each round and step,
/// so no evidence proves what it does.
#[derive(Debug, Default)]
pub(super) struct Amnesiac {
    /// The first block that was proposed in each round.
    proposed: BTreeMap<(Height, Round), BlockId>,
    /// What it voted.
    voted: BTreeMap<(Height, Round, VoteKind), Option<BlockId>>,
}

type VoteKind = u8;

fn place(vote: &Vote) -> (Height, Round, VoteKind) {
    vote.hrs()
}

impl Amnesiac {
    fn note(&mut self, proposal: &Proposal) {
        self.proposed.entry((proposal.height, proposal.round)).or_insert(proposal.block_id);
    }

    /// Forgets all but the current height and the one before.
    fn forget(&mut self, height: Height) {
        let oldest = height.prev().unwrap_or_default();
        self.proposed.retain(|(height, _), _| *height >= oldest);
        self.voted.retain(|(height, ..), _| *height >= oldest);
    }

    fn change(&mut self, liar: &Liar<'_>, said: Said) -> Option<Said> {
        if let Some(signed) = own_vote(liar, &said.message) {
            let vote = &signed.vote;
            let wanted = self.proposed.get(&(vote.height, vote.round)).copied().or(vote.block_id);
            let value = *self.voted.entry(place(vote)).or_insert(wanted);
            if value == vote.block_id {
                return Some(said);
            }
            liar.tally.add(match vote.vote_type {
                VoteType::Prevote => "prevote without regard to the lock",
                VoteType::Precommit => "precommit without a polka",
            });
            return Some(Said::new(&said.to, PeerMessage::Vote(vote_instead(liar, vote, value))));
        }
        if let Some(signed) = own_proposal(liar, &said.message)
            && signed.proposal.pol_round.is_some()
        {
            liar.tally.add("valid block as a new one");
            let proposal = Proposal { pol_round: None, ..signed.proposal.clone() };
            return Some(Said::new(&said.to, PeerMessage::Proposal(proposal.sign(liar.chain_id, liar.key))));
        }
        if let PeerMessage::Certificate(certificate) = &*said.message {
            let differs = |vote: &types::SignedVote| {
                is_own(liar, vote)
                    && self.voted.get(&place(&vote.vote)).is_some_and(|value| *value != vote.vote.block_id)
            };
            if certificate.votes().iter().any(differs) {
                let rest = without(certificate, differs)?;
                return Some(Said::new(&said.to, PeerMessage::Certificate(rest)));
            }
        }
        Some(said)
    }
}

impl Conduct for Amnesiac {
    fn twist(&mut self, liar: &Liar<'_>, _random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        self.forget(liar.height);
        for said in &said {
            if let PeerMessage::Proposal(signed) = &*said.message {
                self.note(&signed.proposal);
            }
        }
        said.into_iter().filter_map(|said| self.change(liar, said)).collect()
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        if let PeerMessage::Proposal(signed) = &**message {
            self.note(&signed.proposal);
        }
    }
}
