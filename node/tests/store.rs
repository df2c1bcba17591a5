//! Proves with real nodes and real files how a node handles a store that is damaged, copied, or behind what its peers
//! keep.

mod processes;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use files::TestnetOptions;
use processes::{Homes, Validator, WAIT_MAX, has_signed, signed, write};
use serde_json::Value;
use storage::{Batch, Cf, Durability, FORGET_STEP, Kv, RocksKv, Store, View};
use types::{ChainId, Height};

const CHAIN: &str = "processes";

fn one(change: impl FnOnce(&mut TestnetOptions)) -> Homes {
    Homes::with(1, Duration::from_millis(30), change)
}

/// Runs the program on a home; returns the exit code and the whole output.
fn cairn(args: &[&str], home: &Path) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8(text).unwrap())
}

#[track_caller]
fn succeeds(args: &[&str], home: &Path) -> String {
    let (code, text) = cairn(args, home);
    assert_eq!(code, 0, "{args:?}: {text}");
    text
}

fn store_of(home: &Path) -> PathBuf {
    home.join("data/cairn.db")
}

fn open(path: &Path) -> Store<RocksKv> {
    Store::open(RocksKv::open(path).unwrap(), &ChainId::new(CHAIN).unwrap()).unwrap()
}

/// Overwrites the first row of a column family whose key has this prefix with an invalid value. Returns the key in
/// hexadecimal.
fn damage(home: &Path, cf: Cf, prefix: &[u8]) -> String {
    let store = open(&store_of(home));
    let key = store.kv().view().rows(cf, prefix, &[]).next().expect("there is a row").unwrap().0;
    drop(store);
    put(home, cf, key.into_vec())
}

/// Writes an invalid value into a row. Returns its key in hexadecimal.
fn put(home: &Path, cf: Cf, key: Vec<u8>) -> String {
    let store = open(&store_of(home));
    let mut batch = Batch::new();
    batch.put(cf, key.clone(), [0xFF]);
    store.kv().write(batch, Durability::Synced).unwrap();
    key.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Calls an RPC method by GET and returns the response, with a result or an error.
fn call(node: &Validator, path: &str) -> Value {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    agent.get(format!("{}/{path}", node.rpc)).call().unwrap().into_body().read_json().unwrap()
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + WAIT_MAX;
    while !is_so() {
        assert!(std::time::Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn damaged_old_rows_are_unavailable_and_affect_nothing_else() {
    let homes = one(|_| {});
    let home = homes.home(0);
    let mut node = homes.start(0);
    node.wait_for_height(8);
    assert_eq!(node.terminate().0, Some(0));
    let at = |height: u64| height.to_be_bytes();
    damage(&home, Cf::Heads, &at(1));
    damage(&home, Cf::Blocks, &at(3));
    damage(&home, Cf::Results, &at(4));
    // The parameters get a damaged version of height 2, which reads of that height use, and a good one of height 3.
    let row = app::tree::rows::row_key(app::state::NEVER_REVERTED, &app::tree::rows::path_of(app::state::key::PARAMS));
    let mut params: Vec<u8> =
        row.iter().flat_map(|byte| [*byte].into_iter().chain((*byte == 0).then_some(0xFF))).collect();
    params.extend([0, 0]);
    let version = |height: u64| [params.clone(), at(!height).to_vec()].concat();
    let store = open(&store_of(&home));
    let mut good = Batch::new();
    good.put(Cf::State, version(3), store.kv().get(Cf::State, &version(0)).unwrap().unwrap());
    store.kv().write(good, Durability::Synced).unwrap();
    drop(store);
    let params = put(&home, Cf::State, version(2));

    let mut node = homes.start(0);
    let status = node.call("status");
    assert_eq!(status["sync_info"]["earliest_block_height"], "1", "{status}");
    let old_params = "abci_query?path=\"/params\"&height=2".replace('"', "%22");
    for path in ["block?height=3", "commit?height=2", "block_results?height=4", "header?height=1", &old_params] {
        let answer = call(&node, path);
        let data = answer["error"]["data"].as_str().unwrap_or_else(|| panic!("{path}: {answer}"));
        assert!(data.starts_with("not available: "), "{path}: {data}");
    }
    assert_eq!(call(&node, "block?height=5")["result"]["block"]["header"]["height"], "5");
    assert!(node.metric("cometbft_storage_unreadable_total") >= 4.0);
    node.wait_for_line("a row could not be read from the store");
    let height = node.height();
    node.wait_for_height(height + 3);
    // The background scrub must find all damaged rows.
    until("the scrub has found them", || node.metric("cometbft_storage_scrub_damaged_rows") >= 4.0);
    let (code, log) = node.terminate();
    assert_eq!(code, Some(0), "{log}");

    let (code, text) = cairn(&["verify", "store", "--json"], &home);
    assert_eq!(code, 74, "{text}");
    let report: Value = serde_json::from_str(&text[..text.rfind('}').unwrap() + 1]).unwrap();
    let found: Vec<(&str, &Value)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| (finding["family"].as_str().unwrap(), &finding["height"]))
        .collect();
    for (family, height) in [("heads", "1"), ("blocks", "3"), ("results", "4"), ("state", "2")] {
        assert!(found.contains(&(family, &Value::from(height))), "{family}: {report}");
    }
    assert!(text.contains(&params[..40]), "the key is named: {text}");
}

#[test]
fn damage_in_the_current_state_is_reported_with_family_and_key() {
    let homes = one(|_| {});
    let home = homes.home(0);
    let mut node = homes.start(0);
    node.wait_for_height(3);
    assert_eq!(node.terminate().0, Some(0));
    let key = damage(&home, Cf::State, b"n");
    // The start does not read the whole state; the scrub does.
    let mut node = Validator::spawn(&home, &[]);
    node.wait_for_line(&key);
    let (_, log) = node.terminate();
    for part in ["family=state", "cairn verify store", "cairn restore"] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let (code, text) = cairn(&["verify", "store"], &home);
    assert_eq!(code, 74, "{text}");
}

#[test]
fn undamaged_stores_pass_and_missing_notes_and_garbage_address_books_are_reported() {
    let homes = one(|_| {});
    let home = homes.home(0);
    let mut node = homes.start(0);
    node.wait_for_height(3);
    let (code, text) = cairn(&["verify", "store"], &home);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("cairn backup"), "{text}");
    assert_eq!(node.terminate().0, Some(0));
    assert!(succeeds(&["verify", "store"], &home).contains("are whole"));

    fs::remove_file(store_of(&home).join("SYNCED")).unwrap();
    write(home.join("config/addrbook.json"), "{\"addresses\": 7}");
    let mut node = Validator::spawn(&home, &[]);
    node.wait_for_line("SYNCED is missing");
    node.wait_for_line("the address book is unreadable");
    let mut node = node.listening();
    assert!(home.join("config/addrbook.json.unreadable").exists());
    let height = node.height();
    node.wait_for_height(height + 2);
}

#[test]
fn a_node_that_needs_pruned_blocks_is_refused_and_starts_from_a_backup() {
    let homes = one(|options| options.params.retain_blocks = 2);
    let home = homes.home(0);
    let node = Validator::start_with(&home, &["--storage.retain_time=0s".to_owned()]);
    let earliest = |node: &Validator| -> u64 {
        node.call("status")["sync_info"]["earliest_block_height"].as_str().unwrap().parse().unwrap()
    };
    until("the window moves", || earliest(&node) > FORGET_STEP);

    let (late, flags) = homes.follower("late");
    let mut follower = Validator::start_with(&late, &flags);
    until("it says that nobody keeps height 1", || {
        let ready = call(&follower, "ready");
        let reasons = if ready["result"].is_object() { &ready["result"] } else { &ready };
        reasons.to_string().contains("no connected peer keeps height 1: the lowest height that a peer keeps is")
    });
    follower.wait_for_line("no connected peer keeps the next block that this node needs");
    let (code, text) = cairn(&["query", "ready", "--node", &follower.rpc], &late);
    assert!(code != 0 && text.contains("cairn restore"), "{text}");
    let (code, log) = follower.terminate();
    assert!(code == Some(0) && !log.contains("caught up"), "{log}");
    // From here on the node prunes nothing, so that the test does not depend on the speed of the machine.
    assert_eq!(node.terminate().0, Some(0));
    let mut node = Validator::start_with(&home, &[]);

    // The copy of the running node's store must not contain the record of what its key has signed.
    let copy = homes.folder.path().join("copy");
    let text = succeeds(&["backup", copy.to_str().unwrap()], &home);
    assert!(text.contains(CHAIN), "{text}");
    let height = node.height();
    node.wait_for_height(height + 2);
    let copied = open(&copy.join("store"));
    assert!(copied.tip().unwrap().height > Height(FORGET_STEP));
    assert_eq!((copied.hard_state().unwrap(), copied.signing_floor()), (None, Height(0)));
    drop(copied);
    assert!(
        succeeds(&["verify", "store", "--path", copy.join("store").to_str().unwrap()], &home).contains("are whole")
    );
    let (code, text) = cairn(&["backup", copy.to_str().unwrap()], &home);
    assert!(code != 0 && text.contains("is there already"), "{text}");

    let (code, text) = cairn(&["restore", copy.to_str().unwrap()], &late);
    assert!(code != 0 && text.contains("move it away first"), "{text}");
    fs::rename(store_of(&late), late.join("old.db")).unwrap();
    let text = succeeds(&["restore", copy.to_str().unwrap()], &late);
    assert!(text.contains("signing state"), "{text}");
    let mut follower = Validator::start_with(&late, &flags);
    let goal = node.height() + 5;
    follower.wait_for_height(goal);
    until("it is ready", || call(&follower, "ready").to_string().contains("\"ready\":true"));
    assert_eq!(follower.block_hash(goal), node.block_hash(goal));

    // A stopped node can be copied too, and a home of another chain refuses the copy.
    assert_eq!(follower.terminate().0, Some(0));
    let second = homes.folder.path().join("second");
    succeeds(&["backup", second.to_str().unwrap()], &late);
    let other = homes.folder.path().join("other");
    succeeds(&["init"], &other);
    let (code, text) = cairn(&["restore", second.to_str().unwrap()], &other);
    assert!(code == 78 && text.contains("the copy is of chain processes"), "{text}");
}

#[test]
fn a_validator_restored_from_a_backup_signs_only_above_its_signing_state() {
    let homes = Homes::new(4, Duration::from_millis(50));
    let mut nodes = homes.start_all();
    let (home, key) = (homes.home(3), homes.home(3).join("config/priv_validator_key.json"));
    let address = nodes[3].call("status")["validator_info"]["address"].as_str().unwrap().to_owned();
    nodes[0].wait_for_height(3);
    let copy = homes.folder.path().join("copy");
    succeeds(&["backup", copy.to_str().unwrap()], &homes.home(0));
    let copied = open(&copy.join("store")).tip().unwrap().height.0;
    let until_it_signs = |nodes: &mut Vec<Validator>, node: &mut Validator| {
        let tip = nodes[0].height();
        node.wait_for_height(tip + 1);
        nodes[0].wait_until("its signature is in a commit again", |first| {
            (tip + 1..=first.height()).any(|height| has_signed(first, &address, height))
        });
    };

    // First case: the signing state is ahead of the copy.
    nodes[3].wait_for_height(copied + 4);
    nodes.pop().unwrap().kill();
    fs::remove_dir_all(store_of(&home)).unwrap();
    let before = signed(&home).unwrap_or_default();
    assert!(before.0 > copied + 3, "{before:?}, {copied}");
    let text = succeeds(&["restore", copy.to_str().unwrap()], &home);
    assert!(text.contains(&format!("up to height {}", before.0)) && !text.contains("--signed-up-to"), "{text}");
    let node = Validator::spawn(&home, &[]);
    until("it signs", || signed(&home).unwrap_or_default() != before);
    let after = signed(&home).unwrap_or_default();
    assert!(after.0 > before.0, "it signed at {after:?}, and at {before:?} before");
    let mut node = node.listening();
    until_it_signs(&mut nodes, &mut node);
    let (code, log) = node.terminate();
    assert!(code == Some(0) && log.contains("the validator signs nothing: its signing state says"), "{log}");

    // Second case: the signing state is lost, so it is unknown up to which height the key signed.
    fs::remove_dir_all(store_of(&home)).unwrap();
    fs::remove_file(home.join("data/priv_validator_state.json")).unwrap();
    let text = succeeds(&["restore", copy.to_str().unwrap()], &home);
    assert!(text.contains("--signed-up-to H") && text.contains(key.to_str().unwrap()), "{text}");
    let mut node = homes.start(3);
    until_it_signs(&mut nodes, &mut node);
    let (code, log) = node.terminate();
    let line = log.lines().find(|line| line.contains("the validator signs nothing")).expect("it says so");
    assert!(code == Some(0) && line.contains("no signing state") && line.contains("--signed-up-to H"), "{line}");
    for node in &nodes {
        assert_eq!(node.metric("cometbft_consensus_byzantine_validators"), 0.0);
    }
}
