//! Limits repeated log lines about problems with other nodes: the first is written at once, the next ones at growing
//! intervals.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::budget::Bucket;
use crate::limits::*;

/// First pause between two lines about the same problem; it doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_secs(60);
const PAUSE_MAX: Duration = Duration::from_secs(3600);

#[derive(Debug)]
struct Notice {
    again: Instant,
    pause: Duration,
    passed_over: u64,
}

/// The problems that were logged recently, at most [`NOTICES_MAX`]; beyond, the one that was logged longest ago is
/// dropped.
#[derive(Debug)]
pub(crate) struct Notices {
    logged: BTreeMap<String, Notice>,
    /// Limit on all lines together, because unknown peers determine how many different problems occur.
    rate: Bucket,
}

impl Notices {
    pub(crate) fn new(now: Instant) -> Notices {
        Notices { logged: BTreeMap::new(), rate: Bucket::new(now, NOTICES_BURST, NOTICES_PAUSE) }
    }

    /// Decides whether to write a line about `what` now. `Some(n)`: yes, and `n` lines were suppressed since the last
    /// one.
    pub(crate) fn is_due(&mut self, now: Instant, what: String) -> Option<u64> {
        if let Some(notice) = self.logged.get_mut(&what) {
            let is_old = now.saturating_duration_since(notice.again) > PAUSE_MAX;
            if now < notice.again || !self.rate.take(now) {
                notice.passed_over += 1;
                return None;
            }
            notice.pause = if is_old { PAUSE_MIN } else { (2 * notice.pause).min(PAUSE_MAX) };
            notice.again = now + notice.pause;
            return Some(std::mem::take(&mut notice.passed_over));
        }
        if !self.rate.take(now) {
            return None;
        }
        if self.logged.len() >= NOTICES_MAX {
            let oldest = self.logged.iter().min_by_key(|(_, notice)| notice.again).map(|(what, _)| what.clone());
            oldest.map(|what| self.logged.remove(&what));
        }
        self.logged.insert(what, Notice { again: now + PAUSE_MIN, pause: PAUSE_MIN, passed_over: 0 });
        Some(0)
    }

    /// Forgets a problem that is solved, so that its next occurrence is logged at once.
    pub(crate) fn forget(&mut self, what: &str) {
        self.logged.remove(what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_notice_is_logged_once_and_then_at_growing_intervals() {
        let begin = Instant::now();
        let mut notices = Notices::new(begin);
        let logged: Vec<u64> =
            (0..4000).filter(|s| notices.is_due(begin + Duration::from_secs(*s), "a".into()).is_some()).collect();
        assert_eq!(logged, [0, 60, 180, 420, 900, 1860, 3780]);
        assert_eq!(notices.is_due(begin, "b".into()), Some(0), "another thing");
        notices.forget("a");
        assert_eq!(notices.is_due(begin + Duration::from_secs(4000), "a".into()), Some(0));
    }

    #[test]
    fn many_different_notices_are_bounded_in_lines_and_memory() {
        let now = Instant::now();
        let mut notices = Notices::new(now);
        let lines = (0..10_000).filter(|n| notices.is_due(now, n.to_string()).is_some()).count();
        assert_eq!(lines, NOTICES_BURST as usize);
        for n in 0..2 * NOTICES_MAX as u32 {
            notices.is_due(now + (n + 1) * NOTICES_PAUSE, format!("later {n}"));
        }
        assert_eq!(notices.logged.len(), NOTICES_MAX);
    }
}
