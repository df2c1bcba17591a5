//! Identity of a node in libp2p's forms: its id follows from the id of a libp2p peer, and its key becomes a key pair.

use files::NodeKey;
use libp2p::PeerId;
use libp2p::identity::{Keypair, ed25519};
use types::NodeId;

/// What precedes the 32 bytes of an Ed25519 key in a libp2p peer id: the type (field 1) and the length (of field 2) of a
/// protobuf message. Source: libp2p's specification of peer ids.
const ED25519: [u8; 4] = [0x08, 1, 0x12, 32];

/// Returns the node id of a libp2p peer, or `None` if its key is not Ed25519.
///
/// Bytes that are no point of the curve have an id too, and no peer: the handshake of a connection proves its key. This
/// is called for each gossiped message, and to parse the point costs more than all else.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    let multihash = peer.as_ref();
    if multihash.code() != 0 {
        return None; // only the identity hash contains the key itself
    }
    let key: &[u8; 32] = multihash.digest().strip_prefix(&ED25519)?.try_into().ok()?;
    Some(NodeId::of(key))
}

/// Returns the key in libp2p's form.
pub(crate) fn keypair(key: &NodeKey) -> Keypair {
    let pair = ed25519::Keypair::try_from_bytes(&mut key.to_bytes()).expect("a seed and its public key are a key pair");
    Keypair::from(pair)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_id_follows_from_the_peer_id() {
        let key = NodeKey::from_seed([7; 32]);
        assert_eq!(node_id(&keypair(&key).public().to_peer_id()), Some(key.id()));
    }

    #[test]
    fn a_peer_with_another_kind_of_key_has_no_id() {
        let hashed = PeerId::from_multihash(libp2p::multihash::Multihash::wrap(0x12, &[1; 32]).unwrap()).unwrap();
        assert_eq!(node_id(&hashed), None);
    }
}
