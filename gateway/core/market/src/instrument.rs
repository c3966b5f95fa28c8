//! The state of one instrument, and what each kind of event does to it.
//!
//! Owns book, figures, trades, candles and track of one instrument. Never looks at others or at lines.
//! The market hands it events that concern it; what follows goes to the [`Desk`].

use std::hint::black_box;
use std::sync::Arc;

use model::{Instrument, InstrumentId, Level, Levels, Nanos, Ticker, Trade};

use crate::book::{Book, BookRefusal};
use crate::candle::Candles;
use crate::gap::{Place, SnapshotPlace, StaleReason, Track};
use crate::output::{Desk, Output, Stamp};
use crate::tape::{SeqTrade, Taken, Tape};
use crate::ticker::DayFigures;

/// Everything known of one instrument.
#[derive(Debug)]
pub(crate) struct InstrumentState {
    pub(crate) definition: Arc<Instrument>,
    pub(crate) track: Track,
    pub(crate) book: Book,
    pub(crate) tape: Tape,
    pub(crate) candles: Candles,
    figures: DayFigures,
}

impl InstrumentState {
    pub(crate) fn new(definition: Arc<Instrument>, now: Nanos) -> Self {
        Self {
            definition,
            track: Track::new(now),
            book: Book::new(),
            tape: Tape::new(),
            candles: Candles::default(),
            figures: DayFigures::default(),
        }
    }

    /// See [`crate::Market::warm`].
    pub(crate) fn warm(&self) {
        black_box((self.track.is_stale(), self.book.warm(), self.definition.price));
    }

    pub(crate) fn ticker(&self) -> Ticker {
        self.figures.ticker(&self.book, self.definition.price.step())
    }

    /// Whether a definition is of the same instrument counted in the same steps.
    pub(crate) fn accepts(&self, definition: &Instrument) -> bool {
        let known = &*self.definition;
        (&known.symbol, known.price, known.qty) == (&definition.symbol, definition.price, definition.qty)
    }

    /// Makes a fresh instrument stale and asks for nothing; says whether it was fresh.
    pub(crate) fn go_stale(&mut self, id: InstrumentId, reason: StaleReason, desk: &mut Desk) -> bool {
        let was_fresh = self.track.go_stale(reason);
        if was_fresh {
            desk.fresh -= 1;
            desk.outputs.push_back(Output::Stale { instrument: id, reason });
        }
        was_fresh
    }

    fn go_stale_and_ask(&mut self, at: Stamp, reason: StaleReason, desk: &mut Desk) {
        if self.go_stale(at.instrument, reason, desk) {
            self.track.asked_at = at.ts_recv;
            self.track.asked_for_all = false;
            desk.outputs.push_back(Output::Ask(Some(at.instrument)));
        }
    }

    pub(crate) fn apply_delta(&mut self, at: Stamp, levels: Levels<'_>, desk: &mut Desk) {
        if self.track.is_stale() {
            desk.stats.stale_delta += 1;
        } else if self.check_place(at, desk) {
            let bests = self.book.bests();
            match self.book.apply_delta(levels, desk.limits.levels_per_side_max, &mut desk.changes) {
                Ok(()) => {
                    desk.stats.book_events += 1;
                    self.track.advance(at.epoch, at.seq);
                    self.tell_book(at, bests, desk);
                }
                Err(refusal) => self.refuse(at, refusal, desk),
            }
        }
    }

    /// Judges the place of an event of a fresh instrument; says whether it is the next one.
    fn check_place(&mut self, at: Stamp, desk: &mut Desk) -> bool {
        match self.track.place(at.epoch, at.seq) {
            Place::Next => return true,
            Place::Old => desk.stats.old_sequence += 1,
            Place::AfterGap => {
                desk.stats.sequence_gaps += 1;
                self.go_stale_and_ask(at, StaleReason::SequenceGap, desk);
            }
            Place::OtherEpoch => {
                desk.stats.new_epoch += 1;
                self.go_stale_and_ask(at, StaleReason::NewEpoch, desk);
            }
        }
        false
    }

    pub(crate) fn apply_snapshot(&mut self, at: Stamp, levels: Levels<'_>, desk: &mut Desk) {
        match self.track.snapshot_place(at.epoch, at.seq) {
            SnapshotPlace::Known => return,
            SnapshotPlace::Old => {
                desk.stats.old_snapshot += 1;
                return;
            }
            SnapshotPlace::Useful => {}
        }
        if let Err(refusal) = desk.snapshot.load(levels, desk.limits.levels_per_side_max) {
            self.refuse(at, refusal, desk);
            return;
        }
        self.book.compare(&desk.snapshot, &mut desk.changes);
        if !desk.changes.is_empty() && self.track.has_told(at.epoch, at.seq) {
            // Two different books at one sequence: clients cannot be told of the second. The next event
            // of the venue gives a snapshot that they can be told of.
            desk.stats.old_snapshot += 1;
            desk.changes.clear();
            return;
        }
        self.adopt(at, desk);
    }

    /// Becomes the snapshot on the desk, which was compared with the book.
    fn adopt(&mut self, at: Stamp, desk: &mut Desk) {
        let bests = self.book.bests();
        self.book.replace(&desk.snapshot, &mut desk.changes);
        desk.stats.snapshots += 1;
        let was_stale = self.track.adopt(at.epoch, at.seq);
        self.tell_book(at, bests, desk);
        if was_stale {
            desk.fresh += 1;
            desk.outputs.push_back(Output::Fresh { instrument: at.instrument });
            if self.track.asked_for_all {
                desk.progress_at = desk.progress_at.max(at.ts_recv);
            }
        }
    }

    /// The book may have changed from one that had these `bests`.
    fn tell_book(&mut self, at: Stamp, bests: [Option<Level>; 2], desk: &mut Desk) {
        if desk.changes.is_empty() {
            return;
        }
        let Stamp { instrument, epoch, seq, ts_event, .. } = at;
        desk.changes.instrument = Some(instrument);
        self.track.note_book();
        desk.outputs.push_back(Output::Book { instrument, seq, epoch, ts_event });
        if self.book.bests() != bests {
            self.figures.advance(ts_event);
            desk.outputs.push_back(Output::Bbo { instrument, seq, epoch, ts_event });
        }
    }

    fn refuse(&mut self, at: Stamp, refusal: BookRefusal, desk: &mut Desk) {
        let reason = match refusal {
            BookRefusal::Crossed => {
                desk.stats.crossed += 1;
                StaleReason::Crossed
            }
            BookRefusal::Limit => {
                desk.stats.levels_limit += 1;
                StaleReason::Limit
            }
        };
        self.go_stale_and_ask(at, reason, desk);
    }

    /// A trade as it happens. One that reveals a gap is a fact all the same.
    pub(crate) fn apply_trade(&mut self, at: Stamp, trade: Trade, desk: &mut Desk) {
        if !self.track.is_stale() {
            if self.check_place(at, desk) {
                self.track.advance(at.epoch, at.seq);
            } else if !self.track.is_stale() {
                return;
            }
        }
        if self.record(at, trade, false, desk) {
            self.tell_trade(at, trade, desk);
        }
    }

    /// A trade told again. It is news only where clients followed this epoch and missed it.
    pub(crate) fn apply_replay(&mut self, at: Stamp, trade: Trade, desk: &mut Desk) {
        if self.record(at, trade, true, desk) && self.track.knows_epoch(at.epoch) {
            self.tell_trade(at, trade, desk);
        }
    }

    fn tell_trade(&mut self, at: Stamp, trade: Trade, desk: &mut Desk) {
        let Stamp { instrument, epoch, seq, .. } = at;
        self.tape.publish(epoch, seq);
        desk.outputs.push_back(Output::Trade { instrument, seq, epoch, trade });
    }

    fn record(&mut self, at: Stamp, trade: Trade, replay: bool, desk: &mut Desk) -> bool {
        let one = SeqTrade { seq: at.seq, epoch: at.epoch, trade };
        let taken = self.tape.take(one, replay, desk.limits.trades_kept);
        if taken == Taken::New {
            desk.stats.trades += 1;
            let in_day = self.figures.record(&trade);
            let step = self.definition.price.step();
            let in_candles = self.candles.record(&trade, step, desk.limits.candles_kept);
            desk.stats.late_trade += u64::from(!(in_day && in_candles));
            return true;
        }
        desk.stats.repeated_trade += 1;
        if taken == Taken::ToldAgain {
            // A trade that we had missed may just have been told before this one.
            self.figures.set_last(trade.price);
            self.candles.set_close(&trade);
        }
        false
    }
}
