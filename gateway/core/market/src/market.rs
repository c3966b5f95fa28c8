//! All instruments of the feed.
//!
//! Owns the state of each instrument and of the connection to the feed. Never does what concerns one
//! instrument only: that is its state's. Events come from the engine's batch, outputs go back to it.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;

use model::{
    Candle, DEPTHS, Epoch, Event, EventBatch, EventBody, FeedStatus, Instrument, InstrumentId, Nanos,
    Sequence, Side, Ticker, WindowDelta,
};

use crate::book::Book;
use crate::candle::Candles;
use crate::gap::{LineCounter, LinePlace, StaleReason};
use crate::instrument::InstrumentState;
use crate::output::{Desk, Output, Stamp};
use crate::stats::MarketStats;
use crate::tape::SeqTrade;

/// Most instruments that are kept; a number from a feed must not decide how much memory we take.
pub const INSTRUMENTS_MAX: usize = 65_536;

/// Most single requests that one [`Market::handle_timeout`] makes; beyond, it asks for all.
pub const ASKS_PER_TURN_MAX: usize = 16;

static NO_TRADES: VecDeque<SeqTrade> = VecDeque::new();

/// How much is kept, and how patient the market is.
#[derive(Clone, Copy, Debug)]
pub struct MarketLimits {
    /// Levels of one side of a book; default 50 000. An event that would exceed it makes its instrument stale.
    pub levels_per_side_max: usize,
    /// Trades kept per instrument; default 50.
    pub trades_kept: usize,
    /// Candles kept per instrument and interval, the running one included; default 24, at least 1.
    pub candles_kept: usize,
    /// Wait between requests for a snapshot that does not come; default 1 s.
    pub ask_again: Nanos,
}

impl Default for MarketLimits {
    fn default() -> Self {
        Self { levels_per_side_max: 50_000, trades_kept: 50, candles_kept: 24, ask_again: Nanos::SECOND }
    }
}

/// The state of all instruments of one feed.
#[derive(Debug)]
pub struct Market {
    /// By the number of the instrument; none where it was not announced. At most [`INSTRUMENTS_MAX`].
    instruments: Vec<Option<Box<InstrumentState>>>,
    /// Instruments that were announced.
    announced: usize,
    desk: Desk,
    lines: LineCounter,
    status: FeedStatus,
    /// Whether there is someone to ask for snapshots.
    connected: bool,
    /// When all were asked for last because lines were missing; our clock.
    asked_all_at: Option<Nanos>,
}

impl Market {
    /// A market without instruments.
    ///
    /// # Panics
    /// When no level or no candle may be kept, or ranks of levels do not fit their type.
    #[must_use]
    pub fn new(limits: MarketLimits) -> Self {
        assert!((1..=u32::MAX as usize / 2).contains(&limits.levels_per_side_max));
        assert!(limits.candles_kept >= 1, "the running candle is always kept");
        Self {
            instruments: Vec::new(),
            announced: 0,
            desk: Desk { limits, ..Desk::default() },
            lines: LineCounter::new(),
            status: FeedStatus::default(),
            connected: false,
            asked_all_at: None,
        }
    }

    /// Applies one event of the batch; outputs are then drained with [`Market::poll_output`].
    ///
    /// # Panics
    /// When outputs of an earlier input were not drained, or the event is not of the batch.
    pub fn apply(&mut self, event: &Event, batch: &EventBatch) {
        assert!(self.desk.outputs.is_empty(), "outputs are drained before the next event is applied");
        self.desk.changes.clear();
        self.desk.stats.events += 1;
        match self.lines.take(event.line) {
            LinePlace::Next => {}
            LinePlace::Repeated => {
                self.desk.stats.duplicate_line += 1;
                self.define_if_unknown(event);
                return;
            }
            LinePlace::AfterGap => self.handle_transport_gap(event.ts_recv),
        }
        match &event.body {
            EventBody::Instrument(id, definition) => self.define(*id, definition, event.ts_recv),
            EventBody::BookSnapshot { instrument, seq, levels } => {
                self.with(*instrument, *seq, event, |state, at, desk| {
                    state.apply_snapshot(at, batch.levels(*levels), desk);
                });
            }
            EventBody::BookDelta { instrument, seq, levels } => {
                self.with(*instrument, *seq, event, |state, at, desk| {
                    state.apply_delta(at, batch.levels(*levels), desk);
                });
            }
            EventBody::Trade { instrument, seq, trade, replay } => {
                self.with(*instrument, *seq, event, |state, at, desk| match replay {
                    true => state.apply_replay(at, *trade, desk),
                    false => state.apply_trade(at, *trade, desk),
                });
            }
            EventBody::Status(status) => self.set_status(*status),
            EventBody::Heartbeat => {}
        }
    }

    fn with(
        &mut self,
        instrument: InstrumentId,
        seq: Sequence,
        event: &Event,
        act: impl FnOnce(&mut InstrumentState, Stamp, &mut Desk),
    ) {
        let Event { epoch, ts_event, ts_recv, .. } = *event;
        match self.instruments.get_mut(instrument.index()) {
            Some(Some(state)) => {
                act(state, Stamp { instrument, epoch, seq, ts_event, ts_recv }, &mut self.desk);
            }
            _ => self.desk.stats.unknown_instrument += 1,
        }
    }

    /// An instrument that a repeated line announces has a number already, given by who decoded the line: those behind it cannot be told
    /// of before it is.
    fn define_if_unknown(&mut self, event: &Event) {
        if let EventBody::Instrument(id, definition) = &event.body
            && self.state(*id).is_none()
        {
            self.define(*id, definition, event.ts_recv);
        }
    }

    fn define(&mut self, id: InstrumentId, definition: &Arc<Instrument>, now: Nanos) {
        if id.index() >= INSTRUMENTS_MAX {
            self.desk.stats.unknown_instrument += 1;
            return;
        }
        if id.index() >= self.instruments.len() {
            self.instruments.resize_with(id.index() + 1, || None);
        }
        match &mut self.instruments[id.index()] {
            Some(state) if !state.accepts(definition) => {
                self.desk.stats.redefined += 1;
                return;
            }
            Some(state) if state.definition == *definition => return,
            Some(state) => state.definition = definition.clone(),
            vacant => {
                *vacant = Some(Box::new(InstrumentState::new(definition.clone(), now)));
                self.announced += 1;
            }
        }
        self.desk.outputs.push_back(Output::Instrument(id));
    }

    fn set_status(&mut self, status: FeedStatus) {
        if self.status != status {
            self.status = status;
            self.desk.outputs.push_back(Output::Status(status));
        }
    }

    /// A feed that loses every second line must not make us ask for everything on every line.
    fn handle_transport_gap(&mut self, now: Nanos) {
        self.desk.stats.transport_gaps += 1;
        let some_went_stale = self.go_stale_all(StaleReason::TransportGap);
        let asked_lately = self.asked_all_at.is_some_and(|at| now.since(at) < self.desk.limits.ask_again);
        if some_went_stale || !asked_lately {
            self.ask_for_all(now);
        }
    }

    /// The feed connection ended or fell silent: everything becomes stale.
    pub fn handle_disconnect(&mut self, _now: Nanos) {
        self.connected = false;
        self.go_stale_all(StaleReason::Disconnected);
    }

    /// A new feed connection: lines count from 1 again, and the feed tells every snapshot by itself.
    pub fn handle_connect(&mut self, now: Nanos) {
        // Whatever happened between the connections is not known.
        self.go_stale_all(StaleReason::Disconnected);
        self.lines = LineCounter::new();
        self.connected = true;
        self.asked_all_at = None;
        self.expect_all(now);
    }

    /// Asks again for snapshots that did not come within [`MarketLimits::ask_again`].
    ///
    /// While the answers to a request for all are still coming in, those not yet there are not overdue.
    pub fn handle_timeout(&mut self, now: Nanos) {
        if !self.connected || self.stale_count() == 0 {
            return;
        }
        let Desk { limits, progress_at, .. } = self.desk;
        let is_due = |state: &InstrumentState| {
            let progress_at = if state.track.asked_for_all { progress_at } else { Nanos::default() };
            state.track.is_stale() && now.since(state.track.asked_at.max(progress_at)) >= limits.ask_again
        };
        if self.instruments.iter().flatten().filter(|state| is_due(state)).count() > ASKS_PER_TURN_MAX {
            self.ask_for_all(now);
            return;
        }
        for (index, state) in self.instruments.iter_mut().enumerate() {
            let Some(state) = state.as_mut().filter(|state| is_due(state)) else { continue };
            state.track.asked_at = now;
            state.track.asked_for_all = false;
            self.desk.outputs.push_back(Output::Ask(Some(InstrumentId(index as u32))));
        }
    }

    fn ask_for_all(&mut self, now: Nanos) {
        self.asked_all_at = Some(now);
        self.expect_all(now);
        self.desk.outputs.push_back(Output::Ask(None));
    }

    /// Snapshots of all stale instruments should be on their way.
    fn expect_all(&mut self, now: Nanos) {
        for state in self.instruments.iter_mut().flatten().filter(|state| state.track.is_stale()) {
            state.track.asked_at = now;
            state.track.asked_for_all = true;
        }
    }

    fn go_stale_all(&mut self, reason: StaleReason) -> bool {
        let fresh = self.desk.fresh;
        for (index, state) in self.instruments.iter_mut().enumerate() {
            if let Some(state) = state {
                state.go_stale(InstrumentId(index as u32), reason, &mut self.desk);
            }
        }
        fresh > 0
    }

    /// The next thing that others must know; drained until there is none.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.desk.outputs.pop_front()
    }

    /// An instrument as the feed announced it last.
    #[must_use]
    pub fn instrument(&self, id: InstrumentId) -> Option<&Arc<Instrument>> {
        self.state(id).map(|state| &state.definition)
    }

    /// How many instruments were announced.
    #[must_use]
    pub const fn instrument_count(&self) -> usize {
        self.announced
    }

    /// All announced instruments in order of their numbers.
    pub fn instruments(&self) -> impl Iterator<Item = (InstrumentId, &Arc<Instrument>)> {
        self.instruments.iter().enumerate().filter_map(|(index, state)| {
            state.as_ref().map(|state| (InstrumentId(index as u32), &state.definition))
        })
    }

    /// Whether an instrument's data may not be what the venue has; so it is before its first snapshot.
    #[must_use]
    pub fn is_stale(&self, id: InstrumentId) -> bool {
        self.stale_reason(id).is_some()
    }

    /// Why an instrument is stale; none while it is fresh.
    #[must_use]
    pub fn stale_reason(&self, id: InstrumentId) -> Option<StaleReason> {
        self.state(id).map_or(Some(StaleReason::Never), |state| state.track.stale())
    }

    /// How many announced instruments are stale now.
    #[must_use]
    pub const fn stale_count(&self) -> usize {
        self.announced - self.desk.fresh
    }

    /// The book as clients know it, stale or fresh; none before the first snapshot.
    #[must_use]
    pub fn book(&self, id: InstrumentId) -> Option<&Book> {
        self.state(id).filter(|state| state.track.has_book()).map(|state| &state.book)
    }

    /// The last applied event of an instrument; zeros before the first snapshot.
    #[must_use]
    pub fn head(&self, id: InstrumentId) -> (Epoch, Sequence) {
        self.state(id).map(|state| state.track.head()).unwrap_or_default()
    }

    /// Best prices now and the figures of the last 24 hours.
    #[must_use]
    pub fn ticker(&self, id: InstrumentId) -> Ticker {
        self.state(id).map(InstrumentState::ticker).unwrap_or_default()
    }

    /// The latest trades, oldest first.
    pub fn trades(&self, id: InstrumentId) -> impl DoubleEndedIterator<Item = &SeqTrade> + ExactSizeIterator {
        self.state(id).map_or(&NO_TRADES, |state| state.tape.trades()).iter()
    }

    /// The latest candles of one of [`model::INTERVALS_MIN`], oldest first, the running one last.
    pub fn candles(
        &self,
        id: InstrumentId,
        interval_index: u8,
    ) -> impl DoubleEndedIterator<Item = &Candle> + ExactSizeIterator {
        Candles::of(self.state(id).map(|state| &state.candles), interval_index.into())
    }

    /// What the last applied event changed in one of [`DEPTHS`]; nothing when it did not change this book.
    ///
    /// # Panics
    /// When there is no such depth.
    pub fn window_delta(&self, id: InstrumentId, depth_index: u8, out: &mut WindowDelta) {
        let depth = DEPTHS[usize::from(depth_index)].into();
        match self.book(id) {
            Some(book) if self.desk.changes.instrument == Some(id) => {
                self.desk.changes.window_delta(book, depth, out);
            }
            _ => out.clear(),
        }
    }

    /// The best rank of a side from which on the last applied event made the levels of a book others; `None` when it left them as
    /// they were.
    #[must_use]
    pub fn changed_from(&self, id: InstrumentId, side: Side) -> Option<usize> {
        let changes = &self.desk.changes;
        if changes.instrument == Some(id) { changes.changed_from(side) } else { None }
    }

    /// The venue's state as it was told last.
    #[must_use]
    pub const fn status(&self) -> FeedStatus {
        self.status
    }

    /// What was counted since the start.
    #[must_use]
    pub const fn stats(&self) -> &MarketStats {
        &self.desk.stats
    }

    /// Reads where the next events of some instruments will be applied, and does nothing with it.
    ///
    /// With thousands of instruments the state of the next one is in no cache. Called for some at a time, before their events are
    /// applied, this has their memory fetched side by side instead of one after the other.
    pub fn warm(&self, ids: impl Iterator<Item = InstrumentId> + Clone) {
        let states = || ids.clone().filter_map(|id| self.state(id));
        // What leads on is fetched before what it leads to.
        for state in states() {
            black_box(state.track.head());
        }
        states().for_each(InstrumentState::warm);
    }

    fn state(&self, id: InstrumentId) -> Option<&InstrumentState> {
        self.instruments.get(id.index())?.as_deref()
    }
}
