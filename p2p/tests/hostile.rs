//! Proves that peers that violate the protocol do no harm. The peer is a plain libp2p node that writes arbitrary bytes
//! to our streams.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::*;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::{Config as SwarmConfig, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Transport, noise, tcp, yamux};
use p2p::limits::*;
use p2p::{Channel, DownReason, Event, NodeId, NodeKey, PROTOCOL_VERSION, Penalty, Refusal};
use prost::Message;
use tokio::sync::watch;

const CONTROL: StreamProtocol = StreamProtocol::new("/cairn/control/1");
const CONSENSUS: StreamProtocol = StreamProtocol::new("/cairn/consensus/1");
const PARTS: StreamProtocol = StreamProtocol::new("/cairn/parts/1");
const PING: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");

#[derive(Clone, PartialEq, Message)]
struct Hello {
    #[prost(uint32, tag = "1")]
    protocol: u32,
    #[prost(string, tag = "2")]
    chain_id: String,
    #[prost(string, tag = "3")]
    moniker: String,
    #[prost(fixed64, tag = "5")]
    session: u64,
    #[prost(bool, tag = "8")]
    pex: bool,
    #[prost(bytes = "vec", tag = "9")]
    genesis_hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
struct Texts {
    #[prost(string, repeated, tag = "1")]
    texts: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Control {
    #[prost(message, optional, tag = "1")]
    hello: Option<Hello>,
    #[prost(message, optional, tag = "2")]
    accept: Option<()>,
    #[prost(message, optional, tag = "4")]
    ask: Option<()>,
    #[prost(message, optional, tag = "5")]
    addresses: Option<Texts>,
}

fn hello() -> Control {
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        chain_id: CHAIN.into(),
        moniker: "\u{1b}[2Jraw".into(),
        session: 1,
        pex: true,
        genesis_hash: vec![0; 32],
    };
    Control { hello: Some(hello), ..Control::default() }
}

fn accept() -> Control {
    Control { accept: Some(()), ..Control::default() }
}

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

fn control_frames(frames: &[Control]) -> Vec<u8> {
    frames.iter().flat_map(|control| frame(&control.encode_to_vec())).collect()
}

/// A libp2p node without the rules of this crate. It accepts our streams and reads nothing from them.
struct Raw {
    id: NodeId,
    control: libp2p_stream::Control,
    node: PeerId,
    connected: watch::Receiver<bool>,
    _accepted: Vec<libp2p_stream::IncomingStreams>,
}

impl Raw {
    /// Creates a node and connects it to `node`.
    async fn connect(n: u8, node: &Node) -> Raw {
        Raw::connect_to(n, node.address().port).await
    }

    /// Creates a node and connects it to a local port.
    async fn connect_to(n: u8, port: u16) -> Raw {
        let keys = Keypair::ed25519_from_bytes([n; 32]).unwrap();
        let behaviour = libp2p_stream::Behaviour::new();
        let mut control = behaviour.new_control();
        let accepted = [CONTROL, CONSENSUS, PARTS, PING].map(|protocol| control.accept(protocol).unwrap());
        let transport = tcp::tokio::Transport::new(tcp::Config::default())
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&keys).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let config = SwarmConfig::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(3600));
        let mut swarm = Swarm::new(transport, behaviour, keys.public().to_peer_id(), config);
        let address: Multiaddr = format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap();
        swarm.dial(address).unwrap();
        let peer = loop {
            if let SwarmEvent::ConnectionEstablished { peer_id, .. } = swarm.select_next_some().await {
                break peer_id;
            }
        };
        let (told, connected) = watch::channel(true);
        tokio::spawn(async move {
            loop {
                if let SwarmEvent::ConnectionClosed { .. } = swarm.select_next_some().await {
                    told.send_replace(false);
                }
            }
        });
        let id = NodeKey::from_seed([n; 32]).id();
        Raw { id, control, node: peer, connected, _accepted: accepted.into() }
    }

    async fn open(&mut self, protocol: StreamProtocol) -> Stream {
        self.control.open_stream(self.node, protocol).await.expect("opens")
    }

    /// Opens a stream and writes bytes to it.
    async fn write(&mut self, protocol: StreamProtocol, bytes: &[u8]) -> Stream {
        let mut stream = self.open(protocol).await;
        // The node may close the connection during the write.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        stream
    }

    /// Completes the handshake and waits until the node reports the peer.
    async fn greet(&mut self, node: &mut Node) -> Stream {
        let stream = self.write(CONTROL, &control_frames(&[hello(), accept()])).await;
        assert_eq!(node.until_up(self.id).await.moniker, "[2Jraw", "made fit for terminals");
        stream
    }

    async fn until_closed(&mut self) {
        tokio::time::timeout(DEADLINE, self.connected.wait_for(|connected| !connected)).await.unwrap().unwrap();
    }
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
        control_frames(&[Control { ask: Some(()), ..Control::default() }]),
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
        let mut raw = Raw::connect(50 + n as u8, &node).await;
        let _stream = raw.write(CONTROL, bytes).await;
        raw.until_closed().await;
        is_banned(&node, n as u64 + 1);
    }
    assert_eq!(node.network.stats().ups, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_and_oversized_frames_are_banned() {
    let mut node = Node::start(1, |_| ()).await;
    for (n, protocol) in [CONSENSUS, PARTS, CONTROL].into_iter().enumerate() {
        let mut raw = Raw::connect(50 + n as u8, &node).await;
        let mut stream = raw.greet(&mut node).await;
        let bytes = (CONSENSUS_FRAME_BYTES_MAX as u32 + 1).to_be_bytes();
        let mut other = None;
        if protocol == CONTROL {
            let _ = stream.write_all(&bytes).await;
            let _ = stream.flush().await;
        } else {
            other = Some(raw.write(protocol, &bytes).await);
        }
        assert_eq!(node.until_down(raw.id).await, DownReason::Banned(Penalty::OVERSIZED.reason));
        raw.until_closed().await;
        is_banned(&node, n as u64 + 1);
        drop((stream, other)); // open until here, so that only the frame can end the connection
    }
    // A second stream for one purpose and a second hello also violate the protocol.
    let mut raw = Raw::connect(60, &node).await;
    let _control = raw.greet(&mut node).await;
    let _first = raw.write(CONSENSUS, &frame(b"one")).await;
    assert_eq!(node.until_message().await.2, b"one");
    let _second = raw.control.open_stream(raw.node, CONSENSUS).await; // the connection may be closed already
    assert_eq!(node.until_down(raw.id).await, DownReason::Banned(Penalty::GARBAGE.reason));
    let mut raw = Raw::connect(61, &node).await;
    let mut control = raw.greet(&mut node).await;
    control.write_all(&control_frames(&[hello()])).await.unwrap();
    control.flush().await.unwrap();
    assert_eq!(node.until_down(raw.id).await, DownReason::Banned(Penalty::GARBAGE.reason));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_refused() {
    let mut node = Node::start(1, |_| ()).await;
    let mut raw = Raw::connect(50, &node).await;
    let _control = raw.greet(&mut node).await;
    node.network.penalize(raw.id, Penalty::GARBAGE);
    node.until_down(raw.id).await;
    raw.until_closed().await;
    let denied = node.network.stats().denied;
    let mut again = Raw::connect(50, &node).await;
    again.until_closed().await;
    assert_eq!(node.network.stats().denied, denied + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_handshake_is_closed_at_the_timeout() {
    let node = Node::start(1, |config| config.handshake_timeout = Duration::from_millis(200)).await;
    let mut silent = Raw::connect(50, &node).await;
    silent.until_closed().await;
    let mut half = Raw::connect(51, &node).await;
    let _stream = half.write(CONTROL, &control_frames(&[hello()])[..5]).await;
    half.until_closed().await;
    let mut undecided = Raw::connect(52, &node).await;
    let _stream = undecided.write(CONTROL, &control_frames(&[hello()])).await; // and never "accept"
    undecided.until_closed().await;
    assert_eq!((node.network.stats().ups, node.network.stats().bans), (0, 0), "slow is not malicious");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_protocol_version_is_refused_with_the_reason() {
    let mut node = Node::start(1, |_| ()).await;
    let mut raw = Raw::connect(50, &node).await;
    let mut control = hello();
    control.hello.as_mut().unwrap().protocol = 999;
    let _stream = raw.write(CONTROL, &control_frames(&[control, accept()])).await;
    assert_eq!(node.until_refused().await, (true, Refusal::WrongVersion { ours: PROTOCOL_VERSION, theirs: 999 }));
    raw.until_closed().await; // although the peer does not close it
    is_banned(&node, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_address_messages_is_an_offence_and_false_addresses_are_harmless() {
    let mut node = Node::start(1, |config| config.pex = true).await;
    let mut raw = Raw::connect(50, &node).await;
    let mut stream = raw.greet(&mut node).await;
    let lies = ["", "nonsense", "00@1.2.3.4:5", "\u{0}@\u{0}:\u{0}"].map(String::from).to_vec();
    let told = Control { addresses: Some(Texts { texts: lies }), ..Control::default() };
    stream.write_all(&control_frames(&[told])).await.unwrap();
    let ask = control_frames(&[Control { ask: Some(()), ..Control::default() }]);
    for _ in 0..ADDRESS_MESSAGES_PER_MINUTE_MAX + 1 {
        stream.write_all(&ask).await.unwrap();
    }
    stream.flush().await.unwrap();
    eventually(|| node.network.peers().first().is_some_and(|peer| peer.penalties > 0.0)).await;
    assert_eq!(node.network.stats().book_addresses, 0);
    let too_many = Control {
        addresses: Some(Texts { texts: vec![String::new(); ADDRESSES_PER_MESSAGE_MAX + 1] }),
        ..Control::default()
    };
    let mut other = Raw::connect(51, &node).await;
    let mut stream = other.greet(&mut node).await;
    stream.write_all(&control_frames(&[too_many])).await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(node.until_down(other.id).await, DownReason::Banned(Penalty::GARBAGE.reason));
}

/// Listens for one connection and forwards it to a node from an address in the range 127.0.`range`.0/24.
async fn from_range(range: u8, node: &Node) -> u16 {
    let listener = tokio::net::TcpListener::bind(socket(0)).await.unwrap();
    let (port, to) = (listener.local_addr().unwrap().port(), socket(node.address().port));
    tokio::spawn(async move {
        let (mut theirs, _) = listener.accept().await.unwrap();
        let from = tokio::net::TcpSocket::new_v4().unwrap();
        from.bind(([127, 0, range, 1], 0).into()).unwrap();
        let mut ours = from.connect(to).await.unwrap();
        let _ = tokio::io::copy_bidirectional(&mut theirs, &mut ours).await; // until one side closes
    });
    port
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
        let mut raw = Raw::connect_to(100 + source, from_range(source, &node).await).await;
        let mut stream = raw.greet(&mut node).await;
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
            let told = Control { addresses: Some(Texts { texts }), ..Control::default() };
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
    let mut raw = Raw::connect(50, &node).await;
    let _control = raw.greet(&mut node).await;
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
    let mut raw = Raw::connect(50, &node).await;
    let _control = raw.greet(&mut node).await;
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
    let mut raw = Raw::connect(50, &node).await;
    let requests = requests();
    let mut incoming = raw.control.accept(requests.clone()).unwrap();
    let _control = raw.greet(&mut node).await;

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
    let mut raw = Raw::connect(50, &node).await;
    let mut streams = Vec::new();
    for _ in 0..=EARLY_REQUESTS_PER_PEER_MAX {
        streams.push(raw.write(requests(), &frame(b"early")).await);
    }
    eventually(|| node.network.stats().requests_busy > 0).await; // so all requests have arrived
    let _control = raw.greet(&mut node).await;
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
    let mut raw = Raw::connect(50, &node).await;
    let _control = raw.greet(&mut node).await;
    assert_eq!(node.until_down(raw.id).await, DownReason::Silent);
    is_banned(&node, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_run_replaces_the_connection_and_a_second_one_of_the_same_run_is_refused() {
    let mut node = Node::start(1, |_| ()).await;
    let larger = (50..).find(|n| id(*n) > node.id).expect("half of all are"); // so that the node decides
    let mut first = Raw::connect(larger, &node).await;
    let _first = first.greet(&mut node).await;

    let mut second = Raw::connect(larger, &node).await;
    let _second = second.write(CONTROL, &control_frames(&[hello(), accept()])).await;
    second.until_closed().await;
    assert_eq!((node.network.stats().refused_by_us, node.network.stats().downs), (1, 0));

    let mut restarted = Raw::connect(larger, &node).await;
    let mut control = hello();
    control.hello.as_mut().unwrap().session = 2;
    let _restarted = restarted.write(CONTROL, &control_frames(&[control, accept()])).await;
    assert_eq!(node.until_down(first.id).await, DownReason::Replaced);
    node.until_up(first.id).await;
    first.until_closed().await;
    let _stream = restarted.write(CONSENSUS, &frame(b"new")).await;
    assert_eq!(node.until_message().await.2, b"new");
    assert_eq!(node.network.peers().len(), 1);
}

fn requests() -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/cairn/{CHAIN}/requests/1")).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_are_not_read_keep_their_place() {
    let (mut node, friend) = pair(|config| config.request_timeout = 2 * DEADLINE).await;
    let mut raw = Raw::connect(50, &node).await;
    let _control = raw.greet(&mut node).await;
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
    let mut raw = Raw::connect(50, &node).await;
    let _control = raw.greet(&mut node).await;
    let _stream = raw.write(requests(), &frame(b"q")).await;
    let id = node.until(|event| if let Event::Request { id, .. } = event { Some(id) } else { None }).await;
    node.network.respond(id, vec![7; RESPONSE_BYTES_MAX]);
    eventually(|| node.network.peers().first().is_some_and(|peer| peer.penalties > 0.0)).await;
    assert_eq!(node.network.stats().response_bytes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_penalty_outlives_the_connection_and_new_keys_do_not_avoid_it() {
    let mut node = Node::start(1, |config| config.allow_private = false).await; // loopback counts as one range
    let mut raw = Raw::connect(50, &node).await;
    let control = raw.greet(&mut node).await;
    node.network.penalize(raw.id, Penalty::INVALID);
    drop(control);
    node.network.disconnect(raw.id);
    raw.until_closed().await;
    let mut again = Raw::connect(50, &node).await;
    let _control = again.greet(&mut node).await;
    assert!(node.network.peers()[0].penalties > 24.0);

    let mut n = 60;
    while node.network.stats().banned_ranges == 0 {
        let mut raw = Raw::connect(n, &node).await;
        let _control = raw.greet(&mut node).await;
        node.network.penalize(raw.id, Penalty::BAD_SIGNATURE);
        n += 1;
    }
    assert_eq!((n, node.network.stats().bans), (64, 0), "no key did enough for a ban: 25 + 4 · 50");
    again.until_closed().await;
    let denied = node.network.stats().denied;
    let mut fresh = Raw::connect(99, &node).await;
    fresh.until_closed().await;
    assert_eq!(node.network.stats().denied, denied + 1);
}
