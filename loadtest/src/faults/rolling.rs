//! The rolling restart: a full gateway is drained, and its clients go on at another one on the same feed.
//!
//! Owns the order, and what must hold: connections are closed evenly, at most twice the mean in any second; everybody comes back
//! at the time that it was told and goes on from where it stood; no trade is lost without being told; in the end every book is the
//! feed's. Clients, servers and the comparison are those of the fault run beside it.

use super::conduct::complain;
use super::crowd::{Crowd, Excuse, Order, Outcome};
use super::ledger::{Compared, Losses};
use super::reference::{Record, Reference};
use super::report::{compare, fmt_losses, fmt_truth, fmt_violations};
use super::servers::{Feed, FeedSettings, Gateway, GatewaySettings};
use super::watcher::End;
use super::{STANDARD_OUTPUT, plan, print, role};
use crate::plan::{Depth, Group, Profile, parse_duration};
use crate::report::{Close, EXIT_CLEAN, EXIT_VIOLATED, Machine, Violations, closes_of, violations_of};
use crate::run::files;
use crate::scan::Channel;
use crate::tally::Tally;
use crate::time;
use crate::violation::Kind;
use clap::Args;
use serde::Serialize;
use std::fmt::{Display, Formatter};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Symbols: with three roles and two shards, each stream is wanted of each shard.
const SYMBOLS: usize = 25;
/// Clients that are at the second gateway from the start, so that it has all streams, as one that serves has.
const RESIDENTS: u32 = 150;
/// How many connect per second.
const RAMP: u32 = 500;
const FIRST_EPOCH: u64 = 1;
/// Events of each symbol before anybody connects, so that it has traded.
const EVENTS_BEFORE: u64 = 30;
/// Beyond their times, how long the end of the gateway and the return of everybody may take.
const GRACE: Duration = Duration::from_secs(30);
/// How long everybody may take to be served at first, beside the ramp.
const START_LIMIT: Duration = Duration::from_secs(30);
const LOOK_EVERY: Duration = Duration::from_millis(5);
const SERVICE_RESTART: u16 = 1012;

/// Settings of `loadtest rolling`.
#[derive(Args, Debug, Clone)]
pub(crate) struct RollingArgs {
    /// Clients of the gateway that is drained.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Time over which they are closed (drain.window_ms).
    #[arg(long, default_value = "60s", value_parser = parse_duration, value_name = "TIME")]
    window: Duration,
    /// Within what time they are asked to come back (drain.reconnect_ms).
    #[arg(long, default_value = "5s", value_parser = parse_duration, value_name = "TIME")]
    reconnect: Duration,
    /// Lines of the feed per second.
    #[arg(long, default_value_t = 100.0, value_name = "PER_SECOND")]
    rate: f64,
    /// The gateway to run [default: the program beside this one].
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    /// Write the report as one JSON object to this file; without a file, print it and nothing else.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STANDARD_OUTPUT)]
    json: Option<PathBuf>,
}

/// How evenly connections were closed.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
struct Evenness {
    closes: usize,
    /// From the first to the last.
    seconds: f64,
    mean_per_s: f64,
    /// In any second, wherever it begins.
    most_per_s: usize,
    most_over_mean: f64,
}

#[derive(Serialize)]
struct Report {
    version: &'static str,
    finished_at: i64,
    clean: bool,
    exit_code: u8,
    machine: Machine,
    clients: u32,
    window_s: f64,
    reconnect_s: f64,
    rate: f64,
    evenness: Evenness,
    /// From SIGTERM to the end of the process.
    gone_after_s: f64,
    /// From SIGTERM to when everybody was served by the other gateway.
    back_after_s: Option<f64>,
    /// Went on, and got a snapshot.
    resumed: [u64; 2],
    messages: u64,
    trades_received: u64,
    losses: Losses,
    compared: Compared,
    compared_in_the_end: u64,
    closes: Vec<Close>,
    violations: Violations,
}

/// What was measured.
struct Measured {
    gone_after: Duration,
    back_after: Option<Duration>,
    outcome: Outcome,
    record: Arc<Record>,
    symbols: Vec<String>,
}

/// Drains a gateway, prints the report, and returns the exit code.
pub(crate) fn run(args: &RollingArgs) -> Result<u8, String> {
    files::check(args.clients + RESIDENTS)?;
    let mut tally = Tally::new(&[]);
    let measured = roll(args, &mut tally)?;
    let report = Report::new(args, measured, tally);
    print(&report.json(), &report.to_string(), args.json.as_ref())?;
    Ok(report.exit_code)
}

fn roles() -> [Group; 3] {
    let resuming = Profile::Resuming { every: Duration::MAX };
    let one = |name, channel| role(name, resuming, channel, Depth::D10, 1);
    [one("book", Channel::Book), one("trades", Channel::Trade), one("more trades", Channel::Trade)]
}

fn roll(args: &RollingArgs, tally: &mut Tally) -> Result<Measured, String> {
    let mut feed = Feed::start(&FeedSettings { symbols: SYMBOLS, rate: args.rate, seed: 1 }, FIRST_EPOCH)?;
    let mut reference = Reference::follow(feed.address, SYMBOLS)?;
    let symbols = reference.symbols().to_vec();
    let settings = GatewaySettings {
        program: args.gateway.clone(),
        feed: feed.address,
        symbols: SYMBOLS,
        descriptors: None,
        log: None,
        environment: environment(args),
    };
    let (mut old, new) = (Gateway::start(&settings)?, Gateway::start(&settings)?);
    reference.wait_events(EVENTS_BEFORE)?;
    let all = RESIDENTS + args.clients;
    let mut crowd = Crowd::start(plan(all, &roles(), &symbols, new.public)?, new.public)?;
    gather(&mut crowd, 0..RESIDENTS, RESIDENTS)?;
    crowd.order(Order::Address(old.public))?;
    gather(&mut crowd, RESIDENTS..all, all)?;
    eprintln!("{} clients are served; the gateway is drained over {:.0?}", args.clients, args.window);
    crowd.shared.excuse(Excuse::Goodbye);
    crowd.order(Order::Address(new.public))?;
    let since = Instant::now();
    old.terminate()?;
    let status = old.wait(args.window + GRACE);
    let gone_after = since.elapsed();
    if !status.is_some_and(|status| status.success()) {
        let expected = "the gateway to end by itself with 0 after SIGTERM";
        complain(tally, Kind::Misbehaved, expected, format!("{status:?}"));
    }
    eprintln!("it has ended after {gone_after:.1?}; everybody comes back");
    let back_after = wait_served(&crowd, all, args.reconnect + GRACE).map(|at| at.duration_since(since));
    crowd.shared.excuse(Excuse::None);
    feed.quiet()?;
    reference.settle()?;
    let record = Arc::new(reference.finish()?);
    crowd.order(Order::Conclude(Arc::clone(&record), GRACE))?;
    let outcome = crowd.join()?;
    Ok(Measured { gone_after, back_after, outcome, record, symbols })
}

fn environment(args: &RollingArgs) -> Vec<(&'static str, String)> {
    let millis = |time: Duration| time.as_millis().to_string();
    vec![
        ("GATEWAY_SHARDS_COUNT", "2".to_owned()),
        ("GATEWAY_DRAIN_WINDOW_MS", millis(args.window)),
        ("GATEWAY_DRAIN_RECONNECT_MS", millis(args.reconnect)),
        ("GATEWAY_DRAIN_RESTART", "true".to_owned()),
    ]
}

/// Lets clients connect, and waits until so many are served.
fn gather(crowd: &mut Crowd, numbers: std::ops::Range<u32>, served: u32) -> Result<(), String> {
    let ramp = Duration::from_secs_f64(numbers.len() as f64 / f64::from(RAMP));
    crowd.order(Order::Connect(numbers, RAMP))?;
    let found = wait_served(crowd, served, ramp + START_LIMIT);
    found.map(drop).ok_or_else(|| "not everybody could connect".to_owned())
}

fn wait_served(crowd: &Crowd, served: u32, patience: Duration) -> Option<Instant> {
    let limit = Instant::now() + patience;
    while crowd.shared.served.load(Ordering::Relaxed) < u64::from(served) {
        if Instant::now() >= limit {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    Some(Instant::now())
}

impl Evenness {
    fn of(ends: &[End]) -> Self {
        let mut times: Vec<Instant> = ends.iter().map(|end| end.at).collect();
        times.sort_unstable();
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return Self::default() };
        // A few that are closed at once are no rate.
        let seconds = last.duration_since(*first).as_secs_f64().max(1.0);
        let within = |(at, from): (usize, &Instant)| {
            times[at..].partition_point(|time| time.duration_since(*from) < Duration::from_secs(1))
        };
        let most_per_s = times.iter().enumerate().map(within).max().unwrap_or(0);
        let mean_per_s = times.len() as f64 / seconds;
        Self {
            closes: times.len(),
            seconds,
            mean_per_s,
            most_per_s,
            most_over_mean: most_per_s as f64 / mean_per_s,
        }
    }
}

impl Report {
    fn new(args: &RollingArgs, measured: Measured, mut tally: Tally) -> Self {
        let Measured { gone_after, back_after, outcome, record, symbols } = measured;
        let evenness = Evenness::of(&outcome.ends);
        judge(args, &evenness, back_after, &outcome, &mut tally);
        let Outcome { tally: mut all, ledger, compared: compared_in_the_end, .. } = outcome;
        all.violations.merge(tally.violations);
        let compared = compare(&ledger, &record, &symbols, &mut all);
        let clean = all.violations.total() == 0 && ledger.losses.silent == 0;
        Self {
            version: env!("CARGO_PKG_VERSION"),
            finished_at: time::now() / 1_000_000,
            clean,
            exit_code: if clean { EXIT_CLEAN } else { EXIT_VIOLATED },
            machine: Machine::here(),
            clients: args.clients,
            window_s: args.window.as_secs_f64(),
            reconnect_s: args.reconnect.as_secs_f64(),
            rate: args.rate,
            evenness,
            gone_after_s: gone_after.as_secs_f64(),
            back_after_s: back_after.map(|time| time.as_secs_f64()),
            resumed: all.resumed,
            messages: all.counts.messages,
            trades_received: ledger.received,
            losses: ledger.losses,
            compared,
            compared_in_the_end,
            closes: closes_of(&all),
            violations: violations_of(&all),
        }
    }

    fn json(&self) -> String {
        serde_json::to_string(self).expect("the report has only string keys and finite numbers")
    }
}

/// What must hold beside what every client sees.
fn judge(
    args: &RollingArgs,
    evenness: &Evenness,
    back_after: Option<Duration>,
    outcome: &Outcome,
    tally: &mut Tally,
) {
    if evenness.most_over_mean > 2.0 {
        let expected = format!("at most twice the mean of {:.0} closes in any second", evenness.mean_per_s);
        complain(tally, Kind::Misbehaved, &expected, evenness.most_per_s.to_string());
    }
    let is_goodbye = |end: &&End| end.code == Some(SERVICE_RESTART) && end.asked_back.is_some();
    let goodbyes = outcome.ends.iter().filter(is_goodbye).count();
    if goodbyes != args.clients as usize || goodbyes != outcome.ends.len() {
        let expected = format!("{} goodbyes with 1012 that say when to come back", args.clients);
        complain(tally, Kind::Misbehaved, &expected, format!("{goodbyes} of {} ends", outcome.ends.len()));
    }
    let resumed: u64 = outcome.tally.resumed.iter().sum();
    if back_after.is_none() || resumed != u64::from(args.clients) {
        let expected = format!("{} clients to go on at the other gateway", args.clients);
        complain(tally, Kind::RecoveryLate, &expected, format!("{resumed}, after {back_after:?}"));
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let Evenness { closes, seconds, mean_per_s, most_per_s, most_over_mean } = &self.evenness;
        writeln!(f, "machine     {}", self.machine.line())?;
        writeln!(
            f,
            "drained     {} clients over {:.0} s, asked to come back within {:.0} s; {} lines/s",
            self.clients, self.window_s, self.reconnect_s, self.rate
        )?;
        writeln!(f, "closes      {closes} in {seconds:.1} s: {mean_per_s:.1} a second,")?;
        writeln!(f, "  at most {most_per_s} in any second, which is {most_over_mean:.2} times the mean")?;
        let back = self.back_after_s.map_or_else(|| "never".to_owned(), |s| format!("after {s:.1} s"));
        writeln!(f, "ended       after {:.1} s; everybody was back {back}", self.gone_after_s)?;
        writeln!(f, "resumed     {} went on, {} got a snapshot", self.resumed[0], self.resumed[1])?;
        writeln!(f, "messages    {}, all verified", self.messages)?;
        fmt_truth(f, &self.compared, self.compared_in_the_end)?;
        fmt_losses(f, &self.losses, self.trades_received)?;
        fmt_violations(f, &self.violations, &self.closes)?;
        writeln!(f, "result      {}", if self.clean { "clean" } else { "NOT CLEAN" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_second_may_begin_anywhere() {
        let start = Instant::now();
        let end = |ms| End {
            at: start + Duration::from_millis(ms),
            client: 0,
            code: Some(SERVICE_RESTART),
            reason: String::new(),
            asked_back: None,
        };
        let ends: Vec<End> = [0, 900, 1_000, 1_500, 1_899, 1_900, 4_000].map(end).into();
        let evenness = Evenness::of(&ends);
        assert_eq!((evenness.closes, evenness.most_per_s, evenness.seconds), (7, 4, 4.0));
        assert_eq!(Evenness::of(&[]), Evenness::default());
    }
}
