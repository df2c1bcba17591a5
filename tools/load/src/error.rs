//! Errors that prevent a load run from producing a report.

use std::{io, path::PathBuf};

use client::ClientError;
use thiserror::Error;

/// Reason why a run has no report: a sentence that names the cause and the remedy.
#[derive(Debug, Error)]
pub enum LoadError {
    /// A field of the plan cannot be used.
    #[error("{field}: {reason}")]
    Plan {
        /// Name of the field of [`crate::Plan`].
        field: &'static str,
        /// What is wrong with the field, and the remedy.
        reason: String,
    },
    /// A node does not answer, or refuses a query.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A node cannot be used for this run.
    #[error("{url}: {reason}")]
    Node {
        /// Address of the node, as the plan gives it.
        url: String,
        /// What is wrong with the node, and the remedy.
        reason: String,
    },
    /// The file of signed transactions cannot be used.
    #[error("{}: {reason}", path.display())]
    File {
        /// Path of the file.
        path: PathBuf,
        /// What is wrong with the file, and the remedy.
        reason: String,
    },
    /// The senders do not have enough money for the run.
    #[error("{0}")]
    Funds(String),
    /// The operating system refused a resource, such as a thread.
    #[error("the system refuses {what}: {error}")]
    System {
        /// The resource that was requested.
        what: &'static str,
        /// The error that the operating system returned.
        error: io::Error,
    },
    /// The run was stopped from outside before there was anything to report.
    #[error("stopped before the load began")]
    Stopped,
}

impl LoadError {
    /// Creates an error about the node at `url`.
    pub(crate) fn node(url: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Node { url: url.into(), reason: reason.into() }
    }

    /// Creates an error about the file at `path`.
    pub(crate) fn file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::File { path: path.into(), reason: reason.into() }
    }
}
