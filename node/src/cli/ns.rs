//! `cairn ns` creates, shows and lists namespaces.

use clap::{Args, Subcommand};
use client::{Client, fields};
use node::exit::Failure;
use serde_json::{Value, json};
use types::{Msg, NsName, NsOwner};

use super::{
    args::NodeArgs,
    home::Home,
    keyring::{KeyName, Keyring},
    output,
    query::{self, Answer},
    show::{Facts, Names},
    tx::Sending,
};

const HELP: &str = "\
Examples:
  cairn ns create shared/policy --from alice --shared
  cairn ns create alice/notes --from alice --quota-keys 100 --quota-bytes 1000000
  cairn ns show shared/policy
  cairn ns list --json

A namespace holds keys and values. Its name has segments of lower-case letters, digits, '-' and '_',
separated by '/'. Only the account that creates it writes to it; with --shared every account does.
Creation costs the chain's ns_deposit besides the fee; it is not returned.";

/// Create, show and list namespaces of keys and values
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Ns {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Create an empty namespace
    Create {
        /// Name of the namespace
        name: NsName,
        /// Name of the key that signs, pays, and owns the namespace
        #[arg(long, value_name = "NAME")]
        from: KeyName,
        /// Every account may write
        #[arg(long)]
        shared: bool,
        /// Maximum number of keys
        #[arg(long, value_name = "N", default_value_t = 10_000)]
        quota_keys: u64,
        /// Maximum bytes of all keys and values together
        #[arg(long, value_name = "BYTES", default_value_t = 64 << 20)]
        quota_bytes: u64,
        #[command(flatten)]
        sending: Sending,
    },
    /// Show a namespace: owner, data epoch, quotas, size and root
    Show {
        /// Name of the namespace
        name: NsName,
        #[command(flatten)]
        reading: Reading,
    },
    /// List all namespaces in the order of their names
    List {
        #[command(flatten)]
        reading: Reading,
    },
}

/// Which state a command reads, and how it prints it.
#[derive(Debug, Args)]
pub struct Reading {
    /// Height of the state [default: the latest]
    #[arg(long, value_name = "HEIGHT")]
    pub height: Option<u64>,
    /// Print JSON for programs
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

impl Reading {
    /// Asks the application of the node at this height.
    ///
    /// Errors: the node does not respond, or the application refuses the query.
    pub fn ask(&self, home: &Home, path: &str, data: &[u8]) -> Result<Answer, Failure> {
        query::state(&self.client(home)?, path, data, self.height)
    }

    /// Returns a client of the node.
    ///
    /// Errors: the address of the node is invalid.
    pub fn client(&self, home: &Home) -> Result<Client, Failure> {
        self.node.client(home)
    }
}

impl Ns {
    /// Runs the subcommand with the keyring and the node of the home.
    ///
    /// Errors: a key or an input is invalid, the node does not respond or refuses, or a transaction fails or is not
    /// committed within `--timeout`.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        match self.command {
            Command::Create { name, from, shared, quota_keys, quota_bytes, sending } => {
                let owner = if shared { NsOwner::Shared } else { NsOwner::Signer };
                let message = Msg::NsCreate { ns: name.to_string(), owner, quota_keys, quota_bytes };
                sending.send(home, &sending.client(home)?, &from, &[message])
            }
            Command::Show { name, reading } => show(home, &name, &reading),
            Command::List { reading } => list(home, &reading),
        }
    }
}

/// Returns the data epoch of a namespace.
///
/// Errors: the node does not respond, or there is no such namespace.
pub fn data_epoch(client: &Client, name: &NsName) -> Result<u64, Failure> {
    Ok(fields::number(&query::state(client, &format!("/kv/ns/{name}"), &[], None)?.value, "/data_epoch")?)
}

fn owner(namespace: &Value, names: &Names) -> Result<String, Failure> {
    match fields::text(namespace, "/owner/type")? {
        "account" => Ok(names.of_text(fields::text(namespace, "/owner/address")?)),
        other => Ok(other.to_owned()),
    }
}

fn show(home: &Home, name: &NsName, reading: &Reading) -> Result<(), Failure> {
    let Answer { mut value, height } = reading.ask(home, &format!("/kv/ns/{name}"), &[])?;
    if reading.json {
        value["height"] = json!(height.to_string());
        output::json(&value);
        return Ok(());
    }
    let text = |field: &str| fields::number(&value, field);
    let (keys, bytes) = (text("/keys")?, text("/bytes")?);
    let mut facts = Facts::default();
    facts.add("namespace", name).add("owner", owner(&value, &Names::of(&Keyring::of(home)))?);
    facts.add("data epoch", text("/data_epoch")?);
    facts.add("keys", format_args!("{keys} of {}", text("/quota_keys")?));
    facts.add("bytes", format_args!("{bytes} of {}", text("/quota_bytes")?));
    facts.add("root", fields::text(&value, "/root")?);
    facts.add("created", format_args!("at height {}", text("/created_height")?));
    match text("/changed_height")? {
        0 => facts.add("changed", "never"),
        height => facts.add("changed", format_args!("at height {height}")),
    };
    facts.add("at height", height).print();
    Ok(())
}

fn list(home: &Home, reading: &Reading) -> Result<(), Failure> {
    let (all, height) = query::pages(&reading.client(home)?, "/kv/list", "/namespaces", reading.height)?;
    if reading.json {
        output::json(&json!({ "namespaces": all, "height": height.to_string() }));
        return Ok(());
    }
    let names = Names::of(&Keyring::of(home));
    let mut rows = vec![["namespace", "keys", "bytes", "epoch", "owner"].map(str::to_owned).to_vec()];
    for namespace in &all {
        let number = |field: &str| fields::number(namespace, field).map(|number| number.to_string());
        rows.push(vec![
            fields::text(namespace, "/ns")?.to_owned(),
            number("/keys")?,
            number("/bytes")?,
            number("/data_epoch")?,
            owner(namespace, &names)?,
        ]);
    }
    output::table(&rows, &[1, 2, 3]).iter().for_each(output::line);
    Ok(())
}
