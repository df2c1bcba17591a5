//! Proves that the multiplexer of a connection keeps little of what a peer sends: over raw frames, which no library sends.

mod common;
mod raw;

use std::time::Duration;

use common::*;
use p2p::limits::*;
use p2p::{DownReason, Event};
use raw::muxed::{Muxed, WINDOW_BYTES};
use raw::*;

/// Connects to a node and completes the handshake.
async fn greeted(n: u8, node: &mut Node) -> Muxed {
    let mut muxed = Muxed::dial([n; 32], socket(0).ip(), socket(node.address().port)).await.unwrap();
    let control = muxed.open(CONTROL.as_ref()).await;
    muxed.send(control, &control_frames(&[hello_of(CHAIN, [0; 32]), accept()])).await;
    while node.network.peers().is_empty() {
        muxed.listen(Duration::from_millis(20)).await;
    }
    muxed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_the_multiplexers_pings_late_gets_no_large_window() {
    let mut node = Node::start(1, |_| ()).await;
    let mut muxed = greeted(50, &mut node).await;
    // An answer after 700 ms says that the connection is long: 64 MiB per second would need a window of 90 MiB.
    muxed.listen(Duration::from_millis(700)).await;
    for ping in muxed.pings.clone() {
        muxed.pong(ping).await;
    }
    let mut events = node.events;
    let drain = tokio::spawn(async move { while events.recv().await.is_some() {} });
    let parts = muxed.open(PARTS.as_ref()).await;
    let part = frame(&[7; 60_000]);
    let (mut sent, mut greatest) = (0, 0);
    while sent < 16 << 20 {
        let credit = muxed.credit[&parts];
        greatest = greatest.max(credit);
        if credit >= part.len() {
            muxed.send(parts, &part).await;
            sent += part.len();
        } else {
            muxed.listen(Duration::from_millis(1)).await;
        }
        assert!(!muxed.is_closed);
    }
    assert!(greatest > WINDOW_BYTES, "windows grow a little, for peers that are far away");
    assert!(greatest <= WINDOW_BYTES + GROWN_WINDOWS_BYTES_MAX, "the peer may send {greatest} bytes before it is read");
    drain.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_opens_streams_without_end_loses_the_connection() {
    let mut node = Node::start(1, |_| ()).await;
    let mut muxed = greeted(50, &mut node).await;
    for _ in 0..STREAMS_MAX - 20 {
        muxed.open("/no such protocol").await;
    }
    muxed.listen(Duration::from_millis(200)).await;
    assert!(!muxed.is_closed, "a number of streams that is allowed");
    for _ in 0..STREAMS_MAX {
        muxed.open("/no such protocol").await;
    }
    muxed.listen(DEADLINE).await;
    assert!(muxed.is_closed);
    let down = |event| if let Event::Down { reason: DownReason::Lost(why), .. } = event { Some(why) } else { None };
    assert!(node.until(down).await.contains("more than 128 streams"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_cuts_its_bytes_into_tiny_frames_loses_the_connection() {
    let mut node = Node::start(1, |_| ()).await;
    let mut muxed = greeted(50, &mut node).await;
    // The node reads a request, and nothing after it.
    let stream = muxed.open(requests(CHAIN).as_ref()).await;
    muxed.send(stream, &frame(b"request")).await;
    for _ in 0..200 {
        let frames: Vec<u8> = (0..100).flat_map(|_| raw::muxed::data(stream, 0, b"x")).collect();
        muxed.write(&frames).await;
        if muxed.is_closed {
            break;
        }
    }
    muxed.listen(Duration::from_secs(5)).await;
    assert!(muxed.is_closed);
    let down = |event| if let Event::Down { reason: DownReason::Lost(why), .. } = event { Some(why) } else { None };
    assert!(node.until(down).await.contains("too many small frames"));
}
