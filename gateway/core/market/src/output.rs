//! What the market tells, and what all its instruments share while they work.
//!
//! Owns the queue of outputs, the counters and the reused room. Never decides: instruments write here,
//! the engine drains.

use std::collections::VecDeque;

use model::{Epoch, FeedStatus, InstrumentId, Nanos, Sequence, Trade};

use crate::book::Snapshot;
use crate::gap::StaleReason;
use crate::market::MarketLimits;
use crate::stats::MarketStats;
use crate::window::BookChanges;

/// Something that others must know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// An instrument was announced, or its definition or status changed.
    Instrument(InstrumentId),
    /// The book changed; [`crate::Market::window_delta`] says how until the next event is applied.
    Book {
        /// Whose book.
        instrument: InstrumentId,
        /// The event that changed it.
        seq: Sequence,
        /// Generation of `seq`.
        epoch: Epoch,
        /// When that happened, by the venue's clock.
        ts_event: Nanos,
    },
    /// The best bid or ask changed in price or quantity; follows its `Book`.
    Bbo {
        /// Whose book.
        instrument: InstrumentId,
        /// The event that changed it.
        seq: Sequence,
        /// Generation of `seq`.
        epoch: Epoch,
        /// When that happened, by the venue's clock.
        ts_event: Nanos,
    },
    /// A trade that was not known; figures and candles contain it.
    Trade {
        /// Of what.
        instrument: InstrumentId,
        /// Position of the trade.
        seq: Sequence,
        /// Generation of `seq`.
        epoch: Epoch,
        /// The trade.
        trade: Trade,
    },
    /// A fresh instrument became stale.
    Stale {
        /// Which.
        instrument: InstrumentId,
        /// Why.
        reason: StaleReason,
    },
    /// A stale instrument became fresh.
    Fresh {
        /// Which.
        instrument: InstrumentId,
    },
    /// The venue's state changed.
    Status(FeedStatus),
    /// The feed is to be asked for a snapshot of one instrument, or of all.
    Ask(Option<InstrumentId>),
}

/// Where an event stands and when it came.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stamp {
    pub(crate) instrument: InstrumentId,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Sequence,
    pub(crate) ts_event: Nanos,
    pub(crate) ts_recv: Nanos,
}

/// What all instruments of a market work with.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    pub(crate) limits: MarketLimits,
    /// Drained after each input, so never longer than one input makes it: a few per instrument.
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) stats: MarketStats,
    pub(crate) changes: BookChanges,
    pub(crate) snapshot: Snapshot,
    /// Instruments that are fresh.
    pub(crate) fresh: usize,
    /// When the latest snapshot came that a request for all was waiting for; our clock.
    pub(crate) progress_at: Nanos,
}
