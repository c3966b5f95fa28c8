//! Both sides of an instrument's book.
//!
//! Owns the levels. Refuses what would cross it or grow it beyond its limit, and is then as it was.
//! Never knows sequences or staleness. Levels come from the feed through the instrument's state; what an
//! event changed goes to [`BookChanges`], from which the windows are made.

use model::{Level, Levels, Side};

use crate::ladder::{Full, Ladder, best_first};
use crate::window::BookChanges;

/// All levels of an instrument, best first on each side. Never crossed, never locked.
#[derive(Debug)]
pub struct Book {
    bids: Ladder,
    asks: Ladder,
}

/// Why an event was not applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BookRefusal {
    /// The best bid would not be below the best ask.
    Crossed,
    /// A side would have more levels than it may have.
    Limit,
}

impl Book {
    /// Reads the levels that changes are likely to be near; see [`crate::Market::warm`].
    pub(crate) fn warm(&self) -> [i64; 2] {
        [&self.bids, &self.asks].map(Ladder::warm)
    }

    pub(crate) const fn new() -> Self {
        Self { bids: Ladder::new(Side::Bid), asks: Ladder::new(Side::Ask) }
    }

    /// All levels of a side, best first.
    pub fn side(
        &self,
        side: Side,
    ) -> impl DoubleEndedIterator<Item = Level> + ExactSizeIterator + Clone + '_ {
        self.ladder(side).iter()
    }

    /// The best `n` levels of a side, best first; fewer when there are not so many.
    pub fn top(&self, side: Side, n: usize) -> impl ExactSizeIterator<Item = Level> + Clone + '_ {
        self.ladder(side).iter().take(n)
    }

    /// The best level of a side.
    #[must_use]
    pub fn best(&self, side: Side) -> Option<Level> {
        self.ladder(side).best()
    }

    /// How many levels a side has.
    #[must_use]
    pub fn len(&self, side: Side) -> usize {
        self.ladder(side).len()
    }

    /// Whether both sides are empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        Side::BOTH.into_iter().all(|side| self.len(side) == 0)
    }

    pub(crate) fn bests(&self) -> [Option<Level>; 2] {
        Side::BOTH.map(|side| self.best(side))
    }

    pub(crate) const fn ladder(&self, side: Side) -> &Ladder {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    const fn ladder_mut(&mut self, side: Side) -> &mut Ladder {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// Sets the levels of one event, all or none; what changed is then in `changes`.
    pub(crate) fn apply_delta(
        &mut self,
        levels: Levels<'_>,
        levels_max: usize,
        changes: &mut BookChanges,
    ) -> Result<(), BookRefusal> {
        changes.clear();
        let result = self.set_both(levels, levels_max, changes);
        for side in Side::BOTH {
            match result {
                Ok(()) => changes.side_mut(side).settle(self.ladder(side)),
                Err(_) => changes.side_mut(side).undo(self.ladder_mut(side)),
            }
        }
        result
    }

    fn set_both(
        &mut self,
        levels: Levels<'_>,
        levels_max: usize,
        changes: &mut BookChanges,
    ) -> Result<(), BookRefusal> {
        for side in Side::BOTH {
            self.set_side(side, levels.side(side), levels_max, changes)?;
        }
        if is_crossed(self.bests()) { Err(BookRefusal::Crossed) } else { Ok(()) }
    }

    fn set_side(
        &mut self,
        side: Side,
        levels: &[Level],
        levels_max: usize,
        changes: &mut BookChanges,
    ) -> Result<(), BookRefusal> {
        let (ladder, log) = (self.ladder_mut(side), changes.side_mut(side));
        for level in levels {
            let set = ladder.set(level.price, level.qty, levels_max);
            let (old, rank) = set.map_err(|Full| BookRefusal::Limit)?;
            log.note(level.price, old, level.qty, rank);
        }
        Ok(())
    }

    /// Notes what would change if the book became `snapshot`; the book stays as it is.
    pub(crate) fn compare(&self, snapshot: &Snapshot, changes: &mut BookChanges) {
        changes.clear();
        for side in Side::BOTH {
            let log = changes.side_mut(side);
            self.ladder(side).for_each_difference(snapshot.side(side), |price, old, new, rank| {
                log.note(price, old, new, rank)
            });
        }
    }

    /// Becomes `snapshot`; `changes` must be of [`Book::compare`] with the same one.
    pub(crate) fn replace(&mut self, snapshot: &Snapshot, changes: &mut BookChanges) {
        for side in Side::BOTH {
            self.ladder_mut(side).replace(snapshot.side(side));
            changes.side_mut(side).settle(self.ladder(side));
        }
    }
}

fn is_crossed(bests: [Option<Level>; 2]) -> bool {
    matches!(bests, [Some(bid), Some(ask)] if bid.price >= ask.price)
}

/// A snapshot of the feed put in order; one is reused for all instruments.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Worst first, as in a ladder.
    bids: Vec<Level>,
    /// Worst first, as in a ladder.
    asks: Vec<Level>,
}

impl Snapshot {
    fn side(&self, side: Side) -> &[Level] {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    /// Takes the levels of a feed snapshot; of a price told twice the last counts.
    pub(crate) fn load(&mut self, levels: Levels<'_>, levels_max: usize) -> Result<(), BookRefusal> {
        Self::load_side(&mut self.bids, Side::Bid, levels.bids);
        Self::load_side(&mut self.asks, Side::Ask, levels.asks);
        if self.bids.len().max(self.asks.len()) > levels_max {
            return Err(BookRefusal::Limit);
        }
        let bests = [self.bids.last().copied(), self.asks.last().copied()];
        if is_crossed(bests) { Err(BookRefusal::Crossed) } else { Ok(()) }
    }

    fn load_side(into: &mut Vec<Level>, side: Side, told: &[Level]) {
        into.clear();
        into.extend(told.iter().rev());
        if !into.is_sorted_by(|a, b| side.is_better(b.price, a.price)) {
            // Only a feed that breaks its protocol comes here. The sort is stable and the order reversed,
            // so the first of equal prices is the one that was told last.
            into.sort_by(|a, b| best_first(side, b.price, a.price));
            into.dedup_by_key(|level| level.price);
        }
        into.retain(|level| level.qty.0 > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Price, Qty};

    fn levels(pairs: &[(i64, i64)]) -> Vec<Level> {
        pairs.iter().map(|&(price, qty)| Level { price: Price(price), qty: Qty(qty) }).collect()
    }

    fn text(book: &Book) -> String {
        let side = |side| book.side(side).map(|l| format!("{}:{} ", l.price.0, l.qty.0)).collect::<String>();
        format!("{}/ {}", side(Side::Bid), side(Side::Ask)).trim_end().to_owned()
    }

    #[test]
    fn an_event_is_applied_whole_or_not_at_all() {
        type Pairs = &'static [(i64, i64)];
        let cases: [(&str, Pairs, Pairs, &str); 8] = [
            ("set and remove", &[(99, 0), (97, 5)], &[(101, 3)], "98:1 97:5 / 101:3 102:1"),
            ("last of a price counts", &[(99, 7), (99, 2)], &[(101, 0), (101, 4)], "99:2 98:1 / 101:4 102:1"),
            ("absent level removed", &[(50, 0)], &[], "99:1 98:1 / 101:1 102:1"),
            ("a side emptied", &[(99, 0), (98, 0)], &[(90, 1)], "/ 90:1 101:1 102:1"),
            ("crossed", &[(103, 1), (98, 0)], &[(102, 0)], "Crossed 99:1 98:1 / 101:1 102:1"),
            ("locked", &[(98, 0), (101, 1)], &[], "Crossed 99:1 98:1 / 101:1 102:1"),
            ("moves through", &[(103, 1)], &[(101, 0), (102, 0)], "103:1 99:1 98:1 /"),
            ("too many", &[(99, 0), (98, 4), (1, 1), (2, 1), (3, 1)], &[], "Limit 99:1 98:1 / 101:1 102:1"),
        ];
        for (name, bids, asks, expected) in cases {
            let (mut book, mut changes) = (Book::new(), BookChanges::default());
            let (b, a) = (levels(&[(99, 1), (98, 1)]), levels(&[(101, 1), (102, 1)]));
            book.apply_delta(Levels { bids: &b, asks: &a }, 3, &mut changes).unwrap();
            let (b, a) = (levels(bids), levels(asks));
            let result = book.apply_delta(Levels { bids: &b, asks: &a }, 3, &mut changes);
            let refusal = result.err().map_or(String::new(), |e| format!("{e:?} "));
            assert_eq!(format!("{refusal}{}", text(&book)), expected, "{name}");
            assert!(refusal.is_empty() || changes.is_empty(), "{name}: a refused event changed nothing");
        }
    }

    #[test]
    fn a_snapshot_out_of_order_is_put_in_order() {
        let mut snapshot = Snapshot::default();
        let (b, a) = (levels(&[(97, 1), (99, 1), (98, 0), (97, 2)]), levels(&[(102, 1), (101, 1), (103, 0)]));
        snapshot.load(Levels { bids: &b, asks: &a }, 3).unwrap();
        let (mut book, mut changes) = (Book::new(), BookChanges::default());
        book.compare(&snapshot, &mut changes);
        book.replace(&snapshot, &mut changes);
        assert_eq!(text(&book), "99:1 97:2 / 101:1 102:1");
    }
}
