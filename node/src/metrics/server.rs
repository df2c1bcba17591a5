//! HTTP server that serves `/metrics` to Prometheus.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    body::Body,
    http::{Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rpc::{
    NoStall,
    clients::{Client, Clients, Limits},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, oneshot},
    time::sleep,
};

use super::Metrics;
use crate::{exit::Failure, listen::bind};

/// Time without a request after which a connection is closed.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// Maximum time that a scraper may take to read.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum bytes of a request's head.
const HEADER_BYTES_MAX: usize = 16 * 1024;

/// A running metrics server; it stops when it is dropped.
pub struct MetricsServer {
    /// The address on which the server listens.
    pub address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

/// Starts a server on the current tokio runtime; when this returns, it listens.
///
/// At most `requests_max` requests are answered at one time; one more is answered with 503. At most `connections_max`
/// connections are open; one more evicts the one that has been idle for longest.
///
/// Errors: the server cannot listen on the address, with the setting's name.
pub async fn serve(
    metrics: Arc<Metrics>,
    address: SocketAddr,
    requests_max: usize,
    connections_max: usize,
) -> Result<MetricsServer, Failure> {
    let listener = bind("instrumentation.prometheus_listen_addr", address)?;
    let address = listener.local_addr().map_err(Failure::config)?;
    listener.set_nonblocking(true).map_err(Failure::config)?;
    let listener = TcpListener::from_std(listener).map_err(Failure::config)?;
    let limits =
        Limits { connections_max, address_connections_max: connections_max, bytes_per_second: 0, cpu_percent: 0 };
    let server =
        Server { metrics, clients: Clients::new(limits), turns: Arc::new(Semaphore::new(requests_max)), requests_max };
    let (stop, stopped) = oneshot::channel::<()>();
    tokio::spawn(async move {
        tokio::select! {
            () = server.accept(listener) => {}
            _ = stopped => {} // the handle was dropped
        }
    });
    Ok(MetricsServer { address, _stop: stop })
}

#[derive(Clone)]
struct Server {
    metrics: Arc<Metrics>,
    clients: Arc<Clients>,
    turns: Arc<Semaphore>,
    requests_max: usize,
}

impl Server {
    async fn accept(&self, listener: TcpListener) {
        loop {
            match listener.accept().await {
                Ok((socket, from)) => {
                    let _ = socket.set_nodelay(true); // an error only makes it slower
                    // Without a free place the connection is closed at once, because all others are being answered.
                    if let Ok(client) = self.clients.enter(from.ip()) {
                        tokio::spawn(self.clone().connection(socket, client));
                    }
                }
                // No file handle is left, or the client closed the connection. Neither ends the server, but the first
                // can last.
                Err(_) => {
                    self.clients.make_room();
                    sleep(Duration::from_millis(50)).await;
                }
            }
        }
    }

    async fn connection(self, socket: TcpStream, client: Arc<Client>) {
        let service = service_fn({
            let client = client.clone();
            move |request: Request<hyper::body::Incoming>| {
                let (server, client) = (self.clone(), client.clone());
                async move {
                    let _work = client.work();
                    client.take_read();
                    Ok::<_, Infallible>(server.answer(&request).await)
                }
            }
        });
        let http = http1::Builder::new()
            .auto_date_header(false) // it panics for years that HTTP dates cannot express
            .timer(TokioTimer::new())
            .header_read_timeout(IDLE_MAX)
            .max_buf_size(HEADER_BYTES_MAX)
            .serve_connection(TokioIo::new(NoStall::new(socket, CLIENT_TIMEOUT, Some(client.clone()))), service);
        tokio::select! {
            _ = http => {} // errors of a client's connection need no reaction
            () = client.has_to_leave() => {}
        }
    }

    async fn answer<B>(&self, request: &Request<B>) -> Response {
        if request.uri().path() != "/metrics" {
            return (StatusCode::NOT_FOUND, "metrics are at /metrics\n").into_response();
        }
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return (StatusCode::METHOD_NOT_ALLOWED, "use GET\n").into_response();
        }
        let Ok(turn) = self.turns.clone().try_acquire_owned() else {
            let text = format!(
                "{} requests are being answered, no more are taken (instrumentation.max_open_connections): try again later\n",
                self.requests_max
            );
            return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], text).into_response();
        };
        let metrics = self.metrics.clone();
        // Collecting reads the sizes of the database's files, so it needs a blocking thread.
        let collect = move || {
            let _turn = turn;
            metrics.text()
        };
        let text = tokio::task::spawn_blocking(collect).await.unwrap_or_default();
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], Body::from(text)).into_response()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use types::ChainId;

    use super::*;

    async fn served(requests_max: usize, connections_max: usize) -> MetricsServer {
        let metrics = Arc::new(Metrics::new("cometbft", &ChainId::new("test-1").unwrap()));
        serve(metrics, "127.0.0.1:0".parse().unwrap(), requests_max, connections_max).await.unwrap()
    }

    async fn get(address: SocketAddr, path: &str) -> String {
        let mut socket = TcpStream::connect(address).await.unwrap();
        socket.write_all(format!("GET {path} HTTP/1.1\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).await.unwrap();
        text
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn idle_connections_do_not_block_other_clients() {
        let server = served(3, 8).await;
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(TcpStream::connect(server.address).await.unwrap());
        }
        let text = get(server.address, "/metrics").await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("cometbft_consensus_height"), "{text}");
        assert!(get(server.address, "/").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_request_beyond_the_limit_in_flight_is_answered_503() {
        let server = served(0, 8).await;
        let text = get(server.address, "/metrics").await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("instrumentation.max_open_connections"), "{text}");
    }
}
