//! Attacks with requests that are slow, malformed, large or too many.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    Field,
    http::{Http, batch, call, got, posted},
    processes::{WAIT_MAX, eventually},
};

/// Maximum bytes of a body: `rpc.max_body_bytes`.
const BODY_BYTES_MAX: usize = 1_000_000;

/// Maximum calls of a batch: `rpc.max_request_batch_size`.
pub const BATCH_CALLS_MAX: usize = 10;

/// Request heads that never end, more than one address has places, and bodies of which a byte comes now and then: heads without a
/// place are refused, and the slow bodies after their time.
pub async fn slow_requests(field: &Field) {
    let no_place = || field.refused("idle") + field.refused("connection");
    let (places, slow) = (no_place(), field.refused("slow"));
    let (mut heads, mut bodies) = (Vec::new(), Vec::new());
    for _ in 0..20 {
        let mut body = Http::connect(2, field.rpc).await.expect("another address has places");
        let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {BODY_BYTES_MAX}\r\n\r\n[");
        body.send(head.as_bytes()).await.expect("a body may begin");
        bodies.push(body);
    }
    for _ in 0..500 {
        let mut head = Http::connect(1, field.rpc).await.expect("the system accepts");
        let _ = head.send(b"GET /status HTTP/1.1\r\nx: y").await; // the place may be given to the next one already
        heads.push(head);
    }
    let drips = bodies.into_iter().map(|mut body| async move {
        let answered = async {
            loop {
                match timeout(Duration::from_millis(500), body.answer()).await {
                    Ok(answer) => return answer,
                    Err(_) => body.send(b" ").await?,
                }
            }
        };
        timeout(WAIT_MAX, answered).await.expect("a slow body is not waited for").expect("it gets an answer").0
    });
    for status in futures::future::join_all(drips).await {
        assert_eq!(status, 400, "a body that did not arrive in time");
    }
    eventually("slow bodies are counted", || field.refused("slow") - slow >= 20.0);
    assert!(no_place() - places >= 50.0, "heads beyond the share of their address are refused, or others give way");
}

/// Connections that send as many small requests, and as many large ones, as they can: their address gets 429 after its budget of
/// bytes or of processor time, also for a new client of it, whose probes are still answered. A client of another address waits for
/// none of them.
pub async fn request_floods(field: &Field) {
    let (begun, before) = (Instant::now(), field.refused("budget"));
    let calls = batch(BATCH_CALLS_MAX, "block", &json!({}));
    let small = [got("/status").repeat(50), posted(&calls)].concat();
    let large = posted(&format!("{calls}{}", " ".repeat(BODY_BYTES_MAX - calls.len())));
    let _floods = [flood_with(field, 4, 32, 51, &small), flood_with(field, 4, 64, 1, &large)];
    let refused = || field.refused("budget") - before;
    let mut same_refused = 0;
    while !field.is_over(begun, || refused() >= 10.0 && same_refused > 0) {
        let mut same = Http::connect(4, field.rpc).await.expect("an address with 97 connections may have one more");
        assert_eq!(same.get("/health").await.expect("a probe is answered").0, 200);
        same_refused += usize::from(same.get("/status").await.expect("it is answered").0 == 429);
        let mut other = Http::connect(5, field.rpc).await.expect("another address has places");
        assert_eq!(other.get("/status").await.expect("it is answered").0, 200, "another address is not refused");
    }
    println!("  {} requests of the address were refused", refused());
}

/// Keeps `count` connections of one address open, each of which sends `request` again and again, and reads the answers to its
/// `answers` parts before the next time. Ends when the result is dropped.
fn flood_with(field: &Field, from: u16, count: usize, answers: usize, request: &[u8]) -> JoinSet<()> {
    let mut floods = JoinSet::new();
    for _ in 0..count {
        let (request, rpc) = (request.to_vec(), field.rpc);
        floods.spawn(async move {
            loop {
                let Ok(mut http) = Http::connect(from, rpc).await else { continue };
                'sends: while http.send(&request).await.is_ok() {
                    for _ in 0..answers {
                        if http.answer().await.is_err() {
                            break 'sends;
                        }
                    }
                }
            }
        });
    }
    floods
}

/// Bodies that are too large, too deep, of too many values, of too many calls, or no JSON: each is refused before a call of it
/// runs, and counted.
pub async fn malformed_bodies(field: &Field) {
    const ROUNDS: usize = 20;
    let before = field.refused("body");
    let chunk = format!("{:x}\r\n{}\r\n", 600_000, " ".repeat(600_000));
    let chunked = format!("POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n");
    let params = |params: String| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"status","params":{params}}}"#);
    let requests = [
        posted(&" ".repeat(BODY_BYTES_MAX + 1)),
        chunked.into_bytes(),
        posted(&params("[".repeat(900_000))),
        posted(&params(format!("{}{}", "[".repeat(5_000), "]".repeat(5_000)))),
        posted(&params(format!("[{}]", vec!["{}"; 300_000].join(",")))),
        posted(&batch(BATCH_CALLS_MAX + 1, "status", &json!({}))),
        posted("\u{0}"),
    ];
    let mut sent = 0;
    for _ in 0..ROUNDS {
        for (kind, request) in requests.iter().enumerate() {
            // Each from an address of its own: the bytes of all together are more than one may send.
            let mut http = Http::connect(10 + kind as u16, field.rpc).await.expect("each has places");
            // The server may answer before it has read all, and close.
            let _ = http.send(request).await;
            let answered = timeout(WAIT_MAX, http.answer()).await.expect("it is refused");
            sent += usize::from(answered.is_ok_and(|(status, _)| status != 429));
        }
    }
    let refused = field.refused("body") - before;
    println!("  {sent} bodies got an answer that is not 429, {refused} were refused");
    assert!(refused >= sent as f64 && sent >= ROUNDS, "{sent} bodies, {refused} refused");
}

/// Batches whose first calls take long and whose last call has arguments of thousands of small values, many at one time: they
/// take as much memory as their bytes while they wait.
pub async fn huge_arguments(field: &Field) {
    let height = field.largest.to_string();
    let mut calls: Vec<Value> =
        (1..BATCH_CALLS_MAX).map(|id| call(id, "block_results", &json!({ "height": height }))).collect();
    calls.push(call(0, "block", &json!({ "height": vec![json!({ "": 0 }); 2_800] })));
    let request = posted(&Value::Array(calls).to_string());
    let (begun, mut open) = (Instant::now(), Vec::new());
    for _ in 0..400 {
        let mut http = Http::connect(6, field.rpc).await.expect("the system accepts");
        let _ = http.send(&request).await; // the address may be refused already
        open.push(http);
    }
    while !field.is_over(begun, || true) {
        sleep(Duration::from_millis(100)).await;
    }
    drop(open);
    eventually("their work ends with them", || field.metric("rpc_connections", "") < 50.0);
}

/// Clients that send several batches of calls, and leave: what is not begun is not carried out.
pub async fn departed_clients(field: &Field) {
    let request = batch(BATCH_CALLS_MAX, "block_results", &json!({ "height": field.largest.to_string() }));
    let request = posted(&request).repeat(3);
    let (begun, mut left) = (Instant::now(), 0);
    while !field.is_over(begun, || left >= 100) {
        // Several addresses, so that the budget of one is not the bound.
        for from in 20..30 {
            if let Ok(mut http) = Http::connect(from, field.rpc).await {
                left += usize::from(http.send(&request).await.is_ok());
            }
        }
        sleep(Duration::from_millis(50)).await;
    }
    println!("  {left} clients left {} calls behind", left * 3 * BATCH_CALLS_MAX);
    eventually("all are missed", || field.metric("rpc_connections", "") < 50.0);
}

/// Searches, and proofs of old states, as many at one time as an address may have: few run, the others wait for their turn.
pub async fn expensive_calls(field: &Field) {
    let (begun, before) = (Instant::now(), field.refused("turn"));
    let search = posted(&batch(BATCH_CALLS_MAX, "tx_search", &json!({ "query": "tx.height > 0", "per_page": "100" })));
    let proof = json!({ "path": "/store", "data": "00", "height": "2", "prove": true });
    let proof = posted(&batch(BATCH_CALLS_MAX, "abci_query", &proof));
    let _floods = [flood_with(field, 7, 200, 1, &search), flood_with(field, 8, 100, 1, &proof)];
    while !field.is_over(begun, || field.refused("turn") > before) {
        sleep(Duration::from_millis(100)).await;
    }
}
