//! Key files in CometBFT's formats.
//!
//! | file | content |
//! |---|---|
//! | `config/priv_validator_key.json` | [`ValidatorKey`]: address, public key, secret key (secp256k1 or Ed25519) |
//! | `config/node_key.json` | [`NodeKey`]: 64 bytes, Ed25519 seed ‖ public key |
//!
//! Secrets never appear in `Debug` output, `Display` output or errors.

use std::{fmt, path::Path};

use genesis::{
    FieldError,
    json::{KeyShape, Text},
};
use serde::{Deserialize, Serialize};
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

/// The file of a secret key, with the name of an account if there is one.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeyFileShape {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    address: Option<Text<Address>>,
    pub_key: Option<KeyShape>,
    priv_key: KeyShape,
}

impl KeyFileShape {
    pub(crate) fn new(name: Option<&str>, secret: &ConsensusSecretKey) -> Self {
        let (public, tag) = (secret.public_key(), secret.key_type().secret_tag());
        let priv_key = match secret {
            ConsensusSecretKey::Secp256k1(key) => KeyShape::new(tag, &key.bytes()),
            ConsensusSecretKey::Ed25519(_) => KeyShape::new(tag, &[&secret.bytes()[..], public.bytes()].concat()),
        };
        Self {
            name: name.map(str::to_owned),
            address: Some(Text(public.address())),
            pub_key: Some(KeyShape::public(&public)),
            priv_key,
        }
    }

    /// Returns the secret key, which must have one of these types. The optional address and public key must match it.
    ///
    /// Errors: [`FieldError`] with the invalid field.
    pub(crate) fn secret(&self, key_types: &[KeyType]) -> Result<ConsensusSecretKey, FieldError> {
        let secret = read_secret(&self.priv_key, key_types).map_err(|error| error.within("priv_key"))?;
        let (key_type, public) = (secret.key_type(), secret.public_key());
        if let Some(key) = &self.pub_key
            && key.to_public(&[key_type]).map_err(|error| error.within("pub_key"))? != public
        {
            let reason = "is not the public key of priv_key: restore the file from a copy";
            return Err(FieldError::new("pub_key", reason));
        }
        if let Some(Text(address)) = self.address
            && address != public.address()
        {
            let reason = format!("is not the address of priv_key, which is {}", public.address());
            return Err(FieldError::new("address", reason));
        }
        Ok(secret)
    }
}

fn read_secret(key: &KeyShape, key_types: &[KeyType]) -> Result<ConsensusSecretKey, FieldError> {
    let tags: Vec<_> = key_types.iter().map(|key_type| (*key_type, key_type.secret_tag())).collect();
    let key_type = key.kind(&tags)?;
    let read =
        |bytes: &[u8]| ConsensusSecretKey::from_bytes(key_type, bytes).map_err(|error| FieldError::new("value", error));
    match key_type {
        KeyType::Secp256k1 => read(&key.bytes::<32>()?),
        KeyType::Ed25519 => {
            let both: [u8; 64] = key.bytes()?;
            let secret = read(&both[..32])?;
            if secret.public_key().bytes() != &both[32..] {
                let reason = "ends with the public key of another secret: restore the file from a copy";
                return Err(FieldError::new("value", reason));
            }
            Ok(secret)
        }
    }
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
        to_json(&KeyFileShape::new(None, &self.secret))
    }

    /// Reads the key from `priv_validator_key.json`.
    ///
    /// Errors: [`FileError`] with the file and the invalid field.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        Self::of_file(file, &file::read(file, KEY_FILE_BYTES_MAX)?)
    }

    /// Reads the key from the content of a file; `file` is for the error.
    ///
    /// Errors: [`FileError::Content`] with the file and the invalid field.
    pub fn of_file(file: &Path, content: &[u8]) -> Result<Self, FileError> {
        let shape: KeyFileShape = read_json(file, content)?;
        Ok(Self { secret: in_file(file, shape.secret(&KeyType::ALL))? })
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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
        to_json(&NodeKeyShape { priv_key: KeyShape::new(KeyType::Ed25519.secret_tag(), &self.to_bytes()) })
    }

    /// Reads the node key from `node_key.json`.
    ///
    /// Errors: [`FileError`] with the file and the invalid field.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        Self::of_file(file, &file::read(file, KEY_FILE_BYTES_MAX)?)
    }

    /// Reads the node key from the content of a file; `file` is for the error.
    ///
    /// Errors: [`FileError::Content`] with the file and the invalid field.
    pub fn of_file(file: &Path, content: &[u8]) -> Result<Self, FileError> {
        let shape: NodeKeyShape = read_json(file, content)?;
        in_file(file, read_node_key(&shape.priv_key).map_err(|error| error.within("priv_key")))
    }

    /// Writes `node_key.json` with access for the owner only.
    ///
    /// Errors: those of [`crate::write`].
    pub fn save(&self, file: &Path, existing: Existing) -> Result<(), FileError> {
        file::write(file, &self.to_file(), Access::Secret, existing)
    }
}

fn read_node_key(key: &KeyShape) -> Result<NodeKey, FieldError> {
    key.kind(&[((), KeyType::Ed25519.secret_tag())])?;
    NodeKey::from_bytes(&key.bytes::<64>()?).map_err(|error| FieldError::new("value", error))
}
