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
//! | `recipe`, `records`, `file`, `supply` | which transactions are sent; that they are signed before |
//! | `pacing`, `stage`, `submit`, `http` | that each is sent when it is due, whatever the nodes do |
//! | `watch`, `tracker` | the result of each transaction at every validator |
//! | `witness` | the same results, reported to an external receiver while the run lasts |
//! | `tally`, `stats`, `report`, `plot` | numbers and their presentation |
//! | `rpc`, `usage`, `run` | queries to nodes; processor time; the sequence of a run |
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

mod error;
mod file;
mod funding;
mod http;
mod pacing;
mod plan;
mod plot;
mod recipe;
mod records;
mod report;
mod rpc;
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
pub use plan::{Arrivals, BATCH_MAX, Mode, Node, Order, Plan};
pub use plot::{PlotError, plot};
pub use records::TxKey;
pub use report::{
    BlocksReport, CpuReport, InvalidReport, NodeInfo, PlanInfo, RefusalReport, Report, Saturation, SecondReport,
    StageReport,
};
pub use rpc::{Chain, Rpc};
pub use run::run;
pub use stage::Load;
pub use stats::Quantiles;
pub use tracker::Live;
pub use watch::block_keys;
pub use witness::Witness;

/// Progress of a run, as reported to an [`Observer`].
pub enum Event<'a> {
    /// The states of the senders' accounts are being queried.
    Asking {
        /// Number of accounts queried so far.
        done: u64,
        /// Total number of accounts to query.
        of: u64,
    },
    /// The senders are being funded.
    Funding {
        /// Number of accounts funded so far.
        done: u64,
        /// Total number of accounts to fund.
        of: u64,
    },
    /// Transactions are being signed into the file.
    Signing {
        /// Number of transactions signed so far.
        done: u64,
        /// Total number of transactions to sign.
        of: u64,
        /// Current size of the file in bytes.
        bytes: u64,
    },
    /// A stage of the run begins.
    StageBegins {
        /// Number of the stage, counted from 1.
        number: usize,
        /// Kind and amount of its load.
        load: Load,
    },
    /// Current figures of the stage, sent several times per second.
    Live(Live),
    /// A stage has ended, with this result.
    StageEnds(&'a StageReport),
    /// A sentence that the user should know.
    Note(&'a str),
}

/// Receiver of the progress of a run.
pub trait Observer {
    /// Receives one event. It is called on the thread that controls the run, so it should return quickly.
    fn see(&mut self, event: &Event<'_>);
}
