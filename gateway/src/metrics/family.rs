//! One row of the table and how it becomes a family of Prometheus' library.
//!
//! Owns the form: names, labels, buckets. Where numbers come from stands in `table.rs`.

use std::borrow::Cow;

use fanout::{Histogram, Quantity};
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};

use super::Counts;

/// One metric family.
#[derive(Clone, Copy)]
pub struct Metric {
    /// Name as exported.
    pub name: &'static str,
    /// What it counts, for the page.
    pub help: &'static str,
    /// Names of its labels.
    pub labels: &'static [&'static str],
    values: Values,
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metric")
            .field("name", &self.name)
            .field("labels", &self.labels)
            .finish_non_exhaustive()
    }
}

/// A number with the values of its labels, in the order of their names.
pub(super) struct Series<T> {
    labels: Vec<Cow<'static, str>>,
    value: T,
}

/// What a histogram has counted.
pub(super) struct Buckets {
    /// Upper bounds with the observations at or below each.
    cumulated: Vec<(f64, u64)>,
    count: u64,
    sum: f64,
}

impl<Q: Quantity> From<&Histogram<Q>> for Buckets {
    fn from(histogram: &Histogram<Q>) -> Self {
        let mut below = 0;
        let cumulate = |(bound, count): (u64, u64)| {
            below += count;
            (bound as f64 / Q::PER_UNIT, below)
        };
        Self {
            cumulated: histogram.buckets().map(cumulate).collect(),
            count: histogram.count(),
            sum: histogram.sum() as f64 / Q::PER_UNIT,
        }
    }
}

#[derive(Clone, Copy)]
enum Values {
    Counter(fn(&Counts) -> Vec<Series<f64>>),
    Gauge(fn(&Counts) -> Vec<Series<f64>>),
    Histogram(fn(&Counts) -> Vec<Series<Buckets>>),
}

type Labels = &'static [&'static str];

/// Something that only grows.
pub(super) const fn counter(
    name: &'static str,
    help: &'static str,
    labels: Labels,
    values: fn(&Counts) -> Vec<Series<f64>>,
) -> Metric {
    Metric { name, help, labels, values: Values::Counter(values) }
}

/// Something of this moment.
pub(super) const fn gauge(
    name: &'static str,
    help: &'static str,
    labels: Labels,
    values: fn(&Counts) -> Vec<Series<f64>>,
) -> Metric {
    Metric { name, help, labels, values: Values::Gauge(values) }
}

/// Observations in buckets.
pub(super) const fn histogram(
    name: &'static str,
    help: &'static str,
    labels: Labels,
    values: fn(&Counts) -> Vec<Series<Buckets>>,
) -> Metric {
    Metric { name, help, labels, values: Values::Histogram(values) }
}

/// The one series of a family without labels.
pub(super) fn one<T>(value: T) -> Vec<Series<T>> {
    vec![Series { labels: Vec::new(), value }]
}

/// The one series of a family without labels, of a whole number.
pub(super) fn whole(value: u64) -> Vec<Series<f64>> {
    one(value as f64)
}

/// A series for each value of one label.
pub(super) fn by<T>(series: impl IntoIterator<Item = (impl Into<Cow<'static, str>>, T)>) -> Vec<Series<T>> {
    series.into_iter().map(|(label, value)| Series { labels: vec![label.into()], value }).collect()
}

/// The same of whole numbers.
pub(super) fn wholes(
    series: impl IntoIterator<Item = (impl Into<Cow<'static, str>>, u64)>,
) -> Vec<Series<f64>> {
    by(series.into_iter().map(|(label, value)| (label, value as f64)))
}

/// A series for each pair of values of two labels.
pub(super) fn by_two(series: impl IntoIterator<Item = ([&'static str; 2], u64)>) -> Vec<Series<f64>> {
    let one = |(labels, value): ([&'static str; 2], u64)| Series {
        labels: labels.map(Cow::from).into(),
        value: value as f64,
    };
    series.into_iter().map(one).collect()
}

impl Metric {
    /// Whether it exports buckets, a sum and a count.
    #[must_use]
    pub const fn is_histogram(&self) -> bool {
        matches!(self.values, Values::Histogram(_))
    }

    /// The family with its values of this moment.
    pub(super) fn family(&self, counts: &Counts) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.into());
        family.set_help(self.help.into());
        let (kind, metrics) = match self.values {
            Values::Counter(values) => (
                MetricType::COUNTER,
                self.metrics(values(counts), |metric, value| {
                    let mut counter = proto::Counter::default();
                    counter.set_value(value);
                    metric.set_counter(counter);
                }),
            ),
            Values::Gauge(values) => (
                MetricType::GAUGE,
                self.metrics(values(counts), |metric, value| {
                    let mut gauge = proto::Gauge::default();
                    gauge.set_value(value);
                    metric.set_gauge(gauge);
                }),
            ),
            Values::Histogram(values) => (
                MetricType::HISTOGRAM,
                self.metrics(values(counts), |metric, value| metric.set_histogram(encode(value))),
            ),
        };
        family.set_field_type(kind);
        family.set_metric(metrics);
        family
    }

    fn metrics<T>(&self, series: Vec<Series<T>>, put: impl Fn(&mut proto::Metric, T)) -> Vec<proto::Metric> {
        let with_labels = |Series { labels, value }: Series<T>| {
            assert_eq!(labels.len(), self.labels.len(), "{}: a row names its labels", self.name);
            let mut metric = proto::Metric::default();
            let pairs = self.labels.iter().zip(labels).map(|(name, value)| {
                let mut pair = LabelPair::default();
                pair.set_name((*name).into());
                pair.set_value(value.into());
                pair
            });
            metric.set_label(pairs.collect());
            put(&mut metric, value);
            metric
        };
        series.into_iter().map(with_labels).collect()
    }
}

fn encode(buckets: Buckets) -> proto::Histogram {
    let mut histogram = proto::Histogram::default();
    // The bucket without a bound is written by the encoder.
    let bucket = |(bound, below): (f64, u64)| {
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(below);
        bucket
    };
    histogram.set_bucket(buckets.cumulated.into_iter().map(bucket).collect());
    histogram.set_sample_count(buckets.count);
    histogram.set_sample_sum(buckets.sum);
    histogram
}
