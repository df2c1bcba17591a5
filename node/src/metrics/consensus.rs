//! Metrics of subsystem `consensus`: inputs of the loop, state of consensus, committed blocks.

use std::time::{Duration, Instant};

use prometheus::{GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use replica::{Committed, Input, Phase, Silence, Status};
use types::{Address, Block, Round, Step, ValidatorSet, VoteType};

use super::{
    messages::{Messages, vote_name},
    register::{Subsystem, long_seconds, short_seconds},
    validators::Validators,
};

/// Metrics of the loop, of heights and rounds, and of committed blocks, with those of validators and messages.
pub(super) struct Consensus {
    pub(super) validators: Validators,
    pub(super) messages: Messages,
    height: IntGauge,
    latest_block_height: IntGauge,
    rounds: IntGauge,
    round_duration_seconds: Histogram,
    step_duration_seconds: HistogramVec,
    round_increment_total: IntCounterVec,
    block_interval_seconds: Histogram,
    round_voting_power_percent: GaugeVec,
    quorum_prevote_delay: GaugeVec,
    full_prevote_delay: GaugeVec,
    quorum_precommit_delay: GaugeVec,
    num_txs: IntGauge,
    total_txs: IntGauge,
    block_size_bytes: IntGauge,
    chain_size_bytes: IntCounter,
    proposal_create_count: IntCounter,
    duplicate_vote: IntCounter,
    duplicate_block_part: IntCounter,
    block_processing_time: Histogram,
    decide_seconds: Histogram,
    phase_seconds: HistogramVec,
    loop_seconds: Histogram,
    loop_inputs: Histogram,
    outputs_seconds: Histogram,
    proposer_timeouts_total: IntCounterVec,
    hard_state_height: IntGauge,
    evidence_waiting: IntGauge,
    silent: IntGaugeVec,
    syncs_total: IntCounter,
}

impl Consensus {
    /// Creates the metrics. Execution of blocks is recorded in `block_processing_time`, which belongs to another
    /// subsystem.
    pub fn new(on: &Subsystem<'_>, block_processing_time: Histogram) -> Self {
        let proposer = &["proposer_address"];
        Self {
            validators: Validators::new(on),
            messages: Messages::new(on),
            height: on.gauge("height", "Height being decided."),
            latest_block_height: on.gauge("latest_block_height", "Last committed height."),
            rounds: on.gauge("rounds", "Round of the height being decided."),
            round_duration_seconds: on.histogram("round_duration_seconds", "Duration of a round.", long_seconds()),
            step_duration_seconds: on.histograms("step_duration_seconds", "Duration of a step.", &["step"], long_seconds()),
            round_increment_total: on.counters(
                "round_increment_total",
                "Rounds that failed, by the step in which they failed.",
                &["step"],
            ),
            block_interval_seconds: on.histogram("block_interval_seconds", "Time between two blocks.", long_seconds()),
            round_voting_power_percent: on.floats(
                "round_voting_power_percent",
                "Share of the power whose vote of this round has arrived, 0 to 1.",
                &["vote_type"],
            ),
            quorum_prevote_delay: on.floats(
                "quorum_prevote_delay",
                "Seconds from the last block's time to the prevote that completed the polka, by proposer.",
                proposer,
            ),
            full_prevote_delay: on.floats(
                "full_prevote_delay",
                "Seconds from the last block's time to the last prevote, if all validators prevoted for it.",
                proposer,
            ),
            quorum_precommit_delay: on.floats(
                "quorum_precommit_delay",
                "Seconds from the last block's time to the precommit that decided it.",
                proposer,
            ),
            num_txs: on.gauge("num_txs", "Transactions of the last block."),
            total_txs: on.gauge("total_txs", "Transactions committed since the start."),
            block_size_bytes: on.gauge("block_size_bytes", "Bytes of the last block."),
            chain_size_bytes: on.counter("chain_size_bytes", "Bytes of the blocks committed since the start."),
            proposal_create_count: on.counter("proposal_create_count", "Decided blocks that this node proposed."),
            duplicate_vote: on.counter("duplicate_vote", "Votes that were received again."),
            duplicate_block_part: on.counter("duplicate_block_part", "Block parts that were received again."),
            block_processing_time,
            decide_seconds: on.histogram(
                "decide_seconds",
                "Time from the start of a height to its decision.",
                long_seconds(),
            ),
            phase_seconds: on.histograms(
                "phase_seconds",
                "Time of the loop's phases: build, check, execute, commit (write), recheck (mempool), write_ahead (sync).",
                &["phase"],
                short_seconds(),
            ),
            loop_seconds: on.histogram(
                "loop_seconds",
                "Time of one step of the replica: deciding, executing and writing, syncs included.",
                short_seconds(),
            ),
            loop_inputs: on.histogram(
                "loop_inputs",
                "Inputs that one step of the replica processed together.",
                vec![1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0],
            ),
            outputs_seconds: on.histogram(
                "outputs_seconds",
                "Time to perform the outputs of one step of the replica.",
                short_seconds(),
            ),
            proposer_timeouts_total: on.counters(
                "proposer_timeouts_total",
                "Rounds that failed, by their proposer.",
                proposer,
            ),
            hard_state_height: on.gauge("hard_state_height", "Height of the durable hard state."),
            evidence_waiting: on.gauge("evidence_waiting", "Pieces of evidence that wait for a block."),
            silent: on.gauges(
                "silent",
                "1 while this node's validator signs nothing, by reason; 0 for a reason that does not apply.",
                &["reason"],
            ),
            syncs_total: on.counter("syncs_total", "Disk syncs that consensus waited for: two per height."),
        }
    }

    /// Counts the inputs of one turn of the consensus thread, before its step.
    pub fn on_inputs(&self, inputs: &[Input], status: &Status) {
        self.loop_inputs.observe(inputs.len() as f64);
        for input in inputs {
            match input {
                Input::Message { peer, message, received } => {
                    self.messages.on_message(*peer, message, *received, status);
                }
                Input::PeerDown(peer) => self.messages.forget(*peer),
                _ => {}
            }
        }
    }

    /// Records the time of a step of the replica, and of performing its outputs.
    pub fn on_turn(&self, step: Duration, outputs: Duration) {
        self.loop_seconds.observe(step.as_secs_f64());
        self.outputs_seconds.observe(outputs.as_secs_f64());
    }

    /// Returns a callback that measures the replica's phases.
    pub fn phase_clock(&self) -> impl FnMut(Phase) + Send + 'static {
        let names = [
            (Phase::Build, "build"),
            (Phase::Check, "check"),
            (Phase::Execute, "execute"),
            (Phase::Commit, "commit"),
            (Phase::Recheck, "recheck"),
            (Phase::WriteAhead, "write_ahead"),
        ];
        let histograms = names.map(|(phase, name)| (phase, self.phase_seconds.with_label_values(&[name])));
        let processing = self.block_processing_time.clone();
        let mut running: Option<(Phase, Histogram, Instant)> = None;
        move |phase| {
            let now = Instant::now();
            if let Some((ended, histogram, since)) = running.take() {
                let seconds = (now - since).as_secs_f64();
                histogram.observe(seconds);
                if ended == Phase::Execute {
                    processing.observe(seconds * 1000.0); // CometBFT's unit is milliseconds
                }
            }
            let begins = histograms.iter().find(|(known, _)| *known == phase);
            running = begins.map(|(phase, histogram)| (*phase, histogram.clone(), now));
        }
    }

    /// Counts the changes between two statuses of the replica.
    pub fn on_status(&self, before: &Status, after: &Status) {
        self.height.set(after.height.0 as i64);
        self.rounds.set(i64::from(after.round.0));
        self.hard_state_height.set(after.hard_state_height.0 as i64);
        self.evidence_waiting.set(after.evidence_waiting as i64);
        let silent = after.silence.as_ref().map(Silence::reason);
        for reason in Silence::REASONS {
            self.silent.with_label_values(&[reason]).set(i64::from(silent == Some(reason)));
        }
        self.syncs_total.inc_by(after.syncs.saturating_sub(before.syncs));
        self.duplicate_vote.inc_by(after.duplicate_votes.saturating_sub(before.duplicate_votes));
        self.duplicate_block_part.inc_by(after.duplicate_parts.saturating_sub(before.duplicate_parts));
        if (before.height, before.round) != (after.height, after.round) {
            let took = after.round_started.max(before.round_started).since(before.round_started);
            self.round_duration_seconds.observe(took.as_secs_f64());
        }
        if before.height == after.height && after.round > before.round {
            let failed = u64::from(after.round.0 - before.round.0);
            self.round_increment_total.with_label_values(&[step_name(before.step)]).inc_by(failed);
        }
        let total = after.validators.total_power().0.max(1) as f64;
        if let Some(votes) = after.votes.iter().find(|votes| votes.round == after.round) {
            for (kind, votes) in [(VoteType::Prevote, &votes.prevotes), (VoteType::Precommit, &votes.precommits)] {
                let voters = votes.iter().filter_map(|vote| after.validators.get(vote.vote.validator_index));
                let power: u64 = voters.map(|validator| validator.power.0).sum();
                self.round_voting_power_percent.with_label_values(&[vote_name(kind)]).set(power as f64 / total);
            }
        }
    }

    /// Records the time that consensus spent in a step.
    pub fn on_step(&self, step: Step, took: Duration) {
        self.step_duration_seconds.with_label_values(&[step_name(step)]).observe(took.as_secs_f64());
    }

    /// Counts a committed height. `interval` is the time since the block before; `us` is the address with which this
    /// node signs.
    pub fn on_committed(&self, committed: &Committed, interval: Option<Duration>, us: Option<Address>) {
        let block = &committed.block;
        let (txs, bytes) = (block.txs.len() as i64, committed.block_bytes);
        self.latest_block_height.set(block.header.height.0 as i64);
        self.num_txs.set(txs);
        self.total_txs.add(txs);
        self.block_size_bytes.set(bytes as i64);
        self.chain_size_bytes.inc_by(bytes as u64);
        if let Some(interval) = interval {
            self.block_interval_seconds.observe(interval.as_secs_f64());
        }
        if !committed.synced {
            if us == Some(block.header.proposer) {
                self.proposal_create_count.inc();
            }
            self.decide_seconds.observe(committed.timing.decide.as_secs_f64());
            self.count_failed_rounds(committed);
            self.record_delays(committed);
        }
        for gone in self.validators.on_committed(block, &committed.validators, us) {
            self.forget(&gone.to_string());
        }
    }

    /// Sets the metrics when the process starts: `block` is the tip, `signers` are the validators whose signatures are
    /// in its last commit, and `validators` its own.
    pub fn on_start(
        &self,
        status: &Status,
        us: Option<Address>,
        block: Option<(&Block, u64)>,
        signers: Option<&ValidatorSet>,
        validators: Option<ValidatorSet>,
    ) {
        self.height.set(status.height.0 as i64);
        self.rounds.set(i64::from(status.round.0));
        self.hard_state_height.set(status.hard_state_height.0 as i64);
        self.evidence_waiting.set(status.evidence_waiting as i64);
        self.latest_block_height.set(status.tip.0 as i64);
        self.validators.on_start(&status.validators, us);
        let Some((block, bytes)) = block else { return };
        self.num_txs.set(block.txs.len() as i64);
        self.block_size_bytes.set(bytes as i64);
        self.validators.on_tip(block, us, signers, validators);
    }

    /// Removes the series of a proposer that has left the set of validators.
    fn forget(&self, proposer: &str) {
        for delays in [&self.quorum_prevote_delay, &self.full_prevote_delay, &self.quorum_precommit_delay] {
            let _ = delays.remove_label_values(&[proposer]); // the validator may have no series
        }
        let _ = self.proposer_timeouts_total.remove_label_values(&[proposer]);
    }

    fn count_failed_rounds(&self, committed: &Committed) {
        // A peer cannot cause rounds, but a long partition can: more than 100 add no information.
        for round in 0..committed.commit.round.0.min(100) {
            let proposer = committed.validators.proposer_of_round(Round(round)).address();
            self.proposer_timeouts_total.with_label_values(&[&proposer.to_string()]).inc();
        }
    }

    fn record_delays(&self, committed: &Committed) {
        let (timing, header) = (&committed.timing, &committed.block.header);
        let proposer = header.proposer.to_string();
        let delays = [
            (&self.quorum_prevote_delay, timing.quorum_prevote),
            (&self.full_prevote_delay, timing.full_prevote),
            (&self.quorum_precommit_delay, timing.quorum_precommit),
        ];
        for (gauge, delay) in delays {
            if let Some(delay) = delay {
                gauge.with_label_values(&[&proposer]).set(delay.as_secs_f64());
            }
        }
        self.messages.on_decided(header);
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Propose => "Propose",
        Step::Prevote => "Prevote",
        Step::Precommit => "Precommit",
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Mutex, thread::sleep};

    use prometheus::Registry;

    use super::*;
    use crate::metrics::groups::State;

    fn consensus() -> (Consensus, State) {
        let (registry, facts) = (Registry::new(), Mutex::default());
        let on = |name| Subsystem { registry: &registry, facts: &facts, name };
        let state = State::new(&on("state"));
        (Consensus::new(&on("consensus"), state.block_processing_time.clone()), state)
    }

    #[test]
    fn block_processing_time_is_that_of_execution_in_milliseconds() {
        let (metrics, state) = consensus();
        let mut clock = metrics.phase_clock();
        for phase in [Phase::Check, Phase::Execute, Phase::Commit] {
            clock(phase);
            sleep(Duration::from_millis(20));
        }
        clock(Phase::Recheck);
        assert_eq!(state.block_processing_time.get_sample_count(), 1);
        let ms = state.block_processing_time.get_sample_sum();
        assert!((20.0..10_000.0).contains(&ms), "{ms}");
        let seconds = metrics.phase_seconds.with_label_values(&["execute"]).get_sample_sum();
        assert!((ms / 1000.0 - seconds).abs() < 1e-9);
    }
}
