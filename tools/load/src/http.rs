//! HTTP/1.1 over one persistent connection, for the senders only. Writing requests and reading answers are separate, so that
//! many requests can be in flight. The crate `client`, which everything else uses, cannot do that: its library waits for the
//! answer to each request. Redirects, TLS and cookies are not supported: a node's RPC needs none of them.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::Duration,
};

use client::NodeAddress;

/// Maximum size of an answer's head in bytes.
const HEAD_BYTES_MAX: usize = 16 * 1024;
/// Maximum number of header lines of an answer.
const HEADERS_MAX: usize = 64;
/// Timeout for opening a connection to one address.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// Opens a new connection to the first address of the node's host that accepts it.
///
/// Errors: the name cannot be resolved, or no address of it accepts the connection within 3 s; then the error of the
/// last.
pub fn connect(node: &NodeAddress) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in node.authority().to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIME_MAX) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Appends the head of a POST request whose body has `body_bytes` bytes.
pub fn write_post(node: &NodeAddress, body_bytes: usize, out: &mut Vec<u8>) {
    let (authority, path) = (node.authority(), node.path("/"));
    let head = format_args!(
        "POST {path} HTTP/1.1\r\nhost: {authority}\r\ncontent-type: application/json\r\ncontent-length: {body_bytes}\r\n\r\n"
    );
    out.write_fmt(head).expect("memory takes what is written");
}

/// Reader of the answers that arrive on one connection.
pub struct Answers {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Number of bytes in `buffer` that were read and belong to the next answer.
    filled: usize,
}

/// One HTTP answer of a server.
#[derive(Debug)]
pub struct Answer {
    /// Status code of HTTP, such as 200.
    pub status: u16,
    /// Body of the answer, decoded if it was chunked.
    pub body: Vec<u8>,
}

impl Answers {
    /// Creates the reader of a connection.
    pub fn of(stream: TcpStream) -> Self {
        Self { stream, buffer: vec![0; 16 * 1024], filled: 0 }
    }

    /// Returns the next answer, whose body may have at most `bytes_max` bytes.
    ///
    /// Errors: the connection ended or broke, or the bytes received are not an acceptable answer. After an error the
    /// connection is unusable.
    pub fn next(&mut self, bytes_max: usize) -> io::Result<Answer> {
        let (head_bytes, status, length) = self.head()?;
        self.drop_first(head_bytes);
        let body = match length {
            Length::Bytes(bytes) if bytes > bytes_max => return Err(too_large(bytes_max)),
            Length::Bytes(bytes) => self.take(bytes)?,
            Length::Chunks => self.take_chunks(bytes_max)?,
        };
        Ok(Answer { status, body })
    }

    fn head(&mut self) -> io::Result<(usize, u16, Length)> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
            let mut head = httparse::Response::new(&mut headers);
            let parsed = head.parse(&self.buffer[..self.filled]);
            match parsed.map_err(|error| invalid(format!("not an answer of HTTP/1.1: {error}")))? {
                httparse::Status::Complete(bytes) => return Ok((bytes, head.code.unwrap_or(0), length_of(&head)?)),
                httparse::Status::Partial if self.filled >= HEAD_BYTES_MAX => return Err(too_large(HEAD_BYTES_MAX)),
                httparse::Status::Partial => self.fill()?,
            }
        }
    }

    /// Reads from the socket once, and enlarges a full buffer before.
    fn fill(&mut self) -> io::Result<()> {
        if self.filled == self.buffer.len() {
            self.buffer.resize(2 * self.buffer.len(), 0);
        }
        match self.stream.read(&mut self.buffer[self.filled..])? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended")),
            bytes => {
                self.filled += bytes;
                Ok(())
            }
        }
    }

    fn take(&mut self, bytes: usize) -> io::Result<Vec<u8>> {
        let buffered = bytes.min(self.filled);
        let mut body = Vec::with_capacity(bytes);
        body.extend_from_slice(&self.buffer[..buffered]);
        self.drop_first(buffered);
        body.resize(bytes, 0);
        self.stream.read_exact(&mut body[buffered..])?;
        Ok(body)
    }

    fn take_chunks(&mut self, bytes_max: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let digits = line.split(';').next().unwrap_or_default().trim();
            let bytes = usize::from_str_radix(digits, 16).map_err(|_| invalid("a chunk without a size"))?;
            if bytes > bytes_max - body.len() {
                return Err(too_large(bytes_max));
            }
            if bytes == 0 {
                while !self.line()?.is_empty() {} // the trailers are skipped
                return Ok(body);
            }
            body.extend_from_slice(&self.take(bytes)?);
            self.line()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer[..self.filled].windows(2).position(|two| two == b"\r\n") {
                let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
                self.drop_first(end + 2);
                return Ok(line);
            }
            if self.filled >= HEAD_BYTES_MAX {
                return Err(too_large(HEAD_BYTES_MAX));
            }
            self.fill()?;
        }
    }

    fn drop_first(&mut self, bytes: usize) {
        self.buffer.copy_within(bytes..self.filled, 0);
        self.filled -= bytes;
    }
}

enum Length {
    Bytes(usize),
    Chunks,
}

fn length_of(head: &httparse::Response<'_, '_>) -> io::Result<Length> {
    let value = |name: &str| {
        let header = head.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok())
    };
    if value("transfer-encoding").is_some_and(|coding| coding.trim().eq_ignore_ascii_case("chunked")) {
        return Ok(Length::Chunks);
    }
    let length = value("content-length").and_then(|length| length.trim().parse().ok());
    length.map(Length::Bytes).ok_or_else(|| invalid("an answer without its length"))
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn too_large(bytes_max: usize) -> io::Error {
    invalid(format!("an answer of more than {bytes_max} bytes"))
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use super::*;

    /// Returns the reader of a connection to a server that sends this text.
    fn said(text: &'static [u8]) -> Answers {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = NodeAddress::parse(&listener.local_addr().unwrap().to_string()).unwrap();
        thread::spawn(move || listener.accept().unwrap().0.write_all(text).unwrap());
        Answers::of(connect(&address).unwrap())
    }

    #[test]
    fn answers_follow_each_other_on_one_connection() {
        let mut answers = said(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nabHTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n\
              2\r\ncd\r\n1;x=y\r\ne\r\n0\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
        );
        let next = |answers: &mut Answers| answers.next(10).map(|answer| (answer.status, answer.body));
        assert_eq!(next(&mut answers).unwrap(), (200, b"ab".to_vec()));
        assert_eq!(next(&mut answers).unwrap(), (503, b"cde".to_vec()));
        assert_eq!(next(&mut answers).unwrap(), (200, vec![]));
        assert_eq!(next(&mut answers).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn answers_of_a_server_are_bounded_and_checked() {
        let refused = |text: &'static [u8]| said(text).next(10).unwrap_err().to_string();
        assert!(refused(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n").contains("more than 10 bytes"));
        assert!(
            refused(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n").contains("more than")
        );
        assert!(refused(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n").contains("chunk"));
        assert!(refused(b"HTTP/1.1 200 OK\r\n\r\n").contains("without its length"));
        assert!(refused(b"SSH-2.0-OpenSSH\r\n").contains("not an answer"));
        let endless: &'static [u8] = Box::leak([b"HTTP/1.1 200 OK\r\nx: ".as_slice(), &[b'y'; 40_000]].concat().into());
        assert!(refused(endless).contains("more than 16384 bytes"));
    }
}
