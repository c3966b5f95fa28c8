//! What is to be explained: the streams, the terms, the link, and their texts on the command line.
//!
//! Owns the reading of rates, sizes, windows and streams. Never judges what a client may ask: that is the hub's, with the texts
//! that a client would get.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use feed_sim::parse_span;
use model::{Channel, Nanos};
use serde_json::{Map, Value};

/// Everything that a run depends on, beside the settings.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The recording.
    pub tape: PathBuf,
    /// Channel of the stream that is looked at.
    pub channel: Channel,
    /// Its symbol; none takes the busiest of the tape.
    pub symbol: Option<String>,
    /// What a client would write into `params` of its request, beside channel and symbol.
    pub params: Map<String, Value>,
    /// Subscriptions of the same client that take their share of the link.
    pub beside: Vec<StreamName>,
    /// Whether the client opted in to the superset.
    pub ext: bool,
    /// The operator's bounds for the client; none takes those of everybody.
    pub tier: Option<String>,
    /// Bytes per second that the client takes; none is no limit.
    pub rate: Rate,
    /// When the client reads nothing, from the beginning of the tape.
    pub stalls: Vec<Window>,
    /// Kernel send buffer as it is set; none is that of the settings.
    pub send_buffer_bytes: Option<u64>,
    /// When the client connects, from the beginning of the tape.
    pub from: Nanos,
    /// How much of the tape it sees; none is all.
    pub span: Option<Nanos>,
}

impl Plan {
    /// The client's request for the stream that is looked at.
    #[must_use]
    pub fn request(&self, symbol: &str) -> Value {
        let mut params = self.params.clone();
        params.insert("channel".into(), self.channel.name().into());
        params.insert("symbol".into(), vec![symbol].into());
        request(params)
    }
}

fn request(params: Map<String, Value>) -> Value {
    serde_json::json!({ "method": "subscribe", "params": params })
}

/// A text that cannot be read, and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no {noun}: expected {expected}")]
pub struct TextError {
    text: String,
    noun: &'static str,
    expected: &'static str,
}

impl TextError {
    fn new(text: &str, noun: &'static str, expected: &'static str) -> Self {
        Self { text: text.to_owned(), noun, expected }
    }
}

/// Bytes per second; none is no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub Option<u64>);

impl FromStr for Rate {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        const EXPECTED: &str = "bytes or bits per second such as 64kB/s, 1MB/s, 512kbit/s, or unlimited";
        if text == "unlimited" {
            return Ok(Self(None));
        }
        let error = || TextError::new(text, "rate", EXPECTED);
        let amount = text.strip_suffix("/s").ok_or_else(error)?;
        let bytes = match amount.strip_suffix("bit") {
            Some(bits) => scaled(bits).map(|bits| bits / 8.0),
            None => amount.strip_suffix('B').and_then(scaled),
        };
        whole(bytes.ok_or_else(error)?).map(|bytes| Self(Some(bytes))).ok_or_else(error)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("unlimited"),
            Some(bytes) => {
                let (unit, name) = match bytes {
                    1_000_000_000.. => (1e9, "GB/s"),
                    1_000_000.. => (1e6, "MB/s"),
                    1_000.. => (1e3, "kB/s"),
                    _ => (1.0, "B/s"),
                };
                write!(f, "{} {name}", (bytes as f64 / unit * 100.0).round() / 100.0)
            }
        }
    }
}

/// Reads a size such as `65536`, `64KiB` or `64kB`.
///
/// # Errors
/// When the text is anything else, or less than one byte.
pub fn parse_bytes(text: &str) -> Result<u64, TextError> {
    let error = || TextError::new(text, "size", "bytes such as 65536, 64KiB or 64kB");
    let amount = text.strip_suffix('B').unwrap_or(text);
    scaled(amount).and_then(whole).ok_or_else(error)
}

/// A number with a prefix of its unit: `k`, `M`, `G`, or `Ki`, `Mi`, `Gi`.
fn scaled(text: &str) -> Option<f64> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, prefix) = text.split_at(digits);
    let factor = match prefix {
        "" => 1.0,
        "k" => 1e3,
        "M" => 1e6,
        "G" => 1e9,
        "Ki" => 1_024.0,
        "Mi" => 1_048_576.0,
        "Gi" => 1_073_741_824.0,
        _ => return None,
    };
    number.parse::<f64>().ok().map(|number| number * factor)
}

/// Whole bytes, from one on and so few that times of them do not overflow.
fn whole(bytes: f64) -> Option<u64> {
    const BYTES_MAX: f64 = 1e15;
    (1.0..=BYTES_MAX).contains(&bytes).then_some(bytes as u64)
}

/// A part of the tape, counted from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// The first moment in it.
    pub from: Nanos,
    /// The first moment after it.
    pub to: Nanos,
}

impl Window {
    /// An end that does not come.
    pub const NEVER: Nanos = Nanos(u64::MAX);
}

impl FromStr for Window {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let error = || {
            TextError::new(text, "window", "FROM..TO such as 2s..7s or 500ms..1.5s, or FROM.. without an end")
        };
        let (from, to) = text.split_once("..").ok_or_else(error)?;
        let from = parse_span(from).map_err(|_| error())?;
        let to = if to.is_empty() { Self::NEVER } else { parse_span(to).map_err(|_| error())? };
        if from < to { Ok(Self { from, to }) } else { Err(error()) }
    }
}

/// A stream on the command line: `CHANNEL:SYMBOL`, or with its variant `CHANNEL:SYMBOL:VARIANT`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamName {
    /// One of the four with a symbol.
    pub channel: Channel,
    /// As the tape spells it.
    pub symbol: String,
    /// Depth, trigger or interval.
    pub variant: Option<String>,
}

impl StreamName {
    /// A client's request for it.
    #[must_use]
    pub fn request(&self) -> Value {
        let mut params = Map::new();
        params.insert("channel".into(), self.channel.name().into());
        params.insert("symbol".into(), vec![&*self.symbol].into());
        if let Some(variant) = &self.variant {
            let number = variant.parse::<u64>().map(Value::from).unwrap_or_else(|_| (&**variant).into());
            if let Some(key) = variant_key(self.channel) {
                params.insert(key.into(), number);
            }
        }
        request(params)
    }
}

/// The parameter that tells the variants of a channel apart.
const fn variant_key(channel: Channel) -> Option<&'static str> {
    match channel {
        Channel::Book => Some("depth"),
        Channel::Ticker => Some("event_trigger"),
        Channel::Ohlc => Some("interval"),
        Channel::Trade | Channel::Instrument => None,
    }
}

impl FromStr for StreamName {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let error = || {
            TextError::new(
                text,
                "stream",
                "CHANNEL:SYMBOL or CHANNEL:SYMBOL:VARIANT such as book:BTC/USD:1000",
            )
        };
        let mut parts = text.splitn(3, ':');
        let (channel, symbol) = (parts.next().unwrap_or_default(), parts.next().ok_or_else(error)?);
        let channel = channel_of(channel).ok_or_else(error)?;
        let variant = parts.next().map(str::to_owned);
        if symbol.is_empty() || (variant.is_some() && variant_key(channel).is_none()) {
            return Err(error());
        }
        Ok(Self { channel, symbol: symbol.to_owned(), variant })
    }
}

impl fmt::Display for StreamName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.channel.name(), self.symbol)?;
        self.variant.iter().try_for_each(|variant| write!(f, ":{variant}"))
    }
}

/// A channel by its name, of those that have a symbol.
pub(super) fn channel_of(name: &str) -> Option<Channel> {
    Channel::ALL
        .into_iter()
        .find(|channel| channel.name() == name)
        .filter(|&channel| channel != Channel::Instrument)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_bytes_or_bits_per_second() {
        for (text, bytes, shown) in [
            ("64kB/s", Some(64_000), "64 kB/s"),
            ("1MB/s", Some(1_000_000), "1 MB/s"),
            ("1.5MB/s", Some(1_500_000), "1.5 MB/s"),
            ("512kbit/s", Some(64_000), "64 kB/s"),
            ("1Gbit/s", Some(125_000_000), "125 MB/s"),
            ("64KiB/s", Some(65_536), "65.54 kB/s"),
            ("900B/s", Some(900), "900 B/s"),
            ("unlimited", None, "unlimited"),
        ] {
            assert_eq!(text.parse(), Ok(Rate(bytes)), "{text}");
            assert_eq!(Rate(bytes).to_string(), shown);
        }
        for bad in
            ["", "64", "64kB", "kB/s", "0B/s", "4bit/s", "-1kB/s", "64KB/s", "1e3B/s", "inf", "1.2.3MB/s"]
        {
            assert!(bad.parse::<Rate>().is_err(), "{bad}");
        }
        let told = "64kB".parse::<Rate>().unwrap_err().to_string();
        assert!(told.starts_with("\"64kB\" is no rate: expected bytes or bits per second such as"), "{told}");
    }

    #[test]
    fn sizes_are_bytes_with_or_without_a_unit() {
        for (text, bytes) in [("65536", 65_536), ("64KiB", 65_536), ("64kB", 64_000), ("1.5MB", 1_500_000)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for bad in ["", "B", "0", "64K", "64 kB", "-1", "1TB"] {
            assert!(parse_bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn windows_are_two_spans_of_which_the_second_is_later() {
        for (text, from, to) in [
            ("2s..7s", 2_000, 7_000),
            ("500ms..1.5s", 500, 1_500),
            ("0..1m", 0, 60_000),
            ("2..7", 2_000, 7_000),
        ] {
            let window = Window { from: Nanos::from_millis(from), to: Nanos::from_millis(to) };
            assert_eq!(text.parse(), Ok(window), "{text}");
        }
        assert_eq!("3s..".parse(), Ok(Window { from: Nanos::from_secs(3), to: Window::NEVER }));
        for bad in ["", "2s", "..", "..2s", "7s..2s", "2s..2s", "2s...7s", "a..b", "2s-7s"] {
            assert!(bad.parse::<Window>().is_err(), "{bad}");
        }
    }

    #[test]
    fn streams_are_a_channel_a_symbol_and_a_variant() {
        let params = |text: &str| {
            let name: StreamName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            name.request()["params"].to_string()
        };
        assert_eq!(params("book:BTC/USD:1000"), r#"{"channel":"book","depth":1000,"symbol":["BTC/USD"]}"#);
        assert_eq!(
            params("ticker:A/B:bbo"),
            r#"{"channel":"ticker","event_trigger":"bbo","symbol":["A/B"]}"#
        );
        assert_eq!(params("ohlc:A/B:5"), r#"{"channel":"ohlc","interval":5,"symbol":["A/B"]}"#);
        assert_eq!(params("trade:A/B"), r#"{"channel":"trade","symbol":["A/B"]}"#);
        for bad in ["", "book", "book:", "books:A/B", "instrument:A/B", "trade:A/B:1"] {
            assert!(bad.parse::<StreamName>().is_err(), "{bad}");
        }
    }
}
