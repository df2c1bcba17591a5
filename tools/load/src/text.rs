//! Formats a report as lines of text for people.

use crate::{
    report::{CpuReport, InvalidReport, Report, Saturation, StageReport, rounded},
    stats::Quantiles,
};

impl Report {
    /// Returns lines of about 110 characters at most, without terminal codes.
    pub fn lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        match &self.stages[..] {
            [one] => lines.extend(one.lines(self)),
            several => lines.extend(table(several)),
        }
        if let Some(Saturation { committed_per_s, how, .. }) = &self.saturation {
            lines.push(String::new());
            lines.push(format!("highest      {committed_per_s:.0} tx/s committed everywhere ({how})"));
        }
        for (head, sentences) in [("NOT TO BE TRUSTED", &self.doubts), ("notes", &self.warnings)] {
            if !sentences.is_empty() {
                lines.push(String::new());
                lines.push(format!("{head}:"));
                lines.extend(sentences.iter().map(|sentence| format!("  - {sentence}")));
            }
        }
        lines
    }
}

impl StageReport {
    fn lines(&self, report: &Report) -> Vec<String> {
        let mut lines = Vec::new();
        let mut line = |name: &str, text: String| lines.push(format!("{name:<13}{text}"));
        let plan = &report.plan;
        let invalid: u64 = self.invalid.values().map(|invalid| invalid.due).sum();
        line(
            "load",
            format!(
                "{}, {}, {} senders, {}, {:.0} s measured, over {} connections to {} nodes",
                self.name(),
                if self.mode == "open" { format!("{} arrivals", plan.arrivals) } else { "closed loop".to_owned() },
                plan.senders,
                if plan.order == "nonce" { "ordered by nonce" } else { "unordered" },
                self.measured_s,
                plan.connections * report.nodes.len(),
                report.nodes.len()
            ),
        );
        line(
            "offered",
            format!("{} tx/s, {} valid transactions due{}", rounded(self.offered_per_s), self.due, also(invalid)),
        );
        let kept_up = if self.is_sustained { "" } else { "   the chain did NOT keep up" };
        line("committed", format!("{} tx/s everywhere, counted in blocks{kept_up}", rounded(self.committed_per_s)));
        line(
            "of those due",
            format!(
                "{} committed everywhere, {} refused, {} timed out, {} not sent",
                self.committed, self.refused, self.timed_out, self.unsent
            ),
        );
        for (code, refusals) in &self.refusals {
            line("", format!("{} x code {code}: {}", refusals.count, refusals.example));
        }
        let blocks = &self.blocks;
        line(
            "blocks",
            format!(
                "{} per second, {} of {} empty, at most {} transactions in one",
                rounded(blocks.per_s),
                blocks.empty,
                blocks.count,
                blocks.txs_max
            ),
        );
        for (kind, invalid) in &self.invalid {
            line("refused", format!("{kind}: {}", refused(invalid)));
        }
        lines.push(String::new());
        lines.push(format!(
            "{:<34}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}",
            "latency in ms, from due time", "p50", "p90", "p99", "p99.9", "max", "mean"
        ));
        lines.push(quantiles("to the first validator's commit", &self.first));
        lines.push(quantiles("to EVERY validator's commit", &self.everywhere));
        lines.push(quantiles("sent later than due by", &self.lag));
        lines.push(String::new());
        lines.push(processor(&self.cpu, report.cores));
        lines
    }
}

fn also(invalid: u64) -> String {
    if invalid == 0 { String::new() } else { format!(", and {invalid} to be refused") }
}

/// Returns what became of the invalid transactions of one kind.
fn refused(invalid: &InvalidReport) -> String {
    let codes: Vec<String> = invalid.codes.iter().map(|(code, count)| format!("{count} x code {code}")).collect();
    let wrong =
        invalid.taken + invalid.committed > 0 || invalid.codes.keys().any(|code| *code != invalid.expected_code);
    let verdict = if wrong {
        format!(
            "   WRONG: taken {}, committed {}, code {} expected",
            invalid.taken, invalid.committed, invalid.expected_code
        )
    } else {
        String::new()
    };
    let unanswered =
        if invalid.unanswered > 0 { format!(", {} without an answer", invalid.unanswered) } else { String::new() };
    format!("{} of {}{unanswered}{verdict}", codes.join(", "), invalid.due)
}

/// Returns the line about processor time.
fn processor(cpu: &CpuReport, cores: usize) -> String {
    let nodes = match (cpu.nodes_share, cpu.node_us_per_tx) {
        (Some(share), Some(us)) => {
            format!("; the nodes {:.1} %, {us:.0} µs for each transaction and node", share * 100.0)
        }
        (Some(share), None) => format!("; the nodes {:.1} %", share * 100.0),
        _ => String::new(),
    };
    format!(
        "{:<13}the generator took {:.2} s, {:.1} % of the {cores} cores here{nodes}",
        "processor",
        cpu.generator_s,
        cpu.generator_share * 100.0,
    )
}

fn quantiles(name: &str, of: &Quantiles) -> String {
    let cell = |value: Option<f64>| format!("{:>9}", value.map_or("failed".to_owned(), |ms| format!("{ms:.1}")));
    let cells: Vec<String> = [of.p50_ms, of.p90_ms, of.p99_ms, of.p999_ms, of.max_ms, of.mean_ms].map(cell).into();
    format!("{name:<34}{}", cells.concat())
}

/// Returns a table with one row per stage, and the notes below it.
fn table(stages: &[StageReport]) -> Vec<String> {
    let head =
        ["stage", "offered/s", "committed/s", "p50 ms", "p99 ms", "max ms", "failed", "late p99", "generator", "nodes"];
    let ms = |value: Option<f64>| value.map_or("failed".to_owned(), |ms| format!("{ms:.1}"));
    let row = |stage: &StageReport| {
        [
            stage.name(),
            rounded(stage.offered_per_s),
            format!("{}{}", rounded(stage.committed_per_s), if stage.is_sustained { "" } else { " !" }),
            ms(stage.everywhere.p50_ms),
            ms(stage.everywhere.p99_ms),
            ms(stage.everywhere.max_ms),
            (stage.refused + stage.timed_out + stage.unsent).to_string(),
            if stage.mode == "open" { ms(stage.lag.p99_ms) } else { "-".to_owned() },
            format!("{:.1} %", stage.cpu.generator_share * 100.0),
            stage.cpu.nodes_share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0)),
        ]
    };
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(stages.iter().map(row));
    let widths: Vec<usize> =
        (0..head.len()).map(|i| rows.iter().map(|row| row[i].chars().count()).max().unwrap_or(0)).collect();
    let mut lines: Vec<String> = rows
        .iter()
        .map(|row| {
            let cell = |(i, text): (usize, &String)| {
                let space = " ".repeat(widths[i] - text.chars().count());
                if i == 0 { format!("{text}{space}") } else { format!("{space}{text}") }
            };
            row.iter().enumerate().map(cell).collect::<Vec<_>>().join("  ").trim_end().to_owned()
        })
        .collect();
    if stages.iter().any(|stage| !stage.is_sustained && stage.mode == "open") {
        lines.push(
            "! less than 95 % of the due transactions were committed in time: the chain did not keep up".to_owned(),
        );
    }
    let begin = if stages.iter().all(|stage| stage.mode == "open") { "due" } else { "sent" };
    lines.push(format!(
        "latency: from the time a transaction was {begin} to every validator's commit; failed transactions rank last"
    ));
    lines
}
