//! From what threads and gateway have told to the report.
//!
//! Owns the raw results while they are put together, and the warnings. Filled by [`crate::run`].

use super::{
    Clients, Close, Cpu, EXIT_BREACHED, EXIT_CLEAN, EXIT_UNUSABLE, EXIT_VIOLATED, GatewayShown, GroupShown,
    Latency, Machine, Report, SettingsShown, TimelineShown, Violations, curve, ratio,
};
use crate::conserve::{Comparison, Conservation};
use crate::plan::{Admin, Plan};
use crate::run::Progress;
use crate::run::timeline::{GatewayPoint, Timeline};
use crate::scan::Channel;
use crate::tally::Tally;
use crate::time;
use crate::violation::{Kind, Violation};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Share of a thread's time from which on the generator may be what limits the result.
const CPU_SHARE_MAX: f64 = 0.9;
/// Share of its time that a thread may wait for a processor before that is part of the latency.
const WAITING_SHARE_MAX: f64 = 0.1;

/// The raw results of a run.
pub(crate) struct Measured {
    /// What the threads have counted.
    pub(crate) tally: Tally,
    /// The run over time.
    pub(crate) timeline: Timeline,
    /// How the gateway's counts compare.
    pub(crate) conservation: Conservation,
    /// What is to be said beside.
    pub(crate) warnings: Vec<String>,
    clients: Clients,
    ramp: Duration,
    window: Duration,
    cpu: Duration,
    busiest_share: f64,
    waiting_share: f64,
    plan: Option<Plan>,
}

impl Measured {
    /// The supervisor's part; threads are added afterwards.
    pub(crate) fn new(plan: &Plan, ramp: Duration, window: Duration, cpu: Duration) -> Self {
        let is_prompt: Vec<bool> =
            plan.settings.groups.iter().map(|group| group.profile.is_prompt()).collect();
        let clients =
            Clients { asked: plan.clients, connected: 0, failed: 0, lost: 0, closed_slow: 0, reconnects: 0 };
        Self {
            tally: Tally::new(&is_prompt),
            timeline: Timeline::new(Instant::now(), 0),
            conservation: Conservation::not_asked(),
            warnings: Vec::new(),
            clients,
            ramp,
            window,
            cpu,
            busiest_share: 0.0,
            waiting_share: 0.0,
            plan: None,
        }
    }

    /// Takes in what a thread has counted.
    pub(crate) fn add_thread(&mut self, mut tally: Tally) {
        let share = |time: Duration| ratio(time.as_secs_f64(), tally.elapsed.as_secs_f64());
        self.busiest_share = self.busiest_share.max(share(tally.cpu.ran));
        self.waiting_share = self.waiting_share.max(share(tally.cpu.waited));
        for (at, (digest, client)) in std::mem::take(&mut tally.books) {
            let (symbol, seq) = (at.symbol.clone(), at.seq);
            if let Some(other) = self.tally.note_book(at, digest, client) {
                self.tally.violations.push(Kind::BookDiffers, || Violation {
                    kind: Kind::BookDiffers.name(),
                    client: Some(client),
                    symbol,
                    expected: "one book at one seq".to_owned(),
                    got: format!("another book than client {other} at seq {seq}"),
                    at_us: time::now(),
                });
            }
        }
        self.tally.merge(tally);
    }

    /// Takes over the counters that the threads shared.
    pub(crate) fn take_progress(&mut self, progress: &Progress) {
        self.clients.connected = progress.connected.load(Ordering::Relaxed);
        self.clients.failed = progress.failed.load(Ordering::Relaxed);
        self.clients.lost = progress.lost.load(Ordering::Relaxed);
        self.clients.closed_slow = progress.closed_slow.load(Ordering::Relaxed);
        self.clients.reconnects = progress.reconnects.load(Ordering::Relaxed);
    }

    /// Everything has been added.
    pub(crate) fn conclude(&mut self, plan: Plan) {
        self.warn(&plan);
        self.plan = Some(plan);
    }

    fn warn(&mut self, plan: &Plan) {
        if self.busiest_share > CPU_SHARE_MAX {
            self.warnings.push(format!(
                "the generator used {:.0} % of a thread: it, not the gateway, may be what limits rates and latencies; use --threads",
                100.0 * self.busiest_share
            ));
        }
        if self.waiting_share > WAITING_SHARE_MAX {
            self.warnings.push(format!(
                "the generator waited {:.0} % of the time for a processor that something else used: that is in the latencies",
                100.0 * self.waiting_share
            ));
        }
        if self.tally.window.updates == 0 {
            self.warnings
                .push("no update arrived within the window: nothing but the start was verified".to_owned());
        }
        if self.tally.window.from_future > 0 {
            self.warnings.push("some timestamps are later than their receipt: the clocks differ".to_owned());
        }
        let is_asked = self.conservation.comparison != Comparison::NotAsked;
        if let (Admin::Maybe(address), false) = (&plan.settings.admin, is_asked) {
            self.warnings.push(format!(
                "no admin listener at {address}: the gateway's counts were not compared; see --admin"
            ));
        }
    }

    /// The report of this run, which must be concluded.
    pub(crate) fn report(mut self) -> Report {
        let plan = self.plan.take().expect("a run that has ended is concluded");
        let latency = self.tally.prompt_latency();
        let elapsed_s = self.tally.elapsed.as_secs_f64();
        let per_s = |count: f64| ratio(count, elapsed_s);
        let counts = self.tally.window;
        let groups = self.groups(&plan);
        let mut report = Report {
            version: env!("CARGO_PKG_VERSION"),
            finished_at: time::now() / 1_000_000,
            clean: self.tally.violations.total() == 0,
            exit_code: EXIT_CLEAN,
            settings: SettingsShown::of(&plan),
            machine: Machine::here(),
            ramp_s: self.ramp.as_secs_f64(),
            duration_s: self.window.as_secs_f64(),
            messages: counts.messages,
            messages_before_window: self.tally.messages_before_window(),
            updates: counts.updates,
            heartbeats: counts.heartbeats,
            bytes: counts.bytes,
            messages_per_s: per_s(counts.messages as f64),
            updates_per_s: per_s(counts.updates as f64),
            mb_per_s: per_s(counts.bytes as f64 / 1e6),
            latency_us: Latency::of(&latency),
            latency_curve: curve(&latency),
            connect_us: Latency::of(&self.tally.connects),
            answer_us: Latency::of(&self.tally.answers),
            groups,
            timestamps_from_future: counts.from_future,
            merged: counts.merged,
            notices: std::mem::take(&mut self.tally.notices),
            resumed: self.tally.resumed,
            books_compared: self.tally.books_compared,
            slow_frames: self.tally.slow_frames,
            violations: violations_of(&self.tally),
            closes: closes_of(&self.tally),
            cpu: self.cpu(),
            gateway: self.gateway(),
            conservation: self.conservation,
            ceiling: None,
            thresholds: Vec::new(),
            warnings: self.warnings,
            timeline: TimelineShown::of(self.timeline),
            clients: self.clients,
        };
        let judge =
            |threshold: &crate::threshold::Threshold| threshold.judge(report.figure(&threshold.figure));
        report.thresholds = plan.settings.thresholds.iter().map(judge).collect();
        report.exit_code = match (report.clients.connected, report.clean) {
            (0, _) => EXIT_UNUSABLE,
            (_, false) => EXIT_VIOLATED,
            _ if report.thresholds.iter().any(|verdict| !verdict.holds) => EXIT_BREACHED,
            _ => EXIT_CLEAN,
        };
        report
    }

    fn groups(&self, plan: &Plan) -> Vec<GroupShown> {
        let shown = |(at, group): (usize, &crate::plan::Group)| GroupShown {
            name: group.name.clone(),
            percent: 100.0 * group.share,
            clients: (0..plan.clients).filter(|client| plan.group_of(*client) == at).count(),
            profile: group.profile.to_string(),
            channel: group.channel,
            depth: (group.channel == Channel::Book).then(|| group.depth_levels()),
            symbols_per_client: group.symbols_per_client,
            ext: group.opted_in,
            latency_us: Latency::of(&self.tally.latency[at]),
        };
        plan.settings.groups.iter().enumerate().map(shown).collect()
    }

    fn cpu(&self) -> Cpu {
        let process_s = self.cpu.as_secs_f64();
        let per_cpu_s = (process_s > 0.0).then(|| self.tally.window.messages as f64 / process_s);
        Cpu {
            process_s,
            process_percent: 100.0 * ratio(process_s, self.window.as_secs_f64()),
            busiest_thread_percent: 100.0 * self.busiest_share,
            waiting_percent: 100.0 * self.waiting_share,
            messages_per_cpu_s: per_cpu_s,
            saturated: self.busiest_share > CPU_SHARE_MAX,
        }
    }

    fn gateway(&self) -> Option<GatewayShown> {
        let (opened, closed) =
            (self.timeline.opened_at?.as_secs_f64(), self.timeline.closed_at?.as_secs_f64());
        let within =
            self.timeline.points.iter().filter(|point| point.at_s > opened && point.at_s <= closed + 0.5);
        let points: Vec<&GatewayPoint> = within.filter_map(|point| point.gateway.as_ref()).collect();
        let mean = |of: fn(&GatewayPoint) -> f64| {
            points.iter().map(|point| of(point)).sum::<f64>() / points.len() as f64
        };
        (!points.is_empty()).then(|| GatewayShown {
            cpu_percent: mean(|point| point.cpu_percent),
            feed_per_s: mean(|point| point.feed_per_s),
            rss_mb_max: points.iter().map(|point| point.rss_mb).fold(0.0, f64::max),
            lagging_max: points.iter().map(|point| point.lagging).max().unwrap_or(0),
            stages: self.timeline.stages.clone(),
        })
    }
}

impl SettingsShown {
    fn of(plan: &Plan) -> Self {
        let settings = &plan.settings;
        Self {
            title: settings.title.clone(),
            about: settings.about.clone(),
            url: settings.target.url.clone(),
            clients: settings.clients,
            symbols: plan.symbols.clone(),
            duration_s: settings.duration.as_secs_f64(),
            ramp: settings.ramp,
            storms: settings.storms.iter().map(ToString::to_string).collect(),
            threads: settings.threads,
            sources: settings.sources,
            silence_s: settings.silence.as_secs_f64(),
            feed_rate: settings.own.as_ref().map(|own| own.feed_rate),
        }
    }
}

impl TimelineShown {
    fn of(timeline: Timeline) -> Self {
        Self {
            opened_s: timeline.opened_at.unwrap_or_default().as_secs_f64(),
            closed_s: timeline.closed_at.unwrap_or_default().as_secs_f64(),
            points: timeline.points,
        }
    }
}

/// The violations of a tally, as reports show them.
pub(crate) fn violations_of(tally: &Tally) -> Violations {
    let violations = &tally.violations;
    let by_kind = Kind::ALL.iter().map(|kind| (kind.name(), violations.count(*kind))).collect();
    let first = violations.examples().into_iter().cloned().collect();
    Violations { total: violations.total(), by_kind, first }
}

/// The connections that a server ended, as reports show them.
pub(crate) fn closes_of(tally: &Tally) -> Vec<Close> {
    let closes = tally.closes.iter();
    closes
        .map(|((code, reason), count)| Close { code: *code, reason: reason.clone(), count: *count })
        .collect()
}
