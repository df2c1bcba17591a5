//! Generates load on a chain of validators and measures the result: how many transactions are committed per second, how
//! long each takes from its intended send time, and how much processor time it costs.
//!
//! ```text
//!  senders ──> funding ──> recipe ────> file / supply ──> stage: pacing ──> submit ──> nodes
//!   (keys)     (money)    (content of   (signed before    (when each is    (never        |
//!                          each one)     the load)         due)             waits)       v
//!                  report <── tally <── tracker <── answers, headers of every validator, blocks of one
//! ```
//! | module | what it hides |
//! |---|---|
//! | `plan` | the parameters of a run |
//! | `senders`, `funding` | thousands of accounts that have money |
//! | `kind`, `recipe`, `records`, `file`, `supply` | which transactions are sent; that they are signed before |
//! | `pacing`, `stage`, `submit`, `http` | that each is sent when it is due, whatever the nodes do |
//! | `watch`, `tracker`, `results` | the result of each transaction at every validator |
//! | `witness` | the same results, reported to an external receiver while the run lasts |
//! | `tally`, `stats`, `report`, `plot` | numbers and their presentation |
//! | `usage`, `clock` | processor time; the time of a run |
//! | `progress`, `run` | what a run reports while it lasts; the sequence of a run |
//!
//! Rules that make the figures reliable, each with the module that enforces it, and its test where there is one:
//! - **L1** A transaction's latency begins at its intended send time; no slow node or generator moves that time
//!   (`pacing`: constant times are exact; `stage`: the pacer waits for no answer).
//! - **L2** It ends when the last validator was seen to have committed it (`tracker`: committed when the last validator
//!   has).
//! - **L3** Each transaction ends in one state, and failures rank behind all successes (`tracker`: ends in one state;
//!   `stats`).
//! - **L4** Throughput is counted in blocks, each transaction once (`tracker`: double commits are found).
//! - **L5** The generator reports when it was late or used much of the machine itself (`report`: doubts).
//!
//! The crate uses threads and no async runtime: one thread paces and writes to all nodes, one per connection reads
//! answers, and two per validator watch headers and read blocks. Everything that a node sends is bounded and validated.
//! When a node disappears, the run reports it and continues with the others.

mod clock;
mod error;
mod file;
mod funding;
mod http;
mod kind;
mod pacing;
mod plan;
mod plot;
mod progress;
mod recipe;
mod records;
mod report;
mod results;
mod run;
mod senders;
mod stage;
mod stats;
mod submit;
mod supply;
mod tally;
mod text;
mod tracker;
mod usage;
mod watch;
mod witness;

pub use error::LoadError;
pub use plan::{Arrivals, BATCH_MAX, Load, Mode, Node, Order, Plan};
pub use plot::{PlotError, plot};
pub use progress::{Event, Live, Observer};
pub use records::TxKey;
pub use report::{
    BlocksReport, CpuReport, InvalidReport, NodeInfo, PlanInfo, RefusalReport, Report, Saturation, SecondReport,
    StageReport,
};
pub use run::run;
pub use stats::Quantiles;
pub use watch::block_keys;
pub use witness::Witness;
