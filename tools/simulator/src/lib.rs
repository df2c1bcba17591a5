//! Deterministic simulation of whole clusters, each from one seed.
//!
//! A world runs the real validator ([`replica::Replica`]: engine, application, store, mempool, anti-entropy, block sync) of
//! several nodes under a virtual clock. Everything outside the validator is simulated: links, disks, clocks, crashes,
//! clients, and validators that violate the protocol. All random choices come from the seed, so one seed always gives
//! the same run.
//!
//! ```text
//!   Setup::of_seed ─> World ─┬─ queue of events ─> Replica::step ─> outputs ─> Network (delay, loss, order),
//!                            │                                               MemDisk, timers
//!                            ├─ faults: crashes, partitions, storms, failing and slow disks
//!                            ├─ byzantine: changed messages
//!                            └─ Checker: after every step, before anything leaves a node
//! ```
//! A run has two phases. In the first phase faults occur, and safety is checked at every step. Then all faults end, and
//! all correct nodes must make progress within a bounded time. Some kinds of faults are disabled in many worlds, so
//! that each kind is also tested without the others.
//!
//! [`checker`] lists the checks. Mutations, which are rules that are broken on purpose, prove that each check can fail
//! (`tests/mutations.rs`). A scenario directs a world by hand: it crashes nodes, cuts links, restores old disks, holds back
//! messages and delivers forged ones (`tests/scenarios.rs`, `tests/backups.rs`, `tests/cluster.rs`). Some scenarios repeat
//! a random run that revealed an error.
#![allow(
    clippy::type_complexity,
    clippy::large_enum_variant,
    clippy::should_implement_trait,
    reason = "a test tool: its tables and events are easier to read when written out"
)]

pub mod byzantine;
pub mod checker;
pub mod clients;
pub mod disk;

mod faults;
pub mod network;
pub mod node;
pub mod random;
pub mod run;
pub mod setup;
pub mod story;
pub mod world;

pub use byzantine::Behaviour;
pub use checker::Broken;
pub use run::{Life, live};
pub use setup::{Faults, Mutation, Setup};
pub use story::{Counts, Story};
pub use world::{Backup, Parcel, SigningState, World};
