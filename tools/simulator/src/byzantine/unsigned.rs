//! Messages of the height being decided and the next one that no validator signed.

use std::time::Duration;

use types::{Certificate, Height, PeerMessage, Proposal, Round, SignedVote, Time, Vote, VoteType};

use super::{
    conduct::Conduct,
    said::{Said, random_id},
};
use crate::{liar::Liar, random::Random};

/// Minimum interval between two sends, so that the node is active but does not fill the world's queue.
const INTERVAL: Duration = Duration::from_millis(20);

/// A node that sends nothing but votes, proposals and certificates in the name of validators, signed with its own key.
#[derive(Debug, Default)]
pub(super) struct Unsigned {
    last: Option<Time>,
}

impl Conduct for Unsigned {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, _said: Vec<Said>) -> Vec<Said> {
        if self.last.is_some_and(|last| liar.now >= last && liar.now.since(last) < INTERVAL) {
            return Vec::new();
        }
        self.last = Some(liar.now);
        let messages = unsigned(liar, random);
        messages.iter().for_each(|_| liar.tally.add("message that no validator signed"));
        messages.into_iter().map(|message| Said::new(liar.others, message)).collect()
    }
}

/// Returns messages of the current or a later height, enough to start it, that no validator signed.
fn unsigned(liar: &Liar<'_>, random: &mut Random) -> Vec<PeerMessage> {
    let height = Height(liar.height.0 + random.pick(&[0, 1, 1, 2]));
    let (id, round) = (random_id(random), random.pick(&[Round(0), Round(1_000_000)]));
    let vote = |index: u32, validator| {
        let vote_type = VoteType::Precommit;
        let vote = Vote {
            vote_type,
            height,
            round,
            block_id: Some(id),
            timestamp: liar.now,
            validator,
            validator_index: index,
        };
        vote.sign(liar.chain_id, liar.key)
    };
    let votes: Vec<SignedVote> =
        (0..).zip(liar.validators.iter()).map(|(index, validator)| vote(index, validator.address())).collect();
    let proposal = Proposal { height, round, pol_round: None, block_id: id, timestamp: liar.now };
    let mut messages = vec![
        PeerMessage::Vote(votes[random.index(votes.len())].clone()),
        PeerMessage::Proposal(proposal.sign(liar.chain_id, liar.key)),
    ];
    messages.extend(Certificate::new(votes).map(PeerMessage::Certificate));
    messages
}
