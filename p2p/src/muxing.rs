//! The multiplexer of TCP connections: Yamux, with bounds that it lacks.
//!
//! | what a peer can do | Yamux | here |
//! |---|---|---|
//! | send before it is read, on one stream | 256 KiB; it grows to 1 GiB if the peer answers pings late | all streams grow by [`GROWN_WINDOWS_BYTES_MAX`] |
//! | open streams | 256 that the swarm has not taken, beside those that it has | [`STREAMS_MAX`] in all |
//! | send frames of few bytes, or of none | any number; each takes 100 bytes until it is read | [`SMALL_FRAMES_BURST`], then one per [`SMALL_FRAMES_PAUSE`] |
//!
//! A peer that exceeds the last two loses the connection.

use std::collections::VecDeque;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use futures::future::{MapOk, Ready, TryFutureExt};
use futures::{AsyncRead, AsyncWrite};
use libp2p::core::muxing::{StreamMuxer, StreamMuxerEvent};
use libp2p::core::upgrade::{InboundConnectionUpgrade, OutboundConnectionUpgrade, UpgradeInfo};
use libp2p::yamux;

use crate::budget::Bucket;
use crate::limits::{GROWN_WINDOWS_BYTES_MAX, SMALL_FRAME_BYTES, SMALL_FRAMES_BURST, SMALL_FRAMES_PAUSE, STREAMS_MAX};

/// Bytes that the peer may send on a stream before this node has read any: the first window of Yamux.
const STREAM_WINDOW_BYTES: usize = 256 * 1024;

/// Bytes that Yamux divides among the windows of one connection, by default. A window grows while the peer sends fast and
/// answers the pings of Yamux late, so a peer can make it grow as it likes.
const YAMUX_WINDOWS_BYTES: usize = 1 << 30;

/// Number of streams for which Yamux keeps a first window each. libp2p-yamux has no setting for the bytes above, so this number
/// leaves of them what the windows may grow by; [`FewStreams`] bounds the number of streams.
const YAMUX_STREAMS: usize = (YAMUX_WINDOWS_BYTES - GROWN_WINDOWS_BYTES_MAX) / STREAM_WINDOW_BYTES;

/// The negotiation of Yamux, whose connections have the bounds of this file.
#[derive(Clone)]
pub(crate) struct Muxing(yamux::Config);

impl Muxing {
    pub(crate) fn new() -> Muxing {
        let mut config = yamux::Config::default();
        config.set_max_num_streams(YAMUX_STREAMS);
        Muxing(config)
    }
}

type Muxer<C> = yamux::Muxer<FewSmallFrames<C>>;

impl UpgradeInfo for Muxing {
    type Info = <yamux::Config as UpgradeInfo>::Info;
    type InfoIter = <yamux::Config as UpgradeInfo>::InfoIter;

    fn protocol_info(&self) -> Self::InfoIter {
        self.0.protocol_info()
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> InboundConnectionUpgrade<C> for Muxing {
    type Output = FewStreams<Muxer<C>>;
    type Error = io::Error;
    type Future = MapOk<Ready<Result<Muxer<C>, io::Error>>, fn(Muxer<C>) -> Self::Output>;

    fn upgrade_inbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_inbound(FewSmallFrames::new(socket), info).map_ok(FewStreams::new)
    }
}

impl<C: AsyncRead + AsyncWrite + Send + Unpin + 'static> OutboundConnectionUpgrade<C> for Muxing {
    type Output = FewStreams<Muxer<C>>;
    type Error = io::Error;
    type Future = MapOk<Ready<Result<Muxer<C>, io::Error>>, fn(Muxer<C>) -> Self::Output>;

    fn upgrade_outbound(self, socket: C, info: Self::Info) -> Self::Future {
        self.0.upgrade_outbound(FewSmallFrames::new(socket), info).map_ok(FewStreams::new)
    }
}

/// Counts the frames of a connection that are read, and breaks it if too many are small.
pub(crate) struct FewSmallFrames<C> {
    socket: C,
    allowed: Bucket,
    /// The bytes of the next header that have been read: kind in byte 1, length in bytes 8 to 11, if it is a frame with data.
    head: [u8; HEAD_BYTES],
    head_bytes: usize,
    /// Bytes of the frame's data that are still to be read.
    data_bytes: usize,
}

/// Size of the header of a frame.
const HEAD_BYTES: usize = 12;

/// Kind of the frames with data.
const DATA: u8 = 0;

impl<C> FewSmallFrames<C> {
    fn new(socket: C) -> FewSmallFrames<C> {
        let allowed = Bucket::new(Instant::now(), SMALL_FRAMES_BURST, SMALL_FRAMES_PAUSE);
        FewSmallFrames { socket, allowed, head: [0; HEAD_BYTES], head_bytes: 0, data_bytes: 0 }
    }

    /// Follows the frames in bytes that were read.
    ///
    /// Errors: too many frames are small.
    fn follow(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            if self.data_bytes > 0 {
                let skipped = self.data_bytes.min(bytes.len());
                self.data_bytes -= skipped;
                bytes = &bytes[skipped..];
                continue;
            }
            let taken = (HEAD_BYTES - self.head_bytes).min(bytes.len());
            self.head[self.head_bytes..][..taken].copy_from_slice(&bytes[..taken]);
            self.head_bytes += taken;
            bytes = &bytes[taken..];
            if self.head_bytes < HEAD_BYTES {
                return Ok(());
            }
            let [_, kind, _, _, _, _, _, _, length @ ..] = self.head;
            self.head_bytes = 0;
            self.data_bytes = if kind == DATA { u32::from_be_bytes(length) as usize } else { 0 };
            if self.data_bytes < SMALL_FRAME_BYTES && !self.allowed.take(Instant::now()) {
                return Err(io::Error::other("the peer sent too many small frames"));
            }
        }
        Ok(())
    }
}

impl<C: AsyncRead + Unpin> AsyncRead for FewSmallFrames<C> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let read = std::task::ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
        self.follow(&buffer[..read])?;
        Poll::Ready(Ok(read))
    }
}

impl<C: AsyncWrite + Unpin> AsyncWrite for FewSmallFrames<C> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

/// A connection with at most [`STREAMS_MAX`] open streams, whoever opened them; the peer that opens one more loses it.
pub(crate) struct FewStreams<M: StreamMuxer> {
    inner: M,
    /// Each open stream holds a clone.
    open: Arc<()>,
    /// Streams that the peer opened and the swarm has not taken. They are taken from `inner` at once, because it would keep
    /// any number of them.
    waiting: VecDeque<Counted<M::Substream>>,
    waker: Option<Waker>,
}

impl<M: StreamMuxer> FewStreams<M> {
    fn new(inner: M) -> FewStreams<M> {
        FewStreams { inner, open: Arc::new(()), waiting: VecDeque::new(), waker: None }
    }

    fn counted(&self, stream: M::Substream) -> Counted<M::Substream> {
        Counted { stream, _open: self.open.clone() }
    }
}

impl<M: StreamMuxer + Unpin> FewStreams<M>
where
    M::Error: Send + Sync + 'static,
{
    /// Takes the streams that the peer has opened.
    ///
    /// Errors: the connection broke, or too many streams are open.
    fn take_inbound(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        while let Poll::Ready(stream) = Pin::new(&mut self.inner).poll_inbound(cx) {
            let stream = self.counted(stream.map_err(io::Error::other)?);
            if Arc::strong_count(&self.open) > STREAMS_MAX + 1 {
                return Err(io::Error::other(format!("the peer opened more than {STREAMS_MAX} streams")));
            }
            self.waiting.push_back(stream);
        }
        Ok(())
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for FewStreams<M>
where
    M::Substream: Unpin,
    M::Error: Send + Sync + 'static,
{
    type Substream = Counted<M::Substream>;
    type Error = io::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        if self.waiting.is_empty() {
            self.take_inbound(cx)?;
        }
        let Some(stream) = self.waiting.pop_front() else {
            self.waker = Some(cx.waker().clone());
            return Poll::Pending;
        };
        Poll::Ready(Ok(stream))
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<Self::Substream>> {
        let stream = Pin::new(&mut self.inner).poll_outbound(cx);
        stream.map_ok(|stream| self.counted(stream)).map_err(io::Error::other)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_close(cx).map_err(io::Error::other)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
        self.take_inbound(cx)?;
        if !self.waiting.is_empty()
            && let Some(waker) = self.waker.take()
        {
            waker.wake();
        }
        Pin::new(&mut self.inner).poll(cx).map_err(io::Error::other)
    }
}

/// A stream of [`FewStreams`], which is counted until it is dropped.
pub(crate) struct Counted<S> {
    stream: S,
    _open: Arc<()>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_close(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, length: u32) -> Vec<u8> {
        let mut frame = vec![0, kind, 0, 0, 0, 0, 0, 1];
        frame.extend(length.to_be_bytes());
        frame.resize(HEAD_BYTES + if kind == DATA { length as usize } else { 0 }, 9);
        frame
    }

    #[test]
    fn small_frames_are_counted_however_they_are_cut() {
        let large = SMALL_FRAME_BYTES as u32;
        let frames =
            [frame(DATA, large), frame(DATA, 70_000), frame(DATA, 1), frame(1, u32::MAX), frame(2, 5)].concat();
        for cut in [1, 5, 12, 13, frames.len()] {
            let mut few = FewSmallFrames::new(());
            let rounds = SMALL_FRAMES_BURST / 3;
            for _ in 0..rounds {
                frames.chunks(cut).for_each(|bytes| few.follow(bytes).unwrap());
            }
            let broken = (0..SMALL_FRAMES_BURST).find(|_| few.follow(&frame(2, 0)).is_err());
            assert!(broken.is_some(), "cut at {cut}");
            assert!(few.follow(&frame(DATA, large)).is_ok(), "a large frame is not counted");
        }
    }
}
