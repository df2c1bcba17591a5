//! What an operator decides about the network.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::address::HostPort;
use crate::range::{self, Range, Reach};
use crate::{NodeId, PeerAddress};

/// Settings of the network. [`Config::new`] gives the defaults; fields are named as in CometBFT's `[p2p]` where it has them.
#[derive(Clone, Debug)]
pub struct Config {
    /// Chain that peers must be of.
    pub chain_id: String,
    /// Hash of the genesis document that peers must have too: one chain id may be used twice.
    pub genesis_hash: [u8; 32],
    /// Name for people, told to peers.
    pub moniker: String,
    /// Software version, told to peers.
    pub version: String,
    /// Socket to listen on: `tcp://0.0.0.0:26656`, or without the scheme. Port 0 picks a free one.
    pub laddr: String,
    /// Also listen on the UDP port of the same number and dial by QUIC.
    pub quic: bool,
    /// `host:port` at which others reach us, when it is not what we listen on.
    pub external_address: Option<HostPort>,
    /// Peers to be connected with always. They are dialled for ever and count in no limit.
    pub persistent_peers: Vec<PeerAddress>,
    /// Peers to dial when outbound peers are missing, to learn more addresses.
    pub seeds: Vec<PeerAddress>,
    /// Peers that may have dialled us; a share of the places is kept for proven ones.
    pub max_inbound: usize,
    /// Peers that we dial beyond the persistent ones.
    pub max_outbound: usize,
    /// Inbound connections from one IP address; loopback is free when `allow_private`. 0: no limit, nor one for strangers of
    /// one range of addresses.
    pub max_inbound_per_ip: usize,
    /// Exchange addresses of peers with peers, and dial what we learn.
    pub pex: bool,
    /// Peers whose addresses are never given to other peers.
    pub private_ids: BTreeSet<NodeId>,
    /// Peers that count in no limit.
    pub unconditional_ids: BTreeSet<NodeId>,
    /// Take loopback and private addresses from the peer exchange, of peers that have such addresses themselves (the
    /// opposite of CometBFT's `addr_book_strict`).
    pub allow_private: bool,
    /// File that keeps learned addresses over restarts. `None`: they are forgotten.
    pub address_book: Option<PathBuf>,
    /// Time for a dial with its encryption handshake.
    pub dial_timeout: Duration,
    /// Time from an encrypted connection to an accepted peer.
    pub handshake_timeout: Duration,
    /// First pause before a persistent peer is dialled again; it doubles from there, with jitter.
    pub redial_min: Duration,
    /// Longest pause before a persistent peer is dialled again.
    pub redial_max: Duration,
    /// Length of a first ban; it doubles with each further one, up to a day.
    pub ban_time: Duration,
    /// Length of each ban of a persistent peer.
    pub ban_time_persistent: Duration,
    /// Time between two pings. A peer is given up when two in a row fail.
    pub ping_interval: Duration,
    /// Time that a ping may take.
    pub ping_timeout: Duration,
    /// Time for a request and its response.
    pub request_timeout: Duration,
}

/// A setting that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("p2p.{field}: {reason}")]
pub struct ConfigError {
    /// Field of [`Config`].
    pub field: &'static str,
    /// What is wrong with it, and the way out.
    pub reason: String,
}

impl Config {
    /// Defaults for a node of a chain, whose genesis hash is to be set.
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

    /// The socket to listen on, or why the settings cannot work.
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

    /// The range of addresses for which the deeds of a peer at `ip` count. `None`: for none, because the operator
    /// configured the peer, or because a testnet's many nodes share the address.
    pub(crate) fn range_of(&self, id: &NodeId, ip: IpAddr) -> Option<Range> {
        let is_shared = self.allow_private && range::reach(ip) == Some(Reach::Host);
        (!is_shared && !self.is_exempt(id)).then(|| Range::of(ip))
    }

    /// Whether a peer counts in no limit.
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
