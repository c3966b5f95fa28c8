//! The command line: serve a feed, record one, print one, and measure.
//!
//! Owns arguments and messages; everything else is the library's.
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::{self, BufRead, ErrorKind, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use feed_sim::{
    Arrivals, BenchConfig, FaultPlan, Lines, NEVER, Recorded, ReplayConfig, Server, ServerConfig,
    ServerHandle, Simulator, SimulatorConfig, SourceConfig, Speed, Stamper, Timestamps, Until, Venue, bench,
    parse_span, record, tell_opening,
};
use model::{Epoch, Nanos};

/// A simulated venue, and recorded ones played again: the feed of the market-data gateway.
#[derive(Parser)]
#[command(version, about, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serve a feed over TCP: generated orders, or a recording with --replay
    Serve(ServeArgs),
    /// Record a feed: the lines of one connection, as they are received
    Record(RecordArgs),
    /// Print generated lines on virtual time: the same seed gives the same bytes
    Print(PrintArgs),
    /// Measure how fast lines are generated and replayed on this machine
    Bench(BenchArgs),
}

/// Generated orders.
#[derive(Args)]
struct SimulatorArgs {
    /// Number of symbols, 1 to 10000
    #[arg(long, default_value_t = 20)]
    symbols: usize,
    /// Lines per second over all symbols; with --replay, at equal distances instead of the recorded times
    #[arg(long)]
    rate: Option<f64>,
    /// How events are spread over time: uniform, poisson or bursty
    #[arg(long, default_value = "bursty")]
    arrivals: Arrivals,
    /// Seed of all randomness
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Levels a side that are kept, 5 to 5000
    #[arg(long, default_value_t = 200)]
    depth: usize,
    /// Exponent of the symbols' popularity; 0 makes all equal, 1.7 makes one hot
    #[arg(long, default_value_t = 1.1)]
    zipf: f64,
    /// Trades, in thousandths of the events; 0 is a market of quotes only
    #[arg(long, default_value_t = 105)]
    trades: i64,
    /// Generation of the feed, above 0 [default: seconds since 1970 for serve, 1 for print, the recorded one for a replay]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..))]
    epoch: Option<u64>,
}

impl SimulatorArgs {
    fn config(&self, epoch: u64) -> SimulatorConfig {
        let default = SimulatorConfig::default();
        SimulatorConfig {
            symbols: self.symbols,
            rate: self.rate.unwrap_or(default.rate),
            arrivals: self.arrivals,
            seed: self.seed,
            depth: self.depth,
            zipf: self.zipf,
            trades: self.trades,
            epoch: Epoch(self.epoch.unwrap_or(epoch)),
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
enum TimestampsArg {
    /// Now
    Shifted,
    /// As recorded
    Kept,
}

#[derive(Args)]
struct ServeArgs {
    /// Where to listen
    #[arg(long, default_value = "127.0.0.1:7001")]
    listen: SocketAddr,
    #[command(flatten)]
    simulator: SimulatorArgs,
    /// A recording: Kraken v1, Coinbase, Binance, or of feed-sim itself; plain or gzip
    #[arg(long, value_name = "PATH")]
    replay: Option<PathBuf>,
    /// How fast the recording is played: a number of times, or max
    #[arg(long, default_value = "1", requires = "replay")]
    speed: Speed,
    /// Let the events of the recording leave at the ends of ticks of this length, such as 500us, and carry the time at which they
    /// left, or should have when they were held up by more than a tick
    #[arg(long, default_value = "0s", value_parser = parse_span, requires = "replay")]
    tick: Nanos,
    /// Begin the recording again at its end, with a new epoch
    #[arg(long = "loop", requires = "replay")]
    looping: bool,
    /// Which times the lines of the recording carry
    #[arg(long, value_enum, default_value = "shifted", requires = "replay")]
    timestamps: TimestampsArg,
    /// Let the feed's time start only with the first reader [default: true for a recording]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    wait_for_reader: Option<bool>,
    /// Wait for slow readers instead of disconnecting them [default: true for a recording]
    #[arg(long, num_args = 0..=1, default_missing_value = "true")]
    wait_for_slow_readers: Option<bool>,
    /// Let something go wrong again and again: KIND[:ARG]@EVERY, such as gap@5s or silence:3s@20s; repeatable.
    /// Kinds: gap, gap_seq, gap_line, duplicate, old, crossed, garbage, silence, disconnect
    #[arg(long = "fault", value_name = "PLAN")]
    faults: Vec<FaultPlan>,
    /// Read commands from standard input, one a line, and end with it: `rate N` tells N lines per second from now on, 0 none;
    /// `lines` prints how many were told
    #[arg(long)]
    commands: bool,
}

impl ServeArgs {
    fn source(&self) -> SourceConfig {
        match &self.replay {
            None => SourceConfig::Simulator(self.simulator.config(feed_sim::now().0 / Nanos::SECOND.0)),
            Some(path) => SourceConfig::Replay(ReplayConfig {
                path: path.clone(),
                speed: self.speed,
                timestamps: match self.timestamps {
                    TimestampsArg::Shifted => Timestamps::Shifted,
                    TimestampsArg::Kept => Timestamps::Kept,
                },
                looping: self.looping,
                rate: self.simulator.rate,
                tick: self.tick,
                epoch: self.simulator.epoch.map(Epoch),
            }),
        }
    }
}

#[derive(Args)]
struct RecordArgs {
    /// The feed
    #[arg(long, default_value = "127.0.0.1:7001")]
    from: String,
    /// The file; packed when its name ends in .gz
    #[arg(long)]
    out: PathBuf,
    /// Stop after this long, such as 10s [default: only when the feed ends]
    #[arg(long, value_parser = parse_span, conflicts_with = "lines")]
    duration: Option<Nanos>,
    /// Stop after this many lines
    #[arg(long)]
    lines: Option<u64>,
}

#[derive(Args)]
struct PrintArgs {
    #[command(flatten)]
    simulator: SimulatorArgs,
    /// How many lines follow the opening, about: the last event is not cut
    #[arg(long, default_value_t = 1_000)]
    events: u64,
    /// Virtual time of the start, nanoseconds since 1970
    #[arg(long, default_value_t = 1_700_000_000_000_000_000)]
    start: u64,
}

#[derive(Args)]
struct BenchArgs {
    #[command(flatten)]
    simulator: SimulatorArgs,
    /// How long each measurement takes
    #[arg(long, default_value = "5s", value_parser = parse_span)]
    duration: Nanos,
    /// Lines of the recording that is replayed
    #[arg(long, default_value_t = 500_000)]
    lines: u64,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Serve(args) => serve(&args),
        Command::Record(args) => run_record(&args),
        Command::Print(args) => print(&args),
        Command::Bench(args) => run_bench(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("feed-sim: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(args: &ServeArgs) -> Result<(), Box<dyn Error>> {
    let config = ServerConfig {
        wait_for_slow_readers: args.wait_for_slow_readers,
        wait_for_reader: args.wait_for_reader,
        faults: args.faults.clone(),
    };
    let server = Server::start_with(args.listen, &args.source(), config)?;
    eprintln!("feed-sim: serving on {}", server.local_addr());
    if args.commands {
        return obey(&server, io::stdin().lock());
    }
    // The server's threads do all the work, until the process is ended.
    loop {
        std::thread::park();
    }
}

/// Does what each line of the input says, until it ends.
fn obey(server: &ServerHandle, input: impl BufRead) -> Result<(), Box<dyn Error>> {
    for line in input.lines() {
        let line = line?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("rate", rate) => {
                let rate = rate.parse().ok().filter(|rate: &f64| *rate >= 0.0 && rate.is_finite());
                server.set_rate(rate.ok_or_else(|| format!("`{line}`: a rate is a number, 0 or more"))?);
            }
            ("lines", "") => {
                let mut out = io::stdout().lock();
                writeln!(out, "{}", server.lines())?;
                out.flush()?;
            }
            _ => return Err(format!("`{line}` is no command: expected `rate N` or `lines`").into()),
        }
    }
    Ok(())
}

fn run_record(args: &RecordArgs) -> Result<(), Box<dyn Error>> {
    let until = match (args.duration, args.lines) {
        (Some(span), _) => Until::Span(span),
        (None, Some(lines)) => Until::Lines(lines),
        (None, None) => Until::End,
    };
    let Recorded { lines, bytes } = record(&args.from, &args.out, until)
        .map_err(|error| format!("cannot record {} into {}: {error}", args.from, args.out.display()))?;
    eprintln!("feed-sim: recorded {lines} lines, {bytes} bytes");
    Ok(())
}

fn print(args: &PrintArgs) -> Result<(), Box<dyn Error>> {
    let mut simulator = Simulator::new(args.simulator.config(1))?;
    let mut lines = Lines::default();
    let mut stamper = Stamper::default();
    let mut now = Nanos(args.start);
    let mut told = 0;
    let mut out = Vec::new();
    tell_opening(&mut simulator, now, &mut lines);
    loop {
        out.clear();
        stamper.stamp(&lines, &mut out);
        match io::stdout().write_all(&out) {
            // Whoever reads has seen enough, as with `| head`.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
        if told >= args.events || now == NEVER {
            return Ok(());
        }
        lines.clear();
        simulator.poll(now, &mut lines);
        told += lines.len() as u64;
        now = simulator.next_due();
    }
}

fn run_bench(args: &BenchArgs) -> Result<(), Box<dyn Error>> {
    let config = BenchConfig {
        simulator: args.simulator.config(1),
        span: Duration::from_nanos(args.duration.0),
        recorded_lines: args.lines,
    };
    let path = std::env::temp_dir().join(format!("feed-sim-bench-{}.jsonl", std::process::id()));
    let report = bench(&config, &path);
    // Absent when the measurements before it failed.
    let _ = std::fs::remove_file(&path);
    println!("{}", report?);
    Ok(())
}
