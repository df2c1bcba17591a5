//! Reports offences of peers to the network.

use p2p::{Network, NodeId};
use replica::{Offence, Peer};

/// Reports an offence of a peer to the network as a penalty with a weight, and logs it.
pub(crate) fn penalize(network: &Network, peer: Peer, offence: &Offence) {
    tracing::warn!(target: "p2p", peer = %peer, reason = %offence, "a peer misbehaved");
    let weight = match offence {
        Offence::Malformed(_) => p2p::Offence::GARBAGE,
        Offence::BadSignature(_) => p2p::Offence::BAD_SIGNATURE,
        Offence::BadBlock(_) => p2p::Offence::INVALID,
        Offence::BadResponse(_) => p2p::Offence::INVALID,
        Offence::Unserved(_) => p2p::Offence::UNSERVED,
        Offence::Flood(_) => p2p::Offence::FLOOD,
    };
    network.penalize(NodeId(peer.0), weight);
}
