//! Silence: a validator sends nothing that it signs, or nothing that it signs in one step.

use std::sync::Arc;

use types::{PeerMessage, Step, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, is_own, own_proposal, set_of, without},
};
use crate::{liar::Liar, random::Random};

/// A node that sends nothing but its round state.
#[derive(Debug)]
pub(super) struct Silent;

impl Conduct for Silent {
    fn twist(&mut self, liar: &Liar<'_>, _random: &mut Random, mut said: Vec<Said>) -> Vec<Said> {
        said.retain(|said| {
            let is_state = matches!(*said.message, PeerMessage::RoundState(_));
            if !is_state {
                liar.tally.add("withheld message");
            }
            is_state
        });
        said
    }
}

/// A validator that sends nothing that it signs in one step: no proposal and no part of its block, or no vote of one
/// type, neither alone nor in a certificate.
#[derive(Debug)]
pub(super) struct SilentIn(pub Step);

impl Conduct for SilentIn {
    fn twist(&mut self, liar: &Liar<'_>, _random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let silent = match self.0 {
            Step::Propose => None,
            Step::Prevote => Some(VoteType::Prevote),
            Step::Precommit => Some(VoteType::Precommit),
        };
        let own = said.iter().filter_map(|said| own_proposal(liar, &said.message));
        let own: Vec<_> = own.map(|signed| signed.proposal.block_id.parts).collect();
        let keep = |said: Said| {
            let kept = match (&*said.message, silent) {
                (PeerMessage::Vote(signed), Some(silent)) => !(is_own(liar, signed) && signed.vote.vote_type == silent),
                (PeerMessage::Certificate(certificate), Some(silent)) if certificate.vote_type() == silent => {
                    let rest = without(certificate, |vote| is_own(liar, vote))?;
                    return Some(Said { message: Arc::new(PeerMessage::Certificate(rest)), ..said });
                }
                (PeerMessage::Proposal(_), None) => own_proposal(liar, &said.message).is_none(),
                (PeerMessage::Part { .. }, None) => set_of(&said.message).is_none_or(|parts| !own.contains(&parts)),
                _ => true,
            };
            if !kept {
                liar.tally.add("withheld message");
            }
            kept.then_some(said)
        };
        said.into_iter().filter_map(keep).collect()
    }
}
