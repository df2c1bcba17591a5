//! How a testnet looks: a picture as lines of text, and the terminal that shows it.
//!
//! On a terminal the lines are drawn over the ones before. Elsewhere there is one line for each change that matters, and one for
//! the progress now and then.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use types::Time;

use super::{output, show};

/// What one look at a node saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Latest committed height.
    pub height: u64,
    /// Round of the height that is being decided.
    pub round: u64,
    /// Its step, in a word.
    pub step: String,
    /// Peers connected.
    pub peers: u64,
    /// Time of the latest block.
    pub last_block: Time,
    /// Transactions waiting.
    pub waiting: u64,
    /// Transactions committed a second, since the look before.
    pub txs_per_second: f64,
    /// Whether it fetches blocks that the others have already.
    pub catching_up: bool,
    /// Why it is not ready; empty when it is.
    pub not_ready: String,
    /// When this was seen.
    pub seen_at: Time,
}

/// How a validator is.
#[derive(Clone, Debug, PartialEq)]
pub enum Condition {
    /// Its process runs and has not answered yet.
    Starting,
    /// It answers.
    Up(Seen),
    /// Its process runs and does not answer any more.
    Silent,
    /// Its process has ended. `how`: exit code or signal. `log`: the last line it wrote, if it may say why.
    Down { how: String, log: String },
}

/// A validator in the picture.
#[derive(Clone, Debug)]
pub struct Row {
    /// Its name: `node0`.
    pub name: String,
    /// How it is.
    pub condition: Condition,
    /// The command that starts it again.
    pub restart: String,
}

/// All that is shown.
#[derive(Clone, Debug)]
pub struct Picture {
    /// The chain, and where its files are.
    pub title: String,
    /// The validators.
    pub rows: Vec<Row>,
    /// What stands below the table.
    pub footer: Vec<String>,
}

impl Picture {
    /// As lines.
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
                    lines.push(format!("  its last words: {log}"));
                }
            }
        }
        lines.push(String::new());
        lines.extend(self.footer.iter().cloned());
        lines
    }

    /// In one line.
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

    /// Why validators are not ready: each reason once, with the first that gives it. One that has seen no block yet is starting.
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

    /// What kind of thing each validator does: when it changes, people want to know.
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

/// The kind of [`Condition::Down`].
const DOWN: u8 = 4;
/// The kind of a validator that says that it is not ready.
const NOT_READY: u8 = 5;

/// Two reasons that begin alike say the same of different moments.
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

/// Where the picture is shown.
pub enum Screen {
    /// Drawn over: `drawn` lines stand above the cursor.
    Terminal { drawn: usize },
    /// One line after the other.
    Lines { began: Instant, last: Option<Instant>, conditions: Vec<u8>, said: String },
}

/// Progress is told this often at first, and after [`SETTLED`] this often.
const OFTEN: Duration = Duration::from_secs(1);
const SELDOM: Duration = Duration::from_secs(10);
const SETTLED: Duration = Duration::from_secs(10);

impl Screen {
    /// The screen that standard output is; `plain` asks for lines even on a terminal.
    pub fn new(plain: bool) -> Self {
        if io::stdout().is_terminal() && !plain {
            return Self::Terminal { drawn: 0 };
        }
        Self::Lines { began: Instant::now(), last: None, conditions: Vec::new(), said: String::new() }
    }

    /// What to say before the first picture, where pictures are not drawn.
    pub fn introduce(&self, picture: &Picture) {
        if let Self::Lines { .. } = self {
            output::line(&picture.title);
            picture.footer.iter().for_each(output::line);
        }
    }

    /// Shows the picture, if there is something new in it.
    pub fn show(&mut self, picture: &Picture) {
        match self {
            Self::Terminal { drawn } => {
                let lines = picture.lines();
                let mut frame = String::new();
                if *drawn > 0 {
                    frame.push_str(&format!("\x1b[{drawn}A\r"));
                }
                // No wrapping: a line that is too long is cut, so that one line stays one row.
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
                            output::line(format_args!("  its last words: {log}"));
                        }
                    }
                }
                let told: Vec<bool> = conditions.iter().map(|kind| *kind == NOT_READY).collect();
                for (name, reason) in picture.not_ready() {
                    let index = picture.rows.iter().position(|row| row.name == name).unwrap_or_default();
                    if !told.get(index).copied().unwrap_or(false) {
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
                "  its last words: the end",
                "",
                "RPC",
            ]
        );
    }

    #[test]
    fn why_validators_are_not_ready_stands_below_the_table_once() {
        let mut picture = picture();
        let Condition::Up(seen) = picture.rows[0].condition.clone() else { panic!() };
        for (row, power) in picture.rows.iter_mut().zip([5, 6]) {
            let not_ready = format!("only validators with {power} of 20 power are heard");
            row.condition = Condition::Up(Seen { not_ready, ..seen.clone() });
        }
        let lines = picture.lines();
        let told: Vec<_> = lines.iter().filter(|line| line.contains("not ready")).collect();
        assert_eq!(told, ["node0 is not ready: only validators with 5 of 20 power are heard"]);
    }

    #[test]
    fn without_a_terminal_it_is_one_line() {
        let line = picture().line();
        assert_eq!(line, "height: node0 57, node1 57 catching up, node2 starting, node3 down; 12 tx/s, 2 waiting");
    }
}
