//! Proves with real processes what proposals beside reverts do: each refusal reaches the client, and new parameters act
//! on all nodes from the same height on, also after a restart, a rewind, and on a node that fetches the chain later.

mod processes;

use std::{fs, path::Path, process::Command, time::Duration};

use node::config::Config;
use processes::{Homes, Validator};
use serde_json::Value;

/// Runs the program on a home; returns the exit code and the whole output.
fn cairn(args: &[&str], home: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().unwrap_or(-1), text)
}

/// A testnet, and commands for its first node.
struct Net {
    homes: Homes,
    nodes: Vec<Validator>,
}

impl Net {
    fn new(count: usize) -> Self {
        let homes = Homes::with(count, Duration::from_millis(20), |options| {
            options.params.evidence.age_max = Duration::from_secs(60);
        });
        let mut nodes = homes.start_all();
        nodes[0].wait_for_height(1);
        Self { homes, nodes }
    }

    fn command(&self, args: &[&str]) -> (i32, String) {
        cairn(&[args, &["--node", &self.nodes[0].rpc]].concat(), &self.homes.home(0))
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> String {
        let (code, text) = self.command(args);
        assert_eq!(code, 0, "{args:?}: {text}");
        text
    }

    /// Runs a command whose transaction is refused with this code.
    #[track_caller]
    fn refused(&self, args: &[&str], name: &str) {
        let (code, text) = self.command(args);
        assert!(code == 1 && text.contains(&format!("{name}: ")), "{args:?}: {code} {text}");
    }

    fn show(&self, id: u64) -> Value {
        serde_json::from_str(&self.ok(&["proposal", "show", &id.to_string(), "--json"])).unwrap()
    }

    /// Lets three validators, or the only one, vote yes, and waits until the proposal is closed.
    fn pass(&self, id: u64) -> Value {
        let id_text = id.to_string();
        for operator in 0..self.nodes.len().min(3) {
            self.ok(&["proposal", "vote", &id_text, "--yes", "--from", &format!("validator-{operator}")]);
        }
        self.command(&["proposal", "watch", &id_text, "--timeout", "30s"]);
        self.show(id)
    }
}

#[test]
fn each_refusal_of_a_decision_reaches_the_client() {
    let net = Net::new(1);
    let by = ["--from", "alice"];
    let run = |args: &[&str]| net.ok(&[&["proposal"], args, &by].concat());
    let refused = |args: &[&str], name: &str| net.refused(&[&["proposal"], args, &by].concat(), name);
    refused(&["params", "--set", "block.max_bytes=0"], "E_BAD_PARAMS");
    refused(&["params", "--set", "no.such=1"], "E_BAD_PARAMS");
    refused(&["upgrade", "--name", "v2", "--height", "1"], "E_UPGRADE_HEIGHT");
    refused(&["upgrade-cancel"], "E_NO_UPGRADE");

    run(&["spend", "--to", "bob", "--amount", "5", "--reason", "an audit"]);
    let closed = net.pass(1);
    assert_eq!((&closed["state"], &closed["code"]), (&"failed".into(), &"E_POOL".into()), "{closed}");
    assert_eq!(closed["kind"], "spend");

    run(&["text", "--title", "peace", "--body", "first\nsecond"]);
    net.refused(&["revert", "freeze", "2", "--from", "validator-0"], "E_NOT_REVERT");
    let shown = net.ok(&["proposal", "show", "2"]);
    assert!(["2: text", "peace", "second"].iter().all(|part| shown.contains(part)), "{shown}");
    net.ok(&["proposal", "vote", "2", "--veto", "--from", "validator-0"]);
    let rejected = net.show(2);
    assert_eq!((&rejected["state"], &rejected["veto_power"]), (&"rejected".into(), &rejected["total_power"]));
    assert_eq!(rejected["votes"][0]["vote"], "no_with_veto");

    run(&["upgrade", "--name", "v2", "--height", "1000000", "--info", "https://example.org/v2"]);
    assert_eq!(net.pass(3)["state"], "executed");
    refused(&["upgrade", "--name", "v3", "--height", "2000000"], "E_UPGRADE_PLANNED");
    let planned = net.ok(&["query", "upgrade"]);
    assert!(planned.contains("v2 at height 1000000") && planned.contains("https://example.org/v2"), "{planned}");
    assert_eq!(net.nodes[0].metric("cometbft_state_upgrade_height"), 1_000_000.0);
    run(&["upgrade-cancel"]);
    assert_eq!(net.pass(4)["state"], "executed");
    assert!(net.ok(&["query", "upgrade"]).contains("nothing"), "it is cancelled");
    let table = net.ok(&["proposal", "list"]);
    for part in ["spend", "peace", "v2 at height 1000000", "upgrade_cancel", "at height"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    run(&["text", "--title", "mine"]);
    net.ok(&["proposal", "cancel", "5", "--from", "alice"]);
    assert_eq!(net.show(5)["state"], "cancelled");
}

/// Returns the size of a block at a height, and the hash of the parameters in its header.
fn rules_at(node: &Validator, height: u64) -> (String, String) {
    let params = node.call(&format!("consensus_params?height={height}"));
    let header = &node.call(&format!("block?height={height}"))["block"]["header"];
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{value}")).to_owned();
    (text(&params["consensus_params"]["block"]["max_bytes"]), text(&header["consensus_hash"]))
}

#[test]
fn new_parameters_act_on_all_nodes_from_the_same_height_on() {
    let mut net = Net::new(4);
    let set = ["--set", "block.max_bytes=100000", "--set", "timeouts.propose_ms=700", "--set", "retain_blocks=90000"];
    net.ok(&[&["proposal", "params"], &set[..], &["--from", "alice"]].concat());
    let closed = net.pass(1);
    assert_eq!(closed["state"], "executed", "{closed}");
    let acted: u64 = closed["closed_height"].as_str().unwrap().parse().unwrap();
    let results = net.nodes[0].call(&format!("block_results?height={acted}"));
    assert_eq!(results["consensus_param_updates"]["block"]["max_bytes"], "100000", "{results}");
    net.nodes.iter_mut().for_each(|node| node.wait_for_height(acted + 3));
    let before = rules_at(&net.nodes[0], acted);
    let after = rules_at(&net.nodes[0], acted + 1);
    assert!(before.0 != "100000" && after.0 == "100000" && before.1 != after.1, "{before:?} {after:?}");
    let agree = |node: &Validator| {
        assert_eq!((rules_at(node, acted), rules_at(node, acted + 1)), (before.clone(), after.clone()));
    };
    net.nodes.iter().for_each(agree);

    // A restart, and a rewind that executes the block of the change again.
    for (node, rewinds) in [(3, false), (2, true)] {
        assert_eq!(net.nodes.remove(node).terminate().0, Some(0));
        if rewinds {
            let (code, text) = cairn(&["rewind", "--to", &(acted - 2).to_string()], &net.homes.home(node));
            assert_eq!(code, 0, "{text}");
        }
        let mut again = net.homes.start(node);
        again.wait_for_height(acted + 5);
        agree(&again);
        net.nodes.insert(node, again);
    }

    // A node that fetches the whole chain.
    let home = net.homes.folder.path().join("late");
    assert_eq!(cairn(&["init", "--moniker", "late"], &home).0, 0);
    fs::copy(net.homes.home(0).join("config/genesis.json"), home.join("config/genesis.json")).unwrap();
    let peer = Config::load(&net.homes.home(0), &[]).unwrap().p2p.laddr;
    let id = cairn(&["show-node-id"], &net.homes.home(0)).1;
    let peer = format!("--p2p.persistent_peers={}@{}", id.trim(), peer.trim_start_matches("tcp://"));
    let flags =
        ["--p2p.laddr=tcp://127.0.0.1:0", "--p2p.addr_book_strict=false", "--rpc.laddr=tcp://127.0.0.1:0", &peer];
    let mut late = Validator::spawn(&home, &flags).listening();
    late.wait_for_height(acted + 5);
    agree(&late);
    let hashes = [&late, &net.nodes[2], &net.nodes[3]].map(|node| node.block_hash(acted + 5));
    assert!(hashes.iter().all(|hash| *hash == hashes[0]), "{hashes:?}");
}
