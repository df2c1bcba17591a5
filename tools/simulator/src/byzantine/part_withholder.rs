//! Withholding of blocks: a proposal is sent to all, and its block is not.

use std::collections::BTreeMap;

use types::PartSetHeader;

use super::{
    conduct::Conduct,
    said::{Said, own_proposal, set_of},
};
use crate::{liar::Liar, random::Random};

/// Maximum number of blocks that are remembered as withheld.
const BLOCKS_MAX: usize = 32;

/// The parts of a block that are sent.
#[derive(Clone, Copy, Debug)]
enum Sent {
    /// No part is sent.
    Nothing,
    /// All parts but the one with this index are sent to all.
    AllBut(u32),
    /// All parts are sent to this node only.
    ToOne(usize),
}

/// A proposer that sends no part of its block, all but one, or all to one node only.
#[derive(Debug, Default)]
pub(super) struct PartWithholder {
    blocks: BTreeMap<PartSetHeader, Sent>,
}

impl Conduct for PartWithholder {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, said: Vec<Said>) -> Vec<Said> {
        for own in said.iter().filter_map(|said| own_proposal(liar, &said.message)) {
            let parts = own.proposal.block_id.parts;
            if liar.others.is_empty() || self.blocks.contains_key(&parts) {
                continue;
            }
            if self.blocks.len() >= BLOCKS_MAX {
                self.blocks.pop_first();
            }
            let sent = match random.below(3) {
                0 => Sent::Nothing,
                1 => Sent::AllBut(random.below(u64::from(parts.total)) as u32),
                _ => Sent::ToOne(random.pick(liar.others)),
            };
            liar.tally.add(match sent {
                Sent::Nothing => "block without parts",
                Sent::AllBut(_) => "block without one part",
                Sent::ToOne(_) => "block to one node",
            });
            self.blocks.insert(parts, sent);
        }
        let keep = |said: Said| {
            let sent = set_of(&said.message).and_then(|parts| self.blocks.get(&parts).copied());
            match (sent, &*said.message) {
                (Some(Sent::Nothing), _) => None,
                (Some(Sent::AllBut(index)), types::PeerMessage::Part { part, .. }) if part.index == index => None,
                (Some(Sent::ToOne(node)), _) => Some(said.only(|to| *to == node)),
                _ => Some(said),
            }
        };
        said.into_iter().filter_map(keep).collect()
    }
}
