//! What moved between two looks at a gateway.
//!
//! Owns the rates, shares and quantiles that are shown. Never asks and never formats.

use model::Nanos;

use super::admin::{Client, Look, label};

/// The stages of an update, in their order.
const STAGES: [&str; 4] = ["feed_to_receive", "receive_to_publish", "publish_to_written", "end_to_end"];

/// A gateway over one interval.
#[derive(Clone, Debug, Default)]
pub(super) struct Figures {
    pub(super) version: String,
    pub(super) uptime_s: f64,
    /// Why it is not ready; none when it is.
    pub(super) not_ready: Option<String>,
    pub(super) connections: f64,
    pub(super) connections_max: f64,
    pub(super) lagging: f64,
    pub(super) subscriptions: f64,
    pub(super) instruments: f64,
    pub(super) stale: f64,
    /// Per second.
    pub(super) feed: f64,
    pub(super) published: f64,
    pub(super) written: f64,
    pub(super) merged: f64,
    pub(super) dropped: f64,
    pub(super) bytes: f64,
    pub(super) opened: f64,
    /// With a close frame or without.
    pub(super) ended: f64,
    pub(super) writes: f64,
    /// At this moment.
    pub(super) pending: f64,
    /// Times that the deliveries did not add up, ever.
    pub(super) breaches: f64,
    /// Name, and p50 and p99 in microseconds; none when nothing was measured.
    pub(super) stages: Vec<(&'static str, Option<[f64; 2]>)>,
    /// What a kind of thread does, and how much of a core it used.
    pub(super) threads: Vec<(String, f64)>,
    /// Which loop, and how busy the busiest thread of it was.
    pub(super) loops: Vec<(String, f64)>,
    pub(super) resident_mb: f64,
    pub(super) clients: Vec<Client>,
}

impl Figures {
    /// What moved from one look to the next.
    pub(super) fn between(before: &Look, now: &Look) -> Self {
        let passed = (now.at.since(before.at).0.max(1)) as f64 / Nanos::SECOND.0 as f64;
        // A gateway that was started anew counts from 0.
        let per_s = |name: &str| ((now.sum(name) - before.sum(name)) / passed).max(0.0);
        let labelled = |name: &'static str, of: &'static str| {
            now.of(name).filter_map(move |(labels, value)| Some((label(labels, of)?.to_owned(), value)))
        };
        let version = labelled("gateway_build_info", "version").next();
        let cpu = now.of("gateway_thread_cpu_seconds_total").filter_map(|(labels, value)| {
            let then = before.value(&format!("gateway_thread_cpu_seconds_total{{{labels}}}"));
            Some((label(labels, "thread")?.to_owned(), ((value - then) / passed).max(0.0)))
        });
        let started = now.value("process_start_time_seconds");
        Self {
            version: version.map_or_else(String::new, |(version, _)| version),
            uptime_s: (now.wall.0 as f64 / Nanos::SECOND.0 as f64 - started).max(0.0),
            not_ready: now.not_ready.clone(),
            connections: now.value("gateway_connections"),
            connections_max: now.value("gateway_connections_max"),
            lagging: now.value("gateway_clients_lagging"),
            subscriptions: now.sum("gateway_subscriptions"),
            instruments: now.value("gateway_instruments"),
            stale: now.value("gateway_instruments_stale"),
            feed: per_s("gateway_feed_events_total"),
            published: per_s("gateway_updates_published_total"),
            written: per_s("gateway_deliveries_written_total"),
            merged: per_s("gateway_deliveries_merged_total"),
            dropped: per_s("gateway_deliveries_dropped_total"),
            bytes: per_s("gateway_written_bytes_total"),
            opened: per_s("gateway_connections_opened_total"),
            ended: per_s("gateway_connections_closed_total") + per_s("gateway_connections_broken_total"),
            writes: per_s("gateway_writes_total"),
            pending: now.sum("gateway_deliveries_pending"),
            breaches: now.value("gateway_conservation_breaches_total"),
            stages: STAGES.map(|stage| (stage, quantiles(before, now, stage))).to_vec(),
            threads: cpu.collect(),
            loops: labelled("gateway_loop_busy_ratio", "loop").collect(),
            resident_mb: now.value("process_resident_memory_bytes") / 1e6,
            clients: now.clients.clone(),
        }
    }

    /// Processor time of all threads, in cores.
    pub(super) fn cpu(&self) -> f64 {
        self.threads.iter().map(|(_, share)| share).sum()
    }

    /// p99 of the whole way in microseconds.
    pub(super) fn p99_us(&self) -> Option<f64> {
        self.stages.last().and_then(|(_, quantiles)| quantiles.map(|[_, p99]| p99))
    }
}

/// p50 and p99 of what a stage measured between two looks, in microseconds.
fn quantiles(before: &Look, now: &Look, stage: &str) -> Option<[f64; 2]> {
    const NAME: &str = "gateway_stage_latency_seconds_bucket";
    let mut buckets: Vec<(f64, f64)> = now
        .of(NAME)
        .filter(|(labels, _)| label(labels, "stage") == Some(stage))
        .filter_map(|(labels, count)| {
            let bound = match label(labels, "le")? {
                "+Inf" => f64::INFINITY,
                bound => bound.parse().ok()?,
            };
            Some((bound, (count - before.value(&format!("{NAME}{{{labels}}}"))).max(0.0)))
        })
        .collect();
    buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
    let all = buckets.last().map(|(_, count)| *count).filter(|count| *count > 0.0)?;
    Some([0.5, 0.99].map(|quantile| quantile_us(&buckets, all * quantile)))
}

/// Where the cumulated count reaches `wanted`, within its bucket by its share.
fn quantile_us(buckets: &[(f64, f64)], wanted: f64) -> f64 {
    let mut below = (0.0, 0.0);
    for &(bound, count) in buckets {
        if count >= wanted && count > below.1 {
            let part = (wanted - below.1) / (count - below.1);
            // Beyond the last bound nothing is known.
            let bound = if bound.is_finite() { bound } else { below.0 };
            return (below.0 + (bound - below.0) * part) * 1e6;
        }
        below = (bound, count);
    }
    below.0 * 1e6
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn look(at_s: u64, series: &[(&str, f64)]) -> Look {
        let series: BTreeMap<String, f64> =
            series.iter().map(|(key, value)| ((*key).to_owned(), *value)).collect();
        Look { at: Nanos::from_secs(at_s), series, ..Look::default() }
    }

    #[test]
    fn counters_become_rates_and_gauges_stay() {
        let key = "gateway_deliveries_written_total{channel=\"book\"}";
        let other = "gateway_deliveries_written_total{channel=\"trade\"}";
        let before = look(10, &[(key, 100.0), (other, 5.0), ("gateway_connections", 3.0)]);
        let now = look(12, &[(key, 300.0), (other, 5.0), ("gateway_connections", 4.0)]);
        let figures = Figures::between(&before, &now);
        assert_eq!((figures.written, figures.connections), (100.0, 4.0));
        assert_eq!(Figures::between(&now, &before).written, 0.0, "a gateway that was started anew");
    }

    #[test]
    fn quantiles_are_those_of_the_interval() {
        let bucket =
            |le: &str| format!("gateway_stage_latency_seconds_bucket{{stage=\"end_to_end\",le=\"{le}\"}}");
        let (low, high, all) = (bucket("0.001"), bucket("0.002"), bucket("+Inf"));
        let before = look(0, &[(&low, 1_000.0), (&high, 1_000.0), (&all, 1_000.0)]);
        let now = look(1, &[(&low, 1_050.0), (&high, 1_100.0), (&all, 1_100.0)]);
        let figures = Figures::between(&before, &now);
        assert_eq!(figures.stages[3], ("end_to_end", Some([1_000.0, 1_980.0])));
        assert_eq!(figures.stages[0], ("feed_to_receive", None));
        assert_eq!(figures.p99_us(), Some(1_980.0));
    }
}
