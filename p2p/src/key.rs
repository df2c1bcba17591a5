//! Identity of a node: the id derived from its Ed25519 key, in CometBFT's form, and its key in libp2p's form.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
use files::NodeKey;
use libp2p::PeerId;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use sha2::{Digest, Sha256};

/// Id of a node: the first 20 bytes of the SHA-256 of its Ed25519 public key. Text: 40 hex digits, lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub [u8; 20]);

/// An error about text that is not 40 hex digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("node id must be 40 hex digits, got {got:?}")]
pub struct NodeIdError {
    /// The rejected text, cut to 64 characters.
    pub got: String,
}

impl NodeId {
    /// Returns the id that a key proves.
    pub fn of(key: &NodeKey) -> NodeId {
        NodeId::from_public_key(&key.public_key())
    }

    /// Returns the id of a 32-byte Ed25519 public key.
    pub fn from_public_key(key: &[u8; 32]) -> NodeId {
        let digest: [u8; 32] = Sha256::digest(key).into();
        let mut id = [0; 20];
        id.copy_from_slice(&digest[..20]);
        NodeId(id)
    }

    /// Returns the id of a libp2p peer, or `None` if its key is not Ed25519.
    pub(crate) fn from_peer_id(peer: &PeerId) -> Option<NodeId> {
        let multihash = peer.as_ref();
        if multihash.code() != 0 {
            return None; // only the identity hash contains the key itself
        }
        let key = PublicKey::try_decode_protobuf(multihash.digest()).ok()?.try_into_ed25519().ok()?;
        Some(NodeId::from_public_key(&key.to_bytes()))
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for NodeId {
    type Err = NodeIdError;

    fn from_str(text: &str) -> Result<NodeId, NodeIdError> {
        HEXLOWER_PERMISSIVE
            .decode(text.as_bytes())
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .map(NodeId)
            .ok_or_else(|| NodeIdError { got: text.chars().take(64).collect() })
    }
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
    fn id_is_the_hash_of_the_public_key_and_follows_from_the_peer_id() {
        let key = NodeKey::from_seed([7; 32]);
        let id = NodeId::of(&key);
        assert_eq!(NodeId::from_peer_id(&keypair(&key).public().to_peer_id()), Some(id));
        assert_eq!(id.to_string().len(), 40);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.to_string().to_uppercase().parse(), Ok(id));
    }

    /// RFC 8032, 7.1, test 1 gives the seed, whose key pair `files` tests; `printf … | sha256sum` gives the id.
    #[test]
    fn id_of_a_known_key() {
        let seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
        let seed = data_encoding::HEXLOWER.decode(seed.as_bytes()).unwrap();
        let key = NodeKey::from_seed(seed.try_into().unwrap());
        assert_eq!(NodeId::of(&key).to_string(), "21fe31dfa154a261626bf854046fd2271b7bed4b");
    }

    #[test]
    fn text_that_is_no_id_is_refused() {
        assert!("zz".parse::<NodeId>().is_err());
        assert!("00".repeat(21).parse::<NodeId>().is_err());
    }

    #[test]
    fn a_peer_with_another_kind_of_key_has_no_id() {
        let hashed = PeerId::from_multihash(libp2p::multihash::Multihash::wrap(0x12, &[1; 32]).unwrap()).unwrap();
        assert_eq!(NodeId::from_peer_id(&hashed), None);
    }
}
