//! The RPC over HTTP: requests and responses. [`crate::http`] has the connections.
//!
//! | request | answer |
//! |---|---|
//! | `POST /` | JSON-RPC: 200, also with an error; 400: the body is too large or incomplete; 500: it is not JSON |
//! | `GET /` | the methods, for people |
//! | `GET /method?arg=value` | JSON-RPC with id −1: 200; 500 on error; 404: no such method; 503: `/ready`, not ready |
//! | `GET /websocket` | the WebSocket |
//! | `OPTIONS …` | what a web page may do |
//! | any | 403 for a foreign host or page; 429 for an address over its budget; 503 from a full server |
//!
//! A client has [`CLIENT_TIMEOUT`] to send a request's head, again to send its body, and must read an answer at a minimum
//! rate. [`crate::clients`] bounds its cost: a connection without a free place is answered with 503 and closed.

use std::{
    fmt::Write,
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequestParts, Request, WebSocketUpgrade},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts},
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use serde_json::{Value, json};
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{
    args::Args,
    calls::{answers, no_room, over_budget},
    clients::{Client, NoPlace, Refused, Room, Work},
    context::Context,
    error::{Error, Kind},
    events::Hub,
    hosts,
    http::{self, CLIENT_TIMEOUT, Handle, Settings, Stopped, until},
    jsonrpc,
    methods::{self, METHODS, Server},
    uri, websocket,
};

/// Maximum bytes of a body that are read and dropped before it is refused.
const DISCARDED_BYTES_MAX: usize = 2 << 20;

/// Maximum time that a health probe of an address over its budget waits.
const PROBE_PAUSE: Duration = Duration::from_millis(100);

/// Bytes that are read from a WebSocket at one time: its frames may be tiny, and all of them are processed before other
/// tasks run.
const READ_BUFFER_BYTES: usize = 16 << 10;

/// Starts to serve clients on the current tokio runtime.
///
/// Errors: the listener has no address.
pub fn serve(context: Context, listener: TcpListener) -> std::io::Result<Handle> {
    let settings = Settings {
        name: "RPC",
        limits: context.limits.of_clients(),
        head_time: CLIENT_TIMEOUT,
        head_bytes_max: context.limits.header_bytes_max,
        refusal: Some(refusal),
    };
    let hub = Hub::new(context.limits.subscription_buffer);
    let feed = hub.clone().run((context.committed)());
    let server = Arc::new(Server::new(context, hub));
    let handle = http::serve(listener, settings, {
        let server = server.clone();
        move |request, client, stopped| Connection { server: server.clone(), client, stopped }.respond(request)
    })?;
    tokio::spawn(until(handle.stopped(), feed));
    tokio::spawn(until(handle.stopped(), async move { server.rounds.run().await }));
    Ok(handle)
}

/// Returns the text for a connection without a place.
fn refusal(why: NoPlace) -> String {
    match why {
        NoPlace::All(open) => {
            format!("{open} connections are open, no more are allowed (rpc.max_open_connections): try again later\n")
        }
        NoPlace::Address(open) => format!(
            "{open} connections of your address are open, no more are allowed (rpc.max_open_connections_per_address): close some, \
             or try again later\n"
        ),
    }
}

/// One connection of a client: it holds its place until the last clone is dropped, also when it becomes a WebSocket.
#[derive(Clone)]
struct Connection {
    server: Arc<Server>,
    client: Arc<Client>,
    stopped: Stopped,
}

impl Connection {
    async fn respond(self, request: Request) -> Response {
        let (server, work) = (self.server.clone(), self.client.work());
        let (mut parts, body) = request.into_parts();
        if parts.method != Method::POST {
            self.client.take_read(); // all of the request has arrived
        }
        if let Some(refusal) = self.refuse(&parts) {
            return refusal;
        }
        let mut response = match (&parts.method, parts.uri.path()) {
            (&Method::POST, "/") => self.post(&parts, body, work).await,
            (&Method::GET | &Method::HEAD, "/") => index(&server, &parts),
            (&Method::GET, "/websocket") => self.upgrade(&mut parts).await,
            (&Method::GET | &Method::HEAD, _) => self.get(&parts, work).await,
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

    /// Refuses requests of foreign web pages.
    fn refuse(&self, parts: &Parts) -> Option<Response> {
        let context = &self.server.context;
        if let Some(host) = hosts::foreign(&parts.uri, &parts.headers, &context.limits.allowed_hosts) {
            let host: String = host.chars().take(80).collect();
            let text = format!(
                "this node does not answer to the name {host:?}: use its IP address, or ask the operator to add the name to \
                 rpc.allowed_hosts\n"
            );
            return Some((StatusCode::FORBIDDEN, text).into_response());
        }
        let acts = parts.method == Method::POST || parts.uri.path() == "/websocket";
        if acts && !context.cors.may_act(&parts.headers) {
            let text = "pages of this origin may not post or open a WebSocket here: ask the operator to allow the origin with \
                rpc.cors_allowed_origins\n";
            return Some((StatusCode::FORBIDDEN, text).into_response());
        }
        None
    }

    async fn post(self, parts: &Parts, body: Body, work: Work) -> Response {
        let fail = |status, error| rpc(status, jsonrpc::answer(&Value::Null, &Err(error)), false, None);
        if !self.client.is_within_budget().await {
            self.discard(body).await;
            return fail(StatusCode::TOO_MANY_REQUESTS, over_budget());
        }
        let bytes = match self.read_body(parts, body).await {
            Ok(bytes) => bytes,
            Err((status, error)) => return fail(status, error),
        };
        let parsed = self.server.parse(bytes, &self.client).await;
        let _read = self.client.take_read(); // the body counts until it is answered
        match parsed {
            Ok(body) => match answers(&self.server, &self.client, body).await {
                Some(reply) => rpc(StatusCode::OK, reply.json, reply.lasting, Some((work, reply.rooms))),
                None => StatusCode::OK.into_response(),
            },
            Err(error) => {
                let status = if error.kind == Kind::Parse { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
                fail(status, error)
            }
        }
    }

    async fn get(self, parts: &Parts, work: Work) -> Response {
        let is_probe = ["/health", "/ready"].contains(&parts.uri.path());
        if is_probe {
            sleep(self.client.wait().min(PROBE_PAUSE)).await; // a busy neighbour must not make the node look dead
        } else if !self.client.is_within_budget().await {
            return too_many_requests();
        }
        let called = async {
            let (name, pairs) = uri::parse(&parts.uri)?;
            let method = methods::find(name)?;
            let reply = methods::call(&self.server, &self.client, method, Args::of_uri(pairs, method.params)).await?;
            let room = self.client.room_for_answer(reply.json.len()).ok_or_else(no_room)?;
            Ok::<_, Error>((method, reply, room))
        };
        let (status, result, lasting, room) = match called.await {
            Ok((method, reply, room)) => {
                let status = if method.name == "ready" { ready_status(&reply.json) } else { StatusCode::OK };
                (status, Ok(reply.json), reply.lasting, vec![room])
            }
            Err(error) if error.kind == Kind::MethodNotFound => (StatusCode::NOT_FOUND, Err(error), false, vec![]),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, Err(error), false, vec![]),
        };
        rpc(status, jsonrpc::answer(&json!(-1), &result), lasting, Some((work, room)))
    }

    async fn upgrade(self, parts: &mut Parts) -> Response {
        let upgrade = match WebSocketUpgrade::from_request_parts(parts, &()).await {
            Ok(upgrade) => upgrade,
            Err(rejection) => return rejection.into_response(),
        };
        if !self.client.is_within_budget().await {
            return too_many_requests();
        }
        let bytes_max = self.server.context.limits.body_bytes_max;
        let Self { server, client, stopped } = self;
        client.becomes_websocket();
        let upgrade = upgrade.max_message_size(bytes_max).max_frame_size(bytes_max).read_buffer_size(READ_BUFFER_BYTES);
        upgrade.on_upgrade(move |socket| async move {
            client.paying(websocket::run(&server, &client, socket, stopped)).await;
            drop(client); // held until here: a WebSocket is a connection too
        })
    }

    /// Reads a body, and counts its values while they arrive.
    async fn read_body(&self, parts: &Parts, body: Body) -> Result<Bytes, (StatusCode, Error)> {
        let bytes_max = self.server.context.limits.body_bytes_max;
        let bad = |error| (StatusCode::BAD_REQUEST, error);
        let too_large = |got: &str| {
            bad(Error::invalid_request(format_args!(
                "a body of {got} bytes, at most {bytes_max} are allowed (rpc.max_body_bytes): send fewer calls at once"
            )))
        };
        let announced = parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if let Some(announced) =
            announced.filter(|length| length.parse::<usize>().is_ok_and(|length| length > bytes_max))
        {
            self.client.count(Refused::Body);
            return Err(too_large(announced));
        }
        let read = async {
            let (mut pieces, mut values) = (body.into_data_stream(), self.server.values());
            let mut bytes = Vec::new();
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| {
                    bad(Error::invalid_request(format_args!("the body ended early: {error}: send it again")))
                })?;
                self.client.charge_bytes(piece.len());
                let wrong = match values.count(&piece) {
                    _ if bytes.len() + piece.len() > bytes_max => Some((Refused::Body, too_large("more"))),
                    Err(error) => Some((Refused::Body, (StatusCode::OK, error))),
                    Ok(()) if !self.client.has_room_to_read() => {
                        let error = Error::server("busy: too many bytes of requests wait: try again later");
                        Some((Refused::RequestBytes, (StatusCode::SERVICE_UNAVAILABLE, error)))
                    }
                    Ok(()) => None,
                };
                if let Some((refused, wrong)) = wrong {
                    self.client.count(refused);
                    drop(bytes);
                    self.discard(Body::from_stream(pieces)).await;
                    return Err(wrong);
                }
                bytes.extend_from_slice(&piece);
            }
            Ok(Bytes::from(bytes))
        };
        let late = || {
            self.client.count(Refused::Slow);
            bad(Error::invalid_request(format_args!(
                "the body did not arrive within {} s: send it again",
                CLIENT_TIMEOUT.as_secs()
            )))
        };
        timeout(CLIENT_TIMEOUT, read).await.unwrap_or_else(|_| Err(late()))
    }

    /// Reads and drops the rest of a body, whose bytes do not count as waiting any more. Closing with unread bytes would reset the
    /// connection, and the answer would be lost.
    async fn discard(&self, body: Body) {
        self.client.take_read();
        let mut pieces = body.into_data_stream();
        let mut left = DISCARDED_BYTES_MAX;
        let rest = async {
            while let Some(Ok(piece)) = pieces.next().await {
                self.client.take_read();
                left = left.saturating_sub(piece.len());
                if left == 0 {
                    return;
                }
            }
        };
        let _ = timeout(CLIENT_TIMEOUT, rest).await;
    }
}

fn too_many_requests() -> Response {
    let answer = jsonrpc::answer(&json!(-1), &Err(over_budget()));
    rpc(StatusCode::TOO_MANY_REQUESTS, answer, false, None)
}

/// Returns the HTTP status of `/ready` for probes.
fn ready_status(json: &str) -> StatusCode {
    let ready = serde_json::from_str::<Value>(json).is_ok_and(|answer| answer["ready"] == true);
    if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

/// An answer that is being sent: its guards are dropped when the socket has taken its last byte.
struct OnItsWay {
    json: String,
    _held: Option<(Work, Vec<Room>)>,
}

impl AsRef<[u8]> for OnItsWay {
    fn as_ref(&self) -> &[u8] {
        self.json.as_bytes()
    }
}

fn rpc(status: StatusCode, json: String, lasting: bool, held: Option<(Work, Vec<Room>)>) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if lasting {
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public, max-age=86400"));
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
    }
    let body = Bytes::from_owner(OnItsWay { json, _held: held });
    (status, headers, Body::from(body)).into_response()
}

/// Builds the page with the offered methods, as CometBFT lists them: those without arguments, then the others.
fn index(server: &Server, parts: &Parts) -> Response {
    let host = parts.headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let host: String = host.chars().filter(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(*c)).collect();
    let mut html = String::from("<!DOCTYPE html><html><title>Cairn RPC</title><body>");
    for (title, with_params) in [("Available endpoints:", false), ("Endpoints that require arguments:", true)] {
        let _ = write!(html, "<br>{title}<br>");
        for method in
            METHODS.iter().filter(|method| method.params.is_empty() != with_params && method.is_offered(server))
        {
            let params: Vec<String> = method.params.iter().map(|param| format!("{}=_", param.name)).collect();
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
