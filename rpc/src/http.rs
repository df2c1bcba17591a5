//! A server of HTTP/1 that bounds what its clients can cost. The RPC and the metrics server of the node use it: each gives
//! its [`Settings`] and a service, a function from a request to a response.
//!
//! ```text
//!   accept ──▶ place of the client ──▶ socket that notices stalls ──▶ request line ──▶ hyper ──▶ service
//!                │ none is free
//!                └─▶ 503, or closed
//! ```
//! axum's own server (`axum::serve`) has no bound on connections, on the time for a request's head or on the bytes of it,
//! so this one calls hyper directly. hyper bounds heads; it has no bound on how slowly an answer is read, and refuses
//! request lines that people type: see `stall` and `request_line`.

use std::{convert::Infallible, net::SocketAddr, sync::Arc, time::Duration};

use axum::{body::Body, extract::Request, response::Response};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    time::{sleep, timeout},
};

use crate::{
    clients::{Client, Clients, Limits, NoPlace, Refused},
    request_line::RequestLine,
    socket::Socket,
    stall::NoStall,
};

/// Maximum time that a client may take for its next step.
pub const CLIENT_TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum time for connections to end when the server stops.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Pause after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Maximum number of connections that are being refused with an answer at one time; one more is closed without an
/// answer.
const REFUSALS_MAX: usize = 32;

/// Minimum size in bytes of the buffer for a request's head; hyper requires it.
const HEAD_BYTES_MIN: usize = 8192;

/// Maximum size in bytes of the buffer for a request's head, for any setting: no client needs a larger head, and each
/// connection may hold one.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The properties in which servers differ.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Name of the server in log lines, such as `RPC`.
    pub name: &'static str,
    /// Bounds on connections and on the work for each address.
    pub limits: Limits,
    /// Maximum time until the head of the next request is complete.
    pub head_time: Duration,
    /// Maximum size in bytes of the buffer for a request's head, within 8 KiB and 64 KiB.
    pub head_bytes_max: usize,
    /// Returns the text that is sent with 503 to a connection without a free place. Without this function, the
    /// connection is closed without an answer.
    pub refusal: Option<fn(NoPlace) -> String>,
}

/// Becomes true when the server stops. The server waits until all clones are dropped.
pub type Stopped = watch::Receiver<bool>;

/// Handle of a running server. Dropping it stops the server too.
#[derive(Debug)]
pub struct Handle {
    address: SocketAddr,
    clients: Arc<Clients>,
    stop: watch::Sender<bool>,
}

impl Handle {
    /// Returns the address on which the server listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns the registry of connected clients.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Returns the signal to stop, for tasks that belong to the server.
    pub(crate) fn stopped(&self) -> Stopped {
        self.stop.subscribe()
    }

    /// Stops the server: takes no more requests, finishes the running ones, sends close frames to subscribers, and
    /// waits for all that, at most 5 s.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = timeout(STOP_TIME, self.stop.closed()).await;
    }
}

/// Starts to serve clients on the current tokio runtime. `service` answers each request; it gets the client that sent
/// the request, and the signal to stop.
///
/// Errors: the listener has no address.
pub fn serve<S, F>(listener: TcpListener, settings: Settings, service: S) -> std::io::Result<Handle>
where
    S: Fn(Request, Arc<Client>, Stopped) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let clients = Clients::new(settings.limits);
    let server = Server { settings, clients: clients.clone(), stopped, service };
    tokio::spawn(server.accept(listener));
    Ok(Handle { address, clients, stop })
}

/// Runs `work` until it ends or the server stops.
pub(crate) async fn until(mut stopped: Stopped, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

#[derive(Clone)]
struct Server<S> {
    settings: Settings,
    clients: Arc<Clients>,
    stopped: Stopped,
    service: S,
}

impl<S, F> Server<S>
where
    S: Fn(Request, Arc<Client>, Stopped) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send + 'static,
{
    async fn accept(self, listener: TcpListener) {
        let refusals = Arc::new(Semaphore::new((self.settings.limits.connections_max / 4).clamp(4, REFUSALS_MAX)));
        let mut stopped = self.stopped.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stop| *stop) => return,
            };
            let (socket, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Either this one connection broke, or no file handle is left: then others must end first.
                    tracing::warn!(%error, "the {} cannot accept a connection", self.settings.name);
                    self.clients.make_room();
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let _ = socket.set_nodelay(true); // an error only makes it slower
            match (self.clients.enter(from.ip()), self.settings.refusal) {
                (Ok(client), _) => {
                    let connection = self.clone().connection(socket, client.clone());
                    tokio::spawn(async move { client.paying(connection).await });
                }
                (Err(why), Some(refusal)) => {
                    if let Ok(turn) = refusals.clone().try_acquire_owned() {
                        tokio::spawn(until(stopped.clone(), async move {
                            let _turn = turn;
                            let _ = timeout(CLIENT_TIMEOUT, refuse(socket, &refusal(why))).await;
                        }));
                    }
                }
                (Err(_), None) => {}
            }
        }
    }

    async fn connection(self, socket: TcpStream, client: Arc<Client>) {
        let Self { settings, mut stopped, service, .. } = self;
        let service = service_fn({
            let (client, stopped) = (client.clone(), stopped.clone());
            move |request: hyper::Request<hyper::body::Incoming>| {
                let answer = service(request.map(Body::new), client.clone(), stopped.clone());
                async move { Ok::<_, Infallible>(answer.await) }
            }
        });
        let socket = Socket::new(socket);
        client.connected(socket.presence());
        let socket = RequestLine::new(NoStall::new(socket, CLIENT_TIMEOUT, client.clone()));
        let http = http1::Builder::new()
            .auto_date_header(false) // it panics for years that HTTP dates cannot express
            .timer(TokioTimer::new())
            .header_read_timeout(settings.head_time)
            .max_buf_size(settings.head_bytes_max.clamp(HEAD_BYTES_MIN, HEAD_BYTES_MAX))
            .serve_connection(TokioIo::new(socket), service)
            .with_upgrades();
        tokio::pin!(http);
        tokio::select! {
            biased; // a client may close its end with its request, and read what is answered at once
            ended = &mut http => {
                // Other errors of a client's connection need no reaction.
                if ended.is_err_and(|error| error.is_timeout()) && client.is_in_a_request() {
                    client.count(Refused::Slow);
                }
                return;
            }
            () = client.has_left() => return, // also drops calls that run, and requests that wait
            () = client.has_to_leave() => return,
            _ = stopped.wait_for(|stop| *stop) => http.as_mut().graceful_shutdown(),
        }
        let _ = http.await;
    }
}

/// Answers a connection without a place, without reading its request.
async fn refuse(mut socket: TcpStream, text: &str) -> std::io::Result<()> {
    let head =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\nconnection: close\r\n";
    socket.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes()).await?;
    socket.shutdown().await?;
    // Closing with unread bytes would reset the connection, and the answer would be lost.
    tokio::io::copy(&mut socket.take(1 << 20), &mut tokio::io::sink()).await.map(drop)
}
