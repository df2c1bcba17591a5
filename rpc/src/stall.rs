//! A socket that disconnects a client that does not read, and counts the bytes that a client sends.
//!
//! hyper, axum and tokio offer nothing for it. hyper bounds only the time for a request's head. A time-out around a whole
//! answer would also end large answers that a slow client reads steadily; the socket sees the progress.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Instant, Sleep, sleep},
};

use crate::clients::{Client, Refused};

/// Minimum rate in bytes per second at which a client must read once its patience is over.
const READ_RATE_MIN: u64 = 16 * 1024;

/// A socket that fails when a client reads too slowly. Without it, a client that reads nothing, or one byte now and
/// then, would hold the memory of its answer forever.
pub struct NoStall<S> {
    socket: S,
    client: Arc<Client>,
    patience: Duration,
    /// Timer that expires when the client is too slow.
    deadline: Pin<Box<Sleep>>,
    /// Since when bytes wait for the client, and how many it has read since then.
    waiting: Option<(Instant, u64)>,
}

impl<S> NoStall<S> {
    /// Wraps a socket that fails when the client reads nothing for `patience`, or reads below the minimum rate for
    /// longer. Received bytes are counted for `client`.
    pub fn new(socket: S, patience: Duration, client: Arc<Client>) -> Self {
        Self { socket, client, patience, deadline: Box::pin(sleep(patience)), waiting: None }
    }

    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
        written: impl Fn(&T) -> Option<usize>,
    ) -> Poll<io::Result<T>> {
        match &progress {
            Poll::Ready(Ok(done)) => {
                match (written(done), &mut self.waiting) {
                    (Some(bytes), Some((_, read))) => *read += bytes as u64,
                    (None, waiting) => *waiting = None, // everything is written
                    (Some(_), None) => {}
                }
                progress
            }
            Poll::Ready(Err(_)) => progress,
            Poll::Pending => {
                let (since, read) = *self.waiting.get_or_insert((Instant::now(), 0));
                let deadline = since + self.patience + Duration::from_millis(read * 1000 / READ_RATE_MIN);
                if self.deadline.deadline() != deadline {
                    self.deadline.as_mut().reset(deadline);
                }
                ready!(self.deadline.as_mut().poll(cx));
                self.client.count(Refused::Slow);
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read")))
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for NoStall<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.socket).poll_read(cx, buf))?;
        let bytes = buf.filled().len() - before;
        if !self.client.read(bytes) {
            return Poll::Ready(Err(io::Error::other("too many bytes of messages wait to become complete")));
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for NoStall<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.socket).poll_write(cx, buf);
        self.watch(cx, progress, |bytes| Some(*bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.socket).poll_write_vectored(cx, bufs);
        self.watch(cx, progress, |bytes| Some(*bytes))
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.socket).poll_flush(cx);
        self.watch(cx, progress, |()| None)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.socket).poll_shutdown(cx);
        self.watch(cx, progress, |()| None)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;
    use crate::clients::tests::connected;

    #[tokio::test]
    async fn a_client_that_reads_nothing_is_disconnected() {
        let (ours, mut theirs) = duplex(16);
        let patience = Duration::from_millis(50);
        let [client, ..] = connected();
        let mut socket = NoStall::new(ours, patience, client);
        socket.write_all(&[1; 16]).await.unwrap();
        let started = Instant::now();
        let error = socket.write_all(&[2; 16]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(started.elapsed() >= patience);
        theirs.read_exact(&mut [0; 16]).await.unwrap();
        socket.write_all(&[3; 16]).await.unwrap();
    }
}
