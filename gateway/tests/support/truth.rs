//! A second reader of the feed: what the venue's books truly are, whatever went wrong on the way to the gateway.
//!
//! Each connection to feed-sim begins with the true books and their place among the events, faults or not.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;
use super::book::{Book, Side, text_units};

/// A book as the venue has it, after an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Truth {
    pub seq: u64,
    pub book: Book,
}

/// The true books of all symbols.
pub fn truths(feed: SocketAddr, symbols: usize) -> BTreeMap<String, Truth> {
    let stream = TcpStream::connect(feed).expect("the feed listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut truths = BTreeMap::new();
    for line in BufReader::new(stream).lines() {
        let line = line.expect("the feed goes on");
        let value: Value = serde_json::from_str(&line).unwrap_or_default();
        if value["type"] == "book_snapshot" {
            let symbol = value["symbol"].as_str().expect("a symbol").to_owned();
            let book = Book { bids: side(&value["bids"]), asks: side(&value["asks"]) };
            truths.insert(symbol, Truth { seq: value["seq"].as_u64().expect("a sequence"), book });
        }
        if truths.len() == symbols {
            return truths;
        }
    }
    panic!("the feed ended before it had told {symbols} books");
}

/// The levels of a side as they are told.
pub fn side(levels: &Value) -> Side {
    let levels = levels.as_array().expect("levels");
    levels.iter().map(|level| (text_units(&level[0]), text_units(&level[1]))).collect()
}
