//! The keyring of a home. It finds keys by name or address, and its errors name the folder that was searched.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use files::{AccountKey, FileError};
use node::exit::Failure;
use types::Address;

use super::home::Home;

/// The name of a key: 1 to 64 characters of a-z, 0-9, `-` and `_`, and not an address.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(String);

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.parse::<Address>().is_ok() {
            return Err("this is an address; choose a name that is not 40 hexadecimal digits".into());
        }
        // Only the check of the name matters here; the resulting path is not used.
        files::Keyring::new("").file(text).map_err(|error| error.to_string())?;
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for KeyName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// A folder of key files.
#[derive(Clone, Debug)]
pub struct Keyring {
    folder: PathBuf,
    files: files::Keyring,
}

impl Keyring {
    /// Creates the keyring of a home.
    pub fn of(home: &Home) -> Self {
        Self::at(home.keyring())
    }

    /// Creates a keyring for the key files in `folder`.
    pub fn at(folder: PathBuf) -> Self {
        Self { files: files::Keyring::new(&folder), folder }
    }

    /// Returns the folder of the key files.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Returns the path of a key's file, whether it exists or not.
    pub fn file(&self, name: &KeyName) -> PathBuf {
        self.folder.join(format!("{name}.json"))
    }

    /// Returns all keys, sorted by name.
    ///
    /// Errors: the folder cannot be read, or one of its key files is not a key; the failure names the file.
    pub fn list(&self) -> Result<Vec<AccountKey>, Failure> {
        self.files.names()?.iter().map(|name| Ok(self.files.load(name)?)).collect()
    }

    /// Returns the key with this name.
    ///
    /// Errors: there is no such key (the failure names the folder and the keys in it), or its file cannot be read or is
    /// invalid (the failure names the file and the field).
    pub fn get(&self, name: &KeyName) -> Result<AccountKey, Failure> {
        match self.files.load(name.as_ref()) {
            Err(FileError::Io { error, .. }) if error.kind() == io::ErrorKind::NotFound => Err(self.unknown(name)),
            key => Ok(key?),
        }
    }

    fn unknown(&self, name: &KeyName) -> Failure {
        let names = self.files.names().unwrap_or_default();
        let there = match names.len() {
            0 => "there are no keys".to_owned(),
            1..=20 => format!("there are {}", names.join(", ")),
            more => format!("there are {more} others, `cairn keys list` shows them"),
        };
        Failure::refused(format!(
            "no key is called {name} in {}, {there}: create it with `cairn keys add {name}`, or give the home of the keyring \
             with --home",
            self.folder.display(),
        ))
    }

    /// Stores a new key under its name, and returns the path of its file.
    ///
    /// Errors: a key with this name exists, or the file cannot be written.
    pub fn add(&self, key: &AccountKey) -> Result<PathBuf, Failure> {
        let file = self.files.file(&key.name)?;
        if file.exists() {
            let name = &key.name;
            return Err(Failure::refused(format!(
                "there is a key {name} already ({}): choose another name, or delete it with `cairn keys delete {name} --yes`",
                file.display()
            )));
        }
        Ok(self.files.add(key)?)
    }

    /// Removes the file of a key permanently.
    ///
    /// Errors: the file does not exist or cannot be removed.
    pub fn delete(&self, name: &KeyName) -> Result<(), Failure> {
        let file = self.file(name);
        fs::remove_file(&file).map_err(|error| Failure::file("deleted", &file, &error))
    }

    /// Returns the address that `text` is, or the address of the key with this name.
    ///
    /// Errors: `text` is neither an address nor a valid name, or the key is not found or its file is invalid.
    pub fn address_of(&self, text: &str) -> Result<Address, Failure> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let name = text.parse::<KeyName>().ok().filter(|name| !looks_like_address(text) || self.file(name).exists());
        match name {
            Some(name) => Ok(self.get(&name)?.address()),
            None if looks_like_address(text) => Err(Failure::refused(format!(
                "{text:?} is not an address: it has {} characters, an address has exactly 40 hexadecimal digits",
                text.chars().count()
            ))),
            None => Err(Failure::refused(format!(
                "{text:?} is neither an address (40 hexadecimal digits) nor the name of a key"
            ))),
        }
    }

    /// Returns the addresses and names of all keys, for display. Files that cannot be read are skipped, because the
    /// command that shows the names is not about them.
    pub fn known(&self) -> Vec<(Address, String)> {
        let names = self.files.names().unwrap_or_default();
        let keys = names.iter().filter_map(|name| self.files.load(name).ok());
        keys.map(|key| (key.address(), key.name)).collect()
    }
}

/// Returns true if a text was probably meant as an address: 30 to 50 characters, of which at most two are not
/// hexadecimal digits.
fn looks_like_address(text: &str) -> bool {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let wrong = digits.chars().filter(|c| !c.is_ascii_hexdigit()).count();
    (30..=50).contains(&digits.chars().count()) && wrong <= 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use types::SecretKey;

    fn key(name: &str, seed: u8) -> AccountKey {
        AccountKey::new(name, SecretKey::from_bytes(&[seed; 32]).unwrap()).unwrap()
    }

    #[test]
    fn names_are_plain_and_not_addresses() {
        for good in ["alice", "a", "ops-2_x"] {
            assert!(good.parse::<KeyName>().is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "../x", "a/b", "a b", "ü", &"a".repeat(65), &"a1".repeat(20)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_are_found_by_name_and_by_address() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::at(dir.path().join("keys"));
        assert!(keyring.list().unwrap().is_empty());
        keyring.add(&key("bob", 2)).unwrap();
        keyring.add(&key("alice", 1)).unwrap();
        let names: Vec<String> = keyring.list().unwrap().into_iter().map(|key| key.name).collect();
        assert_eq!(names, ["alice", "bob"]);
        let alice = key("alice", 1).address();
        assert_eq!(keyring.address_of("alice").unwrap(), alice);
        assert_eq!(keyring.address_of(&alice.to_string().to_lowercase()).unwrap(), alice);
        assert!(keyring.add(&key("bob", 3)).unwrap_err().to_string().contains("already"));
        let name: KeyName = "alice".parse().unwrap();
        keyring.delete(&name).unwrap();
        let error = keyring.get(&name).unwrap_err().to_string();
        assert!(error.contains("there are bob") && error.contains("keys add alice"), "{error}");
        let address = key("alice", 1).address().to_string();
        for slip in
            [&address[1..], &format!("{address}0"), &format!("0x{address}"), &address.replacen(&address[..1], "G", 1)]
        {
            let error = keyring.address_of(slip).unwrap_err().to_string();
            assert!(error.contains("is not an address") && error.contains("40 hexadecimal digits"), "{slip}: {error}");
        }
        assert!(keyring.address_of("no such").unwrap_err().to_string().contains("neither"));
    }
}
