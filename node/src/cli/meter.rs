//! How a load looks while it runs: one line that is drawn over on a terminal, a line every few seconds elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use load::{Event, Live, Load, Observer};

/// Where there is no terminal, progress is told this often.
const LINE_PERIOD: Duration = Duration::from_secs(5);
/// On a terminal, counts of preparation are drawn this often.
const DRAW_PERIOD: Duration = Duration::from_millis(100);
/// Characters of a progress bar.
const BAR: usize = 24;

/// Draws on standard error, so that the report is all of standard output.
pub struct Meter {
    is_terminal: bool,
    is_quiet: bool,
    last: Option<Instant>,
    /// The line that will be drawn over.
    is_drawn: bool,
    /// What is under way, to tell when another thing begins.
    phase: &'static str,
}

impl Meter {
    /// `plain`: lines even on a terminal. `is_quiet`: notes only.
    pub fn new(plain: bool, is_quiet: bool) -> Self {
        let is_terminal = io::stderr().is_terminal() && !plain;
        Self { is_terminal, is_quiet, last: None, is_drawn: false, phase: "" }
    }

    /// Leaves the last line as it is.
    pub fn end(&mut self) {
        if self.is_drawn {
            self.is_drawn = false;
            self.write("\n");
        }
    }

    fn write(&self, text: &str) {
        let mut out = io::stderr().lock();
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush()); // nobody may be reading any more
    }

    fn line(&mut self, text: &str) {
        self.end();
        self.write(&format!("{text}\n"));
    }

    /// A line that the next one replaces. `force`: also if the last one was a moment ago.
    fn draw(&mut self, phase: &'static str, text: impl FnOnce() -> String, force: bool) {
        if self.is_quiet {
            return;
        }
        let is_new = phase != self.phase;
        let period = if self.is_terminal { DRAW_PERIOD } else { LINE_PERIOD };
        if !is_new && !force && self.last.is_some_and(|last| last.elapsed() < period) {
            return;
        }
        if is_new {
            self.end();
        }
        (self.phase, self.last) = (phase, Some(Instant::now()));
        if is_new && !force && !self.is_terminal {
            return; // what is over within a moment is told once, at its end
        }
        if self.is_terminal {
            // No wrapping: one line stays one row.
            self.write(&format!("\r\x1b[?7l{}\x1b[K\x1b[?7h", text()));
            self.is_drawn = true;
        } else {
            self.write(&format!("{}\n", text()));
        }
    }
}

/// `asking      [#####...] 12000 of 100000`
fn progress(what: &str, done: u64, of: u64, more: &str) -> String {
    let filled = if of == 0 { BAR } else { (done.min(of) as u128 * BAR as u128 / u128::from(of)) as usize };
    format!("{what:<12} [{}{}] {done} of {of}{more}", "#".repeat(filled), ".".repeat(BAR - filled))
}

fn live(live: &Live) -> String {
    let ms = |value: Option<f64>| value.map_or("-".to_owned(), |ms| format!("{ms:.1}"));
    format!(
        "{:>6.1} s  {:>6} tx/s due  {:>6} committed  latency ms p50 {:>7} p99 {:>7}  {:>6} waiting  {:>5} failed  height {}",
        live.seconds,
        live.due_per_s,
        live.committed_per_s,
        ms(live.p50_ms),
        ms(live.p99_ms),
        live.waiting,
        live.failed,
        live.height
    )
}

impl Observer for Meter {
    fn see(&mut self, event: &Event<'_>) {
        match event {
            Event::Asking { done, of } => {
                self.draw("asking", || progress("accounts", *done, *of, " asked for"), done == of);
            }
            Event::Funding { done, of } => {
                self.draw("funding", || progress("funding", *done, *of, " accounts"), done == of)
            }
            Event::Signing { done, of, bytes } => {
                let more = format!(" transactions, {:.0} MB", *bytes as f64 / 1e6);
                self.draw("signing", || progress("signing", *done, *of, &more), done == of);
            }
            Event::StageBegins { number, load } => {
                self.phase = "";
                if !self.is_quiet {
                    let what = match load {
                        Load::Open { rate } => format!("{rate} tx/s"),
                        Load::Closed { window } => format!("{window} under way"),
                    };
                    self.line(&format!("stage {number}      {what}"));
                }
            }
            Event::Live(now) => self.draw("live", || live(now), false),
            Event::StageEnds(_) => self.end(),
            Event::Note(text) => self.line(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_a_bar_and_a_count() {
        assert_eq!(progress("signing", 5, 20, " x"), "signing      [######..................] 5 of 20 x");
        assert_eq!(progress("signing", 0, 0, ""), "signing      [########################] 0 of 0");
        assert!(progress("signing", 9, 8, "").contains(&"#".repeat(BAR)));
    }
}
