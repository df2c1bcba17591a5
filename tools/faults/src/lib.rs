//! Injects faults into a chain of validators under load, and measures how the chain behaves.
//!
//! ```text
//!   run ──> docker, topology ──> validators in containers <── load ──> record ──> report
//!    └───── scenario ──> kill, pause / relay: cut, delay ──┘             └── chain: all alike?
//! ```
//! | module | what it hides |
//! |---|---|
//! | `relay` | a bad network on any system: delay, jitter, rate limits, cuts; can be used on its own |
//! | `topology`, `docker`, `net` | validators that reach each other only through a relay; removal of their containers |
//! | `scenario` | the faults, and the validators that they affect |
//! | `record` | what was seen, and figures as pure functions of it |
//! | `chain`, `report` | what must not happen; the presentation of the figures |
//! | `wanted`, `run`, `wait` | the parameters of a run; its sequence |
//!
//! A fault lasts from the time at which the command that starts it is given to the time at which the command that ends
//! it is given, whatever time Docker needs for them: a wait for the end of a command would hide the first stall.
//! Further rules make the figures reliable, each with the test that proves it:
//! - **F1** No validator can bypass the relay (`topology`: in one network; a run in which nothing passed the relay is a
//!   violation).
//! - **F2** A height counts when most of the validators that can continue were seen to have it (`record`: a height is
//!   committed).
//! - **F3** A transaction that a validator accepted is in exactly one block, or it is reported (`record`: a dropped, a
//!   doubled).
//! - **F4** All validators have the same blocks, and no block has evidence (`chain`: a fork, a hole and evidence).
//! - **F5** A validator or a throughput that never recovers is a violation, not a missing figure (`report`: what never
//!   came back).

pub mod chain;
mod docker;
mod error;
mod net;
mod record;
pub mod relay;
mod report;
mod run;
mod scenario;
mod topology;
mod wait;
mod wanted;

pub use error::FaultsError;
pub use record::{Account, Latency};
pub use report::{Report, Row};
pub use run::run;
pub use scenario::Scenario;
pub use wanted::Wanted;
