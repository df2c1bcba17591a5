//! The clock of a run, which has no date and no jumps, and the time of the chain. `node/src/clock.rs` has the clocks that date
//! blocks.

use std::time::{Duration, Instant, SystemTime};

use types::{Deadline, Time};

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

/// The time of the next block, as far as a client can know it: the later of the last block's time and this machine's
/// clock. On an idle chain, the last block may be old.
#[derive(Clone, Copy, Debug)]
pub struct ChainTime {
    began: Instant,
    time: Time,
}

impl ChainTime {
    /// Creates the time of a chain whose last block has the time `last_block`.
    pub fn after(last_block: Time) -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), time: last_block.max(Time::UNIX_EPOCH.saturating_add(since)) }
    }

    /// Returns a deadline for a transaction that is signed now: half of what the chain allows, so that it is accepted
    /// although clocks differ.
    pub fn deadline(&self, tx_ttl_max: Duration) -> Deadline {
        Deadline::at(self.time.saturating_add(self.began.elapsed() + tx_ttl_max / 2))
    }
}
