//! What a client may have: symbols, channels, depth, and until when. Decided at a subscription and when the grant changes, never for
//! an update.
//!
//! Who somebody is was found out elsewhere (`gateway/core/auth`); here it is a [`Grant`], which narrows what the client's tier covers.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use model::{Channel, DEPTHS, Nanos, StreamKey, symbol_is_valid};

/// A pattern of symbols: each side a name or `*`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    base: Option<Box<str>>,
    quote: Option<Box<str>>,
}

impl Pattern {
    /// `*`, `BTC/*`, `*/USD` or `BTC/USD`; nothing else, so that nobody takes a pattern for more than it is.
    fn parse(text: &str) -> Option<Self> {
        if text == "*" {
            return Some(Self { base: None, quote: None });
        }
        let (base, quote) = text.split_once('/')?;
        let named = |side: &str| (side != "*").then(|| Box::from(side));
        // Whatever a star stands for is valid by itself: with a letter in its place the whole must be a symbol.
        let filled = |side: &str| if side == "*" { "A".to_owned() } else { side.to_owned() };
        let is_valid = symbol_is_valid(&format!("{}/{}", filled(base), filled(quote)));
        is_valid.then(|| Self { base: named(base), quote: named(quote) })
    }

    fn covers(&self, base: &str, quote: &str) -> bool {
        let is = |wanted: &Option<Box<str>>, side: &str| wanted.as_deref().is_none_or(|one| one == side);
        is(&self.base, base) && is(&self.quote, quote)
    }
}

/// Some of everything that there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coverage {
    /// Without one nothing is covered.
    patterns: Vec<Pattern>,
    /// By channel, in the order of [`Channel::ALL`].
    channels: [bool; Channel::ALL.len()],
    /// Most levels a side of a book.
    depth_max: u16,
}

impl Default for Coverage {
    /// Everything.
    fn default() -> Self {
        let everything = Pattern { base: None, quote: None };
        Self {
            patterns: vec![everything],
            channels: [true; Channel::ALL.len()],
            depth_max: DEPTHS[DEPTHS.len() - 1],
        }
    }
}

impl Coverage {
    /// Nothing.
    #[must_use]
    pub fn nothing() -> Self {
        Self { patterns: Vec::new(), channels: [false; Channel::ALL.len()], depth_max: 0 }
    }

    /// What some patterns and names of channels cover.
    ///
    /// # Errors
    /// The pattern or name that is none, as a sentence.
    pub fn new<T: AsRef<str>>(
        symbols: Option<&[T]>,
        channels: Option<&[T]>,
        depth_max: Option<u16>,
    ) -> Result<Self, String> {
        let mut coverage = Self::default();
        if let Some(symbols) = symbols {
            let parse = |text: &T| {
                let text = text.as_ref();
                Pattern::parse(text).ok_or_else(|| format!("`{text}` is none of *, BTC/*, */USD, BTC/USD"))
            };
            coverage.patterns = symbols.iter().map(parse).collect::<Result<_, _>>()?;
        }
        if let Some(channels) = channels {
            coverage.channels = [false; Channel::ALL.len()];
            for name in channels.iter().map(AsRef::as_ref) {
                let found = Channel::ALL.into_iter().find(|channel| channel.name() == name);
                let channel = found.ok_or_else(|| {
                    format!("`{name}` is none of {}", Channel::ALL.map(Channel::name).join(", "))
                })?;
                coverage.channels[channel as usize] = true;
            }
        }
        coverage.depth_max = depth_max.unwrap_or(coverage.depth_max);
        Ok(coverage)
    }

    /// Whether a stream is covered; `symbol` is that of the instrument itself and never what a client wrote.
    ///
    /// # Errors
    /// What is not.
    pub fn check(&self, stream: StreamKey, symbol: &str) -> Result<(), Denied> {
        // Reference data names every symbol: it is covered with its channel.
        let symbol = stream.instrument().map(|_| symbol);
        self.check_any_depth(stream.channel(), symbol)?;
        match stream {
            StreamKey::Book(_, depth) if DEPTHS[usize::from(depth)] > self.depth_max => {
                Err(Denied::Depth(self.depth_max))
            }
            _ => Ok(()),
        }
    }

    /// The same of a channel of a symbol, however deep.
    ///
    /// # Errors
    /// What is not.
    pub fn check_any_depth(&self, channel: Channel, symbol: Option<&str>) -> Result<(), Denied> {
        if !self.channels[channel as usize] {
            return Err(Denied::Channel(channel));
        }
        if symbol.is_some_and(|symbol| !self.covers_symbol(symbol)) {
            return Err(Denied::Symbol);
        }
        Ok(())
    }

    /// Most levels a side of a book.
    #[must_use]
    pub const fn depth_max(&self) -> u16 {
        self.depth_max
    }

    fn covers_symbol(&self, symbol: &str) -> bool {
        let (base, quote) = symbol.split_once('/').unwrap_or((symbol, ""));
        self.patterns.iter().any(|pattern| pattern.covers(base, quote))
    }
}

/// Why a client does not get a stream. Displays as what it is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It has to log in first.
    Login,
    /// Not this channel.
    Channel(Channel),
    /// Not this symbol.
    Symbol,
    /// Not so deep; names the most.
    Depth(u16),
}

impl Denied {
    /// Metric labels, in the order of [`Self::index`].
    pub const NAMES: [&str; 4] = ["login", "channel", "symbol", "depth"];

    /// Where it is counted.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Login => 0,
            Self::Channel(_) => 1,
            Self::Symbol => 2,
            Self::Depth(_) => 3,
        }
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Login => f.write_str("Not authenticated, log in first"),
            Self::Channel(channel) => write!(f, "Permission denied: channel {}", channel.name()),
            Self::Symbol => f.write_str("Permission denied: symbol"),
            Self::Depth(most) => write!(f, "Permission denied: depth above {most}"),
        }
    }
}

/// What one client was granted.
#[derive(Debug)]
pub struct Grant {
    /// Who it is; empty for somebody who presented nothing.
    pub subject: Box<str>,
    /// Index of its tier.
    pub tier: u8,
    /// What it may have of what its tier covers.
    pub coverage: Coverage,
    /// When it ends (monotonic); none is never.
    pub ends: Option<Nanos>,
    /// The same as its client is told it (wall time).
    pub expires: Option<Nanos>,
    /// Whether it is nothing but time to log in.
    pub awaits_login: bool,
    /// Requests of its subject, over all of its connections.
    pub requests: Option<Arc<RequestRate>>,
}

/// Why a grant ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantEnd {
    /// Its time is over.
    Expired,
    /// Somebody took it back.
    Revoked,
    /// Nobody logged in.
    NoLogin,
}

impl Grant {
    /// Nothing until a moment (monotonic) but to log in.
    #[must_use]
    pub fn until_login(ends: Nanos) -> Self {
        Self { coverage: Coverage::nothing(), ends: Some(ends), awaits_login: true, ..Self::of_tier(0) }
    }

    /// Whether its time is over.
    #[must_use]
    pub fn has_ended(&self, now: Nanos) -> bool {
        self.ends.is_some_and(|ends| ends <= now)
    }

    /// Everything that a tier covers, for ever, to nobody in particular.
    #[must_use]
    pub fn of_tier(tier: u8) -> Self {
        Self {
            subject: "".into(),
            tier,
            coverage: Coverage::default(),
            ends: None,
            expires: None,
            awaits_login: false,
            requests: None,
        }
    }
}

/// A rate of requests that several connections share, on whatever shard each is.
///
/// An atomic and not a lock: it is touched once per request by threads that must not wait. Relaxed, since nothing hangs on the order
/// of what others count. The one number is when the next request would be due if they came evenly; a burst is how far that may lie ahead.
#[derive(Debug)]
pub struct RequestRate {
    due: AtomicU64,
    spacing: u64,
    ahead_max: u64,
}

impl RequestRate {
    /// So many requests a second, and as many at once.
    ///
    /// # Panics
    /// With a rate of 0.
    #[must_use]
    pub const fn new(per_s: u32) -> Self {
        assert!(per_s > 0, "no limit is no rate");
        let spacing = Nanos::SECOND.0 / per_s as u64;
        Self { due: AtomicU64::new(0), spacing, ahead_max: Nanos::SECOND.0 - spacing }
    }

    /// Takes one request; `false` when it comes too early (monotonic time).
    pub fn take(&self, now: Nanos) -> bool {
        let next = |due: u64| {
            let due = due.max(now.0);
            (due - now.0 <= self.ahead_max).then_some(due + self.spacing)
        };
        self.due.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{InstrumentId, Trigger};

    fn covers(patterns: &[&str], symbol: &str) -> bool {
        let coverage = Coverage::new(Some(patterns), None, None).unwrap();
        coverage.check(StreamKey::Trade(InstrumentId(0)), symbol).is_ok()
    }

    #[test]
    fn a_side_of_a_pattern_is_a_name_or_everything() {
        assert!(covers(&["*"], "BTC/USD"));
        assert!(covers(&["BTC/*"], "BTC/USD") && !covers(&["BTC/*"], "WBTC/USD"));
        assert!(covers(&["*/USD"], "BTC/USD") && !covers(&["*/USD"], "BTC/USDT"));
        assert!(covers(&["*/*"], "BTC/USD"));
        assert!(covers(&["ETH/USD", "BTC/USD"], "BTC/USD") && !covers(&["ETH/USD"], "BTC/USD"));
        assert!(!covers(&[], "BTC/USD"), "nothing covers nothing");
    }

    #[test]
    fn what_looks_like_a_pattern_and_is_none_is_refused() {
        let odd = [
            "",
            "BTC",
            "BT*/USD",
            "**",
            "*BTC/USD",
            "btc/usd",
            "BTC/usd",
            "BTC/USD ",
            "BTC/USD/EUR",
            "/USD",
            "BTC/",
            "BTC/\u{0055}\u{0405}D",
            "\u{0412}TC/USD",
            "BTC\u{2215}USD",
            "\u{ff0a}",
            "BTC/USD\0",
            ".*/USD",
            "?/USD",
        ];
        for pattern in odd {
            assert!(Coverage::new(Some(&[pattern]), None, None).is_err(), "{pattern:?}");
        }
        let problem = Coverage::new(Some(&["*"]), Some(&["book", "Trade"]), None).unwrap_err();
        assert_eq!(problem, "`Trade` is none of book, ticker, trade, ohlc, instrument");
    }

    #[test]
    fn channel_symbol_and_depth_are_each_denied() {
        let id = InstrumentId(0);
        let coverage = Coverage::new(Some(&["BTC/*"]), Some(&["book", "instrument"]), Some(100)).unwrap();
        assert_eq!(coverage.check(StreamKey::Book(id, 2), "BTC/USD"), Ok(()));
        assert_eq!(coverage.check(StreamKey::Book(id, 3), "BTC/USD"), Err(Denied::Depth(100)));
        assert_eq!(coverage.check(StreamKey::Book(id, 2), "ETH/USD"), Err(Denied::Symbol));
        let ticker = StreamKey::Ticker(id, Trigger::Bbo);
        assert_eq!(coverage.check(ticker, "BTC/USD"), Err(Denied::Channel(Channel::Ticker)));
        assert_eq!(coverage.check(StreamKey::Instruments, ""), Ok(()));
        for (denied, name) in
            [Denied::Login, Denied::Channel(Channel::Book), Denied::Symbol, Denied::Depth(1)]
                .into_iter()
                .zip(Denied::NAMES)
        {
            assert_eq!(Denied::NAMES[denied.index()], name);
        }
    }

    #[test]
    fn a_rate_is_kept_over_time_and_lets_a_second_through_at_once() {
        let rate = RequestRate::new(10);
        let now = Nanos::from_secs(5);
        assert_eq!((0..100).filter(|_| rate.take(now)).count(), 10);
        let taken = (0..1_000).filter(|ms| rate.take(now + Nanos::from_millis(*ms))).count();
        assert_eq!(taken, 9, "one each tenth of a second, the first after a tenth");
        assert!(RequestRate::new(1).take(Nanos(0)));
    }
}
