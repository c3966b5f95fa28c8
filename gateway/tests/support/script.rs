//! A feed that a test writes event by event: a few symbols over real TCP, nothing that the test did not say.
//!
//! Owns the listener, the gateway's connection, the numbers of lines and events, and what was told. Prices have one decimal,
//! quantities two.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use serde_json::{Value, json};

/// Best bid and ask at the beginning, and how many levels of one unit each lie beyond.
pub const BID: u64 = 1_000;
pub const ASK: u64 = 1_010;
pub const LEVELS: u64 = 600;

/// Beginning of a minute; each line is a millisecond later, so that a test does not leave it.
const START: u64 = 1_770_000_000_000_000_000;

/// One symbol of the feed.
#[derive(Clone, Copy, Debug)]
struct Place {
    name: &'static str,
    seq: u64,
    trades: u64,
}

/// A feed and the one connection to it.
#[derive(Debug)]
pub struct ScriptFeed {
    listener: TcpListener,
    stream: Option<TcpStream>,
    line: u64,
    symbols: Vec<Place>,
    /// What follows the stamp of each line of the connection, and its type.
    told: Vec<(String, String)>,
}

impl ScriptFeed {
    pub fn open(symbols: &[&'static str]) -> Self {
        let symbols = symbols.iter().map(|&name| Place { name, seq: 1, trades: 0 }).collect();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").expect("as the protocol says"),
            stream: None,
            line: 0,
            symbols,
            told: Vec::new(),
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.listener.local_addr().expect("as the protocol says")
    }

    /// Takes the gateway's connection and tells the books.
    pub fn begin(&mut self) {
        self.stream = Some(self.listener.accept().expect("the gateway connects").0);
        self.line = 0;
        self.told.clear();
        self.tell(json!({ "type": "status", "system": "online" }));
        for place in self.symbols.clone() {
            self.tell(json!({
                "type": "instrument", "symbol": place.name, "status": "online", "price_precision": 1,
                "price_increment": "0.1", "qty_precision": 2, "qty_increment": "0.01", "qty_min": "0.01",
                "cost_precision": 2, "cost_min": "0.01",
            }));
            let side = |price: fn(u64) -> u64| -> Vec<[String; 2]> {
                (0..LEVELS).map(|n| [format!("{}.0", price(n)), "1.00".into()]).collect()
            };
            let (bids, asks) = (side(|n| BID - n), side(|n| ASK + n));
            self.tell(json!({
                "type": "book_snapshot", "symbol": place.name, "seq": place.seq, "bids": bids, "asks": asks,
            }));
        }
    }

    /// Position of the last event of a symbol.
    pub fn seq(&self, symbol: &str) -> u64 {
        self.place(symbol).seq
    }

    /// Trades of a symbol so far.
    pub fn trades(&self, symbol: &str) -> u64 {
        self.place(symbol).trades
    }

    fn place(&self, symbol: &str) -> &Place {
        self.symbols.iter().find(|place| place.name == symbol).expect("a symbol of the feed")
    }

    /// Sets bids and asks of a symbol to quantities in hundredths; returns the event's number.
    pub fn book(&mut self, symbol: &str, bids: &[(u64, u64)], asks: &[(u64, u64)]) -> u64 {
        let seq = self.next(symbol).seq;
        let side = |levels: &[(u64, u64)]| -> Vec<[String; 2]> {
            levels.iter().map(|&(price, qty)| [format!("{price}.0"), hundredths(qty)]).collect()
        };
        let (bids, asks) = (side(bids), side(asks));
        self.tell(json!({ "type": "book_delta", "symbol": symbol, "seq": seq, "bids": bids, "asks": asks }));
        seq
    }

    /// A trade of so many hundredths at the best bid; returns the event's number.
    pub fn trade(&mut self, symbol: &str, qty: u64) -> u64 {
        let place = self.next(symbol);
        place.trades += 1;
        let Place { seq, trades, .. } = *place;
        self.tell(json!({
            "type": "trade", "symbol": symbol, "seq": seq, "id": trades, "price": format!("{BID}.0"),
            "qty": hundredths(qty), "side": "sell", "ord_type": "limit",
        }));
        seq
    }

    fn next(&mut self, symbol: &str) -> &mut Place {
        let place = self.symbols.iter_mut().find(|place| place.name == symbol).expect("a symbol of the feed");
        place.seq += 1;
        place
    }

    fn tell(&mut self, mut line: Value) {
        let keys = line.as_object_mut().expect("a line is an object");
        let kind = keys.remove("type").and_then(|kind| kind.as_str().map(str::to_owned)).expect("a type");
        // The symbol stands first, as feeds write it.
        let symbol = keys.remove("symbol").map(|symbol| format!(",\"symbol\":{symbol}"));
        let rest: String = keys.iter().map(|(key, value)| format!(",\"{key}\":{value}")).collect();
        self.line += 1;
        self.told.push((kind, symbol.unwrap_or_default() + &rest));
        let text = self.text(self.line, self.time(self.line));
        let stream = self.stream.as_mut().expect("a connection that began");
        stream.write_all(text.as_bytes()).expect("the gateway reads its feed");
    }

    fn text(&self, line: u64, ts: u64) -> String {
        let (kind, rest) = &self.told[line as usize - 1];
        format!("{{\"type\":\"{kind}\",\"line\":{line},\"epoch\":7,\"ts\":{ts}{rest}}}\n")
    }

    /// Number of the last line.
    pub fn line(&self) -> u64 {
        self.line
    }

    /// Nanoseconds from the first line to another, as they are stamped.
    pub fn offset(&self, line: u64) -> u64 {
        self.time(line) - self.time(1)
    }

    fn time(&self, line: u64) -> u64 {
        START + line * 1_000_000
    }

    /// The connection so far as a recording; the lines behind one of them are told later by `pause`.
    pub fn tape(&self, behind: u64, pause: Duration) -> String {
        let pause = pause.as_nanos() as u64;
        let time = |line| self.time(line) + if line > behind { pause } else { 0 };
        (1..=self.line).map(|line| self.text(line, time(line))).collect()
    }
}

fn hundredths(qty: u64) -> String {
    format!("{}.{:02}", qty / 100, qty % 100)
}
