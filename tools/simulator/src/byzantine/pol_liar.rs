//! Lies about POL rounds.
//!
//! | its proposal | it sends |
//! |---|---|
//! | a new block in round 0 | in half of the cases, a POL round that is not below the round, which no peer can decode |
//! | a new block in a later round | the POL round of an earlier round, with the prevotes of that round as its polka, whatever they are for |
//! | its valid block again | no POL round, or another one |

use std::{collections::BTreeMap, sync::Arc};

use types::{Certificate, Height, PeerMessage, Proposal, Round, SignedVote, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, own_proposal},
};
use crate::{liar::Liar, random::Random};

/// Maximum number of rounds whose prevotes are remembered.
const ROUNDS_MAX: usize = 8;

/// A proposer that lies about POL rounds.
#[derive(Debug, Default)]
pub(super) struct PolLiar {
    /// The prevotes of each round that it received, by the index of the voter.
    prevotes: BTreeMap<(Height, Round), BTreeMap<u32, SignedVote>>,
}

impl PolLiar {
    fn note(&mut self, signed: &SignedVote) {
        let vote = &signed.vote;
        if vote.vote_type == VoteType::Prevote {
            let round = self.prevotes.entry((vote.height, vote.round)).or_default();
            round.entry(vote.validator_index).or_insert_with(|| signed.clone());
            if self.prevotes.len() > ROUNDS_MAX {
                self.prevotes.pop_first();
            }
        }
    }

    fn lie(&self, liar: &Liar<'_>, random: &mut Random, to: &[usize], proposal: &Proposal) -> Vec<Said> {
        let Proposal { height, round, .. } = *proposal;
        let say = |pol_round: Option<Round>| {
            let proposal = Proposal { pol_round, ..proposal.clone() };
            Said::new(to, PeerMessage::Proposal(proposal.sign(liar.chain_id, liar.key)))
        };
        if round == Round::ZERO {
            if random.chance(500) {
                liar.tally.add("POL round that is not below the round");
                return vec![say(Some(Round(random.pick(&[0, 1, 1000]))))];
            }
            return vec![say(None)];
        }
        if proposal.pol_round.is_some() && random.chance(500) {
            liar.tally.add("re-proposal without a POL round");
            return vec![say(None)];
        }
        let pol = Round(random.below(u64::from(round.0)) as u32);
        let votes = self.prevotes.get(&(height, pol)).into_iter().flat_map(BTreeMap::values).cloned().collect();
        liar.tally.add("POL round without a polka");
        let mut said = vec![say(Some(pol))];
        if let Ok(certificate) = Certificate::new(votes) {
            liar.tally.add("votes that are no polka of the block");
            said.push(Said::new(to, PeerMessage::Certificate(certificate)));
        }
        said
    }
}

impl Conduct for PolLiar {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let mut lie = |said: Said| match own_proposal(liar, &said.message) {
            Some(signed) => self.lie(liar, random, &said.to, &signed.proposal),
            None => vec![said],
        };
        said.into_iter().flat_map(&mut lie).collect()
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        match &**message {
            PeerMessage::Vote(signed) => self.note(signed),
            PeerMessage::Certificate(certificate) => certificate.votes().iter().for_each(|vote| self.note(vote)),
            _ => {}
        }
    }
}
