//! What a feed says: whatever the lines, the market keeps a book that stands, and whoever reads what is published has the same.
//!
//! The input is either text, line by line as a feed sends it, or a script of well formed lines with bad sequences, numbers at
//! their bounds and trouble in between (`feed_line/script.rs`). Each line goes through the real decoder, with and without its short
//! cut, and through market and publisher; a naive reader of every stream (`feed_line/reader.rs`) is compared with the market after each.

mod reader;
mod script;

use std::collections::BTreeMap;

use fanout::{Batch, Item};
use market::{Market, MarketLimits, Output};
use model::{
    DEPTHS, EventBatch, INTERVALS_MIN, InstrumentId, Nanos, PairStatus, Side, StreamId, StreamKey, Trigger,
};
use publish::{News, Publisher};
use wire::feed::{FEED_LINE_BYTES_MAX, FeedDecoder};

use reader::Reader;

/// Few, so that limits are met.
const LIMITS: MarketLimits =
    MarketLimits { levels_per_side_max: 40, trades_kept: 6, candles_kept: 3, ask_again: Nanos::SECOND };

/// Instruments of which every stream is published: enough for one to disturb another.
const WATCHED: usize = 3;

/// Feeds one input.
///
/// # Panics
/// When a book is crossed, a count is wrong, or a reader has something else than the market.
pub fn run(data: &[u8]) {
    let mut feed = Feed::new();
    match data.split_first() {
        // No line begins with a control character.
        Some((0..0x20, rest)) => script::play(rest, &mut feed),
        _ => data.split(|&byte| byte == b'\n').for_each(|line| feed.take_text(line)),
    }
    feed.connect();
    feed.check();
}

/// The engine's work on one thread.
struct Feed {
    decoder: FeedDecoder,
    /// Reads every line without the short cut for book lines.
    general: FeedDecoder,
    market: Market,
    publisher: Publisher<Box<Batch>>,
    readers: BTreeMap<StreamId, Reader>,
    /// By the number of the instrument: stale as outputs told it.
    stale: Vec<bool>,
    now: Nanos,
}

impl Feed {
    fn new() -> Self {
        let mut feed = Self {
            decoder: FeedDecoder::default(),
            general: FeedDecoder::default(),
            market: Market::new(LIMITS),
            publisher: Publisher::new(vec![Box::default()]),
            readers: BTreeMap::new(),
            stale: Vec::new(),
            now: Nanos(1_700_000_000_000_000_000),
        };
        feed.connect();
        feed.join(StreamKey::Instruments);
        feed
    }

    /// A line of a text; what begins with an exclamation mark happens to the connection.
    fn take_text(&mut self, line: &[u8]) {
        match line {
            b"!connect" => self.connect(),
            b"!disconnect" => self.disconnect(),
            b"!wait" => self.wait(Nanos::SECOND),
            _ => self.take_line(line),
        }
    }

    fn take_line(&mut self, line: &[u8]) {
        if line.len() > FEED_LINE_BYTES_MAX {
            return;
        }
        self.now = self.now + Nanos::MILLI;
        let mut batch = EventBatch::default();
        let before = self.decoder.instruments().len();
        self.decoder.warm(line);
        let result = self.decoder.decode_line(&mut line.to_vec(), self.now, &mut batch);
        let mut general = EventBatch::default();
        // A blank before a line changes nothing, but that no short cut is taken.
        let blank = self.general.decode_line(&mut [b" ", line].concat(), self.now, &mut general);
        assert_eq!(format!("{result:?} {batch:?}"), format!("{blank:?} {general:?}"), "both readers");
        assert!(batch.events.len() <= 1, "a line is one event");
        assert!(result.is_ok() || batch.levels.is_empty(), "a refused line leaves no levels");
        assert!(self.decoder.instruments().len() <= before + 1);
        for event in &batch.events {
            self.market.apply(event, &batch);
            self.drain();
        }
        self.check();
    }

    fn connect(&mut self) {
        self.market.handle_connect(self.now);
        self.drain();
    }

    fn disconnect(&mut self) {
        self.market.handle_disconnect(self.now);
        self.drain();
    }

    fn wait(&mut self, time: Nanos) {
        self.now = self.now + time;
        self.market.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.market.poll_output() {
            match output {
                Output::Stale { instrument, .. } => self.turn(instrument, true),
                Output::Fresh { instrument } => self.turn(instrument, false),
                _ => {}
            }
            if let Some(News::Pair(id, status)) = self.publisher.handle_output(output, &self.market) {
                self.meet(id);
                assert_eq!(status == PairStatus::Maintenance, self.is_halted(id), "status of {id:?}");
            }
            self.read();
        }
    }

    fn turn(&mut self, id: InstrumentId, stale: bool) {
        let was = std::mem::replace(&mut self.stale[id.index()], stale);
        assert_ne!(was, stale, "instrument {} turns into what it was", id.0);
    }

    /// Whether clients are told that an instrument is halted: by the venue, or because its data is stale.
    fn is_halted(&self, id: InstrumentId) -> bool {
        let one = self.market.instrument(id).expect("it was told of");
        self.market.is_stale(id) || one.status == PairStatus::Maintenance
    }

    /// Begins to read what is published of an instrument that was not known before.
    fn meet(&mut self, id: InstrumentId) {
        if self.stale.len() <= id.index() {
            // Instruments are numbered in the order in which they are announced.
            assert_eq!(self.stale.len(), id.index());
            self.stale.push(true);
            if id.index() < WATCHED {
                self.join_all(id);
            }
        }
    }

    fn join_all(&mut self, id: InstrumentId) {
        (0..DEPTHS.len() as u8).for_each(|depth| self.join(StreamKey::Book(id, depth)));
        (0..INTERVALS_MIN.len() as u8).for_each(|interval| self.join(StreamKey::Ohlc(id, interval)));
        self.join(StreamKey::Trade(id));
        [Trigger::Trades, Trigger::Bbo]
            .into_iter()
            .for_each(|trigger| self.join(StreamKey::Ticker(id, trigger)));
    }

    fn join(&mut self, key: StreamKey) {
        self.readers.insert(key.id(), Reader::new(key));
        let _ = self.publisher.join(0, key.id(), &self.market, self.now);
    }

    /// Has every reader read what was published.
    fn read(&mut self) {
        let batch = &mut self.publisher.lanes()[0];
        for item in &batch.items {
            match item {
                Item::Join(join) => {
                    if let Some(reader) = self.readers.get_mut(&join.stream) {
                        reader.begin(batch.frame(join.snapshot), join.epoch, join.seq);
                    }
                }
                Item::Entry(entry) => {
                    if let Some(reader) = self.readers.get_mut(&entry.stream) {
                        reader.take(batch.frame(entry.frame));
                    }
                }
                Item::Pair(..) | Item::Stale(..) | Item::Status(_) => {}
                Item::Lost(lost) => panic!("nothing is lost here: {lost:?}"),
            }
        }
        batch.clear();
    }

    fn check(&self) {
        let stale = self.stale.iter().filter(|&&stale| stale).count();
        assert_eq!(self.market.stale_count(), stale, "stale instruments");
        for (index, &stale) in self.stale.iter().enumerate() {
            let id = InstrumentId(index as u32);
            assert_eq!(self.market.is_stale(id), stale, "instrument {index}");
            self.check_book(id);
            assert!(self.market.trades(id).len() <= LIMITS.trades_kept);
        }
        for reader in self.readers.values() {
            reader.check(&self.market);
        }
    }

    fn check_book(&self, id: InstrumentId) {
        let Some(book) = self.market.book(id) else { return };
        for side in Side::BOTH {
            assert!(book.len(side) <= LIMITS.levels_per_side_max);
            assert!(book.side(side).all(|level| level.qty.0 > 0 && level.price.0 > 0), "{book:?}");
            let prices: Vec<_> = book.side(side).map(|level| level.price).collect();
            assert!(prices.is_sorted_by(|&a, &b| side.is_better(a, b)), "{book:?}");
        }
        if let (Some(bid), Some(ask)) = (book.best(Side::Bid), book.best(Side::Ask)) {
            assert!(bid.price < ask.price, "a crossed book: {book:?}");
        }
        for interval in 0..INTERVALS_MIN.len() as u8 {
            let candles: Vec<_> = self.market.candles(id, interval).collect();
            assert!(candles.len() <= LIMITS.candles_kept);
            assert!(candles.is_sorted_by(|a, b| a.begin < b.begin), "{candles:?}");
        }
        let ticker = self.market.ticker(id);
        assert_eq!((ticker.bid, ticker.ask), (book.best(Side::Bid), book.best(Side::Ask)));
    }
}
