//! The bench: the gateway beside the floor and beside other servers, in one interleaved run.
//!
//! Owns the order: for each work and case, round after round over all servers. Never judges a figure. Results go to
//! people as tables and to a file as they were read.
//!
//! | noun | file |
//! |---|---|
//! | who takes what | `work.rs` |
//! | updates, and who publishes them | `payload.rs`, `publisher.rs`; for the gateway `feed.rs` |
//! | clients | `crowd.rs` and below |
//! | servers | `server.rs`; the machine below them `machine.rs`, `proc.rs` |
//! | one server under one work | `session.rs`, `sample.rs` |
//! | what is measured | `works.rs` and below, `search.rs` |
//! | statistics and layout | `table.rs`, `pictures.rs` |

mod crowd;
mod feed;
mod machine;
mod payload;
mod pictures;
mod proc;
mod publisher;
mod sample;
mod search;
mod server;
mod session;
mod table;
mod work;
mod works;

use crate::ceiling::Mode;
use crate::plan::parse_duration;
use clap::Args;
use machine::{Facts, Machine};
use serde::Serialize;
use server::{Kind, NAIVE, Server};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use table::{Reading, Readings};
use works::{Case, Context, Name, Scale, limit};

pub(crate) use limit::{Floor, Load, SameLoad};
pub(crate) use work::Work;

/// Rounds of a small and of a full run.
const ROUNDS_SMALL: u32 = 1;
const ROUNDS_FULL: u32 = 5;
/// How long clients stall in a small and in a full run.
const STALLED_SMALL: Duration = Duration::from_secs(2);
const STALLED_FULL: Duration = Duration::from_secs(60);
/// Our own servers.
const OURS: [&str; 3] = ["gateway", "floor-each", "floor-batch"];
/// Everybody that there is glue for.
const PEERS: [&str; 7] = ["uws", "bun", "ws", "nats", "nchan", "mosquitto", "naive"];

/// Settings of `loadtest bench`.
#[derive(Args, Debug, Clone)]
pub(crate) struct BenchArgs {
    /// Short windows, few cases, one round: a look in about three minutes. The default.
    #[arg(long, conflicts_with = "full")]
    small: bool,
    /// Long windows, all cases, five rounds, all peers that are set up.
    #[arg(long)]
    full: bool,
    /// Only these works.
    #[arg(long, value_enum, value_delimiter = ',', value_name = "WORK,..")]
    only: Vec<Name>,
    /// Only cases whose title has this text in it, such as "10,000 symbols".
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    case: String,
    /// Only these of gateway, floor-each and floor-batch.
    #[arg(long, value_delimiter = ',', value_name = "NAME,..", default_values = OURS)]
    servers: Vec<String>,
    /// Other servers to measure: names of loadtest/peers, or none [default: in a full run all that are set up, else none].
    #[arg(long, value_delimiter = ',', value_name = "NAME,..")]
    peers: Option<Vec<String>>,
    /// Another gateway to measure as well, with its name in tables: NAME=PROGRAM[,VARIABLE=VALUE..]; repeatable. An empty
    /// program is the one beside this program. `scrape=1s` is no variable: its metrics are asked for so often.
    #[arg(long = "gateway", value_name = "SPEC", value_parser = parse_gateway)]
    gateways: Vec<Kind>,
    /// Rounds over all servers.
    #[arg(long)]
    rounds: Option<u32>,
    /// Folder for results and logs [default: bench-env/last in cargo's target folder].
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Bytes of an update for the floor and the peers. Those of the gateway are what its books make them.
    #[arg(long, default_value_t = 170, value_name = "BYTES")]
    payload: usize,
    /// How long clients stall [default: 2s, in a full run 60s].
    #[arg(long, value_parser = parse_duration)]
    stalled_for: Option<Duration>,
    /// Measure full and subset at this load instead of searching for the top: deliveries a second, for profiles.
    #[arg(long, value_name = "PER_SECOND")]
    load: Option<u64>,
    /// How long to measure each load [default: 600ms, while searching 400ms, in a full run 2s].
    #[arg(long, value_parser = parse_duration)]
    window: Option<Duration>,
    /// Let clients sleep until something comes, instead of polling.
    #[arg(long)]
    sleep: bool,
}

/// What is written to a file.
#[derive(Serialize)]
struct Results<'a> {
    version: &'static str,
    facts: &'a Facts,
    rounds: u32,
    full: bool,
    payload_bytes: usize,
    absent: &'a [String],
    seconds: f64,
    readings: &'a Readings,
}

/// The machine's own limit under the load of a run.
#[derive(Debug)]
pub(crate) struct Limit {
    /// What was asked; of the payload what an update takes at least.
    pub(crate) load: Load,
    /// Whether each floor had a core of its own.
    pub(crate) pinned: bool,
    pub(crate) floors: Vec<Floor>,
    /// Floors that could not be measured, and why.
    pub(crate) unmeasured: Vec<String>,
}

/// Measures the machine's own limit for a run: both floors, each load for so long. Says on standard error how far it is.
pub(crate) fn limit(load: &Load, window: Duration) -> Result<Limit, String> {
    let folder = std::env::temp_dir().join(format!("loadtest-ceiling-{}", std::process::id()));
    let machine = Machine::prepare_in(folder.clone(), folder.clone())?;
    let load = Load { payload_bytes: payload::fitting(load.work.symbols, load.payload_bytes), ..*load };
    // Clients of a run sleep until something comes.
    let scale = Scale { is_full: false, stalled_for: STALLED_SMALL, load: None, window: Some(window) };
    let context = Context::new(&machine, scale, load.payload_bytes, true);
    let (mut floors, mut unmeasured) = (Vec::new(), Vec::new());
    for mode in [Mode::Batch, Mode::Each] {
        let kind = Kind::Floor { mode, spin: false };
        eprintln!("ceiling: {} with {} clients", kind.name(), load.work.clients);
        match limit::measure(&context, &kind, &load) {
            Ok(floor) => floors.push(floor),
            Err(error) => unmeasured.push(format!("{}: {error}", kind.name())),
        }
    }
    // Whatever cannot be removed is in the folder for such things.
    let _ = std::fs::remove_dir_all(&folder);
    Ok(Limit { load, pinned: machine.is_pinned(), floors, unmeasured })
}

/// Measures everything that was asked for, prints tables and writes results.
pub(crate) fn run(args: &BenchArgs) -> Result<(), String> {
    let machine = Machine::prepare(args.out.as_deref())?;
    let facts = machine.facts();
    let scale = Scale {
        is_full: args.full,
        stalled_for: args.stalled_for.unwrap_or(if args.full { STALLED_FULL } else { STALLED_SMALL }),
        load: args.load,
        window: args.window,
    };
    let rounds = args.rounds.unwrap_or(if args.full { ROUNDS_FULL } else { ROUNDS_SMALL });
    let works = if args.only.is_empty() { Name::all() } else { &args.only };
    let is_wanted = |case: &Case| case.name().contains(&args.case);
    if !works.iter().any(|work| work.cases(scale).iter().any(is_wanted)) {
        return Err(format!("no case of these works has `{}` in its title", args.case));
    }
    let (kinds, absent) = choose_servers(args, &machine)?;
    let context = Context::new(&machine, scale, args.payload, args.sleep);
    let start = Instant::now();
    println!("# Bench\n\n{}", facts.text());
    for note in &absent {
        println!("{note}\n");
    }
    let mut readings = Readings::default();
    for &work in works {
        println!("## {}\n", work.text());
        for case in work.cases(scale).into_iter().filter(is_wanted) {
            measure(&context, work, case, &kinds, rounds, &mut readings);
            let table = readings.table(&work.text(), &case.name(), work.columns(), &compared(&kinds));
            println!("{} ({rounds} rounds)\n\n{table}", case.name());
        }
    }
    let results = Results {
        version: env!("CARGO_PKG_VERSION"),
        facts: &facts,
        rounds,
        full: args.full,
        payload_bytes: args.payload,
        absent: &absent,
        seconds: start.elapsed().as_secs_f64(),
        readings: &readings,
    };
    let path = machine.out.join("results.json");
    let text = serde_json::to_string(&results).map_err(|e| format!("results are no JSON: {e}"))?;
    std::fs::write(&path, text + "\n").map_err(|e| format!("cannot write {}: {e}", path.display()))?;
    for file in pictures::write(&readings, &machine.out)? {
        println!("drawn: {}", machine.out.join(file).display());
    }
    println!("{:.0} s; raw results in {}", start.elapsed().as_secs_f64(), path.display());
    Ok(())
}

/// The servers that are compared with the others: gateways, but for the first where there is nobody else.
fn compared(kinds: &[Kind]) -> Vec<String> {
    let is_among_themselves = kinds.iter().all(Kind::is_gateway);
    let gateways = kinds.iter().filter(|kind| kind.is_gateway()).skip(usize::from(is_among_themselves));
    gateways.map(|kind| kind.name().to_owned()).collect()
}

/// Runs one case round after round over all servers.
fn measure(
    context: &Context<'_>,
    work: Name,
    case: Case,
    kinds: &[Kind],
    rounds: u32,
    readings: &mut Readings,
) {
    for round in 1..=rounds {
        for kind in kinds.iter().filter(|kind| work.wants(kind, context.scale)) {
            let start = Instant::now();
            let (values, error) = match case.run(context, kind) {
                Ok(values) => (values, None),
                Err(error) => (works::Values::new(), Some(error.to_string())),
            };
            let outcome = error.as_deref().unwrap_or("done");
            let seconds = start.elapsed().as_secs_f64();
            eprintln!("{} {round}/{rounds} {}: {outcome} in {seconds:.1} s", work.text(), kind.name());
            readings.0.push(Reading {
                work: work.text(),
                case: case.name(),
                server: kind.name().to_owned(),
                round,
                values,
                error,
            });
        }
    }
}

/// The servers to measure, and what to say of those that are not here.
fn choose_servers(args: &BenchArgs, machine: &Machine) -> Result<(Vec<Kind>, Vec<String>), String> {
    let mut kinds = Vec::new();
    for name in &args.servers {
        kinds.extend(match name.as_str() {
            "gateway" => vec![gateway(name.clone(), machine.gateway.clone(), Vec::new(), None)],
            "floor-each" => floors(Mode::Each),
            "floor-batch" => floors(Mode::Batch),
            "none" => Vec::new(),
            _ => return Err(format!("`{name}` is no server of ours: expected {}", OURS.join(", "))),
        });
    }
    for kind in &args.gateways {
        kinds.push(match kind {
            Kind::Gateway { name, program, settings, scraped } if program.as_os_str().is_empty() => {
                gateway(name.clone(), machine.gateway.clone(), settings.clone(), *scraped)
            }
            kind => kind.clone(),
        });
    }
    let mut absent = Vec::new();
    let all = || if args.full { PEERS.map(str::to_owned).to_vec() } else { Vec::new() };
    for name in args.peers.clone().unwrap_or_else(all).into_iter().filter(|name| name != "none") {
        let kind = if name == NAIVE { Kind::Naive } else { Kind::Peer(name.clone()) };
        match try_server(&kind, machine) {
            Ok(()) => kinds.push(kind),
            Err(error) => absent.push(format!(
                "{name} is absent, because it is not set up (loadtest/peers/setup.sh {name}): {error}"
            )),
        }
    }
    Ok((kinds, absent))
}

fn gateway(
    name: String,
    program: PathBuf,
    settings: Vec<(String, String)>,
    scraped: Option<Duration>,
) -> Kind {
    Kind::Gateway { name, program, settings, scraped }
}

fn floors(mode: Mode) -> Vec<Kind> {
    [false, true].map(|spin| Kind::Floor { mode, spin }).to_vec()
}

/// Starts a server for a moment.
fn try_server(kind: &Kind, machine: &Machine) -> Result<(), String> {
    let payload = payload::Payload::new(&payload::names(1), 1_000)?;
    let publisher = publisher::Publisher::start(payload).map_err(|e| e.to_string())?;
    Server::start(kind, machine, publisher.address()).map(drop).map_err(|e| e.to_string())
}

fn parse_gateway(text: &str) -> Result<Kind, String> {
    let mut parts = text.split(',');
    let (name, program) = parts
        .next()
        .and_then(|first| first.split_once('='))
        .filter(|(name, _)| !name.is_empty())
        .ok_or("give a name and a program, like old=target/release/gateway")?;
    let (mut settings, mut scraped) = (Vec::new(), None);
    for part in parts {
        let (key, value) = part.split_once('=').ok_or("settings are given like GATEWAY_SHARDS_COUNT=2")?;
        match key {
            "scrape" => scraped = Some(parse_duration(value)?),
            _ => settings.push((key.to_owned(), value.to_owned())),
        }
    }
    Ok(gateway(name.to_owned(), PathBuf::from(program), settings, scraped))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gateways_among_themselves_are_compared_with_the_first() {
        let [old, new] =
            ["old", "new"].map(|name| gateway(name.to_owned(), PathBuf::new(), Vec::new(), None));
        assert_eq!(compared(&[old.clone(), new.clone()]), ["new"]);
        assert_eq!(compared(&[old, Kind::Naive, new]), ["old", "new"]);
    }

    #[test]
    fn further_gateways_have_a_name_a_program_and_settings() {
        let settings = vec![("GATEWAY_A".to_owned(), "1".to_owned())];
        let expected = gateway("old".to_owned(), PathBuf::from("a/gateway"), settings, None);
        assert_eq!(parse_gateway("old=a/gateway,GATEWAY_A=1"), Ok(expected));
        let every = Some(Duration::from_secs(1));
        let expected = gateway("new".to_owned(), PathBuf::new(), Vec::new(), every);
        assert_eq!(parse_gateway("new=,scrape=1s"), Ok(expected));
        assert!(parse_gateway("gateway").is_err() && parse_gateway("a=b,C").is_err());
        assert!(parse_gateway("a=b,scrape=often").is_err());
    }
}
