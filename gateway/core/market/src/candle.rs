//! Candles of all intervals.
//!
//! Owns the latest candles per interval, by the time of the trades. Never makes a candle without a trade
//! and never closes one by a clock. Trades come from the instrument's state, the engine reads.

use std::collections::VecDeque;

use model::{Candle, INTERVALS_MIN, Nanos, Price, Qty, Trade};

use crate::rounding::mean_price_units;

/// A candle and what its mean price is made of.
#[derive(Debug)]
pub(crate) struct Kept {
    candle: Candle,
    /// In ticks times lots.
    turnover: i128,
}

impl Kept {
    fn new(begin: Nanos, price: Price) -> Self {
        let candle =
            Candle { begin, open: price, high: price, low: price, close: price, ..Candle::default() };
        Self { candle, turnover: 0 }
    }

    fn add(&mut self, trade: &Trade, step: u32) {
        let candle = &mut self.candle;
        candle.high = candle.high.max(trade.price);
        candle.low = candle.low.min(trade.price);
        candle.close = trade.price;
        candle.trades += 1;
        let Some(volume) = candle.volume.0.checked_add(trade.qty.0) else {
            // Saturated, and the mean price stays what it was.
            candle.volume = Qty(i64::MAX);
            return;
        };
        candle.volume = Qty(volume);
        self.turnover += i128::from(trade.price.0) * i128::from(trade.qty.0);
        candle.vwap_units = mean_price_units(self.turnover, i128::from(volume), step);
    }
}

static NONE: VecDeque<Kept> = VecDeque::new();

/// Candles of one instrument: for each of [`INTERVALS_MIN`] the latest, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Candles {
    intervals: [VecDeque<Kept>; INTERVALS_MIN.len()],
}

impl Candles {
    /// Candles of one interval, oldest first, the running one last; of no instrument, none.
    pub(crate) fn of(
        candles: Option<&Self>,
        interval: usize,
    ) -> impl DoubleEndedIterator<Item = &Candle> + ExactSizeIterator {
        let kept = candles.and_then(|candles| candles.intervals.get(interval)).unwrap_or(&NONE);
        kept.iter().map(|kept| &kept.candle)
    }

    /// Adds a trade to every interval; says no when it is too old for at least one of them.
    pub(crate) fn record(&mut self, trade: &Trade, step: u32, kept_max: usize) -> bool {
        let mut all = true;
        for (kept, minutes) in self.intervals.iter_mut().zip(INTERVALS_MIN) {
            all &= record(kept, minutes, trade, step, kept_max);
        }
        all
    }

    /// The trade is the last of its candles; it is counted there already.
    pub(crate) fn set_close(&mut self, trade: &Trade) {
        for (kept, minutes) in self.intervals.iter_mut().zip(INTERVALS_MIN) {
            if let Some(one) = find(kept, begin_of(trade, minutes)) {
                one.candle.close = trade.price;
            }
        }
    }
}

/// Start of the interval of `minutes` that a trade falls into.
fn begin_of(trade: &Trade, minutes: u16) -> Nanos {
    let length = Nanos::from_secs(60 * u64::from(minutes));
    Nanos(trade.ts_event.0 - trade.ts_event.0 % length.0)
}

fn record(kept: &mut VecDeque<Kept>, minutes: u16, trade: &Trade, step: u32, kept_max: usize) -> bool {
    let begin = begin_of(trade, minutes);
    if kept.back().is_none_or(|running| running.candle.begin < begin) {
        if kept.len() >= kept_max {
            kept.pop_front();
        }
        kept.push_back(Kept::new(begin, trade.price));
    }
    find(kept, begin).map(|one| one.add(trade, step)).is_some()
}

/// The candle of that begin: nearly always the last, another when trades come out of their order.
fn find(kept: &mut VecDeque<Kept>, begin: Nanos) -> Option<&mut Kept> {
    kept.iter_mut().rev().find(|one| one.candle.begin <= begin).filter(|one| one.candle.begin == begin)
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{OrdType, Side};
    use proptest::prelude::*;

    const KEPT: usize = 4;
    const STEP: u32 = 3;

    fn trade(seconds: u64, price: i64, qty: i64) -> Trade {
        let ts_event = Nanos::from_secs(seconds);
        let (taker, ord_type) = (Side::Ask, OrdType::Limit);
        Trade { id: 0, price: Price(price), qty: Qty(qty), taker, ord_type, ts_event }
    }

    /// The candle of all trades that belong to it, in the order in which they came.
    fn naive(begin: u64, trades: &[&Trade]) -> Candle {
        let volume: i64 = trades.iter().map(|t| t.qty.0).sum();
        let turnover: i64 = trades.iter().map(|t| t.qty.0 * t.price.0 * i64::from(STEP)).sum();
        Candle {
            begin: Nanos(begin),
            open: trades[0].price,
            high: trades.iter().map(|t| t.price).max().unwrap(),
            low: trades.iter().map(|t| t.price).min().unwrap(),
            close: trades[trades.len() - 1].price,
            volume: Qty(volume),
            vwap_units: (turnover as f64 / volume as f64).round_ties_even() as i64,
            trades: trades.len() as u64,
        }
    }

    proptest! {
        #[test]
        fn candles_agree_with_a_recount_of_all_trades(
            steps in prop::collection::vec((0_u64..4_000, 0_u64..40, 1_i64..400, 1_i64..90), 1..120)
        ) {
            let (mut candles, mut trades) = (Candles::default(), Vec::new());
            let mut now = 1_700_000_000;
            for (ahead, back, price, qty) in steps {
                now += ahead;
                let one = trade(now - back, price, qty);
                // A late trade is only told to this test where some candle of each interval takes it.
                let fits = INTERVALS_MIN.iter().enumerate().all(|(i, &minutes)| {
                    let length = u64::from(minutes) * 60_000_000_000;
                    let begin = one.ts_event.0 / length * length;
                    let mut kept = Candles::of(Some(&candles), i).map(|c| c.begin.0);
                    kept.len() == 0 || Candles::of(Some(&candles), i).next_back().unwrap().begin.0 < begin || kept.any(|b| b == begin)
                });
                prop_assert_eq!(candles.record(&one, STEP, KEPT), fits);
                if !fits {
                    return Ok(());
                }
                trades.push(one);
            }
            for (i, minutes) in INTERVALS_MIN.into_iter().enumerate() {
                let length = u64::from(minutes) * 60_000_000_000;
                let mut by_begin: std::collections::BTreeMap<u64, Vec<&Trade>> = Default::default();
                for one in &trades {
                    by_begin.entry(one.ts_event.0 / length * length).or_default().push(one);
                }
                let all: Vec<_> = by_begin.into_iter().map(|(begin, of)| naive(begin, &of)).collect();
                let kept: Vec<_> = Candles::of(Some(&candles), i).copied().collect();
                prop_assert_eq!(&kept[..], &all[all.len().saturating_sub(KEPT)..]);
            }
        }
    }

    #[test]
    fn a_late_trade_joins_its_candle_or_is_refused() {
        let mut candles = Candles::default();
        let begin = 21_600 * 60 * 100;
        assert!(candles.record(&trade(begin + 10, 5, 1), 1, 2));
        assert!(candles.record(&trade(begin + 70, 6, 1), 1, 2));
        assert!(candles.record(&trade(begin + 20, 9, 1), 1, 2), "the minute before is still there");
        assert!(candles.record(&trade(begin + 130, 6, 1), 1, 2));
        assert!(!candles.record(&trade(begin + 20, 9, 1), 1, 2), "that minute is gone");
        let minutes: Vec<_> = Candles::of(Some(&candles), 0).map(|c| (c.close.0, c.trades)).collect();
        assert_eq!(minutes, [(6, 1), (6, 1)]);
        assert_eq!(
            Candles::of(Some(&candles), 8).next().map(|c| c.trades),
            Some(5),
            "half a month holds all"
        );
    }
}
