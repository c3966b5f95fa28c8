//! A reader of the feed that keeps everything: what each book was after any event, and every trade.
//!
//! Reads the feed's lines beside the gateway and knows nothing of it. While the feed runs it tells how far the feed has come;
//! when the feed has ended it is what clients are compared with, wherever they stand.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use parking_lot::{Mutex, MutexGuard};
use serde_json::Value;

use super::PATIENCE;
use super::book::{Book, Side};
use super::truth::side;
use super::view::View;
use super::wait_for;

/// Position of the last event of each symbol.
type Seqs = Arc<Mutex<BTreeMap<String, u64>>>;

/// The reader, while the feed runs.
#[derive(Debug)]
pub struct Reference {
    seqs: Seqs,
    reader: JoinHandle<Record>,
}

/// Bids and asks, price and quantity; a quantity of 0 removes.
type Change = [Vec<(u64, u64)>; 2];

/// Everything about one symbol.
#[derive(Clone, Debug, Default)]
struct Symbol {
    start: Book,
    /// By their sequence, later than `start`.
    changes: BTreeMap<u64, Change>,
    /// Ids by their sequence.
    trades: BTreeMap<u64, u64>,
}

/// What the venue told, from the reader's connection to the end.
#[derive(Clone, Debug, Default)]
pub struct Record(BTreeMap<String, Symbol>);

impl Reference {
    /// Connects, and waits until all books were told.
    pub fn follow(feed: SocketAddr, symbols: usize) -> Self {
        let stream = TcpStream::connect(feed).expect("the feed listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out can be set");
        let seqs = Seqs::default();
        let shared = Arc::clone(&seqs);
        let reader = thread::spawn(move || read(stream, &shared));
        let reference = Self { seqs, reader };
        wait_for("the books of the feed", || (reference.lock().len() == symbols).then_some(()));
        reference
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.seqs.lock()
    }

    /// How far the feed has come with a symbol.
    pub fn seq(&self, symbol: &str) -> u64 {
        self.lock()[symbol]
    }

    /// Waits until the feed has come so far with a symbol.
    pub fn wait_seq(&self, symbol: &str, seq: u64) {
        wait_for("the market to go on", || (self.seq(symbol) >= seq).then_some(()));
    }

    /// Waits until so many events of each of some symbols have happened.
    pub fn wait_events(&self, symbols: &[&str], events: u64) {
        let until: Vec<u64> = symbols.iter().map(|symbol| self.seq(symbol) + events).collect();
        for (symbol, seq) in symbols.iter().zip(until) {
            self.wait_seq(symbol, seq);
        }
    }

    /// Everything; to be called when the feed has ended.
    pub fn finish(self) -> Record {
        self.reader.join().expect("the reader has not failed")
    }
}

fn read(stream: TcpStream, seqs: &Seqs) -> Record {
    let mut record = Record::default();
    for line in BufReader::new(stream).lines() {
        // A feed that stops may do so in the middle of a line, or with a reset.
        let Ok(line) = line else { break };
        let Ok(line) = serde_json::from_str::<Value>(&line) else { break };
        if let Some(symbol) = line["symbol"].as_str() {
            record.take(symbol, &line);
            if line["type"] != "instrument" && line["replay"] != true {
                let seq = line["seq"].as_u64().expect("as the protocol says");
                seqs.lock().insert(symbol.to_owned(), seq);
            }
        }
    }
    record
}

impl Record {
    fn take(&mut self, symbol: &str, line: &Value) {
        let one = self.0.entry(symbol.to_owned()).or_default();
        let number = |key: &str| line[key].as_u64().expect("as the protocol says");
        match line["type"].as_str() {
            Some("book_snapshot") => {
                one.start = Book { bids: side(&line["bids"]), asks: side(&line["asks"]) };
            }
            Some("book_delta") => {
                let sides = ["bids", "asks"].map(|key| side(&line[key]).into_iter().collect());
                one.changes.insert(number("seq"), sides);
            }
            Some("trade") => {
                one.trades.insert(number("seq"), number("id"));
            }
            _ => {}
        }
    }

    /// The book of a symbol after an event.
    pub fn book_at(&self, symbol: &str, seq: u64) -> Book {
        let one = &self.0[symbol];
        let mut book = one.start.clone();
        for [bids, asks] in one.changes.range(..=seq).map(|(_, change)| change) {
            set(&mut book.bids, bids);
            set(&mut book.asks, asks);
        }
        book
    }

    /// Id of the last trade of a symbol up to an event.
    pub fn trade_at(&self, symbol: &str, seq: u64) -> Option<u64> {
        self.0[symbol].trades.range(..=seq).next_back().map(|(_, &id)| id)
    }

    /// Compares clients that have been sent everything with the venue: all their books, and their last trades. Returns how
    /// many books were compared.
    pub fn check(&self, views: &[&View]) -> usize {
        let mut books = 0;
        for symbol in self.0.keys() {
            let links = views.iter().flat_map(|view| &view.links).filter(|(key, _)| key.1 == *symbol);
            let Some(seq) = links.map(|(_, &seq)| seq).max() else { continue };
            let (truth, trade) = (self.book_at(symbol, seq), self.trade_at(symbol, seq));
            for view in views {
                if let Some(one) = view.books.get(symbol) {
                    books += 1;
                    assert!(
                        one.book == truth.top(one.depth),
                        "connection {} at {} of {seq} has a wrong book of {symbol}",
                        view.connection,
                        one.seq
                    );
                }
                let last = view.last_trade(symbol);
                assert!(
                    last.is_none() || last == trade,
                    "connection {}: the last trade of {symbol} is {trade:?}, not {last:?}",
                    view.connection
                );
            }
        }
        books
    }
}

fn set(side: &mut Side, levels: &[(u64, u64)]) {
    for &(price, qty) in levels {
        if qty > 0 {
            side.insert(price, qty);
        } else {
            side.remove(&price);
        }
    }
}
