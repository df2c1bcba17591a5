//! The validator's core, without IO of its own: engine, application, store, mempool, block parts, anti-entropy, block sync.
//!
//! ```text
//!   peers ──> Verifier::check (any thread) ──> Host::step(now, [Input]) ──> [Output] ──> sockets, timers, pools
//!                                                │        ▲
//!                                     Store (writes)   Mempool (shared with RPC and gossip)
//! ```
//! `Host` is a function of its inputs: time, peers' bytes and answers arrive as values. The node drives it from its consensus
//! thread, the simulator under a virtual clock; both run this very code.

mod api;
mod blocks;
mod chain;
mod core;
mod gossip;
mod guard;
mod host;
mod live;
pub mod mempool;
mod recent;
mod sync;
mod tx_verifier;
mod verifier;

pub use api::*;
pub use host::{Host, HostError};
pub use live::LiveApp;
pub use mempool::{Added, Mempool, MempoolError, Source};
pub use tx_verifier::TxVerifier;
pub use verifier::{ROUNDS_AHEAD_MAX, Verifier};
