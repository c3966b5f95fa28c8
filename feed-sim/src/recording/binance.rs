//! Reads Binance's depth diffs, trades and best prices as hftbacktest's collector recorded them.
//!
//! The book is joined by the venue's rule: diffs from before the REST snapshot are kept, and those that reach past its
//! `lastUpdateId` are applied on top of it. A reader that drops them keeps phantom levels.

use model::{Nanos, OrdType, Side};
use serde::Deserialize;

use super::LineReader;
use super::tape::{Number, RawLevel, RawTrade, TapeBuilder, raw_level};

/// Most diffs that wait for the snapshot.
const EARLY_MAX: usize = 10_000;

/// A diff that came before the snapshot.
#[derive(Debug)]
struct Early {
    first: u64,
    last: u64,
    bids: Vec<RawLevel>,
    asks: Vec<RawLevel>,
}

#[derive(Debug, Default)]
pub(super) struct Reader {
    /// The recording's only symbol: the snapshot doesn't name its own.
    index: Option<usize>,
    early: Vec<Early>,
    /// `lastUpdateId` of the snapshot; diffs that end before it are part of it.
    snapshot: Option<u64>,
    /// Whether a diff was applied: the first one has to straddle the snapshot.
    joined: bool,
}

#[derive(Deserialize)]
struct Wrapped<'a> {
    #[serde(borrow)]
    data: Option<Data<'a>>,
    #[serde(rename = "lastUpdateId")]
    last_update_id: Option<u64>,
    #[serde(default, borrow)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(default, borrow)]
    asks: Vec<(&'a str, &'a str)>,
}

#[derive(Deserialize)]
struct Data<'a> {
    /// Kind; absent from best prices of the spot market.
    e: Option<&'a str>,
    s: &'a str,
    #[serde(rename = "U")]
    first: Option<u64>,
    u: Option<u64>,
    #[serde(borrow)]
    b: Option<SideText<'a>>,
    #[serde(borrow)]
    a: Option<SideText<'a>>,
    #[serde(rename = "B")]
    bid_qty: Option<&'a str>,
    #[serde(rename = "A")]
    ask_qty: Option<&'a str>,
    t: Option<u64>,
    p: Option<&'a str>,
    q: Option<&'a str>,
    m: Option<bool>,
}

/// The keys `a` and `b` are levels in a diff, and a price in a ticker.
#[derive(Deserialize)]
#[serde(untagged)]
enum SideText<'a> {
    Price(&'a str),
    #[serde(borrow)]
    Levels(Vec<(&'a str, &'a str)>),
}

impl LineReader for Reader {
    fn read(&mut self, line: &[u8], tape: &mut TapeBuilder) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|error| error.to_string())?;
        if text.is_empty() {
            return Ok(());
        }
        let (nanos, json) = text.split_once(' ').ok_or("expected a time and a blank")?;
        let at = Nanos(nanos.parse().map_err(|_| format!("{nanos:?} is no time"))?);
        let message: Wrapped<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        match (&message.data, message.last_update_id) {
            (Some(data), _) => self.read_data(at, data, tape),
            (None, Some(last)) => {
                self.read_snapshot(at, last, &read_levels(&message.bids)?, &read_levels(&message.asks)?, tape)
            }
            (None, None) => Ok(()),
        }
    }
}

impl Reader {
    fn read_snapshot(
        &mut self,
        at: Nanos,
        last: u64,
        bids: &[RawLevel],
        asks: &[RawLevel],
        tape: &mut TapeBuilder,
    ) -> Result<(), String> {
        let index = self.index.ok_or("a book snapshot before any message that names its symbol")?;
        tape.snapshot(at, index, bids, asks);
        self.snapshot = Some(last);
        self.joined = false;
        for early in std::mem::take(&mut self.early) {
            self.apply(at, index, &early, tape)?;
        }
        Ok(())
    }

    fn read_data(&mut self, at: Nanos, data: &Data<'_>, tape: &mut TapeBuilder) -> Result<(), String> {
        let index = tape.symbol(&symbol_of(data.s)?)?;
        if *self.index.get_or_insert(index) != index {
            return Err("a second symbol: a recording has one, since its snapshot names none".into());
        }
        match (data.e, data.t) {
            (Some("depthUpdate"), _) => self.read_diff(at, index, data, tape),
            (Some("trade"), Some(id)) => {
                tape.trade(at, index, read_trade(id, data)?, false);
                Ok(())
            }
            (Some("bookTicker") | None, _) => read_top(at, index, data, tape),
            _ => Ok(()),
        }
    }

    fn read_diff(
        &mut self,
        at: Nanos,
        index: usize,
        data: &Data<'_>,
        tape: &mut TapeBuilder,
    ) -> Result<(), String> {
        let (Some(first), Some(last), Some(SideText::Levels(bids)), Some(SideText::Levels(asks))) =
            (data.first, data.u, &data.b, &data.a)
        else {
            return Err("a diff without U, u, b or a".into());
        };
        let diff = Early { first, last, bids: read_levels(bids)?, asks: read_levels(asks)? };
        if self.snapshot.is_some() {
            return self.apply(at, index, &diff, tape);
        }
        if self.early.len() == EARLY_MAX {
            return Err(format!("{EARLY_MAX} diffs and no snapshot"));
        }
        self.early.push(diff);
        Ok(())
    }

    fn apply(&mut self, at: Nanos, index: usize, diff: &Early, tape: &mut TapeBuilder) -> Result<(), String> {
        let snapshot = self.snapshot.unwrap_or_default();
        if diff.last < snapshot {
            return Ok(());
        }
        if !self.joined && diff.first > snapshot + 1 {
            return Err(format!(
                "no diff joins the snapshot {snapshot}: the next one begins at {}",
                diff.first
            ));
        }
        self.joined = true;
        tape.delta(at, index, &diff.bids, &diff.asks);
        tape.update(at, index, diff.last);
        Ok(())
    }
}

fn read_top(at: Nanos, index: usize, data: &Data<'_>, tape: &mut TapeBuilder) -> Result<(), String> {
    let (Some(u), Some(SideText::Price(bid)), Some(SideText::Price(ask)), Some(bid_qty), Some(ask_qty)) =
        (data.u, &data.b, &data.a, data.bid_qty, data.ask_qty)
    else {
        return Err("best prices without u, b, B, a or A".into());
    };
    tape.top(at, index, u, raw_level(bid, bid_qty)?, raw_level(ask, ask_qty)?);
    Ok(())
}

fn read_trade(id: u64, data: &Data<'_>) -> Result<RawTrade, String> {
    let (Some(price), Some(qty), Some(buyer_rested)) = (data.p, data.q, data.m) else {
        return Err("a trade without p, q or m".into());
    };
    let taker = if buyer_rested { Side::Ask } else { Side::Bid };
    Ok(RawTrade {
        id,
        price: Number::parse(price)?,
        qty: Number::parse(qty)?,
        taker,
        ord_type: OrdType::Market,
    })
}

fn read_levels(levels: &[(&str, &str)]) -> Result<Vec<RawLevel>, String> {
    levels.iter().map(|(price, qty)| raw_level(price, qty)).collect()
}

/// The venue's symbols have no slash: the quote is one of those it has.
fn symbol_of(name: &str) -> Result<String, String> {
    const QUOTES: [&str; 9] = ["USDT", "USDC", "FDUSD", "BUSD", "BTC", "ETH", "BNB", "EUR", "USD"];
    let quote = QUOTES.into_iter().find(|quote| name.len() > quote.len() && name.ends_with(quote));
    let quote = quote.ok_or_else(|| format!("{name:?} ends in no known quote currency"))?;
    Ok(format!("{}/{quote}", &name[..name.len() - quote.len()]))
}
