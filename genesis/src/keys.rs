//! Key files in CometBFT's formats.
//!
//! | file | content |
//! |---|---|
//! | `config/priv_validator_key.json` | [`ValidatorKey`]: address, public key, secret key (secp256k1 or Ed25519) |
//! | `data/priv_validator_state.json` | [`ValidatorState`]: the last signed height, round and step |
//! | `config/node_key.json` | [`NodeKey`]: 64 bytes, Ed25519 seed ‖ public key |
//! | `keys/NAME.json` | [`AccountKey`] in a [`Keyring`]: name, address, public key, secret key (secp256k1) |
//!
//! Secrets never appear in `Debug` output, `Display` output or errors.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use data_encoding::{BASE64, HEXUPPER, HEXUPPER_PERMISSIVE};
use serde::Serialize;
use types::{
    Address, ConsensusPublicKey, ConsensusSecretKey, Height, KeyType, Round, SecretKey, Signature, SignatureError,
};

use crate::{
    document::{KeyShape, read_public_key},
    files::{self, Access, Existing, FileError, in_file, json_of, random, read_json},
    json::{At, FieldError},
};

/// Maximum bytes of a key file.
const KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// Maximum number of characters in the name of an account key.
pub const NAME_CHARS_MAX: usize = 64;

/// Maximum number of keys in a keyring.
pub const KEYRING_KEYS_MAX: usize = 100_000;

fn pretty(shape: &impl Serialize) -> Vec<u8> {
    let mut text = serde_json::to_vec_pretty(shape).expect("shapes have text keys");
    text.push(b'\n');
    text
}

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

fn key_file(name: Option<&str>, secret: &ConsensusSecretKey) -> Vec<u8> {
    let public = secret.public_key();
    let value = match secret {
        ConsensusSecretKey::Secp256k1(key) => BASE64.encode(&key.bytes()),
        ConsensusSecretKey::Ed25519(_) => BASE64.encode(&[&secret.bytes()[..], public.bytes()].concat()),
    };
    pretty(&KeyFileShape {
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
fn read_secret(at: &At<'_>, key_types: &[KeyType]) -> Result<ConsensusSecretKey, FieldError> {
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
    /// Errors: those of [`files::write`].
    pub fn save(&self, file: &Path, existing: Existing) -> Result<(), FileError> {
        files::write(file, &self.to_file(), Access::Secret, existing)
    }
}

/// The key with which a node proves its identity on the network: an Ed25519 seed and its public key, unchecked.
#[derive(Clone, PartialEq, Eq)]
pub struct NodeKey(pub [u8; 64]);

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
    /// Returns the content of the key file, which is secret.
    pub fn to_file(&self) -> Vec<u8> {
        pretty(&NodeKeyShape {
            priv_key: KeyShape { kind: KeyType::Ed25519.secret_tag(), value: BASE64.encode(&self.0) },
        })
    }

    /// Reads `node_key.json`. The network layer checks that the seed and the public key match.
    ///
    /// Errors: [`FileError`] with the file and the invalid field.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        let value = read_json(file, KEY_FILE_BYTES_MAX)?;
        let at = At::root(&value);
        let key = at.only(&["priv_key"]).and_then(|()| at.need("priv_key")?.key(KeyType::Ed25519.secret_tag()));
        Ok(Self(in_file(file, key)?))
    }

    /// Writes `node_key.json` with access for the owner only.
    ///
    /// Errors: those of [`files::write`].
    pub fn save(&self, file: &Path, existing: Existing) -> Result<(), FileError> {
        files::write(file, &self.to_file(), Access::Secret, existing)
    }
}

/// The last signature of a validator, as CometBFT and remote signers store it: nothing before it may be signed again.
///
/// The node writes it at every signature, in addition to its database, which also knows what was signed: see
/// `node/src/signing.rs`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValidatorState {
    /// Height of the last signature; 0 before the first one.
    pub height: Height,
    /// Round of the last signature.
    pub round: Round,
    /// Step of the last signature: 0 none, 1 proposal, 2 prevote, 3 precommit.
    pub step: u8,
    /// The last signature, if there is one.
    pub signature: Option<Signature>,
    /// The bytes that were signed, if there is a signature.
    pub sign_bytes: Option<Vec<u8>>,
}

/// Size of a record in bytes: enough for a signature and the signed bytes in hexadecimal.
const RECORD_BYTES: usize = 2048;

/// Number of bits of a record's checksum; each bit is stored as one byte of white space.
const RECORD_CHECK_BITS: usize = 64;

fn record_check(content: &[u8]) -> [u8; RECORD_CHECK_BITS] {
    let hash = types::blake3(content).0;
    std::array::from_fn(|bit| if hash[bit / 8] >> (bit % 8) & 1 == 0 { b' ' } else { b'\t' })
}

#[derive(Serialize)]
struct ValidatorStateShape {
    height: String,
    round: u32,
    step: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signbytes: Option<String>,
}

impl ValidatorState {
    /// Returns the content of the state file.
    pub fn to_file(&self) -> Vec<u8> {
        pretty(&ValidatorStateShape {
            height: self.height.to_string(),
            round: self.round.0,
            step: self.step,
            signature: self.signature.map(|signature| BASE64.encode(&signature.0)),
            signbytes: self.sign_bytes.as_ref().map(|bytes| HEXUPPER.encode(bytes)),
        })
    }

    /// Returns the content of the file with a constant length, so that it can be overwritten in place: the document,
    /// spaces, and a checksum of both as spaces and tabs, which every JSON reader ignores.
    pub fn to_record(&self) -> Vec<u8> {
        let mut bytes = self.to_file();
        assert!(bytes.len() <= RECORD_BYTES - RECORD_CHECK_BITS, "what is signed is bounded");
        bytes.resize(RECORD_BYTES - RECORD_CHECK_BITS, b' ');
        let check = record_check(&bytes);
        bytes.extend(check);
        bytes
    }

    /// Returns the path of the spare copy, which is overwritten before the file itself.
    pub fn spare_of(file: &Path) -> PathBuf {
        file.with_added_extension("spare")
    }

    /// Reads `priv_validator_state.json`, or its spare copy if the content of the file is damaged.
    ///
    /// Errors: [`FileError`] with the file and the invalid field.
    pub fn load(file: &Path) -> Result<Self, FileError> {
        match Self::load_alone(file) {
            Err(error @ FileError::Content { .. }) => Self::load_alone(&Self::spare_of(file)).map_err(|_| error),
            read => read,
        }
    }

    /// Reads `priv_validator_state.json` without its spare copy.
    ///
    /// Errors: [`FileError`] with the file and the invalid field.
    pub fn load_alone(file: &Path) -> Result<Self, FileError> {
        let bytes = files::read(file, KEY_FILE_BYTES_MAX)?;
        if bytes.len() == RECORD_BYTES {
            let (content, check) = bytes.split_at(RECORD_BYTES - RECORD_CHECK_BITS);
            if record_check(content) != check {
                return Err(FileError::content(
                    file,
                    "it differs from what was written: a write was interrupted, or the file was edited",
                ));
            }
        }
        // The error must not advise to restore the file from a copy: an older state is worse than none.
        let value = json_of(file, &bytes, "")?;
        in_file(file, Self::read(&At::root(&value)))
    }

    fn read(at: &At<'_>) -> Result<Self, FieldError> {
        at.only(&["height", "round", "step", "signature", "signbytes"])?;
        let (height, round, step) = (at.need("height")?, at.need("round")?, at.need("step")?);
        let state = Self {
            height: Height(height.number()?),
            round: Round(round.number()?),
            step: step.number()?,
            signature: at.get("signature")?.map(|field| field.base64().map(Signature)).transpose()?,
            sign_bytes: match at.get("signbytes")? {
                None => None,
                Some(field) => match HEXUPPER_PERMISSIVE.decode(field.text()?.as_bytes()) {
                    Ok(bytes) => Some(bytes),
                    Err(_) => return field.error("is not hexadecimal"),
                },
            },
        };
        if state.height.0 > i64::MAX as u64 {
            return height.error("is too large for a height");
        }
        if state.round.0 > i32::MAX as u32 {
            return round.error("is too large for a round");
        }
        if state.step > 3 {
            return step.error(format!("{} is not a step: use 0 to 3", state.step));
        }
        Ok(state)
    }

    /// Writes the state to `priv_validator_state.json`.
    ///
    /// Errors: those of [`files::write`].
    pub fn save(&self, file: &Path, existing: Existing) -> Result<(), FileError> {
        files::write(file, &self.to_file(), Access::Secret, existing)
    }
}

/// The signing key of an account.
#[derive(Clone, Debug)]
pub struct AccountKey {
    /// Name in the keyring: 1 to 64 characters of a-z, 0-9, `-`, `_`.
    pub name: String,
    /// The secret key; its `Debug` output hides it.
    pub secret: SecretKey,
}

impl AccountKey {
    /// Creates an account key with a name.
    ///
    /// Errors: [`FileError::Name`] if the name is invalid.
    pub fn new(name: &str, secret: SecretKey) -> Result<Self, FileError> {
        Ok(Self { name: check_name(name)?.to_owned(), secret })
    }

    /// Creates a random account key with a name.
    ///
    /// Errors: [`FileError::Name`] if the name is invalid, [`FileError::Randomness`].
    pub fn generate(name: &str) -> Result<Self, FileError> {
        Self::new(name, generate_secret_key()?)
    }

    /// Reads an account key from any file and gives it a name.
    ///
    /// Errors: [`FileError::Name`] if the name is invalid; otherwise [`FileError`] with the file and the invalid field.
    pub fn load(name: &str, file: &Path) -> Result<Self, FileError> {
        let value = read_json(file, KEY_FILE_BYTES_MAX)?;
        let at = At::root(&value);
        let secret = at.only(&["name", "address", "pub_key", "priv_key"]).and_then(|()| read_account_secret(&at));
        Self::new(name, in_file(file, secret)?)
    }

    /// Returns the address of the account.
    pub fn address(&self) -> Address {
        self.secret.public_key().address()
    }

    /// Returns the content of the key file, which is secret.
    pub fn to_file(&self) -> Vec<u8> {
        key_file(Some(&self.name), &self.secret.clone().into())
    }
}

/// Reads the secret key of an account, which must be of type secp256k1.
fn read_account_secret(at: &At<'_>) -> Result<SecretKey, FieldError> {
    match read_secret(at, &[KeyType::Secp256k1])? {
        ConsensusSecretKey::Secp256k1(secret) => Ok(secret),
        ConsensusSecretKey::Ed25519(_) => at.error("is of another type: accounts sign with secp256k1"),
    }
}

fn check_name(name: &str) -> Result<&str, FileError> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-' || c == b'_';
    if (1..=NAME_CHARS_MAX).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(name);
    }
    Err(FileError::Name { name: name.chars().take(80).collect() })
}

/// A folder that contains account keys.
#[derive(Clone, Debug)]
pub struct Keyring {
    folder: PathBuf,
}

impl Keyring {
    /// Creates a keyring for a folder, which need not exist yet.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into() }
    }

    /// Returns the path of the file of a key, which need not exist.
    ///
    /// Errors: [`FileError::Name`] if the name is invalid.
    pub fn file(&self, name: &str) -> Result<PathBuf, FileError> {
        Ok(self.folder.join(format!("{}.json", check_name(name)?)))
    }

    /// Returns the names of all keys, sorted. A missing folder counts as empty.
    ///
    /// Errors: [`FileError::Io`]; [`FileError::Content`] if there are more than [`KEYRING_KEYS_MAX`] keys.
    pub fn names(&self) -> Result<Vec<String>, FileError> {
        let io_error = |error| FileError::Io { file: self.folder.clone(), act: "list", error };
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error(error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(io_error)?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
            names.extend(name.filter(|name| check_name(name).is_ok()).map(str::to_owned));
            if names.len() > KEYRING_KEYS_MAX {
                return Err(FileError::content(
                    &self.folder,
                    format!("more than {KEYRING_KEYS_MAX} keys: use another folder"),
                ));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Reads the key with this name.
    ///
    /// Errors: [`FileError`] with the file and the invalid field.
    pub fn load(&self, name: &str) -> Result<AccountKey, FileError> {
        AccountKey::load(name, &self.file(name)?)
    }

    /// Adds a key to the folder, with access for the owner only. Returns the path of its file.
    ///
    /// Errors: [`FileError::Exists`] if the name is taken; otherwise those of [`files::write`].
    pub fn add(&self, key: &AccountKey) -> Result<PathBuf, FileError> {
        let file = self.file(&key.name)?;
        files::write(&file, &key.to_file(), Access::Secret, Existing::Refuse)?;
        Ok(file)
    }
}
