//! A TCP socket with a bound on what the system keeps for it, and with a second owner, which learns that the client has left while
//! nothing reads from the socket.
//!
//! A server learns that a client has left when it reads, and first reads what the client sent before. It reads nothing while a
//! request is answered and the next one is here already, or while a WebSocket runs as many calls as it may. Without the
//! second owner, all these calls would be carried out although no client reads their answers.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Weak},
    task::{Context, Poll, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
};

/// Maximum bytes that the system keeps and has not sent, because the client does not read. By default it keeps up to 4 MiB for each
/// connection (`net.ipv4.tcp_wmem`), which are counted nowhere.
#[cfg(any(target_os = "linux", target_os = "android"))]
const UNSENT_BYTES_MAX: u32 = 128 << 10;

/// A socket that is read and written as usual.
pub struct Socket {
    reader: Arc<OwnedReadHalf>,
    writer: OwnedWriteHalf,
}

/// The second owner of a [`Socket`], which does not keep it open.
#[derive(Debug)]
pub struct Presence(Weak<OwnedReadHalf>);

impl Socket {
    /// Takes a connected socket.
    pub fn new(stream: TcpStream) -> Self {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let _ = socket2::SockRef::from(&stream).set_tcp_notsent_lowat(UNSENT_BYTES_MAX); // Linux has it since version 3.12
        let (reader, writer) = stream.into_split();
        Self { reader: Arc::new(reader), writer }
    }

    /// Returns the second owner.
    pub fn presence(&self) -> Presence {
        Presence(Arc::downgrade(&self.reader))
    }
}

impl Presence {
    /// Completes when the client has closed its end of the connection, whatever it sent before and is not read yet. On systems
    /// other than Linux it never completes: there, reading or writing fails later.
    pub async fn ended(&self) {
        let Some(reader) = self.0.upgrade() else { return };
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            // Of all interests, only this one is in the end of the connection and not in readable bytes. The socket is not
            // registered for urgent bytes, so these do not end it.
            let _ = reader.ready(tokio::io::Interest::PRIORITY).await; // fails when the runtime stops
        }
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        {
            let _reader = reader;
            std::future::pending().await
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream: &TcpStream = (*self.reader).as_ref();
        loop {
            ready!(stream.poll_read_ready(cx))?;
            match stream.try_read_buf(buf) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(drop)),
            }
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.writer.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_shutdown(cx)
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::time::Duration;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
        time::timeout,
    };

    use super::*;

    /// Timeout that is longer than any step takes.
    const SOON: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn the_system_keeps_few_bytes_for_a_client_that_does_not_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(1).unwrap(); // the system takes its minimum
        let _client = socket.connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let (piece, mut taken) = (vec![0; 64 << 10], 0);
        while let Ok(written) = timeout(Duration::from_millis(200), socket.write(&piece)).await {
            taken += written.unwrap();
            assert!(taken <= 512 << 10, "{taken} bytes wait for a client that does not read");
        }
        assert!(taken > 0);
    }

    #[tokio::test]
    async fn a_client_that_leaves_is_missed_before_its_bytes_are_read() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let mut socket = Socket::new(listener.accept().await.unwrap().0);
        let presence = socket.presence();
        client.write_all(b"unread").await.unwrap();
        socket.read_exact(&mut [0; 2]).await.unwrap();
        assert!(timeout(Duration::from_millis(50), presence.ended()).await.is_err(), "it is here, and has sent bytes");
        socket.write_all(b"and reads").await.unwrap();
        client.read_exact(&mut [0; 9]).await.unwrap();
        drop(client);
        timeout(SOON, presence.ended()).await.unwrap();
        let mut rest = Vec::new();
        socket.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"read");
        drop(socket);
        timeout(SOON, presence.ended()).await.unwrap();
    }
}
