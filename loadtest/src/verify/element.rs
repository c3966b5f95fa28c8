//! The rules for one element of one subscription.
//!
//! Owns what the sequence link, the trade numbers and the book of a symbol must satisfy.
//! Never looks at other symbols. Elements come from [`super::Verifier`].

use super::{Reporter, State, Subscription};
use crate::book::{Book, Checksum, Level, Side};
use crate::scan::{Channel, Element, Header, Scanner};
use crate::violation::Kind;

impl Subscription {
    pub(super) fn new(symbol: &str, depth_levels: usize) -> Self {
        Self {
            symbol: symbol.to_owned(),
            state: State::default(),
            seq: None,
            epoch: None,
            trade_id: None,
            book: Book::new(depth_levels),
        }
    }

    /// Acknowledgement, snapshot, updates: in this order, and each of the first two once. Called once for
    /// the neighbouring elements of a symbol in a message.
    pub(super) fn check_order(&mut self, header: Header, opted_in: bool, reporter: &mut Reporter<'_>) {
        let State { acked, snapshot, .. } = self.state;
        let symbol = &self.symbol;
        if !acked {
            let kind = if header.is_snapshot { Kind::SnapshotBeforeAck } else { Kind::UpdateBeforeAck };
            reporter.report(kind, symbol, "the acknowledgement first", header.kind());
        }
        if header.is_snapshot {
            if snapshot && !opted_in {
                reporter.report(Kind::SnapshotRepeated, symbol, "one snapshot", "another one");
            }
            self.state.snapshot = true;
            self.trade_id = None;
        } else if !snapshot && header.channel == Channel::Book {
            reporter.report(Kind::UpdateBeforeSnapshot, symbol, "the snapshot first", header.kind());
        }
    }

    /// Applies the element and checks what it leaves behind.
    pub(super) fn handle_element(
        &mut self,
        header: Header,
        element: &Element,
        scanner: &Scanner,
        checksum: &mut Checksum,
        reporter: &mut Reporter<'_>,
    ) {
        if header.is_snapshot {
            self.seq = element.seq.or(self.seq);
            self.epoch = element.epoch.or(self.epoch);
        } else {
            self.check_link(element, reporter);
            count_update(header, element, reporter);
        }
        match header.channel {
            Channel::Book => self.handle_book(header, element, scanner.sides(element), checksum, reporter),
            Channel::Trade => self.check_trade_id(element, reporter),
            Channel::Ticker | Channel::Ohlc => {}
        }
    }

    fn check_link(&mut self, element: &Element, reporter: &mut Reporter<'_>) {
        let is_new_epoch = element.epoch.is_some() && element.epoch != self.epoch;
        if let Some(last) = self.seq {
            if element.prev != Some(last) {
                reporter.report(
                    Kind::PrevBroken,
                    &self.symbol,
                    format!("prev {last}"),
                    shown("prev", element.prev),
                );
            }
            if !is_new_epoch && element.seq.is_none_or(|seq| seq <= last) {
                reporter.report(
                    Kind::SeqOrder,
                    &self.symbol,
                    format!("seq above {last}"),
                    shown("seq", element.seq),
                );
            }
        } else if element.seq.is_none() {
            reporter.report(Kind::SeqOrder, &self.symbol, "a seq", "none");
        }
        self.seq = element.seq.or(self.seq);
        self.epoch = element.epoch.or(self.epoch);
    }

    fn check_trade_id(&mut self, element: &Element, reporter: &mut Reporter<'_>) {
        let expected = self.trade_id.map(|id| id + 1);
        if element.trade_id.is_none() || (expected.is_some() && element.trade_id != expected) {
            let expected = shown("trade_id", expected);
            reporter.report(Kind::TradeId, &self.symbol, expected, shown("trade_id", element.trade_id));
        }
        self.trade_id = element.trade_id.or(self.trade_id);
    }

    fn handle_book(
        &mut self,
        header: Header,
        element: &Element,
        (bids, asks): (&[Level], &[Level]),
        checksum: &mut Checksum,
        reporter: &mut Reporter<'_>,
    ) {
        if header.is_snapshot {
            self.book.clear();
        }
        for (side, levels) in [(Side::Bid, bids), (Side::Ask, asks)] {
            self.apply_side(header, side, levels, reporter);
        }
        let computed = checksum.of(&self.book);
        if element.checksum != Some(computed) {
            let (expected, got) =
                (format!("checksum {computed}"), shown("checksum", element.checksum.map(u64::from)));
            reporter.report(Kind::Checksum, &self.symbol, expected, got);
        }
        if let Some((bid, ask)) = self.book.crossed() {
            let got = format!("bid {bid}, ask {ask} (digits)");
            reporter.report(Kind::Crossed, &self.symbol, "best bid below best ask", got);
        }
    }

    fn apply_side(&mut self, header: Header, side: Side, levels: &[Level], reporter: &mut Reporter<'_>) {
        let is_ordered = if header.is_snapshot {
            levels.windows(2).all(|w| side.rank(w[0].price) < side.rank(w[1].price))
                && levels.iter().all(|l| !l.is_removal)
        } else {
            levels.windows(2).all(|w| w[0].is_removal || !w[1].is_removal)
        };
        if !is_ordered {
            let expected = if header.is_snapshot { "best first, no removals" } else { "removals first" };
            reporter.report(Kind::LevelOrder, &self.symbol, expected, format!("{} {levels:?}", side.name()));
        }
        self.book.apply(side, levels);
        // With the truncation of the protocol a well-behaved server never sends a level that is cut at once.
        if let Some(level) = self.book.truncate(side, levels) {
            let got = format!("price {} (digits) in {} of a {}", level.price, side.name(), header.kind());
            reporter.report(Kind::LevelLeak, &self.symbol, "levels within the depth only", got);
        }
    }
}

impl Header {
    fn kind(self) -> &'static str {
        if self.is_snapshot { "snapshot" } else { "update" }
    }
}

/// Latency and merging of an update. A candle's own timestamp is the end of its interval, so `ohlc` is
/// measured by the timestamp of the message.
fn count_update(header: Header, element: &Element, reporter: &mut Reporter<'_>) {
    let event = if header.channel == Channel::Ohlc { header.timestamp } else { element.timestamp };
    if let Some(event) = event {
        reporter.tally.record_latency(event, reporter.now);
    }
    if element.merged.is_some_and(|merged| merged > 1) {
        reporter.tally.window.merged += 1;
    }
}

fn shown(name: &str, value: Option<u64>) -> String {
    value.map_or_else(|| format!("no {name}"), |value| format!("{name} {value}"))
}
