//! The end of a run: one validator's key runs in two homes, which signs twice.
//!
//! The second process has the validator's key and a copy of its data, another identity among the peers, and connections to
//! all validators but the first process. When it is the validator's turn to propose, each of the two makes a block of its own and
//! votes for it. A node stops with exit code 76 when it sees that another process signs with its key; a liar is started again.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use client::fields;
use files::AccountKey;
use serde_json::{Value, json};

use crate::{
    ChaosError,
    audit::query,
    net::Net,
    node::{Node, Version},
};

/// Time limit until the evidence is in a block and the validator has left the set.
const TIME_MAX: Duration = Duration::from_secs(150);
/// Interval between two looks.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// How the chain punished the liar.
#[derive(Clone, Debug)]
pub struct Punished {
    /// Address of the liar's consensus key.
    pub address: String,
    /// Number of times that one of the two processes stopped to avoid further double signs.
    pub stops: usize,
    /// Time from the start of the second process until the validator was out of the set.
    pub time: Duration,
}

/// Runs the key of a validator twice until the chain has punished it, then ends both processes.
///
/// Errors: [`ChaosError::Machine`] if the second home cannot be made; [`ChaosError::Violation`] if the validator is not
/// slashed, jailed for ever and out of the set in time; [`ChaosError::Stopped`] when the run is stopped.
pub fn run(net: &mut Net, liar: usize, stop: &AtomicBool) -> Result<Punished, ChaosError> {
    let operator = format!("validator-{liar}");
    let key = net.folder().join(format!("keys/{operator}.json"));
    let operator = AccountKey::load(&operator, &key).map_err(|error| ChaosError::machine("a key", error))?.address();
    let witness = net.nodes[(liar + 1) % net.nodes.len()].client.clone();
    let address = consensus_address(net, liar)?;
    net.nodes[liar].kill();
    let mut twin = make_twin(net, liar)?;
    let begun = Instant::now();
    let programs = net.programs.clone();
    let first = &mut net.nodes[liar];
    first.start(&programs, &[])?;
    twin.start(&programs, &[])?;
    let mut stops = 0;
    while !is_punished(&witness, &operator.to_string(), &address) {
        if stop.load(Ordering::Relaxed) {
            return Err(ChaosError::Stopped);
        }
        if begun.elapsed() > TIME_MAX {
            return Err(ChaosError::Violation(format!(
                "the validator {address} runs in two homes, and was not slashed, jailed and removed within {} s",
                TIME_MAX.as_secs()
            )));
        }
        for process in [&mut *first, &mut twin] {
            if let Some(status) = process.ended() {
                stops += 1;
                if status.code() == Some(20) {
                    process.version = Version::Next;
                }
                process.start(&programs, &[])?;
            }
        }
        thread::sleep(LOOK_PERIOD);
    }
    let time = begun.elapsed();
    first.kill();
    twin.kill();
    Ok(Punished { address, stops, time })
}

fn consensus_address(net: &Net, liar: usize) -> Result<String, ChaosError> {
    let status = net.nodes[liar].client.call("status", json!({}));
    let address = status.map_err(|error| ChaosError::machine("status", error))?;
    let address = fields::text(&address, "/validator_info/address").map(str::to_owned);
    address.map_err(|error| ChaosError::machine("status", error))
}

/// Creates the home of the second process: a copy of the stopped validator's home, with an identity of its own.
fn make_twin(net: &Net, liar: usize) -> Result<Node, ChaosError> {
    let slot = net.nodes.len();
    let home = net.folder().join("twin");
    let stranger = net.folder().join("stranger");
    net.programs.cairn(&["init", "--moniker", "twin"], &stranger)?;
    copy(&net.nodes[liar].home, &home)?;
    let identity = "config/node_key.json";
    fs::copy(stranger.join(identity), home.join(identity)).map_err(|error| ChaosError::machine(identity, error))?;
    let mut twin = net.node(slot, &home, &[liar])?;
    twin.version = net.nodes[liar].version;
    Ok(twin)
}

/// Copies a folder with all regular files in it.
fn copy(from: &Path, to: &Path) -> Result<(), ChaosError> {
    let failed = |error| ChaosError::machine(from.display(), error);
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, kind) = (to.join(entry.file_name()), entry.file_type().map_err(failed)?);
        if kind.is_dir() {
            copy(&entry.path(), &path)?;
        } else if kind.is_file() {
            fs::copy(entry.path(), path).map_err(failed)?;
        }
    }
    Ok(())
}

/// Returns true if the validator was slashed for a double sign, is in jail for ever, and is out of the set.
fn is_punished(witness: &client::Client, operator: &str, address: &str) -> bool {
    let ask = || -> Option<bool> {
        let slashes = query(witness, &format!("/staking/slashes/{operator}"), 0).ok()?;
        let slashed = slashes["slashes"].as_array()?.iter().any(|slash| slash["infraction"] == "duplicate_vote");
        let validator = query(witness, &format!("/staking/validator/{operator}"), 0).ok()?;
        let set = witness.call("validators", json!({ "per_page": "100" })).ok()?;
        let is_member = set["validators"].as_array()?.iter().any(|member| member["address"] == address);
        Some(slashed && has_true(&validator, "tombstoned") && !is_member)
    };
    ask().unwrap_or(false)
}

/// Returns true if a field with this key is true, at any depth.
fn has_true(value: &Value, key: &str) -> bool {
    match value {
        Value::Object(fields) => {
            fields.get(key) == Some(&Value::Bool(true)) || fields.values().any(|value| has_true(value, key))
        }
        Value::Array(items) => items.iter().any(|value| has_true(value, key)),
        _ => false,
    }
}
