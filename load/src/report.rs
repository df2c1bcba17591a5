//! What came of a run: for programs as JSON, for people as lines.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    pacing::SECOND,
    recipe::Kind,
    stage::{Load, Outcome},
    stats::Quantiles,
    tally::{State, Tally},
};

/// Changes when a field changes its meaning or goes.
pub const FORMAT: u32 = 1;
/// The pacer may be late by this at the 99th percentile before a run is not to be trusted.
pub const LAG_MAX_MS: f64 = 10.0;
/// The share of the machine above which the generator disturbs what it measures.
pub const CPU_SHARE_MAX: f64 = 0.05;
/// The share of what was due that must be committed for a rate to count as sustained.
pub const SUSTAINED: f64 = 0.95;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Another number when a field has changed its meaning or gone.
    pub format: u32,
    /// Of the program.
    pub version: String,
    /// When the load began, seconds since 1970.
    pub began_unix_s: u64,
    /// The chain.
    pub chain_id: String,
    /// Whom it was put on.
    pub nodes: Vec<NodeInfo>,
    /// Cores of the machine that generated the load.
    pub cores: usize,
    /// What was asked for.
    pub plan: PlanInfo,
    /// What came of each stage.
    pub stages: Vec<StageReport>,
    /// The highest throughput found, by a closed loop or a sweep.
    pub saturation: Option<Saturation>,
    /// Whether the figures can be relied on; if not, `warnings` say why.
    pub is_trustworthy: bool,
    /// What a reader must know, a sentence each.
    pub warnings: Vec<String>,
}

/// A node, as it told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its RPC.
    pub url: String,
    /// The name that it gives itself.
    pub moniker: String,
    /// The version that it gives itself.
    pub version: String,
}

/// What was asked for.
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

/// What came of a stage. Counts and latencies are of valid transactions that were due in the measured part.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageReport {
    /// `open` or `closed`.
    pub mode: String,
    /// Asked for, in an open loop, invalid ones included.
    pub rate_per_s: Option<f64>,
    /// Under way, in a closed loop.
    pub window: Option<u64>,
    /// Length of the measured part.
    pub measured_s: f64,
    /// Valid transactions due. The sum of the next four.
    pub due: u64,
    /// Committed by every validator in time.
    pub committed: u64,
    /// Refused by a node.
    pub refused: u64,
    /// Not committed by every validator in time.
    pub timed_out: u64,
    /// Not handed to any node: none was connected, or it read too little.
    pub unsent: u64,
    /// Why valid ones were refused, by code; 0: the node's RPC did not take the request.
    pub refusals: BTreeMap<u32, RefusalReport>,
    /// Due a second.
    pub offered_per_s: f64,
    /// Committed by every validator a second while measuring, counted in blocks, each once.
    pub committed_per_s: f64,
    /// Whether the chain kept up; why not, otherwise.
    pub is_sustained: bool,
    /// From the intended send time to the last validator's commit.
    pub everywhere: Quantiles,
    /// From the intended send time to the first validator's commit.
    pub first: Quantiles,
    /// From the intended send time to each validator's commit, in the order of the nodes.
    pub by_node: Vec<Quantiles>,
    /// By how much transactions were sent later than intended, sharing a request included.
    pub lag: Quantiles,
    /// What became of those that were to be refused, by kind.
    pub invalid: BTreeMap<String, InvalidReport>,
    /// Blocks committed everywhere while measuring.
    pub blocks: BlocksReport,
    /// In two blocks: 0 on a correct chain.
    pub duplicates: u64,
    /// Committed after the time-out.
    pub late: u64,
    /// Committed though refused by the node that they were sent to.
    pub refused_and_committed: u64,
    /// Signed transactions ran out before the time was over.
    pub ran_out: bool,
    /// Processor time while measuring.
    pub cpu: CpuReport,
    /// Second by second, warm-up and cool-down included.
    pub seconds: Vec<SecondReport>,
}

/// Refusals of one code.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RefusalReport {
    /// How many.
    pub count: u64,
    /// What the node said of the first.
    pub example: String,
}

/// What became of transactions that were to be refused in one way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InvalidReport {
    /// Due.
    pub due: u64,
    /// The code that should refuse them.
    pub expected_code: u32,
    /// The codes that they got.
    pub codes: BTreeMap<u32, u64>,
    /// Without an answer.
    pub unanswered: u64,
    /// Taken into a mempool: 0 on a correct chain.
    pub taken: u64,
    /// Committed: 0 on a correct chain.
    pub committed: u64,
}

/// Blocks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BlocksReport {
    /// How many.
    pub count: u64,
    /// Without transactions.
    pub empty: u64,
    /// Blocks a second.
    pub per_s: f64,
    /// Most transactions in one, anybody's.
    pub txs_max: u64,
}

/// Processor time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuReport {
    /// User and kernel time of the generator, in seconds.
    pub generator_s: f64,
    /// Its share of all cores of its machine.
    pub generator_share: f64,
    /// Of each node that told, in seconds.
    pub nodes_s: Vec<Option<f64>>,
    /// All nodes' share of all cores of the generator's machine: of interest when they run on it too.
    pub nodes_share: Option<f64>,
    /// Microseconds for each transaction committed, by the average node.
    pub node_us_per_tx: Option<f64>,
}

/// A second.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecondReport {
    /// From the stage's beginning.
    pub at_s: u64,
    /// Whether it is measured.
    pub is_measured: bool,
    /// Valid transactions due in it.
    pub due: u64,
    /// Transactions committed everywhere in it.
    pub committed: u64,
    /// Valid ones due in it that failed.
    pub failed: u64,
    /// Waiting for a block at its end.
    pub waiting: u64,
    /// Latency of those due in it, to the last validator's commit.
    pub p50_ms: Option<f64>,
    /// 99 of 100.
    pub p99_ms: Option<f64>,
    /// The slowest.
    pub max_ms: Option<f64>,
}

/// The highest throughput found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Saturation {
    /// Transactions committed everywhere a second.
    pub committed_per_s: f64,
    /// The stage that it was found in.
    pub stage: usize,
    /// How it was found.
    pub how: String,
}

impl StageReport {
    /// Of what was counted.
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
            is_sustained: is_kept_up && is_committed,
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

    /// What the stage was, in a few words.
    pub fn name(&self) -> String {
        match (self.rate_per_s, self.window) {
            (Some(rate), _) => format!("{} tx/s", rounded(rate)),
            (_, Some(window)) => format!("{window} under way"),
            _ => self.mode.clone(),
        }
    }

    /// Why the figures cannot be relied on, or what else is wrong.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let (mut doubts, name) = (Vec::new(), self.name());
        if self.mode == "open" && self.lag.p99_ms.is_some_and(|lag| lag > LAG_MAX_MS) {
            doubts.push(format!(
                "{name}: the generator was behind its own schedule by {:.1} ms at the 99th percentile: the load was not the one \
                 asked for; give it a machine of its own, or ask for less",
                self.lag.p99_ms.unwrap_or_default()
            ));
        }
        if self.cpu.generator_share > CPU_SHARE_MAX {
            doubts.push(format!(
                "{name}: the generator took {:.1} % of the machine, and so from validators on it: give it a machine of its own",
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

/// Whole numbers without a fraction, others with as much of it as matters.
pub(crate) fn rounded(number: f64) -> String {
    if number.fract() == 0.0 || number >= 1_000.0 { format!("{number:.0}") } else { format!("{number:.1}") }
}
