//! Settings of CometBFT that have no meaning here. They are refused, each with advice: to read and ignore a setting
//! would mislead the operator.

/// Returns the advice for a key of CometBFT, `section.key`, or for a whole section, `section`.
pub(super) fn advice(key: &str) -> Option<&'static str> {
    const GENESIS: &str = "timeouts are parameters of the chain: set consensus_params.timeouts in the genesis document, and remove the line";
    const NOT_NEEDED: &str = "Cairn does not need it; remove the line";
    Some(match key {
        "proxy_app" | "abci" => "the application is part of the node; remove the line",
        "version" | "db_backend" | "filter_peers" | "event_bus_buffer_capacity" => NOT_NEEDED,
        "priv_validator_laddr" => "remote signers are not supported; the key is read from priv_validator_key_file",
        "rpc.grpc_laddr" | "rpc.grpc_max_open_connections" => "there is no gRPC; remove the line",
        "rpc.tls_cert_file" | "rpc.tls_key_file" => "put a TLS proxy before the RPC, and remove the line",
        "rpc.pprof_laddr"
        | "rpc.experimental_websocket_write_buffer_size"
        | "rpc.experimental_close_on_slow_client" => NOT_NEEDED,
        "rpc.experimental_subscription_buffer_size" => "it is called rpc.subscription_buffer_size here",
        "p2p.seed_mode" => "there are no seed-only nodes; every node with p2p.pex = true gives addresses to peers",
        "p2p.flush_throttle_timeout" | "p2p.max_packet_msg_payload_size" | "p2p.send_rate" | "p2p.recv_rate" => {
            NOT_NEEDED
        }
        "p2p.persistent_peers_max_dial_period" => "persistent peers are dialled at least every 10 s; remove the line",
        "mempool.type" | "mempool.recheck" | "mempool.recheck_timeout" | "mempool.wal_dir" => NOT_NEEDED,
        "mempool.keep-invalid-txs-in-cache" => NOT_NEEDED,
        "mempool.experimental_max_gossip_connections_to_persistent_peers"
        | "mempool.experimental_max_gossip_connections_to_non_persistent_peers" => NOT_NEEDED,
        "statesync" => "there is no state sync: a new node fetches blocks from its peers; remove the section",
        "blocksync.version" | "blocksync.adaptive_sync" => {
            "a node enters and leaves block sync by itself; remove the line"
        }
        "consensus.wal_file" => "the hard state in the database replaces the log file; remove the line",
        "consensus.timeout_commit" | "consensus.skip_timeout_commit" => {
            "there is no fixed wait after a commit; consensus.min_block_interval sets the minimum time between blocks"
        }
        "consensus.double_sign_check_height" => {
            "a signature is on disk before it is sent, so no check is needed; remove the line"
        }
        "consensus.peer_gossip_sleep_duration" | "consensus.peer_query_maj23_sleep_duration" => {
            "the node does not poll; consensus.gossip_interval sets how often lost messages are sent again"
        }
        "consensus.block_time_tolerance" => {
            "it is a parameter of the chain: consensus_params.synchrony in the genesis document"
        }
        "storage.discard_abci_responses" => "results are kept as long as their blocks; remove the line",
        "tx_index" => "transactions are indexed with the block, always; remove the section",
        _ if key.starts_with("consensus.timeout_") => GENESIS,
        _ => return None,
    })
}
