//! Attacks below the messages: connections, handshakes, streams and frames.

use std::{
    net::UdpSocket,
    time::{Duration, Instant},
};

use futures::{AsyncWriteExt, StreamExt};
use libp2p::{
    Multiaddr, Transport,
    core::muxing::StreamMuxerBox,
    identity::Keypair,
    multiaddr::Protocol,
    quic,
    swarm::{Config as SwarmConfig, Swarm, SwarmEvent, dial_opts::DialOpts, dummy},
};
use p2p::limits::{
    CONSENSUS_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, INBOUND_PER_IP_BURST, INBOUND_PER_IP_PAUSE,
    PARTS_FRAME_BYTES_MAX, PENDING_INBOUND_PER_IP_MAX, RESPONSE_BYTES_PER_PEER_MAX, STREAMS_MAX,
};
use tokio::time::{sleep, timeout};
use types::{BlockRequest, Height, PeerRequest, Wire, limits::SYNC_BLOCKS_MAX};

use crate::{
    hostile::{CHAIN, Siege, address, connect},
    liar::{Liar, SOON, Target, seed},
    lies,
    processes::eventually,
    raw::{self, CONSENSUS, CONTROL, PARTS, Raw, muxed::Muxed},
};

/// Connections that stay silent before their encryption handshake: beyond the places of one address they are closed, and
/// other addresses connect.
pub async fn half_open(siege: &Siege, target: &Target) {
    let denied = || siege.metric("p2p_connections_denied_total", "from_address");
    let (before, mut open) = (denied(), Vec::new());
    for _ in 0..200 {
        open.push(connect(address(1), target.socket).await.expect("the system accepts"));
    }
    Liar::connect(target, 2).await;
    // A place is free again after a timeout, if this machine is slow; then the burst of an address is the bound.
    let most = PENDING_INBOUND_PER_IP_MAX.max(INBOUND_PER_IP_BURST as usize);
    eventually("connections beyond the places of an address are closed", || {
        denied() - before >= (200 - most) as f64 / 2.0
    });
}

/// Connections that are encrypted and then say nothing, or half of a greeting: they end with the time for the handshake.
pub async fn silent_handshakes(_: &Siege, target: &Target) {
    let mut open = Vec::new();
    for n in 10..26 {
        let mut raw = Raw::dial(seed(n), address(10), target.socket).await.expect("connects");
        let half = &raw::control_frames(&[target.hello()])[..5];
        let mut stream = raw.control.open_stream(raw.node, CONTROL).await.ok().filter(|_| n % 2 == 0);
        if let Some(stream) = &mut stream {
            let _ = stream.write_all(half).await; // the node may be quicker, if this machine is slow
            let _ = stream.flush().await;
        }
        open.push((raw, stream));
    }
    for (mut raw, _stream) in open {
        let closed = timeout(SOON, raw.connected.wait_for(|is| !is)).await;
        assert!(closed.is_ok(), "a silent connection is closed");
    }
}

/// Frames that claim to be larger than their channel allows: each of the peers is banned.
pub async fn oversize_frames(siege: &Siege, target: &Target) {
    let bans = siege.metric("p2p_bans_total", "oversized");
    let sizes = [CONSENSUS_FRAME_BYTES_MAX, PARTS_FRAME_BYTES_MAX, CONTROL_FRAME_BYTES_MAX];
    for (n, (protocol, size)) in (30..).zip([CONSENSUS, PARTS, CONTROL].into_iter().zip(sizes)) {
        let mut liar = Liar::connect(target, n).await;
        let length = (size as u32 + 1).to_be_bytes();
        if protocol == CONTROL {
            let _ = liar.control.write_all(&length).await; // fails if the node is quicker
            let _ = liar.control.flush().await;
        } else {
            liar.write(protocol, &length).await;
        }
        liar.is_disconnected("a frame that is too large").await;
    }
    assert_eq!(siege.metric("p2p_bans_total", "oversized") - bans, 3.0);
}

/// Bytes that are no message, no greeting and no second stream: each of the peers is banned.
pub async fn garbage(siege: &Siege, target: &Target) {
    let bans = siege.metric("p2p_bans_total", "garbage");
    let mut liar = Liar::connect(target, 40).await;
    liar.write(CONSENSUS, &raw::frame(&[0xff; 100])).await;
    liar.is_disconnected("a frame that is no message").await;
    let mut raw = Raw::dial(seed(41), address(41), target.socket).await.expect("connects");
    let _stream = raw.write(CONTROL, &raw::frame(&[0xff; 100])).await;
    assert!(timeout(SOON, raw.connected.wait_for(|is| !is)).await.is_ok(), "the greeting is garbage");
    let mut liar = Liar::connect(target, 42).await;
    liar.control(&[target.hello()]).await;
    liar.is_disconnected("a second greeting").await;
    assert_eq!(siege.metric("p2p_bans_total", "garbage") - bans, 3.0);
    // The key is refused while it is banned, from any address.
    let denied = siege.metric("p2p_connections_denied_total", "banned");
    assert!(Liar::connect_from(target, 40, 43).await.is_none());
    assert_eq!(siege.metric("p2p_connections_denied_total", "banned") - denied, 1.0);
}

/// Completes the handshake on a connection whose frames the test makes.
async fn greeted(target: &Target, n: u16) -> Muxed {
    let mut muxed = Muxed::dial(seed(n), address(n), target.socket).await.expect("connects");
    let control = muxed.open(CONTROL.as_ref()).await;
    muxed.send(control, &raw::control_frames(&[target.hello(), raw::accept()])).await;
    // The node opens its channels when it has accepted the peer.
    while !muxed.has_opened(CONSENSUS.as_ref()) {
        muxed.listen(Duration::from_millis(20)).await;
        assert!(!muxed.is_closed, "the node accepts a peer");
    }
    muxed
}

/// Streams without end, and bytes that are cut into tiny frames: the connection ends.
pub async fn stream_floods(_: &Siege, target: &Target) {
    let mut muxed = greeted(target, 50).await;
    for _ in 0..20 * STREAMS_MAX {
        muxed.open("/no such protocol").await;
        if muxed.is_closed {
            break;
        }
    }
    muxed.listen(SOON).await;
    assert!(muxed.is_closed, "the node keeps a peer that opens {} streams", 20 * STREAMS_MAX);

    let mut muxed = greeted(target, 51).await;
    for _ in 0..200 {
        let frames: Vec<u8> = (0..500).flat_map(|_| muxed.open_and_reset(b"x")).collect();
        muxed.write(&frames).await;
        if muxed.is_closed {
            break;
        }
    }
    muxed.listen(SOON).await;
    assert!(muxed.is_closed, "the node keeps a peer that opens and resets 100,000 streams");
}

/// A peer that asks for blocks all the time and reads nothing: few answers wait, and others are served.
pub async fn slow_reads(siege: &Siege, target: &Target) {
    let mut muxed = greeted(target, 60).await;
    let request = PeerRequest::Blocks(BlockRequest { from: Height(1), count: SYNC_BLOCKS_MAX }).encode();
    let (begun, mut most) = (Instant::now(), 0.0_f64);
    while begun.elapsed() < Duration::from_secs(4) && !muxed.is_closed {
        let stream = muxed.open(raw::requests(CHAIN).as_ref()).await;
        muxed.send(stream, &raw::frame(&request)).await;
        most = most.max(siege.metric("p2p_response_bytes", ""));
        sleep(Duration::from_millis(30)).await;
    }
    assert!(most > 0.0, "answers wait for the reader");
    assert!(most <= RESPONSE_BYTES_PER_PEER_MAX as f64, "{most} bytes wait for one peer");
}

/// One address that connects and disconnects with new keys without end: most attempts end before the encryption handshake.
pub async fn connection_flood(siege: &Siege, target: &Target) {
    let denied = || siege.metric("p2p_connections_denied_total", "from_address");
    let before = denied();
    let (begun, mut admitted, mut tried) = (Instant::now(), 0, 0);
    for n in 0..300 {
        tried += 1;
        admitted += u32::from(Raw::dial(seed(1_000 + n), address(70), target.socket).await.is_some());
    }
    let pauses = begun.elapsed().as_millis() / INBOUND_PER_IP_PAUSE.as_millis();
    assert!(admitted <= INBOUND_PER_IP_BURST + pauses as u32 + 1, "{admitted} of {tried} connections are admitted");
    let more = denied() - before;
    assert!(more >= f64::from(tried - admitted), "{more} refusals of {tried}, {admitted} admitted");
}

/// Many identities of one address: they share a part of the places, and when several lie, the address is banned.
pub async fn many_identities(siege: &Siege, target: &Target) {
    const PLACES: usize = 40 / 4; // a quarter of p2p.max_num_inbound_peers
    let all = (0..40).map(|n| Liar::connect_from(target, 2_000 + n, 80));
    let mut liars: Vec<Liar> = futures::future::join_all(all).await.into_iter().flatten().collect();
    assert!((1..=PLACES).contains(&liars.len()), "{} identities of one address are accepted", liars.len());
    let other = Liar::connect(target, 81).await;
    assert!(other.is_connected(), "another address has a place");
    for liar in &mut liars {
        liar.say(&lies::forged_vote(siege, 1)).await;
    }
    eventually("the address is banned", || siege.metric("p2p_banned_ranges", "") > 0.0);
    for liar in &mut liars {
        liar.is_disconnected("a banned address").await;
    }
    let denied = siege.metric("p2p_connections_denied_total", "banned");
    assert!(Liar::connect_from(target, 2_100, 80).await.is_none(), "a new key does not avoid the ban");
    assert!(siege.metric("p2p_connections_denied_total", "banned") > denied);
    assert!(other.is_connected(), "other addresses are not banned");
}

/// Datagrams that look like the first of a QUIC connection, and connections over QUIC that say nothing.
pub async fn quic_floods(siege: &Siege, target: &Target) {
    let socket = UdpSocket::bind((address(90), 0)).unwrap();
    let mut packet = vec![0x5a; 1200];
    packet[0] = 0xc3; // a long header, type Initial
    packet[1..5].copy_from_slice(&1_u32.to_be_bytes());
    packet[5] = 8;
    for n in 0..20_000_u64 {
        packet[6..14].copy_from_slice(&n.to_be_bytes());
        let _ = socket.send_to(&packet, target.socket); // a full buffer drops it
    }
    let denied = siege.metric("p2p_connections_denied_total", "from_address");
    let mut open = Vec::new();
    for n in 0..100 {
        open.push(tokio::spawn(silent_over_quic(3_000 + n, *target)));
    }
    let mut ended = 0;
    for connection in open {
        ended += usize::from(connection.await.expect("no panic"));
    }
    assert_eq!(ended, 100, "silent connections over QUIC are closed");
    let denied = siege.metric("p2p_connections_denied_total", "from_address") - denied;
    assert!(denied > 0.0, "most of 100 connections of one address are denied");
}

/// Connects over QUIC and says nothing. Returns true if the node refuses or closes the connection.
async fn silent_over_quic(n: u16, target: Target) -> bool {
    let keys = Keypair::ed25519_from_bytes(seed(n)).unwrap();
    let transport = quic::tokio::Transport::new(quic::Config::new(&keys));
    let transport = transport.map(|(peer, muxer), _| (peer, StreamMuxerBox::new(muxer))).boxed();
    let config = SwarmConfig::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(3600));
    let mut swarm = Swarm::new(transport, dummy::Behaviour, keys.public().to_peer_id(), config);
    let over = |ip: std::net::IpAddr, port| Multiaddr::from(ip).with(Protocol::Udp(port)).with(Protocol::QuicV1);
    // A dial leaves from the address on which the transport listens.
    swarm.listen_on(over(address(91), 0)).unwrap();
    while !matches!(swarm.select_next_some().await, SwarmEvent::NewListenAddr { .. }) {}
    let dial = DialOpts::unknown_peer_id().address(over(target.socket.ip(), target.socket.port())).build();
    swarm.dial(dial).unwrap();
    let end = async {
        loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => return,
                _ => {}
            }
        }
    };
    timeout(SOON, end).await.is_ok()
}
