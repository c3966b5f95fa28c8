//! The reference: what the feed truly told, kept from its own lines by a reader of its own.
//!
//! Owns a connection to the feed that no fault touches, one thread, naive books, and a record of every event: the checksum that
//! each book had after it, the place of each trade. Never sees the gateway. Where the feed is found after a restart it is
//! told by [`super::conduct`]; clients are compared with it by [`super::ledger`].

use crate::book::{Book, Checksum, Level, Side, digest_of_best};
use serde::Deserialize;
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long the feed may take to tell its books, and be silent.
const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Generation of the feed, and the last event of a symbol in it.
pub(crate) type Place = (u64, u64);

/// How far the feed has come, while it runs.
struct Progress {
    epoch: AtomicU64,
    seqs: Vec<AtomicU64>,
    /// Books that were told, in openings and on request.
    told: AtomicUsize,
}

/// The reader.
pub(crate) struct Reference {
    symbols: Vec<String>,
    progress: Arc<Progress>,
    /// Connections to read when the one before has ended.
    connections: Sender<TcpStream>,
    stream: TcpStream,
    thread: JoinHandle<Result<Record, String>>,
}

/// Everything that the feed told.
#[derive(Default)]
pub(crate) struct Record {
    /// Checksum of the book of a symbol after an event, by symbol, epoch and sequence.
    pub(crate) checksums: HashMap<(usize, u64, u64), u32>,
    /// Sequence of a trade, by symbol, epoch and id.
    pub(crate) trades: HashMap<(usize, u64, u64), u64>,
    /// The last event of a symbol in each epoch, and its last trade.
    pub(crate) ends: HashMap<(usize, u64), (u64, u64)>,
    /// Where each symbol stands.
    pub(crate) places: Vec<Place>,
    books: Vec<Book>,
}

/// A line, as far as it matters here.
#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
    epoch: u64,
    symbol: Option<&'a str>,
    seq: Option<u64>,
    id: Option<u64>,
    /// A trade that is told again.
    #[serde(default)]
    replay: bool,
    #[serde(borrow, default)]
    bids: Vec<(&'a str, &'a str)>,
    #[serde(borrow, default)]
    asks: Vec<(&'a str, &'a str)>,
}

impl Reference {
    /// Connects to a feed of so many symbols, and waits until it has told all books.
    pub(crate) fn follow(feed: SocketAddr, symbols: usize) -> Result<Self, String> {
        let progress = Arc::new(Progress {
            epoch: AtomicU64::new(0),
            seqs: (0..symbols).map(|_| AtomicU64::new(0)).collect(),
            told: AtomicUsize::new(0),
        });
        let (connections, inbox) = channel();
        let (names_out, names) = channel();
        let keeper = Keeper {
            numbers: HashMap::new(),
            names_out,
            record: Record::new(symbols),
            progress: Arc::clone(&progress),
            checksum: Checksum::new(),
        };
        let thread =
            std::thread::Builder::new().name("reference".to_owned()).spawn(move || keeper.run(&inbox));
        let thread = thread.map_err(|e| format!("cannot start a thread: {e}"))?;
        let stream = connect(feed, &connections)?;
        let mut reference = Self { symbols: Vec::new(), progress, connections, stream, thread };
        reference.wait_told(symbols)?;
        reference.symbols = names.recv_timeout(PATIENCE).map_err(|_| "the feed names no symbols")?;
        Ok(reference)
    }

    /// The symbols, in the feed's order.
    pub(crate) fn symbols(&self) -> &[String] {
        &self.symbols
    }

    /// How far the feed has come with each of them.
    pub(crate) fn places(&self) -> Vec<Place> {
        let epoch = self.progress.epoch.load(Ordering::Acquire);
        self.progress.seqs.iter().map(|seq| (epoch, seq.load(Ordering::Acquire))).collect()
    }

    /// Waits until every symbol has had so many events.
    pub(crate) fn wait_events(&self, events: u64) -> Result<(), String> {
        let limit = Instant::now() + PATIENCE;
        while self.places().iter().any(|(_, seq)| *seq < events) {
            if Instant::now() >= limit {
                return Err(format!("not every symbol of the feed has {events} events"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }

    /// The feed was started again; waits until what is left of the old one is read and the new one has told all books.
    pub(crate) fn go_on_at(&mut self, feed: SocketAddr) -> Result<(), String> {
        let told = self.progress.told.load(Ordering::Acquire);
        self.stream = connect(feed, &self.connections)?;
        self.wait_told(told + self.symbols.len())
    }

    /// Whatever the feed has told by now has been read when this returns. The feed must tell nothing more.
    pub(crate) fn settle(&mut self) -> Result<(), String> {
        let told = self.progress.told.load(Ordering::Acquire);
        self.stream.write_all(b"{\"method\":\"snapshot\"}\n").map_err(|e| format!("the feed: {e}"))?;
        self.wait_told(told + self.symbols.len())
    }

    /// Everything; the connection ends.
    pub(crate) fn finish(self) -> Result<Record, String> {
        let Self { connections, stream, thread, .. } = self;
        drop(connections);
        // It may have ended by itself.
        let _ = stream.shutdown(Shutdown::Both);
        thread.join().map_err(|_| "the reader of the feed has panicked".to_owned())?
    }

    fn wait_told(&self, books: usize) -> Result<(), String> {
        let limit = Instant::now() + PATIENCE;
        while self.progress.told.load(Ordering::Acquire) < books {
            if Instant::now() >= limit || self.thread.is_finished() {
                return Err("the feed does not tell its books".to_owned());
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(())
    }
}

/// Connects, and hands the connection to the reader.
fn connect(feed: SocketAddr, reader: &Sender<TcpStream>) -> Result<TcpStream, String> {
    let failed = |error: std::io::Error| format!("the feed at {feed}: {error}");
    let stream = TcpStream::connect(feed).map_err(failed)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    reader.send(stream.try_clone().map_err(failed)?).map_err(|_| "the reader of the feed has ended")?;
    Ok(stream)
}

/// The reading thread's.
struct Keeper {
    numbers: HashMap<String, usize>,
    names_out: Sender<Vec<String>>,
    record: Record,
    progress: Arc<Progress>,
    checksum: Checksum,
}

impl Keeper {
    fn run(mut self, connections: &Receiver<TcpStream>) -> Result<Record, String> {
        for stream in connections {
            let mut reader = BufReader::new(stream);
            let mut text = String::new();
            loop {
                text.clear();
                // A feed that is killed may stop in the middle of a line, or with a reset.
                match reader.read_line(&mut text) {
                    Ok(_) if text.ends_with('\n') => self.take(&text)?,
                    _ => break,
                }
            }
        }
        Ok(self.record)
    }

    fn take(&mut self, text: &str) -> Result<(), String> {
        let line: Line<'_> = serde_json::from_str(text).map_err(|e| format!("the feed's {text}: {e}"))?;
        let Some(symbol) = line.symbol else { return Ok(()) };
        let number = match self.numbers.get(symbol) {
            Some(number) => *number,
            None => self.add(symbol)?,
        };
        if self.progress.epoch.load(Ordering::Relaxed) < line.epoch {
            // Whoever reads in between sees the old epoch at its beginning, and is fresh only later.
            self.progress.seqs.iter().for_each(|seq| seq.store(0, Ordering::Release));
            self.progress.epoch.store(line.epoch, Ordering::Release);
        }
        self.record.take(number, &line, &mut self.checksum)?;
        self.progress.seqs[number].store(self.record.places[number].1, Ordering::Release);
        if line.r#type == "book_snapshot" {
            self.progress.told.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    fn add(&mut self, symbol: &str) -> Result<usize, String> {
        let number = self.numbers.len();
        if number == self.progress.seqs.len() {
            return Err(format!("the feed has more than {number} symbols"));
        }
        self.numbers.insert(symbol.to_owned(), number);
        if self.numbers.len() == self.progress.seqs.len() {
            let mut names: Vec<_> =
                self.numbers.iter().map(|(name, number)| (*number, name.clone())).collect();
            names.sort_unstable();
            // Nobody waits for them any more when the run has failed.
            let _ = self.names_out.send(names.into_iter().map(|(_, name)| name).collect());
        }
        Ok(number)
    }
}

impl Record {
    fn new(symbols: usize) -> Self {
        let books = (0..symbols).map(|_| Book::new(usize::MAX)).collect();
        Self { places: vec![(0, 0); symbols], books, ..Self::default() }
    }

    /// A number that equal books of this depth have in common, of a symbol as it stands.
    pub(crate) fn digest(&self, symbol: usize, depth_levels: usize) -> u64 {
        digest_of_best(&self.books[symbol], depth_levels)
    }

    fn take(&mut self, symbol: usize, line: &Line<'_>, checksum: &mut Checksum) -> Result<(), String> {
        let Some(seq) = line.seq else { return Ok(()) };
        let (epoch, book) = (line.epoch, &mut self.books[symbol]);
        if line.r#type == "book_snapshot" {
            book.clear();
        }
        for (side, levels) in [(Side::Bid, &line.bids), (Side::Ask, &line.asks)] {
            let levels: Option<Vec<Level>> = levels
                .iter()
                .map(|(price, qty)| Level::from_tokens(price.as_bytes(), qty.as_bytes()))
                .collect();
            book.apply(side, &levels.ok_or("the feed tells a level that is no number")?);
        }
        let end = self.ends.entry((symbol, epoch)).or_default();
        end.0 = end.0.max(seq);
        if let Some(id) = line.id {
            end.1 = end.1.max(id);
            self.trades.insert((symbol, epoch, id), seq);
        }
        let is_news = !line.replay && (epoch, seq) > self.places[symbol];
        if is_news || line.r#type == "book_snapshot" {
            self.places[symbol] = (epoch, seq);
            self.checksums.insert((symbol, epoch, seq), checksum.of(&self.books[symbol]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINES: &str = r#"{"type":"status","line":1,"epoch":7,"ts":1,"system":"online"}
{"type":"instrument","line":2,"epoch":7,"ts":1,"symbol":"BTC/USD","status":"online"}
{"type":"trade","line":3,"epoch":7,"ts":1,"symbol":"BTC/USD","seq":41,"id":9,"price":"64000.1","qty":"0.00100000","side":"buy","ord_type":"market","replay":true}
{"type":"book_snapshot","line":4,"epoch":7,"ts":1,"symbol":"BTC/USD","seq":42,"bids":[["64000.0","1.00000000"]],"asks":[["64000.1","0.50000000"]]}
{"type":"book_delta","line":5,"epoch":7,"ts":2,"symbol":"BTC/USD","seq":43,"bids":[["64000.0","0.00000000"],["63999.9","2.00000000"]],"asks":[]}
{"type":"trade","line":6,"epoch":7,"ts":2,"symbol":"BTC/USD","seq":44,"id":10,"price":"64000.1","qty":"0.00100000","side":"buy","ord_type":"market"}
"#;
    const AGAIN: &str = r#"{"type":"book_snapshot","line":1,"epoch":8,"ts":3,"symbol":"BTC/USD","seq":0,"bids":[],"asks":[["5.0","1.0"]]}
"#;

    #[test]
    fn books_trades_and_epochs_are_kept_over_connections() {
        let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = server.local_addr().unwrap();
        let speak = |text: &'static str, rest: &'static str| {
            let (mut stream, _) = server.accept().unwrap();
            stream.write_all(text.as_bytes()).unwrap();
            stream.write_all(rest.as_bytes()).unwrap();
        };
        let mut reference = std::thread::scope(|scope| {
            // The last line is cut off.
            scope.spawn(|| speak(LINES, "{\"type\":\"trade\",\"li"));
            Reference::follow(address, 1).unwrap()
        });
        assert_eq!(reference.symbols(), ["BTC/USD"]);
        std::thread::scope(|scope| {
            scope.spawn(|| speak(AGAIN, ""));
            reference.go_on_at(address).unwrap();
        });
        assert_eq!(reference.places(), [(8, 0)]);
        let record = reference.finish().unwrap();
        assert_eq!(record.ends, HashMap::from([((0, 7), (44, 10)), ((0, 8), (0, 0))]));
        assert_eq!(record.trades, HashMap::from([((0, 7, 9), 41), ((0, 7, 10), 44)]));
        let at = |seq| record.checksums.get(&(0, 7, seq));
        assert_eq!(at(42), Some(&crc32fast::hash(b"64000150000000640000100000000")));
        assert_eq!(at(43), Some(&crc32fast::hash(b"64000150000000639999200000000")));
        assert_eq!((at(44), at(41)), (at(43), None));
        let mut book = Book::new(10);
        book.apply(Side::Ask, &[Level::from_tokens(b"5.0", b"1.0").unwrap()]);
        assert_eq!(record.digest(0, 10), crate::book::digest(&book));
    }
}
