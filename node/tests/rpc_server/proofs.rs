//! Proves that the server's proofs of the state are correct, and that expensive proofs do not delay other calls or
//! clients.

use std::time::Duration;

use app::{ProofOp, StateProof, state::NEVER_REVERTED};
use rpc::Limits;
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use types::{Address, Hash, Msg, TxBody, TxOrder, Wire};

use crate::{
    chain::{Chain, alice, chain_id, transfer},
    limits, post, raw,
};

/// Returns the parameters of a query for alice's account row with a proof, at a height or at the tip.
fn ask(height: Option<u64>) -> Value {
    let key = app::state::key::account(&alice().public_key().address());
    json!({
        "path": "/store",
        "data": data_encoding::HEXUPPER.encode(&key),
        "height": height.map(|height| height.to_string()),
        "prove": true,
    })
}

/// Verifies the proof of a response against the app hash of its state.
fn check(answer: &Value, app_hash: Hash) {
    let response = &answer["result"]["response"];
    let bytes = |value: &Value| data_encoding::BASE64.decode(value.as_str().unwrap().as_bytes()).unwrap();
    let op = |op: &Value| ProofOp { key: bytes(&op["key"]), data: bytes(&op["data"]) };
    let ops: Vec<ProofOp> = response["proofOps"]["ops"].as_array().unwrap().iter().map(op).collect();
    let proof = StateProof::from_ops(&ops).unwrap();
    let (key, value) = (bytes(&response["key"]), bytes(&response["value"]));
    proof.verify(&app_hash, &[NEVER_REVERTED], &key, Some(&value)).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tip_is_proven_whatever_the_size_of_the_state() {
    let chain = Chain::with_accounts(20_001);
    let served = chain.serve(Limits::default()).await;
    let url = served.http();
    // The tip is proven before the first block and after each block.
    check(&post(&url, "abci_query", ask(None)).await.json(), chain.store.tip().unwrap().app_hash);
    for nonce in 0..3 {
        chain.grow(vec![transfer(nonce, 1)]);
        let tip = chain.store.tip().unwrap();
        let answer = post(&url, "abci_query", ask(None)).await.json();
        assert_eq!(answer["result"]["response"]["height"], tip.height.to_string());
        check(&answer, tip.app_hash);
        check(&post(&url, "abci_query", ask(Some(tip.height.0))).await.json(), tip.app_hash);
    }
}

/// Returns what a light client reads in a proof, as a sentence: with the header of the next height, its commit and its
/// validators, which it trusts.
async fn read_by_a_light_client(url: &str, answer: &Value) -> String {
    let response = &answer["result"]["response"];
    let height: u64 = response["height"].as_str().unwrap().parse().unwrap();
    let at = json!({ "height": (height + 1).to_string() });
    let [commit, validators] = [post(url, "commit", at.clone()).await, post(url, "validators", at).await];
    let mut validators = validators.json()["result"]["validators"].clone();
    for validator in validators.as_array_mut().unwrap() {
        validator.as_object_mut().unwrap().remove("proposer_priority");
    }
    let file = json!({
        "format": light::FORMAT,
        "proof_ops": response["proofOps"]["ops"],
        "signed_header": commit.json()["result"]["signed_header"],
        "validators": validators,
    });
    let trust = light::Trust::from_json(json!({ "validators": validators }).to_string().as_bytes()).unwrap();
    light::verify_file(file.to_string().as_bytes(), &trust).unwrap()
}

/// Each call computes one portion, however fast the machine is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_proof_that_needs_several_calls_is_continued_until_it_is_there() {
    let chain = Chain::with_accounts(5_000);
    let app_hash = chain.grow(vec![transfer(0, 1)]).results.app_hash;
    for nonce in 1..30 {
        let (order, messages) =
            (TxOrder::Nonce(nonce), vec![Msg::Transfer { to: Address([nonce as u8; 20]), amount: 1 }]);
        let body = TxBody { chain_id: chain_id(), signer: alice().public_key(), order, fee: 2, messages };
        chain.grow(vec![body.sign(&alice()).encode()]);
    }
    let limits = Limits { proof_call_time_max: Duration::ZERO, client_cpu_percent: 0, ..Limits::default() };
    let served = chain.serve(limits).await;
    let url = served.http();
    let mut unfinished = 0;
    let answer = loop {
        let answer = post(&url, "abci_query", ask(Some(1))).await.json();
        if answer["error"].is_null() {
            break answer;
        }
        let said = answer["error"]["data"].as_str().unwrap();
        assert!(said.starts_with("E_PROOF_UNFINISHED: much has changed since height 1, and "), "{said}");
        assert!(said.ends_with(" ask again, and the node continues; or ask for a later height"), "{said}");
        assert_eq!(answer["error"]["code"], -32000);
        unfinished += 1;
        assert!(unfinished < 200, "each call computes something: {said}");
        chain.grow(vec![]); // the tip advances meanwhile
    };
    assert!(unfinished > 10, "{unfinished} calls");
    check(&answer, app_hash);
    let read = read_by_a_light_client(&url, &answer).await;
    let (address, balance) = (alice().public_key().address(), 1_000_000 - 1 - 2);
    assert!(
        read.starts_with(&format!("Account {address} had balance {balance} and next nonce 1 at height 1.\n")),
        "{read}"
    );
    // The trees are there now.
    check(&post(&url, "abci_query", ask(Some(1))).await.json(), app_hash);
}

/// The map of namespaces is empty here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_absence_of_a_namespace_is_proven_to_a_light_client() {
    let chain = Chain::new();
    (0..3).for_each(|nonce| drop(chain.grow(vec![transfer(nonce, 1)])));
    let served = chain.serve(Limits::default()).await;
    let url = served.http();
    for height in [3, 1] {
        let params = json!({ "path": "/kv/root/none", "height": height.to_string(), "prove": true });
        let answer = post(&url, "abci_query", params).await.json();
        assert_eq!(answer["result"]["response"]["value"], Value::Null, "{answer}");
        chain.grow(vec![]);
        let read = read_by_a_light_client(&url, &answer).await;
        assert!(read.starts_with(&format!("There was no namespace \"none\" at height {height}.\n")), "{read}");
    }
}

#[test]
fn a_proof_begun_before_a_commit_is_finished_after_it() {
    let chain = Chain::new();
    let app_hash = chain.grow(vec![transfer(0, 1)]).results.app_hash;
    let key = app::state::key::account(&alice().public_key().address());
    let [way, stale] = [(); 2].map(|()| chain.app.read().way_to(&key));
    chain.grow(vec![transfer(1, 1)]);
    let reader = chain.store.reader_at(way.height()).unwrap();
    let row = app::query(&reader, "/store", &key).unwrap();
    let app::Answer::Store { value, .. } = row else { panic!("{row:?}") };
    way.prove(&reader).unwrap().verify(&app_hash, &[NEVER_REVERTED], &key, value.as_deref()).unwrap();
    assert!(stale.prove(&chain.store.reader().unwrap()).is_err(), "the tip has another state");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heights_below_the_tip_are_proven_whatever_the_size_of_the_state() {
    for others in [0, 30_000] {
        let chain = Chain::with_accounts(others);
        let served = chain.serve(Limits::default()).await;
        let url = served.http();
        let hashes: Vec<Hash> = (0..40).map(|nonce| chain.grow(vec![transfer(nonce, 1)]).results.app_hash).collect();
        // The trees of a height are kept while the tip advances.
        for height in [39, 1, 20, 39, 40, 1] {
            check(&post(&url, "abci_query", ask(Some(height))).await.json(), hashes[height as usize - 1]);
            chain.grow(vec![]);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn expensive_calls_wait_for_each_other_and_cheap_calls_do_not_wait() {
    let chain = Chain::with_accounts(5_000);
    for nonce in 0..8 {
        chain.grow(vec![transfer(nonce, 1)]);
    }
    let served = chain.serve(Limits::default()).await;
    let url = served.http();
    // Each of these heights needs separate trees, and there are more calls than the store serves at once.
    let call = |height: u64| {
        let url = url.clone();
        tokio::spawn(async move { post(&url, "abci_query", ask(Some(height))).await.json() })
    };
    let proofs: Vec<_> = (0..96).map(|n| call(1 + n % 7)).collect();
    for _ in 0..20 {
        let block = raw(format!("{url}/block?height=1"), None).await;
        assert_eq!(block.status, 200, "{}", block.text);
    }
    for proof in proofs {
        let answer = proof.await.unwrap();
        let busy = answer["error"]["data"].as_str().is_some_and(|data| data.starts_with("busy: "));
        assert!(busy || answer["result"]["response"]["code"] == 0, "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_of_one_address_do_not_block_a_route_for_others() {
    let chain = Chain::with_accounts(30_000);
    for nonce in 0..160 {
        let (order, messages) =
            (TxOrder::Nonce(nonce), vec![Msg::Transfer { to: Address([nonce as u8; 20]), amount: 1 }]);
        let body = TxBody { chain_id: chain_id(), signer: alice().public_key(), order, fee: 2, messages };
        chain.grow(vec![body.sign(&alice()).encode()]);
    }
    let served = chain.serve(Limits::default()).await;
    let body = |height| json!({ "id": 1, "method": "abci_query", "params": ask(Some(height)) }).to_string();
    // One address sends more calls than the queue holds, each for the trees of another height.
    let mut flood = Vec::new();
    for n in 0..150 {
        let mut socket = limits::connect_from(&served, 1).await;
        socket.write_all(limits::posted(&body(1 + n), "").as_bytes()).await.unwrap();
        flood.push(socket);
    }
    let mut refused = 0;
    for (last, height) in [(2, 3), (3, 4), (2, 5), (3, 6)] {
        let mut socket = limits::connect_from(&served, last).await;
        socket.write_all(limits::posted(&body(height), "").as_bytes()).await.unwrap();
        let answer = limits::said(socket).await;
        assert!(answer.contains(r#""proofOps":{"#), "{answer}");
    }
    for socket in flood {
        refused += u32::from(limits::said(socket).await.contains("busy: "));
    }
    assert!(refused >= 50, "{refused}: the address' own calls filled the line");
}
