//! The report: what was measured and what was wrong.
//!
//! Owns the merging of the threads' tallies, the JSON object and the text for people.
//! Never measures. Filled by [`crate::run`], printed by `main`.

mod text;

use crate::plan::Plan;
use crate::scan::Channel;
use crate::tally::Tally;
use crate::violation::{Kind, Violation};
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// Share of a thread's time from which on the generator may be what limits the result.
const CPU_SHARE_MAX: f64 = 0.9;

/// The raw results of a run.
pub(crate) struct Measured {
    /// Handshakes done.
    pub(crate) connected: u64,
    /// Handshakes failed.
    pub(crate) failed: u64,
    /// Connections ended by the server.
    pub(crate) lost: u64,
    ramp: Duration,
    window: Duration,
    cpu: Duration,
    busiest_share: f64,
    tally: Tally,
}

/// The report, as it is written to JSON.
#[derive(Serialize)]
pub(crate) struct Report<'a> {
    version: &'static str,
    /// No violation and no lost connection.
    clean: bool,
    settings: Settings<'a>,
    clients: Clients,
    ramp_s: f64,
    duration_s: f64,
    messages: u64,
    messages_before_window: u64,
    updates: u64,
    heartbeats: u64,
    bytes: u64,
    messages_per_s: f64,
    updates_per_s: f64,
    mb_per_s: f64,
    latency_us: Option<Latency>,
    timestamps_from_future: u64,
    merged: u64,
    slow_frames: u64,
    violations: Violations<'a>,
    closes: Vec<Close<'a>>,
    cpu: Cpu,
    warnings: Vec<String>,
}

#[derive(Serialize)]
struct Settings<'a> {
    url: &'a str,
    opted_in: bool,
    clients: u32,
    symbols: &'a [String],
    symbols_per_client: usize,
    channel: Channel,
    depth: Option<usize>,
    duration_s: f64,
    ramp: u32,
    threads: usize,
    silence_s: f64,
}

#[derive(Serialize)]
struct Clients {
    asked: u32,
    connected: u64,
    failed: u64,
    lost: u64,
}

#[derive(Serialize)]
struct Latency {
    count: u64,
    p50: u64,
    p90: u64,
    p99: u64,
    p99_9: u64,
    max: u64,
}

#[derive(Serialize)]
struct Violations<'a> {
    total: u64,
    /// Every kind, also those that did not occur.
    by_kind: BTreeMap<&'static str, u64>,
    first: Vec<&'a Violation>,
}

#[derive(Serialize)]
struct Close<'a> {
    code: Option<u16>,
    reason: &'a str,
    count: u64,
}

#[derive(Serialize)]
struct Cpu {
    process_s: f64,
    /// Of one core, within the window.
    process_percent: f64,
    busiest_thread_percent: f64,
    messages_per_cpu_s: Option<f64>,
    saturated: bool,
}

impl Measured {
    /// The supervisor's part; threads are added afterwards.
    pub(crate) fn new(ramp: Duration, window: Duration, cpu: Duration) -> Self {
        let tally = Tally::new();
        Self { connected: 0, failed: 0, lost: 0, ramp, window, cpu, busiest_share: 0.0, tally }
    }

    /// Takes in what a thread has counted.
    pub(crate) fn add_thread(&mut self, tally: Tally) {
        let share = ratio(tally.cpu.as_secs_f64(), tally.elapsed.as_secs_f64());
        self.busiest_share = self.busiest_share.max(share);
        self.tally.merge(tally);
    }

    /// Whether nothing was wrong.
    pub(crate) fn is_clean(&self) -> bool {
        self.tally.violations.total() == 0
    }

    /// The report of this run.
    pub(crate) fn report<'a>(&'a self, plan: &'a Plan) -> Report<'a> {
        let counts = &self.tally.window;
        let elapsed_s = self.tally.elapsed.as_secs_f64();
        Report {
            version: env!("CARGO_PKG_VERSION"),
            clean: self.is_clean(),
            settings: Settings::of(plan),
            clients: Clients {
                asked: plan.clients,
                connected: self.connected,
                failed: self.failed,
                lost: self.lost,
            },
            ramp_s: self.ramp.as_secs_f64(),
            duration_s: self.window.as_secs_f64(),
            messages: counts.messages,
            messages_before_window: self.tally.messages_before_window,
            updates: counts.updates,
            heartbeats: counts.heartbeats,
            bytes: counts.bytes,
            messages_per_s: ratio(counts.messages as f64, elapsed_s),
            updates_per_s: ratio(counts.updates as f64, elapsed_s),
            mb_per_s: ratio(counts.bytes as f64 / 1e6, elapsed_s),
            latency_us: self.latency(),
            timestamps_from_future: counts.from_future,
            merged: counts.merged,
            slow_frames: self.tally.slow_frames,
            violations: self.violations(),
            closes: self.closes(),
            cpu: self.cpu(),
            warnings: self.warnings(),
        }
    }

    fn latency(&self) -> Option<Latency> {
        let histogram = &self.tally.latency;
        let at = |quantile| histogram.value_at_quantile(quantile);
        (!histogram.is_empty()).then(|| Latency {
            count: histogram.len(),
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            max: histogram.max(),
        })
    }

    fn violations(&self) -> Violations<'_> {
        let violations = &self.tally.violations;
        let by_kind = Kind::ALL.iter().map(|kind| (kind.name(), violations.count(*kind))).collect();
        Violations { total: violations.total(), by_kind, first: violations.examples() }
    }

    fn closes(&self) -> Vec<Close<'_>> {
        let closes = self.tally.closes.iter();
        closes.map(|((code, reason), count)| Close { code: *code, reason, count: *count }).collect()
    }

    fn cpu(&self) -> Cpu {
        let process_s = self.cpu.as_secs_f64();
        let per_cpu_s = (process_s > 0.0).then(|| self.tally.window.messages as f64 / process_s);
        Cpu {
            process_s,
            process_percent: 100.0 * ratio(process_s, self.window.as_secs_f64()),
            busiest_thread_percent: 100.0 * self.busiest_share,
            messages_per_cpu_s: per_cpu_s,
            saturated: self.busiest_share > CPU_SHARE_MAX,
        }
    }

    fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.busiest_share > CPU_SHARE_MAX {
            warnings.push(format!(
                "the generator used {:.0} % of a thread: it may be what limits rates and latencies; use --threads",
                100.0 * self.busiest_share
            ));
        }
        if self.tally.window.updates == 0 {
            warnings
                .push("no update arrived within the window: nothing but the start was verified".to_owned());
        }
        if self.tally.window.from_future > 0 {
            warnings.push("some timestamps are later than their receipt: the clocks differ".to_owned());
        }
        warnings
    }
}

impl<'a> Settings<'a> {
    fn of(plan: &'a Plan) -> Self {
        Self {
            url: &plan.target.url,
            opted_in: plan.opted_in,
            clients: plan.clients,
            symbols: &plan.symbols,
            symbols_per_client: plan.symbols_per_client,
            channel: plan.channel,
            depth: (plan.channel == Channel::Book).then(|| plan.depth_levels()),
            duration_s: plan.duration.as_secs_f64(),
            ramp: plan.ramp,
            threads: plan.threads,
            silence_s: plan.silence.as_secs_f64(),
        }
    }
}

impl Report<'_> {
    /// One JSON object on one line.
    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).expect("the report has only string keys and finite numbers")
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
