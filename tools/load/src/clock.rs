//! The clock of a run. It has no date and no jumps; `node/src/clock.rs` has the clocks that date blocks.

use std::time::{Duration, Instant};

/// The clock of a run: nanoseconds since the run began.
#[derive(Clone, Copy, Debug)]
pub struct RunClock(Instant);

impl RunClock {
    /// Creates a clock that starts now.
    pub fn new() -> Self {
        Self(Instant::now())
    }

    /// Converts a time of this clock to an instant of the operating system.
    pub fn instant(&self, at: u64) -> Instant {
        self.0 + Duration::from_nanos(at)
    }

    /// Returns the time since the start, in nanoseconds.
    pub fn now(&self) -> u64 {
        u64::try_from(self.0.elapsed().as_nanos()).expect("a run takes less than 500 years")
    }
}
