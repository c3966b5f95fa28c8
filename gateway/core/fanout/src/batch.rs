//! What the engine posts to a shard in one turn, in order.
//!
//! One buffer holds all frames, one all book changes, one all rows; items are small and point into them. Batches are reused, so a
//! busy engine allocates nothing per entry.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::{
    Candle, Epoch, FeedStatus, Instrument, InstrumentId, Nanos, PairStatus, Sequence, StreamId, Ticker,
    Trade, WindowChange,
};

/// Where a frame lies in [`Batch::bytes`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FrameSpan {
    /// First byte.
    pub start: u32,
    /// Length with its header.
    pub len: u32,
}

/// Where the changes of a book entry lie in [`Batch::changes`]: bids, then asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChangeSpan {
    /// First change.
    pub start: u32,
    /// How many bids there are from `start` on.
    pub bids: u32,
    /// How many asks follow the bids.
    pub asks: u32,
}

/// One change of a stream: as data for clients that lag, as a frame for those that keep up.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Which stream.
    pub stream: StreamId,
    /// Generation of the feed.
    pub epoch: Epoch,
    /// The event that made it.
    pub seq: Sequence,
    /// The entry before it in this stream.
    pub prev: Sequence,
    /// Venue time of the event.
    pub ts_event: Nanos,
    /// The whole WebSocket frame.
    pub frame: FrameSpan,
    /// The change itself.
    pub data: EntryData,
}

/// The change of an entry as data.
#[derive(Clone, Copy, Debug)]
pub enum EntryData {
    /// Changes of a book window and the checksum after them.
    Book {
        /// The changes, in [`Batch::changes`].
        changes: ChangeSpan,
        /// Checksum of the book after this entry.
        checksum: u32,
    },
    /// What the entry says as a whole: its place in [`Batch::rows`].
    Row(u32),
    /// Some pair changed; what it is now, the shard keeps by [`Item::Pair`].
    Pair(InstrumentId),
}

/// An entry of a channel whose entries each say everything. Kept apart from the entries: it is four times their size, and most of
/// them are of books.
#[derive(Clone, Copy, Debug)]
pub enum Row {
    /// The whole ticker.
    Ticker(Ticker),
    /// One trade.
    Trade(Trade),
    /// The candle as it stands.
    Candle(Candle),
}

impl EntryData {
    /// Changes of a book window; none on other channels.
    pub(crate) const fn change_count(&self) -> usize {
        match self {
            Self::Book { changes, .. } => (changes.bids + changes.asks) as usize,
            _ => 0,
        }
    }
}

/// The answer to a shard that asked to join a stream.
#[derive(Clone, Copy, Debug)]
pub struct Join {
    /// Which stream.
    pub stream: StreamId,
    /// Generation of the feed.
    pub epoch: Epoch,
    /// The last entry of the stream so far, or the instrument's last event when nobody listened before.
    pub seq: Sequence,
    /// The snapshot as a frame; all that wait in one turn share it. Empty when there is nothing to show yet: a message without
    /// elements names no symbol.
    pub snapshot: FrameSpan,
}

/// What a shard is told.
#[derive(Clone, Debug)]
pub enum Item {
    /// A stream changed.
    Entry(Entry),
    /// A stream begins for this shard, or a snapshot of it was asked for.
    Join(Join),
    /// An instrument appeared or changed; the status is what clients are told, stale data included.
    Pair(InstrumentId, Arc<Instrument>, PairStatus),
    /// The data of an instrument became stale (`true`) or fresh again.
    Stale(InstrumentId, bool),
    /// The venue's state, as clients are told it.
    Status(FeedStatus),
    /// Entries of a stream were lost on the way here because the lane was full.
    Lost(Lost),
}

/// Entries of a stream in a row that were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lost {
    /// Which stream.
    pub stream: StreamId,
    /// Generation of the feed at the last of them.
    pub epoch: Epoch,
    /// The last of them.
    pub seq: Sequence,
    /// How many they are.
    pub count: u64,
}

/// One turn of the engine for one shard.
#[derive(Debug, Default)]
pub struct Batch {
    /// What happened, in order.
    pub items: Vec<Item>,
    /// All frames.
    pub bytes: Vec<u8>,
    /// All book changes.
    pub changes: Vec<WindowChange>,
    /// All tickers, trades and candles.
    pub rows: Vec<Row>,
    /// When the oldest event in here was received (wall time).
    pub ts_recv: Nanos,
    /// When the engine posted it (wall time).
    pub ts_publish: Nanos,
}

impl Batch {
    /// Forgets the items and keeps the room.
    pub fn clear(&mut self) {
        self.items.clear();
        self.bytes.clear();
        self.changes.clear();
        self.rows.clear();
    }

    /// Adds a row and says where it is.
    pub fn add_row(&mut self, row: Row) -> EntryData {
        self.rows.push(row);
        EntryData::Row(self.rows.len() as u32 - 1)
    }

    /// Turns entries into the news that they are lost and keeps what must not be: joins, pairs, states. Says of how many
    /// streams entries were lost. For a batch that waited too long for room.
    pub fn give_up_entries(&mut self) -> usize {
        let mut lost: BTreeMap<StreamId, Lost> = BTreeMap::new();
        let mut streams = BTreeSet::new();
        let mut kept = Self { ts_recv: self.ts_recv, ts_publish: self.ts_publish, ..Self::default() };
        for item in std::mem::take(&mut self.items) {
            match item {
                Item::Entry(Entry { stream, epoch, seq, .. }) => {
                    note_lost(&mut lost, Lost { stream, epoch, seq, count: 1 });
                }
                Item::Lost(more) => note_lost(&mut lost, more),
                Item::Join(join) => {
                    // What came before its snapshot is lost to who was there, and not to who joins.
                    let before = lost.remove(&join.stream);
                    streams.extend(before.map(|lost| lost.stream));
                    kept.items.extend(before.map(Item::Lost));
                    let start = kept.bytes.len() as u32;
                    kept.bytes.extend_from_slice(self.frame(join.snapshot));
                    let snapshot = FrameSpan { start, len: join.snapshot.len };
                    kept.items.push(Item::Join(Join { snapshot, ..join }));
                }
                other => kept.items.push(other),
            }
        }
        // After the joins: who joined here may have missed entries behind its snapshot.
        streams.extend(lost.keys());
        kept.items.extend(lost.into_values().map(Item::Lost));
        *self = kept;
        streams.len()
    }

    /// The bytes of a frame.
    ///
    /// # Panics
    /// When the span is not of this batch.
    #[must_use]
    pub fn frame(&self, span: FrameSpan) -> &[u8] {
        &self.bytes[span.start as usize..(span.start + span.len) as usize]
    }

    /// The changes of a book entry: bids and asks.
    ///
    /// # Panics
    /// When the span is not of this batch.
    #[must_use]
    pub fn changes(&self, span: ChangeSpan) -> (&[WindowChange], &[WindowChange]) {
        let bids = span.start as usize;
        let asks = bids + span.bids as usize;
        (&self.changes[bids..asks], &self.changes[asks..asks + span.asks as usize])
    }
}

/// Adds up what is lost of a stream; the last entry is that of the newest.
fn note_lost(lost: &mut BTreeMap<StreamId, Lost>, one: Lost) {
    let all = lost.entry(one.stream).or_insert(Lost { count: 0, ..one });
    *all = Lost { count: all.count + one.count, ..one };
}
