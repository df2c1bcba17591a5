//! Accounts' keys: one JSON file each, mode 0600, not encrypted.
//!
//! `NAME.json` has the shape of CometBFT's `priv_validator_key.json`, with a name: `address` (40 hexadecimal digits),
//! `pub_key` and `priv_key` (`type` and base64 `value`). A file is checked whole when it is read: address and public key must
//! be those of the secret key.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};
use types::{Address, SecretKey};

use super::{
    failure::Failure,
    home::{self, Home},
};

const PUBLIC_TYPE: &str = "tendermint/PubKeySecp256k1";
const SECRET_TYPE: &str = "tendermint/PrivKeySecp256k1";
const NAME_CHARS_MAX: usize = 64;
/// Bytes of the largest key file that is read.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What a key is called: letters, digits, `-`, `_` and `.`, and not what an address looks like.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeyName(String);

impl FromStr for KeyName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.parse::<Address>().is_ok() {
            return Err("this is an address; choose a name that is not 40 hexadecimal digits".into());
        }
        let fits = (1..=NAME_CHARS_MAX).contains(&text.len()) && !text.starts_with(['.', '-']);
        if fits && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c)) {
            Ok(Self(text.to_owned()))
        } else {
            Err(format!("a key's name has 1 to {NAME_CHARS_MAX} letters, digits, '-', '_' or '.', and begins with none of the dots and dashes"))
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The folder of the files.
#[derive(Clone, Debug)]
pub struct Keyring {
    dir: PathBuf,
}

/// A name with its key.
#[derive(Clone, Debug)]
pub struct Account {
    /// What it is called.
    pub name: KeyName,
    /// Its key.
    pub key: SecretKey,
}

impl Account {
    /// The address of the key.
    pub fn address(&self) -> Address {
        self.key.public_key().address()
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    name: String,
    address: String,
    pub_key: Typed,
    priv_key: Typed,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Typed {
    #[serde(rename = "type")]
    kind: String,
    value: String,
}

impl Keyring {
    /// That of a home.
    pub fn of(home: &Home) -> Self {
        Self { dir: home.keyring() }
    }

    /// In this folder.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The file of a key.
    pub fn file(&self, name: &KeyName) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    /// All keys, by name. A file that is not a key is an error that names it.
    pub fn list(&self) -> Result<Vec<Account>, Failure> {
        self.names()?.iter().map(|name| self.get(name)).collect()
    }

    /// All names, ascending. No folder: no names.
    pub fn names(&self) -> Result<Vec<KeyName>, Failure> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(Failure::file("read", &self.dir, &error)),
        };
        let mut names = Vec::new();
        for entry in entries {
            let file = entry.map_err(|error| Failure::file("read", &self.dir, &error))?.file_name();
            let name = file.to_str().and_then(|file| file.strip_suffix(".json"));
            names.extend(name.and_then(|name| name.parse::<KeyName>().ok()));
        }
        names.sort();
        Ok(names)
    }

    /// The key of this name.
    ///
    /// Errors: there is none (says where was looked and which there are), or its file is broken (names file and field).
    pub fn get(&self, name: &KeyName) -> Result<Account, Failure> {
        let path = self.file(name);
        if !path.exists() {
            return Err(self.unknown(name));
        }
        Ok(Account { name: name.clone(), key: read(&path)? })
    }

    fn unknown(&self, name: &KeyName) -> Failure {
        let names: Vec<String> = self.names().unwrap_or_default().iter().map(KeyName::to_string).collect();
        let there = match names.len() {
            0 => "there are no keys".to_owned(),
            1..=20 => format!("there are {}", names.join(", ")),
            more => format!("there are {more} others, `cairn keys list` shows them"),
        };
        Failure::new(format!(
            "no key is called {name:?} in {}; {there}: make it with `cairn keys add {name}`, or name the home of \
             the keyring with --home",
            self.dir.display(),
            name = name.0,
        ))
    }

    /// Stores a key under a name that is free.
    pub fn add(&self, account: &Account) -> Result<(), Failure> {
        let path = self.file(&account.name);
        if path.exists() {
            let name = &account.name;
            return Err(Failure::new(format!(
                "there is a key {name} already ({}): choose another name, or delete it with `cairn keys delete {name} --yes`",
                path.display()
            )));
        }
        home::make_dir(&self.dir, true)?;
        home::write_new(&path, self::text(account).as_bytes(), true)
    }

    /// Removes a key for good.
    pub fn delete(&self, name: &KeyName) -> Result<(), Failure> {
        self.get(name)?;
        let path = self.file(name);
        fs::remove_file(&path).map_err(|error| Failure::file("deleted", &path, &error))
    }

    /// An address, from itself or from the name of a key.
    pub fn address_of(&self, text: &str) -> Result<Address, Failure> {
        if let Ok(address) = text.parse() {
            return Ok(address);
        }
        let name: KeyName = text.parse().map_err(|_| {
            Failure::new(format!("{text:?} is neither an address (40 hexadecimal digits) nor the name of a key"))
        })?;
        Ok(self.get(&name)?.address())
    }

    /// The names of addresses, for people. Broken files are passed over: they are not what was asked about.
    pub fn known(&self) -> Vec<(Address, KeyName)> {
        let names = self.names().unwrap_or_default();
        names.iter().filter_map(|name| self.get(name).ok()).map(|key| (key.address(), key.name)).collect()
    }
}

/// The file of a key. Secret.
pub fn text(account: &Account) -> String {
    let public = account.key.public_key();
    let file = File {
        name: account.name.to_string(),
        address: public.address().to_string(),
        pub_key: Typed { kind: PUBLIC_TYPE.into(), value: BASE64.encode(public.bytes()) },
        priv_key: Typed { kind: SECRET_TYPE.into(), value: BASE64.encode(&account.key.bytes()) },
    };
    let mut text = serde_json::to_string_pretty(&file).expect("a key can be written as JSON");
    text.push('\n');
    text
}

/// A key from its file.
///
/// Errors: names the file and the field; never shows a secret.
pub fn read(path: &Path) -> Result<SecretKey, Failure> {
    let length = fs::metadata(path).map_err(|error| Failure::file("read", path, &error))?.len();
    if length > FILE_BYTES_MAX {
        return Err(Failure::new(format!("{}: {length} bytes, a key file has a few hundred", path.display())));
    }
    let text = fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
    parse(&text).map_err(|reason| Failure::new(format!("{}: {reason}", path.display())))
}

/// A key from the text of its file.
///
/// Errors: names the field; never shows a secret.
pub fn parse(text: &str) -> Result<SecretKey, String> {
    let file: File = serde_json::from_str(text).map_err(|error| {
        // The error's own text could quote a value; its place and kind are enough.
        let kind = if error.is_data() { "not the fields of a key file" } else { "not valid JSON" };
        format!(
            "{kind} (line {}, column {}): a key file has address, pub_key and priv_key, as `cairn keys export` writes it",
            error.line(),
            error.column()
        )
    })?;
    for (field, got, expected) in
        [("pub_key.type", &file.pub_key.kind, PUBLIC_TYPE), ("priv_key.type", &file.priv_key.kind, SECRET_TYPE)]
    {
        if got != expected {
            return Err(format!("{field}: is {:?}, keys here are {expected}", got.chars().take(80).collect::<String>()));
        }
    }
    let bytes = BASE64.decode(file.priv_key.value.as_bytes()).map_err(|_| "priv_key.value: is not base64")?;
    let key = SecretKey::from_bytes(&bytes).map_err(|error| format!("priv_key.value: {error}"))?;
    if file.pub_key.value != BASE64.encode(key.public_key().bytes()) {
        return Err("pub_key.value: is not the public key of priv_key".into());
    }
    if file.address.parse() != Ok(key.public_key().address()) {
        return Err(format!("address: the address of this key is {}", key.public_key().address()));
    }
    Ok(key)
}

/// A key from the operating system's randomness.
pub fn generate() -> Result<SecretKey, Failure> {
    loop {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)
            .map_err(|error| Failure::new(format!("the operating system gives no randomness: {error}")))?;
        // All but 1 in 2^128 values are keys.
        if let Ok(key) = SecretKey::from_bytes(&bytes) {
            return Ok(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str, seed: u8) -> Account {
        Account { name: name.parse().unwrap(), key: SecretKey::from_bytes(&[seed; 32]).unwrap() }
    }

    #[test]
    fn names_are_plain_and_not_addresses() {
        for good in ["alice", "a", "Ops-2_x.old"] {
            assert!(good.parse::<KeyName>().is_ok(), "{good}");
        }
        for bad in ["", ".hidden", "-x", "a/b", "a b", "ü", &"a".repeat(65), &"A1".repeat(20)] {
            assert!(bad.parse::<KeyName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn keys_survive_their_files() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::at(dir.path().join("keys"));
        assert!(keyring.names().unwrap().is_empty());
        keyring.add(&account("bob", 2)).unwrap();
        keyring.add(&account("alice", 1)).unwrap();
        let names: Vec<String> = keyring.list().unwrap().iter().map(|key| key.name.to_string()).collect();
        assert_eq!(names, ["alice", "bob"]);
        let alice = keyring.get(&"alice".parse().unwrap()).unwrap();
        assert_eq!(alice.address(), account("alice", 1).address());
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(keyring.dir()), mode(&keyring.file(&alice.name))), (0o700, 0o600));
        assert!(keyring.add(&account("bob", 3)).unwrap_err().to_string().contains("already"));
        assert_eq!(keyring.address_of("alice").unwrap(), alice.address());
        assert_eq!(keyring.address_of(&alice.address().to_string().to_lowercase()).unwrap(), alice.address());
        keyring.delete(&alice.name).unwrap();
        let error = keyring.get(&alice.name).unwrap_err().to_string();
        assert!(error.contains("there are bob") && error.contains("keys add alice"), "{error}");
    }

    #[test]
    fn a_broken_key_file_is_named_with_its_field_and_without_its_secret() {
        let good = text(&account("alice", 1));
        let secret = BASE64.encode(&[1; 32]);
        let other = text(&account("alice", 2));
        let public_of = |text: &str| text.lines().find(|line| line.contains("\"value\"")).unwrap().to_owned();
        for (bad, field) in [
            (String::new(), "not valid JSON"),
            ("{}".into(), "not the fields"),
            (good.replace(&secret, "%%%"), "priv_key.value: is not base64"),
            (good.replace(&secret, &BASE64.encode(&[0; 32])), "priv_key.value"),
            (good.replace(&secret, &BASE64.encode(&[1; 31])), "priv_key.value"),
            (good.replace("PrivKeySecp256k1", "PrivKeyEd25519"), "priv_key.type"),
            (good.replace("PubKeySecp256k1", "PubKeyEd25519"), "pub_key.type"),
            (good.replace(&public_of(&good), &public_of(&other)), "pub_key.value"),
            (good.replacen("\"address\": \"", "\"address\": \"00", 1), "address"),
            (good.replace("\"name\"", "\"nom\""), "not the fields"),
        ] {
            let error = parse(&bad).unwrap_err();
            assert!(error.contains(field), "{error} should name {field}");
            assert!(!error.contains(&secret), "{error}");
        }
    }
}
