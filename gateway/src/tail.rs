//! What a gateway streams, one line per message: `gateway tail`.
//!
//! Subscribes like any client and prints what comes in a form that people read. Never part of a running gateway.
//!
//! | noun | file |
//! |---|---|
//! | the connection | `socket.rs` |
//! | messages as lines, and the book that they need | `lines.rs` |

mod lines;
mod socket;

use std::io::{self, Write};
use std::process::ExitCode;

use clap::ValueEnum;
use serde_json::{Value, json};
use thiserror::Error;

use lines::Reader;
use socket::{Socket, SocketError};

const EXAMPLES: &str = "\
Examples:
  gateway tail BTC/USD                        changes of the book: best prices, spread, what changed
  gateway tail BTC/USD ETH/USD --channel trade
  gateway tail BTC/USD --channel ticker --count 10
  gateway tail BTC/USD --depth 25 --levels 5  the five best levels of each side after each change
  gateway tail BTC/USD --json | jq .";

/// Print what a gateway streams, one line per message
///
/// Subscribes like any client. Lines have the time of the event, the symbol, and what happened; notices, losses and states of the
/// venue stand between them.
#[derive(Debug, clap::Args)]
#[command(after_long_help = EXAMPLES, after_help = "--help shows examples.")]
pub struct Args {
    /// Symbols, such as BTC/USD
    #[arg(required = true, value_name = "SYMBOL")]
    symbols: Vec<String>,
    /// Channel; repeatable
    #[arg(long = "channel", value_enum, default_value = "book", value_delimiter = ',')]
    channels: Vec<ChannelArg>,
    /// Levels a side of a book: 10, 25, 100, 500, 1000
    #[arg(long, default_value_t = 10, value_name = "LEVELS")]
    depth: u32,
    /// Print so many levels of each side of a book after each change
    #[arg(long, default_value_t = 0, value_name = "N")]
    levels: usize,
    /// Minutes of a candle
    #[arg(long, default_value_t = 1, value_name = "MINUTES")]
    interval: u32,
    /// At most one update in so many milliseconds
    #[arg(long, value_name = "MS")]
    interval_ms: Option<u32>,
    /// End after so many entries
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print messages as they come
    #[arg(long)]
    json: bool,
    /// WebSocket address of the gateway
    #[arg(long, default_value = "ws://127.0.0.1:8080/v2", value_name = "URL")]
    url: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ChannelArg {
    Book,
    Ticker,
    Trade,
    Ohlc,
}

impl ChannelArg {
    const fn name(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::Ticker => "ticker",
            Self::Trade => "trade",
            Self::Ohlc => "ohlc",
        }
    }
}

/// Why it ends.
#[derive(Debug, Error)]
enum TailError {
    /// The connection.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The gateway says no.
    #[error("{0}")]
    Refused(String),
    /// What came is no message.
    #[error("not a message of the protocol: {0}")]
    Message(#[from] serde_json::Error),
}

/// Prints until the gateway ends the connection, or it is enough.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    match follow(args, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn follow(args: &Args, out: &mut impl Write) -> Result<(), TailError> {
    let mut socket = Socket::connect(&args.url)?;
    for (channel, req_id) in args.channels.iter().zip(1_u64..) {
        socket.send(&request(args, *channel, req_id).to_string())?;
    }
    let mut reader = Reader::new(args.depth as usize, args.levels);
    let mut printed = 0;
    loop {
        let text = socket.next_text()?;
        let message: Value = serde_json::from_str(&text)?;
        if message["success"] == false {
            return Err(TailError::Refused(message["error"].as_str().unwrap_or("refused").to_owned()));
        }
        let is_data = ChannelArg::value_variants().iter().any(|channel| message["channel"] == channel.name());
        let lines = if args.json { vec![text] } else { reader.lines(&text)? };
        for line in lines {
            // A reader that has gone away has seen enough.
            if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
                return Ok(());
            }
            printed += u64::from(is_data);
            if args.count.is_some_and(|count| printed >= count) {
                return Ok(());
            }
        }
    }
}

fn request(args: &Args, channel: ChannelArg, req_id: u64) -> Value {
    let mut params = json!({ "channel": channel.name(), "symbol": args.symbols, "snapshot": true });
    match channel {
        ChannelArg::Book => params["depth"] = args.depth.into(),
        ChannelArg::Ohlc => params["interval"] = args.interval.into(),
        ChannelArg::Ticker => params["event_trigger"] = "bbo".into(),
        ChannelArg::Trade => {}
    }
    // Sending any of these opts in, so that losses are told.
    params["interval_ms"] = args.interval_ms.unwrap_or(0).into();
    json!({ "method": "subscribe", "params": params, "req_id": req_id })
}
