//! Proves with a real process that a revert is proposed, voted on and executed through RPC, and that each refusal of the
//! messages reaches the client with its code.

mod processes;

use std::time::{Duration, Instant};

use data_encoding::{BASE64, HEXUPPER};
use files::AccountKey;
use processes::{Homes, Validator};
use serde_json::{Value, json};
use types::{
    ChainId, Choice, Height, KvOp, Msg, NsOwner, Params, ProposalKind, Propose, Revert, RevertScope, SecretKey, TxBody,
    TxOrder, Wire,
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
        Self::with(|_| {})
    }

    /// Starts a validator, after `change` has modified the parameters of its chain.
    fn with(change: impl FnOnce(&mut Params)) -> Self {
        Self::of(Duration::from_millis(20), change)
    }

    /// As [`Test::with`], with this interval between empty blocks.
    fn of(interval: Duration, change: impl FnOnce(&mut Params)) -> Self {
        let homes = Homes::with(1, interval, |options| {
            options.accounts = vec![
                (AccountKey::new("alice", key(ALICE)).unwrap(), 1 << 40),
                (AccountKey::new("poor", key(POOR)).unwrap(), 1_400),
            ];
            options.nodes[0].operator = AccountKey::new("validator-0", key(OPERATOR)).unwrap();
            let proposals = &mut options.params.proposals;
            (proposals.deposit, proposals.open_max) = (1_500, 2);
            proposals.notice_min = Duration::from_millis(200);
            proposals.revert_keys_max = 3;
            change(&mut options.params);
        });
        let mut node = homes.start(0);
        node.wait_for_height(1);
        Self { _homes: homes, node, nonces: [0; 256] }
    }

    /// Sends a transaction; returns code, log and height of its result, or of the refusal.
    fn send(&mut self, from: u8, message: Msg) -> (u64, String, u64) {
        let (chain_id, nonce) = (ChainId::new("processes").unwrap(), self.nonces[usize::from(from)]);
        let (signer, order) = (key(from).public_key(), TxOrder::Nonce(nonce));
        let tx = TxBody { chain_id, signer, order, fee: 10, messages: vec![message] }.sign(&key(from));
        let (code, log, height) = self.node.commit(tx.bytes());
        self.nonces[usize::from(from)] += u64::from(height > 0);
        (code, log, height)
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
        let answer =
            self.node.post("abci_query", &json!({ "path": path, "data": HEXUPPER.encode(data), "height": height }));
        let response = &answer["result"]["response"];
        match response["value"].as_str() {
            Some(value) => serde_json::from_slice(&BASE64.decode(value.as_bytes()).unwrap()).unwrap(),
            None => response.clone(),
        }
    }

    fn height(&self) -> u64 {
        let status = self.node.post("status", &json!({}));
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
    test.refused(OPERATOR, Msg::Vote { id: 1, choice: Choice::Yes }, 120, "E_UNKNOWN");

    test.ok(ALICE, create("big"));
    let write = |key: &str| {
        let op = KvOp { key: key.into(), value: Some(b"1".to_vec()), if_height: None };
        Msg::KvWrite { ns: "big".into(), data_epoch: 1, ops: vec![op] }
    };
    let first = test.ok(ALICE, write("first"));
    for key in ["a", "b", "c", "d"] {
        test.ok(ALICE, write(key));
    }
    test.refused(ALICE, propose(Revert { target: Height(first), ..scope("big", None) }), 2, "E_TOO_LARGE");

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
    test.refused(ALICE, Msg::Vote { id: 1, choice: Choice::Yes }, 122, "E_NOT_VALIDATOR");
    test.refused(OPERATOR, Msg::Cancel { id: 1 }, 123, "E_NOT_PROPOSER");
    test.ok(ALICE, propose(revert(good)));
    test.refused(ALICE, propose(revert(good)), 125, "E_TOO_MANY_OPEN");
    test.ok(ALICE, Msg::Cancel { id: 2 });
    test.refused(OPERATOR, Msg::Vote { id: 2, choice: Choice::Yes }, 121, "E_CLOSED");

    // The freeze.
    test.ok(OPERATOR, Msg::Freeze { id: 1 });
    test.refused(ALICE, put(1, "rules", "x"), 113, "E_NS_FROZEN");
    test.refused(OPERATOR, Msg::Freeze { id: 1 }, 124, "E_FREEZE_COOLDOWN");
    test.ok(ALICE, propose(revert(good)));
    test.refused(OPERATOR, Msg::Freeze { id: 3 }, 128, "E_ONE_FREEZE");
    test.ok(ALICE, Msg::Cancel { id: 3 });
    assert_eq!(test.query("/kv/ns/shared/policy", b"", None)["frozen"]["by"], "1");

    // The decision.
    test.ok(OPERATOR, Msg::Vote { id: 1, choice: Choice::Yes });
    let proposal = test.wait_until_closed(1);
    assert_eq!((&proposal["state"], &proposal["votes"][0]["vote"]), (&json!("executed"), &json!("yes")), "{proposal}");
    let executed: u64 = proposal["closed_height"].as_str().unwrap().parse().unwrap();
    assert_eq!((root(&test, None), root(&test, Some(executed))), (old.clone(), old));
    let results = test.node.post("block_results", &json!({ "height": executed.to_string() }));
    let kinds =
        results["result"]["finalize_block_events"].as_array().unwrap().iter().map(|event| event["type"].clone());
    assert_eq!(kinds.collect::<Vec<_>>(), ["revert.executed", "revert.unfrozen"]);
    let found = test.node.post("block_search", &json!({ "query": "revert.executed.ns = 'shared/policy'" }));
    assert_eq!(found["result"]["total_count"], "1", "{found}");
    let tainted = test.query("/kv/get/shared/policy", b"rules", Some(bad));
    assert_eq!((&tainted["value"], &tainted["reverted_by"]), (&json!(BASE64.encode(b"never ask")), &json!("1")));
    assert_eq!(test.query("/kv/get/shared/policy", b"rules", Some(good)).get("reverted_by"), None);
    reverted_heights_are_marked(&test, [good, bad, executed]);
    test.refused(ALICE, put(1, "rules", "x"), 104, "E_STALE_EPOCH");
    test.refused(ALICE, propose(revert(bad)), 126, "E_COOLDOWN");
    for key in ["a", "b", "c", "d"] {
        test.ok(ALICE, put(2, key, "1"));
    }
    let preview = test.query("/revert/preview", &of(revert(executed)).encode(), None);
    assert_eq!((&preview["code"], test.height() > executed), (&json!(2), true), "E_TOO_LARGE: {preview}");
    let all = test.query("/proposals", b"", None);
    let states: Vec<&Value> = all["proposals"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
    assert_eq!(
        (states, &all["open"]),
        (vec![&json!("executed"), &json!("cancelled"), &json!("cancelled")], &json!([]))
    );
}

/// Checks the marks of the content between `good` and `executed`, where the key was changed at `bad`.
fn reverted_heights_are_marked(test: &Test, [good, bad, executed]: [u64; 3]) {
    for (height, versions) in [
        (None, vec![(executed, None), (bad, Some("1")), (good, None)]),
        (Some(bad), vec![(bad, Some("1")), (good, None)]),
        (Some(good), vec![(good, None)]),
    ] {
        let answer = test.query("/kv/history/shared/policy", b"rules", height);
        let rows = answer["rows"].as_array().unwrap().iter();
        let shown = |row: &Value| (row["height"].as_str().unwrap().to_owned(), row.get("reverted_by").cloned());
        let expected = versions.iter().map(|(at, by)| (at.to_string(), by.map(|by| json!(by))));
        assert_eq!(rows.map(shown).collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "{answer}");
    }
    for (from, to, [from_by, to_by]) in [
        (good, executed, [None, None]),
        (good, bad, [None, Some("1")]),
        (bad, executed, [Some("1"), None]),
        (bad, executed - 1, [Some("1"), Some("1")]),
    ] {
        let answer = test.query(&format!("/kv/diff/shared/policy?from={from}&to={to}"), b"", None);
        assert_eq!(answer.get("from_reverted_by").cloned(), from_by.map(|by| json!(by)), "{answer}");
        assert_eq!(answer.get("to_reverted_by").cloned(), to_by.map(|by| json!(by)), "{answer}");
    }
}

/// Each refusal leaves the proposals and the namespace as they were; `refused` compares the namespace.
#[test]
fn wrong_heights_numbers_and_votes_change_nothing() {
    let mut test = Test::with(|params| params.retain_blocks = 8);
    test.ok(ALICE, create("shared/policy"));
    let first = test.ok(ALICE, put(1, "rules", "ask first"));
    test.node.wait_for_height(first + 20);

    // Heights: pruned, in the future, beyond the numbers of heights, and of queries beyond u64.
    test.refused(ALICE, propose(revert(first)), 106, "E_HEIGHT_PRUNED");
    test.refused(ALICE, propose(revert(0)), 106, "E_HEIGHT_PRUNED");
    test.refused(ALICE, propose(revert(i64::MAX as u64)), 130, "E_HEIGHT_FUTURE");
    let raw = |target_height: i64| {
        let scope = vec![types::pb::RevertScope { ns: "shared/policy".into(), expect_root: None }];
        let revert = types::pb::Revert { target_height, scope, notice_ms: None, dirty_after: None };
        let kind = Some(types::pb::propose::Kind::Revert(revert));
        prost::Message::encode_to_vec(&types::pb::Propose { kind, reason: String::new(), uri: String::new() })
    };
    for (height, code) in [(-1, 1), (i64::MIN, 1), (i64::MAX, 130), (0, 106)] {
        assert_eq!(test.query("/revert/preview", &raw(height), None)["code"], code, "{height}");
    }
    for height in ["18446744073709551616", "-1", "1e9", "999999999"] {
        let call = json!({ "path": "/proposals", "height": height });
        assert!(test.node.post("abci_query", &call)["error"]["code"].is_i64(), "{height}");
    }

    // Numbers of proposals.
    for (id, code) in [("0", 120), ("7", 120), ("18446744073709551615", 120), ("18446744073709551616", 33), ("+1", 33)]
    {
        assert_eq!(test.query(&format!("/proposal/{id}"), b"", None)["code"], code, "{id}");
    }
    assert_eq!(test.query("/proposals", b"18446744073709551615", None)["proposals"], json!([]));
    assert_eq!(test.query("/proposals", b"x", None)["code"], 33);
    assert_eq!(test.query("/proposals?limit=101", b"", None)["code"], 33);
    for id in [0, 7, u64::MAX] {
        test.refused(OPERATOR, Msg::Freeze { id }, 120, "E_UNKNOWN");
        test.refused(OPERATOR, Msg::Cancel { id }, 120, "E_UNKNOWN");
    }

    // Scopes and texts that no proposal has.
    let scope = |count: usize, name: fn(usize) -> String| {
        let one = |index| RevertScope { ns: name(index), expect_root: None };
        Revert { scope: (0..count).map(one).collect(), ..revert(first) }
    };
    test.refused(ALICE, propose(scope(33, |index| format!("ns{index}"))), 1, "E_DECODE");
    test.refused(ALICE, propose(scope(0, |_| String::new())), 1, "E_DECODE");
    test.refused(ALICE, propose(scope(2, |_| "shared/policy".into())), 1, "E_DECODE");
    let text = |reason: String, uri: String| Msg::Propose(Box::new(Propose { reason, uri, ..of(revert(first)) }));
    test.refused(ALICE, text("r".repeat(281), String::new()), 1, "E_DECODE");
    test.refused(ALICE, text("a\nb".into(), String::new()), 1, "E_DECODE");
    test.refused(ALICE, text(String::new(), "u".repeat(257)), 1, "E_DECODE");
    assert_eq!(test.query("/proposals", b"", None), json!({ "proposals": [], "open": [], "next": null }));
}

#[test]
fn a_vote_counts_once_and_may_change_until_the_end() {
    let mut test = Test::with(|params| params.proposals.notice_min = Duration::from_secs(4));
    test.ok(ALICE, create("shared/policy"));
    let good = test.ok(ALICE, put(1, "rules", "ask first"));
    test.ok(ALICE, put(1, "rules", "never ask"));
    let content = |test: &Test| test.query("/kv/root/shared/policy", b"", None)["root"].clone();
    let before = content(&test);
    test.ok(ALICE, propose(revert(good)));
    test.refused(ALICE, Msg::Vote { id: 1, choice: Choice::Yes }, 122, "E_NOT_VALIDATOR");
    test.refused(ALICE, Msg::Freeze { id: 1 }, 122, "E_NOT_VALIDATOR");
    for _ in 0..2 {
        test.ok(OPERATOR, Msg::Vote { id: 1, choice: Choice::Yes });
        let proposal = test.query("/proposal/1", b"", None);
        assert_eq!((&proposal["yes_power"], &proposal["total_power"]), (&json!("10"), &json!("10")));
        assert_eq!(proposal["votes"].as_array().unwrap().len(), 1, "{proposal}");
    }
    test.refused(ALICE, Msg::Cancel { id: 1 }, 121, "E_CLOSED");
    test.ok(OPERATOR, Msg::Vote { id: 1, choice: Choice::No });
    let proposal = test.wait_until_closed(1);
    assert_eq!((&proposal["state"], &proposal["code"]), (&json!("failed"), &json!("E_POWER_LOST")), "{proposal}");
    assert_eq!(content(&test), before, "a failed revert changes nothing");
    test.ok(ALICE, put(1, "rules", "its epoch is as before"));
    for message in [Msg::Vote { id: 1, choice: Choice::Yes }, Msg::Freeze { id: 1 }] {
        test.refused(OPERATOR, message, 121, "E_CLOSED");
    }
}

/// What makes a revert impossible between the decision and its execution; `E_POWER_LOST` and the conditions that only a
/// damaged node can break are elsewhere.
#[test]
fn a_revert_that_is_not_possible_any_more_fails_with_its_code() {
    let mut test = Test::with(|params| params.proposals.notice_min = Duration::from_secs(2));
    test.ok(ALICE, create("shared/policy"));
    let good = test.ok(ALICE, put(1, "rules", "ask first"));
    let bad = test.ok(ALICE, put(1, "rules", "never ask"));
    let decided = |test: &mut Test, id, revert| {
        test.ok(ALICE, propose(revert));
        test.ok(OPERATOR, Msg::Vote { id, choice: Choice::Yes });
        assert_eq!(test.query(&format!("/proposal/{id}"), b"", None)["state"], "scheduled");
    };
    let fails = |test: &Test, id: u64, code: &str| {
        let proposal = test.wait_until_closed(id);
        assert_eq!((&proposal["state"], &proposal["code"]), (&json!("failed"), &json!(code)), "{proposal}");
        let closed: u64 = proposal["closed_height"].as_str().unwrap().parse().unwrap();
        let results = test.node.post("block_results", &json!({ "height": closed.to_string() }));
        let event = &results["result"]["finalize_block_events"][0];
        assert_eq!((&event["type"], &event["attributes"][1]["value"]), (&json!("revert.failed"), &json!(code)));
        let content = |height| test.query("/kv/ns/shared/policy", b"", Some(height));
        assert_eq!(content(closed), content(closed - 1), "a failed revert changes nothing");
    };
    decided(&mut test, 1, Revert { dirty_after: Some(Height(bad)), ..revert(good) });
    test.ok(ALICE, put(1, "rules", "always ask"));
    fails(&test, 1, "E_DIRTY");
    decided(&mut test, 2, revert(good));
    for key in ["a", "b", "c"] {
        test.ok(ALICE, put(1, key, "1"));
    }
    fails(&test, 2, "E_TOO_LARGE");

    // Fifteen heights of a tenth of a second are over when the notice of six seconds is.
    let interval = Duration::from_millis(100);
    let mut test = Test::of(interval, |params| {
        params.retain_blocks = 15;
        params.proposals.notice_min = Duration::from_secs(6);
    });
    test.ok(ALICE, create("shared/policy"));
    let good = test.ok(ALICE, put(1, "rules", "ask first"));
    test.ok(ALICE, put(1, "rules", "never ask"));
    decided(&mut test, 1, revert(good));
    fails(&test, 1, "E_HEIGHT_PRUNED");
}
