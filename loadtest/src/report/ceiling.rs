//! A result as a share of the machine's own limit, which was measured in the same run.
//!
//! Owns the shares. Never measures: [`crate::bench`] does.

use super::Report;
use crate::bench::{self, Floor, Limit, Load, Work};
use serde::Serialize;
use std::fmt::{Formatter, Result};
use std::time::Duration;

/// The machine's own limit and the run's share of it.
#[derive(Serialize)]
pub(crate) struct Ceiling {
    pub(crate) clients: usize,
    pub(crate) symbols: usize,
    pub(crate) symbols_per_client: usize,
    pub(crate) payload_bytes: usize,
    /// Whether each floor had a core of its own.
    pub(crate) pinned: bool,
    pub(crate) floors: Vec<Share>,
    /// Floors that could not be measured, and why.
    pub(crate) unmeasured: Vec<String>,
}

/// One floor and the run's share of it.
#[derive(Serialize)]
pub(crate) struct Share {
    #[serde(flatten)]
    pub(crate) floor: Floor,
    /// Updates per second of the run, of those that the floor sustains.
    pub(crate) percent: f64,
    /// How many times the floor's latency at the same load the run's latency is.
    pub(crate) p50_times: Option<f64>,
    pub(crate) p99_times: Option<f64>,
    /// How many times the floor's CPU per update at the same load the gateway's is.
    pub(crate) cpu_times: Option<f64>,
}

impl Report {
    /// What was asked of the server, as the floors are asked it; none when no update came.
    pub(crate) fn load(&self) -> Option<Load> {
        let clients: usize = self.groups.iter().map(|group| group.clients).sum();
        let taken: usize = self.groups.iter().map(|group| group.clients * group.symbols_per_client).sum();
        let symbols = self.settings.symbols.len();
        if self.updates == 0 || clients == 0 || symbols == 0 {
            return None;
        }
        let per_client = (taken as f64 / clients as f64).round() as usize;
        let work = Work { clients, symbols, per_client: per_client.clamp(1, symbols) };
        let payload_bytes = (self.bytes / self.messages.max(1)) as usize;
        Some(Load { work, payload_bytes, updates_per_s: self.updates_per_s })
    }
}

impl Report {
    /// Measures the machine's own limit for what was asked of the server, and puts the shares into the report. A run without an
    /// update has none.
    pub(crate) fn measure_ceiling(&mut self, window: Duration) -> std::result::Result<(), String> {
        match self.load() {
            Some(load) => self.ceiling = Some(Ceiling::of(self, bench::limit(&load, window)?)),
            None => self
                .warnings
                .push("no update arrived, so there is no share of the machine's limit".to_owned()),
        }
        Ok(())
    }
}

impl Ceiling {
    /// The shares of a report that was measured before.
    pub(crate) fn of(report: &Report, limit: Limit) -> Self {
        let Limit { load, pinned, floors, unmeasured } = limit;
        let gateway = report.gateway.as_ref();
        let cpu_us = gateway.map(|gateway| gateway.cpu_percent * 1e4 / report.updates_per_s);
        let share = |floor: Floor| {
            let times = |own: Option<f64>, floors: Option<f64>| {
                own.zip(floors).map(|(own, floors)| own / floors).filter(|times| times.is_finite())
            };
            let same = floor.same_load;
            let latency = report.latency_us.as_ref();
            Share {
                percent: 100.0 * report.updates_per_s / floor.updates_per_s,
                p50_times: times(latency.map(|one| one.p50 as f64), same.map(|same| same.p50_us as f64)),
                p99_times: times(latency.map(|one| one.p99 as f64), same.map(|same| same.p99_us as f64)),
                cpu_times: times(cpu_us, same.map(|same| same.us_per_update)),
                floor,
            }
        };
        Self {
            clients: load.work.clients,
            symbols: load.work.symbols,
            symbols_per_client: load.work.per_client,
            payload_bytes: load.payload_bytes,
            pinned,
            floors: floors.into_iter().map(share).collect(),
            unmeasured,
        }
    }

    /// What the floors were asked, in a few words.
    pub(crate) fn what(&self) -> String {
        let pinned = if self.pinned { "" } else { "; NOT PINNED, so it means little" };
        format!(
            "{} clients, {} of {} symbols each, {} bytes{pinned}",
            self.clients, self.symbols_per_client, self.symbols, self.payload_bytes
        )
    }

    pub(super) fn fmt_text(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "ceiling     the machine's own limit, measured after the run: {}", self.what())?;
        for share in &self.floors {
            writeln!(f, "  {:<14}{}", share.floor.name, share.line())?;
        }
        for why in &self.unmeasured {
            writeln!(f, "  not measured: {why}")?;
        }
        Ok(())
    }
}

impl Share {
    /// Such as `9000000 updates/s, of which this run is 12.0 %; at the same load ..`.
    pub(crate) fn line(&self) -> String {
        let whole =
            format!("{:.0} updates/s, of which this run is {:.1} %", self.floor.updates_per_s, self.percent);
        let Some(same) = &self.floor.same_load else { return whole + "; it does not sustain the same load" };
        let times = |times: Option<f64>| times.map_or_else(String::new, |times| format!(" (x {times:.1})"));
        format!(
            "{whole}; at the same load p50 {} us{}, p99 {} us{}, {:.2} us of CPU per update{}",
            same.p50_us,
            times(self.p50_times),
            same.p99_us,
            times(self.p99_times),
            same.us_per_update,
            times(self.cpu_times)
        )
    }
}
