//! The figures of a workload, and the table of all workloads.

use load::StageReport;
use serde::Serialize;

use super::{
    chain::{Reading, Used},
    workload::Workload,
};
use crate::cli::output;

/// The measured costs of a workload. `None`: the figure does not exist without transfers, or the system does not report
/// it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Figures {
    /// Workload to which the figures belong.
    pub workload: Workload,
    /// Transfers per second that every validator committed, counted in blocks.
    pub transfers_per_s: Option<f64>,
    /// Latency from the intended send time to the last validator's commit in ms, as percentiles 50, 90 and 99.
    pub latency_ms: Option<[Option<f64>; 3]>,
    /// Number of valid transfers that were refused, lost, late, or committed twice.
    pub failed: Option<u64>,
    /// Processor time of the average validator per transfer, in µs.
    pub cpu_us_per_transfer: Option<f64>,
    /// Processor time of the average validator per height in ms: its total time, divided by the number of heights.
    pub cpu_ms_per_height: f64,
    /// Average number of cores that all validators together kept busy.
    pub cores: f64,
    /// Share of the machine's processor time that the load generator used, from 0 to 1.
    pub generator_share: Option<f64>,
    /// Number of signature checks by the average validator per transfer.
    pub signature_checks_per_transfer: Option<f64>,
    /// Heights per second that the average validator committed.
    pub heights_per_s: f64,
    /// Number of rounds beyond the first of their height, on the validator with the most.
    pub failed_rounds: f64,
    /// Number of disk syncs that consensus of the average validator waited for, per height.
    pub syncs_per_height: f64,
    /// Resident memory of the largest validator at the end, in bytes.
    pub memory_bytes: f64,
    /// Growth of the average validator's data on disk per transfer, in bytes.
    pub disk_bytes_per_transfer: Option<f64>,
    /// Bytes that the average validator wrote to disk per transfer, both to write-ahead logs and later to tables.
    pub written_bytes_per_transfer: Option<f64>,
    /// Bytes that the average validator wrote to disk per height.
    pub written_bytes_per_height: Option<f64>,
}

impl Figures {
    /// Computes the figures of the time between two readings, without those that need transfers.
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

    /// Computes the figures of a stage of load. The readings were taken at its begin and its end.
    pub fn of_load(workload: Workload, before: &Reading, after: &Reading, stage: &StageReport) -> Self {
        let sum = |reading: &Reading, of: fn(&Used) -> f64| reading.nodes.iter().map(of).sum::<f64>();
        // Each validator commits each transfer, so a ratio of two sums over all validators is the average per
        // validator.
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

/// Returns the number of bytes that all validators wrote to disk between two readings, if the system reports it.
fn written(before: &Reading, after: &Reading) -> Option<f64> {
    let sum = |reading: &Reading| reading.nodes.iter().map(|used| used.written).sum::<Option<f64>>();
    Some(sum(after)? - sum(before)?)
}

/// The name of a figure, and the function that formats it.
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

/// Returns the lines of a table with one column per workload.
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

/// Formats a number: two decimals below 10, one below 100, none otherwise or for zero.
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
