//! Divides the file handles that the system allows this process: the database and peers have priority, clients get the
//! rest.
//!
//! A database that cannot open a file stops the validator, and a peer that cannot connect slows the chain; a client can
//! retry.

use crate::config::Config;

/// File handles of the process itself: standard streams, logs, listeners, event queues, files that are read or
/// replaced, and a reserve for connections that are being closed.
const OWN: usize = 48;

/// File handles of the database in addition to its tables: logs, manifest, and outputs of compactions.
const DATABASE_MORE: usize = 32;

/// Minimum number of file handles with which the database works, and the number at which it is fast.
const DATABASE_MIN: usize = 32 + DATABASE_MORE;
const DATABASE_MAX: usize = storage::OPEN_FILES_MAX as usize + DATABASE_MORE;

/// Connections that are being dialled or have not completed the handshake.
const PEERS_MORE: usize = 32;

/// Maximum number of connections to the metrics server.
const METRICS_MAX: usize = 64;

/// Minimum number of connections for clients, even if the system allows fewer files.
const CLIENTS_MIN: usize = 12;

/// The shares of the file handles that each part of the node receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Files {
    /// Maximum number of tables that the database keeps open.
    pub tables: usize,
    /// Maximum number of inbound peers.
    pub inbound_peers: usize,
    /// Maximum number of connections to the metrics server.
    pub metrics: usize,
    /// Maximum number of connections to the RPC.
    pub rpc: usize,
    /// Number of file handles that the configuration needs.
    pub wanted: usize,
}

impl Files {
    /// Divides `allowed` file handles, within the limits in `config`.
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
        // One quarter is for the metrics server, another for connections that are being refused because no place is
        // free.
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
    fn clients_get_the_open_files_that_database_and_peers_leave() {
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
