//! Replays: what others signed is sent again, later, elsewhere and in another order.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use types::{Certificate, Height, PeerMessage, Round, SignedVote};

use super::{conduct::Conduct, said::Said};
use crate::{liar::Liar, random::Random};

/// Maximum number of remembered messages; the oldest is forgotten first.
const HEARD_MAX: usize = 512;

/// Maximum number of votes of one round and type in a replayed certificate.
const ROUNDS_MAX: usize = 64;

/// A node that follows the protocol and additionally sends messages of others again: votes, proposals, parts and evidence of
/// any height and round that it saw, certificates that it makes of all votes of a round, and the commits of decided heights.
/// Its receivers include the node that the message is from. All signatures are true.
#[derive(Debug, Default)]
pub(super) struct Replayer {
    heard: VecDeque<Arc<PeerMessage>>,
    votes: BTreeMap<(Height, Round, u8), BTreeMap<u32, SignedVote>>,
}

impl Replayer {
    fn note(&mut self, signed: &SignedVote) {
        let round = self.votes.entry(signed.vote.hrs()).or_default();
        round.entry(signed.vote.validator_index).or_insert_with(|| signed.clone());
        if self.votes.len() > ROUNDS_MAX {
            self.votes.pop_first();
        }
    }

    fn replay(&self, liar: &Liar<'_>, random: &mut Random) -> Option<Arc<PeerMessage>> {
        let certificate = |votes: Vec<SignedVote>| Certificate::new(votes).ok().map(PeerMessage::Certificate);
        match random.below(4) {
            0 if !liar.decided.is_empty() => {
                let (height, decided) = liar.decided.iter().nth(random.index(liar.decided.len()))?;
                liar.tally.add(if *height < liar.height { "commit of an earlier height" } else { "commit" });
                decided.commit.to_certificate().map(|commit| Arc::new(PeerMessage::Certificate(commit)))
            }
            1 if !self.votes.is_empty() => {
                let votes = self.votes.values().nth(random.index(self.votes.len()))?;
                liar.tally.add("certificate of all votes of a round");
                certificate(votes.values().cloned().collect()).map(Arc::new)
            }
            _ if !self.heard.is_empty() => {
                liar.tally.add("message of another node");
                Some(self.heard[random.index(self.heard.len())].clone())
            }
            _ => None,
        }
    }
}

impl Conduct for Replayer {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, mut said: Vec<Said>) -> Vec<Said> {
        if !liar.others.is_empty() && random.chance(400) {
            for _ in 0..random.within(1, 6) {
                let to = if random.chance(300) { liar.others.to_vec() } else { vec![random.pick(liar.others)] };
                let message = self.replay(liar, random);
                said.extend(message.map(|message| Said { to, message }));
            }
        }
        said
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        match &**message {
            PeerMessage::RoundState(_) => return,
            PeerMessage::Vote(signed) => self.note(signed),
            PeerMessage::Certificate(certificate) => certificate.votes().iter().for_each(|vote| self.note(vote)),
            PeerMessage::Proposal(_) | PeerMessage::Part { .. } | PeerMessage::Evidence(_) => {}
        }
        self.heard.push_back(message.clone());
        if self.heard.len() > HEARD_MAX {
            self.heard.pop_front();
        }
    }
}
