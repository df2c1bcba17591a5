//! Requests and responses: one stream each, bounded in size, number and time.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::StreamProtocol;
use libp2p::request_response::{self, Behaviour, Codec, InboundRequestId, ProtocolSupport};
use tokio::sync::oneshot;

use crate::frame::{self, FrameError};
use crate::limits::{REQUEST_BYTES_MAX, RESPONSE_BYTES_MAX};

/// Identifies a received request that waits for our response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub(crate) InboundRequestId);

/// The reason why a request got no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The peer is not connected, or the connection was lost before the response.
    #[error("the peer is not connected")]
    NotConnected,
    /// No response arrived within the request timeout.
    #[error("no answer in time")]
    Timeout,
    /// The peer already handles its maximum number of our requests, or it declined this one.
    #[error("the peer is busy")]
    Busy,
    /// The maximum number of our requests to this peer is open.
    #[error("too many open requests to this peer")]
    TooMany,
    /// The request is larger than allowed.
    #[error("the request has {got} bytes, at most {max} are allowed")]
    TooLarge {
        /// Size of the request in bytes.
        got: usize,
        /// Maximum size in bytes.
        max: usize,
    },
    /// The response violated the protocol, or the stream broke.
    #[error("the request failed: {0}")]
    Failed(String),
    /// The network is shutting down, or its command queue is full.
    #[error("the network takes no requests")]
    Closed,
}

/// A pending response. Await it, or call [`Reply::wait`] on a plain thread.
#[derive(Debug)]
pub struct Reply(pub(crate) oneshot::Receiver<Result<Vec<u8>, RequestError>>);

impl Reply {
    /// Waits for the response. Panics inside an async task, like the blocking calls of tokio.
    ///
    /// Errors: the [`RequestError`] of the request; [`RequestError::Closed`] if the network ended before the response.
    pub fn wait(self) -> Result<Vec<u8>, RequestError> {
        self.0.blocking_recv().unwrap_or(Err(RequestError::Closed))
    }
}

impl Future for Reply {
    type Output = Result<Vec<u8>, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|reply| reply.unwrap_or(Err(RequestError::Closed)))
    }
}

/// Callback for a response. It runs on the network's own thread and must not block.
pub(crate) type OnReply = Box<dyn FnOnce(Result<Vec<u8>, RequestError>) + Send>;

/// A response on the wire: one byte of kind (0 answer, 1 busy), then a frame if it is an answer.
#[derive(Debug)]
pub(crate) enum Response {
    Answer(Vec<u8>),
    Busy,
}

/// Codec that carries opaque bytes in frames.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct BytesCodec;

pub(crate) type Requests = Behaviour<BytesCodec>;

pub(crate) fn behaviour(chain_id: &str, timeout: Duration) -> Requests {
    let protocol =
        StreamProtocol::try_from_owned(format!("/cairn/{chain_id}/requests/1")).expect("begins with a slash");
    let config = request_response::Config::default().with_request_timeout(timeout).with_max_concurrent_streams(64);
    Behaviour::with_codec(BytesCodec, [(protocol, ProtocolSupport::Full)], config)
}

async fn read_frame(io: &mut (impl AsyncRead + Unpin), max: usize) -> io::Result<Vec<u8>> {
    frame::read(io, max).await.map_err(|error| match error {
        FrameError::Closed(error) => error,
        FrameError::Oversized { got, max } => {
            io::Error::new(io::ErrorKind::InvalidData, format!("{got} bytes where {max} are allowed"))
        }
    })
}

impl Codec for BytesCodec {
    type Protocol = StreamProtocol;
    type Request = Vec<u8>;
    type Response = Response;

    async fn read_request<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Vec<u8>>
    where
        T: AsyncRead + Unpin + Send,
    {
        read_frame(io, REQUEST_BYTES_MAX).await
    }

    async fn read_response<T>(&mut self, _: &StreamProtocol, io: &mut T) -> io::Result<Response>
    where
        T: AsyncRead + Unpin + Send,
    {
        let mut kind = [0];
        io.read_exact(&mut kind).await?;
        match kind[0] {
            0 => read_frame(io, RESPONSE_BYTES_MAX).await.map(Response::Answer),
            1 => Ok(Response::Busy),
            kind => Err(io::Error::new(io::ErrorKind::InvalidData, format!("response of unknown kind {kind}"))),
        }
    }

    async fn write_request<T>(&mut self, _: &StreamProtocol, io: &mut T, request: Vec<u8>) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        let mut bytes = Vec::with_capacity(4 + request.len());
        frame::append(&mut bytes, &request);
        io.write_all(&bytes).await
    }

    async fn write_response<T>(&mut self, _: &StreamProtocol, io: &mut T, response: Response) -> io::Result<()>
    where
        T: AsyncWrite + Unpin + Send,
    {
        match response {
            Response::Answer(answer) => {
                let mut head = [0; 5];
                head[1..].copy_from_slice(&(answer.len() as u32).to_be_bytes());
                io.write_all(&head).await?;
                io.write_all(&answer).await
            }
            Response::Busy => io.write_all(&[1]).await,
        }
    }
}
