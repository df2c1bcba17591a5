//! The node: processes, threads, files and ports around the [`replica::Replica`], which holds all protocol logic.
//!
//! ```text
//!   peers ── p2p (tokio) ── network glue ──▶ verify pool ──▶ inbox ──▶ consensus thread ──▶ p2p
//!   clients ── rpc (tokio) ── Submitter ────▶     │                      │  Replica::step
//!                   │                             ▼                      ▼
//!                   │                          mempool ◀──────────── RocksDB store ◀── pruner
//!                   └────────── Board: status, committed heights ◀───────┘
//! ```
//!
//! | module | content |
//! |---|---|
//! | [`config`] | settings: defaults < file < environment < flags |
//! | [`start`], [`stop`] | start the parts in dependency order and wait for any to end; end the node |
//! | [`consensus_thread`] | the loop: inputs in, one step, outputs out, in order |
//! | [`verify_pool`] | threads and queues for checks of signatures, beside the loop, fair between peers |
//! | [`intake`] | transactions of clients and peers on their way into the mempool |
//! | [`network`] | turns network events into inputs; exchanges blocks and transactions with peers |
//! | [`admin`] | requests of this machine's operator to the running node |
//! | [`beginning`] | the genesis document, read when it is new to the store |
//! | [`board`] | the state of the loop that other threads can see |
//! | `rpc_parts` | the parts of the node as the interfaces that [`rpc`] needs |
//! | [`progress`], [`stake_log`] | log lines about heights and proposals, and about validators |
//! | [`metrics`], [`logging`], [`readiness`] | the state of the node that people and programs can see |
//! | [`upgrade_info`] | the file about an upgrade that needs another program |
//! | [`exit`] | how the process ends |
//!
//! Invariants: **N1** the consensus thread waits only for its inbox, a timer or the disk. **N2** every queue is
//! bounded, and its doc says what happens when it is full. **N3** a panic in any thread ends the process, with
//! [`exit::Code::Invariant`].

pub mod admin;
pub mod beginning;
pub mod board;
pub mod clock;
pub mod config;
pub mod consensus_thread;
pub mod exit;
pub mod file_handles;
pub mod heard;
pub mod home;
pub mod inbox;
pub mod intake;
pub mod listen;
pub mod logging;
pub mod metrics;
pub mod network;
pub mod os;
mod penalty;
pub mod progress;
pub mod pruner;
pub mod readiness;
mod rpc_parts;
#[cfg(test)]
#[path = "../../rpc/src/samples.rs"] // the same samples as in the unit tests of `rpc`
mod samples;
mod scrub;
pub mod signals;
pub mod signing;
pub mod stake_log;
pub mod start;
pub mod stop;
pub mod trees;
pub mod upgrade_info;
pub mod verify_pool;
