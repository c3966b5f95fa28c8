//! What the client has of the stream that is looked at, made from nothing but its messages, and whether that is what the engine has.

use std::collections::BTreeMap;
use std::sync::Arc;

use market::Market;
use model::{DEPTHS, Instrument, Level, Nanos, Price, Qty, Scale, Side, StreamKey, Ticker, Trigger};
use serde_json::value::RawValue;
use wire::checksum::checksum;
use wire::text::parse_time;

use super::message::{Element, LevelText};

/// The client's side of one stream.
#[derive(Debug)]
pub(super) struct View {
    key: StreamKey,
    instrument: Arc<Instrument>,
    bids: BTreeMap<i64, Qty>,
    asks: BTreeMap<i64, Qty>,
    /// What the last element said, of channels whose elements stand for themselves.
    last: Option<Last>,
    /// Checksums that the gateway told and that were those of the client's book, and the others.
    pub(super) checksums_right: u64,
    pub(super) checksums_wrong: u64,
}

/// The last element of a ticker, of trades or of candles, as far as it is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    Price(i64),
    Best { bid: Level, ask: Level },
    Trade(u64),
    Candle { begin: Nanos, trades: u64, close: i64 },
}

impl View {
    pub(super) fn new(key: StreamKey, instrument: Arc<Instrument>) -> Self {
        Self {
            key,
            instrument,
            bids: BTreeMap::new(),
            asks: BTreeMap::new(),
            last: None,
            checksums_right: 0,
            checksums_wrong: 0,
        }
    }

    /// Takes the elements of one message; none when one of them cannot be read, which would be the gateway's mistake.
    pub(super) fn apply(&mut self, elements: &[Element<'_>], is_snapshot: bool) -> Option<()> {
        elements.iter().try_for_each(|element| match self.key {
            StreamKey::Book(_, depth) => {
                self.apply_book(element, is_snapshot, DEPTHS[usize::from(depth)].into())
            }
            _ => {
                self.last = Some(self.read_last(element)?);
                Some(())
            }
        })
    }

    fn apply_book(&mut self, element: &Element<'_>, is_snapshot: bool, depth: usize) -> Option<()> {
        if is_snapshot {
            self.bids.clear();
            self.asks.clear();
        }
        for (side, levels) in [(&mut self.bids, &element.bids), (&mut self.asks, &element.asks)] {
            for level in levels {
                let Level { price, qty } = read_level(&self.instrument, level)?;
                if qty == Qty::ZERO {
                    side.remove(&price.0)
                } else {
                    side.insert(price.0, qty)
                };
            }
        }
        while self.bids.len() > depth {
            self.bids.pop_first();
        }
        while self.asks.len() > depth {
            self.asks.pop_last();
        }
        if element.checksum == Some(self.checksum()) {
            self.checksums_right += 1;
        } else {
            self.checksums_wrong += 1;
        }
        Some(())
    }

    fn side(&self, side: Side) -> Vec<Level> {
        let level = |(&price, &qty): (&i64, &Qty)| Level { price: Price(price), qty };
        match side {
            Side::Bid => self.bids.iter().rev().map(level).collect(),
            Side::Ask => self.asks.iter().map(level).collect(),
        }
    }

    /// The checksum of the client's book.
    pub(super) fn checksum(&self) -> u32 {
        let [bids, asks] = Side::BOTH.map(|side| self.side(side).into_iter());
        checksum(&self.instrument, bids, asks)
    }

    fn read_last(&self, element: &Element<'_>) -> Option<Last> {
        let (price, qty) = (self.instrument.price, self.instrument.qty);
        let level = |one, count| Some(Level { price: Price(read(price, one)?), qty: Qty(read(qty, count)?) });
        Some(match self.key {
            StreamKey::Trade(_) => Last::Trade(element.trade_id?),
            StreamKey::Ohlc(..) => Last::Candle {
                begin: parse_time(element.interval_begin?.as_bytes())?,
                trades: element.trades?,
                close: read(price, element.close)?,
            },
            StreamKey::Ticker(_, Trigger::Trades) => Last::Price(read(price, element.last)?),
            _ => Last::Best {
                bid: level(element.bid, element.bid_qty)?,
                ask: level(element.ask, element.ask_qty)?,
            },
        })
    }

    /// Whether the client has what the engine has; none when it has nothing that could be compared.
    pub(super) fn is_equal(&self, market: &Market) -> Option<bool> {
        let newest = match self.key {
            StreamKey::Book(id, depth) => {
                let depth = DEPTHS[usize::from(depth)].into();
                let is_same = |side| {
                    let truth = market.book(id).into_iter().flat_map(|book| book.top(side, depth));
                    truth.eq(self.side(side))
                };
                return Some(Side::BOTH.into_iter().all(is_same));
            }
            StreamKey::Ticker(id, trigger) => Some(last_ticker(trigger, &market.ticker(id))),
            StreamKey::Trade(id) => market.trades(id).next_back().map(|one| Last::Trade(one.trade.id)),
            StreamKey::Ohlc(id, interval) => {
                let candle = market.candles(id, interval).next_back();
                candle.map(|one| Last::Candle { begin: one.begin, trades: one.trades, close: one.close.0 })
            }
            StreamKey::Instruments => None,
        };
        self.last.map(|last| Some(last) == newest)
    }

    /// What the client ends with, in a word.
    pub(super) const fn noun(&self) -> &'static str {
        match self.key {
            StreamKey::Book(..) => "book",
            StreamKey::Ticker(..) => "ticker",
            StreamKey::Trade(_) => "last trade",
            StreamKey::Ohlc(..) => "last candle",
            StreamKey::Instruments => "instruments",
        }
    }
}

/// What a trigger keeps up to date: rows come with trades, or with changes of the best prices.
fn last_ticker(trigger: Trigger, row: &Ticker) -> Last {
    match trigger {
        Trigger::Trades => Last::Price(row.last.map_or(0, |price| price.0)),
        Trigger::Bbo => Last::Best { bid: row.bid.unwrap_or_default(), ask: row.ask.unwrap_or_default() },
    }
}

fn read_level(instrument: &Instrument, level: &LevelText<'_>) -> Option<Level> {
    let price = Price(read(instrument.price, Some(level.price))?);
    Some(Level { price, qty: Qty(read(instrument.qty, Some(level.qty))?) })
}

fn read(scale: Scale, number: Option<&RawValue>) -> Option<i64> {
    scale.parse(number?.get().as_bytes()).ok()
}
