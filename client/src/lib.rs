//! Client of one node's RPC: JSON-RPC 2.0 over HTTP. The commands, `load` and `faults` use it for all that they ask a node.
//!
//! | file | content |
//! |---|---|
//! | `address.rs` | the address of a node, in the forms in which people write it |
//! | `client.rs` | requests: a call, a batch of calls, a page; time limits, and the repetition of a query |
//! | `queries.rs` | queries with typed answers, for what several programs ask |
//! | [`fields`] | access to the fields of an answer by JSON pointer |
//! | [`metrics`] | access to the series of a metrics page |
//! | `error.rs` | the reasons why there is no answer, as sentences for the operator |
//!
//! - **C1** A request blocks its caller and starts no thread, because `load` asks nodes while it measures them
//!   (test: a request starts no thread).
//! - **C2** An answer takes at most [`ANSWER_BYTES_MAX`] of memory (test: an answer that is too large is refused).
//! - **C3** A connection is kept between requests. A query whose connection breaks is repeated once on a new one: the node
//!   may have closed it in the same moment. A transaction is never sent again by itself: the node may have it already,
//!   and would refuse it the second time (test: a query is repeated once and a transaction is not).
//!
//! Only the senders of `load` do not use this crate: they write requests without waiting for the answers to the earlier
//! ones, which an ordinary HTTP client cannot do.

mod address;
mod client;
mod error;
pub mod fields;
pub mod metrics;
mod queries;

pub use address::{DEFAULT_NODE, NodeAddress};
pub use client::{ANSWER_BYTES_MAX, Client, request};
pub use error::ClientError;
pub use fields::FieldError;
pub use queries::{AccountState, Chain, ChainParams};
