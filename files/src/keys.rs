//! Key files in CometBFT's formats.
//!
//! | file | content |
//! |---|---|
//! | `config/priv_validator_key.json` | [`ValidatorKey`]: address, public key, secret key (secp256k1 or Ed25519) |
//! | `config/node_key.json` | [`NodeKey`]: 64 bytes, Ed25519 seed ‖ public key |
//!
//! Secrets never appear in `Debug` output, `Display` output or errors.

use std::{fmt, path::Path};

use data_encoding::BASE64;
use genesis::{
    FieldError,
    json::{At, KeyShape, read_public_key},
};
use serde::Serialize;
use thiserror::Error;
use types::{Address, ConsensusPublicKey, ConsensusSecretKey, KeyType, NodeId, SecretKey, SignatureError};

use crate::{
    error::{FileError, in_file},
    file::{self, Access, Existing, read_json, to_json},
    random::random,
};

/// Maximum bytes of a key file.
pub(crate) const KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// Creates a secret key from random bytes of the operating system.
///
/// Errors: [`FileError::Randomness`] if the operating system returns no random bytes.
pub fn generate_secret_key() -> Result<SecretKey, FileError> {
    draw(SecretKey::from_bytes)
}

fn draw<K>(key: impl Fn(&[u8]) -> Result<K, SignatureError>) -> Result<K, FileError> {
    loop {
        // All but one in 2^127 random values are valid keys.
        if let Ok(key) = key(&random::<32>()?) {
            return Ok(key);
        }
    }
}

#[derive(Serialize)]
struct KeyFileShape<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    address: String,
    pub_key: KeyShape,
    priv_key: KeyShape,
}

/// Returns the content of the file of a secret key, with the name of an account if there is one.
pub(crate) fn key_file(name: Option<&str>, secret: &ConsensusSecretKey) -> Vec<u8> {
    let public = secret.public_key();
    let value = match secret {
        ConsensusSecretKey::Secp256k1(key) => BASE64.encode(&key.bytes()),
        ConsensusSecretKey::Ed25519(_) => BASE64.encode(&[&secret.bytes()[..], public.bytes()].concat()),
    };
    to_json(&KeyFileShape {
        name,
        address: public.address().to_string(),
        pub_key: KeyShape::public(&public),
        priv_key: KeyShape { kind: secret.key_type().secret_tag(), value },
    })
}

/// Reads the secret key of a file. It must have one of these types, and the optional address and public key must match
/// it.
///
/// Errors: [`FieldError`] with the invalid field.
pub(crate) fn read_secret(at: &At<'_>, key_types: &[KeyType]) -> Result<ConsensusSecretKey, FieldError> {
    let tags: Vec<_> = key_types.iter().map(|key_type| (*key_type, key_type.secret_tag())).collect();
    let (key_type, value) = at.need("priv_key")?.key_of(&tags)?;
    let read = |bytes: &[u8]| ConsensusSecretKey::from_bytes(key_type, bytes).or_else(|error| value.error(error));
    let secret = match key_type {
        KeyType::Secp256k1 => read(&value.base64::<32>()?)?,
        KeyType::Ed25519 => {
            let both: [u8; 64] = value.base64()?;
            let secret = read(&both[..32])?;
            if secret.public_key().bytes() != &both[32..] {
                return value.error("ends with the public key of another secret: restore the file from a copy");
            }
            secret
        }
    };
    let public = secret.public_key();
    if let Some(field) = at.get("pub_key")?
        && read_public_key(&field, &[key_type])? != public
    {
        return field.error("is not the public key of priv_key: restore the file from a copy");
    }
    if let Some(field) = at.get("address")?
        && field.parse::<Address>()? != public.address()
    {
        return field.error(format!("is not the address of priv_key, which is {}", public.address()));
    }
    Ok(secret)
}

/// The consensus key of a validator.
#[derive(Clone, Debug)]
pub struct ValidatorKey {
    /// The secret key; its `Debug` output hides it.
    pub secret: ConsensusSecretKey,
}

impl ValidatorKey {
    /// Creates a random key of this type.
    ///
    /// Errors: [`FileError::Randomness`] if the operating system returns no random bytes.
    pub fn generate(key_type: KeyType) -> Result<Self, FileError> {
        let secret = draw(|bytes| ConsensusSecretKey::from_bytes(key_type, bytes))?;
        Ok(Self { secret })
    }

    /// Returns the public key of the validator.
    pub fn public_key(&self) -> ConsensusPublicKey {
        self.secret.public_key()
    }

    /// Returns the address of the validator.
    pub fn address(&self) -> Address {
        self.public_key().address()
    }

    /// Returns the content of the key file, which is secret.
    pub fn to_file(&self) -> Vec<u8> {
        key_file(None, &self.secret)
    }

    /// Reads the key from `priv_validator_key.json`.
    ///
    /// Errors: [`FileError`] with the file and the invalid field.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        let value = read_json(file, KEY_FILE_BYTES_MAX)?;
        let at = At::root(&value);
        let secret = at.only(&["address", "pub_key", "priv_key"]).and_then(|()| read_secret(&at, &KeyType::ALL));
        Ok(Self { secret: in_file(file, secret)? })
    }

    /// Writes `priv_validator_key.json` with access for the owner only.
    ///
    /// Errors: those of [`crate::write`].
    pub fn save(&self, file: &Path, existing: Existing) -> Result<(), FileError> {
        file::write(file, &self.to_file(), Access::Secret, existing)
    }
}

/// The key with which a node proves its identity on the network: an Ed25519 seed and the public key that belongs to it.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeKey {
    seed: [u8; 32],
    public: [u8; 32],
}

/// An error about bytes that are not an Ed25519 key pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("node key must be 64 bytes, an Ed25519 seed and the public key that belongs to it")]
pub struct NodeKeyError;

impl fmt::Debug for NodeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeKey(hidden)")
    }
}

#[derive(Serialize)]
struct NodeKeyShape {
    priv_key: KeyShape,
}

impl NodeKey {
    /// Creates the key of a seed of 32 random bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let secret = ConsensusSecretKey::from_bytes(KeyType::Ed25519, &seed).expect("any 32 bytes are a seed");
        let public = secret.public_key().bytes().try_into().expect("an Ed25519 public key has 32 bytes");
        Self { seed, public }
    }

    /// Reads the seed ‖ public key form of CometBFT's `node_key.json`.
    ///
    /// Errors: [`NodeKeyError`] if there are not 64 bytes or the public key does not belong to the seed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, NodeKeyError> {
        let (seed, public) = bytes.split_first_chunk().ok_or(NodeKeyError)?;
        let key = Self::from_seed(*seed);
        if key.public == *public { Ok(key) } else { Err(NodeKeyError) }
    }

    /// Creates a random key.
    ///
    /// Errors: [`FileError::Randomness`] if the operating system returns no random bytes.
    pub fn generate() -> Result<Self, FileError> {
        Ok(Self::from_seed(random()?))
    }

    /// Returns seed ‖ public key, as in CometBFT's `node_key.json`. The bytes are secret.
    pub fn to_bytes(&self) -> [u8; 64] {
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&self.seed);
        bytes[32..].copy_from_slice(&self.public);
        bytes
    }

    /// Returns the id of the node, which this key proves.
    pub fn id(&self) -> NodeId {
        NodeId::of(&self.public)
    }

    /// Returns the content of the key file, which is secret.
    pub fn to_file(&self) -> Vec<u8> {
        let (kind, value) = (KeyType::Ed25519.secret_tag(), BASE64.encode(&self.to_bytes()));
        to_json(&NodeKeyShape { priv_key: KeyShape { kind, value } })
    }

    /// Reads the node key from `node_key.json`.
    ///
    /// Errors: [`FileError`] with the file and the invalid field.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        let value = read_json(file, KEY_FILE_BYTES_MAX)?;
        let at = At::root(&value);
        in_file(file, at.only(&["priv_key"]).and_then(|()| read_node_key(&at)))
    }

    /// Writes `node_key.json` with access for the owner only.
    ///
    /// Errors: those of [`crate::write`].
    pub fn save(&self, file: &Path, existing: Existing) -> Result<(), FileError> {
        file::write(file, &self.to_file(), Access::Secret, existing)
    }
}

fn read_node_key(at: &At<'_>) -> Result<NodeKey, FieldError> {
    let tag = KeyType::Ed25519.secret_tag();
    let (_, value) = at.need("priv_key")?.key_of(&[((), tag)])?;
    NodeKey::from_bytes(&value.base64::<64>()?).or_else(|error| value.error(error))
}
