//! A client of HTTP and WebSocket on a bare socket, which can send anything at any time, from any address of this machine.

use std::{io, net::SocketAddr};

use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpSocket, TcpStream},
};
use tokio_tungstenite::{WebSocketStream, client_async};

use crate::hostile::{address, connect};

/// One connection over HTTP.
pub struct Http(BufReader<TcpStream>);

impl Http {
    /// Connects from the address of the n-th attacker.
    ///
    /// Errors: the connection is refused.
    pub async fn connect(from: u16, to: SocketAddr) -> io::Result<Self> {
        connect(address(from), to).await.map(BufReader::new).map(Self)
    }

    /// As [`Http::connect`], with the smallest buffer for what arrives.
    ///
    /// Errors: the connection is refused.
    pub async fn connect_deaf(from: u16, to: SocketAddr) -> io::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.set_recv_buffer_size(1)?; // the system takes its minimum
        socket.bind(SocketAddr::new(address(from), 0))?;
        socket.connect(to).await.map(BufReader::new).map(Self)
    }

    /// Sends bytes.
    ///
    /// Errors: the server has closed the connection.
    pub async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes).await
    }

    /// Reads the next answer: its status and its body.
    ///
    /// Errors: the server has closed the connection, or what it sends is no answer.
    pub async fn answer(&mut self) -> io::Result<(u16, Vec<u8>)> {
        let wrong = |line: &str| io::Error::other(format!("no answer: {line:?}"));
        let (mut status, mut length) = (None, 0);
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let line = line.trim_end().to_ascii_lowercase();
            match (status, line.strip_prefix("content-length:")) {
                _ if line.is_empty() => break,
                (None, _) => status = line.split(' ').nth(1).and_then(|code| code.parse().ok()),
                (Some(_), Some(bytes)) => length = bytes.trim().parse().map_err(|_| wrong(&line))?,
                (Some(_), None) => {}
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).await?;
        Ok((status.ok_or_else(|| wrong(""))?, body))
    }

    /// Sends a GET request and reads its answer.
    ///
    /// Errors: as [`Http::answer`].
    pub async fn get(&mut self, path: &str) -> io::Result<(u16, Vec<u8>)> {
        self.send(&got(path)).await?;
        self.answer().await
    }

    /// Posts a body and reads the answer.
    ///
    /// Errors: as [`Http::answer`].
    pub async fn post(&mut self, body: &str) -> io::Result<(u16, Vec<u8>)> {
        self.send(&posted(body)).await?;
        self.answer().await
    }
}

/// Returns the bytes of a GET request.
pub fn got(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").into_bytes()
}

/// Returns the bytes of a POST request.
pub fn posted(body: &str) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

/// Returns a call.
pub fn call(id: usize, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// Returns a batch of calls of one method with the same arguments.
pub fn batch(count: usize, method: &str, params: &Value) -> String {
    Value::Array((0..count).map(|id| call(id, method, params)).collect()).to_string()
}

/// One connection over WebSocket.
pub type Socket = WebSocketStream<TcpStream>;

/// Opens a WebSocket from the address of the n-th attacker; `None` if the server refuses it.
pub async fn websocket(from: u16, to: SocketAddr) -> Option<Socket> {
    let socket = connect(address(from), to).await.ok()?;
    client_async(format!("ws://{to}/websocket"), socket).await.ok().map(|(socket, _)| socket)
}
