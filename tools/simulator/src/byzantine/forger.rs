//! Forgery: messages in the name of others. Each has at least one signature that its signer did not make.

use std::{collections::VecDeque, sync::Arc};

use types::{
    BlockAndCommit, BlockResponse, Certificate, Commit, CommitSig, Height, PeerMessage, Signature, SignedVote, Vote,
    VoteType,
};

use super::{
    conduct::Conduct,
    said::{Said, is_own, random_id},
};
use crate::{accusation::slander, liar::Liar, random::Random};

/// Maximum number of remembered votes of others.
const VOTES_MAX: usize = 64;

/// The order of the group of secp256k1, in bytes: a signature (r, s) and its twin (r, order - s) are of the same bytes.
const ORDER: [u8; 32] = [
    0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 0xBA, 0xAE, 0xDC,
    0xE6, 0xAF, 0x48, 0xA0, 0x3B, 0xBF, 0xD2, 0x5E, 0x8C, 0xD0, 0x36, 0x41, 0x41,
];

/// A node that follows the protocol and additionally sends votes, certificates and evidence in the name of others, and puts
/// false signatures into the commits of the blocks that it serves.
#[derive(Debug, Default)]
pub(super) struct Forger {
    /// Votes of others that it received.
    votes: VecDeque<SignedVote>,
}

/// Returns the signature with the other one of the two possible values of s.
fn with_other_s(signature: &Signature) -> Signature {
    let mut bytes = signature.0;
    let mut borrow = 0;
    for at in (0..32).rev() {
        let difference = i32::from(ORDER[at]) - i32::from(signature.0[32 + at]) - borrow;
        borrow = i32::from(difference < 0);
        bytes[32 + at] = difference.rem_euclid(256) as u8;
    }
    Signature(bytes)
}

/// Returns a vote of this height and round in the name of another validator, signed with the liar's key.
fn in_the_name_of_another(liar: &Liar<'_>, random: &mut Random) -> Option<SignedVote> {
    let own = liar.key.public_key().address();
    let index = random.index(liar.validators.len()) as u32;
    let validator = liar.validators.get(index)?.address();
    let vote = Vote {
        vote_type: random.pick(&[VoteType::Prevote, VoteType::Precommit]),
        height: Height(liar.height.0 + random.pick(&[0, 0, 1])),
        round: liar.round,
        block_id: random.chance(700).then(|| random_id(random)),
        timestamp: liar.now,
        validator,
        validator_index: index,
    };
    (validator != own).then(|| vote.sign(liar.chain_id, liar.key))
}

/// Replaces the signature of one entry, or makes entries of absent validators.
fn forge_commit(liar: &Liar<'_>, random: &mut Random, commit: &mut Commit) {
    let (height, round, block_id) = (commit.height, commit.round, commit.block_id);
    let is_filling = random.chance(500);
    for (index, validator) in (0..).zip(liar.validators.iter()) {
        let (validator, validator_index) = (validator.address(), index as u32);
        let Some(entry) = commit.signatures.get_mut(index) else { return };
        if is_filling == matches!(entry, CommitSig::Absent) && (is_filling || random.chance(500)) {
            let (vote_type, timestamp, block_id) = (VoteType::Precommit, liar.now, Some(block_id));
            let vote = Vote { vote_type, height, round, block_id, timestamp, validator, validator_index };
            let signature = vote.sign(liar.chain_id, liar.key).signature;
            *entry = CommitSig::Commit { validator, timestamp, signature };
        }
    }
}

impl Forger {
    fn forge(&self, liar: &Liar<'_>, random: &mut Random) -> Option<PeerMessage> {
        let true_one = (!self.votes.is_empty()).then(|| self.votes[random.index(self.votes.len())].clone());
        match random.below(6) {
            0 => {
                liar.tally.add("vote in the name of another");
                in_the_name_of_another(liar, random).map(PeerMessage::Vote)
            }
            1 => {
                liar.tally.add("vote with another value under a true signature");
                let SignedVote { vote, signature } = true_one?;
                let block_id = if vote.block_id.is_some() { None } else { Some(random_id(random)) };
                Some(PeerMessage::Vote(SignedVote { vote: Vote { block_id, ..vote }, signature }))
            }
            2 => {
                liar.tally.add("vote of another round under a true signature");
                let SignedVote { vote, signature } = true_one?;
                let (height, round) = (liar.height, types::Round(vote.round.0.min(1000) + 1));
                Some(PeerMessage::Vote(SignedVote { vote: Vote { height, round, ..vote }, signature }))
            }
            3 => {
                liar.tally.add("vote with a second signature");
                let SignedVote { vote, signature } = true_one?;
                Some(PeerMessage::Vote(SignedVote { vote, signature: with_other_s(&signature) }))
            }
            4 => {
                let own = true_one?;
                let place = own.vote.hrs();
                let mut votes: Vec<SignedVote> = self.votes.iter().filter(|v| v.vote.hrs() == place).cloned().collect();
                votes.sort_by_key(|vote| vote.vote.validator_index);
                votes.dedup_by_key(|vote| vote.vote.validator_index);
                let index = random.index(votes.len());
                votes[index].signature.0[random.index(64)] ^= 1;
                liar.tally.add("certificate with a false vote");
                Certificate::new(votes).ok().map(PeerMessage::Certificate)
            }
            _ => {
                liar.tally.add("evidence with a false signature");
                let back = random.below(3);
                Some(slander(liar, random, Height(liar.height.0.saturating_sub(back).max(1))))
            }
        }
    }
}

impl Conduct for Forger {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, mut said: Vec<Said>) -> Vec<Said> {
        self.votes.retain(|vote| !is_own(liar, vote));
        if !liar.others.is_empty() && random.chance(300) {
            for _ in 0..random.within(1, 3) {
                let to = if random.chance(500) { liar.others.to_vec() } else { vec![random.pick(liar.others)] };
                said.extend(self.forge(liar, random).map(|message| Said::new(&to, message)));
            }
        }
        said
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        if let PeerMessage::Vote(signed) = &**message {
            self.votes.push_back(signed.clone());
            if self.votes.len() > VOTES_MAX {
                self.votes.pop_front();
            }
        }
    }

    fn serve(&mut self, liar: &Liar<'_>, random: &mut Random, mut response: BlockResponse) -> Option<BlockResponse> {
        if random.chance(300) {
            return Some(response);
        }
        liar.tally.add("commit with a false signature");
        let last = response.blocks.len().saturating_sub(1);
        for (index, BlockAndCommit { commit, .. }) in response.blocks.iter_mut().enumerate() {
            if index == last || random.chance(200) {
                forge_commit(liar, random, commit);
            }
        }
        if let Some(commit) = response.latest_commit.as_mut().filter(|_| random.chance(500)) {
            commit.height = Height(commit.height.0 + 5);
            response.latest = commit.height;
        }
        Some(response)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_other_s_of_the_other_s_is_the_first_one() {
        let signature = Signature(std::array::from_fn(|index| index as u8));
        let other = with_other_s(&signature);
        assert_eq!(other.0[..32], signature.0[..32]);
        assert_ne!(other.0[32..], signature.0[32..]);
        assert_eq!(with_other_s(&other), signature);
    }
}
