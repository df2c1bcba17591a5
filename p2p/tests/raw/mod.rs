//! Peers that follow no rule of the crate `p2p`: a plain libp2p node that writes arbitrary bytes to our streams, and in
//! `muxed` one that also makes the frames of the multiplexer by itself. The tests of the node use them too.
#![allow(dead_code, reason = "each test program uses a part of it")]

mod from;
pub mod muxed;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use from::From;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::multiaddr::Protocol;
use libp2p::swarm::{Config as SwarmConfig, Swarm, SwarmEvent};
use libp2p::{Multiaddr, PeerId, Stream, StreamProtocol, Transport, noise, yamux};
use libp2p_stream::IncomingStreams;
use p2p::{NodeId, NodeKey, PROTOCOL_VERSION};
use prost::Message;
use tokio::sync::watch;
use tokio::task::AbortHandle;

pub const CONTROL: StreamProtocol = StreamProtocol::new("/cairn/control/1");
pub const CONSENSUS: StreamProtocol = StreamProtocol::new("/cairn/consensus/1");
pub const PARTS: StreamProtocol = StreamProtocol::new("/cairn/parts/1");
pub const PING: StreamProtocol = StreamProtocol::new("/ipfs/ping/1.0.0");

/// Returns the protocol of requests on a chain.
pub fn requests(chain: &str) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/cairn/{chain}/requests/1")).unwrap()
}

/// Returns the protocol of gossip on a chain.
pub fn gossip(chain: &str) -> StreamProtocol {
    StreamProtocol::try_from_owned(format!("/cairn/{chain}/txs/1.1.0")).unwrap()
}

#[derive(Clone, PartialEq, Message)]
pub struct Hello {
    #[prost(uint32, tag = "1")]
    pub protocol: u32,
    #[prost(string, tag = "2")]
    pub chain_id: String,
    #[prost(string, tag = "3")]
    pub moniker: String,
    #[prost(fixed64, tag = "5")]
    pub session: u64,
    #[prost(bool, tag = "8")]
    pub pex: bool,
    #[prost(bytes = "vec", tag = "9")]
    pub genesis_hash: Vec<u8>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Texts {
    #[prost(string, repeated, tag = "1")]
    pub texts: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Control {
    #[prost(message, optional, tag = "1")]
    pub hello: Option<Hello>,
    #[prost(message, optional, tag = "2")]
    pub accept: Option<()>,
    #[prost(message, optional, tag = "4")]
    pub ask: Option<()>,
    #[prost(message, optional, tag = "5")]
    pub addresses: Option<Texts>,
}

/// Returns the greeting of a node of this chain.
pub fn hello_of(chain_id: &str, genesis_hash: [u8; 32]) -> Control {
    let hello = Hello {
        protocol: PROTOCOL_VERSION,
        chain_id: chain_id.into(),
        moniker: "\u{1b}[2Jraw".into(),
        session: 1,
        pex: true,
        genesis_hash: genesis_hash.to_vec(),
    };
    Control { hello: Some(hello), ..Control::default() }
}

pub fn accept() -> Control {
    Control { accept: Some(()), ..Control::default() }
}

pub fn ask() -> Control {
    Control { ask: Some(()), ..Control::default() }
}

pub fn addresses(texts: Vec<String>) -> Control {
    Control { addresses: Some(Texts { texts }), ..Control::default() }
}

/// Returns bytes as a frame of a stream.
pub fn frame(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u32).to_be_bytes(), bytes].concat()
}

pub fn control_frames(frames: &[Control]) -> Vec<u8> {
    frames.iter().flat_map(|control| frame(&control.encode_to_vec())).collect()
}

/// A libp2p node without the rules of the crate. It accepts the streams of the other side; it reads only those that the
/// test takes from `accepted`.
pub struct Raw {
    pub id: NodeId,
    pub control: libp2p_stream::Control,
    pub node: PeerId,
    pub connected: watch::Receiver<bool>,
    /// Streams that the other side opened: control, consensus, parts.
    pub accepted: [IncomingStreams; 3],
    /// Streams of pings, until [`Raw::answer_pings`].
    pings: Option<IncomingStreams>,
    _unread: Vec<IncomingStreams>,
    _driver: Driver,
}

/// Closes the connection of a [`Raw`] when it is dropped.
struct Driver(AbortHandle);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Raw {
    /// Creates a node with the key of a seed and connects it, from an address of this machine. Returns `None` if the other side
    /// does not let it.
    pub async fn dial(seed: [u8; 32], from: IpAddr, to: SocketAddr) -> Option<Raw> {
        Raw::dial_with(&[], seed, from, to).await
    }

    /// As [`Raw::dial`]; the node accepts streams of further protocols, which it does not read.
    pub async fn dial_with(more: &[StreamProtocol], seed: [u8; 32], from: IpAddr, to: SocketAddr) -> Option<Raw> {
        let keys = Keypair::ed25519_from_bytes(seed).unwrap();
        let behaviour = libp2p_stream::Behaviour::new();
        let mut control = behaviour.new_control();
        let accepted = [CONTROL, CONSENSUS, PARTS].map(|protocol| control.accept(protocol).unwrap());
        let pings = control.accept(PING).unwrap();
        let unread = more.iter().map(|protocol| control.accept(protocol.clone()).unwrap()).collect();
        let transport = From(from)
            .upgrade(Version::V1)
            .authenticate(noise::Config::new(&keys).unwrap())
            .multiplex(yamux::Config::default())
            .boxed();
        let config = SwarmConfig::with_tokio_executor().with_idle_connection_timeout(Duration::from_secs(3600));
        let mut swarm = Swarm::new(transport, behaviour, keys.public().to_peer_id(), config);
        swarm.dial(Multiaddr::from(to.ip()).with(Protocol::Tcp(to.port()))).unwrap();
        let peer = loop {
            match swarm.select_next_some().await {
                SwarmEvent::ConnectionEstablished { peer_id, .. } => break peer_id,
                SwarmEvent::OutgoingConnectionError { .. } => return None,
                _ => {}
            }
        };
        let (told, connected) = watch::channel(true);
        let drive = async move {
            loop {
                if let SwarmEvent::ConnectionClosed { .. } = swarm.select_next_some().await {
                    told.send_replace(false);
                }
            }
        };
        let driver = Driver(tokio::spawn(drive).abort_handle());
        let id = NodeKey::from_seed(seed).id();
        Some(Raw { id, control, node: peer, connected, accepted, pings: Some(pings), _unread: unread, _driver: driver })
    }

    pub async fn open(&mut self, protocol: StreamProtocol) -> Stream {
        self.control.open_stream(self.node, protocol).await.expect("opens")
    }

    /// Opens a stream and writes bytes to it.
    pub async fn write(&mut self, protocol: StreamProtocol, bytes: &[u8]) -> Stream {
        let mut stream = self.open(protocol).await;
        // The node may close the connection during the write.
        let _ = stream.write_all(bytes).await;
        let _ = stream.flush().await;
        stream
    }

    /// Answers pings from now on, as an honest node does.
    pub fn answer_pings(&mut self) {
        let Some(mut pings) = self.pings.take() else { return };
        tokio::spawn(async move {
            while let Some((_, mut stream)) = pings.next().await {
                tokio::spawn(async move {
                    let mut ping = [0; 32];
                    while stream.read_exact(&mut ping).await.is_ok()
                        && stream.write_all(&ping).await.is_ok()
                        && stream.flush().await.is_ok()
                    {}
                });
            }
        });
    }

    /// Returns false once the connection has ended.
    pub fn is_connected(&self) -> bool {
        *self.connected.borrow()
    }
}
