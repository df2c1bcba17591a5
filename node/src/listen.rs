//! A TCP listener whose connections are bounded in number and in idleness.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{Instant, Sleep, sleep},
};

use crate::exit::{Code, Failure};

/// A connection that sends nothing for this long is closed: it holds one of few places.
pub const IDLE_MAX: Duration = Duration::from_secs(75);

/// Listens, or says which setting cannot work.
pub fn bind(setting: &str, address: SocketAddr) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => {
            let sentence = format!("{setting}: {address} is in use by another process. Stop it, or set another port");
            Failure::new(Code::InUse, sentence)
        }
        _ => Failure::config(format!("{setting}: cannot listen on {address}: {error}")),
    })
}

/// Takes at most a number of connections; further ones wait in the system's queue.
pub struct BoundedListener {
    listener: tokio::net::TcpListener,
    places: Arc<Semaphore>,
}

impl BoundedListener {
    /// Bounds a listener. To be called on a tokio runtime.
    pub fn new(listener: TcpListener, connections_max: usize) -> Result<Self, Failure> {
        listener.set_nonblocking(true).map_err(Failure::config)?;
        let listener = tokio::net::TcpListener::from_std(listener).map_err(Failure::config)?;
        Ok(Self { listener, places: Arc::new(Semaphore::new(connections_max)) })
    }
}

impl axum::serve::Listener for BoundedListener {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let place = self.places.clone().acquire_owned().await.expect("the semaphore is never closed");
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    let _ = stream.set_nodelay(true); // only slower without
                    let connection = Connection { stream, idle: Box::pin(sleep(IDLE_MAX)), _place: place };
                    return (connection, address);
                }
                // Too many open files, or a client that left: neither ends the server, but the first lasts a while.
                Err(_) => sleep(Duration::from_millis(50)).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that gives its place back when it ends.
pub struct Connection {
    stream: TcpStream,
    idle: Pin<Box<Sleep>>,
    _place: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buf) {
            Poll::Ready(result) => {
                self.idle.as_mut().reset(Instant::now() + IDLE_MAX);
                Poll::Ready(result)
            }
            Poll::Pending => {
                ready!(self.idle.as_mut().poll(cx));
                Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
            }
        }
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_names_the_setting_and_the_way_out() {
        let first = bind("rpc.laddr", "127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind("rpc.laddr", first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.code, Code::InUse);
        assert!(error.sentence.starts_with("rpc.laddr: 127.0.0.1:"), "{error}");
        assert!(error.sentence.ends_with("Stop it, or set another port"));
    }
}
