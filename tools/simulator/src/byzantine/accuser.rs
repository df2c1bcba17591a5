//! Forged evidence in blocks.

use types::{Block, PeerMessage, Wire};

use super::{
    conduct::Conduct,
    said::{Said, own_vote, vote_instead},
    twins::{Twin, Twins},
};
use crate::{
    accusation::{accuse, conspire},
    liar::Liar,
    random::Random,
};

/// A proposer of blocks with evidence that proves nothing there: against itself, or of attacks on light clients together
/// with its allies. In the first case it also signs some votes twice, so that there is true evidence too.
#[derive(Debug)]
pub(super) struct Accuser {
    is_conspirator: bool,
    twins: Twins,
}

impl Accuser {
    pub fn new(is_conspirator: bool) -> Self {
        Self { is_conspirator, twins: Twins::default() }
    }
}

impl Conduct for Accuser {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        let conspires = self.is_conspirator;
        self.twins.make(liar, &said, |first, block: Block| {
            liar.tally.add("block with evidence");
            let block = if conspires { conspire(liar, random, block) } else { accuse(liar, random, block) };
            Some(Twin::of_bytes(liar, first, &block.encode()))
        });
        let mut twisted = Vec::new();
        for said in said {
            let signed = own_vote(liar, &said.message).filter(|signed| signed.vote.block_id.is_some());
            if let Some(signed) = signed.filter(|_| !conspires && random.chance(100)) {
                liar.tally.add("second vote");
                twisted.push(Said::new(&said.to, PeerMessage::Vote(vote_instead(liar, &signed.vote, None))));
            }
            twisted.extend(self.twins.instead(liar, random, said));
        }
        twisted
    }
}
