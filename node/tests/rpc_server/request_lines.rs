//! Proves that the server accepts request lines as users of CometBFT type them. The tests use raw sockets, because a
//! client library would encode the characters in question.

use std::time::Duration;

use rpc::Limits;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::chain::{Chain, Served, transfer};

/// Timeout that is longer than any step of these tests takes.
const SOON: Duration = Duration::from_secs(60);

/// Sends these bytes, and returns the server's output until it closes the connection.
async fn talk(served: &Served, requests: &[u8]) -> String {
    let mut socket = TcpStream::connect(served.handle.address()).await.unwrap();
    let _ = socket.write_all(requests).await; // fails if the server refuses the request before its end
    let mut text = Vec::new();
    let _ = timeout(SOON, socket.read_to_end(&mut text)).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn get(target: &str, close: bool) -> String {
    let connection = if close { "close" } else { "keep-alive" };
    format!("GET {target} HTTP/1.1\r\nhost: x\r\nconnection: {connection}\r\n\r\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quotes_and_signs_need_not_be_encoded() {
    let chain = Chain::new();
    chain.grow(vec![transfer(0, 1)]);
    let served = chain.serve(Limits::default()).await;
    for (target, says) in [
        ("/block?height=\"1\"", "\"height\":\"1\""),
        ("/abci_query?path=\"/supply\"", "\"code\":0"),
        ("/tx_search?query=\"tx.height>0\"&page=\"1\"", "\"total_count\":\"1\""),
        ("/tx_search?query=\"tx.height<2\"", "\"total_count\":\"1\""),
        ("/check_tx?tx=\"{[^`|\\\\]}#é\"", "\"code\":1"),
    ] {
        let answer = talk(&served, get(target, true).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(says), "{target}: {answer}");
    }
    // The server refuses what Go's server refuses: a space ends the target, and a control character is an error.
    for target in ["/block?height= \"1\"", "/block?height=\"\x01\""] {
        let answer = talk(&served, get(target, true).as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{target:?}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_carries_many_such_requests() {
    let chain = Chain::new();
    chain.grow(vec![]);
    let served = chain.serve(Limits::default()).await;
    let body = r#"{"jsonrpc":"2.0","id":"GET /\" HTTP/1.1","method":"health"}"#;
    let post = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    let requests =
        [get("/block?height=\"1\"", false), post, get("/commit?height=\"1\"", false), get("/block?height=\"x\"", true)];
    let answer = talk(&served, requests.concat().as_bytes()).await;
    let count = |part: &str| answer.matches(part).count();
    assert_eq!((count("HTTP/1.1 200 "), count("HTTP/1.1 500 ")), (3, 1), "{answer}");
    assert!(answer.contains(r#""id":"GET /\" HTTP/1.1""#), "the body was not touched: {answer}");
    assert!(answer.contains("parameter height is \\\"x\\\""), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_of_quotes_is_bounded_as_any_other() {
    let served = Chain::new().serve(Limits { header_bytes_max: 8192, ..Limits::default() }).await;
    let answer = talk(&served, get(&format!("/block?height={}", "\"".repeat(100_000)), true).as_bytes()).await;
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
}
