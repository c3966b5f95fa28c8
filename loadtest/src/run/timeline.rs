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
/// How long a point waits for threads that tell a little late; one that tells nothing for so long has received nothing.
const LATE_MAX: Duration = Duration::from_secs(1);
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

/// What all threads together received per second.
#[derive(Clone, Copy, Debug, Default)]
struct Rates {
    messages: f64,
    updates: f64,
    bytes: f64,
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
    /// What each thread had told at the last point, and when it told that.
    told: Vec<(Instant, Counts)>,
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
            told: vec![(start, Counts::default()); threads],
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

    /// Makes a point when a second has passed and every thread has told something of it.
    pub(crate) fn advance(&mut self, now: Instant, progress: &Progress) {
        let passed = now.duration_since(self.point_at);
        if passed >= POINT_EVERY + LATE_MAX || (passed >= POINT_EVERY && self.have_all_told()) {
            self.finish(now, progress);
        }
    }

    /// Whether each thread has told something since the last point.
    fn have_all_told(&self) -> bool {
        self.latest
            .iter()
            .zip(&self.told)
            .all(|(beat, told)| beat.as_ref().is_some_and(|beat| beat.at > told.0))
    }

    /// Adds up what threads received per second since the last point: each by its own clock, since none tells exactly when a point
    /// is made. The next point goes on from here.
    fn rates(&mut self) -> Rates {
        let mut rates = Rates::default();
        for (beat, told) in self.latest.iter().zip(&mut self.told) {
            let Some(beat) = beat.as_ref().filter(|beat| beat.at > told.0) else { continue };
            let (passed, moved) = (beat.at.duration_since(told.0).as_secs_f64(), beat.counts.since(&told.1));
            rates.messages += moved.messages as f64 / passed;
            rates.updates += moved.updates as f64 / passed;
            rates.bytes += moved.bytes as f64 / passed;
            *told = (beat.at, beat.counts);
        }
        rates
    }

    /// Makes a point of what there is.
    pub(crate) fn finish(&mut self, now: Instant, progress: &Progress) {
        let passed = now.duration_since(self.point_at).as_secs_f64();
        if passed < 0.2 {
            return;
        }
        let rates = self.rates();
        let quantile = |q| (!self.latency.is_empty()).then(|| self.latency.value_at_quantile(q));
        self.points.push(Point {
            at_s: now.duration_since(self.start).as_secs_f64(),
            messages_per_s: rates.messages,
            updates_per_s: rates.updates,
            mb_per_s: rates.bytes / 1e6,
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What a thread says after so long, which gets 1,000 messages a second.
    fn beat(start: Instant, after: Duration) -> Beat {
        let counts = Counts { messages: after.as_millis() as u64, ..Counts::default() };
        Beat { at: start + after, counts, latency: histogram(), cpu: Duration::ZERO }
    }

    /// Threads tell at times of their own, which are a little more than a second apart: a point in which nobody told anything said
    /// that nobody received anything, and the next one that it was twice as much.
    #[test]
    fn a_steady_stream_is_a_level_line_whenever_threads_tell() {
        let start = Instant::now();
        let (mut timeline, progress) = (Timeline::new(start, 2), Progress::default());
        let millis = Duration::from_millis;
        let mut next = [millis(950), millis(400)];
        for now in (0..60_000).step_by(50).map(millis) {
            for (thread, at) in next.iter_mut().enumerate().filter(|(_, at)| **at <= now) {
                timeline.beats(std::iter::once((thread, beat(start, *at))));
                *at += millis(1_030);
            }
            timeline.advance(start + now, &progress);
        }
        assert!(timeline.points.len() > 50, "{} points of a minute", timeline.points.len());
        for point in &timeline.points {
            assert!((1_990.0..2_010.0).contains(&point.messages_per_s), "{point:?}");
        }
    }

    #[test]
    fn a_thread_that_tells_nothing_holds_no_point_up_for_long() {
        let start = Instant::now();
        let (mut timeline, progress) = (Timeline::new(start, 2), Progress::default());
        for second in 1..=20 {
            let after = Duration::from_secs(second);
            timeline.beats(std::iter::once((0, beat(start, after))));
            timeline.advance(start + after, &progress);
        }
        assert_eq!(timeline.points.len(), 10);
        assert!(timeline.points.iter().all(|point| point.messages_per_s == 1_000.0), "{:?}", timeline.points);
    }
}
