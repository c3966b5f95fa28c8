//! What a client knows of one subscription, and what is wrong with the next element of it.

use std::collections::BTreeMap;

use model::{Instrument, Level, Price, Qty};
use serde_json::value::RawValue;

use super::Verdict;
use super::message::{Answer, Element};

/// What a client knows of one subscription.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Depth asked for; books only.
    pub(crate) depth: usize,
    pub(super) wants_snapshot: bool,
    /// An unsubscription is on its way.
    pub(crate) leaving: bool,
    /// Its grant was taken away when so many bytes were on their way: no data of it may begin behind them, and a notice is due.
    pub(super) revoked_at: Option<u64>,
    pub(super) acknowledged: bool,
    pub(super) snapshots: u64,
    /// Epoch and sequence at which it was acknowledged, until the first element comes; only who opted in is told.
    pub(super) begun: Option<(u64, u64)>,
    /// A snapshot of trades came last: the next update may follow the event at which the subscription began, or began again, instead
    /// of the last trade.
    pub(super) shows_history: bool,
    /// No update has come since it was acknowledged.
    pub(super) is_new: bool,
    pub(crate) last_seq: Option<u64>,
    pub(crate) epoch: Option<u64>,
    /// It came back with what it had: no snapshot is owed when it is acknowledged as recovered.
    pub(super) resuming: bool,
    /// What it claims to have it never had: it must not be acknowledged as recovered.
    pub(super) lying: bool,
    /// The answer to `pause` has come, that to `resume` not yet.
    pub(super) paused: bool,
    /// Requests that the client had sent before it.
    pub(super) born: u64,
    /// Limits of the `disconnect` policy in milliseconds and entries, while it is in force.
    pub(crate) lag_limits: Option<(u64, u64)>,
    pub(crate) bids: BTreeMap<i64, i64>,
    pub(crate) asks: BTreeMap<i64, i64>,
    pub(crate) last_trade: Option<u64>,
    /// Trades that a notice said were lost.
    pub(super) told_lost: u64,
    /// A notice said that the next link is broken.
    pub(super) told_gap: bool,
    /// Entries that a notice said the next message stands for.
    pub(super) promised: Option<u64>,
    /// The last notice about its data said that it is stale.
    pub(crate) told_stale: bool,
    /// An operator changed its terms, and nobody was told which are in force.
    pub(crate) ordered: bool,
    /// Its policy skips entries and goes on with the next one.
    pub(crate) skips: bool,
    /// Best bid and ask of the last ticker; 0 where there is none.
    pub(crate) quote: Option<(i64, i64)>,
    /// Trades of the last candle that was sent.
    pub(crate) candle_trades: Option<u64>,
    /// Status by symbol; of the instrument channel only.
    pub(crate) pairs: BTreeMap<String, String>,
}

impl View {
    /// Of somebody who never had anything.
    pub(crate) fn empty(depth: usize) -> Self {
        Self { depth, ..Self::default() }
    }

    /// Whether a connection that takes this over can go on from it.
    pub(crate) fn can_resume(&self) -> bool {
        self.acknowledged
            && !self.lying
            && self.last_seq.is_some()
            && self.epoch.is_some()
            && self.snapshots == 1
    }

    /// Whether it is a book of which only changes were asked for: nobody can say what it is.
    pub(crate) const fn is_blind(&self) -> bool {
        self.snapshots == 0 && !self.wants_snapshot
    }

    /// Takes the terms in force from an answer.
    pub(super) fn take_terms(&mut self, answer: &Answer<'_>) {
        let limits = (answer.max_lag_ms.unwrap_or_default(), answer.max_lag_entries.unwrap_or_default());
        self.lag_limits = (answer.policy == Some("disconnect")).then_some(limits);
        self.skips = answer.policy == Some("drop_newest");
    }

    /// The next link may be broken: what is missing need not have been told.
    pub(super) const fn forgive_gap(&mut self) {
        self.told_gap = true;
        self.last_trade = None;
    }

    /// Takes where the subscription begins from its acknowledgement: there its snapshot stands, and the first update follows it.
    pub(super) fn begin_at(&mut self, epoch: Option<u64>, seq: Option<u64>) {
        self.begun = epoch.zip(seq).filter(|_| self.last_seq.is_none());
        self.is_new = true;
    }

    /// Whether the update at hand is the first since it was acknowledged.
    pub(super) const fn is_first(&mut self) -> bool {
        std::mem::replace(&mut self.is_new, false)
    }

    /// Whether a trade comes that is not the first of its market, instead of the snapshot that was to come before it.
    pub(super) fn lacks_snapshot(&self, trade: &Element<'_>) -> bool {
        let is_first = self.last_trade.is_none() && !self.told_gap;
        self.wants_snapshot && self.snapshots == 0 && is_first && trade.trade_id > Some(1)
    }

    /// Forgets what is behind: a snapshot is to come.
    pub(super) fn begin_again(&mut self) {
        self.snapshots = 0;
        self.begun = None;
        self.last_seq = None;
        self.last_trade = None;
        self.told_gap = false;
        self.wants_snapshot = true;
    }

    /// Checks that a message comes at a time when it may.
    pub(super) fn admit(&mut self, is_snapshot: bool, needs_snapshot: bool) -> Verdict {
        if !self.acknowledged {
            return Err("data before the acknowledgement".into());
        }
        if is_snapshot {
            self.snapshots += 1;
            if self.snapshots > 1 {
                return Err("a second snapshot".into());
            }
        } else if self.paused {
            return Err("an update while paused".into());
        } else if needs_snapshot && self.wants_snapshot && self.snapshots == 0 {
            return Err("an update before the snapshot".into());
        }
        Ok(())
    }

    /// Checks `seq`, `prev` and `epoch` against what was sent before.
    pub(super) fn link(
        &mut self,
        element: &Element<'_>,
        is_snapshot: bool,
        is_trade: bool,
        ext: bool,
    ) -> Verdict {
        let seq = element.seq.ok_or("seq is missing")?;
        let epoch = element.epoch;
        if is_trade && element.merged.is_some() {
            return Err("merged trades".into());
        }
        let begun = self.begun.take();
        if is_snapshot {
            (self.last_seq, self.epoch, self.shows_history) = (Some(seq), epoch, is_trade);
            let epoch = epoch.ok_or("a snapshot without epoch")?;
            // A snapshot that was late because its reader was slow is of later. Each trade has the sequence of its own.
            return match begun.filter(|begun| !is_trade && begun.0 == epoch && begun.1 > seq) {
                Some((_, begun)) => Err(format!("a snapshot of {seq}, acknowledged at {begun}")),
                None => Ok(()),
            };
        }
        let prev = element.prev.ok_or("prev is missing")?;
        if let Some(last) = self.last_seq.or_else(|| begun.map(|(_, seq)| seq)) {
            // A hole in trades is allowed when it is told: by a notice, or by trade_id to a plain client.
            // So is a policy that an operator chose for a client that does not know of policies.
            let is_ordered = self.ordered && !ext;
            let follows_start = std::mem::take(&mut self.shows_history);
            let told =
                std::mem::take(&mut self.told_gap) || (is_trade && !ext) || is_ordered || follows_start;
            if prev != last && !told {
                return Err(format!("prev {prev} after {last}"));
            }
            if epoch.is_none() && seq <= last && !is_ordered {
                return Err(format!("seq {seq} after {last}"));
            }
        }
        if epoch.is_some() {
            self.epoch = epoch;
        }
        self.last_seq = Some(seq);
        Ok(())
    }

    /// Counts trades that are missing before this one.
    pub(super) fn trade(&mut self, element: &Element<'_>) -> u64 {
        let id = element.trade_id.unwrap_or_default();
        let missing = match self.last_trade {
            // Ids begin again with a new epoch.
            Some(last) if id > last => id - last - 1,
            _ => 0,
        };
        self.last_trade = Some(id);
        let told = missing.min(self.told_lost);
        self.told_lost -= told;
        missing - told
    }

    /// Keeps the best prices of a ticker.
    pub(super) fn note_quote(&mut self, element: &Element<'_>, instrument: &Instrument) -> Verdict {
        let price = |text: Option<&RawValue>| steps(instrument.price, text.ok_or("a price is missing")?);
        self.quote = Some((price(element.bid)?, price(element.ask)?));
        Ok(())
    }

    /// Applies a message to the book and checks the checksum.
    pub(super) fn apply(
        &mut self,
        element: &Element<'_>,
        is_snapshot: bool,
        instrument: &Instrument,
    ) -> Verdict {
        if is_snapshot {
            self.bids.clear();
            self.asks.clear();
        }
        for (levels, is_bid) in [(&element.bids, true), (&element.asks, false)] {
            let mut added = false;
            for level in levels.as_ref().ok_or("a side is missing")? {
                let price = steps(instrument.price, level.price)?;
                let qty = steps(instrument.qty, level.qty)?;
                let side = if is_bid { &mut self.bids } else { &mut self.asks };
                if qty == 0 {
                    if added {
                        return Err("a removal behind another level".into());
                    }
                    side.remove(&price);
                } else {
                    added = true;
                    side.insert(price, qty);
                }
                // As strict clients do: cut after every level.
                self.truncate();
            }
        }
        if self.crossed() {
            return Err("a crossed book".into());
        }
        let expected = element.checksum.ok_or("checksum is missing")?;
        let actual = self.checksum(instrument);
        if actual == expected { Ok(()) } else { Err(format!("checksum {expected}, the book has {actual}")) }
    }

    fn truncate(&mut self) {
        while self.bids.len() > self.depth {
            self.bids.pop_first();
        }
        while self.asks.len() > self.depth {
            self.asks.pop_last();
        }
    }

    fn crossed(&self) -> bool {
        match (self.bids.keys().next_back(), self.asks.keys().next()) {
            (Some(bid), Some(ask)) => bid >= ask,
            _ => false,
        }
    }

    fn checksum(&self, instrument: &Instrument) -> u32 {
        let level = |(&price, &qty): (&i64, &i64)| Level { price: Price(price), qty: Qty(qty) };
        wire::checksum::checksum(instrument, self.bids.iter().rev().map(level), self.asks.iter().map(level))
    }
}

/// Reads a number of the text as steps: exact, and nothing but digits and a dot.
fn steps(scale: model::Scale, number: &RawValue) -> Result<i64, String> {
    scale.parse(number.get().as_bytes()).map_err(|error| error.to_string())
}
