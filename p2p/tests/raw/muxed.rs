//! A peer that makes the frames of the multiplexer (Yamux) by itself, over libp2p's TCP and Noise: so it can answer pings late,
//! ignore windows, and open streams without end.
//!
//! A frame has 12 bytes: version 0, kind, flags (two bytes), stream (four), length or credit (four), big endian; data follow.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use futures::io::{ReadHalf, WriteHalf};
use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::core::upgrade::OutboundConnectionUpgrade;
use libp2p::identity::Keypair;
use libp2p::noise;

use super::from::connect;

const DATA: u8 = 0;
const WINDOW: u8 = 1;
const PING: u8 = 2;
const SYN: u16 = 1;
const ACK: u16 = 2;
const RST: u16 = 8;

/// First window of each stream, in bytes.
pub const WINDOW_BYTES: usize = 256 * 1024;

/// The first line of a negotiation of protocols.
const MULTISTREAM: &str = "/multistream/1.0.0";

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection whose frames the test makes.
pub struct Muxed {
    reads: ReadHalf<Box<dyn Io>>,
    writes: WriteHalf<Box<dyn Io>>,
    /// What has arrived of a frame.
    partial: Vec<u8>,
    next: u32,
    /// Bytes that may still be sent on each own stream.
    pub credit: BTreeMap<u32, usize>,
    /// Bytes that arrived on the streams of the other side.
    heard: BTreeMap<u32, Vec<u8>>,
    /// Numbers of the pings that were not answered.
    pub pings: Vec<u32>,
    /// True once the connection has ended.
    pub is_closed: bool,
}

fn line(text: &str) -> Vec<u8> {
    [&[text.len() as u8 + 1], text.as_bytes(), b"\n"].concat()
}

/// Returns the lines by which a stream agrees on a protocol.
pub fn negotiation(protocol: &str) -> Vec<u8> {
    [line(MULTISTREAM), line(protocol)].concat()
}

async fn select(io: &mut (impl AsyncRead + AsyncWrite + Unpin), protocol: &str) -> io::Result<()> {
    let lines = negotiation(protocol);
    io.write_all(&lines).await?;
    io.flush().await?;
    let mut answer = vec![0; lines.len()];
    io.read_exact(&mut answer).await?;
    if answer == lines { Ok(()) } else { Err(io::Error::other("another protocol")) }
}

impl Muxed {
    /// Connects a node with the key of a seed, from an address of this machine.
    ///
    /// Errors: the other side closes the connection.
    pub async fn dial(seed: [u8; 32], from: IpAddr, to: SocketAddr) -> io::Result<Muxed> {
        let keys = Keypair::ed25519_from_bytes(seed).unwrap();
        let mut tcp = connect(from, to).await?;
        select(&mut tcp, "/noise").await?;
        let noise = noise::Config::new(&keys).unwrap().upgrade_outbound(tcp, "/noise").await;
        let (_, mut noise) = noise.map_err(io::Error::other)?;
        select(&mut noise, "/yamux/1.0.0").await?;
        let (reads, writes) = (Box::new(noise) as Box<dyn Io>).split();
        Ok(Muxed {
            reads,
            writes,
            partial: Vec::new(),
            next: 1,
            credit: BTreeMap::new(),
            heard: BTreeMap::new(),
            pings: Vec::new(),
            is_closed: false,
        })
    }

    /// Writes frames or parts of them.
    pub async fn write(&mut self, bytes: &[u8]) {
        let written = async {
            self.writes.write_all(bytes).await?;
            self.writes.flush().await
        };
        self.is_closed |= written.await.is_err();
    }

    /// Opens a stream for a protocol and returns its number. Does not wait for an answer.
    pub async fn open(&mut self, protocol: &str) -> u32 {
        let (stream, lines) = (self.next, negotiation(protocol));
        self.next += 2;
        self.credit.insert(stream, WINDOW_BYTES - lines.len());
        self.write(&data(stream, SYN, &lines)).await;
        stream
    }

    /// Returns the frames that open a stream with these bytes and reset it at once.
    pub fn open_and_reset(&mut self, bytes: &[u8]) -> Vec<u8> {
        let stream = self.next;
        self.next += 2;
        [data(stream, SYN, bytes), head(DATA, RST, stream, 0).to_vec()].concat()
    }

    /// Sends data on an own stream, which must have the credit.
    pub async fn send(&mut self, stream: u32, bytes: &[u8]) {
        *self.credit.get_mut(&stream).expect("an own stream") -= bytes.len();
        self.write(&data(stream, 0, bytes)).await;
    }

    /// Answers a ping that arrived.
    pub async fn pong(&mut self, number: u32) {
        self.pings.retain(|ping| *ping != number);
        self.write(&head(PING, ACK, 0, number)).await;
    }

    /// Returns true if the other side has opened a stream for a protocol.
    pub fn has_opened(&self, protocol: &str) -> bool {
        let lines = negotiation(protocol);
        self.heard.values().any(|bytes| bytes.starts_with(&lines))
    }

    /// Handles what arrives in a time: agrees to every protocol that the other side proposes, and counts credit.
    pub async fn listen(&mut self, time: Duration) {
        let until = tokio::time::Instant::now() + time;
        let mut bytes = vec![0; 64 * 1024];
        while !self.is_closed {
            let Ok(read) = tokio::time::timeout_at(until, self.reads.read(&mut bytes)).await else { return };
            match read {
                Ok(0) | Err(_) => self.is_closed = true,
                Ok(read) => self.partial.extend_from_slice(&bytes[..read]),
            }
            while let Some((head, body)) = self.take_frame() {
                self.on_frame(head, body).await;
            }
        }
    }

    fn take_frame(&mut self) -> Option<([u8; 12], Vec<u8>)> {
        let head: [u8; 12] = self.partial.get(..12)?.try_into().unwrap();
        let length = if head[1] == DATA { number(&head, 8) as usize } else { 0 };
        let body = self.partial.get(12..12 + length)?.to_vec();
        self.partial.drain(..12 + length);
        Some((head, body))
    }

    async fn on_frame(&mut self, head: [u8; 12], body: Vec<u8>) {
        let (kind, flags, stream, length) =
            (head[1], u16::from_be_bytes([head[2], head[3]]), number(&head, 4), number(&head, 8));
        match kind {
            WINDOW => {
                if let Some(credit) = self.credit.get_mut(&stream) {
                    *credit += length as usize;
                }
            }
            PING if flags & SYN != 0 => self.pings.push(length),
            DATA if stream.is_multiple_of(2) => {
                let heard = self.heard.entry(stream).or_default();
                let was = heard.len();
                heard.extend(body);
                let first = line(MULTISTREAM).len();
                let end =
                    |heard: &[u8]| Some(first + 1 + usize::from(*heard.get(first)?)).filter(|end| *end <= heard.len());
                // The whole negotiation is in the first bytes; it is agreed to by its own bytes.
                if let Some(end) = end(heard)
                    && end > was
                {
                    let answer = data(stream, ACK, &heard[..end]);
                    self.write(&answer).await;
                }
            }
            DATA | PING => {}
            _ => self.is_closed = true,
        }
    }
}

fn number(head: &[u8; 12], at: usize) -> u32 {
    u32::from_be_bytes(head[at..at + 4].try_into().unwrap())
}

fn head(kind: u8, flags: u16, stream: u32, length: u32) -> [u8; 12] {
    let mut head = [0, kind, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    head[2..4].copy_from_slice(&flags.to_be_bytes());
    head[4..8].copy_from_slice(&stream.to_be_bytes());
    head[8..].copy_from_slice(&length.to_be_bytes());
    head
}

/// Returns a frame with data.
pub fn data(stream: u32, flags: u16, bytes: &[u8]) -> Vec<u8> {
    [&head(DATA, flags, stream, bytes.len() as u32), bytes].concat()
}
