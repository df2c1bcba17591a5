//! Proves that peers that violate the protocol do no harm. The peer is a plain libp2p node that writes arbitrary bytes
//! to our streams.

mod common;
mod raw;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Stream, StreamProtocol};
use p2p::limits::*;
use p2p::{Channel, DownReason, Event, NodeId, PROTOCOL_VERSION, Penalty, Refusal};
use raw::*;

fn hello() -> Control {
    hello_of(CHAIN, [0; 32])
}

/// A raw node with the key of a number, which the node of the test lets in.
async fn connect_to(n: u8, port: u16) -> Raw {
    Raw::dial([n; 32], socket(0).ip(), socket(port)).await.expect("connects")
}

async fn connect(n: u8, node: &Node) -> Raw {
    connect_to(n, node.address().port).await
}

/// Completes the handshake and waits until the node reports the peer.
async fn greet(raw: &mut Raw, node: &mut Node) -> Stream {
    let stream = raw.write(CONTROL, &control_frames(&[hello(), accept()])).await;
    assert_eq!(node.until_up(raw.id).await.moniker, "[2Jraw", "made fit for terminals");
    stream
}

async fn until_closed(raw: &mut Raw) {
    tokio::time::timeout(DEADLINE, raw.connected.wait_for(|connected| !connected)).await.unwrap().unwrap();
}

fn is_banned(node: &Node, ban: u64) {
    let stats = node.network.stats();
    assert_eq!((stats.bans, stats.banned), (ban, ban), "{stats:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_instead_of_hello_is_banned() {
    let node = Node::start(1, |_| ()).await;
    let mut garbage: Vec<Vec<u8>> = vec![
        frame(b"\xff\xff\xff\xff\xff not a control frame"),
        frame(b""),
        (u32::MAX).to_be_bytes().to_vec(),
        (CONTROL_FRAME_BYTES_MAX as u32 + 1).to_be_bytes().to_vec(),
        control_frames(&[accept()]),
        control_frames(&[hello(), hello()]),
        control_frames(&[ask()]),
    ];
    let mut pseudo_random = 1u64;
    for _ in 0..8 {
        let noise = std::iter::repeat_with(|| {
            pseudo_random = pseudo_random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (pseudo_random >> 33) as u8
        });
        garbage.push(frame(&noise.take(100).collect::<Vec<_>>()));
    }
    for (n, bytes) in garbage.iter().enumerate() {
        let mut raw = connect(50 + n as u8, &node).await;
        let _stream = raw.write(CONTROL, bytes).await;
        until_closed(&mut raw).await;
        is_banned(&node, n as u64 + 1);
    }
    assert_eq!(node.network.stats().ups, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_oversized_frames_are_banned() {
    let mut node = Node::start(1, |_| ()).await;
    for (n, protocol) in [CONSENSUS, PARTS, CONTROL].into_iter().enumerate() {
        let mut raw = connect(50 + n as u8, &node).await;
        let mut stream = greet(&mut raw, &mut node).await;
        let bytes = (CONSENSUS_FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
        let mut other = None;
        if protocol == CONTROL {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
        } else {
            other = Some(raw.write(protocol, &bytes).await);
        }
        assert_eq!(node.until_down(raw.id).await, DownReason::Banned(Penalty::OVERSIZED.reason));
        until_closed(&mut raw).await;
        is_banned(&node, n as u64 + 1);
        drop((stream, other)); // open until here, so that only the frame can end the connection
    }
    // A second stream for one purpose and a second hello also violate the protocol.
    let mut raw = connect(60, &node).await;
    let _control = greet(&mut raw, &mut node).await;
    let _first = raw.write(CONSENSUS, &frame(b"one")).await;
    assert_eq!(node.until_message().await.2, b"one");
    let _second = raw.control.open_stream(raw.node, CONSENSUS).await; // the connection may be closed already
    assert_eq!(node.until_down(raw.id).await, DownReason::Banned(Penalty::GARBAGE.reason));
    let mut raw = connect(61, &node).await;
    let mut control = greet(&mut raw, &mut node).await;
    control.write_all(&control_frames(&[hello()])).await.unwrap();
    control.flush().await.unwrap();
    assert_eq!(node.until_down(raw.id).await, DownReason::Banned(Penalty::GARBAGE.reason));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_refused() {
    let mut node = Node::start(1, |_| ()).await;
    let mut raw = connect(50, &node).await;
    let _control = greet(&mut raw, &mut node).await;
    node.network.penalize(raw.id, Penalty::GARBAGE);
    node.until_down(raw.id).await;
    until_closed(&mut raw).await;
    let denied = node.network.stats().denied;
    let mut again = connect(50, &node).await;
    until_closed(&mut again).await;
    assert_eq!(node.network.stats().denied, denied + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_handshake_is_closed_at_the_timeout() {
    let node = Node::start(1, |config| config.handshake_timeout = Duration::from_millis(200)).await;
    let mut silent = connect(50, &node).await;
    until_closed(&mut silent).await;
    let mut half = connect(51, &node).await;
    let _stream = half.write(CONTROL, &control_frames(&[hello()])[..5]).await;
    until_closed(&mut half).await;
    let mut undecided = connect(52, &node).await;
    let _stream = undecided.write(CONTROL, &control_frames(&[hello()])).await; // and never "accept"
    until_closed(&mut undecided).await;
    assert_eq!((node.network.stats().ups, node.network.stats().bans), (0, 0), "slow is not malicious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_version_is_refused_with_the_reason() {
    let mut node = Node::start(1, |_| ()).await;
    let mut raw = connect(50, &node).await;
    let mut control = hello();
    control.hello.as_mut().unwrap().protocol = 999;
    let _stream = raw.write(CONTROL, &control_frames(&[control, accept()])).await;
    assert_eq!(node.until_refused().await, (true, Refusal::WrongVersion { ours: PROTOCOL_VERSION, theirs: 999 }));
    until_closed(&mut raw).await; // although the peer does not close it
    is_banned(&node, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_address_messages_is_an_offence_and_false_addresses_are_harmless() {
    let mut node = Node::start(1, |config| config.pex = true).await;
    let mut raw = connect(50, &node).await;
    let mut stream = greet(&mut raw, &mut node).await;
    let lies = ["", "nonsense", "00@1.2.3.4:5", "\u{0}@\u{0}:\u{0}"].map(String::from).to_vec();
    let told = addresses(lies);
    stream.write_all(&control_frames(&[told])).await.unwrap();
    let ask = control_frames(&[ask()]);
    for _ in 0..ADDRESS_MESSAGES_PER_MINUTE_MAX + 1 {
        stream.write_all(&ask).await.unwrap();
    }
    stream.flush().await.unwrap();
    eventually(|| node.network.peers().first().is_some_and(|peer| peer.penalties > 0.0)).await;
    assert_eq!(node.network.stats().book_addresses, 0);
    let too_many = addresses(vec![String::new(); ADDRESSES_PER_MESSAGE_MAX + 1]);
    let mut other = connect(51, &node).await;
    let mut stream = greet(&mut other, &mut node).await;
    stream.write_all(&control_frames(&[too_many])).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(node.until_down(other.id).await, DownReason::Banned(Penalty::GARBAGE.reason));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_send_false_addresses_cause_few_dials() {
    let mut node = Node::start(1, |config| config.pex = true).await;
    let victim = tokio::net::TcpListener::bind(socket(0)).await.unwrap();
    let port = victim.local_addr().unwrap().port();
    let knocks = Arc::new(AtomicU64::new(0));
    let count = knocks.clone();
    tokio::spawn(async move {
        while victim.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut held = Vec::new();
    let began = Instant::now();
    for source in 1..=30u8 {
        let (from, to) = ([127, 0, source, 1].into(), socket(node.address().port));
        let mut raw = Raw::dial([100 + source; 32], from, to).await.expect("connects");
        let mut stream = greet(&mut raw, &mut node).await;
        for message in 0..2u8 {
            // Half of the reported addresses are different ids at one port of the victim; half are ports of other
            // hosts.
            let address = |n: u8| {
                let id = NodeId(std::array::from_fn(|at| [source, message, n].get(at).copied().unwrap_or(1)));
                if n.is_multiple_of(2) {
                    format!("{id}@127.0.0.1:{port}")
                } else {
                    format!("{id}@127.{source}.{n}.1:1")
                }
            };
            let texts = (0..ADDRESSES_PER_MESSAGE_MAX as u8).map(address).collect();
            let told = addresses(texts);
            stream.write_all(&control_frames(&[told])).await.unwrap();
        }
        stream.flush().await.unwrap();
        held.push((raw, stream));
    }
    eventually(|| node.network.stats().dials_refused > 0).await;
    tokio::time::sleep(Duration::from_secs(3)).await; // time for dials that should not happen
    let (stats, knocks) = (node.network.stats(), knocks.load(Ordering::Relaxed));
    let seconds = began.elapsed().as_secs();
    assert!(stats.dials <= u64::from(DIALS_LEARNED_BURST) + seconds + 1, "{stats:?}");
    assert!(knocks <= u64::from(DIALS_PER_RANGE_BURST) + seconds / DIALS_PER_RANGE_PAUSE.as_secs() + 1, "{knocks}");
    assert_eq!(node.network.peers().len(), 30, "the peer that sent them is not banned");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_one_peer_does_not_keep_others_out() {
    let (mut node, friend) = pair(|_| ()).await;
    let mut raw = connect(50, &node).await;
    let _control = greet(&mut raw, &mut node).await;
    let mut stream = raw.open(CONSENSUS).await;
    let flood = tokio::spawn(async move {
        let batch: Vec<u8> = std::iter::repeat_n(frame(b"flood"), 1000).flatten().collect();
        while stream.write_all(&batch).await.is_ok() {}
    });
    for n in 0..50u8 {
        assert!(friend.network.send(node.id, Channel::Consensus, vec![n]));
    }
    let mut heard = 0;
    while heard < 50 {
        let (from, _, bytes) = node.until_message().await;
        if from == friend.id {
            assert_eq!(bytes, [heard]);
            heard += 1;
        }
    }
    assert_eq!(node.network.peers().len(), 2, "a flood is delayed, not punished");
    flood.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_to_a_peer_that_does_not_read_are_dropped_without_waiting() {
    let mut node = Node::start(1, |_| ()).await;
    let mut raw = connect(50, &node).await;
    let _control = greet(&mut raw, &mut node).await;
    let part = p2p::Bytes::from(vec![1; PARTS_FRAME_BYTES_MAX]);
    while node.network.send(raw.id, Channel::Parts, part.clone()) {}
    assert!(node.network.stats().sends_dropped >= 1);
    node.network.disconnect(raw.id);
    assert_eq!(node.until_down(raw.id).await, DownReason::Disconnected);
    assert!(!node.network.send(raw.id, Channel::Parts, part));
    node.stop().await; // in time, although the connection is congested
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_or_response_of_wrong_size_fails_without_closing_the_connection() {
    let mut node = Node::start(1, |_| ()).await;
    let mut raw = connect(50, &node).await;
    let requests = requests();
    let mut incoming = raw.control.accept(requests.clone()).unwrap();
    let _control = greet(&mut raw, &mut node).await;

    let mut stream = raw.write(requests.clone(), &(REQUEST_BYTES_MAX as u32 + 1).to_be_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.is_empty(), "the stream ends without an answer");

    let reply = node.network.request(raw.id, b"q".to_vec());
    let (_, mut stream) = incoming.next().await.unwrap();
    stream.write_all(&[&[0u8][..], &(RESPONSE_BYTES_MAX as u32 + 1).to_be_bytes()].concat()).await.unwrap();
    stream.flush().await.unwrap();
    assert!(reply.await.is_err());
    assert!(node.network.peers()[0].penalties > 0.0);

    // A valid request and response still work.
    let mut stream = raw.write(requests, &frame(b"good")).await;
    let id = node.until(|event| if let Event::Request { id, .. } = event { Some(id) } else { None }).await;
    node.network.respond(id, b"answer".to_vec());
    stream.read_to_end(&mut answer).await.unwrap();
    assert_eq!(answer, [&[0u8][..], &frame(b"answer")].concat());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_received_during_a_handshake_are_answered_after_it() {
    let mut node = Node::start(1, |_| ()).await;
    let mut raw = connect(50, &node).await;
    let mut streams = Vec::new();
    for _ in 0..=EARLY_REQUESTS_PER_PEER_MAX {
        streams.push(raw.write(requests(), &frame(b"early")).await);
    }
    eventually(|| node.network.stats().requests_busy > 0).await; // so all requests have arrived
    let _control = greet(&mut raw, &mut node).await;
    for _ in 0..EARLY_REQUESTS_PER_PEER_MAX {
        let id = node.until(|event| if let Event::Request { id, .. } = event { Some(id) } else { None }).await;
        node.network.respond(id, b"answer".to_vec());
    }
    let mut busy = 0;
    for mut stream in streams {
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        match answer.as_slice() {
            [1] => busy += 1,
            answer => assert_eq!(answer, [&[0u8][..], &frame(b"answer")].concat()),
        }
    }
    assert_eq!(busy, 1, "the number of waiting requests is bounded");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_answers_no_pings_is_disconnected() {
    let mut node = Node::start(1, |config| {
        (config.ping_interval, config.ping_timeout) = (Duration::from_millis(50), Duration::from_millis(100));
    })
    .await;
    let mut raw = connect(50, &node).await;
    let _control = greet(&mut raw, &mut node).await;
    assert_eq!(node.until_down(raw.id).await, DownReason::Silent);
    is_banned(&node, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_run_replaces_the_connection_and_a_second_one_of_the_same_run_is_refused() {
    let mut node = Node::start(1, |_| ()).await;
    let larger = (50..).find(|n| id(*n) > node.id).expect("half of all are"); // so that the node decides
    let mut first = connect(larger, &node).await;
    let _first = greet(&mut first, &mut node).await;

    let mut second = connect(larger, &node).await;
    let _second = second.write(CONTROL, &control_frames(&[hello(), accept()])).await;
    until_closed(&mut second).await;
    assert_eq!((node.network.stats().refused_by_us, node.network.stats().downs), (1, 0));

    let mut restarted = connect(larger, &node).await;
    let mut control = hello();
    control.hello.as_mut().unwrap().session = 2;
    let _restarted = restarted.write(CONTROL, &control_frames(&[control, accept()])).await;
    assert_eq!(node.until_down(first.id).await, DownReason::Replaced);
    node.until_up(first.id).await;
    until_closed(&mut first).await;
    let _stream = restarted.write(CONSENSUS, &frame(b"new")).await;
    assert_eq!(node.until_message().await.2, b"new");
    assert_eq!(node.network.peers().len(), 1);
}

fn requests() -> StreamProtocol {
    raw::requests(CHAIN)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_read_keep_their_place() {
    let (mut node, friend) = pair(|config| config.request_timeout = 2 * DEADLINE).await;
    let mut raw = connect(50, &node).await;
    let _control = greet(&mut raw, &mut node).await;
    let mut streams = Vec::new();
    for n in 0..32u8 {
        streams.push(raw.write(requests(), &frame(&[n])).await);
    }
    eventually(|| node.network.stats().requests_busy == 32 - INBOUND_REQUESTS_PER_PEER_MAX as u64).await;
    // Each response has 4 MiB and is given at once, but the peer reads none of them.
    let answer = vec![7; RESPONSE_BYTES_PER_PEER_MAX / 2];
    let reply = friend.network.request(node.id, b"friend".to_vec());
    let mut given = 0;
    loop {
        let request = |event| if let Event::Request { peer, id, .. } = event { Some((peer, id)) } else { None };
        let (peer, id) = node.until(request).await;
        node.network.respond(id, answer.clone());
        if peer == friend.id {
            break;
        }
        given += 1;
    }
    assert_eq!(reply.await.map(|bytes| bytes.len()), Ok(answer.len()), "others are served");
    eventually(|| node.network.stats().response_bytes <= RESPONSE_BYTES_PER_PEER_MAX as u64).await;
    for _ in 0..3 {
        // No further request of the silent peer is handled, regardless of how often others are answered.
        let reply = friend.network.request(node.id, b"friend".to_vec());
        loop {
            let request = |event| if let Event::Request { peer, id, .. } = event { Some((peer, id)) } else { None };
            let (peer, id) = node.until(request).await;
            if peer == friend.id {
                node.network.respond(id, vec![1]);
                break;
            }
            given += 1;
            node.network.respond(id, answer.clone());
        }
        assert_eq!(reply.await, Ok(vec![1]));
    }
    assert!(given <= RESPONSE_BYTES_PER_PEER_MAX / RESPONSE_BYTES_EXPECTED, "{given}");
    eventually(|| node.network.stats().response_bytes <= RESPONSE_BYTES_PER_PEER_MAX as u64).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_is_never_read_is_dropped_and_counted_against_the_asker() {
    let mut node = Node::start(1, |config| config.request_timeout = Duration::from_millis(500)).await;
    let mut raw = connect(50, &node).await;
    let _control = greet(&mut raw, &mut node).await;
    let _stream = raw.write(requests(), &frame(b"q")).await;
    let id = node.until(|event| if let Event::Request { id, .. } = event { Some(id) } else { None }).await;
    node.network.respond(id, vec![7; RESPONSE_BYTES_MAX]);
    eventually(|| node.network.peers().first().is_some_and(|peer| peer.penalties > 0.0)).await;
    assert_eq!(node.network.stats().response_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_penalty_outlives_the_connection_and_new_keys_do_not_avoid_it() {
    let mut node = Node::start(1, |config| config.allow_private = false).await; // loopback counts as one range
    let mut raw = connect(50, &node).await;
    let control = greet(&mut raw, &mut node).await;
    node.network.penalize(raw.id, Penalty::INVALID);
    drop(control);
    node.network.disconnect(raw.id);
    until_closed(&mut raw).await;
    let mut again = connect(50, &node).await;
    let _control = greet(&mut again, &mut node).await;
    assert!(node.network.peers()[0].penalties > 24.0);

    let mut n = 60;
    while node.network.stats().banned_ranges == 0 {
        let mut raw = connect(n, &node).await;
        let _control = greet(&mut raw, &mut node).await;
        node.network.penalize(raw.id, Penalty::BAD_SIGNATURE);
        n += 1;
    }
    assert_eq!((n, node.network.stats().bans), (64, 0), "no key did enough for a ban: 25 + 4 · 50");
    until_closed(&mut again).await;
    let denied = node.network.stats().denied;
    let mut fresh = connect(99, &node).await;
    until_closed(&mut fresh).await;
    assert_eq!(node.network.stats().denied, denied + 1);
}
