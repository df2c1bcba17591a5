//! Metrics: CometBFT's names, so that existing dashboards and alerts work, and ours for what they lack.
//!
//! All names begin with `instrumentation.namespace` (default `cometbft`) and a subsystem; every series has the label `chain_id`.
//! What the consensus thread does is counted as it happens, by a few atomic additions a height; what others count (store, network,
//! mempool, process) is read when somebody asks. Labels are bounded: validators of the set, connected peers, fixed words.

mod collect;
mod process;
mod server;
mod waiting;

use std::time::Duration;

use host::{Checked, Committed, Input, Offence, Status};
use prometheus::{
    Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry, TextEncoder,
    core::{Collector, GenericGauge},
};
use types::{Address, ChainId, CommitSig, PeerMessage, Power, Round, Step, TxId};

pub use collect::Sources;
pub use server::{MetricsServer, serve};
pub use waiting::Waiting;

/// From 10 µs, doubling, to 0.3 s: syncs, checks, steps of the loop.
fn short_seconds() -> Vec<f64> {
    (0..16).map(|i| 1e-5 * f64::from(1 << i)).collect()
}

/// From 1 ms, doubling, to 32 s: steps, rounds, heights, clients' waits.
fn long_seconds() -> Vec<f64> {
    (0..16).map(|i| 1e-3 * f64::from(1 << i)).collect()
}

/// Registers metrics under one subsystem.
struct Subsystem<'a> {
    registry: &'a Registry,
    name: &'static str,
}

impl Subsystem<'_> {
    fn register<C: Collector + Clone + 'static>(&self, made: prometheus::Result<C>) -> C {
        let metric = made.expect("names and labels are fixed and valid");
        self.registry.register(Box::new(metric.clone())).expect("each name is registered once");
        metric
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}_{name}", self.name), help)
    }

    fn histogram_opts(&self, name: &str, help: &str, buckets: Vec<f64>) -> HistogramOpts {
        HistogramOpts::new(format!("{}_{name}", self.name), help).buckets(buckets)
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(GenericGauge::with_opts(self.opts(name, help)))
    }

    fn float(&self, name: &str, help: &str) -> Gauge {
        self.register(Gauge::with_opts(self.opts(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(self.opts(name, help), labels))
    }

    fn floats(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.register(GaugeVec::new(self.opts(name, help), labels))
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::with_opts(self.opts(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.register(IntCounterVec::new(self.opts(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        self.register(Histogram::with_opts(self.histogram_opts(name, help, buckets)))
    }

    fn histograms(&self, name: &str, help: &str, labels: &[&str], buckets: Vec<f64>) -> HistogramVec {
        self.register(HistogramVec::new(self.histogram_opts(name, help, buckets), labels))
    }
}

/// Subsystem `consensus`.
struct Consensus {
    height: IntGauge,
    latest_block_height: IntGauge,
    rounds: IntGauge,
    round_duration_seconds: Histogram,
    step_duration_seconds: HistogramVec,
    round_increment_total: IntCounterVec,
    block_interval_seconds: Histogram,
    validators: IntGauge,
    validators_power: IntGauge,
    validator_power: IntGaugeVec,
    validator_last_signed_height: IntGaugeVec,
    validator_missed_blocks: IntGaugeVec,
    missing_validators: IntGauge,
    missing_validators_power: IntGauge,
    byzantine_validators: IntGauge,
    byzantine_validators_power: IntGauge,
    precommits_counted: IntGauge,
    precommits_staking_percentage: Gauge,
    round_voting_power_percent: GaugeVec,
    num_txs: IntGauge,
    total_txs: IntGauge,
    block_size_bytes: IntGauge,
    chain_size_bytes: IntCounter,
    proposal_receive_count: IntCounterVec,
    proposal_create_count: IntCounter,
    proposal_timestamp_difference: Histogram,
    late_votes: IntCounterVec,
    block_gossip_parts_received: IntCounterVec,
    // ours
    decide_seconds: Histogram,
    loop_seconds: Histogram,
    loop_inputs: Histogram,
    outputs_seconds: Histogram,
    proposer_timeouts_total: IntCounterVec,
    hard_state_height: IntGauge,
    syncs_total: IntCounter,
    bad_signatures_total: IntCounter,
}

/// Subsystem `blocksync`.
struct Blocksync {
    syncing: IntGauge,
    num_txs: IntGauge,
    total_txs: IntGauge,
    block_size_bytes: IntGauge,
    latest_block_height: IntGauge,
    blocks_total: IntCounter,
}

/// Subsystem `state`.
struct State {
    block_processing_time: Histogram,
    consensus_param_updates: IntCounter,
    validator_set_updates: IntCounter,
    prune_seconds: Histogram,
}

/// What the verification pool counts; subsystem `verify`, ours.
pub struct Verify {
    /// Messages of peers checked, by type.
    pub messages_total: IntCounterVec,
    /// Messages of peers dropped unchecked, by reason: `flood` (rate), `full` (queue).
    pub dropped_total: IntCounterVec,
    /// From the network to a thread of the pool, by kind: `message`, `block`, `batch`, `submission`.
    pub wait_seconds: HistogramVec,
    /// Time of one check of one message.
    pub message_seconds: Histogram,
    /// Blocks' transactions checked at once.
    pub block_seconds: Histogram,
}

/// Subsystem `mempool`.
pub struct Mempool {
    /// Sizes of transactions that came, in bytes.
    pub tx_size_bytes: Histogram,
    /// Transactions of a batch, by `dir`: `in`, `out`.
    pub batch_size: HistogramVec,
    /// Transactions refused for what they are.
    pub failed_txs: IntCounter,
    /// Transactions refused for want of room.
    pub rejected_txs: IntCounter,
    /// Transactions that came again.
    pub already_received_txs: IntCounter,
    wait_seconds: Histogram,
    submit_to_commit_seconds: Histogram,
}

/// What travels, by type; subsystem `p2p`.
pub struct P2p {
    /// Messages received.
    pub messages_received: IntCounterVec,
    /// Their bytes.
    pub message_receive_bytes_total: IntCounterVec,
    /// Bytes of messages sent, once for each receiver.
    pub message_send_bytes_total: IntCounterVec,
}

/// What clients ask; subsystem `rpc`, ours.
#[derive(Clone)]
pub struct Rpc {
    request_seconds: HistogramVec,
    errors_total: IntCounterVec,
    /// Open connections.
    pub connections: IntGauge,
    /// Open subscriptions.
    pub subscriptions: IntGauge,
}

impl Rpc {
    /// Counts one call. `method` is one that exists, or a fixed word for those that do not.
    pub fn observe(&self, method: &'static str, took: Duration, is_error: bool) {
        self.request_seconds.with_label_values(&[method]).observe(took.as_secs_f64());
        if is_error {
            self.errors_total.with_label_values(&[method]).inc();
        }
    }
}

/// All metrics of a node.
pub struct Metrics {
    registry: Registry,
    process: Registry,
    consensus: Consensus,
    blocksync: Blocksync,
    state: State,
    /// Subsystem `verify`.
    pub verify: Verify,
    /// Subsystem `mempool`.
    pub mempool: Mempool,
    /// Subsystem `p2p`.
    pub p2p: P2p,
    /// Subsystem `rpc`.
    pub rpc: Rpc,
    /// When transactions came, until they are committed.
    pub waiting: Waiting,
}

impl Metrics {
    /// Registers all metrics of a chain under a namespace.
    pub fn new(namespace: &str, chain_id: &ChainId) -> Self {
        let labels = std::collections::HashMap::from([("chain_id".to_owned(), chain_id.to_string())]);
        let registry =
            Registry::new_custom(Some(namespace.to_owned()), Some(labels.clone())).expect("a namespace is a name");
        let process = Registry::new_custom(None, Some(labels)).expect("no prefix is fine");
        process.register(Box::new(process::Process::new())).expect("registered once");
        let on = |name| Subsystem { registry: &registry, name };
        Self {
            consensus: Consensus::new(&on("consensus")),
            blocksync: Blocksync::new(&on("blocksync")),
            state: State::new(&on("state")),
            verify: Verify::new(&on("verify")),
            mempool: Mempool::new(&on("mempool")),
            p2p: P2p::new(&on("p2p")),
            rpc: Rpc::new(&on("rpc")),
            waiting: Waiting::default(),
            registry,
            process,
        }
    }

    /// Adds what others count: store, network, mempool.
    pub fn watch(&self, sources: Sources) {
        self.registry.register(Box::new(collect::Snapshot::new(sources))).expect("registered once");
    }

    /// All series in Prometheus' text format.
    pub fn text(&self) -> String {
        let mut families = self.registry.gather();
        families.extend(self.process.gather());
        let mut text = Vec::new();
        TextEncoder::new().encode(&families, &mut text).expect("writing into memory");
        String::from_utf8(text).expect("the text format is text")
    }

    /// Counts what one turn of the consensus thread was told, before it steps.
    pub fn on_inputs(&self, inputs: &[Input], status: &Status) {
        self.consensus.loop_inputs.observe(inputs.len() as f64);
        for input in inputs {
            let Input::Message { message, received, .. } = input else { continue };
            match message {
                Checked::Proposal(proposal) => {
                    self.consensus.proposal_receive_count.with_label_values(&["accepted"]).inc();
                    let difference = received.since(proposal.proposal.timestamp);
                    self.consensus.proposal_timestamp_difference.observe(difference.as_secs_f64());
                }
                Checked::Bad(Offence::BadSignature(_)) => self.consensus.bad_signatures_total.inc(),
                Checked::Vote(vote) if (vote.vote.height, vote.vote.round) < (status.height, status.round) => {
                    let kind = match vote.vote.vote_type {
                        types::VoteType::Prevote => "prevote",
                        types::VoteType::Precommit => "precommit",
                    };
                    self.consensus.late_votes.with_label_values(&[kind]).inc();
                }
                Checked::Unchecked(PeerMessage::Part { height, .. }) => {
                    let matches = if *height == status.height { "true" } else { "false" };
                    self.consensus.block_gossip_parts_received.with_label_values(&[matches]).inc();
                }
                _ => {}
            }
        }
    }

    /// How long a step of the host took, and performing what it asked for.
    pub fn on_turn(&self, step: Duration, outputs: Duration, has_committed: bool) {
        self.consensus.loop_seconds.observe(step.as_secs_f64());
        self.consensus.outputs_seconds.observe(outputs.as_secs_f64());
        if has_committed {
            self.state.block_processing_time.observe(step.as_secs_f64());
        }
    }

    /// Counts what changed between two looks at the host.
    pub fn on_status(&self, before: &Status, after: &Status) {
        let consensus = &self.consensus;
        consensus.height.set(after.height.0 as i64);
        consensus.rounds.set(i64::from(after.round.0));
        consensus.hard_state_height.set(after.hard_state_height.0 as i64);
        consensus.syncs_total.inc_by(after.syncs.saturating_sub(before.syncs));
        self.blocksync.syncing.set(i64::from(after.catching_up));
        if (before.height, before.round) != (after.height, after.round) {
            consensus
                .round_duration_seconds
                .observe(after.round_started.max(before.round_started).since(before.round_started).as_secs_f64());
        }
        if before.height == after.height && after.round > before.round {
            let step = step_name(before.step);
            consensus
                .round_increment_total
                .with_label_values(&[step])
                .inc_by(u64::from(after.round.0 - before.round.0));
        }
        let total = after.validators.total_power().0.max(1) as f64;
        if let Some(votes) = after.votes.iter().find(|votes| votes.round == after.round) {
            for (kind, votes) in [("prevote", &votes.prevotes), ("precommit", &votes.precommits)] {
                let power: u64 = votes
                    .iter()
                    .filter_map(|vote| after.validators.get(vote.vote.validator_index))
                    .map(|v| v.power.0)
                    .sum();
                consensus.round_voting_power_percent.with_label_values(&[kind]).set(power as f64 / total);
            }
        }
    }

    /// How long a step lasted.
    pub fn on_step(&self, step: Step, took: Duration) {
        self.consensus.step_duration_seconds.with_label_values(&[step_name(step)]).observe(took.as_secs_f64());
    }

    /// Counts a committed height. `interval` is the time since the block before; `us` the address that this node signs with.
    pub fn on_committed(&self, committed: &Committed, interval: Option<Duration>, us: Option<Address>) {
        let block = &committed.block;
        let (txs, bytes) = (block.txs.len() as i64, committed.block_bytes);
        let height = block.header.height.0 as i64;
        let consensus = &self.consensus;
        consensus.latest_block_height.set(height);
        consensus.num_txs.set(txs);
        consensus.total_txs.add(txs);
        consensus.block_size_bytes.set(bytes as i64);
        consensus.chain_size_bytes.inc_by(bytes as u64);
        if let Some(interval) = interval {
            consensus.block_interval_seconds.observe(interval.as_secs_f64());
        }
        if us == Some(block.header.proposer) && !committed.synced {
            consensus.proposal_create_count.inc();
        }
        if committed.synced {
            self.blocksync.num_txs.set(txs);
            self.blocksync.total_txs.add(txs);
            self.blocksync.block_size_bytes.set(bytes as i64);
            self.blocksync.latest_block_height.set(height);
            self.blocksync.blocks_total.inc();
        } else {
            consensus.decide_seconds.observe(committed.timing.decide.as_secs_f64());
            self.count_failed_rounds(committed);
        }
        self.count_signers(committed, us);
        self.state.validator_set_updates.inc_by(u64::from(!committed.results.validator_updates.is_empty()));
        self.state.consensus_param_updates.inc_by(u64::from(committed.results.params_update.is_some()));
        for (waited, is_local) in self.waiting.take(block.txs.iter().map(|tx| TxId(types::blake3(tx).0))) {
            self.mempool.wait_seconds.observe(waited.as_secs_f64());
            if is_local {
                self.mempool.submit_to_commit_seconds.observe(waited.as_secs_f64());
            }
        }
    }

    fn count_failed_rounds(&self, committed: &Committed) {
        // A peer cannot make rounds, but a long partition can: beyond this many, the picture is clear.
        for round in 0..committed.commit.round.0.min(100) {
            let proposer = committed.validators.proposer_of_round(Round(round)).address();
            self.consensus.proposer_timeouts_total.with_label_values(&[&proposer.to_string()]).inc();
        }
    }

    fn count_signers(&self, committed: &Committed, us: Option<Address>) {
        let (consensus, validators) = (&self.consensus, &committed.validators);
        let height = committed.block.header.height.0 as i64;
        let (mut missing, mut missing_power, mut counted) = (0, 0, 0);
        for (validator, signature) in validators.iter().zip(&committed.commit.signatures) {
            let is_absent = matches!(signature, CommitSig::Absent);
            let power = validator.power.0;
            missing += i64::from(is_absent);
            counted += i64::from(!is_absent);
            missing_power += if is_absent { power } else { 0 };
            if us == Some(validator.address()) {
                let address = validator.address().to_string();
                consensus.validator_power.with_label_values(&[&address]).set(power as i64);
                if is_absent {
                    consensus.validator_missed_blocks.with_label_values(&[&address]).inc();
                } else {
                    consensus.validator_last_signed_height.with_label_values(&[&address]).set(height);
                }
            }
        }
        let Power(total) = validators.total_power();
        consensus.validators.set(validators.len() as i64);
        consensus.validators_power.set(total as i64);
        consensus.missing_validators.set(missing);
        consensus.missing_validators_power.set(missing_power as i64);
        consensus.precommits_counted.set(counted);
        consensus.precommits_staking_percentage.set((total - missing_power) as f64 / total.max(1) as f64 * 100.0);
    }

    /// Counts a validator that contradicted itself.
    pub fn on_evidence(&self, evidence: &types::Evidence) {
        let types::Evidence::DuplicateVote(double) = evidence;
        self.consensus.byzantine_validators.inc();
        self.consensus.byzantine_validators_power.add(double.validator_power.0 as i64);
    }

    /// Counts one pass of the pruner.
    pub fn on_pruned(&self, took: Duration) {
        self.state.prune_seconds.observe(took.as_secs_f64());
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Propose => "Propose",
        Step::Prevote => "Prevote",
        Step::Precommit => "Precommit",
    }
}

impl Consensus {
    fn new(on: &Subsystem<'_>) -> Self {
        let validator = &["validator_address"];
        Self {
            height: on.gauge("height", "Height being decided."),
            latest_block_height: on.gauge("latest_block_height", "Last committed height."),
            rounds: on.gauge("rounds", "Round of the height being decided."),
            round_duration_seconds: on.histogram("round_duration_seconds", "Time of a round.", long_seconds()),
            step_duration_seconds: on.histograms("step_duration_seconds", "Time of a step.", &["step"], long_seconds()),
            round_increment_total: on.counters(
                "round_increment_total",
                "Rounds that failed, by the step they failed in.",
                &["step"],
            ),
            block_interval_seconds: on.histogram("block_interval_seconds", "Time between two blocks.", long_seconds()),
            validators: on.gauge("validators", "Validators."),
            validators_power: on.gauge("validators_power", "Power of all validators."),
            validator_power: on.gauges("validator_power", "Power of this node's validator.", validator),
            validator_last_signed_height: on.gauges(
                "validator_last_signed_height",
                "Last height whose commit holds this validator's signature.",
                validator,
            ),
            validator_missed_blocks: on.gauges(
                "validator_missed_blocks",
                "Heights whose commit, as seen here, lacks this validator's signature.",
                validator,
            ),
            missing_validators: on.gauge("missing_validators", "Validators whose signature the last commit lacks."),
            missing_validators_power: on.gauge("missing_validators_power", "Their power."),
            byzantine_validators: on
                .gauge("byzantine_validators", "Contradictions of validators seen since the start."),
            byzantine_validators_power: on.gauge("byzantine_validators_power", "The power behind them."),
            precommits_counted: on.gauge("precommits_counted", "Precommits in the last commit."),
            precommits_staking_percentage: on
                .float("precommits_staking_percentage", "Their share of the power, in percent."),
            round_voting_power_percent: on.floats(
                "round_voting_power_percent",
                "Share of the power whose vote of this round is here, 0 to 1.",
                &["vote_type"],
            ),
            num_txs: on.gauge("num_txs", "Transactions of the last block."),
            total_txs: on.gauge("total_txs", "Transactions committed since the start."),
            block_size_bytes: on.gauge("block_size_bytes", "Bytes of the last block."),
            chain_size_bytes: on.counter("chain_size_bytes", "Bytes of the blocks committed since the start."),
            proposal_receive_count: on.counters(
                "proposal_receive_count",
                "Proposals of others received, correctly signed.",
                &["status"],
            ),
            proposal_create_count: on.counter("proposal_create_count", "Blocks of ours that were decided."),
            proposal_timestamp_difference: on.histogram(
                "proposal_timestamp_difference",
                "From a proposal's time to its arrival, seconds.",
                long_seconds(),
            ),
            late_votes: on.counters("late_votes", "Votes of an earlier round or height.", &["vote_type"]),
            block_gossip_parts_received: on.counters(
                "block_gossip_parts_received",
                "Block parts received, by whether they are of this height.",
                &["matches_current"],
            ),
            decide_seconds: on.histogram(
                "decide_seconds",
                "From the start of a height to its decision.",
                long_seconds(),
            ),
            loop_seconds: on.histogram(
                "loop_seconds",
                "Time of one step of the host: deciding, executing and writing, syncs included.",
                short_seconds(),
            ),
            loop_inputs: on.histogram(
                "loop_inputs",
                "Inputs that one step took together.",
                vec![1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0],
            ),
            outputs_seconds: on.histogram(
                "outputs_seconds",
                "Time to perform what one step asked for.",
                short_seconds(),
            ),
            proposer_timeouts_total: on.counters(
                "proposer_timeouts_total",
                "Rounds that failed, by their proposer.",
                &["proposer_address"],
            ),
            hard_state_height: on.gauge("hard_state_height", "Height of the durable hard state."),
            syncs_total: on.counter("syncs_total", "Syncs to disk that consensus waited for: two a height."),
            bad_signatures_total: on
                .counter("bad_signatures_total", "Messages of peers whose signature does not hold."),
        }
    }
}

impl Blocksync {
    fn new(on: &Subsystem<'_>) -> Self {
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
    fn new(on: &Subsystem<'_>) -> Self {
        Self {
            block_processing_time: on.histogram(
                "block_processing_time",
                "Time of a step that decided, executed and wrote a block, seconds.",
                short_seconds(),
            ),
            consensus_param_updates: on.counter("consensus_param_updates", "Changes of the parameters."),
            validator_set_updates: on.counter("validator_set_updates", "Changes of the validator set."),
            prune_seconds: on.histogram("prune_seconds", "Time of one pass of the pruner.", short_seconds()),
        }
    }
}

impl Verify {
    fn new(on: &Subsystem<'_>) -> Self {
        Self {
            messages_total: on.counters("messages_total", "Messages of peers checked.", &["message_type"]),
            dropped_total: on.counters("dropped_total", "Messages of peers dropped unchecked.", &["reason"]),
            wait_seconds: on.histograms(
                "wait_seconds",
                "From arrival to a thread of the pool.",
                &["kind"],
                short_seconds(),
            ),
            message_seconds: on.histogram("message_seconds", "Time to decode and check one message.", short_seconds()),
            block_seconds: on.histogram(
                "block_seconds",
                "Time to check the transactions of a proposed block that were new here.",
                short_seconds(),
            ),
        }
    }
}

impl Mempool {
    fn new(on: &Subsystem<'_>) -> Self {
        Self {
            tx_size_bytes: on.histogram(
                "tx_size_bytes",
                "Sizes of transactions.",
                vec![64.0, 128.0, 256.0, 512.0, 1024.0, 4096.0, 16384.0, 65536.0],
            ),
            batch_size: on.histograms(
                "batch_size",
                "Transactions of a batch.",
                &["dir"],
                vec![1.0, 2.0, 5.0, 10.0, 30.0, 50.0, 100.0, 200.0, 300.0, 1000.0],
            ),
            failed_txs: on.counter("failed_txs", "Transactions refused for what they are."),
            rejected_txs: on.counter("rejected_txs", "Transactions refused for want of room."),
            already_received_txs: on.counter("already_received_txs", "Transactions that came again."),
            wait_seconds: on.histogram("wait_seconds", "From a transaction's arrival to its commit.", long_seconds()),
            submit_to_commit_seconds: on.histogram(
                "submit_to_commit_seconds",
                "The same, of transactions submitted here.",
                long_seconds(),
            ),
        }
    }
}

impl P2p {
    fn new(on: &Subsystem<'_>) -> Self {
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
        }
    }
}

impl Rpc {
    fn new(on: &Subsystem<'_>) -> Self {
        Self {
            request_seconds: on.histograms(
                "request_seconds",
                "Time of a call.",
                &["method"],
                short_seconds().into_iter().chain([1.0, 5.0, 10.0]).collect(),
            ),
            errors_total: on.counters("errors_total", "Calls answered with an error.", &["method"]),
            connections: on.gauge("connections", "Open connections."),
            subscriptions: on.gauge("subscriptions", "Open subscriptions."),
        }
    }
}

/// The word for a message in labels.
pub fn message_type(message: &PeerMessage) -> &'static str {
    match message {
        PeerMessage::Proposal(_) => "proposal",
        PeerMessage::Vote(_) => "vote",
        PeerMessage::Certificate(_) => "certificate",
        PeerMessage::Part { .. } => "block_part",
        PeerMessage::RoundState(_) => "round_state",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// CometBFT's names of the metrics' table that mean something here.
    const COMETBFTS: &[&str] = &[
        "blocksync_block_size_bytes",
        "blocksync_latest_block_height",
        "blocksync_num_txs",
        "blocksync_syncing",
        "blocksync_total_txs",
        "consensus_block_gossip_parts_received",
        "consensus_block_interval_seconds",
        "consensus_block_size_bytes",
        "consensus_byzantine_validators",
        "consensus_byzantine_validators_power",
        "consensus_chain_size_bytes",
        "consensus_height",
        "consensus_late_votes",
        "consensus_latest_block_height",
        "consensus_missing_validators",
        "consensus_missing_validators_power",
        "consensus_num_txs",
        "consensus_precommits_counted",
        "consensus_precommits_staking_percentage",
        "consensus_proposal_create_count",
        "consensus_proposal_receive_count",
        "consensus_proposal_timestamp_difference",
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
        "mempool_failed_txs",
        "mempool_rejected_txs",
        "mempool_tx_size_bytes",
        "p2p_message_receive_bytes_total",
        "p2p_message_send_bytes_total",
        "p2p_messages_received",
        "state_block_processing_time",
        "state_consensus_param_updates",
        "state_validator_set_updates",
    ];

    #[test]
    fn cometbfts_names_are_registered_with_namespace_and_chain_id() {
        let metrics = Metrics::new("cometbft", &ChainId::new("test-1").unwrap());
        let subsystem = |name: &str| name.split('_').next().unwrap().to_owned();
        for name in COMETBFTS {
            // A second registration is refused exactly where there is a first.
            let taken = metrics.registry.register(Box::new(IntCounter::new(*name, "again").unwrap()));
            assert!(taken.is_err(), "{name} is not there");
            assert!(["blocksync", "consensus", "mempool", "p2p", "state"].contains(&subsystem(name).as_str()));
        }
        let text = metrics.text();
        assert!(text.contains("cometbft_consensus_height{chain_id=\"test-1\"} 0"), "{text}");
        assert!(text.contains("process_resident_memory_bytes{chain_id=\"test-1\"}"), "{text}");
    }

    #[test]
    fn buckets_resolve_what_they_measure() {
        assert!(short_seconds()[0] <= 1e-5 && *short_seconds().last().unwrap() >= 0.3);
        assert!(long_seconds()[0] <= 1e-3 && *long_seconds().last().unwrap() >= 30.0);
    }
}
