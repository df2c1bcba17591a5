//! The display of a testnet: a picture as lines of text, and the screen that shows it.
//!
//! On a terminal, each picture is drawn over the previous one. Elsewhere, the screen prints a line for each important
//! change, and one line of progress every 1 to 10 s.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use types::Time;

use super::{output, show};

/// The state of a node as one observation of [`super::watch`] found it.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Latest height that was committed.
    pub height: u64,
    /// Round of the height that is being decided.
    pub round: u64,
    /// Name of the step of this round, such as `prevote`.
    pub step: String,
    /// Number of connected peers.
    pub peers: u64,
    /// Time of the latest block.
    pub last_block: Time,
    /// Number of transactions that wait in the mempool.
    pub waiting: u64,
    /// Transactions committed per second since the previous observation.
    pub txs_per_second: f64,
    /// True while the node fetches blocks that the other nodes already have.
    pub catching_up: bool,
    /// Reasons why the node is not ready; empty if it is ready.
    pub not_ready: String,
    /// Local time of the observation.
    pub seen_at: Time,
}

/// The condition of one validator in the display.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// The process runs and has not answered yet.
    Starting,
    /// The validator answers requests.
    Up(Seen),
    /// The process runs but no longer answers requests.
    Silent,
    /// The process has ended. `how` states the exit code or signal; `log` is the last line of its log, or empty if a
    /// signal ended it.
    Down { how: String, log: String },
}

/// The row of one validator in the picture.
#[derive(Clone, Debug)]
pub struct Row {
    /// Name of the validator, such as `node0`.
    pub name: String,
    /// Condition of the validator.
    pub condition: Condition,
    /// Command line that starts the validator again.
    pub restart: String,
}

/// The complete content of the display.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Name of the chain, number of validators, and folder of the files.
    pub title: String,
    /// One row per validator, in the order of their indexes.
    pub rows: Vec<Row>,
    /// Lines that are shown below the table.
    pub footer: Vec<String>,
}

impl Picture {
    /// Returns the picture as lines of text: title, table, failures, footer.
    pub fn lines(&self) -> Vec<String> {
        let head = ["validator", "height", "round", "step", "peers", "last block (UTC)", "tx/s", "mempool"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        for row in &self.rows {
            let mut cells = vec![row.name.clone()];
            match &row.condition {
                Condition::Up(seen) => cells.extend([
                    seen.height.to_string(),
                    seen.round.to_string(),
                    if seen.catching_up { "catching up".to_owned() } else { seen.step.clone() },
                    seen.peers.to_string(),
                    last_block(seen),
                    format!("{:.0}", seen.txs_per_second),
                    seen.waiting.to_string(),
                ]),
                Condition::Starting => cells.extend(["-", "-", "starting"].map(str::to_owned)),
                Condition::Silent => cells.extend(["-", "-", "no answer"].map(str::to_owned)),
                Condition::Down { .. } => cells.extend(["-", "-", "down"].map(str::to_owned)),
            }
            rows.push(cells);
        }
        let mut lines = vec![self.title.clone(), String::new()];
        lines.extend(output::table(&rows, &[1, 2, 4, 6, 7]));
        for (name, reason) in self.not_ready() {
            lines.extend([String::new(), format!("{name} is not ready: {reason}")]);
        }
        for row in &self.rows {
            if let Condition::Down { how, log } = &row.condition {
                lines.push(String::new());
                lines.push(format!("{} {how}. Start it again: {}", row.name, row.restart));
                if !log.is_empty() {
                    lines.push(format!("  last line of its log: {log}"));
                }
            }
        }
        lines.push(String::new());
        lines.extend(self.footer.iter().cloned());
        lines
    }

    /// Returns a summary of the picture in one line.
    fn line(&self) -> String {
        let mut parts = Vec::new();
        for row in &self.rows {
            let state = match &row.condition {
                Condition::Up(seen) if seen.catching_up => format!("{} catching up", seen.height),
                Condition::Up(seen) => seen.height.to_string(),
                Condition::Starting => "starting".to_owned(),
                Condition::Silent => "no answer".to_owned(),
                Condition::Down { .. } => "down".to_owned(),
            };
            parts.push(format!("{} {state}", row.name));
        }
        let up = self.rows.iter().filter_map(|row| match &row.condition {
            Condition::Up(seen) => Some(seen),
            _ => None,
        });
        let fastest = up.clone().map(|seen| seen.txs_per_second).fold(0.0, f64::max);
        let waiting = up.map(|seen| seen.waiting).max().unwrap_or(0);
        format!("height: {}; {fastest:.0} tx/s, {waiting} waiting", parts.join(", "))
    }

    /// Returns the reasons why validators are not ready: each kind of reason once, with the name of the first validator
    /// that gives it. A validator without a block is still starting, and one that catches up is shown as such; both are
    /// left out.
    fn not_ready(&self) -> Vec<(&str, &str)> {
        let mut reasons: Vec<(&str, &str)> = Vec::new();
        for row in &self.rows {
            if let Condition::Up(Seen { not_ready, catching_up: false, height: 1.., .. }) = &row.condition
                && !not_ready.is_empty()
                && reasons.iter().all(|(_, known)| kind_of(known) != kind_of(not_ready))
            {
                reasons.push((&row.name, not_ready));
            }
        }
        reasons
    }

    /// Returns the kind of condition of each validator, as a number. A change of a number is worth a new line of
    /// output.
    fn conditions(&self) -> Vec<u8> {
        let kind = |row: &Row| match &row.condition {
            Condition::Starting => 0,
            Condition::Up(seen) if seen.catching_up => 2,
            Condition::Up(seen) if !seen.not_ready.is_empty() => NOT_READY,
            Condition::Up(_) => 1,
            Condition::Silent => 3,
            Condition::Down { .. } => DOWN,
        };
        self.rows.iter().map(kind).collect()
    }
}

/// Number that [`Picture::conditions`] uses for [`Condition::Down`].
const DOWN: u8 = 4;
/// Number that [`Picture::conditions`] uses for a validator that reports that it is not ready.
const NOT_READY: u8 = 5;

/// Returns the part of a reason before the first digit or colon. Two reasons with the same part are of one kind, and
/// differ only in their numbers or details.
fn kind_of(reason: &str) -> &str {
    reason.split([':', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']).next().unwrap_or_default()
}

fn last_block(seen: &Seen) -> String {
    if seen.height == 0 {
        return "none yet".to_owned();
    }
    let text = seen.last_block.to_string();
    format!("{}  {}", text.get(11..19).unwrap_or_default(), show::ago(seen.last_block, seen.seen_at))
}

/// The output device that shows pictures.
pub enum Screen {
    /// A terminal, on which each picture replaces the previous one. `drawn` is the number of its lines above the
    /// cursor.
    Terminal { drawn: usize },
    /// Plain output, one line after the other, with the state that decides whether the next picture is worth a line.
    Lines { began: Instant, last: Option<Instant>, conditions: Vec<u8>, said: String },
}

/// Minimum interval between two lines of progress during the first [`SETTLED`], and after a change of a condition at
/// any time.
const OFTEN: Duration = Duration::from_secs(1);
/// Minimum interval between two lines of progress after [`SETTLED`], while no condition changes.
const SELDOM: Duration = Duration::from_secs(10);
/// Time after the start of the display from which on progress is printed less often.
const SETTLED: Duration = Duration::from_secs(10);

impl Screen {
    /// Creates the screen for standard output. `plain` selects plain lines even on a terminal.
    pub fn new(plain: bool) -> Self {
        if io::stdout().is_terminal() && !plain {
            return Self::Terminal { drawn: 0 };
        }
        Self::Lines { began: Instant::now(), last: None, conditions: Vec::new(), said: String::new() }
    }

    /// Prints the title and the footer before the first picture. On a terminal it does nothing: each picture has them
    /// there.
    pub fn introduce(&self, picture: &Picture) {
        if let Self::Lines { .. } = self {
            output::line(&picture.title);
            picture.footer.iter().for_each(output::line);
        }
    }

    /// Shows the picture. On a terminal it is always drawn; otherwise its line is printed only if it differs and is
    /// due.
    pub fn show(&mut self, picture: &Picture) {
        match self {
            Self::Terminal { drawn } => {
                let lines = picture.lines();
                let mut frame = String::new();
                if *drawn > 0 {
                    frame.push_str(&format!("\x1b[{drawn}A\r"));
                }
                // Line wrapping is off: a line that is too long is cut, so that each line occupies one row of the
                // terminal.
                frame.push_str("\x1b[?25l\x1b[?7l");
                for line in &lines {
                    frame.push_str(line);
                    frame.push_str("\x1b[K\n");
                }
                frame.push_str("\x1b[J\x1b[?7h\x1b[?25h");
                *drawn = lines.len();
                let mut out = io::stdout().lock();
                let _ = out.write_all(frame.as_bytes()).and_then(|()| out.flush());
            }
            Self::Lines { began, last, conditions, said } => {
                let pause = if began.elapsed() < SETTLED { OFTEN } else { SELDOM };
                let line = picture.line();
                let changed = picture.conditions() != *conditions;
                let due = last.is_none_or(|last| last.elapsed() >= if changed { OFTEN } else { pause });
                if !due || line == *said {
                    return;
                }
                for (row, before) in picture.rows.iter().zip(conditions.iter().chain(std::iter::repeat(&0))) {
                    if let (Condition::Down { how, log }, true) = (&row.condition, *before != DOWN) {
                        output::line(format_args!("{} {how}. Start it again: {}", row.name, row.restart));
                        if !log.is_empty() {
                            output::line(format_args!("  last line of its log: {log}"));
                        }
                    }
                }
                let reported: Vec<bool> = conditions.iter().map(|kind| *kind == NOT_READY).collect();
                for (name, reason) in picture.not_ready() {
                    let index = picture.rows.iter().position(|row| row.name == name).unwrap_or_default();
                    if !reported.get(index).copied().unwrap_or(false) {
                        output::line(format_args!("{name} is not ready: {reason}"));
                    }
                }
                output::line(&line);
                (*last, *conditions, *said) = (Some(Instant::now()), picture.conditions(), line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture() -> Picture {
        let seen = Seen {
            height: 57,
            round: 0,
            step: "propose".into(),
            peers: 3,
            last_block: Time::parse("2026-01-10T12:00:01Z").unwrap(),
            waiting: 2,
            txs_per_second: 12.4,
            catching_up: false,
            not_ready: String::new(),
            seen_at: Time::parse("2026-01-10T12:00:02Z").unwrap(),
        };
        let row = |name: &str, condition| Row {
            name: name.into(),
            condition,
            restart: format!("cairn start --home t/{name}"),
        };
        Picture {
            title: "a title".into(),
            rows: vec![
                row("node0", Condition::Up(seen.clone())),
                row("node1", Condition::Up(Seen { catching_up: true, ..seen })),
                row("node2", Condition::Starting),
                row("node3", Condition::Down { how: "ended with exit code 74".into(), log: "the end".into() }),
            ],
            footer: vec!["RPC".into()],
        }
    }

    #[test]
    fn every_condition_has_its_place_in_the_table() {
        assert_eq!(
            picture().lines(),
            [
                "a title",
                "",
                "validator  height  round  step         peers  last block (UTC)     tx/s  mempool",
                "node0          57      0  propose          3  12:00:01  1.0 s ago    12        2",
                "node1          57      0  catching up      3  12:00:01  1.0 s ago    12        2",
                "node2           -      -  starting",
                "node3           -      -  down",
                "",
                "node3 ended with exit code 74. Start it again: cairn start --home t/node3",
                "  last line of its log: the end",
                "",
                "RPC",
            ]
        );
    }

    #[test]
    fn the_reasons_why_validators_are_not_ready_are_listed_once_below_the_table() {
        let mut picture = picture();
        let Condition::Up(seen) = picture.rows[0].condition.clone() else { panic!() };
        for (row, power) in picture.rows.iter_mut().zip([5, 6]) {
            let not_ready = format!("only validators with {power} of 20 power are heard");
            row.condition = Condition::Up(Seen { not_ready, ..seen.clone() });
        }
        let lines = picture.lines();
        let reported: Vec<_> = lines.iter().filter(|line| line.contains("not ready")).collect();
        assert_eq!(reported, ["node0 is not ready: only validators with 5 of 20 power are heard"]);
    }

    #[test]
    fn without_a_terminal_the_view_is_one_line() {
        let line = picture().line();
        assert_eq!(line, "height: node0 57, node1 57 catching up, node2 starting, node3 down; 12 tx/s, 2 waiting");
    }
}
