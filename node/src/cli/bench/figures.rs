//! Figures of a workload, and all workloads' as a table.

use load::StageReport;
use serde::Serialize;

use super::{
    Workload,
    chain::{Reading, Used},
};
use crate::cli::output;

/// What a workload took. `None`: there is no such figure without transfers, or this system does not tell.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Which.
    pub workload: Workload,
    /// Committed by every validator, counted in blocks.
    pub transfers_per_s: Option<f64>,
    /// From the intended send time to the last validator's commit.
    pub latency_ms: Option<[Option<f64>; 3]>,
    /// Valid transfers that were refused, lost, late, or committed twice.
    pub failed: Option<u64>,
    /// Processor time of the average validator.
    pub cpu_us_per_transfer: Option<f64>,
    /// Likewise, all that was used by the heights that there were.
    pub cpu_ms_per_height: f64,
    /// Cores that all validators kept busy.
    pub cores: f64,
    /// Share of the machine that the load itself took.
    pub generator_share: Option<f64>,
    /// By the average validator.
    pub signature_checks_per_transfer: Option<f64>,
    /// Heights committed.
    pub heights_per_s: f64,
    /// Rounds beyond the first of a height, on the validator that counted most.
    pub failed_rounds: f64,
    /// By the average validator.
    pub syncs_per_height: f64,
    /// Of the largest validator, at the end.
    pub memory_bytes: f64,
    /// By which a validator's data grew.
    pub disk_bytes_per_transfer: Option<f64>,
    /// That a validator had written: its logs before and its tables after.
    pub written_bytes_per_transfer: Option<f64>,
    /// The same, for each height.
    pub written_bytes_per_height: Option<f64>,
}

impl Figures {
    /// Of the time between two readings in which nobody sent anything.
    pub fn without_load(workload: Workload, before: &Reading, after: &Reading) -> Self {
        let seconds = after.at.duration_since(before.at).as_secs_f64();
        let count = after.nodes.len().max(1) as f64;
        let grown = |of: fn(&Used) -> f64| -> f64 {
            after.nodes.iter().map(of).sum::<f64>() - before.nodes.iter().map(of).sum::<f64>()
        };
        let heights = grown(|used| used.height) / count;
        let cpu_s = grown(|used| used.cpu_s);
        let rounds =
            after.nodes.iter().zip(&before.nodes).map(|(after, before)| after.failed_rounds - before.failed_rounds);
        let per_height = |sum: f64| if heights > 0.0 { sum / count / heights } else { 0.0 };
        Self {
            workload,
            transfers_per_s: None,
            latency_ms: None,
            failed: None,
            cpu_us_per_transfer: None,
            cpu_ms_per_height: per_height(cpu_s * 1e3),
            cores: if seconds > 0.0 { cpu_s / seconds } else { 0.0 },
            generator_share: None,
            signature_checks_per_transfer: None,
            heights_per_s: if seconds > 0.0 { heights / seconds } else { 0.0 },
            failed_rounds: rounds.fold(0.0, f64::max),
            syncs_per_height: per_height(grown(|used| used.syncs)),
            memory_bytes: after.nodes.iter().map(|used| used.memory).fold(0.0, f64::max),
            disk_bytes_per_transfer: None,
            written_bytes_per_transfer: None,
            written_bytes_per_height: written(before, after).map(per_height),
        }
    }

    /// Of a stage of load, between whose ends the readings were taken.
    pub fn of_load(workload: Workload, before: &Reading, after: &Reading, stage: &StageReport) -> Self {
        let sum = |reading: &Reading, of: fn(&Used) -> f64| reading.nodes.iter().map(of).sum::<f64>();
        // Each validator commits each transfer, so these are sums over both.
        let txs = sum(after, |used| used.txs) - sum(before, |used| used.txs);
        let per_transfer = |sum: f64| (txs > 0.0).then(|| sum / txs);
        let latency = &stage.everywhere;
        Self {
            transfers_per_s: Some(stage.committed_per_s),
            latency_ms: Some([latency.p50_ms, latency.p90_ms, latency.p99_ms]),
            failed: Some(stage.refused + stage.timed_out + stage.unsent + stage.duplicates),
            cpu_us_per_transfer: stage.cpu.node_us_per_tx,
            generator_share: Some(stage.cpu.generator_share),
            signature_checks_per_transfer: per_transfer(
                sum(after, |used| used.checks) - sum(before, |used| used.checks),
            ),
            disk_bytes_per_transfer: per_transfer(sum(after, |used| used.disk) - sum(before, |used| used.disk)),
            written_bytes_per_transfer: written(before, after).and_then(per_transfer),
            ..Self::without_load(workload, before, after)
        }
    }
}

fn written(before: &Reading, after: &Reading) -> Option<f64> {
    let sum = |reading: &Reading| reading.nodes.iter().map(|used| used.written).sum::<Option<f64>>();
    Some(sum(after)? - sum(before)?)
}

/// A figure's name, and how it looks.
type Row = (&'static str, fn(&Figures) -> Option<String>);

const ROWS: [Row; 17] = [
    ("transfers/s", |it| Some(number(it.transfers_per_s?))),
    ("latency p50, ms", |it| Some(number(it.latency_ms?[0]?))),
    ("latency p90, ms", |it| Some(number(it.latency_ms?[1]?))),
    ("latency p99, ms", |it| Some(number(it.latency_ms?[2]?))),
    ("transfers failed", |it| Some(it.failed?.to_string())),
    ("CPU µs / transfer and validator", |it| Some(number(it.cpu_us_per_transfer?))),
    ("signature checks / transfer", |it| Some(format!("{:.2}", it.signature_checks_per_transfer?))),
    ("disk bytes / transfer", |it| Some(number(it.disk_bytes_per_transfer?))),
    ("written bytes / transfer", |it| Some(number(it.written_bytes_per_transfer?))),
    ("heights/s", |it| Some(number(it.heights_per_s))),
    ("CPU ms / height and validator", |it| Some(format!("{:.2}", it.cpu_ms_per_height))),
    ("syncs / height", |it| Some(format!("{:.2}", it.syncs_per_height))),
    ("written bytes / height", |it| Some(number(it.written_bytes_per_height?))),
    ("rounds > 0", |it| Some(number(it.failed_rounds))),
    ("memory MiB / validator, most", |it| Some(number(it.memory_bytes / f64::from(1 << 20)))),
    ("cores busy, all validators", |it| Some(format!("{:.3}", it.cores))),
    ("load's share of the machine, %", |it| Some(format!("{:.1}", it.generator_share? * 100.0))),
];

/// A column for each workload.
pub fn table(all: &[Figures]) -> Vec<String> {
    let title = std::iter::once(String::new()).chain(all.iter().map(|it| format!("{:?}", it.workload).to_lowercase()));
    let mut rows = vec![title.collect::<Vec<String>>()];
    for (name, of) in ROWS {
        let cells = all.iter().map(|it| of(it).unwrap_or_else(|| "-".to_owned()));
        rows.push(std::iter::once((*name).to_owned()).chain(cells).collect());
    }
    let right: Vec<usize> = (1..=all.len()).collect();
    output::table(&rows, &right)
}

/// With as many digits as matter.
fn number(value: f64) -> String {
    let places = match value.abs() {
        0.0 => 0,
        small if small < 10.0 => 2,
        middle if middle < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.places$}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn figures_are_of_the_average_validator_between_two_readings() {
        let at = Instant::now();
        let used = |factor: f64| Used {
            height: 10.0 * factor,
            cpu_s: 0.1 * factor,
            syncs: 20.0 * factor,
            failed_rounds: factor - 1.0,
            memory: factor * f64::from(1 << 20),
            written: Some(1000.0 * factor),
            ..Used::default()
        };
        let before = Reading { at, nodes: vec![used(1.0), used(1.0)] };
        let after = Reading { at: at + Duration::from_secs(2), nodes: vec![used(2.0), used(3.0)] };
        let figures = Figures::without_load(Workload::Idle, &before, &after);
        assert_eq!(figures.heights_per_s, 7.5, "15 heights of the average validator in 2 s");
        assert_eq!(figures.syncs_per_height, 2.0);
        assert!((figures.cpu_ms_per_height - 10.0).abs() < 1e-9 && (figures.cores - 0.15).abs() < 1e-9);
        assert_eq!((figures.failed_rounds, figures.memory_bytes), (2.0, f64::from(3 << 20)));
        assert_eq!(figures.written_bytes_per_height, Some(100.0));
        let lines = table(&[figures]);
        assert!(lines.iter().any(|line| line.starts_with("heights/s") && line.ends_with("7.50")), "{lines:?}");
        assert!(lines[1].starts_with("transfers/s") && lines[1].ends_with(" -"), "{lines:?}");
    }

    #[test]
    fn numbers_have_the_digits_that_matter() {
        assert_eq!([0.0, 1.234, 12.34, 1234.5].map(number), ["0", "1.23", "12.3", "1234"]);
    }
}
