//! What the gateway pushes: snapshots and updates of all channels, as JSON text.
//!
//! Appends one whole message to a buffer, without a frame header. Numbers are padded to the precision of their
//! instrument and never have an exponent. `channel` is the first key of every message; `seq` and `prev` close every
//! data element.

mod instruments;

pub use instruments::{AssetInfo, assets, instruments};

use model::{
    Candle, Epoch, INTERVALS_MIN, Instrument, Level, Nanos, Pen, Price, Qty, SIGNIFICANT_DIGITS_MAX, Scale,
    Sequence, Ticker, Trade, write_within,
};

use crate::text::{TimeText, write_int, write_time_micros, write_time_nanos};

/// How an element hangs together with what its reader was sent before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// The first of a subscription: `seq` and `epoch`.
    Start(Epoch, Sequence),
    /// Follows `prev`, the last one sent on this subscription.
    Next {
        /// The event shown.
        seq: Sequence,
        /// What the reader was sent last.
        prev: Sequence,
        /// Set when the epoch is another than that of `prev`.
        epoch: Option<Epoch>,
        /// Entries folded into this element; told when above 1.
        merged: u32,
    },
}

impl Link {
    /// The link between two neighbouring entries of one epoch.
    #[must_use]
    pub const fn next(seq: Sequence, prev: Sequence) -> Self {
        Self::Next { seq, prev, epoch: None, merged: 1 }
    }

    /// `snapshot` or `update`.
    const fn kind(&self) -> &'static str {
        match self {
            Self::Start(..) => "snapshot",
            Self::Next { .. } => "update",
        }
    }

    /// Longest text: four numbers with their keys, and the brace.
    const TEXT_MAX: usize = 7 + 20 + 8 + 20 + 9 + 20 + 10 + 10 + 1;

    /// Closes a data element: its last keys and the brace.
    fn write(&self, out: &mut Vec<u8>) {
        write_within::<{ Self::TEXT_MAX + Pen::SLACK }>(out, |pen| self.write_by(pen));
    }

    #[inline]
    fn write_by(&self, pen: &mut Pen<'_>) {
        match *self {
            Self::Start(epoch, seq) => {
                number(pen, b",\"seq\":", seq.0);
                number(pen, b",\"epoch\":", epoch.0);
            }
            Self::Next { seq, prev, epoch, merged } => {
                number(pen, b",\"seq\":", seq.0);
                number(pen, b",\"prev\":", prev.0);
                if let Some(epoch) = epoch {
                    number(pen, b",\"epoch\":", epoch.0);
                }
                if merged > 1 {
                    number(pen, b",\"merged\":", merged.into());
                }
            }
        }
        pen.literal(b"}");
    }
}

#[inline]
fn number<const N: usize>(pen: &mut Pen<'_>, key: &[u8; N], n: u64) {
    pen.literal(key);
    pen.digits(n);
}

/// Opens a message up to its data: `{"channel":"book","type":"update","data":[`.
fn open(channel: &str, kind: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"channel\":\"");
    out.extend_from_slice(channel.as_bytes());
    out.extend_from_slice(b"\",\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"data\":[");
}

/// Opens a data element: `{"symbol":"BTC/USD"`. Symbols need no escape.
fn open_element(instrument: &Instrument, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"symbol\":\"");
    out.extend_from_slice(instrument.symbol.as_bytes());
    out.push(b'"');
}

fn key(key: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

fn price(name: &str, instrument: &Instrument, price: Option<Price>, out: &mut Vec<u8>) {
    key(name, out);
    instrument.write_price(price.unwrap_or_default(), out);
}

/// Writes a sum of quantities, which may outgrow what doubles can hold: it then loses decimals from the right.
fn volume(instrument: &Instrument, lots: Qty, out: &mut Vec<u8>) {
    key("volume", out);
    let start = out.len();
    instrument.write_qty(lots, out);
    let Some(dot) = out[start..].iter().position(|&b| b == b'.') else { return };
    let digits_max = SIGNIFICANT_DIGITS_MAX as usize;
    let whole = if out[start] == b'0' { 0 } else { dot };
    let decimals = digits_max.saturating_sub(whole);
    let len = if decimals == 0 { dot } else { dot + 1 + decimals };
    out.truncate(out.len().min(start + len));
}

fn timestamp(at: Nanos, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"timestamp\":\"");
    write_time_micros(at, out);
    out.push(b'"');
}

/// A book: all levels of a window in a snapshot, the changed ones in an update.
///
/// In an update removals come first in each side; levels have absolute quantities and 0 removes.
pub fn book(
    instrument: &Instrument,
    bids: impl Iterator<Item = Level>,
    asks: impl Iterator<Item = Level>,
    checksum: u32,
    ts_event: TimeText,
    link: Link,
    out: &mut Vec<u8>,
) {
    // In a few pieces, for each of which room is made once: this is written for each event.
    match link {
        Link::Start(..) => {
            out.extend_from_slice(br#"{"channel":"book","type":"snapshot","data":[{"symbol":""#)
        }
        Link::Next { .. } => {
            out.extend_from_slice(br#"{"channel":"book","type":"update","data":[{"symbol":""#)
        }
    }
    out.extend_from_slice(instrument.symbol.as_bytes());
    out.extend_from_slice(br#"","bids":["#);
    levels(instrument, bids, out);
    out.extend_from_slice(br#"],"asks":["#);
    levels(instrument, asks, out);
    const ROOM: usize = 13 + 10 + 14 + TimeText::LEN + 1 + Link::TEXT_MAX + 2 + Pen::SLACK;
    write_within::<ROOM>(out, |pen| {
        number(pen, br#"],"checksum":"#, checksum.into());
        pen.literal(br#","timestamp":""#);
        pen.literal(&ts_event.0);
        pen.literal(b"\"");
        link.write_by(pen);
        pen.literal(b"]}");
    });
}

fn levels(instrument: &Instrument, levels: impl Iterator<Item = Level>, out: &mut Vec<u8>) {
    const ROOM: usize = 9 + Scale::TEXT_MAX + 7 + Scale::TEXT_MAX + 2 + Pen::SLACK;
    let start = out.len();
    for level in levels {
        write_within::<ROOM>(out, |pen| {
            pen.literal(br#"{"price":"#);
            instrument.price.write_by(pen, level.price.0);
            pen.literal(br#","qty":"#);
            instrument.qty.write_by(pen, level.qty.0);
            pen.literal(b"},");
        });
    }
    // The comma behind the last one.
    out.truncate((out.len() - 1).max(start));
}

/// A ticker row. Prices that do not exist yet (an empty side, no trade so far) are 0.
pub fn ticker(instrument: &Instrument, row: &Ticker, link: Link, out: &mut Vec<u8>) {
    open("ticker", link.kind(), out);
    open_element(instrument, out);
    let (bid, ask) = (row.bid.unwrap_or_default(), row.ask.unwrap_or_default());
    price("bid", instrument, Some(bid.price), out);
    key("bid_qty", out);
    instrument.write_qty(bid.qty, out);
    price("ask", instrument, Some(ask.price), out);
    key("ask_qty", out);
    instrument.write_qty(ask.qty, out);
    price("last", instrument, row.last, out);
    volume(instrument, row.volume, out);
    vwap(instrument, row.vwap_units, out);
    price("low", instrument, row.low, out);
    price("high", instrument, row.high, out);
    price("change", instrument, Some(Price(row.change)), out);
    key("change_pct", out);
    Scale::new(2).write(row.change_bp, out);
    timestamp(row.ts_event, out);
    link.write(out);
    out.extend_from_slice(b"]}");
}

fn vwap(instrument: &Instrument, units: i64, out: &mut Vec<u8>) {
    key("vwap", out);
    Scale::new(instrument.price.decimals()).write(units, out);
}

/// One trade as an update of its own.
pub fn trade(instrument: &Instrument, one: &Trade, link: Link, out: &mut Vec<u8>) {
    trades("update", instrument, std::iter::once((one, link)), out);
}

/// The latest trades, oldest first; none is a snapshot with empty data.
pub fn trade_snapshot<'a>(
    instrument: &Instrument,
    trades_oldest_first: impl Iterator<Item = (&'a Trade, Link)>,
    out: &mut Vec<u8>,
) {
    trades("snapshot", instrument, trades_oldest_first, out);
}

fn trades<'a>(
    kind: &str,
    instrument: &Instrument,
    all: impl Iterator<Item = (&'a Trade, Link)>,
    out: &mut Vec<u8>,
) {
    open("trade", kind, out);
    for (index, (trade, link)) in all.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        open_element(instrument, out);
        out.extend_from_slice(b",\"side\":\"");
        out.extend_from_slice(trade.taker.taker().as_bytes());
        out.push(b'"');
        price("price", instrument, Some(trade.price), out);
        key("qty", out);
        instrument.write_qty(trade.qty, out);
        out.extend_from_slice(b",\"ord_type\":\"");
        out.extend_from_slice(trade.ord_type.name().as_bytes());
        out.extend_from_slice(b"\",\"trade_id\":");
        write_int(trade.id, out);
        timestamp(trade.ts_event, out);
        link.write(out);
    }
    out.extend_from_slice(b"]}");
}

/// Candles of one interval (an index into [`INTERVALS_MIN`]), oldest first. An update has one element.
pub fn ohlc<'a>(
    kind: &str,
    instrument: &Instrument,
    interval: u8,
    candles: impl Iterator<Item = (&'a Candle, Link)>,
    ts_publish: Nanos,
    out: &mut Vec<u8>,
) {
    out.extend_from_slice(b"{\"channel\":\"ohlc\",\"type\":\"");
    out.extend_from_slice(kind.as_bytes());
    out.extend_from_slice(b"\",\"timestamp\":\"");
    write_time_nanos(ts_publish, out);
    out.extend_from_slice(b"\",\"data\":[");
    for (index, (candle, link)) in candles.enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_candle(instrument, interval, candle, out);
        link.write(out);
    }
    out.extend_from_slice(b"]}");
}

fn write_candle(instrument: &Instrument, interval: u8, candle: &Candle, out: &mut Vec<u8>) {
    let minutes = INTERVALS_MIN[usize::from(interval)];
    open_element(instrument, out);
    price("open", instrument, Some(candle.open), out);
    price("high", instrument, Some(candle.high), out);
    price("low", instrument, Some(candle.low), out);
    price("close", instrument, Some(candle.close), out);
    key("trades", out);
    write_int(candle.trades, out);
    volume(instrument, candle.volume, out);
    vwap(instrument, candle.vwap_units, out);
    out.extend_from_slice(b",\"interval_begin\":\"");
    write_time_nanos(candle.begin, out);
    out.extend_from_slice(b"\",\"interval\":");
    write_int(minutes, out);
    timestamp(candle.begin + Nanos::from_secs(u64::from(minutes) * 60), out);
}
