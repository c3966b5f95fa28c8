//! The command line of `loadtest run`: what can be given, and how it is read.
//!
//! Owns flags, their help and their parsing. Every setting is optional here, because a scenario may have it as well: the flag
//! wins, then the scenario, then the default of [`super::Plan`].

use super::group::{Depth, Mix, Policy, parse_mix};
use super::profile::PROFILES_HELP;
use super::storm::{Storm, parse_storm};
use super::{Symbols, Target, parse_duration, parse_positive, parse_symbols, parse_target};
use crate::scan::Channel;
use crate::threshold::{THRESHOLDS_HELP, Threshold, parse_threshold};
use clap::Args;
use std::path::PathBuf;
use std::time::Duration;

/// Where a report goes that is to be printed.
pub(crate) const STANDARD_OUTPUT: &str = "-";

/// Settings of `loadtest run`.
#[derive(Args, Debug, Clone, Default)]
#[command(after_long_help = format!("{PROFILES_HELP}\n\n{THRESHOLDS_HELP}"))]
pub(crate) struct RunArgs {
    /// Settings of the run as a TOML file, such as those in loadtest/scenarios; flags win over it.
    #[arg(long, value_name = "FILE", help_heading = "Server")]
    pub(crate) scenario: Option<PathBuf>,
    /// WebSocket address. A query of `ext=1` opts in to notices and second snapshots, so they are no violations
    /// [default: ws://127.0.0.1:8080/v2].
    #[arg(long, value_parser = parse_target, help_heading = "Server")]
    pub(crate) url: Option<Target>,
    /// The gateway's admin listener, HOST:PORT or `none`: its counts are compared with what clients received
    /// [default: 127.0.0.1:9464 when --url is not given, else none].
    #[arg(long, value_name = "ADDRESS", help_heading = "Server")]
    pub(crate) admin: Option<String>,
    /// Start a gateway and a feed for this run, the programs beside this one, and end them with it.
    #[arg(long, conflicts_with_all = ["url", "admin"], help_heading = "Server")]
    pub(crate) start: bool,
    /// With --start: lines per second of the feed [default: 2000].
    #[arg(long, value_name = "PER_SECOND", help_heading = "Server")]
    pub(crate) rate: Option<f64>,
    /// Connections to hold [default: 1].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..), help_heading = "Clients")]
    pub(crate) clients: Option<u32>,
    /// Profiles and how many per cent of the clients have them, such as fast=80,slow:64kB/s=15,stalled=5
    /// [default: fast=100].
    #[arg(long, value_name = "PROFILE=PERCENT,..", value_parser = parse_mix, help_heading = "Clients")]
    pub(crate) mix: Option<Mix>,
    /// Symbols to spread over the clients: a list like BTC/USD,ETH/USD, or a number N for the first N that the
    /// server's instrument channel lists [default: 1].
    #[arg(long, value_parser = parse_symbols, help_heading = "Clients")]
    pub(crate) symbols: Option<Symbols>,
    /// Symbols each client subscribes to, round robin [default: 1].
    #[arg(long, value_name = "K", value_parser = parse_positive, help_heading = "Clients")]
    pub(crate) symbols_per_client: Option<usize>,
    /// Channel to subscribe to [default: book].
    #[arg(long, value_enum, help_heading = "Clients")]
    pub(crate) channel: Option<Channel>,
    /// Levels of each side, for the book channel [default: 10].
    #[arg(long, value_enum, help_heading = "Clients")]
    pub(crate) depth: Option<Depth>,
    /// Delivery policy to ask for, which opts in [default: the server's].
    #[arg(long, value_enum, help_heading = "Clients")]
    pub(crate) policy: Option<Policy>,
    /// Longest time without any message, heartbeats included, before a connection counts as silent [default: 5s].
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Clients")]
    pub(crate) silence: Option<Duration>,
    /// Length of the measured window, which opens when every client has its subscriptions: 500ms, 10s, 5m, 1h
    /// [default: 10s].
    #[arg(long, value_parser = parse_duration, value_name = "TIME", help_heading = "Run")]
    pub(crate) duration: Option<Duration>,
    /// Connections to open per second, over all threads; a large number makes the start itself a storm [default: 500].
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Run")]
    pub(crate) ramp: Option<u32>,
    /// Something that many clients do at one moment of the window: connect:500@3s brings further clients all at once,
    /// reconnect:50%@5s has half of them drop their connection and come back; repeatable.
    #[arg(long = "storm", value_name = "STORM", value_parser = parse_storm, help_heading = "Run")]
    pub(crate) storms: Vec<Storm>,
    /// Threads to spread the clients over. One thread is one core at most [default: 1].
    #[arg(long, value_parser = parse_positive, value_name = "N", help_heading = "Run")]
    pub(crate) threads: Option<usize>,
    /// Addresses below 127.0.0.0/8 to connect from, when the server is there; one has about 28,000 ports
    /// [default: one for every 20,000 clients].
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=60_000), value_name = "N", help_heading = "Run")]
    pub(crate) sources: Option<u32>,
    /// What must hold, such as "p99 < 20ms"; repeatable. A breach makes the exit code 3.
    #[arg(long = "require", value_name = "THRESHOLD", value_parser = parse_threshold, help_heading = "Result")]
    pub(crate) thresholds: Vec<Threshold>,
    /// Measure the machine's own limit after the run, with as many clients, symbols and bytes, and print the result as a share of it.
    /// TIME is how long each load is measured; all of it takes some twenty times as long [default: 600ms].
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "600ms",
        value_parser = parse_duration, help_heading = "Result")]
    pub(crate) ceiling: Option<Duration>,
    /// Write the report as one JSON object to this file; without a file, print it and nothing else.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STANDARD_OUTPUT, help_heading = "Result")]
    pub(crate) json: Option<PathBuf>,
    /// Write the report as one HTML page with plots to this file.
    #[arg(long, value_name = "FILE", help_heading = "Result")]
    pub(crate) html: Option<PathBuf>,
    /// Plain lines instead of the live view, also on a terminal.
    #[arg(long, help_heading = "Result")]
    pub(crate) no_tui: bool,
}

impl RunArgs {
    /// Whether standard output belongs to the JSON object.
    pub(crate) fn prints_json(&self) -> bool {
        self.json.as_ref().is_some_and(|path| path.as_os_str() == STANDARD_OUTPUT)
    }
}
