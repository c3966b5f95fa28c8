//! Reads Coinbase's level2 and matches channels as cryptofeed recorded them.
//!
//! The `side` of a match is the maker's, so the taker is the other one. `last_match` is history. Tickers are not events.

use model::{OrdType, Side};
use serde::Deserialize;

use super::LineReader;
use super::tape::{Number, RawLevel, RawTrade, TapeBuilder, raw_level, split_received};

#[derive(Debug)]
pub(super) struct Reader;

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    product_id: Option<&'a str>,
    #[serde(default, borrow)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(default, borrow)]
    asks: Vec<(&'a str, &'a str)>,
    #[serde(default, borrow)]
    changes: Vec<(&'a str, &'a str, &'a str)>,
    trade_id: Option<u64>,
    side: Option<&'a str>,
    size: Option<&'a str>,
    price: Option<&'a str>,
}

impl LineReader for Reader {
    fn read(&mut self, line: &[u8], tape: &mut TapeBuilder) -> Result<(), String> {
        let Some((at, json)) = split_received(line)? else { return Ok(()) };
        let message: Message<'_> = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let Some(product) = message.product_id else { return Ok(()) };
        let index = tape.symbol(&product.replacen('-', "/", 1))?;
        match message.kind {
            "snapshot" => {
                tape.snapshot(at, index, &read_levels(&message.bids)?, &read_levels(&message.asks)?);
            }
            "l2update" if tape.has_book(index) => {
                let (bids, asks) = read_changes(&message.changes)?;
                tape.delta(at, index, &bids, &asks);
            }
            "match" => tape.trade(at, index, read_trade(&message)?, false),
            "last_match" => tape.trade(at, index, read_trade(&message)?, true),
            _ => {}
        }
        Ok(())
    }
}

fn read_levels(levels: &[(&str, &str)]) -> Result<Vec<RawLevel>, String> {
    levels.iter().map(|(price, qty)| raw_level(price, qty)).collect()
}

fn read_changes(changes: &[(&str, &str, &str)]) -> Result<(Vec<RawLevel>, Vec<RawLevel>), String> {
    let (mut bids, mut asks) = (Vec::new(), Vec::new());
    for (side, price, qty) in changes {
        let levels = if side_of(side)? == Side::Bid { &mut bids } else { &mut asks };
        levels.push(raw_level(price, qty)?);
    }
    Ok((bids, asks))
}

fn read_trade(message: &Message<'_>) -> Result<RawTrade, String> {
    let (Some(id), Some(side), Some(size), Some(price)) =
        (message.trade_id, message.side, message.size, message.price)
    else {
        return Err("a match without trade_id, side, size or price".into());
    };
    Ok(RawTrade {
        id,
        price: Number::parse(price)?,
        qty: Number::parse(size)?,
        taker: side_of(side)?.opposite(),
        ord_type: OrdType::Market,
    })
}

fn side_of(text: &str) -> Result<Side, String> {
    match text {
        "buy" => Ok(Side::Bid),
        "sell" => Ok(Side::Ask),
        _ => Err(format!("{text:?} is no side")),
    }
}
