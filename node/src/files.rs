//! Who gets the files that the system lets this process open: the database and peers first, clients what is left.
//!
//! A database that cannot open a file stops the validator, and a peer that cannot connect slows the chain; a client is told to come
//! again.

use crate::config::Config;

/// Files of the process itself: standard streams, logs, listeners, event queues, files being read or replaced, and some to spare for
/// connections that are being closed.
const OWN: usize = 48;

/// Files of the database beside those of its tables: logs, manifest, and those that a compaction writes.
const DATABASE_MORE: usize = 32;

/// Files that the database can work with, and those that it needs to be quick.
const DATABASE_MIN: usize = 32 + DATABASE_MORE;
const DATABASE_MAX: usize = storage::OPEN_FILES_MAX as usize + DATABASE_MORE;

/// Connections that are being dialled or have not said yet who they are.
const PEERS_MORE: usize = 32;

/// Connections of the metrics server.
const METRICS_MAX: usize = 64;

/// Connections that clients have at least, whatever the limit.
const CLIENTS_MIN: usize = 12;

/// Each one's share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// Tables that the database holds open.
    pub tables: usize,
    /// Peers that may have dialled us.
    pub inbound_peers: usize,
    /// Connections to the metrics server.
    pub metrics: usize,
    /// Connections to the RPC.
    pub rpc: usize,
    /// What the configuration asks for.
    pub wanted: usize,
}

impl Files {
    /// Shares `allowed` files out, by the limits in `config`.
    pub fn share(config: &Config, allowed: usize) -> Self {
        let p2p = &config.p2p;
        let dialled = p2p.max_num_outbound_peers + p2p.persistent_peers.len() + p2p.seeds.len() + PEERS_MORE;
        let (peers, rpc) = (dialled + p2p.max_num_inbound_peers, config.rpc.max_open_connections);
        let wanted = OWN + DATABASE_MAX + peers + METRICS_MAX + rpc + rpc.div_ceil(4).min(METRICS_MAX);
        if allowed >= wanted {
            return Self {
                tables: DATABASE_MAX - DATABASE_MORE,
                inbound_peers: p2p.max_num_inbound_peers,
                metrics: METRICS_MAX,
                rpc,
                wanted,
            };
        }
        let database = (allowed / 4).clamp(DATABASE_MIN, DATABASE_MAX);
        let peers = peers.min(allowed / 3);
        let clients = allowed.saturating_sub(OWN + database + peers).max(CLIENTS_MIN);
        // A quarter is for the metrics server, and another for those who are being told that there is no place for them.
        let quarter = (clients / 4).min(METRICS_MAX);
        Self {
            tables: database - DATABASE_MORE,
            inbound_peers: p2p.max_num_inbound_peers.min(peers.saturating_sub(dialled).max(4)),
            metrics: quarter,
            rpc: rpc.min(clients - 2 * quarter),
            wanted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_get_what_database_and_peers_leave() {
        let config = Config::default();
        let plenty = Files::share(&config, 65_536);
        assert_eq!((plenty.rpc, plenty.inbound_peers, plenty.tables), (900, 40, storage::OPEN_FILES_MAX as usize));
        for allowed in [128, 200, 256, 1_024] {
            let Files { tables, inbound_peers, metrics, rpc, wanted } = Files::share(&config, allowed);
            assert!(tables >= 32 && inbound_peers >= 4 && metrics >= 3 && rpc >= 6, "{allowed}");
            assert!(rpc < 900 && wanted > allowed, "{allowed}");
            let peers = inbound_peers + config.p2p.max_num_outbound_peers;
            let sum = OWN + tables + DATABASE_MORE + peers + metrics + rpc;
            assert!(sum <= allowed.max(190), "{allowed}: {sum}");
        }
    }
}
