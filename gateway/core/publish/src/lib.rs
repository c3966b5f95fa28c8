//! The step between market and fan-out: turns changes of the market into entries.
//!
//! Each change is encoded and framed once per stream that somebody wants, and copied to the batches of the shards that want it. Owns
//! who wants what and where each stream stands; sends nothing, keeps no book and looks at no clock: what a batch is part of (a
//! lane with a thread behind it, or a step of the simulator) is the caller's.
#![forbid(unsafe_code)]

use std::hint::black_box;
use std::sync::Arc;

use fanout::planted::{self, Bug};
use fanout::{Batch, ChangeSpan, Entry, EntryData, FrameSpan, Item, Join, Row};
use market::{Market, Output};
use model::{
    Channel, DEPTHS, Epoch, FeedStatus, INTERVALS_MIN, Instrument, InstrumentId, Level, Nanos, PairStatus,
    Sequence, Side, StreamId, StreamKey, Trade, Trigger, WindowChange, WindowDelta,
};
use wire::checksum::{ChecksumText, checksum};
use wire::feed::FeedRequest;
use wire::text::{Clockface, TimeText};
use wire::update::{self, Link};
use wire::ws::{Opcode, write_frame, write_text_frame};

/// Who wants a stream, and where it stands.
#[derive(Clone, Copy, Debug, Default)]
struct StreamState {
    /// One bit per shard.
    shards: u64,
    epoch: Epoch,
    /// Sequence of the last entry, or of the instrument when the first shard joined.
    last: Sequence,
}

/// What an entry says, on its way into the batches.
#[derive(Clone, Copy, Debug)]
enum Change {
    /// The changes at hand, and the checksum of the book after them.
    Book(u32),
    Row(Row),
    Pair(InstrumentId),
}

/// What an output of the market leaves to its owner, beside what was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The shards were told of an instrument; this is its status now.
    Pair(InstrumentId, PairStatus),
    /// The venue's state may have changed: see [`Publisher::status`].
    Status,
    /// The feed is to be asked.
    Ask(FeedRequest),
}

/// The engine's side of all streams.
#[derive(Debug)]
pub struct Publisher<Lane> {
    lanes: Vec<Lane>,
    /// By [`StreamId`].
    streams: Vec<StreamState>,
    /// Entries published by channel.
    published: [u64; Channel::ALL.len()],
    /// The venue's state that shards were told last.
    status: FeedStatus,
    /// By [`InstrumentId`]; none of books that nobody wanted yet.
    sums: Vec<Option<Box<ChecksumText>>>,
    clockface: Clockface,
    payload: Vec<u8>,
    frame: Vec<u8>,
    delta: WindowDelta,
}

impl<Lane: AsMut<Batch>> Publisher<Lane> {
    /// A publisher to some shards, each the batch that is being filled for it.
    ///
    /// # Panics
    /// With more than 64 shards.
    #[must_use]
    pub fn new(lanes: Vec<Lane>) -> Self {
        assert!(lanes.len() <= 64, "shards are bits of a word; the settings allow no more");
        Self {
            lanes,
            streams: Vec::new(),
            published: [0; Channel::ALL.len()],
            status: FeedStatus::Maintenance,
            sums: Vec::new(),
            clockface: Clockface::default(),
            payload: Vec::new(),
            frame: Vec::new(),
            delta: WindowDelta::default(),
        }
    }

    /// The lanes, in the order of their shards.
    pub fn lanes(&mut self) -> &mut [Lane] {
        &mut self.lanes
    }

    /// Entries published by channel, in the order of [`Channel::ALL`].
    #[must_use]
    pub const fn published(&self) -> [u64; Channel::ALL.len()] {
        self.published
    }

    /// Publishes an output of the market and says what its owner has to do beside that.
    pub fn handle_output(&mut self, output: Output, market: &Market) -> Option<News> {
        match output {
            Output::Book { instrument, seq, epoch, ts_event } => {
                self.book(instrument, seq, epoch, ts_event, market);
                None
            }
            Output::Bbo { instrument, seq, epoch, ts_event } => {
                self.bbo(instrument, seq, epoch, ts_event, market);
                None
            }
            Output::Trade { instrument, seq, epoch, trade } => {
                self.trade(instrument, seq, epoch, &trade, market);
                None
            }
            Output::Instrument(id) => self.pair(id, market),
            Output::Stale { instrument, .. } => self.staleness(instrument, true, market),
            Output::Fresh { instrument } => self.staleness(instrument, false, market),
            Output::Status(_) => Some(News::Status),
            Output::Ask(id) => {
                let symbol = id.and_then(|id| market.instrument(id)).map(|one| one.symbol.clone());
                Some(News::Ask(FeedRequest::Snapshot(symbol)))
            }
        }
    }

    /// Tells every shard the venue's state; `false` when that is what they know.
    pub fn status(&mut self, status: FeedStatus) -> bool {
        let is_news = status != self.status;
        if is_news {
            self.status = status;
            self.tell(&Item::Status(status));
        }
        is_news
    }

    /// Tells every shard.
    fn tell(&mut self, item: &Item) {
        for lane in &mut self.lanes {
            lane.as_mut().items.push(item.clone());
        }
    }

    /// Reads where the next changes of some books will be published: see [`Market::warm`].
    pub fn warm(&self, ids: impl Iterator<Item = InstrumentId> + Clone) {
        for id in ids.clone() {
            black_box(self.sums.get(id.index()).map(Option::is_some));
        }
        for id in ids {
            // The states of all depths lie side by side in two or three cache lines.
            let wanted = [0, 2, 4].map(|depth| {
                let stream = StreamKey::Book(id, depth).id();
                self.streams.get(stream.index()).map(|state| state.shards)
            });
            let kept = self.sums.get(id.index()).and_then(Option::as_deref).map(ChecksumText::warm);
            black_box((wanted, kept));
        }
    }

    fn state(&self, key: StreamKey) -> Option<StreamState> {
        self.streams.get(key.id().index()).filter(|state| state.shards != 0).copied()
    }

    /// The link of the next entry of a stream; `None` when nobody wants it or when it is no news: a trade told again after
    /// a reconnect that joiners have in their snapshot already.
    fn link(&self, key: StreamKey, epoch: Epoch, seq: Sequence) -> Option<Link> {
        let state = self.state(key)?;
        let epoch_changed = state.epoch != epoch;
        if !epoch_changed && seq <= state.last {
            return None;
        }
        let instrument_prev = Sequence(seq.0.saturating_sub(1));
        let prev = if planted::is(Bug::PrevOfInstrument) { instrument_prev } else { state.last };
        Some(Link::Next { seq, prev, epoch: epoch_changed.then_some(epoch), merged: 1 })
    }

    /// A book changed: one entry per depth in use whose window it touches.
    fn book(&mut self, id: InstrumentId, seq: Sequence, epoch: Epoch, ts_event: Nanos, market: &Market) {
        let Some(instrument) = market.instrument(id) else { return };
        let Some(book) = market.book(id) else { return };
        self.note_change(id, market);
        let mut sum = None;
        for depth in 0..DEPTHS.len() as u8 {
            let key = StreamKey::Book(id, depth);
            let Some(link) = self.link(key, epoch, seq) else { continue };
            market.window_delta(id, depth, &mut self.delta);
            if self.delta.is_silent() {
                continue;
            }
            let checksum = *sum.get_or_insert_with(|| {
                let text = self.sums[id.index()].get_or_insert_default();
                text.sum(instrument, book.side(Side::Bid), book.side(Side::Ask))
            });
            let time = self.clockface.show(ts_event);
            let (bids, asks) = (sent(&self.delta.bids), sent(&self.delta.asks));
            self.frame.clear();
            write_text_frame(&mut self.frame, |out| {
                update::book(instrument, bids, asks, checksum, time, link, out)
            });
            self.entry(key, epoch, seq, ts_event, Change::Book(checksum));
        }
    }

    /// What is kept of a book's checksum must know of every change, wanted or not.
    fn note_change(&mut self, id: InstrumentId, market: &Market) {
        if self.sums.len() <= id.index() {
            self.sums.resize_with(id.index() + 1, || None);
        }
        if let Some(text) = &mut self.sums[id.index()] {
            let sides = if planted::is(Bug::ChecksumKept) { &[Side::Bid] } else { &Side::BOTH[..] };
            for &side in sides {
                if let Some(rank) = market.changed_from(id, side) {
                    text.cut(side, rank);
                }
            }
        }
    }

    /// The best bid or ask changed.
    fn bbo(&mut self, id: InstrumentId, seq: Sequence, epoch: Epoch, ts_event: Nanos, market: &Market) {
        self.ticker(id, Trigger::Bbo, seq, epoch, ts_event, market);
    }

    fn ticker(
        &mut self,
        id: InstrumentId,
        trigger: Trigger,
        seq: Sequence,
        epoch: Epoch,
        ts_event: Nanos,
        market: &Market,
    ) {
        let key = StreamKey::Ticker(id, trigger);
        let (Some(instrument), Some(link)) = (market.instrument(id), self.link(key, epoch, seq)) else {
            return;
        };
        let row = market.ticker(id);
        self.frame.clear();
        write_text_frame(&mut self.frame, |out| update::ticker(instrument, &row, link, out));
        self.entry(key, epoch, seq, ts_event, Change::Row(Row::Ticker(row)));
    }

    /// A trade: the trade itself, the ticker, and the running candle of each interval in use.
    fn trade(&mut self, id: InstrumentId, seq: Sequence, epoch: Epoch, trade: &Trade, market: &Market) {
        let Some(instrument) = market.instrument(id) else { return };
        let key = StreamKey::Trade(id);
        if let Some(link) = self.link(key, epoch, seq) {
            self.frame.clear();
            write_text_frame(&mut self.frame, |out| update::trade(instrument, trade, link, out));
            self.entry(key, epoch, seq, trade.ts_event, Change::Row(Row::Trade(*trade)));
        }
        self.ticker(id, Trigger::Trades, seq, epoch, trade.ts_event, market);
        for interval in 0..INTERVALS_MIN.len() as u8 {
            let key = StreamKey::Ohlc(id, interval);
            let Some(link) = self.link(key, epoch, seq) else { continue };
            let Some(&candle) = market.candles(id, interval).next_back() else { continue };
            let element = std::iter::once((&candle, link));
            self.frame.clear();
            write_text_frame(&mut self.frame, |out| {
                update::ohlc("update", instrument, interval, element, trade.ts_event, out)
            });
            self.entry(key, epoch, seq, trade.ts_event, Change::Row(Row::Candle(candle)));
        }
    }

    /// The data of an instrument became stale, or fresh again.
    fn staleness(&mut self, id: InstrumentId, stale: bool, market: &Market) -> Option<News> {
        let news = self.pair(id, market);
        self.tell(&Item::Stale(id, stale));
        news
    }

    /// An instrument changed: every shard keeps it, and who takes the instrument channel is told.
    fn pair(&mut self, id: InstrumentId, market: &Market) -> Option<News> {
        let instrument = market.instrument(id)?;
        let status = told_status(instrument, market.is_stale(id));
        self.tell(&Item::Pair(id, Arc::clone(instrument), status));
        if let Some(state) = self.state(StreamKey::Instruments) {
            let pair = std::iter::once((&**instrument, status));
            self.frame.clear();
            write_text_frame(&mut self.frame, |out| update::instruments("update", pair, out));
            self.entry(StreamKey::Instruments, state.epoch, state.last.next(), Nanos(0), Change::Pair(id));
        }
        Some(News::Pair(id, status))
    }

    /// Copies the entry, whose frame is written, to the lanes of the shards that want it.
    fn entry(&mut self, key: StreamKey, epoch: Epoch, seq: Sequence, ts_event: Nanos, change: Change) {
        let Some(state) = self.streams.get_mut(key.id().index()) else { return };
        let prev = state.last;
        (state.epoch, state.last) = (epoch, seq);
        self.published[key.channel() as usize] += 1;
        let mut shards = state.shards;
        while shards != 0 {
            let shard = shards.trailing_zeros() as usize;
            shards &= shards - 1;
            let batch = self.lanes[shard].as_mut();
            let frame = FrameSpan { start: batch.bytes.len() as u32, len: self.frame.len() as u32 };
            batch.bytes.extend_from_slice(&self.frame);
            let data = match change {
                Change::Book(checksum) => {
                    EntryData::Book { changes: add_changes(batch, &self.delta), checksum }
                }
                Change::Row(row) => batch.add_row(row),
                Change::Pair(id) => EntryData::Pair(id),
            };
            batch.items.push(Item::Entry(Entry {
                stream: key.id(),
                epoch,
                seq,
                prev,
                ts_event,
                frame,
                data,
            }));
        }
    }

    /// Answers a shard that asked: where the stream stands, and its snapshot. Says how many bytes that has.
    pub fn join(&mut self, shard: usize, stream: StreamId, market: &Market, now: Nanos) -> usize {
        if self.streams.len() <= stream.index() {
            self.streams.resize(stream.index() + 1, StreamState::default());
        }
        let key = StreamKey::from(stream);
        let state = &mut self.streams[stream.index()];
        if state.shards == 0 {
            (state.epoch, state.last) = start_of(key, market).unwrap_or((state.epoch, state.last));
        }
        let is_new = state.shards & (1 << shard) == 0;
        state.shards |= 1 << shard;
        let (epoch, seq) = (state.epoch, state.last);
        if let (StreamKey::Trade(id), true) = (key, is_new) {
            self.tell_history(shard, id, market);
        }
        self.payload.clear();
        self.frame.clear();
        write_snapshot(key, epoch, seq, market, now, &mut self.payload);
        if !self.payload.is_empty() {
            write_frame(Opcode::Text, &self.payload, &mut self.frame);
        }
        let batch = self.lanes[shard].as_mut();
        let snapshot = FrameSpan { start: batch.bytes.len() as u32, len: self.frame.len() as u32 };
        batch.bytes.extend_from_slice(&self.frame);
        batch.items.push(Item::Join(Join { stream, epoch, seq, snapshot }));
        self.frame.len()
    }

    /// Gives a shard that begins to take trades those that the market still knows, so that a client that comes back, also after a
    /// restart of the gateway, can be told what it missed. Nobody subscribes yet: they only fill the ring.
    fn tell_history(&mut self, shard: usize, id: InstrumentId, market: &Market) {
        let Some(instrument) = market.instrument(id) else { return };
        let mut before: Option<(Epoch, Sequence)> = None;
        for one in market.trades(id) {
            // Of the oldest only the one before it is unknown; nobody can stand there.
            let (epoch, prev) = before.unwrap_or_else(|| (one.epoch, Sequence(one.seq.0.saturating_sub(1))));
            let link = Link::Next {
                seq: one.seq,
                prev,
                epoch: (epoch != one.epoch).then_some(one.epoch),
                merged: 1,
            };
            self.frame.clear();
            write_text_frame(&mut self.frame, |out| update::trade(instrument, &one.trade, link, out));
            let batch = self.lanes[shard].as_mut();
            let frame = FrameSpan { start: batch.bytes.len() as u32, len: self.frame.len() as u32 };
            batch.bytes.extend_from_slice(&self.frame);
            let data = batch.add_row(Row::Trade(one.trade));
            batch.items.push(Item::Entry(Entry {
                stream: StreamKey::Trade(id).id(),
                epoch: one.epoch,
                seq: one.seq,
                prev,
                ts_event: one.trade.ts_event,
                frame,
                data,
            }));
            before = Some((one.epoch, one.seq));
        }
    }

    /// A shard wants no more of a stream.
    pub fn leave(&mut self, shard: usize, stream: StreamId) {
        if let Some(state) = self.streams.get_mut(stream.index()) {
            state.shards &= !(1 << shard);
        }
    }
}

/// The status that clients are told: data that is stale is data of a halted market.
fn told_status(instrument: &Instrument, stale: bool) -> PairStatus {
    if stale { PairStatus::Maintenance } else { instrument.status }
}

/// Where a stream stands that nobody listened to: at the last event of its instrument. Trades carry the sequences that their
/// snapshot shows, so theirs is that of the last trade.
fn start_of(key: StreamKey, market: &Market) -> Option<(Epoch, Sequence)> {
    let id = key.instrument()?;
    match (key, market.trades(id).next_back()) {
        (StreamKey::Trade(_), Some(last)) => Some((last.epoch, last.seq)),
        _ => Some(market.head(id)),
    }
}

fn add_changes(batch: &mut Batch, delta: &WindowDelta) -> ChangeSpan {
    let start = batch.changes.len() as u32;
    batch.changes.extend_from_slice(&delta.bids);
    batch.changes.extend_from_slice(&delta.asks);
    ChangeSpan { start, bids: delta.bids.len() as u32, asks: delta.asks.len() as u32 }
}

fn sent(changes: &[WindowChange]) -> impl Iterator<Item = Level> {
    changes.iter().filter(|change| change.is_sent()).map(|change| change.level)
}

/// Writes nothing where there is nothing to show: no trade yet, no candle.
fn write_snapshot(
    key: StreamKey,
    epoch: Epoch,
    seq: Sequence,
    market: &Market,
    now: Nanos,
    out: &mut Vec<u8>,
) {
    let start = Link::Start(epoch, seq);
    let Some(id) = key.instrument() else {
        let pairs = market.instruments().map(|(id, one)| (&**one, told_status(one, market.is_stale(id))));
        return update::instruments("snapshot", pairs.collect::<Vec<_>>().into_iter(), out);
    };
    let Some(instrument) = market.instrument(id) else { return };
    match key {
        StreamKey::Book(_, depth) => {
            let depth = usize::from(DEPTHS[usize::from(depth)]);
            let side = |side| market.book(id).into_iter().flat_map(move |book| book.top(side, depth));
            let sum = checksum(instrument, side(Side::Bid), side(Side::Ask));
            update::book(instrument, side(Side::Bid), side(Side::Ask), sum, TimeText::of(now), start, out);
        }
        StreamKey::Ticker(..) => update::ticker(instrument, &market.ticker(id), start, out),
        StreamKey::Trade(_) if market.trades(id).len() > 0 => {
            let trades = market.trades(id).map(|one| (&one.trade, Link::Start(one.epoch, one.seq)));
            update::trade_snapshot(instrument, trades, out);
        }
        StreamKey::Ohlc(_, interval) if market.candles(id, interval).len() > 0 => {
            let candles = market.candles(id, interval).map(|candle| (candle, start));
            update::ohlc("snapshot", instrument, interval, candles, now, out);
        }
        StreamKey::Trade(_) | StreamKey::Ohlc(..) | StreamKey::Instruments => {}
    }
}
