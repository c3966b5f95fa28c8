//! The settings of a run.
//!
//! Owns the command line and what follows from it: who subscribes to what, where and when.
//! Never connects. The plan is made once in [`crate::run`] and shared, unchanged, by all threads.

use crate::bench::BenchArgs;
use crate::ceiling::CeilingArgs;
use crate::naive::NaiveArgs;
use crate::scan::Channel;
use crate::verify::REQ_ID;
use clap::{Args, Parser, Subcommand, ValueEnum};
use hyper::Uri;
use std::path::PathBuf;
use std::time::Duration;

const PORT_DEFAULT: u16 = 80;

/// Load generator and verifier for the market-data gateway.
///
/// Opens many WebSocket connections, subscribes, and checks every message against an order book of its own:
/// checksums, sequence links, trade numbers, order of messages, silence. Reports rates, latency and every
/// violation of the protocol.
///
/// Exit code: 0 clean; 1 a violation or a lost connection; 2 bad usage, or no connection at all.
#[derive(Parser, Debug)]
#[command(name = "loadtest", version)]
pub(crate) struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Connect clients to a gateway, verify what they get, and report.
    Run(RunArgs),
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

/// Settings of `loadtest run`.
#[derive(Args, Debug, Clone)]
pub(crate) struct RunArgs {
    /// WebSocket address. A query of `ext=1` opts in to notices and second snapshots, so they are no violations.
    #[arg(long, default_value = "ws://127.0.0.1:8080/v2", value_parser = parse_target)]
    pub(crate) url: Target,
    /// Connections to hold.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) clients: u32,
    /// Of the connections, how many stop reading once they are subscribed, for good. They are held and not verified.
    #[arg(long, default_value_t = 0, value_name = "N")]
    pub(crate) stalled: u32,
    /// Symbols to spread over the clients: a list like BTC/USD,ETH/USD, or a number N for the first N that the
    /// server's instrument channel lists.
    #[arg(long, default_value = "1", value_parser = parse_symbols)]
    pub(crate) symbols: Symbols,
    /// Symbols each client subscribes to, round robin.
    #[arg(long, default_value_t = 1, value_name = "K", value_parser = parse_positive)]
    pub(crate) symbols_per_client: usize,
    /// Channel to subscribe to.
    #[arg(long, value_enum, default_value_t = Channel::Book)]
    pub(crate) channel: Channel,
    /// Levels of each side, for the book channel.
    #[arg(long, value_enum, default_value = "10")]
    pub(crate) depth: Depth,
    /// Length of the measured window, which opens when every client has its subscriptions: 500ms, 10s, 5m, 1h.
    #[arg(long, default_value = "10s", value_parser = parse_duration)]
    pub(crate) duration: Duration,
    /// Connections to open per second, over all threads.
    #[arg(long, default_value_t = 500, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) ramp: u32,
    /// Threads to spread the clients over. One thread is one core at most.
    #[arg(long, default_value_t = 1, value_parser = parse_positive)]
    pub(crate) threads: usize,
    /// Longest time without any message, heartbeats included, before a connection counts as silent.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    pub(crate) silence: Duration,
    /// Print the report as one JSON object, and nothing else.
    #[arg(long)]
    pub(crate) json: bool,
    /// Also write the JSON report to this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) json_out: Option<PathBuf>,
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

/// Depths of the book channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Depth {
    /// 10 levels.
    #[value(name = "10")]
    D10 = 10,
    /// 25 levels.
    #[value(name = "25")]
    D25 = 25,
    /// 100 levels.
    #[value(name = "100")]
    D100 = 100,
    /// 500 levels.
    #[value(name = "500")]
    D500 = 500,
    /// 1000 levels.
    #[value(name = "1000")]
    D1000 = 1000,
}

/// The settings with the symbols known.
#[derive(Debug)]
pub(crate) struct Plan {
    /// Where to connect.
    pub(crate) target: Target,
    /// Connections to hold; at least 1.
    pub(crate) clients: u32,
    /// Of them, the last ones that stop reading.
    pub(crate) stalled: u32,
    /// All symbols of the run; at least `symbols_per_client`.
    pub(crate) symbols: Vec<String>,
    /// Symbols of one client.
    pub(crate) symbols_per_client: usize,
    /// Channel of every subscription.
    pub(crate) channel: Channel,
    /// Depth of book subscriptions.
    pub(crate) depth: Depth,
    /// Length of the measured window.
    pub(crate) duration: Duration,
    /// Connections per second.
    pub(crate) ramp: u32,
    /// Threads, at least 1.
    pub(crate) threads: usize,
    /// Longest silence.
    pub(crate) silence: Duration,
    /// Whether the address opts in to the superset.
    pub(crate) opted_in: bool,
}

impl Plan {
    /// Whether a client stops reading once it is subscribed.
    pub(crate) const fn is_stalled(&self, client: u32) -> bool {
        client >= self.clients.saturating_sub(self.stalled)
    }

    /// The plan for these settings and symbols; says what is wrong when there are too few symbols.
    pub(crate) fn new(args: &RunArgs, mut symbols: Vec<String>) -> Result<Self, String> {
        let asked = args.symbols_per_client;
        if let Symbols::First(count) = args.symbols {
            symbols.truncate(count);
        }
        if symbols.len() < asked {
            return Err(format!(
                "--symbols-per-client {asked} of {} symbols: name more symbols",
                symbols.len()
            ));
        }
        let query = args.url.path.split_once('?').map_or("", |(_, query)| query);
        Ok(Self {
            target: args.url.clone(),
            clients: args.clients,
            stalled: args.stalled,
            symbols,
            symbols_per_client: asked,
            channel: args.channel,
            depth: args.depth,
            duration: args.duration,
            ramp: args.ramp,
            threads: args.threads,
            silence: args.silence,
            opted_in: query.split('&').any(|pair| pair == "ext=1"),
        })
    }

    /// The symbols of one client, round robin over all.
    pub(crate) fn symbols_of(&self, client: u32) -> impl Iterator<Item = &str> {
        let all = self.symbols.len();
        let first = client as usize * self.symbols_per_client % all;
        (first..first + self.symbols_per_client).map(move |i| self.symbols[i % all].as_str())
    }

    /// The depth as a number.
    pub(crate) fn depth_levels(&self) -> usize {
        self.depth as usize
    }

    /// When a client connects, after the start of the run.
    pub(crate) fn connect_after(&self, client: u32) -> Duration {
        Duration::from_secs_f64(f64::from(client) / f64::from(self.ramp))
    }

    /// The one request of a client, for all its symbols.
    pub(crate) fn request(&self, client: u32) -> String {
        let symbols: Vec<_> = self.symbols_of(client).collect();
        let mut params = serde_json::json!({
            "channel": self.channel.name(), "symbol": symbols, "snapshot": true,
        });
        match self.channel {
            Channel::Book => params["depth"] = self.depth_levels().into(),
            Channel::Ohlc => params["interval"] = 1.into(),
            Channel::Ticker | Channel::Trade => {}
        }
        serde_json::json!({"method": "subscribe", "params": params, "req_id": REQ_ID}).to_string()
    }
}

fn parse_target(text: &str) -> Result<Target, String> {
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

    fn plan(line: &str) -> Result<Plan, String> {
        let words = ["loadtest", "run"].into_iter().chain(line.split_ascii_whitespace());
        let Command::Run(args) = Cli::try_parse_from(words).map_err(|e| e.to_string())?.command else {
            panic!("run is run");
        };
        let symbols = match &args.symbols {
            Symbols::Named(names) => names.clone(),
            Symbols::First(_) => ["A/X", "B/X", "C/X", "D/X"].map(str::to_owned).to_vec(),
        };
        Plan::new(&args, symbols)
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
    fn request_asks_for_the_parameters_of_its_channel() {
        let request = plan("--symbols BTC/USD --depth 25").unwrap().request(0);
        let request: serde_json::Value = serde_json::from_str(&request).unwrap();
        let params = serde_json::json!({"channel":"book","symbol":["BTC/USD"],"depth":25,"snapshot":true});
        assert_eq!(request, serde_json::json!({"method":"subscribe","params":params,"req_id":1}));
        assert!(!plan("--channel ticker").unwrap().request(0).contains("depth"));
    }

    #[test]
    fn address_is_taken_apart() {
        let plan = plan("--url ws://[::1]:9/v2?a=b&ext=1").unwrap();
        let Target { host, port, authority, path, .. } = &plan.target;
        assert_eq!((host.as_str(), *port), ("::1", 9));
        assert_eq!((authority.as_str(), path.as_str()), ("[::1]:9", "/v2?a=b&ext=1"));
        assert!(plan.opted_in);
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
    }
}
