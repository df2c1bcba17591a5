//! Network settings that an operator chooses.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::address::HostPort;
use crate::range::{self, Range, Reach};
use crate::{NodeId, PeerAddress};

/// Settings of the network. [`Config::new`] gives the defaults; fields have the names of CometBFT's `[p2p]` section
/// where it has them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Chain id that every peer must have.
    pub chain_id: String,
    /// Hash of the genesis document that every peer must have too, because one chain id may be used twice.
    pub genesis_hash: [u8; 32],
    /// Human-readable name of this node; it is sent to peers.
    pub moniker: String,
    /// Software version of this node; it is sent to peers.
    pub version: String,
    /// Socket to listen on: `tcp://0.0.0.0:26656`, or without the scheme. Port 0 selects a free port.
    pub laddr: String,
    /// True to listen also on the UDP port of the same number and to dial by QUIC.
    pub quic: bool,
    /// `host:port` at which other nodes reach this node, if it differs from the socket to listen on.
    pub external_address: Option<HostPort>,
    /// Peers that the node always stays connected with. They are redialled without end and count in no limit.
    pub persistent_peers: Vec<PeerAddress>,
    /// Peers that are dialled to learn more addresses when outbound peers are missing.
    pub seeds: Vec<PeerAddress>,
    /// Maximum number of inbound peers; a quarter of the places is reserved for proven peers.
    pub max_inbound: usize,
    /// Maximum number of outbound peers beyond the persistent ones.
    pub max_outbound: usize,
    /// Maximum number of inbound connections from one IP address; loopback is exempt if `allow_private` is set. 0 means
    /// no limit, and no limit for unproven peers of one range of addresses either.
    pub max_inbound_per_ip: usize,
    /// True to exchange peer addresses with peers and to dial the learned addresses.
    pub pex: bool,
    /// Peers whose addresses are never sent to other peers.
    pub private_ids: BTreeSet<NodeId>,
    /// Peers that count in no limit, like the persistent ones.
    pub unconditional_ids: BTreeSet<NodeId>,
    /// True to accept loopback and private addresses in the peer exchange, from peers that have such addresses
    /// themselves (the opposite of CometBFT's `addr_book_strict`).
    pub allow_private: bool,
    /// File that keeps learned addresses over restarts. `None`: they are not kept.
    pub address_book: Option<PathBuf>,
    /// Timeout of a dial including its encryption handshake.
    pub dial_timeout: Duration,
    /// Timeout from an encrypted connection to an accepted peer.
    pub handshake_timeout: Duration,
    /// First pause before a persistent peer is dialled again; it doubles with each attempt, with jitter.
    pub redial_min: Duration,
    /// Longest pause before a persistent peer is dialled again.
    pub redial_max: Duration,
    /// Length of the first ban; it doubles with each further one, up to one day.
    pub ban_time: Duration,
    /// Length of each ban of a persistent peer.
    pub ban_time_persistent: Duration,
    /// Interval between two pings. A peer is disconnected when two pings in a row fail.
    pub ping_interval: Duration,
    /// Timeout of one ping.
    pub ping_timeout: Duration,
    /// Timeout of a request and its response together.
    pub request_timeout: Duration,
}

/// An error about a setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("p2p.{field}: {reason}")]
pub struct ConfigError {
    /// Name of the field in [`Config`].
    pub field: &'static str,
    /// What is wrong with the value, and how to correct it.
    pub reason: String,
}

impl Config {
    /// Creates the default settings for a node of a chain; `genesis_hash` must be set afterwards.
    pub fn new(chain_id: impl Into<String>, moniker: impl Into<String>) -> Config {
        Config {
            chain_id: chain_id.into(),
            genesis_hash: [0; 32],
            moniker: moniker.into(),
            version: env!("CARGO_PKG_VERSION").into(),
            laddr: "tcp://0.0.0.0:26656".into(),
            quic: true,
            external_address: None,
            persistent_peers: Vec::new(),
            seeds: Vec::new(),
            max_inbound: 40,
            max_outbound: 10,
            max_inbound_per_ip: 16,
            pex: true,
            private_ids: BTreeSet::new(),
            unconditional_ids: BTreeSet::new(),
            allow_private: false,
            address_book: None,
            dial_timeout: Duration::from_secs(3),
            handshake_timeout: Duration::from_secs(5),
            redial_min: Duration::from_millis(100),
            redial_max: Duration::from_secs(10),
            ban_time: Duration::from_secs(600),
            ban_time_persistent: Duration::from_secs(30),
            ping_interval: Duration::from_secs(5),
            ping_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(10),
        }
    }

    /// Checks the settings and returns the socket to listen on.
    ///
    /// Errors: [`ConfigError`] if `chain_id` or `laddr` is malformed, `redial_min` is 0 or above `redial_max`, or a
    /// timeout or the ping interval is 0.
    pub fn validate(&self) -> Result<SocketAddr, ConfigError> {
        let error = |field, reason: &str| ConfigError { field, reason: reason.to_owned() };
        let is_chain_id = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '.' || c == '_';
        if self.chain_id.is_empty() || self.chain_id.len() > 50 || !self.chain_id.chars().all(is_chain_id) {
            return Err(error("chain_id", "must be 1 to 50 characters of A-Z a-z 0-9 - . _"));
        }
        if self.redial_min.is_zero() || self.redial_max < self.redial_min {
            return Err(error("redial_max", "must be at least redial_min, and redial_min more than 0"));
        }
        let positive = [
            ("dial_timeout", self.dial_timeout),
            ("handshake_timeout", self.handshake_timeout),
            ("ping_interval", self.ping_interval),
            ("ping_timeout", self.ping_timeout),
            ("request_timeout", self.request_timeout),
        ];
        if let Some((field, _)) = positive.into_iter().find(|(_, time)| time.is_zero()) {
            return Err(error(field, "must be more than 0"));
        }
        let text = self.laddr.strip_prefix("tcp://").unwrap_or(&self.laddr);
        let HostPort { host, port } = text.parse().map_err(|_| ConfigError {
            field: "laddr",
            reason: format!("{:?} is not of the form tcp://0.0.0.0:26656", self.laddr),
        })?;
        let ip = match host.as_str() {
            "localhost" => IpAddr::from([127, 0, 0, 1]),
            host => host.parse().map_err(|_| error("laddr", "the host must be an IP address, such as 0.0.0.0"))?,
        };
        Ok(SocketAddr::new(ip, port))
    }

    pub(crate) fn is_persistent(&self, id: &NodeId) -> bool {
        self.persistent_peers.iter().any(|address| address.id == *id)
    }

    /// Returns the range of addresses that penalties of a peer at `ip` count for. `None` if they count for no range: the
    /// operator configured the peer, or many nodes of a test network share the address.
    pub(crate) fn range_of(&self, id: &NodeId, ip: IpAddr) -> Option<Range> {
        let is_shared = self.allow_private && range::reach(ip) == Some(Reach::Host);
        (!is_shared && !self.is_exempt(id)).then(|| Range::of(ip))
    }

    /// Returns true if the peer counts in no limit.
    pub(crate) fn is_exempt(&self, id: &NodeId) -> bool {
        self.unconditional_ids.contains(id) || self.is_persistent(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_work_and_errors_name_the_field() {
        let config = Config::new("chain-1", "a");
        assert_eq!(config.validate(), Ok("0.0.0.0:26656".parse().unwrap()));
        let field = |change: fn(&mut Config)| {
            let mut config = config.clone();
            change(&mut config);
            config.validate().unwrap_err().field
        };
        assert_eq!(field(|c| c.chain_id = "a/b".into()), "chain_id");
        assert_eq!(field(|c| c.chain_id = String::new()), "chain_id");
        assert_eq!(field(|c| c.laddr = "tcp://example.org:1".into()), "laddr");
        assert_eq!(field(|c| c.laddr = "26656".into()), "laddr");
        assert_eq!(field(|c| c.redial_max = Duration::ZERO), "redial_max");
        assert_eq!(field(|c| c.dial_timeout = Duration::ZERO), "dial_timeout");
    }
}
