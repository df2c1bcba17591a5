//! Why there is no report.

use std::{io, path::PathBuf};

use thiserror::Error;

/// Why there is no report: a sentence with the way out.
#[derive(Debug, Error)]
pub enum LoadError {
    /// The plan cannot be carried out.
    #[error("{field}: {reason}")]
    Plan {
        /// Of [`crate::Plan`].
        field: &'static str,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// A node cannot be asked, or its answer is not that of a node of this chain.
    #[error("{url}: {reason}")]
    Node {
        /// Which.
        url: String,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// The file of signed transactions.
    #[error("{}: {reason}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What is wrong, and the way out.
        reason: String,
    },
    /// Senders lack money.
    #[error("{0}")]
    Funds(String),
    /// The system gave no thread or socket.
    #[error("the system refuses {what}: {error}")]
    System {
        /// What was asked for.
        what: &'static str,
        /// What it said.
        error: io::Error,
    },
    /// Stopped from outside before there was anything to report.
    #[error("stopped before the load began")]
    Stopped,
}

impl LoadError {
    pub(crate) fn node(url: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::Node { url: url.into(), reason: reason.into() }
    }

    pub(crate) fn file(path: impl Into<PathBuf>, reason: impl Into<String>) -> Self {
        Self::File { path: path.into(), reason: reason.into() }
    }
}
