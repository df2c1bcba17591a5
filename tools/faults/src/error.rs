//! Reasons why a run has no report.

use client::ClientError;
use load::LoadError;
use thiserror::Error;

/// Reason why a run has no report: a sentence that names the cause and the remedy.
#[derive(Debug, Error)]
pub enum FaultsError {
    /// The requested run is not possible.
    #[error("{0}")]
    Wanted(String),
    /// Docker, or a program in its containers, does not do what is requested.
    #[error("{0}")]
    Docker(String),
    /// The load could not be started.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A validator does not answer, or its answer is not the one of a node.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The load ended before the faults did.
    #[error("the load ended before the faults did: use a lower --rate")]
    LoadEnded,
    /// The run was stopped from outside.
    #[error("stopped; its containers, networks and volumes are removed")]
    Stopped,
}
