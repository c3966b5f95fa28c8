//! Folds the changes of a run of book entries into one message.
//!
//! Per price the last quantity counts. A level that was in the window at the cursor and is not in it now is told as
//! removed, also when it merely left: a client that skips entries does not truncate in between, and would keep a level
//! that was deleted outside its window. A level born and dead in between is left out.

use model::{Level, Price, Qty, Side, WindowChange};

use crate::planted::{self, Bug};
use crate::stream::{RingData, Stream};

/// What is known of one price so far.
#[derive(Clone, Copy, Debug)]
struct Touched {
    price: Price,
    /// Position in the run of entries: the last one of a price counts.
    order: u32,
    was: bool,
    is: bool,
    qty: Qty,
}

/// Reused room for merging.
#[derive(Debug, Default)]
pub(crate) struct Merger {
    touched: Vec<Touched>,
    /// The result: per side removals first, then the rest, best price first.
    pub(crate) bids: Vec<Level>,
    pub(crate) asks: Vec<Level>,
}

impl Merger {
    /// Merges the entries after `cursor`; the result is in `bids` and `asks`.
    pub(crate) fn merge(&mut self, stream: &Stream, cursor: u64) {
        for side in Side::BOTH {
            self.touched.clear();
            for (price, past) in stream.older.after(side, cursor) {
                let (order, was) = (self.touched.len() as u32, past.entered_at <= cursor);
                self.touched.push(Touched { price, order, was, is: past.is, qty: past.qty });
            }
            for (_, start, end, entry) in stream.changes_after(cursor) {
                let RingData::Book { bids, .. } = entry.data else { continue };
                let middle = start + usize::from(bids);
                let span = if side == Side::Bid { start..middle } else { middle..end };
                for index in span {
                    let &WindowChange { level, was, is } = stream.change(index);
                    let order = self.touched.len() as u32;
                    self.touched.push(Touched { price: level.price, order, was, is, qty: level.qty });
                }
            }
            self.fold(side);
        }
    }

    fn fold(&mut self, side: Side) {
        self.touched.sort_unstable_by_key(|one| {
            let rank = if side == Side::Bid { -one.price.0 } else { one.price.0 };
            (rank, one.order)
        });
        let result = if side == Side::Bid { &mut self.bids } else { &mut self.asks };
        result.clear();
        let last_of = |run: &[Touched]| (run[0].was, run[run.len() - 1]);
        for run in self.touched.chunk_by(|a, b| a.price == b.price) {
            let (was, last) = last_of(run);
            let is_told = last.qty == Qty::ZERO || !planted::is(Bug::LevelLeaked);
            if was && !last.is && is_told {
                result.push(Level { price: last.price, qty: Qty::ZERO });
            }
        }
        for run in self.touched.chunk_by(|a, b| a.price == b.price) {
            let (_, last) = last_of(run);
            if last.is {
                result.push(Level { price: last.price, qty: last.qty });
            }
        }
    }
}
