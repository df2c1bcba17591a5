//! Proves that a namespace is read at every kept height, that its differences and the versions of its keys are complete
//! in pages of any size, and that each bad height or name is refused with a code.

use std::collections::BTreeMap;

use app::{LOOKED_AT_MAX, ProofOp, REVERTIBLE, StateProof};
use data_encoding::{BASE64, HEXUPPER};
use rpc::Limits;
use serde_json::{Value, json};
use types::{Hash, Height, KvOp, Msg, NsOwner, TxBody, TxOrder, Wire};

use crate::{
    chain::{Chain, alice, chain_id},
    post, stock,
};

type Content = BTreeMap<String, String>;

fn signed(nonce: u64, message: Msg) -> Vec<u8> {
    let (order, messages) = (TxOrder::Nonce(nonce), vec![message]);
    TxBody { chain_id: chain_id(), signer: alice().public_key(), order, fee: 2000, messages }.sign(&alice()).encode()
}

fn create(ns: &str) -> Msg {
    Msg::NsCreate { ns: ns.into(), owner: NsOwner::Shared, quota_keys: 10_000, quota_bytes: 1 << 30 }
}

/// Commits a height with a transaction, which must succeed. Returns the app hash.
fn grow(chain: &Chain, nonce: u64, message: Msg) -> Hash {
    let committed = chain.grow(vec![signed(nonce, message)]);
    assert_eq!(committed.results.txs[0].code, 0, "{:?}", committed.results.txs[0]);
    committed.results.app_hash
}

fn write(ns: &str, ops: &[(&str, Option<&str>)]) -> Msg {
    let op = |(key, value): &(&str, Option<&str>)| KvOp {
        key: (*key).into(),
        value: value.map(Into::into),
        if_height: None,
    };
    Msg::KvWrite { ns: ns.into(), data_epoch: 1, ops: ops.iter().map(op).collect() }
}

/// The url of a server, to ask the application.
struct Node(String);

impl Node {
    /// Returns the answer of the application, or the text of the refusal or error.
    async fn ask(&self, path: &str, data: &[u8], height: Option<&str>) -> Result<Value, String> {
        let params = json!({ "path": path, "data": HEXUPPER.encode(data), "height": height });
        let answer = post(&self.0, "abci_query", params).await.json();
        if let Some(error) = answer.get("error") {
            return Err(error["data"].as_str().unwrap().to_owned());
        }
        let response = &answer["result"]["response"];
        match response["value"].as_str() {
            Some(value) => Ok(serde_json::from_slice(&BASE64.decode(value.as_bytes()).unwrap()).unwrap()),
            None => Err(response["log"].as_str().unwrap().to_owned()),
        }
    }

    /// Returns all rows of a difference, read in pages of `limit` rows.
    async fn diff(&self, from: u64, to: u64, limit: usize) -> Vec<(String, Value, Value)> {
        let (mut rows, mut next) = (Vec::new(), Vec::new());
        loop {
            let path = format!("/kv/diff/a/b?from={from}&to={to}&limit={limit}");
            let page = self.ask(&path, &next, None).await.unwrap();
            assert_eq!((&page["from"], &page["to"]), (&from.to_string().into(), &to.to_string().into()));
            let found = page["rows"].as_array().unwrap();
            assert!(found.len() <= limit);
            rows.extend(found.iter().map(|row| (text(&row["key"]), row["old"].clone(), row["new"].clone())));
            match page["next"].as_str() {
                Some(place) => next = BASE64.decode(place.as_bytes()).unwrap(),
                None => return rows,
            }
        }
    }
}

fn text(value: &Value) -> String {
    String::from_utf8(BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn differences_and_versions_are_those_of_the_heights() {
    let chain = Chain::new();
    grow(&chain, 0, create("a/b"));
    let mut states: Vec<Content> = vec![Content::new(); 2];
    for n in 0..8u64 {
        let value = format!("value {n}");
        let keys = [format!("k{}", n % 3), format!("once {n}"), "again".to_owned()];
        let again = if n % 2 == 0 { Some("same") } else { None };
        grow(&chain, 1 + n, write("a/b", &[(&keys[0], Some(&value)), (&keys[1], Some("1")), (&keys[2], again)]));
        let mut state = states.last().unwrap().clone();
        state.extend([(keys[0].clone(), value), (keys[1].clone(), "1".to_owned())]);
        match again {
            Some(again) => state.insert(keys[2].clone(), again.to_owned()),
            None => state.remove(&keys[2]),
        };
        states.push(state);
    }
    let served = chain.serve(Limits::default()).await;
    let node = Node(served.http());
    let tip = states.len() as u64 - 1;
    for (from, to) in (0..=tip).flat_map(|from| (from..=tip).map(move |to| (from, to))).skip_while(|(_, to)| *to == 0) {
        let (old, new) = (&states[from as usize], &states[to as usize]);
        let shown = |value: Option<&String>| value.map_or(Value::Null, |value| BASE64.encode(value.as_bytes()).into());
        let expected: BTreeMap<_, _> = old
            .keys()
            .chain(new.keys())
            .filter(|key| old.get(*key) != new.get(*key))
            .map(|key| (key.clone(), (shown(old.get(key)), shown(new.get(key)))))
            .collect();
        let rows = node.diff(from, to, 100).await;
        assert_eq!(node.diff(from, to, 1).await, rows, "{from} to {to}, in pages of one row");
        let rows: BTreeMap<_, _> = rows.into_iter().map(|(key, old, new)| (key, (old, new))).collect();
        assert_eq!(rows, expected, "{from} to {to}");
    }
    for height in 2..=tip {
        for key in ["k0", "again", "once 3"] {
            let got = node.ask("/kv/get/a/b", key.as_bytes(), Some(&height.to_string())).await.unwrap();
            let value = states[height as usize].get(key);
            assert_eq!(
                got["value"].as_str().is_some().then(|| text(&got["value"])),
                value.cloned(),
                "{key} at {height}"
            );
        }
    }
    let versions = node.ask("/kv/history/a/b?limit=3", b"again", None).await.unwrap();
    let seen = |answer: &Value| {
        let rows = answer["rows"].as_array().unwrap().iter();
        rows.map(|row| (row["height"].as_str().unwrap().to_owned(), !row["value"].is_null())).collect::<Vec<_>>()
    };
    let expected = |heights: [u64; 3]| heights.map(|height| (height.to_string(), height % 2 == 0)).to_vec();
    assert_eq!((seen(&versions), &versions["next_height"]), (expected([9, 8, 7]), &"6".into()));
    let versions = node.ask("/kv/history/a/b?limit=3", b"again", Some("6")).await.unwrap();
    assert_eq!((seen(&versions), &versions["next_height"]), (expected([6, 5, 4]), &"3".into()));
    let none = node.ask("/kv/history/a/b", b"never", None).await.unwrap();
    assert_eq!((seen(&none), &none["next_height"]), (vec![], &Value::Null));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_compares_a_bounded_number_of_keys_and_bytes() {
    let chain = Chain::new();
    grow(&chain, 0, create("a/b"));
    let keys: Vec<String> = (0..1200).map(|n| format!("key {n}")).collect();
    let mut nonce = 1;
    for value in ["old", "new", "old"] {
        for keys in keys.chunks(64) {
            let ops: Vec<_> = keys.iter().map(|key| (key.as_str(), Some(value))).collect();
            grow(&chain, nonce, write("a/b", &ops));
            nonce += 1;
        }
    }
    let rounds = keys.len().div_ceil(64) as u64;
    grow(&chain, nonce, write("a/b", &[("one more", Some("1"))]));
    let served = chain.serve(Limits::default()).await;
    let node = Node(served.http());
    // All keys changed and have their old value again, so a page ends without a row after 1,000 of them.
    let path = format!("/kv/diff/a/b?from={}", 1 + rounds);
    let page = node.ask(&path, &[], None).await.unwrap();
    assert_eq!(page["rows"].as_array().unwrap().len(), 1);
    let next = BASE64.decode(page["next"].as_str().unwrap().as_bytes()).unwrap();
    let page = node.ask(&path, &next, None).await.unwrap();
    assert_eq!((page["rows"].as_array().unwrap().len(), &page["next"]), (0, &Value::Null));
    for (from, to, rows) in [(1 + rounds, 1 + 2 * rounds, 1200), (1, 1 + 3 * rounds, 1200)] {
        assert_eq!(node.diff(from, to, 100).await.len(), rows);
    }
    let large = "v".repeat(60_000);
    nonce += 1;
    for n in 0..20 {
        grow(&chain, nonce + n, write("a/b", &[(&format!("large {n}"), Some(&large))]));
    }
    let page = node.ask(&format!("/kv/diff/a/b?from={}", 2 + 3 * rounds), &[], None).await.unwrap();
    assert_eq!((page["rows"].as_array().unwrap().len(), page["next"].is_null()), (17, false));
    assert_eq!(node.diff(2 + 3 * rounds, 22 + 3 * rounds, 100).await.len(), 20);
}

/// Clients create and delete more keys than one answer looks at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_looks_at_a_bounded_number_of_keys() {
    let chain = Chain::new();
    grow(&chain, 0, create("a/b"));
    let keys: Vec<String> = (0..LOOKED_AT_MAX + 500).map(|n| format!("gone {n:05}")).collect();
    let mut nonces = 1..;
    for keys in keys.chunks(keys.len() / 2) {
        for value in [Some("1"), None] {
            let write = |keys: &[String]| write("a/b", &keys.iter().map(|key| (&key[..], value)).collect::<Vec<_>>());
            let committed =
                chain.grow(keys.chunks(64).map(|keys| signed(nonces.next().unwrap(), write(keys))).collect());
            assert!(committed.results.txs.iter().all(|result| result.code == 0));
        }
    }
    grow(&chain, nonces.start, write("a/b", &[("here", Some("1"))]));
    let served = chain.serve(Limits::default()).await;
    let node = Node(served.http());
    let (half, first_left_out) = (format!("gone {:05}", keys.len() / 2 - 1), format!("gone {LOOKED_AT_MAX:05}"));
    for (from, height, rows, next) in [
        ("", None, 0, Some(first_left_out.as_str())),
        (&first_left_out, None, 1, None),
        ("", Some("1"), 0, Some(&first_left_out)),
        (&half, Some("2"), 1, None),
    ] {
        let page = node.ask("/kv/range/a/b", from.as_bytes(), height).await.unwrap();
        let found = page["rows"].as_array().unwrap().len();
        let place = page["next"].as_str().map(|_| text(&page["next"]));
        assert_eq!((found, place.as_deref()), (rows, next), "from {from:?} at {height:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_bad_height_and_name_is_refused_with_its_code() {
    let chain = Chain::new();
    grow(&chain, 0, create("a/b"));
    for n in 1..=9 {
        grow(&chain, n, write("a/b", &[("k", Some(&n.to_string()))]));
    }
    chain.store.prune(Height(5)).unwrap();
    let served = chain.serve(Limits::default()).await;
    let node = Node(served.http());
    let status = post(&node.0, "status", json!({})).await.json();
    assert_eq!(status["result"]["sync_info"]["earliest_state_height"], "4");
    let beyond = "18446744073709551616";
    for (path, height, expected) in [
        ("/kv/get/a/b", Some("3"), "E_HEIGHT_PRUNED: height 3 is not available"),
        ("/kv/get/a/b", Some("11"), "E_HEIGHT_FUTURE: height 11 must be less than or equal to"),
        ("/kv/get/a/b", Some("-1"), "height must be greater than 0"),
        ("/kv/get/a/b", Some(beyond), "parameter height"),
        ("/kv/root/a/b", Some("3"), "E_HEIGHT_PRUNED: "),
        ("/kv/root/a/b", Some("11"), "E_HEIGHT_FUTURE: "),
        ("/kv/root/none", None, "E_NS_UNKNOWN: "),
        ("/kv/range/a/b", Some("3"), "E_HEIGHT_PRUNED: "),
        ("/kv/history/a/b", Some("3"), "E_HEIGHT_PRUNED: "),
        ("/kv/history/a/b", Some("11"), "E_HEIGHT_FUTURE: "),
        ("/kv/history/a/b", Some(beyond), "parameter height"),
        ("/kv/history/none", None, "E_NS_UNKNOWN: "),
        ("/kv/history/A", None, "E_BAD_NAME: "),
        ("/kv/diff/a/b?from=0", None, "E_HEIGHT_PRUNED: height 0 is not available"),
        ("/kv/diff/a/b?from=3", None, "E_HEIGHT_PRUNED: height 3 is not available"),
        ("/kv/diff/a/b?from=4&to=3", None, "E_HEIGHT_PRUNED: height 3"),
        ("/kv/diff/a/b?from=4&to=11", None, "E_HEIGHT_FUTURE: height 11"),
        ("/kv/diff/a/b?from=6&to=5", None, "E_BAD_QUERY: "),
        ("/kv/diff/a/b?from=11", None, "E_HEIGHT_FUTURE: height 11"),
        ("/kv/diff/a/b?from=18446744073709551615", None, "E_HEIGHT_FUTURE: "),
        ("/kv/diff/a/b?from=18446744073709551616", None, "E_BAD_QUERY: "),
        ("/kv/diff/a/b?from=4&to=18446744073709551615", None, "E_HEIGHT_FUTURE: "),
        ("/kv/diff/a/b?from=-1", None, "E_BAD_QUERY: "),
        ("/kv/diff/a/b", None, "E_BAD_QUERY: "),
        ("/kv/diff/none?from=4", None, "E_NS_UNKNOWN: "),
    ] {
        let refused = node.ask(path, b"k", height).await.unwrap_err();
        assert!(refused.starts_with(expected), "{path} at {height:?}: {refused}");
    }
    let refused = node.ask("/kv/diff/a/b?from=4", b"no place", None).await.unwrap_err();
    assert!(refused.starts_with("E_BAD_QUERY: "), "{refused}");
    for path in ["/kv/get/a/b", "/kv/history/a/b"] {
        for key in [&b""[..], &[7; 257]] {
            let refused = node.ask(path, key, None).await.unwrap_err();
            assert!(refused.starts_with("E_KEY_SIZE: "), "{path}: {refused}");
        }
    }
    // Height 0 is the latest one, as in all of CometBFT's methods; the earliest kept height can be read.
    assert_eq!(text(&node.ask("/kv/get/a/b", b"k", Some("0")).await.unwrap()["value"]), "9");
    assert_eq!(text(&node.ask("/kv/get/a/b", b"k", Some("4")).await.unwrap()["value"]), "3");
    let history = node.ask("/kv/history/a/b", b"k", None).await.unwrap();
    let heights: Vec<_> =
        history["rows"].as_array().unwrap().iter().map(|row| row["height"].as_str().unwrap()).collect();
    assert_eq!(heights, ["10", "9", "8", "7", "6", "5", "4"]);
    let proven = json!({ "path": "/kv/diff/a/b?from=4", "prove": true });
    let refused = post(&node.0, "abci_query", proven).await.json();
    assert_eq!(refused["result"]["response"]["code"], 33);
}

/// Asks for a proof.
async fn prove(url: &str, path: &str, data: &[u8], height: u64) -> Value {
    let data = HEXUPPER.encode(data);
    let params = json!({ "path": path, "data": data, "height": height.to_string(), "prove": true });
    post(url, "abci_query", params).await.json()["result"]["response"].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_roots_of_a_namespace_are_proven_at_the_tip_and_below() {
    let chain = Chain::with_accounts(30_000);
    let put = |value| write("a/b", &[("k", Some(value)), ("other", Some("x"))]);
    let hashes = [create("a/b"), put("1"), put("2"), create("late")].into_iter().zip(0..);
    let hashes: Vec<Hash> = hashes.map(|(message, nonce)| grow(&chain, nonce, message)).collect();
    let served = chain.serve(Limits::default()).await;
    let url = served.http();
    let bytes = |value: &Value| BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
    for (height, k) in [(2, "1"), (3, "2"), (4, "2")] {
        let root = Node(url.clone()).ask("/kv/root/a/b", &[], Some(&height.to_string())).await.unwrap();
        let root = HEXUPPER.decode(root["root"].as_str().unwrap().as_bytes()).unwrap();
        let of_key = &[&b"a/b"[..], REVERTIBLE][..];
        for (path, data, key, names, value) in [
            ("/kv/get/a/b", &b"k"[..], &b"k"[..], of_key, Some(k.as_bytes())),
            ("/kv/get/a/b", b"none", b"none", of_key, None),
            ("/kv/root/a/b", b"", b"a/b", &[REVERTIBLE], Some(&root[..])),
            ("/kv/root/none", b"", b"none", &[REVERTIBLE], None),
        ] {
            let response = prove(&url, path, data, height).await;
            let op = |op: &Value| ProofOp { key: bytes(&op["key"]), data: bytes(&op["data"]) };
            let ops: Vec<ProofOp> = response["proofOps"]["ops"].as_array().unwrap().iter().map(op).collect();
            let proof = StateProof::from_ops(&ops).unwrap();
            // An unmodified verifier goes up from the key's own tree, whose root is the value in the next one.
            let values: Vec<_> =
                ops[1..].iter().map(|op| StateProof::from_ops(std::slice::from_ref(op)).unwrap()).collect();
            let roots = values.iter().map(|root| Hash(root.value().unwrap().try_into().unwrap()));
            let roots: Vec<Hash> = roots.chain([hashes[height as usize - 1]]).collect();
            let proven = [value].into_iter().chain(values.iter().map(StateProof::value));
            for ((op, root), value) in ops.iter().zip(&roots).zip(proven) {
                assert!(stock::accepts(&stock::theirs(&op.data), root, &op.key, value), "{path} at {height}");
                assert!(!stock::accepts(&stock::theirs(&op.data), &Hash([7; 32]), &op.key, value));
            }
            proof.verify(&hashes[height as usize - 1], names, key, value).unwrap();
            assert!(proof.verify(&hashes[0], names, key, value).is_err(), "{path} at {height}");
            assert_eq!(bytes(&response["key"]), key);
            assert_eq!(response["value"].as_str().map(str::to_owned), value.map(|value| BASE64.encode(value)));
        }
    }
    // A namespace that was created later.
    let response = prove(&url, "/kv/root/late", b"", 3).await;
    let op = |op: &Value| ProofOp { key: bytes(&op["key"]), data: bytes(&op["data"]) };
    let ops: Vec<ProofOp> = response["proofOps"]["ops"].as_array().unwrap().iter().map(op).collect();
    StateProof::from_ops(&ops).unwrap().verify(&hashes[2], &[REVERTIBLE], b"late", None).unwrap();
    assert!(response["value"].is_null() && response["code"] == 0, "{response}");
    let without = json!({ "path": "/kv/root/late", "height": "3" });
    let refused = post(&url, "abci_query", without).await.json()["result"]["response"].clone();
    assert!(refused["log"].as_str().unwrap().starts_with("E_NS_UNKNOWN: "), "{refused}");
    for (path, data, height, name) in [
        ("/kv/get/none", &b"k"[..], 0, "E_NS_UNKNOWN"),
        ("/kv/get/late", b"k", 3, "E_NS_UNKNOWN"),
        ("/kv/get/A", b"k", 0, "E_BAD_NAME"),
        ("/kv/get/a/b", b"", 0, "E_KEY_SIZE"),
        ("/kv/get/a/b", &[7; 257], 0, "E_KEY_SIZE"),
        ("/kv/range/a/b", b"", 0, "E_BAD_QUERY"),
        ("/store", b"", 0, "E_BAD_QUERY"),
    ] {
        let response = prove(&url, path, data, height).await;
        let log = response["log"].as_str().unwrap();
        assert!(log.starts_with(&format!("{name}: ")) && response["proofOps"].is_null(), "{path}: {response}");
    }
}
