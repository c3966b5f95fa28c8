//! The fault run: everything goes wrong, again and again, while verifying clients watch.
//!
//! Owns the settings, the roles of the clients, and the order: start, one fault after the other, stand still, compare. What must
//! hold: every message keeps the rules of [`crate::verify`]; every book that was sent is what the feed's own lines make of it; in
//! the end every book equals the feed's; no trade is lost without being told; everybody has recovered in time.
//!
//! | noun | file |
//! |---|---|
//! | which fault when | `schedule.rs` |
//! | doing it, and the time of recovery | `conduct.rs` |
//! | links between the three, and how they are cut | `proxy.rs`; planted lies `lie.rs` |
//! | feed and gateways as processes | `servers.rs` |
//! | clients | `crowd.rs`, `watcher.rs` |
//! | what was lost and whether it was told | `ledger.rs` |
//! | what the feed told | `reference.rs` |
//! | the rolling restart, which is made of the same parts | `rolling.rs` |

mod conduct;
mod crowd;
mod ledger;
mod lie;
mod proxy;
mod reference;
mod report;
pub(crate) mod rolling;
mod schedule;
mod servers;
mod watcher;

use crate::plan::{Admin, Depth, Group, Plan, Profile, Settings, Symbols, parse_duration, parse_target};
use crate::scan::Channel;
use crate::tally::Tally;
use clap::Args;
use conduct::Conductor;
use crowd::Crowd;
use ledger::Losses;
use lie::Lie;
use proxy::Proxy;
use reference::Reference;
use report::{Asked, Report};
use schedule::{Dice, Fault, Schedule};
use servers::{Feed, FeedSettings, Gateway, GatewaySettings};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use watcher::{STALLS, stalls};

/// Symbols of the feed, and lines per second over all of them: a feed tells the last 50 trades of a symbol again, which should nearly
/// always be all that happened while its link was down.
const SYMBOLS: usize = 8;
const RATE: f64 = 400.0;
/// Descriptors of the gateway beside those of the clients.
const SPARE_DESCRIPTORS: u64 = 64;
/// Generation of the first feed.
const FIRST_EPOCH: u64 = 1;
/// Longest silence; links stall for less.
const SILENCE: Duration = Duration::from_secs(10);

/// Settings of `loadtest faults`.
#[derive(Args, Debug, Clone)]
pub(crate) struct FaultsArgs {
    /// For how long faults happen: 2m, 10m. The last one is brought to its end.
    #[arg(long, default_value = "2m", value_parser = parse_duration, value_name = "TIME")]
    duration: Duration,
    /// What order and strength of the faults are drawn from; where a feed or a gateway stands at a fault is up to the machine.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only these faults.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "FAULT,..")]
    only: Vec<Fault>,
    /// Clients that watch.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(8..=400))]
    clients: u32,
    /// Multiplies the times within which everybody must have recovered: for builds without optimisation, and busy machines.
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    patience: f64,
    /// The gateway to run [default: the program beside this one].
    #[arg(long, value_name = "PROGRAM")]
    gateway: Option<PathBuf>,
    /// Write the report as one JSON object to this file; without a file, print it and nothing else.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = STANDARD_OUTPUT)]
    json: Option<PathBuf>,
    /// Plant a lie into what the gateway sends over each connection, to see that it is found.
    #[arg(long, value_enum, value_name = "LIE")]
    lie: Option<Lie>,
}

/// Where a report goes that is to be printed.
const STANDARD_OUTPUT: &str = "-";

/// Lets everything go wrong, prints the report, and returns the exit code.
pub(crate) fn run(args: &FaultsArgs) -> Result<u8, String> {
    let log = std::env::temp_dir().join(format!("loadtest-faults-{}.log", std::process::id()));
    let report = run_with(args, log.clone());
    // There is none when nothing was started.
    let _ = std::fs::remove_file(&log);
    let report = report?;
    print(&report.json(), &report.to_string(), args.json.as_ref())?;
    Ok(report.exit_code)
}

fn run_with(args: &FaultsArgs, log: PathBuf) -> Result<Report, String> {
    let started = Instant::now();
    let mut conductor = begin(args, log)?;
    let symbols = conductor.reference.symbols().to_vec();
    conductor.gather(args.clients)?;
    eprintln!("{} clients watch; faults happen for {:.0?}", args.clients, args.duration);
    let mut schedule = Schedule::new(if args.only.is_empty() { &Fault::ALL } else { &args.only });
    conductor.started = Instant::now();
    while conductor.started.elapsed() < args.duration && !conductor.is_lost {
        conductor.rest();
        let fault = schedule.draw(&mut conductor.dice);
        conductor.strike(fault)?;
    }
    eprintln!("the feed stands still; everybody is compared with it");
    let asked = Asked {
        duration_s: args.duration.as_secs_f64(),
        seed: args.seed,
        clients: args.clients,
        symbols: SYMBOLS,
        rate: RATE,
        patience: args.patience,
    };
    let concluded = conductor.conclude()?;
    Ok(Report::new(asked, started.elapsed(), concluded, &symbols))
}

/// Starts everything; nobody is connected yet.
fn begin(args: &FaultsArgs, log: PathBuf) -> Result<Conductor, String> {
    let failed = |error: std::io::Error| format!("no proxy: {error}");
    let feed_settings = FeedSettings { symbols: SYMBOLS, rate: RATE, seed: args.seed };
    let feed = Feed::start(&feed_settings, FIRST_EPOCH)?;
    let reference = Reference::follow(feed.address, SYMBOLS)?;
    let feed_links = Proxy::start("feed-links", None).map_err(failed)?;
    feed_links.lead(Some(feed.address));
    let gateway_settings = GatewaySettings {
        program: args.gateway.clone(),
        feed: feed_links.address,
        symbols: SYMBOLS,
        descriptors: Some(u64::from(args.clients) + SPARE_DESCRIPTORS),
        log: Some(log),
        environment: environment(),
    };
    let gateway = Gateway::start(&gateway_settings)?;
    let client_links = Proxy::start("client-links", args.lie).map_err(failed)?;
    client_links.lead(Some(gateway.public));
    let plan = plan(args.clients, &roles(), reference.symbols(), client_links.address)?;
    let stallers = (0..args.clients).filter(|number| stalls(&plan.settings.groups[plan.group_of(*number)]));
    let stallers = stallers.collect();
    let crowd = Crowd::start(plan, client_links.address)?;
    Ok(Conductor {
        feed: Some(feed),
        feed_settings,
        epoch: FIRST_EPOCH,
        feed_links,
        gateway,
        gateway_settings,
        client_links,
        reference,
        crowd,
        stallers,
        dice: Dice::new(args.seed),
        patience: args.patience.max(1.0),
        started: Instant::now(),
        incidents: Vec::new(),
        losses: Losses::default(),
        ends: 0,
        tally: Tally::new(&[]),
        is_lost: false,
    })
}

/// Settings of the gateway: what is slow or stalled is found out, and restarted, in times that fit into a short run.
fn environment() -> Vec<(&'static str, String)> {
    [
        ("GATEWAY_SHARDS_COUNT", "2"),
        ("GATEWAY_LIMITS_STALL_MS", "3000"),
        ("GATEWAY_PUBLIC_SEND_BUFFER_BYTES", "16384"),
        ("GATEWAY_DRAIN_WINDOW_MS", "2000"),
        ("GATEWAY_DRAIN_RECONNECT_MS", "1000"),
        ("GATEWAY_DRAIN_RESTART", "true"),
    ]
    .map(|(name, value)| (name, value.to_owned()))
    .to_vec()
}

/// The parts that clients play. Each takes all symbols. Those that stall take deep books, so that their sockets are soon full.
fn roles() -> Vec<Group> {
    let resuming = Profile::Resuming { every: Duration::MAX };
    let stalling = [format!("{STALLS} plain"), format!("{STALLS} resuming")];
    let rows = [
        ("plain book", Profile::Fast, Channel::Book, Depth::D10),
        ("plain trades", Profile::Fast, Channel::Trade, Depth::D10),
        ("resuming book", resuming, Channel::Book, Depth::D25),
        ("resuming trades", resuming, Channel::Trade, Depth::D10),
        (&stalling[0], Profile::Fast, Channel::Book, Depth::D100),
        (&stalling[1], resuming, Channel::Book, Depth::D100),
        ("plain ticker", Profile::Fast, Channel::Ticker, Depth::D10),
        ("resuming ticker", resuming, Channel::Ticker, Depth::D10),
    ];
    rows.map(|(name, profile, channel, depth)| role(name, profile, channel, depth, SYMBOLS)).to_vec()
}

fn role(name: &str, profile: Profile, channel: Channel, depth: Depth, symbols_per_client: usize) -> Group {
    Group {
        name: name.to_owned(),
        share: 0.0,
        profile,
        channel,
        depth,
        symbols_per_client,
        policy: None,
        opted_in: profile.needs_superset(),
    }
}

/// A plan that has as many clients of each role.
fn plan(
    clients: u32,
    roles: &[Group],
    symbols: &[String],
    address: std::net::SocketAddr,
) -> Result<Plan, String> {
    let share = 1.0 / roles.len() as f64;
    let settings = Settings {
        title: None,
        about: None,
        target: parse_target(&format!("ws://{address}/v2"))?,
        admin: Admin::None,
        own: None,
        clients,
        groups: roles.iter().cloned().map(|role| Group { share, ..role }).collect(),
        symbols: Symbols::Named(symbols.to_vec()),
        duration: Duration::MAX,
        ramp: 1,
        storms: Vec::new(),
        threads: 1,
        sources: 1,
        silence: SILENCE,
        thresholds: Vec::new(),
    };
    Plan::new(settings, symbols.to_vec())
}

/// The report, to people or to programs.
fn print(json: &str, text: &str, to: Option<&PathBuf>) -> Result<(), String> {
    match to {
        Some(path) if path.as_os_str() == STANDARD_OUTPUT => {
            println!("{json}");
            return Ok(());
        }
        Some(path) => std::fs::write(path, format!("{json}\n"))
            .map_err(|e| format!("cannot write {}: {e}", path.display()))?,
        None => {}
    }
    print!("{text}");
    Ok(())
}
