//! The core of a node, without I/O of its own: engine, application, store, block parts, gossip repair, block sync.
//!
//! ```text
//!   peers ──> Verifier::check (any thread) ──> Replica::step(now, [Input], txs) ──> [Output] ──> sockets, timers, pools
//!                                                │                  ▲
//!                                     Store (writes)   TxPool (lent by the driver for one step)
//! ```
//! `Replica` depends only on its inputs: time, messages of peers and responses are passed in as values. The waiting
//! transactions are shared with other threads; the driver passes them to each step behind a trait. The node calls it
//! from its consensus thread, the simulator under a virtual clock; both run the same code.

mod api;
mod blocks;
mod chain;
mod earlier;
mod evidence;
mod gossip;
mod guard;
mod live;
mod mutation;
mod peers;
mod prepared;
mod prune;
mod replica;
mod rewind;
mod serve;
mod sync;
mod timing;
mod trees;
mod verifier;

pub use api::*;
pub use earlier::prepare as prepare_earlier;
pub use evidence::{EvidenceRefusal, UnverifiedEvidence, VerifiedEvidence, check_evidence};
pub use live::LiveApp;
#[cfg(feature = "mutations")]
pub use mutation::{BrokenRule, Mutation};
pub use prune::first_kept;
pub use replica::{Replica, ReplicaError};
pub use rewind::{
    DIFFERING_KEYS_MAX, Difference, Effect, KeyDifference, Plan as RewindPlan, RewindError, Rewound, TxDifference,
};
pub use serve::serve;
pub use timing::CommitTiming;
pub use trees::{TreesFrom, open_app};
pub use verifier::{ROUNDS_AHEAD_MAX, Verifier};
