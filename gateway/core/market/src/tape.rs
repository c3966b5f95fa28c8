//! The latest trades of an instrument.
//!
//! Owns a bounded ring of trades and decides by trade id which are new. Never checks sequences for gaps.
//! Trades come from the instrument's state; the engine reads them for the snapshot of a trade stream.

use std::collections::VecDeque;

use model::{Epoch, Sequence, Trade};

/// A trade with its place in the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeqTrade {
    /// Position among the events of its instrument.
    pub seq: Sequence,
    /// Generation that `seq` belongs to.
    pub epoch: Epoch,
    /// The trade.
    pub trade: Trade,
}

/// What a trade turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    New,
    /// It, or a newer one of its epoch, is known.
    Known,
    /// Known from another epoch: it has a new place now, and must not count twice.
    ToldAgain,
}

/// The latest trades, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    trades: VecDeque<SeqTrade>,
    /// Epoch and id of the last trade: ids of one epoch only grow.
    last: Option<(Epoch, u64)>,
    /// Epoch and sequence of the last published trade: sequences of one epoch only grow.
    published: Option<(Epoch, Sequence)>,
}

impl Tape {
    pub(crate) const fn new() -> Self {
        Self { trades: VecDeque::new(), last: None, published: None }
    }

    pub(crate) const fn trades(&self) -> &VecDeque<SeqTrade> {
        &self.trades
    }

    /// Takes a trade; only a new one is to be counted.
    pub(crate) fn take(&mut self, one: SeqTrade, replay: bool, kept_max: usize) -> Taken {
        let known = self.last.is_some_and(|(epoch, id)| epoch == one.epoch && one.trade.id <= id)
            || self.published.is_some_and(|(epoch, seq)| epoch == one.epoch && one.seq <= seq);
        if known {
            return Taken::Known;
        }
        self.last = Some((one.epoch, one.trade.id));
        let told_again = replay && self.forget(one);
        if self.trades.len() >= kept_max {
            self.trades.pop_front();
        }
        if kept_max > 0 {
            self.trades.push_back(one);
        }
        if told_again { Taken::ToldAgain } else { Taken::New }
    }

    /// Remembers that clients were told of the trade that was recorded last.
    pub(crate) const fn publish(&mut self, epoch: Epoch, seq: Sequence) {
        self.published = Some((epoch, seq));
    }

    /// A new epoch tells the history again: a trade equal to a kept one of another epoch is that trade.
    /// It gives up its old place for the new one.
    fn forget(&mut self, one: SeqTrade) -> bool {
        let same = self.trades.iter().position(|kept| kept.epoch != one.epoch && kept.trade == one.trade);
        same.and_then(|index| self.trades.remove(index)).is_some()
    }
}
