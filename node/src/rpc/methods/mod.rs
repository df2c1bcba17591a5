//! The methods of the RPC, and how each of them is run. `table` lists and describes them.

mod blocks;
mod describe;
mod evidence;
mod namespaces;
mod node;
mod search;
mod state;
mod table;
mod txs;
mod validators;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::future::BoxFuture;
use serde_json::Value;
use storage::{StoreError, Tip};
use types::Height;

use super::{
    args::Args,
    context::Context,
    error::Error,
    events::Hub,
    jsonrpc::Body,
    parsers::{Parsers, Values},
    rounds::Rounds,
};
use crate::clients::{Client, Place, Places, Turns};

use Run::{Now, Store, Unsafe, Wait, WebSocket};

use describe::Case;
pub use describe::{Absent, Field, Form, Param, Shape};
pub use node::genesis_document;
pub use table::METHODS;

/// Maximum number of calls that read the store at one time. More would only delay the disk and the consensus thread.
const STORE_CALLS_MAX: usize = 8;

/// Maximum number of calls that wait for their turn at the store.
const STORE_WAITS_MAX: usize = 1024;

/// Maximum time that a call waits for its turn.
const STORE_WAIT: Duration = Duration::from_secs(5);

/// Maximum number of concurrent searches of all clients. A search reads and decodes for up to a second; the cores are
/// for consensus.
const SEARCHES_MAX: usize = 1;

/// Maximum number of concurrent calls with proofs. A proof at the tip takes microseconds, one in a block hashes the
/// whole block.
const PROOFS_MAX: usize = 2;

/// Maximum number of concurrent calls with proofs about states below the tip: each builds a tree.
const OLD_PROOFS_MAX: usize = 1;

/// Maximum number of concurrent calls for the genesis document: it may have 16 MiB, and takes three times as much while
/// it is sent.
const GENESES_MAX: usize = 2;

/// Maximum number of calls of one [`Class`] that wait for their turn.
const CLASS_WAITS_MAX: usize = 64;

/// Maximum number of transactions that `broadcast_tx_async` has accepted and that are still being checked.
const ASYNC_TXS_MAX: usize = 1024;

/// The state that answers calls; shared by all connections.
pub struct Server {
    /// The interfaces to the rest of the node.
    pub context: Context,
    /// Committed heights, for subscriptions and `broadcast_tx_commit`.
    pub hub: Hub,
    /// Events inside heights, for subscriptions.
    pub rounds: Rounds,
    /// The genesis document, parsed once.
    genesis: Value,
    parsers: Parsers,
    old_prover: state::OldProver,
    searches: Turns,
    proofs: Turns,
    old_proofs: Turns,
    geneses: Turns,
    store_calls: Turns,
    async_txs: Arc<Places>,
    commit_waits: Arc<Places>,
    subscribers: Arc<Places>,
}

impl Server {
    /// Creates the state without running calls.
    pub fn new(context: Context, hub: Hub) -> Self {
        let clients = context.limits.subscription_clients_max;
        Self {
            genesis: genesis_document(&context.genesis),
            parsers: Parsers::new(),
            old_prover: state::OldProver::default(),
            searches: Turns::new(SEARCHES_MAX, CLASS_WAITS_MAX),
            proofs: Turns::new(PROOFS_MAX, CLASS_WAITS_MAX),
            old_proofs: Turns::new(OLD_PROOFS_MAX, CLASS_WAITS_MAX),
            geneses: Turns::new(GENESES_MAX, CLASS_WAITS_MAX),
            store_calls: Turns::new(STORE_CALLS_MAX, STORE_WAITS_MAX),
            async_txs: Places::new(ASYNC_TXS_MAX),
            commit_waits: Places::new(clients),
            subscribers: Places::new(clients),
            hub,
            rounds: Rounds::new(),
            context,
        }
    }

    /// Parses a request body.
    ///
    /// Errors: the body is not JSON, has too many calls, or too many bodies wait.
    pub async fn parse(&self, bytes: axum::body::Bytes, client: &Arc<Client>) -> Result<Body, Error> {
        self.parsers.parse(bytes, self.context.limits.batch_calls_max, client).await
    }

    /// Creates a counter for the JSON values of an arriving body.
    pub fn values(&self) -> Values {
        Values::of_calls(self.context.limits.batch_calls_max)
    }

    /// Takes a place among the WebSocket clients with subscriptions.
    ///
    /// Errors: all places are taken, or the share of the client's address.
    pub fn subscriber(&self, client: &Client) -> Result<Place, Error> {
        self.subscribers.take(client).map_err(|why| {
            Error::server(format_args!(
                "{} have subscriptions, no more are allowed (rpc.max_subscription_clients): try again later",
                why.of("clients")
            ))
        })
    }

    /// Returns the scheduler in which calls of this class wait for each other.
    fn turns(&self, class: Class) -> &Turns {
        match class {
            Class::Search => &self.searches,
            Class::Proof => &self.proofs,
            Class::OldProof => &self.old_proofs,
            Class::Genesis => &self.geneses,
        }
    }

    fn tip(&self) -> Result<Tip, Error> {
        self.context.store.tip().ok_or_else(|| Error::internal("the store is empty"))
    }

    /// Returns the version of the application's rules for the next height. Reads from memory.
    fn version_app(&self) -> Result<u64, Error> {
        let params = self.context.store.next_params();
        Ok(params.ok_or_else(|| Error::internal("the store is empty"))?.version_app)
    }

    /// Returns the requested height, or `last`; and true if a height was requested.
    ///
    /// Errors: the height is not positive, or is above `last` and so not known yet.
    fn height_up_to(&self, last: Height, args: &Args) -> Result<(Height, bool), Error> {
        let Some(given) = args.number("height")? else { return Ok((last, false)) };
        match u64::try_from(given).map(Height) {
            Ok(height) if height > last => Err(StoreError::Future { got: height, tip: last }.into()),
            Ok(height) if height > Height::GENESIS => Ok((height, true)),
            _ => Err(Error::refused(format_args!(
                "height must be greater than 0, but got {given}: leave it out for the latest"
            ))),
        }
    }

    /// Returns the requested height of a block, or the tip; and true if a height was requested.
    ///
    /// Errors: the height is bad or not known yet, or there is no block yet.
    fn block_height(&self, args: &Args) -> Result<(Height, bool), Error> {
        let tip = self.tip()?;
        let (height, given) = self.height_up_to(tip.height, args)?;
        if tip.block_id.is_none() {
            return Err(Error::refused("no block yet: the first height is not decided, ask again later"));
        }
        Ok((height, given))
    }
}

/// The result of a method as a JSON value.
#[derive(Debug)]
pub struct Answer {
    /// The result of the call.
    pub value: Value,
    /// True if the result never changes, so that it may be cached.
    pub lasting: bool,
}

impl Answer {
    fn new(value: Value, lasting: bool) -> Self {
        Self { value, lasting }
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self { value, lasting: false }
    }
}

/// The result of a method as text.
#[derive(Debug)]
pub struct Reply {
    /// The result as JSON.
    pub json: String,
    /// True if the result may be cached.
    pub lasting: bool,
}

type Outcome = Result<Answer, Error>;

/// Classes of calls that cost more than a few reads. Each class has few turns of its own, so that its calls wait for
/// each other and do not delay other calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Reads an index and many blocks.
    Search,
    /// Hashes a block, or reads the tree of the tip.
    Proof,
    /// Builds the tree of a state below the tip.
    OldProof,
    /// Copies the whole genesis document.
    Genesis,
}

impl Class {
    /// Returns the class of a call, if it has one. A call with bad arguments costs nothing and has none.
    fn of(server: &Server, method: &Method, args: &Args) -> Option<Self> {
        let below_tip = |height: Option<i64>| {
            let tip = server.context.store.tip().map_or(0, |tip| tip.height.0);
            height.is_some_and(|height| height > 0 && (height as u64) < tip)
        };
        match method.name {
            "tx_search" | "block_search" => Some(Self::Search),
            "genesis" | "genesis_chunked" => Some(Self::Genesis),
            "abci_query" if args.truth("prove") == Ok(true) => {
                Some(if args.number("height").is_ok_and(below_tip) { Self::OldProof } else { Self::Proof })
            }
            "tx" if args.truth("prove") == Ok(true) => Some(Self::Proof),
            _ => None,
        }
    }
}

/// The way in which a method is run.
#[derive(Clone, Copy)]
enum Run {
    /// Runs at once: reads memory, or one or two cached rows.
    Now(fn(&Server, &Args) -> Outcome),
    /// Runs on a blocking thread, in its turn: reads blocks or state.
    Store(fn(&Server, &Args) -> Outcome),
    /// Waits for other tasks without a thread.
    Wait(fn(Arc<Server>, Arc<Client>, Args) -> BoxFuture<'static, Outcome>),
    /// Changes the node, and runs only if the operator offers it.
    Unsafe(fn(&Server, &Args) -> Outcome),
    /// Belongs to a WebSocket connection.
    WebSocket,
}

/// A method of the RPC.
pub struct Method {
    /// The name of the method.
    pub name: &'static str,
    /// A sentence about what it does.
    pub about: &'static str,
    /// The parameters that it reads, in order.
    pub params: &'static [Param],
    /// The fields of its result.
    pub result: &'static [Field],
    /// Its errors, without those that every method can have.
    pub errors: &'static [Case],
    run: Run,
}

impl Method {
    /// Returns true if the method needs a WebSocket.
    pub fn is_websocket(&self) -> bool {
        matches!(self.run, Run::WebSocket)
    }

    /// Returns true if the method changes the node, and runs only if the operator offers it.
    pub fn is_unsafe(&self) -> bool {
        matches!(self.run, Run::Unsafe(_))
    }

    /// Returns true if this node offers the method.
    pub fn is_offered(&self, server: &Server) -> bool {
        !self.is_unsafe() || server.context.limits.offer_unsafe
    }

    /// Returns true if the method mostly waits for other tasks and has a small answer, so that several calls may run
    /// concurrently.
    pub fn waits(&self) -> bool {
        matches!(self.run, Run::Wait(_))
    }
}

/// Returns the method with this name.
///
/// Errors: there is no such method.
pub fn find(name: &str) -> Result<&'static Method, Error> {
    METHODS.binary_search_by(|method| method.name.cmp(name)).map(|index| &METHODS[index]).map_err(|_| {
        let name: String = name.chars().take(80).collect();
        Error::method_not_found(format_args!("there is no method {name:?}: GET / lists them"))
    })
}

/// Runs a method that needs no WebSocket, and records its duration.
///
/// Errors: those of the method; it is not offered or needs a WebSocket; the server is busy.
pub async fn call(
    server: &Arc<Server>,
    client: &Arc<Client>,
    method: &'static Method,
    args: Args,
) -> Result<Reply, Error> {
    let started = Instant::now();
    let reply = run(server, client, method, args).await;
    (server.context.observe)(method.name, started.elapsed(), reply.is_ok());
    if let Err(Error { unreadable: Some(reason), .. }) = &reply {
        (server.context.unreadable)(reason);
    }
    reply
}

async fn run(server: &Arc<Server>, client: &Arc<Client>, method: &'static Method, args: Args) -> Result<Reply, Error> {
    match method.run {
        Now(run) => run(server, &args).map(reply),
        Store(run) => {
            let of_class = match Class::of(server, method, &args) {
                Some(class) => Some(server.turns(class).next(client, STORE_WAIT).await.ok_or_else(|| {
                    Error::server(format_args!(
                        "busy: other calls of {} are running, and few run at one time: try again later, or ask another node",
                        method.name
                    ))
                })?),
                None => None,
            };
            let turn = server.store_calls.next(client, STORE_WAIT).await.ok_or_else(|| {
                Error::server("busy: too many calls read the store: try again later, or ask another node")
            })?;
            let (server, client) = (server.clone(), client.clone());
            let work = move || {
                let (_of_class, _turn) = (of_class, turn);
                client.charged(|| run(&server, &args).map(reply))
            };
            tokio::task::spawn_blocking(work).await.unwrap_or_else(|e| Err(Error::internal(e)))
        }
        Wait(run) => run(server.clone(), client.clone(), args).await.map(reply),
        Unsafe(run) if server.context.limits.offer_unsafe => run(server, &args).map(reply),
        Unsafe(_) => Err(Error::method_not_found(format_args!(
            "{} changes the node and is not offered here: the operator can allow it with rpc.unsafe = true",
            method.name
        ))),
        WebSocket => Err(Error::method_not_found(format_args!(
            "{} needs a connection that stays open: call it over the WebSocket at /websocket, not in a batch",
            method.name
        ))),
    }
}

fn reply(answer: Answer) -> Reply {
    Reply { json: answer.value.to_string(), lasting: answer.lasting }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_name() {
        assert!(METHODS.is_sorted_by(|a, b| a.name < b.name));
        assert!(METHODS.iter().all(|method| find(method.name).is_ok_and(|found| found.name == method.name)));
        assert!(find("no_such").err().is_some_and(|error| error.data.contains("no_such")));
        assert!(find("").is_err());
    }
}
