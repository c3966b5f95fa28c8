//! The command line of `gateway explain`: arguments, where the answer goes, progress.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use feed_sim::parse_span;
use indicatif::{ProgressBar, ProgressStyle};
use model::{Channel, Nanos};
use serde::Serialize;
use serde_json::{Map, Value};

use super::plan::{Plan, Rate, StreamName, Window, parse_bytes};
use super::received::Received;
use super::{Answer, ExplainError, Scene, Watch, explain, show};
use crate::config::Config;

const EXAMPLES: &str = "\
Examples:
  A client at 64 kB/s that does not read for five seconds:
    gateway explain --tape day.gz --symbol BTC/USD --link 64kB/s --stall 2s..7s

  The same for every trade or an end of the connection:
    gateway explain --tape day.gz --channel trade --policy disconnect --max-lag-ms 3000 --link 8kB/s --stall 2s..7s

  Books four times a second, only the numbers:
    gateway explain --tape day.gz --interval-ms 250 --summary

  A client with three subscriptions, for a program:
    gateway explain --tape day.gz --depth 100 --beside trade:BTC/USD --beside book:ETH/USD:100 --link 1Mbit/s --json

Times are counted from the beginning of the tape. The link is a model: docs/operations.md says what it leaves out.";

/// Say what a client of some policy and speed would have received from a recording
///
/// Plays the recording on virtual time, as fast as the machine can, through the same code as a running gateway, and prints each
/// message that the client receives: when, how old its data is, and what it stands for.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, after_help = "--help shows more, and examples.")]
pub struct Args {
    /// The recording: of feed-sim, Kraken v1, Coinbase or Binance, plain or gzip
    #[arg(long, value_name = "FILE")]
    tape: PathBuf,
    /// TOML file with settings: what the operator allows, limits, send buffer
    #[arg(long, value_name = "FILE", env = "GATEWAY_CONFIG")]
    pub config: Option<PathBuf>,

    /// What the client subscribes to [default: the busiest symbol of the tape]
    #[arg(long, value_name = "SYMBOL", help_heading = "Subscription")]
    symbol: Option<String>,
    /// Channel of the subscription
    #[arg(long, value_enum, default_value = "book", help_heading = "Subscription")]
    channel: ChannelArg,
    /// Levels a side of a book: 10, 25, 100, 500, 1000 [default: 10]
    #[arg(long, value_name = "LEVELS", help_heading = "Subscription")]
    depth: Option<u64>,
    /// What makes a ticker send: trades, bbo [default: trades]
    #[arg(long, value_name = "TRIGGER", help_heading = "Subscription")]
    event_trigger: Option<String>,
    /// Minutes of a candle: 1, 5, 15, 30, 60, 240, 1440, 10080, 21600 [default: 1]
    #[arg(long, value_name = "MINUTES", help_heading = "Subscription")]
    interval: Option<u64>,
    /// Another subscription of the same client, CHANNEL:SYMBOL or CHANNEL:SYMBOL:VARIANT; repeatable. It takes its share of the
    /// link and is counted, not shown
    #[arg(long, value_name = "STREAM", help_heading = "Subscription")]
    beside: Vec<StreamName>,

    /// conflate, latest, drop_oldest, drop_newest or disconnect [default: the operator's for the channel]
    #[arg(long, value_name = "POLICY", help_heading = "Terms")]
    policy: Option<String>,
    /// At most one update in so many milliseconds
    #[arg(long, value_name = "MS", help_heading = "Terms")]
    interval_ms: Option<u64>,
    /// With disconnect: how old the oldest unsent entry may become
    #[arg(long, value_name = "MS", help_heading = "Terms")]
    max_lag_ms: Option<u64>,
    /// With disconnect: how many entries may be unsent
    #[arg(long, value_name = "ENTRIES", help_heading = "Terms")]
    max_lag_entries: Option<u64>,
    /// Bandwidth that the client asks the gateway to keep
    #[arg(long, value_name = "BYTES", help_heading = "Terms")]
    max_bytes_per_s: Option<u64>,
    /// Tier that the operator puts the client into [default: that of everybody]
    #[arg(long, value_name = "NAME", help_heading = "Terms")]
    tier: Option<String>,
    /// A client that did not opt in to the superset: no terms, no notices
    #[arg(
        long,
        help_heading = "Terms",
        conflicts_with_all = ["policy", "interval_ms", "max_lag_ms", "max_lag_entries", "max_bytes_per_s"]
    )]
    plain: bool,

    /// How fast the client takes bytes: 64kB/s, 1MB/s, 512kbit/s, unlimited
    #[arg(long, value_name = "RATE", default_value = "unlimited", help_heading = "Link")]
    link: Rate,
    /// When the client reads nothing: 2s..7s, or 2s.. for ever; repeatable
    #[arg(long, value_name = "FROM..TO", help_heading = "Link")]
    stall: Vec<Window>,
    /// Kernel send buffer as it is set; Linux holds about 1.5 times as much [default: public.send_buffer_bytes]
    #[arg(long, value_name = "BYTES", value_parser = parse_bytes, help_heading = "Link")]
    send_buffer: Option<u64>,

    /// When the client connects [default: at the beginning of the tape]
    #[arg(long, value_name = "SPAN", value_parser = parse_span, help_heading = "Part of the tape")]
    from: Option<Nanos>,
    /// How much of the tape the client sees [default: to the end]
    #[arg(long = "for", value_name = "SPAN", value_parser = parse_span, help_heading = "Part of the tape")]
    span: Option<Nanos>,

    /// One JSON object per line
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// Only the numbers at the end
    #[arg(long, help_heading = "Output")]
    summary: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ChannelArg {
    Book,
    Ticker,
    Trade,
    Ohlc,
}

impl Args {
    /// What these arguments ask.
    #[must_use]
    pub fn plan(&self) -> Plan {
        let mut params = Map::new();
        let mut set =
            |key: &str, value: Option<Value>| params.extend(value.map(|value| (key.to_owned(), value)));
        set("depth", self.depth.map(Value::from));
        set("event_trigger", self.event_trigger.clone().map(Value::from));
        set("interval", self.interval.map(Value::from));
        set("policy", self.policy.clone().map(Value::from));
        set("interval_ms", self.interval_ms.map(Value::from));
        set("max_lag_ms", self.max_lag_ms.map(Value::from));
        set("max_lag_entries", self.max_lag_entries.map(Value::from));
        set("max_bytes_per_s", self.max_bytes_per_s.map(Value::from));
        Plan {
            tape: self.tape.clone(),
            channel: match self.channel {
                ChannelArg::Book => Channel::Book,
                ChannelArg::Ticker => Channel::Ticker,
                ChannelArg::Trade => Channel::Trade,
                ChannelArg::Ohlc => Channel::Ohlc,
            },
            symbol: self.symbol.clone(),
            params,
            beside: self.beside.clone(),
            ext: !self.plain,
            tier: self.tier.clone(),
            rate: self.link,
            stalls: self.stall.clone(),
            send_buffer_bytes: self.send_buffer,
            from: self.from.unwrap_or_default(),
            span: self.span,
        }
    }
}

/// Runs the command with the settings in force.
#[must_use]
pub fn run(args: &Args, config: &Config) -> ExitCode {
    let plan = args.plan();
    let mut printer = Printer {
        out: BufWriter::new(io::stdout()),
        plan: &plan,
        json: args.json,
        lines: !args.summary,
        first: Nanos(0),
        failed: false,
        bar: bar(args),
    };
    let result = explain(&plan, config, &mut printer);
    if let Some(bar) = &printer.bar {
        bar.finish_and_clear();
    }
    let code = match &result {
        Ok(answer) => {
            printer.conclude(answer);
            ExitCode::SUCCESS
        }
        // Whoever closes the pipe has seen enough.
        Err(ExplainError::Unwatched) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    };
    printer.flush();
    if let Err(error) = result.as_ref()
        && code == ExitCode::FAILURE
    {
        let _ = writeln!(io::stderr(), "error: {error}");
    }
    code
}

/// A progress bar where somebody sees it and nothing else is written there.
fn bar(args: &Args) -> Option<ProgressBar> {
    let is_seen = io::stderr().is_terminal() && (args.summary || !io::stdout().is_terminal());
    is_seen.then(|| {
        let style =
            ProgressStyle::with_template("{msg} {bar:30} {percent} %").expect("the template is a constant");
        let bar = ProgressBar::new(1).with_style(style).with_message("looking at the tape");
        bar.tick();
        bar
    })
}

/// Writes the answer to standard output as it comes.
struct Printer<'a, W: Write> {
    out: W,
    plan: &'a Plan,
    json: bool,
    /// Whether each message is shown.
    lines: bool,
    first: Nanos,
    /// Standard output takes no more.
    failed: bool,
    bar: Option<ProgressBar>,
}

impl<W: Write> Printer<'_, W> {
    fn write(&mut self, text: &str) {
        self.failed = self.failed || self.out.write_all(text.as_bytes()).is_err();
    }

    fn write_json(&mut self, value: &impl Serialize) {
        let text = serde_json::to_string(value).expect("plain structs of plain values");
        self.write(&text);
        self.write("\n");
    }

    fn flush(&mut self) {
        self.failed = self.failed || self.out.flush().is_err();
    }

    fn conclude(&mut self, answer: &Answer) {
        if self.json {
            return self.write_json(&Tagged { kind: "summary", value: &answer.summary });
        }
        if self.lines {
            self.write("\n");
        }
        self.write(&show::summary(answer, self.plan));
    }
}

/// A value among the messages, which all have a kind.
#[derive(Serialize)]
struct Tagged<'a, T> {
    kind: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

impl<W: Write> Watch for Printer<'_, W> {
    fn begin(&mut self, scene: &Scene) {
        self.first = scene.first;
        if self.json {
            return self.write_json(&SceneLine::of(scene));
        }
        self.write(&show::heading(scene, self.plan));
        if self.lines {
            self.write(&show::columns());
        }
    }

    fn received(&mut self, received: &Received) {
        if !self.lines {
            return;
        }
        if self.json {
            self.write_json(received);
        } else {
            self.write(&show::line(received, self.plan.channel, self.first));
        }
    }

    fn progress(&mut self, now: Nanos, span: Nanos) {
        if let Some(bar) = &self.bar {
            bar.set_message("playing it");
            bar.set_length(span.0);
            bar.set_position(now.0.min(span.0));
        }
    }

    fn is_gone(&self) -> bool {
        self.failed
    }
}

/// What is told before the messages.
#[derive(Serialize)]
struct SceneLine<'a> {
    kind: &'static str,
    symbols: usize,
    events: u64,
    span_us: u64,
    channel: &'static str,
    symbol: &'a str,
    policy: &'static str,
    interval_ms: u32,
    max_lag_ms: u32,
    max_lag_entries: u32,
    bytes_per_s: u64,
    kernel_bytes: u64,
}

impl<'a> SceneLine<'a> {
    fn of(scene: &'a Scene) -> Self {
        Self {
            kind: "scene",
            symbols: scene.symbols,
            events: scene.events,
            span_us: scene.span.0 / Nanos::MICRO.0,
            channel: scene.stream.channel().name(),
            symbol: &scene.symbol,
            policy: scene.terms.policy.name(),
            interval_ms: scene.terms.interval_ms,
            max_lag_ms: scene.terms.max_lag_ms,
            max_lag_entries: scene.terms.max_lag_entries,
            bytes_per_s: scene.bytes_per_s,
            kernel_bytes: scene.held_max,
        }
    }
}
