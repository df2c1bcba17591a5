//! Keys of accounts, and the folder that contains their files, `keys/NAME.json`: name, address, public key and secret key
//! (secp256k1).

use std::{
    fs,
    path::{Path, PathBuf},
};

use types::{Address, ConsensusSecretKey, KeyType, SecretKey};

use crate::{
    error::{FileError, NAME_CHARS_MAX, in_file},
    file::{self, Access, Existing, read_json, to_json},
    keys::{KEY_FILE_BYTES_MAX, KeyFileShape, generate_secret_key},
};

/// Maximum number of keys in a keyring.
pub const KEYRING_KEYS_MAX: usize = 100_000;

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
        Self::of_file(name, file, &file::read(file, KEY_FILE_BYTES_MAX)?)
    }

    /// Reads an account key from the content of a file and gives it a name; `file` is for the error.
    ///
    /// Errors: [`FileError::Name`] if the name is invalid; [`FileError::Content`] with the file and the invalid field.
    pub fn of_file(name: &str, file: &Path, content: &[u8]) -> Result<Self, FileError> {
        let shape: KeyFileShape = read_json(file, content)?;
        match in_file(file, shape.secret(&[KeyType::Secp256k1]))? {
            ConsensusSecretKey::Secp256k1(secret) => Self::new(name, secret),
            ConsensusSecretKey::Ed25519(_) => unreachable!("it is of the type that was asked for"),
        }
    }

    /// Returns the address of the account.
    pub fn address(&self) -> Address {
        self.secret.public_key().address()
    }

    /// Returns the content of the key file, which is secret.
    pub fn to_file(&self) -> Vec<u8> {
        to_json(&KeyFileShape::new(Some(&self.name), &self.secret.clone().into()))
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
    /// Errors: [`FileError::Exists`] if the name is taken; otherwise those of [`crate::write`].
    pub fn add(&self, key: &AccountKey) -> Result<PathBuf, FileError> {
        let file = self.file(&key.name)?;
        file::write(&file, &key.to_file(), Access::Secret, Existing::Refuse)?;
        Ok(file)
    }
}
