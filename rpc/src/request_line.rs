//! Accepts the request lines that CometBFT's server accepts.
//!
//! Its users type `curl 'localhost:26657/block?height="7"'`, and curl sends the quotes unchanged. Go's server accepts
//! any byte of a request target except spaces and control characters. hyper follows the RFC and answers 400 before our
//! code sees the request. [`RequestLine`] is placed between the socket and hyper and percent-encodes such bytes, in
//! request lines and nowhere else.
//!
//! ```text
//!   start ──▶ method ──SP──▶ target ──SP──▶ version ──LF──▶ headers ──empty line──▶ body of n bytes ──▶ start
//!                            encoded here                       └── upgrade, transfer-encoding, unclear length: rest
//! ```
//! It works byte by byte and keeps at most [`PIECE_BYTES`] × 3 bytes that hyper has not read yet, and
//! [`NAME_BYTES_MAX`] of a header line. It validates nothing: a malformed request reaches hyper unchanged, and hyper
//! refuses it. After a body whose end cannot be known from `content-length`, the rest of the connection is passed on
//! unchanged; the client must encode later targets on it.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// Maximum bytes of a request's head that are read from the socket at one time.
const PIECE_BYTES: usize = 2048;

/// Bytes of a header line that are examined: enough for the longest name below, and a length with spaces around it.
const NAME_BYTES_MAX: usize = 64;

/// The part of a request to which the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Before a request; empty lines are skipped.
    Start,
    Method,
    Target,
    Version,
    Headers,
    /// Number of body bytes that are left.
    Body(u64),
    /// The rest of the connection, which is not examined.
    Rest,
}

/// State machine that follows the requests of one connection.
#[derive(Debug)]
struct Encoder {
    place: Place,
    /// Start of the current header line, in lower case.
    line: Vec<u8>,
    line_bytes: usize,
    body: Body,
}

/// Length of the current request's body, according to its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    Bytes(u64),
    Unclear,
}

impl Encoder {
    fn new() -> Self {
        let line = Vec::with_capacity(NAME_BYTES_MAX);
        Self { place: Place::Start, line, line_bytes: 0, body: Body::Bytes(0) }
    }

    /// Appends bytes to `out`, encoded where necessary.
    fn take(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) {
        while let [byte, rest @ ..] = bytes {
            match self.place {
                Place::Body(left) => {
                    let (body, rest) = bytes.split_at(usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len()));
                    out.extend_from_slice(body);
                    self.pass(body.len());
                    bytes = rest;
                    continue;
                }
                Place::Rest => return out.extend_from_slice(bytes),
                Place::Target if !is_plain(*byte) => {
                    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
                    let (high, low) = (DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]);
                    out.extend([b'%', high, low]);
                }
                _ => out.push(*byte),
            }
            self.step(*byte);
            bytes = rest;
        }
    }

    /// Advances past bytes of a body.
    fn pass(&mut self, bytes: usize) {
        if let Place::Body(left) = self.place {
            let left = left.saturating_sub(bytes as u64);
            self.place = if left == 0 { Place::Start } else { Place::Body(left) };
        }
    }

    fn step(&mut self, byte: u8) {
        self.place = match (self.place, byte) {
            (Place::Start, b'\r' | b'\n') => Place::Start,
            (Place::Method | Place::Target | Place::Version, b'\n') => Place::Headers,
            (Place::Method, b' ') => Place::Target,
            (Place::Target, b' ') => Place::Version,
            (Place::Start, _) => Place::Method,
            (Place::Headers, b'\n') => return self.end_line(),
            (Place::Headers, byte) => {
                self.line_bytes += 1;
                if self.line.len() < NAME_BYTES_MAX {
                    self.line.push(byte.to_ascii_lowercase());
                }
                Place::Headers
            }
            (place, _) => place,
        };
    }

    fn end_line(&mut self) {
        let is_cut = self.line_bytes > self.line.len();
        let line = self.line.trim_ascii_end();
        if line.is_empty() && !is_cut {
            self.place = match self.body {
                Body::Bytes(0) => Place::Start,
                Body::Bytes(bytes) => Place::Body(bytes),
                Body::Unclear => Place::Rest,
            };
            self.body = Body::Bytes(0);
        } else if let Some(length) = line.strip_prefix(b"content-length:") {
            let length = std::str::from_utf8(length.trim_ascii()).ok().and_then(|length| length.parse().ok());
            self.body = match (self.body, length.filter(|_| !is_cut)) {
                (Body::Bytes(0), Some(bytes)) => Body::Bytes(bytes),
                _ => Body::Unclear,
            };
        } else if line.starts_with(b"transfer-encoding:") || line.starts_with(b"upgrade:") {
            self.body = Body::Unclear;
        }
        self.line.clear();
        self.line_bytes = 0;
    }
}

/// Returns true if a byte of a target needs no encoding: hyper accepts it, or must refuse it. Spaces end the target,
/// and a control character is an error in Go too.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_control() || (byte.is_ascii() && !b"\"#<>\\^`{|}".contains(&byte))
}

/// A socket whose request lines are percent-encoded when they are read.
pub struct RequestLine<S> {
    socket: S,
    encoder: Encoder,
    /// Encoded bytes; those from position `read` on are not read yet.
    encoded: Vec<u8>,
    read: usize,
}

impl<S> RequestLine<S> {
    /// Wraps a socket of a new connection.
    pub fn new(socket: S) -> Self {
        Self { socket, encoder: Encoder::new(), encoded: Vec::new(), read: 0 }
    }

    fn hand_out(&mut self, buf: &mut ReadBuf<'_>) {
        let bytes = (self.encoded.len() - self.read).min(buf.remaining());
        buf.put_slice(&self.encoded[self.read..self.read + bytes]);
        self.read += bytes;
        if self.read == self.encoded.len() {
            self.encoded.clear();
            self.read = 0;
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for RequestLine<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.encoded.is_empty() {
            this.hand_out(buf);
            return Poll::Ready(Ok(()));
        }
        match this.encoder.place {
            Place::Rest => Pin::new(&mut this.socket).poll_read(cx, buf),
            // Body bytes are read directly into the caller's buffer.
            Place::Body(left) => {
                let before = buf.filled().len();
                ready!(Pin::new(&mut (&mut this.socket).take(left)).poll_read(cx, buf))?;
                this.encoder.pass(buf.filled().len() - before);
                Poll::Ready(Ok(()))
            }
            _ => {
                let mut bytes = [0; PIECE_BYTES];
                let mut piece = ReadBuf::new(&mut bytes);
                ready!(Pin::new(&mut this.socket).poll_read(cx, &mut piece))?;
                this.encoder.take(piece.filled(), &mut this.encoded);
                this.hand_out(buf);
                Poll::Ready(Ok(()))
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for RequestLine<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded(pieces: &[&[u8]]) -> Vec<u8> {
        let (mut encoder, mut out) = (Encoder::new(), Vec::new());
        pieces.iter().for_each(|piece| encoder.take(piece, &mut out));
        out
    }

    #[test]
    fn request_targets_are_encoded_and_nothing_else_is() {
        let table: &[(&str, &str)] = &[
            ("GET /block?height=\"7\" HTTP/1.1\r\n\r\n", "GET /block?height=%227%22 HTTP/1.1\r\n\r\n"),
            ("\r\nGET /a?b=<>\\^`{|}#c HTTP/1.1\n\n", "\r\nGET /a?b=%3C%3E%5C%5E%60%7B%7C%7D%23c HTTP/1.1\n\n"),
            ("GET /é?a='b'%22+&c HTTP/1.1\r\n\r\n", "GET /%C3%A9?a='b'%22+&c HTTP/1.1\r\n\r\n"),
            ("GET / HTTP/1.1\r\nx: \"<é\r\n\r\nGET /\" H", "GET / HTTP/1.1\r\nx: \"<é\r\n\r\nGET /%22 H"),
            // A body is counted, so what follows it is a request again.
            (
                "POST /\" HTTP/1.1\r\nContent-Length:  4 \r\n\r\nG \"\"GET /\" HTTP/1.1\r\n\r\n",
                "POST /%22 HTTP/1.1\r\nContent-Length:  4 \r\n\r\nG \"\"GET /%22 HTTP/1.1\r\n\r\n",
            ),
            // If the end of the body cannot be known, the rest stays unchanged.
            (
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
                "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
            ),
            (
                "GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
                "GET / HTTP/1.1\r\nupgrade: websocket\r\n\r\nGET /\" HTTP/1.1\r\n\r\n",
            ),
            (
                "GET / HTTP/1.1\ncontent-length: 1\ncontent-length: 2\n\nxGET /\" H",
                "GET / HTTP/1.1\ncontent-length: 1\ncontent-length: 2\n\nxGET /\" H",
            ),
            ("GET / HTTP/1.1\ncontent-length: -1\n\nGET /\" H", "GET / HTTP/1.1\ncontent-length: -1\n\nGET /\" H"),
        ];
        for (sent, expected) in table {
            assert_eq!(String::from_utf8_lossy(&encoded(&[sent.as_bytes()])), *expected);
            let bytes: Vec<&[u8]> = sent.as_bytes().chunks(1).collect();
            assert_eq!(String::from_utf8_lossy(&encoded(&bytes)), *expected, "byte by byte");
        }
    }

    #[test]
    fn memory_is_bounded_whatever_is_sent() {
        let mut encoder = Encoder::new();
        for line in [&b"GET /"[..], &[b'"'; PIECE_BYTES], b" H\r\n", &[b'a'; PIECE_BYTES]] {
            let mut out = Vec::new();
            encoder.take(line, &mut out);
            assert!(out.len() <= 3 * line.len());
        }
        assert!(encoder.line.capacity() <= 2 * NAME_BYTES_MAX);
    }

    proptest! {
        /// The bytes read through a socket do not depend on the sizes of the pieces.
        #[test]
        fn the_result_does_not_depend_on_the_sizes_of_the_pieces(
            requests in proptest::collection::vec(("[ -~]{0,20}", 0usize..9, "[a-z:\" \r]{0,30}"), 1..4),
            size in 1usize..40,
        ) {
            let request = |(target, length, header): &(String, usize, String)| {
                format!("GET /{target} HTTP/1.1\r\n{header}\r\ncontent-length: {length}\r\n\r\n{}", "\"".repeat(*length))
            };
            let sent: String = requests.iter().map(request).collect();
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let got = runtime.block_on(async {
                let (mut socket, mut got) = (RequestLine::new(sent.as_bytes()), Vec::new());
                let mut piece = vec![0; size];
                loop {
                    match socket.read(&mut piece).await.unwrap() {
                        0 => return got,
                        bytes => got.extend_from_slice(&piece[..bytes]),
                    }
                }
            });
            prop_assert_eq!(got, encoded(&[sent.as_bytes()]));
        }
    }
}
