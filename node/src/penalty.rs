//! Reports offences of peers to the network.

use p2p::{Network, NodeId};
use replica::Offence;

/// Reports an offence of a peer to the network as a penalty with a weight, and logs it. A peer that is banned already may have
/// sent thousands of messages before: they add nothing and are not logged.
pub(crate) fn penalize(network: &Network, peer: NodeId, offence: &Offence) {
    if network.is_banned(&peer) {
        return;
    }
    tracing::warn!(target: "p2p", peer = %peer, reason = %offence, "a peer misbehaved");
    let weight = match offence {
        Offence::Malformed(_) => p2p::Penalty::GARBAGE,
        Offence::BadSignature(_) => p2p::Penalty::BAD_SIGNATURE,
        Offence::BadEvidence(_) => p2p::Penalty::BAD_SIGNATURE,
        Offence::BadBlock(_) => p2p::Penalty::INVALID,
        Offence::BadResponse(_) => p2p::Penalty::INVALID,
        Offence::Unserved(_) => p2p::Penalty::UNSERVED,
        Offence::Flood(_) => p2p::Penalty::FLOOD,
    };
    network.penalize(peer, weight);
}
