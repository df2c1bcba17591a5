//! The progress display of a load: one line that is redrawn on a terminal, and a line every 5 s elsewhere.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use load::{Event, Live, Load, Observer};

/// Minimum interval between two lines of progress without a terminal.
const LINE_PERIOD: Duration = Duration::from_secs(5);
/// Minimum interval between two redraws of the line on a terminal.
const DRAW_PERIOD: Duration = Duration::from_millis(100);
/// Width of a progress bar in characters.
const BAR: usize = 24;

/// A progress display on standard error, so that standard output contains the report only.
pub struct Meter {
    is_terminal: bool,
    is_quiet: bool,
    last: Option<Instant>,
    /// True if the cursor is on a line that the next redraw replaces.
    is_drawn: bool,
    /// Name of the current phase. A change of the phase begins a new line.
    phase: &'static str,
}

impl Meter {
    /// Creates a display. `plain` selects plain lines even on a terminal; `is_quiet` suppresses everything except
    /// notes.
    pub fn new(plain: bool, is_quiet: bool) -> Self {
        let is_terminal = io::stderr().is_terminal() && !plain;
        Self { is_terminal, is_quiet, last: None, is_drawn: false, phase: "" }
    }

    /// Ends the current line, so that the next output does not replace it.
    pub fn end(&mut self) {
        if self.is_drawn {
            self.is_drawn = false;
            self.write("\n");
        }
    }

    fn write(&self, text: &str) {
        let mut out = io::stderr().lock();
        // A closed standard error must not stop the load, so failures are ignored.
        let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    }

    fn line(&mut self, text: &str) {
        self.end();
        self.write(&format!("{text}\n"));
    }

    /// Draws a line that the next one replaces on a terminal. `force` draws it even if the period since the last one is
    /// not over.
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
            return; // a short phase gets one line at its end, and none at its begin
        }
        if self.is_terminal {
            // Line wrapping is off, so that the line occupies one row and can be redrawn.
            self.write(&format!("\r\x1b[?7l{}\x1b[K\x1b[?7h", text()));
            self.is_drawn = true;
        } else {
            self.write(&format!("{}\n", text()));
        }
    }
}

/// Returns a line with a progress bar, such as `asking      [#####...] 12000 of 100000`.
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
                self.draw("querying", || progress("accounts", *done, *of, " queried"), done == of);
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
