//! Builds metric families from values that are read at a scrape.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

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
