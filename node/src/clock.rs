//! The two clocks of this machine, as values.
//!
//! The wall clock dates blocks and votes; it may jump, and the dates follow it at once. The steady clock measures
//! durations and deadlines: it starts at the wall clock's time of the first call in this process and advances with the
//! monotonic clock.

use std::{
    sync::OnceLock,
    time::{Duration, Instant, SystemTime},
};

use types::{Moment, Time};

/// Minimum jump of the wall clock that is logged.
const JUMP_MIN: Duration = Duration::from_secs(1);

/// Returns the time of the wall clock.
pub fn wall() -> Time {
    time_of(SystemTime::now())
}

/// Returns the time of the steady clock. Callers on all threads share one clock.
pub fn steady() -> Time {
    static START: OnceLock<(Instant, Time)> = OnceLock::new();
    let (started, began) = START.get_or_init(|| (Instant::now(), wall()));
    began.saturating_add(started.elapsed())
}

/// Returns the moment that this machine's clocks show.
pub fn now() -> Moment {
    Moment { wall: wall(), steady: steady() }
}

/// Converts a time of the system into a value; times before 1970 become 1970.
pub fn time_of(time: SystemTime) -> Time {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Time::from_unix_nanos(i64::try_from(since.as_nanos()).unwrap_or(i64::MAX))
}

/// Reads both clocks, and logs each jump of the wall clock once.
#[derive(Debug, Default)]
pub struct MachineClocks {
    /// Nanoseconds by which the wall clock was ahead of the steady clock when a jump was last logged.
    logged_offset: i64,
}

impl MachineClocks {
    /// Returns the moment that this machine's clocks show.
    pub fn now(&mut self) -> Moment {
        let moment = now();
        if let Some(jump) = self.jump(moment) {
            let (seconds, wall) = (jump as f64 / 1e9, moment.wall);
            tracing::warn!(
                target: "consensus", %wall, jump_seconds = format!("{seconds:+.3}"),
                "the system clock jumped; the blocks and votes of this node carry its time. If the clock was not set on purpose, \
                 check NTP"
            );
        }
        moment
    }

    /// Returns the nanoseconds by which the wall clock jumped since the last jump that was returned; `None` below
    /// [`JUMP_MIN`].
    fn jump(&mut self, moment: Moment) -> Option<i64> {
        let offset = moment.wall.unix_nanos().saturating_sub(moment.steady.unix_nanos());
        let jump = offset.saturating_sub(self.logged_offset);
        if u128::from(jump.unsigned_abs()) < JUMP_MIN.as_nanos() {
            return None;
        }
        self.logged_offset = offset;
        Some(jump)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_jump_of_the_wall_clock_is_reported_once_in_each_direction() {
        let (mut clock, secs) = (MachineClocks::default(), |secs: u64| Time::from_unix_millis(secs * 1000));
        let mut jump = |wall, steady| clock.jump(Moment { wall: secs(wall), steady: secs(steady) });
        assert_eq!(jump(100, 100), None);
        assert_eq!(jump(3700, 100), Some(3_600_000_000_000));
        assert_eq!(jump(3701, 101), None, "it stays where it jumped to");
        assert_eq!(jump(102, 102), Some(-3_600_000_000_000));
    }

    #[test]
    fn the_steady_clock_advances() {
        let first = steady();
        assert!(steady() >= first);
    }
}
