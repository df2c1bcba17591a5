//! False parts of real blocks. The true parts follow, so a node that handles the false ones well still has the block.

use std::{collections::VecDeque, sync::Arc};

use types::{Part, PeerMessage};

use super::{
    conduct::Conduct,
    said::{Said, block_of, own_proposal},
    twins::Twin,
};
use crate::{liar::Liar, random::Random};

/// Maximum number of parts of others that wait to be falsified.
const HEARD_MAX: usize = 4;

/// A node that sends, before the true parts of a block, parts with other bytes or another index under the proof of the true
/// part, and all parts of another block under its proposal. It sends parts before the proposal. It also falsifies parts
/// of blocks of others.
#[derive(Debug, Default)]
pub(super) struct BadParts {
    heard: VecDeque<Arc<PeerMessage>>,
}

/// Returns a message with a part that does not fit its proof.
fn falsified(liar: &Liar<'_>, random: &mut Random, message: &PeerMessage) -> Option<PeerMessage> {
    let PeerMessage::Part { height, round, part } = message else { return None };
    let (height, round, mut part) = (*height, *round, Part::clone(part));
    let at = random.index(part.bytes.len().max(1));
    match random.below(3) {
        0 => {
            liar.tally.add("part with an index that is not in its proof");
            part.index += 1;
        }
        1 => {
            liar.tally.add("part with more bytes");
            part.bytes.push(0);
        }
        _ => {
            liar.tally.add("part with other bytes");
            part.bytes.get_mut(at).into_iter().for_each(|byte| *byte ^= 1);
        }
    }
    Some(PeerMessage::Part { height, round, part: Arc::new(part) })
}

impl Conduct for BadParts {
    fn twist(&mut self, liar: &Liar<'_>, random: &mut Random, mut said: Vec<Said>) -> Vec<Said> {
        let mut lies = Vec::new();
        let own = said.iter().find_map(|said| Some((said.to.clone(), own_proposal(liar, &said.message)?.clone())));
        if let Some((to, signed)) = own
            && let Some(block) = block_of(&said, signed.proposal.block_id)
        {
            liar.tally.add("parts of another block");
            lies.extend(Twin::later(liar, &signed.proposal, block).parts_said(&to));
            liar.tally.add("parts before the proposal");
            said.sort_by_key(|said| !matches!(*said.message, PeerMessage::Part { .. }));
        }
        for said in &said {
            let false_part = falsified(liar, random, &said.message);
            lies.extend(false_part.map(|message| Said::new(&said.to, message)));
        }
        for message in std::mem::take(&mut self.heard) {
            let false_part = falsified(liar, random, &message);
            lies.extend(false_part.map(|message| Said::new(liar.others, message)));
        }
        lies.append(&mut said);
        lies
    }

    fn hear(&mut self, _from: usize, message: &Arc<PeerMessage>) {
        if matches!(**message, PeerMessage::Part { .. }) && self.heard.len() < HEARD_MAX {
            self.heard.push_back(message.clone());
        }
    }
}
