//! Looks into the lines of our own recordings: needed for books and for faults, never for telling a line again.
//!
//! Owns the keys of the protocol as feed-sim itself reads them, apart from the gateway's decoder on purpose: two
//! readings can disagree. Lines come from `lines.rs`.

use model::{
    Instrument, Level, Nanos, OrdType, PairStatus, Price, Qty, Scale, Sequence, Side, Trade, symbol_is_valid,
};
use rust_decimal::Decimal;
use serde::Deserialize;

use crate::venue::RecordedLine;

/// The keys of a line that is looked into.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Text<'a> {
    symbol: &'a str,
    seq: u64,
    #[serde(borrow)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(borrow)]
    asks: Vec<(&'a str, &'a str)>,
    id: u64,
    price: &'a str,
    qty: &'a str,
    side: &'a str,
    ord_type: &'a str,
    replay: bool,
    ts: u64,
    pub(super) system: Option<&'a str>,
    status: &'a str,
    price_precision: u8,
    price_increment: &'a str,
    qty_precision: u8,
    qty_increment: &'a str,
    qty_min: &'a str,
    cost_precision: u8,
    cost_min: &'a str,
}

/// Looks into a line; none when it is no JSON or has keys of other types.
pub(super) fn parse(line: &[u8]) -> Option<Text<'_>> {
    serde_json::from_slice(line).ok()
}

impl Text<'_> {
    /// The instrument that an `instrument` line announces.
    pub(super) fn instrument(&self) -> Option<Instrument> {
        let scale = |decimals, increment: &str| Scale::from_increment(decimals, increment.parse().ok()?).ok();
        let qty = scale(self.qty_precision, self.qty_increment)?;
        Some(Instrument {
            symbol: Some(self.symbol).filter(|symbol| symbol_is_valid(symbol))?.into(),
            status: PairStatus::from_name(self.status)?,
            price: scale(self.price_precision, self.price_increment)?,
            qty,
            qty_min: Qty(qty.parse(self.qty_min.as_bytes()).ok()?),
            cost_decimals: self.cost_precision,
            cost_min: self.cost_min.parse::<Decimal>().ok()?,
        })
    }

    fn trade(&self, one: &Instrument) -> Option<Trade> {
        Some(Trade {
            id: self.id,
            price: Price(one.price.parse(self.price.as_bytes()).ok()?),
            qty: Qty(one.qty.parse(self.qty.as_bytes()).ok()?),
            taker: Side::BOTH.into_iter().find(|side| side.taker() == self.side)?,
            ord_type: OrdType::from_name(self.ord_type)?,
            ts_event: Nanos(self.ts),
        })
    }
}

/// What a recorded line of a book or trade says; its levels are apart.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Decoded {
    Snapshot { seq: Sequence },
    Delta { seq: Sequence },
    Trade { seq: Sequence, trade: Trade, replay: bool },
}

/// Looks into a line, and puts its levels into `bids` and `asks`; none when it makes no sense.
pub(crate) fn decode(
    line: &RecordedLine<'_>,
    bids: &mut Vec<Level>,
    asks: &mut Vec<Level>,
) -> Option<Decoded> {
    let text = parse(line.whole)?;
    let one = line.instrument?;
    let seq = Sequence(text.seq);
    if line.kind == "trade" {
        return Some(Decoded::Trade { seq, trade: text.trade(one)?, replay: text.replay });
    }
    for (side, levels) in [(&text.bids, bids), (&text.asks, asks)] {
        levels.clear();
        for (price, qty) in side {
            let price = Price(one.price.parse(price.as_bytes()).ok()?);
            levels.push(Level { price, qty: Qty(one.qty.parse(qty.as_bytes()).ok()?) });
        }
    }
    match line.kind {
        "book_snapshot" => Some(Decoded::Snapshot { seq }),
        "book_delta" => Some(Decoded::Delta { seq }),
        _ => None,
    }
}
