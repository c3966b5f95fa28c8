//! The orders of one symbol: limit, cancel and market orders that move its book.
//!
//! Owns the tendencies of a symbol (spread wanted, who trades next). Changes the book and says what changed; never
//! writes an event and never looks at a clock. Random numbers come from `flow.rs`, results go to `simulator.rs`.

use model::{Level, OrdType, Price, Qty, Side};

use crate::book::Book;
use crate::flow::Dice;
use crate::instruments::Listing;

/// The touch is this much larger than other levels, as it is on real books.
pub(crate) const TOUCH_FACTOR: i64 = 3;

/// Most levels that one market order takes.
const SWEEP_LEVELS_MAX: usize = 40;

/// Kinds of events in thousandths; the rest are changes at a log-uniform distance.
pub(crate) const MARKET_ORDERS: i64 = 105;
const AT_TOUCH: i64 = 30;
const REQUOTES: i64 = 60;

/// One fill of a market order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fill {
    pub(crate) price: Price,
    pub(crate) qty: Qty,
}

/// What one event did; reused, so that an event allocates nothing.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) fills: Vec<Fill>,
    /// Side and kind of the order behind `fills`.
    pub(crate) taker: Option<(Side, OrdType)>,
    pub(crate) bids: Vec<Level>,
    pub(crate) asks: Vec<Level>,
    /// Prices that had no level before this event.
    added: Vec<(Side, Price)>,
}

impl Outcome {
    fn clear(&mut self) {
        self.added.clear();
        self.fills.clear();
        self.taker = None;
        self.bids.clear();
        self.asks.clear();
    }

    /// Notes that a price had `before` and has `level.qty` now. Each price is told once, with what it has at the end,
    /// and not at all when it came and went in the same event.
    fn note(&mut self, side: Side, before: Qty, level: Level) {
        let levels = match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        };
        match levels.iter().position(|known| known.price == level.price) {
            Some(at) if level.qty == Qty::ZERO && self.added.contains(&(side, level.price)) => {
                levels.swap_remove(at);
            }
            Some(at) => levels[at] = level,
            None => {
                levels.push(level);
                if before == Qty::ZERO {
                    self.added.push((side, level.price));
                }
            }
        }
    }
}

/// Tendencies of one symbol.
#[derive(Clone, Debug)]
pub(crate) struct Orders {
    anchor: i64,
    base_lots: i64,
    /// Levels a side that are kept.
    depth: usize,
    /// Farthest distance from the touch, in ticks.
    reach: i64,
    /// Spread in ticks that the makers are about to restore.
    spread: i64,
    last_taker: Side,
    /// Market orders, in thousandths; [`MARKET_ORDERS`] unless set.
    market_orders: i64,
}

impl Orders {
    /// Fills the book and starts the tendencies.
    pub(crate) fn start(
        listing: &Listing,
        depth: usize,
        reach: i64,
        book: &mut Book,
        dice: &mut Dice,
    ) -> Self {
        let reach = reach.min(listing.anchor / 2);
        let depth = depth.min(reach as usize / 2);
        let (anchor, base_lots) = (listing.anchor, listing.base_lots);
        for side in Side::BOTH {
            let best = if side == Side::Bid { anchor } else { anchor + 1 };
            for step in 0..depth as i64 {
                // Dense at the touch, thinning out towards half of the reach.
                let spread_out = (reach / 2 - depth as i64).max(0) * step * step / (depth * depth) as i64;
                let price = worse(side, best, step + spread_out);
                let qty = dice.level_size(base_lots * if step == 0 { TOUCH_FACTOR } else { 1 });
                book.side_mut(side).set(Level { price: Price(price), qty: Qty(qty) });
            }
        }
        Self {
            anchor,
            base_lots,
            depth,
            reach,
            spread: 1,
            last_taker: Side::Bid,
            market_orders: MARKET_ORDERS,
        }
    }

    /// So many of a thousand events are market orders, as far as the spread leaves the choice.
    pub(crate) const fn set_market_orders(&mut self, market_orders: i64) {
        self.market_orders = market_orders;
    }

    /// Lets one event happen.
    pub(crate) fn step(&mut self, book: &mut Book, dice: &mut Dice, out: &mut Outcome) {
        out.clear();
        let spread = spread(book);
        if spread == self.spread && dice.chance(30) {
            self.spread = if dice.chance(925) { 1 } else { 2 + dice.geometric() };
        }
        let kind = dice.below(1_000) as i64;
        if spread > self.spread && dice.chance(850) {
            self.improve(book, dice, out);
        } else if spread < self.spread && dice.chance(300) {
            self.withdraw(book, dice, out);
        } else if kind < self.market_orders {
            self.take(book, dice, out);
        } else if kind < self.market_orders + AT_TOUCH {
            self.join(book, dice, out);
        } else if kind < self.market_orders + AT_TOUCH + REQUOTES {
            for _ in 0..2 + dice.below(5) {
                self.change(book, dice, out);
            }
        } else {
            self.change(book, dice, out);
        }
        self.forget_far_levels(book, out);
    }

    fn set(book: &mut Book, side: Side, price: i64, qty: i64, out: &mut Outcome) {
        let level = Level { price: Price(price), qty: Qty(qty) };
        let before = book.side_mut(side).set(level);
        out.note(side, before, level);
    }

    /// Levels that a side always keeps, so that it never runs empty.
    const fn least(&self) -> usize {
        self.depth / 4 + 1
    }

    /// How far the price is above its anchor, in thousandths.
    fn deviation(&self, book: &Book) -> i64 {
        let price = book.bids.best().map_or(self.anchor, |level| level.price.0);
        (price - self.anchor) * 1_000 / self.anchor
    }

    /// A limit order at the touch: more or less quantity there.
    fn join(&self, book: &mut Book, dice: &mut Dice, out: &mut Outcome) {
        let side = any_side(dice);
        if let Some(best) = book.side(side).best() {
            let qty = dice.level_size(self.base_lots * TOUCH_FACTOR);
            Self::set(book, side, best.price.0, qty, out);
        }
    }

    /// A limit order inside the spread. After a trade the price rather follows it than comes back.
    fn improve(&self, book: &mut Book, dice: &mut Dice, out: &mut Outcome) {
        let (bid, ask) = touch(book, self.anchor);
        let follows = dice.chance(550);
        let up = follows == (self.last_taker == Side::Bid);
        // The pull: the farther from the anchor, the less likely is a move away from it.
        let deviation = self.deviation(book);
        let away = up == (deviation > 0);
        let up = if away && dice.chance((deviation.abs() * 6).min(1_000)) { !up } else { up };
        let qty = dice.level_size(self.base_lots * TOUCH_FACTOR);
        if up {
            Self::set(book, Side::Bid, ask - self.spread, qty, out);
        } else {
            Self::set(book, Side::Ask, bid + self.spread, qty, out);
        }
    }

    /// A best level goes away, because makers want a wider spread.
    fn withdraw(&self, book: &mut Book, dice: &mut Dice, out: &mut Outcome) {
        let side = any_side(dice);
        match book.side(side).best() {
            Some(best) if book.side(side).len() > self.least() => {
                Self::set(book, side, best.price.0, 0, out);
            }
            _ => self.join(book, dice, out),
        }
    }

    /// A limit order, a change or a cancellation away from the touch, so that the number of levels stays.
    fn change(&self, book: &mut Book, dice: &mut Dice, out: &mut Outcome) {
        let side = any_side(dice);
        let Some(best) = book.side(side).best() else { return };
        let distance = dice.distance();
        let distance = if distance > self.reach { 1 + distance % self.reach } else { distance };
        let price = worse(side, best.price.0, distance);
        let levels = book.side(side).len();
        let known = book.side(side).qty(Price(price)) != Qty::ZERO;
        if !known && levels < self.depth {
            if price >= 1 {
                Self::set(book, side, price, dice.level_size(self.base_lots), out);
            }
            return;
        }
        let at =
            if known { price } else { book.side(side).nearest(Price(price)).map_or(price, |l| l.price.0) };
        let remove = at != best.price.0 && levels * 4 > self.depth * 3 && dice.chance(330);
        let qty = if remove { 0 } else { dice.level_size(self.base_lots) };
        Self::set(book, side, at, qty, out);
    }

    /// A market order: takes from the best level on until it is filled.
    fn take(&mut self, book: &mut Book, dice: &mut Dice, out: &mut Outcome) {
        let taker = self.next_taker(book, dice);
        let maker = taker.opposite();
        // Never so much that the side runs empty: what is left of the order is cancelled.
        let spare = book.side(maker).len().saturating_sub(self.least()).min(SWEEP_LEVELS_MAX);
        if spare == 0 {
            return self.change(book, dice, out);
        }
        let mut left = dice.trade_size(self.base_lots / 2);
        for _ in 0..spare {
            let Some(best) = book.side(maker).best() else { break };
            let filled = left.min(best.qty.0);
            fill(best.price, filled, dice, out);
            Self::set(book, maker, best.price.0, best.qty.0 - filled, out);
            left -= filled;
            if left == 0 {
                break;
            }
        }
        self.last_taker = taker;
        let ord_type = if dice.chance(600) { OrdType::Market } else { OrdType::Limit };
        out.taker = Some((taker, ord_type));
    }

    /// Takers come in runs, and rather against a price that went far.
    fn next_taker(&self, book: &Book, dice: &mut Dice) -> Side {
        let run = if self.last_taker == Side::Bid { 150 } else { -150 };
        let pull = (self.deviation(book) * 5).clamp(-500, 500);
        if dice.chance(500 + run - pull) { Side::Bid } else { Side::Ask }
    }

    /// Removes a level that is out of reach or beyond the depth; said like any other change.
    fn forget_far_levels(&self, book: &mut Book, out: &mut Outcome) {
        for side in Side::BOTH {
            let ladder = book.side(side);
            let (Some(best), Some(worst)) = (ladder.best(), ladder.worst()) else { continue };
            let far = (best.price.0 - worst.price.0).abs() > 2 * self.reach && ladder.len() > self.depth / 2;
            if far || ladder.len() > self.depth + SWEEP_LEVELS_MAX {
                Self::set(book, side, worst.price.0, 0, out);
            }
        }
    }
}

/// One maker's order or two make a fill.
fn fill(price: Price, qty: i64, dice: &mut Dice, out: &mut Outcome) {
    let part = if qty > 1 && dice.chance(250) { 1 + dice.below(qty as u64 - 1) as i64 } else { 0 };
    for qty in [part, qty - part] {
        if qty > 0 {
            out.fills.push(Fill { price, qty: Qty(qty) });
        }
    }
}

fn any_side(dice: &mut Dice) -> Side {
    if dice.chance(500) { Side::Bid } else { Side::Ask }
}

const fn worse(side: Side, price: i64, ticks: i64) -> i64 {
    match side {
        Side::Bid => price - ticks,
        Side::Ask => price + ticks,
    }
}

fn touch(book: &Book, anchor: i64) -> (i64, i64) {
    let bid = book.bids.best().map_or(anchor, |level| level.price.0);
    let ask = book.asks.best().map_or(bid + 1, |level| level.price.0);
    (bid, ask)
}

fn spread(book: &Book) -> i64 {
    let (bid, ask) = touch(book, 0);
    ask - bid
}
