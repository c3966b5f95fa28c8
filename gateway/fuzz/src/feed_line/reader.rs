//! A naive reader of one stream: its books are maps, its numbers digits without their dot.
//!
//! Reads frames as a client would and keeps nothing but what they say. Compared with the market after every line.

use std::collections::BTreeMap;

use market::Market;
use model::{DEPTHS, Epoch, Instrument, InstrumentId, Level, Sequence, Side, StreamKey, Trigger};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Any message of a stream.
#[derive(Deserialize)]
struct Message<'a> {
    channel: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// One element; what a channel does not have is none.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Element<'a> {
    symbol: &'a str,
    seq: Option<u64>,
    prev: Option<u64>,
    epoch: Option<u64>,
    checksum: Option<u32>,
    #[serde(borrow)]
    bids: Vec<Text<'a>>,
    #[serde(borrow)]
    asks: Vec<Text<'a>>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    bid_qty: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    ask_qty: Option<&'a RawValue>,
    #[serde(borrow)]
    open: Option<&'a RawValue>,
    #[serde(borrow)]
    high: Option<&'a RawValue>,
    #[serde(borrow)]
    low: Option<&'a RawValue>,
    #[serde(borrow)]
    close: Option<&'a RawValue>,
    trades: Option<u64>,
    trade_id: Option<u64>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    qty: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Text<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

/// What one reader knows.
pub(super) struct Reader {
    key: StreamKey,
    /// Epoch and sequence where it stands; none before it began.
    place: Option<(u64, u64)>,
    /// In units of the last decimal.
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
    /// The last quote: bid and ask with their quantities.
    quote: Option<[i64; 4]>,
}

impl Reader {
    pub(super) const fn new(key: StreamKey) -> Self {
        Self { key, place: None, bids: BTreeMap::new(), asks: BTreeMap::new(), quote: None }
    }

    /// Begins where a join says, with its snapshot if there is one.
    pub(super) fn begin(&mut self, snapshot: &[u8], epoch: Epoch, seq: Sequence) {
        if !snapshot.is_empty() {
            self.read(snapshot, "snapshot");
        }
        self.place = Some((epoch.0, seq.0));
    }

    /// Takes an update.
    pub(super) fn take(&mut self, frame: &[u8]) {
        self.read(frame, "update");
    }

    fn read(&mut self, frame: &[u8], kind: &str) {
        let text = payload(frame);
        let message: Message<'_> = serde_json::from_slice(text).expect("a message is JSON");
        assert_eq!((message.channel, message.kind), (self.key.channel().name(), kind));
        if self.key == StreamKey::Instruments {
            return;
        }
        let elements: Vec<Element<'_>> = serde_json::from_str(message.data.get()).expect("elements");
        assert!(!elements.is_empty(), "a message of nothing");
        for element in &elements {
            self.link(element, kind == "snapshot");
            match self.key {
                StreamKey::Book(_, depth) => self.apply(element, DEPTHS[usize::from(depth)].into()),
                StreamKey::Ticker(..) => self.note_quote(element),
                StreamKey::Trade(_) => check_trade(element),
                StreamKey::Ohlc(..) => check_candle(element),
                StreamKey::Instruments => {}
            }
        }
    }

    fn link(&mut self, element: &Element<'_>, is_snapshot: bool) {
        let seq = element.seq.expect("a seq");
        if is_snapshot {
            assert!(element.prev.is_none() && element.epoch.is_some());
            return;
        }
        let (epoch, last) = self.place.expect("an update comes behind its join");
        assert_eq!(element.prev, Some(last), "{:?}", self.key);
        match element.epoch {
            Some(next) => assert_ne!(next, epoch, "an epoch is told when it is another"),
            None => assert!(seq > last, "seq {seq} after {last}"),
        }
        self.place = Some((element.epoch.unwrap_or(epoch), seq));
    }

    fn apply(&mut self, element: &Element<'_>, depth: usize) {
        for level in &element.bids {
            set(&mut self.bids, level);
            while self.bids.len() > depth {
                self.bids.pop_first();
            }
        }
        for level in &element.asks {
            set(&mut self.asks, level);
            while self.asks.len() > depth {
                self.asks.pop_last();
            }
        }
        assert_eq!(element.checksum, Some(self.checksum()), "{:?}", self.key);
    }

    /// Of the digits of the ten best asks and bids.
    fn checksum(&self) -> u32 {
        let best = self.asks.iter().take(10).chain(self.bids.iter().rev().take(10));
        let text: String = best.map(|(price, qty)| format!("{price}{qty}")).collect();
        crc32fast::hash(text.as_bytes())
    }

    fn note_quote(&mut self, element: &Element<'_>) {
        let numbers = [element.bid, element.bid_qty, element.ask, element.ask_qty];
        self.quote = Some(numbers.map(|number| units(number.expect("a quote is whole"))));
    }

    /// Compares with the market: it knows everything already that was told.
    pub(super) fn check(&self, market: &Market) {
        match self.key {
            StreamKey::Book(id, depth) => self.check_book(id, DEPTHS[usize::from(depth)].into(), market),
            StreamKey::Ticker(id, Trigger::Bbo) => self.check_quote(id, market),
            _ => {}
        }
    }

    fn check_book(&self, id: InstrumentId, depth: usize, market: &Market) {
        let (Some(book), Some(one)) = (market.book(id), market.instrument(id)) else {
            return assert!(self.bids.is_empty() && self.asks.is_empty(), "levels of no book");
        };
        let truth = |side| book.top(side, depth).map(|level| in_units(one, level)).collect::<Vec<_>>();
        let mine = |(&price, &qty): (&i64, &i64)| (price, qty);
        assert_eq!(self.bids.iter().rev().map(mine).collect::<Vec<_>>(), truth(Side::Bid), "{:?}", self.key);
        assert_eq!(self.asks.iter().map(mine).collect::<Vec<_>>(), truth(Side::Ask), "{:?}", self.key);
    }

    fn check_quote(&self, id: InstrumentId, market: &Market) {
        let (Some(one), Some(quote)) = (market.instrument(id), self.quote) else { return };
        let ticker = market.ticker(id);
        let truth = |level: Option<Level>| level.map_or((0, 0), |level| in_units(one, level));
        let (bid, ask) = (truth(ticker.bid), truth(ticker.ask));
        assert_eq!(quote, [bid.0, bid.1, ask.0, ask.1], "{:?}", self.key);
    }
}

fn in_units(one: &Instrument, level: Level) -> (i64, i64) {
    (level.price.0 * i64::from(one.price.step()), level.qty.0 * i64::from(one.qty.step()))
}

fn set(side: &mut BTreeMap<i64, i64>, level: &Text<'_>) {
    let (price, qty) = (units(level.price), units(level.qty));
    if qty == 0 {
        side.remove(&price);
    } else {
        side.insert(price, qty);
    }
}

/// A number of the wire in units of its last decimal: its digits, without the dot.
fn units(number: &RawValue) -> i64 {
    let digits: String = number.get().chars().filter(|&c| c != '.').collect();
    digits.parse().expect("a plain number of at most 15 digits")
}

fn check_trade(element: &Element<'_>) {
    assert!(element.trade_id.is_some() && !element.symbol.is_empty());
    let positive = |number: Option<&RawValue>| units(number.expect("a number")) > 0;
    assert!(positive(element.price) && positive(element.qty), "a trade of nothing");
}

fn check_candle(element: &Element<'_>) {
    let prices = [element.open, element.high, element.low, element.close];
    let [open, high, low, close] = prices.map(|number| units(number.expect("a price")));
    assert!(low <= open.min(close) && high >= open.max(close) && element.trades > Some(0));
}

/// The payload of a whole frame of ours.
fn payload(frame: &[u8]) -> &[u8] {
    assert_eq!(frame[0], 0x81, "a whole frame of text");
    let (start, len) = match frame[1] {
        126 => (4, usize::from(u16::from_be_bytes([frame[2], frame[3]]))),
        127 => (10, frame[2..10].iter().fold(0, |len, &byte| len << 8 | usize::from(byte))),
        len => (2, usize::from(len)),
    };
    assert_eq!(frame.len(), start + len, "a frame is as long as it says");
    &frame[start..]
}
