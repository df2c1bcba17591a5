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
//!                            ├─ faults: crashes, partitions, storms, failing, full, slow and old disks, clocks
//!                            ├─ byzantine: changed messages
//!                            └─ Checker: after every step, before anything leaves a node
//! ```
//! A run has two phases. In the first phase faults occur, and safety is checked at every step. Then all faults end, and
//! all correct nodes must make progress within a time that is a function of the world's parameters ([`HealingBound`]). Whole kinds
//! of faults are disabled in many worlds, and the weights of the others differ, so that each kind is also tested without the
//! others ([`Faults`]).
//!
//! Random faults alone make few hard rounds. In most worlds an adversary also delays messages by a plan, so that validators lock in
//! different rounds (`scheduler`). A run of many seeds ends with a table of what it reached ([`Coverage`]).
//!
//! A failing seed can be shrunk: `--shrink` leaves out parts of its world as long as the same check fails ([`shrink()`]).
//!
//! In a sixth of the worlds, clients also propose to revert namespaces, operators of validators vote, and operators of
//! nodes rewind and prune their stores. A rewind executes the blocks again or deletes them, and may be interrupted several
//! times.
//!
//! In an eighth, clients delegate and take back stake, and nodes become validators and leave the set. In many of these, validators also decide
//! parameters and upgrades, operators replace keys and programs, silent validators are jailed, and a traitor shows votes with which it
//! contradicts itself.
//!
//! [`checker`], [`ledger`], [`evidence`] and [`stakes`] list the checks. A scenario directs a world by hand: it crashes nodes, cuts links, restores old
//! disks, rewinds stores, holds back messages and delivers forged ones (`tests/scenarios.rs`, `tests/backups.rs`,
//! `tests/cluster.rs`, `tests/checkpoints.rs`). Some scenarios repeat a random run that revealed an error.
//!
//! [`mutation`] has rules that are broken on purpose in every correct node; [`score`] finds the checker that notices each of them, and
//! [`directed`] has worlds for those that random worlds seldom reveal. `docs/simulation.md` has the result.
#![allow(
    clippy::type_complexity,
    clippy::large_enum_variant,
    clippy::should_implement_trait,
    reason = "a test tool: its tables and events are easier to read when written out"
)]

pub mod accusation;
mod broken;
pub mod byzantine;
pub mod checker;
pub mod clients;
pub mod coverage;
pub mod directed;
pub mod disk;
pub mod effects;
pub mod evidence;
pub mod kinds;
pub mod liar;
pub mod machine;
pub mod mutation;

mod faults;
pub mod ledger;
pub mod network;
pub mod node;
pub mod program;
pub mod random;
pub mod rows;
pub mod run;
mod scheduler;
pub mod score;
pub mod setup;
pub mod shrink;
pub mod stakes;
pub mod story;
pub mod world;

pub use broken::Broken;
pub use coverage::Coverage;
pub use kinds::Faults;
pub use liar::Behaviour;
pub use mutation::Mutation;
pub use run::{Life, live, live_in};
pub use setup::{Setup, StakeEvents};
pub use shrink::{Less, shrink};
pub use story::{Counts, Story};
pub use world::{Backup, Cut, HealingBound, Parcel, RewindRun, SigningState, World};
