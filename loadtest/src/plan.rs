//! The settings of a run.
//!
//! Owns what follows from command line and scenario: who subscribes to what, where, when and how. Never connects. The plan is
//! made once in [`crate::run`] and shared, unchanged, by all threads.

mod arguments;
mod group;
mod profile;
mod scenario;
mod storm;

use crate::bench::BenchArgs;
use crate::ceiling::CeilingArgs;
use crate::compare::CompareArgs;
use crate::faults::FaultsArgs;
use crate::faults::rolling::RollingArgs;
use crate::find_max::FindMaxArgs;
use crate::naive::NaiveArgs;
use crate::scan::Channel;
use crate::threshold::Threshold;
use clap::{Parser, Subcommand};
use hyper::Uri;
use std::net::Ipv4Addr;
use std::time::Duration;

pub(crate) use arguments::RunArgs;
pub(crate) use group::{Depth, Group, Policy};
pub(crate) use profile::Profile;
pub(crate) use scenario::{OwnGateway, Scenario};
pub(crate) use storm::Storm;

const PORT_DEFAULT: u16 = 80;
/// Where the gateway listens when nobody says otherwise.
const URL_DEFAULT: &str = "ws://127.0.0.1:8080/v2";
const ADMIN_DEFAULT: &str = "127.0.0.1:9464";
const DURATION_DEFAULT: Duration = Duration::from_secs(10);
const SILENCE_DEFAULT: Duration = Duration::from_secs(5);
const RAMP_DEFAULT: u32 = 500;
/// Clients of one source address: less than the 28,000 ports that Linux hands out.
const CLIENTS_PER_SOURCE: u32 = 20_000;

/// Load generator and verifier for the market-data gateway.
///
/// Opens many WebSocket connections, subscribes, and checks every message against an order book of its own:
/// checksums, sequence links, trade numbers, notices against losses, order of messages, silence. Reports rates, latency and
/// every violation of the protocol.
///
/// Exit code: 0 clean; 1 a violation or a lost connection; 2 bad usage, or no connection at all; 3 clean, but a threshold
/// does not hold. docs/loadtest.md explains scenarios, thresholds and how to read a report.
#[derive(Parser, Debug)]
#[command(name = "loadtest", version, max_term_width = 110)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Connect clients to a gateway, verify what they get, and report.
    ///
    /// Clients of several profiles can be mixed by percentage; a scenario file holds the whole of it. Every message to every
    /// client is verified, and with an admin listener the gateway's own counts are compared with what arrived.
    Run(Box<RunArgs>),
    /// Find the highest rate of the feed that a gateway sustains: p99 within a bound, and no violation.
    ///
    /// Starts a gateway and a feed, the programs beside this one, for each rate that is tried; raises the rate until it does not
    /// hold, then closes in. A rate that does not hold is tried twice. The settings of clients are those of `run`.
    FindMax(Box<FindMaxArgs>),
    /// Let everything go wrong, again and again, while verifying clients watch: kills, cuts, stalls, no descriptors, a full disk.
    ///
    /// Starts a feed, a gateway and proxies between them and the clients, the programs beside this one. Measures after each fault
    /// how long it takes until every client is served and verified again, and in the end compares every book and every trade with
    /// what the feed told. Exit code 1 on any violation: a loss that was not told, a wrong book, a recovery that took too long.
    Faults(FaultsArgs),
    /// Drain a gateway full of clients while a second one on the same feed takes them over.
    Rolling(RollingArgs),
    /// Show two reports of `run` beside each other, and what has become better or worse.
    Compare(CompareArgs),
    /// Measure the gateway beside the machine's own limit and beside other servers.
    ///
    /// Starts each server as a child process on a core of its own, and everything else on another; interleaves rounds over all
    /// servers; prints medians and ratios, and judges nothing. Method: docs/performance.md.
    Bench(BenchArgs),
    /// Serve as the machine's own limit: bytes framed once, written to each subscriber, and nothing else.
    Ceiling(CeilingArgs),
    /// Serve as one does at first: a queue and two tasks per client, one write per message. A peer of the bench.
    Naive(NaiveArgs),
}

/// Where to connect.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The address as it was given.
    pub(crate) url: String,
    /// Host name or address, without brackets.
    pub(crate) host: String,
    /// Port.
    pub(crate) port: u16,
    /// `Host` header.
    pub(crate) authority: String,
    /// Path and query of the request.
    pub(crate) path: String,
}

/// Which symbols to use.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Symbols {
    /// These.
    Named(Vec<String>),
    /// The first so many that the server lists.
    First(usize),
}

/// Where the gateway's counts are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admin {
    /// Nobody knows.
    None,
    /// Here, if anything answers.
    Maybe(String),
    /// Here.
    At(String),
}

/// The settings, before the symbols are known.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// What the scenario is called.
    pub(crate) title: Option<String>,
    /// What it shows.
    pub(crate) about: Option<String>,
    /// Where to connect.
    pub(crate) target: Target,
    /// Where the gateway's counts are.
    pub(crate) admin: Admin,
    /// A gateway to start; its addresses replace the two above.
    pub(crate) own: Option<OwnGateway>,
    /// Connections of the ramp; at least 1.
    pub(crate) clients: u32,
    /// How they behave; at least one.
    pub(crate) groups: Vec<Group>,
    /// Which symbols.
    pub(crate) symbols: Symbols,
    /// Length of the measured window.
    pub(crate) duration: Duration,
    /// Connections per second.
    pub(crate) ramp: u32,
    /// Storms of the window.
    pub(crate) storms: Vec<Storm>,
    /// Threads, at least 1.
    pub(crate) threads: usize,
    /// Addresses to connect from, when the server is on this machine.
    pub(crate) sources: u32,
    /// Longest silence.
    pub(crate) silence: Duration,
    /// What must hold.
    pub(crate) thresholds: Vec<Threshold>,
}

/// The settings with the symbols known.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What was asked for.
    pub(crate) settings: Settings,
    /// All symbols of the run; at least as many as any client wants.
    pub(crate) symbols: Vec<String>,
    /// Group of each client of the ramp; those of storms are behind them.
    groups: Vec<u16>,
    /// Clients of the ramp and of all storms.
    pub(crate) clients: u32,
}

impl Settings {
    /// What command line and scenario ask for together; says what does not fit.
    pub(crate) fn new(args: &RunArgs) -> Result<Self, String> {
        let scenario = args.scenario.as_deref().map_or_else(|| Ok(Scenario::default()), Scenario::read)?;
        let of_file = |error: String| match &args.scenario {
            Some(path) => format!("{}: {error}", path.display()),
            None => error,
        };
        let own = own_gateway(args, &scenario);
        let file_url = scenario.url().map_err(of_file)?;
        let admin = match (&args.admin, &args.url, &scenario.admin, &file_url) {
            (Some(admin), ..) | (None, None, Some(admin), _) => {
                if admin == "none" {
                    Admin::None
                } else {
                    Admin::At(admin.clone())
                }
            }
            (None, None, None, None) => Admin::Maybe(ADMIN_DEFAULT.to_owned()),
            _ => Admin::None,
        };
        let target = match args.url.clone().or(file_url) {
            Some(target) => target,
            None => parse_target(URL_DEFAULT)?,
        };
        let clients = args.clients.or(scenario.clients).unwrap_or(1).max(1);
        let storms =
            if args.storms.is_empty() { scenario.storms().map_err(of_file)? } else { args.storms.clone() };
        let all = clients + storms.iter().map(Storm::newcomers).sum::<u32>();
        let mut thresholds = scenario.thresholds().map_err(of_file)?;
        thresholds.extend(args.thresholds.iter().cloned());
        Ok(Self {
            groups: groups(args, &scenario, &target).map_err(of_file)?,
            symbols: args.symbols.clone().or_else(|| scenario.symbols()).unwrap_or(Symbols::First(1)),
            duration: args.duration.or(scenario.duration().map_err(of_file)?).unwrap_or(DURATION_DEFAULT),
            ramp: args.ramp.or(scenario.ramp).unwrap_or(RAMP_DEFAULT).max(1),
            threads: args.threads.or(scenario.threads).unwrap_or(1).max(1),
            sources: args.sources.or(scenario.sources).unwrap_or_else(|| all.div_ceil(CLIENTS_PER_SOURCE)),
            silence: args.silence.or(scenario.silence().map_err(of_file)?).unwrap_or(SILENCE_DEFAULT),
            title: scenario.title,
            about: scenario.about,
            target,
            admin,
            own,
            clients,
            storms,
            thresholds,
        })
    }
}

fn own_gateway(args: &RunArgs, scenario: &Scenario) -> Option<OwnGateway> {
    let of_file = scenario.gateway.clone().filter(|own| own.start && args.url.is_none());
    let mut own = of_file.or_else(|| args.start.then(OwnGateway::default))?;
    if let Some(rate) = args.rate {
        own.feed_rate = rate;
    }
    Some(own)
}

/// The groups of the flag, of the file, or the one that there is without either.
fn groups(args: &RunArgs, scenario: &Scenario, target: &Target) -> Result<Vec<Group>, String> {
    let default = Group {
        name: String::new(),
        share: 1.0,
        profile: Profile::Fast,
        channel: args.channel.unwrap_or(Channel::Book),
        depth: args.depth.unwrap_or(Depth::D10),
        symbols_per_client: args.symbols_per_client.unwrap_or(1),
        policy: args.policy,
        opted_in: target.opts_in() || args.policy.is_some(),
    };
    let Some(mix) = &args.mix else {
        let of_file = scenario.groups(&default)?;
        return Ok(
            of_file.unwrap_or_else(|| vec![Group { name: Profile::Fast.name().to_owned(), ..default }])
        );
    };
    let percents: Vec<f64> = mix.0.iter().map(|(_, percent)| *percent).collect();
    let shares = group::shares(&percents)?;
    let group = |((profile, _), share): (&(Profile, f64), f64)| Group {
        name: profile.name().to_owned(),
        share,
        profile: *profile,
        opted_in: default.opted_in || *profile != Profile::Fast,
        ..default.clone()
    };
    Ok(mix.0.iter().zip(shares).map(group).collect())
}

impl Plan {
    /// The plan for these settings and symbols; says what is wrong when there are too few symbols.
    pub(crate) fn new(settings: Settings, mut symbols: Vec<String>) -> Result<Self, String> {
        if let Symbols::First(count) = settings.symbols {
            symbols.truncate(count);
        }
        for group in &settings.groups {
            let asked = group.symbols_per_client;
            if symbols.len() < asked || asked == 0 {
                return Err(format!(
                    "--symbols-per-client {asked} of {} symbols: name more symbols",
                    symbols.len()
                ));
            }
        }
        let newcomers: u32 = settings.storms.iter().map(Storm::newcomers).sum();
        let groups = group::spread(settings.clients, &settings.groups);
        Ok(Self { clients: settings.clients + newcomers, groups, symbols, settings })
    }

    /// Number of the group of a client. Those of storms are fast: they have the first group that is, or the first.
    pub(crate) fn group_of(&self, client: u32) -> usize {
        let fast =
            || self.settings.groups.iter().position(|group| group.profile == Profile::Fast).unwrap_or(0);
        self.groups.get(client as usize).map_or_else(fast, |group| usize::from(*group))
    }

    /// The symbols of one client, round robin over all.
    pub(crate) fn symbols_of(&self, client: u32) -> impl Iterator<Item = &str> {
        let (all, each) =
            (self.symbols.len(), self.settings.groups[self.group_of(client)].symbols_per_client);
        let first = client as usize * each % all;
        (first..first + each).map(move |i| self.symbols[i % all].as_str())
    }

    /// When a client of the ramp connects, after the start of the run.
    pub(crate) fn connect_after(&self, client: u32) -> Duration {
        Duration::from_secs_f64(f64::from(client) / f64::from(self.settings.ramp))
    }

    /// The address that a client connects from, when the choice is not the system's.
    pub(crate) fn source_of(&self, client: u32) -> Option<Ipv4Addr> {
        (self.settings.sources > 1).then(|| {
            let number = client % self.settings.sources;
            Ipv4Addr::new(127, 1 + (number / 250) as u8, (number % 250) as u8, 1)
        })
    }
}

impl Target {
    /// Whether the address opts in to the superset.
    pub(crate) fn opts_in(&self) -> bool {
        let query = self.path.split_once('?').map_or("", |(_, query)| query);
        query.split('&').any(|pair| pair == "ext=1")
    }

    /// Path and query for a client that opts in, or does not by itself.
    pub(crate) fn path_for(&self, opted_in: bool) -> String {
        match (opted_in && !self.opts_in(), self.path.contains('?')) {
            (false, _) => self.path.clone(),
            (true, true) => format!("{}&ext=1", self.path),
            (true, false) => format!("{}?ext=1", self.path),
        }
    }
}

pub(crate) fn parse_target(text: &str) -> Result<Target, String> {
    let uri: Uri = text.parse().map_err(|e| format!("{e}"))?;
    if uri.scheme_str() != Some("ws") {
        return Err("give a ws:// address; TLS is not supported".to_owned());
    }
    let authority = uri.authority().ok_or("the address has no host")?;
    Ok(Target {
        url: text.to_owned(),
        host: authority.host().trim_start_matches('[').trim_end_matches(']').to_owned(),
        port: authority.port_u16().unwrap_or(PORT_DEFAULT),
        authority: authority.to_string(),
        path: uri.path_and_query().map_or("/", |p| p.as_str()).to_owned(),
    })
}

fn parse_symbols(text: &str) -> Result<Symbols, String> {
    if let Ok(count) = text.parse::<usize>() {
        return if count > 0 { Ok(Symbols::First(count)) } else { Err("at least 1".to_owned()) };
    }
    let mut names: Vec<String> = Vec::new();
    for name in text.split(',').map(str::trim) {
        match name {
            "" => return Err("an empty symbol".to_owned()),
            _ if names.iter().any(|n| n == name) => return Err(format!("{name} is named twice")),
            _ => names.push(name.to_owned()),
        }
    }
    Ok(Symbols::Named(names))
}

fn parse_positive(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("at least 1".to_owned()),
        Ok(n) => Ok(n),
        Err(e) => Err(format!("{e}")),
    }
}

pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let number: u64 = number.parse().map_err(|_| "give a number and a unit, like 10s".to_owned())?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("unit {unit:?} is none of ms, s, m, h")),
    };
    match number.checked_mul(unit_ms) {
        Some(0) => Err("more than nothing".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
        None => Err("too long".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(line: &str) -> Result<Settings, String> {
        let words = ["loadtest", "run"].into_iter().chain(line.split_ascii_whitespace());
        let Command::Run(args) = Cli::try_parse_from(words).map_err(|e| e.to_string())?.command else {
            panic!("run is run");
        };
        Settings::new(&args)
    }

    fn plan(line: &str) -> Result<Plan, String> {
        let settings = settings(line)?;
        let symbols = match &settings.symbols {
            Symbols::Named(names) => names.clone(),
            Symbols::First(_) => ["A/X", "B/X", "C/X", "D/X"].map(str::to_owned).to_vec(),
        };
        Plan::new(settings, symbols)
    }

    fn refused(line: &str, reason: &str) {
        let error = plan(line).unwrap_err();
        assert!(error.contains(reason), "{line}: {error}");
    }

    #[test]
    fn symbols_go_round_robin() {
        let plan = plan("--symbols 3 --symbols-per-client 2 --clients 3").unwrap();
        let all: Vec<String> = (0..3).map(|c| plan.symbols_of(c).collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(all, ["A/X B/X", "C/X A/X", "B/X C/X"]);
    }

    #[test]
    fn request_asks_for_the_parameters_of_its_channel_and_group() {
        let params = |line: &str| plan(line).unwrap().settings.groups[0].params(&["BTC/USD"], None);
        let expected = serde_json::json!({"channel":"book","symbol":["BTC/USD"],"depth":25,"snapshot":true});
        assert_eq!(params("--depth 25"), expected);
        assert!(params("--channel ticker").get("depth").is_none());
        let limited = params("--mix limited:50ms+2kB/s=100 --policy conflate");
        assert_eq!((&limited["interval_ms"], &limited["max_bytes_per_s"]), (&50.into(), &2_000.into()));
        assert_eq!(limited["policy"], "conflate");
    }

    #[test]
    fn who_uses_the_superset_opts_in() {
        let settings = settings("--mix fast=50,slow=50").unwrap();
        let paths: Vec<_> =
            settings.groups.iter().map(|group| settings.target.path_for(group.opted_in)).collect();
        assert_eq!(paths, ["/v2", "/v2?ext=1"]);
    }

    #[test]
    fn address_is_taken_apart() {
        let Target { host, port, authority, path, .. } = parse_target("ws://[::1]:9/v2?a=b&ext=1").unwrap();
        assert_eq!((host.as_str(), port), ("::1", 9));
        assert_eq!((authority.as_str(), path.as_str()), ("[::1]:9", "/v2?a=b&ext=1"));
        assert!(plan("--url ws://[::1]:9/v2?a=b&ext=1").unwrap().settings.groups[0].opted_in);
    }

    #[test]
    fn the_admin_listener_is_known_of_the_default_gateway_only() {
        assert_eq!(settings("").unwrap().admin, Admin::Maybe(ADMIN_DEFAULT.to_owned()));
        assert_eq!(settings("--url ws://127.0.0.1:1/v2").unwrap().admin, Admin::None);
        assert_eq!(settings("--admin none").unwrap().admin, Admin::None);
        let given = settings("--url ws://127.0.0.1:1/v2 --admin 127.0.0.1:2").unwrap().admin;
        assert_eq!(given, Admin::At("127.0.0.1:2".to_owned()));
    }

    #[test]
    fn scenarios_that_are_shipped_can_be_run() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let files: Vec<_> =
            files.filter(|path| path.extension().is_some_and(|ending| ending == "toml")).collect();
        assert!(files.len() >= 4, "{files:?}");
        for file in files {
            let args = RunArgs { scenario: Some(file.clone()), ..RunArgs::default() };
            let settings = Settings::new(&args).unwrap_or_else(|error| panic!("{error}"));
            let is_whole = settings.title.is_some() && settings.about.is_some() && settings.own.is_some();
            assert!(is_whole && !settings.thresholds.is_empty(), "{}", file.display());
            let symbols = (0..settings.own.as_ref().unwrap().feed_symbols).map(|at| at.to_string()).collect();
            Plan::new(settings, symbols).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
    }

    #[test]
    fn newcomers_of_a_storm_are_fast_and_counted() {
        let plan = plan("--clients 4 --mix slow=50,fast=50 --storm connect:6@1s").unwrap();
        assert_eq!((plan.clients, plan.group_of(9)), (10, 1));
    }

    #[test]
    fn many_clients_connect_from_several_addresses() {
        assert_eq!(plan("--clients 20000").unwrap().source_of(7), None, "the system's choice");
        let plan = plan("--clients 50000").unwrap();
        let sources: std::collections::BTreeSet<_> =
            (0..50_000).map(|client| plan.source_of(client)).collect();
        assert_eq!(sources.len(), 3);
        assert!(sources.iter().all(|source| source.is_some_and(|address| address.is_loopback())));
    }

    #[test]
    fn bad_settings_are_refused_with_the_reason() {
        refused("--url http://127.0.0.1/v2", "ws://");
        refused("--depth 11", "possible values: 10, 25, 100, 500, 1000");
        refused("--duration 10x", "none of ms, s, m, h");
        refused("--duration 0s", "more than nothing");
        refused("--symbols A/X,,B/X", "empty symbol");
        refused("--symbols A/X,A/X", "named twice");
        refused("--symbols 0", "at least 1");
        refused("--symbols A/X --symbols-per-client 2", "name more symbols");
        refused("--clients 0", "0 is not in 1..");
        refused("--threads 0", "at least 1");
        refused("--mix fast=60,slow=30", "90 in all");
        refused("--scenario nowhere.toml", "cannot read nowhere.toml");
    }
}
