//! Proves with a real process that namespaces are created, written and read through RPC and command line, at any kept
//! height, and that each refusal reaches the client with its code.

mod processes;
mod program;

use std::{fs, process::Command, time::Duration};

use data_encoding::BASE64;
use genesis::sender_key;
use processes::{Homes, Validator};
use serde_json::{Value, json};
use types::{ChainId, Height, KvOp, Msg, NsOwner, TxBody, TxOrder, Wire};

/// The chain of these tests, and the accounts of its senders.
struct Test {
    homes: Homes,
    node: Validator,
    nonces: [u64; 2],
}

impl Test {
    /// Starts a node of a chain that keeps this number of heights.
    fn new(retain_blocks: u64) -> Self {
        Self::with_senders(retain_blocks, 2)
    }

    /// Starts a node of a chain that keeps this number of heights and has this number of accounts.
    fn with_senders(retain_blocks: u64, senders: u32) -> Self {
        let homes = Homes::with(1, Duration::from_millis(50), |options| {
            options.senders = senders;
            options.sender_balance = 100_000;
            options.params.retain_blocks = retain_blocks;
        });
        let mut node = homes.start(0);
        node.wait_for_height(1);
        Self { homes, node, nonces: [0; 2] }
    }

    fn signed(&self, sender: usize, messages: Vec<Msg>) -> Vec<u8> {
        let chain_id = ChainId::new("processes").unwrap();
        let key = sender_key(&chain_id, sender as u32);
        let order = TxOrder::Nonce(self.nonces[sender]);
        let body = TxBody { chain_id, signer: key.public_key(), order, fee: 500, messages };
        body.sign(&key).encode()
    }

    /// Sends a transaction; returns code, log and height of its result, or of the refusal.
    fn send(&mut self, sender: usize, messages: Vec<Msg>) -> (u64, String, u64) {
        let (code, log, height) = self.node.commit(&self.signed(sender, messages));
        self.nonces[sender] += u64::from(height > 0);
        (code, log, height)
    }

    fn ok(&mut self, message: Msg) -> u64 {
        let (code, log, height) = self.send(0, vec![message]);
        assert_eq!(code, 0, "{log}");
        height
    }

    /// Asks the application; returns its value, or code and log.
    fn query(&self, path: &str, data: &str, height: Option<u64>) -> Value {
        let data = data_encoding::HEXUPPER.encode(data.as_bytes());
        let params = json!({ "path": path, "data": data, "height": height.map(|height| height.to_string()) });
        let answer = self.node.post("abci_query", &params);
        if let Some(error) = answer.get("error") {
            return error.clone();
        }
        let response = &answer["result"]["response"];
        match response["value"].as_str() {
            Some(value) => serde_json::from_slice(&BASE64.decode(value.as_bytes()).unwrap()).unwrap(),
            None => response.clone(),
        }
    }

    fn value(&self, key: &str, height: Option<u64>) -> Option<String> {
        let value = self.query("/kv/get/shared/policy", key, height)["value"].as_str().map(str::to_owned)?;
        Some(String::from_utf8(BASE64.decode(value.as_bytes()).unwrap()).unwrap())
    }

    /// Runs a command at this node; returns whether it succeeded, standard output and standard error.
    fn cairn(&self, args: &[&str]) -> (bool, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        let output =
            command.args(args).env("CAIRN_NODE", &self.node.rpc).env("CAIRN_HOME", self.homes.home(0)).output();
        let output = output.unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.success(), text(output.stdout), text(output.stderr))
    }

    #[track_caller]
    fn succeeds(&self, args: &[&str]) -> String {
        let (is_ok, out, err) = self.cairn(args);
        assert!(is_ok, "{args:?}: {out}{err}");
        out
    }
}

fn create(ns: &str, owner: NsOwner) -> Msg {
    Msg::NsCreate { ns: ns.into(), owner, quota_keys: 3, quota_bytes: 200_000 }
}

fn put(key: &str, value: &str, if_height: Option<u64>) -> KvOp {
    KvOp { key: key.into(), value: Some(value.into()), if_height: if_height.map(Height) }
}

fn write(ns: &str, ops: Vec<KvOp>) -> Msg {
    Msg::KvWrite { ns: ns.into(), data_epoch: 1, ops }
}

#[test]
fn a_namespace_is_read_at_heights_and_each_refusal_reaches_the_client() {
    let mut test = Test::new(100_000);
    test.ok(create("shared/policy", NsOwner::Shared));
    let first = test.ok(write("shared/policy", vec![put("rules", "ask first", None)]));
    let second =
        test.ok(write("shared/policy", vec![put("rules", "never", Some(first)), put("x", &"v".repeat(65_536), None)]));
    assert_eq!(test.value("rules", None).as_deref(), Some("never"));
    assert_eq!(test.value("rules", Some(first)).as_deref(), Some("ask first"));
    assert_eq!(test.value("rules", Some(first - 1)), None);
    let shown = test.query("/kv/ns/shared/policy", "", None);
    assert_eq!(
        (&shown["keys"], &shown["bytes"], &shown["owner"]["type"]),
        (&"2".into(), &"65547".into(), &"shared".into())
    );
    assert_eq!(test.query("/kv/root/shared/policy", "", Some(second))["root"], shown["root"]);
    assert_ne!(test.query("/kv/root/shared/policy", "", Some(first))["root"], shown["root"]);
    let found = test.node.post("tx_search", &json!({ "query": "kv.write.ns = 'shared/policy'" }));
    assert_eq!(found["result"]["total_count"], "2", "{found}");

    test.ok(create("mine", NsOwner::Signer));
    let of = |data_epoch| Msg::KvWrite { ns: "mine".into(), data_epoch, ops: vec![put("k", "1", None)] };
    let long = "v".repeat(65_537);
    let many = (0..4).map(|key| put(&key.to_string(), "1", None)).collect();
    for (sender, message, code, name) in [
        (0, create("mine", NsOwner::Shared), 100, "E_NS_EXISTS"),
        (0, create("Mine", NsOwner::Shared), 101, "E_BAD_NAME"),
        (0, write("none", vec![put("k", "1", None)]), 102, "E_NS_UNKNOWN"),
        (1, of(1), 103, "E_NOT_WRITER"),
        (0, of(7), 104, "E_STALE_EPOCH"),
        (0, write("shared/policy", vec![put("rules", "1", Some(0))]), 105, "E_CAS"),
        (0, write("mine", many), 107, "E_QUOTA"),
        (0, write("mine", vec![put("", "1", None)]), 108, "E_KEY_SIZE"),
        (0, write("mine", vec![put("k", &long, None)]), 109, "E_VALUE_SIZE"),
        (0, write("mine", vec![put("k", "1", None); 65]), 111, "E_TOO_MANY_OPS"),
    ] {
        let (got, log, _) = test.send(sender, vec![message]);
        let log = log.strip_prefix("message 0: ").unwrap_or(&log);
        assert!(got == code && log.starts_with(&format!("{name}: ")), "{got} {log}, expected {name}");
        let explained = test.cairn(&["explain", name]);
        assert!(explained.1.contains(name), "{explained:?}");
    }
    let all = Msg::Transfer { to: types::Address([7; 20]), amount: 98_000 };
    let (code, log, _) = test.send(1, vec![all, create("poor", NsOwner::Signer), create("poorer", NsOwner::Signer)]);
    assert_eq!((code, log.is_empty()), (0, true), "{log}");
    let rest = test.node.post(
        "account",
        &json!({ "address": sender_key(&ChainId::new("processes").unwrap(), 1).public_key().address().to_string() }),
    );
    let rest: u64 = rest["result"]["balance"].as_str().unwrap().parse().unwrap();
    let most = Msg::Transfer { to: types::Address([7; 20]), amount: rest - 500 - 99 };
    let (code, log, _) = test.send(1, vec![most, create("poorest", NsOwner::Signer)]);
    assert!(code == 110 && log.starts_with("E_DEPOSIT: 100 is needed for deposits, the account has 99 left"), "{log}");
    assert!(test.query("/kv/ns/none", "", None)["log"].as_str().unwrap().starts_with("E_NS_UNKNOWN: "));
}

#[test]
fn a_condition_below_the_window_reaches_the_client_as_a_refusal() {
    let mut test = Test::new(2);
    test.ok(create("a", NsOwner::Shared));
    let old = test.ok(write("a", vec![put("k", "1", None)]));
    test.node.wait_for_height(old + 3);
    let (code, log, _) = test.send(0, vec![write("a", vec![put("k", "2", Some(old))])]);
    assert!(code == 106 && log.starts_with("message 0: E_HEIGHT_PRUNED: "), "{code} {log}");
}

#[test]
fn the_command_line_creates_writes_and_reads() {
    let mut test = Test::new(100_000);
    let created = test.succeeds(&["ns", "create", "team/notes", "--from", "alice", "--quota-keys", "5"]);
    assert!(created.contains("kv.ns_created: ns=team/notes"), "{created}");
    test.succeeds(&["kv", "put", "team/notes", "plan", "first", "--from", "alice"]);
    let read: Value = serde_json::from_str(&test.succeeds(&["kv", "get", "team/notes", "plan", "--json"])).unwrap();
    let height = read["height"].as_str().unwrap();
    assert_eq!(read["value"].as_str(), Some(&*BASE64.encode(b"first")));
    test.succeeds(&["kv", "put", "team/notes", "plan", "second", "--if-height", height, "--from", "alice", "--json"]);
    assert_eq!(test.succeeds(&["kv", "get", "team/notes", "plan"]), "second\n");
    assert_eq!(test.succeeds(&["kv", "get", "team/notes", "plan", "--height", height]), "first\n");
    let (is_ok, _, err) =
        test.cairn(&["kv", "put", "team/notes", "plan", "x", "--if-height", height, "--from", "alice"]);
    assert!(!is_ok && err.contains("E_CAS: key plan changed at height"), "{err}");
    let (is_ok, _, err) = test.cairn(&["kv", "put", "team/notes", "plan", "x", "--from", "bob"]);
    assert!(!is_ok && err.contains("E_NOT_WRITER"), "{err}");
    let (is_ok, _, err) = test.cairn(&["kv", "get", "team/notes", "none"]);
    assert!(!is_ok && err.contains("team/notes has no key none at height"), "{err}");
    let history = test.succeeds(&["kv", "history", "team/notes", "plan"]);
    let versions: Vec<&str> = history.lines().map(|line| line.split_whitespace().last().unwrap()).collect();
    assert_eq!(versions, ["value", "second", "first"], "{history}");
    assert!(test.cairn(&["kv", "history", "team/notes", "none"]).2.contains("team/notes has no key none"));
    let changed = test.succeeds(&["diff", "team/notes", "--from", height]);
    assert!(changed.contains("plan  first") && changed.contains("second\nroot "), "{changed}");
    let changed: Value =
        serde_json::from_str(&test.succeeds(&["diff", "team/notes", "--from", "0", "--to", height, "--json"])).unwrap();
    assert_eq!((&changed["rows"][0]["old"], &changed["complete"]), (&Value::Null, &true.into()));
    let same = test.succeeds(&["diff", "team/notes", "--from", height, "--to", height]);
    assert_eq!(same, format!("team/notes is the same at heights {height} and {height}\n"));
    let (is_ok, _, err) = test.cairn(&["diff", "team/notes", "--from", "1000000"]);
    assert!(!is_ok && err.contains("E_HEIGHT_FUTURE: height 1000000"), "{err}");
    test.succeeds(&["kv", "put", "team/notes", "0x00FF", "0x0102", "--from", "alice"]);
    let range = test.succeeds(&["kv", "range", "team/notes"]);
    assert!(range.contains("0x00FF  0x0102\n") && range.contains("plan    second\n"), "{range}");
    test.succeeds(&["kv", "del", "team/notes", "plan", "--from", "alice"]);
    assert!(!test.cairn(&["kv", "get", "team/notes", "plan"]).0);
    let shown = test.succeeds(&["ns", "show", "team/notes"]);
    assert!(shown.contains("(alice)") && shown.contains("1 of 5"), "{shown}");
    assert!(test.succeeds(&["ns", "list"]).contains("team/notes"));
    assert!(!test.cairn(&["explain", "E_NONE"]).0);
    assert!(test.succeeds(&["explain", "e_cas"]).contains("read the key again"));
    let root = || test.query("/kv/root/team/notes", "", None)["root"].clone();
    let before = root();
    test.node.kill();
    test.node = test.homes.start(0);
    test.node.wait_for_height(1);
    assert_eq!(test.query("/kv/root/team/notes", "", None)["root"], before, "the state survives a kill");
}

#[test]
fn proofs_of_a_namespace_are_files_that_are_verified_without_a_node() {
    let mut test = Test::with_senders(100_000, 21_000);
    test.ok(create("shared/policy", NsOwner::Shared));
    let [good, bad, good_again] = ["ask first", "never", "ask first"]
        .map(|rules| test.ok(write("shared/policy", vec![put("rules", rules, None)])).to_string());
    test.ok(create("shared/late", NsOwner::Shared));
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::write(path("validators.json"), test.succeeds(&["query", "validators", "--json"])).unwrap();
    let asked: [(&[&str], String); 9] = [
        (
            &["kv", "shared/policy", "rules"],
            "Key \"rules\" of namespace \"shared/policy\" had the value \"ask first\"".into(),
        ),
        (
            &["kv", "shared/policy", "rules", "--height", &bad],
            format!("Key \"rules\" of namespace \"shared/policy\" had the value \"never\" at height {bad}.\n"),
        ),
        (
            &["kv", "shared/policy", "0x00FF"],
            "Key 0x00FF of namespace \"shared/policy\" had no value at height ".into(),
        ),
        (&["ns", "shared/policy"], "Namespace \"shared/policy\" had the root ".into()),
        (&["ns", "shared/none"], "There was no namespace \"shared/none\" at height ".into()),
        (
            &["ns", "shared/late", "--height", &bad],
            format!("There was no namespace \"shared/late\" at height {bad}.\n"),
        ),
        // The tree of a state without namespaces is empty.
        (&["ns", "shared/late", "--height", "1"], "There was no namespace \"shared/late\" at height 1.\n".into()),
        (
            &["equal", "shared/policy", &good, &good_again],
            format!(
                "Namespace \"shared/policy\" had the same keys and values at heights {good} and {good_again}: its root was "
            ),
        ),
        (&["equal", "shared/policy", &good, "tip"], "Namespace \"shared/policy\" had the same keys and values".into()),
    ];
    for (number, (args, _)) in asked.iter().enumerate() {
        fs::write(path(&number.to_string()), test.succeeds(&[&["proof"], *args].concat())).unwrap();
    }
    for (args, reason) in [
        (&["equal", "shared/policy", &good, &bad][..], format!("`cairn diff shared/policy --from {good} --to {bad}`")),
        (&["equal", "shared/policy", &good, &bad, "--height", "1"], "--height is not for `equal` and `revert`".into()),
        (&["ns", "Shared"], "\"Shared\" is not a name: use 1 to 64 lower-case letters".into()),
        (&["kv", "shared/none", "rules"], "E_NS_UNKNOWN".into()),
        (
            &["equal", "shared/late", &good, &bad],
            format!(
                "there was no namespace shared/late at height {good}: `cairn proof ns shared/late --height {good}`"
            ),
        ),
        (&["kv", "shared/policy", "rules", "--height", "1000000"], "1000000".into()),
    ] {
        let (is_ok, out, err) = test.cairn(&[&["proof"], args].concat());
        assert!(!is_ok && out.is_empty() && err.contains(&reason), "{args:?}: {out}{err}");
    }
    test.node.kill();
    let verify = |file: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cairn"));
        let output = command.args(["verify", &path(file), "--trust", &path("validators.json")]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap())
    };
    for (number, (args, sentence)) in asked.iter().enumerate() {
        let (is_ok, proven, err) = verify(&number.to_string());
        assert!(is_ok && proven.starts_with(sentence), "{args:?}: {proven}{err}");
        assert!(proven.contains("1 of 1 validators with 100.0 % of the power signed that header"), "{proven}");
    }
    let (is_ok, out, err) = verify("validators.json");
    assert!(!is_ok && out.is_empty() && err.contains("this proves nothing"), "{out}{err}");
}
