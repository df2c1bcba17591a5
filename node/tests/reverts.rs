//! Proves with a real process that a revert is proposed, voted on and executed through RPC, and that each refusal of the
//! messages reaches the client with its code.

mod processes;

use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXUPPER};
use files::AccountKey;
use processes::{Homes, Validator};
use serde_json::{Value, json};
use types::{
    ChainId, Height, KvOp, Msg, NsOwner, ProposalKind, Propose, Revert, RevertScope, SecretKey, TxBody, TxOrder, Wire,
};

const ALICE: u8 = 61;
const POOR: u8 = 62;
const OPERATOR: u8 = 63;

fn key(seed: u8) -> SecretKey {
    SecretKey::from_bytes(&[seed; 32]).unwrap()
}

/// A chain with one validator.
struct Test {
    _homes: Homes,
    node: Validator,
    nonces: [u64; 256],
}

impl Test {
    fn new() -> Self {
        let homes = Homes::with(1, Duration::from_millis(20), |options| {
            options.accounts = vec![
                (AccountKey::new("alice", key(ALICE)).unwrap(), 1 << 40),
                (AccountKey::new("poor", key(POOR)).unwrap(), 1_400),
            ];
            options.nodes[0].operator = AccountKey::new("validator-0", key(OPERATOR)).unwrap();
            let proposals = &mut options.params.proposals;
            (proposals.deposit, proposals.open_max) = (1_500, 2);
            proposals.notice_min = Duration::from_millis(200);
            proposals.revert_keys_max = 3;
        });
        let mut node = homes.start(0);
        node.wait_for_height(1);
        Self { _homes: homes, node, nonces: [0; 256] }
    }

    fn rpc(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        ureq::post(&self.node.rpc).send_json(call).unwrap().body_mut().read_json().unwrap()
    }

    /// Sends a transaction; returns code, log and height of its result, or of the refusal.
    fn send(&mut self, from: u8, message: Msg) -> (u64, String, u64) {
        let (chain_id, nonce) = (ChainId::new("processes").unwrap(), self.nonces[usize::from(from)]);
        let (signer, order) = (key(from).public_key(), TxOrder::Nonce(nonce));
        let tx = TxBody { chain_id, signer, order, fee: 10, messages: vec![message] }.sign(&key(from));
        let answer = self.rpc("broadcast_tx_commit", json!({ "tx": BASE64.encode(tx.bytes()) }));
        let (checked, done) = (&answer["result"]["check_tx"], &answer["result"]["tx_result"]);
        let log = |result: &Value| result["log"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        if checked["code"] != 0 {
            return (checked["code"].as_u64().unwrap(), log(checked), 0);
        }
        self.nonces[usize::from(from)] += 1;
        let height = answer["result"]["height"].as_str().unwrap().parse().unwrap();
        (done["code"].as_u64().unwrap(), log(done), height)
    }

    fn ok(&mut self, from: u8, message: Msg) -> u64 {
        let (code, log, height) = self.send(from, message);
        assert_eq!(code, 0, "{log}");
        height
    }

    #[track_caller]
    fn refused(&mut self, from: u8, message: Msg, code: u64, name: &str) {
        let before = self.query("/kv/ns/shared/policy", b"", None);
        let (got, log, _) = self.send(from, message);
        let sentence = log.strip_prefix("message 0: ").unwrap_or(&log);
        assert!(got == code && sentence.starts_with(&format!("{name}: ")), "{got} {log}, expected {name}");
        assert_eq!(self.query("/kv/ns/shared/policy", b"", None), before);
    }

    /// Asks the application; returns its value, or code and log.
    fn query(&self, path: &str, data: &[u8], height: Option<u64>) -> Value {
        let height = height.map(|height| height.to_string());
        let answer = self.rpc("abci_query", json!({ "path": path, "data": HEXUPPER.encode(data), "height": height }));
        let response = &answer["result"]["response"];
        match response["value"].as_str() {
            Some(value) => serde_json::from_slice(&BASE64.decode(value.as_bytes()).unwrap()).unwrap(),
            None => response.clone(),
        }
    }

    fn height(&self) -> u64 {
        let status = self.rpc("status", json!({}));
        status["result"]["sync_info"]["latest_block_height"].as_str().unwrap().parse().unwrap()
    }

    fn wait_until_closed(&self, id: u64) -> Value {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let proposal = self.query(&format!("/proposal/{id}"), b"", None);
            if proposal.get("closed_height").is_some() {
                return proposal;
            }
            assert!(Instant::now() < end, "{proposal}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn create(ns: &str) -> Msg {
    Msg::NsCreate { ns: ns.into(), owner: NsOwner::Shared, quota_keys: 100, quota_bytes: 200_000 }
}

fn put(data_epoch: u64, key: &str, value: &str) -> Msg {
    let op = KvOp { key: key.into(), value: Some(value.into()), if_height: None };
    Msg::KvWrite { ns: "shared/policy".into(), data_epoch, ops: vec![op] }
}

fn revert(target: u64) -> Revert {
    let scope = vec![RevertScope { ns: "shared/policy".into(), expect_root: None }];
    Revert { target: Height(target), scope, notice: None, dirty_after: None }
}

fn of(revert: Revert) -> Propose {
    Propose { kind: ProposalKind::Revert(revert), reason: "supply-chain prompt".into(), uri: String::new() }
}

fn propose(revert: Revert) -> Msg {
    Msg::Propose(Box::new(of(revert)))
}

#[test]
fn a_revert_is_decided_and_each_refusal_reaches_the_client() {
    let mut test = Test::new();
    test.ok(ALICE, create("shared/policy"));
    let good = test.ok(ALICE, put(1, "rules", "ask first"));
    let bad = test.ok(ALICE, put(1, "rules", "never ask"));
    let root = |test: &Test, height| test.query("/kv/root/shared/policy", b"", height)["root"].clone();
    let old = root(&test, Some(good));

    // Proposals that are not possible.
    let scope =
        |ns: &str, expect_root| Revert { scope: vec![RevertScope { ns: ns.into(), expect_root }], ..revert(good) };
    test.refused(ALICE, propose(revert(1 << 40)), 130, "E_HEIGHT_FUTURE");
    test.refused(ALICE, propose(revert(0)), 132, "E_NS_NEWER");
    test.refused(ALICE, propose(scope("none", None)), 102, "E_NS_UNKNOWN");
    test.refused(ALICE, propose(scope("No", None)), 101, "E_BAD_NAME");
    test.refused(ALICE, propose(scope("shared/policy", Some(types::Hash([7; 32])))), 133, "E_ROOT_MISMATCH");
    test.refused(ALICE, propose(revert(bad)), 134, "E_NOOP");
    test.refused(ALICE, propose(Revert { dirty_after: Some(Height(good)), ..revert(good) }), 135, "E_DIRTY");
    test.refused(ALICE, propose(Revert { notice: Some(Duration::from_millis(9)), ..revert(good) }), 127, "E_NOTICE");
    test.refused(POOR, propose(revert(good)), 110, "E_DEPOSIT");
    test.refused(OPERATOR, Msg::Vote { id: 1, yes: true }, 120, "E_UNKNOWN");

    // The preview, and the proposal.
    let preview = test.query("/revert/preview", &of(revert(good)).encode(), None);
    assert_eq!(
        (&preview["would_execute"], &preview["keys"], &preview["namespaces"][0]["to_root"]),
        (&json!(true), &json!("1"), &old)
    );
    assert_eq!(test.query("/revert/preview", &of(revert(1 << 40)).encode(), None)["code"], 130);
    assert_eq!(test.query("/revert/preview", b"?", None)["code"], 1);
    test.ok(ALICE, propose(revert(good)));
    let proposal = test.query("/proposal/1", b"", None);
    assert_eq!((&proposal["state"], &proposal["diff_digest"]), (&json!("voting"), &preview["diff_digest"]));
    test.refused(ALICE, Msg::Vote { id: 1, yes: true }, 122, "E_NOT_VALIDATOR");
    test.refused(OPERATOR, Msg::Cancel { id: 1 }, 123, "E_NOT_PROPOSER");
    test.ok(ALICE, propose(revert(good)));
    test.refused(ALICE, propose(revert(good)), 125, "E_TOO_MANY_OPEN");
    test.ok(ALICE, Msg::Cancel { id: 2 });
    test.refused(OPERATOR, Msg::Vote { id: 2, yes: true }, 121, "E_CLOSED");

    // The freeze.
    test.ok(OPERATOR, Msg::Freeze { id: 1 });
    test.refused(ALICE, put(1, "rules", "x"), 113, "E_NS_FROZEN");
    test.refused(OPERATOR, Msg::Freeze { id: 1 }, 124, "E_FREEZE_COOLDOWN");
    assert_eq!(test.query("/kv/ns/shared/policy", b"", None)["frozen"]["by"], "1");

    // The decision.
    test.ok(OPERATOR, Msg::Vote { id: 1, yes: true });
    let proposal = test.wait_until_closed(1);
    assert_eq!((&proposal["state"], &proposal["votes"][0]["vote"]), (&json!("executed"), &json!("yes")), "{proposal}");
    let executed: u64 = proposal["closed_height"].as_str().unwrap().parse().unwrap();
    assert_eq!((root(&test, None), root(&test, Some(executed))), (old.clone(), old));
    let results = test.rpc("block_results", json!({ "height": executed.to_string() }));
    let kinds =
        results["result"]["finalize_block_events"].as_array().unwrap().iter().map(|event| event["type"].clone());
    assert_eq!(kinds.collect::<Vec<_>>(), ["revert.executed", "revert.unfrozen"]);
    let found = test.rpc("block_search", json!({ "query": "revert.executed.ns = 'shared/policy'" }));
    assert_eq!(found["result"]["total_count"], "1", "{found}");
    let tainted = test.query("/kv/get/shared/policy", b"rules", Some(bad));
    assert_eq!((&tainted["value"], &tainted["reverted_by"]), (&json!(BASE64.encode(b"never ask")), &json!("1")));
    assert_eq!(test.query("/kv/get/shared/policy", b"rules", Some(good)).get("reverted_by"), None);
    test.refused(ALICE, put(1, "rules", "x"), 104, "E_STALE_EPOCH");
    test.refused(ALICE, propose(revert(bad)), 126, "E_COOLDOWN");
    for key in ["a", "b", "c", "d"] {
        test.ok(ALICE, put(2, key, "1"));
    }
    let preview = test.query("/revert/preview", &of(revert(executed)).encode(), None);
    assert_eq!((&preview["code"], test.height() > executed), (&json!(2), true), "E_TOO_LARGE: {preview}");
    let all = test.query("/proposals", b"", None);
    let states: Vec<&Value> = all["proposals"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!((states, &all["open"]), (vec![&json!("executed"), &json!("cancelled")], &json!([])));
}
