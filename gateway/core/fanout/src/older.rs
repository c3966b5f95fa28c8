//! What is left of the book entries that fell out of the ring: per price its last change.
//!
//! A ring forgets by count, a stalled client comes back by time. Since a merged update needs only the last change of each price, that
//! is all that is kept of older entries, and of that only what some reader stands before: memory grows with the window, not with the
//! time that somebody stalls.

use std::collections::BTreeMap;

use model::{Price, Qty, Side, WindowChange};

/// Prices kept per side; above it the half that changed longest ago is forgotten, and with it the oldest cursors.
const PRICES_MAX: usize = 4_096;

/// Prices kept of both sides before it is looked whether somebody needs them.
const PRICES_UNSEEN: usize = 16;

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

impl Past {
    /// Whether one of the cursors, the smallest first, lacks this change. A level born and dead behind a cursor is never told there.
    fn is_lacked(&self, cursors: &[u64]) -> bool {
        let born = if self.is { 0 } else { self.entered_at };
        let next = cursors.partition_point(|&cursor| cursor < born);
        cursors.get(next).is_some_and(|&cursor| cursor < self.changed_at)
    }
}

/// Entries older than the ring, folded together.
#[derive(Debug, Default)]
pub(crate) struct Older {
    bids: BTreeMap<Price, Past>,
    asks: BTreeMap<Price, Past>,
    /// Cursors before this ordinal cannot be served.
    pub(crate) floor: u64,
    /// Prices that somebody needed when it was last looked.
    needed: usize,
}

impl Older {
    pub(crate) fn clear(&mut self, floor: u64) {
        self.bids.clear();
        self.asks.clear();
        (self.floor, self.needed) = (floor, 0);
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

    /// Whether so much is kept that it is time to look who needs it. Looking costs a step per reader, so that many of them are
    /// looked at more seldom.
    pub(crate) fn is_crowded(&self, readers: usize) -> bool {
        self.bids.len() + self.asks.len() > PRICES_UNSEEN.max(2 * self.needed).max(readers / 16)
    }

    /// Forgets what nobody lacks who stands at one of these cursors, the smallest first, or at an entry that is still in the ring.
    pub(crate) fn forget_unneeded(&mut self, cursors: &[u64]) {
        for prices in [&mut self.bids, &mut self.asks] {
            prices.retain(|_, past| past.is_lacked(cursors));
        }
        self.needed = self.bids.len() + self.asks.len();
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
