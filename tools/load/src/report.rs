//! The result of a run: JSON for programs, lines of text for people.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    kind::Kind,
    pacing::SECOND,
    plan::Load,
    stats::Quantiles,
    tally::{State, Tally},
    usage::Reading,
};

/// Version of the report's format: it grows when a field changes its meaning or is removed.
pub const FORMAT: u32 = 1;
/// Maximum lag of the pacer in milliseconds, at the 99th percentile, in a run that can be trusted.
pub const LAG_MAX_MS: f64 = 10.0;
/// Share of the machine's processor time above which the generator disturbs its own measurement.
pub const CPU_SHARE_MAX: f64 = 0.05;
/// Minimum share of the due transactions that must be committed for a rate to count as sustained.
pub const SUSTAINED: f64 = 0.95;

/// The result of a run, with all its figures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of the format: it grows when a field changes its meaning or is removed.
    pub format: u32,
    /// Version of the program that made the report.
    pub version: String,
    /// Time when the load began, in seconds since 1970.
    pub began_unix_s: u64,
    /// Name of the chain.
    pub chain_id: String,
    /// Nodes that received the load.
    pub nodes: Vec<NodeInfo>,
    /// Number of cores of the machine that generated the load.
    pub cores: usize,
    /// Parameters of the run.
    pub plan: PlanInfo,
    /// Results of the stages, in their order.
    pub stages: Vec<StageReport>,
    /// Highest throughput that a closed loop or a sweep found.
    pub saturation: Option<Saturation>,
    /// True if the figures can be relied on: there are no `doubts`.
    pub is_trustworthy: bool,
    /// Reasons why the figures cannot be relied on, one sentence each.
    pub doubts: Vec<String>,
    /// Other facts that a reader must know, one sentence each.
    pub warnings: Vec<String>,
}

/// A node, as it describes itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Address of its RPC.
    pub url: String,
    /// Name that the node gives itself.
    pub moniker: String,
    /// Version that the node reports.
    pub version: String,
}

/// Parameters that the run used. They correspond to the fields of [`crate::Plan`]; durations are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "each is a field of `Plan`")]
pub struct PlanInfo {
    pub mode: String,
    pub arrivals: String,
    pub order: String,
    pub senders: u32,
    pub invalid_share: f64,
    pub seed: u64,
    pub batch: usize,
    pub connections: usize,
    pub warm_up_s: f64,
    pub duration_s: Option<f64>,
    pub cool_down_s: f64,
    pub timeout_s: f64,
    pub fee: u64,
}

/// The result of a stage. Counts and latencies cover valid transactions that were due in the measured part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// Kind of the load: `open` or `closed`.
    pub mode: String,
    /// Requested rate of an open loop, in transactions per second, invalid ones included.
    pub rate_per_s: Option<f64>,
    /// Number of transactions in flight in a closed loop.
    pub window: Option<u64>,
    /// Length of the measured part in seconds.
    pub measured_s: f64,
    /// Valid transactions that were due: the sum of the next four fields.
    pub due: u64,
    /// Transactions that every validator committed in time.
    pub committed: u64,
    /// Transactions that a node refused.
    pub refused: u64,
    /// Transactions that not every validator committed in time.
    pub timed_out: u64,
    /// Transactions that were sent to no node: no connection was open, or the node read too slowly.
    pub unsent: u64,
    /// Reasons why valid transactions were refused, by code. Code 0: the node's RPC did not accept the request.
    pub refusals: BTreeMap<u32, RefusalReport>,
    /// Valid transactions due, per second.
    pub offered_per_s: f64,
    /// Transactions that every validator committed in the measured part, per second, counted once each from blocks.
    pub committed_per_s: f64,
    /// True if at least 95 % of the due transactions were committed in time and, in an open loop, the throughput was at
    /// least 95 % of the due rate.
    pub is_sustained: bool,
    /// Latencies from the intended send time to the last validator's commit.
    pub everywhere: Quantiles,
    /// Latencies from the intended send time to the first validator's commit.
    pub first: Quantiles,
    /// Latencies from the intended send time to each validator's commit, in the order of the nodes.
    pub by_node: Vec<Quantiles>,
    /// Delays from the intended to the actual send time, including the wait for others in the same request.
    pub lag: Quantiles,
    /// Results of invalid transactions, by kind.
    pub invalid: BTreeMap<String, InvalidReport>,
    /// Blocks that every validator committed in the measured part.
    pub blocks: BlocksReport,
    /// Transactions found in two blocks, in the whole stage: 0 on a correct chain.
    pub duplicates: u64,
    /// Transactions found in a block after their timeout, in the whole stage.
    pub late: u64,
    /// Transactions found in a block although they were refused or not sent, in the whole stage.
    pub refused_and_committed: u64,
    /// True if the signed transactions were used up before the end of the stage.
    pub ran_out: bool,
    /// Processor time used in the measured part.
    pub cpu: CpuReport,
    /// Figures for each second, warm-up and cool-down included.
    pub seconds: Vec<SecondReport>,
}

/// Refusals of valid transactions with one code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusalReport {
    /// Number of transactions that were refused with this code.
    pub count: u64,
    /// Explanation that a node gave for the first of them.
    pub example: String,
}

/// Results of invalid transactions of one kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InvalidReport {
    /// Number of transactions of this kind that were due.
    pub due: u64,
    /// Code with which nodes should refuse them.
    pub expected_code: u32,
    /// Codes with which nodes refused them, and how often.
    pub codes: BTreeMap<u32, u64>,
    /// Number of transactions that got no answer or were not sent.
    pub unanswered: u64,
    /// Number that a node accepted into its mempool: 0 on a correct chain.
    pub taken: u64,
    /// Number found in a block: 0 on a correct chain.
    pub committed: u64,
}

/// Statistics of the blocks of the measured part.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlocksReport {
    /// Number of blocks that every validator committed.
    pub count: u64,
    /// Number of blocks without transactions.
    pub empty: u64,
    /// Blocks committed per second.
    pub per_s: f64,
    /// Largest number of transactions in one block, whether sent by this run or not.
    pub txs_max: u64,
}

/// Processor time that the generator and the nodes used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuReport {
    /// User and kernel time of the generator in seconds.
    pub generator_s: f64,
    /// Share of the processor time of all cores of its machine that the generator used.
    pub generator_share: f64,
    /// Processor time of each node in seconds; `None` if the node does not report it.
    pub nodes_s: Vec<Option<f64>>,
    /// Share of all cores of the generator's machine that all nodes used, which is useful when they run on that
    /// machine.
    pub nodes_share: Option<f64>,
    /// Processor time per committed transaction in microseconds, as an average over the nodes.
    pub node_us_per_tx: Option<f64>,
}

/// Figures of one second of a stage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecondReport {
    /// Number of the second, from the beginning of the stage.
    pub at_s: u64,
    /// True if the second begins in the measured part.
    pub is_measured: bool,
    /// Valid transactions that were due in it.
    pub due: u64,
    /// Transactions whose commit by the last validator fell into it.
    pub committed: u64,
    /// Valid transactions due in it that failed.
    pub failed: u64,
    /// Transactions that waited for a block at its end.
    pub waiting: u64,
    /// Median latency of the transactions due in it, to the last validator's commit, in milliseconds.
    pub p50_ms: Option<f64>,
    /// 99th percentile of these latencies in milliseconds.
    pub p99_ms: Option<f64>,
    /// Largest of these latencies in milliseconds; `None` if one of the transactions failed.
    pub max_ms: Option<f64>,
}

/// The highest throughput that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saturation {
    /// Transactions that every validator committed, per second.
    pub committed_per_s: f64,
    /// Index of the stage in which it was found, from 0.
    pub stage: usize,
    /// Description of the load that gave it.
    pub how: String,
}

/// The result of a stage.
pub struct Outcome {
    /// Counts and latencies of the stage.
    pub tally: Tally,
    /// Processor time at the beginning and at the end of the measured part.
    pub usage: [Reading; 2],
    /// True if the signed transactions were used up before the end of the stage.
    pub ran_out: bool,
}

impl StageReport {
    /// Creates the report of a stage from its counts.
    pub(crate) fn new(load: Load, outcome: Outcome, cores: usize) -> Self {
        let Outcome { mut tally, usage: [before, after], ran_out } = outcome;
        let measured_s = tally.to.saturating_sub(tally.from) as f64 / SECOND as f64;
        let per_s = |count: u64| if measured_s > 0.0 { count as f64 / measured_s } else { 0.0 };
        let due = tally.due();
        let committed_per_s = per_s(tally.committed_meanwhile);
        let is_kept_up = committed_per_s >= SUSTAINED * per_s(due);
        let is_committed = tally.in_state(State::Everywhere) as f64 >= SUSTAINED * due as f64;
        let span_s = after.at.saturating_sub(before.at) as f64 / SECOND as f64;
        let generator_s = after.own.saturating_sub(before.own).as_secs_f64();
        let all_s = span_s * cores as f64;
        let nodes_s: Vec<Option<f64>> = before
            .nodes
            .iter()
            .zip(&after.nodes)
            .map(|(before, after)| Some(after.as_ref()? - before.as_ref()?).filter(|used| *used >= 0.0))
            .collect();
        let nodes_sum: Option<f64> = nodes_s.iter().copied().sum::<Option<f64>>().filter(|_| !nodes_s.is_empty());
        let node_us = |sum: f64| sum * 1e6 / nodes_s.len() as f64 / tally.committed_meanwhile as f64;
        let cpu = CpuReport {
            generator_s,
            generator_share: if all_s > 0.0 { generator_s / all_s } else { 0.0 },
            nodes_share: nodes_sum.filter(|_| all_s > 0.0).map(|sum| sum / all_s),
            node_us_per_tx: nodes_sum.filter(|_| tally.committed_meanwhile > 0).map(node_us),
            nodes_s,
        };
        let (rate_per_s, window, mode) = match load {
            Load::Open { rate } => (Some(rate), None, "open"),
            Load::Closed { window } => (None, Some(window), "closed"),
        };
        Self {
            mode: mode.to_owned(),
            rate_per_s,
            window,
            measured_s,
            due,
            committed: tally.in_state(State::Everywhere),
            refused: tally.in_state(State::Refused),
            timed_out: tally.in_state(State::TimedOut),
            unsent: tally.in_state(State::Unsent),
            refusals: refusals(&tally),
            offered_per_s: per_s(due),
            committed_per_s,
            is_sustained: is_committed && (is_kept_up || mode == "closed"),
            everywhere: tally.everywhere.quantiles(due),
            first: tally.first.quantiles(due),
            by_node: tally.nodes.iter().map(|node| node.quantiles(due)).collect(),
            lag: tally.lag.quantiles(tally.lag.len()),
            invalid: invalid(&tally),
            blocks: BlocksReport {
                count: tally.heights,
                empty: tally.empty_heights,
                per_s: per_s(tally.heights),
                txs_max: tally.txs_max,
            },
            duplicates: tally.duplicates,
            late: tally.late,
            refused_and_committed: tally.refused_and_committed,
            ran_out,
            cpu,
            seconds: seconds(&mut tally),
        }
    }

    /// Returns a short name of the stage, such as its rate.
    pub fn name(&self) -> String {
        match (self.rate_per_s, self.window) {
            (Some(rate), _) => format!("{} tx/s", rounded(rate)),
            (_, Some(window)) => format!("{window} under way"),
            _ => self.mode.clone(),
        }
    }

    /// Returns the reasons why the figures of this stage cannot be relied on, one sentence each.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let (mut doubts, name) = (Vec::new(), self.name());
        if self.mode == "open" && self.lag.p99_ms.is_some_and(|lag| lag > LAG_MAX_MS) {
            doubts.push(format!(
                "{name}: the generator was {:.1} ms behind its own schedule at the 99th percentile, so the load was not the requested \
                 one: give it a machine of its own, or request less",
                self.lag.p99_ms.unwrap_or_default()
            ));
        }
        if self.cpu.generator_share > CPU_SHARE_MAX {
            doubts.push(format!(
                "{name}: the generator took {:.1} % of this machine, which validators on it lacked: give it a machine of its own",
                self.cpu.generator_share * 100.0
            ));
        }
        doubts
    }
}

fn refusals(tally: &Tally) -> BTreeMap<u32, RefusalReport> {
    let report =
        |refusals: &crate::tally::Refusals| RefusalReport { count: refusals.count, example: refusals.example.clone() };
    tally.refusals.iter().map(|(code, refusals)| (*code, report(refusals))).collect()
}

fn invalid(tally: &Tally) -> BTreeMap<String, InvalidReport> {
    let report = |(kind, invalid): (&Kind, &crate::tally::Invalid)| {
        let report = InvalidReport {
            due: invalid.due,
            expected_code: kind.code(),
            codes: invalid.codes.clone(),
            unanswered: invalid.unanswered,
            taken: invalid.taken,
            committed: invalid.committed,
        };
        (kind.words().to_owned(), report)
    };
    tally.invalid.iter().map(report).collect()
}

fn seconds(tally: &mut Tally) -> Vec<SecondReport> {
    let (from, begin) = (tally.seconds_from, tally.begin);
    let is_measured = |at_s: u64| tally.measures(begin.saturating_add(at_s * SECOND));
    let report = |(second, at_s): (&crate::tally::Second, u64)| {
        let [p50_ms, p99_ms, max_ms] = second.quantiles;
        SecondReport {
            at_s,
            is_measured: is_measured(at_s),
            due: second.due,
            committed: second.committed,
            failed: second.failed,
            waiting: second.waiting,
            p50_ms,
            p99_ms,
            max_ms,
        }
    };
    tally.seconds.iter().zip(from..).map(report).collect()
}

/// Formats a number: without a fraction if it is whole or at least 1,000, otherwise with one digit.
pub(crate) fn rounded(number: f64) -> String {
    if number.fract() == 0.0 || number >= 1_000.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}
