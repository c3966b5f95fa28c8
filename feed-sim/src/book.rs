//! A naive limit order book: two sorted lists of levels.
//!
//! Owns prices and quantities of one symbol as the venue itself sees them. Never knows where a level came from.
//! Levels come from generated orders or from a recording, and go out as snapshots.

use std::cmp::Ordering;

use model::{Level, Levels, Price, Qty, Side};

/// One side of a book: levels sorted with the best at the end, where almost all changes happen.
#[derive(Clone, Debug)]
pub struct Ladder {
    side: Side,
    /// Worst first; no two of the same price, none with quantity 0.
    levels: Vec<Level>,
}

impl Ladder {
    /// An empty side.
    #[must_use]
    pub const fn new(side: Side) -> Self {
        Self { side, levels: Vec::new() }
    }

    fn order(&self, a: Price, b: Price) -> Ordering {
        match self.side {
            Side::Bid => a.cmp(&b),
            Side::Ask => b.cmp(&a),
        }
    }

    fn position(&self, price: Price) -> Result<usize, usize> {
        self.levels.binary_search_by(|level| self.order(level.price, price))
    }

    /// Sets the quantity of a price (0 removes it) and returns what was there before.
    pub fn set(&mut self, level: Level) -> Qty {
        match (self.position(level.price), level.qty) {
            (Ok(at), Qty::ZERO) => self.levels.remove(at).qty,
            (Ok(at), qty) => std::mem::replace(&mut self.levels[at].qty, qty),
            (Err(_), Qty::ZERO) => Qty::ZERO,
            (Err(at), _) => {
                self.levels.insert(at, level);
                Qty::ZERO
            }
        }
    }

    /// The quantity at a price; 0 when there is no such level.
    #[must_use]
    pub fn qty(&self, price: Price) -> Qty {
        self.position(price).map_or(Qty::ZERO, |at| self.levels[at].qty)
    }

    /// The best level.
    #[must_use]
    pub fn best(&self) -> Option<Level> {
        self.levels.last().copied()
    }

    /// The worst level.
    #[must_use]
    pub fn worst(&self) -> Option<Level> {
        self.levels.first().copied()
    }

    /// Takes the worst level out.
    pub fn remove_worst(&mut self) -> Option<Level> {
        if self.levels.is_empty() { None } else { Some(self.levels.remove(0)) }
    }

    /// The level at a price, or else the next worse one, or else the worst of all.
    #[must_use]
    pub fn nearest(&self, price: Price) -> Option<Level> {
        let at = self.position(price).unwrap_or_else(|at| at.saturating_sub(1));
        self.levels.get(at).copied()
    }

    /// Number of levels.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether there are no levels.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.levels.is_empty()
    }

    /// All levels, best first.
    pub fn best_first(&self) -> impl Iterator<Item = Level> {
        self.levels.iter().rev().copied()
    }

    /// Forgets all levels and keeps the room.
    pub fn clear(&mut self) {
        self.levels.clear();
    }
}

/// Both sides of one symbol.
#[derive(Clone, Debug)]
pub struct Book {
    /// Buyers.
    pub bids: Ladder,
    /// Sellers.
    pub asks: Ladder,
}

impl Default for Book {
    fn default() -> Self {
        Self { bids: Ladder::new(Side::Bid), asks: Ladder::new(Side::Ask) }
    }
}

impl Book {
    /// One side.
    #[must_use]
    pub const fn side(&self, side: Side) -> &Ladder {
        match side {
            Side::Bid => &self.bids,
            Side::Ask => &self.asks,
        }
    }

    /// One side, to be changed.
    pub const fn side_mut(&mut self, side: Side) -> &mut Ladder {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }

    /// Sets all these levels.
    pub fn apply(&mut self, levels: Levels<'_>) {
        for side in Side::BOTH {
            for &level in levels.side(side) {
                self.side_mut(side).set(level);
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Whether the best bid is at or above the best ask.
    #[must_use]
    pub fn is_crossed(&self) -> bool {
        match (self.bids.best(), self.asks.best()) {
            (Some(bid), Some(ask)) => bid.price >= ask.price,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(side: Side, sets: &[(i64, i64)]) -> Vec<(i64, i64)> {
        let mut ladder = Ladder::new(side);
        for &(price, qty) in sets {
            ladder.set(Level { price: Price(price), qty: Qty(qty) });
        }
        ladder.best_first().map(|level| (level.price.0, level.qty.0)).collect()
    }

    #[test]
    fn levels_stand_best_first_and_zero_removes() {
        let sets = [(10, 1), (12, 2), (11, 3), (12, 5), (10, 0), (99, 0)];
        assert_eq!(check(Side::Bid, &sets), [(12, 5), (11, 3)]);
        assert_eq!(check(Side::Ask, &sets), [(11, 3), (12, 5)]);
    }

    #[test]
    fn nearest_is_the_level_or_the_next_worse_one() {
        let mut ladder = Ladder::new(Side::Bid);
        for price in [10, 20, 30] {
            ladder.set(Level { price: Price(price), qty: Qty(1) });
        }
        let near = |price| ladder.nearest(Price(price)).map(|level| level.price.0);
        assert_eq!([near(20), near(25), near(5), near(40)], [Some(20), Some(20), Some(10), Some(30)]);
    }
}
