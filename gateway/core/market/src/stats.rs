//! Plain counters of what the market took and what it refused.
//!
//! Owns numbers only; the shell reads them and publishes them as metrics. Never decides anything.

/// Counts since the start; all of them only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MarketStats {
    /// Events given to [`crate::Market::apply`], refused ones included.
    pub events: u64,
    /// Book deltas applied.
    pub book_events: u64,
    /// Snapshots applied.
    pub snapshots: u64,
    /// Trades recorded, replayed ones included.
    pub trades: u64,
    /// Deltas and trades whose sequence was not above the head: ignored.
    pub old_sequence: u64,
    /// Lines whose number was seen before on their connection: ignored.
    pub duplicate_line: u64,
    /// Deltas and snapshots refused because bid and ask would meet.
    pub crossed: u64,
    /// Deltas and snapshots refused because a side would have too many levels.
    pub levels_limit: u64,
    /// Deltas not applied because their instrument waits for a snapshot.
    pub stale_delta: u64,
    /// Holes found in the sequence of a fresh instrument.
    pub sequence_gaps: u64,
    /// Holes found in the line numbers of a connection.
    pub transport_gaps: u64,
    /// Definitions refused because they change the increments or the symbol of a known instrument.
    pub redefined: u64,
    /// Snapshots refused because they are older than what clients were told.
    pub old_snapshot: u64,
    /// Trades that were too old for the 24 h figures or for at least one kept candle.
    pub late_trade: u64,
    /// Trades not recorded because they, or newer ones, are known.
    pub repeated_trade: u64,
    /// Deltas and trades of another epoch that came to a fresh instrument before their snapshot.
    pub new_epoch: u64,
    /// Events of an instrument that was never announced, or above [`crate::INSTRUMENTS_MAX`]: ignored.
    pub unknown_instrument: u64,
}
