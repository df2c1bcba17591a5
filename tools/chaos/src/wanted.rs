//! The parameters of a run.

use std::{path::PathBuf, time::Duration};

use crate::ChaosError;

/// Minimum number of validators: with fewer, a chain cannot continue after the loss of one.
pub const NODES_MIN: usize = 4;
/// Maximum number of validators: more processes than that make a small machine too slow for the bounds of the checks.
pub const NODES_MAX: usize = 7;

/// Where the validators run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// Each in a network namespace of its own; this process is already inside namespaces that are its own.
    Namespaces,
    /// All on the loopback interface.
    Loopback,
}

/// Parameters of a run.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Path of the `cairn` program.
    pub cairn: PathBuf,
    /// The program that has the upgrade `v2`: started as `PROGRAM start --home DIR`.
    pub next: PathBuf,
    /// New folder for homes, logs and backups. It is removed at the end, unless a check failed.
    pub dir: PathBuf,
    /// Seed of the plan of faults and of the transactions.
    pub seed: u64,
    /// Number of validators, 4 to 7.
    pub validators: usize,
    /// Time for the rounds of faults.
    pub time: Duration,
    /// Minimum number of kills (SIGKILL).
    pub kills: usize,
    /// Length of the faults of one round.
    pub round: Duration,
    /// Transfers per second, on average.
    pub rate: f64,
    /// Maximum time from the end of a round's faults until all validators are at the tip and sign again.
    pub recovery_max: Duration,
    /// Interval of gossip between the validators.
    pub gossip: Duration,
    /// Where the validators run.
    pub place: Place,
}

impl Wanted {
    /// Checks that every value is in its range.
    ///
    /// Errors: [`ChaosError::Wanted`] names the option, its value and the values that are possible.
    pub fn check(&self) -> Result<(), ChaosError> {
        let bad = |option: &str, got: String, range: &str| {
            Err(ChaosError::Wanted(format!("--{option} {got} is out of range: use {range}")))
        };
        if !(NODES_MIN..=NODES_MAX).contains(&self.validators) {
            return bad("validators", self.validators.to_string(), "4 to 7");
        }
        if self.kills > 10_000 {
            return bad("kills", self.kills.to_string(), "0 to 10000");
        }
        if !(1.0..=500.0).contains(&self.rate) {
            return bad("rate", self.rate.to_string(), "1 to 500 transfers per second");
        }
        if !(20..=24 * 3600).contains(&self.time.as_secs()) {
            return bad("minutes", (self.time.as_secs_f64() / 60.0).to_string(), "0.5 to 1440");
        }
        Ok(())
    }

    /// Returns the number of rounds: each has the faults of [`Wanted::round`], and about half as long a calm.
    pub fn rounds(&self) -> usize {
        ((self.time.as_secs_f64() / (1.5 * self.round.as_secs_f64())) as usize).max(1)
    }
}
