//! The signed messages that exist: what correct nodes signed, and what reached a correct node and was really signed.
//!
//! Signatures are verified here a second time, with the keys of the sets in [`Rotation`], so that a node that counts a forged
//! message is noticed by what it does then.

use std::collections::{BTreeMap, BTreeSet};

use types::{
    Address, BlockId, ChainId, Hash, Height, PeerMessage, Round, SignedProposal, SignedVote, VoteType, Wire, blake3,
};

use crate::checker::rotation::{Rotation, Turns};

/// Maximum number of messages of heights without a known set that wait for it.
const WAITING_MAX: usize = 1000;

type Value = Option<BlockId>;

/// The signed messages of a world that exist.
pub struct Words {
    chain_id: ChainId,
    /// Validators that signed a vote for a value.
    votes: BTreeMap<(Height, Round, VoteType, Value), BTreeSet<Address>>,
    /// Blocks that the proposer of a round proposed, with the POL round.
    proposals: BTreeMap<(Height, Round), BTreeSet<(BlockId, Option<Round>)>>,
    /// True for a message whose signature holds, by the hash of the message.
    judged: BTreeMap<Hash, bool>,
    waiting: Vec<PeerMessage>,
}

impl Words {
    /// Creates an empty record.
    pub fn new(chain_id: ChainId) -> Self {
        let (votes, proposals, judged) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        Self { chain_id, votes, proposals, judged, waiting: Vec::new() }
    }

    /// Records a vote of a correct node, which is known to be signed.
    pub fn say_vote(&mut self, signed: &SignedVote) {
        self.judged.insert(blake3(&signed.encode()), true);
        self.add_vote(signed);
    }

    /// Records a proposal of a correct node, which is known to be signed.
    pub fn say_proposal(&mut self, signed: &SignedProposal) {
        self.judged.insert(blake3(&signed.encode()), true);
        self.add_proposal(signed);
    }

    /// Records what of a message, which reaches a correct node, is signed by those that it names.
    pub fn hear(&mut self, message: &PeerMessage, rotation: &Rotation) {
        match message {
            PeerMessage::Vote(signed) => {
                self.is_signed(signed, rotation);
            }
            PeerMessage::Certificate(certificate) => {
                for signed in certificate.votes() {
                    self.is_signed(signed, rotation);
                }
            }
            PeerMessage::Proposal(signed) => self.hear_proposal(signed, rotation),
            PeerMessage::Part { .. } | PeerMessage::RoundState(_) | PeerMessage::Evidence(_) => {}
        }
    }

    /// Judges messages that came before the set of their height was known.
    pub fn on_new_set(&mut self, rotation: &Rotation) {
        for message in std::mem::take(&mut self.waiting) {
            self.hear(&message, rotation);
        }
    }

    /// Returns true if the validator that a vote names signed it, and records it.
    pub fn is_signed(&mut self, signed: &SignedVote, rotation: &Rotation) -> bool {
        let (name, vote) = (blake3(&signed.encode()), &signed.vote);
        if let Some(is_signed) = self.judged.get(&name) {
            return *is_signed;
        }
        let Some(turns) = rotation.at(vote.height) else {
            self.wait(PeerMessage::Vote(signed.clone()));
            return false;
        };
        let bytes = vote.sign_bytes(&self.chain_id);
        let key = turns.key_of(&vote.validator);
        let is_signed = key.is_some_and(|key| key.verify(&bytes, &signed.signature).is_ok());
        self.judged.insert(name, is_signed);
        if is_signed {
            self.add_vote(signed);
        }
        is_signed
    }

    fn hear_proposal(&mut self, signed: &SignedProposal, rotation: &Rotation) {
        let (name, p) = (blake3(&signed.encode()), &signed.proposal);
        if self.judged.contains_key(&name) {
            return;
        }
        let Some(turns) = rotation.at(p.height) else { return self.wait(PeerMessage::Proposal(signed.clone())) };
        let key = turns.proposer_of(p.round).and_then(|proposer| turns.key_of(&proposer));
        let bytes = p.sign_bytes(&self.chain_id);
        let is_signed = key.is_some_and(|key| key.verify(&bytes, &signed.signature).is_ok());
        self.judged.insert(name, is_signed);
        if is_signed {
            self.add_proposal(signed);
        }
    }

    fn wait(&mut self, message: PeerMessage) {
        if self.waiting.len() < WAITING_MAX {
            self.waiting.push(message);
        }
    }

    fn add_vote(&mut self, signed: &SignedVote) {
        let vote = &signed.vote;
        let place = (vote.height, vote.round, vote.vote_type, vote.block_id);
        self.votes.entry(place).or_default().insert(vote.validator);
    }

    fn add_proposal(&mut self, signed: &SignedProposal) {
        let p = &signed.proposal;
        self.proposals.entry((p.height, p.round)).or_default().insert((p.block_id, p.pol_round));
    }

    /// Returns the proposals of a round that exist: block and POL round.
    pub fn proposals(&self, height: Height, round: Round) -> impl Iterator<Item = (BlockId, Option<Round>)> {
        self.proposals.get(&(height, round)).into_iter().flatten().copied()
    }

    /// Returns true if prevotes of more than two thirds of the power for a value exist.
    pub fn has_polka(&self, turns: &Turns, height: Height, round: Round, value: Value) -> bool {
        turns.is_quorum(self.votes.get(&(height, round, VoteType::Prevote, value)).into_iter().flatten())
    }
}

#[cfg(test)]
mod tests {
    use types::{Certificate, KeyType, Power, Signature, Time, Vote};

    use super::*;
    use crate::node::validator_key;

    fn chain() -> ChainId {
        ChainId::new("cairn-simulated").unwrap()
    }

    fn rotation() -> Rotation {
        let members = (0..4).map(|index| (validator_key(index, KeyType::Secp256k1, 0).public_key(), Power(1)));
        Rotation::new(BTreeSet::new(), Turns::first(members))
    }

    /// Returns the prevote for nil of a validator, signed with the key of `signer`.
    fn prevote(height: u64, validator: usize, signer: usize) -> SignedVote {
        let key = |index| validator_key(index, KeyType::Secp256k1, 0);
        let vote = Vote {
            vote_type: VoteType::Prevote,
            height: Height(height),
            round: Round::ZERO,
            block_id: None,
            timestamp: Time::UNIX_EPOCH,
            validator: key(validator).public_key().address(),
            validator_index: 0,
        };
        vote.sign(&chain(), &key(signer))
    }

    fn has_polka(words: &Words, rotation: &Rotation, height: u64) -> bool {
        words.has_polka(rotation.at(Height(height)).unwrap(), Height(height), Round::ZERO, None)
    }

    #[test]
    fn only_votes_that_their_validators_signed_make_a_polka() {
        let (mut words, rotation) = (Words::new(chain()), rotation());
        words.say_vote(&prevote(1, 0, 0));
        words.hear(&PeerMessage::Vote(prevote(1, 1, 1)), &rotation);
        words.hear(&PeerMessage::Vote(prevote(1, 2, 1)), &rotation);
        let copied = SignedVote { signature: Signature([7; 64]), ..prevote(1, 3, 3) };
        words.hear(&PeerMessage::Certificate(Certificate::new(vec![copied]).unwrap()), &rotation);
        assert!(!has_polka(&words, &rotation, 1), "two of four signed");
        words.hear(&PeerMessage::Vote(prevote(1, 2, 2)), &rotation);
        assert!(has_polka(&words, &rotation, 1));
    }

    #[test]
    fn votes_of_a_height_whose_set_is_unknown_count_when_it_is_known() {
        let (mut words, mut rotation) = (Words::new(chain()), rotation());
        (0..3).for_each(|voter| words.hear(&PeerMessage::Vote(prevote(3, voter, voter)), &rotation));
        rotation.follow(Height(1), &[]);
        assert!(!has_polka(&words, &rotation, 3));
        words.on_new_set(&rotation);
        assert!(has_polka(&words, &rotation, 3));
    }
}
