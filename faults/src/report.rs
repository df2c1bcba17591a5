//! What came of it: for programs as JSON, for people as a table.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::{
    record::{Account, Latency, Record, Span},
    scenario::Scenario,
};

/// Changes when a field changes its meaning or goes.
pub const FORMAT: u32 = 1;

/// What came of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// Another number when a field has changed its meaning or gone.
    pub format: u32,
    /// Of the program.
    pub version: String,
    /// How many.
    pub validators: usize,
    /// Transactions a second that were due, all the time.
    pub rate_per_s: f64,
    /// What came of each scenario, in their order.
    pub scenarios: Vec<Row>,
    /// How all transactions ended.
    pub transactions: Account,
    /// Heights that all validators were asked for and have alike.
    pub heights_compared: u64,
    /// What must not happen on a correct chain, a sentence each: something was lost or doubled, chains differ, a validator ended or never
    /// came back. Empty: all is well.
    pub violations: Vec<String>,
    /// What a reader must know, a sentence each.
    pub warnings: Vec<String>,
}

/// What came of a scenario.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Row {
    /// Which.
    pub scenario: String,
    /// How long the fault lasted.
    pub fault_s: f64,
    /// Committed a second before it.
    pub baseline_per_s: f64,
    /// And during it.
    pub committed_per_s: f64,
    /// Committed during it as a share of what was due, compared with the same before: arrivals by chance cancel out. Clients that
    /// send to a validator which is cut off or paused get nothing from it.
    pub kept: f64,
    /// The same of those transactions only that were handed to validators which could go on.
    pub kept_reachable: f64,
    /// The longest time without a new height before the fault.
    pub baseline_stall_ms: f64,
    /// The longest time without a new height from the fault until everything was as before.
    pub worst_stall_ms: f64,
    /// From the end of the fault until all were at the tip; `None`: never.
    pub at_tip_ms: Option<f64>,
    /// From the end of the fault until throughput was back; `None`: never.
    pub full_again_ms: Option<f64>,
    /// Before the fault, of transactions handed to validators that can go on.
    pub baseline_latency: Latency,
    /// During it.
    pub latency: Latency,
}

/// When a scenario did what.
#[derive(Clone, Debug)]
pub struct Times {
    /// Which.
    pub scenario: Scenario,
    /// Before it.
    pub baseline: Span,
    /// From the order that began the fault to the one that ended it.
    pub fault: Span,
    /// When everything was as before, or was given up.
    pub end: Instant,
}

impl Row {
    /// What follows from the record. `per_s`: the throughput that is to come back.
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
    /// Whether nothing happened that must not.
    pub fn is_well(&self) -> bool {
        self.violations.is_empty()
    }

    /// The table's cells, its head first.
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

    /// What is beneath the table.
    pub fn lines(&self) -> Vec<String> {
        let Account { due, accepted, committed, lost, died_with_validator, duplicates } = self.transactions;
        let mut lines = vec![
            format!(
                "transactions  {due} due, {accepted} accepted, {committed} committed; of the accepted {lost} lost, {duplicates} in two \
                 blocks, {died_with_validator} known only to a validator that was killed"
            ),
            format!("chain         {} heights alike at all {} validators", self.heights_compared, self.validators),
        ];
        lines.extend(self.warnings.iter().map(|warning| format!("note          {warning}")));
        lines.extend(self.violations.iter().map(|violation| format!("VIOLATION     {violation}")));
        lines
    }
}

/// What is wrong with how transactions ended, a sentence each.
pub fn losses(account: &Account) -> Vec<String> {
    let mut found = Vec::new();
    if account.lost > 0 {
        found.push(format!("{} transactions were accepted and are in no block", account.lost));
    }
    if account.duplicates > 0 {
        found.push(format!("{} transactions are in more than one block", account.duplicates));
    }
    if account.committed == 0 {
        found.push("nothing was committed at all".to_owned());
    }
    found
}

/// What is wrong with a scenario's end, a sentence each.
pub fn not_recovered(row: &Row) -> Vec<String> {
    let Row { scenario, at_tip_ms, full_again_ms, .. } = row;
    let mut found = Vec::new();
    if at_tip_ms.is_none() {
        found.push(format!("{scenario}: not all validators came back to the tip"));
    }
    if full_again_ms.is_none() {
        found.push(format!("{scenario}: throughput did not come back"));
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

    /// A height each 50 ms with one transaction for each validator, due 20 ms before; the last validator is away from 5 s to 10 s,
    /// and back at the tip at 11 s. The others pause for 200 ms when it goes.
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
    fn a_row_tells_what_was_kept_and_how_long_it_took() {
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
    fn what_never_came_back_is_a_violation() {
        let begin = Instant::now();
        let row = Row::of(&record(begin), &times(begin), 4, 80.0);
        let away = Row { at_tip_ms: None, ..row.clone() };
        assert_eq!(not_recovered(&away), ["kill: not all validators came back to the tip"]);
        let slow = Row { full_again_ms: None, ..row };
        assert_eq!(not_recovered(&slow), ["kill: throughput did not come back"]);
    }

    #[test]
    fn losses_are_violations() {
        let right = Account { due: 9, accepted: 8, committed: 8, ..Account::default() };
        assert!(losses(&right).is_empty(), "what nobody accepted is not lost");
        assert!(losses(&Account { died_with_validator: 1, ..right }).is_empty());
        assert_eq!(losses(&Account { lost: 1, ..right }).len(), 1);
        assert_eq!(losses(&Account { duplicates: 1, ..right }).len(), 1);
        assert_eq!(losses(&Account::default()).len(), 1, "a chain that does nothing loses nothing");
    }
}
