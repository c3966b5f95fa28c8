//! What a feed says, decoded: events and the batches in which they travel.

use std::sync::Arc;

use crate::{Epoch, Instrument, InstrumentId, Level, Nanos, Price, Qty, Sequence, Side};

/// One message of the feed.
#[derive(Clone, Debug)]
pub struct Event {
    /// Generation of the feed that the sequences belong to.
    pub epoch: Epoch,
    /// Number of the line on its connection, from 1; a missing one is a transport gap.
    pub line: u64,
    /// When it happened, by the venue's clock (wall time).
    pub ts_event: Nanos,
    /// When we received it, by our clock (wall time).
    pub ts_recv: Nanos,
    /// What happened.
    pub body: EventBody,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum EventBody {
    /// An instrument appeared or changed its trading state.
    Instrument(InstrumentId, Arc<Instrument>),
    /// The whole book at a sequence.
    BookSnapshot {
        /// Whose book.
        instrument: InstrumentId,
        /// The last event that the snapshot contains.
        seq: Sequence,
        /// All levels, best first on each side.
        levels: LevelSpan,
    },
    /// Changed levels with absolute quantities.
    BookDelta {
        /// Whose book.
        instrument: InstrumentId,
        /// Position of this event.
        seq: Sequence,
        /// The changed levels; quantity 0 removes.
        levels: LevelSpan,
    },
    /// A trade.
    Trade {
        /// Of what.
        instrument: InstrumentId,
        /// Position of this event.
        seq: Sequence,
        /// The trade itself.
        trade: Trade,
        /// Told again after a (re)connect, before the snapshot: history, not news. Its sequence is not checked.
        replay: bool,
    },
    /// The venue's own state.
    Status(FeedStatus),
    /// Nothing happened, and the feed is alive.
    Heartbeat,
}

impl EventBody {
    /// The instrument of a market event; none of what is about the venue or announces an instrument.
    #[must_use]
    pub const fn instrument(&self) -> Option<InstrumentId> {
        match *self {
            Self::BookSnapshot { instrument, .. }
            | Self::BookDelta { instrument, .. }
            | Self::Trade { instrument, .. } => Some(instrument),
            Self::Instrument(..) | Self::Status(_) | Self::Heartbeat => None,
        }
    }
}

/// State of the venue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FeedStatus {
    /// Normal.
    #[default]
    Online,
    /// Orders can only be cancelled.
    CancelOnly,
    /// Halted.
    Maintenance,
    /// Only resting orders.
    PostOnly,
}

impl FeedStatus {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Online, Self::CancelOnly, Self::Maintenance, Self::PostOnly];

    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Online => "online",
            Self::CancelOnly => "cancel_only",
            Self::Maintenance => "maintenance",
            Self::PostOnly => "post_only",
        }
    }

    /// The status of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// How the taker of a trade ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrdType {
    /// At any price.
    Market,
    /// At a price or better.
    Limit,
}

impl OrdType {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Limit => "limit",
        }
    }

    /// The kind of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Market, Self::Limit].into_iter().find(|kind| kind.name() == name)
    }
}

/// One trade.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trade {
    /// Consecutive per instrument.
    pub id: u64,
    /// Price in ticks.
    pub price: Price,
    /// Quantity in lots.
    pub qty: Qty,
    /// Side of the taker.
    pub taker: Side,
    /// How the taker ordered.
    pub ord_type: OrdType,
    /// When it happened, by the venue's clock.
    pub ts_event: Nanos,
}

/// Where the levels of an event lie in [`EventBatch::levels`]: bids, then asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LevelSpan {
    /// First level.
    pub start: u32,
    /// How many bids there are from `start` on.
    pub bids: u32,
    /// How many asks follow the bids.
    pub asks: u32,
}

/// The two sides of an event, borrowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels<'a> {
    /// Bids in the order of the feed.
    pub bids: &'a [Level],
    /// Asks in the order of the feed.
    pub asks: &'a [Level],
}

impl<'a> Levels<'a> {
    /// One side.
    #[must_use]
    pub const fn side(&self, side: Side) -> &'a [Level] {
        match side {
            Side::Bid => self.bids,
            Side::Ask => self.asks,
        }
    }
}

/// Events of one read from a feed, with all their levels in one place.
///
/// Batches are reused: clearing keeps the room, so a busy feed allocates nothing per event.
#[derive(Debug, Default)]
pub struct EventBatch {
    /// The events in the order of the feed.
    pub events: Vec<Event>,
    /// Levels of all events; each event's [`LevelSpan`] says which are its own.
    pub levels: Vec<Level>,
}

impl EventBatch {
    /// The levels of a span.
    ///
    /// # Panics
    /// When the span is not of this batch.
    #[must_use]
    pub fn levels(&self, span: LevelSpan) -> Levels<'_> {
        let bids = span.start as usize;
        let asks = bids + span.bids as usize;
        Levels { bids: &self.levels[bids..asks], asks: &self.levels[asks..asks + span.asks as usize] }
    }

    /// Forgets the events and keeps the room.
    pub fn clear(&mut self) {
        self.events.clear();
        self.levels.clear();
    }

    /// Whether there are no events.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }
}
