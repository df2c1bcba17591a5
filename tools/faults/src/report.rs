//! The result of a run: JSON for programs, a table for people.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    record::{Account, Latency, Record, Span},
    scenario::Scenario,
};

/// Version of the report's format: it grows when a field changes its meaning or is removed.
pub const FORMAT: u32 = 1;

/// The result of a run, with all its figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Version of the format: it grows when a field changes its meaning or is removed.
    pub format: u32,
    /// Version of the program that made the report.
    pub version: String,
    /// Number of validators of the chain.
    pub validators: usize,
    /// Transactions that were due per second, during the whole run.
    pub rate_per_s: f64,
    /// Results of the scenarios, in their order.
    pub scenarios: Vec<Row>,
    /// Results of all transactions of the run.
    pub transactions: Account,
    /// Number of heights that were compared at all validators.
    pub heights_compared: u64,
    /// Events that must not occur on a correct chain, one sentence each: a transaction was lost or doubled, chains
    /// differ, a validator ended by itself or never recovered. Empty on a correct chain.
    pub violations: Vec<String>,
    /// Other facts that a reader must know, one sentence each.
    pub warnings: Vec<String>,
}

/// The result of one scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Name of the scenario.
    pub scenario: String,
    /// Duration of the fault in seconds.
    pub fault_s: f64,
    /// Transactions committed per second before the fault.
    pub baseline_per_s: f64,
    /// Transactions committed per second during the fault.
    pub committed_per_s: f64,
    /// Share of the due transactions that was committed during the fault, divided by the same share before it, so that
    /// random arrivals have no effect. Transactions that are sent to a validator that is cut off or paused are not
    /// committed meanwhile.
    pub kept: f64,
    /// The same ratio for the transactions sent to validators that could continue.
    pub kept_reachable: f64,
    /// Longest time without a new height before the fault, in milliseconds.
    pub baseline_stall_ms: f64,
    /// Longest time without a new height from the start of the fault to the recovery, in milliseconds.
    pub worst_stall_ms: f64,
    /// Time in milliseconds from the end of the fault until all validators were at the tip; `None`: never.
    pub at_tip_ms: Option<f64>,
    /// Time in milliseconds from the end of the fault until the throughput had recovered; `None`: never.
    pub full_again_ms: Option<f64>,
    /// Latencies before the fault, of transactions sent to validators that can continue.
    pub baseline_latency: Latency,
    /// Latencies of such transactions during the fault.
    pub latency: Latency,
}

/// The times of the phases of one scenario.
#[derive(Clone, Debug)]
pub struct Times {
    /// The scenario that was executed.
    pub scenario: Scenario,
    /// Interval before the fault, with which it is compared.
    pub baseline: Span,
    /// Interval from the command that started the fault to the one that ended it.
    pub fault: Span,
    /// Time at which everything had recovered, or was given up.
    pub end: Instant,
}

impl Row {
    /// Computes the result of a scenario from the record. `per_s`: the throughput at which it counts as recovered.
    pub fn of(record: &Record, times: &Times, nodes: usize, per_s: f64) -> Self {
        let Times { scenario, baseline, fault, end } = times;
        let (counted, behind) = (scenario.counted(nodes), scenario.behind(nodes));
        let ms = |duration: Duration| duration.as_secs_f64() * 1e3;
        let share = |part: f64, whole: f64| if whole > 0.0 { part / whole } else { 0.0 };
        let baseline_per_s = record.committed_per_s(&counted, *baseline);
        let committed_per_s = record.committed_per_s(&counted, *fault);
        let all: Vec<usize> = (0..nodes).collect();
        let kept = |reachable: &[usize]| {
            let of = |span: &Span| record.committed_share(&counted, reachable, *span);
            share(of(fault), of(baseline))
        };
        Self {
            scenario: scenario.name().to_owned(),
            fault_s: fault.seconds(),
            baseline_per_s,
            committed_per_s,
            kept: kept(&all),
            kept_reachable: kept(&counted),
            baseline_stall_ms: ms(record.worst_stall(&counted, *baseline)),
            worst_stall_ms: ms(record.worst_stall(&counted, Span { from: fault.from, to: *end })),
            at_tip_ms: record.at_tip(&counted, &behind, fault.to).map(ms),
            full_again_ms: record.is_full_again(&counted, per_s, fault.to, *end).map(ms),
            baseline_latency: record.latency(&counted, *baseline),
            latency: record.latency(&counted, *fault),
        }
    }
}

impl Report {
    /// Returns true if there are no violations.
    pub fn is_well(&self) -> bool {
        self.violations.is_empty()
    }

    /// Returns the cells of the table, with the header row first.
    pub fn table(&self) -> Vec<Vec<String>> {
        let head = [
            "scenario",
            "for s",
            "tx/s before",
            "during",
            "kept",
            "of reachable",
            "stall ms before",
            "worst",
            "at tip ms",
            "full again ms",
            "p50 ms before",
            "p99",
            "p50 ms during",
            "p99",
        ];
        let ms = |value: Option<f64>| value.map_or("never".to_owned(), |ms| format!("{ms:.0}"));
        let latency = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.0}"));
        let row = |row: &Row| {
            vec![
                row.scenario.clone(),
                format!("{:.1}", row.fault_s),
                format!("{:.0}", row.baseline_per_s),
                format!("{:.0}", row.committed_per_s),
                format!("{:.0} %", row.kept * 100.0),
                format!("{:.0} %", row.kept_reachable * 100.0),
                format!("{:.0}", row.baseline_stall_ms),
                format!("{:.0}", row.worst_stall_ms),
                ms(row.at_tip_ms),
                ms(row.full_again_ms),
                latency(row.baseline_latency.p50_ms),
                latency(row.baseline_latency.p99_ms),
                latency(row.latency.p50_ms),
                latency(row.latency.p99_ms),
            ]
        };
        let head = head.map(str::to_owned).to_vec();
        std::iter::once(head).chain(self.scenarios.iter().map(row)).collect()
    }

    /// Returns the lines below the table.
    pub fn lines(&self) -> Vec<String> {
        let Account { due, accepted, committed, lost, died_with_validator, duplicates } = self.transactions;
        let alike = if self.violations.is_empty() { "alike" } else { "compared" };
        let mut lines = vec![
            format!(
                "transactions  {due} due, {accepted} accepted, {committed} committed; of the accepted {lost} lost, {duplicates} in two \
                 blocks, {died_with_validator} known only to a validator that was killed"
            ),
            format!("chain         {} heights {alike} at all {} validators", self.heights_compared, self.validators),
        ];
        lines.extend(self.warnings.iter().map(|warning| format!("note          {warning}")));
        lines.extend(self.violations.iter().map(|violation| format!("VIOLATION     {violation}")));
        lines
    }
}

/// Returns what is wrong with the results of the transactions, one sentence each.
pub fn losses(account: &Account) -> Vec<String> {
    let mut found = Vec::new();
    if account.lost > 0 {
        found.push(format!("{} transactions were accepted and are in no block", account.lost));
    }
    if account.duplicates > 0 {
        found.push(format!("{} transactions are in more than one block", account.duplicates));
    }
    if account.committed == 0 {
        found.push("no transaction was committed".to_owned());
    }
    found
}

/// Returns what had not recovered at the end of a scenario, one sentence each.
pub fn not_recovered(row: &Row) -> Vec<String> {
    let Row { scenario, at_tip_ms, full_again_ms, .. } = row;
    let mut found = Vec::new();
    if at_tip_ms.is_none() {
        found.push(format!("{scenario}: not all validators came back to the tip"));
    }
    if full_again_ms.is_none() {
        found.push(format!("{scenario}: throughput did not recover"));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use load::TxKey;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    /// Returns a record in which a height with one transaction per validator, due 20 ms before, is committed every 50
    /// ms. The last validator is away from 5 s to 10 s and back at the tip at 11 s. The others pause for 200 ms when it
    /// leaves.
    fn record(begin: Instant) -> Record {
        let mut record = Record::new(4);
        let mut key = 0;
        for height in 1..=300 {
            let at = begin + ms(50 * height);
            let is_away = (100..220).contains(&height);
            let is_stall = (101..104).contains(&height);
            let late = if is_stall { begin + ms(50 * 104) } else { at };
            let mut keys = Vec::new();
            for node in 0..4 {
                key += 1;
                record.sending(node, TxKey([key, 0]), at - ms(20));
                if node < 3 || !(100..200).contains(&height) {
                    record.accepted(TxKey([key, 0]));
                    keys.push(TxKey([key, 0]));
                }
                if node < 3 || !is_away {
                    record.committed(node, height, late);
                }
            }
            record.block(height, &keys);
        }
        record
    }

    fn times(begin: Instant) -> Times {
        let span = |from, to| Span { from: begin + ms(from), to: begin + ms(to) };
        Times {
            scenario: Scenario::Kill,
            baseline: span(2_000, 5_000),
            fault: span(5_000, 10_000),
            end: begin + ms(14_000),
        }
    }

    #[test]
    fn a_row_shows_the_throughput_that_was_kept_and_the_recovery_times() {
        let begin = Instant::now();
        let row = Row::of(&record(begin), &times(begin), 4, 80.0);
        assert_eq!((row.baseline_per_s, row.committed_per_s), (80.0, 60.0));
        assert_eq!((row.kept, row.kept_reachable), (0.75, 1.0), "a quarter of the load went to the one that was away");
        assert_eq!((row.baseline_stall_ms, row.worst_stall_ms), (50.0, 200.0));
        assert_eq!((row.at_tip_ms, row.full_again_ms), (Some(1_000.0), Some(0.0)));
        assert_eq!((row.baseline_latency.p50_ms, row.latency.p50_ms), (Some(20.0), Some(20.0)));
        assert_eq!(row.latency.p99_ms, Some(120.0));
        assert!(not_recovered(&row).is_empty());
    }

    #[test]
    fn missing_recovery_is_a_violation() {
        let begin = Instant::now();
        let row = Row::of(&record(begin), &times(begin), 4, 80.0);
        let away = Row { at_tip_ms: None, ..row.clone() };
        assert_eq!(not_recovered(&away), ["kill: not all validators came back to the tip"]);
        let slow = Row { full_again_ms: None, ..row };
        assert_eq!(not_recovered(&slow), ["kill: throughput did not recover"]);
    }

    #[test]
    fn losses_are_violations() {
        let right = Account { due: 9, accepted: 8, committed: 8, ..Account::default() };
        assert!(losses(&right).is_empty(), "a transaction that was not accepted is not lost");
        assert!(losses(&Account { died_with_validator: 1, ..right }).is_empty());
        assert_eq!(losses(&Account { lost: 1, ..right }).len(), 1);
        assert_eq!(losses(&Account { duplicates: 1, ..right }).len(), 1);
        assert_eq!(losses(&Account::default()).len(), 1, "a chain that commits nothing loses nothing");
    }
}
