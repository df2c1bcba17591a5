//! The state that all methods share, and the type of their results.

use std::sync::Arc;

use app::Taints;
use serde::Serialize;
use serde_json::Value;
use storage::{StoreError, Tip};
use types::{Height, NsName};

use super::earlier::EarlierProver;
use crate::{
    args::Args,
    clients::{Client, Place, Places, Refused, Turns},
    context::Context,
    error::{Error, Kind},
    events::Hub,
    jsonrpc::Body,
    parsers::{Parsers, Values},
    rounds::Rounds,
};

/// Maximum number of calls that read the store at one time. More would only delay the disk and the consensus thread.
const STORE_CALLS_MAX: usize = 8;

/// Maximum number of calls that wait for their turn at the store.
const STORE_WAITS_MAX: usize = 1024;

/// Maximum number of concurrent searches of all clients. A search reads and decodes for up to a second; the cores are
/// for consensus.
const SEARCHES_MAX: usize = 1;

/// Maximum number of concurrent calls with proofs. A proof at the tip takes microseconds, one in a block hashes the
/// whole block.
const PROOFS_MAX: usize = 2;

/// Maximum number of concurrent calls with proofs about states below the tip: each may compute trees for a second.
const EARLIER_PROOFS_MAX: usize = 1;

/// Maximum number of concurrent calls for the genesis document: it may have 16 MiB, and takes three times as much while
/// it is sent.
const GENESES_MAX: usize = 2;

/// Maximum number of calls of one class that wait for their turn.
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
    pub(super) genesis: Value,
    parsers: Parsers,
    pub(super) earlier_prover: EarlierProver,
    pub(super) searches: Turns,
    pub(super) proofs: Turns,
    pub(super) earlier_proofs: Turns,
    pub(super) geneses: Turns,
    pub(super) store_calls: Turns,
    pub(super) async_txs: Arc<Places>,
    pub(super) commit_waits: Arc<Places>,
    subscribers: Arc<Places>,
}

impl Server {
    /// Creates the state without running calls.
    pub fn new(context: Context, hub: Hub) -> Self {
        let clients = context.limits.subscription_clients_max;
        Self {
            genesis: context.genesis.document(),
            parsers: Parsers::new(context.background),
            earlier_prover: EarlierProver::new(context.limits.proof_call_time_max),
            searches: Turns::new(SEARCHES_MAX, CLASS_WAITS_MAX),
            proofs: Turns::new(PROOFS_MAX, CLASS_WAITS_MAX),
            earlier_proofs: Turns::new(EARLIER_PROOFS_MAX, CLASS_WAITS_MAX),
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
        let parsed = self.parsers.parse(bytes, self.context.limits.batch_calls_max, client).await;
        if parsed.as_ref().is_err_and(|error| error.kind != Kind::Server) {
            client.count(Refused::Body);
        }
        parsed
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

    pub(super) fn tip(&self) -> Result<Tip, Error> {
        self.context.store.tip().ok_or_else(|| Error::internal("the store is empty"))
    }

    /// Returns the reverts of a namespace: none if it does not exist.
    ///
    /// Errors: the latest state cannot be read.
    pub(super) fn taints(&self, ns: &NsName) -> Result<Taints, Error> {
        let tip = self.context.store.reader()?;
        let taints = Taints::of(&tip, ns);
        tip.check()?;
        Ok(taints)
    }

    /// Returns the version of the application's rules for the next height. Reads from memory.
    pub(super) fn version_app(&self) -> Result<u64, Error> {
        let params = self.context.store.next_params();
        Ok(params.ok_or_else(|| Error::internal("the store is empty"))?.version_app)
    }

    /// Returns the requested height, or `last`; and true if a height was requested.
    ///
    /// Errors: the height is not positive, or is above `last` and so not known yet.
    pub(super) fn height_up_to(&self, last: Height, args: &Args) -> Result<(Height, bool), Error> {
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
    pub(super) fn block_height(&self, args: &Args) -> Result<(Height, bool), Error> {
        let tip = self.tip()?;
        let (height, given) = self.height_up_to(tip.height, args)?;
        if tip.block_id.is_none() {
            return Err(Error::refused("no block yet: the first height is not decided, ask again later"));
        }
        Ok((height, given))
    }
}

/// The result of a method as JSON text.
#[derive(Debug)]
pub struct Answer {
    /// The result of the call.
    pub json: String,
    /// True if the result never changes, so that it may be cached.
    pub lasting: bool,
}

impl Answer {
    pub(super) fn new(result: impl Serialize, lasting: bool) -> Self {
        let json = serde_json::to_string(&result).expect("all keys of our documents are texts");
        Self { json, lasting }
    }
}

impl From<Value> for Answer {
    fn from(value: Value) -> Self {
        Self::new(value, false)
    }
}

/// The outcome of a method.
pub(super) type Outcome = Result<Answer, Error>;
