//! Registers metrics and records their descriptions, from which `docs/metrics.md` is generated.

use std::sync::Mutex;

use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry,
    core::{Collector, GenericGauge},
};

/// The description of a metric, without its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fact {
    /// The metric's name, without the namespace.
    pub name: String,
    /// The kind of metric: `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels, except `chain_id`.
    pub labels: Vec<&'static str>,
    /// The help text of the metric.
    pub help: String,
}

/// Returns buckets from 10 µs, doubling, to 0.3 s: for syncs, checks, steps of the loop.
pub(super) fn short_seconds() -> Vec<f64> {
    (0..16).map(|i| 1e-5 * f64::from(1 << i)).collect()
}

/// Returns buckets from 1 ms, doubling, to 32 s: for steps, rounds, heights, clients' waits.
pub(super) fn long_seconds() -> Vec<f64> {
    (0..16).map(|i| 1e-3 * f64::from(1 << i)).collect()
}

/// Keeps every second bucket: for histograms with many labels.
pub(super) fn few(buckets: Vec<f64>) -> Vec<f64> {
    buckets.into_iter().step_by(2).collect()
}

/// Registers metrics of one subsystem.
pub(super) struct Subsystem<'a> {
    pub registry: &'a Registry,
    pub facts: &'a Mutex<Vec<Fact>>,
    pub name: &'static str,
}

impl Subsystem<'_> {
    fn register<C: Collector + Clone + 'static>(
        &self,
        kind: &'static str,
        opts: &Opts,
        labels: &[&'static str],
        made: prometheus::Result<C>,
    ) -> C {
        let metric = made.expect("names and labels are fixed and valid");
        self.registry.register(Box::new(metric.clone())).expect("each name is registered once");
        let fact = Fact { name: opts.name.clone(), kind, labels: labels.to_vec(), help: opts.help.clone() };
        self.facts.lock().expect("a thread that panics stops the process").push(fact);
        metric
    }

    fn opts(&self, name: &str, help: &str) -> Opts {
        Opts::new(format!("{}_{name}", self.name), help)
    }

    fn histogram_opts(opts: &Opts, buckets: Vec<f64>) -> HistogramOpts {
        HistogramOpts { common_opts: opts.clone(), buckets }
    }

    /// Registers a gauge of integers without labels.
    pub fn gauge(&self, name: &str, help: &str) -> IntGauge {
        let opts = self.opts(name, help);
        self.register("gauge", &opts, &[], GenericGauge::with_opts(opts.clone()))
    }

    /// Registers a gauge of floating-point numbers without labels.
    pub fn float(&self, name: &str, help: &str) -> Gauge {
        let opts = self.opts(name, help);
        self.register("gauge", &opts, &[], Gauge::with_opts(opts.clone()))
    }

    /// Registers a gauge of integers with labels.
    pub fn gauges(&self, name: &str, help: &str, labels: &[&'static str]) -> IntGaugeVec {
        let opts = self.opts(name, help);
        self.register("gauge", &opts, labels, IntGaugeVec::new(opts.clone(), labels))
    }

    /// Registers a gauge of floating-point numbers with labels.
    pub fn floats(&self, name: &str, help: &str, labels: &[&'static str]) -> GaugeVec {
        let opts = self.opts(name, help);
        self.register("gauge", &opts, labels, GaugeVec::new(opts.clone(), labels))
    }

    /// Registers a counter without labels.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        let opts = self.opts(name, help);
        self.register("counter", &opts, &[], IntCounter::with_opts(opts.clone()))
    }

    /// Registers a counter with labels.
    pub fn counters(&self, name: &str, help: &str, labels: &[&'static str]) -> IntCounterVec {
        let opts = self.opts(name, help);
        self.register("counter", &opts, labels, IntCounterVec::new(opts.clone(), labels))
    }

    /// Registers a histogram without labels.
    pub fn histogram(&self, name: &str, help: &str, buckets: Vec<f64>) -> Histogram {
        let opts = self.opts(name, help);
        self.register("histogram", &opts, &[], Histogram::with_opts(Self::histogram_opts(&opts, buckets)))
    }

    /// Registers a histogram with labels.
    pub fn histograms(&self, name: &str, help: &str, labels: &[&'static str], buckets: Vec<f64>) -> HistogramVec {
        let opts = self.opts(name, help);
        self.register("histogram", &opts, labels, HistogramVec::new(Self::histogram_opts(&opts, buckets), labels))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histogram_buckets_resolve_the_measured_values() {
        assert!(short_seconds()[0] <= 1e-5 && *short_seconds().last().unwrap() >= 0.3);
        assert!(long_seconds()[0] <= 1e-3 && *long_seconds().last().unwrap() >= 30.0);
        assert_eq!(few(short_seconds()).len(), 8);
    }
}
