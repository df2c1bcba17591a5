//! The interface for clients: CometBFT's RPC, version v0.38, so that clients written for it work unmodified.
//!
//! ```text
//!   POST /  ──▶ jsonrpc ─┐                       ┌─▶ from memory: at once, on the async thread
//!   GET /m? ──▶ uri ─────┼─▶ args ─▶ methods ────┼─▶ from the store: on a blocking thread, a bounded number at a time
//!   GET /websocket ──────┘                       └─▶ waits: for the mempool, or for a commit
//!          ▲                                              │
//!          └── subscriptions ◀── query ◀── events::Hub ◀──┴── committed heights
//! ```
//!
//! | module | content |
//! |---|---|
//! | [`context`](self) | interfaces to the rest of the node |
//! | [`clients`] | bounds on the cost of clients, in total and for each address |
//! | [`http`] | connections: limits, time-outs, a graceful stop; the metrics server of the node uses it too |
//! | `socket`, `stall`, `request_line` | clients that have left; clients that do not read; request lines that hyper refuses and CometBFT's users type |
//! | `server` | requests and responses, HTTP status codes |
//! | `jsonrpc`, `uri`, `args` | three ways to write a call, one way to read its arguments |
//! | `parsers` | bodies into calls at a bounded cost, large ones on a thread of their own |
//! | `hosts`, `cors` | which web pages may call this node |
//! | `calls` | the answers to the calls of one body |
//! | `websocket` | one client's subscriptions and calls, in one task |
//! | `methods` | the table of methods, and the code of each |
//! | `manual`, `openapi` | `docs/rpc.md` and `docs/openapi.json`, from the table of methods |
//! | `json` | conversion of our types to the JSON of v0.38 |
//! | `query`, `events`, `rounds` | queries of subscriptions, committed heights, and events inside heights |
//!
//! Invariants, each with the test that checks it:
//! - **R1** No input of a client makes a thread panic (`parsers_never_panic` in `query`, `jsonrpc` and `args`).
//! - **R2** The memory cost of a client is bounded, whatever it sends or does not read: connections, bytes of a body,
//!   calls of a batch, subscriptions, and heights that wait for it have limits (`node/tests/rpc_server/limits.rs`).
//!   Each address has its own share ([`clients`]).
//! - **R3** A transaction is found by `tx` once its block's event was sent: events come after the store's batch
//!   (`every_method_answers_an_unmodified_client`).
//! - **R4** "Not found" is distinct from "internal error" in `data` (`errors_contain_the_remedy`).
//! - **R5** Calls that cost more than a few reads (searches, lists, proofs) wait for each other, and do not delay other calls
//!   (`expensive_calls_wait_for_each_other_and_cheap_calls_do_not_wait`).

mod args;
mod calls;
pub mod clients;
mod context;
mod cors;
mod cpu;
mod error;
mod events;
mod hosts;
pub mod http;
mod json;
mod jsonrpc;
mod manual;
mod methods;
mod openapi;
mod parsers;
mod query;
mod request_line;
mod rounds;
#[cfg(test)]
mod samples;
mod server;
mod socket;
mod stall;
mod uri;
mod websocket;

pub use context::{
    Accepted, Context, GenesisText, Happened, Identity, Limits, Network, PeerSeen, Pool, PoolSize, Rejection,
    Submitter, Traffic,
};
pub use cors::Cors;
pub use cpu::thread_cpu;
pub use error::PROOF_UNFINISHED;
pub use manual::manual;
pub use openapi::openapi;
pub use server::serve;
