//! The message scanner: one text frame in, what it says out.
//!
//! Owns the fast reading of the known message shapes, byte by byte and without allocation, and the buffers it
//! reads into. Never judges: a wrong value passes through, only an unreadable message is an error.
//! Frames come from [`crate::client`]; what does not have the known shape goes to [`slow`], which uses serde.

mod slow;

use crate::book::Level;
use crate::time::{self, Micros};
use std::ops::Range;

/// A data channel that can be subscribed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Channel {
    /// Order book levels with checksum.
    Book,
    /// The whole ticker row at each trigger.
    Ticker,
    /// Trades, never merged.
    Trade,
    /// Running one-minute candles.
    Ohlc,
}

/// What one frame is.
#[derive(Debug, PartialEq)]
pub(crate) enum Message {
    /// Data of a channel; the elements are in [`Scanner::elements`].
    Data(Header),
    /// The answer to a request.
    Ack(Box<Ack>),
    /// `{"channel":"heartbeat"}`.
    Heartbeat,
    /// The server's state, pushed on connect and on change.
    Status {
        /// Whether its data is as it should be.
        is_online: bool,
    },
    /// A notice, which only connections that opted in may get.
    Notice(Box<Notice>),
    /// Readable, but no message this client can expect; holds its channel or method.
    Other(String),
}

/// The envelope of a data message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Header {
    /// Which channel the elements belong to.
    pub(crate) channel: Channel,
    /// `snapshot` rather than `update`.
    pub(crate) is_snapshot: bool,
    /// The message's own timestamp, which only `ohlc` has.
    pub(crate) timestamp: Option<Micros>,
}

/// One element of `data`. What a channel does not have is `None` or empty.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Element {
    symbol: Range<usize>,
    bids: Range<usize>,
    asks: Range<usize>,
    /// The server's checksum.
    pub(crate) checksum: Option<u32>,
    /// The venue's event time.
    pub(crate) timestamp: Option<Micros>,
    /// Sequence of the instrument at this event.
    pub(crate) seq: Option<u64>,
    /// The `seq` last sent on this subscription.
    pub(crate) prev: Option<u64>,
    /// The epoch of `seq`.
    pub(crate) epoch: Option<u64>,
    /// Consecutive per symbol.
    pub(crate) trade_id: Option<u64>,
    /// How many entries were folded into this one.
    pub(crate) merged: Option<u64>,
}

/// The answer to a request, good or bad.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Ack {
    /// The method that is answered.
    pub(crate) method: String,
    /// The channel of `result`; empty on an error.
    pub(crate) channel: String,
    /// The symbol of `result`, or the one at fault.
    pub(crate) symbol: String,
    /// Echo of the request's number.
    pub(crate) req_id: Option<u64>,
    /// The epoch that `seq` is in, told to connections that opted in.
    pub(crate) epoch: Option<u64>,
    /// Where the stream stands, told likewise.
    pub(crate) seq: Option<u64>,
    /// Whether a subscription goes on from where the client said it stood.
    pub(crate) recovered: Option<bool>,
    /// The interval in force.
    pub(crate) interval_ms: Option<u64>,
    /// Why it was refused; `None` on success.
    pub(crate) error: Option<String>,
}

/// What a client that opted in is told about its connection or a subscription.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub(crate) struct Notice {
    /// What happened.
    pub(crate) code: String,
    /// To which channel; none when to all.
    pub(crate) channel: Option<String>,
    /// To which symbol; none when to all.
    pub(crate) symbol: Option<String>,
    /// The last `seq` that was sent before.
    pub(crate) from_seq: Option<u64>,
    /// The last `seq` concerned.
    pub(crate) to_seq: Option<u64>,
    /// Entries concerned.
    pub(crate) count: Option<u64>,
    /// Generation of `to_seq`, when it is another than that of `from_seq`.
    pub(crate) epoch: Option<u64>,
}

/// Reads frames into buffers that are used again for the next one.
#[derive(Default)]
pub(crate) struct Scanner {
    elements: Vec<Element>,
    levels: Vec<Level>,
    symbols: String,
    /// Data frames that needed the slow reader.
    pub(crate) slow_frames: u64,
}

impl Channel {
    /// Every channel, in the order of their numbers.
    pub(crate) const ALL: [Self; 4] = [Self::Book, Self::Ticker, Self::Trade, Self::Ohlc];

    /// Its name in the protocol.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::Ticker => "ticker",
            Self::Trade => "trade",
            Self::Ohlc => "ohlc",
        }
    }

    fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"book" => Some(Self::Book),
            b"ticker" => Some(Self::Ticker),
            b"trade" => Some(Self::Trade),
            b"ohlc" => Some(Self::Ohlc),
            _ => None,
        }
    }
}

impl Scanner {
    /// Reads one frame. Fails, with the reason, on what is not JSON or not a message of the protocol.
    pub(crate) fn scan(&mut self, frame: &[u8]) -> Result<Message, String> {
        if let Some(message) = self.scan_fast(frame) {
            return Ok(message);
        }
        let message = self.scan_slow(frame)?;
        self.slow_frames += u64::from(matches!(message, Message::Data(_)));
        Ok(message)
    }

    /// The elements of the last data message.
    pub(crate) fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// The symbol of an element of the last data message.
    pub(crate) fn symbol(&self, element: &Element) -> &str {
        &self.symbols[element.symbol.clone()]
    }

    /// The bids and asks of an element of the last data message, as they were sent.
    pub(crate) fn sides(&self, element: &Element) -> (&[Level], &[Level]) {
        (&self.levels[element.bids.clone()], &self.levels[element.asks.clone()])
    }

    fn clear(&mut self) {
        self.elements.clear();
        self.levels.clear();
        self.symbols.clear();
    }

    /// The known shapes: no blanks, `channel` and `type` first, keys of an element in any order. `None` means
    /// "not that", never "wrong".
    fn scan_fast(&mut self, frame: &[u8]) -> Option<Message> {
        self.clear();
        let mut cursor = Cursor { bytes: frame, at: 0 };
        cursor.eat(b"{\"channel\":")?;
        let name = cursor.string()?;
        if name == b"heartbeat" {
            cursor.eat(b"}")?;
            return cursor.is_at_end().then_some(Message::Heartbeat);
        }
        let channel = Channel::from_name(name)?;
        cursor.eat(b",\"type\":")?;
        let is_snapshot = match cursor.string()? {
            b"snapshot" => true,
            b"update" => false,
            _ => return None,
        };
        let timestamp = self.envelope_rest(&mut cursor)?;
        cursor.is_at_end().then_some(Message::Data(Header { channel, is_snapshot, timestamp }))
    }

    /// `,"data":[..]}` with a `timestamp` before or after the data; exactly one `data`.
    fn envelope_rest(&mut self, cursor: &mut Cursor<'_>) -> Option<Option<Micros>> {
        let (mut timestamp, mut has_data) = (None, false);
        while !cursor.try_eat(b'}') {
            cursor.eat(b",")?;
            match cursor.key()? {
                b"data" if !has_data => {
                    has_data = true;
                    cursor.list(|cursor| self.element(cursor))?;
                }
                b"timestamp" if timestamp.is_none() => {
                    timestamp = Some(time::from_rfc3339(cursor.string()?)?)
                }
                _ => return None,
            }
        }
        has_data.then_some(timestamp)
    }

    fn element(&mut self, cursor: &mut Cursor<'_>) -> Option<()> {
        let mut element = Element::default();
        let (mut symbol, mut bids, mut asks) = (None, None, None);
        cursor.eat(b"{")?;
        loop {
            match cursor.key()? {
                b"symbol" => once(&mut symbol, self.push_symbol(cursor.string()?)?)?,
                b"bids" => once(&mut bids, self.push_levels(cursor)?)?,
                b"asks" => once(&mut asks, self.push_levels(cursor)?)?,
                b"checksum" => once(&mut element.checksum, cursor.uint()?.try_into().ok()?)?,
                b"timestamp" => once(&mut element.timestamp, time::from_rfc3339(cursor.string()?)?)?,
                b"seq" => once(&mut element.seq, cursor.uint()?)?,
                b"prev" => once(&mut element.prev, cursor.uint()?)?,
                b"epoch" => once(&mut element.epoch, cursor.uint()?)?,
                b"trade_id" => once(&mut element.trade_id, cursor.uint()?)?,
                b"merged" => once(&mut element.merged, cursor.uint()?)?,
                _ => cursor.skip_scalar()?,
            }
            if !cursor.try_eat(b',') {
                break;
            }
        }
        cursor.eat(b"}")?;
        // An element without a symbol is for the slow reader to refuse.
        element.symbol = symbol?;
        element.bids = bids.unwrap_or_default();
        element.asks = asks.unwrap_or_default();
        self.elements.push(element);
        Some(())
    }

    fn push_symbol(&mut self, symbol: &[u8]) -> Option<Range<usize>> {
        let start = self.symbols.len();
        self.symbols.push_str(std::str::from_utf8(symbol).ok()?);
        Some(start..self.symbols.len())
    }

    fn push_levels(&mut self, cursor: &mut Cursor<'_>) -> Option<Range<usize>> {
        let start = self.levels.len();
        cursor.list(|cursor| {
            cursor.eat(b"{\"price\":")?;
            let price = cursor.decimal();
            cursor.eat(b",\"qty\":")?;
            let qty = cursor.decimal();
            cursor.eat(b"}")?;
            self.levels.push(Level::from_tokens(price, qty)?);
            Some(())
        })?;
        Some(start..self.levels.len())
    }
}

/// Fills a slot; a key that comes twice is for the slow reader to refuse.
fn once<T>(slot: &mut Option<T>, value: T) -> Option<()> {
    slot.replace(value).is_none().then_some(())
}

/// A position in a frame. Each method takes what it names, or returns `None` and leaves the rest to the slow
/// reader. `at` is never above `bytes.len()`.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    fn is_at_end(&self) -> bool {
        self.at == self.bytes.len()
    }

    fn eat(&mut self, text: &[u8]) -> Option<()> {
        self.rest().starts_with(text).then(|| self.at += text.len())
    }

    fn try_eat(&mut self, byte: u8) -> bool {
        let found = self.bytes.get(self.at) == Some(&byte);
        self.at += usize::from(found);
        found
    }

    fn take(&mut self, mut wanted: impl FnMut(u8) -> bool) -> &'a [u8] {
        let rest = self.rest();
        let len = rest.iter().position(|b| !wanted(*b)).unwrap_or(rest.len());
        self.at += len;
        &rest[..len]
    }

    /// A string without escapes, quotes left out.
    fn string(&mut self) -> Option<&'a [u8]> {
        self.eat(b"\"")?;
        let text = self.take(|b| b != b'"' && b != b'\\' && b >= b' ');
        self.eat(b"\"")?;
        Some(text)
    }

    fn key(&mut self) -> Option<&'a [u8]> {
        let key = self.string()?;
        self.eat(b":")?;
        Some(key)
    }

    /// What may be a plain decimal; [`Level::from_tokens`] checks its grammar.
    fn decimal(&mut self) -> &'a [u8] {
        self.take(|b| b.is_ascii_digit() || b == b'.')
    }

    fn uint(&mut self) -> Option<u64> {
        let digits = self.take(|b| b.is_ascii_digit());
        if digits.is_empty() || digits.len() > 19 || (digits[0] == b'0' && digits.len() > 1) {
            return None;
        }
        // A fraction or an exponent would make it another number; the caller meets the byte and refuses.
        Some(digits.iter().fold(0, |n, b| n * 10 + u64::from(b - b'0')))
    }

    /// `[a,b,..]` or `[]`.
    fn list(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.eat(b"[")?;
        if self.try_eat(b']') {
            return Some(());
        }
        loop {
            item(self)?;
            if !self.try_eat(b',') {
                return self.eat(b"]");
            }
        }
    }

    /// A string, number or word whose value does not matter.
    fn skip_scalar(&mut self) -> Option<()> {
        match self.bytes.get(self.at)? {
            b'"' => self.string().map(drop),
            b't' => self.eat(b"true"),
            b'f' => self.eat(b"false"),
            b'n' => self.eat(b"null"),
            _ => self.skip_number(),
        }
    }

    fn skip_number(&mut self) -> Option<()> {
        self.try_eat(b'-');
        let whole = self.take(|b| b.is_ascii_digit());
        if whole.is_empty() || (whole[0] == b'0' && whole.len() > 1) {
            return None;
        }
        if self.try_eat(b'.') && self.take(|b| b.is_ascii_digit()).is_empty() {
            return None;
        }
        // An exponent is not in the known shape.
        (!matches!(self.bytes.get(self.at), Some(b'e' | b'E'))).then_some(())
    }
}

#[cfg(test)]
mod tests;
