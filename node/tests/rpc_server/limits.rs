//! Proves that the RPC server limits the resources that one client or address can use.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::{SinkExt, StreamExt};
use replica::Committed;
use rpc::{Limits, clients::Refused};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{sleep, timeout},
};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async, tungstenite::Message};

use crate::{
    chain::{Chain, Served, transfer},
    raw,
};

/// Timeout that is longer than any step of these tests takes.
const SOON: Duration = Duration::from_secs(60);

/// A client's end of a WebSocket connection.
pub type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Opens a WebSocket to the server.
pub async fn open(served: &Served) -> Socket {
    connect_async(served.websocket()).await.unwrap().0
}

/// Calls a method over a WebSocket and returns the next message.
pub async fn call<S: AsyncRead + AsyncWrite + Unpin>(
    socket: &mut WebSocketStream<S>,
    id: u32,
    method: &str,
    params: Value,
) -> Value {
    let call = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
    socket.send(Message::text(call.to_string())).await.unwrap();
    hear(socket).await.unwrap()
}

/// Waits for the next text message; returns `None` if the server closes the connection.
pub async fn hear<S: AsyncRead + AsyncWrite + Unpin>(socket: &mut WebSocketStream<S>) -> Option<Value> {
    loop {
        match timeout(SOON, socket.next()).await.unwrap() {
            Some(Ok(Message::Text(text))) => return Some(serde_json::from_str(&text).unwrap()),
            Some(Ok(Message::Close(_))) | None => return None,
            Some(Ok(_)) => {}
            Some(Err(error)) => panic!("{error}"),
        }
    }
}

/// Connects to the server from the address `127.0.0.last`. On Linux, every such address belongs to this machine.
pub async fn connect_from(served: &Served, last: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from(([127, 0, 0, last], 0))).unwrap();
    socket.connect(served.handle.address()).await.unwrap()
}

/// Opens a WebSocket to the server from the address `127.0.0.last`.
async fn open_from(served: &Served, last: u8) -> WebSocketStream<TcpStream> {
    client_async(served.websocket(), connect_from(served, last).await).await.unwrap().0
}

/// Returns the text that the server sends until it closes the connection.
pub async fn said(mut socket: TcpStream) -> String {
    let mut text = String::new();
    timeout(SOON, socket.read_to_string(&mut text)).await.unwrap().unwrap();
    text
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_above_the_limit_is_refused_with_the_reason() {
    let served = Chain::new().serve(Limits { open_connections_max: 2, ..Limits::default() }).await;
    let address = served.handle.address();
    let websocket = open(&served).await;
    let mut second = TcpStream::connect(address).await.unwrap();
    second.write_all(b"GET /health HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    second.read_exact(&mut [0; 12]).await.unwrap();
    let refused = said(TcpStream::connect(address).await.unwrap()).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("rpc.max_open_connections"), "{refused}");
    drop(websocket);
    // A new connection is accepted as soon as the server has noticed that the client is gone.
    timeout(SOON, async {
        loop {
            let mut socket = TcpStream::connect(address).await.unwrap();
            socket.write_all(b"GET /health HTTP/1.0\r\n\r\n").await.unwrap();
            if said(socket).await.contains(" 200 ") {
                break;
            }
        }
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_requests_are_refused() {
    let limits = Limits { body_bytes_max: 1000, header_bytes_max: 8192, batch_calls_max: 2, ..Limits::default() };
    let served = Chain::new().serve(limits).await;
    let refused = || {
        let shown = Refused::NAMES.iter().zip(served.handle.clients().refused());
        shown.filter(|(_, count)| *count > 0).map(|(reason, count)| format!("{reason} {count}")).collect::<Vec<_>>()
    };
    let large = raw(served.http(), Some(" ".repeat(1001))).await;
    assert_eq!(large.status, 400);
    assert!(large.text.contains("1001 bytes, at most 1000"), "{}", large.text);
    let many = raw(served.http(), Some(r#"[{"id":1},{"id":2},{"id":3}]"#.into())).await;
    assert!(many.text.contains("a batch of 3 calls, at most 2"), "{}", many.text);

    let mut chunked = TcpStream::connect(served.handle.address()).await.unwrap();
    let chunk = format!("3E9\r\n{}\r\n0\r\n\r\n", " ".repeat(1001));
    let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n";
    chunked.write_all(format!("{head}{chunk}").as_bytes()).await.unwrap();
    let answer = said(chunked).await;
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("at most 1000"), "{answer}");

    let mut headers = TcpStream::connect(served.handle.address()).await.unwrap();
    let head = format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20_000));
    headers.write_all(head.as_bytes()).await.unwrap();
    let answer = said(headers).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");

    let mut socket = open(&served).await;
    socket.send(Message::text(" ".repeat(1001))).await.unwrap();
    assert!(matches!(timeout(SOON, socket.next()).await.unwrap(), Some(Err(_) | Ok(Message::Close(_))) | None));
    assert_eq!(refused(), ["body 4"], "two large ones, a large message, and a batch of too many calls");
    assert_eq!(raw(served.http(), Some("[".repeat(200))).await.status, 500);
    assert_eq!(refused(), ["body 5"], "too deep");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_counted() {
    let limits = Limits { subscriptions_per_client_max: 2, subscription_clients_max: 1, ..Limits::default() };
    let chain = Chain::new();
    let served = chain.serve(limits).await;
    let mut one = open(&served).await;
    let query = |n: u32| json!({ "query": format!("tx.height > {n}") });
    assert_eq!(call(&mut one, 1, "subscribe", query(1)).await, json!({"jsonrpc": "2.0", "id": 1, "result": {}}));
    let error = |answer: &Value| answer["error"]["data"].as_str().unwrap_or_default().to_owned();
    assert!(error(&call(&mut one, 2, "subscribe", query(1)).await).contains("already subscribed"));
    assert!(error(&call(&mut one, 3, "subscribe", json!({ "query": "tx.height" })).await).contains("expected"));
    assert!(error(&call(&mut one, 4, "subscribe", json!({})).await).contains("query is missing"));
    call(&mut one, 5, "subscribe", query(2)).await;
    assert!(error(&call(&mut one, 6, "subscribe", query(3)).await).contains("2 subscriptions are open"));
    assert!(error(&call(&mut one, 7, "unsubscribe", query(3)).await).contains("not found"));
    let mut two = open(&served).await;
    assert!(error(&call(&mut two, 8, "subscribe", query(1)).await).contains("1 clients have subscriptions"));
    assert_eq!(call(&mut two, 9, "health", Value::Null).await["result"], json!({}), "ordinary calls go on");
    assert_eq!(call(&mut one, 10, "unsubscribe_all", json!([])).await["result"], json!({}));
    assert_eq!(call(&mut two, 11, "subscribe", query(0)).await["result"], json!({}));

    chain.grow(vec![transfer(0, 1), transfer(1, 1)]);
    for index in 0..2 {
        let event = hear(&mut two).await.unwrap();
        assert_eq!((&event["id"], &event["result"]["data"]["value"]["TxResult"]["index"]), (&json!(11), &json!(index)));
        assert_eq!(event["result"]["events"]["tm.event"], json!(["Tx"]));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_of_one_address_leave_places_for_other_addresses() {
    let served = Chain::new().serve(Limits { subscription_clients_max: 5, ..Limits::default() }).await;
    let query = json!({ "query": "tm.event = 'NewBlock'" });
    let mut of_one = Vec::new();
    for _ in 0..3 {
        let mut socket = open(&served).await;
        assert_eq!(call(&mut socket, 1, "subscribe", query.clone()).await["result"], json!({}));
        of_one.push(socket);
    }
    let mut beyond = open(&served).await;
    let refused = call(&mut beyond, 1, "subscribe", query.clone()).await["error"]["data"].to_string();
    assert!(refused.contains("3 clients of your address have subscriptions"), "{refused}");
    assert_eq!(served.handle.clients().refused()[Refused::NoPlace as usize], 1);
    let mut others = [open_from(&served, 2).await, open_from(&served, 3).await];
    for socket in &mut others {
        assert_eq!(call(socket, 1, "subscribe", query.clone()).await["result"], json!({}));
    }
    let mut last = open_from(&served, 4).await;
    let refused = call(&mut last, 1, "subscribe", query.clone()).await["error"]["data"].to_string();
    assert!(refused.contains("5 clients have subscriptions"), "{refused}");
    call(&mut of_one[0], 2, "unsubscribe_all", json!({})).await;
    assert_eq!(call(&mut beyond, 2, "subscribe", query).await["result"], json!({}), "its own place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_a_commit_leave_places_for_other_calls() {
    let limits =
        Limits { subscription_clients_max: 2, broadcast_tx_commit_time: Duration::from_secs(2), ..Limits::default() };
    let served = Chain::new().serve(limits).await;
    let call = |nonce| {
        let tx = data_encoding::BASE64.encode(&transfer(nonce, 1));
        posted(&json!({ "id": 1, "method": "broadcast_tx_commit", "params": [tx] }).to_string(), "")
    };
    let mut first = connect_from(&served, 1).await;
    first.write_all(call(0).as_bytes()).await.unwrap();
    sleep(Duration::from_millis(200)).await; // now the first call waits; it times out after 2 s
    let refused = told(&served, &call(1)).await;
    assert!(refused.contains("1 calls of your address wait for a commit"), "{refused}");
    let mut other = connect_from(&served, 2).await;
    other.write_all(call(1).as_bytes()).await.unwrap();
    let answer = said(other).await;
    assert!(answer.contains("timed out waiting for tx"), "{answer}");
}

/// Returns a call that submits alice's transaction with this nonce.
fn submission(method: &str, nonce: u64) -> Value {
    let tx = data_encoding::BASE64.encode(&transfer(nonce, 1));
    json!({ "jsonrpc": "2.0", "id": nonce, "method": method, "params": [tx] })
}

/// Waits until the server has noticed that all its clients have left.
async fn all_have_left(served: &Served) {
    let left = async {
        while served.handle.clients().connections() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // Shorter than the wait for a commit, and than the time between two pings: neither ends the connection.
    timeout(Duration::from_secs(20), left).await.expect("the server misses the client");
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_a_client_that_has_left_is_not_begun() {
    let chain = Chain::new();
    let served = chain.serve(Limits { broadcast_tx_commit_time: Duration::from_secs(600), ..Limits::default() }).await;
    let waiting = async || {
        let answer = raw(format!("{}/unconfirmed_txs", served.http()), None).await.json();
        answer["result"]["total"].as_str().unwrap().parse::<u32>().unwrap()
    };
    let comes_to = async |txs| {
        timeout(SOON, async {
            while waiting().await != txs {
                sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
    };
    // The first call of the batch waits; the next request is here already, so that nothing is read meanwhile.
    let health = json!({ "jsonrpc": "2.0", "id": 9, "method": "health" });
    let batch = json!([submission("broadcast_tx_commit", 0), health, submission("broadcast_tx_sync", 1)]).to_string();
    let mut client = connect_from(&served, 1).await;
    let request = post(&batch, "");
    let next = posted(&submission("broadcast_tx_sync", 2).to_string(), "");
    client.write_all(format!("{request}{next}").as_bytes()).await.unwrap();
    comes_to(1).await;
    drop(client);
    all_have_left(&served).await;
    chain.grow(vec![transfer(0, 1)]);
    assert_eq!(waiting().await, 0, "neither the rest of the batch nor the next request is carried out");

    // A WebSocket runs as many calls as it may, and reads nothing.
    let mut socket = open_from(&served, 1).await;
    for nonce in 1..=12 {
        socket.send(Message::text(submission("broadcast_tx_commit", nonce).to_string())).await.unwrap();
    }
    comes_to(10).await;
    drop(socket);
    all_have_left(&served).await;
    assert_eq!(waiting().await, 10, "the other two are not submitted");
}

/// Sends a request and returns the status line of the answer. The connection stays open.
async fn status_line(client: &mut TcpStream, request: &str) -> String {
    client.write_all(request.as_bytes()).await.unwrap();
    let mut line = Vec::new();
    while !line.ends_with(b"\r\n") {
        line.push(timeout(SOON, client.read_u8()).await.unwrap().unwrap());
    }
    String::from_utf8(line).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_were_discarded_take_no_room_from_others() {
    let served = Chain::new().serve(Limits { client_bytes_per_second: 1000, ..Limits::default() }).await;
    let padded = |bytes| post(&format!("{}{}", r#"{"jsonrpc":"2.0","id":1,"method":"health"}"#, " ".repeat(bytes)), "");
    let mut first = connect_from(&served, 1).await;
    assert_eq!(status_line(&mut first, &padded(100_000)).await, "HTTP/1.1 200 OK\r\n", "then the budget is used up");
    // More than all requests together may have in memory, if they were kept.
    let request = padded(990_000);
    let refused = async || {
        let mut client = connect_from(&served, 1).await;
        let status = status_line(&mut client, &request).await;
        (client, status)
    };
    let refused = futures::future::join_all((0..80).map(|_| refused())).await;
    for (_, status) in &refused {
        assert_eq!(status, "HTTP/1.1 429 Too Many Requests\r\n");
    }
    let mut other = connect_from(&served, 2).await;
    assert_eq!(status_line(&mut other, &padded(100)).await, "HTTP/1.1 200 OK\r\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscriptions_are_shown_from_the_first_to_the_last() {
    let served = Chain::new().serve(Limits::default()).await;
    let shown = || served.handle.clients().subscriptions();
    let query = |n: u32| json!({ "query": format!("tx.height > {n}") });
    let mut one = open(&served).await;
    assert_eq!(shown(), 0);
    for n in 0..3 {
        call(&mut one, n, "subscribe", query(n)).await;
    }
    let mut two = open(&served).await;
    call(&mut two, 1, "subscribe", query(0)).await;
    assert_eq!(shown(), 4);
    call(&mut one, 9, "unsubscribe", query(1)).await;
    call(&mut one, 9, "unsubscribe", query(7)).await;
    assert_eq!(shown(), 3);
    call(&mut two, 9, "unsubscribe_all", json!({})).await;
    assert_eq!(shown(), 2);
    drop(one);
    let all_gone = async {
        while shown() > 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(SOON, all_gone).await.unwrap();
}

/// Returns the next block of a chain with this number of transactions of 60,000 bytes.
fn large(chain: &Chain, txs: usize) -> Committed {
    let mut large: Committed = Arc::unwrap_or_clone(chain.grow(vec![]));
    large.block.txs = vec![vec![7; 60_000]; txs];
    large
}

/// Checks that a client of another address gets its events while one address is over its budget.
async fn others_do_not_wait(chain: &Chain, served: &Served) {
    let mut other = open_from(served, 2).await;
    call(&mut other, 1, "subscribe", json!({ "query": "tm.event = 'NewBlockHeader'" })).await;
    chain.grow(vec![]);
    assert_eq!(hear(&mut other).await.unwrap()["id"], 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_paid_for_in_bytes() {
    let chain = Chain::new();
    let limits = Limits { client_bytes_per_second: 2000, client_cpu_percent: 0, ..Limits::default() };
    let served = chain.serve(limits).await;
    let mut socket = open(&served).await;
    call(&mut socket, 1, "subscribe", json!({ "query": "tm.event = 'NewBlock'" })).await;
    let status = || raw(format!("{}/status", served.http()), None);
    assert_eq!(status().await.status, 200);
    let large = Arc::new(large(&chain, 60));
    hear(&mut socket).await.unwrap();
    chain.events.send(large.clone()).unwrap();
    assert!(hear(&mut socket).await.unwrap()["result"]["data"]["value"]["block"].is_object());
    // 4.8 MB are the budget of 40 minutes, of which the burst is 8 s. So no event comes within the second that the
    // test waits, however slow the machine is.
    assert_eq!(status().await.status, 429, "its address is over its budget");
    chain.events.send(large).unwrap();
    assert!(timeout(Duration::from_secs(1), hear(&mut socket)).await.is_err(), "the event waits");
    others_do_not_wait(&chain, &served).await;
}

/// A slow machine gives a client more time between its events, so this test has only lower bounds of times.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_paid_for_in_processor_time() {
    let chain = Chain::new();
    let limits = Limits { client_bytes_per_second: 0, client_cpu_percent: 1, ..Limits::default() };
    let served = chain.serve(limits).await;
    let mut socket = open(&served).await;
    call(&mut socket, 1, "subscribe", json!({ "query": "tm.event = 'NewBlock'" })).await;
    let status = || raw(format!("{}/status", served.http()), None);
    assert_eq!(status().await.status, 200);
    let large = Arc::new(large(&chain, 190));
    hear(&mut socket).await.unwrap();
    let mut heard = 0;
    while status().await.status != 429 {
        assert!(heard < 100, "the events cost nothing");
        chain.events.send(large.clone()).unwrap();
        assert!(hear(&mut socket).await.unwrap()["result"]["data"]["value"]["block"].is_object());
        heard += 1;
    }
    assert!(heard > 0, "the burst is 20 ms");
    // A refused request means that its address has to wait for more than 2 s. An event is sent only to an address that has
    // not to wait, so one event costs 2 s or more, and the second of two comes at least that much after the first.
    let begun = Instant::now();
    for _ in 0..2 {
        chain.events.send(large.clone()).unwrap();
    }
    for _ in 0..2 {
        hear(&mut socket).await.unwrap();
    }
    let took = begun.elapsed();
    assert!(took > Duration::from_secs(1), "the events do not wait: {took:?}");
    others_do_not_wait(&chain, &served).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_too_slow_gets_an_error_and_is_disconnected() {
    let chain = Chain::new();
    let served = chain.serve(Limits { subscription_buffer: 2, ..Limits::default() }).await;
    let mut slow = open(&served).await;
    call(&mut slow, 1, "subscribe", json!({ "query": "tm.event = 'NewBlock'" })).await;
    let mut quick = open(&served).await;
    call(&mut quick, 2, "subscribe", json!({ "query": "tm.event = 'NewBlock'" })).await;

    // These blocks fill every buffer on the way, so that the events for the slow client stay in the server. `quick`
    // reads each event before the next one is sent.
    let mut large: Committed = Arc::unwrap_or_clone(chain.grow(vec![]));
    hear(&mut quick).await.unwrap();
    large.block.txs = vec![vec![7; 60_000]; 60];
    large.block_bytes = 3_600_000;
    for _ in 0..16 {
        chain.events.send(Arc::new(large.clone())).unwrap();
        assert!(hear(&mut quick).await.unwrap()["result"]["data"]["value"]["block"].is_object());
    }
    let mut heard = 0;
    let error = loop {
        let message = hear(&mut slow).await.expect("an error comes before the end");
        match message["error"]["data"].as_str() {
            Some(error) => break error.to_owned(),
            None => heard += 1,
        }
    };
    assert!(error.contains("too slow") && heard < 17, "{heard}: {error}");
    assert_eq!(hear(&mut slow).await, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_the_server_closes_its_websockets() {
    let served = Chain::new().serve(Limits::default()).await;
    let mut socket = open(&served).await;
    let address = served.handle.address();
    call(&mut socket, 1, "subscribe", json!({ "query": "tm.event = 'NewBlock'" })).await;
    served.handle.stop().await;
    assert_eq!(hear(&mut socket).await, None);
    assert!(TcpStream::connect(address).await.is_err());
}

/// Sends a request, and returns the server's output until it closes the connection.
async fn told(served: &Served, request: &str) -> String {
    let mut socket = TcpStream::connect(served.handle.address()).await.unwrap();
    socket.write_all(request.as_bytes()).await.unwrap();
    said(socket).await
}

/// Returns the bytes of a POST request with this body and these additional header lines; the server closes the connection after it.
pub fn posted(body: &str, more: &str) -> String {
    post(body, &format!("connection: close\r\n{more}"))
}

/// As [`posted`], for a connection that stays open.
fn post(body: &str, more: &str) -> String {
    format!("POST / HTTP/1.1\r\nhost: x\r\n{more}content-length: {}\r\n\r\n{body}", body.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_take_no_place_from_active_clients() {
    let served = Chain::new().serve(Limits { open_connections_max: 8, ..Limits::default() }).await;
    let mut mute = Vec::new();
    for _ in 0..24 {
        let mut socket = TcpStream::connect(served.handle.address()).await.unwrap();
        socket.write_all(b"GET /health HTTP/1.1\r\nx: yyy").await.unwrap();
        mute.push(socket);
    }
    for _ in 0..8 {
        assert_eq!(raw(format!("{}/health", served.http()), None).await.status, 200);
    }
    assert!(served.handle.clients().connections() <= 4, "an address has its share, however many it opens");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn subscribers_keep_their_places_and_the_refusal_names_the_limit_of_an_address() {
    let limits = Limits { open_connections_max: 8, open_connections_per_address_max: 2, ..Limits::default() };
    let served = Chain::new().serve(limits).await;
    let mut subscribers = [open(&served).await, open(&served).await];
    for socket in &mut subscribers {
        call(socket, 1, "subscribe", json!({ "query": "tm.event = 'NewBlock'" })).await;
    }
    let refused = said(TcpStream::connect(served.handle.address()).await.unwrap()).await;
    assert!(refused.contains("503") && refused.contains("rpc.max_open_connections_per_address"), "{refused}");
    for socket in &mut subscribers {
        assert_eq!(call(socket, 2, "health", Value::Null).await["result"], json!({}));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_of_tiny_values_is_refused_unread() {
    let served = Chain::new().serve(Limits::default()).await;
    let tiny = vec!["{}"; 300_000].join(",");
    let call = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"health","params":[{tiny}]}}"#);
    let answer = raw(served.http(), Some(call.clone())).await;
    assert!(answer.status == 200 && answer.error().contains("JSON values"), "{}", answer.text);
    let mut socket = open(&served).await;
    socket.send(Message::text(call)).await.unwrap();
    assert!(hear(&mut socket).await.unwrap()["error"]["data"].as_str().unwrap().contains("JSON values"));
    let large = json!({ "jsonrpc": "2.0", "id": 1, "method": "health", "params": { "x": "y".repeat(900_000) } });
    assert_eq!(
        raw(served.http(), Some(large.to_string())).await.json()["result"],
        json!({}),
        "one large value is fine"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_over_its_budget_is_refused_and_probes_are_not() {
    let served = Chain::new().serve(Limits { client_bytes_per_second: 1000, ..Limits::default() }).await;
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "health", "params": { "x": "y".repeat(100_000) } });
    let mut socket = open(&served).await;
    assert_eq!(raw(served.http(), Some(call.to_string())).await.status, 200, "the first is within the burst");
    let refused = raw(served.http(), Some(call.to_string())).await;
    assert_eq!((refused.status, refused.headers.contains_key("retry-after")), (429, true));
    assert!(refused.error().contains("rpc.max_client_bytes_per_second"), "{}", refused.text);
    assert_eq!(raw(format!("{}/status", served.http()), None).await.status, 429);
    assert_eq!(raw(format!("{}/ready", served.http()), None).await.status, 200);
    let refused = self::call(&mut socket, 1, "health", Value::Null).await;
    assert!(refused["error"]["data"].as_str().unwrap().contains("more work than it may"), "{refused}");
    socket.send(Message::text(call.to_string())).await.unwrap();
    let end = timeout(SOON, socket.next()).await.unwrap();
    assert!(matches!(end, None | Some(Err(_))), "a large message is not read to its end: {end:?}");
    let refused = connect_async(served.websocket()).await.unwrap_err().to_string();
    assert!(refused.contains("429"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_with_foreign_host_names_are_refused() {
    let served =
        Chain::new().serve(Limits { allowed_hosts: vec!["rpc.example.org".into()], ..Limits::default() }).await;
    for (host, status) in
        [("evil.example:26657", "403"), ("rpc.example.org", "200"), ("node0:26657", "200"), ("[::1]:26657", "200")]
    {
        let answer = told(&served, &format!("GET /health HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
        assert!(status == "200" || answer.contains("rpc.allowed_hosts"), "{answer}");
    }
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"health"}"#;
    for (origin, status) in
        [("http://evil.test", "403"), ("null", "403"), ("http://page.test", "200"), ("http://x", "200")]
    {
        let answer = told(&served, &posted(body, &format!("content-type: text/plain\r\norigin: {origin}\r\n"))).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{origin}: {answer}");
    }
    assert!(
        told(&served, &posted(body, "content-type: text/plain\r\n")).await.contains(" 200 "),
        "programs send no origin"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_request_headers_are_refused() {
    let served = Chain::new().serve(Limits::default()).await;
    let answer = told(&served, &format!("GET /health HTTP/1.1\r\nhost: x\r\nx: {}\r\n\r\n", "y".repeat(20_000))).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    // Earlier versions of `cairn init` wrote this limit of 1 MiB into config.toml.
    let served = Chain::new().serve(Limits { header_bytes_max: 1 << 20, ..Limits::default() }).await;
    let head =
        |bytes| format!("GET /health HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx: {}\r\n\r\n", "y".repeat(bytes));
    let answer = told(&served, &head(60_000)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = told(&served, &head(70_000)).await;
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_websocket_ends_with_the_code_of_its_reason() {
    use tokio_tungstenite::tungstenite::protocol::{
        CloseFrame,
        frame::{
            Frame,
            coding::{CloseCode, Data, OpCode},
        },
    };
    let served = Chain::new().serve(Limits { body_bytes_max: 1000, ..Limits::default() }).await;
    let text = |payload: Vec<u8>| Frame::message(payload, OpCode::Data(Data::Text), true);
    let mut reserved = text(b"{}".to_vec());
    reserved.header_mut().rsv1 = true;
    let goodbye = CloseFrame { code: CloseCode::Normal, reason: "done".into() };
    for (message, expected) in [
        (Message::Close(Some(goodbye)), CloseCode::Normal),
        (Message::Frame(text(vec![b' '; 1001])), CloseCode::Size),
        (Message::Frame(text(vec![0xff])), CloseCode::Invalid),
        (Message::Frame(reserved), CloseCode::Protocol),
    ] {
        let mut socket = open(&served).await;
        socket.send(message).await.unwrap();
        let answer = timeout(SOON, socket.next()).await.unwrap();
        let Some(Ok(Message::Close(Some(frame)))) = answer else { panic!("{expected}: {answer:?}") };
        assert_eq!(frame.code, expected);
    }
}
