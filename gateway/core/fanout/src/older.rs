//! What is left of the book entries that fell out of the ring: per price its last change.
//!
//! A ring forgets by count, a stalled client comes back by time. Since a merged update needs only the last change of each price, that
//! is all that is kept of older entries: memory grows with the window, not with the time that somebody stalls.

use std::collections::BTreeMap;

use model::{Price, Qty, Side, WindowChange};

/// Prices kept per side; above it the half that changed longest ago is forgotten, and with it the oldest cursors.
const PRICES_MAX: usize = 4_096;

/// The last change of one price.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Past {
    pub(crate) qty: Qty,
    /// Ordinal of the entry that changed it last.
    pub(crate) changed_at: u64,
    /// Ordinal of the entry that brought it into the window; 0 when it was there before all that is known.
    pub(crate) entered_at: u64,
    /// Whether it was in the window after that change.
    pub(crate) is: bool,
}

/// Entries older than the ring, folded together.
#[derive(Debug, Default)]
pub(crate) struct Older {
    bids: BTreeMap<Price, Past>,
    asks: BTreeMap<Price, Past>,
    /// Cursors before this ordinal cannot be served.
    pub(crate) floor: u64,
}

impl Older {
    pub(crate) fn clear(&mut self, floor: u64) {
        self.bids.clear();
        self.asks.clear();
        self.floor = floor;
    }

    /// An entry falls out of the ring that nobody stands before.
    pub(crate) fn skip(&mut self, ordinal: u64) {
        if self.bids.is_empty() && self.asks.is_empty() {
            self.floor = ordinal;
        } else {
            self.clear(ordinal);
        }
    }

    /// Takes the changes of the entry that falls out of the ring.
    pub(crate) fn fold(&mut self, side: Side, ordinal: u64, change: &WindowChange) {
        let prices = self.side_mut(side);
        let known = prices.get(&change.level.price);
        let entered_at = match known {
            // A price that comes back keeps its first entry: telling a removal twice is harmless, telling it never is not.
            Some(past) => past.entered_at,
            None if change.was => 0,
            None => ordinal,
        };
        let past = Past { qty: change.level.qty, changed_at: ordinal, entered_at, is: change.is };
        prices.insert(change.level.price, past);
        if prices.len() > PRICES_MAX {
            self.forget_half(side);
        }
    }

    fn forget_half(&mut self, side: Side) {
        let prices = self.side_mut(side);
        let mut changed: Vec<u64> = prices.values().map(|past| past.changed_at).collect();
        let middle = changed.len() / 2;
        let (_, &mut median, _) = changed.select_nth_unstable(middle);
        prices.retain(|_, past| past.changed_at > median);
        self.floor = self.floor.max(median);
    }

    /// Prices that changed after a cursor.
    pub(crate) fn after(&self, side: Side, cursor: u64) -> impl Iterator<Item = (Price, &Past)> {
        let prices = if side == Side::Bid { &self.bids } else { &self.asks };
        prices.iter().filter(move |(_, past)| past.changed_at > cursor).map(|(&price, past)| (price, past))
    }

    const fn side_mut(&mut self, side: Side) -> &mut BTreeMap<Price, Past> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }
}
