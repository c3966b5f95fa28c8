//! What a client asks, decoded from one message.
//!
//! The message comes from [`crate::ws`], text or binary alike, and is parsed in place. A request that cannot be
//! read becomes a [`RequestError`] that still carries what could, for [`crate::reply::request_error`]. Symbols,
//! depth and interval are not judged here, since each symbol gets its own answer: see
//! [`ChannelParams::stream_key`].

mod delivery;
mod json;
mod token;

use std::fmt;

use model::{Channel, DEPTHS, INTERVALS_MIN, InstrumentId, StreamKey, Trigger};
use simd_json::prelude::{TypedScalarValue, ValueAsScalar, ValueIntoString};
use simd_json::tape::{Object, Value};
use thiserror::Error;

use crate::reply::{Refusal, cut};

pub use delivery::{Delivery, Resume};
pub use json::{DEPTH_MAX, DIGITS_MAX, KEYS_MAX};
pub use token::Token;

/// Symbols of one request, whatever [`RequestLimits`] say.
pub const SYMBOLS_MAX: usize = 1_000;

/// What a request may be at most. The defaults are the most that can be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestLimits {
    /// Symbols of one request. Default and most: [`SYMBOLS_MAX`].
    pub symbols_max: usize,
    /// Nested objects and arrays, the outermost included. Default and most: [`DEPTH_MAX`].
    pub depth_max: usize,
    /// Keys of one object. Default and most: [`KEYS_MAX`].
    pub keys_max: usize,
}

impl Default for RequestLimits {
    fn default() -> Self {
        Self { symbols_max: SYMBOLS_MAX, depth_max: DEPTH_MAX, keys_max: KEYS_MAX }
    }
}

/// Parameters beyond Kraken's: a client that sends one knows the superset.
const SUPERSET_PARAMS: [&str; 7] =
    ["policy", "max_lag_ms", "max_lag_entries", "interval_ms", "max_bytes_per_s", "resume", "checksum"];

const NO_OBJECT: Malformed = Malformed::WrongType("params", "an object");

/// Channels that need a login, on Kraken and on another host.
const PRIVATE_CHANNELS: [&str; 4] = ["executions", "balances", "level3", "orders"];

/// Channels that are sent without being asked for.
const PUSHED_CHANNELS: [&str; 2] = ["status", "heartbeat"];

/// One request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What is asked.
    pub method: Method,
    /// To be echoed in every answer; none when not sent or `null`.
    pub req_id: Option<ReqId>,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// Begin to send.
    Subscribe(Params),
    /// Stop sending.
    Unsubscribe(Params),
    /// Serve a subscription, or the whole connection, in another way from now on.
    Configure(Configure),
    /// Send nothing of some subscriptions, or of all, until they are resumed.
    Pause(Target),
    /// Go on with some subscriptions, or with all.
    Resume(Target),
    /// Answer with a pong.
    Ping,
    /// Present a token: the grant of the connection is its grant from now on.
    Login(Token),
}

/// Which subscriptions a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Every subscription of the connection.
    All,
    /// A channel of some symbols; none for the instrument channel.
    Some(ChannelParams, Vec<Box<str>>),
}

/// New settings; what was not sent stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Configure {
    /// The subscriptions that `delivery` is for; [`Target::All`] when only the connection is configured.
    pub target: Target,
    /// How they are to be served.
    pub delivery: Delivery,
    /// Most bytes per second of the connection; 0 is no limit.
    pub max_bytes_per_s: Option<u64>,
}

impl Method {
    /// The name on the wire.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Subscribe(_) => "subscribe",
            Self::Unsubscribe(_) => "unsubscribe",
            Self::Configure(_) => "configure",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Ping => "ping",
            Self::Login(_) => "login",
        }
    }
}

/// The client's own number of a request; any integer of 64 bits, not necessarily unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReqId {
    /// Below zero.
    Signed(i64),
    /// Zero and above.
    Unsigned(u64),
}

impl fmt::Display for ReqId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Signed(id) => id.fmt(f),
            Self::Unsigned(id) => id.fmt(f),
        }
    }
}

/// What to subscribe to or unsubscribe from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Params {
    /// The channel and its variant.
    pub channel: ChannelParams,
    /// As sent: unknown and repeated ones included. From 1 to [`SYMBOLS_MAX`]; empty for the instrument channel.
    pub symbols: Vec<Box<str>>,
    /// As sent; see [`Params::snapshot`].
    pub snapshot: Option<bool>,
    /// How to be served.
    pub delivery: Delivery,
    /// Most bytes per second of the connection; 0 is no limit.
    pub max_bytes_per_s: Option<u64>,
    /// Where the client stands already.
    pub resume: Option<Resume>,
    /// Whether a parameter of the superset was sent, which opts the connection in.
    pub superset: bool,
}

impl Params {
    /// Whether a snapshot is wanted: yes where it was not said, except for trades.
    #[must_use]
    pub fn snapshot(&self) -> bool {
        self.snapshot.unwrap_or_else(|| self.channel.channel() != Channel::Trade)
    }
}

/// A channel and its variant as sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelParams {
    /// Depth by price.
    Book {
        /// Levels a side; not checked, what exceeds the type is clamped to it.
        depth: Option<i64>,
    },
    /// Best prices and 24 h figures.
    Ticker {
        /// What makes it send.
        trigger: Option<Trigger>,
    },
    /// Single trades.
    Trade,
    /// Candles.
    Ohlc {
        /// Minutes; not checked, what exceeds the type is clamped to it.
        interval: Option<i64>,
    },
    /// Reference data.
    Instrument,
}

impl ChannelParams {
    /// The channel alone.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        match self {
            Self::Book { .. } => Channel::Book,
            Self::Ticker { .. } => Channel::Ticker,
            Self::Trade => Channel::Trade,
            Self::Ohlc { .. } => Channel::Ohlc,
            Self::Instrument => Channel::Instrument,
        }
    }

    /// The stream of an instrument that is meant, with defaults for what was not sent: depth 10, interval 1,
    /// trigger `trades`. The instrument does not matter for [`Channel::Instrument`].
    ///
    /// # Errors
    /// When there is no such depth or interval; the answer is due for each symbol.
    pub fn stream_key(&self, instrument: InstrumentId) -> Result<StreamKey, Refusal<'static>> {
        Ok(match *self {
            Self::Book { depth } => {
                StreamKey::Book(instrument, index_in(&DEPTHS, depth).ok_or(Refusal::Depth)?)
            }
            Self::Ticker { trigger } => StreamKey::Ticker(instrument, trigger.unwrap_or(Trigger::Trades)),
            Self::Trade => StreamKey::Trade(instrument),
            Self::Ohlc { interval } => {
                StreamKey::Ohlc(instrument, index_in(&INTERVALS_MIN, interval).ok_or(Refusal::Interval)?)
            }
            Self::Instrument => StreamKey::Instruments,
        })
    }
}

/// Index of a value in a table whose first entry is the default.
fn index_in(table: &[u16], value: Option<i64>) -> Option<u8> {
    let Some(value) = value else { return Some(0) };
    table.iter().position(|one| i64::from(*one) == value).map(|index| index as u8)
}

/// Why a message is not a request, and what could be read of it all the same; displays as the text to answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}")]
pub struct RequestError {
    /// What is wrong.
    pub kind: RequestErrorKind,
    /// The method as sent, cut to [`crate::reply::ECHO_CHARS_MAX`] characters.
    pub method: Option<Box<str>>,
    /// The client's number of the request.
    pub req_id: Option<ReqId>,
    /// The symbol, when the request named exactly one; cut likewise.
    pub symbol: Option<Box<str>>,
}

/// Why a message is not a request.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum RequestErrorKind {
    /// Not JSON.
    #[error("Malformed request")]
    NotJson,
    /// JSON with something wrong: says what.
    #[error("Malformed request: {0}")]
    Malformed(Malformed),
    /// Not a method of this endpoint.
    #[error("Method(s) not found")]
    UnknownMethod,
    /// No such channel; its name is cut.
    #[error("Channel not supported {0}")]
    UnknownChannel(Box<str>),
    /// A channel that is sent without being asked for.
    #[error("Channel not supported {0}, it is sent without a subscription")]
    PushedChannel(&'static str),
    /// A channel of orders and accounts.
    #[error("Private data and trading are unavailable on this endpoint")]
    PrivateChannel,
}

/// What is wrong with JSON that is not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Malformed {
    /// The message is an array, a text or a number.
    #[error("a request must be a JSON object")]
    NotObject,
    /// See [`RequestLimits::depth_max`], which is named.
    #[error("objects and arrays are nested deeper than {0}")]
    TooDeep(usize),
    /// Found, and [`RequestLimits::keys_max`].
    #[error("an object has {0} keys, at most {1} are taken")]
    TooManyKeys(usize, usize),
    /// Which of the two counts is a guess that nobody should have to make.
    #[error("an object has the same key twice")]
    DuplicateKey,
    /// See [`DIGITS_MAX`].
    #[error("a number has more than {DIGITS_MAX} digits")]
    NumberTooLong,
    /// Something needed is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Something is of the wrong type: its name, and what it must be.
    #[error("{0} must be {1}")]
    WrongType(&'static str, &'static str),
    /// An empty list.
    #[error("params.symbol is empty, name at least one symbol")]
    NoSymbols,
    /// Found, and [`RequestLimits::symbols_max`].
    #[error("params.symbol has {0} symbols, at most {1} are taken in one request")]
    TooManySymbols(usize, usize),
}

impl From<Malformed> for RequestErrorKind {
    fn from(malformed: Malformed) -> Self {
        Self::Malformed(malformed)
    }
}

/// [`decode_within`] the widest limits.
///
/// # Errors
/// As there.
pub fn decode(payload: &mut [u8]) -> Result<Request, RequestError> {
    decode_within(payload, &RequestLimits::default())
}

/// Decodes one message. The payload is scrambled: log it before, if at all.
///
/// Keys that are not known are ignored, since clients of Kraken send some (`token` beside `channel`), and `null` counts as not sent.
///
/// # Errors
/// When the message is not JSON, breaks a limit, or is not a request; the error displays as the answer.
pub fn decode_within(payload: &mut [u8], limits: &RequestLimits) -> Result<Request, RequestError> {
    let mut seen = Seen::default();
    let decoded = decode_into(payload, limits, &mut seen);
    let decoded = decoded.and_then(|request| check_symbols(request, limits.symbols_max));
    decoded.map_err(|kind| RequestError {
        kind,
        method: seen.method,
        req_id: seen.req_id,
        symbol: seen.symbol,
    })
}

/// What was read before something went wrong.
#[derive(Default)]
struct Seen {
    method: Option<Box<str>>,
    req_id: Option<ReqId>,
    symbol: Option<Box<str>>,
}

fn decode_into(
    payload: &mut [u8],
    limits: &RequestLimits,
    seen: &mut Seen,
) -> Result<Request, RequestErrorKind> {
    let digits = json::check_digits(payload);
    let tape = json::parse(payload, digits, limits.depth_max)?;
    let root = tape.as_value().as_object().ok_or(Malformed::NotObject)?;
    // Method and id are read before anything is judged, so that the client can tell which request went wrong.
    let method = root.get("method").and_then(Value::into_string);
    seen.method = method.map(|method| cut(method).into());
    let req_id = decode_req_id(&root);
    seen.req_id = req_id.unwrap_or(None);
    digits.and_then(|()| json::check_objects(&tape, limits.keys_max))?;
    let method = match sent(&root, "method") {
        // What the venue says to requests of its first API, which name an event.
        None => return Err(RequestErrorKind::UnknownMethod),
        Some(_) => method.ok_or(Malformed::WrongType("method", "a string"))?,
    };
    let given = sent(&root, "params").map(|params| params.as_object().ok_or(NO_OBJECT));
    if let Some(Ok(params)) = &given {
        seen.symbol = only_symbol(params);
    }
    let optional = || given.as_ref().map(|given| given.as_ref().map_err(|&wrong| wrong)).transpose();
    let params = || optional()?.ok_or(Malformed::Missing("params"));
    let method = match method {
        "ping" => Method::Ping,
        "subscribe" => Method::Subscribe(decode_params(params()?)?),
        "unsubscribe" => Method::Unsubscribe(decode_params(params()?)?),
        "configure" => Method::Configure(decode_configure(params()?)?),
        "pause" => Method::Pause(decode_target(optional()?)?),
        "resume" => Method::Resume(decode_target(optional()?)?),
        "login" => Method::Login(token::decode_token(params()?)?),
        _ => return Err(RequestErrorKind::UnknownMethod),
    };
    Ok(Request { method, req_id: req_id? })
}

fn decode_req_id(root: &Object<'_, '_>) -> Result<Option<ReqId>, Malformed> {
    let Some(value) = sent(root, "req_id") else { return Ok(None) };
    let id = value.as_u64().map(ReqId::Unsigned).or_else(|| value.as_i64().map(ReqId::Signed));
    id.map(Some).ok_or(Malformed::WrongType("req_id", "an integer of 64 bits"))
}

fn decode_params(params: &Object<'_, '_>) -> Result<Params, RequestErrorKind> {
    let channel = decode_channel(params)?;
    let symbols = if channel == ChannelParams::Instrument { Vec::new() } else { decode_symbols(params)? };
    let snapshot = sent(params, "snapshot")
        .map(|value| value.as_bool().ok_or(Malformed::WrongType("snapshot", "true or false")))
        .transpose()?;
    Ok(Params {
        channel,
        symbols,
        snapshot,
        delivery: delivery::decode_delivery(params)?,
        max_bytes_per_s: delivery::count(params, "max_bytes_per_s")?,
        resume: delivery::decode_resume(params)?,
        superset: SUPERSET_PARAMS.iter().any(|key| sent(params, key).is_some()),
    })
}

/// Which subscriptions are meant: those of a channel, or all when no channel is named.
fn decode_target(params: Option<&Object<'_, '_>>) -> Result<Target, RequestErrorKind> {
    let Some(params) = params.filter(|params| sent(params, "channel").is_some()) else {
        return Ok(Target::All);
    };
    let channel = decode_channel(params)?;
    let symbols = if channel == ChannelParams::Instrument { Vec::new() } else { decode_symbols(params)? };
    Ok(Target::Some(channel, symbols))
}

fn decode_configure(params: &Object<'_, '_>) -> Result<Configure, RequestErrorKind> {
    Ok(Configure {
        target: decode_target(Some(params))?,
        delivery: delivery::decode_delivery(params)?,
        max_bytes_per_s: delivery::count(params, "max_bytes_per_s")?,
    })
}

fn decode_channel(params: &Object<'_, '_>) -> Result<ChannelParams, RequestErrorKind> {
    let value = sent(params, "channel").ok_or(Malformed::Missing("params.channel"))?;
    let name = value.as_str().ok_or(Malformed::WrongType("channel", "a string"))?;
    Ok(match name {
        "book" => ChannelParams::Book { depth: integer(params, "depth")? },
        "ticker" => ChannelParams::Ticker { trigger: decode_trigger(params)? },
        "trade" => ChannelParams::Trade,
        "ohlc" => ChannelParams::Ohlc { interval: integer(params, "interval")? },
        "instrument" => ChannelParams::Instrument,
        _ => return Err(refuse_channel(name)),
    })
}

fn refuse_channel(name: &str) -> RequestErrorKind {
    if PRIVATE_CHANNELS.contains(&name) {
        return RequestErrorKind::PrivateChannel;
    }
    match PUSHED_CHANNELS.into_iter().find(|pushed| *pushed == name) {
        Some(pushed) => RequestErrorKind::PushedChannel(pushed),
        None => RequestErrorKind::UnknownChannel(cut(name).into()),
    }
}

fn decode_trigger(params: &Object<'_, '_>) -> Result<Option<Trigger>, Malformed> {
    let Some(value) = sent(params, "event_trigger") else { return Ok(None) };
    let named = |name| [Trigger::Trades, Trigger::Bbo].into_iter().find(|one| one.name() == name);
    let trigger = value.as_str().and_then(named);
    trigger.map(Some).ok_or(Malformed::WrongType("event_trigger", "trades or bbo"))
}

fn decode_symbols(params: &Object<'_, '_>) -> Result<Vec<Box<str>>, Malformed> {
    let wrong = Malformed::WrongType("symbol", "an array of strings");
    let value = sent(params, "symbol").ok_or(Malformed::Missing("params.symbol"))?;
    if let Some(symbol) = value.as_str() {
        return Ok(vec![symbol.into()]);
    }
    let list = value.as_array().ok_or(wrong)?;
    match list.len() {
        0 => Err(Malformed::NoSymbols),
        1..=SYMBOLS_MAX => list.iter().map(|one| one.as_str().map(Box::from).ok_or(wrong)).collect(),
        n => Err(Malformed::TooManySymbols(n, SYMBOLS_MAX)),
    }
}

/// Gives the request on if it does not name too many symbols.
fn check_symbols(request: Request, max: usize) -> Result<Request, RequestErrorKind> {
    let symbols = match &request.method {
        Method::Subscribe(params) | Method::Unsubscribe(params) => params.symbols.len(),
        Method::Configure(Configure { target: Target::Some(_, symbols), .. })
        | Method::Pause(Target::Some(_, symbols))
        | Method::Resume(Target::Some(_, symbols)) => symbols.len(),
        _ => 0,
    };
    if symbols > max { Err(Malformed::TooManySymbols(symbols, max).into()) } else { Ok(request) }
}

/// The symbol of a request that names exactly one.
fn only_symbol(params: &Object<'_, '_>) -> Option<Box<str>> {
    let value = sent(params, "symbol")?;
    let list = value.as_array().filter(|list| list.len() == 1);
    let symbol = value.into_string().or_else(|| list?.get(0)?.into_string())?;
    Some(cut(symbol).into())
}

/// A parameter of any integer; clamped to the type.
fn integer(params: &Object<'_, '_>, key: &'static str) -> Result<Option<i64>, Malformed> {
    let Some(value) = sent(params, key) else { return Ok(None) };
    let clamped = || value.as_u64().map(|n| i64::try_from(n).unwrap_or(i64::MAX));
    value.as_i64().or_else(clamped).map(Some).ok_or(Malformed::WrongType(key, "an integer"))
}

/// The value of a key; `null` counts as not sent.
fn sent<'t, 'i>(object: &Object<'t, 'i>, key: &str) -> Option<Value<'t, 'i>> {
    object.get(key).filter(|value| !value.is_null())
}
