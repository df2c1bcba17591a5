//! Token buckets that limit how often an event may occur: once per `pause`, with a burst.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::limits::*;

/// A token bucket: it starts with `burst` tokens, gains one per `pause`, and never holds more than `burst`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bucket {
    tokens: f64,
    at: Instant,
    burst: f64,
    pause: Duration,
}

impl Bucket {
    pub(crate) fn new(now: Instant, burst: u32, pause: Duration) -> Bucket {
        Bucket { tokens: f64::from(burst), at: now, burst: f64::from(burst), pause }
    }

    fn fill(&mut self, now: Instant) {
        let age = now.saturating_duration_since(self.at).as_secs_f64();
        self.at = self.at.max(now);
        self.tokens = (self.tokens + age / self.pause.as_secs_f64()).min(self.burst);
    }

    /// Returns the time until a token is available; zero if one is available now.
    pub(crate) fn wait(&mut self, now: Instant) -> Duration {
        self.fill(now);
        self.pause.mul_f64((1.0 - self.tokens).max(0.0))
    }

    /// Takes a token. Returns false if none is available.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let has = self.wait(now).is_zero();
        if has {
            self.tokens -= 1.0;
        }
        has
    }

    /// Returns a token to the bucket, because the action it was taken for succeeded.
    pub(crate) fn give_back(&mut self) {
        self.tokens = (self.tokens + 1.0).min(self.burst);
    }
}

/// Token buckets per address or range of addresses, at most [`BUCKETS_MAX`]; beyond, the least recently used one is dropped.
#[derive(Debug)]
pub(crate) struct Buckets<K> {
    buckets: BTreeMap<K, Bucket>,
    burst: u32,
    pause: Duration,
}

impl<K: Copy + Ord> Buckets<K> {
    pub(crate) fn new(burst: u32, pause: Duration) -> Buckets<K> {
        Buckets { buckets: BTreeMap::new(), burst, pause }
    }

    pub(crate) fn of(&mut self, now: Instant, key: K) -> &mut Bucket {
        if self.buckets.len() >= BUCKETS_MAX && !self.buckets.contains_key(&key) {
            let oldest = self.buckets.iter().min_by_key(|(_, bucket)| bucket.at).map(|(key, _)| *key);
            oldest.map(|key| self.buckets.remove(&key));
        }
        self.buckets.entry(key).or_insert_with(|| Bucket::new(now, self.burst, self.pause))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_a_burst_then_one_each_pause() {
        let (now, second) = (Instant::now(), Duration::from_secs(1));
        let mut bucket = Bucket::new(now, 3, second);
        assert_eq!((0..5).filter(|_| bucket.take(now)).count(), 3);
        assert_eq!(bucket.wait(now), second);
        assert!(bucket.take(now + second) && !bucket.take(now + second));
        bucket.give_back();
        assert!(bucket.take(now + second));
        let later = now + 100 * second;
        assert_eq!((0..5).filter(|_| bucket.take(later)).count(), 3, "idle time is not saved up");
    }

    #[test]
    fn the_table_of_ranges_is_bounded() {
        let (now, mut buckets) = (Instant::now(), Buckets::new(1, Duration::from_secs(1)));
        for n in 0..2 * BUCKETS_MAX as u32 {
            let ip = std::net::Ipv4Addr::from((20 << 24) + (n << 8));
            buckets.of(now + Duration::from_millis(n.into()), ip).take(now);
        }
        assert_eq!(buckets.buckets.len(), BUCKETS_MAX);
    }
}
