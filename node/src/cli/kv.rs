//! `cairn kv` writes and reads keys of a namespace.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use client::fields;
use data_encoding::HEXUPPER_PERMISSIVE;
use node::exit::Failure;
use serde_json::{Value, json};
use types::{Height, KvOp, Msg, NsName, limits::KV_VALUE_BYTES_MAX};

use super::{
    args, diff,
    home::Home,
    keyring::KeyName,
    ns::{self, Reading},
    output,
    query::Answer,
    show,
    tx::Sending,
};

const HELP: &str = "\
Examples:
  cairn kv put shared/policy rules \"ask first\" --from alice
  cairn kv put shared/policy logo --file logo.png --from alice
  cairn kv get shared/policy rules                    cairn kv get shared/policy rules --height 7
  cairn kv put shared/policy rules \"never\" --if-height 12 --from alice
  cairn kv del shared/policy rules --from alice
  cairn kv range shared/policy --start r --limit 20 --json
  cairn kv history shared/policy rules                every value that the node still has

A key or value that begins with 0x is taken as hexadecimal digits. --if-height is the height at which
you read the key: the write fails with E_CAS if the key changed after it. With 0 the key must be absent.";

/// Write and read keys of a namespace
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Kv {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set the value of a key
    Put {
        #[command(flatten)]
        place: Place,
        /// New value
        #[arg(required_unless_present = "file", conflicts_with = "file")]
        value: Option<String>,
        /// Read the value from this file; `-` reads it from standard input
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Print the value of a key
    Get {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        reading: Reading,
    },
    /// Delete a key
    Del {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        writing: Writing,
    },
    /// Print the versions of a key, the newest first
    History {
        #[command(flatten)]
        place: Place,
        /// Maximum number of versions
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
        limit: u64,
        #[command(flatten)]
        reading: Reading,
    },
    /// Print keys and values in the order of the keys
    Range {
        /// Name of the namespace
        ns: NsName,
        /// First key [default: the first of the namespace]
        #[arg(long, value_name = "KEY", default_value = "", hide_default_value = true)]
        start: String,
        /// Maximum number of keys
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100))]
        limit: u64,
        #[command(flatten)]
        reading: Reading,
    },
}

/// A key of a namespace.
#[derive(Debug, Args)]
struct Place {
    /// Name of the namespace
    ns: NsName,
    /// The key
    key: String,
}

/// How a write is made.
#[derive(Debug, Args)]
struct Writing {
    /// Name of the key that signs and pays
    #[arg(long, value_name = "NAME")]
    from: KeyName,
    /// Write only if the key did not change after this height; 0: only if it is absent
    #[arg(long, value_name = "HEIGHT", value_parser = args::height)]
    if_height: Option<Height>,
    /// Data epoch of the namespace that the write is for [default: the current one]
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
    #[command(flatten)]
    sending: Sending,
}

impl Kv {
    /// Runs the subcommand with the keyring and the node of the home.
    ///
    /// Errors: an input is invalid, the node does not respond or refuses, a key that is read has no value, or a
    /// transaction fails or is not committed within `--timeout`.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        match self.command {
            Command::Put { place, value, file, writing } => {
                let value = match (value, file) {
                    (Some(text), _) => bytes(&text)?,
                    (None, Some(file)) => read(&file)?,
                    (None, None) => return Err(Failure::refused("a value or --file is needed")),
                };
                writing.write(home, &place, Some(value))
            }
            Command::Del { place, writing } => writing.write(home, &place, None),
            Command::Get { place, reading } => get(home, &place, &reading),
            Command::History { place, limit, reading } => history(home, &place, limit, &reading),
            Command::Range { ns, start, limit, reading } => range(home, &ns, &bytes(&start)?, limit, &reading),
        }
    }
}

/// Returns the bytes that an argument stands for.
///
/// Errors: it begins with `0x` and is not hexadecimal.
pub fn bytes(text: &str) -> Result<Vec<u8>, Failure> {
    let Some(digits) = text.strip_prefix("0x") else { return Ok(text.into()) };
    let decoded = HEXUPPER_PERMISSIVE.decode(digits.as_bytes());
    decoded.map_err(|_| {
        Failure::refused(format!("{text:?} begins with 0x and is not hexadecimal: use an even number of digits"))
    })
}

/// Reads a value from a file.
fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    let value = args::read(file, KV_VALUE_BYTES_MAX)?;
    if value.len() > KV_VALUE_BYTES_MAX {
        return Err(Failure::refused(format!(
            "{} has more than {KV_VALUE_BYTES_MAX} bytes, which a value may have: split it",
            file.display()
        )));
    }
    Ok(value)
}

impl Writing {
    fn write(&self, home: &Home, place: &Place, value: Option<Vec<u8>>) -> Result<(), Failure> {
        let op = KvOp { key: bytes(&place.key)?, value, if_height: self.if_height };
        let client = self.sending.client(home)?;
        let data_epoch = match self.epoch {
            Some(epoch) => epoch,
            None => ns::data_epoch(&client, &place.ns)?,
        };
        let message = Msg::KvWrite { ns: place.ns.to_string(), data_epoch, ops: vec![op] };
        self.sending.send(home, &client, &self.from, &[message])
    }
}

fn get(home: &Home, place: &Place, reading: &Reading) -> Result<(), Failure> {
    let Answer { mut value, height } = reading.ask(home, &format!("/kv/get/{}", place.ns), &bytes(&place.key)?)?;
    if reading.json {
        value["ns"] = json!(place.ns.as_str());
        value["height"] = json!(height.to_string());
        output::json(&value);
        return Ok(());
    }
    if value.get("value").is_none_or(Value::is_null) {
        return Err(Failure::refused(format!("{} has no key {} at height {height}", place.ns, place.key)));
    }
    output::line(show::text(&fields::bytes(&value, "/value")?));
    show::note_reverted(&value, "/reverted_by", "this content");
    Ok(())
}

fn history(home: &Home, place: &Place, limit: u64, reading: &Reading) -> Result<(), Failure> {
    let path = format!("/kv/history/{}?limit={limit}", place.ns);
    let Answer { mut value, height } = reading.ask(home, &path, &bytes(&place.key)?)?;
    if reading.json {
        value["height"] = json!(height.to_string());
        output::json(&value);
        return Ok(());
    }
    let versions = fields::list(&value, "/rows")?;
    if versions.is_empty() {
        let (ns, key) = (&place.ns, &place.key);
        return Err(Failure::refused(format!("{ns} has no key {key} at the kept heights up to {height}")));
    }
    let is_reverted = versions.iter().any(|version| version.get("reverted_by").is_some());
    let titles = ["since height", "value", "reverted by"].map(str::to_owned);
    let mut rows = vec![titles[..if is_reverted { 3 } else { 2 }].to_vec()];
    for version in versions {
        let value = match version.get("value").is_none_or(Value::is_null) {
            true => "(deleted)".to_owned(),
            false => diff::shortened(&fields::bytes(version, "/value")?),
        };
        let id = fields::text(version, "/reverted_by").ok().map(ToOwned::to_owned);
        rows.push([fields::number(version, "/height")?.to_string(), value].into_iter().chain(id).collect());
    }
    output::table(&rows, &[0]).iter().for_each(output::line);
    if is_reverted {
        output::note(
            "a version with a number under \"reverted by\" was taken back: `cairn revert show NUMBER` says why",
        );
    }
    if let Ok(next) = fields::number(&value, "/next_height") {
        output::note(format_args!("there are older versions: continue with --height {next}"));
    }
    Ok(())
}

fn range(home: &Home, ns: &NsName, start: &[u8], limit: u64, reading: &Reading) -> Result<(), Failure> {
    let Answer { mut value, height } = reading.ask(home, &format!("/kv/range/{ns}?limit={limit}"), start)?;
    if reading.json {
        value["ns"] = json!(ns.as_str());
        value["height"] = json!(height.to_string());
        output::json(&value);
        return Ok(());
    }
    let mut rows = vec![["key", "value"].map(str::to_owned).to_vec()];
    for row in fields::list(&value, "/rows")? {
        rows.push(
            ["/key", "/value"]
                .map(|field| fields::bytes(row, field))
                .into_iter()
                .map(|bytes| Ok(show::text(&bytes?)))
                .collect::<Result<_, Failure>>()?,
        );
    }
    output::table(&rows, &[]).iter().for_each(output::line);
    show::note_reverted(&value, "/reverted_by", "this content");
    if value.get("next").is_some_and(|next| !next.is_null()) {
        let next = show::text(&fields::bytes(&value, "/next")?);
        output::note(format_args!("there may be more keys: continue with --start {next:?} --height {height}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_argument_is_text_or_hexadecimal() {
        assert_eq!(bytes("a b").unwrap(), b"a b");
        assert_eq!(bytes("0x00fF").unwrap(), [0, 255]);
        assert!(bytes("0x0").unwrap_err().to_string().contains("even number"));
        assert_eq!(bytes(&show::text(b"0x00")).unwrap(), b"0x00", "what is shown can be given back");
    }
}
