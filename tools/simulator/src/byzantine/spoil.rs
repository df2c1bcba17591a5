//! False answers to requests for blocks.

use types::{BlockResponse, CommitSig};

use crate::random::Random;

/// Makes the answer to a request for blocks invalid: without blocks, with another byte, with too few signatures, or in
/// the wrong order.
pub(super) fn spoil_response(random: &mut Random, mut response: BlockResponse) -> BlockResponse {
    match random.below(4) {
        0 => response.blocks.clear(),
        1 => {
            if let Some(sent) = response.blocks.first_mut() {
                let at = random.index(sent.block.len());
                sent.block[at] ^= 1;
            }
        }
        2 => {
            for sent in &mut response.blocks {
                sent.commit.signatures.iter_mut().skip(1).for_each(|signature| *signature = CommitSig::Absent);
            }
        }
        _ => response.blocks.reverse(),
    }
    response
}
