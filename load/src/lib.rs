//! Load on a chain of validators, and what they make of it: how many transactions a second are committed, how long that takes from
//! the moment at which each was meant to be sent, and what it costs.
//!
//! ```text
//!  senders ──> funding ──> recipe ──> file / supply ──> stage: pacing ──> submit ──> nodes
//!   (keys)     (money)    (number n    (signed before    (when each is    (never        |
//!                          is what)     the load)         due)             waits)       v
//!                  report <── tally <── tracker <── answers, headers of every validator, blocks of one
//! ```
//! | module | what it hides |
//! |---|---|
//! | `plan` | what can be asked for |
//! | `senders`, `funding` | thousands of accounts that have money |
//! | `recipe`, `records`, `file`, `supply` | which transactions there are; that they are signed already |
//! | `pacing`, `stage`, `submit`, `http` | that each is sent when it is due, whatever nodes do |
//! | `watch`, `tracker` | what became of each, at every validator |
//! | `witness` | the same, told to somebody else as it happens |
//! | `tally`, `stats`, `report`, `plot` | numbers, and how they look |
//! | `rpc`, `usage`, `run` | asking nodes; processor time; the order of it all |
//!
//! What makes its figures honest, each with the test that holds it:
//! - **L1** A transaction's latency begins when it was meant to be sent; nobody's slowness moves that moment (`pacing`: constant
//!   times are exact; `stage`: the pacer waits for no answer).
//! - **L2** It ends when the last validator was seen to have committed it (`tracker`: committed when the last validator has).
//! - **L3** Each transaction ends in one state, and failures rank behind all successes (`tracker`: ends in one state; `stats`).
//! - **L4** Throughput is counted in blocks, each transaction once (`tracker`: double commits are found).
//! - **L5** The generator tells when it was late or took much of the machine itself (`report`: doubts).
//!
//! Threads, no async runtime: one paces and writes to all nodes, one reads answers for each connection, two for each validator watch
//! headers and read blocks. What a node says is bounded and judged; one that goes away is told, and the run goes on with the others.

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

/// What happens during a run.
pub enum Event<'a> {
    /// Senders' accounts are asked for.
    Asking {
        /// Accounts.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// Senders get money.
    Funding {
        /// Accounts.
        done: u64,
        /// Of so many.
        of: u64,
    },
    /// Transactions are signed.
    Signing {
        /// Transactions.
        done: u64,
        /// Of so many.
        of: u64,
        /// Of the file, so far.
        bytes: u64,
    },
    /// A stage begins.
    StageBegins {
        /// From 1.
        number: usize,
        /// What it does.
        load: Load,
    },
    /// Several times a second.
    Live(Live),
    /// A stage is over.
    StageEnds(&'a StageReport),
    /// Something to know.
    Note(&'a str),
}

/// Who is told what happens.
pub trait Observer {
    /// Told on the thread that runs, so it should be quick.
    fn see(&mut self, event: &Event<'_>);
}
