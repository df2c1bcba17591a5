//! Proves on real processes that a running validator replaces its consensus key under load, and then works with the new
//! key alone.

mod processes;

use std::{
    fs,
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use data_encoding::BASE64;
use files::{AccountKey, ValidatorKey};
use processes::{Homes, eventually, has_signed, signed};
use serde_json::{Value, json};
use types::{Address, ChainId, Msg, SecretKey, TxBody, TxOrder};

/// Consensus key files of a home.
const FILES: [&str; 3] = ["priv_validator_key.json", "next_validator_key.json", "old_validator_key.json"];

#[track_caller]
fn succeeds(args: &[&str], home: &Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(args).arg("--home").arg(home).output().unwrap();
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.success(), "{args:?}: {text}");
    text
}

fn payer() -> SecretKey {
    SecretKey::from_bytes(&[61; 32]).unwrap()
}

/// Transfers that a thread sends to a node until it is asked to stop.
struct Load {
    stops: Arc<AtomicBool>,
    accepted: Arc<AtomicU64>,
    thread: JoinHandle<()>,
}

impl Load {
    fn start(rpc: &str) -> Self {
        let (stops, accepted) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (rpc, stop, count) = (rpc.to_owned(), stops.clone(), accepted.clone());
        let thread = thread::spawn(move || {
            for nonce in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let body = TxBody {
                    chain_id: ChainId::new("processes").unwrap(),
                    signer: payer().public_key(),
                    order: TxOrder::Nonce(nonce),
                    fee: 10,
                    messages: vec![Msg::Transfer { to: Address([7; 20]), amount: 1 }],
                };
                let params = json!({ "tx": BASE64.encode(body.sign(&payer()).bytes()) });
                let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "broadcast_tx_sync", "params": params });
                let answer: Value = ureq::post(&rpc).send_json(call).unwrap().body_mut().read_json().unwrap();
                assert_eq!(answer["result"]["code"], 0, "{answer}");
                count.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5)); // the rate of the load
            }
        });
        Self { stops, accepted, thread }
    }

    fn stop(self) -> u64 {
        self.stops.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
        self.accepted.load(Ordering::Relaxed)
    }
}

fn address_of(home: &Path, file: &str) -> String {
    ValidatorKey::load(&home.join("config").join(file)).unwrap().address().to_string()
}

#[test]
fn a_running_validator_replaces_its_key_under_load() {
    let homes = Homes::with(4, Duration::from_millis(20), |options| {
        options.accounts.push((AccountKey::new("payer", payer()).unwrap(), 1 << 40));
    });
    let mut nodes = homes.start_all();
    nodes[0].wait_for_height(5);
    let home = homes.home(0);
    let old = address_of(&home, FILES[0]);
    let trusted = homes.folder.path().join("trusted.json");
    fs::write(&trusted, succeeds(&["query", "validators", "--json", "--node", &nodes[2].rpc], &home)).unwrap();
    let load = Load::start(&nodes[1].rpc);
    nodes[0].wait_for_height(20);

    let said = succeeds(&["keys", "rotate", "--from", "validator-0", "--node", &nodes[0].rpc], &home);
    let new = address_of(&home, FILES[0]);
    assert_ne!(new, old);
    assert_eq!(address_of(&home, FILES[2]), old);
    assert!(!home.join("config").join(FILES[1]).exists() && said.contains(&new), "{said}");
    let search = "tx_search?query=%22staking.key_rotated.validator%20EXISTS%22";
    let height: u64 = nodes[0].call(search)["txs"][0]["height"].as_str().unwrap().parse().unwrap();
    nodes[0].wait_for_height(height + 40);

    // The sets change at H + 2, and each key signs for its own.
    let has = |height: u64, key: &str| {
        let set = nodes[2].call(&format!("validators?height={height}"));
        set["validators"].as_array().unwrap().iter().any(|one| one["address"] == key)
    };
    assert!(has(height + 1, &old) && !has(height + 1, &new));
    assert!(!has(height + 2, &old) && has(height + 2, &new));
    // A precommit that comes after the next proposal is in no commit, whatever the key, so only the long run says something.
    let held = |key: &str, heights: std::ops::Range<u64>| heights.filter(|at| has_signed(&nodes[2], key, *at)).count();
    let (before, after) = (held(&old, height - 10..height + 2), held(&new, height + 2..height + 38));
    assert!(before > 0 && after > 12, "signed {before} of 12 heights before and {after} of 36 after height {height}");
    assert!((height + 2..height + 17).any(|height| has_signed(&nodes[2], &new, height)), "rotated at {height}");
    assert_eq!(nodes[0].call("status")["validator_info"]["address"], new.as_str());
    assert_eq!(nodes[0].ready().0, 200);
    let accepted = load.stop();
    assert!(accepted > 50, "{accepted} transactions");

    // Who trusts the set before verifies what the set after signed, and a node without blocks verifies all heights.
    let proof = homes.folder.path().join("proof.json");
    fs::write(&proof, succeeds(&["proof", "account", "payer", "--node", &nodes[2].rpc], &home)).unwrap();
    let proven = succeeds(&["verify", proof.to_str().unwrap(), "--trust", trusted.to_str().unwrap()], &home);
    assert!(proven.contains(&payer().public_key().address().to_string()), "{proven}");
    assert_eq!(nodes.remove(3).terminate().0, Some(0));
    succeeds(&["unsafe-reset-all"], &homes.home(3));
    nodes.push(homes.start(3));
    nodes[3].wait_for_height(height + 40);
    assert_eq!(nodes[3].block_hash(height + 40), nodes[1].block_hash(height + 40));

    // The node starts with the new key alone, and signs again.
    fs::remove_file(home.join("config").join(FILES[2])).unwrap();
    let before = signed(&home).unwrap().0;
    let (code, log) = nodes.remove(0).terminate();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("ours=true"), "it proposes");
    let mut again = homes.start(0);
    eventually("it signs with the new key", || signed(&home).unwrap().0 > before + 5);
    let height = again.height();
    again.wait_for_height(height + 20);
    assert!((height..height + 19).any(|height| has_signed(&again, &new, height)));
    let table = succeeds(&["query", "validators", "--all", "--json", "--node", &again.rpc], &home);
    assert!(table.contains(&new) && table.contains(&old), "{table}");
}

/// Each step of the command can be repeated after an interruption.
#[test]
fn a_rotation_goes_on_where_it_was_interrupted() {
    let homes = Homes::new(1, Duration::from_millis(20));
    let (home, mut node) = (homes.home(0), homes.start(0));
    node.wait_for_height(2);
    let old = address_of(&home, FILES[0]);
    let rotate = ["keys", "rotate", "--from", "validator-0", "--node", &node.rpc];
    // The transaction was sent, but the command did not wait.
    let said = succeeds(&[&rotate[..], &["--no-wait", "--key-type", "ed25519"]].concat(), &home);
    assert!(said.contains("run the command again"), "{said}");
    let next = address_of(&home, FILES[1]);
    assert_eq!(address_of(&home, FILES[0]), old);
    eventually("the node signs with the next key", || {
        node.call("status")["validator_info"]["address"] == next.as_str()
    });
    // The node starts with both keys in their first places.
    let height = node.height();
    assert_eq!(node.terminate().0, Some(0));
    let mut node = homes.start(0);
    node.wait_for_height(height + 3);
    assert_eq!(node.call("status")["validator_info"]["address"], next.as_str());
    let rotate = ["keys", "rotate", "--from", "validator-0", "--node", &node.rpc];
    succeeds(&rotate, &home);
    assert_eq!((address_of(&home, FILES[0]), address_of(&home, FILES[2])), (next, old));
    // A second rotation is refused while evidence against the old key can come; the key that was made for it stays.
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(rotate).arg("--home").arg(&home).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && text.contains("E_ROTATED"), "{text}");
    node.wait_for_height(height + 6);
}

/// A node that lacks the key of its validator says so, and so does the command; another rotation replaces that key.
#[test]
fn a_lost_key_is_named_and_replaced_by_another_rotation() {
    let homes = Homes::with(4, Duration::from_millis(20), |options| {
        options.params.evidence.age_max = Duration::from_secs(1);
        options.params.staking.unbonding = Duration::from_millis(1500);
    });
    let (home, mut nodes) = (homes.home(0), homes.start_all());
    nodes[1].wait_for_height(3);
    let old = address_of(&home, FILES[0]);
    // The node does not run while its key changes, so it has signed nothing with the lost one.
    assert_eq!(nodes.remove(0).terminate().0, Some(0));
    let rpc = nodes[0].rpc.clone();
    let rotate = ["keys", "rotate", "--from", "validator-0", "--node", &rpc];
    succeeds(&[&rotate[..], &["--no-wait"]].concat(), &home);
    let lost = address_of(&home, FILES[1]);
    fs::remove_file(home.join("config").join(FILES[1])).unwrap();
    let validator = || -> Option<Value> {
        let text = succeeds(&["query", "validators", "--all", "--json", "--node", &rpc], &home);
        let all: Value = serde_json::from_str(&text).unwrap();
        all["validators"].as_array().unwrap().iter().find(|one| one["consensus_address"] == lost.as_str()).cloned()
    };
    eventually("the chain has the lost key", || validator().is_some());
    let refused = |says: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(rotate).arg("--home").arg(&home).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && text.contains(says) && text.contains("--lost-key"), "{text}");
    };
    refused(&format!("replaced its consensus key {old}, which is in"));
    let node = homes.start(0);
    eventually("the old key is forgotten", || validator().unwrap()["old_key"].is_null());
    refused("its key was replaced and is lost");
    succeeds(&[&rotate[..], &["--lost-key"]].concat(), &home);
    let new = address_of(&home, FILES[0]);
    assert_eq!(address_of(&home, FILES[2]), old);
    let mut height = node.height();
    eventually("the node signs with the new key", || {
        height += 1;
        nodes[0].wait_for_height(height + 1);
        has_signed(&nodes[0], &new, height)
    });
    let log = node.terminate().1;
    let error = log.lines().find(|line| line.contains("a consensus key that this node does not hold")).unwrap();
    assert!(error.contains("ERROR") && error.contains("--lost-key"), "{error}");
    assert!(log.contains("this node holds the new one"), "{log}");
}
