//! Sockets, limits, and HTTP.
//!
//! | request | answer |
//! |---|---|
//! | `POST /` | JSON-RPC: 200, also with an error; 400 for a body that is too large or breaks off; 500 for one that is not JSON |
//! | `GET /` | the methods, for people |
//! | `GET /method?arg=value` | JSON-RPC with id −1: 200, or 500 with an error; 404 for no such method; 503 from `/ready` when it is not |
//! | `GET /websocket` | the WebSocket |
//! | `OPTIONS …` | what a web page may do |
//!
//! A client has [`PATIENCE`] to send a request's head, again to send its body, and again for each bit of the answer that it reads.
//! One connection more than allowed is told so with 503 and closed.

use std::{
    convert::Infallible,
    fmt::Write,
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use axum::{
    body::{Body, to_bytes},
    extract::{FromRequestParts, Request, WebSocketUpgrade},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures::{StreamExt, stream};
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{sleep, timeout},
};

use super::{
    args::Args,
    context::Context,
    error::{Error, Kind},
    events::Hub,
    jsonrpc::{self, Body as RpcBody, Message},
    methods::{self, METHODS, Reply, Server},
    request_line::RequestLine,
    stall::NoStall,
    uri, websocket,
};

/// How long a client may take to go on.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long connections may take to end when the server stops.
const STOP_TIME: Duration = Duration::from_secs(5);

/// Clients that are being told that there is no place for them, at one time; one more is closed without a word.
const REFUSALS_MAX: usize = 32;

/// Bytes of the answers to one batch; the calls beyond are refused.
const BATCH_ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Least size of the buffer that a request's head must fit into: hyper insists.
const HEADER_BYTES_MIN: usize = 8192;

/// A running server. Dropping it stops it too.
pub struct Handle {
    address: SocketAddr,
    stop: watch::Sender<bool>,
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Takes no more requests, finishes those that run, says goodbye to subscribers, and waits for all that, at most 5 s.
    pub async fn stop(self) {
        self.stop.send_replace(true);
        let _ = timeout(STOP_TIME, self.stop.closed()).await;
    }
}

/// Serves clients on the current tokio runtime.
///
/// Errors: the listener has no address.
pub fn serve(context: Context, listener: TcpListener) -> std::io::Result<Handle> {
    let address = listener.local_addr()?;
    let (stop, stopped) = watch::channel(false);
    let hub = Hub::new(context.limits.subscription_buffer);
    let feed = hub.clone().run((context.committed)());
    tokio::spawn(until(stopped.clone(), feed));
    let server = Arc::new(Server::new(context, hub));
    tokio::spawn(until(stopped.clone(), {
        let server = server.clone();
        async move { server.rounds.run().await }
    }));
    tokio::spawn(accept(server, listener, stopped));
    Ok(Handle { address, stop })
}

/// Runs `work` until it ends or the server stops.
async fn until(mut stopped: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    tokio::select! {
        () = work => {}
        _ = stopped.wait_for(|stop| *stop) => {}
    }
}

async fn accept(server: Arc<Server>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(server.context.limits.open_connections_max));
    let refusals = Arc::new(Semaphore::new(REFUSALS_MAX));
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stopped.wait_for(|stop| *stop) => return,
        };
        let (socket, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Either this one connection broke, or we have no file handle left: then others must end first.
                tracing::warn!(%error, "the RPC cannot take a connection");
                sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = socket.set_nodelay(true);
        match places.clone().try_acquire_owned() {
            Ok(place) => drop(tokio::spawn(connection(server.clone(), socket, Arc::new(place), stopped.clone()))),
            Err(_) => {
                if let Ok(turn) = refusals.clone().try_acquire_owned() {
                    let open = server.context.limits.open_connections_max;
                    tokio::spawn(until(stopped.clone(), async move {
                        let _turn = turn;
                        let _ = timeout(PATIENCE, refuse(socket, open)).await;
                    }));
                }
            }
        }
    }
}

/// Says that there is no place, without reading the request.
async fn refuse(mut socket: TcpStream, open: usize) -> std::io::Result<()> {
    let text =
        format!("{open} connections are open, no more are allowed (rpc.max_open_connections): try again later\n");
    let head =
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\nconnection: close\r\n";
    socket.write_all(format!("{head}content-length: {}\r\n\r\n{text}", text.len()).as_bytes()).await?;
    socket.shutdown().await?;
    // Closing with unread bytes would reset the connection, and with it our answer.
    tokio::io::copy(&mut socket.take(1 << 20), &mut tokio::io::sink()).await.map(drop)
}

async fn connection(
    server: Arc<Server>,
    socket: TcpStream,
    place: Arc<OwnedSemaphorePermit>,
    mut stopped: watch::Receiver<bool>,
) {
    let header_bytes_max = server.context.limits.header_bytes_max.max(HEADER_BYTES_MIN);
    let connection = Connection { server, _place: place, stopped: stopped.clone() };
    let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
        let connection = connection.clone();
        async move { Ok::<_, Infallible>(connection.respond(request.map(Body::new)).await) }
    });
    let http = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_buf_size(header_bytes_max)
        .serve_connection(TokioIo::new(RequestLine::new(NoStall::new(socket, PATIENCE))), service)
        .with_upgrades();
    tokio::pin!(http);
    tokio::select! {
        _ = &mut http => return, // how a client's connection ends is the client's business
        _ = stopped.wait_for(|stop| *stop) => http.as_mut().graceful_shutdown(),
    }
    let _ = http.await;
}

/// One client's connection: it holds its place until the last of it is gone, a WebSocket included.
#[derive(Clone)]
struct Connection {
    server: Arc<Server>,
    _place: Arc<OwnedSemaphorePermit>,
    stopped: watch::Receiver<bool>,
}

impl Connection {
    async fn respond(self, request: Request) -> Response {
        let server = self.server.clone();
        let (mut parts, body) = request.into_parts();
        let mut response = match (&parts.method, parts.uri.path()) {
            (&Method::POST, "/") => self.post(&parts, body).await,
            (&Method::GET | &Method::HEAD, "/") => index(&server, &parts),
            (&Method::GET, "/websocket") => self.upgrade(&mut parts).await,
            (&Method::GET | &Method::HEAD, _) => self.get(&parts).await,
            (&Method::OPTIONS, _) => StatusCode::NO_CONTENT.into_response(),
            (&Method::POST, path) => {
                let path: String = path.chars().take(80).collect();
                (StatusCode::NOT_FOUND, format!("nothing is at {path}: post to /\n")).into_response()
            }
            _ => (StatusCode::METHOD_NOT_ALLOWED, "use POST, GET or HEAD\n").into_response(),
        };
        server.context.cors.mark(&parts.headers, response.headers_mut());
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        response.headers_mut().insert(HeaderName::from_static("x-server-time"), now.into());
        response
    }

    async fn post(self, parts: &Parts, body: Body) -> Response {
        let bytes_max = self.server.context.limits.body_bytes_max;
        let bytes = match read_body(parts, body, bytes_max).await {
            Ok(bytes) => bytes,
            Err(error) => return rpc(StatusCode::BAD_REQUEST, jsonrpc::answer(&Value::Null, &Err(error)), false),
        };
        match jsonrpc::parse(&bytes, self.server.context.limits.batch_calls_max) {
            Ok(body) => match answers(&self.server, body).await {
                Some(reply) => rpc(StatusCode::OK, reply.json, reply.lasting),
                None => StatusCode::OK.into_response(),
            },
            Err(error) => {
                let status = if error.kind == Kind::Parse { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
                rpc(status, jsonrpc::answer(&Value::Null, &Err(error)), false)
            }
        }
    }

    async fn get(self, parts: &Parts) -> Response {
        let called = async {
            let (name, pairs) = uri::parse(&parts.uri)?;
            let method = methods::find(name)?;
            let reply = methods::call(&self.server, method, Args::of_uri(pairs, method.params)).await?;
            Ok::<_, Error>((method, reply))
        };
        let (status, result, lasting) = match called.await {
            Ok::<_, Error>((method, reply)) => {
                let status = if method.name == "ready" { ready_status(&reply.json) } else { StatusCode::OK };
                (status, Ok(reply.json), reply.lasting)
            }
            Err(error) if error.kind == Kind::MethodNotFound => (StatusCode::NOT_FOUND, Err(error), false),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Err(error), false),
        };
        rpc(status, jsonrpc::answer(&json!(-1), &result), lasting)
    }

    async fn upgrade(self, parts: &mut Parts) -> Response {
        if !self.server.context.cors.may_open_websocket(&parts.headers) {
            let text = "pages of this origin may not open a WebSocket: the operator allows them with rpc.cors_allowed_origins\n";
            return (StatusCode::FORBIDDEN, text).into_response();
        }
        let upgrade = match WebSocketUpgrade::from_request_parts(parts, &()).await {
            Ok(upgrade) => upgrade,
            Err(rejection) => return rejection.into_response(),
        };
        let bytes_max = self.server.context.limits.body_bytes_max;
        let Self { server, _place: place, stopped } = self;
        upgrade.max_message_size(bytes_max).max_frame_size(bytes_max).on_upgrade(move |socket| async move {
            websocket::run(&server, socket, stopped).await;
            drop(place); // held until here: a WebSocket is a connection too
        })
    }
}

async fn read_body(parts: &Parts, body: Body, bytes_max: usize) -> Result<axum::body::Bytes, Error> {
    let too_large = |got: &str| {
        Error::invalid_request(format_args!(
            "a body of {got} bytes, at most {bytes_max} are allowed (rpc.max_body_bytes): send fewer calls at once"
        ))
    };
    let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    if let Some(announced) = announced.filter(|length| length.parse::<usize>().is_ok_and(|length| length > bytes_max)) {
        return Err(too_large(announced));
    }
    match timeout(PATIENCE, to_bytes(body, bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) if error.to_string().contains("length limit") => Err(too_large("more")),
        Ok(Err(error)) => Err(Error::invalid_request(format_args!("the body breaks off: {error}: send it again"))),
        Err(_) => Err(Error::invalid_request(format_args!(
            "the body did not come within {} s: send it again",
            PATIENCE.as_secs()
        ))),
    }
}

/// What probes look at.
fn ready_status(json: &str) -> StatusCode {
    let ready = serde_json::from_str::<Value>(json).is_ok_and(|answer| answer["ready"] == true);
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// Answers a body; `None` if nothing in it asks for an answer.
///
/// The calls of a batch are begun, and answered, in their order: one after the other, or, if all of them only wait for others, as
/// submissions of transactions do, together.
pub async fn answers(server: &Arc<Server>, body: RpcBody) -> Option<Reply> {
    let messages = match body {
        RpcBody::Single(message) => return answer(server, message).await,
        RpcBody::Batch(messages) => messages,
    };
    let waits = |message: &Message| match message {
        Message::Call(call) => methods::find(&call.method).is_ok_and(methods::Method::waits),
        Message::Notification | Message::Bad(..) => true,
    };
    let together = if messages.iter().all(waits) { messages.len() } else { 1 };
    let (mut json, mut lasting) = (String::from("["), true);
    let answered = AtomicUsize::new(0);
    let one = async |message| match message {
        Message::Call(call) if answered.load(Relaxed) > BATCH_ANSWER_BYTES_MAX => {
            let error = Error::server(format_args!(
                "the answers to this batch exceed {BATCH_ANSWER_BYTES_MAX} bytes: send this call in another one"
            ));
            Some(Reply { json: jsonrpc::answer(&call.id, &Err(error)), lasting: false })
        }
        message => answer(server, message).await,
    };
    let mut replies = pin!(stream::iter(messages).map(one).buffered(together.max(1)));
    while let Some(reply) = replies.next().await {
        if let Some(reply) = reply {
            json.push_str(if json.len() == 1 { "" } else { "," });
            json.push_str(&reply.json);
            answered.store(json.len(), Relaxed);
            lasting &= reply.lasting;
        }
    }
    if json.len() == 1 {
        return None;
    }
    json.push(']');
    Some(Reply { json, lasting })
}

async fn answer(server: &Arc<Server>, message: Message) -> Option<Reply> {
    let (id, result) = match message {
        Message::Notification => return None,
        Message::Bad(id, error) => (id, Err(error)),
        Message::Call(call) => {
            let called = async {
                let method = methods::find(&call.method)?;
                methods::call(server, method, Args::of_json(call.params, method.params)?).await
            };
            (call.id, called.await)
        }
    };
    let lasting = result.as_ref().is_ok_and(|reply| reply.lasting);
    Some(Reply { json: jsonrpc::answer(&id, &result.map(|reply| reply.json)), lasting })
}

fn rpc(status: StatusCode, json: String, lasting: bool) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if lasting {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    }
    (status, headers, json).into_response()
}

/// The methods that this node answers, as CometBFT lists them: those without arguments, then the others.
fn index(server: &Server, parts: &Parts) -> Response {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(*c)).collect();
    let mut html = String::from("<!DOCTYPE html><html><title>Cairn RPC</title><body>");
    for (title, with_params) in [("Available endpoints:", false), ("Endpoints that require arguments:", true)] {
        let _ = write!(html, "<br>{title}<br>");
        for method in
            METHODS.iter().filter(|method| method.params.is_empty() != with_params && method.is_offered(server))
        {
            let params: Vec<String> = method.params.iter().map(|name| format!("{name}=_")).collect();
            let _ = match method.is_websocket() {
                true => write!(html, "{}, over ws://{host}/websocket<br>", method.name),
                false => {
                    let link = format!("//{host}/{}?{}", method.name, params.join("&"));
                    write!(html, r#"<a href="{link}">{link}</a><br>"#)
                }
            };
        }
    }
    html.push_str("</body></html>");
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html).into_response()
}
