//! Real nodes on loopback sockets. Tests wait for events up to a deadline, not for a fixed time.
#![allow(dead_code)] // each test file uses a part of this module

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use p2p::{
    Config, DownReason, Event, Events, Network, NodeId, NodeKey, PeerAddress, PeerInfo, Refusal, Transport, start,
};

pub const CHAIN: &str = "test-chain";
/// Timeout of every wait. Only a failing test reaches it.
pub const DEADLINE: Duration = Duration::from_secs(30);

pub fn key(n: u8) -> NodeKey {
    NodeKey::from_seed([n; 32])
}

pub fn id(n: u8) -> NodeId {
    key(n).id()
}

pub fn config(n: u8) -> Config {
    Config {
        laddr: "tcp://127.0.0.1:0".into(),
        allow_private: true,
        quic: false,
        pex: false,
        ..Config::new(CHAIN, format!("node{n}"))
    }
}

/// Returns a port that is free and outside the range from which the system chooses ports.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    loop {
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = 10_000 + (std::process::id() as u16).wrapping_mul(37).wrapping_add(n) % 20_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub struct Node {
    pub network: Network,
    pub events: Events,
    pub id: NodeId,
}

impl Node {
    pub async fn start(n: u8, change: impl FnOnce(&mut Config)) -> Node {
        let mut config = config(n);
        change(&mut config);
        let (network, events) = start(config, key(n)).await.expect("starts");
        Node { network, events, id: id(n) }
    }

    pub fn address_by(&self, transport: Transport) -> PeerAddress {
        let listening = self.network.listening().iter().find(|(known, _)| *known == transport);
        PeerAddress::new(self.id, listening.expect("listens").1, transport)
    }

    pub fn address(&self) -> PeerAddress {
        self.address_by(Transport::Tcp)
    }

    pub async fn next(&mut self) -> Event {
        let event = tokio::time::timeout(DEADLINE, self.events.recv()).await.expect("an event before the deadline");
        event.expect("the network runs")
    }

    /// Takes events until `wanted` returns a value; drops the other events.
    pub async fn until<T>(&mut self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let event = self.next().await;
            let seen = format!("{event:?}");
            if let Some(found) = wanted(event) {
                return found;
            }
            assert!(
                Instant::now() < deadline,
                "events come, but not the wanted one; the last is {}",
                &seen[..seen.len().min(300)]
            );
        }
    }

    pub async fn until_up(&mut self, id: NodeId) -> PeerInfo {
        self.until(|event| match event {
            Event::Up { peer } if peer.id == id => Some(peer),
            _ => None,
        })
        .await
    }

    pub async fn until_down(&mut self, id: NodeId) -> DownReason {
        self.until(|event| match event {
            Event::Down { peer, reason } if peer == id => Some(reason),
            _ => None,
        })
        .await
    }

    pub async fn until_refused(&mut self) -> (bool, Refusal) {
        self.until(|event| match event {
            Event::Refused { by_us, refusal, .. } => Some((by_us, refusal)),
            _ => None,
        })
        .await
    }

    pub async fn until_message(&mut self) -> (NodeId, p2p::Channel, Vec<u8>) {
        self.until(|event| match event {
            Event::Message { peer, channel, bytes, .. } => Some((peer, channel, bytes)),
            _ => None,
        })
        .await
    }

    pub async fn stop(self) {
        self.network.shutdown();
        tokio::time::timeout(DEADLINE, self.network.ended()).await.expect("ends before the deadline");
    }
}

/// Starts two connected nodes; the first has the smaller id, the second dialled.
pub async fn pair(change: impl Fn(&mut Config)) -> (Node, Node) {
    let (small, large) = if id(1) < id(2) { (1, 2) } else { (2, 1) };
    let mut a = Node::start(small, &change).await;
    let address = a.address();
    let mut b = Node::start(large, |config| {
        change(config);
        config.persistent_peers = vec![address];
    })
    .await;
    b.until_up(a.id).await;
    a.until_up(b.id).await;
    (a, b)
}

/// Waits until a condition that has no event of its own is true.
pub async fn eventually(mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !happened() {
        assert!(Instant::now() < deadline, "it did not happen before the deadline");
        tokio::task::yield_now().await;
    }
}

pub fn socket(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}
