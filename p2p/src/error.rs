//! The error of the start.

use crate::config::ConfigError;

/// The reason why the network did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A setting that cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The port is in use, or the address does not belong to this machine.
    #[error("cannot listen on {address}: {source} (choose another p2p.laddr, or stop what uses it)")]
    Listen {
        /// The address to listen on.
        address: String,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// A part of the transport could not be set up.
    #[error("cannot set up the transport: {0}")]
    Transport(String),
}
