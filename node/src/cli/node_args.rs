//! The option that chooses the node to ask.

use clap::Args;

use super::{
    client::{Client, DEFAULT_NODE},
    failure::Failure,
    home::Home,
};

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
    /// Errors: the configuration or the address is invalid.
    pub fn client(&self, home: &Home) -> Result<Client, Failure> {
        match &self.node {
            Some(url) => Client::new(url),
            None => Client::new(&home.rpc_address()?.unwrap_or_else(|| DEFAULT_NODE.to_owned())),
        }
    }
}
