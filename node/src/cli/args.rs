//! Arguments that several commands share.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    time::Duration,
};

use clap::Args;
use client::{Client, DEFAULT_NODE};
use node::{config::parse_duration, exit::Failure};
use types::Height;

use super::home::Home;

/// Which node to ask.
#[derive(Clone, Debug, Args)]
pub struct NodeArgs {
    /// RPC address of the node to query [default: the one in the home's config.toml, else http://127.0.0.1:26657]
    #[arg(long, env = "CAIRN_NODE", hide_env_values = true, value_name = "URL", global = true)]
    node: Option<String>,
}

impl NodeArgs {
    /// Creates a client for the node of `--node`, else of the home's configuration, else for [`DEFAULT_NODE`].
    ///
    /// Errors: the address is invalid, or the home's configuration cannot be read or is invalid.
    pub fn client(&self, home: &Home) -> Result<Client, Failure> {
        let url = match &self.node {
            Some(url) => url.clone(),
            None => home.rpc_address()?.unwrap_or_else(|| DEFAULT_NODE.to_owned()),
        };
        Ok(Client::new(&url, Some("--node"))?)
    }
}

/// Reads the file of an argument, or standard input if it is `-`. Of a larger file, returns one byte more than `bytes_max`.
///
/// Errors: the file cannot be read.
pub fn read(file: &Path, bytes_max: usize) -> Result<Vec<u8>, Failure> {
    let failure = |error: io::Error| Failure::file("read", file, &error);
    let source: Box<dyn Read> = match file == Path::new("-") {
        true => Box::new(io::stdin()),
        false => Box::new(File::open(file).map_err(failure)?),
    };
    let mut bytes = Vec::new();
    source.take(bytes_max as u64 + 1).read_to_end(&mut bytes).map_err(failure)?;
    Ok(bytes)
}

/// Parses a height that becomes part of a transaction, whose encoding has 63 bits for it.
///
/// Errors: the text is not such a height.
pub fn height(text: &str) -> Result<Height, String> {
    let height = text.parse::<u64>().ok().filter(|height| i64::try_from(*height).is_ok()).map(Height);
    height.ok_or_else(|| format!("a height is a whole number from 0 to {}", i64::MAX))
}

/// Parses a duration such as `10s`; also accepts `0` without a unit.
///
/// Errors: the text is not a duration.
pub fn duration(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    parse_duration(text).ok_or_else(|| "use a duration such as 500ms, 10s or 2m".to_owned())
}
