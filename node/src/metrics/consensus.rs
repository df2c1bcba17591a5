//! Metrics of subsystem `consensus`: inputs of the loop, state of consensus, committed blocks.

use std::{
    sync::Mutex,
    time::{Duration, Instant},
};

use prometheus::{Gauge, GaugeVec, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};
use replica::{Checked, Committed, Input, Offence, Phase, Silence, Status};
use types::{
    Address, Block, Commit, CommitSig, Height, NodeId, PeerMessage, Power, Round, Step, Time, Validator, ValidatorSet,
    VoteType,
};

use crate::heard::Heard;

use super::{
    register::{Subsystem, long_seconds, short_seconds},
    skew::Skew,
};

pub(super) struct Consensus {
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
    quorum_prevote_delay: GaugeVec,
    full_prevote_delay: GaugeVec,
    quorum_precommit_delay: GaugeVec,
    num_txs: IntGauge,
    total_txs: IntGauge,
    block_size_bytes: IntGauge,
    chain_size_bytes: IntCounter,
    proposal_receive_count: IntCounterVec,
    proposal_create_count: IntCounter,
    proposal_timestamp_difference: Histogram,
    late_votes: IntCounterVec,
    duplicate_vote: IntCounter,
    block_parts: IntCounterVec,
    duplicate_block_part: IntCounter,
    block_gossip_parts_received: IntCounterVec,
    // Metrics that CometBFT's subsystem `consensus` lacks.
    power_online: IntGauge,
    missed_blocks_total: IntCounterVec,
    evidence_power_total: IntCounter,
    block_processing_time: Histogram,
    clock_skew_seconds: Gauge,
    decide_seconds: Histogram,
    phase_seconds: HistogramVec,
    block_gossip_seconds: Histogram,
    loop_seconds: Histogram,
    loop_inputs: Histogram,
    outputs_seconds: Histogram,
    proposer_timeouts_total: IntCounterVec,
    evidence_total: IntCounter,
    hard_state_height: IntGauge,
    silent: IntGaugeVec,
    syncs_total: IntCounter,
    bad_signatures_total: IntCounter,
    skew: Mutex<Skew>,
    /// Height and arrival time of the block part that arrived last.
    last_part: Mutex<Option<(Height, Time)>>,
    /// Validators of the last committed height, whose signatures are in the next block, late ones included. These
    /// validators have series of their own.
    validators_before: Mutex<Option<ValidatorSet>>,
}

impl Consensus {
    /// Creates the metrics. Execution of blocks is recorded in `block_processing_time`, which belongs to another
    /// subsystem.
    pub fn new(on: &Subsystem<'_>, block_processing_time: Histogram) -> Self {
        let validator = &["validator_address"];
        let proposer = &["proposer_address"];
        Self {
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
            validators: on.gauge("validators", "Validators."),
            validators_power: on.gauge("validators_power", "Power of all validators."),
            validator_power: on.gauges("validator_power", "Power of this node's validator.", validator),
            validator_last_signed_height: on.gauges(
                "validator_last_signed_height",
                "Last height whose commit, in the next block, contains the signature of this node's validator.",
                validator,
            ),
            validator_missed_blocks: on.gauges(
                "validator_missed_blocks",
                "Heights since the start whose commit, in the next block, lacks the signature of this node's validator.",
                validator,
            ),
            missing_validators: on.gauge("missing_validators", "Validators whose signature is not in the commit that the last block \
                contains; while a step waits for votes, validators whose vote is missing."),
            missing_validators_power: on.gauge("missing_validators_power", "Power of the missing validators, see missing_validators."),
            byzantine_validators: on
                .gauge("byzantine_validators", "Validators of whose double vote the last block contains evidence."),
            byzantine_validators_power: on.gauge("byzantine_validators_power", "Power of the validators of whose double vote the \
                last block contains evidence."),
            precommits_counted: on.gauge("precommits_counted", "Precommits in the commit that the last block contains."),
            precommits_staking_percentage: on
                .float("precommits_staking_percentage", "Share of the power whose precommits are in the commit that the last block \
                    contains, 0 to 1."),
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
            proposal_receive_count: on.counters(
                "proposal_receive_count",
                "Correctly signed proposals received from other validators.",
                &["status"],
            ),
            proposal_create_count: on.counter("proposal_create_count", "Decided blocks that this node proposed."),
            proposal_timestamp_difference: on.histogram(
                "proposal_timestamp_difference",
                "Seconds from a proposal's time to its arrival; negative if this machine's clock is behind.",
                [-10.0, -1.0, -0.1, 0.0].into_iter().chain(long_seconds()).collect(),
            ),
            late_votes: on.counters("late_votes", "Votes of an earlier round or height.", &["vote_type"]),
            duplicate_vote: on.counter("duplicate_vote", "Votes that were received again."),
            block_parts: on.counters("block_parts", "Block parts that a connected peer sent.", &["peer_id"]),
            duplicate_block_part: on.counter("duplicate_block_part", "Block parts that were received again."),
            block_gossip_parts_received: on.counters(
                "block_gossip_parts_received",
                "Block parts received, by whether they belong to the current height.",
                &["matches_current"],
            ),
            power_online: on.gauge("power_online", "Power of the validators whose signature is in the commit that the last block \
                contains; while a step waits for votes, power of the validators whose vote has arrived."),
            missed_blocks_total: on.counters(
                "missed_blocks_total",
                "Heights since the start whose commit, in the next block, lacks the signature of this validator; for all validators.",
                validator,
            ),
            evidence_power_total: on.counter("evidence_power_total", "Power of the validators whose double votes this node has seen \
                since the start."),
            block_processing_time,
            clock_skew_seconds: on.float(
                "clock_skew_seconds",
                "Seconds by which this machine's clock is ahead of the others': the median over the validators' last proposals, \
                    which includes their network delay.",
            ),
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
            block_gossip_seconds: on.histogram(
                "block_gossip_seconds",
                "Time from the block's timestamp to the arrival of its last part.",
                long_seconds(),
            ),
            loop_seconds: on.histogram(
                "loop_seconds",
                "Time of one step of the host: deciding, executing and writing, syncs included.",
                short_seconds(),
            ),
            loop_inputs: on.histogram(
                "loop_inputs",
                "Inputs that one step of the host processed together.",
                vec![1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, 1024.0, 4096.0],
            ),
            outputs_seconds: on.histogram(
                "outputs_seconds",
                "Time to perform the outputs of one step of the host.",
                short_seconds(),
            ),
            proposer_timeouts_total: on.counters(
                "proposer_timeouts_total",
                "Rounds that failed, by their proposer.",
                proposer,
            ),
            evidence_total: on.counter("evidence_total", "Double votes that this node has seen since the start."),
            hard_state_height: on.gauge("hard_state_height", "Height of the durable hard state."),
            silent: on.gauges(
                "silent",
                "1 while this node's validator signs nothing, by reason; 0 for a reason that does not apply.",
                &["reason"],
            ),
            syncs_total: on.counter("syncs_total", "Disk syncs that consensus waited for: two per height."),
            bad_signatures_total: on
                .counter("bad_signatures_total", "Messages of peers with an invalid signature."),
            skew: Mutex::default(),
            last_part: Mutex::default(),
            validators_before: Mutex::default(),
        }
    }

    /// Counts the inputs of one turn of the consensus thread, before its step.
    pub fn on_inputs(&self, inputs: &[Input], status: &Status) {
        self.loop_inputs.observe(inputs.len() as f64);
        for input in inputs {
            match input {
                Input::Message { peer, message, received } => self.on_message(*peer, message, *received, status),
                Input::PeerDown(peer) => {
                    let _ = self.block_parts.remove_label_values(&[&peer.to_string()]); // the peer may have no series
                }
                _ => {}
            }
        }
    }

    fn on_message(&self, peer: NodeId, message: &Checked, received: Time, status: &Status) {
        match message {
            Checked::Proposal(proposal) => {
                let proposal = &proposal.proposal;
                self.proposal_receive_count.with_label_values(&["accepted"]).inc();
                if proposal.pol_round.is_some() || proposal.height != status.height {
                    return; // the time is of an earlier round, or the proposer is unknown
                }
                let difference = (received.unix_nanos() - proposal.timestamp.unix_nanos()) as f64 / 1e9;
                self.proposal_timestamp_difference.observe(difference);
                let proposer = status.validators.proposer_of_round(proposal.round).address();
                let at = (proposal.height, proposal.round);
                let mut skew = self.skew.lock().expect("a thread that panics stops the process");
                self.clock_skew_seconds.set(skew.note(&status.validators, proposer, at, proposal.timestamp, received));
            }
            Checked::Bad(Offence::BadSignature(_)) => self.bad_signatures_total.inc(),
            Checked::Vote(vote) if (vote.vote.height, vote.vote.round) < (status.height, status.round) => {
                self.late_votes.with_label_values(&[vote_name(vote.vote.vote_type)]).inc();
            }
            Checked::Part { height, .. } | Checked::Unchecked(PeerMessage::Part { height, .. }) => {
                let is_current = *height == status.height;
                let matches = if is_current { "true" } else { "false" };
                self.block_gossip_parts_received.with_label_values(&[matches]).inc();
                self.block_parts.with_label_values(&[&peer.to_string()]).inc();
                *self.last_part.lock().expect("a thread that panics stops the process") = Some((*height, received));
            }
            _ => {}
        }
    }

    /// Returns the gauge of the seconds by which this clock is ahead of the other validators' clocks.
    pub fn clock_skew(&self) -> Gauge {
        self.clock_skew_seconds.clone()
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
        let validators = &committed.validators;
        self.record_byzantine(block, validators);
        let mut before = self.validators_before.lock().expect("a thread that panics stops the process");
        if let (Some(before), Some(commit)) = (&*before, &block.last_commit) {
            self.count_signers(before, commit, us);
            self.forget_who_left(before, validators);
        }
        self.record_validators(validators, us);
        *before = Some(validators.clone());
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
        self.latest_block_height.set(status.tip.0 as i64);
        self.record_validators(&status.validators, us);
        self.power_online.set(status.validators.total_power().0 as i64);
        let Some((block, bytes)) = block else { return };
        self.num_txs.set(block.txs.len() as i64);
        self.block_size_bytes.set(bytes as i64);
        if let Some(validators) = &validators {
            self.record_byzantine(block, validators);
        }
        if let (Some(signers), Some(commit)) = (signers, &block.last_commit) {
            self.record_signers(signers, commit, us);
        }
        *self.validators_before.lock().expect("a thread that panics stops the process") = validators;
    }

    fn record_validators(&self, validators: &ValidatorSet, us: Option<Address>) {
        let Power(total) = validators.total_power();
        self.validators.set(validators.len() as i64);
        self.validators_power.set(total as i64);
        if let Some((_, validator)) = us.and_then(|us| validators.by_address(&us)) {
            let address = validator.address().to_string();
            self.validator_power.with_label_values(&[&address]).set(validator.power.0 as i64);
            self.validator_missed_blocks.with_label_values(&[&address]); // creates the series, with 0
        }
    }

    /// Shows the validators against which this block has evidence: those that are validators now, with their current
    /// power.
    fn record_byzantine(&self, block: &Block, validators: &ValidatorSet) {
        let power = |evidence: &types::Evidence| {
            let types::Evidence::DuplicateVote(double) = evidence;
            validators.by_address(&double.vote_a.vote.validator).map(|(_, validator)| validator.power.0)
        };
        let powers: Vec<u64> = block.evidence.iter().filter_map(power).collect();
        self.byzantine_validators.set(powers.len() as i64);
        self.byzantine_validators_power.set(powers.iter().sum::<u64>() as i64);
    }

    /// Shows the missing validators of a step that has waited for votes for some time.
    pub fn on_waiting(&self, heard: &Heard) {
        self.missing_validators.set(heard.missing as i64);
        self.missing_validators_power.set(heard.missing_power().0 as i64);
        self.power_online.set(heard.power.0 as i64);
    }

    /// Removes the series of validators that have left the set.
    fn forget_who_left(&self, before: &ValidatorSet, now: &ValidatorSet) {
        let is_gone = |address: &Address| now.by_address(address).is_none();
        for gone in before.iter().map(Validator::address).filter(is_gone).map(|address| address.to_string()) {
            for gauges in [&self.validator_power, &self.validator_last_signed_height, &self.validator_missed_blocks] {
                let _ = gauges.remove_label_values(&[&gone]); // the validator may have no series
            }
            for delays in [&self.quorum_prevote_delay, &self.full_prevote_delay, &self.quorum_precommit_delay] {
                let _ = delays.remove_label_values(&[&gone]);
            }
            for counters in [&self.proposer_timeouts_total, &self.missed_blocks_total] {
                let _ = counters.remove_label_values(&[&gone]);
            }
        }
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
        let last_part = self.last_part.lock().expect("a thread that panics stops the process");
        if let Some((_, received)) = last_part.filter(|(height, _)| *height == header.height) {
            self.block_gossip_seconds.observe(received.since(header.time).as_secs_f64());
        }
    }

    /// Counts the signatures of the block before.
    fn count_signers(&self, validators: &ValidatorSet, commit: &Commit, us: Option<Address>) {
        for (validator, signature) in validators.iter().zip(&commit.signatures) {
            let address = validator.address();
            if matches!(signature, CommitSig::Absent) {
                self.missed_blocks_total.with_label_values(&[&address.to_string()]).inc();
            }
            if us == Some(address) && !matches!(signature, CommitSig::Commit { .. }) {
                self.validator_missed_blocks.with_label_values(&[&address.to_string()]).inc();
            }
        }
        self.record_signers(validators, commit, us);
    }

    /// Shows the signatures of the block before.
    fn record_signers(&self, validators: &ValidatorSet, commit: &Commit, us: Option<Address>) {
        let (mut missing, mut missing_power, mut counted) = (0, 0, 0);
        for (validator, signature) in validators.iter().zip(&commit.signatures) {
            if matches!(signature, CommitSig::Absent) {
                missing += 1;
                missing_power += validator.power.0;
                continue;
            }
            counted += 1;
            if us == Some(validator.address()) && matches!(signature, CommitSig::Commit { .. }) {
                let address = validator.address().to_string();
                self.validator_last_signed_height.with_label_values(&[&address]).set(commit.height.0 as i64);
            }
        }
        let Power(total) = validators.total_power();
        self.power_online.set((total - missing_power) as i64);
        self.missing_validators.set(missing);
        self.missing_validators_power.set(missing_power as i64);
        self.precommits_counted.set(counted);
        self.precommits_staking_percentage.set((total - missing_power) as f64 / total.max(1) as f64);
    }

    /// Counts a double sign of a validator.
    pub fn on_evidence(&self, evidence: &types::Evidence) {
        let types::Evidence::DuplicateVote(double) = evidence;
        self.evidence_total.inc();
        self.evidence_power_total.inc_by(double.validator_power.0);
    }
}

fn step_name(step: Step) -> &'static str {
    match step {
        Step::Propose => "Propose",
        Step::Prevote => "Prevote",
        Step::Precommit => "Precommit",
    }
}

fn vote_name(vote_type: VoteType) -> &'static str {
    match vote_type {
        VoteType::Prevote => "prevote",
        VoteType::Precommit => "precommit",
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use prometheus::Registry;
    use types::{ConsensusSecretKey, KeyType};

    use super::*;
    use crate::{metrics::groups::State, rpc::samples::committed};

    fn consensus() -> (Consensus, State) {
        let (registry, facts) = (Registry::new(), Mutex::default());
        let on = |name| Subsystem { registry: &registry, facts: &facts, name };
        let state = State::new(&on("state"));
        (Consensus::new(&on("consensus"), state.block_processing_time.clone()), state)
    }

    /// The four validators have the powers 4, 3, 2 and 1. The last commit in the block has the first one's precommit
    /// for the block before and the second one's for nil; the block has evidence against the second.
    #[test]
    fn validators_are_counted_as_cometbft_counts_them() {
        let address = |index| committed(7, &[]).validators.get(index).unwrap().address();
        for (index, signed, missed) in [(0, 6, 0), (1, 0, 1), (2, 0, 1)] {
            let (us, label) = (Some(address(index)), address(index).to_string());
            let (metrics, _) = consensus();
            for height in [6, 7] {
                metrics.on_committed(&committed(height, &[]), None, us);
            }
            let of = |gauges: &IntGaugeVec| gauges.with_label_values(&[&label]).get();
            assert_eq!(of(&metrics.validator_missed_blocks), missed, "a vote for nil is a missed block");
            assert_eq!(of(&metrics.validator_last_signed_height), signed, "validator {index}");
            assert_eq!(of(&metrics.validator_power), 4 - i64::from(index));
            let missing = (metrics.missing_validators.get(), metrics.missing_validators_power.get());
            assert_eq!(missing, (2, 3), "a vote for nil is not missing");
            assert_eq!(metrics.missed_blocks_total.with_label_values(&[&address(1).to_string()]).get(), 0);
            assert_eq!(metrics.precommits_counted.get(), 2);
            assert!((metrics.precommits_staking_percentage.get() - 0.7).abs() < 1e-9, "a share from 0 to 1");
            assert_eq!((metrics.byzantine_validators.get(), metrics.byzantine_validators_power.get()), (1, 3));
        }
    }

    #[test]
    fn byzantine_metrics_count_only_validators_with_evidence_in_the_last_block() {
        let (metrics, _) = consensus();
        let mut block = committed(7, &[]).block.clone();
        let key = ConsensusSecretKey::from_bytes(KeyType::Secp256k1, &[9; 32]).unwrap();
        let others = ValidatorSet::new(vec![(key.public_key(), Power(5))]).unwrap();
        let told = || (metrics.byzantine_validators.get(), metrics.byzantine_validators_power.get());
        metrics.record_byzantine(&block, &committed(7, &[]).validators);
        assert_eq!(told(), (1, 3));
        metrics.record_byzantine(&block, &others);
        assert_eq!(told(), (0, 0), "who has left is none of the validators");
        block.evidence.clear();
        metrics.record_byzantine(&block, &committed(7, &[]).validators);
        assert_eq!(told(), (0, 0), "the last block has none");
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
