//! Outgoing messages, and what behaviours need to recognize and to replace them.

use std::sync::Arc;

use types::{
    Block, BlockId, Certificate, Hash, Height, Part, PartSet, PartSetHeader, PeerMessage, Round, SignedProposal,
    SignedVote, Vote, VoteType, Wire,
};

use crate::{liar::Liar, random::Random};

/// An outgoing message and its receivers.
#[derive(Clone, Debug)]
pub struct Said {
    /// Indices of the receiving nodes.
    pub to: Vec<usize>,
    /// Message that they receive.
    pub message: Arc<PeerMessage>,
}

impl Said {
    pub(super) fn new(to: &[usize], message: PeerMessage) -> Self {
        Self { to: to.to_vec(), message: Arc::new(message) }
    }

    /// Returns this message for the receivers for which `keeps` returns true.
    pub(super) fn only(mut self, keeps: impl Fn(&usize) -> bool) -> Self {
        self.to.retain(keeps);
        self
    }
}

/// Returns the proposal in a message, if the liar signed it as the proposer of a round of its height.
pub(super) fn own_proposal<'m>(liar: &Liar<'_>, message: &'m PeerMessage) -> Option<&'m SignedProposal> {
    let PeerMessage::Proposal(signed) = message else { return None };
    (signed.proposal.height == liar.height && proposes(liar, signed.proposal.round)).then_some(signed)
}

/// Returns true if the liar is the proposer of a round of its height.
pub(super) fn proposes(liar: &Liar<'_>, round: Round) -> bool {
    liar.validators.proposer_of_round(round).public_key == liar.key.public_key()
}

/// Returns the vote in a message, if it is in the name of the liar.
pub(super) fn own_vote<'m>(liar: &Liar<'_>, message: &'m PeerMessage) -> Option<&'m SignedVote> {
    let PeerMessage::Vote(signed) = message else { return None };
    is_own(liar, signed).then_some(signed)
}

/// Returns true if a vote is in the name of the liar.
pub(super) fn is_own(liar: &Liar<'_>, signed: &SignedVote) -> bool {
    signed.vote.validator == liar.key.public_key().address()
}

/// Returns the certificate without the votes for which `drops` returns true; `None` if no vote is left.
pub(super) fn without(certificate: &Certificate, drops: impl Fn(&SignedVote) -> bool) -> Option<Certificate> {
    Certificate::new(certificate.votes().iter().filter(|vote| !drops(vote)).cloned().collect()).ok()
}

/// Returns the block with this id, if its parts are all among these messages.
pub(super) fn block_of(said: &[Said], id: BlockId) -> Option<Block> {
    let mut parts = PartSet::empty(id.parts);
    for said in said {
        if let PeerMessage::Part { part, .. } = &*said.message {
            let _ = parts.add(part.clone());
        }
    }
    Block::decode(&parts.bytes()?).ok()
}

/// Returns all parts of a set that are held.
pub(super) fn parts_of(parts: &PartSet) -> Vec<Arc<Part>> {
    (0..parts.header().total).filter_map(|index| parts.get(index).cloned()).collect()
}

/// Returns the part set that the part in a message belongs to.
pub(super) fn set_of(message: &PeerMessage) -> Option<PartSetHeader> {
    let PeerMessage::Part { part, .. } = message else { return None };
    Some(part.clone().check().ok()?.header())
}

/// Returns a vote of the liar that differs from `vote` in its value.
pub(super) fn vote_instead(liar: &Liar<'_>, vote: &Vote, block_id: Option<BlockId>) -> SignedVote {
    Vote { block_id, ..vote.clone() }.sign(liar.chain_id, liar.key)
}

/// Returns a vote of the liar; `None` if it is no validator of its height.
pub(super) fn vote_at(
    liar: &Liar<'_>,
    (height, round): (Height, Round),
    vote_type: VoteType,
    block_id: Option<BlockId>,
) -> Option<SignedVote> {
    let validator = liar.key.public_key().address();
    let (validator_index, _) = liar.validators.by_address(&validator)?;
    let vote = Vote { vote_type, height, round, block_id, timestamp: liar.now, validator, validator_index };
    Some(vote.sign(liar.chain_id, liar.key))
}

/// Returns the id of a block that does not exist.
pub(super) fn random_id(random: &mut Random) -> BlockId {
    let hash = |random: &mut Random| -> Hash { types::blake3(&random.next().to_be_bytes()) };
    let total = random.pick(&[1, 2, 256]);
    BlockId { hash: hash(random), parts: PartSetHeader { total, hash: hash(random) } }
}
