//! What a client knows from the messages it got, and the rules that every message has to keep.
//!
//! Checks on the way: acknowledgement before snapshot, snapshot before the first update, one snapshot per subscription unless a
//! notice announced another, `prev` is the last `seq` or the end of the gap that was told, without a snapshot that of the
//! acknowledgement, the checksum is that of the client's own book, trade ids rise. Panics at the first message that breaks one.
//! `gateway/tests/witness.rs` shows it doctored messages.

mod begin;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::book::{Book, Precision, units};
use super::truth::Truth;
pub use begin::Resumed;

/// A subscription: channel, symbol, and the interval of candles.
pub type Key = (String, String, u64);

/// One book of the client.
#[derive(Clone, Debug, Default)]
pub struct BookView {
    pub book: Book,
    pub depth: usize,
    pub seq: u64,
}

/// A book message, and what the client's book was after it.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    pub seq: u64,
    /// What the gateway said.
    pub told: u32,
    /// What the client computed.
    pub own: u32,
    pub best: Option<[(u64, u64); 2]>,
}

/// Everything a client knows.
#[derive(Debug, Default)]
pub struct View {
    /// The gateway's number of the connection.
    pub connection: u64,
    pub precisions: BTreeMap<String, Precision>,
    pub books: BTreeMap<String, BookView>,
    /// Messages of each book in their order.
    pub points: BTreeMap<String, Vec<Point>>,
    /// Last `seq` of each subscription.
    pub links: BTreeMap<Key, u64>,
    /// Epoch of each of them.
    pub epochs: BTreeMap<Key, u64>,
    /// Where subscriptions were acknowledged that have had no message yet; only who opted in is told.
    begun: BTreeMap<Key, u64>,
    /// Subscriptions that were recovered, how each was.
    pub resumed: Vec<Resumed>,
    /// Where the next message of a recovered book or ticker must reach, because one message brings all that was missed.
    owed: BTreeMap<Key, u64>,
    /// Subscriptions that were acknowledged.
    pub joins: u64,
    /// Results of the subscriptions in force.
    pub subscribed: BTreeMap<Key, Value>,
    /// Answers to requests in their order.
    pub answers: Vec<Value>,
    /// States of the venue in the order in which they were told.
    pub statuses: Vec<String>,
    /// States of each pair likewise.
    pub pairs: BTreeMap<String, Vec<String>>,
    /// Codes and symbols of notices.
    pub notices: Vec<Value>,
    /// Subscriptions that were told of a snapshot to come although they have one.
    resyncs: BTreeSet<Key>,
    /// Data and notices as they came, when it is to be kept.
    pub kept: Option<Vec<Value>>,
    /// Trade ids of each symbol.
    pub trades: BTreeMap<String, Vec<u64>>,
    /// Trades that do not follow what was received before them.
    pub breaks: u64,
    /// Trades that a notice said were lost and that have not been missed yet.
    told: BTreeMap<String, u64>,
    /// Trades missing between two that were received, and of them those that no notice told of.
    pub missed: u64,
    pub untold: u64,
    pub heartbeats: u64,
    pub snapshots: u64,
    /// Updates of any channel.
    pub updates: u64,
    /// The most entries that a message said it was merged from.
    pub merged_max: u64,
    /// What the venue's books were at some event, until the client got there.
    truths: BTreeMap<String, Truth>,
    /// Books that were found to be true.
    pub proven: u64,
}

impl View {
    /// Takes one message.
    pub fn apply(&mut self, text: &str) {
        let message: Value = serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"));
        let Some(channel) = message["channel"].as_str() else {
            return self.answer(message);
        };
        assert!(text.starts_with("{\"channel\":\""), "channel is the first key: {text}");
        if let Some(kept) = self.kept.as_mut().filter(|_| channel != "heartbeat" && channel != "status") {
            kept.push(message.clone());
        }
        match channel {
            "heartbeat" => self.heartbeats += 1,
            "status" => {
                self.connection = message["data"][0]["connection_id"].as_u64().expect("an id");
                self.statuses.push(text_of(&message["data"][0]["system"]));
            }
            "notice" => self.notice(&message["data"][0]),
            "instrument" => self.instrument(&message),
            _ => self.data(channel, &message),
        }
    }

    fn answer(&mut self, message: Value) {
        let result = &message["result"];
        if message["success"] == true {
            let interval = result["interval"].as_u64().unwrap_or(0);
            let symbol = result["symbol"].as_str().unwrap_or_default().to_owned();
            let key = (result["channel"].as_str().unwrap_or_default().to_owned(), symbol, interval);
            match text_of(&message["method"]).as_str() {
                "subscribe" => {
                    self.acknowledge(&key, result);
                    assert_eq!(self.subscribed.insert(key, result.clone()), None, "acknowledged twice");
                }
                "unsubscribe" => {
                    assert!(self.subscribed.remove(&key).is_some(), "never subscribed: {message}");
                    self.forget(&key);
                }
                _ => {}
            }
        }
        self.answers.push(message);
    }

    /// Moves the link over a gap that is told, and expects a snapshot where one is announced.
    fn notice(&mut self, notice: &Value) {
        self.notices.push(notice.clone());
        let code = &notice["code"];
        if code == "revoked" && notice["channel"].is_string() {
            let interval = notice["interval"].as_u64().unwrap_or(0);
            let key = (text_of(&notice["channel"]), text_of(&notice["symbol"]), interval);
            // Whatever comes of it after this is not acknowledged.
            assert!(self.subscribed.remove(&key).is_some(), "never subscribed: {notice}");
            return self.forget(&key);
        }
        if code != "gap" && code != "resynced" {
            return;
        }
        // Without an interval: of candles these tests subscribe to one.
        let interval = if notice["channel"] == "ohlc" { 1 } else { 0 };
        let key = (text_of(&notice["channel"]), text_of(&notice["symbol"]), interval);
        let [from, to] = ["from_seq", "to_seq"].map(|name| notice[name].as_u64().expect(name));
        let last = self.links.insert(key.clone(), to);
        // A subscription to trades begins later than the last trade of its snapshot.
        let follows = last.is_none_or(|last| last == from || (key.0 == "trade" && last < from));
        assert!(follows, "a gap from {from}, after {last:?}: {notice}");
        if let Some(epoch) = notice["epoch"].as_u64() {
            self.epochs.insert(key.clone(), epoch);
        }
        if key.0 == "trade" && code == "gap" {
            *self.told.entry(key.1.clone()).or_default() += notice["count"].as_u64().expect("a count");
        }
        // What was to be made up for is told as lost.
        self.owed.remove(&key);
        self.begun.remove(&key);
        if code == "resynced" || key.0 == "book" {
            if key.0 == "trade" {
                self.trades.remove(&key.1);
            }
            self.resyncs.insert(key);
        }
    }

    fn instrument(&mut self, message: &Value) {
        let key = ("instrument".to_owned(), String::new(), 0);
        assert!(self.subscribed.contains_key(&key), "before the acknowledgement: {message}");
        self.count(message);
        for pair in message["data"]["pairs"].as_array().expect("pairs") {
            let symbol = text_of(&pair["symbol"]);
            let of = |name: &str| pair[name].as_i64().expect("a precision") as i32;
            let precision = Precision { price: of("price_precision"), qty: of("qty_precision") };
            self.precisions.insert(symbol.clone(), precision);
            self.pairs.entry(symbol).or_default().push(text_of(&pair["status"]));
        }
    }

    fn count(&mut self, message: &Value) -> bool {
        let is_snapshot = message["type"] == "snapshot";
        assert!(is_snapshot || message["type"] == "update", "{message}");
        *(if is_snapshot { &mut self.snapshots } else { &mut self.updates }) += 1;
        is_snapshot
    }

    fn data(&mut self, channel: &str, message: &Value) {
        let is_snapshot = self.count(message);
        let elements = message["data"].as_array().expect("data is an array");
        assert!(is_snapshot || elements.len() == 1, "an update has one element: {message}");
        for (index, element) in elements.iter().enumerate() {
            let interval = element["interval"].as_u64().unwrap_or(0);
            let key = (channel.to_owned(), text_of(&element["symbol"]), interval);
            assert!(self.subscribed.contains_key(&key), "not acknowledged: {message}");
            self.link(&key, element, is_snapshot, index, message);
            match channel {
                "book" => self.book(&key.1, element, is_snapshot),
                "trade" => self.trade(&key.1, element),
                _ => {}
            }
        }
    }

    /// What was sent last is what the next message says it follows.
    fn link(&mut self, key: &Key, element: &Value, is_snapshot: bool, index: usize, message: &Value) {
        let number = |name: &str| element[name].as_u64().unwrap_or_else(|| panic!("no {name}: {message}"));
        let seq = number("seq");
        let last = self.links.insert(key.clone(), seq);
        let begun = self.begun.remove(key);
        if let Some(epoch) = element["epoch"].as_u64() {
            self.epochs.insert(key.clone(), epoch);
        }
        if is_snapshot {
            let is_announced = index > 0 || self.resyncs.remove(key);
            assert!(is_announced || last.is_none(), "a second snapshot: {message}");
            assert!(element["epoch"].is_u64(), "a snapshot names its epoch: {message}");
            if key.0 == "trade" {
                // Each trade has its own; their subscription may begin at a later event.
                let stands = begun.max(last.filter(|_| index > 0)).map_or(seq, |other| other.max(seq));
                self.links.insert(key.clone(), stands);
            } else {
                assert!(begun.is_none_or(|begun| begun <= seq), "older than its acknowledgement: {message}");
            }
            return;
        }
        let wanted = self.subscribed[key]["snapshot"] == true && (key.0 == "book" || key.0 == "ticker");
        assert!(last.is_some() || !wanted, "before its snapshot: {message}");
        assert!(!self.resyncs.contains(key), "instead of the snapshot that was announced: {message}");
        let prev = number("prev");
        let last = last.or(begun);
        if key.0 == "trade" && last.is_some_and(|last| last < prev) {
            // The only loss there is for who did not opt in; that is what a break says.
            self.breaks += 1;
        } else {
            assert!(last.is_none_or(|last| last == prev), "follows {last:?}, says {prev}: {message}");
        }
        assert!(seq > prev || element["epoch"].is_u64(), "goes back: {message}");
        if let Some(owed) = self.owed.remove(key).filter(|_| element["epoch"].is_null()) {
            assert!(seq >= owed, "less than all that was missed up to {owed}: {message}");
        }
        self.merged_max = self.merged_max.max(element["merged"].as_u64().unwrap_or(1));
    }

    fn book(&mut self, symbol: &str, element: &Value, is_snapshot: bool) {
        let seq = element["seq"].as_u64().expect("checked by the link");
        if self.truths.get(symbol).is_some_and(|truth| seq > truth.seq) {
            self.prove(symbol);
        }
        let precision = self.precisions[symbol];
        let key = ("book".to_owned(), symbol.to_owned(), 0);
        let depth = self.subscribed[&key]["depth"].as_u64().expect("a depth") as usize;
        let view = self.books.entry(symbol.to_owned()).or_default();
        if is_snapshot {
            view.book = Book::default();
        }
        view.book.apply(element, precision, depth);
        (view.depth, view.seq) = (depth, seq);
        let told = units(&element["checksum"], 0) as u32;
        let point = Point { seq, told, own: view.book.checksum(), best: view.book.best() };
        assert_eq!(told, point.own, "checksum of {symbol} at {seq}: {element}");
        self.points.entry(symbol.to_owned()).or_default().push(point);
        if self.truths.get(symbol).is_some_and(|truth| seq == truth.seq) {
            self.prove(symbol);
        }
    }

    /// Compares the book as it stands with the venue's.
    fn prove(&mut self, symbol: &str) {
        let Some(truth) = self.truths.remove(symbol) else { return };
        let BookView { book, depth, seq } = &self.books[symbol];
        assert!(
            *book == truth.book.top(*depth),
            "the book of {symbol} at {seq} is not that at {}",
            truth.seq
        );
        self.proven += 1;
    }

    /// Wants each book compared with the venue's where the client gets there; see [`Self::is_proven`].
    pub fn expect_truth(&mut self, truths: &BTreeMap<String, Truth>) {
        for (symbol, truth) in truths.iter().filter(|(symbol, _)| self.books.contains_key(*symbol)) {
            let seq = self.books[symbol].seq;
            assert!(seq <= truth.seq, "{symbol} stands at {seq}, beyond the {} of the venue", truth.seq);
            self.truths.insert(symbol.clone(), truth.clone());
        }
    }

    /// Whether everything wanted was compared.
    pub fn is_proven(&self) -> bool {
        self.truths.is_empty()
    }

    fn trade(&mut self, symbol: &str, element: &Value) {
        let id = element["trade_id"].as_u64().expect("a trade id");
        let ids = self.trades.entry(symbol.to_owned()).or_default();
        let told = self.told.remove(symbol).unwrap_or_default();
        if let Some(&last) = ids.last() {
            assert!(id > last, "trade {id} after {last}");
            self.missed += id - last - 1;
            self.untold += (id - last - 1).saturating_sub(told);
        }
        ids.push(id);
    }

    /// The last trade that was received, or told as lost behind it.
    pub fn last_trade(&self, symbol: &str) -> Option<u64> {
        let told = self.told.get(symbol).copied().unwrap_or_default();
        self.trades.get(symbol)?.last().map(|last| last + told)
    }

    /// Trade ids that are missing between the first and the last of a symbol.
    pub fn missing_trades(&self) -> u64 {
        let missing = |ids: &Vec<u64>| match (ids.first(), ids.last()) {
            (Some(first), Some(last)) => last + 1 - first - ids.len() as u64,
            _ => 0,
        };
        self.trades.values().map(missing).sum()
    }

    /// Codes of the notices about a channel and symbol in their order.
    pub fn notice_codes(&self, channel: &str, symbol: &str) -> Vec<&str> {
        let about = |notice: &&Value| notice["channel"] == channel && notice["symbol"] == symbol;
        self.notices.iter().filter(about).filter_map(|notice| notice["code"].as_str()).collect()
    }

    /// The last state of a pair.
    pub fn pair(&self, symbol: &str) -> &str {
        self.pairs.get(symbol).and_then(|states| states.last()).map_or("", String::as_str)
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("no text: {value}")).to_owned()
}
