//! `cairn query` asks a node for its state and prints the response as text or JSON.

use clap::{Args, Subcommand};
use client::{AccountState, Client, ClientError, FieldError, fields};
use data_encoding::HEXUPPER;
use node::{clock, exit::Failure};
use serde_json::{Value, json};
use types::TxId;

use super::{
    args::NodeArgs,
    home::Home,
    keyring::Keyring,
    output,
    show::{self, Facts, Names},
    watch,
};

const HELP: &str = "\
Examples:
  cairn query account bob
  cairn query tx 5B2C...64-hex-digits
  cairn query block 7            cairn query block            (the latest)
  cairn query validators --json  cairn query validators --all    (with their stake)
  cairn query delegations bob
  cairn query status --node http://127.0.0.1:26667
  until cairn query ready; do sleep 1; done";

/// Query a node for accounts, transactions, blocks and validators
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Query {
    #[command(subcommand)]
    command: Command,
    /// Print the node's JSON for programs
    #[arg(long, global = true)]
    json: bool,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Balance and next nonce of an account
    Account {
        /// Address of the account, or the name of its key
        account: String,
    },
    /// Status of a transaction: unknown, pending, expired, or committed with its result
    Tx {
        /// Hash of the transaction, 64 hexadecimal digits
        hash: TxId,
    },
    /// A block with its transactions
    Block {
        /// Height of the block [default: the latest]
        height: Option<u64>,
    },
    /// The validators and their power
    Validators {
        /// Height [default: the latest]
        height: Option<u64>,
        /// All validators with their stake, those outside of the set too
        #[arg(long)]
        all: bool,
    },
    /// What an account has delegated to validators
    Delegations {
        /// Address of the account, or the name of its key
        account: String,
        /// Height [default: the latest]
        height: Option<u64>,
    },
    /// What an account takes back from validators or moved between them, and until when it is locked
    Unbonding {
        /// Address of the account, or the name of its key
        account: String,
        /// Height [default: the latest]
        height: Option<u64>,
    },
    /// What a validator and those behind it lost, the newest first
    Slashes {
        /// Operator of the validator: its address, or the name of its key
        validator: String,
        /// Height [default: the latest]
        height: Option<u64>,
    },
    /// The heights that a validator did not sign
    Uptime {
        /// Operator of the validator: its address, or the name of its key
        validator: String,
        /// Height [default: the latest]
        height: Option<u64>,
    },
    /// Bonded and unbonding stake
    /// What the stake of an account has earned
    Rewards {
        /// Address of the account, or the name of its key
        account: String,
        /// Height [default: the latest]
        height: Option<u64>,
    },
    /// Stake, rewards, fees and what is the community's
    Pool {
        /// Height [default: the latest]
        height: Option<u64>,
    },
    /// Identity, height and state of the node
    Status,
    /// Whether the node is ready: exit code 0, or 1 with the reason. For health checks and scripts
    ///
    /// A node is not ready, for example, while it catches up with the chain, has no peers, hears validators with too
    /// little power, or has seen no block for instrumentation.stall_after.
    Ready,
    /// The consensus parameters, which all nodes of the chain share
    Params {
        /// Height [default: the latest]
        height: Option<u64>,
    },
    /// The plan of the next upgrade, and the last upgrade
    Upgrade {
        /// Height [default: the latest]
        height: Option<u64>,
    },
    /// The genesis document of the chain
    Genesis,
}

/// The status of a transaction according to a node.
#[derive(Debug)]
pub enum Status {
    /// The node has not received the transaction, or keeps no record of it any more.
    Unknown,
    /// The transaction waits for a block.
    Pending,
    /// The transaction can no longer be committed. `why` is empty, or text with details that continues a sentence.
    Expired { why: String },
    /// The transaction is in a committed block.
    Committed {
        /// Height of the block.
        height: u64,
        /// Index of the transaction in the block.
        index: u64,
        /// Result of the transaction: code, log, gas, events.
        result: Value,
        /// Encoded bytes of the transaction.
        bytes: Vec<u8>,
        /// Complete response of the node.
        raw: Value,
    },
}

impl Query {
    /// Runs the query on a node and prints the response.
    ///
    /// Errors: the configuration or an argument is invalid, the node does not respond or responds with an error, or,
    /// for `ready`, the node is not ready.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let client = self.node.client(home)?;
        let asker = Asker { client, keyring: Keyring::of(home), json: self.json };
        match self.command {
            Command::Account { account } => asker.account(&account),
            Command::Tx { hash } => asker.tx(&hash),
            Command::Block { height } => asker.block(height),
            Command::Validators { height, all: false } => asker.validators(height),
            Command::Validators { height, all: true } => asker.all_validators(height),
            Command::Delegations { account, height } => asker.delegations(&account, height),
            Command::Unbonding { account, height } => asker.unbonding(&account, height),
            Command::Slashes { validator, height } => asker.slashes(&validator, height),
            Command::Uptime { validator, height } => asker.uptime(&validator, height),
            Command::Rewards { account, height } => asker.rewards(&account, height),
            Command::Pool { height } => asker.pool(height),
            Command::Status => asker.status(),
            Command::Ready => asker.ready(),
            Command::Params { height } => asker.params(height),
            Command::Upgrade { height } => asker.upgrade(height),
            Command::Genesis => asker.genesis(),
        }
    }
}

/// Returns the height to which the validators of a height belong (the latest by default), and all its pages of them.
///
/// Errors: the node does not respond, responds with an error, or its response lacks a field.
pub fn validators(client: &Client, height: Option<u64>) -> Result<(u64, Vec<Value>), Failure> {
    const PER_PAGE: u64 = 100;
    let mut validators = Vec::new();
    let mut page = 1;
    loop {
        let mut params = at_height(height);
        params["page"] = json!(page.to_string());
        params["per_page"] = json!(PER_PAGE.to_string());
        let answer = client.call("validators", params)?;
        let found = fields::list(&answer, "/validators")?;
        validators.extend(found.iter().cloned());
        let total = fields::number(&answer, "/total")?;
        if validators.len() as u64 >= total || found.is_empty() {
            return Ok((fields::number(&answer, "/block_height")?, validators));
        }
        page += 1;
    }
}

/// An answer of the application.
pub struct Answer {
    /// The JSON of the answer.
    pub value: Value,
    /// Height of the state that was asked.
    pub height: u64,
}

/// Asks the application of the node for all pages of a list, at a height or at the latest one. Returns the rows in the field
/// `field`, and the height: the pages after the first one are read at its height, so that the list is that of one height.
///
/// Errors: those of [`state`], or a page has no such field.
pub fn pages(client: &Client, path: &str, field: &str, mut height: Option<u64>) -> Result<(Vec<Value>, u64), Failure> {
    let (mut all, mut from) = (Vec::new(), String::new());
    loop {
        let Answer { value, height: at } = state(client, path, from.as_bytes(), height)?;
        height = Some(at);
        all.extend_from_slice(fields::list(&value, field)?);
        match value.get("next").and_then(Value::as_str) {
            Some(next) => next.clone_into(&mut from),
            None => return Ok((all, at)),
        }
    }
}

/// Asks the application of the node, at a height or at the latest one.
///
/// Errors: the node does not respond, the application refuses the query, or its answer is not JSON.
pub fn state(client: &Client, path: &str, data: &[u8], height: Option<u64>) -> Result<Answer, Failure> {
    let mut params = json!({ "path": path, "data": HEXUPPER.encode(data) });
    if let Some(height) = height {
        params["height"] = json!(height.to_string());
    }
    let answer = client.call("abci_query", params)?;
    let code = fields::number(&answer, "/response/code").unwrap_or(0);
    if code != 0 {
        let log = fields::text(&answer, "/response/log").unwrap_or_default();
        return Err(Failure::refused(format!("the node refuses the query: {log} (code {code})")));
    }
    let value = serde_json::from_slice(&fields::bytes(&answer, "/response/value")?)
        .map_err(|error| Failure::refused(format!("the node's answer to {path} is not JSON: {error}")))?;
    Ok(Answer { value, height: fields::number(&answer, "/response/height")? })
}

/// Returns the status of a transaction according to the node.
///
/// Errors: the node does not respond or responds with an error.
pub fn status_of(client: &Client, id: &TxId) -> Result<Status, ClientError> {
    let raw = client.call("tx_status", json!({ "hash": id.to_string() }))?;
    let status = raw.get("status").and_then(Value::as_str).unwrap_or_default();
    Ok(match status {
        "committed" => Status::Committed {
            height: fields::number(&raw, "/height").unwrap_or_default(),
            index: fields::number(&raw, "/index").unwrap_or_default(),
            result: raw.get("tx_result").cloned().unwrap_or_default(),
            bytes: fields::bytes(&raw, "/tx").unwrap_or_default(),
            raw,
        },
        "pending" => Status::Pending,
        "expired" => Status::Expired { why: String::new() },
        _ => Status::Unknown,
    })
}

/// The node to query, the keyring for names, and the output format.
pub struct Asker {
    pub client: Client,
    pub keyring: Keyring,
    pub json: bool,
}

impl Asker {
    pub fn names(&self) -> Names {
        Names::of(&self.keyring)
    }

    /// Calls a method. With `--json` it prints the response and returns `None`; otherwise it returns the response.
    fn ask(&self, method: &str, params: Value) -> Result<Option<Value>, Failure> {
        let answer = self.client.call(method, params)?;
        if self.json {
            output::json(&answer);
            return Ok(None);
        }
        Ok(Some(answer))
    }

    fn account(&self, text: &str) -> Result<(), Failure> {
        let address = self.keyring.address_of(text)?;
        let AccountState { balance, nonce, height } = self.client.account(&address)?;
        if self.json {
            output::json(&json!({
                "address": address.to_string(),
                "balance": balance.to_string(),
                "nonce": nonce.to_string(),
                "height": height.to_string(),
            }));
            return Ok(());
        }
        let mut facts = Facts::default();
        facts.add("account", self.names().of_address(&address)).add("balance", balance).add("next nonce", nonce);
        facts.add("at height", height).print();
        Ok(())
    }

    fn tx(&self, id: &TxId) -> Result<(), Failure> {
        if self.json {
            output::json(&self.client.call("tx_status", json!({ "hash": id.to_string() }))?);
            return Ok(());
        }
        let mut facts = Facts::default();
        facts.add("transaction", id);
        match status_of(&self.client, id)? {
            Status::Unknown => {
                facts.add("status", "unknown: this node has not seen it, or its block is no longer kept");
            }
            Status::Pending => {
                facts.add("status", "pending: it waits for a block");
            }
            Status::Expired { why } => {
                facts.add("status", format_args!("expired: it can no longer be committed{why}"));
            }
            Status::Committed { height, index, result, bytes, .. } => {
                let names = self.names();
                facts.add("status", format_args!("committed at height {height}, position {index}"));
                let code = fields::number(&result, "/code").unwrap_or(0);
                let log = fields::text(&result, "/log").unwrap_or_default();
                facts.add("result", if code == 0 { "ok".to_owned() } else { format!("failed, code {code}: {log}") });
                if let Ok(tx) = show::decode(&bytes) {
                    names.transaction(&tx, &mut facts);
                }
                names.events(fields::list(&result, "/events").unwrap_or(&[]), &mut facts);
            }
        }
        facts.print();
        Ok(())
    }

    fn block(&self, height: Option<u64>) -> Result<(), Failure> {
        let Some(answer) = self.ask("block", at_height(height))? else { return Ok(()) };
        let header = fields::at(&answer, "/block/header")?;
        let time = fields::time(header, "/time")?;
        let names = self.names();
        let mut facts = Facts::default();
        facts.add("block", fields::number(header, "/height")?);
        facts.add("hash", fields::text(&answer, "/block_id/hash")?);
        facts.add("chain", fields::text(header, "/chain_id")?);
        facts.add("time", format_args!("{time} ({})", show::ago(time, clock::wall())));
        facts.add("proposer", fields::text(header, "/proposer_address")?);
        facts.add("app hash", format_args!("{} (state before this block)", fields::text(header, "/app_hash")?));
        if let Ok(signatures) = fields::list(&answer, "/block/last_commit/signatures").map(<[Value]>::to_vec)
            && !signatures.is_empty()
        {
            let signed = signatures
                .iter()
                .filter(|one| fields::number(one, "/block_id_flag").is_ok_and(|flag| flag == 2))
                .count();
            let round = fields::number(&answer, "/block/last_commit/round").unwrap_or_default();
            facts.add(
                "block before",
                format_args!("committed in round {round} by {signed} of {} validators", signatures.len()),
            );
        }
        let txs = fields::list(&answer, "/block/data/txs")?;
        facts.add("content", show::count(txs.len() as u64, "transaction"));
        for (index, _) in txs.iter().enumerate() {
            let bytes = fields::bytes(&answer, &format!("/block/data/txs/{index}"))?;
            let summary = match show::decode(&bytes) {
                Ok(tx) => format!("{}  {}", tx.id(), names.summary(&tx)),
                Err(_) => format!("{} bytes that are not a transaction", bytes.len()),
            };
            facts.add(&format!("  {index}"), summary);
        }
        facts.print();
        Ok(())
    }

    fn validators(&self, height: Option<u64>) -> Result<(), Failure> {
        let (block_height, validators) = validators(&self.client, height)?;
        if self.json {
            let total = validators.len().to_string();
            output::json(
                &json!({ "block_height": block_height.to_string(), "validators": validators, "total": total }),
            );
            return Ok(());
        }
        let power = |validator: &Value| fields::number(validator, "/voting_power");
        let total: u64 = validators.iter().map(power).sum::<Result<u64, FieldError>>()?;
        output::line(format_args!(
            "{} of power {total} at height {block_height}; a block needs more than {}",
            show::count(validators.len() as u64, "validator"),
            u128::from(total) * 2 / 3
        ));
        let mut rows = vec![["address", "power", "share"].map(str::to_owned).to_vec()];
        for validator in &validators {
            let share = power(validator)? as f64 / (total.max(1)) as f64;
            rows.push(vec![
                fields::text(validator, "/address")?.to_owned(),
                power(validator)?.to_string(),
                format!("{:.1} %", share * 100.0),
            ]);
        }
        output::table(&rows, &[1, 2]).iter().for_each(output::line);
        Ok(())
    }

    fn status(&self) -> Result<(), Failure> {
        if self.json {
            output::json(&self.client.call("status", json!({}))?);
            return Ok(());
        }
        let [answer, ready] = self.client.call_all(["status", "ready"])?;
        let time = fields::time(&answer, "/sync_info/latest_block_time")?;
        let syncing = answer.pointer("/sync_info/catching_up").and_then(Value::as_bool).unwrap_or(false);
        let power = fields::number(&answer, "/validator_info/voting_power").unwrap_or(0);
        let mut facts = Facts::default();
        facts.add("node", format_args!("{} ({})", fields::text(&answer, "/node_info/moniker")?, self.client.url()));
        facts.add("id", fields::text(&answer, "/node_info/id")?);
        facts.add("chain", fields::text(&answer, "/node_info/network")?);
        facts.add("height", fields::number(&answer, "/sync_info/latest_block_height")?);
        facts.add("last block", format_args!("{time} ({})", show::ago(time, clock::wall())));
        facts.add("kept from height", fields::number(&answer, "/sync_info/earliest_block_height")?);
        facts.add("state", if syncing { "catching up with the chain" } else { "caught up with the chain" });
        let reasons = watch::not_ready(&ready);
        facts.add("ready", if reasons.is_empty() { "yes".to_owned() } else { format!("no: {reasons}") });
        facts.add(
            "validator",
            match (power, fields::text(&answer, "/validator_info/address")) {
                (0, _) | (_, Err(_)) => "no: this is a full node".to_owned(),
                (power, Ok(address)) => format!("{address} of power {power}"),
            },
        );
        facts.print();
        Ok(())
    }

    fn ready(&self) -> Result<(), Failure> {
        let [answer, status] = self.client.call_all(["ready", "status"])?;
        if self.json {
            output::json(&answer);
        }
        if answer.get("ready").and_then(Value::as_bool) == Some(true) {
            if !self.json {
                let name = fields::text(&status, "/node_info/moniker")?;
                let height = fields::number(&status, "/sync_info/latest_block_height")?;
                output::line(format_args!("{name} is ready, at height {height}"));
            }
            return Ok(());
        }
        Err(Failure::refused(format!("not ready: {}", watch::not_ready(&answer))))
    }

    fn params(&self, height: Option<u64>) -> Result<(), Failure> {
        let Some(answer) = self.ask("consensus_params", at_height(height))? else { return Ok(()) };
        output::line(format_args!("parameters at height {}", fields::number(&answer, "/block_height")?));
        let mut rows = Vec::new();
        flatten(fields::at(&answer, "/consensus_params")?, String::new(), &mut rows);
        output::table(&rows, &[]).iter().for_each(output::line);
        Ok(())
    }

    fn upgrade(&self, height: Option<u64>) -> Result<(), Failure> {
        let Answer { mut value, height } = state(&self.client, "/upgrade", &[], height)?;
        if self.json {
            value["height"] = json!(height.to_string());
            output::json(&value);
            return Ok(());
        }
        let mut facts = Facts::default();
        if value["plan"].is_null() {
            facts.add("planned", "nothing");
        } else {
            let at = fields::number(&value, "/plan/height")?;
            let left = format!("{} from now", show::count(at.saturating_sub(height), "height"));
            facts.add("planned", format_args!("{} at height {at}, {left}", fields::text(&value, "/plan/name")?));
            facts.add("program", fields::text(&value, "/plan/info")?);
        }
        if !value["last"].is_null() {
            let (name, at) = (fields::text(&value, "/last/name")?, fields::text(&value, "/last/height")?);
            facts.add("last", format_args!("{name} at height {at}"));
        }
        facts.add("at height", height).print();
        Ok(())
    }

    fn genesis(&self) -> Result<(), Failure> {
        let answer = self.client.call("genesis", json!({}))?;
        // Only the document is printed, so that the output can be used as the genesis.json of a new node.
        output::json(fields::at(&answer, "/genesis")?);
        Ok(())
    }
}

fn at_height(height: Option<u64>) -> Value {
    height.map_or_else(|| json!({}), |height| json!({ "height": height.to_string() }))
}

/// Appends the leaves of nested objects to `rows`, each as its path `a.b.c` and its value. Null values are left out.
fn flatten(value: &Value, path: String, rows: &mut Vec<Vec<String>>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                flatten(field, path, rows);
            }
        }
        Value::Null => {}
        Value::String(text) => rows.push(vec![path, text.clone()]),
        other => rows.push(vec![path, other.to_string()]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_parameters_become_lines() {
        let mut rows = Vec::new();
        flatten(&json!({"block": {"max_bytes": "4", "n": null}, "list": ["a"]}), String::new(), &mut rows);
        assert_eq!(rows, [["block.max_bytes", "4"], ["list", "[\"a\"]"]]);
    }
}
