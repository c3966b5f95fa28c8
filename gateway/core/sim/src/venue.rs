//! The simulated venue: true books, and the lines of one faulty connection to the gateway.
//!
//! Knows nothing of the market that reads it. What it loses or garbles on the way it still did: its books are the truth.

use std::collections::BTreeMap;
use std::sync::Arc;

use model::{
    Epoch, FeedStatus, Instrument, Level, Levels, Nanos, OrdType, PairStatus, Price, Qty, Scale, Sequence,
    Side, Trade,
};
use wire::feed::{FeedRequest, FeedWriter};

use crate::rng::Rng;

/// Trades told again to a new reader.
const REPLAYED: usize = 20;

/// One instrument at the venue.
#[derive(Debug)]
pub(crate) struct Listing {
    pub(crate) instrument: Arc<Instrument>,
    pub(crate) bids: BTreeMap<i64, i64>,
    pub(crate) asks: BTreeMap<i64, i64>,
    pub(crate) seq: Sequence,
    /// When each event of this epoch happened; the first is that of sequence 1.
    times: Vec<Nanos>,
    trades: Vec<(Sequence, Trade)>,
    /// How far from the other side's best a level may appear.
    reach: u64,
}

/// What may go wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Arrives,
    Lost,
    Doubled,
    Garbled,
}

/// The venue and the one connection to it.
#[derive(Debug)]
pub(crate) struct Venue {
    pub(crate) listings: Vec<Listing>,
    writer: FeedWriter,
    /// Lines on their way, each whole.
    pub(crate) lines: Vec<Vec<u8>>,
    /// One line in this many suffers; 0 is none.
    pub(crate) trouble: u64,
}

impl Venue {
    pub(crate) fn new(symbols: usize, levels: i64, trouble: u64) -> Self {
        let listings = (0..symbols).map(|index| Listing::new(index, levels)).collect();
        Self { listings, writer: FeedWriter::new(Epoch(1)), lines: Vec::new(), trouble }
    }

    /// The generation that it is in.
    pub(crate) const fn epoch(&self) -> Epoch {
        self.writer.epoch()
    }

    /// A new connection: everything is told from the beginning.
    pub(crate) fn connect(&mut self, now: Nanos) {
        self.writer = FeedWriter::new(self.writer.epoch());
        self.lines.clear();
        self.tell(|writer, out| writer.status(now, FeedStatus::Online, out));
        self.tell_all(now);
    }

    /// The venue starts again: another epoch, sequences from 1, books and trades as they were.
    pub(crate) fn restart(&mut self, now: Nanos) {
        self.writer.set_epoch(Epoch(self.writer.epoch().0 + 1));
        for listing in &mut self.listings {
            listing.seq = Sequence(0);
            listing.trades.clear();
            listing.times.clear();
        }
        self.connect(now);
    }

    pub(crate) fn answer(&mut self, request: &FeedRequest, now: Nanos) {
        let FeedRequest::Snapshot(symbol) = request;
        match symbol {
            None => self.tell_all(now),
            Some(symbol) => {
                let index = self.listings.iter().position(|one| one.instrument.symbol == *symbol);
                if let Some(index) = index {
                    self.tell_listing(index, now, false);
                }
            }
        }
    }

    fn tell_all(&mut self, now: Nanos) {
        for index in 0..self.listings.len() {
            self.tell_listing(index, now, true);
        }
    }

    fn tell(&mut self, write: impl FnOnce(&mut FeedWriter, &mut Vec<u8>)) {
        let mut line = Vec::new();
        write(&mut self.writer, &mut line);
        line.pop();
        self.lines.push(line);
    }

    fn tell_listing(&mut self, index: usize, now: Nanos, announce: bool) {
        let one = &self.listings[index];
        let instrument = Arc::clone(&one.instrument);
        let trades: Vec<_> = one.trades.iter().rev().take(REPLAYED).rev().copied().collect();
        let (bids, asks, seq) = (one.levels(Side::Bid), one.levels(Side::Ask), one.seq);
        if announce {
            self.tell(|writer, out| writer.instrument(now, &instrument, out));
        }
        for (seq, trade) in trades {
            self.tell(|writer, out| writer.trade(trade.ts_event, &instrument, seq, &trade, true, out));
        }
        let levels = Levels { bids: &bids, asks: &asks };
        self.tell(|writer, out| writer.book_snapshot(now, &instrument, seq, levels, out));
    }

    /// Something happens: a few levels change, or a trade takes from the best of a side.
    pub(crate) fn happen(&mut self, rng: &mut Rng, now: Nanos) {
        let index = rng.below(self.listings.len() as u64) as usize;
        let fate = self.fate(rng);
        let one = &mut self.listings[index];
        one.seq = one.seq.next();
        one.times.push(now);
        let (instrument, seq) = (Arc::clone(&one.instrument), one.seq);
        if rng.one_in(5) {
            let trade = one.trade(rng, now);
            self.send(fate, rng, |writer, out| writer.trade(now, &instrument, seq, &trade, false, out));
        } else {
            let (bids, asks) = one.change(rng);
            let levels = Levels { bids: &bids, asks: &asks };
            self.send(fate, rng, |writer, out| writer.book_delta(now, &instrument, seq, levels, out));
        }
    }

    /// A trade of everything, so that whoever takes trades or candles has something new.
    pub(crate) fn trade_everything(&mut self, rng: &mut Rng, now: Nanos) {
        for index in 0..self.listings.len() {
            let one = &mut self.listings[index];
            one.seq = one.seq.next();
            one.times.push(now);
            let (instrument, seq) = (Arc::clone(&one.instrument), one.seq);
            let trade = one.trade(rng, now);
            self.tell(|writer, out| writer.trade(now, &instrument, seq, &trade, false, out));
        }
    }

    const fn fate(&self, rng: &mut Rng) -> Fate {
        if self.trouble == 0 || !rng.one_in(self.trouble) {
            return Fate::Arrives;
        }
        match rng.below(3) {
            0 => Fate::Lost,
            1 => Fate::Doubled,
            _ => Fate::Garbled,
        }
    }

    fn send(&mut self, fate: Fate, rng: &mut Rng, write: impl Fn(&mut FeedWriter, &mut Vec<u8>)) {
        match fate {
            Fate::Arrives => self.tell(write),
            Fate::Lost => {
                self.tell(write);
                self.lines.pop();
            }
            Fate::Doubled => {
                self.tell(&write);
                self.tell(write);
            }
            Fate::Garbled => {
                self.tell(write);
                if let Some(line) = self.lines.last_mut() {
                    let at = rng.below(line.len() as u64) as usize;
                    line.truncate(at);
                }
            }
        }
    }
}

impl Listing {
    fn new(index: usize, levels: i64) -> Self {
        let (price, qty) = [(1, 8), (5, 2), (2, 0), (8, 5)][index % 4];
        let instrument = Instrument {
            symbol: format!("S{index}/USD").into(),
            status: PairStatus::Online,
            price: Scale::new(price),
            qty: Scale::new(qty),
            qty_min: Qty(1),
            cost_decimals: 5,
            cost_min: rust_decimal::Decimal::ONE,
        };
        let mut one = Self {
            instrument: Arc::new(instrument),
            bids: BTreeMap::new(),
            asks: BTreeMap::new(),
            seq: Sequence(0),
            times: Vec::new(),
            trades: Vec::new(),
            reach: 2 * levels as u64 + 2,
        };
        for distance in 1..=levels {
            one.bids.insert(1_000 - distance, 10 * distance);
            one.asks.insert(1_000 + distance, 10 * distance);
        }
        one
    }

    fn levels(&self, side: Side) -> Vec<Level> {
        let level = |(&price, &qty): (&i64, &i64)| Level { price: Price(price), qty: Qty(qty) };
        match side {
            Side::Bid => self.bids.iter().rev().map(level).collect(),
            Side::Ask => self.asks.iter().map(level).collect(),
        }
    }

    /// Number of the last trade of this epoch.
    pub(crate) fn last_trade(&self) -> Option<u64> {
        self.trades.last().map(|(_, trade)| trade.id)
    }

    /// When the first event after a sequence of this epoch happened.
    pub(crate) fn time_after(&self, seq: u64) -> Option<Nanos> {
        self.times.get(seq as usize).copied()
    }

    /// The best levels of a side, as a reader of that depth should have them.
    pub(crate) fn top(&self, side: Side, depth: usize) -> Vec<(i64, i64)> {
        self.levels(side).into_iter().take(depth).map(|level| (level.price.0, level.qty.0)).collect()
    }

    /// Changes up to four levels near the touch, without crossing: removals, new quantities, new levels, also deep ones.
    fn change(&mut self, rng: &mut Rng) -> (Vec<Level>, Vec<Level>) {
        let mut changed = (Vec::new(), Vec::new());
        for _ in 0..=rng.below(4) {
            let is_bid = rng.one_in(2);
            let best = if is_bid { self.asks.keys().next() } else { self.bids.keys().next_back() };
            // One away from the other side's best, or from the middle when that side is empty.
            let limit = best.copied().unwrap_or(1_000);
            let reach = if rng.one_in(4) { self.reach } else { 8 };
            let distance = 1 + rng.below(reach) as i64;
            let price = (if is_bid { limit - distance } else { limit + distance }).max(1);
            let qty = if rng.one_in(3) { 0 } else { 1 + rng.below(900) as i64 };
            let side = if is_bid { &mut self.bids } else { &mut self.asks };
            if qty == 0 {
                side.remove(&price);
            } else {
                side.insert(price, qty);
            }
            let level = Level { price: Price(price), qty: Qty(qty) };
            if is_bid { changed.0.push(level) } else { changed.1.push(level) }
        }
        changed
    }

    fn trade(&mut self, rng: &mut Rng, now: Nanos) -> Trade {
        let taker = if rng.one_in(2) { Side::Bid } else { Side::Ask };
        let id = self.trades.last().map_or(0, |(_, trade)| trade.id) + 1;
        let (price, qty) = (Price(990 + rng.below(20) as i64), Qty(1 + rng.below(99) as i64));
        let trade = Trade { id, price, qty, taker, ord_type: OrdType::Market, ts_event: now };
        self.trades.push((self.seq, trade));
        trade
    }
}
