//! Checks settings that have the right type but an unusable value.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    time::Duration,
};

use types::limits::TX_BYTES_MAX;

use super::{Config, ConfigError, duration_text};
use crate::logging;

/// Parses `tcp://127.0.0.1:26657`, `127.0.0.1:26657`, `localhost:26657` or `:26660` (all addresses); `None` if the text
/// has another form.
pub fn listen_address(text: &str) -> Option<SocketAddr> {
    let text = text.strip_prefix("tcp://").or(text.strip_prefix("http://")).unwrap_or(text);
    if let Some(port) = text.strip_prefix(':') {
        return port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port));
    }
    if let Some(port) = text.strip_prefix("localhost:") {
        return port.parse().ok().map(|port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port));
    }
    text.parse().ok()
}

impl Config {
    /// Checks what types alone cannot guarantee.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.check_base()?;
        self.check_addresses()?;
        self.check_peers()?;
        self.check_bounds()
    }

    fn invalid(&self, key: &str, got: impl ToString, reason: impl ToString) -> ConfigError {
        ConfigError::Invalid {
            origin: self.origin(key),
            key: key.to_owned(),
            got: got.to_string(),
            reason: reason.to_string(),
        }
    }

    fn check_base(&self) -> Result<(), ConfigError> {
        if let Err(reason) = logging::parse_levels(&self.base.log_level) {
            return Err(self.invalid("log_level", format!("{:?}", self.base.log_level), reason));
        }
        if !["plain", "json"].contains(&self.base.log_format.as_str()) {
            return Err(self.invalid("log_format", format!("{:?}", self.base.log_format), "use \"plain\" or \"json\""));
        }
        let files = [
            ("genesis_file", &self.base.genesis_file),
            ("priv_validator_key_file", &self.base.priv_validator_key_file),
            ("priv_validator_state_file", &self.base.priv_validator_state_file),
            ("node_key_file", &self.base.node_key_file),
            ("db_dir", &self.base.db_dir),
            ("p2p.addr_book_file", &self.p2p.addr_book_file),
        ];
        match files.into_iter().find(|(_, path)| path.is_empty()) {
            Some((key, _)) => Err(self.invalid(key, "empty", "give a path, relative to the home or absolute")),
            None => Ok(()),
        }
    }

    fn check_addresses(&self) -> Result<(), ConfigError> {
        const EXAMPLE: &str = "give an IP address and a port, such as tcp://127.0.0.1:26657";
        let addresses = [
            ("rpc.laddr", &self.rpc.laddr, self.rpc.laddr.is_empty()),
            ("p2p.laddr", &self.p2p.laddr, false),
            ("instrumentation.prometheus_listen_addr", &self.instrumentation.prometheus_listen_addr, false),
        ];
        for (key, text, off) in addresses {
            if !off && listen_address(text).is_none() {
                return Err(self.invalid(key, format!("{text:?}"), EXAMPLE));
            }
        }
        let external = &self.p2p.external_address;
        if !external.is_empty() && external.parse::<p2p::HostPort>().is_err() {
            return Err(self.invalid(
                "p2p.external_address",
                format!("{external:?}"),
                "give host:port, such as example.org:26656",
            ));
        }
        let namespace = &self.instrumentation.namespace;
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if namespace.is_empty()
            || !namespace.chars().all(is_name)
            || namespace.starts_with(|c: char| c.is_ascii_digit())
        {
            let reason = "use letters, digits and _, with a letter first, such as cometbft";
            return Err(self.invalid("instrumentation.namespace", format!("{namespace:?}"), reason));
        }
        Ok(())
    }

    fn check_peers(&self) -> Result<(), ConfigError> {
        for (key, peers) in [("p2p.persistent_peers", &self.p2p.persistent_peers), ("p2p.seeds", &self.p2p.seeds)] {
            for peer in peers {
                if let Err(error) = peer.parse::<p2p::PeerAddress>() {
                    return Err(self.invalid(key, format!("{:?}", cut(peer)), error));
                }
            }
        }
        let ids = [
            ("p2p.unconditional_peer_ids", &self.p2p.unconditional_peer_ids),
            ("p2p.private_peer_ids", &self.p2p.private_peer_ids),
        ];
        for (key, ids) in ids {
            for id in ids {
                if let Err(error) = id.parse::<p2p::NodeId>() {
                    return Err(self.invalid(key, format!("{:?}", cut(id)), error));
                }
            }
        }
        Ok(())
    }

    /// Returns each number with its smallest and its greatest value.
    pub(super) fn numbers(&self) -> Vec<(&'static str, usize, usize, usize)> {
        vec![
            ("rpc.max_open_connections", self.rpc.max_open_connections, 1, 100_000),
            ("rpc.max_open_connections_per_address", self.rpc.max_open_connections_per_address, 0, 100_000),
            ("rpc.max_client_bytes_per_second", self.rpc.max_client_bytes_per_second, 0, 1 << 40),
            ("rpc.max_client_cpu_percent", self.rpc.max_client_cpu_percent, 0, 100_000),
            ("rpc.max_cpu_percent", self.rpc.max_cpu_percent, 0, 100),
            ("rpc.max_subscription_clients", self.rpc.max_subscription_clients, 0, 100_000),
            ("rpc.max_subscriptions_per_client", self.rpc.max_subscriptions_per_client, 0, 10_000),
            ("rpc.subscription_buffer_size", self.rpc.subscription_buffer_size, 1, 100_000),
            ("rpc.max_request_batch_size", self.rpc.max_request_batch_size, 1, 1_000),
            ("rpc.max_body_bytes", self.rpc.max_body_bytes, 1, 64 << 20),
            ("rpc.max_header_bytes", self.rpc.max_header_bytes, 8 << 10, 64 << 10),
            ("p2p.max_num_inbound_peers", self.p2p.max_num_inbound_peers, 0, 10_000),
            ("p2p.max_num_outbound_peers", self.p2p.max_num_outbound_peers, 0, 10_000),
            ("mempool.size", self.mempool.size, 1, 10_000_000),
            ("mempool.max_txs_bytes", self.mempool.max_txs_bytes, TX_BYTES_MAX, 16 << 30),
            ("mempool.max_tx_bytes", self.mempool.max_tx_bytes, 1, TX_BYTES_MAX),
            ("mempool.max_txs_per_sender", self.mempool.max_txs_per_sender, 1, 10_000_000),
            ("mempool.cache_size", self.mempool.cache_size, 1, 100_000_000),
            ("consensus.verify_threads", self.consensus.verify_threads, 0, 256),
            ("storage.scrub_bytes_per_second", self.storage.scrub_bytes_per_second, 0, 16 << 30),
            ("instrumentation.max_open_connections", self.instrumentation.max_open_connections, 1, 1_000),
        ]
    }

    /// Returns each duration with its smallest and its greatest value.
    pub(super) fn durations(&self) -> Vec<(&'static str, Duration, Duration, Duration)> {
        let ms = Duration::from_millis;
        let hour = Duration::from_secs(3600);
        vec![
            ("rpc.timeout_broadcast_tx_commit", self.rpc.timeout_broadcast_tx_commit, ms(1), hour),
            ("p2p.handshake_timeout", self.p2p.handshake_timeout, ms(1), hour),
            ("p2p.dial_timeout", self.p2p.dial_timeout, ms(1), hour),
            ("mempool.ttl_duration", self.mempool.ttl_duration, ms(1), 24 * 30 * hour),
            (
                "consensus.empty_block_interval",
                self.consensus.empty_block_interval.unwrap_or_default(),
                Duration::ZERO,
                24 * hour,
            ),
            ("consensus.min_block_interval", self.consensus.min_block_interval, Duration::ZERO, hour),
            ("consensus.gossip_interval", self.consensus.gossip_interval, ms(10), ms(60_000)),
            ("blocksync.request_timeout", self.blocksync.request_timeout, ms(10), hour),
            ("storage.retain_time", self.storage.retain_time, Duration::ZERO, 24 * 365 * hour),
            ("instrumentation.stall_after", self.instrumentation.stall_after, ms(1), 24 * hour),
        ]
    }

    fn check_bounds(&self) -> Result<(), ConfigError> {
        for (key, got, low, high) in self.numbers() {
            if !(low..=high).contains(&got) {
                return Err(self.invalid(key, got, format!("use {low} to {high}")));
            }
        }
        for (key, got, low, high) in self.durations() {
            if !(low..=high).contains(&got) {
                let reason = format!("use {} to {}", duration_text(low), duration_text(high));
                return Err(self.invalid(key, duration_text(got), reason));
            }
        }
        Ok(())
    }
}

fn cut(text: &str) -> String {
    text.chars().take(96).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn error(file: &str) -> String {
        Config::read(Path::new("/h"), file, [], &[]).unwrap_err().to_string()
    }

    #[test]
    fn invalid_settings_are_refused_with_source_key_and_remedy() {
        for (file, key, way_out) in [
            ("log_level = \"loud\"", "log_level", "use trace"),
            ("log_format = \"xml\"", "log_format", "\"plain\""),
            ("db_dir = \"\"", "db_dir", "give a path"),
            ("[rpc]\nladdr = \"tcp://somewhere\"", "rpc.laddr", "127.0.0.1"),
            ("[rpc]\nmax_request_batch_size = 0", "rpc.max_request_batch_size", "1 to 1000"),
            ("[p2p]\nladdr = \"\"", "p2p.laddr", "give an IP"),
            ("[p2p]\npersistent_peers = \"x@y\"", "p2p.persistent_peers", "id@host:port"),
            ("[p2p]\nprivate_peer_ids = \"x\"", "p2p.private_peer_ids", "40 hex"),
            ("[p2p]\nexternal_address = \"host\"", "p2p.external_address", "host:port"),
            ("[mempool]\nmax_tx_bytes = 300000", "mempool.max_tx_bytes", "1 to 229376"),
            ("[consensus]\ngossip_interval = \"1h\"", "consensus.gossip_interval", "10ms to 1m"),
            ("[instrumentation]\nnamespace = \"a b\"", "instrumentation.namespace", "letters"),
        ] {
            let text = error(file);
            assert!(text.starts_with(&format!("/h/config/config.toml: {key} is ")), "{text}");
            assert!(text.contains(way_out), "{text}");
        }
    }

    #[test]
    fn listen_addresses_are_parsed() {
        for (text, socket) in [
            ("tcp://127.0.0.1:1", "127.0.0.1:1"),
            (":26660", "0.0.0.0:26660"),
            ("localhost:5", "127.0.0.1:5"),
            ("[::1]:5", "[::1]:5"),
        ] {
            assert_eq!(listen_address(text), socket.parse().ok(), "{text}");
        }
        for bad in ["", "tcp://", "example.org:1", "1.2.3.4", ":x", "tcp://127.0.0.1:70000"] {
            assert_eq!(listen_address(bad), None, "{bad}");
        }
    }
}
