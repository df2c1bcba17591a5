//! Serves one WebSocket client: its calls and its subscriptions, in one task.
//!
//! Events are written as fast as the client reads them, and as the budget of its address allows: finding, encoding and
//! sending them is charged like requests. A client that reads nothing is disconnected by the socket's patience. One
//! whose reading or budget is slower than the commits falls behind the kept heights, gets an error, and is closed. Up
//! to [`CALLS_MAX`] calls run concurrently; beyond that the server reads no further message until one is done.

use std::{str::FromStr, sync::Arc, time::Duration};

use axum::extract::ws::{CloseFrame, Message as Frame, WebSocket, close_code};
use futures::{FutureExt, SinkExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use serde_json::Value;
use tokio::time::{Instant, interval_at, sleep};

use crate::{
    args::Args,
    calls::{self, Answers},
    clients::{Client as Connected, Place, Refused, Room, Subscribed, Taken, Work},
    error::Error,
    events::{self, CommittedHeight, Cursor, Event, Missed},
    http::Stopped,
    jsonrpc::{self, Body, Call, Message},
    methods::{self, Server},
    query::Query,
    rounds::{self, Shown, Watching},
};

/// Interval between pings; a client must send anything before the next one.
const PING_PERIOD: Duration = Duration::from_secs(27);

/// Maximum time to write the last frame of a connection.
const CLOSE_TIME_MAX: Duration = Duration::from_secs(2);

/// Maximum pause after a ping of a client whose address is over its budget.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Maximum number of concurrent calls of one client.
const CALLS_MAX: usize = 10;

struct Subscription {
    /// The id of the subscribing call, which its events carry.
    id: Value,
    /// The query as the client wrote it: clients identify subscriptions by the text.
    text: String,
    query: Query,
    _counted: Subscribed,
}

struct Client<'a> {
    server: &'a Arc<Server>,
    connected: &'a Arc<Connected>,
    subscriptions: Vec<Subscription>,
    /// Set while there are subscriptions: the position in the stream of heights, the subscriber's place, and the
    /// connection's guard.
    watching: Option<(Cursor, Place, Work)>,
    /// Set while a subscription matches events inside heights.
    rounds: Option<Watching>,
    /// Guard of the last written event, until the socket has taken it.
    unread: Option<Room>,
    calls: FuturesUnordered<BoxFuture<'static, Option<Answers>>>,
}

/// The reason why a connection ends.
enum End {
    /// The client disconnected, or its socket broke.
    Gone,
    /// The client requested the end: its close frame is answered.
    Asked,
    /// The server ends the connection, with a code and a reason.
    Close(u16, &'static str),
}

impl End {
    fn gone(_: axum::Error) -> Self {
        Self::Gone
    }
}

/// Serves a client until it disconnects, is too slow, or the server stops.
pub async fn run(server: &Arc<Server>, connected: &Arc<Connected>, mut socket: WebSocket, mut stopped: Stopped) {
    let mut client = Client {
        server,
        connected,
        subscriptions: Vec::new(),
        watching: None,
        rounds: None,
        unread: None,
        calls: FuturesUnordered::new(),
    };
    let end = tokio::select! {
        biased; // a close frame that came before the end of the connection is answered
        end = client.serve(&mut socket) => end,
        () = connected.has_left() => End::Gone,
        () = connected.has_to_leave() => End::Close(close_code::AGAIN, "this connection was idle, and its place is needed: connect \
            again"),
        _ = stopped.wait_for(|stop| *stop) => End::Close(close_code::AWAY, "the node stops"),
    };
    let said = async {
        match end {
            End::Gone => {}
            // One more read writes the answer to the close frame.
            End::Asked => drop(socket.recv().await),
            End::Close(code, reason) => {
                let _ = socket.send(Frame::Close(Some(CloseFrame { code, reason: reason.into() }))).await;
            }
        }
    };
    let _ = tokio::time::timeout(CLOSE_TIME_MAX, said).await;
}

impl Client<'_> {
    async fn serve(&mut self, socket: &mut WebSocket) -> End {
        let mut ping = interval_at(Instant::now() + PING_PERIOD, PING_PERIOD);
        let mut heard = true;
        loop {
            let reading = self.calls.len() < CALLS_MAX;
            // A client over its budget gets no event until it is within the budget again, or the events are no longer
            // kept.
            let wait = self.connected.wait();
            let done = tokio::select! {
                frame = socket.recv(), if reading => {
                    heard = true;
                    let read = self.connected.take_read();
                    match frame {
                        Some(Ok(Frame::Text(text))) => self.on_text(socket, text.as_bytes(), read).await,
                        Some(Ok(Frame::Binary(bytes))) => self.on_text(socket, &bytes, read).await,
                        Some(Ok(Frame::Ping(_) | Frame::Pong(_))) => {
                            sleep(wait.min(PAUSE_MAX)).await; // answers a flood of pings slowly
                            Ok(())
                        }
                        Some(Ok(Frame::Close(_))) => Err(End::Asked),
                        Some(Err(error)) => Err(self.end_of(error)),
                        None => Err(End::Gone),
                    }
                }
                Some(reply) = self.calls.next() => match reply {
                    Some(Answers { json, rooms: _rooms, .. }) => send(socket, Some(json)).await,
                    None => Ok(()),
                },
                () = sleep(wait), if self.watching.is_some() && !wait.is_zero() => Ok(()),
                height = next_height(&mut self.watching), if wait.is_zero() => match height {
                    Ok(height) => self.on_height(socket, height).await,
                    Err(Missed { heights }) => {
                        Err(self.on_missed(socket, &format!("the events of {heights} heights")).await)
                    }
                },
                shown = next_shown(&mut self.rounds), if wait.is_zero() => match shown {
                    Ok(shown) => self.on_shown(socket, &shown).await,
                    Err(missed) => Err(self.on_missed(socket, &format!("{missed} events")).await),
                },
                _ = ping.tick() => {
                    if !heard && reading {
                        return End::Close(close_code::POLICY, "no answer to a ping");
                    }
                    heard = false;
                    socket.send(Frame::Ping(Default::default())).await.map_err(End::gone)
                }
            };
            if let Err(end) = done {
                return end;
            }
        }
    }

    /// Returns the end for a frame that cannot be read, with the codes of RFC 6455, section 7.4.1.
    fn end_of(&self, error: axum::Error) -> End {
        match error.into_inner().downcast_ref::<tungstenite::Error>() {
            Some(tungstenite::Error::Capacity(_)) => {
                self.connected.count(Refused::Body);
                End::Close(close_code::SIZE, "the message is larger than rpc.max_body_bytes")
            }
            Some(tungstenite::Error::Utf8(_)) => End::Close(close_code::INVALID, "a text message is not UTF-8"),
            Some(tungstenite::Error::Protocol(_)) => {
                End::Close(close_code::PROTOCOL, "the frames are not those of RFC 6455")
            }
            _ => End::Gone,
        }
    }

    async fn on_text(&mut self, socket: &mut WebSocket, bytes: &[u8], read: Taken) -> Result<(), End> {
        let (server, connected) = (self.server.clone(), self.connected.clone());
        let parsed = match server.values().count(bytes) {
            Ok(()) if !connected.is_within_budget().await => Err(calls::over_budget()),
            Ok(()) => server.parse(bytes.to_vec().into(), &connected).await,
            Err(error) => {
                connected.count(Refused::Body);
                Err(error)
            }
        };
        match parsed {
            Ok(Body::Single(Message::Call(call)))
                if methods::find(&call.method).is_ok_and(|method| method.is_websocket()) =>
            {
                let result = self.on_subscription_call(&call);
                send(socket, Some(jsonrpc::answer(&call.id, &result.map(|()| "{}".to_owned())))).await
            }
            Ok(body) => {
                let run = async move {
                    let (_work, _read) = (connected.work(), read);
                    calls::answers(&server, &connected, body).await
                };
                self.calls.push(run.boxed());
                Ok(())
            }
            Err(error) => send(socket, Some(jsonrpc::answer(&Value::Null, &Err(error)))).await,
        }
    }

    fn on_subscription_call(&mut self, call: &Call) -> Result<(), Error> {
        // `unsubscribe_all` does not use its arguments; a query is accepted too.
        let args = Args::of_json(&call.params, methods::find("unsubscribe")?.params)?;
        let text = || {
            let text = args.text("query")?;
            text.ok_or_else(|| {
                Error::invalid_params("parameter query is missing: give it, such as tm.event = 'NewBlock'")
            })
        };
        match call.method.as_str() {
            "subscribe" => self.subscribe(call.id.clone(), text()?),
            "unsubscribe" => self.unsubscribe(&text()?),
            _ => {
                self.subscriptions.clear();
                (self.watching, self.rounds) = (None, None);
                Ok(())
            }
        }
    }

    fn subscribe(&mut self, id: Value, text: String) -> Result<(), Error> {
        let limits = &self.server.context.limits;
        let query = Query::from_str(&text)?;
        check_can_come(&query, &text)?;
        if self.subscriptions.iter().any(|subscription| subscription.text == text) {
            return Err(Error::refused(format_args!("already subscribed to {text:?}: unsubscribe first")));
        }
        if self.subscriptions.len() >= limits.subscriptions_per_client_max {
            self.connected.count(Refused::NoPlace);
            return Err(Error::refused(format_args!(
                "{} subscriptions are open, no more are allowed (rpc.max_subscriptions_per_client): unsubscribe from one, or open \
                 another connection",
                self.subscriptions.len()
            )));
        }
        if self.watching.is_none() {
            let place = self.server.subscriber(self.connected)?;
            self.watching = Some((self.server.hub.cursor(), place, self.connected.work()));
        }
        if self.rounds.is_none() && rounds::may_match(&query) {
            self.rounds = Some(self.server.rounds.watch(&self.server.context.happened));
        }
        self.subscriptions.push(Subscription { id, text, query, _counted: self.connected.subscribed() });
        Ok(())
    }

    fn unsubscribe(&mut self, text: &str) -> Result<(), Error> {
        let before = self.subscriptions.len();
        self.subscriptions.retain(|subscription| subscription.text != text);
        if self.subscriptions.len() == before {
            return Err(Error::refused(format_args!(
                "subscription {text:?} not found: give exactly the text of the subscription"
            )));
        }
        if self.subscriptions.is_empty() {
            self.watching = None;
        }
        self.rounds.take_if(|_| !self.subscriptions.iter().any(|left| rounds::may_match(&left.query)));
        Ok(())
    }

    /// Writes an event from inside a height.
    async fn on_shown(&mut self, socket: &mut WebSocket, shown: &Shown) -> Result<(), End> {
        self.feed(socket, shown.event()).await?;
        self.flush(socket).await
    }

    /// Writes the events of a height: header first, then block, its events, transactions in order, changes of the
    /// validator set.
    async fn on_height(&mut self, socket: &mut WebSocket, height: Arc<CommittedHeight>) -> Result<(), End> {
        let wants = |event: &str| self.subscriptions.iter().any(|s| events::may_match(&s.query, event));
        let [header, block, txs, block_events, updates] =
            ["NewBlockHeader", "NewBlock", "Tx", "NewBlockEvents", "ValidatorSetUpdates"].map(wants);
        let txs = txs && !height.committed.block.txs.is_empty();
        if header {
            self.feed(socket, height.header()).await?;
        }
        if block || txs {
            self.flush(socket).await?; // the header does not wait for its block
            // Converting a block to JSON takes milliseconds: it is done on a blocking thread, once for all clients.
            let rendered = tokio::task::spawn_blocking({
                let (height, connected) = (height.clone(), self.connected.clone());
                move || {
                    connected.charged(|| {
                        if block {
                            height.block();
                        }
                        if txs {
                            height.txs();
                        }
                    });
                }
            });
            rendered.await.map_err(|_| End::Gone)?;
        }
        let blocks = block.then(|| height.block());
        let block_events = block_events.then(|| height.block_events());
        let txs = if txs { height.txs() } else { &[] };
        let updates = height.validator_updates().filter(|_| updates);
        for event in blocks.into_iter().chain(block_events).chain(txs).chain(updates) {
            self.feed(socket, event).await?;
        }
        self.flush(socket).await
    }

    /// Writes an event to the socket, for each subscription that matches it.
    async fn feed(&mut self, socket: &mut WebSocket, event: &Event) -> Result<(), End> {
        for Subscription { id, text, query, .. } in &self.subscriptions {
            if !query.matches(&event.tags) {
                continue;
            }
            let Some(room) = self.connected.room_for_answer(event.bytes() + text.len()) else {
                return Err(End::Close(close_code::POLICY, "too many bytes wait to be read by clients: read faster"));
            };
            let message = jsonrpc::answer(id, &Ok(event.result(text)));
            self.connected.charge_bytes(message.len());
            socket.feed(Frame::Text(message.into())).await.map_err(End::gone)?;
            self.unread = Some(room); // the socket has taken the event before: it buffers one
        }
        Ok(())
    }

    async fn flush(&mut self, socket: &mut WebSocket) -> Result<(), End> {
        socket.flush().await.map_err(End::gone)?;
        self.unread = None;
        Ok(())
    }

    /// Sends an error about the gap to each subscription, and returns the reason to close.
    async fn on_missed(&mut self, socket: &mut WebSocket, missed: &str) -> End {
        let error = Error::server(format_args!(
            "the client is too slow, or its address over its budget (rpc.max_client_bytes_per_second, \
             rpc.max_client_cpu_percent, rpc.max_cpu_percent): {missed} were dropped: subscribe again, and read faster or ask for less"
        ));
        for Subscription { id, .. } in &self.subscriptions {
            if send(socket, Some(jsonrpc::answer(id, &Err(error.clone())))).await.is_err() {
                return End::Gone;
            }
        }
        End::Close(close_code::POLICY, "the client is too slow")
    }
}

/// Returns the next height; waits forever without subscriptions.
async fn next_height(watching: &mut Option<(Cursor, Place, Work)>) -> Result<Arc<CommittedHeight>, Missed> {
    match watching {
        Some((cursor, ..)) => cursor.next().await,
        None => std::future::pending().await,
    }
}

/// Returns the next event inside a height, or the number of lost ones; waits forever without such a subscription.
async fn next_shown(rounds: &mut Option<Watching>) -> Result<Arc<Shown>, u64> {
    match rounds {
        Some(watching) => watching.next().await,
        None => std::future::pending().await,
    }
}

/// Refuses a query that no event can match, because its client would wait forever.
fn check_can_come(query: &Query, text: &str) -> Result<(), Error> {
    if rounds::may_match(query) || events::NAMES.iter().any(|name| events::may_match(query, name)) {
        return Ok(());
    }
    let names = || events::NAMES.iter().chain(&rounds::NAMES);
    if names().any(|name| query.may_match("tm.event", name)) {
        return Err(Error::invalid_params(format_args!(
            "query {text:?}: no event matches it: the events that it names have only the tag tm.event; leave out the other conditions"
        )));
    }
    let mut names: Vec<&str> = names().copied().collect();
    names.sort_unstable();
    Err(Error::invalid_params(format_args!("query {text:?}: no event has this name; there are {}", names.join(", "))))
}

async fn send(socket: &mut WebSocket, text: Option<String>) -> Result<(), End> {
    match text {
        Some(text) => socket.send(Frame::Text(text.into())).await.map_err(End::gone),
        None => Ok(()),
    }
}
