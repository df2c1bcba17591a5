//! The parameters of a run, and how long it may take.

use std::{path::PathBuf, time::Duration};

use crate::{
    FaultsError,
    scenario::Scenario,
    topology::{NODES_MAX, NODES_MIN},
};

/// Time limit from the end of a fault until everything has recovered.
pub const RECOVERY_TIME_MAX: Duration = Duration::from_secs(60);
/// Usual maximum time of the calls to Docker, the recovery and the wait for calm of one scenario.
const USUAL_TIME_MAX: Duration = Duration::from_secs(20);
/// Length of the load before the first scenario.
pub const WARM_UP: Duration = Duration::from_secs(3);
/// Pause between a baseline and its fault, so that what was due in the baseline is committed before the fault.
pub const GAP: Duration = Duration::from_secs(1);
/// Maximum number of transactions of a run, because each has its own sender.
const TXS_MAX: f64 = 500_000.0;

/// The parameters of a run.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Name of the image that has Cairn.
    pub image: String,
    /// Number of validators in the chain.
    pub validators: usize,
    /// True if the validators dial each other over QUIC instead of TCP.
    pub quic: bool,
    /// Scenarios in the order in which they are executed.
    pub scenarios: Vec<Scenario>,
    /// Rate of the load in transactions per second.
    pub rate: f64,
    /// Duration of each fault.
    pub duration: Duration,
    /// Duration of the measurement before each fault, with which the fault is compared.
    pub baseline: Duration,
    /// Delay of each direction in the scenario `delay`.
    pub delay: Duration,
    /// Maximum random time that is added to this delay.
    pub jitter: Duration,
    /// Path of the file of signed transactions during the run.
    pub file: PathBuf,
}

impl Wanted {
    /// Returns the maximum duration of the load.
    pub fn load_time_max(&self) -> Duration {
        let each = self.baseline + GAP + self.duration + USUAL_TIME_MAX;
        // The run ends after a scenario that takes longer to recover.
        WARM_UP + each * u32::try_from(self.scenarios.len()).unwrap_or(u32::MAX) + 2 * RECOVERY_TIME_MAX
    }

    /// Checks that every value is in its range.
    ///
    /// Errors: [`FaultsError::Wanted`] when a value is out of its range.
    pub fn check(&self) -> Result<(), FaultsError> {
        let wrong = |sentence: String| Err(FaultsError::Wanted(sentence));
        let Self { validators, rate, duration, baseline, .. } = self;
        if !(NODES_MIN..=NODES_MAX).contains(validators) {
            return wrong(format!("--validators is {validators}: use {NODES_MIN} to {NODES_MAX}"));
        }
        if self.scenarios.is_empty() {
            return wrong("--scenarios is empty: leave it out for all of them".to_owned());
        }
        let lengths = Duration::from_secs(1)..=Duration::from_secs(600);
        for (flag, length) in [("--duration", duration), ("--baseline", baseline)] {
            if !lengths.contains(length) {
                return wrong(format!("{flag} is {} s: use 1s to 600s", length.as_secs_f64()));
            }
        }
        if self.delay + self.jitter > Duration::from_secs(10) {
            return wrong("--delay and --jitter are more than 10 s together: use less".to_owned());
        }
        let txs = rate * self.load_time_max().as_secs_f64();
        if !(*rate >= 1.0 && txs <= TXS_MAX) {
            return wrong(format!(
                "--rate is {rate}: use 1 to {:.0} per second, so that the longest possible run has at most {TXS_MAX} transactions",
                TXS_MAX / self.load_time_max().as_secs_f64()
            ));
        }
        Ok(())
    }
}
