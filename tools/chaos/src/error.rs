//! Reasons why a run has no report.

use thiserror::Error;

/// Reason why a run has no report: a sentence that names the cause and the remedy.
#[derive(Debug, Error)]
pub enum ChaosError {
    /// The requested run is not possible.
    #[error("{0}")]
    Wanted(String),
    /// The machine does not do what the run needs: a file, a process, a port, a namespace.
    #[error("{0}")]
    Machine(String),
    /// The chain broke one of the rules that the run checks.
    #[error("{0}")]
    Violation(String),
    /// The run was stopped from outside.
    #[error("stopped; its processes have ended and its files are removed")]
    Stopped,
}

impl ChaosError {
    /// Creates the error for something that this machine did not do; `what` is the act.
    pub fn machine(what: impl std::fmt::Display, error: impl std::fmt::Display) -> Self {
        Self::Machine(format!("{what}: {error}"))
    }
}
