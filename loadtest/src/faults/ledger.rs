//! The ledger: which trades each client has, how it was told of those that it lacks, and whether all that it was sent is true.
//!
//! Owns what clients were sent, over all their connections, and the comparison with the reference. A loss is told when the client
//! can know of it: by a notice, by the link of an update (who did not opt in), by a new epoch of the feed, by being told that the
//! data was stale, or because its subscription began anew instead of going on. Anything else is a silent loss. Never keeps a book: [`crate::verify`] does. Filled
//! by [`super::crowd`].

use super::reference::Record;
use crate::book::digest;
use crate::scan::Channel;
use crate::verify::{Standing, What};
use crate::violation::Kind;
use serde::Serialize;
use std::collections::HashMap;

/// Trades that clients did not get, summed over clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Losses {
    /// Told by a notice.
    pub(crate) by_notice: u64,
    /// Told by the link of the next trade, to clients that did not opt in.
    pub(crate) by_link: u64,
    /// Told by a new epoch: what the client had not got of the old one, and the new one had before.
    pub(crate) by_epoch: u64,
    /// Lost before the gateway: the feed was away for longer than it tells trades again. Told as stale, and seen by the ids.
    pub(crate) by_stale: u64,
    /// Told because the subscription began anew after a reconnect.
    pub(crate) by_new_subscription: u64,
    /// Not told.
    pub(crate) silent: u64,
}

impl Losses {
    /// Told in any way.
    pub(crate) const fn told(&self) -> u64 {
        self.by_notice + self.by_link + self.by_epoch + self.by_stale + self.by_new_subscription
    }
}

/// Epoch and id of a trade.
type Trade = (u64, u64);

/// What a client has of the trades of a symbol.
#[derive(Clone, Copy, Debug, Default)]
struct Tail {
    /// The last one.
    last: Option<Trade>,
    /// Entries that notices told as lost behind it.
    told: u64,
    /// Whether the data was told to be stale since.
    is_stale: bool,
    /// Whether the subscription began anew since.
    is_anew: bool,
}

/// What is wrong: its kind, the symbol, what was expected, what came.
pub(crate) type Finding = (Kind, usize, String, String);

/// Where a client stands in the end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Where the feed does.
    Same,
    /// It lacks so many trades, and knows that it does.
    Told(u64),
    /// It lacks so many trades without knowing, or has another book.
    Behind(u64, Finding),
}

/// The ledger of all clients.
#[derive(Default)]
pub(crate) struct Ledger {
    tails: HashMap<(u32, usize), Tail>,
    /// Checksums of books that were sent, by symbol, epoch and sequence.
    checksums: HashMap<(usize, u64, u64), u32>,
    /// Sequences of trades that were sent, by symbol, epoch and id.
    trades: HashMap<(usize, u64, u64), u64>,
    /// Trades between which the epoch changed for a client, and their symbol.
    crossings: Vec<(usize, Trade, Trade)>,
    pub(crate) losses: Losses,
    /// Trades that were received, in all.
    pub(crate) received: u64,
}

/// What the comparison with the reference came to.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Compared {
    /// Different books of a symbol at a place, whoever had them.
    pub(crate) books: usize,
    /// Different trades.
    pub(crate) trades: usize,
    /// Books and trades of which the reference was not told any more when the feed was killed.
    pub(crate) beyond: usize,
}

impl Ledger {
    /// Takes in what a client was sent about a symbol; a finding when it contradicts what was sent to others, or leaves a hole.
    pub(crate) fn take(&mut self, client: u32, symbol: usize, what: What) -> Option<Finding> {
        match what {
            What::Begun { is_recovered } => {
                let tail = self.tails.entry((client, symbol)).or_default();
                tail.is_anew |= !is_recovered;
                tail.told = 0;
                None
            }
            What::Stale => {
                self.tails.entry((client, symbol)).or_default().is_stale = true;
                None
            }
            What::Told { count } => {
                self.tails.entry((client, symbol)).or_default().told += count;
                None
            }
            What::Element { epoch: Some(epoch), seq: Some(seq), checksum: Some(checksum), .. } => {
                let first = *self.checksums.entry((symbol, epoch, seq)).or_insert(checksum);
                (first != checksum).then(|| {
                    (
                        Kind::Untrue,
                        symbol,
                        format!("checksum {first} at {epoch}:{seq}"),
                        format!("checksum {checksum}"),
                    )
                })
            }
            What::Element {
                epoch: Some(epoch),
                seq: Some(seq),
                trade_id: Some(id),
                is_snapshot,
                tells_loss,
                ..
            } => {
                let first = *self.trades.entry((symbol, epoch, id)).or_insert(seq);
                if first != seq {
                    return Some((
                        Kind::Untrue,
                        symbol,
                        format!("trade {epoch}:{id} at seq {first}"),
                        format!("seq {seq}"),
                    ));
                }
                self.take_trade(client, symbol, (epoch, id), is_snapshot, tells_loss)
            }
            What::Element { .. } => None,
        }
    }

    fn take_trade(
        &mut self,
        client: u32,
        symbol: usize,
        trade: Trade,
        is_snapshot: bool,
        tells_loss: bool,
    ) -> Option<Finding> {
        self.received += 1;
        let tail = self.tails.entry((client, symbol)).or_default();
        let Some(last) = tail.last else {
            *tail = Tail { last: Some(trade), ..Tail::default() };
            return None;
        };
        if trade <= last {
            // A snapshot tells again what the client has.
            return (!is_snapshot)
                .then(|| (Kind::Untrue, symbol, format!("a trade behind {last:?}"), format!("{trade:?}")));
        }
        let Tail { told, is_stale, is_anew, .. } =
            std::mem::replace(tail, Tail { last: Some(trade), ..Tail::default() });
        let losses = &mut self.losses;
        if trade.0 > last.0 {
            losses.by_epoch += trade.1 - 1;
            // How many the old one still had is known in the end.
            self.crossings.push((symbol, last, trade));
            return None;
        }
        let missing = trade.1 - last.1 - 1;
        if missing == 0 {
            return None;
        }
        match (is_anew, tells_loss) {
            (true, _) => losses.by_new_subscription += missing,
            (false, true) => losses.by_link += missing,
            (false, false) => {
                let by_notice = missing.min(told);
                losses.by_notice += by_notice;
                if is_stale {
                    losses.by_stale += missing - by_notice;
                    return None;
                }
                losses.silent += missing - by_notice;
                if missing > by_notice {
                    let expected = format!("trade {} behind {last:?}, {told} told as lost", last.1 + 1);
                    return Some((Kind::LossUntold, symbol, expected, format!("trade {trade:?}")));
                }
            }
        }
        None
    }

    /// What a client lacks when the feed has told its last.
    pub(crate) fn judge_end(
        &self,
        client: u32,
        symbol: usize,
        channel: Channel,
        standing: &Standing<'_>,
        record: &Record,
    ) -> Verdict {
        match channel {
            Channel::Book => judge_book(symbol, standing, record),
            Channel::Trade => self.judge_last_trade(client, symbol, record),
            // Rows have no place in the feed that the reference could compute.
            Channel::Ticker | Channel::Ohlc => Verdict::Same,
        }
    }

    fn judge_last_trade(&self, client: u32, symbol: usize, record: &Record) -> Verdict {
        let (epoch, _) = record.places[symbol];
        let last = record.ends.get(&(symbol, epoch)).map_or(0, |end| end.1);
        let tail = self.tails.get(&(client, symbol)).copied().unwrap_or_default();
        let has = tail.last.filter(|has| has.0 == epoch).map_or(0, |has| has.1);
        let missing = last.saturating_sub(has);
        // Who began anew knows that it lacks what was before.
        match (has == last, tail.is_anew || tail.last.is_none()) {
            (true, _) => Verdict::Same,
            (false, true) => Verdict::Told(missing),
            (false, false) => {
                let got = format!("{:?}", tail.last);
                Verdict::Behind(
                    missing,
                    (Kind::Behind, symbol, format!("trade {epoch}:{last} in the end"), got),
                )
            }
        }
    }

    /// Counts what is only known in the end: what clients lack then, and what epochs still had when clients left them.
    pub(crate) fn settle(&mut self, verdict: Verdict) -> Option<Finding> {
        match verdict {
            Verdict::Same => None,
            Verdict::Told(missing) => {
                self.losses.by_new_subscription += missing;
                None
            }
            Verdict::Behind(missing, finding) => {
                self.losses.silent += missing;
                Some(finding)
            }
        }
    }

    /// Counts what epochs of the feed still had when clients were brought to the next one.
    pub(crate) fn settle_epochs(&mut self, record: &Record) {
        for (symbol, from, to) in std::mem::take(&mut self.crossings) {
            for epoch in from.0..to.0 {
                let last = record.ends.get(&(symbol, epoch)).map_or(0, |end| end.1);
                let has = if epoch == from.0 { from.1 } else { 0 };
                self.losses.by_epoch += last.saturating_sub(has);
            }
        }
    }

    /// Compares everything that was sent with everything that the feed told.
    pub(crate) fn compare(&self, record: &Record, mut report: impl FnMut(Finding)) -> Compared {
        let mut compared = Compared::default();
        let mut is_beyond = |symbol: usize, epoch: u64, seq: u64| {
            // A feed that is killed may have told the gateway more than the reference.
            let is_over = epoch < record.places[symbol].0;
            let is_beyond = is_over && record.ends.get(&(symbol, epoch)).is_none_or(|end| seq > end.0);
            compared.beyond += usize::from(is_beyond);
            is_beyond
        };
        for (&(symbol, epoch, seq), checksum) in &self.checksums {
            let told = record.checksums.get(&(symbol, epoch, seq));
            if told != Some(checksum) && !is_beyond(symbol, epoch, seq) {
                report((
                    Kind::Untrue,
                    symbol,
                    format!("checksum {told:?} at {epoch}:{seq}"),
                    format!("checksum {checksum}"),
                ));
            }
        }
        for (&(symbol, epoch, id), seq) in &self.trades {
            let told = record.trades.get(&(symbol, epoch, id));
            if told != Some(seq) && !is_beyond(symbol, epoch, *seq) {
                report((
                    Kind::Untrue,
                    symbol,
                    format!("trade {epoch}:{id} at seq {told:?}"),
                    format!("seq {seq}"),
                ));
            }
        }
        Compared { books: self.checksums.len(), trades: self.trades.len(), ..compared }
    }
}

fn judge_book(symbol: usize, standing: &Standing<'_>, record: &Record) -> Verdict {
    let place = record.places[symbol];
    let is_same = digest(standing.book) == record.digest(symbol, standing.book.depth_levels());
    if is_same && standing.epoch == Some(place.0) {
        return Verdict::Same;
    }
    let got = format!("another one, at {:?}:{:?}", standing.epoch, standing.seq);
    Verdict::Behind(0, (Kind::Behind, symbol, format!("the feed's book at {}:{}", place.0, place.1), got))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trade(epoch: u64, id: u64, tells_loss: bool) -> What {
        What::Element {
            epoch: Some(epoch),
            seq: Some(id * 10),
            checksum: None,
            trade_id: Some(id),
            is_snapshot: false,
            tells_loss,
        }
    }

    const ANEW: What = What::Begun { is_recovered: false };
    const RECOVERED: What = What::Begun { is_recovered: true };

    fn losses(all: &[What]) -> (Losses, usize) {
        let mut ledger = Ledger::default();
        let findings = all.iter().filter_map(|what| ledger.take(0, 0, *what)).count();
        (ledger.losses, findings)
    }

    #[test]
    fn a_loss_is_told_by_what_the_client_can_know() {
        let begun = [ANEW, trade(1, 5, false)];
        let behind = |rest: &[What]| losses(&[&begun, rest].concat());
        let none = Losses::default();
        assert_eq!(behind(&[trade(1, 6, false)]), (none, 0));
        assert_eq!(behind(&[trade(1, 8, false)]), (Losses { silent: 2, ..none }, 1));
        assert_eq!(behind(&[trade(1, 8, true)]), (Losses { by_link: 2, ..none }, 0));
        assert_eq!(
            behind(&[What::Told { count: 2 }, trade(1, 8, false)]),
            (Losses { by_notice: 2, ..none }, 0)
        );
        let short = Losses { by_notice: 1, silent: 1, ..none };
        assert_eq!(behind(&[What::Told { count: 1 }, trade(1, 8, false)]), (short, 1));
        assert_eq!(behind(&[ANEW, trade(1, 8, false)]), (Losses { by_new_subscription: 2, ..none }, 0));
        assert_eq!(behind(&[What::Stale, trade(1, 8, false)]), (Losses { by_stale: 2, ..none }, 0));
        let late = [What::Stale, trade(1, 6, false), trade(1, 8, false)];
        assert_eq!(behind(&late), (Losses { silent: 1, ..none }, 1));
        assert_eq!(behind(&[RECOVERED, trade(1, 8, false)]), (Losses { silent: 2, ..none }, 1));
        assert_eq!(behind(&[trade(2, 4, false)]), (Losses { by_epoch: 3, ..none }, 0));
        // Twice the same, and one that is older.
        assert_eq!(behind(&[trade(1, 5, false)]), (none, 1));
        assert_eq!(behind(&[trade(1, 4, false)]), (none, 1));
    }

    #[test]
    fn what_others_were_sent_must_be_the_same() {
        let mut ledger = Ledger::default();
        let book = |checksum| What::Element {
            epoch: Some(1),
            seq: Some(7),
            checksum: Some(checksum),
            trade_id: None,
            is_snapshot: true,
            tells_loss: false,
        };
        assert_eq!(ledger.take(0, 0, book(5)), None);
        assert_eq!(ledger.take(1, 0, book(5)), None);
        assert!(ledger.take(2, 0, book(6)).is_some());
    }
}
