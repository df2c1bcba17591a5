//! `cairn proof` asks a node for a proof about the state, and prints it as a file that [`light`] verifies offline.

use std::{
    str::FromStr,
    thread,
    time::{Duration, Instant},
};

use app::state::key;
use clap::{Args, Subcommand};
use client::{Client, ClientError, fields};
use data_encoding::{HEXUPPER, HEXUPPER_PERMISSIVE};
use light::{ProofFile, Proven, Trust};
use node::exit::Failure;
use rpc::PROOF_UNFINISHED;
use serde_json::{Value, json};
use types::NsName;

use super::{
    args::NodeArgs,
    home::Home,
    keyring::Keyring,
    kv, output,
    progress::Progress,
    query::{self, Answer},
};

const HELP: &str = "\
Examples:
  cairn proof account bob > proof.json
  cairn proof key 66 --height 40 > proof.json        the collected fees after block 40
  cairn proof kv shared/policy rules > proof.json
  cairn proof ns shared/policy > proof.json          the root over all its keys and values
  cairn proof equal shared/policy 88005 tip > proof.json    that its content is the same
  cairn proof revert 4 > proof.json                  what an executed revert restored
  cairn verify proof.json --trust validators.json    where no node is needed

The file has the value or its absence, a chain of ICS-23 proofs from it to the app hash, the
header of the next height, which has that app hash, its commit and its validators.";

/// Maximum number of calls that may end before a proof of a state below the tip is made. A state of 100 million rows needs about
/// 50.
const UNFINISHED_MAX: usize = 500;

/// Maximum wait for the header of the next height, and the pause between two questions for it.
const NEXT_HEADER_WAIT_MAX: Duration = Duration::from_secs(30);
const NEXT_HEADER_PAUSE: Duration = Duration::from_millis(100);

/// Get a proof about the state, to hand to someone who trusts no node
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Proof {
    #[command(subcommand)]
    of: Subject,
    /// Height of the state: the one after this block, or `tip`, the default. The first proof of a height below the tip takes
    /// longer, because the node computes the tree of that state
    #[arg(long, global = true, value_name = "HEIGHT")]
    height: Option<At>,
    #[command(flatten)]
    node: NodeArgs,
}

#[derive(Debug, Subcommand)]
enum Subject {
    /// Prove the balance and the next nonce of an account, or that it was never used
    Account {
        /// Address of the account, or the name of its key
        account: String,
    },
    /// Prove the value under a raw key, or that there is none
    Key {
        /// The key in hexadecimal digits; the documentation of the crate `app` has a table of keys
        #[arg(value_parser = hex)]
        key: Hex,
    },
    /// Prove the value of a key in a namespace, or that it has none
    Kv {
        /// Name of the namespace
        ns: NsName,
        /// The key; hexadecimal digits if it begins with 0x
        key: String,
    },
    /// Prove the root of a namespace, the hash of its keys and values, or that there is no such namespace
    Ns {
        /// Name of the namespace
        ns: NsName,
    },
    /// Prove that a namespace had the same keys and values at two heights, as after a revert
    Equal {
        /// Name of the namespace
        ns: NsName,
        /// Height of the one state, or `tip`
        first: At,
        /// Height of the other state, or `tip`
        second: At,
    },
    /// Prove what an executed revert restored: its record, and that each of its namespaces had the root of the target
    Revert {
        /// Number of the revert
        id: u64,
    },
}

/// Bytes that are given in hexadecimal digits.
#[derive(Clone, Debug)]
struct Hex(Vec<u8>);

fn hex(text: &str) -> Result<Hex, String> {
    let bytes = HEXUPPER_PERMISSIVE.decode(text.strip_prefix("0x").unwrap_or(text).as_bytes());
    match bytes {
        Ok(bytes) if !bytes.is_empty() => Ok(Hex(bytes)),
        _ => Err("a key is an even number of hexadecimal digits, at least 2".to_owned()),
    }
}

/// The height of a state.
#[derive(Clone, Copy, Debug)]
enum At {
    Tip,
    Height(u64),
}

impl FromStr for At {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "tip" => Ok(Self::Tip),
            text => text.parse().map(Self::Height).map_err(|_| "a height is a number, or `tip`".to_owned()),
        }
    }
}

impl Proof {
    /// Gets the proof from a node, checks that it is consistent, and prints it.
    ///
    /// Errors: the configuration or an argument is invalid, the node does not respond, cannot prove a state of this
    /// height, decides no next block within 30 s, or its answers do not belong together.
    pub fn run(self, home: &Home) -> Result<(), Failure> {
        let client = self.node.client(home)?;
        let at = self.height.unwrap_or(At::Tip);
        let store = |key: &[u8]| fetch(&client, "/store", key, at);
        let root = |ns: &NsName, at| fetch(&client, &format!("/kv/root/{ns}"), &[], at);
        let file = match &self.of {
            Subject::Account { account } => store(&key::account(&Keyring::of(home).address_of(account)?))?.0,
            Subject::Key { key } => store(&key.0)?.0,
            Subject::Kv { ns, key } => fetch(&client, &format!("/kv/get/{ns}"), &kv::bytes(key)?, at)?.0,
            Subject::Ns { ns } => root(ns, at)?.0,
            Subject::Equal { .. } | Subject::Revert { .. } if self.height.is_some() => {
                return Err(Failure::refused("--height is not for `equal` and `revert`, which name two heights"));
            }
            Subject::Equal { ns, first, second } => {
                let [(file_a, a), (file_b, b)] = [root(ns, *first)?, root(ns, *second)?];
                if let Some(absent) = [&a, &b].into_iter().find(|proven| proven.root().is_none()) {
                    let height = absent.height;
                    return Err(Failure::refused(format!(
                        "there was no namespace {ns} at height {height}: `cairn proof ns {ns} --height {height}` proves that"
                    )));
                }
                if a.root() != b.root() {
                    let (from, to) = (a.height.min(b.height), a.height.max(b.height));
                    return Err(Failure::refused(format!(
                        "{ns} has other content at height {to} than at height {from}: \
                         `cairn diff {ns} --from {from} --to {to}` shows it"
                    )));
                }
                json!({ "format": light::EQUAL_FORMAT, "proofs": [file_a, file_b] })
            }
            Subject::Revert { id } => revert(&client, *id)?,
        };
        output::json(&file);
        Ok(())
    }
}

/// Returns the file that proves what a revert restored.
fn revert(client: &Client, id: u64) -> Result<Value, Failure> {
    let Answer { value: proposal, .. } = query::state(client, &format!("/proposal/{id}"), &[], None)?;
    let state = fields::text(&proposal, "/state")?;
    if state != "executed" {
        return Err(Failure::refused(format!(
            "revert {id} is {state}, and only an executed one restored something: `cairn revert show {id}` says more"
        )));
    }
    let [target, executed] = ["/target_height", "/closed_height"].map(|height| fields::number(&proposal, height));
    let [target, executed] = [At::Height(target?), At::Height(executed?)];
    let (record, _) = fetch(client, "/store", &key::proposal(id), executed)?;
    let (mut namespaces, mut before) = (Vec::new(), Value::Null);
    for scope in fields::list(&proposal, "/scope")? {
        let path = format!("/kv/root/{}", fields::text(scope, "/ns")?);
        let [(then, _), (restored, _)] = [fetch(client, &path, &[], target)?, fetch(client, &path, &[], executed)?];
        namespaces.push(json!({ "before": then["proof_ops"], "after": restored["proof_ops"] }));
        before = then;
    }
    let block = |file: &Value| json!({ "signed_header": file["signed_header"], "validators": file["validators"] });
    Ok(json!({
        "format": light::REVERT_FORMAT,
        "before": block(&before),
        "after": block(&record),
        "record": record["proof_ops"],
        "namespaces": namespaces,
    }))
}

/// Returns the file with the proof of an answer, and what it proves.
fn fetch(client: &Client, path: &str, data: &[u8], at: At) -> Result<(Value, Proven), Failure> {
    let mut params = json!({ "path": path, "data": HEXUPPER.encode(data), "prove": true });
    if let At::Height(height) = at {
        params["height"] = json!(height.to_string());
    }
    let answer = ask(client, &params)?;
    let code = fields::number(&answer, "/response/code")?;
    if code != 0 {
        let log = fields::text(&answer, "/response/log").unwrap_or_default();
        return Err(Failure::refused(format!("the node proves nothing: {log} (code {code})")));
    }
    let next = fields::number(&answer, "/response/height")?.saturating_add(1);
    wait_for(client, next)?;
    let commit = client.call("commit", json!({ "height": next.to_string() }))?;
    let (_, mut validators) = query::validators(client, Some(next))?;
    for validator in validators.iter_mut().filter_map(Value::as_object_mut) {
        // No hash and no signature is over it.
        validator.remove("proposer_priority");
    }
    // A file that does not verify even with its own validators as the trusted ones is of no use.
    let own = json!({ "validators": validators }).to_string();
    let file = json!({
        "format": light::FORMAT,
        "proof_ops": fields::at(&answer, "/response/proofOps/ops")?,
        "signed_header": fields::at(&commit, "/signed_header")?,
        "validators": validators,
    });
    let proven = Trust::from_json(own.as_bytes()).map_err(|error| error.to_string()).and_then(|trust| {
        let read = ProofFile::from_json(file.to_string().as_bytes());
        read.and_then(|read| read.verify(&trust)).map_err(|error| error.to_string())
    });
    let proven = proven.map_err(|reason| {
        Failure::refused(format!("{} answered with a proof that does not hold: {reason}", client.url()))
    })?;
    Ok((file, proven))
}

/// Asks for a proof until the node has computed the tree of the state, which it does in calls of about a second.
fn ask(client: &Client, params: &Value) -> Result<Value, ClientError> {
    let mut progress = Progress::new("proving");
    for _ in 0..UNFINISHED_MAX {
        match client.call("abci_query", params.clone()) {
            Err(ClientError::Node { said, .. }) if said.contains(PROOF_UNFINISHED) => progress.show(&said),
            answer => {
                progress.end();
                return answer;
            }
        }
    }
    progress.end();
    client.call("abci_query", params.clone())
}

/// Waits until the node has decided the block of a height. The app hash of a state is in the next header, which does
/// not exist yet for the state at the tip.
fn wait_for(client: &Client, height: u64) -> Result<(), Failure> {
    let deadline = Instant::now() + NEXT_HEADER_WAIT_MAX;
    loop {
        let status = client.call("status", json!({}))?;
        if fields::number(&status, "/sync_info/latest_block_height")? >= height {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(Failure::refused(format!(
                "block {height}, whose header commits to this state, was not decided within {} s: \
                 `cairn query ready` says why, or give --height for an earlier state",
                NEXT_HEADER_WAIT_MAX.as_secs()
            )));
        }
        thread::sleep(NEXT_HEADER_PAUSE);
    }
}
