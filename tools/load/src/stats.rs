//! Statistics of latencies.
//!
//! Latencies are kept in HDR histograms with three significant digits: every quantile is exact to 0.1 %, in less than
//! 200 KB for any number of samples. A transaction that was not committed ranks behind all that were, so a quantile
//! that falls among failures has no value.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// Largest latency that a histogram holds, in microseconds: one hour, longer than any timeout.
const MICROS_MAX: u64 = 3_600_000_000;

/// Latencies of successful transactions, in microseconds.
#[derive(Clone, Debug)]
pub struct Samples {
    histogram: Histogram<u64>,
    sum: u64,
    max: u64,
}

/// Quantiles of latencies in milliseconds, over all due transactions. `None`: the quantile falls among those that
/// failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names are the quantiles")]
pub struct Quantiles {
    pub p50_ms: Option<f64>,
    pub p90_ms: Option<f64>,
    pub p95_ms: Option<f64>,
    pub p99_ms: Option<f64>,
    pub p999_ms: Option<f64>,
    /// Mean latency of the transactions that succeeded.
    pub mean_ms: Option<f64>,
    /// Largest latency of the transactions that succeeded.
    pub max_ms: Option<f64>,
}

impl Default for Samples {
    fn default() -> Self {
        Self { histogram: Histogram::new(3).expect("three digits are possible"), sum: 0, max: 0 }
    }
}

impl Samples {
    /// Adds a latency in nanoseconds.
    pub fn add(&mut self, nanos: u64) {
        let micros = nanos / 1_000;
        // The histogram grows as needed, and a latency above one hour counts as one hour, so recording cannot fail.
        let _ = self.histogram.record(micros.min(MICROS_MAX));
        self.sum = self.sum.saturating_add(micros);
        self.max = self.max.max(micros);
    }

    /// Adds all samples of another set.
    pub fn add_all(&mut self, others: &Self) {
        self.histogram.add(&others.histogram).expect("a histogram that grows takes what another has");
        self.sum = self.sum.saturating_add(others.sum);
        self.max = self.max.max(others.max);
    }

    /// Returns the number of samples.
    pub fn len(&self) -> u64 {
        self.histogram.len()
    }

    /// Returns the latency in milliseconds that a share of `due` transactions did not exceed, if so large a share
    /// succeeded.
    pub fn quantile(&self, share: f64, due: u64) -> Option<f64> {
        let rank = (share * due as f64).ceil().max(1.0);
        let among = rank / self.len() as f64;
        // The histogram returns the upper end of a bin, which may be above the largest sample.
        (self.len() > 0 && among <= 1.0).then(|| millis(self.histogram.value_at_quantile(among).min(self.max)))
    }

    /// Returns the usual quantiles over `due` transactions.
    pub fn quantiles(&self, due: u64) -> Quantiles {
        let any = self.len() > 0;
        Quantiles {
            p50_ms: self.quantile(0.5, due),
            p90_ms: self.quantile(0.9, due),
            p95_ms: self.quantile(0.95, due),
            p99_ms: self.quantile(0.99, due),
            p999_ms: self.quantile(0.999, due),
            mean_ms: any.then(|| millis(self.sum / self.len())),
            max_ms: any.then(|| millis(self.max)),
        }
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(millis: impl IntoIterator<Item = u64>) -> Samples {
        let mut samples = Samples::default();
        millis.into_iter().for_each(|millis| samples.add(millis * 1_000_000));
        samples
    }

    fn near(got: Option<f64>, expected: f64) {
        let got = got.unwrap();
        assert!((got / expected - 1.0).abs() < 0.001, "{got} is not {expected}");
    }

    #[test]
    fn quantiles_of_known_samples() {
        let quantiles = samples(1..=1000).quantiles(1000);
        near(quantiles.p50_ms, 500.0);
        near(quantiles.p90_ms, 900.0);
        near(quantiles.p95_ms, 950.0);
        near(quantiles.p99_ms, 990.0);
        near(quantiles.p999_ms, 999.0);
        near(quantiles.mean_ms, 500.5);
        assert_eq!(quantiles.max_ms, Some(1000.0));
        let one = samples([7]).quantiles(1);
        assert_eq!((one.p50_ms, one.p999_ms, one.max_ms), (Some(7.0), Some(7.0), Some(7.0)));
        assert_eq!(samples([]).quantiles(0), Quantiles::default());
    }

    #[test]
    fn failed_samples_rank_behind_all_successful_ones() {
        // The slowest of the 95 that succeeded is the 95th percentile; the 99th percentile has no value.
        let quantiles = samples(1..=95).quantiles(100);
        near(quantiles.p50_ms, 50.0);
        near(quantiles.p95_ms, 95.0);
        assert_eq!((quantiles.p99_ms, quantiles.p999_ms), (None, None));
        assert_eq!(quantiles.max_ms, Some(95.0));
        assert_eq!(samples([]).quantiles(10).p50_ms, None);
    }

    #[test]
    fn samples_can_be_joined() {
        let mut all = samples(1..=500);
        all.add_all(&samples(501..=1000));
        assert_eq!(all.quantiles(1000), samples(1..=1000).quantiles(1000));
    }
}
