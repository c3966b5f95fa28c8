//! One side of a book: its levels in order of price.
//!
//! Owns the levels; never knows the other side, sequences, or who looks. The book sets levels, everyone
//! else reads. The best level stands at the end of the vector: most changes happen near the touch, so
//! what an insertion has to move is short.

use std::cmp::Ordering;

use model::{Level, Price, Qty, Side};

/// The side has as many levels as it may have.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Full;

/// Levels of one side.
#[derive(Debug)]
pub(crate) struct Ladder {
    side: Side,
    /// Strictly ordered from the worst price to the best; every quantity is above 0.
    levels: Vec<Level>,
}

impl Ladder {
    pub(crate) const fn new(side: Side) -> Self {
        Self { side, levels: Vec::new() }
    }

    /// Reads one level of each cache line of the best ones; what comes out means nothing.
    pub(crate) fn warm(&self) -> i64 {
        let at = |rank: usize| {
            let index = self.levels.len().wrapping_sub(1 + rank);
            self.levels.get(index).map_or(0, |level| level.qty.0)
        };
        at(0) ^ at(4) ^ at(8)
    }

    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    pub(crate) fn best(&self) -> Option<Level> {
        self.levels.last().copied()
    }

    /// The level that `rank` others stand before.
    pub(crate) fn level(&self, rank: usize) -> Level {
        self.levels[self.levels.len() - 1 - rank]
    }

    /// How many levels are better than `price`.
    pub(crate) fn rank(&self, price: Price) -> usize {
        let (index, found) = self.position(price);
        self.levels.len() - index - usize::from(found)
    }

    /// All levels, best first.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = Level> + ExactSizeIterator + Clone + '_ {
        self.levels.iter().rev().copied()
    }

    /// Sets the quantity at a price and says what it was, and how many levels are better; 0 removes, and stands for an absent level.
    pub(crate) fn set(&mut self, price: Price, qty: Qty, levels_max: usize) -> Result<(Qty, usize), Full> {
        let (index, found) = self.position(price);
        let was = if found { self.levels[index].qty } else { Qty::ZERO };
        let better = self.levels.len() - index - usize::from(found);
        match (found, qty > Qty::ZERO) {
            (true, true) => self.levels[index].qty = qty,
            (true, false) => drop(self.levels.remove(index)),
            (false, true) if self.levels.len() >= levels_max => return Err(Full),
            (false, true) => self.levels.insert(index, Level { price, qty }),
            (false, false) => {}
        }
        Ok((was, better))
    }

    /// Replaces all levels by those of `sorted`, which go from the worst to the best.
    pub(crate) fn replace(&mut self, sorted: &[Level]) {
        debug_assert!(self.is_ordered(sorted));
        self.levels.clear();
        self.levels.extend_from_slice(sorted);
    }

    /// Whether levels go strictly from the worst to the best, as they do inside.
    pub(crate) fn is_ordered(&self, levels: &[Level]) -> bool {
        levels.is_sorted_by(|a, b| self.side.is_better(b.price, a.price))
    }

    /// Calls `visit(price, old, new, rank)` for each level that differs from `sorted`, best first; `rank` of them stand before it there.
    pub(crate) fn for_each_difference(
        &self,
        sorted: &[Level],
        mut visit: impl FnMut(Price, Qty, Qty, usize),
    ) {
        let (mut old, mut new) = (self.iter().peekable(), sorted.iter().rev().copied().peekable());
        loop {
            let rank = sorted.len() - new.len();
            let order = match (old.peek(), new.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(o), Some(n)) => best_first(self.side, o.price, n.price),
            };
            let was = old.next_if(|_| order.is_le());
            let is = new.next_if(|_| order.is_ge());
            if let Some(level) = was.or(is)
                && was != is
            {
                visit(level.price, was.unwrap_or_default().qty, is.unwrap_or_default().qty, rank);
            }
        }
    }

    /// Where `price` stands or would stand in `levels`, and whether it is there.
    fn position(&self, price: Price) -> (usize, bool) {
        let index = self.levels.partition_point(|level| self.side.is_better(price, level.price));
        (index, self.levels.get(index).is_some_and(|level| level.price == price))
    }
}

/// Order of prices on a side of the book, the best first.
pub(crate) fn best_first(side: Side, a: Price, b: Price) -> Ordering {
    match side {
        Side::Bid => b.cmp(&a),
        Side::Ask => a.cmp(&b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(side: Side, prices: &[(i64, i64)]) -> String {
        let mut ladder = Ladder::new(side);
        for &(price, qty) in prices {
            ladder.set(Price(price), Qty(qty), 4).unwrap();
        }
        ladder.iter().map(|level| format!("{}:{} ", level.price.0, level.qty.0)).collect()
    }

    #[test]
    fn levels_stand_best_first_and_zero_removes() {
        let prices = [(5, 1), (7, 2), (6, 3), (7, 4), (5, 0), (9, 0), (8, 1)];
        assert_eq!(check(Side::Bid, &prices), "8:1 7:4 6:3 ");
        assert_eq!(check(Side::Ask, &prices), "6:3 7:4 8:1 ");
    }

    #[test]
    fn a_full_ladder_takes_no_new_price_and_still_changes_known_ones() {
        let mut ladder = Ladder::new(Side::Bid);
        ladder.set(Price(1), Qty(1), 2).unwrap();
        ladder.set(Price(2), Qty(1), 2).unwrap();
        assert_eq!(ladder.set(Price(3), Qty(1), 2), Err(Full));
        assert_eq!(ladder.set(Price(2), Qty(5), 2), Ok((Qty(1), 0)));
        assert_eq!(ladder.set(Price(1), Qty(0), 2), Ok((Qty(1), 1)));
        assert_eq!(ladder.set(Price(3), Qty(1), 2), Ok((Qty(0), 0)));
    }

    #[test]
    fn rank_counts_the_better_levels() {
        let mut ladder = Ladder::new(Side::Ask);
        for price in [10, 12, 14] {
            ladder.set(Price(price), Qty(1), 9).unwrap();
        }
        let ranks: Vec<_> = (9..=15).map(|price| ladder.rank(Price(price))).collect();
        assert_eq!(ranks, [0, 0, 1, 1, 2, 2, 3]);
    }
}
