//! Everything that is said to a client beside market data, as JSON text appended to a buffer.
//!
//! Acknowledgements, errors, pongs, status, heartbeat and notices, in the exact key sets of Kraken's v2: strict
//! clients refuse unknown keys. What goes beyond them is written only when it is passed in. Never frames (see
//! [`crate::ws`]), never decides, never looks at a clock: the times of a request come in as a [`Stamp`].

use model::{Channel, DEPTHS, Epoch, FeedStatus, INTERVALS_MIN, Nanos, Policy, Sequence, StreamKey};
use thiserror::Error;

use crate::request::{ReqId, RequestError};
use crate::text::{write_int, write_string, write_time_micros};

/// Characters of a client's text that an answer repeats at most.
pub const ECHO_CHARS_MAX: usize = 32;

const OHLC_WARNING: &str = "timestamp is deprecated, use interval_begin";
const INSTRUMENT_WARNING: &str = "tick_size is deprecated, use price_increment";

/// What every answer to a request ends with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// When the request was received (wall time).
    pub time_in: Nanos,
    /// When the answer is written (wall time).
    pub time_out: Nanos,
    /// The request's own id; left out when it had none.
    pub req_id: Option<ReqId>,
}

/// A subscription that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed<'a> {
    /// What was subscribed to.
    pub stream: StreamKey,
    /// Symbol of the stream's instrument; not written for the instruments stream.
    pub symbol: &'a str,
    /// Whether a snapshot follows.
    pub snapshot: bool,
    /// What only connections that opted in are told.
    pub ext: Option<SubscribedExt>,
}

/// What an acknowledgement says beyond Kraken's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscribedExt {
    /// Generation of the feed.
    pub epoch: Epoch,
    /// Where the stream stands.
    pub seq: Sequence,
    /// How the subscription is served.
    pub terms: Terms,
    /// When the client wanted to go on from a point: whether it does. If not, a snapshot follows.
    pub recovered: Option<bool>,
}

/// How a subscription is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What becomes of entries that the client is too slow for.
    pub policy: Policy,
    /// At most one update per this many milliseconds; 0 is as fast as the client reads.
    pub interval_ms: u32,
    /// With [`Policy::Disconnect`]: how old the oldest unsent entry may become, in milliseconds.
    pub max_lag_ms: u32,
    /// With [`Policy::Disconnect`]: how many entries may be unsent.
    pub max_lag_entries: u32,
}

impl Terms {
    /// The interval as a span.
    #[must_use]
    pub const fn interval(&self) -> Nanos {
        Nanos::from_millis(self.interval_ms as u64)
    }

    /// The longest lag as a span.
    #[must_use]
    pub const fn max_lag(&self) -> Nanos {
        Nanos::from_millis(self.max_lag_ms as u64)
    }
}

/// Why a well-formed request is refused for one symbol, or as a whole; the texts are the venue's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Refusal<'a> {
    /// No such symbol; names it, cut to [`ECHO_CHARS_MAX`] characters.
    #[error("Currency pair not supported {}", cut(.0))]
    UnknownSymbol(&'a str),
    /// Not one of [`DEPTHS`].
    #[error("Subscription depth not supported")]
    Depth,
    /// Not one of [`INTERVALS_MIN`].
    #[error("Subscription ohlc interval not supported")]
    Interval,
    /// A policy that makes no sense for the channel, or that the operator does not allow; names those that are.
    #[error("Policy not supported, choose {0}")]
    Policy(&'a str),
    /// The channel and symbol are subscribed already, in whatever variant.
    #[error("Already subscribed")]
    AlreadySubscribed,
    /// There is nothing to unsubscribe.
    #[error("Subscription Not Found")]
    NotFound,
    /// Too many requests.
    #[error("Exceeded msg rate")]
    Rate,
}

/// What went wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure<'a> {
    /// The text for the client.
    pub text: &'a str,
    /// The method as sent; left out when it could not be read.
    pub method: Option<&'a str>,
    /// The symbol at fault, where it is one.
    pub symbol: Option<&'a str>,
}

/// Kind of a [`Notice`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeCode {
    /// The client does not keep up and is served by its policy.
    Lagging,
    /// Entries were lost: the range and count say which.
    Gap,
    /// The next update stands for several entries.
    Merged,
    /// A snapshot follows although none was asked for.
    Resynced,
    /// The feed stopped or has a gap: what was sent last may be wrong.
    Stale,
    /// The feed is whole again.
    Fresh,
    /// The grant no longer covers the subscription, which has ended.
    Revoked,
    /// The connection is about to be closed.
    Closing,
}

impl NoticeCode {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Lagging,
        Self::Gap,
        Self::Merged,
        Self::Resynced,
        Self::Stale,
        Self::Fresh,
        Self::Revoked,
        Self::Closing,
    ];

    /// The name on the wire and in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lagging => "lagging",
            Self::Gap => "gap",
            Self::Merged => "merged",
            Self::Resynced => "resynced",
            Self::Stale => "stale",
            Self::Fresh => "fresh",
            Self::Revoked => "revoked",
            Self::Closing => "closing",
        }
    }
}

/// Something that a client that opted in is told about its connection or a subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notice<'a> {
    /// What happened.
    pub code: NoticeCode,
    /// To which channel; none when to all.
    pub channel: Option<Channel>,
    /// To which symbol; none when to all.
    pub symbol: Option<&'a str>,
    /// To candles of which interval, in minutes.
    pub interval: Option<u16>,
    /// First sequence concerned.
    pub from_seq: Option<Sequence>,
    /// Last sequence concerned.
    pub to_seq: Option<Sequence>,
    /// Entries concerned.
    pub count: Option<u64>,
    /// Generation of `to_seq`, when it is another than that of `from_seq`.
    pub epoch: Option<Epoch>,
    /// Milliseconds after which the client should connect again, once the connection is closed.
    pub retry_ms: Option<u64>,
    /// Words for a person.
    pub text: Option<&'a str>,
}

impl Notice<'_> {
    /// A notice that says no more than its code.
    #[must_use]
    pub const fn new(code: NoticeCode) -> Self {
        Self {
            code,
            channel: None,
            symbol: None,
            interval: None,
            from_seq: None,
            to_seq: None,
            epoch: None,
            count: None,
            retry_ms: None,
            text: None,
        }
    }
}

impl<'a> Notice<'a> {
    /// A notice about the subscription to a stream.
    #[must_use]
    pub fn about(code: NoticeCode, stream: StreamKey, symbol: &'a str) -> Self {
        let interval = match stream {
            StreamKey::Ohlc(_, interval) => Some(INTERVALS_MIN[usize::from(interval)]),
            _ => None,
        };
        Self { channel: Some(stream.channel()), symbol: Some(symbol), interval, ..Notice::new(code) }
    }
}

/// Appends the acknowledgement of a subscription.
pub fn subscribed(made: &Subscribed<'_>, stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"method":"subscribe","result":{"#);
    write_variant(made.stream, out);
    out.extend_from_slice(if made.snapshot { br#","snapshot":true"# } else { br#","snapshot":false"# });
    write_symbol(made.stream, made.symbol, out);
    let warning = match made.stream.channel() {
        Channel::Ohlc => Some(OHLC_WARNING),
        Channel::Instrument => Some(INSTRUMENT_WARNING),
        Channel::Book | Channel::Ticker | Channel::Trade => None,
    };
    if let Some(warning) = warning {
        out.extend_from_slice(br#","warnings":["#);
        write_string(warning, out);
        out.push(b']');
    }
    if let Some(ext) = made.ext {
        int_key("epoch", ext.epoch.0, out);
        int_key("seq", ext.seq.0, out);
        write_terms(&ext.terms, out);
        if let Some(recovered) = ext.recovered {
            bool_key("recovered", recovered, out);
        }
    }
    out.extend_from_slice(br#"},"success":true"#);
    write_stamp(stamp, out);
}

/// Appends the acknowledgement of new terms of one subscription.
pub fn configured(stream: StreamKey, symbol: &str, terms: &Terms, stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"method":"configure","result":{"#);
    write_variant(stream, out);
    write_symbol(stream, symbol, out);
    write_terms(terms, out);
    out.extend_from_slice(br#"},"success":true"#);
    write_stamp(stamp, out);
}

/// Appends the acknowledgement of a new bandwidth of the connection; 0 is no limit.
pub fn configured_connection(max_bytes_per_s: u64, stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"method":"configure","result":{"max_bytes_per_s":"#);
    write_int(max_bytes_per_s, out);
    out.extend_from_slice(br#"},"success":true"#);
    write_stamp(stamp, out);
}

/// Appends the acknowledgement that a subscription is paused, or goes on.
pub fn paused(stream: StreamKey, symbol: &str, paused: bool, stamp: Stamp, out: &mut Vec<u8>) {
    let method: &[u8] =
        if paused { br#"{"method":"pause","result":{"# } else { br#"{"method":"resume","result":{"# };
    out.extend_from_slice(method);
    write_variant(stream, out);
    write_symbol(stream, symbol, out);
    bool_key("paused", paused, out);
    out.extend_from_slice(br#"},"success":true"#);
    write_stamp(stamp, out);
}

/// Appends the acknowledgement that every subscription of the connection is paused, or goes on.
pub fn paused_all(subscriptions: usize, paused: bool, stamp: Stamp, out: &mut Vec<u8>) {
    let method: &[u8] =
        if paused { br#"{"method":"pause","result":{"# } else { br#"{"method":"resume","result":{"# };
    out.extend_from_slice(method);
    out.extend_from_slice(br#""subscriptions":"#);
    write_int(subscriptions as u64, out);
    bool_key("paused", paused, out);
    out.extend_from_slice(br#"},"success":true"#);
    write_stamp(stamp, out);
}

/// A login that was accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoggedIn<'a> {
    /// Who it is.
    pub subject: &'a str,
    /// Name of its tier.
    pub tier: &'a str,
    /// Until when (wall time); none is until somebody takes it back.
    pub expires: Option<Nanos>,
}

/// Appends the acknowledgement of a login.
pub fn logged_in(login: &LoggedIn<'_>, stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"method":"login","result":{"subject":"#);
    write_string(login.subject, out);
    text_key("tier", login.tier, out);
    if let Some(expires) = login.expires {
        write_key("expires", out);
        out.push(b'"');
        write_time_micros(expires, out);
        out.push(b'"');
    }
    out.extend_from_slice(br#"},"success":true"#);
    write_stamp(stamp, out);
}

/// Appends the acknowledgement that a subscription has ended; `symbol` as in [`Subscribed`].
pub fn unsubscribed(stream: StreamKey, symbol: &str, stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"method":"unsubscribe","result":{"#);
    write_variant(stream, out);
    write_symbol(stream, symbol, out);
    out.extend_from_slice(br#"},"success":true"#);
    write_stamp(stamp, out);
}

/// Appends the answer to a request that is refused. Method and symbol are cut to [`ECHO_CHARS_MAX`] characters.
pub fn error(failure: &Failure<'_>, stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"error":"#);
    write_string(failure.text, out);
    if let Some(method) = failure.method {
        text_key("method", cut(method), out);
    }
    out.extend_from_slice(br#","success":false"#);
    if let Some(symbol) = failure.symbol {
        text_key("symbol", cut(symbol), out);
    }
    write_stamp(stamp, out);
}

/// Appends the answer to a request that could not be decoded; its `req_id` replaces that of the stamp.
pub fn request_error(failed: &RequestError, stamp: Stamp, out: &mut Vec<u8>) {
    let text = failed.to_string();
    let failure = Failure { text: &text, method: failed.method.as_deref(), symbol: failed.symbol.as_deref() };
    error(&failure, Stamp { req_id: failed.req_id, ..stamp }, out);
}

/// Appends the answer to a ping.
pub fn pong(stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"method":"pong""#);
    write_stamp(stamp, out);
}

/// Appends the state of the venue, as sent on connect and on change.
///
/// `connection_id` stays below 2^53, which every client can hold; `version` is the gateway's.
pub fn status(connection_id: u64, system: FeedStatus, version: &str, out: &mut Vec<u8>) {
    debug_assert!(connection_id < 1 << 53);
    out.extend_from_slice(
        br#"{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":"#,
    );
    write_int(connection_id, out);
    text_key("system", system.name(), out);
    text_key("version", version, out);
    out.extend_from_slice(b"}]}");
}

/// Appends the sign of life.
pub fn heartbeat(out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"channel":"heartbeat"}"#);
}

/// Appends a notice; what it does not know is left out.
pub fn notice(notice: &Notice<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(br#"{"channel":"notice","type":"update","data":[{"code":""#);
    out.extend_from_slice(notice.code.name().as_bytes());
    out.push(b'"');
    let texts = [("channel", notice.channel.map(Channel::name)), ("symbol", notice.symbol)];
    for (key, value) in texts.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        text_key(key, value, out);
    }
    let (from, to) = (notice.from_seq.map(|seq| seq.0), notice.to_seq.map(|seq| seq.0));
    let (interval, epoch) = (notice.interval.map(u64::from), notice.epoch.map(|epoch| epoch.0));
    let numbers = [
        ("interval", interval),
        ("from_seq", from),
        ("to_seq", to),
        ("epoch", epoch),
        ("count", notice.count),
        ("retry_ms", notice.retry_ms),
    ];
    for (key, value) in numbers.into_iter().filter_map(|(key, value)| Some((key, value?))) {
        int_key(key, value, out);
    }
    if let Some(text) = notice.text {
        text_key("text", text, out);
    }
    out.extend_from_slice(b"}]}");
}

/// The first [`ECHO_CHARS_MAX`] characters.
pub(crate) fn cut(text: &str) -> &str {
    text.char_indices().nth(ECHO_CHARS_MAX).map_or(text, |(end, _)| &text[..end])
}

/// Writes the channel and the key of its variant: what a client needs to subscribe again.
fn write_variant(stream: StreamKey, out: &mut Vec<u8>) {
    out.extend_from_slice(br#""channel":""#);
    out.extend_from_slice(stream.channel().name().as_bytes());
    out.push(b'"');
    match stream {
        StreamKey::Book(_, depth) => int_key("depth", DEPTHS[usize::from(depth)], out),
        StreamKey::Ohlc(_, interval) => int_key("interval", INTERVALS_MIN[usize::from(interval)], out),
        StreamKey::Ticker(_, trigger) => text_key("event_trigger", trigger.name(), out),
        StreamKey::Trade(_) | StreamKey::Instruments => {}
    }
}

fn write_symbol(stream: StreamKey, symbol: &str, out: &mut Vec<u8>) {
    if stream.instrument().is_some() {
        text_key("symbol", symbol, out);
    }
}

/// Writes the times and the id, and ends the answer.
fn write_stamp(stamp: Stamp, out: &mut Vec<u8>) {
    out.extend_from_slice(br#","time_in":""#);
    write_time_micros(stamp.time_in, out);
    out.extend_from_slice(br#"","time_out":""#);
    write_time_micros(stamp.time_out, out);
    out.push(b'"');
    match stamp.req_id {
        Some(ReqId::Signed(id)) => {
            write_key("req_id", out);
            if id < 0 {
                out.push(b'-');
            }
            write_int(id.unsigned_abs(), out);
        }
        Some(ReqId::Unsigned(id)) => int_key("req_id", id, out),
        None => {}
    }
    out.push(b'}');
}

/// Appends `,"key":"text"`.
fn text_key(key: &str, value: &str, out: &mut Vec<u8>) {
    write_key(key, out);
    write_string(value, out);
}

/// Appends `,"key":number`.
fn int_key(key: &str, value: impl Into<u64>, out: &mut Vec<u8>) {
    write_key(key, out);
    write_int(value, out);
}

/// Appends `,"key":true`.
fn bool_key(key: &str, value: bool, out: &mut Vec<u8>) {
    write_key(key, out);
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Appends the terms in force; the limits of a lag only where they mean something.
fn write_terms(terms: &Terms, out: &mut Vec<u8>) {
    text_key("policy", terms.policy.name(), out);
    int_key("interval_ms", u64::from(terms.interval_ms), out);
    if terms.policy == Policy::Disconnect {
        int_key("max_lag_ms", u64::from(terms.max_lag_ms), out);
        int_key("max_lag_entries", u64::from(terms.max_lag_entries), out);
    }
}

fn write_key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}
