//! Points in time, as values: this module reads no clock.

use std::{fmt, time::Duration};

use ::time::{OffsetDateTime, UtcOffset, format_description::well_known::Rfc3339};
use thiserror::Error;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A point in time in nanoseconds since the Unix epoch, from 1970 to 2262.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time {
    unix_nanos: i64,
}

/// One moment, on the two clocks of a machine.
///
/// The wall clock may jump in both directions, by hand or by NTP. The steady clock starts at the wall clock's time and
/// then only measures elapsed time. So a duration is the difference of two steady times, and a date is a wall time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Time of the wall clock. It dates blocks and votes, and is compared with the dates from other nodes.
    pub wall: Time,
    /// Time of the steady clock. It never goes back while the process runs, and measures durations and deadlines.
    pub steady: Time,
}

/// A moment of a machine whose wall clock never jumped.
impl From<Time> for Moment {
    fn from(time: Time) -> Self {
        Self { wall: time, steady: time }
    }
}

/// Reason why a text is not a time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{got:?} is not an RFC 3339 time between 1970 and 2262, such as 2026-01-31T12:00:00Z")]
pub struct ParseTimeError {
    got: String,
}

/// A deadline of the chain: a point in block time, in whole milliseconds since the Unix epoch, from 1970 to 2262.
///
/// Block time is the time in the headers, on which all nodes agree and which increases from block to block. The first
/// block at or after a deadline decides it, before its transactions. Deadlines are times and not heights, because a
/// height lasts a second on an idle chain and 10 ms under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deadline {
    unix_millis: u64,
}

impl Deadline {
    /// Creates a deadline at `time`, without the fraction of a millisecond.
    pub fn at(time: Time) -> Self {
        Self { unix_millis: time.unix_nanos.unsigned_abs() / NANOS_PER_MILLI }
    }

    /// Creates a deadline from milliseconds since the Unix epoch; `None` after 2262.
    pub fn from_unix_millis(unix_millis: u64) -> Option<Self> {
        (unix_millis <= i64::MAX as u64 / NANOS_PER_MILLI).then_some(Self { unix_millis })
    }

    /// Returns the milliseconds since the Unix epoch.
    pub fn unix_millis(self) -> u64 {
        self.unix_millis
    }

    /// Returns the point in time.
    pub fn time(self) -> Time {
        Time::from_unix_millis(self.unix_millis)
    }

    /// Returns true in a block whose header has the time `block_time`, if that block or an earlier one decides the
    /// deadline.
    pub fn has_passed(self, block_time: Time) -> bool {
        block_time >= self.time()
    }
}

impl fmt::Display for Deadline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.time().fmt(f)
    }
}

impl Time {
    /// The Unix epoch, 1970-01-01T00:00:00Z.
    pub const UNIX_EPOCH: Self = Self { unix_nanos: 0 };

    /// Creates a time from nanoseconds since the Unix epoch; times before the epoch become the epoch.
    pub fn from_unix_nanos(unix_nanos: i64) -> Self {
        Self { unix_nanos: unix_nanos.max(0) }
    }

    /// Creates a time from milliseconds since the Unix epoch; times after 2262 become the last representable time.
    pub fn from_unix_millis(unix_millis: u64) -> Self {
        Self::from_unix_nanos(i64::try_from(unix_millis).unwrap_or(i64::MAX).saturating_mul(1_000_000))
    }

    /// Returns the nanoseconds since the Unix epoch.
    pub fn unix_nanos(self) -> i64 {
        self.unix_nanos
    }

    /// Creates a time from seconds and nanoseconds, as in protobuf's `Timestamp`; `None` outside 1970 to 2262.
    pub(crate) fn from_parts(seconds: i64, nanos: i32) -> Option<Self> {
        if seconds < 0 || !(0..1_000_000_000).contains(&nanos) {
            return None;
        }
        let unix_nanos = seconds.checked_mul(1_000_000_000)?.checked_add(i64::from(nanos))?;
        Some(Self { unix_nanos })
    }

    pub(crate) fn parts(self) -> (i64, i32) {
        (self.unix_nanos / 1_000_000_000, (self.unix_nanos % 1_000_000_000) as i32)
    }

    /// Returns the time that is later by `duration`, at most the last representable time.
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self { unix_nanos: self.unix_nanos.saturating_add(nanos) }
    }

    /// Returns the time that is earlier by `duration`, at least the epoch.
    pub fn saturating_sub(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self { unix_nanos: (self.unix_nanos - nanos.min(self.unix_nanos)).max(0) }
    }

    /// Returns the duration since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(u64::try_from(self.unix_nanos.saturating_sub(earlier.unix_nanos)).unwrap_or(0))
    }

    /// Parses a time in RFC 3339, with any offset.
    ///
    /// Errors: [`ParseTimeError`] if the text is not RFC 3339 or the time is outside 1970 to 2262.
    pub fn parse(text: &str) -> Result<Self, ParseTimeError> {
        let parsed = OffsetDateTime::parse(text, &Rfc3339).ok();
        parsed
            .and_then(|t| i64::try_from(t.unix_timestamp_nanos()).ok())
            .filter(|nanos| *nanos >= 0)
            .map(|unix_nanos| Self { unix_nanos })
            .ok_or_else(|| ParseTimeError { got: text.chars().take(80).collect() })
    }
}

/// Writes RFC 3339 in UTC, with only the necessary digits of the fraction of a second.
impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(self.unix_nanos))
            .expect("1970 to 2262 is in range")
            .to_offset(UtcOffset::UTC);
        f.write_str(&time.format(&Rfc3339).expect("years of four digits can be formatted"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_their_text() {
        for text in ["1970-01-01T00:00:00Z", "2026-11-23T01:02:03.000000001Z", "2026-11-23T01:02:03.5Z"] {
            assert_eq!(Time::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Time::parse("2026-01-01T02:00:00+02:00").unwrap().to_string(), "2026-01-01T00:00:00Z");
        for bad in ["", "yesterday", "1969-12-31T23:59:59Z", "2300-01-01T00:00:00Z", "2026-13-01T00:00:00Z"] {
            assert!(Time::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn arithmetic_saturates() {
        let t = Time::from_unix_nanos(5);
        assert_eq!(t.saturating_sub(Duration::from_secs(1)), Time::UNIX_EPOCH);
        assert_eq!(t.saturating_add(Duration::MAX).unix_nanos(), i64::MAX);
        assert_eq!(t.since(t.saturating_add(Duration::from_nanos(1))), Duration::ZERO);
        assert_eq!(t.saturating_add(Duration::from_nanos(7)).since(t), Duration::from_nanos(7));
    }

    #[test]
    fn the_first_block_at_or_after_a_deadline_decides_it() {
        let deadline = Deadline::from_unix_millis(1_500).unwrap();
        let at = |nanos: i64| deadline.has_passed(Time::from_unix_nanos(nanos));
        assert_eq!([at(1_499_999_999), at(1_500_000_000), at(1_500_000_001)], [false, true, true]);
    }

    #[test]
    fn deadlines_have_whole_milliseconds_and_end_in_2262() {
        let deadline = Deadline::at(Time::from_unix_nanos(1_500_999_999));
        assert_eq!((deadline.unix_millis(), deadline.to_string()), (1_500, "1970-01-01T00:00:01.5Z".to_owned()));
        let last = Deadline::at(Time::from_unix_nanos(i64::MAX));
        assert_eq!(Deadline::from_unix_millis(last.unix_millis()), Some(last));
        assert_eq!(Deadline::at(last.time()), last);
        assert_eq!(Deadline::from_unix_millis(last.unix_millis() + 1), None);
    }
}
