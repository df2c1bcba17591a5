//! Which folder a command is about.
//!
//! | asked in this order | |
//! |---|---|
//! | `--home DIR` | |
//! | `CAIRN_HOME` | |
//! | `./testnet/node0` | if it is there: who made a testnet here means it |
//! | `~/.cairn` | |
//!
//! Accounts' keys are in `keys/` of the home; the homes of a testnet share the `keys/` beside them.

use std::{
    io,
    path::{Path, PathBuf},
};

use node::{config::Config, exit};

use super::failure::Failure;

const TESTNET_HOME: &str = "./testnet/node0";

/// A folder, and how we came to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home {
    path: PathBuf,
    origin: &'static str,
}

impl Home {
    /// `given` (by flag or environment), else the testnet of the current folder, else `~/.cairn`.
    pub fn find(given: Option<PathBuf>) -> Result<Self, Failure> {
        if given.is_none() && is_testnet_here() {
            return Ok(Self { path: TESTNET_HOME.into(), origin: "the testnet of this folder" });
        }
        Self::given_or_default(given)
    }

    /// `given` (by flag or environment), else `~/.cairn`.
    ///
    /// Errors: neither is there, nor `HOME`.
    pub fn given_or_default(given: Option<PathBuf>) -> Result<Self, Failure> {
        match (given, std::env::home_dir()) {
            (Some(path), _) if path.as_os_str().is_empty() => {
                Err(Failure::new("--home or CAIRN_HOME is empty: name a folder, or leave it out"))
            }
            (Some(path), _) => Ok(Self { path, origin: "--home or CAIRN_HOME" }),
            (None, Some(user)) => Ok(Self { path: user.join(".cairn"), origin: "the default" }),
            (None, None) => Err(Failure::new("there is no HOME to look for .cairn in: name a folder with --home")),
        }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `config/config.toml` and its neighbours.
    pub fn config_file(&self, name: &str) -> PathBuf {
        self.path.join("config").join(name)
    }

    /// Where it was looked, for errors.
    pub fn looked(&self) -> String {
        let others = match self.origin {
            "the default" if is_testnet_here() => {
                "; the testnet of this folder is meant only by --home ./testnet/node0"
            }
            "the default" => "; there is no ./testnet/node0 in this folder",
            _ => "",
        };
        format!("{} ({}{others})", self.path.display(), self.origin)
    }

    /// That a node was set up here.
    ///
    /// Errors: it was not; names the place and how to make one.
    pub fn must_exist(&self) -> Result<(), Failure> {
        let file = self.config_file("config.toml");
        match std::fs::metadata(&file) {
            Ok(found) if found.is_file() => return Ok(()),
            Err(error) if !is_absent(&error) => {
                let sentence = format!("{} cannot be looked at: {error}: run this as the node's user", file.display());
                return Err(Failure::with_code(exit::Code::Config, sentence));
            }
            _ => {}
        }
        Err(Failure::new(format!(
            "there is no node in {}: make one with `cairn init`, or name its folder with --home",
            self.looked()
        )))
    }

    /// Where accounts' keys are.
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

    /// The RPC address of this home's node as a URL, if there is such a node and it has one.
    ///
    /// Errors: its configuration cannot be read: whoever answers at another address is another node.
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

/// One that may not be looked at is there.
fn is_testnet_here() -> bool {
    match std::fs::metadata(Path::new(TESTNET_HOME).join("config")) {
        Ok(found) => found.is_dir(),
        Err(error) => !is_absent(&error),
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// An address that listens everywhere is reached at loopback.
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
    fn a_given_home_is_taken_as_it_is() {
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
