//! The core of a node, without I/O of its own: engine, application, store, mempool, block parts, gossip repair, block
//! sync.
//!
//! ```text
//!   peers ──> Verifier::check (any thread) ──> Replica::step(now, [Input]) ──> [Output] ──> sockets, timers, pools
//!                                                │        ▲
//!                                     Store (writes)   Mempool (shared with RPC and gossip)
//! ```
//! `Replica` depends only on its inputs: time, messages of peers and responses are passed in as values. The node calls it
//! from its consensus thread, the simulator under a virtual clock; both run the same code.

mod api;
mod blocks;
mod chain;
mod core;
mod gossip;
mod guard;
mod live;
mod replica;
mod sync;
mod verifier;

pub use api::*;
pub use live::LiveApp;
pub use replica::{Replica, ReplicaError};
pub use types::Peer;
pub use verifier::{ROUNDS_AHEAD_MAX, Verifier};
