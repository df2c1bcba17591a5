//! Identity of a node: an Ed25519 key and the id derived from it, both in CometBFT's form.

use std::fmt;
use std::str::FromStr;

use data_encoding::HEXLOWER_PERMISSIVE;
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

/// The Ed25519 key pair that proves a node's id. Its debug output shows only the id.
#[derive(Clone)]
pub struct NodeKey(ed25519::Keypair);

/// An error about bytes that are not an Ed25519 key pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("node key must be 64 bytes, an Ed25519 seed and the public key that belongs to it")]
pub struct NodeKeyError;

impl NodeKey {
    /// Creates the key of a seed of 32 random bytes.
    pub fn from_seed(mut seed: [u8; 32]) -> NodeKey {
        let secret = ed25519::SecretKey::try_from_bytes(&mut seed).expect("any 32 bytes are a seed");
        NodeKey(ed25519::Keypair::from(secret))
    }

    /// Reads the seed ‖ public key form of CometBFT's `node_key.json`.
    ///
    /// Errors: [`NodeKeyError`] if there are not 64 bytes or the public key does not belong to the seed.
    pub fn from_bytes(bytes: &[u8]) -> Result<NodeKey, NodeKeyError> {
        let mut bytes: [u8; 64] = bytes.try_into().map_err(|_| NodeKeyError)?;
        ed25519::Keypair::try_from_bytes(&mut bytes).map(NodeKey).map_err(|_| NodeKeyError)
    }

    /// Returns seed ‖ public key, as in CometBFT's `node_key.json`. The bytes are secret.
    pub fn to_bytes(&self) -> [u8; 64] {
        self.0.to_bytes()
    }

    /// Returns the 32-byte public key.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.public().to_bytes()
    }

    /// Returns the id that this key proves.
    pub fn id(&self) -> NodeId {
        NodeId::from_public_key(&self.public_key())
    }

    pub(crate) fn keypair(&self) -> Keypair {
        Keypair::from(self.0.clone())
    }
}

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeKey({})", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_is_the_hash_of_the_public_key_and_follows_from_the_peer_id() {
        let key = NodeKey::from_seed([7; 32]);
        assert_eq!(NodeId::from_peer_id(&key.keypair().public().to_peer_id()), Some(key.id()));
        assert_eq!(key.id().to_string().len(), 40);
        assert_eq!(key.id().to_string().parse(), Ok(key.id()));
        assert_eq!(key.id().to_string().to_uppercase().parse(), Ok(key.id()));
    }

    /// RFC 8032, 7.1, test 1 gives the key pair; `printf … | sha256sum` gives the id.
    #[test]
    fn id_of_a_known_key() {
        let hex = |text: &str| -> Vec<u8> { data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap() };
        let seed = hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60");
        let public = hex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
        let key = NodeKey::from_seed(seed.clone().try_into().unwrap());
        assert_eq!(key.public_key().to_vec(), public);
        assert_eq!(key.to_bytes().to_vec(), [seed, public].concat());
        assert_eq!(key.id().to_string(), "21fe31dfa154a261626bf854046fd2271b7bed4b");
    }

    #[test]
    fn key_survives_its_bytes_and_refuses_others() {
        let key = NodeKey::from_seed([1; 32]);
        let mut bytes = key.to_bytes();
        assert_eq!(NodeKey::from_bytes(&bytes).unwrap().id(), key.id());
        bytes[40] ^= 1;
        assert!(NodeKey::from_bytes(&bytes).is_err(), "a public key that is not the seed's");
        assert!(NodeKey::from_bytes(&bytes[..63]).is_err());
        assert!("zz".parse::<NodeId>().is_err());
        assert!("00".repeat(21).parse::<NodeId>().is_err());
    }

    #[test]
    fn a_peer_with_another_kind_of_key_has_no_id() {
        let hashed = PeerId::from_multihash(libp2p::multihash::Multihash::wrap(0x12, &[1; 32]).unwrap()).unwrap();
        assert_eq!(NodeId::from_peer_id(&hashed), None);
    }
}
