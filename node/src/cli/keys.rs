//! `cairn keys` creates, lists, exports, imports and deletes the keys of accounts, and replaces the consensus key of a
//! validator.

use std::{
    io::Read,
    path::{Path, PathBuf},
};

use clap::{Args, Subcommand};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use node::exit::Failure;
use serde_json::{Value, json};
use types::SecretKey;

use files::{Access, AccountKey, Existing, generate_secret_key};

use super::{
    home::Home,
    keyring::{KeyName, Keyring},
    output,
    rotate::Rotate,
};

const HELP: &str = "\
Examples:
  cairn keys add dave                    a new key
  cairn keys add dave --recover-hex -    an existing one, 64 hexadecimal digits from standard input
  cairn keys export dave --file dave.json
  cairn keys import erin --file dave.json

Files: NAME.json in keys/ of the home, mode 0600. The homes of a testnet share the folder keys/
beside them.
Keys are not encrypted: anyone who can read the file controls the account.";

/// Create, list, import, export and delete keys of accounts; replace a consensus key
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create a key, or import a secret key
    Add {
        /// Name of the new key
        name: KeyName,
        /// Use this secret key (64 hexadecimal digits) instead of a new one; `-` reads it from standard input
        #[arg(long, value_name = "HEX")]
        recover_hex: Option<String>,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// List names and addresses
    List {
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Show address and public key
    Show {
        /// Name of the key
        name: KeyName,
        /// Print the address only
        #[arg(long, conflicts_with = "json")]
        address: bool,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Print or write a key's file, with its secret
    Export {
        /// Name of the key
        name: KeyName,
        /// File to write [default: standard output]
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
    },
    /// Import a key's file, as `export` writes it
    Import {
        /// Name for the imported key
        name: KeyName,
        /// File to read; `-` reads standard input
        #[arg(long, value_name = "FILE")]
        file: PathBuf,
        /// Print JSON for programs
        #[arg(long)]
        json: bool,
    },
    /// Delete a key permanently
    Delete {
        /// Name of the key
        name: KeyName,
        /// Confirm the deletion: without another copy of the key, the account's money can never be spent
        #[arg(long)]
        yes: bool,
    },
    /// Replace the consensus key of your validator while its node runs
    Rotate(Box<Rotate>),
}

impl Keys {
    /// Runs the subcommand on the keyring of the home.
    ///
    /// Errors: the key exists already or does not exist, an input is not a key, a deletion is not confirmed with
    /// `--yes`, a file or standard input cannot be read or written, or those of [`Rotate::run`].
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let keyring = Keyring::of(home);
        match self.command {
            Command::Add { name, recover_hex, json } => {
                let secret = match recover_hex {
                    Some(text) => from_hex(&text)?,
                    None => generate_secret_key()?,
                };
                add(&keyring, &AccountKey::new(name.as_ref(), secret)?, json)
            }
            Command::Import { name, file, json } => {
                let file = if file == Path::new("-") { "/dev/stdin".into() } else { file };
                add(&keyring, &AccountKey::load(name.as_ref(), &file)?, json)
            }
            Command::List { json } => list(&keyring, json),
            Command::Show { name, address, json } => {
                let account = keyring.get(&name)?;
                if json {
                    output::json(&describe(&account));
                } else if address {
                    output::line(account.address());
                } else {
                    show(&keyring, &account);
                }
                Ok(())
            }
            Command::Export { name, file } => {
                let bytes = keyring.get(&name)?.to_file();
                output::note("the file is not encrypted: anyone who has it controls the account");
                match file {
                    Some(file)
                        if file.parent().is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir()) =>
                    {
                        let folder = file.parent().expect("just seen").display();
                        Err(Failure::refused(format!(
                            "{}: there is no folder {folder}: create it first, or choose another file",
                            file.display()
                        )))
                    }
                    Some(file) => Ok(files::write(&file, &bytes, Access::Secret, Existing::Refuse)?),
                    None => {
                        output::line(String::from_utf8_lossy(&bytes).trim_end());
                        Ok(())
                    }
                }
            }
            Command::Rotate(rotate) => rotate.run(home),
            Command::Delete { name, yes } => {
                let account = keyring.get(&name)?;
                if !yes {
                    return Err(Failure::refused(format!(
                        "{name} ({}) would be deleted permanently: to confirm, say --yes; if in doubt, run `cairn keys export \
                         {name}` first",
                        account.address()
                    )));
                }
                keyring.delete(&name)?;
                output::line(format_args!("deleted {name}"));
                Ok(())
            }
        }
    }
}

fn add(keyring: &Keyring, account: &AccountKey, json: bool) -> Result<(), Failure> {
    keyring.add(account)?;
    if json {
        output::json(&describe(account));
    } else {
        show(keyring, account);
    }
    output::note("the file is not encrypted: keep it secret, and keep a copy");
    Ok(())
}

fn list(keyring: &Keyring, json: bool) -> Result<(), Failure> {
    let accounts = keyring.list()?;
    if json {
        output::json(&Value::Array(accounts.iter().map(describe).collect()));
    } else if accounts.is_empty() {
        output::line(format_args!("no keys in {}: create one with `cairn keys add NAME`", keyring.folder().display()));
    } else {
        let rows: Vec<Vec<String>> =
            accounts.iter().map(|key| vec![key.name.to_string(), key.address().to_string()]).collect();
        output::table(&rows, &[]).iter().for_each(output::line);
    }
    Ok(())
}

fn show(keyring: &Keyring, account: &AccountKey) {
    let public = BASE64.encode(account.secret.public_key().bytes());
    let rows = [
        ("name", account.name.to_string()),
        ("address", account.address().to_string()),
        ("public key", format!("{public} (secp256k1)")),
        ("file", keyring.folder().join(format!("{}.json", account.name)).display().to_string()),
    ];
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(label, value)| vec![label.to_owned(), value]).collect();
    output::table(&rows, &[]).iter().for_each(output::line);
}

fn describe(account: &AccountKey) -> Value {
    json!({
        "name": account.name.to_string(),
        "address": account.address().to_string(),
        "pub_key": { "type": "tendermint/PubKeySecp256k1", "value": BASE64.encode(account.secret.public_key().bytes()) },
    })
}

/// Returns the secret key that `text` encodes in hexadecimal digits; `-` reads it from standard input.
fn from_hex(text: &str) -> Result<SecretKey, Failure> {
    let input = if text == "-" { standard_input()? } else { text.to_owned() };
    let bytes = HEXLOWER_PERMISSIVE.decode(input.trim().as_bytes()).ok();
    bytes.and_then(|bytes| SecretKey::from_bytes(&bytes).ok()).ok_or_else(|| {
        Failure::refused("--recover-hex: this is not a secp256k1 secret key, which has 64 hexadecimal digits")
    })
}

fn standard_input() -> Result<String, Failure> {
    let mut text = String::new();
    let read = std::io::stdin().take(64 * 1024).read_to_string(&mut text);
    read.map_err(|error| Failure::refused(format!("standard input cannot be read: {error}")))?;
    Ok(text)
}
