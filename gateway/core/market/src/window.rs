//! What the last book event changed, and how that looks through a window of the best levels.
//!
//! Owns the log of one event: one for the whole market, because it is asked about before the next event
//! is applied. Never holds levels that did not change. The book writes it; [`crate::Market::window_delta`]
//! reads it, once per depth in use.
//!
//! The work per depth is in the number of changes plus the levels that enter or leave, whatever the size
//! of the book. What makes that possible is that each change knows its rank before and after the event:
//! a level is in a window of depth D exactly when its rank is below D.

use model::{InstrumentId, Level, Price, Qty, Side, WindowChange, WindowDelta};

use crate::book::Book;
use crate::ladder::{Ladder, best_first};

/// What one event changed on both sides.
#[derive(Debug)]
pub(crate) struct BookChanges {
    /// Whose book; none while nothing has changed.
    pub(crate) instrument: Option<InstrumentId>,
    bids: SideChanges,
    asks: SideChanges,
}

impl Default for BookChanges {
    fn default() -> Self {
        Self { instrument: None, bids: SideChanges::new(Side::Bid), asks: SideChanges::new(Side::Ask) }
    }
}

impl BookChanges {
    /// Forgets the changes and keeps the room.
    pub(crate) fn clear(&mut self) {
        self.instrument = None;
        self.bids.log.clear();
        self.asks.log.clear();
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bids.log.is_empty() && self.asks.log.is_empty()
    }

    pub(crate) const fn side_mut(&mut self, side: Side) -> &mut SideChanges {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// The best rank of a side at which anything is another level than before; `None` when nothing is.
    pub(crate) fn changed_from(&self, side: Side) -> Option<usize> {
        let log = match side {
            Side::Bid => &self.bids.log,
            Side::Ask => &self.asks.log,
        };
        // The best first, before and after.
        log.first().map(|change| change.rank_old.min(change.rank_new) as usize)
    }

    /// The changes as seen through the best `depth` levels of each side of `book`, as it is now.
    pub(crate) fn window_delta(&self, book: &Book, depth: usize, out: &mut WindowDelta) {
        out.clear();
        self.bids.window(book.ladder(Side::Bid), depth, &mut out.bids);
        self.asks.window(book.ladder(Side::Ask), depth, &mut out.asks);
    }
}

/// One level that an event set.
#[derive(Clone, Copy, Debug)]
struct Change {
    price: Price,
    /// Quantity before; 0 when there was no such level.
    old: Qty,
    /// Quantity after; 0 when there is no such level.
    new: Qty,
    /// Position in the event: of equal prices the last counts.
    order: u32,
    /// Levels that were better before the event.
    rank_old: u32,
    /// Levels that are better after the event.
    rank_new: u32,
}

impl Change {
    fn was_within(&self, depth: usize) -> bool {
        self.old > Qty::ZERO && (self.rank_old as usize) < depth
    }

    fn is_within(&self, depth: usize) -> bool {
        self.new > Qty::ZERO && (self.rank_new as usize) < depth
    }
}

/// What one event changed on one side.
#[derive(Debug)]
pub(crate) struct SideChanges {
    side: Side,
    /// In the order of the event while it is applied; settled: best first, one entry per changed price.
    log: Vec<Change>,
    /// Levels of the side before the event; known when settled.
    len_old: usize,
}

impl SideChanges {
    const fn new(side: Side) -> Self {
        Self { side, log: Vec::new(), len_old: 0 }
    }

    /// Notes that a level was set.
    pub(crate) fn note(&mut self, price: Price, old: Qty, new: Qty) {
        let new = new.max(Qty::ZERO);
        if old != new {
            let order = self.log.len() as u32;
            self.log.push(Change { price, old, new, order, rank_old: 0, rank_new: 0 });
        }
    }

    /// Takes back what was noted, the last first, and forgets it.
    pub(crate) fn undo(&mut self, ladder: &mut Ladder) {
        while let Some(change) = self.log.pop() {
            let back = ladder.set(change.price, change.old, usize::MAX);
            debug_assert_eq!(back, Ok(change.new));
        }
    }

    /// Ends the event: orders the changes, joins those of one price and ranks them.
    pub(crate) fn settle(&mut self, ladder: &Ladder) {
        self.order();
        // Levels that were there before less those that are there now, among the better ones.
        let mut removed = 0_isize;
        for change in &mut self.log {
            let rank = ladder.rank(change.price);
            change.rank_new = rank as u32;
            change.rank_old = rank.strict_add_signed(removed) as u32;
            removed += isize::from(change.old > Qty::ZERO) - isize::from(change.new > Qty::ZERO);
        }
        self.len_old = ladder.len().strict_add_signed(removed);
    }

    fn order(&mut self) {
        let side = self.side;
        if self.log.is_sorted_by(|a, b| side.is_better(a.price, b.price)) {
            return;
        }
        // Not the stable sort, which allocates.
        self.log.sort_unstable_by(|a, b| best_first(side, a.price, b.price).then(a.order.cmp(&b.order)));
        self.log.dedup_by(|later, first| {
            let same = later.price == first.price;
            if same {
                first.new = later.new;
            }
            same
        });
        self.log.retain(|change| change.old != change.new);
    }

    /// Appends the changes of the window of `depth` levels: removals, then the rest from the best on.
    fn window(&self, ladder: &Ladder, depth: usize, out: &mut Vec<WindowChange>) {
        let seen = self.log.partition_point(|change| (change.rank_old.min(change.rank_new) as usize) < depth);
        let seen = &self.log[..seen];
        let told = |change: &Change| WindowChange {
            level: Level { price: change.price, qty: change.new },
            was: change.was_within(depth),
            is: change.is_within(depth),
        };
        out.extend(seen.iter().filter(|c| c.new == Qty::ZERO).map(told).filter(|c| c.was));
        let rest = out.len();
        out.extend(seen.iter().filter(|c| c.new > Qty::ZERO).map(told).filter(|c| c.was || c.is));
        if self.push_moved(ladder, depth, out) {
            out[rest..].sort_unstable_by(|a, b| best_first(self.side, a.level.price, b.level.price));
        }
    }

    /// Appends the levels that entered or left only because others made room or pushed.
    fn push_moved(&self, ladder: &Ladder, depth: usize, out: &mut Vec<WindowChange>) -> bool {
        let before = self.old_window_end(depth);
        let after = depth.min(ladder.len());
        let enters = before < after;
        let len = out.len();
        for rank in before.min(after)..before.max(after) {
            let level = ladder.level(rank);
            if !self.is_changed(level.price) {
                out.push(WindowChange { level, was: !enters, is: enters });
            }
        }
        out.len() > len
    }

    /// How many of today's levels are not worse than the worst level of the old window.
    ///
    /// The old window held that many levels less those that were removed from it, plus those that now
    /// stand between its levels. All levels when the old window was not full.
    fn old_window_end(&self, depth: usize) -> usize {
        let within = self.log.iter().take_while(|change| (change.rank_old as usize) < depth);
        let added: isize =
            within.map(|c| isize::from(c.new > Qty::ZERO) - isize::from(c.old > Qty::ZERO)).sum();
        depth.min(self.len_old).strict_add_signed(added)
    }

    fn is_changed(&self, price: Price) -> bool {
        self.log.binary_search_by(|change| best_first(self.side, change.price, price)).is_ok()
    }
}

#[cfg(test)]
mod tests;
