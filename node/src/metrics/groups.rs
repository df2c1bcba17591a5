//! The metrics of all subsystems except consensus.
//!
//! No field is public beyond this crate, so that the compiler reports a metric that is never set.

use std::{collections::BTreeSet, time::Duration};

use mempool::Cause;
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge};
use types::{BlockResults, Event};

use super::register::{Subsystem, few, long_seconds, short_seconds};

/// Metrics of block sync; subsystem `blocksync`.
pub(super) struct Blocksync {
    pub syncing: IntGauge,
    pub num_txs: IntGauge,
    pub total_txs: IntGauge,
    pub block_size_bytes: IntGauge,
    pub latest_block_height: IntGauge,
    pub blocks_total: IntCounter,
}

/// Metrics of the application state; subsystem `state`.
pub(super) struct State {
    pub block_processing_time: Histogram,
    pub block_step_seconds: Histogram,
    pub consensus_param_updates: IntCounter,
    pub validator_set_updates: IntCounter,
    pub prune_seconds: Histogram,
    /// Reverts that were closed, by their last state.
    reverts_total: IntCounterVec,
    slashes_total: IntCounterVec,
}

/// Metrics of the verification pool; subsystem `verify`, which CometBFT lacks.
pub struct Verify {
    /// Checked messages of peers, by type.
    pub(crate) messages_total: IntCounterVec,
    /// Messages of peers that were dropped unchecked, by reason: `flood` (rate), `full` (queue).
    pub(crate) dropped_total: IntCounterVec,
    /// Seconds from arrival to a thread of the pool, by kind: `message`, `batch`, `submission`.
    pub(crate) wait_seconds: HistogramVec,
    /// Seconds to decode and check one message.
    pub(crate) message_seconds: Histogram,
    /// Seconds for the check of one block's transactions and precommits.
    pub(crate) block_seconds: Histogram,
}

/// Metrics of waiting transactions; subsystem `mempool`.
pub struct Mempool {
    /// Sizes of received transactions, in bytes.
    pub(crate) tx_size_bytes: Histogram,
    /// Number of transactions per batch, by `dir`: `in`, `out`.
    pub(crate) batch_size: HistogramVec,
    /// Transactions that the application's rules refused.
    pub(crate) failed_txs: IntCounter,
    /// Transactions that the mempool's limits refused.
    pub(crate) rejected_txs: IntCounter,
    /// Transactions that were received again.
    pub(crate) already_received_txs: IntCounter,
    pub(super) wait_seconds: Histogram,
    pub(super) submit_to_commit_seconds: Histogram,
}

/// Network traffic by message type; subsystem `p2p`.
pub struct P2p {
    /// Number of received messages by type.
    pub(crate) messages_received: IntCounterVec,
    /// Bytes of received messages by type.
    pub(crate) message_receive_bytes_total: IntCounterVec,
    /// Bytes of sent messages, counted once per receiver.
    pub(crate) message_send_bytes_total: IntCounterVec,
    /// Transactions that a peer was the first to send. The series is removed when the peer disconnects.
    pub(crate) num_txs: IntCounterVec,
}

/// Metrics of calls of clients; subsystem `rpc`, which CometBFT lacks.
#[derive(Clone)]
pub struct Rpc {
    request_seconds: HistogramVec,
    errors_total: IntCounterVec,
    pub(super) connections: IntGauge,
    pub(super) subscriptions: IntGauge,
    pub(super) refused_total: IntCounterVec,
}

impl Rpc {
    /// Counts one call. `method` is an existing method, or a fixed name for unknown ones.
    pub fn observe(&self, method: &'static str, took: Duration, is_error: bool) {
        self.request_seconds.with_label_values(&[method]).observe(took.as_secs_f64());
        if is_error {
            self.errors_total.with_label_values(&[method]).inc();
        }
    }
}

impl Blocksync {
    /// Creates and registers the metrics.
    pub fn new(on: &Subsystem<'_>) -> Self {
        Self {
            syncing: on.gauge("syncing", "1 while blocks are fetched from peers, else 0."),
            num_txs: on.gauge("num_txs", "Transactions of the last block fetched."),
            total_txs: on.gauge("total_txs", "Transactions of the blocks fetched."),
            block_size_bytes: on.gauge("block_size_bytes", "Bytes of the last block fetched."),
            latest_block_height: on.gauge("latest_block_height", "Height of the last block fetched."),
            blocks_total: on.counter("blocks_total", "Blocks fetched."),
        }
    }
}

impl State {
    /// Creates and registers the metrics.
    pub fn new(on: &Subsystem<'_>) -> Self {
        Self {
            block_processing_time: on.histogram(
                "block_processing_time",
                "Time to execute a decided block, in milliseconds.",
                // CometBFT's buckets, and finer ones below them.
                [0.05, 0.1, 0.25, 0.5].into_iter().chain((0..10).map(|i| f64::from(1 + 10 * i))).collect(),
            ),
            block_step_seconds: on.histogram(
                "block_step_seconds",
                "Time of a step that decided, executed and wrote a block.",
                short_seconds(),
            ),
            consensus_param_updates: on.counter("consensus_param_updates", "Changes of the consensus parameters."),
            validator_set_updates: on.counter("validator_set_updates", "Changes of the validator set."),
            prune_seconds: on.histogram("prune_seconds", "Time of one pass of the pruner.", short_seconds()),
            reverts_total: {
                let help = "Reverts that were closed since the start, by their last state.";
                let reverts = on.counters("reverts_total", help, &["state"]);
                // All series exist from the start, so that a rate over the first one is right.
                ENDINGS.iter().for_each(|state| reverts.with_label_values(&[*state]).inc_by(0));
                reverts
            },
            slashes_total: {
                let slashes = on.counters("slashes_total", "Slashes of validators since the start.", &["infraction"]);
                INFRACTIONS.iter().for_each(|infraction| slashes.with_label_values(&[*infraction]).inc_by(0));
                slashes
            },
        }
    }

    /// Counts the reverts that a height closed, and its slashes. A revert has an event of its end for each of its
    /// namespaces.
    pub fn on_events(&self, results: &BlockResults) {
        for slash in results.events.iter().filter(|event| event.kind == "staking.slashed") {
            let is_of = |infraction: &&&str| slash.attributes.iter().any(|attribute| attribute.value == **infraction);
            if let Some(infraction) = INFRACTIONS.iter().find(is_of) {
                self.slashes_total.with_label_values(&[*infraction]).inc();
            }
        }
        let all = results.events.iter().chain(results.txs.iter().flat_map(|tx| &tx.events));
        let end = |event: &Event| {
            let state = event.kind.strip_prefix("revert.")?;
            let state = ENDINGS.iter().find(|ending| **ending == state)?;
            let id = event.attributes.iter().find(|attribute| attribute.key == "id")?;
            Some((*state, id.value.clone()))
        };
        for (state, _) in all.filter_map(end).collect::<BTreeSet<_>>() {
            self.reverts_total.with_label_values(&[state]).inc();
        }
    }
}

/// The last states of reverts, which are also the names of their last events.
const ENDINGS: &[&str] = &["executed", "failed", "rejected", "expired", "cancelled", "superseded"];

/// What validators are slashed for, as their events say.
const INFRACTIONS: &[&str] = &["duplicate_vote", "light_client_attack", "downtime"];

impl Verify {
    pub(super) fn new(on: &Subsystem<'_>) -> Self {
        Self {
            messages_total: on.counters("messages_total", "Messages of peers checked.", &["message_type"]),
            dropped_total: on.counters("dropped_total", "Messages of peers dropped without a check.", &["reason"]),
            wait_seconds: on.histograms(
                "wait_seconds",
                "Time from arrival until a thread of the verification pool starts the check.",
                &["kind"],
                short_seconds(),
            ),
            message_seconds: on.histogram("message_seconds", "Time to decode and check one message.", short_seconds()),
            block_seconds: on.histogram(
                "block_seconds",
                "Time to check the signatures of a proposed block's transactions and precommits that this node had not checked \
                    before.",
                short_seconds(),
            ),
        }
    }
}

impl Mempool {
    /// Counts the refusal of a transaction, with CometBFT's meanings: the rules of the application fail it, the limits of the
    /// mempool reject it.
    pub(crate) fn refused(&self, cause: Cause) {
        match cause {
            Cause::Rules => self.failed_txs.inc(),
            Cause::Limits => self.rejected_txs.inc(),
            Cause::Known => self.already_received_txs.inc(),
            Cause::Node => {}
        }
    }

    pub(super) fn new(on: &Subsystem<'_>) -> Self {
        Self {
            tx_size_bytes: on.histogram(
                "tx_size_bytes",
                "Size of a received transaction.",
                vec![64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0],
            ),
            batch_size: on.histograms(
                "batch_size",
                "Transactions in a batch from or to peers.",
                &["dir"],
                vec![1.0, 2.0, 5.0, 10.0, 30.0, 50.0, 100.0, 200.0, 300.0, 1000.0],
            ),
            failed_txs: on.counter("failed_txs", "Transactions refused by the application's rules."),
            rejected_txs: on.counter(
                "rejected_txs",
                "Transactions refused because the mempool, or their sender's share of it, is full.",
            ),
            already_received_txs: on.counter("already_received_txs", "Transactions received again."),
            wait_seconds: on.histogram("wait_seconds", "Time from a transaction's arrival to its commit.", long_seconds()),
            submit_to_commit_seconds: on.histogram(
                "submit_to_commit_seconds",
                "Time from a transaction's arrival to its commit, for transactions that clients submitted to this node.",
                long_seconds(),
            ),
        }
    }
}

impl P2p {
    pub(super) fn new(on: &Subsystem<'_>) -> Self {
        Self {
            messages_received: on.counters("messages_received", "Messages received.", &["message_type", "reactor"]),
            message_receive_bytes_total: on.counters(
                "message_receive_bytes_total",
                "Bytes of messages received.",
                &["message_type"],
            ),
            message_send_bytes_total: on.counters(
                "message_send_bytes_total",
                "Bytes of messages sent.",
                &["message_type"],
            ),
            num_txs: on.counters("num_txs", "Transactions that a connected peer was the first to send.", &["peer_id"]),
        }
    }
}

impl Rpc {
    pub(super) fn new(on: &Subsystem<'_>) -> Self {
        Self {
            request_seconds: on.histograms(
                "request_seconds",
                "Duration of a call.",
                &["method"],
                few(short_seconds()).into_iter().chain([1.0, 10.0]).collect(),
            ),
            errors_total: on.counters("errors_total", "Calls answered with an error.", &["method"]),
            connections: on.gauge("connections", "Open connections."),
            subscriptions: on.gauge("subscriptions", "Open subscriptions."),
            refused_total: on.counters(
                "refused_total",
                "Refusals because of a bound on what clients may cost: `connection` (no place), `idle` (closed for a new \
                 connection), `budget` (of an address), `request_bytes`, `answer_bytes`, `body` (too large, too many values, or \
                 not JSON), `slow` (in sending or reading), `place` (of subscribers and of calls that take long), `turn` (did not come).",
                &["reason"],
            ),
        }
    }
}
