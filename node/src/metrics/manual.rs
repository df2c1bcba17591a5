//! Generates `docs/metrics.md` from the registered metrics.

use std::fmt::Write;

use types::ChainId;

use super::{Fact, Metrics, collect};

/// CometBFT's names that are exported with the same meaning; all other names of the page are our own.
const COMETBFTS: &[&str] = &[
    "blocksync_block_size_bytes",
    "blocksync_latest_block_height",
    "blocksync_num_txs",
    "blocksync_syncing",
    "blocksync_total_txs",
    "consensus_block_gossip_parts_received",
    "consensus_block_interval_seconds",
    "consensus_block_parts",
    "consensus_block_size_bytes",
    "consensus_byzantine_validators",
    "consensus_byzantine_validators_power",
    "consensus_chain_size_bytes",
    "consensus_duplicate_block_part",
    "consensus_duplicate_vote",
    "consensus_full_prevote_delay",
    "consensus_height",
    "consensus_late_votes",
    "consensus_latest_block_height",
    "consensus_missing_validators",
    "consensus_missing_validators_power",
    "consensus_num_txs",
    "consensus_peer_height",
    "consensus_precommits_counted",
    "consensus_precommits_staking_percentage",
    "consensus_proposal_create_count",
    "consensus_proposal_receive_count",
    "consensus_proposal_timestamp_difference",
    "consensus_quorum_precommit_delay",
    "consensus_quorum_prevote_delay",
    "consensus_round_duration_seconds",
    "consensus_round_increment_total",
    "consensus_round_voting_power_percent",
    "consensus_rounds",
    "consensus_step_duration_seconds",
    "consensus_total_txs",
    "consensus_validator_last_signed_height",
    "consensus_validator_missed_blocks",
    "consensus_validator_power",
    "consensus_validators",
    "consensus_validators_power",
    "mempool_already_received_txs",
    "mempool_batch_size",
    "mempool_evicted_txs",
    "mempool_failed_txs",
    "mempool_reaped_txs",
    "mempool_recheck_times",
    "mempool_rejected_txs",
    "mempool_size",
    "mempool_size_bytes",
    "mempool_tx_size_bytes",
    "p2p_message_receive_bytes_total",
    "p2p_message_send_bytes_total",
    "p2p_messages_received",
    "p2p_num_txs",
    "p2p_peer_pending_send_bytes",
    "p2p_peer_receive_bytes_total",
    "p2p_peer_send_bytes_total",
    "p2p_peer_send_queue_size",
    "p2p_peers",
    "state_block_processing_time",
    "state_block_store_base_height",
    "state_consensus_param_updates",
    "state_pruning_service_block_retain_height",
    "state_validator_set_updates",
    "statesync_syncing",
];

/// CometBFT's names that are not exported, with the reason.
const LEFT_OUT: &[(&str, &str)] = &[
    (
        "abci_connection_method_timing_seconds",
        "there is no ABCI connection: the application is a function in the same process; see `consensus_phase_seconds`",
    ),
    ("blocksync_already_included_blocks", "a block that consensus has decided in the meantime is not fetched"),
    (
        "blocksync_ingested_block_duration, blocksync_ingested_blocks",
        "block sync and consensus commit through the same function; see `blocksync_blocks_total` and `consensus_phase_seconds`",
    ),
    ("consensus_vote_extension_receive_count", "there are no vote extensions"),
    (
        "mempool_active_outbound_connections",
        "transactions travel by gossipsub, which chooses its connections itself; see `p2p_gossip_batches_total`",
    ),
    (
        "mempool_lane_size, mempool_lane_bytes, mempool_tx_life_span",
        "there are no lanes: the fee decides the order; see `mempool_wait_seconds`",
    ),
    (
        "p2p_messages_reactor_in_flight, p2p_messages_reactor_pending_duration, p2p_message_reactor_receive_duration, p2p_message_reactor_queue_concurrency",
        "there are no reactors; see `verify_wait_seconds`, `verify_message_seconds`, `verify_queued`",
    ),
    (
        "state_application_block_retain_height, state_abciresults_base_height, state_block_indexer_base_height, state_tx_indexer_base_height, state_pruning_service_block_results_retain_height, state_pruning_service_block_indexer_retain_height, state_pruning_service_tx_indexer_retain_height",
        "blocks, results and indexes are kept in one database for the same heights: see `state_block_store_base_height`",
    ),
    (
        "state_store_access_duration_seconds, store_block_store_access_duration_seconds",
        "there is one store; see `storage_sync_seconds`, `storage_batch_seconds`",
    ),
    ("go_*", "there is no Go runtime; `process_*` are exported"),
];

const INTRODUCTION: &str = "\
# Metrics

`cairn manual metrics` generates this page from the metrics that the program registers; a test checks that both agree.

A node serves them at `http://<instrumentation.prometheus_listen_addr>/metrics` when `instrumentation.prometheus` is on, as it is in a
testnet. Every name begins with `instrumentation.namespace`, which is `cometbft` by default, and every series has the label
`chain_id`. Names with a ✓ are CometBFT's, with the same meaning, so that its dashboards and alerts work; the others are Cairn's own.
Times are in seconds, sizes in bytes. Label values are bounded: validators of the set, connected peers, fixed words. The series of a
peer or a validator is removed when it disconnects or leaves the set.
";

/// Returns the whole page as Markdown.
pub fn manual() -> String {
    let metrics = Metrics::new("cometbft", &ChainId::new("manual").expect("a name"));
    let mut facts = metrics.facts.into_inner().expect("no thread panicked");
    facts.extend(collect::facts());
    facts.sort();
    let mut page = INTRODUCTION.to_owned();
    let mut subsystem = "";
    for fact in &facts {
        let of = fact.name.split('_').next().unwrap_or_default();
        if of != subsystem {
            let _ = write!(page, "\n## {of}\n\n| `{of}_…` | | kind | labels | says |\n|---|---|---|---|---|\n");
            subsystem = of;
        }
        let name = &fact.name[of.len() + 1..];
        let mark = if COMETBFTS.contains(&fact.name.as_str()) { "✓" } else { "" };
        let labels: Vec<String> = fact.labels.iter().map(|label| format!("`{label}`")).collect();
        let Fact { kind, help, .. } = fact;
        let _ = writeln!(page, "| `{name}` | {mark} | {kind} | {} | {help} |", labels.join(", "));
    }
    page.push_str(
        "\n## The process\n\nWithout the namespace, with the names that every Prometheus client uses: `process_cpu_seconds_total`, `process_open_fds`, \
         `process_resident_memory_bytes`,\n`process_start_time_seconds`, `process_threads`, `process_virtual_memory_bytes`.\n",
    );
    page.push_str("\n## CometBFT's names that are left out\n\n| name | why |\n|---|---|\n");
    for (names, why) in LEFT_OUT {
        let names: Vec<String> = names.split(", ").map(|name| format!("`{name}`")).collect();
        let _ = writeln!(page, "| {} | {why} |", names.join(", "));
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Metrics are sorted by name, so a help text must not refer to the metric before it.
    #[test]
    fn each_help_text_is_complete_by_itself() {
        let page = manual();
        let texts = page.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.rsplit('|').nth(1));
        let mut count = 0;
        for text in texts.map(str::trim) {
            count += 1;
            let first = text.split([' ', ',']).next().unwrap_or_default();
            assert!(!["Its", "Of", "Their", "They", "Those", "It", "Where"].contains(&first), "{text}");
            assert!(!text.starts_with("The same"), "{text}");
        }
        assert!(count > 100, "{count} texts were read");
    }

    #[test]
    fn cometbfts_names_are_there_or_left_out_but_not_both() {
        let page = manual();
        let has = |name: &str| {
            let (subsystem, rest) = name.split_once('_').unwrap();
            page.contains(&format!("\n## {subsystem}\n")) && page.contains(&format!("| `{rest}` | ✓ |"))
        };
        let lacking: Vec<&&str> = COMETBFTS.iter().filter(|name| !has(name)).collect();
        assert!(lacking.is_empty(), "{lacking:?}");
        let left_out = LEFT_OUT.iter().flat_map(|(names, _)| names.split(", "));
        assert!(left_out.into_iter().all(|name| !COMETBFTS.contains(&name)));
    }
}
