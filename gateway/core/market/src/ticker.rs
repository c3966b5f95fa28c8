//! The figures of the last 24 hours.
//!
//! Owns sums over sparse buckets of five minutes, by the time of the events. Never reads a clock: the
//! newest event is now. Trades come from the instrument's state; best prices are the book's.
//!
//! A bucket counts until all of it is more than 24 hours back, so the figures cover up to five minutes
//! more than a day, and hold at most [`BUCKETS_MAX`] buckets whatever is traded.

use std::collections::VecDeque;

use model::{Nanos, Price, Qty, Side, Ticker, Trade};

use crate::book::Book;
use crate::rounding::{basis_points, clamp, mean_price_units};

const BUCKET: Nanos = Nanos::from_secs(5 * 60);
const DAY: Nanos = Nanos::from_secs(24 * 60 * 60);

/// Buckets that can touch the last 24 hours.
const BUCKETS_MAX: usize = (DAY.0 / BUCKET.0) as usize + 1;

/// Trades of five minutes.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    begin: Nanos,
    first: Price,
    sums: Sums,
}

/// Sums over trades.
#[derive(Clone, Copy, Debug)]
struct Sums {
    low: Price,
    high: Price,
    /// In lots.
    volume: i128,
    /// In ticks times lots.
    turnover: i128,
}

impl Sums {
    fn of(trade: &Trade) -> Self {
        let volume = i128::from(trade.qty.0);
        let turnover = volume * i128::from(trade.price.0);
        Self { low: trade.price, high: trade.price, volume, turnover }
    }

    fn join(self, other: Self) -> Self {
        Self {
            low: self.low.min(other.low),
            high: self.high.max(other.high),
            volume: self.volume.saturating_add(other.volume),
            turnover: self.turnover.saturating_add(other.turnover),
        }
    }
}

/// Rolling figures of one instrument.
#[derive(Debug, Default)]
pub(crate) struct DayFigures {
    /// Oldest first, only those with trades, at most [`BUCKETS_MAX`].
    buckets: VecDeque<Bucket>,
    /// Sums over all buckets; none when there are none.
    total: Option<Sums>,
    last: Option<Price>,
    /// Newest event that changed the ticker.
    newest: Nanos,
}

impl DayFigures {
    /// Counts a trade; says no when it is older than the figures reach.
    pub(crate) fn record(&mut self, trade: &Trade) -> bool {
        self.set_last(trade.price);
        self.advance(trade.ts_event);
        let begin = Nanos(trade.ts_event.0 - trade.ts_event.0 % BUCKET.0);
        if is_expired(begin, self.newest) {
            return false;
        }
        let sums = Sums::of(trade);
        self.total = Some(self.total.map_or(sums, |total| total.join(sums)));
        let index = self.buckets.partition_point(|bucket| bucket.begin < begin);
        match self.buckets.get_mut(index) {
            Some(bucket) if bucket.begin == begin => bucket.sums = bucket.sums.join(sums),
            _ => self.buckets.insert(index, Bucket { begin, first: trade.price, sums }),
        }
        debug_assert!(self.buckets.len() <= BUCKETS_MAX);
        true
    }

    /// The last price, of a trade that is counted.
    pub(crate) const fn set_last(&mut self, price: Price) {
        self.last = Some(price);
    }

    /// Time went on to an event that changes the ticker: what is too old no longer counts.
    pub(crate) fn advance(&mut self, ts_event: Nanos) {
        self.newest = self.newest.max(ts_event);
        let held = self.buckets.len();
        while self.buckets.front().is_some_and(|bucket| is_expired(bucket.begin, self.newest)) {
            self.buckets.pop_front();
        }
        if self.buckets.len() < held {
            self.total = self.buckets.iter().map(|bucket| bucket.sums).reduce(Sums::join);
        }
    }

    /// The whole ticker; `step` is that of the instrument's price.
    pub(crate) fn ticker(&self, book: &Book, step: u32) -> Ticker {
        let quotes = Ticker {
            bid: book.best(Side::Bid),
            ask: book.best(Side::Ask),
            last: self.last,
            ts_event: self.newest,
            ..Ticker::default()
        };
        let (Some(total), Some(first), Some(last)) = (self.total, self.buckets.front(), self.last) else {
            return quotes;
        };
        let change = last.0.saturating_sub(first.first.0);
        Ticker {
            volume: Qty(clamp(total.volume)),
            vwap_units: mean_price_units(total.turnover, total.volume, step),
            low: Some(total.low),
            high: Some(total.high),
            change,
            change_bp: basis_points(change, first.first.0),
            ..quotes
        }
    }
}

fn is_expired(begin: Nanos, newest: Nanos) -> bool {
    begin + BUCKET + DAY <= newest
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::OrdType;
    use proptest::prelude::*;

    const STEP: u32 = 5;

    fn trade(seconds: u64, price: i64, qty: i64) -> Trade {
        let ts_event = Nanos::from_secs(seconds);
        let (taker, ord_type) = (Side::Bid, OrdType::Market);
        Trade { id: 0, price: Price(price), qty: Qty(qty), taker, ord_type, ts_event }
    }

    /// The same from all trades ever, the slow way.
    fn naive(trades: &[Trade], newest: Nanos) -> Ticker {
        let begin = |t: &Trade| t.ts_event.0 / BUCKET.0 * BUCKET.0;
        let counted = |t: &&Trade| begin(t) + BUCKET.0 + DAY.0 > newest.0;
        let mut window: Vec<&Trade> = trades.iter().filter(counted).collect();
        window.sort_by_key(|t| begin(t));
        let last = trades.last().map(|t| t.price);
        let mut ticker = Ticker { last, ts_event: newest, ..Ticker::default() };
        let Some(first) = window.first() else { return ticker };
        let volume: i64 = window.iter().map(|t| t.qty.0).sum();
        let turnover: i64 = window.iter().map(|t| t.qty.0 * t.price.0 * i64::from(STEP)).sum();
        ticker.volume = Qty(volume);
        ticker.vwap_units = (turnover as f64 / volume as f64).round_ties_even() as i64;
        ticker.low = window.iter().map(|t| t.price).min();
        ticker.high = window.iter().map(|t| t.price).max();
        ticker.change = trades[trades.len() - 1].price.0 - first.price.0;
        ticker.change_bp = (ticker.change as f64 * 10_000.0 / first.price.0 as f64).round() as i64;
        ticker
    }

    proptest! {
        #[test]
        fn figures_agree_with_a_recount_of_all_trades(
            steps in prop::collection::vec((0_u64..9_000, 0_u64..2_000, 1_i64..400, 1_i64..90, any::<bool>()), 1..120)
        ) {
            let (mut figures, mut trades) = (DayFigures::default(), Vec::new());
            let (mut now, mut newest) = (1_000_000, Nanos(0));
            for (ahead, back, price, qty, quote_only) in steps {
                now += ahead;
                if quote_only {
                    newest = newest.max(Nanos::from_secs(now));
                    figures.advance(Nanos::from_secs(now));
                } else {
                    let one = trade(now - back, price, qty);
                    newest = newest.max(one.ts_event);
                    prop_assert!(figures.record(&one));
                    trades.push(one);
                }
                prop_assert_eq!(figures.ticker(&Book::new(), STEP), naive(&trades, newest));
            }
        }
    }

    #[test]
    fn a_trade_older_than_the_figures_reach_is_not_counted() {
        let mut figures = DayFigures::default();
        assert!(figures.record(&trade(1_000_000, 7, 1)));
        assert!(!figures.record(&trade(1_000_000 - 2 * 86_400, 9, 1)));
        assert_eq!(figures.ticker(&Book::new(), 1).volume, Qty(1));
    }

    #[test]
    fn a_day_without_trades_keeps_only_the_last_price() {
        let mut figures = DayFigures::default();
        figures.record(&trade(1_000_000, 7, 1));
        figures.advance(Nanos::from_secs(1_000_000 + 2 * 86_400));
        let ticker = figures.ticker(&Book::new(), 1);
        assert_eq!((ticker.last, ticker.low, ticker.volume), (Some(Price(7)), None, Qty(0)));
    }
}
