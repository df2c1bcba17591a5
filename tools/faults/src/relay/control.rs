//! Controls a running relay over HTTP, so that `curl` can do it.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | one line per link: its settings and its counters |
//! | `POST /`, lines such as `0-1,0-2 delay=50ms` or `* open` | the same, after the change |
//!
//! If one line of a `POST` is wrong, none is executed, and the answer is status 400 with a sentence. The server handles
//! one request at a time, and one per connection. It has no authentication: listen only at an address that trusted
//! programs alone can reach.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use super::{Order, Relay, RelayError, link::spawn};

/// Maximum size of a request's head in bytes.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Maximum number of header lines of a request.
const HEADERS_MAX: usize = 64;
/// Maximum size in bytes of a request's body, and of an answer.
const BODY_BYTES_MAX: usize = 1024 * 1024;
/// Time limit for reading a whole request: a slow client is cut off, because others wait.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// Serves the control of a relay from now on, until the process ends. Returns the address where it listens.
///
/// Errors: [`RelayError::Listen`] when the address is already in use or not allowed; [`RelayError::Thread`] when no
/// thread can be started.
pub fn serve(relay: Arc<Relay>, listen: &str) -> Result<SocketAddr, RelayError> {
    let failed =
        |error| RelayError::Listen { name: "control".to_owned(), listen: listen.to_owned(), what: "TCP", error };
    let listener = TcpListener::bind(listen).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    spawn("relay-control", move || {
        for client in listener.incoming() {
            match client {
                // The client may have disconnected, so an error is ignored.
                Ok(mut client) => drop(answer(&relay, &mut client)),
                // The process has no free descriptors for a while.
                Err(_) => thread::sleep(Duration::from_millis(50)),
            }
        }
    })?;
    Ok(address)
}

fn answer(relay: &Relay, client: &mut TcpStream) -> io::Result<()> {
    client.set_write_timeout(Some(CLIENT_TIMEOUT))?;
    let (status, text) = match request(client)? {
        Err(reason) => ("400 Bad Request", reason),
        Ok((method, _)) if method == "GET" => ("200 OK", relay.status()),
        Ok((method, body)) if method == "POST" => match obey(relay, &body) {
            Ok(()) => ("200 OK", relay.status()),
            Err(reason) => ("400 Bad Request", reason),
        },
        Ok(_) => ("405 Method Not Allowed", "use GET, or POST with lines such as `* delay=50ms`".to_owned()),
    };
    let text = format!("{}\n", text.trim_end());
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        text.len()
    );
    client.write_all(head.as_bytes())?;
    client.write_all(text.as_bytes())
}

fn obey(relay: &Relay, body: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(body).map_err(|_| "the body is no text".to_owned())?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let orders: Vec<Order> = lines.map(str::parse).collect::<Result<_, _>>()?;
    if orders.is_empty() {
        return Err("the body has no lines: write one such as `* delay=50ms`".to_owned());
    }
    relay.obey(&orders)
}

/// Reads a request and returns its method and body, or a sentence that says why it is not valid.
fn request(client: &mut TcpStream) -> io::Result<Result<(String, Vec<u8>), String>> {
    let until = Instant::now() + CLIENT_TIMEOUT;
    let mut bytes = Vec::new();
    let bad = |reason: &str| Ok(Err(reason.to_owned()));
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(&bytes) {
            Err(_) => return bad("this is no HTTP request"),
            Ok(httparse::Status::Partial) if bytes.len() > HEAD_BYTES_MAX => return bad("the head is too long"),
            Ok(httparse::Status::Partial) => {}
            Ok(httparse::Status::Complete(head)) => {
                let method = parsed.method.unwrap_or_default().to_owned();
                let length = parsed.headers.iter().find(|header| header.name.eq_ignore_ascii_case("content-length"));
                let length = length.map_or(Some(0), |header| std::str::from_utf8(header.value).ok()?.parse().ok());
                let Some(length) = length.filter(|length| *length <= BODY_BYTES_MAX) else {
                    return bad("the body is too long");
                };
                while bytes.len() < head + length {
                    read_some(client, &mut bytes, until)?;
                }
                return Ok(Ok((method, bytes[head..head + length].to_vec())));
            }
        }
        read_some(client, &mut bytes, until)?;
    }
}

fn read_some(client: &mut TcpStream, bytes: &mut Vec<u8>, until: Instant) -> io::Result<()> {
    let left = until.saturating_duration_since(Instant::now());
    if left.is_zero() {
        return Err(io::ErrorKind::TimedOut.into());
    }
    client.set_read_timeout(Some(left))?;
    let mut buffer = [0; 4096];
    match client.read(&mut buffer)? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        count => {
            bytes.extend_from_slice(&buffer[..count]);
            Ok(())
        }
    }
}

/// Client of the control of a relay in another process.
#[derive(Clone, Debug)]
pub struct Control {
    address: SocketAddr,
}

impl Control {
    /// Creates a client of the control at this address.
    pub fn at(address: SocketAddr) -> Self {
        Self { address }
    }

    /// Queries the settings and counters of all links, one line each.
    ///
    /// Errors: a sentence when the relay does not answer in time.
    pub fn status(&self) -> Result<String, String> {
        self.ask("GET", "")
    }

    /// Sends lines of orders to the relay, and returns the settings and counters of all links afterwards.
    ///
    /// Errors: a sentence when the relay does not answer in time, or refuses the orders.
    pub fn order(&self, lines: &str) -> Result<String, String> {
        self.ask("POST", lines)
    }

    fn ask(&self, method: &str, body: &str) -> Result<String, String> {
        let said = self.exchange(method, body).map_err(|error| format!("the relay does not answer: {error}"))?;
        let (head, text) = said.split_once("\r\n\r\n").unwrap_or((&said, ""));
        match head.split(' ').nth(1) {
            Some("200") => Ok(text.to_owned()),
            Some(_) => Err(format!("the relay refuses: {}", text.trim())),
            None => Err("the program that answers there is not a relay".to_owned()),
        }
    }

    fn exchange(&self, method: &str, body: &str) -> io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.address, CLIENT_TIMEOUT)?;
        stream.set_read_timeout(Some(CLIENT_TIMEOUT))?;
        stream.set_write_timeout(Some(CLIENT_TIMEOUT))?;
        let (address, length) = (self.address, body.len());
        stream.write_all(
            format!("{method} / HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes(),
        )?;
        let mut said = String::new();
        stream.take((HEAD_BYTES_MAX + BODY_BYTES_MAX) as u64).read_to_string(&mut said)?;
        Ok(said)
    }
}
