//! The hidden-lock attack: one correct validator, the victim, locks a block alone, and the others see no polka for it.
//!
//! | round | the liar sends |
//! |---|---|
//! | it proposes a new block | the block to the victim, and to as many others as are no quorum without the liar; its prevote to the victim only; a precommit for nil to all |
//! | later rounds of that height | prevotes and precommits for nil, no block, no polka |
//!
//! So the victim has a quorum of prevotes, the others have one less, and the round fails. Without the victim, all later
//! rounds fail too.

use types::{BlockId, Height, PartSetHeader, PeerMessage, Round, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, own_proposal, own_vote, set_of, vote_instead},
};
use crate::{liar::Liar, random::Random};

/// An attack on the validators of one height.
#[derive(Clone, Debug)]
struct Attack {
    height: Height,
    round: Round,
    block_id: BlockId,
    victim: usize,
    /// The nodes that receive the block; the victim is among them.
    chosen: Vec<usize>,
}

/// A validator that lets one other validator lock alone.
#[derive(Debug, Default)]
pub(super) struct HiddenLock {
    attack: Option<Attack>,
}

impl HiddenLock {
    /// Chooses the victim and the other receivers of a proposal.
    fn begin(&mut self, liar: &Liar<'_>, round: Round, block_id: BlockId) {
        let mut peers = (liar.powers)();
        if peers.is_empty() {
            return;
        }
        let first = liar.height.0 as usize % peers.len();
        peers.rotate_left(first);
        let total = liar.validators.total_power().0;
        let (mut chosen, mut power) = (Vec::new(), 0);
        for (peer, of_peer) in &peers {
            if chosen.is_empty() || 3 * (power + of_peer) <= 2 * total {
                chosen.push(*peer);
                power += of_peer;
            }
        }
        self.attack = Some(Attack { height: liar.height, round, block_id, victim: peers[0].0, chosen });
    }

    fn change(attack: &Attack, liar: &Liar<'_>, said: Said) -> Option<Said> {
        let is_hidden = |parts: PartSetHeader| parts == attack.block_id.parts;
        if let Some(signed) = own_proposal(liar, &said.message) {
            let is_first = signed.proposal.round == attack.round;
            liar.tally.add(if is_first { "proposal to some" } else { "withheld proposal" });
            return is_first.then(|| said.only(|to| attack.chosen.contains(to)));
        }
        if set_of(&said.message).is_some_and(is_hidden) {
            return Some(said.only(|to| attack.chosen.contains(to)));
        }
        if let Some(signed) = own_vote(liar, &said.message) {
            let (vote, is_first) = (&signed.vote, signed.vote.round == attack.round);
            if vote.height != attack.height || vote.round < attack.round {
                return Some(said);
            }
            if vote.vote_type == VoteType::Prevote && is_first {
                liar.tally.add("prevote to the victim only");
                return Some(said.only(|to| *to == attack.victim));
            }
            if vote.block_id.is_some() {
                liar.tally.add("nil instead of the locked block");
                return Some(Said::new(&said.to, PeerMessage::Vote(vote_instead(liar, vote, None))));
            }
        }
        match &*said.message {
            PeerMessage::Certificate(certificate) if certificate.height() == attack.height => {
                liar.tally.add("withheld certificate");
                None
            }
            _ => Some(said),
        }
    }
}

impl Conduct for HiddenLock {
    fn twist(&mut self, liar: &Liar<'_>, _random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        if self.attack.as_ref().is_none_or(|attack| attack.height != liar.height) {
            self.attack = None;
            let own = said.iter().find_map(|said| own_proposal(liar, &said.message));
            if let Some(own) = own.filter(|own| own.proposal.pol_round.is_none()) {
                self.begin(liar, own.proposal.round, own.proposal.block_id);
            }
        }
        match &self.attack {
            Some(attack) => said.into_iter().filter_map(|said| Self::change(attack, liar, said)).collect(),
            None => said,
        }
    }
}
