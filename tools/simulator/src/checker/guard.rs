//! The guard of a correct node refuses to sign another value where it has signed one (I1), whatever asks it to.
//!
//! The rules of the engine never ask for that, so a guard that is off shows in no message. Here a copy of the guard is asked.

use types::{BlockId, ChainId, Hash, PartSetHeader, PeerMessage, Vote};

use crate::{
    broken::{Broken, ensure},
    node::Node,
};

/// Asks the guard of a node for a second signature in place of each vote that it has just signed: for another value, and for
/// the same value at another time.
///
/// Errors: [`Broken`] if it signs one.
pub fn check(node: &Node, message: &PeerMessage, chain_id: &ChainId) -> Result<(), Broken> {
    let (PeerMessage::Vote(signed), Some(alive)) = (message, &node.alive) else { return Ok(()) };
    let Some(signer) = alive.replica.signer().filter(|signer| signer.address() == signed.vote.validator) else {
        return Ok(());
    };
    let hash = Hash([0xEE; 32]);
    let other = BlockId { hash, parts: PartSetHeader { total: 1, hash } };
    let later = signed.vote.timestamp.saturating_add(std::time::Duration::from_secs(1));
    for vote in
        [Vote { block_id: Some(other), ..signed.vote.clone() }, Vote { timestamp: later, ..signed.vote.clone() }]
    {
        let _broken = node.broken_rules();
        ensure!(
            signer.clone().sign_vote(vote, chain_id).is_err(),
            "I1: the guard of n{} signs again at height {}, round {}",
            node.index,
            signed.vote.height,
            signed.vote.round
        );
    }
    Ok(())
}
