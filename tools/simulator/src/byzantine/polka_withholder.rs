//! Withholding of polkas: the others have to find the reason of a re-proposal, and the polka behind a lock, elsewhere.

use types::{PeerMessage, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, is_own, own_proposal},
};
use crate::{liar::Liar, random::Random};

/// A validator that sends no certificate of prevotes and forwards no prevote of others. So it proposes its valid block again
/// without the polka, and no peer receives from it what it lacks.
#[derive(Debug)]
pub(super) struct PolkaWithholder;

impl Conduct for PolkaWithholder {
    fn twist(&mut self, liar: &Liar<'_>, _random: &mut Random, mut said: Vec<Said>) -> Vec<Said> {
        said.retain(|said| {
            let is_kept = match &*said.message {
                PeerMessage::Certificate(certificate) => certificate.vote_type() != VoteType::Prevote,
                PeerMessage::Vote(signed) => signed.vote.vote_type != VoteType::Prevote || is_own(liar, signed),
                _ => true,
            };
            if !is_kept {
                liar.tally.add("withheld prevotes");
            }
            if own_proposal(liar, &said.message).is_some_and(|own| own.proposal.pol_round.is_some()) {
                liar.tally.add("re-proposal without its polka");
            }
            is_kept
        });
        said
    }
}
