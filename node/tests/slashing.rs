//! Proves on real processes that a validator that signs twice loses stake and its place for ever, and that one that is away
//! goes to jail and comes back.

mod processes;

use std::{path::Path, process::Command, time::Duration};

use data_encoding::HEXUPPER;
use files::ValidatorKey;
use processes::{
    Homes, Validator, eventually,
    evidence::{double_sign, set_of},
    has_signed,
};
use serde_json::{Value, json};

#[track_caller]
fn succeeds(args: &[&str], home: &Path, node: &Validator) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
    let output = command.args(args).args(["--node", &node.rpc]).arg("--home").arg(home).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

fn rpc(node: &Validator, method: &str, params: Value) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let answer: Value = ureq::post(&node.rpc).send_json(call).unwrap().body_mut().read_json().unwrap();
    assert!(answer["error"].is_null(), "{answer}");
    answer["result"].clone()
}

fn query(node: &Validator, path: &str, height: u64) -> Value {
    let params = json!({ "path": path, "data": HEXUPPER.encode(b""), "height": height.to_string() });
    let value = rpc(node, "abci_query", params)["response"]["value"].as_str().unwrap().to_owned();
    serde_json::from_slice(&data_encoding::BASE64.decode(value.as_bytes()).unwrap()).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_str().unwrap_or_else(|| panic!("{value}")).parse().unwrap()
}

#[test]
fn a_validator_that_signs_twice_loses_five_percent_and_leaves_the_set_for_ever() {
    let homes = Homes::new(4, Duration::from_millis(20));
    let mut nodes = homes.start_all();
    nodes[0].wait_for_height(5);
    let key = ValidatorKey::load(&homes.home(3).join("config/priv_validator_key.json")).unwrap();
    let liar = key.address().to_string();
    let before = set_of(&nodes[0], 3);
    let power = before.iter().find(|(_, address, _)| *address == liar).unwrap().2;
    rpc(&nodes[0], "broadcast_evidence", json!({ "evidence": double_sign(&nodes[0], "processes", &key.secret, 3) }));

    let home = homes.home(0);
    let slashes = || -> Value {
        let text = succeeds(&["query", "slashes", "validator-3", "--json"], &home, &nodes[0]);
        serde_json::from_str(&text).unwrap()
    };
    eventually("it is slashed", || !slashes()["slashes"].as_array().unwrap().is_empty());
    let slash = slashes()["slashes"][0].clone();
    let (block, burned) = (number(&slash["block"]), power * 1_000_000 / 20);
    assert_eq!((&slash["infraction"], number(&slash["height"])), (&json!("duplicate_vote"), 3));
    assert_eq!((number(&slash["fraction_bps"]), number(&slash["burned"])), (500, burned));

    nodes[0].wait_for_height(block + 4);
    let (last, after) = (set_of(&nodes[0], block + 1), set_of(&nodes[0], block + 2));
    assert_eq!((last.len(), after.len()), (4, 3));
    assert!(after.iter().all(|(_, address, _)| *address != liar), "{after:?}");
    let supply = |height| number(&query(&nodes[0], "/supply", height)["total"]);
    assert_eq!(supply(block - 1) - supply(block), burned);
    let results = nodes[0].call(&format!("block_results?height={block}"));
    let events = results["finalize_block_events"].as_array().unwrap();
    let slashed = events.iter().find(|event| event["type"] == "staking.slashed").expect("the block has the event");
    let says = |key: &str, value: &str| {
        let attributes = slashed["attributes"].as_array().unwrap();
        assert!(attributes.iter().any(|one| one["key"] == key && one["value"] == value), "{slashed}");
    };
    says("burned", &burned.to_string());
    says("tombstoned", "true");
    let table = succeeds(&["query", "validators", "--all"], &home, &nodes[0]);
    let line = table.lines().find(|line| line.contains("validator-3")).unwrap();
    assert!(
        line.ends_with("double_sign  for ever") && line.contains(&(power * 1_000_000 - burned).to_string()),
        "{table}"
    );
    let refused = Command::new(env!("CARGO_BIN_EXE_cairn"))
        .args(["stake", "unjail", "--from", "validator-3", "--node", &nodes[0].rpc, "--home"])
        .arg(homes.home(0))
        .output()
        .unwrap();
    let text = String::from_utf8([refused.stdout, refused.stderr].concat()).unwrap();
    assert!(!refused.status.success() && text.contains("E_TOMBSTONED"), "{text}");
}

#[test]
fn a_validator_that_is_away_goes_to_jail_and_comes_back() {
    let homes = Homes::with(4, Duration::from_millis(20), |options| {
        options.params.timeouts.propose = Duration::from_millis(300);
        let staking = &mut options.params.staking;
        (staking.downtime_window, staking.downtime) = (20, Duration::from_secs(2));
        staking.jail = Duration::from_millis(1);
    });
    let mut nodes = homes.start_all();
    let away = ValidatorKey::load(&homes.home(3).join("config/priv_validator_key.json")).unwrap().address().to_string();
    let mut height = 3;
    eventually("all sign", || {
        height += 1;
        nodes[0].wait_for_height(height + 1);
        has_signed(&nodes[0], &away, height)
    });
    nodes.pop().unwrap().kill();

    let home = homes.home(0);
    let of = |node: &Validator, path: &str| query(node, path, node.height());
    let list = of(&nodes[0], "/staking/validators")["validators"].as_array().unwrap().clone();
    let operator =
        list.iter().find(|one| one["consensus_address"] == away).unwrap()["operator"].as_str().unwrap().to_owned();
    let path = format!("/staking/validator/{operator}");
    eventually("it is in jail", || !of(&nodes[0], &path)["jailed"].is_null());
    assert_eq!(of(&nodes[0], &path)["jailed"]["why"], "downtime");
    let slash = of(&nodes[0], &format!("/staking/slashes/{operator}"))["slashes"][0].clone();
    assert_eq!((&slash["infraction"], number(&slash["fraction_bps"])), (&json!("downtime"), 1));
    let block = number(&slash["block"]);
    nodes[0].wait_for_height(block + 2);
    assert_eq!(set_of(&nodes[0], block + 2).len(), 3);

    let mut back = homes.start(3);
    back.wait_for_height(nodes[0].height());
    let uptime = succeeds(&["query", "uptime", "validator-3"], &home, &back);
    assert!(uptime.contains("in the set          no: jailed for downtime, until "), "{uptime}");
    assert!(uptime.contains("0 of 20") && !uptime.contains("it signs"), "{uptime}");
    let table = succeeds(&["query", "validators", "--all"], &home, &back);
    let line = table.lines().find(|line| line.contains("validator-3")).unwrap();
    assert!(line.contains(" downtime ") && line.ends_with("any time"), "{table}");
    succeeds(&["stake", "unjail", "--from", "validator-3"], &home, &back);
    let mut height = back.height();
    eventually("it signs again", || {
        height += 1;
        nodes[0].wait_for_height(height + 1);
        has_signed(&nodes[0], &away, height)
    });
    let table = succeeds(&["query", "validators", "--all"], &home, &nodes[0]);
    assert!(table.lines().next().unwrap().contains("missed") && table.contains(" of 20"), "{table}");

    // Both logs say it; that of the validator itself as an error, with what to do.
    let line_of = |log: &str, part: &str| log.lines().find(|line| line.contains(part)).expect(part).to_owned();
    let log = back.terminate().1;
    let jailed = line_of(&log, "this node's validator went to jail: ");
    assert!(jailed.contains("ERROR") && jailed.contains("why=downtime until=20"), "{jailed}");
    assert!(line_of(&log, "this node's validator and its delegators lost stake").contains("ERROR"));
    line_of(&log, "this node's validator left jail");
    let log = nodes.remove(0).terminate().1;
    assert!(line_of(&log, "a validator went to jail, and leaves the set").contains(&operator));
    line_of(&log, "a validator left jail");
}
