//! A naive reader of the feed's lines, for tests: maps of numbers without dots, and no code of feed-sim.
#![allow(dead_code, unreachable_pub, reason = "each test file includes it and uses a part")]

use std::collections::BTreeMap;

use serde_json::Value;

/// A book as its lines tell it: numbers are the digits of the text, since all texts of a symbol have the same decimals.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Book {
    pub bids: BTreeMap<u64, u64>,
    pub asks: BTreeMap<u64, u64>,
    pub seq: u64,
    pub trade_id: Option<u64>,
    pub decimals: (u64, u64),
    /// Prices that trades took from, and what has to be left there by the delta that follows.
    pub taken: BTreeMap<u64, u64>,
}

impl Book {
    pub fn best(&self) -> (Option<u64>, Option<u64>) {
        (self.bids.keys().next_back().copied(), self.asks.keys().next().copied())
    }

    pub fn is_crossed(&self) -> bool {
        matches!(self.best(), (Some(bid), Some(ask)) if bid >= ask)
    }

    /// Kraken's checksum: ten best asks, then ten best bids, digits of price and quantity.
    pub fn checksum(&self) -> u32 {
        let mut text = String::new();
        for (price, qty) in self.asks.iter().take(10).chain(self.bids.iter().rev().take(10)) {
            text += &format!("{price}{qty}");
        }
        crc32fast::hash(text.as_bytes())
    }
}

/// Reads lines and complains about whatever the protocol does not allow.
#[derive(Clone, Debug, Default)]
pub struct Witness {
    pub books: BTreeMap<String, Book>,
    pub line: u64,
    pub epoch: u64,
    pub lines: u64,
    /// Deletes of levels that were not there.
    pub absent_deletes: u64,
    /// Whether trades are checked against the book: only the simulator tells them so exactly.
    pub check_trades: bool,
}

pub fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} is no number: {value}"))
}

pub fn digits(text: &Value, decimals: u64) -> u64 {
    let text = text.as_str().expect("a number is a text");
    let fraction = text.split_once('.').map_or(0, |(_, fraction)| fraction.len());
    assert_eq!(fraction as u64, decimals, "{text} is not padded");
    let digits = text.replace('.', "").parse().expect("digits");
    assert!(digits < 10_u64.pow(15), "{text} has more than 15 digits");
    digits
}

pub fn split_lines(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).expect("lines are UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(str::to_owned).collect()
}

impl Witness {
    /// Reads all lines of a text.
    pub fn read(&mut self, bytes: &[u8]) {
        for line in split_lines(bytes) {
            self.read_line(&line);
        }
    }

    pub fn read_line(&mut self, text: &str) -> Value {
        let value: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_eq!(value["line"].as_u64(), Some(self.line + 1), "{text}");
        self.line += 1;
        self.lines += 1;
        assert!(value["ts"].is_u64());
        let epoch = number(&value, "epoch");
        let is_new = std::mem::replace(&mut self.epoch, epoch) != epoch;
        let symbol = value["symbol"].as_str().unwrap_or_default().to_owned();
        match value["type"].as_str().expect("a type") {
            "instrument" => {
                let of = |key| number(&value, key);
                let decimals = (of("price_precision"), of("qty_precision"));
                self.books.entry(symbol).or_default().decimals = decimals;
            }
            "status" | "heartbeat" => {}
            kind => {
                let kind = kind.to_owned();
                self.read_event(&kind, &symbol, &value, text);
            }
        }
        assert!(!is_new || value["type"] != "book_delta", "an epoch begins with a delta: {text}");
        value
    }

    fn read_event(&mut self, kind: &str, symbol: &str, value: &Value, text: &str) {
        let book = self.books.get_mut(symbol).unwrap_or_else(|| panic!("{symbol} was not announced"));
        let seq = number(value, "seq");
        let (price_decimals, qty_decimals) = book.decimals;
        match kind {
            "book_snapshot" => {
                book.bids.clear();
                book.asks.clear();
                book.taken.clear();
                book.seq = seq;
            }
            "trade" => {
                let price = digits(&value["price"], price_decimals);
                let qty = digits(&value["qty"], qty_decimals);
                assert!(price > 0 && qty > 0, "{text}");
                let id = number(value, "id");
                if value["replay"] == true {
                    return;
                }
                assert_eq!(seq, book.seq + 1, "{text}");
                assert!(book.trade_id.is_none_or(|last| id == last + 1), "{text}");
                (book.seq, book.trade_id) = (seq, Some(id));
                if self.check_trades {
                    take(book, value["side"] == "buy", price, qty, text);
                }
                return;
            }
            "book_delta" => {
                assert_eq!(seq, book.seq + 1, "{text}");
                book.seq = seq;
            }
            other => panic!("unknown type {other}"),
        }
        for (key, is_bid) in [("bids", true), ("asks", false)] {
            for level in value[key].as_array().expect("levels") {
                let (price, qty) = (digits(&level[0], price_decimals), digits(&level[1], qty_decimals));
                if let Some(left) = book.taken.remove(&price) {
                    assert_eq!(left, qty, "trades and book disagree: {text}");
                }
                let side = if is_bid { &mut book.bids } else { &mut book.asks };
                if qty > 0 {
                    side.insert(price, qty);
                } else if side.remove(&price).is_none() {
                    self.absent_deletes += 1;
                }
            }
        }
        assert!(book.taken.is_empty(), "no level for a trade: {text}");
        assert!(!book.is_crossed(), "crossed or locked: {text}");
    }
}

/// A trade takes from the best level of the other side; the delta that follows has to say what is left.
fn take(book: &mut Book, is_buy: bool, price: u64, qty: u64, text: &str) {
    // Levels that this order emptied stay until the delta: they are passed over.
    let side: Vec<(u64, u64)> = if is_buy {
        book.asks.iter().take(60).map(|(&p, &q)| (p, q)).collect()
    } else {
        book.bids.iter().rev().take(60).map(|(&p, &q)| (p, q)).collect()
    };
    let open =
        side.into_iter().map(|(p, q)| (p, book.taken.get(&p).copied().unwrap_or(q))).find(|&(_, q)| q > 0);
    let (best, resting) = open.expect("a level with something left");
    assert_eq!(best, price, "not the best price: {text}");
    assert!(qty <= resting, "more than was there: {text}");
    book.taken.insert(price, resting - qty);
}
