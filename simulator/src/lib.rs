//! Lives of whole clusters, each from one seed.
//!
//! A world runs the real validator ([`host::Host`]: engine, application, store, mempool, anti-entropy, block sync) of several
//! nodes under a virtual clock. Everything that is not the validator is simulated, and everything by chance comes from the seed:
//! links, disks, clocks, crashes, clients, and validators that do not keep to the protocol. One seed, one story.
//!
//! ```text
//!   Setup::of_seed ─> World ─┬─ queue of events ─> Host::step ─> outputs ─> Network (delay, loss, order), MemDisk, timers
//!                            ├─ faults: crashes, partitions, storms, failing and slow disks        byzantine: twisted words
//!                            └─ Checker: after every step, before anything leaves a node
//! ```
//! A life has two phases. First there is trouble, and safety is checked at every step. Then the world heals, and everybody must
//! make progress within a bounded time. Kinds of faults are off in many worlds, so that each is also seen without the others.
//!
//! [`checker`] lists what is checked. That each check can fail is proven by mutations: rules that are broken on purpose
//! (`tests/mutations.rs`). Worlds that taught us something are told as scenarios (`tests/scenarios.rs`).
#![allow(
    clippy::type_complexity,
    clippy::large_enum_variant,
    clippy::should_implement_trait,
    reason = "a test tool: its tables and events read better spelled out"
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
pub use world::World;
