//! Proves with real processes that each code of a refused transaction or query reaches the client with its name and a
//! sentence, that the refusal has no effect on the state, and that no code of `cairn explain` lacks such a test. Those of
//! namespaces are in `namespaces.rs`, and those of proposals in `reverts.rs`, `decisions.rs` and `upgrade.rs`.

mod processes;
mod source;

use std::{
    collections::BTreeSet,
    fs,
    process::Command,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use data_encoding::{BASE64, HEXUPPER};
use files::AccountKey;
use processes::{Homes, Validator, eventually};
use serde_json::{Value, json};
use source::Kind;
use types::{Address, ChainId, Deadline, Height, KvOp, Msg, NsOwner, SecretKey, TxBody, TxOrder, limits::TX_BYTES_MAX};

const ALICE: u8 = 61;
const BOB: u8 = 62;
const POOR: u8 = 63;

/// Maximum gas of a block, and so of a transaction, on the chain of these tests.
const GAS_MAX: u64 = 20;

/// The codes that no test of a real process provokes, without `E_`, each with the reason.
const NOT_PROVOKED: [(&str, &str); 4] = [
    ("EXPIRY_FULL", "2^20 executed transactions expire in that second: hours of blocks; app/tests/transactions.rs"),
    ("OLD_VALUES", "a block replaces 64 MiB of old values; app/tests/rules/namespaces.rs"),
    ("BUSY", "the checks of transactions have a backlog at that moment; mempool/src/error.rs"),
    ("NOT_AVAILABLE", "the disk does not answer at that moment; mempool/src/error.rs"),
];

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

fn body(from: u8, order: TxOrder, message: Msg) -> TxBody {
    let (chain_id, signer) = (ChainId::new("processes").unwrap(), key(from).public_key());
    TxBody { chain_id, signer, order, fee: 10, messages: vec![message] }
}

fn pay(amount: u64) -> Msg {
    Msg::Transfer { to: Address([7; 20]), amount }
}

fn signed(from: u8, body: TxBody) -> Vec<u8> {
    body.sign(&key(from)).bytes().to_vec()
}

/// The order of a transaction that expires this number of seconds after now.
fn in_seconds(seconds: i64) -> TxOrder {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
    TxOrder::Expires(Deadline::from_unix_millis((now + 1000 * seconds).unsigned_abs()).unwrap())
}

/// A chain with one validator, whose mempool has few places.
struct Test {
    homes: Homes,
    node: Validator,
}

impl Test {
    fn new() -> Self {
        let homes = Homes::with(1, Duration::from_millis(20), |options| {
            let account = |seed, name: &str, balance| (AccountKey::new(name, key(seed)).unwrap(), balance);
            options.accounts = vec![account(ALICE, "alice", 1 << 40), account(BOB, "bob", 1 << 40)];
            options.accounts.push(account(POOR, "poor", 100));
            options.params.block.gas_max = GAS_MAX as i64;
        });
        let config = homes.home(0).join("config/config.toml");
        let mut text = fs::read_to_string(&config).unwrap();
        for (name, few) in [("size", 3), ("max_txs_per_sender", 2)] {
            let part = text.find("\n[mempool]").unwrap();
            let line = part + text[part..].find(&format!("\n{name} = ")).unwrap() + 1;
            let end = line + text[line..].find('\n').unwrap();
            text.replace_range(line..end, &format!("{name} = {few}"));
        }
        fs::write(&config, text).unwrap();
        let mut node = homes.start(0);
        node.wait_for_height(1);
        Self { homes, node }
    }

    fn query(&self, path: &str, data: &[u8]) -> Value {
        let answer = self.node.post("abci_query", &json!({ "path": path, "data": HEXUPPER.encode(data) }));
        answer["result"]["response"].clone()
    }

    /// Sends a transaction that is not in a block yet; returns code and log.
    fn send(&self, bytes: &[u8]) -> (u64, String) {
        let answer = self.node.post("broadcast_tx_sync", &json!({ "tx": BASE64.encode(bytes) }));
        let result = &answer["result"];
        assert_eq!(result["codespace"], if result["code"] == 0 { "" } else { "cairn" }, "{answer}");
        (result["code"].as_u64().unwrap(), result["log"].as_str().unwrap().to_owned())
    }

    #[track_caller]
    fn waits(&self, bytes: &[u8]) {
        assert_eq!(self.send(bytes).0, 0, "it waits in the mempool");
    }

    /// Checks that a transaction is refused with a code and a sentence, and that the app hash stays as it is.
    #[track_caller]
    fn refused(&self, bytes: &[u8], code: u64, says: &str) {
        // All income is distributed, and an empty block changes nothing: the hash stays the same whatever the height.
        let app_hash = || self.node.post("abci_info", &json!({}))["result"]["response"]["last_block_app_hash"].clone();
        let before = app_hash();
        let (got, log) = self.send(bytes);
        assert!(got == code && log.starts_with(says), "{got} {log:?}, expected {code} {says:?}");
        assert_eq!(app_hash(), before, "{says}");
    }

    /// Executes a transaction, and waits for the block that distributes its fee.
    fn commit(&self, bytes: &[u8]) {
        let (code, log, _) = self.node.commit(bytes);
        assert_eq!(code, 0, "{log}");
        eventually("the fee is distributed", || {
            let supply =
                self.query("/supply", b"")["value"].as_str().map(|value| BASE64.decode(value.as_bytes()).unwrap());
            serde_json::from_slice::<Value>(&supply.unwrap()).unwrap()["fee_pool"] == "0"
        });
    }
}

#[test]
fn transactions_that_no_block_takes_are_refused_with_their_code() {
    let mut test = Test::new();
    let paid = |from, order, amount| signed(from, body(from, order, pay(amount)));
    let next = TxOrder::Nonce(0);
    test.refused(b"?", 1, "E_DECODE: ");
    test.refused(&vec![0; TX_BYTES_MAX + 1], 2, "E_TOO_LARGE: 229377 bytes, at most 229376 are allowed: split it");
    let other = TxBody { chain_id: ChainId::new("other").unwrap(), ..body(ALICE, next, pay(1)) };
    test.refused(&signed(ALICE, other), 3, "E_WRONG_CHAIN: signed for other, this chain is processes");
    test.refused(&signed(BOB, body(ALICE, next, pay(1))), 4, "E_BAD_SIGNATURE: ");
    test.refused(&paid(ALICE, TxOrder::Nonce(5000), 1), 5, "E_NONCE: nonce is 5000, expected 0: ");
    test.refused(&paid(ALICE, in_seconds(-60), 1), 6, "E_EXPIRED: expired at ");
    test.refused(&paid(ALICE, in_seconds(3600), 1), 7, "E_EXPIRES_TOO_FAR: expires at ");
    let free = TxBody { fee: 0, ..body(ALICE, next, pay(1)) };
    test.refused(&signed(ALICE, free), 10, "E_FEE: the fee is 0, at least 1 is needed");
    test.refused(&paid(POOR, next, 91), 11, "E_INSUFFICIENT_FUNDS: the account has 100 to spend, 101 is needed");
    let to_all_zeros = Msg::Transfer { to: Address::default(), amount: 1 };
    test.refused(&signed(ALICE, body(ALICE, next, to_all_zeros)), 12, "E_BAD_RECIPIENT: ");
    test.refused(&paid(ALICE, next, 0), 13, "E_ZERO_AMOUNT: ");
    let op = KvOp { key: b"k".to_vec(), value: None, if_height: Some(Height(0)) };
    let ops = vec![op; GAS_MAX as usize + 1];
    let many = Msg::KvWrite { ns: "a".into(), data_epoch: 1, ops };
    test.refused(&signed(ALICE, body(ALICE, next, many)), 14, "E_TOO_MANY_MESSAGES: 21 messages, at most 20 ");
    let create = |ns: &str| Msg::NsCreate { ns: ns.into(), owner: NsOwner::Shared, quota_keys: 1, quota_bytes: 1 };
    test.refused(&signed(POOR, body(POOR, next, create("a"))), 110, "E_DEPOSIT: ");

    // What was executed is not executed again: the node remembers the last ones, the state all that could be.
    let (ordered, unordered) = (paid(ALICE, next, 1), paid(BOB, in_seconds(300), 1));
    test.commit(&ordered);
    test.commit(&unordered);
    test.refused(&ordered, 66, "E_COMMITTED: ");
    test.refused(&paid(ALICE, next, 2), 5, "E_NONCE: nonce is 0, expected 1: it was used before");
    assert_eq!(test.node.terminate().0, Some(0));
    test.node = test.homes.start(0);
    test.node.wait_for_height(1);
    test.refused(&unordered, 8, "E_DUPLICATE: executed already at height ");

    // Those that wait for a nonce fill the mempool.
    let ahead = |from, nonce, amount| paid(from, TxOrder::Nonce(nonce), amount);
    test.waits(&ahead(ALICE, 5, 1));
    test.refused(&ahead(ALICE, 5, 1), 65, "E_IN_MEMPOOL: ");
    test.refused(
        &ahead(ALICE, 5, 2),
        68,
        "E_REPLACE_FEE: a transaction with this nonce and a fee of 10 waits: offer 11",
    );
    test.waits(&ahead(ALICE, 6, 1));
    test.refused(&ahead(ALICE, 7, 1), 67, "E_SENDER_FULL: 2 transactions of this sender wait");
    test.waits(&ahead(BOB, 5, 1));
    test.refused(&ahead(BOB, 6, 1), 64, "E_MEMPOOL_FULL: ");

    // Queries.
    for (path, data, code, says) in [
        ("/nothing", &b""[..], 32, "E_UNKNOWN_PATH: there is no query \"/nothing\""),
        ("/account", b"x", 33, "E_BAD_QUERY: /account: "),
        ("/kv/get/none", b"k", 102, "E_NS_UNKNOWN: "),
    ] {
        let answer = test.query(path, data);
        assert!(answer["code"] == code && answer["log"].as_str().unwrap().starts_with(says), "{path}: {answer}");
    }
}

/// Finds the codes with which a string of a test of a real process begins.
fn provoked() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (path, text) in source::files("node/tests") {
        let file = path.rsplit('/').next().unwrap();
        if !["codes.rs", "decisions.rs", "namespaces.rs", "reverts.rs", "staking.rs", "upgrade.rs"].contains(&file) {
            continue;
        }
        for token in source::tokens(&text).iter().filter(|token| token.kind == Kind::Text) {
            let is_name = |letter: char| letter.is_ascii_uppercase() || letter == '_';
            let end = token.text.find(|letter| !is_name(letter)).unwrap_or(token.text.len());
            names.insert(token.text[..end].to_owned());
        }
    }
    names
}

#[test]
fn each_code_that_is_explained_is_provoked_in_a_real_process() {
    let output = Command::new(env!("CARGO_BIN_EXE_cairn")).args(["explain", "--json"]).output().unwrap();
    let codes: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let names: Vec<&str> =
        codes.iter().filter(|code| code["code"].is_u64()).map(|code| code["name"].as_str().unwrap()).collect();
    assert!(names.len() > 50 && names.iter().all(|name| name.starts_with("E_")), "{names:?}");
    let provoked = provoked();
    for (short, _) in NOT_PROVOKED {
        assert!(names.contains(&&*format!("E_{short}")), "there is no code E_{short}");
    }
    for name in names {
        let excused = NOT_PROVOKED.iter().find(|(short, _)| Some(*short) == name.strip_prefix("E_"));
        match (provoked.contains(name), excused) {
            (false, None) => panic!("no test of a real process provokes {name}: add one to this file, or say why not"),
            (true, Some((_, why))) => panic!("a test provokes {name}: the reason {why:?} is outdated"),
            _ => {}
        }
    }
}
