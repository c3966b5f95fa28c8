//! The table: name, kind, help, label, and where the numbers come from.

use fanout::{ChannelStats, LATENCY_BOUNDS_NS, LatencyHistogram};
use model::Channel;
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use wire::close::CloseCode;

use super::Counts;
use crate::feed::FeedLoss;

/// One metric family.
#[derive(Clone, Copy)]
pub struct Metric {
    /// Name as exported.
    pub name: &'static str,
    help: &'static str,
    /// The one label, or empty.
    pub label: &'static str,
    values: Values,
}

impl std::fmt::Debug for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metric").field("name", &self.name).field("label", &self.label).finish_non_exhaustive()
    }
}

/// Numbers with the value of their label.
type Labelled<T> = Vec<(&'static str, T)>;

#[derive(Clone, Copy)]
enum Values {
    Counter(fn(&Counts) -> Labelled<u64>),
    Gauge(fn(&Counts) -> Labelled<u64>),
    Histogram(fn(&Counts) -> Labelled<LatencyHistogram>),
}

const fn metric(name: &'static str, help: &'static str, label: &'static str, values: Values) -> Metric {
    Metric { name, help, label, values }
}

fn one<T>(value: T) -> Labelled<T> {
    vec![("", value)]
}

fn per_channel(counts: &Counts, pick: fn(&ChannelStats) -> u64) -> Labelled<u64> {
    Channel::ALL
        .into_iter()
        .map(|channel| (channel.name(), pick(&counts.hubs.channels[channel as usize])))
        .collect()
}

use Values::{Counter, Gauge, Histogram};

/// Every metric of the gateway; those of the process come from the library.
pub const METRICS: &[Metric] = &[
    metric(
        "gateway_build_info",
        "1, with the version as label",
        "version",
        Gauge(|_| vec![(env!("CARGO_PKG_VERSION"), 1)]),
    ),
    metric("gateway_connections", "Open WebSocket connections", "", Gauge(|c| one(c.hubs.clients))),
    metric("gateway_connections_opened_total", "Upgraded connections", "", Counter(|c| one(c.opened))),
    metric(
        "gateway_connections_refused_total",
        "Upgrade requests that were refused",
        "reason",
        Counter(|c| vec![("full", c.refused_full), ("malformed", c.refused_malformed)]),
    ),
    metric(
        "gateway_connections_closed_total",
        "Connections closed with a close frame, by its code",
        "code",
        Counter(|c| CloseCode::ALL.into_iter().map(CloseCode::name).zip(c.hubs.closes).collect()),
    ),
    metric(
        "gateway_clients_lagging",
        "Clients that are behind at this moment",
        "",
        Gauge(|c| one(c.hubs.lagging)),
    ),
    metric(
        "gateway_subscriptions",
        "Subscriptions by channel",
        "channel",
        Gauge(|c| per_channel(c, |channel| channel.subscriptions)),
    ),
    metric(
        "gateway_requests_total",
        "Messages from clients",
        "result",
        Counter(|c| {
            let refused = c.hubs.requests_refused;
            vec![("accepted", c.hubs.requests.saturating_sub(refused)), ("refused", refused)]
        }),
    ),
    metric(
        "gateway_feed_connected",
        "1 while the feed is connected",
        "",
        Gauge(|c| one(u64::from(c.engine.feed_connected))),
    ),
    metric(
        "gateway_feed_losses_total",
        "Connections to the feed that ended or could not be made",
        "reason",
        Counter(|c| FeedLoss::ALL.into_iter().map(FeedLoss::name).zip(c.engine.feed_losses).collect()),
    ),
    metric(
        "gateway_feed_events_total",
        "Lines of the feed by type",
        "type",
        Counter(|c| c.engine.feed_events.iter().collect()),
    ),
    metric(
        "gateway_feed_rejects_total",
        "What the feed said and was not applied",
        "reason",
        Counter(feed_rejects),
    ),
    metric(
        "gateway_instruments",
        "Instruments that the feed announced",
        "",
        Gauge(|c| one(c.engine.instruments as u64)),
    ),
    metric(
        "gateway_instruments_stale",
        "Instruments whose data is stale",
        "",
        Gauge(|c| one(c.engine.instruments_stale as u64)),
    ),
    metric(
        "gateway_updates_published_total",
        "Entries that the engine encoded, by channel",
        "channel",
        Counter(|c| Channel::ALL.into_iter().map(Channel::name).zip(c.engine.published).collect()),
    ),
    metric(
        "gateway_snapshots_total",
        "Snapshots that the engine encoded",
        "",
        Counter(|c| one(c.engine.snapshots)),
    ),
    metric(
        "gateway_deliveries_fanned_out_total",
        "Entries times their subscribers",
        "channel",
        Counter(|c| per_channel(c, |channel| channel.fanned_out)),
    ),
    metric(
        "gateway_deliveries_written_total",
        "Deliveries handed to a socket as a message",
        "channel",
        Counter(|c| per_channel(c, |channel| channel.written)),
    ),
    metric(
        "gateway_deliveries_merged_total",
        "Deliveries folded into a later message to a client that lagged",
        "channel",
        Counter(|c| per_channel(c, |channel| channel.merged)),
    ),
    metric(
        "gateway_deliveries_dropped_total",
        "Deliveries lost to a client that was told",
        "channel",
        Counter(|c| per_channel(c, |channel| channel.dropped)),
    ),
    metric(
        "gateway_deliveries_discarded_total",
        "Deliveries not written when their subscription ended",
        "channel",
        Counter(|c| per_channel(c, |channel| channel.discarded)),
    ),
    metric(
        "gateway_deliveries_pending",
        "Deliveries between the cursors and the heads at this moment",
        "channel",
        Gauge(|c| per_channel(c, |channel| channel.pending)),
    ),
    metric(
        "gateway_conservation_breaches_total",
        "Times that the deliveries of a channel did not add up: a mistake of the gateway",
        "",
        Counter(|c| one(c.hubs.conservation_breaches)),
    ),
    metric("gateway_writes_total", "Writes to sockets", "", Counter(|c| one(c.hubs.writes))),
    metric(
        "gateway_writes_blocked_total",
        "Writes that a socket did not take whole",
        "",
        Counter(|c| one(c.hubs.writes_blocked)),
    ),
    metric(
        "gateway_written_bytes_total",
        "Bytes that sockets took",
        "",
        Counter(|c| one(c.hubs.bytes_written)),
    ),
    metric("gateway_heartbeats_total", "Heartbeats written", "", Counter(|c| one(c.hubs.heartbeats))),
    metric(
        "gateway_merges_encoded_total",
        "Merged book updates that had to be encoded",
        "",
        Counter(|c| one(c.hubs.merges_encoded)),
    ),
    metric(
        "gateway_merges_shared_total",
        "Merged book updates that another client had needed before",
        "",
        Counter(|c| one(c.hubs.merges_shared)),
    ),
    metric(
        "gateway_lane_full_total",
        "Times that a batch did not fit into the lane to a shard",
        "",
        Counter(|c| one(c.engine.lane_full)),
    ),
    metric(
        "gateway_stage_latency_seconds",
        "Latency by stage; the last two count the oldest update of each write",
        "stage",
        Histogram(|c| {
            vec![
                ("feed_to_receive", c.engine.feed_to_receive.clone()),
                ("receive_to_publish", c.engine.receive_to_publish.clone()),
                ("publish_to_written", c.hubs.publish_to_written.clone()),
                ("end_to_end", c.hubs.event_to_written.clone()),
            ]
        }),
    ),
];

/// Refused lines and refused events: one reason each, so that a sum counts every piece of bad input once.
fn feed_rejects(counts: &Counts) -> Labelled<u64> {
    let market = &counts.engine.market;
    let mut rejects: Labelled<u64> = counts.engine.feed_refusals.iter().collect();
    rejects.extend([
        ("old_sequence", market.old_sequence),
        ("duplicate_line", market.duplicate_line),
        ("crossed", market.crossed),
        ("levels_limit", market.levels_limit),
        ("stale_delta", market.stale_delta),
        ("sequence_gap", market.sequence_gaps),
        ("transport_gap", market.transport_gaps),
        ("old_snapshot", market.old_snapshot),
        ("late_trade", market.late_trade),
        ("repeated_trade", market.repeated_trade),
        ("new_epoch", market.new_epoch),
        ("unknown_instrument", market.unknown_instrument),
    ]);
    rejects
}

impl Metric {
    /// The family with its values of this moment.
    #[must_use]
    pub fn family(&self, counts: &Counts) -> MetricFamily {
        let mut family = MetricFamily::default();
        family.set_name(self.name.into());
        family.set_help(self.help.into());
        let (kind, metrics) = match self.values {
            Counter(values) => (
                MetricType::COUNTER,
                self.metrics(values(counts), |metric, value| {
                    let mut counter = proto::Counter::default();
                    counter.set_value(value as f64);
                    metric.set_counter(counter);
                }),
            ),
            Gauge(values) => (
                MetricType::GAUGE,
                self.metrics(values(counts), |metric, value| {
                    let mut gauge = proto::Gauge::default();
                    gauge.set_value(value as f64);
                    metric.set_gauge(gauge);
                }),
            ),
            Histogram(values) => (
                MetricType::HISTOGRAM,
                self.metrics(values(counts), |metric, value| {
                    metric.set_histogram(histogram(&value));
                }),
            ),
        };
        family.set_field_type(kind);
        family.set_metric(metrics);
        family
    }

    fn metrics<T>(&self, values: Labelled<T>, put: impl Fn(&mut proto::Metric, T)) -> Vec<proto::Metric> {
        let with_label = |(label, value): (&str, T)| {
            let mut metric = proto::Metric::default();
            if !self.label.is_empty() {
                let mut pair = LabelPair::default();
                pair.set_name(self.label.into());
                pair.set_value(label.into());
                metric.set_label(vec![pair]);
            }
            put(&mut metric, value);
            metric
        };
        values.into_iter().map(with_label).collect()
    }
}

fn histogram(latency: &LatencyHistogram) -> proto::Histogram {
    const NS_PER_S: f64 = 1e9;
    let mut histogram = proto::Histogram::default();
    let mut cumulated = 0;
    // The bucket without a bound is written by the encoder.
    let bounds = LATENCY_BOUNDS_NS.iter().map(|&ns| ns as f64 / NS_PER_S);
    let bucket = |(count, bound): (u64, f64)| {
        cumulated += count;
        let mut bucket = proto::Bucket::default();
        bucket.set_upper_bound(bound);
        bucket.set_cumulative_count(cumulated);
        bucket
    };
    histogram.set_bucket(latency.counts.into_iter().zip(bounds).map(bucket).collect());
    histogram.set_sample_count(latency.counts.iter().sum());
    histogram.set_sample_sum(latency.sum_ns as f64 / NS_PER_S);
    histogram
}
