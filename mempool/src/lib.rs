//! The mempool: transactions that wait for a block, and the check of their signatures.
//!
//! The crate's types are shared between threads: RPC, gossip and the consensus thread use one [`Mempool`] and one
//! [`TxVerifier`]. A validator sees both as a [`types::TxPool`] that its driver lends it for one step ([`SharedPool`]).
//!
//! ```text
//!   clients ─┐                        ┌─> reap: the proposer's block
//!            ├─> check the signature ─> add ──> take_outgoing: gossip (which relays what it received by itself)
//!   peers ───┘   (TxVerifier)         ├─> waiting, batch: the response to a peer that connects
//!                                     └─< update: after each block
//! ```
//! | rule | bound |
//! |---|---|
//! | transactions, total bytes, bytes of one, transactions of one sender | [`Config`] |
//! | nonces ahead of the next missing one | [`app::NONCES_AHEAD_MAX`]; held, but not for a block yet |
//! | order | highest fee first, earlier arrival first; each sender's nonces in order |
//! | same nonce twice | the second replaces the first if it pays [`Config::replace_percent`] more |
//! | full | the lowest rank is evicted for a higher one |
//! | balance | all waiting transactions of a sender together may cost at most its balance |
//! | time to live | [`Config::ttl`], and the expiry of an unordered transaction by the time of blocks |
//! | after a block | only senders whose account it changed are checked again |
//! | after new parameters | everything is checked again; only the validators' decision causes this |
//!
//! Eviction removes first what cannot be executed yet, then lower fees, then later arrivals. After a block, at most
//! 1,024 transactions are dropped that their senders cannot pay for any more, and as many that are too old. The rest is
//! dropped after the next blocks, and no block contains it.
//!
//! One lock protects everything. It is held for microseconds, and for 3 ms in the longest update after a block: signatures
//! are checked before, and no thread waits while it holds the lock.

mod config;
mod error;
#[allow(clippy::module_inception, reason = "the crate's main type")]
mod mempool;
mod mutation;
mod pool;
mod recent;
mod shared;
mod tx_verifier;

pub use config::{ANNOUNCE_INTERVAL, Added, Config, Source, Stats};
pub use error::{CODES, Cause, MempoolError};
pub use mempool::Mempool;
#[cfg(feature = "mutations")]
pub use mutation::{BrokenRule, Mutation};
pub use shared::SharedPool;
pub use tx_verifier::TxVerifier;
