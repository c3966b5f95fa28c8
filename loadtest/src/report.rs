//! The report: what was measured and what was wrong.
//!
//! Owns the merging of the threads' tallies, the JSON object, and the figures that thresholds are judged by.
//! Never measures. Filled by [`crate::run`], printed by `main`.

pub(crate) mod ceiling;
pub(crate) mod html;
mod machine;
mod measured;
mod plot;
mod text;

use crate::conserve::Conservation;
use crate::run::timeline::{Point, StageLatency};
use crate::scan::Channel;
use crate::threshold::Verdict;
use crate::violation::Violation;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;

use ceiling::Ceiling;
pub(crate) use machine::Machine;
pub(crate) use measured::{Measured, closes_of, violations_of};

/// Nothing was wrong.
pub(crate) const EXIT_CLEAN: u8 = 0;
/// A violation or a lost connection.
pub(crate) const EXIT_VIOLATED: u8 = 1;
/// Nobody could connect.
pub(crate) const EXIT_UNUSABLE: u8 = 2;
/// A threshold does not hold.
pub(crate) const EXIT_BREACHED: u8 = 3;

/// Quantiles of the curve.
const CURVE: [f64; 14] =
    [0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999, 0.99999, 1.0];

/// The report, as it is written to JSON.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) version: &'static str,
    /// Wall clock at the end of the run, seconds since 1970.
    pub(crate) finished_at: i64,
    /// No violation and no lost connection.
    pub(crate) clean: bool,
    pub(crate) exit_code: u8,
    pub(crate) settings: SettingsShown,
    pub(crate) machine: Machine,
    pub(crate) clients: Clients,
    pub(crate) ramp_s: f64,
    pub(crate) duration_s: f64,
    pub(crate) messages: u64,
    pub(crate) messages_before_window: u64,
    pub(crate) updates: u64,
    pub(crate) heartbeats: u64,
    pub(crate) bytes: u64,
    pub(crate) messages_per_s: f64,
    pub(crate) updates_per_s: f64,
    pub(crate) mb_per_s: f64,
    /// Of clients that read at once, from the feed's event to the receipt; of all when no client does.
    pub(crate) latency_us: Option<Latency>,
    /// The same as quantile and microseconds.
    pub(crate) latency_curve: Vec<(f64, u64)>,
    /// From when a client meant to connect until its handshake was done, over the whole run.
    pub(crate) connect_us: Option<Latency>,
    /// From when a client meant to ask until it was answered, over the whole run.
    pub(crate) answer_us: Option<Latency>,
    pub(crate) groups: Vec<GroupShown>,
    pub(crate) timestamps_from_future: u64,
    pub(crate) merged: u64,
    pub(crate) notices: BTreeMap<String, u64>,
    /// Subscriptions of clients that came back: went on, or got a snapshot.
    pub(crate) resumed: [u64; 2],
    pub(crate) books_compared: u64,
    pub(crate) slow_frames: u64,
    pub(crate) violations: Violations,
    pub(crate) closes: Vec<Close>,
    pub(crate) cpu: Cpu,
    pub(crate) gateway: Option<GatewayShown>,
    pub(crate) conservation: Conservation,
    /// The result as a share of the machine's own limit, when that was measured.
    pub(crate) ceiling: Option<Ceiling>,
    pub(crate) thresholds: Vec<Verdict>,
    pub(crate) warnings: Vec<String>,
    pub(crate) timeline: TimelineShown,
}

#[derive(Serialize)]
pub(crate) struct SettingsShown {
    pub(crate) title: Option<String>,
    pub(crate) about: Option<String>,
    pub(crate) url: String,
    pub(crate) clients: u32,
    pub(crate) symbols: Vec<String>,
    pub(crate) duration_s: f64,
    pub(crate) ramp: u32,
    pub(crate) storms: Vec<String>,
    pub(crate) threads: usize,
    pub(crate) sources: u32,
    pub(crate) silence_s: f64,
    /// Lines per second of the feed, when it is ours.
    pub(crate) feed_rate: Option<f64>,
}

/// One group and what its clients saw.
#[derive(Serialize)]
pub(crate) struct GroupShown {
    pub(crate) name: String,
    pub(crate) percent: f64,
    pub(crate) clients: usize,
    pub(crate) profile: String,
    pub(crate) channel: Channel,
    pub(crate) depth: Option<usize>,
    pub(crate) symbols_per_client: usize,
    pub(crate) ext: bool,
    pub(crate) latency_us: Option<Latency>,
}

#[derive(Serialize)]
pub(crate) struct Clients {
    pub(crate) asked: u32,
    pub(crate) connected: u64,
    pub(crate) failed: u64,
    pub(crate) lost: u64,
    /// Ended by the server because they read too slowly, as their profile wants.
    pub(crate) closed_slow: u64,
    /// Dropped by clients that came back.
    pub(crate) reconnects: u64,
}

#[derive(Clone, Serialize)]
pub(crate) struct Latency {
    pub(crate) count: u64,
    pub(crate) p50: u64,
    pub(crate) p90: u64,
    pub(crate) p99: u64,
    pub(crate) p99_9: u64,
    pub(crate) max: u64,
}

#[derive(Serialize)]
pub(crate) struct Violations {
    pub(crate) total: u64,
    /// Every kind, also those that did not occur.
    pub(crate) by_kind: BTreeMap<&'static str, u64>,
    pub(crate) first: Vec<Violation>,
}

#[derive(Serialize)]
pub(crate) struct Close {
    pub(crate) code: Option<u16>,
    pub(crate) reason: String,
    pub(crate) count: u64,
}

#[derive(Serialize)]
pub(crate) struct Cpu {
    pub(crate) process_s: f64,
    /// Of one core, within the window.
    pub(crate) process_percent: f64,
    pub(crate) busiest_thread_percent: f64,
    /// Of the window, how long a thread was ready to run and another ran; the most of any.
    pub(crate) waiting_percent: f64,
    pub(crate) messages_per_cpu_s: Option<f64>,
    /// The generator, not the gateway, may be the limit.
    pub(crate) saturated: bool,
}

/// What the gateway said of itself within the window.
#[derive(Serialize)]
pub(crate) struct GatewayShown {
    pub(crate) cpu_percent: f64,
    pub(crate) rss_mb_max: f64,
    pub(crate) lagging_max: u64,
    /// Lines taken from the feed.
    pub(crate) feed_per_s: f64,
    pub(crate) stages: Vec<StageLatency>,
}

#[derive(Serialize)]
pub(crate) struct TimelineShown {
    /// The window, from the start of the run.
    pub(crate) opened_s: f64,
    pub(crate) closed_s: f64,
    pub(crate) points: Vec<Point>,
}

impl Latency {
    /// The figures of a histogram; none of an empty one.
    pub(crate) fn of(histogram: &Histogram<u64>) -> Option<Self> {
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Self {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        })
    }

    fn named(&self, name: &str) -> Option<f64> {
        let us = match name {
            "p50" => self.p50,
            "p90" => self.p90,
            "p99" => self.p99,
            "p99.9" => self.p99_9,
            "max" => self.max,
            _ => return None,
        };
        Some(us as f64)
    }
}

impl Report {
    /// One JSON object on one line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("the report has only string keys and finite numbers")
    }

    /// A figure that a threshold names; none when it was not measured.
    pub(crate) fn figure(&self, name: &str) -> Option<f64> {
        let of =
            |latency: &Option<Latency>, name: &str| latency.as_ref().and_then(|latency| latency.named(name));
        if let Some((what, quantile)) = name.rsplit_once('.').filter(|(what, _)| *what != "p99") {
            match what {
                "connect" => return of(&self.connect_us, quantile),
                "subscribe" => return of(&self.answer_us, quantile),
                _ => {}
            }
            if let Some(stage) = what.strip_prefix("gateway.") {
                let stages = &self.gateway.as_ref()?.stages;
                let found = stages.iter().find(|found| found.stage == stage)?;
                return Some(if quantile == "p50" { found.p50_us } else { found.p99_us });
            }
        }
        Some(match name {
            "messages_per_s" => self.messages_per_s,
            "updates_per_s" => self.updates_per_s,
            "mb_per_s" => self.mb_per_s,
            "violations" => self.violations.total as f64,
            "lost" => self.clients.lost as f64,
            "failed" => self.clients.failed as f64,
            "gateway.cpu" => self.gateway.as_ref()?.cpu_percent,
            "gateway.rss" => self.gateway.as_ref()?.rss_mb_max,
            "generator.cpu" => self.cpu.busiest_thread_percent,
            _ => return of(&self.latency_us, name),
        })
    }
}

/// The latency's distribution in a few points, for plots.
fn curve(histogram: &Histogram<u64>) -> Vec<(f64, u64)> {
    if histogram.is_empty() {
        return Vec::new();
    }
    CURVE.map(|quantile| (quantile, histogram.value_at_quantile(quantile))).to_vec()
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
