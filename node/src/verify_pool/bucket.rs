//! A token bucket: tokens accrue at a rate per second, up to a burst.

use std::time::Instant;

/// A token bucket with a rate in tokens per second and a maximum number of saved tokens.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: f64,
    burst: f64,
    tokens: f64,
    at: Instant,
}

impl Bucket {
    /// Creates a full bucket.
    pub(super) fn new(per_second: u32, burst: u32, now: Instant) -> Self {
        Self { rate: per_second.into(), burst: burst.into(), tokens: burst.into(), at: now }
    }

    /// Takes `count` tokens and returns true, or takes none and returns false when fewer are available.
    pub(super) fn take(&mut self, now: Instant, count: u32) -> bool {
        let passed = now.saturating_duration_since(self.at).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate).min(self.burst);
        self.at = self.at.max(now);
        let fits = f64::from(count) <= self.tokens;
        if fits {
            self.tokens -= f64::from(count);
        }
        fits
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_then_the_rate() {
        let now = Instant::now();
        let mut bucket = Bucket::new(100, 50, now);
        assert!(bucket.take(now, 50) && !bucket.take(now, 1) && bucket.take(now, 0));
        let later = now + Duration::from_millis(100);
        assert!(bucket.take(later, 10) && !bucket.take(later, 1));
        assert!(!bucket.take(later + Duration::from_secs(60), 51), "no more than the burst is saved up");
    }
}
