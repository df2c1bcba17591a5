//! Messages that decode and mean nothing.

use std::{collections::VecDeque, sync::Arc};

use types::{
    BitSet, BlockResponse, Certificate, Height, Part, PartSet, PeerMessage, Proposal, Round, RoundState, RoundVotes,
    Signature, SignedVote, Step, Vote, VoteType, merkle,
};

use super::{
    conduct::Conduct,
    said::{Said, random_id},
    spoil::spoil_response,
};
use crate::{accusation::slander, liar::Liar, random::Random};

/// Maximum number of its own messages that it remembers, to send them again at a wrong time.
const BEFORE_MAX: usize = 32;

/// A node that follows the protocol and additionally sends wrong or useless messages of all kinds, and answers requests for
/// blocks falsely.
#[derive(Debug, Default)]
pub(super) struct Garbage {
    before: VecDeque<Arc<PeerMessage>>,
}

impl Conduct for Garbage {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, mut said: Vec<Said>) -> Vec<Said> {
        for said in &said {
            self.before.push_back(Arc::clone(&said.message));
        }
        while self.before.len() > BEFORE_MAX {
            self.before.pop_front();
        }
        if liar.others.is_empty() || !random.chance(400) {
            return said;
        }
        for _ in 0..random.within(1, 4) {
            let message = match random.below(10) {
                0 if !self.before.is_empty() => Arc::clone(&self.before[random.index(self.before.len())]),
                _ => Arc::new(nonsense(liar, random)),
            };
            liar.tally.add("nonsense");
            let to = if random.chance(500) { liar.others.to_vec() } else { vec![random.pick(liar.others)] };
            said.push(Said { to, message });
        }
        said
    }

    fn serve(&mut self, liar: &Liar<'_>, random: &mut Random, response: BlockResponse) -> Option<BlockResponse> {
        liar.tally.add("false answer to a request for blocks");
        Some(spoil_response(random, response))
    }
}

fn random_round(random: &mut Random) -> Round {
    Round(random.pick(&[0, 1, 2, 5, 100, 1_000_000, i32::MAX as u32]))
}

/// Returns a message that decodes, but is wrong or useless.
fn nonsense(liar: &Liar<'_>, random: &mut Random) -> PeerMessage {
    let height =
        Height((liar.height.0 + random.below(4)).saturating_sub(1).max(1) + random.pick(&[0, 0, 0, 0, 9, 1_000_000]));
    match random.below(9) {
        0 => {
            let signature = Signature(std::array::from_fn(|_| random.next() as u8));
            PeerMessage::Vote(SignedVote { signature, ..vote(liar, random, height) })
        }
        1 | 2 => PeerMessage::Vote(vote(liar, random, height)),
        3 => {
            let (first, second) = (vote(liar, random, height), vote(liar, random, height));
            let second = SignedVote {
                vote: Vote {
                    vote_type: first.vote.vote_type,
                    height: first.vote.height,
                    round: first.vote.round,
                    validator_index: first.vote.validator_index + 1,
                    ..second.vote
                },
                ..second
            };
            match Certificate::new(vec![first.clone(), second]) {
                Ok(certificate) => PeerMessage::Certificate(certificate),
                Err(_) => PeerMessage::Vote(first),
            }
        }
        4 => {
            let (round, pol_round) = (random_round(random), random.chance(300).then(|| random_round(random)));
            let block_id = random_id(random);
            let proposal = Proposal { height, round, pol_round, block_id, timestamp: liar.now };
            PeerMessage::Proposal(proposal.sign(liar.chain_id, liar.key))
        }
        5 => {
            let mut bytes: Vec<u8> = (0..random.within(1, 200)).map(|_| random.next() as u8).collect();
            let (_, proofs) = merkle::proofs(merkle::Hasher::Blake3, &[&bytes, &bytes]);
            bytes[0] ^= u8::from(random.chance(500));
            let proof = proofs.into_iter().next().expect("two leaves have two proofs");
            let part = Arc::new(Part { index: proof.index, bytes, proof });
            PeerMessage::Part { height, round: random_round(random), part }
        }
        6 => {
            let count = liar.validators.len() as u32;
            let bits = |random: &mut Random| {
                let mut bits = BitSet::new(random.pick(&[0, 1, count, count, 64]));
                (0..bits.len()).filter(|_| random.chance(500)).for_each(|index| bits.set(index));
                bits
            };
            let votes = |random: &mut Random| RoundVotes {
                round: random_round(random),
                prevotes: bits(random),
                precommits: bits(random),
            };
            PeerMessage::RoundState(RoundState {
                height,
                round: random_round(random),
                step: random.pick(&[Step::Propose, Step::Prevote, Step::Precommit]),
                has_proposal: random.chance(500),
                parts_header: random.chance(500).then(|| random_id(random).parts),
                parts: bits(random),
                current: votes(random),
                previous: random.chance(500).then(|| votes(random)),
                earliest_height: Height(random.below(5)),
            })
        }
        7 => slander(liar, random, height),
        _ => {
            let (block_id, round) = (random_id(random), random_round(random));
            let header = PartSet::from_bytes(&block_id.hash.0);
            let part = header.get(0).cloned().expect("a set of one part");
            PeerMessage::Part { height: liar.height, round, part }
        }
    }
}

/// Returns a vote that the node signed, at a random round, for nil or for a block that does not exist.
fn vote(liar: &Liar<'_>, random: &mut Random, height: Height) -> SignedVote {
    let validator = liar.key.public_key().address();
    let index = liar.validators.by_address(&validator).map_or(0, |(index, _)| index);
    Vote {
        vote_type: random.pick(&[VoteType::Prevote, VoteType::Precommit]),
        height,
        round: random_round(random),
        block_id: random.chance(700).then(|| random_id(random)),
        timestamp: liar.now,
        validator,
        validator_index: if random.chance(800) { index } else { random.below(300) as u32 },
    }
    .sign(liar.chain_id, liar.key)
}
