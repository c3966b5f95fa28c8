//! What changes for a subscriber: values on their way from the market to the wire.

use crate::{Level, Nanos, Price, Qty};

/// One level of a book window (the best `depth` levels of a side) that an event touched.
///
/// What a client of that depth is told follows from the fields: a level that `is` in the window is sent
/// with its quantity, a level with quantity 0 is sent as removed, and a level that merely left
/// (`was`, not `is`, quantity above 0) is not sent: the client truncates. It is kept all the same, because a client
/// that skipped entries did not truncate in between (see `fanout::merge`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowChange {
    /// Price, and the quantity after the event.
    pub level: Level,
    /// In the window before the event.
    pub was: bool,
    /// In the window after the event.
    pub is: bool,
}

impl WindowChange {
    /// Whether a client that follows every event is told of this change.
    #[must_use]
    pub fn is_sent(&self) -> bool {
        self.is || self.level.qty == Qty::ZERO
    }
}

/// Changes of one window by one event: removals first, then by price from the best on, each side apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WindowDelta {
    /// Changed bids.
    pub bids: Vec<WindowChange>,
    /// Changed asks.
    pub asks: Vec<WindowChange>,
}

impl WindowDelta {
    /// Forgets the changes and keeps the room.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Whether a client that follows every event has nothing to be told.
    #[must_use]
    pub fn is_silent(&self) -> bool {
        !self.bids.iter().chain(&self.asks).any(WindowChange::is_sent)
    }
}

/// Best prices and 24 h figures of an instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticker {
    /// Best bid; none while that side is empty.
    pub bid: Option<Level>,
    /// Best ask; none while that side is empty.
    pub ask: Option<Level>,
    /// Price of the last trade; none before the first.
    pub last: Option<Price>,
    /// Quantity traded in the last 24 h, in lots; saturates.
    pub volume: Qty,
    /// Volume-weighted mean price of the last 24 h, in units of the last price decimal (not in ticks).
    pub vwap_units: i64,
    /// Lowest trade of the last 24 h.
    pub low: Option<Price>,
    /// Highest trade of the last 24 h.
    pub high: Option<Price>,
    /// Last price less the first of the last 24 h, in ticks.
    pub change: i64,
    /// The same in hundredths of a percent of that first price.
    pub change_bp: i64,
    /// Venue time of the event that changed the ticker last.
    pub ts_event: Nanos,
}

/// Trades of one interval of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Candle {
    /// Start of the interval, venue time; a multiple of its length.
    pub begin: Nanos,
    /// First price.
    pub open: Price,
    /// Highest price.
    pub high: Price,
    /// Lowest price.
    pub low: Price,
    /// Last price so far.
    pub close: Price,
    /// Quantity traded, in lots; saturates.
    pub volume: Qty,
    /// Volume-weighted mean price, in units of the last price decimal (not in ticks).
    pub vwap_units: i64,
    /// Number of trades.
    pub trades: u64,
}
