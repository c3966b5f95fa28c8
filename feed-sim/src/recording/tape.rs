//! What an exchange recorded, read into integers: opening books, then steps in the order of their times.
//!
//! Owns the precision of each symbol, inferred from the texts: the most decimals that any of them has.
//! Events come from the readers of the formats (`kraken.rs`, `coinbase.rs`, `binance.rs`) and go to `replay.rs`.

use std::collections::HashMap;
use std::ops::Range;

use model::{
    Instrument, Level, Nanos, OrdType, PairStatus, Price, Qty, SIGNIFICANT_DIGITS_MAX, Scale, Side, Trade,
};
use rust_decimal::Decimal;

use crate::market::Market;
use crate::venue::VenueCheck;

/// A decimal number as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Number {
    units: i64,
    decimals: u8,
}

impl Number {
    /// Reads plain decimal text.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let error = || format!("{text:?} is no number");
        let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = whole.len() + fraction.len();
        if digits == 0 || digits > 18 || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let units =
            whole.bytes().chain(fraction.bytes()).fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
        Ok(Self { units, decimals: fraction.len() as u8 })
    }

    fn scaled(self, decimals: u8) -> Result<i64, String> {
        let factor = 10_i64.pow((decimals - self.decimals).into());
        self.units.checked_mul(factor).ok_or_else(|| format!("{self:?} does not fit {decimals} decimals"))
    }
}

/// A level as it was written.
pub(crate) type RawLevel = (Number, Number);

/// Reads the price and the quantity of a level.
pub(crate) fn raw_level(price: &str, qty: &str) -> Result<RawLevel, String> {
    Ok((Number::parse(price)?, Number::parse(qty)?))
}

/// What happens at one time of the recording.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    /// When it was received.
    pub(crate) at: Nanos,
    /// Whose it is.
    pub(crate) index: usize,
    pub(crate) body: StepBody,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum StepBody {
    /// The venue told the whole book again: bids, then asks, in [`Tape::levels`].
    Snapshot { start: usize, bids: usize, asks: usize },
    /// Changed levels: bids, then asks, in [`Tape::levels`].
    Delta { start: usize, bids: usize, asks: usize },
    /// A trade; its id is given when it is told.
    Trade { price: Price, qty: Qty, taker: Side, ord_type: OrdType },
    /// Not an event: what the venue said about the book after the last one.
    Check(VenueCheck),
}

/// A recording in integers.
#[derive(Debug)]
pub(crate) struct Tape {
    /// Opening state of each symbol.
    pub(crate) markets: Vec<Market>,
    /// Trades of each symbol from before its book, with their recorded times.
    pub(crate) history: Vec<Vec<Trade>>,
    pub(crate) steps: Vec<Step>,
    pub(crate) levels: Vec<Level>,
    /// Levels a side that the venue keeps; none when it keeps all.
    pub(crate) window: Option<usize>,
}

/// A trade as it was written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RawTrade {
    pub(crate) id: u64,
    pub(crate) price: Number,
    pub(crate) qty: Number,
    pub(crate) taker: Side,
    pub(crate) ord_type: OrdType,
}

#[derive(Clone, Debug)]
enum RawBody {
    Snapshot { bids: Range<usize>, asks: Range<usize> },
    Delta { bids: Range<usize>, asks: Range<usize> },
    Trade(RawTrade),
    Checksum(u32),
    Update(u64),
    Top { u: u64, levels: usize },
}

#[derive(Debug)]
struct Symbol {
    name: Box<str>,
    price_decimals: u8,
    qty_decimals: u8,
    /// The first book; what comes before it is history, what comes after it is live.
    opening: Option<(Range<usize>, Range<usize>)>,
    history: Vec<(Nanos, RawTrade)>,
    first_trade: Option<u64>,
}

/// Collects a recording as written; scales it when all precisions are known.
#[derive(Debug, Default)]
pub(crate) struct TapeBuilder {
    symbols: Vec<Symbol>,
    by_name: HashMap<Box<str>, usize>,
    steps: Vec<(Nanos, usize, RawBody)>,
    levels: Vec<RawLevel>,
    window: Option<usize>,
}

impl TapeBuilder {
    /// The number of a symbol; a new one when it was not known.
    pub(crate) fn symbol(&mut self, name: &str) -> Result<usize, String> {
        if let Some(&index) = self.by_name.get(name) {
            return Ok(index);
        }
        if !model::symbol_is_valid(name) {
            return Err(format!("{name:?} is no symbol"));
        }
        let index = self.symbols.len();
        self.by_name.insert(name.into(), index);
        self.symbols.push(Symbol {
            name: name.into(),
            price_decimals: 0,
            qty_decimals: 0,
            opening: None,
            history: Vec::new(),
            first_trade: None,
        });
        Ok(index)
    }

    /// The venue keeps only so many levels a side.
    pub(crate) const fn set_window(&mut self, levels: usize) {
        self.window = Some(levels);
    }

    /// Whether the book of a symbol is known yet.
    pub(crate) fn has_book(&self, index: usize) -> bool {
        self.symbols[index].opening.is_some()
    }

    fn widen(&mut self, index: usize, price: Number, qty: Number) {
        let symbol = &mut self.symbols[index];
        symbol.price_decimals = symbol.price_decimals.max(price.decimals);
        symbol.qty_decimals = symbol.qty_decimals.max(qty.decimals);
    }

    fn push_side(&mut self, index: usize, levels: &[RawLevel]) -> Range<usize> {
        let start = self.levels.len();
        for &(price, qty) in levels {
            self.widen(index, price, qty);
            self.levels.push((price, qty));
        }
        start..self.levels.len()
    }

    /// The whole book: the opening, or told again.
    pub(crate) fn snapshot(&mut self, at: Nanos, index: usize, bids: &[RawLevel], asks: &[RawLevel]) {
        let (bids, asks) = (self.push_side(index, bids), self.push_side(index, asks));
        let opening = &mut self.symbols[index].opening;
        if opening.is_none() {
            *opening = Some((bids, asks));
        } else {
            self.steps.push((at, index, RawBody::Snapshot { bids, asks }));
        }
    }

    /// Changed levels.
    pub(crate) fn delta(&mut self, at: Nanos, index: usize, bids: &[RawLevel], asks: &[RawLevel]) {
        let (bids, asks) = (self.push_side(index, bids), self.push_side(index, asks));
        self.steps.push((at, index, RawBody::Delta { bids, asks }));
    }

    /// A trade; history when the book of its symbol is not known yet, or when the venue says so.
    pub(crate) fn trade(&mut self, at: Nanos, index: usize, trade: RawTrade, is_history: bool) {
        self.widen(index, trade.price, trade.qty);
        let symbol = &mut self.symbols[index];
        symbol.first_trade.get_or_insert(trade.id);
        if is_history || symbol.opening.is_none() {
            symbol.history.push((at, trade));
        } else {
            self.steps.push((at, index, RawBody::Trade(trade)));
        }
    }

    /// The venue's checksum after the last delta.
    pub(crate) fn checksum(&mut self, at: Nanos, index: usize, checksum: u32) {
        self.steps.push((at, index, RawBody::Checksum(checksum)));
    }

    /// The venue's number of the last delta.
    pub(crate) fn update(&mut self, at: Nanos, index: usize, u: u64) {
        self.steps.push((at, index, RawBody::Update(u)));
    }

    /// The venue's best prices.
    pub(crate) fn top(&mut self, at: Nanos, index: usize, u: u64, bid: RawLevel, ask: RawLevel) {
        let levels = self.push_side(index, &[bid, ask]).start;
        self.steps.push((at, index, RawBody::Top { u, levels }));
    }

    /// Scales everything to the precisions seen.
    pub(crate) fn finish(mut self) -> Result<Tape, String> {
        if self.steps.is_empty() {
            return Err("it has no events after a book snapshot".into());
        }
        if let Some(symbol) = self.symbols.iter().find(|symbol| symbol.opening.is_none()) {
            return Err(format!("it has no book snapshot of {}", symbol.name));
        }
        // Levels are told apart by their symbol, so the steps scale their own.
        let mut levels = vec![Level::default(); self.levels.len()];
        let mut markets = Vec::with_capacity(self.symbols.len());
        let mut history = Vec::with_capacity(self.symbols.len());
        for index in 0..self.symbols.len() {
            let (market, trades) = self.opening(index, &mut levels)?;
            markets.push(market);
            history.push(trades);
        }
        let raw = std::mem::take(&mut self.steps);
        let mut steps = Vec::with_capacity(raw.len());
        for (at, index, body) in raw {
            steps.push(Step { at, index, body: self.body(index, &body, &mut levels)? });
        }
        Ok(Tape { markets, history, steps, levels, window: self.window })
    }

    fn opening(&self, index: usize, levels: &mut [Level]) -> Result<(Market, Vec<Trade>), String> {
        let symbol = &self.symbols[index];
        let mut market = Market::new(instrument(symbol)?);
        if let Some((bids, asks)) = &symbol.opening {
            self.scale(index, bids, levels)?;
            self.scale(index, asks, levels)?;
            market.book.apply(model::Levels { bids: &levels[bids.clone()], asks: &levels[asks.clone()] });
        }
        let first = symbol.first_trade.unwrap_or(1);
        let mut trades = Vec::with_capacity(symbol.history.len());
        for (at, raw) in &symbol.history {
            let (price, qty) = self.scale_pair(index, (raw.price, raw.qty))?;
            let id = first + trades.len() as u64;
            trades.push(Trade { id, price, qty, taker: raw.taker, ord_type: raw.ord_type, ts_event: *at });
        }
        market.trade_id = (first + trades.len() as u64).saturating_sub(1);
        Ok((market, trades))
    }

    fn scale_pair(&self, index: usize, (price, qty): RawLevel) -> Result<(Price, Qty), String> {
        let symbol = &self.symbols[index];
        Ok((Price(price.scaled(symbol.price_decimals)?), Qty(qty.scaled(symbol.qty_decimals)?)))
    }

    fn scale(&self, index: usize, range: &Range<usize>, levels: &mut [Level]) -> Result<(), String> {
        for at in range.clone() {
            let (price, qty) = self.scale_pair(index, self.levels[at])?;
            levels[at] = Level { price, qty };
        }
        Ok(())
    }

    fn body(&self, index: usize, raw: &RawBody, levels: &mut [Level]) -> Result<StepBody, String> {
        Ok(match raw {
            RawBody::Snapshot { bids, asks } | RawBody::Delta { bids, asks } => {
                self.scale(index, bids, levels)?;
                self.scale(index, asks, levels)?;
                let (start, bids, asks) = (bids.start, bids.len(), asks.len());
                match raw {
                    RawBody::Snapshot { .. } => StepBody::Snapshot { start, bids, asks },
                    _ => StepBody::Delta { start, bids, asks },
                }
            }
            RawBody::Trade(trade) => {
                let (price, qty) = self.scale_pair(index, (trade.price, trade.qty))?;
                StepBody::Trade { price, qty, taker: trade.taker, ord_type: trade.ord_type }
            }
            RawBody::Checksum(checksum) => StepBody::Check(VenueCheck::Checksum(*checksum)),
            RawBody::Update(u) => StepBody::Check(VenueCheck::Update { u: *u }),
            RawBody::Top { u, levels: at } => {
                self.scale(index, &(*at..at + 2), levels)?;
                StepBody::Check(VenueCheck::Top { u: *u, bid: levels[*at], ask: levels[at + 1] })
            }
        })
    }
}

/// What is known of a recorded instrument: its precisions; the rest is the smallest that they allow.
fn instrument(symbol: &Symbol) -> Result<Instrument, String> {
    let decimals = symbol.price_decimals.max(symbol.qty_decimals);
    if u32::from(decimals) > SIGNIFICANT_DIGITS_MAX {
        return Err(format!("{} has {decimals} decimals", symbol.name));
    }
    Ok(Instrument {
        symbol: symbol.name.clone(),
        status: PairStatus::Online,
        price: Scale::new(symbol.price_decimals),
        qty: Scale::new(symbol.qty_decimals),
        qty_min: Qty(1),
        cost_decimals: symbol.price_decimals,
        cost_min: Decimal::new(1, symbol.price_decimals.into()),
    })
}

/// Reads seconds since 1970 with any number of decimals.
pub(crate) fn parse_seconds(text: &str) -> Result<Nanos, String> {
    let number = Number::parse(text)?;
    if number.decimals > 9 {
        return Err(format!("{text:?} has more than 9 decimals"));
    }
    number.scaled(9).map(|nanos| Nanos(nanos as u64))
}

/// Splits a received line of cryptofeed's recorder, `<seconds>: <JSON>`; none for what the recorder sent itself.
pub(crate) fn split_received(line: &[u8]) -> Result<Option<(Nanos, &str)>, String> {
    if !line.first().is_some_and(u8::is_ascii_digit) {
        return Ok(None);
    }
    let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
    let (seconds, json) = text.split_once(": ").ok_or("expected a time and a colon")?;
    Ok(Some((parse_seconds(seconds)?, json)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn precision_is_the_most_decimals_of_any_text() {
        let mut builder = TapeBuilder::default();
        let index = builder.symbol("A/B").unwrap();
        builder.snapshot(
            Nanos(1),
            index,
            &[raw_level("1.5", "2").unwrap()],
            &[raw_level("2", "3.25").unwrap()],
        );
        builder.delta(Nanos(2), index, &[raw_level("1.125", "0.0").unwrap()], &[]);
        let tape = builder.finish().unwrap();
        let one = &tape.markets[0].instrument;
        assert_eq!((one.price.decimals(), one.qty.decimals()), (3, 2));
        assert_eq!(tape.markets[0].book.bids.best(), Some(Level { price: Price(1_500), qty: Qty(200) }));
    }

    #[test]
    fn seconds_become_nanoseconds() {
        assert_eq!(parse_seconds("1618678134.2098181"), Ok(Nanos(1_618_678_134_209_818_100)));
        assert!(parse_seconds("12:30").is_err());
    }
}
