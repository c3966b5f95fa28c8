//! What every venue keeps of one symbol: instrument, book, sequence, latest trades.
//!
//! Owns the state that a snapshot tells. Never decides what happens next: that is the simulator's or the recording's.

use std::collections::VecDeque;

use model::{Epoch, Instrument, Level, Levels, Nanos, Price, Qty, Sequence, Side, Trade};

use crate::book::Book;
use crate::venue::{Event, Sink};

/// Most trades that are told again before a snapshot.
pub(crate) const RECENT_TRADES_MAX: usize = 50;

/// State of one symbol.
#[derive(Clone, Debug)]
pub(crate) struct Market {
    pub(crate) instrument: Instrument,
    pub(crate) book: Book,
    /// Position of the last event.
    pub(crate) seq: Sequence,
    /// Number of the last trade.
    pub(crate) trade_id: u64,
    /// The latest trades, oldest first; at most [`RECENT_TRADES_MAX`].
    recent: VecDeque<(Sequence, Trade)>,
}

impl Market {
    pub(crate) fn new(instrument: Instrument) -> Self {
        Self { instrument, book: Book::default(), seq: Sequence(0), trade_id: 0, recent: VecDeque::new() }
    }

    /// Counts an event and returns its position.
    pub(crate) const fn count(&mut self) -> Sequence {
        self.seq = self.seq.next();
        self.seq
    }

    pub(crate) fn remember(&mut self, seq: Sequence, trade: Trade) {
        if self.recent.len() == RECENT_TRADES_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back((seq, trade));
    }

    /// Tells the instrument (if `announce`), the latest trades, and the book.
    pub(crate) fn tell(&self, epoch: Epoch, announce: bool, now: Nanos, sink: &mut dyn Sink) {
        let instrument = &self.instrument;
        if announce {
            sink.event(epoch, now, &Event::Instrument(instrument));
        }
        for &(seq, trade) in &self.recent {
            sink.event(epoch, trade.ts_event, &Event::Trade { instrument, seq, trade, replay: true });
        }
        let [bids, asks] = Side::BOTH.map(|side| self.levels(side));
        let levels = Levels { bids: &bids, asks: &asks };
        sink.event(epoch, now, &Event::BookSnapshot { instrument, seq: self.seq, levels });
    }

    fn levels(&self, side: Side) -> Vec<Level> {
        let one = &self.instrument;
        let is_speakable = |l: &Level| is_price_speakable(one, l.price) && is_qty_speakable(one, l.qty);
        self.book.side(side).best_first().filter(is_speakable).collect()
    }
}

/// Whether a price fits the protocol, which allows 15 digits. In Kraken's recording a few far from the market don't.
pub(crate) const fn is_price_speakable(instrument: &Instrument, price: Price) -> bool {
    instrument.price.units(price.0) < UNITS_END
}

/// Whether a quantity fits the protocol.
pub(crate) const fn is_qty_speakable(instrument: &Instrument, qty: Qty) -> bool {
    instrument.qty.units(qty.0) < UNITS_END
}

const UNITS_END: i64 = 10_i64.pow(model::SIGNIFICANT_DIGITS_MAX);
