//! A peer that speaks Cairn's protocols over real libp2p with an identity and an address of its own, and says what it wants.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use files::load_genesis;
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Stream, StreamProtocol};
use p2p::NodeId;
use tokio::time::{sleep, timeout, timeout_at};
use types::{PeerMessage, Wire};

use crate::{
    hostile::{CHAIN, Siege, address},
    raw::{self, CONSENSUS, CONTROL, Control, PARTS, Raw},
};

/// Timeout of each expected event, which is long enough for a busy machine.
pub const SOON: Duration = Duration::from_secs(30);

/// Number of batches per second in which a flood is sent.
const BATCHES_PER_SECOND: usize = 20;

/// The node that is attacked.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Socket on which it listens for peers.
    pub socket: SocketAddr,
    /// Hash of its genesis document.
    genesis: [u8; 32],
}

impl Target {
    /// Returns the node with this index.
    pub fn of(siege: &Siege, index: usize) -> Self {
        let genesis = load_genesis(&siege.homes.home(index).join("config/genesis.json")).unwrap();
        Self { socket: siege.p2p(index), genesis: genesis.hash().0 }
    }

    /// Returns the greeting of a node of its chain.
    pub fn hello(&self) -> Control {
        raw::hello_of(CHAIN, self.genesis)
    }
}

/// Returns the seed of the n-th attacker's key.
pub fn seed(n: u16) -> [u8; 32] {
    let mut seed = [77; 32];
    seed[..2].copy_from_slice(&n.to_be_bytes());
    seed
}

/// How a flood ended.
#[derive(Clone, Copy, Debug)]
pub struct Flood {
    /// Number of messages that were written.
    pub sent: usize,
    /// Duration of the flood.
    pub took: Duration,
    /// True if the node closed the connection.
    pub is_closed: bool,
}

impl Flood {
    /// Returns the number of messages that were written per second.
    pub fn per_second(&self) -> f64 {
        self.sent as f64 / self.took.as_secs_f64()
    }
}

/// A peer that the node has accepted.
pub struct Liar {
    raw: Raw,
    /// Our control stream, after the handshake.
    pub control: Stream,
    lanes: [Option<Stream>; 2],
    /// The node's stream of consensus messages.
    heard: Stream,
    /// What has arrived of a message.
    partial: Vec<u8>,
}

impl Liar {
    /// Connects the n-th attacker, with a key and an address of its own, and completes the handshake.
    pub async fn connect(target: &Target, n: u16) -> Self {
        Self::connect_from(target, n, n).await.expect("the node accepts a peer")
    }

    /// Connects the n-th attacker from the address of another one. Returns `None` if the node does not accept it.
    pub async fn connect_from(target: &Target, n: u16, from: u16) -> Option<Self> {
        let mut raw = Raw::dial_with(&[raw::gossip(CHAIN)], seed(n), address(from), target.socket).await?;
        // The node may ask, and gets no answer.
        let mut asked = raw.control.accept(raw::requests(CHAIN)).expect("accepted once");
        tokio::spawn(async move {
            let mut held = Vec::new();
            while let Some(stream) = asked.next().await {
                held.push(stream);
            }
        });
        let mut control = raw.control.open_stream(raw.node, CONTROL).await.ok()?;
        raw.answer_pings();
        control.write_all(&raw::control_frames(&[target.hello(), raw::accept()])).await.ok()?;
        control.flush().await.ok()?;
        // The node opens its channels when it has accepted the peer.
        let mut connected = raw.connected.clone();
        let heard = tokio::select! {
            stream = raw.accepted[1].next() => stream?.1,
            _ = connected.wait_for(|is| !is) => return None,
            () = sleep(SOON) => return None,
        };
        Some(Self { raw, control, lanes: [None, None], heard, partial: Vec::new() })
    }

    /// Returns the id of this peer.
    pub fn id(&self) -> NodeId {
        self.raw.id
    }

    /// Writes bytes to our channel of consensus messages or of parts. Returns false if the node has closed the connection.
    pub async fn write(&mut self, protocol: StreamProtocol, bytes: &[u8]) -> bool {
        let lane = &mut self.lanes[usize::from(protocol == PARTS)];
        if lane.is_none() {
            *lane = self.raw.control.open_stream(self.raw.node, protocol).await.ok();
        }
        let Some(lane) = lane else { return false };
        lane.write_all(bytes).await.is_ok() && lane.flush().await.is_ok()
    }

    /// Sends a message. Returns false if the node has closed the connection.
    pub async fn say(&mut self, message: &PeerMessage) -> bool {
        self.write(channel(message), &raw::frame(&message.encode())).await
    }

    /// Writes to the control stream. Returns false if the node has closed the connection.
    pub async fn control(&mut self, frames: &[Control]) -> bool {
        let bytes = raw::control_frames(frames);
        self.control.write_all(&bytes).await.is_ok() && self.control.flush().await.is_ok()
    }

    /// Opens a stream of a protocol and writes bytes to it.
    pub async fn open(&mut self, protocol: StreamProtocol, bytes: &[u8]) -> Option<Stream> {
        let mut stream = self.raw.control.open_stream(self.raw.node, protocol).await.ok()?;
        let written = stream.write_all(bytes).await.is_ok() && stream.flush().await.is_ok();
        written.then_some(stream)
    }

    /// Reads the messages that the node sends for a time.
    pub async fn listen(&mut self, time: Duration) -> Vec<PeerMessage> {
        let (until, mut bytes) = (tokio::time::Instant::now() + time, vec![0; 64 * 1024]);
        while let Ok(Ok(read @ 1..)) = timeout_at(until, self.heard.read(&mut bytes)).await {
            self.partial.extend_from_slice(&bytes[..read]);
        }
        let mut messages = Vec::new();
        while let Some(length) = self.partial.first_chunk() {
            let end = 4 + u32::from_be_bytes(*length) as usize;
            let Some(body) = self.partial.get(4..end) else { break };
            messages.push(PeerMessage::decode(body).expect("the node sends what decodes"));
            self.partial.drain(..end);
        }
        messages
    }

    /// Sends messages at a rate per second until the node closes the connection, or for a time. `next` makes the next
    /// messages, of which one channel carries all.
    pub async fn flood(
        &mut self,
        protocol: StreamProtocol,
        rate: usize,
        time: Duration,
        mut next: impl FnMut() -> PeerMessage,
    ) -> Flood {
        let (begun, mut sent) = (Instant::now(), 0);
        while begun.elapsed() < time && self.is_connected() {
            let batch = rate / BATCHES_PER_SECOND;
            let due = batch + (begun.elapsed().as_secs_f64() * rate as f64) as usize;
            let count = due.saturating_sub(sent).min(2 * batch);
            let bytes: Vec<u8> = (0..count).flat_map(|_| raw::frame(&next().encode())).collect();
            let left = time.saturating_sub(begun.elapsed());
            match timeout(left, self.write(protocol.clone(), &bytes)).await {
                Ok(true) => sent += count,
                Ok(false) | Err(_) => break,
            }
            sleep(Duration::from_secs(1) / BATCHES_PER_SECOND as u32).await;
        }
        let took = begun.elapsed();
        // A connection that breaks during a write is reported a moment later.
        let mut connected = self.raw.connected.clone();
        let is_closed = timeout(Duration::from_secs(1), connected.wait_for(|is| !is)).await.is_ok();
        Flood { sent, took, is_closed }
    }

    /// Returns false once the connection has ended.
    pub fn is_connected(&self) -> bool {
        self.raw.is_connected()
    }

    /// Waits until the node closes the connection; panics if it does not.
    pub async fn is_disconnected(&mut self, why: &str) {
        let closed = timeout(SOON, self.raw.connected.wait_for(|is| !is)).await.is_ok();
        assert!(closed, "the node keeps a peer with {why}");
    }
}

/// Returns the channel of a message.
fn channel(message: &PeerMessage) -> StreamProtocol {
    if matches!(message, PeerMessage::Part { .. }) { PARTS } else { CONSENSUS }
}
