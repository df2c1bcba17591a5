//! The commands that load, measure and disturb validators: the feature `tools` of this crate. A validator does not need them.
//!
//! | file | content |
//! |---|---|
//! | `load.rs`, `meter.rs` | load on validators, and its progress display |
//! | `bench/` | workloads on a temporary testnet, and a table of their costs |
//! | `report.rs` | the files of their reports |
//! | `faults.rs`, `relay.rs` | faults on validators in containers; a bad network between two ports |

mod bench;
mod faults;
mod load;
mod meter;
mod relay;
mod report;

use std::path::PathBuf;

use clap::Subcommand;
use node::exit::Failure;

use crate::cli::home::Home;

/// A command of the tools.
#[derive(Debug, Subcommand)]
pub enum Tool {
    /// Put load on validators, and measure throughput and latency
    Load(load::Load),
    /// Measure throughput, latency and resource use of a testnet on this machine, in one table
    Bench(bench::Bench),
    /// Kill, pause, partition and delay validators in containers under load
    Faults(faults::Faults),
    /// Forward TCP and UDP with delay, jitter and a rate limit, or block them
    Relay(relay::Relay),
}

impl Tool {
    /// Runs the command. `home` is the home folder that was given.
    ///
    /// Errors: those of the command.
    pub fn run(self, home: Option<PathBuf>) -> Result<(), Failure> {
        match self {
            Self::Load(args) => args.run(&Home::find(home)?),
            Self::Bench(args) => args.run(),
            Self::Faults(args) => args.run(),
            Self::Relay(args) => args.run(),
        }
    }
}
