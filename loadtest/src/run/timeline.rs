//! The run over time: one point per second, from what threads and gateway tell.
//!
//! Owns the points. Never measures by itself. Filled by [`super::Supervisor`], shown by the live view and the report.

use super::Progress;
use crate::gateway::{STAGES, Scrape};
use crate::scan::Channel;
use crate::tally::{Beat, Counts, add, histogram};
use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Length of a point.
const POINT_EVERY: Duration = Duration::from_secs(1);
/// Most points that are kept; then neighbours are left out, so that a run of days fits into memory and a page.
const POINTS_MAX: usize = 20_000;

/// One second of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Point {
    /// End of the second, from the start of the run.
    pub(crate) at_s: f64,
    pub(crate) messages_per_s: f64,
    pub(crate) updates_per_s: f64,
    pub(crate) mb_per_s: f64,
    /// Connections that are open.
    pub(crate) clients: u64,
    /// Violations of the run so far.
    pub(crate) violations: u64,
    /// Latency of prompt clients; none when they received nothing.
    pub(crate) p50_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    pub(crate) max_us: Option<u64>,
    /// CPU time of the busiest thread of the generator, per cent of a core.
    pub(crate) generator_percent: f64,
    /// What the gateway says of itself.
    pub(crate) gateway: Option<GatewayPoint>,
}

/// The gateway in one second.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct GatewayPoint {
    /// Per cent of a core.
    pub(crate) cpu_percent: f64,
    pub(crate) rss_mb: f64,
    /// Events of the feed.
    pub(crate) feed_per_s: f64,
    /// Entries encoded.
    pub(crate) published_per_s: f64,
    /// Deliveries written.
    pub(crate) written_per_s: f64,
    pub(crate) merged_per_s: f64,
    pub(crate) dropped_per_s: f64,
    /// Clients that are behind.
    pub(crate) lagging: u64,
    /// Deliveries that are not made yet.
    pub(crate) pending: u64,
}

/// A stage of an update in the gateway, over the window.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct StageLatency {
    pub(crate) stage: String,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
}

/// All points, and what the next one is made of.
pub(crate) struct Timeline {
    start: Instant,
    pub(crate) points: Vec<Point>,
    /// When the window opened and closed, from the start.
    pub(crate) opened_at: Option<Duration>,
    pub(crate) closed_at: Option<Duration>,
    /// Of the window.
    pub(crate) stages: Vec<StageLatency>,
    latest: Vec<Option<Beat>>,
    before: Vec<Option<(Instant, Duration)>>,
    busiest: f64,
    counts: Counts,
    latency: Histogram<u64>,
    point_at: Instant,
    scrapes: Vec<Scrape>,
    /// The first scrape of the window.
    window_scrape: Option<Scrape>,
}

impl Timeline {
    /// Nothing yet.
    pub(crate) fn new(start: Instant, threads: usize) -> Self {
        Self {
            start,
            points: Vec::new(),
            opened_at: None,
            closed_at: None,
            stages: Vec::new(),
            latest: (0..threads).map(|_| None).collect(),
            before: vec![None; threads],
            busiest: 0.0,
            counts: Counts::default(),
            latency: histogram(),
            point_at: start,
            scrapes: Vec::new(),
            window_scrape: None,
        }
    }

    /// The last point.
    pub(crate) fn last(&self) -> Option<&Point> {
        self.points.last()
    }

    /// How long the window has been open.
    pub(crate) fn in_window(&self) -> Option<Duration> {
        self.opened_at.map(|opened| self.start.elapsed().saturating_sub(opened))
    }

    /// Takes what threads tell.
    pub(crate) fn beats(&mut self, beats: impl Iterator<Item = (usize, Beat)>) {
        for (thread, beat) in beats {
            add(&mut self.latency, &beat.latency);
            if let Some((at, cpu)) = self.before[thread] {
                let passed = beat.at.duration_since(at).as_secs_f64();
                if passed > 0.0 {
                    let share = beat.cpu.saturating_sub(cpu).as_secs_f64() / passed;
                    self.busiest = self.busiest.max(share);
                }
            }
            self.before[thread] = Some((beat.at, beat.cpu));
            self.latest[thread] = Some(beat);
        }
    }

    /// Takes what the gateway tells.
    pub(crate) fn scrape(&mut self, scrape: Scrape) {
        if self.opened_at.is_some() && self.window_scrape.is_none() {
            self.window_scrape = Some(scrape.clone());
        }
        if self.scrapes.len() == 2 {
            self.scrapes.remove(0);
        }
        self.scrapes.push(scrape);
    }

    /// The latency of the gateway's stages between the first and the last scrape of the window.
    pub(crate) fn close_gateway_window(&mut self) {
        let (Some(first), Some(last)) = (&self.window_scrape, self.scrapes.last()) else { return };
        for stage in STAGES {
            let at = |quantile| last.stage_us(first, stage, quantile);
            if let (Some(p50_us), Some(p99_us)) = (at(0.5), at(0.99)) {
                self.stages.push(StageLatency { stage: stage.to_owned(), p50_us, p99_us });
            }
        }
    }

    /// Makes a point when a second has passed.
    pub(crate) fn advance(&mut self, now: Instant, progress: &Progress) {
        if now.duration_since(self.point_at) >= POINT_EVERY {
            self.finish(now, progress);
        }
    }

    /// Makes a point of what there is.
    pub(crate) fn finish(&mut self, now: Instant, progress: &Progress) {
        let passed = now.duration_since(self.point_at).as_secs_f64();
        if passed < 0.2 {
            return;
        }
        let mut counts = Counts::default();
        self.latest.iter().flatten().for_each(|beat| counts.add(&beat.counts));
        let moved = counts.since(&self.counts);
        let quantile = |q| (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(q));
        self.points.push(Point {
            at_s: now.duration_since(self.start).as_secs_f64(),
            messages_per_s: moved.messages as f64 / passed,
            updates_per_s: moved.updates as f64 / passed,
            mb_per_s: moved.bytes as f64 / 1e6 / passed,
            clients: progress.alive.load(Ordering::Relaxed),
            violations: progress.violations.load(Ordering::Relaxed),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            max_us: (!self.latency.is_empty()).then(|| self.latency.max()),
            generator_percent: 100.0 * self.busiest,
            gateway: self.gateway_point(),
        });
        if self.points.len() > POINTS_MAX {
            let mut at = 0;
            self.points.retain(|_| {
                at += 1;
                at % 2 == 0
            });
        }
        self.counts = counts;
        self.latency.reset();
        self.busiest = 0.0;
        self.point_at = now;
    }

    fn gateway_point(&self) -> Option<GatewayPoint> {
        let [before, last] = self.scrapes.as_slice() else { return None };
        let passed = last.at.duration_since(before.at).as_secs_f64();
        let per_s = |name: &str| (last.sum(name) - before.sum(name)) / passed.max(0.001);
        let pending = Channel::ALL.iter().filter_map(|channel| last.deliveries(*channel));
        Some(GatewayPoint {
            // The figure of the whole process has whole seconds only.
            cpu_percent: 100.0 * per_s("gateway_thread_cpu_seconds_total"),
            rss_mb: last.sum("process_resident_memory_bytes") / 1e6,
            feed_per_s: per_s("gateway_feed_events_total"),
            published_per_s: per_s("gateway_updates_published_total"),
            written_per_s: per_s("gateway_deliveries_written_total"),
            merged_per_s: per_s("gateway_deliveries_merged_total"),
            dropped_per_s: per_s("gateway_deliveries_dropped_total"),
            lagging: last.sum("gateway_clients_lagging") as u64,
            pending: pending.map(|counts| counts.pending.max(0) as u64).sum(),
        })
    }
}
