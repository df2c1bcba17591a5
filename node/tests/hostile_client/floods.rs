//! Attacks with subscriptions, with answers that are not read, and with transactions.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use futures::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{task::JoinSet, time::sleep};
use tokio_tungstenite::tungstenite::Message;
use types::SecretKey;

use crate::{
    Field,
    hostile::transfers,
    http::{Http, Socket, batch, call, posted, websocket},
    requests::BATCH_CALLS_MAX,
};

/// Maximum number of WebSockets with subscriptions of one address: half of `rpc.max_subscription_clients`.
const SUBSCRIBERS_MAX: usize = 50;

/// Maximum number of subscriptions of one WebSocket: `rpc.max_subscriptions_per_client`.
const SUBSCRIPTIONS_MAX: usize = 5;

/// Two addresses, each with 350 WebSockets that subscribe 15 times, and then read no event: each address has its places, and the
/// other subscriptions are refused.
pub async fn ten_thousand_subscriptions(field: &Field) {
    const WEBSOCKETS: usize = 350;
    const QUERIES: usize = 15;
    let (begun, before) = (Instant::now(), field.refused("place"));
    let mut tasks = JoinSet::new();
    for from in [50, 51] {
        for _ in 0..WEBSOCKETS {
            tasks.spawn(subscribe(from, field.rpc, QUERIES));
        }
    }
    let sockets = tasks.join_all().await;
    let subscribed: usize = sockets.iter().map(|(_, count)| count).sum();
    let active = field.metric("rpc_subscriptions", "");
    let refused = field.refused("place") - before;
    println!("  {subscribed} of {} subscriptions, {active} are active, {refused} refused", 2 * WEBSOCKETS * QUERIES);
    assert!(subscribed <= 2 * SUBSCRIBERS_MAX * SUBSCRIPTIONS_MAX && active as usize <= subscribed);
    assert!(subscribed > 0 && refused > 0.0, "{subscribed} subscribed, {refused} refused");
    while !field.is_over(begun, || true) {
        sleep(Duration::from_millis(100)).await;
    }
}

/// Opens a WebSocket and subscribes; returns it with the number of subscriptions that were not refused.
async fn subscribe(from: u16, rpc: SocketAddr, queries: usize) -> (Option<Socket>, usize) {
    let (mut socket, mut subscribed) = (websocket(from, rpc).await, 0);
    let Some(open) = &mut socket else { return (socket, 0) };
    for id in 0..queries {
        let query = json!({ "query": format!("tm.event = 'NewBlock' AND block.height > {id}") });
        let query = if id % 2 == 0 { json!({ "query": format!("tx.height > {id}") }) } else { query };
        if open.send(Message::text(call(id, "subscribe", &query).to_string())).await.is_err() {
            break;
        }
        // An event may come first.
        while let Some(Ok(Message::Text(text))) = open.next().await {
            let answer: Value = serde_json::from_str(&text).expect("the server sends JSON");
            if answer["id"] == id && (answer["error"].is_object() || answer["result"] == json!({})) {
                subscribed += usize::from(answer["result"] == json!({}));
                break;
            }
        }
    }
    (socket, subscribed)
}

/// Connections that ask for large answers and read none: the bytes that wait are bounded, and who does not read is disconnected.
pub async fn unread_answers(field: &Field) {
    let (begun, slow) = (Instant::now(), field.refused("slow"));
    let request = batch(BATCH_CALLS_MAX, "block_results", &json!({ "height": field.largest.to_string() }));
    let request = posted(&request).repeat(2);
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut http = Http::connect_deaf(60, field.rpc).await.expect("the system accepts");
        let _ = http.send(&request).await; // fails only when it is disconnected
        open.push(http);
    }
    while !field.is_over(begun, || field.refused("slow") - slow >= 10.0) {
        sleep(Duration::from_millis(100)).await;
    }
    let [refused, slow] = [field.refused("answer_bytes"), field.refused("slow") - slow];
    println!("  {refused} answers had no room, {slow} connections were closed");
}

/// Well-signed transactions of keys that have nothing, each once, as fast as they are answered: none gets into the mempool.
pub async fn unfunded_transactions(field: &Field, txs: &Arc<Vec<String>>) {
    const CONNECTIONS: usize = 64;
    let (begun, failed, places) = (Instant::now(), field.metric("mempool_failed_txs", ""), field.refused("place"));
    let mut floods = JoinSet::new();
    for first in 0..CONNECTIONS {
        let (txs, rpc) = (txs.clone(), field.rpc);
        floods.spawn(async move {
            let mut mine = txs.chunks(BATCH_CALLS_MAX).skip(first).step_by(CONNECTIONS).enumerate();
            loop {
                let Ok(mut http) = Http::connect(70, rpc).await else { continue };
                for (nth, txs) in mine.by_ref() {
                    if submit(&mut http, nth, txs).await.is_err() {
                        break;
                    }
                }
                if mine.len() == 0 {
                    return;
                }
            }
        });
    }
    let failed = || field.metric("mempool_failed_txs", "") - failed;
    while !field.is_over(begun, || failed() >= 100.0) {
        sleep(Duration::from_millis(100)).await;
    }
    println!("  {} transactions were refused by the rules, {} had no place", failed(), field.refused("place") - places);
    drop(floods);
}

/// Submits some transactions in a batch, and reads the answer.
async fn submit(http: &mut Http, nth: usize, txs: &[String]) -> io::Result<()> {
    let method = if nth.is_multiple_of(2) { "broadcast_tx_sync" } else { "broadcast_tx_async" };
    let calls = txs.iter().enumerate().map(|(id, tx)| call(id, method, &json!({ "tx": tx })));
    http.post(&Value::Array(calls.collect()).to_string()).await.map(drop)
}

/// Returns transactions in base64, each of a key of its own that owns nothing.
pub fn unfunded(count: u32) -> Arc<Vec<String>> {
    let key = |n: u32| {
        let mut bytes = [91; 32];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        SecretKey::from_bytes(&bytes).expect("below the order of the curve")
    };
    Arc::new((0..count).map(|n| BASE64.encode(&transfers(&key(n), 0, 1))).collect())
}
