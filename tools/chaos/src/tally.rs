//! What a run did and found, and its summary.

use std::{collections::BTreeMap, time::Duration};

/// Counts of one kind of fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Number of faults that were injected.
    pub done: usize,
    /// Number of faults that were left out.
    pub skipped: usize,
}

/// What a run did and found.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// Seed of the run.
    pub seed: u64,
    /// Number of validators, and where they ran.
    pub validators: String,
    /// Length of the run.
    pub time: Duration,
    /// Number of each kind of fault.
    pub faults: BTreeMap<&'static str, Count>,
    /// For each kind of fault that was left out, the reason.
    pub skipped: BTreeMap<&'static str, String>,
    /// Number of processes that were killed by SIGKILL while they ran.
    pub kills: usize,
    /// Number of processes that stopped for the other program and were started with it.
    pub swaps: usize,
    /// Number of processes that ended because their disk was full.
    pub full_disks: usize,
    /// Greatest height that all validators have.
    pub heights: u64,
    /// Greatest round in which a vote was seen.
    pub round_max: u64,
    /// Number of different votes that were seen.
    pub votes: usize,
    /// Number of transfers that were sent.
    pub transfers: u64,
    /// Number of operations on stake that were sent, and how many the rules refused.
    pub stakes: (u64, u64),
    /// Number of requests that were sent again.
    pub repeated: u64,
    /// Number of transactions of which a node said that they are committed.
    pub committed: usize,
    /// Number of transactions in all blocks.
    pub in_blocks: usize,
    /// Height of the upgrade, if it happened.
    pub upgrade: Option<u64>,
    /// Heights of the blocks with evidence against the liar.
    pub evidence: Vec<u64>,
    /// Longest time from the end of a round's faults until all validators were at the tip and signed again.
    pub recovery_max: Duration,
    /// Rules that the chain broke, one sentence each.
    pub violations: Vec<String>,
}

impl Report {
    /// Counts a fault that was injected.
    pub fn done(&mut self, kind: &'static str) {
        self.faults.entry(kind).or_default().done += 1;
    }

    /// Counts a fault that was left out.
    pub fn left_out(&mut self, kind: &'static str) {
        self.faults.entry(kind).or_default().skipped += 1;
    }

    /// Returns true if no rule was broken.
    pub fn is_well(&self) -> bool {
        self.violations.is_empty()
    }

    /// Returns the summary as lines of text.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{:<28}{:>6}{:>9}", "fault", "done", "skipped")];
        lines
            .extend(self.faults.iter().map(|(kind, count)| format!("{kind:<28}{:>6}{:>9}", count.done, count.skipped)));
        lines.extend(self.skipped.iter().map(|(kind, reason)| format!("{kind} was skipped: {reason}")));
        let mut figure = |name: &str, value: String| lines.push(format!("{name:<28}{value}"));
        figure("seed", self.seed.to_string());
        figure("validators", self.validators.clone());
        figure("time", format!("{:.0} s", self.time.as_secs_f64()));
        figure("processes killed", self.kills.to_string());
        figure("programs swapped", self.swaps.to_string());
        figure("ended by a full disk", self.full_disks.to_string());
        figure("heights", self.heights.to_string());
        figure("greatest round", self.round_max.to_string());
        figure("votes observed", self.votes.to_string());
        figure("transfers sent", self.transfers.to_string());
        figure("operations on stake", format!("{}, of which {} were refused by rules", self.stakes.0, self.stakes.1));
        figure("requests repeated", self.repeated.to_string());
        figure("answered as committed", self.committed.to_string());
        figure("transactions in blocks", self.in_blocks.to_string());
        figure("upgrade", self.upgrade.map_or("none".to_owned(), |height| format!("at height {height}")));
        figure("evidence against the liar", format!("at heights {:?}", self.evidence));
        figure("longest recovery", format!("{:.1} s", self.recovery_max.as_secs_f64()));
        figure("violations", self.violations.len().to_string());
        lines.extend(self.violations.iter().map(|violation| format!("VIOLATION: {violation}")));
        let result = if self.is_well() { "no rule was broken" } else { "a rule was broken" };
        lines.push(format!("{:<28}{result}", "result"));
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summary_has_each_fault_and_each_violation() {
        let mut report = Report { seed: 7, violations: vec!["a fork".to_owned()], ..Report::default() };
        report.done("kill");
        report.left_out("clock");
        report.skipped.insert("clock", "no C compiler".to_owned());
        let text = report.lines().join("\n");
        let kill = format!("kill{}1{}0", " ".repeat(29), " ".repeat(8));
        for part in [kill.as_str(), "clock was skipped: no C", "VIOLATION: a fork", "a rule was"] {
            assert!(text.contains(part), "{part} in {text}");
        }
    }
}
