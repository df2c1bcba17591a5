//! Blocks that a liar proposes beside its own, or instead of them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use types::{Block, BlockId, Header, Part, PartSet, PartSetHeader, PeerMessage, Proposal, SignedProposal, Wire};

use super::said::{Said, block_of, own_proposal, own_vote, parts_of, set_of, vote_instead};
use crate::{liar::Liar, random::Random};

/// Maximum number of remembered blocks; the one with the lowest id is forgotten first.
const TWINS_MAX: usize = 32;

/// A block that is sent in place of a proposed one.
#[derive(Clone, Debug)]
pub(super) struct Twin {
    pub proposal: SignedProposal,
    pub parts: Vec<Arc<Part>>,
}

/// Second blocks, by the ids of the first ones.
#[derive(Debug, Default)]
pub(super) struct Twins(BTreeMap<BlockId, Twin>);

impl Twin {
    /// Signs a proposal of these bytes in the place of another proposal. They may be no block.
    pub fn of_bytes(liar: &Liar<'_>, instead: &Proposal, bytes: &[u8]) -> Self {
        let parts = PartSet::from_bytes(bytes);
        let decoded = Block::decode(bytes).ok();
        let hash = decoded.as_ref().map_or(types::blake3(bytes), |block| block.header.hash());
        let timestamp = decoded.map_or(instead.timestamp, |block| block.header.time);
        let block_id = BlockId { hash, parts: parts.header() };
        let proposal = Proposal { block_id, timestamp, ..instead.clone() }.sign(liar.chain_id, liar.key);
        Self { proposal, parts: parts_of(&parts) }
    }

    /// Signs a proposal of a block that differs from `block` in its time only, which is later by 1 ms.
    pub fn later(liar: &Liar<'_>, instead: &Proposal, block: Block) -> Self {
        let time = block.header.time.saturating_add(Duration::from_millis(1));
        let block = Block { header: Header { time, ..block.header }, ..block };
        Self::of_bytes(liar, instead, &block.encode())
    }

    /// Returns the id of the block.
    pub fn id(&self) -> BlockId {
        self.proposal.proposal.block_id
    }

    /// Returns the proposal and the parts of the block for these receivers.
    pub fn said(&self, to: &[usize]) -> Vec<Said> {
        let mut said = vec![Said::new(to, PeerMessage::Proposal(self.proposal.clone()))];
        said.extend(self.parts_said(to));
        said
    }

    /// Returns the parts of the block for these receivers.
    pub fn parts_said(&self, to: &[usize]) -> impl Iterator<Item = Said> {
        let (height, round) = (self.proposal.proposal.height, self.proposal.proposal.round);
        let part = move |part: &Arc<Part>| Said::new(to, PeerMessage::Part { height, round, part: part.clone() });
        self.parts.iter().map(part)
    }
}

impl Twins {
    /// Makes a second block of each new block that the liar proposes in these messages. `twin` returns it, or `None` if there
    /// is to be no second block.
    pub fn make(&mut self, liar: &Liar<'_>, said: &[Said], mut twin: impl FnMut(&Proposal, Block) -> Option<Twin>) {
        for signed in said.iter().filter_map(|said| own_proposal(liar, &said.message)) {
            let id = signed.proposal.block_id;
            // A second block that comes back from a peer gets no third one, which could be the first again.
            let is_twin = self.0.values().any(|twin| twin.id() == id);
            if is_twin || self.0.contains_key(&id) || signed.proposal.pol_round.is_some() {
                continue;
            }
            let Some(twin) = block_of(said, id).and_then(|block| twin(&signed.proposal, block)) else { continue };
            if self.0.len() >= TWINS_MAX {
                self.0.pop_first();
            }
            self.0.insert(id, twin);
        }
    }

    /// Returns the second block of a block.
    pub fn of(&self, id: &BlockId) -> Option<&Twin> {
        self.0.get(id)
    }

    /// Returns the second block of the block with these parts.
    pub fn of_parts(&self, parts: PartSetHeader) -> Option<&Twin> {
        self.0.iter().find(|(id, _)| id.parts == parts).map(|(_, twin)| twin)
    }

    /// Returns the messages that propose the second block instead of the first one, and mostly vote for it. In about 15 % of
    /// the cases the first block is sent too.
    pub fn instead(&self, liar: &Liar<'_>, random: &mut Random, said: Said) -> Vec<Said> {
        let keeps_first = random.chance(150);
        if let Some(twin) = own_proposal(liar, &said.message).and_then(|own| self.of(&own.proposal.block_id)) {
            let mut both = twin.said(&said.to);
            both.extend(keeps_first.then_some(said));
            return both;
        }
        if set_of(&said.message).is_some_and(|parts| self.of_parts(parts).is_some()) {
            return if keeps_first { vec![said] } else { Vec::new() };
        }
        if let Some(signed) = own_vote(liar, &said.message)
            && let Some(twin) = signed.vote.block_id.and_then(|id| self.of(&id))
            && random.chance(700)
        {
            let vote = vote_instead(liar, &signed.vote, Some(twin.id()));
            return vec![Said::new(&said.to, PeerMessage::Vote(vote))];
        }
        vec![said]
    }
}
