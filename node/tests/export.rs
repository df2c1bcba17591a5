//! Proves on real processes that the state of a stopped node starts a new chain.

mod processes;

use std::{
    fs,
    path::Path,
    process::{Command, Output},
    time::Duration,
};

use genesis::Genesis;
use processes::{Homes, Validator, eventually};

fn cairn(args: &[&str], home: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap()
}

#[track_caller]
fn succeeds(args: &[&str], home: &Path) -> String {
    let output = cairn(args, home);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(args: &[&str], home: &Path, says: &str) {
    let output = cairn(args, home);
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(matches!(output.status.code(), Some(1 | 69 | 78)) && text.contains(says), "{args:?}: {text}");
}

#[test]
fn a_new_chain_starts_from_the_state_of_another() {
    let homes = Homes::new(2, Duration::from_millis(20));
    let mut nodes = homes.start_all();
    let home = homes.home(0);
    nodes[0].wait_for_height(2);
    let node = ["--node", &nodes[0].rpc];
    let run = |args: &[&str]| succeeds(&[args, &node[..]].concat(), &home);
    run(&["stake", "delegate", "--from", "alice", "--to", "validator-1", "--amount", "3500000"]);
    run(&["stake", "undelegate", "--from", "alice", "--of", "validator-1", "--amount", "1000000"]);
    let pool = run(&["query", "pool"]);
    assert!(pool.contains("unbonding"), "{pool}");
    let height = nodes[0].height();
    fails(&["export", "--chain-id", "next"], &home, "works in this home");
    run(&["ns", "create", "notes", "--from", "alice", "--quota-keys", "10", "--quota-bytes", "1000"]);
    nodes[0].wait_for_height(height + 5);
    let tips: Vec<u64> = nodes.iter().map(Validator::height).collect();
    nodes.into_iter().for_each(|node| assert_eq!(node.terminate().0, Some(0)));

    fails(&["export", "--chain-id", "processes"], &home, "needs another id");
    fails(&["export", "--chain-id", "next"], &home, "say --without-namespaces");
    let kept = format!("999999999 is not kept: use a height from 1 to {}", tips[0]);
    fails(&["export", "--chain-id", "next", "--height", "999999999"], &home, &kept);
    // All nodes write the same document for the same height, here one from before the namespace.
    let at = height.to_string();
    let export = ["export", "--chain-id", "next", "--height", &at];
    let text = succeeds(&export, &home);
    assert_eq!(succeeds(&export, &homes.home(1)), text);
    assert!(tips.iter().all(|tip| *tip >= height));
    let genesis = Genesis::parse(text.as_bytes()).unwrap();
    assert_eq!((genesis.validators().len(), genesis.document().stake.delegations.len()), (2, 3));

    // The same homes start the new chain, with their keys and an empty data folder.
    for index in 0..2 {
        let home = homes.home(index);
        fs::rename(home.join("data"), home.join("data-of-the-old-chain")).unwrap();
        fs::write(home.join("config/genesis.json"), &text).unwrap();
    }
    let facts = succeeds(&["genesis", "validate"], &home);
    assert!(facts.contains("next") && facts.contains(&genesis.hash().to_string()), "{facts}");
    let mut nodes = homes.start_all();
    nodes.iter_mut().for_each(|node| node.wait_for_height(5));
    assert_eq!(nodes[0].block_hash(4), nodes[1].block_hash(4));
    let node = ["--node", &nodes[0].rpc];
    let delegations = succeeds(&[&["query", "delegations", "alice"][..], &node[..]].concat(), &home);
    assert!(delegations.contains("2500000"), "{delegations}");
    let pay = ["tx", "send", "--from", "alice", "--to", "bob", "--amount", "5"];
    succeeds(&[&pay[..], &node[..]].concat(), &home);
    eventually("both validators sign", || {
        let commit = nodes[0].call("commit");
        let signatures = commit["signed_header"]["commit"]["signatures"].as_array().unwrap();
        signatures.iter().filter(|one| one["block_id_flag"] == 2).count() == 2
    });
}

#[test]
fn every_fault_of_a_genesis_document_is_printed() {
    let homes = Homes::new(1, Duration::from_millis(20));
    let home = homes.home(0);
    let file = home.join("config/genesis.json");
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    document["genesis_time"] = "soon".into();
    document["app_state"]["accounts"][0]["balance"] = "much".into();
    fs::write(&file, document.to_string()).unwrap();
    for says in ["genesis_time: \"soon\"", "app_state.accounts[0].balance: \"much\"", "2 faults: correct"] {
        fails(&["genesis", "validate"], &home, says);
    }
    fails(&["genesis", "validate", "nothing.json"], &home, "nothing.json");
}

#[test]
fn a_node_does_not_start_with_a_genesis_document_whose_stake_does_not_add_up() {
    let homes = Homes::new(1, Duration::from_millis(20));
    let home = homes.home(0);
    let file = home.join("config/genesis.json");
    let mut document: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let operator = document["validators"][0]["operator"].clone();
    let delegation = serde_json::json!({ "delegator": operator, "validator": operator, "amount": "9000000" });
    document["app_state"]["delegations"] = serde_json::json!([delegation]);
    fs::write(&file, document.to_string()).unwrap();
    let says = "validators[0].power: is 10, but its delegations give it 9 in the first set";
    fails(&["genesis", "validate"], &home, says);
    fails(&["start"], &home, says);
}
