//! Proves with real processes that an upgrade stops the nodes whose program does not have it, all before the same height,
//! and that the program that has it continues the chain.
//!
//! That program is this test itself: as `upgrade start --home HOME`, it runs a node that has the upgrade `v2`.
#![allow(clippy::print_stderr, reason = "what a program does")]

mod optional;
mod processes;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::Duration,
};

use app::{Migration, Upgrade, Upgrades};
use node::{config::Config, signals::NodeSignals};
use processes::{Homes, Validator, signed};
use serde_json::{Value, json};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().collect();
    match arguments.get(1).map(String::as_str) {
        Some("start") => upgraded(Path::new(&arguments[3])),
        _ => optional::main(
            || Ok(()),
            &[("validators_stop_before_the_height_and_go_on_with_the_other_program", |()| {
                validators_stop_before_the_height_and_go_on_with_the_other_program();
            })],
        ),
    }
}

const UPGRADES: Upgrades = Upgrades(&[Upgrade { name: "v2", migrate }]);

/// Makes namespaces dearer.
fn migrate(migration: &mut Migration<'_>) {
    let mut params = migration.params();
    params.ns_deposit += 7;
    migration.set_params(&params);
}

/// Runs the node of a home, as `cairn start` does, with the upgrade.
fn upgraded(home: &Path) -> ExitCode {
    let run = || {
        let signals = NodeSignals::handle()?;
        let mut config = Config::load(home, &[])?;
        config.upgrades = UPGRADES;
        node::start::run(config, &signals, |_| {})
    };
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::from(failure.code as u8)
        }
    }
}

/// Starts the node of a home with the program that has the upgrade.
fn start_upgraded(home: &Path) -> Validator {
    Validator::spawn_program(&env::current_exe().unwrap(), home, &[])
}

/// Runs a command of `cairn`; returns the exit code and the whole output.
fn cairn(args: &[&str], home: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
    (output.status.code().unwrap_or(-1), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
}

#[track_caller]
fn ok(args: &[&str], home: &Path) -> String {
    let (code, text) = cairn(args, home);
    assert_eq!(code, 0, "{args:?}: {text}");
    text
}

/// Waits until a node has ended with an exit code; its last sentence says `says`.
#[track_caller]
fn ends(node: Validator, code: i32, says: &str) {
    let (got, log) = node.ended();
    assert!(got == Some(code) && log.contains(says), "{got:?}, expected {code} and {says:?}:\n{log}");
}

/// Creates the home of a node that follows the chain of the first node of `of`.
fn follower(of: &Homes) -> PathBuf {
    let home = of.folder.path().join("late");
    ok(&["init", "--moniker", "late"], &home);
    fs::copy(of.home(0).join("config/genesis.json"), home.join("config/genesis.json")).unwrap();
    let peer = Config::load(&of.home(0), &[]).unwrap().p2p.laddr;
    let peer = format!("{}@{}", ok(&["show-node-id"], &of.home(0)).trim(), peer.trim_start_matches("tcp://"));
    let file = home.join("config/config.toml");
    let mut config = Config::load(&home, &[]).unwrap();
    config.p2p.laddr = "tcp://127.0.0.1:0".into();
    config.p2p.persistent_peers = vec![peer.parse().unwrap()];
    config.p2p.addr_book_strict = false;
    config.rpc.laddr = "tcp://127.0.0.1:0".into();
    fs::write(file, config.to_commented_toml()).unwrap();
    home
}

/// Lets three validators plan the upgrade `v2` for a height.
fn plan(homes: &Homes, node: &Validator, height: u64) {
    let (home, at) = (homes.home(0), ["--node", &node.rpc]);
    let height = height.to_string();
    let propose = ["proposal", "upgrade", "--name", "v2", "--height", &height, "--info", "https://example.org/v2"];
    ok(&[&propose[..], &["--from", "alice"], &at].concat(), &home);
    for operator in ["validator-0", "validator-1", "validator-2"] {
        ok(&[&["proposal", "vote", "1", "--yes", "--from", operator][..], &at].concat(), &home);
    }
    ok(&[&["proposal", "watch", "1", "--timeout", "30s"][..], &at].concat(), &home);
}

fn validators_stop_before_the_height_and_go_on_with_the_other_program() {
    let homes = Homes::new(4, Duration::from_millis(50));
    let mut nodes = homes.start_all();
    let at = ["--node", &nodes[0].rpc.clone()].map(str::to_owned);
    let client = |args: &[&str]| ok(&[args, &at.each_ref().map(String::as_str)].concat(), &homes.home(0));
    client(&["ns", "create", "policy", "--from", "alice"]);
    client(&["kv", "put", "policy", "k", "old", "--from", "alice"]);
    client(&["kv", "put", "policy", "k", "new", "--from", "alice"]);
    let upgrade = nodes[0].height() + 200;
    plan(&homes, &nodes[0], upgrade);
    assert!(nodes[0].height() + 40 < upgrade, "the machine is too slow for this test");

    // A program that has the upgrade does not run ahead.
    assert_eq!(nodes.remove(3).terminate().0, Some(0));
    let early = format!("this program has the upgrade v2, which is planned for height {upgrade}");
    ends(start_upgraded(&homes.home(3)), 21, &early);
    nodes.push(homes.start(3));

    // The others stop before its height, all of them, and again when they are started again.
    let needed = format!(
        "height {upgrade} needs the upgrade v2, which this program does not have: install the program that has it from \
         https://example.org/v2, then start it with `cairn start`"
    );
    for (index, node) in nodes.into_iter().enumerate() {
        ends(node, 20, &needed);
        let home = homes.home(index);
        assert!(signed(&home).unwrap().0 < upgrade, "it signs nothing at the height of the upgrade");
        let info: Value = serde_json::from_slice(&fs::read(home.join("data/upgrade-info.json")).unwrap()).unwrap();
        assert_eq!(info, json!({ "name": "v2", "height": upgrade, "info": "https://example.org/v2" }));
        let store = ok(&["verify", "store"], &home);
        assert!(store.contains(&format!("to {} of", upgrade - 1)), "{store}");
    }
    let before = signed(&homes.home(0));
    ends(Validator::spawn(&homes.home(0), &[]), 20, &needed);
    assert_eq!(signed(&homes.home(0)), before);

    // They are swapped one by one; three of four go on.
    let mut nodes: Vec<Validator> = (0..3).map(|index| start_upgraded(&homes.home(index))).collect();
    nodes = nodes.into_iter().map(Validator::listening).collect();
    nodes.iter_mut().for_each(|node| node.wait_for_height(upgrade + 2));
    nodes.push(start_upgraded(&homes.home(3)).listening());
    nodes.iter_mut().for_each(|node| node.wait_for_height(upgrade + 6));
    let hashes: Vec<_> = nodes.iter().map(|node| node.block_hash(upgrade + 5)).collect();
    assert!(hashes.windows(2).all(|pair| pair[0] == pair[1]), "{hashes:?}");
    let version =
        |height: u64| nodes[1].call(&format!("block?height={height}"))["block"]["header"]["version"]["app"].clone();
    assert_eq!((version(upgrade), version(upgrade + 1)), ("1".into(), "2".into()));
    let price = |height: u64| {
        nodes[2].call(&format!("consensus_params?height={height}"))["consensus_params"]["ns_deposit"].clone()
    };
    assert_eq!((price(upgrade), price(upgrade + 1)), ("100".into(), "107".into()));
    let results = nodes[0].call(&format!("block_results?height={upgrade}"));
    assert_eq!(results["finalize_block_events"][0]["type"], "upgrade.applied", "{results}");

    // The upgrade is over, and no revert goes back before it.
    let at = ["--node", &nodes[0].rpc];
    let run = |args: &[&str]| cairn(&[args, &at].concat(), &homes.home(0));
    assert!(run(&["query", "upgrade"]).1.contains(&format!("v2 at height {upgrade}")));
    let again = (upgrade + 100_000).to_string();
    let refused = |args: &[&str], name: &str| {
        let (code, text) = run(args);
        assert!(code == 1 && text.contains(&format!("{name}: ")), "{args:?}: {text}");
    };
    refused(&["proposal", "upgrade", "--name", "v2", "--height", &again, "--from", "alice"], "E_UPGRADE_DONE");
    let target = (upgrade - 1).to_string();
    refused(&["revert", "propose", "--to", &target, "--ns", "policy", "--from", "alice"], "E_CROSSES_BARRIER");

    // The old program neither starts there, nor executes the blocks again, nor fetches them beyond the upgrade.
    let home = homes.home(3);
    assert_eq!(nodes.remove(3).terminate().0, Some(0));
    let outdated = format!("the chain has the upgrade v2 since height {upgrade}, and this program does not have it");
    ends(Validator::spawn(&home, &[]), 20, &outdated);
    let (code, text) = cairn(&["rewind", "--to", &(upgrade - 4).to_string()], &home);
    assert!(code == 1 && text.contains("R_UPGRADE: the chain has the upgrade v2"), "{code} {text}");
    let late = follower(&homes);
    ends(Validator::spawn(&late, &[]), 20, &needed);
    assert!(ok(&["verify", "store"], &late).contains(&format!("to {} of", upgrade - 1)));
    let mut late = start_upgraded(&late).listening();
    late.wait_for_height(upgrade + 6);
    assert_eq!(late.block_hash(upgrade + 5), hashes[0]);
}
