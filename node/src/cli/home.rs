//! Finds the home folder of a command.
//!
//! | in this order | condition |
//! |---|---|
//! | `--home DIR` | if given |
//! | `CAIRN_HOME` | if set |
//! | `./testnet/node0` | if it exists: a user who created a testnet here probably means it |
//! | `~/.cairn` | otherwise |
//!
//! The keys of accounts are in `keys/` of the home; the homes of a testnet share the folder `keys/` beside them.

use std::{
    io,
    path::{Path, PathBuf},
};

use node::{
    config::Config,
    exit::{self, Failure},
};

const TESTNET_HOME: &str = "./testnet/node0";

/// The home folder of a command, and the rule that selected it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    origin: &'static str,
}

impl Home {
    /// Returns the folder `given` by flag or environment, else node 0 of the testnet in the current folder, else
    /// `~/.cairn`.
    ///
    /// Errors: those of [`Home::given_or_default`].
    pub fn find(given: Option<PathBuf>) -> Result<Self, Failure> {
        if given.is_none() && is_testnet_here() {
            return Ok(Self { path: TESTNET_HOME.into(), origin: "the testnet of this folder" });
        }
        Self::given_or_default(given)
    }

    /// Returns the folder `given` by flag or environment, else `~/.cairn`.
    ///
    /// Errors: the given folder is an empty string, or none is given and the user has no home folder.
    pub fn given_or_default(given: Option<PathBuf>) -> Result<Self, Failure> {
        match (given, std::env::home_dir()) {
            (Some(path), _) if path.as_os_str().is_empty() => {
                Err(Failure::refused("--home or CAIRN_HOME is empty: name a folder, or leave it out"))
            }
            (Some(path), _) => Ok(Self { path, origin: "--home or CAIRN_HOME" }),
            (None, Some(user)) => Ok(Self { path: user.join(".cairn"), origin: "the default" }),
            (None, None) => {
                Err(Failure::refused("the variable HOME is not set, so there is no default home: give one with --home"))
            }
        }
    }

    /// Returns the path of the home folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the path of a file in `config/` of the home, such as `config.toml`.
    pub fn config_file(&self, name: &str) -> PathBuf {
        self.path.join("config").join(name)
    }

    /// Returns the path and the rule that selected it, for error messages.
    pub fn looked(&self) -> String {
        let others = match self.origin {
            "the default" if is_testnet_here() => "; for the testnet of this folder, give --home ./testnet/node0",
            "the default" => "; there is no ./testnet/node0 in this folder",
            _ => "",
        };
        format!("{} ({}{others})", self.path.display(), self.origin)
    }

    /// Checks that the home has a node, that is, a file `config/config.toml`.
    ///
    /// Errors: the file does not exist (the failure names the folder and how to create a node), or it cannot be
    /// accessed.
    pub fn must_exist(&self) -> Result<(), Failure> {
        let file = self.config_file("config.toml");
        match std::fs::metadata(&file) {
            Ok(found) if found.is_file() => return Ok(()),
            Err(error) if !is_absent(&error) => {
                let sentence = format!("{} cannot be accessed: {error}: run this as the node's user", file.display());
                return Err(Failure::new(exit::Code::Config, sentence));
            }
            _ => {}
        }
        let rest = ["config/genesis.json", "config/node_key.json", "config/priv_validator_key.json", "data"];
        if let Some(left) = rest.iter().map(|name| self.path.join(name)).find(|left| left.exists()) {
            let (file, left) = (file.display(), left.display());
            return Err(Failure::new(
                exit::Code::Config,
                format!(
                    "{file} is missing, but {left} is there: restore the file, or copy the one that `cairn init --home \
                     ./new` writes into an empty folder. Keep the keys and data of this home"
                ),
            ));
        }
        Err(Failure::refused(format!(
            "there is no node in {}: create one with `cairn init`, or give its folder with --home",
            self.looked()
        )))
    }

    /// Returns the folder of the accounts' keys: the shared folder `keys/` of a testnet if the home belongs to one,
    /// else `keys/` of the home.
    pub fn keyring(&self) -> PathBuf {
        let absolute = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let of_testnet = absolute.file_name().is_some_and(|name| {
            let number = name.to_str().and_then(|name| name.strip_prefix("node"));
            number.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|c| c.is_ascii_digit()))
        });
        match self.path.parent().map(|parent| parent.join("keys")) {
            Some(shared) if of_testnet && shared.is_dir() => shared,
            _ => self.path.join("keys"),
        }
    }

    /// Returns the RPC address of this home's node as a URL, or `None` if there is no node or its RPC is off.
    ///
    /// Errors: the configuration cannot be read or is invalid. There is no fallback then: at another address, another
    /// node may answer.
    pub fn rpc_address(&self) -> Result<Option<String>, Failure> {
        match std::fs::metadata(self.config_file("config.toml")) {
            Err(error) if is_absent(&error) => return Ok(None),
            Err(_) => self.must_exist()?,
            Ok(_) => {}
        }
        let config = Config::load(&self.path, &[])?;
        Ok((!config.rpc.laddr.is_empty()).then(|| reachable(&config.rpc.laddr)))
    }
}

/// Returns true if the current folder has a testnet. A folder that exists and cannot be accessed counts as a testnet.
fn is_testnet_here() -> bool {
    match std::fs::metadata(Path::new(TESTNET_HOME).join("config")) {
        Ok(found) => found.is_dir(),
        Err(error) => !is_absent(&error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Returns the URL under which a client on this machine reaches a listening address. An address that listens on all
/// interfaces is reached at loopback.
pub fn reachable(address: &str) -> String {
    let address = address.trim_start_matches("tcp://").trim_start_matches("http://");
    match address.strip_prefix("0.0.0.0:").or_else(|| address.strip_prefix("[::]:")).or(address.strip_prefix(':')) {
        Some(port) => format!("http://127.0.0.1:{port}"),
        None => format!("http://{address}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_given_home_is_used_unchanged() {
        let home = Home::find(Some("some/where".into())).unwrap();
        assert_eq!(home.path(), Path::new("some/where"));
        assert_eq!(home.keyring(), Path::new("some/where/keys"));
        assert!(home.must_exist().unwrap_err().to_string().contains("some/where"));
        assert!(Home::find(Some("".into())).is_err());
    }

    #[test]
    fn the_homes_of_a_testnet_share_a_keyring() {
        let dir = tempfile::tempdir().unwrap();
        let home = |name: &str| Home::find(Some(dir.path().join(name))).unwrap();
        assert_eq!(home("node1").keyring(), dir.path().join("node1/keys"), "there is none to share");
        fs::create_dir(dir.path().join("keys")).unwrap();
        assert_eq!(home("node1").keyring(), dir.path().join("keys"));
        assert_eq!(home("nodes").keyring(), dir.path().join("nodes/keys"));
        assert_eq!(home("mine").keyring(), dir.path().join("mine/keys"));
    }

    #[test]
    fn addresses_that_listen_everywhere_are_reached_at_loopback() {
        assert_eq!(reachable("tcp://127.0.0.1:26667"), "http://127.0.0.1:26667");
        assert_eq!(reachable("tcp://0.0.0.0:1"), "http://127.0.0.1:1");
        assert_eq!(reachable("[::]:1"), "http://127.0.0.1:1");
        assert_eq!(reachable(":1"), "http://127.0.0.1:1");
        assert_eq!(reachable("10.0.0.7:1"), "http://10.0.0.7:1");
    }
}
