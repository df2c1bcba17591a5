//! HTTP server that serves `/metrics` to Prometheus.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    extract::Request,
    http::{Method, StatusCode, header},
    response::{IntoResponse, Response},
};
use rpc::{
    clients::{Client, Limits},
    http::{self, Handle, Settings},
};
use tokio::sync::Semaphore;

use super::Metrics;
use crate::{exit::Failure, listen::bind};

/// Time without a request after which a connection is closed.
const IDLE_MAX: Duration = Duration::from_secs(75);

/// Maximum bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 * 1024;

/// Starts a server on the current tokio runtime; when this returns, it listens.
///
/// At most `requests_max` requests are answered at one time; one more is answered with 503. At most `connections_max`
/// connections are open; one more evicts the one that has been idle for longest, or is closed when all others are being
/// answered.
///
/// Errors: the server cannot listen on the address, with the setting's name.
pub fn serve(
    metrics: Arc<Metrics>,
    address: SocketAddr,
    requests_max: usize,
    connections_max: usize,
) -> Result<Handle, Failure> {
    let listener = bind("instrumentation.prometheus_listen_addr", address)?;
    let settings = Settings {
        name: "metrics server",
        limits: Limits::of_connections(connections_max, connections_max),
        head_time: IDLE_MAX,
        head_bytes_max: HEAD_BYTES_MAX,
        refusal: None,
    };
    let server = Server { metrics, turns: Arc::new(Semaphore::new(requests_max)), requests_max };
    http::serve(listener, settings, move |request, client, _| server.clone().answer(request, client))
        .map_err(Failure::config)
}

#[derive(Clone)]
struct Server {
    metrics: Arc<Metrics>,
    turns: Arc<Semaphore>,
    requests_max: usize,
}

impl Server {
    async fn answer(self, request: Request, client: Arc<Client>) -> Response {
        let _work = client.work();
        client.take_read();
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
        // Collecting reads the sizes of the database's files, so it needs a blocking thread.
        let collect = move || {
            let _turn = turn;
            self.metrics.text()
        };
        let text = tokio::task::spawn_blocking(collect).await.unwrap_or_default();
        ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpStream,
    };
    use types::ChainId;

    use super::*;

    fn served(requests_max: usize, connections_max: usize) -> Handle {
        let metrics = Arc::new(Metrics::new("cometbft", &ChainId::new("test-1").unwrap()));
        serve(metrics, "127.0.0.1:0".parse().unwrap(), requests_max, connections_max).unwrap()
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
        let server = served(3, 8);
        let mut idle = Vec::new();
        for _ in 0..20 {
            idle.push(TcpStream::connect(server.address()).await.unwrap());
        }
        let text = get(server.address(), "/metrics").await;
        assert!(text.starts_with("HTTP/1.1 200 ") && text.contains("cometbft_consensus_height"), "{text}");
        assert!(get(server.address(), "/").await.starts_with("HTTP/1.1 404 "));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_request_beyond_the_limit_in_flight_is_answered_503() {
        let server = served(0, 8);
        let text = get(server.address(), "/metrics").await;
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("instrumentation.max_open_connections"), "{text}");
    }
}
