//! Metrics of the node: with CometBFT's names, so that existing dashboards and alerts work, and own names for what
//! these lack.
//!
//! All names begin with `instrumentation.namespace` (default `cometbft`) and a subsystem; every series has the label
//! `chain_id`. Work of the consensus thread is counted as it is done, by a few atomic additions per height; counters of
//! other parts (store, network, mempool, process) are read at each scrape. Labels are bounded: validators of the set,
//! connected peers, fixed names. `docs/metrics.md` is generated from what is registered here ([`manual`]).

mod collect;
mod consensus;
mod family;
mod groups;
mod manual;
mod messages;
mod process;
mod register;
mod server;
mod skew;
mod stake;
mod unreadable;
mod validators;
mod waiting;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use prometheus::{Encoder, Registry, TextEncoder, core::Collector};
use replica::{Committed, Input, Phase, Status};
use rpc::clients::{Clients, Refused};
use types::{Address, Block, ChainId, PeerMessage, Step, TxId, ValidatorSet};

use crate::heard::Heard;

pub use collect::{Snapshot, Sources};
use consensus::Consensus;
use groups::{Blocksync, State};
pub use groups::{Mempool, P2p, Rpc, Verify};
pub use manual::manual;
pub use register::Fact;
use register::Subsystem;
pub use server::serve;
pub use unreadable::{Scrub, Unreadable};
pub use waiting::Waiting;

/// All metrics of a node.
pub struct Metrics {
    clients: OnceLock<Arc<Clients>>,
    /// What of the refusals to clients is in the metrics.
    refused: Mutex<[u64; Refused::NAMES.len()]>,
    registry: Registry,
    process: Registry,
    facts: Mutex<Vec<Fact>>,
    consensus: Consensus,
    blocksync: Blocksync,
    state: State,
    /// Metrics of subsystem `verify`, the verification pool.
    pub verify: Verify,
    /// Metrics of subsystem `mempool`.
    pub mempool: Mempool,
    /// Metrics of subsystem `p2p`.
    pub p2p: P2p,
    /// Metrics of subsystem `rpc`.
    pub rpc: Rpc,
    /// Counter of failed reads for peers and clients.
    pub unreadable: Unreadable,
    /// Metrics of the background reading of the store.
    pub scrub: Scrub,
    /// Arrival times of transactions until they are committed.
    pub waiting: Waiting,
}

impl Metrics {
    /// Creates and registers all metrics of a chain under a namespace.
    pub fn new(namespace: &str, chain_id: &ChainId) -> Self {
        let labels = HashMap::from([("chain_id".to_owned(), chain_id.to_string())]);
        let registry =
            Registry::new_custom(Some(namespace.to_owned()), Some(labels.clone())).expect("a namespace is a name");
        let process = Registry::new_custom(None, Some(labels)).expect("no prefix is fine");
        process.register(Box::new(process::Process::new())).expect("registered once");
        let facts = Mutex::default();
        let on = |name| Subsystem { registry: &registry, facts: &facts, name };
        let state = State::new(&on("state"));
        Self {
            consensus: Consensus::new(&on("consensus"), state.block_processing_time.clone()),
            blocksync: Blocksync::new(&on("blocksync")),
            state,
            clients: OnceLock::new(),
            refused: Mutex::default(),
            verify: Verify::new(&on("verify")),
            mempool: Mempool::new(&on("mempool")),
            p2p: P2p::new(&on("p2p")),
            rpc: Rpc::new(&on("rpc")),
            unreadable: Unreadable::new(&on("storage")),
            scrub: Scrub::new(&on("storage")),
            waiting: Waiting::default(),
            registry,
            process,
            facts,
        }
    }

    /// Adds the metrics that other parts count, such as a [`Snapshot`].
    pub fn watch(&self, counts: impl Collector + 'static) {
        self.registry.register(Box::new(counts)).expect("registered once");
    }

    /// Adds the number of clients of the RPC.
    pub fn watch_clients(&self, clients: Arc<Clients>) {
        let _ = self.clients.set(clients); // a node has only one RPC
    }

    /// Sets the metrics to the state of the chain when the process starts.
    pub fn on_start(
        &self,
        status: &Status,
        us: Option<Address>,
        tip: Option<(&Block, u64)>,
        signers: Option<&ValidatorSet>,
        validators: Option<ValidatorSet>,
    ) {
        self.consensus.on_start(status, us, tip, signers, validators);
        self.blocksync.syncing.set(i64::from(status.catching_up));
    }

    /// Shows the missing validators while a step waits for votes.
    pub fn on_waiting(&self, heard: &Heard) {
        self.consensus.validators.on_waiting(heard);
    }

    /// Returns all series in Prometheus' text format.
    pub fn text(&self) -> String {
        if let Some(clients) = self.clients.get() {
            self.rpc.connections.set(clients.connections() as i64);
            self.rpc.subscriptions.set(clients.subscriptions() as i64);
            let mut shown = self.refused.lock().expect("a thread that panics stops the process");
            for ((reason, shown), now) in Refused::NAMES.iter().zip(shown.iter_mut()).zip(clients.refused()) {
                self.rpc.refused_total.with_label_values(&[reason]).inc_by(now.saturating_sub(*shown));
                *shown = now;
            }
        }
        let mut families = self.registry.gather();
        families.extend(self.process.gather());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text).expect("writing into memory");
        String::from_utf8(text).expect("the text format is text")
    }

    /// Counts the inputs of one turn of the consensus thread, before its step.
    pub fn on_inputs(&self, inputs: &[Input], status: &Status) {
        self.consensus.on_inputs(inputs, status);
    }

    /// Records the time of a step of the replica, and of performing its outputs.
    pub fn on_turn(&self, step: Duration, outputs: Duration, has_committed: bool) {
        self.consensus.on_turn(step, outputs);
        if has_committed {
            self.state.block_step_seconds.observe(step.as_secs_f64());
        }
    }

    /// Returns a callback that measures the replica's phases: for [`replica::Replica::on_phase`].
    pub fn phase_clock(&self) -> impl FnMut(Phase) + Send + 'static {
        self.consensus.phase_clock()
    }

    /// Returns the gauge of the seconds by which this clock is ahead of the other validators' clocks.
    pub fn clock_skew(&self) -> prometheus::Gauge {
        self.consensus.messages.clock_skew_seconds.clone()
    }

    /// Counts the changes between two statuses of the replica.
    pub fn on_status(&self, before: &Status, after: &Status) {
        self.consensus.on_status(before, after);
        self.blocksync.syncing.set(i64::from(after.catching_up));
    }

    /// Records the time that consensus spent in a step.
    pub fn on_step(&self, step: Step, took: Duration) {
        self.consensus.on_step(step, took);
    }

    /// Counts a committed height. `interval` is the time since the block before; `us` is the address with which this
    /// node signs.
    pub fn on_committed(&self, committed: &Committed, interval: Option<Duration>, us: Option<Address>) {
        let block = &committed.block;
        self.consensus.on_committed(committed, interval, us);
        if committed.synced {
            let txs = block.txs.len() as i64;
            self.blocksync.num_txs.set(txs);
            self.blocksync.total_txs.add(txs);
            self.blocksync.block_size_bytes.set(committed.block_bytes as i64);
            self.blocksync.latest_block_height.set(block.header.height.0 as i64);
            self.blocksync.blocks_total.inc();
        }
        self.state.validator_set_updates.inc_by(u64::from(!committed.results.validator_updates.is_empty()));
        self.state.consensus_param_updates.inc_by(u64::from(committed.results.params_update.is_some()));
        self.state.on_events(&committed.results);
        for (waited, is_local) in self.waiting.take(block.txs.iter().map(|tx| TxId::of(tx))) {
            self.mempool.wait_seconds.observe(waited.as_secs_f64());
            if is_local {
                self.mempool.submit_to_commit_seconds.observe(waited.as_secs_f64());
            }
        }
    }

    /// Counts a double sign of a validator.
    pub fn on_evidence(&self, evidence: &types::Evidence) {
        self.consensus.validators.on_evidence(evidence);
    }

    /// Records the time of one pass of the pruner.
    pub fn on_pruned(&self, took: Duration) {
        self.state.prune_seconds.observe(took.as_secs_f64());
    }
}

/// Returns the name of a message's type for labels.
pub fn message_type(message: &PeerMessage) -> &'static str {
    match message {
        PeerMessage::Proposal(_) => "proposal",
        PeerMessage::Vote(_) => "vote",
        PeerMessage::Certificate(_) => "certificate",
        PeerMessage::Part { .. } => "block_part",
        PeerMessage::RoundState(_) => "round_state",
        PeerMessage::Evidence(_) => "evidence",
    }
}

#[cfg(test)]
mod tests {
    use rpc::clients;

    use super::*;

    #[test]
    fn every_series_has_namespace_and_chain_id() {
        let metrics = Metrics::new("cometbft", &ChainId::new("test-1").unwrap());
        let text = metrics.text();
        assert!(text.contains("cometbft_consensus_height{chain_id=\"test-1\"} 0"), "{text}");
        assert!(text.contains("process_resident_memory_bytes{chain_id=\"test-1\"}"), "{text}");
        assert!(text.lines().all(|line| line.starts_with('#') || line.contains("chain_id=\"test-1\"")));
    }

    #[test]
    fn connections_and_subscriptions_of_clients_are_shown_as_they_are() {
        let metrics = Metrics::new("cometbft", &ChainId::new("test-1").unwrap());
        let limits = clients::Limits::of_connections(9, 9);
        let clients = Clients::new(limits);
        metrics.watch_clients(clients.clone());
        let shows = |connections: usize, subscriptions: usize| {
            let text = metrics.text();
            let is = |name, value| text.contains(&format!("cometbft_rpc_{name}{{chain_id=\"test-1\"}} {value}\n"));
            assert!(is("connections", connections) && is("subscriptions", subscriptions), "{text}");
        };
        shows(0, 0);
        let client = clients.enter([127, 0, 0, 1].into()).unwrap();
        let subscribed = [client.subscribed(), client.subscribed()];
        shows(1, 2);
        drop(subscribed);
        shows(1, 0);
    }
}
