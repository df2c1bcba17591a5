//! Progress of long commands.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

/// A line of progress on standard error: redrawn every 100 ms on a terminal, printed every 10 s elsewhere.
pub struct Progress {
    /// The work that is done, such as "verifying".
    doing: &'static str,
    last: Option<Instant>,
    is_drawn: bool,
}

impl Progress {
    /// Creates the progress of some work, such as "verifying". Nothing is shown yet.
    pub fn new(doing: &'static str) -> Self {
        Self { doing, last: None, is_drawn: false }
    }

    /// Shows how far the work has come, if it is time for that.
    pub fn show(&mut self, text: &str) {
        let is_terminal = io::stderr().is_terminal();
        let period = if is_terminal { Duration::from_millis(100) } else { Duration::from_secs(10) };
        let last = self.last.get_or_insert_with(Instant::now);
        if last.elapsed() < period {
            return;
        }
        *last = Instant::now();
        self.is_drawn |= is_terminal;
        let mut out = io::stderr().lock();
        let _ = match is_terminal {
            true => write!(out, "\r\x1b[K{}: {text}", self.doing),
            false => writeln!(out, "{}: {text}", self.doing),
        };
        let _ = out.flush(); // a closed standard error must not stop the work
    }

    /// Removes the line from a terminal.
    pub fn end(&mut self) {
        if self.is_drawn {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
        }
    }
}
