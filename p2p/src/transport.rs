//! The transports, and the executor of the tasks that drive their connections.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::Either;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::{Keypair, PeerId};
use libp2p::{Transport as _, noise, quic, tcp};
use tokio::sync::watch;
use tokio::time::Sleep;

use crate::limits::{LINGER, STREAMS_MAX};
use crate::muxing::Muxing;

/// Creates the transport: TCP (no delay, Noise, Yamux), and QUIC if `with_quic` is set. `timeout` bounds a dial with
/// its handshakes.
///
/// Errors: a description if the Noise configuration cannot be created from the key.
pub(crate) fn build(
    keys: &Keypair,
    with_quic: bool,
    timeout: Duration,
) -> Result<Boxed<(PeerId, StreamMuxerBox)>, String> {
    let noise = noise::Config::new(keys).map_err(|error| error.to_string())?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(Muxing::new())
        .timeout(timeout)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(PromptClose::new(muxer))));
    if !with_quic {
        return Ok(tcp.boxed());
    }
    let mut config = quic::Config::new(keys);
    config.handshake_timeout = timeout;
    config.max_concurrent_stream_limit = STREAMS_MAX as u32;
    let quic = quic::tokio::Transport::new(config)
        .map(|(peer, muxer), _| (peer, StreamMuxerBox::new(PromptClose::new(muxer))));
    Ok(tcp
        .or_transport(quic)
        .map(|either, _| match either {
            Either::Left(connection) | Either::Right(connection) => connection,
        })
        .boxed())
}

/// A connection whose close ends within [`LINGER`], even if the other side no longer reads.
struct PromptClose<M> {
    inner: M,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<M> PromptClose<M> {
    fn new(inner: M) -> PromptClose<M> {
        PromptClose { inner, deadline: None }
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for PromptClose<M> {
    type Substream = M::Substream;
    type Error = M::Error;

    fn poll_inbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<M::Substream, M::Error>> {
        Pin::new(&mut self.inner).poll_inbound(cx)
    }

    fn poll_outbound(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<M::Substream, M::Error>> {
        Pin::new(&mut self.inner).poll_outbound(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), M::Error>> {
        if let Poll::Ready(result) = Pin::new(&mut self.inner).poll_close(cx) {
            return Poll::Ready(result);
        }
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(LINGER)));
        deadline.as_mut().poll(cx).map(Ok)
    }

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<StreamMuxerEvent, M::Error>> {
        Pin::new(&mut self.inner).poll(cx)
    }
}

/// The tasks of one network. Each holds a receiver, so all have ended when the sender has no receiver left.
pub(crate) struct Tasks {
    stop: watch::Sender<()>,
}

impl Tasks {
    pub(crate) fn new() -> Tasks {
        Tasks { stop: watch::Sender::new(()) }
    }

    /// Returns the executor of the swarm. A task that it spawns ends by itself, or when [`Tasks::stop`] is called.
    pub(crate) fn executor(&self) -> impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + use<> {
        let stop = Arc::new(self.stop.subscribe());
        move |future| {
            let mut stop = watch::Receiver::clone(&stop);
            tokio::spawn(async move {
                tokio::select! {
                    () = future => {}
                    _ = stop.changed() => {}
                }
            });
        }
    }

    /// Stops all tasks and waits until they have ended. The executor must be dropped before.
    pub(crate) async fn stop(self) {
        self.stop.send_replace(());
        self.stop.closed().await;
    }
}

/// Converts an error of listening into an I/O error with a readable text.
pub(crate) fn listen_error(error: libp2p::TransportError<io::Error>) -> io::Error {
    match error {
        libp2p::TransportError::Other(error) => error,
        error => io::Error::other(error.to_string()),
    }
}
