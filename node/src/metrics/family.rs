//! Builds metric families from values that are read at a scrape.

use prometheus::proto::{Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType};
use storage::Histogram as Counted;

/// Builds a family of counters or gauges.
pub(super) fn family(name: &str, help: &str, kind: MetricType, values: Vec<(Vec<LabelPair>, f64)>) -> MetricFamily {
    let metrics = values.into_iter().map(|(labels, value)| {
        let mut metric = Metric::default();
        metric.set_label(labels);
        // The text format uses the field that matches the family's kind.
        match kind {
            MetricType::COUNTER => {
                let mut counter = Counter::default();
                counter.set_value(value);
                metric.set_counter(counter);
            }
            _ => {
                let mut gauge = Gauge::default();
                gauge.set_value(value);
                metric.set_gauge(gauge);
            }
        }
        metric
    });
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics.collect());
    family
}

/// Returns a single value without labels.
pub(super) fn one(value: f64) -> Vec<(Vec<LabelPair>, f64)> {
    vec![(Vec::new(), value)]
}

/// Returns a label with its value.
pub(super) fn label(name: &str, value: impl ToString) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_string());
    pair
}

/// A metric that is collected at each scrape instead of registered.
pub(super) struct Known {
    pub kind: MetricType,
    pub name: &'static str,
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

pub(super) const fn known(
    kind: MetricType,
    name: &'static str,
    labels: &'static [&'static str],
    help: &'static str,
) -> Known {
    Known { kind, name, labels, help }
}

/// The metric families that have been gathered so far.
#[derive(Default)]
pub(super) struct Families(pub Vec<MetricFamily>);

impl Families {
    pub fn put(&mut self, of: &Known, value: f64) {
        self.many(of, one(value));
    }

    pub fn many(&mut self, of: &Known, values: Vec<(Vec<LabelPair>, f64)>) {
        self.0.push(family(of.name, of.help, of.kind, values));
    }

    /// Adds a histogram whose values are integers; `per` of them are one unit of the metric.
    pub fn histogram(&mut self, of: &Known, counted: &Counted, per: f64) {
        let mut histogram = Histogram::default();
        let mut count = 0;
        // Every second bucket is exported, so their bounds differ by a factor of four.
        let pairs = counted.buckets.chunks(2).enumerate().map(|(pair, buckets)| {
            count += buckets.iter().sum::<u64>();
            let mut bucket = Bucket::default();
            bucket.set_upper_bound((1u64 << (2 * pair + buckets.len() - 1)) as f64 / per);
            bucket.set_cumulative_count(count);
            bucket
        });
        histogram.set_bucket(pairs.collect());
        histogram.set_sample_count(counted.count);
        histogram.set_sample_sum(counted.sum as f64 / per);
        let mut metric = Metric::default();
        metric.set_histogram(histogram);
        let mut family = family(of.name, of.help, of.kind, Vec::new());
        family.set_metric(vec![metric]);
        self.0.push(family);
    }
}
