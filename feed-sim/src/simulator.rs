//! A venue with generated orders.
//!
//! Owns the symbols' books and the time of the next event. Deterministic: the same configuration on the same times
//! tells the same events. Never reads a clock: time comes with [`Venue::poll`], events go to a [`Sink`].

use std::collections::HashMap;

use model::{Epoch, FeedStatus, Levels, Nanos, Trade};

use crate::flow::{ArrivalTimes, Arrivals, Dice, Popularity};
use crate::instruments::listing;
use crate::market::Market;
use crate::orders::{MARKET_ORDERS, Orders, Outcome};
use crate::recording::OpenError;
use crate::venue::{Event, Sink, Venue};

/// Most symbols of a simulator; the gateway accepts no more instruments from a feed.
pub const SYMBOLS_MAX: usize = 10_000;

/// Least levels a side that a simulator keeps: with fewer there would be no room for trades.
pub const DEPTH_MIN: usize = 5;

/// Most levels a side that a simulator keeps; a snapshot of both must fit into a line.
pub const DEPTH_MAX: usize = 5_000;

/// Most events of one poll, so that a poll ends even when its sink is never full.
const EVENTS_PER_POLL_MAX: usize = 16_384;

/// When the next event happens while the market stands still: later than any time, yet not the end.
const STANDSTILL: Nanos = Nanos(u64::MAX - 1);

/// Chance, in thousandths, that an event of a burst is of the same symbol as the one before.
const STICKY: i64 = 700;

/// Settings of a simulator.
#[derive(Clone, Debug, PartialEq)]
pub struct SimulatorConfig {
    /// Number of symbols, 1 to [`SYMBOLS_MAX`]; default 20. Each costs memory for twice `depth` levels.
    pub symbols: usize,
    /// Lines per second over all symbols; default 2,000.
    pub rate: f64,
    /// How they are spread over time; default bursty.
    pub arrivals: Arrivals,
    /// Seed of all randomness; default 1.
    pub seed: u64,
    /// Levels a side that are kept, [`DEPTH_MIN`] to [`DEPTH_MAX`]; default 200. Large values make large snapshots.
    pub depth: usize,
    /// Exponent of the symbols' popularity; default 1.1, and 0 makes all equal.
    pub zipf: f64,
    /// Trades, in thousandths of the events that have the choice, 0 to 1,000; default 105, as on real markets.
    pub trades: i64,
    /// Generation of the feed; default 1. A restarted feed needs another one, since sequences start again.
    pub epoch: Epoch,
}

impl Default for SimulatorConfig {
    fn default() -> Self {
        Self {
            symbols: 20,
            rate: 2_000.0,
            arrivals: Arrivals::Bursty,
            seed: 1,
            depth: 200,
            zipf: 1.1,
            trades: MARKET_ORDERS,
            epoch: Epoch(1),
        }
    }
}

impl SimulatorConfig {
    fn check(&self) -> Result<(), OpenError> {
        let range = |name, value: String, ok: bool, expected| {
            if ok { Ok(()) } else { Err(OpenError::Setting { name, value, expected }) }
        };
        range("symbols", self.symbols.to_string(), (1..=SYMBOLS_MAX).contains(&self.symbols), "1 to 10000")?;
        range("depth", self.depth.to_string(), (DEPTH_MIN..=DEPTH_MAX).contains(&self.depth), "5 to 5000")?;
        range("rate", self.rate.to_string(), self.rate > 0.0 && self.rate <= 1e9, "above 0, up to 1e9")?;
        range("trades", self.trades.to_string(), (0..=1_000).contains(&self.trades), "0 to 1000")?;
        range("zipf", self.zipf.to_string(), (0.0..=10.0).contains(&self.zipf), "0 to 10")
    }
}

/// A venue with generated orders.
#[derive(Debug)]
pub struct Simulator {
    epoch: Epoch,
    markets: Vec<Market>,
    /// The tendencies of `markets`, by the same index.
    orders: Vec<Orders>,
    by_symbol: HashMap<Box<str>, usize>,
    dice: Dice,
    times: ArrivalTimes,
    popularity: Popularity,
    outcome: Outcome,
    /// When the next event happens; none before the first poll.
    due: Option<Nanos>,
    /// Whose it is.
    next: usize,
}

impl Simulator {
    /// A simulator with full books, before its first event.
    ///
    /// # Errors
    /// [`OpenError::Setting`] when a setting is out of range.
    pub fn new(config: SimulatorConfig) -> Result<Self, OpenError> {
        config.check()?;
        let reach = (config.depth as i64 * 8).max(1_000);
        let mut dice = Dice::new(config.seed, reach);
        let mut markets = Vec::with_capacity(config.symbols);
        let mut orders = Vec::with_capacity(config.symbols);
        for index in 0..config.symbols {
            let listing = listing(index);
            let mut market = Market::new(listing.instrument.clone());
            let mut own = Orders::start(&listing, config.depth, reach, &mut market.book, &mut dice);
            own.set_market_orders(config.trades);
            orders.push(own);
            markets.push(market);
        }
        let name = |(index, market): (usize, &Market)| (market.instrument.symbol.clone(), index);
        Ok(Self {
            epoch: config.epoch,
            by_symbol: markets.iter().enumerate().map(name).collect(),
            markets,
            orders,
            dice,
            times: ArrivalTimes::new(config.arrivals, config.rate),
            popularity: Popularity::zipf(config.symbols, config.zipf),
            outcome: Outcome::default(),
            due: None,
            next: 0,
        })
    }

    /// Draws time and symbol of the next event; the last one, at `last`, was `lines` lines.
    fn schedule(&mut self, last: Nanos, lines: usize) -> Nanos {
        let gap = self.times.next(lines, &mut self.dice);
        if !(gap.caused && self.dice.chance(STICKY)) {
            self.next = self.popularity.draw(&mut self.dice);
        }
        let due = last + Nanos(gap.nanos);
        self.due = Some(due);
        due
    }

    /// Lets the next event happen and returns how many lines it was.
    fn tell_event(&mut self, ts: Nanos, sink: &mut dyn Sink) -> usize {
        let market = &mut self.markets[self.next];
        let out = &mut self.outcome;
        self.orders[self.next].step(&mut market.book, &mut self.dice, out);
        if let Some((taker, ord_type)) = out.taker {
            for fill in &out.fills {
                let seq = market.count();
                market.trade_id += 1;
                let trade = Trade {
                    id: market.trade_id,
                    price: fill.price,
                    qty: fill.qty,
                    taker,
                    ord_type,
                    ts_event: ts,
                };
                market.remember(seq, trade);
                let event = Event::Trade { instrument: &market.instrument, seq, trade, replay: false };
                sink.event(self.epoch, ts, &event);
            }
        }
        let mut lines = out.fills.len();
        if !(out.bids.is_empty() && out.asks.is_empty()) {
            let seq = market.count();
            let levels = Levels { bids: &out.bids, asks: &out.asks };
            sink.event(self.epoch, ts, &Event::BookDelta { instrument: &market.instrument, seq, levels });
            lines += 1;
        }
        lines
    }
}

impl Venue for Simulator {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn symbols(&mut self) -> usize {
        self.markets.len()
    }

    fn find(&mut self, symbol: &str) -> Option<usize> {
        self.by_symbol.get(symbol).copied()
    }

    fn tell_status(&mut self, now: Nanos, sink: &mut dyn Sink) {
        sink.event(self.epoch, now, &Event::Status(FeedStatus::Online));
    }

    fn tell(&mut self, index: usize, announce: bool, now: Nanos, sink: &mut dyn Sink) {
        self.markets[index].tell(self.epoch, announce, now, sink);
    }

    fn next_due(&self) -> Nanos {
        self.due.unwrap_or_default()
    }

    fn poll(&mut self, now: Nanos, sink: &mut dyn Sink) {
        let mut due = self.due.unwrap_or_else(|| self.schedule(now, 1));
        for _ in 0..EVENTS_PER_POLL_MAX {
            if due > now || sink.is_full() {
                return;
            }
            let lines = self.tell_event(due, sink);
            due = self.schedule(due, lines);
        }
    }

    fn set_rate(&mut self, rate: f64, now: Nanos) {
        if rate > 0.0 {
            self.times.set_rate(rate);
            self.schedule(now, 1);
        } else {
            self.due = Some(STANDSTILL);
        }
    }
}
