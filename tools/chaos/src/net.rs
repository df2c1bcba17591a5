//! The validators of a run with their network: prepared, started, and removed when the value is dropped.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use client::Client;
use serde_json::Value;

use crate::{
    ChaosError,
    clock::{Clock, Shim},
    disk::Disk,
    layout::Layout,
    links::Links,
    node::{Expected, Node, Programs, Version},
    spaces,
    wanted::{Place, Wanted},
};

/// Size of the small disk in bytes, and how much it grows for each minute of a run.
const DISK_BYTES: u64 = 384 * 1024 * 1024;
const DISK_BYTES_PER_MINUTE: u64 = 64 * 1024 * 1024;
/// Time limit of a request to a node for a check. A busy machine may take long; a paused node does not answer at all.
const ASK_TIME_MAX: Duration = Duration::from_secs(2);
/// Time for which stake is locked after it was taken back, so that operations of stake do not run into their limits.
const UNBONDING_MS: &str = "40000";
/// Maximum age of evidence, which is less than the time for which stake is locked.
const EVIDENCE_AGE_NS: &str = "30000000000";

/// Name of the chain of a run.
pub const CHAIN: &str = "cairn-chaos";

/// The validators of a run with their network.
pub struct Net {
    // The order matters: processes end before their links and their disk.
    /// The validators, by their index.
    pub nodes: Vec<Node>,
    /// The links between them.
    pub links: Links,
    /// The disk of [`Net::SMALL_DISK`], if this user may mount one.
    pub disk: Option<Disk>,
    /// The programs of the validators.
    pub programs: Programs,
    /// The addresses of all slots.
    pub layout: Layout,
    /// For each kind of fault that is not possible here, the reason.
    pub skipped: BTreeMap<&'static str, String>,
    /// Where the validators run.
    pub place: Place,
    shim: Option<Shim>,
    gossip: Duration,
    ids: Vec<String>,
    folder: PathBuf,
}

impl Net {
    /// The validator whose disk is small.
    pub const SMALL_DISK: usize = 1;

    /// Writes the files of the validators, and builds their network. Starts no validator.
    ///
    /// Errors: [`ChaosError::Machine`] if a file, a namespace, a port or a relay fails.
    pub fn prepare(wanted: &Wanted) -> Result<Self, ChaosError> {
        let folder = wanted.dir.clone();
        let programs = Programs { cairn: wanted.cairn.clone(), next: wanted.next.clone() };
        let slots = wanted.validators + 1; // the last one is for the liar's second process
        let failed = |error| ChaosError::machine(folder.display(), error);
        fs::create_dir_all(folder.join("logs")).map_err(failed)?;
        let layout = Layout::new(wanted.place, slots)?;
        if wanted.place == Place::Namespaces {
            spaces::build(slots)?;
        }
        let net = folder.join("net");
        let count = wanted.validators.to_string();
        let init =
            ["testnet", "--init-only", "--validators", &count, "--chain-id", CHAIN, "--empty-block-interval", "1s"];
        let dir = net.display().to_string();
        programs.cairn(&[&init[..], &["--dir", &dir]].concat(), &net)?;
        for index in 0..wanted.validators {
            shorten_times(&net.join(format!("node{index}/config/genesis.json")))?;
        }
        let mut skipped = BTreeMap::new();
        let shim = Shim::compile(&folder).map_err(|reason| skipped.insert("clock", reason)).ok();
        let disk = Disk::mount_over(
            &net.join(format!("node{}/data", Self::SMALL_DISK)),
            DISK_BYTES + DISK_BYTES_PER_MINUTE * wanted.time.as_secs().div_ceil(60),
        )?;
        if disk.is_none() {
            skipped.insert("full-disk", "this user may not mount a small disk".to_owned());
        }
        if wanted.place == Place::Loopback {
            let reason = "a relay cannot lose one direction, and loopback has no namespaces";
            skipped.insert("one-way", reason.to_owned());
        }
        let ids: Vec<String> = (0..wanted.validators)
            .map(|index| programs.cairn(&["show-node-id"], &net.join(format!("node{index}"))))
            .map(|id| id.map(|id| id.trim().to_owned()))
            .collect::<Result<_, _>>()?;
        let links = Links::start(wanted.place, &layout, &programs.cairn)?;
        let place = wanted.place;
        let mut made = Self {
            nodes: Vec::new(),
            links,
            disk,
            programs,
            layout,
            skipped,
            place,
            shim,
            gossip: wanted.gossip,
            ids,
            folder,
        };
        for index in 0..wanted.validators {
            let node = made.node(index, &net.join(format!("node{index}")), &[])?;
            made.nodes.push(node);
        }
        Ok(made)
    }

    /// Returns the folder of the homes, with the keys of the accounts beside them.
    pub fn folder(&self) -> PathBuf {
        self.folder.join("net")
    }

    /// Returns the folder in which the run may keep further files.
    pub fn spare_folder(&self) -> &Path {
        &self.folder
    }

    /// Creates the validator of a slot, which dials all others but those in `not`. It does not run yet.
    ///
    /// Errors: [`ChaosError::Machine`] if the file of its clock cannot be written.
    pub fn node(&self, slot: usize, home: &Path, not: &[usize]) -> Result<Node, ChaosError> {
        let peers = self.ids.iter().enumerate().filter(|(peer, _)| *peer != slot && !not.contains(peer));
        // Of the two connections of a pair, the one with the lower index at its beginning is TCP.
        let scheme = |peer: usize| if slot < peer { "" } else { "quic://" };
        let peers = peers.map(|(peer, id)| format!("{id}@{}{}", scheme(peer), self.layout.link(slot, peer)));
        let gossip = format!("{}ms", self.gossip.as_millis());
        let settings = [
            ("CAIRN_P2P_LADDR", format!("tcp://{}", self.layout.peers(slot))),
            ("CAIRN_P2P_PERSISTENT_PEERS", peers.collect::<Vec<_>>().join(",")),
            ("CAIRN_P2P_PEX", "false".to_owned()),
            ("CAIRN_RPC_LADDR", format!("tcp://{}", self.layout.rpc(slot))),
            ("CAIRN_RPC_MAX_CLIENT_CPU_PERCENT", "0".to_owned()),
            ("CAIRN_RPC_MAX_CPU_PERCENT", "0".to_owned()),
            ("CAIRN_RPC_MAX_CLIENT_BYTES_PER_SECOND", "0".to_owned()),
            ("CAIRN_RPC_TIMEOUT_BROADCAST_TX_COMMIT", "5s".to_owned()),
            ("CAIRN_INSTRUMENTATION_PROMETHEUS", "false".to_owned()),
            ("CAIRN_CONSENSUS_GOSSIP_INTERVAL", gossip),
        ];
        let mut environment: Vec<(String, String)> =
            settings.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let name = format!("node{slot}");
        let clock = match &self.shim {
            Some(shim) => {
                let clock = Clock::create(&self.folder.join(format!("{name}.clock")))?;
                environment.extend(shim.environment(&clock));
                Some(clock)
            }
            None => None,
        };
        let client = Client::with_timeout(&self.layout.rpc(slot), None, ASK_TIME_MAX)
            .map_err(|error| ChaosError::machine(&name, error))?;
        Ok(Node {
            index: slot,
            log: self.folder.join(format!("logs/{name}.log")),
            name,
            home: home.to_owned(),
            client,
            clock,
            version: Version::First,
            expected: Expected::Down,
            prefix: self.layout.prefix(slot),
            environment,
            process: None,
        })
    }

    /// Starts a validator, with further arguments.
    ///
    /// Errors: those of [`Node::start`].
    pub fn start(&mut self, index: usize, args: &[String]) -> Result<(), ChaosError> {
        self.nodes[index].start(&self.programs, args)
    }
}

/// Shortens the times for which stake is locked and evidence is valid, in a genesis document.
fn shorten_times(path: &Path) -> Result<(), ChaosError> {
    let failed = |error: String| ChaosError::Machine(format!("{}: {error}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    let mut document: Value = serde_json::from_str(&text).map_err(|error| failed(error.to_string()))?;
    for (key, value) in [("unbonding_ms", UNBONDING_MS), ("max_age_duration", EVIDENCE_AGE_NS)] {
        if !set(&mut document, key, value) {
            return Err(failed(format!("it has no {key}")));
        }
    }
    fs::write(path, format!("{document:#}\n")).map_err(|error| failed(error.to_string()))
}

/// Sets the text of the first field with this key, at any depth. Returns false if there is none.
fn set(value: &mut Value, key: &str, text: &str) -> bool {
    let Some(fields) = value.as_object_mut() else { return false };
    if let Some(field) = fields.get_mut(key) {
        *field = Value::String(text.to_owned());
        return true;
    }
    fields.values_mut().any(|field| set(field, key, text))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_set_at_any_depth() {
        let mut document = json!({ "a": { "b": { "x": "1" } }, "c": [1] });
        assert!(set(&mut document, "x", "2") && !set(&mut document, "y", "2"));
        assert_eq!(document, json!({ "a": { "b": { "x": "2" } }, "c": [1] }));
    }
}
