//! Faults on a chain of validators under load, and what it makes of them.
//!
//! ```text
//!   run ──> docker, topology ──> validators in containers <── load ──> record ──> report
//!    └───── scenario ──> kill, pause / relay: cut, delay ──┘             └── chain: all alike?
//! ```
//! | module | what it hides |
//! |---|---|
//! | `relay` | a bad network, on any system: delay, jitter, rate and cuts between ports; usable by itself |
//! | `topology`, `docker` | validators that reach each other through a relay only; that nothing is left of them |
//! | `scenario` | what is done to whom |
//! | `record` | what was seen, and figures as pure functions of it |
//! | `chain`, `report` | what must not happen; how figures look |
//! | `run` | the order of it all |
//!
//! A fault lasts from the moment at which the order that begins it is given to the one at which the order that ends it is, whatever
//! Docker takes for either: waiting for an order's end would hide the first stall. What else makes figures honest, each with the test
//! that holds it:
//! - **F1** No validator can go around the relay (`topology`: in one network; and a run through which nothing passed it is a failure).
//! - **F2** A height counts when most of the validators that can go on were seen to have it (`record`: a height is committed).
//! - **F3** What a validator accepted is in exactly one block, or it is told (`record`: a dropped, a doubled).
//! - **F4** All validators have the same blocks, and no block has evidence (`chain`: a fork, a hole and evidence).
//! - **F5** What never came back is a violation, not a missing figure (`report`: what never came back).

mod chain;
mod docker;
mod record;
pub mod relay;
mod report;
mod run;
mod scenario;
mod topology;

use load::LoadError;
use thiserror::Error;

pub use record::{Account, Latency};
pub use report::{Report, Row};
pub use run::{Wanted, run};
pub use scenario::Scenario;

/// Why there is no report: a sentence with the way out.
#[derive(Debug, Error)]
pub enum FaultsError {
    /// It cannot be done.
    #[error("{0}")]
    Wanted(String),
    /// Docker, or what runs in it, does not do what it is asked.
    #[error("{0}")]
    Docker(String),
    /// The load does not begin.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The load ended before the faults did.
    #[error("the load ended before the faults did: ask for less of it with --rate")]
    LoadEnded,
    /// Stopped from outside.
    #[error("stopped; nothing is left of it")]
    Stopped,
}
