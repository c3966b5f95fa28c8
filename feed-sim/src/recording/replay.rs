//! Plays a tape: an exchange's recording as a venue.
//!
//! Owns the books as the exchange had them, with its window, and the count of their events. Never reads a file.
//! Steps come from [`Tape`] by [`Pace`]; each recorded update is exactly one event.

use model::{Epoch, FeedStatus, Level, Levels, Nanos, Price, Qty, Sequence, Side, Trade};

use super::ReplayConfig;
use super::pace::Pace;
use super::tape::{Step, StepBody, Tape};
use crate::book::Ladder;
use crate::market::{Market, is_price_speakable, is_qty_speakable};
use crate::venue::{Event, NEVER, Sink, Venue, tell_opening};

/// Most steps of one poll, so that a poll ends even when its sink is never full.
const STEPS_PER_POLL_MAX: usize = 16_384;

/// A recording that is played.
#[derive(Debug)]
pub(super) struct TapeVenue {
    tape: Tape,
    /// The state now; `tape.markets` stays as it was at the opening.
    markets: Vec<Market>,
    pace: Pace,
    looping: bool,
    epoch: Epoch,
    /// Next of `tape.steps`.
    position: usize,
    started: bool,
    /// Changes of the event at hand.
    bids: Vec<Level>,
    asks: Vec<Level>,
}

impl TapeVenue {
    pub(super) fn new(tape: Tape, config: &ReplayConfig) -> Self {
        let mut venue = Self {
            markets: tape.markets.clone(),
            tape,
            pace: Pace::new(config),
            looping: config.looping,
            epoch: config.epoch.unwrap_or(Epoch(1)),
            position: 0,
            started: false,
            bids: Vec::new(),
            asks: Vec::new(),
        };
        for (market, history) in venue.markets.iter_mut().zip(&venue.tape.history) {
            // History counts, and so does the snapshot once, so that the first one has a sequence from 1 on.
            market.seq = Sequence(history.len() as u64 + 1);
        }
        venue
    }

    fn start(&mut self, now: Nanos) {
        let recorded = self.tape.steps[0].at;
        self.started = true;
        self.pace.start(now, recorded);
        for (market, history) in self.markets.iter_mut().zip(&self.tape.history) {
            for (count, &trade) in (1..).zip(history) {
                let ts_event = self.pace.stamp_history(trade.ts_event);
                market.remember(Sequence(count), Trade { ts_event, ..trade });
            }
        }
    }

    /// Begins again with the opening books and a new epoch. Trades go on: their numbers never repeat.
    fn start_again(&mut self, now: Nanos, sink: &mut dyn Sink) {
        self.position = 0;
        self.epoch = Epoch(self.epoch.0 + 1);
        for (index, market) in self.markets.iter_mut().enumerate() {
            market.book.clone_from(&self.tape.markets[index].book);
            market.seq = Sequence(self.tape.history[index].len() as u64 + 1);
        }
        self.pace.start(now, self.tape.steps[0].at);
        tell_opening(self, now, sink);
    }

    /// The recorded time of the next step, or of the last one.
    fn recorded(&self) -> Nanos {
        let at = self.position.min(self.tape.steps.len() - 1);
        self.tape.steps[at].at
    }

    fn tell_step(&mut self, step: Step, ts: Nanos, sink: &mut dyn Sink) {
        match step.body {
            StepBody::Check(check) => sink.check(&self.markets[step.index].instrument, check),
            StepBody::Trade { price, qty, taker, ord_type } => {
                let market = &mut self.markets[step.index];
                let seq = market.count();
                market.trade_id += 1;
                let trade = Trade { id: market.trade_id, price, qty, taker, ord_type, ts_event: ts };
                market.remember(seq, trade);
                let event = Event::Trade { instrument: &market.instrument, seq, trade, replay: false };
                sink.event(self.epoch, ts, &event);
            }
            StepBody::Delta { start, bids, asks } => {
                self.apply(step.index, start, bids, asks);
                let market = &mut self.markets[step.index];
                let seq = market.count();
                let levels = Levels { bids: &self.bids, asks: &self.asks };
                sink.event(self.epoch, ts, &Event::BookDelta { instrument: &market.instrument, seq, levels });
            }
            StepBody::Snapshot { start, bids, asks } => {
                self.markets[step.index].book.clear();
                self.apply(step.index, start, bids, asks);
                self.markets[step.index].tell(self.epoch, false, ts, sink);
            }
        }
    }

    /// Changes the book and notes in `bids` and `asks` what a reader has to be told.
    fn apply(&mut self, index: usize, start: usize, bids: usize, asks: usize) {
        let market = &mut self.markets[index];
        let ask_start = start + bids;
        let recorded = [&self.tape.levels[start..ask_start], &self.tape.levels[ask_start..ask_start + asks]];
        let told = [&mut self.bids, &mut self.asks];
        for ((side, recorded), told) in Side::BOTH.into_iter().zip(recorded).zip(told) {
            told.clear();
            let ladder = market.book.side_mut(side);
            for &level in recorded {
                ladder.set(level);
                // A quantity that the protocol cannot say is told as gone, rather than left at an old value.
                let qty = if is_qty_speakable(&market.instrument, level.qty) { level.qty } else { Qty::ZERO };
                told.push(Level { qty, ..level });
            }
            drop_beyond(self.tape.window, ladder, told);
            told.retain(|level| is_price_speakable(&market.instrument, level.price));
        }
    }
}

/// Removes what fell out of the venue's window, and says so: its readers would truncate by themselves, ours don't.
fn drop_beyond(window: Option<usize>, ladder: &mut Ladder, told: &mut Vec<Level>) {
    let Some(window) = window else { return };
    while ladder.len() > window {
        if let Some(Level { price, .. }) = ladder.remove_worst() {
            note(told, Level { price, qty: Qty::ZERO });
        }
    }
}

/// Notes what a price has now; an update that both brought and dropped it tells it once.
fn note(told: &mut Vec<Level>, level: Level) {
    let Price(price) = level.price;
    match told.iter_mut().find(|known| known.price.0 == price) {
        Some(known) => *known = level,
        None => told.push(level),
    }
}

impl Venue for TapeVenue {
    fn epoch(&self) -> Epoch {
        self.epoch
    }

    fn symbols(&mut self) -> usize {
        self.markets.len()
    }

    fn find(&mut self, symbol: &str) -> Option<usize> {
        self.markets.iter().position(|market| &*market.instrument.symbol == symbol)
    }

    fn tell_status(&mut self, now: Nanos, sink: &mut dyn Sink) {
        if !self.started {
            self.start(now);
        }
        let ts = self.pace.stamp_now(self.recorded(), now);
        sink.event(self.epoch, ts, &Event::Status(FeedStatus::Online));
    }

    fn tell(&mut self, index: usize, announce: bool, now: Nanos, sink: &mut dyn Sink) {
        let ts = self.pace.stamp_now(self.recorded(), now);
        self.markets[index].tell(self.epoch, announce, ts, sink);
    }

    fn next_due(&self) -> Nanos {
        match self.tape.steps.get(self.position) {
            _ if !self.started => Nanos(0),
            Some(step) => self.pace.due(step.at),
            None if self.looping => Nanos(0),
            None => NEVER,
        }
    }

    fn poll(&mut self, now: Nanos, sink: &mut dyn Sink) {
        if !self.started {
            self.start(now);
        }
        for _ in 0..STEPS_PER_POLL_MAX {
            if sink.is_full() {
                return;
            }
            let Some(&step) = self.tape.steps.get(self.position) else {
                if self.looping {
                    self.start_again(now, sink);
                }
                return;
            };
            let is_check = matches!(step.body, StepBody::Check(_));
            if !is_check && self.pace.due(step.at) > now {
                return;
            }
            self.tell_step(step, self.pace.stamp(step.at, now), sink);
            self.position += 1;
            if !is_check {
                self.pace.count();
            }
        }
    }

    fn set_rate(&mut self, rate: f64, now: Nanos) {
        self.pace.set_rate(rate, now, self.recorded());
    }
}
