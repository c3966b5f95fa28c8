//! The search for the highest rate of the feed that a gateway sustains.
//!
//! Owns the rates that are tried and what counts as held. Never measures: each try is a whole run with servers of its own, so that
//! what a rate broke does not break the next one. The feed is open loop: an event carries the time at which it was due, so a
//! gateway that falls behind is late by all of it.

use crate::bench;
use crate::plan::{OwnGateway, RunArgs, Settings, parse_duration};
use crate::report::{EXIT_BREACHED, EXIT_CLEAN, Report};
use crate::run;
use clap::Args;
use serde::Serialize;
use std::time::Duration;

/// How much the rate is raised while nothing has failed, and lowered while nothing has held.
const STEP: f64 = 2.0;
/// Rates that are tried at most.
const TRIES_MAX: usize = 24;
/// Runs of a rate that does not hold: a machine with other work makes a good rate fail now and then.
const RUNS_MAX: usize = 2;
/// Lines per second while clients connect, at most.
const RAMP_RATE_MAX: f64 = 1_000.0;
/// Share of the rate that the gateway must have taken from the feed.
const TAKEN_MIN: f64 = 0.95;
/// Length of a try, when nobody says.
const DURATION_DEFAULT: Duration = Duration::from_secs(5);

/// Settings of `loadtest find-max`.
#[derive(Args, Debug, Clone)]
pub(crate) struct FindMaxArgs {
    #[command(flatten)]
    run: RunArgs,
    /// The p99 of the latency, from the feed's event to the receipt, that must be kept.
    #[arg(long, default_value = "50ms", value_name = "TIME", value_parser = parse_duration, help_heading = "Search")]
    p99: Duration,
    /// The first rate that is tried, in lines of the feed per second.
    #[arg(long, default_value_t = 4_000.0, value_name = "PER_SECOND", help_heading = "Search")]
    from: f64,
    /// How close, in per cent, the highest rate that holds and the lowest that does not must come.
    #[arg(long, default_value_t = 10.0, value_name = "PERCENT", help_heading = "Search")]
    precision: f64,
}

/// One rate and what came of it.
#[derive(Clone, Debug, Serialize)]
struct Try {
    /// Lines of the feed per second.
    rate: f64,
    holds: bool,
    /// Why not.
    reason: Option<String>,
    p99_us: Option<u64>,
    updates_per_s: f64,
    violations: u64,
    gateway_cpu_percent: Option<f64>,
    generator_cpu_percent: f64,
    /// What the machine's own limit is measured with.
    #[serde(skip)]
    load: Option<bench::Load>,
}

/// The result.
#[derive(Serialize)]
struct Found<'a> {
    version: &'static str,
    p99_bound_us: u64,
    /// The highest rate that held; none when none did.
    max: Option<&'a Try>,
    tries: &'a [Try],
    /// That rate as a share of what each floor sustains, in percent of updates, when that was asked for.
    ceiling: Option<Vec<Share>>,
}

/// A floor, and what the highest rate is of it.
#[derive(Serialize)]
struct Share {
    #[serde(flatten)]
    floor: bench::Floor,
    percent: f64,
}

/// Searches, prints, and returns the exit code.
pub(crate) fn run(args: &FindMaxArgs) -> Result<u8, String> {
    let mut settings = Settings::new(&args.run)?;
    if args.run.url.is_some() || args.run.admin.is_some() {
        return Err("find-max starts its own gateway: --url and --admin mean nothing to it".to_owned());
    }
    let is_positive = |number: f64| number.is_finite() && number > 0.0;
    if !is_positive(args.from) || !is_positive(args.precision) {
        return Err("--from and --precision are above 0".to_owned());
    }
    if args.run.duration.is_none() && args.run.scenario.is_none() {
        settings.duration = DURATION_DEFAULT;
    }
    let mut search =
        Search { held: None, failed: None, first: args.from, ratio: 1.0 + args.precision / 100.0 };
    let mut tries = Vec::new();
    while let Some(rate) = search.next().filter(|_| tries.len() < TRIES_MAX) {
        let tried = try_rate(&settings, rate, args)?;
        search.tell(rate, tried.holds);
        tries.push(tried);
    }
    conclude(args, &tries)
}

fn conclude(args: &FindMaxArgs, tries: &[Try]) -> Result<u8, String> {
    let max = tries.iter().filter(|tried| tried.holds).max_by(|a, b| a.rate.total_cmp(&b.rate));
    let p99_bound_us = args.p99.as_micros() as u64;
    let ceiling = max.and_then(|max| Some((args.run.ceiling?, max.load?)));
    let ceiling = ceiling.map(|(window, load)| measure_ceiling(&load, window)).transpose()?;
    let found = Found { version: env!("CARGO_PKG_VERSION"), p99_bound_us, max, tries, ceiling };
    let json = serde_json::to_string(&found).map_err(|e| format!("the result is no JSON: {e}"))?;
    match &args.run.json {
        Some(_) if args.run.prints_json() => println!("{json}"),
        Some(path) => {
            std::fs::write(path, json + "\n").map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        }
        None => {}
    }
    if !args.run.prints_json() {
        match max {
            Some(max) => println!(
                "max         {:.0} lines/s of the feed: {:.0} updates/s received and verified, p99 {} us",
                max.rate,
                max.updates_per_s,
                max.p99_us.unwrap_or(0)
            ),
            None => println!("max         no rate that was tried holds"),
        }
        for Share { floor, percent } in found.ceiling.iter().flatten() {
            println!(
                "ceiling     {percent:.1} % of the {:.0} updates/s of {}",
                floor.updates_per_s, floor.name
            );
        }
    }
    Ok(if max.is_some() { EXIT_CLEAN } else { EXIT_BREACHED })
}

/// The machine's own limit with the clients of the highest rate. A floor that cannot be measured is said to be so.
fn measure_ceiling(load: &bench::Load, window: Duration) -> Result<Vec<Share>, String> {
    let limit = bench::limit(load, window)?;
    limit.unmeasured.iter().for_each(|why| eprintln!("ceiling: {why}"));
    let share =
        |floor: bench::Floor| Share { percent: 100.0 * load.updates_per_s / floor.updates_per_s, floor };
    Ok(limit.floors.into_iter().map(share).collect())
}

fn try_rate(settings: &Settings, rate: f64, args: &FindMaxArgs) -> Result<Try, String> {
    let mut tried = None;
    for _ in 0..RUNS_MAX {
        let mut settings = settings.clone();
        let own = settings.own.get_or_insert_with(OwnGateway::default);
        own.feed_rate = rate;
        own.ramp_rate = Some(rate.min(RAMP_RATE_MAX));
        let report = run::run_settings(settings, true, true).map_err(|e| e.to_string())?.report();
        let outcome = judge(&report, rate, args.p99);
        eprintln!(
            "{rate:>10.0} lines/s: {}, p99 {} us, {:.0} updates/s, {} violations, gateway {:.0} %, generator {:.0} %",
            outcome.reason.as_deref().unwrap_or("holds"),
            outcome.p99_us.unwrap_or(0),
            outcome.updates_per_s,
            outcome.violations,
            outcome.gateway_cpu_percent.unwrap_or(0.0),
            outcome.generator_cpu_percent,
        );
        let holds = outcome.holds;
        tried = Some(outcome);
        if holds {
            break;
        }
    }
    tried.ok_or_else(|| "no run was made".to_owned())
}

fn judge(report: &Report, rate: f64, p99: Duration) -> Try {
    let p99_us = report.latency_us.as_ref().map(|latency| latency.p99);
    let breached = report.thresholds.iter().find(|verdict| !verdict.holds);
    let taken = report.gateway.as_ref().map(|gateway| gateway.feed_per_s);
    let reason = if !report.clean {
        Some(format!("{} violations", report.violations.total))
    } else if p99_us.is_none_or(|us| u128::from(us) > p99.as_micros()) {
        Some("p99 above its bound".to_owned())
    } else if let Some(verdict) = breached {
        Some(verdict.to_string())
    } else if taken.is_some_and(|taken| taken < TAKEN_MIN * rate) {
        Some(format!("the gateway took {:.0} lines/s", taken.unwrap_or(0.0)))
    } else {
        None
    };
    let saturated = if report.cpu.saturated { " (the generator is the limit)" } else { "" };
    Try {
        rate,
        holds: reason.is_none(),
        reason: reason.map(|reason| format!("does not hold, {reason}{saturated}")),
        p99_us,
        updates_per_s: report.updates_per_s,
        violations: report.violations.total,
        gateway_cpu_percent: report.gateway.as_ref().map(|gateway| gateway.cpu_percent),
        generator_cpu_percent: report.cpu.busiest_thread_percent,
        load: report.load(),
    }
}

/// Bounds that close in on the top.
struct Search {
    /// The highest rate that held.
    held: Option<f64>,
    /// The lowest rate that failed.
    failed: Option<f64>,
    first: f64,
    /// Bounds this close to each other end the search.
    ratio: f64,
}

impl Search {
    /// The next rate to try; none when the search is over.
    fn next(&self) -> Option<f64> {
        match (self.held, self.failed) {
            (None, None) => Some(self.first),
            (Some(held), None) => Some(held * STEP),
            (None, Some(failed)) if failed < 1.0 => None,
            (None, Some(failed)) => Some(failed / STEP),
            (Some(held), Some(failed)) if failed / held <= self.ratio => None,
            (Some(held), Some(failed)) => Some((held * failed).sqrt()),
        }
    }

    fn tell(&mut self, rate: f64, holds: bool) {
        if holds { self.held = Some(rate) } else { self.failed = Some(rate) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_closes_in_on_the_top_from_anywhere() {
        for (first, limit) in [(10.0, 12_345.0), (50_000.0, 700.0), (1_000.0, 1_000.0)] {
            let mut search = Search { held: None, failed: None, first, ratio: 1.05 };
            let mut tries = 0;
            while let Some(rate) = search.next() {
                search.tell(rate, rate <= limit);
                tries += 1;
            }
            let top = search.held.unwrap();
            assert!(
                top <= limit && top * 1.06 > limit && tries < TRIES_MAX,
                "{top} of {limit}, {tries} tries"
            );
        }
        let mut search = Search { held: None, failed: None, first: 100.0, ratio: 1.05 };
        while let Some(rate) = search.next() {
            search.tell(rate, false);
        }
        assert_eq!(search.held, None, "a gateway that holds nothing ends the search");
    }
}
