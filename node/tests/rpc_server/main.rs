//! Proves that the RPC server behaves as CometBFT's clients expect, over real sockets, on a chain that commits a height
//! only when the test commits it.

mod attack;
#[path = "../../../replica/tests/blocks/mod.rs"]
mod blocks;
mod chain;
mod described;
mod drive;
mod events;
mod history;
mod limits;
mod proofs;
mod request_lines;
mod search;
#[path = "../../../app/tests/common/stock.rs"]
mod stock;

use chain::{Chain, alice, transfer};
use rpc::Limits;
use serde_json::{Value, json};
use tendermint_rpc::{Client, HttpClient, SubscriptionClient, WebSocketClient};
use types::{KeyType, TxId};

/// The response to a raw request.
struct Raw {
    status: u16,
    headers: ureq::http::HeaderMap,
    text: String,
}

impl Raw {
    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {}", self.text))
    }

    #[track_caller]
    fn error(&self) -> String {
        self.json()["error"]["data"].as_str().unwrap_or_else(|| panic!("no error: {}", self.text)).to_owned()
    }
}

/// Sends an HTTP request without a JSON-RPC library: POST if there is a body, else GET.
async fn raw(url: String, body: Option<String>) -> Raw {
    let send = move || {
        let config = ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build();
        let agent = config.new_agent();
        let mut response = match body {
            Some(body) => agent.post(&url).header("origin", "http://page.test").send(body).unwrap(),
            None => agent.get(&url).call().unwrap(),
        };
        Raw {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            text: response.body_mut().read_to_string().unwrap(),
        }
    };
    tokio::task::spawn_blocking(send).await.unwrap()
}

async fn post(url: &str, method: &str, params: Value) -> Raw {
    raw(url.to_owned(), Some(json!({ "jsonrpc": "2.0", "id": "x", "method": method, "params": params }).to_string()))
        .await
}

async fn websocket(url: &str) -> (WebSocketClient, tokio::task::JoinHandle<()>) {
    let (client, driver) = WebSocketClient::new(url).await.unwrap();
    (client, tokio::spawn(async move { driver.run().await.unwrap() }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_answers_an_unmodified_client() {
    let chain = Chain::new();
    for _ in 0..3 {
        chain.grow(vec![]);
    }
    *chain.commits_at_once.lock().unwrap() = true;
    let served = chain.serve(Limits::default()).await;
    let client = HttpClient::new(served.http().as_str()).unwrap();
    let txs = [0, 1, 2].map(|nonce| transfer(nonce, 5));
    drive::every_method(&client, txs, alice().public_key().address()).await;

    let (client, driver) = websocket(&served.websocket()).await;
    drive::subscriptions(&client, transfer(3, 5)).await;
    let txs = [4, 5, 6].map(|nonce| transfer(nonce, 5));
    drive::every_method(&client, txs, alice().public_key().address()).await;
    client.close().unwrap();
    driver.await.unwrap();
    served.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_to_headers_gets_one_for_each_height_and_no_transactions() {
    let chain = Chain::new();
    let served = chain.serve(Limits::default()).await;
    let mut socket = limits::open(&served).await;
    let query = json!({ "query": "tm.event='NewBlockHeader'" });
    assert_eq!(limits::call(&mut socket, 7, "subscribe", query).await["result"], json!({}));
    let committed = [chain.grow(vec![]), chain.grow(vec![transfer(0, 1), transfer(1, 1)])];
    for (committed, txs) in committed.iter().zip(["0", "2"]) {
        let event = limits::hear(&mut socket).await.unwrap();
        let height = committed.block.header.height;
        let header = post(&served.http(), "header", json!({ "height": height.to_string() })).await.json();
        assert_eq!((&event["id"], &event["result"]["query"]), (&json!(7), &json!("tm.event='NewBlockHeader'")));
        assert_eq!(event["result"]["data"]["type"], "tendermint/event/NewBlockHeader");
        assert_eq!(event["result"]["data"]["value"], json!({ "header": header["result"]["header"], "num_txs": txs }));
        assert_eq!(event["result"]["events"], json!({ "tm.event": ["NewBlockHeader"] }));
    }

    // With a second subscription to blocks, each subscription gets its own event, and the header comes first.
    limits::call(&mut socket, 8, "subscribe", json!({ "query": "tm.event = 'NewBlock'" })).await;
    chain.grow(vec![transfer(2, 1)]);
    let ids = [limits::hear(&mut socket).await.unwrap(), limits::hear(&mut socket).await.unwrap()];
    assert_eq!(ids.map(|event| event["id"].clone()), [json!(7), json!(8)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stock_light_client_verifies_the_chain() {
    for key_type in KeyType::ALL {
        let chain = Chain::with_keys(key_type);
        for nonce in 0..5 {
            chain.grow(vec![transfer(nonce, 1)]);
        }
        let served = chain.serve(Limits::default()).await;
        let client = HttpClient::new(served.http().as_str()).unwrap();
        drive::light_client(&client, 1, 2).await;
        drive::light_client(&client, 2, 4).await;
        drive::light_client(&client, 4, 5).await;
        let beyond = client.commit(9_u32).await.unwrap_err().to_string();
        assert!(beyond.contains("height 9 must be less than or equal to the current blockchain height 5"), "{beyond}");
        drive::meets_keys_of(&client, &served.http(), key_type).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_contain_the_remedy() {
    let chain = Chain::new();
    let served = chain.serve(Limits::default()).await;
    let url = served.http();
    assert!(raw(format!("{url}/block"), None).await.error().contains("no block yet"));
    assert_eq!(raw(format!("{url}/status"), None).await.json()["result"]["sync_info"]["latest_block_height"], "0");
    for nonce in 0..5 {
        chain.grow(vec![transfer(nonce, 1)]);
    }
    chain.store.prune(types::Height(3)).unwrap();

    let nothing = "00".repeat(32);
    for (method, params, says) in [
        ("block", json!({"height": "9"}), "height 9 must be less than or equal to the current blockchain height 5"),
        ("block", json!({"height": "2"}), "earliest kept height is 3"),
        ("block", json!({"height": "0"}), "height must be greater than 0, but got 0"),
        ("block", json!({"height": "-4"}), "but got -4"),
        ("block", json!({"height": "x"}), "parameter height is \"x\""),
        ("block", json!(["1", "2"]), "the method has 1: height"),
        (
            "validators",
            json!({"height": "7"}),
            "height 7 must be less than or equal to the current blockchain height 6",
        ),
        ("validators", json!({"page": "2"}), "page should be within [1, 1] range, given 2"),
        ("blockchain", json!({"minHeight": "5", "maxHeight": "4"}), "min height 5"),
        ("blockchain", json!({"maxHeight": "2"}), "earliest kept height is 3"),
        ("tx", json!({"hash": nothing}), "not found"),
        ("tx", json!({"hash": "12"}), "64 hexadecimal digits"),
        ("tx", json!({}), "parameter hash is missing"),
        ("unconfirmed_tx", json!({"hash": nothing}), "not found in the mempool"),
        ("abci_query", json!({"path": "/account", "height": "1"}), "earliest kept height"),
        ("genesis_chunked", json!({"chunk": "1"}), "there are 0 to 0"),
        ("broadcast_tx_sync", json!({"tx": "?"}), "base64"),
        ("account", json!({"address": "AB"}), "40 hexadecimal digits"),
        ("subscribe", json!({"query": "tm.event='Tx'"}), "WebSocket"),
        ("block_search", json!({}), "query is missing"),
        ("unsafe_flush_mempool", json!({}), "rpc.unsafe"),
        ("nonsense", json!({}), "no method \"nonsense\""),
    ] {
        let answer = post(&url, method, params.clone()).await;
        assert_eq!(answer.status, 200, "{method}");
        assert!(answer.error().contains(says), "{method} {params}: {}", answer.text);
        assert!(!answer.error().starts_with("internal error"), "{}", answer.text);
        assert_eq!(answer.json()["id"], "x");
    }
    served.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uris_and_bodies_have_the_status_codes_that_clients_expect() {
    let chain = Chain::new();
    let tx = transfer(0, 1);
    let id = types::sha256(&tx).to_string();
    chain.grow(vec![tx.clone()]);
    chain.grow(vec![]);
    let served = chain.serve(Limits::default()).await;
    let url = served.http();

    for (path, status) in [
        ("/", 200),
        ("/health", 200),
        ("/ready", 200),
        ("/block?height=1", 200),
        ("/block?height=%221%22", 200),
        ("/block?height=9", 500),
        ("/block?height=x", 500),
        ("/subscribe?query=%22a%3D1%22", 404),
        ("/nonsense", 404),
        ("/websocket", 400),
        ("/abci_query?path=%22/supply%22", 200),
        ("/abci_query?path=/supply&data=0x", 200),
        (&format!("/tx?hash=0x{id}&prove=true"), 200),
        (&format!("/tx?hash={id}"), 200),
        (&format!("/tx_status?hash=0x{id}"), 200),
        ("/check_tx?tx=0x00", 200),
        ("/broadcast_tx_async?tx=%22raw%22", 200),
        ("/num_unconfirmed_txs", 200),
        ("/unconfirmed_txs?limit=1000", 200),
        ("/dump_consensus_state", 200),
        ("/genesis_chunked?chunk=0", 200),
    ] {
        let answer = raw(format!("{url}{path}"), None).await;
        assert_eq!(answer.status, status, "{path}: {}", answer.text);
        if path != "/" && path != "/websocket" {
            assert_eq!(answer.json()["id"], -1, "{path}");
            assert_eq!(answer.json()["result"].is_null(), status != 200, "{path}");
        }
    }
    let index = raw(format!("{url}/"), None).await.text;
    let (without, with) = index.split_once("Endpoints that require arguments:").unwrap();
    assert!(without.contains("/health?\">") && with.contains("/block?height=_\">"), "{index}");
    assert!(with.contains("/tx_search?query=_&prove=_&page=_&per_page=_&order_by=_"), "{index}");
    assert!(!index.contains("unsafe_flush_mempool"), "what is not offered is not listed: {index}");

    for (body, status) in [
        (r#"{"jsonrpc":"2.0","id":1,"method":"health"}"#, 200),
        (r#"{"jsonrpc":"2.0","id":1,"method":"nonsense"}"#, 200),
        ("{", 500),
        ("[]", 200),
        ("5", 200),
    ] {
        let answer = raw(url.clone(), Some(body.to_owned())).await;
        assert_eq!(answer.status, status, "{body}: {}", answer.text);
        assert_eq!(answer.headers["access-control-allow-origin"], "http://page.test");
        assert!(answer.headers.contains_key("x-server-time"));
    }
    assert_eq!(raw(format!("{url}/block"), Some("{}".into())).await.status, 404);
    let silent = raw(url.clone(), Some(r#"{"jsonrpc":"2.0","method":"health"}"#.into())).await;
    assert_eq!((silent.status, silent.text.as_str()), (200, ""));
    let batch = r#"[{"id":1,"method":"health"},{"method":"health"},{"id":"b","method":"nonsense"},7]"#;
    let answers = raw(url.clone(), Some(batch.into())).await.json();
    assert_eq!(
        (answers[0]["id"].clone(), answers[1]["id"].clone(), answers[2]["id"].clone()),
        (json!(1), json!("b"), Value::Null)
    );
    assert_eq!(answers.as_array().unwrap().len(), 3);
    served.handle.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_what_never_changes_may_be_cached() {
    let chain = Chain::new();
    chain.grow(vec![]);
    let known = chain.grow(vec![]);
    let served = chain.serve(Limits::default()).await;
    for (path, cached) in [
        ("/block?height=1", true),
        ("/block", false),
        ("/block?height=9", false),
        ("/commit?height=1", true),
        ("/commit?height=2", false),
        ("/validators?height=1", true),
        ("/genesis", true),
        (&format!("/block_by_hash?hash=0x{}", known.block_id.hash), true),
        (&format!("/block_by_hash?hash=0x{}", "00".repeat(32)), false),
        ("/status", false),
    ] {
        let answer = raw(format!("{}{path}", served.http()), None).await;
        assert_eq!(answer.headers.contains_key("cache-control"), cached, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_is_pending_then_committed() {
    let chain = Chain::new();
    chain.grow(vec![]);
    let served = chain
        .serve(Limits { broadcast_tx_commit_time: std::time::Duration::from_millis(50), ..Limits::default() })
        .await;
    let (url, tx) = (served.http(), transfer(0, 7));
    let id = types::sha256(&tx).to_string();
    let status = async || post(&url, "tx_status", json!({ "hash": id })).await.json()["result"]["status"].clone();
    assert_eq!(status().await, "unknown");
    let in_base64 = data_encoding::BASE64.encode(&tx);
    let timed_out = post(&url, "broadcast_tx_commit", json!({ "tx": in_base64 })).await;
    assert!(timed_out.error().contains("timed out") && timed_out.error().contains(&id), "{}", timed_out.text);
    assert_eq!(status().await, "pending");
    assert!(post(&url, "tx", json!({ "hash": id })).await.error().contains("waits in the mempool"));
    let waiting = post(&url, "unconfirmed_txs", json!({})).await.json();
    assert_eq!((&waiting["result"]["total"], &waiting["result"]["txs"][0]), (&json!("1"), &json!(in_base64)));
    assert_eq!(post(&url, "unconfirmed_tx", json!({ "hash": id })).await.json()["result"]["tx"], in_base64);
    let address = alice().public_key().address().to_string();
    let account = post(&url, "account", json!({ "address": address })).await.json()["result"].clone();
    assert_eq!(
        (&account["nonce"], &account["committed_nonce"], &account["balance"]),
        (&json!("1"), &json!("0"), &json!("1000000"))
    );
    chain.grow(vec![tx]);
    assert_eq!(status().await, "committed");
    let account = post(&url, "account", json!({ "address": address })).await.json()["result"].clone();
    assert_eq!((&account["nonce"], &account["balance"]), (&json!("1"), &json!("999991")));

    *chain.catching_up.lock().unwrap() = true;
    let closed = post(&url, "broadcast_tx_sync", json!({ "tx": in_base64 })).await.error();
    assert!(closed.contains("endpoint is closed while node is catching up"), "{closed}");
    let ready = raw(format!("{url}/ready"), None).await;
    assert_eq!((ready.status, &ready.json()["result"]["reasons"][0]), (503, &json!("catching up")));
    assert_eq!(raw(format!("{url}/health"), None).await.status, 200, "health is liveness");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_a_later_block_repeats_is_found_where_it_was_executed() {
    let chain = Chain::new();
    let tx = transfer(0, 5);
    chain.grow(vec![tx.clone()]);
    let repeated = chain.grow(vec![transfer(1, 5), tx.clone()]);
    assert!(repeated.results.txs[0].is_executed() && !repeated.results.txs[1].is_executed());
    let served = chain.serve(Limits::default()).await;
    let id = TxId::of(&tx).to_string();
    let found = |answer: &Value| {
        let number = |pointer: &str| answer.pointer(pointer).unwrap_or_else(|| panic!("{answer}")).clone();
        (number("/height"), number("/index"), number("/tx_result/code"))
    };
    for method in ["tx", "tx_status"] {
        let answer = post(&served.http(), method, json!({ "hash": id })).await.json();
        assert_eq!(found(&answer["result"]), (json!("1"), json!(0), json!(0)), "{method}");
    }
    let query = json!({ "query": format!("tx.hash = '{id}'") });
    let answer = post(&served.http(), "tx_search", query).await.json();
    assert_eq!(found(&answer["result"]["txs"][0]), (json!("1"), json!(0), json!(0)), "{answer}");
}
