//! Proves the behaviour of honest nodes over real sockets: connections, messages, requests, gossip, peer exchange,
//! shutdown.

mod common;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use common::*;
use p2p::limits::*;
use p2p::{Channel, DownReason, Error, Event, PeerAddress, Penalty, Refusal, RequestError, Transport, Verdict, start};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_connect_in_either_start_order() {
    for first in [1, 2] {
        let second = 3 - first;
        let (first_address, second_address) = (
            PeerAddress::new(id(first), socket(free_port()), Transport::Tcp),
            PeerAddress::new(id(second), socket(free_port()), Transport::Tcp),
        );
        let mut a = Node::start(first, |config| {
            config.laddr = format!("tcp://127.0.0.1:{}", first_address.port);
            config.persistent_peers = vec![second_address.clone()];
        })
        .await;
        eventually(|| a.network.stats().dial_failures > 0).await; // the other node is not running yet
        let mut b = Node::start(second, |config| {
            config.laddr = format!("tcp://127.0.0.1:{}", second_address.port);
            config.persistent_peers = vec![first_address.clone()];
        })
        .await;
        let (seen_by_b, seen_by_a) = (b.until_up(a.id).await, a.until_up(b.id).await);
        assert_ne!(seen_by_a.is_outbound, seen_by_b.is_outbound, "one connection, seen from both ends");
        assert_eq!((seen_by_a.moniker, seen_by_b.moniker), (format!("node{second}"), format!("node{first}")));
        assert!(seen_by_a.is_persistent);
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_nodes_connect_and_each_receives_from_all_others() {
    let addresses: Vec<_> = (1..=4).map(|n| PeerAddress::new(id(n), socket(free_port()), Transport::Tcp)).collect();
    let mut nodes = Vec::new();
    for n in [3, 1, 4, 2u8] {
        let node = Node::start(n, |config| {
            config.laddr = format!("127.0.0.1:{}", addresses[usize::from(n) - 1].port);
            config.persistent_peers = addresses.clone();
        });
        nodes.push(node.await);
    }
    for node in &mut nodes {
        let mut up = BTreeSet::new();
        while up.len() < 3 {
            up.insert(node.until(|event| if let Event::Up { peer } = event { Some(peer.id) } else { None }).await);
        }
    }
    for node in &nodes {
        assert_eq!(node.network.broadcast(Channel::Consensus, node.id.0.to_vec()), 3);
    }
    for node in &mut nodes {
        let mut heard = BTreeSet::new();
        while heard.len() < 3 {
            let (from, _, bytes) = node.until_message().await;
            assert_eq!(bytes, from.0);
            assert!(heard.insert(from));
        }
    }
    for node in &nodes {
        let stats = node.network.stats();
        assert_eq!((stats.ups, stats.downs, stats.sends_dropped), (3, 0, 0), "{stats:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_arrive_in_order_both_ways() {
    const COUNT: u32 = 3000;
    let (mut a, mut b) = pair(|_| ()).await;
    for (from, to) in [(&a, &b), (&b, &a)] {
        let (network, to) = (from.network.clone(), to.id);
        std::thread::spawn(move || {
            for n in 0..COUNT {
                for channel in Channel::ALL {
                    let mut message = n.to_be_bytes().to_vec();
                    message.resize(4 + (n as usize * 7) % 900, 0xab);
                    assert!(network.send(to, channel, message));
                }
            }
        });
    }
    for node in [&mut a, &mut b] {
        let mut next = [0u32; 2];
        while next != [COUNT; 2] {
            let (_, channel, bytes) = node.until_message().await;
            let expected = &mut next[channel as usize];
            assert_eq!(bytes[..4], expected.to_be_bytes());
            assert_eq!(bytes.len(), 4 + (*expected as usize * 7) % 900);
            *expected += 1;
        }
        let info = &node.network.peers()[0];
        assert!(info.channels.iter().all(|channel| channel.messages_in == u64::from(COUNT)), "{info:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_message_passes_and_a_larger_one_is_refused() {
    let (a, mut b) = pair(|_| ()).await;
    for channel in Channel::ALL {
        assert!(!a.network.send(b.id, channel, vec![0; channel.bytes_max() + 1]));
        assert_eq!(a.network.broadcast(channel, vec![0; channel.bytes_max() + 1]), 0);
        assert!(a.network.send(b.id, channel, vec![7; channel.bytes_max()]));
        assert_eq!(b.until_message().await.2.len(), channel.bytes_max());
        assert!(a.network.send(b.id, channel, vec![]), "an empty one is a message too");
        assert_eq!(b.until_message().await.2.len(), 0);
    }
    assert!(!a.network.send(id(9), Channel::Parts, vec![]), "not connected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_peer_comes_back() {
    let (mut a, b) = pair(|_| ()).await;
    let dialled = a.address();
    for _ in 0..2 {
        a.network.disconnect(b.id);
        assert_eq!(a.until_down(b.id).await, DownReason::Disconnected);
        a.until_up(b.id).await;
    }
    let gone = b.id;
    b.stop().await;
    assert!(matches!(a.until_down(gone).await, DownReason::Lost(_)));
    let n = if id(1) == gone { 1 } else { 2 };
    let mut b = Node::start(n, |config| config.persistent_peers = vec![dialled]).await;
    b.until_up(a.id).await;
    a.until_up(b.id).await;
    assert!(a.network.send(b.id, Channel::Consensus, b"again".to_vec()));
    assert_eq!(b.until_message().await.2, b"again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simultaneous_dials_leave_one_connection_and_no_flapping() {
    for _ in 0..5 {
        let (small, large) = if id(1) < id(2) { (1, 2) } else { (2, 1) };
        let (mut a, mut b) = (Node::start(small, |_| ()).await, Node::start(large, |_| ()).await);
        a.network.dial(b.address());
        b.network.dial(a.address());
        a.until_up(b.id).await;
        b.until_up(a.id).await;
        // Both connections were established, and the smaller id refused one of them.
        eventually(|| a.network.stats().refused_by_us == 1 && b.network.stats().refused_by_peer == 1).await;
        for n in 0..50u8 {
            assert!(
                a.network.send(b.id, Channel::Consensus, vec![n]) && b.network.send(a.id, Channel::Consensus, vec![n])
            );
            assert_eq!((a.until_message().await.2, b.until_message().await.2), (vec![n], vec![n]));
        }
        for node in [&a, &b] {
            let stats = node.network.stats();
            assert_eq!((stats.ups, stats.downs, node.network.peers().len()), (1, 0, 1), "{stats:?}");
        }
        a.stop().await;
        b.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_are_answered_declined_bounded_and_failed() {
    let (a, mut b) = pair(|_| ()).await;
    let mut served = Vec::new();
    let large = vec![3; RESPONSE_BYTES_MAX];

    let reply = a.network.request(b.id, b"what?".to_vec());
    let (peer, request) = b
        .until(|event| {
            if let Event::Request { peer, id, bytes } = event {
                served.push(bytes);
                Some((peer, id))
            } else {
                None
            }
        })
        .await;
    assert_eq!((peer, served.pop().unwrap()), (a.id, b"what?".to_vec()));
    b.network.respond(request, large.clone());
    assert_eq!(reply.await, Ok(large));

    let (network, to) = (a.network.clone(), b.id);
    let waiting = std::thread::spawn(move || network.request(to, vec![1; REQUEST_BYTES_MAX]).wait());
    let request = b.until(|event| if let Event::Request { id, .. } = event { Some(id) } else { None }).await;
    b.network.decline(request);
    assert_eq!(waiting.join().unwrap(), Err(RequestError::Busy));

    let reply = a.network.request(b.id, vec![2]);
    let request = b.until(|event| if let Event::Request { id, .. } = event { Some(id) } else { None }).await;
    b.network.respond(request, vec![0; RESPONSE_BYTES_MAX + 1]);
    assert_eq!(reply.await, Err(RequestError::Busy), "a response too large is none");

    let got = REQUEST_BYTES_MAX + 1;
    assert_eq!(
        a.network.request(b.id, vec![0; got]).await,
        Err(RequestError::TooLarge { got, max: REQUEST_BYTES_MAX })
    );
    assert_eq!(a.network.request(id(9), vec![]).await, Err(RequestError::NotConnected));

    // More simultaneous requests than one peer may have open: the rest is answered "busy" at once.
    let busy = b.network.stats().requests_busy;
    let mut replies: Vec<_> = (0..INBOUND_REQUESTS_PER_PEER_MAX + 3).map(|_| a.network.request(b.id, vec![])).collect();
    eventually(|| b.network.stats().requests_busy == busy + 3).await;
    for _ in 0..INBOUND_REQUESTS_PER_PEER_MAX {
        let id = b.until(|event| if let Event::Request { id, .. } = event { Some(id) } else { None }).await;
        b.network.respond(id, vec![1]);
    }
    let mut answers = Vec::new();
    for reply in replies.drain(..) {
        answers.push(reply.await);
    }
    assert_eq!(answers.iter().filter(|answer| **answer == Err(RequestError::Busy)).count(), 3, "{answers:?}");
    assert_eq!(answers.iter().filter(|answer| **answer == Ok(vec![1])).count(), INBOUND_REQUESTS_PER_PEER_MAX);

    let reply = a.network.request(b.id, vec![5]);
    b.until(|event| matches!(event, Event::Request { .. }).then_some(())).await;
    b.stop().await;
    assert_eq!(reply.await, Err(RequestError::NotConnected));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_waits_for_the_verdict() {
    // A line of nodes a - b - c: what c receives has passed through b.
    let mut b = Node::start(2, |_| ()).await;
    let to_b = b.address();
    let a = Node::start(1, |config| config.persistent_peers = vec![to_b.clone()]).await;
    let mut c = Node::start(3, |config| config.persistent_peers = vec![to_b]).await;
    assert!(a.network.publish(b"published before any peer is connected".to_vec()));
    let txs = |event| if let Event::Txs { from, id, bytes } = event { Some((from, id, bytes)) } else { None };
    let (from, early, bytes) = b.until(txs).await;
    assert_eq!((from, bytes.as_slice()), (a.id, b"published before any peer is connected".as_slice()));
    c.until_up(b.id).await;
    b.network.verdict(early, Verdict::Ignore);

    let mut held = Vec::new();
    for batch in [b"first".to_vec(), b"second".to_vec()] {
        assert!(a.network.publish(batch.clone()));
        let (_, id, bytes) = b.until(txs).await;
        assert_eq!(bytes, batch);
        held.push(id);
    }
    let [first, second] = held.try_into().unwrap();
    b.network.verdict(second, Verdict::Accept);
    assert_eq!(c.until(txs).await.2, b"second", "the first waits for its verdict");
    b.network.verdict(first, Verdict::Accept);
    assert_eq!(c.until(txs).await.2, b"first");
    assert!(!a.network.publish(vec![0; GOSSIP_BYTES_MAX + 1]));

    assert!(a.network.publish(b"bad".to_vec()));
    let (_, bad, _) = b.until(txs).await;
    b.network.verdict(bad, Verdict::Reject);
    let penalty = || b.network.peers().iter().find(|peer| peer.id == a.id).map_or(0.0, |peer| peer.penalties);
    eventually(|| penalty() > 9.0).await;
    assert!(penalty() <= 10.0 && b.network.stats().gossip_rejected == 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gossip_reaches_every_node_once() {
    let mut nodes = vec![Node::start(1, |_| ()).await];
    for n in 2..=4 {
        let known: Vec<_> = nodes.iter().map(Node::address).collect();
        nodes.push(Node::start(n, |config| config.persistent_peers = known).await);
    }
    for node in &mut nodes {
        for _ in 0..3 {
            node.until(|event| matches!(event, Event::Up { .. }).then_some(())).await;
        }
    }
    for n in 0..20u8 {
        let author = usize::from(n) % 4;
        assert!(nodes[author].network.publish(vec![n; 2000]));
        for (i, node) in nodes.iter_mut().enumerate().filter(|(i, _)| *i != author) {
            let (id, bytes) = node
                .until(|event| if let Event::Txs { id, bytes, .. } = event { Some((id, bytes)) } else { None })
                .await;
            assert_eq!(bytes, vec![n; 2000], "node {i} receives each batch once");
            node.network.verdict(id, Verdict::Accept);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_chain_is_refused_with_the_reason() {
    for (dialler, listener) in [(1, 2), (2, 1)] {
        let mut a = Node::start(listener, |config| config.chain_id = "other".into()).await;
        let address = a.address();
        let mut b = Node::start(dialler, |config| config.persistent_peers = vec![address]).await;
        let wrong = |ours: &str, theirs: &str| Refusal::WrongChain { ours: ours.into(), theirs: theirs.into() };
        assert_eq!(a.until_refused().await.1, wrong("other", CHAIN));
        assert_eq!(b.until_refused().await.1, wrong(CHAIN, "other"));
        assert_eq!((a.network.peers().len(), b.network.stats().ups), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_genesis_is_refused_on_both_sides_with_the_reason() {
    for (dialler, listener) in [(1, 2), (2, 1)] {
        let mut a = Node::start(listener, |config| config.genesis_hash = [0xab; 32]).await;
        let address = a.address();
        let mut b = Node::start(dialler, |config| config.persistent_peers = vec![address]).await;
        let (zeros, others) = ("00".repeat(32), "AB".repeat(32));
        let wrong = |ours: &str, theirs: &str| Refusal::WrongGenesis { ours: ours.into(), theirs: theirs.into() };
        assert_eq!(a.until_refused().await.1, wrong(&others, &zeros));
        assert_eq!(b.until_refused().await.1, wrong(&zeros, &others));
        assert_eq!((a.network.peers().len(), b.network.stats().ups), (0, 0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_with_one_key_do_not_disconnect_each_other() {
    for (hub, twin) in [(1, 2), (2, 1)] {
        let mut hub = Node::start(hub, |_| ()).await;
        let to_hub = hub.address();
        let mut first = Node::start(twin, |config| config.persistent_peers = vec![to_hub.clone()]).await;
        first.until_up(hub.id).await;
        hub.until_up(first.id).await;
        let mut second = Node::start(twin, |config| config.persistent_peers = vec![to_hub]).await;
        let (by_us, refusal) = hub.until_refused().await;
        assert!(by_us && matches!(&refusal, Refusal::SameKey { id, .. } if *id == first.id), "{refusal}");
        let (by_us, refusal) = second.until_refused().await;
        assert!(!by_us && matches!(&refusal, Refusal::SameKey { .. }), "{refusal}");
        assert!(refusal.to_string().contains("node_key.json"), "{refusal}");
        eventually(|| hub.network.stats().refused_by_us >= 3).await; // the second node retries again and again
        assert_eq!((hub.network.stats().ups, hub.network.stats().downs), (1, 0));
        assert!(hub.network.send(first.id, Channel::Consensus, b"still here".to_vec()));
        assert_eq!(first.until_message().await.2, b"still here");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_asks_without_end_is_answered_at_its_rate() {
    let (a, mut b) = pair(|_| ()).await;
    let (network, to) = (a.network.clone(), b.id);
    let more = 16;
    let began = Instant::now();
    let asks = tokio::spawn(async move {
        for _ in 0..REQUESTS_PER_SECOND + more {
            assert_eq!(network.request(to, vec![]).await, Ok(vec![1]));
        }
    });
    for _ in 0..REQUESTS_PER_SECOND + more {
        let id = b.until(|event| if let Event::Request { id, .. } = event { Some(id) } else { None }).await;
        b.network.respond(id, vec![1]);
    }
    asks.await.unwrap();
    let least = Duration::from_millis(1000 * (more - 1) / REQUESTS_PER_SECOND);
    assert!(began.elapsed() >= least, "{:?}", began.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unproven_peers_leave_places_for_proven_peers() {
    let mut a = Node::start(1, |config| config.max_inbound = 4).await;
    let mut friend = Node::start(2, |_| ()).await;
    friend.network.dial(a.address());
    friend.until_up(a.id).await;
    a.until_up(friend.id).await;
    a.network.prove(friend.id);
    friend.network.disconnect(a.id);
    a.until_down(friend.id).await;
    friend.until_down(a.id).await;
    let mut strangers = Vec::new();
    for n in 3..6 {
        let mut stranger = Node::start(n, |_| ()).await;
        stranger.network.dial(a.address());
        stranger.until_up(a.id).await;
        strangers.push(stranger);
    }
    let mut late = Node::start(6, |_| ()).await;
    late.network.dial(a.address());
    assert_eq!(late.until_refused().await, (false, Refusal::Full));
    friend.network.dial(a.address());
    friend.until_up(a.id).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn silent_unproven_peers_do_not_displace_proven_peers_from_the_mesh() {
    let mut a = Node::start(1, |config| config.ping_interval = Duration::from_millis(50)).await;
    let mut nodes = Vec::new();
    for n in 2..18 {
        let mut node = Node::start(n, |_| ()).await;
        node.network.dial(a.address());
        node.until_up(a.id).await;
        a.until_up(node.id).await;
        if n < 8 {
            a.network.prove(node.id);
        }
        nodes.push(node);
    }
    let mesh = || (a.network.stats().mesh_peers, a.network.stats().mesh_unproven);
    eventually(|| mesh() == (6, MESH_UNPROVEN_MIN as u64)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_id_is_refused() {
    let mut a = Node::start(1, |_| ()).await;
    let wrong = PeerAddress { id: id(7), ..a.address() };
    let mut b = Node::start(2, |config| config.persistent_peers = vec![wrong]).await;
    assert_eq!(b.until_refused().await, (true, Refusal::WrongId { expected: id(7), got: a.id }));
    assert_eq!(
        a.until_refused().await,
        (false, Refusal::WrongId { expected: id(7), got: a.id }),
        "and the refused side knows"
    );
    let myself = PeerAddress { id: id(8), ..b.address() };
    b.network.dial(myself);
    b.until(|event| matches!(event, Event::Refused { refusal: Refusal::Myself, .. }).then_some(())).await;
    b.network.dial(b.address());
    b.until(|event| matches!(event, Event::Refused { refusal: Refusal::Myself, .. }).then_some(())).await;
    assert_eq!(a.network.stats().ups + b.network.stats().ups, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quic_works_and_a_port_serves_both() {
    let mut a = Node::start(1, |config| config.quic = true).await;
    assert_eq!(a.address_by(Transport::Tcp).port, a.address_by(Transport::Quic).port);
    let (by_quic, by_tcp) = (a.address_by(Transport::Quic), a.address());
    let mut b = Node::start(2, |config| (config.quic, config.persistent_peers) = (true, vec![by_quic])).await;
    let c = Node::start(3, |config| config.persistent_peers = vec![by_tcp]).await;
    let seen = b.until_up(a.id).await;
    assert!(seen.remote.contains("quic"), "{}", seen.remote);
    let mut up = BTreeSet::new();
    while up.len() < 2 {
        up.insert(a.until(|event| if let Event::Up { peer } = event { Some(peer.id) } else { None }).await);
    }
    for n in 0..100u8 {
        assert!(a.network.send(b.id, Channel::Parts, vec![n; 65_536]));
        assert!(b.network.send(a.id, Channel::Consensus, vec![n]));
    }
    for n in 0..100u8 {
        assert_eq!(b.until_message().await.2, vec![n; 65_536]);
        assert_eq!(a.until_message().await.2, [n]);
    }
    b.stop().await;
    assert!(matches!(a.until_down(id(2)).await, DownReason::Lost(_)), "quic closes the connection");
    drop(c);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_limits_hold_except_for_exempt_peers() {
    let mut a = Node::start(1, |config| {
        config.max_inbound = 2;
        config.unconditional_ids = [id(9)].into();
    })
    .await;
    let mut others = Vec::new();
    for n in [2, 3] {
        let mut node = Node::start(n, |_| ()).await;
        node.network.dial(a.address());
        node.until_up(a.id).await;
        a.until_up(node.id).await;
        others.push(node);
    }
    let mut late = Node::start(4, |_| ()).await;
    late.network.dial(a.address());
    assert_eq!(late.until_refused().await, (false, Refusal::Full));
    let mut exempt = Node::start(9, |_| ()).await;
    exempt.network.dial(a.address());
    exempt.until_up(a.id).await;
    others.pop().unwrap().stop().await;
    a.until_down(id(3)).await;
    late.network.dial(a.address());
    late.until_up(a.id).await;
    assert_eq!(a.network.stats().peers_inbound, 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_queue_never_blocks_the_sender() {
    let (a, mut b) = pair(|_| ()).await;
    // b's consumer takes no event, so everything fills up, from b's quota back to a's queue.
    let (network, to) = (a.network.clone(), b.id);
    let sent = std::thread::spawn(move || {
        let part = p2p::Bytes::from(vec![5; 65_536]);
        let (mut sent, mut slowest) = (0u32, Duration::ZERO);
        loop {
            let began = Instant::now();
            let was_sent = network.send(to, Channel::Parts, part.clone());
            slowest = slowest.max(began.elapsed());
            if !was_sent {
                assert!(slowest < Duration::from_secs(1), "{slowest:?}");
                return sent;
            }
            sent += 1;
        }
    })
    .join()
    .unwrap();
    assert!(a.network.stats().sends_dropped >= 1);
    assert!(a.network.peers()[0].channels[Channel::Parts as usize].queued_bytes <= SEND_QUEUE_BYTES_MAX as u64);
    // Another channel of the same peer is not delayed, except by the quota of the consumer.
    assert!(a.network.send(b.id, Channel::Consensus, b"vote".to_vec()));
    let mut parts = 0;
    let mut votes = 0;
    while (parts, votes) != (sent, 1) {
        match b.until_message().await {
            (_, Channel::Parts, bytes) => {
                assert_eq!(bytes.len(), 65_536);
                parts += 1;
            }
            (_, Channel::Consensus, bytes) => {
                assert_eq!(bytes, b"vote");
                votes += 1;
            }
        }
    }
    assert!(a.network.send(b.id, Channel::Parts, b"room again".to_vec()));
    assert_eq!(b.until_message().await.2, b"room again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_consumer_stops_the_sender() {
    let (a, b) = pair(|_| ()).await;
    let part = p2p::Bytes::from(vec![5; 65_536]);
    while a.network.send(b.id, Channel::Parts, part.clone()) {}
    // Messages beyond the quota stay with the sender: b has read its quota and one message that waits for the quota.
    let fitting = (EVENT_BYTES_PER_PEER_MAX / 65_536) as u64;
    eventually(|| b.network.peers()[0].channels[Channel::Parts as usize].messages_in == fitting + 1).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(b.network.peers()[0].channels[Channel::Parts as usize].messages_in, fitting + 1);
    assert_eq!(b.network.stats().events_queued, fitting);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peer_exchange_finds_the_third_node() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("addrbook.json");
    let mut b = Node::start(2, |config| config.pex = true).await;
    let to_b = b.address();
    let mut a = Node::start(1, |config| (config.pex, config.seeds) = (true, vec![to_b.clone()])).await;
    a.until_up(b.id).await;
    b.until_up(a.id).await;
    let mut c = Node::start(3, |config| {
        (config.pex, config.seeds) = (true, vec![to_b]);
        config.address_book = Some(path.clone());
    })
    .await;
    let mut up = BTreeSet::new();
    while up.len() < 2 {
        up.insert(c.until(|event| if let Event::Up { peer } = event { Some(peer.id) } else { None }).await);
    }
    assert_eq!(up, BTreeSet::from([a.id, b.id]));
    a.until_up(c.id).await;

    // The book is kept over the restart: without seeds, c finds a again.
    let to_a = a.id;
    c.stop().await;
    assert!(std::fs::read_to_string(&path).unwrap().contains(&to_a.to_string()));
    a.until_down(id(3)).await;
    let mut c = Node::start(3, |config| (config.pex, config.address_book) = (true, Some(path))).await;
    c.until_up(to_a).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn private_ids_are_not_sent_to_any_peer() {
    let mut b = Node::start(2, |config| (config.pex, config.private_ids) = (true, [id(1)].into())).await;
    let to_b = b.address();
    let start = |n| Node::start(n, |config| (config.pex, config.seeds) = (true, vec![to_b.clone()]));
    let a = start(1).await;
    b.until_up(a.id).await;
    let d = start(4).await;
    b.until_up(d.id).await;
    let mut c = start(3).await;
    let mut up = BTreeSet::new();
    while up.len() < 2 {
        up.insert(c.until(|event| if let Event::Up { peer } = event { Some(peer.id) } else { None }).await);
    }
    assert_eq!(up, BTreeSet::from([b.id, d.id]));
    assert_eq!(c.network.stats().book_addresses, 2, "the seed and d");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_banned_peer_is_kept_out_and_a_persistent_one_comes_back_soon() {
    let (mut a, mut b) = pair(|config| config.ban_time_persistent = Duration::from_millis(300)).await;
    // a is a persistent peer of b, but b is not a persistent peer of a.
    b.network.penalize(a.id, Penalty::INVALID);
    assert_eq!(b.network.stats().bans, 0, "one such offence is no ban");
    b.network.penalize(a.id, Penalty::GARBAGE);
    assert_eq!(b.until_down(a.id).await, DownReason::Banned(Penalty::GARBAGE.reason));
    a.until_down(b.id).await;
    assert_eq!(b.network.stats().banned, 1);
    b.until_up(a.id).await; // the ban is over
    a.until_up(b.id).await;

    a.network.penalize(b.id, Penalty::GARBAGE);
    assert_eq!(a.until_down(b.id).await, DownReason::Banned(Penalty::GARBAGE.reason));
    eventually(|| a.network.stats().denied >= 2).await; // b retries again and again
    assert!(a.network.peers().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pings_measure_the_round_trip_time() {
    let (a, _b) = pair(|config| config.ping_interval = Duration::from_millis(50)).await;
    eventually(|| a.network.peers().first().is_some_and(|peer| peer.rtt.is_some())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_in_use_is_an_error_that_names_it() {
    let a = Node::start(1, |_| ()).await;
    let port = a.address().port;
    let mut config = config(2);
    config.laddr = format!("tcp://127.0.0.1:{port}");
    let error = start(config, key(2)).await.err().expect("the port is taken");
    assert!(matches!(error, Error::Listen { .. }) && error.to_string().contains(&port.to_string()), "{error}");
}

#[test]
fn shutdown_leaves_no_task_and_no_socket() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (mut a, b, port) = runtime.block_on(async {
        let (a, b) = pair(|config| config.pex = true).await;
        let port = a.address().port;
        (a, b, port)
    });
    assert!(a.network.send(b.id, Channel::Consensus, b"x".to_vec()));
    b.network.shutdown_and_join();
    runtime.block_on(a.until_down(b.id));
    a.network.shutdown_and_join();
    assert!(runtime.block_on(a.events.recv()).is_none());
    assert!(!a.network.send(b.id, Channel::Consensus, b"x".to_vec()) && !a.network.publish(vec![1]));
    assert_eq!(runtime.block_on(a.network.request(b.id, vec![])), Err(RequestError::Closed));
    let metrics = runtime.metrics();
    runtime.block_on(eventually(|| metrics.num_alive_tasks() == 0));
    std::net::TcpListener::bind(socket(port)).expect("the port is free");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_the_events_ends_the_network() {
    let (a, mut b) = pair(|_| ()).await;
    let network = a.network.clone();
    drop(a);
    network.ended().await;
    b.until_down(network.id()).await;
}
