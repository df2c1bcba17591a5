//! Identity of a node in libp2p's forms: its id follows from the id of a libp2p peer, and its key becomes a key pair.

use files::NodeKey;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use types::NodeId;

/// Returns the node id of a libp2p peer, or `None` if its key is not Ed25519.
pub(crate) fn node_id(peer: &PeerId) -> Option<NodeId> {
    let multihash = peer.as_ref();
    if multihash.code() != 0 {
        return None; // only the identity hash contains the key itself
    }
    let key = PublicKey::try_decode_protobuf(multihash.digest()).ok()?.try_into_ed25519().ok()?;
    Some(NodeId::of(&key.to_bytes()))
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
