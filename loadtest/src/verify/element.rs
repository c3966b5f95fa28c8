//! The rules for one element of one subscription.
//!
//! Owns what the sequence link, the trade numbers and the book of a symbol must satisfy.
//! Never looks at other symbols. Elements come from [`super::Verifier`].

use super::{Reporter, State, Subscription};
use crate::book::{Book, Checksum, Level, Side};
use crate::scan::{Channel, Element, Header, Scanner};
use crate::time::Micros;
use crate::violation::Kind;
use std::fmt::{Display, Formatter};

/// What the next `prev` must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// Anything: nothing is known yet.
    Anywhere,
    /// This.
    At(u64),
    /// This or later: a subscription to trades begins later than the last trade of its snapshot.
    From(u64),
}

/// What an update's link says of what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Follows {
    /// It follows.
    Yes,
    /// Something in between was lost to this client.
    Loss,
}

impl Link {
    /// The place that it names.
    pub(super) const fn last(self) -> Option<u64> {
        match self {
            Self::Anywhere => None,
            Self::At(seq) | Self::From(seq) => Some(seq),
        }
    }

    /// Whether something may follow on it that names this as what was before.
    pub(super) const fn follows(self, prev: u64) -> bool {
        match self {
            Self::Anywhere => true,
            Self::At(seq) => seq == prev,
            Self::From(seq) => seq <= prev,
        }
    }
}

impl Display for Link {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Anywhere => write!(f, "anything"),
            Self::At(seq) => write!(f, "{seq}"),
            Self::From(seq) => write!(f, "{seq} or more"),
        }
    }
}

impl Subscription {
    pub(super) fn new(number: usize, symbol: &str, depth_levels: usize) -> Self {
        Self {
            symbol: symbol.to_owned(),
            number,
            state: State::default(),
            asked_at: 0,
            link: Link::Anywhere,
            epoch: None,
            trade_id: None,
            trade_epoch: None,
            is_stale: false,
            told_lost: 0,
            announced: None,
            owed: None,
            interval_us: 0,
            updates: 0,
            first_update_at: 0,
            book: Book::new(depth_levels),
        }
    }

    /// Acknowledgement, snapshot, updates: in this order, and each of the first two once. Called once for
    /// the neighbouring elements of a symbol in a message.
    pub(super) fn check_order(&mut self, header: Header, reporter: &mut Reporter<'_>) {
        let State { acked, snapshot, resync, .. } = self.state;
        let symbol = &self.symbol;
        if !acked {
            let kind = if header.is_snapshot { Kind::SnapshotBeforeAck } else { Kind::UpdateBeforeAck };
            reporter.report(kind, symbol, "the acknowledgement first", header.kind());
        }
        if header.is_snapshot {
            if snapshot && !resync {
                reporter.report(Kind::SnapshotRepeated, symbol, "one snapshot", "another one");
            }
            self.state.snapshot = true;
            self.state.resync = false;
            self.trade_id = None;
            self.told_lost = 0;
        } else if resync {
            let expected = "the snapshot that a notice announced";
            reporter.report(Kind::UpdateBeforeSnapshot, symbol, expected, header.kind());
            self.state.resync = false;
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
        let mut follows = Follows::Yes;
        if header.is_snapshot {
            self.begin_at(header, element);
        } else {
            follows = self.check_link(element, reporter);
            self.check_promises(element, reporter);
            self.count_update(header, element, reporter);
        }
        match header.channel {
            Channel::Book => self.handle_book(header, element, scanner.sides(element), checksum, reporter),
            Channel::Trade => self.check_trade_id(element, follows, reporter),
            Channel::Ticker | Channel::Ohlc => {}
        }
        self.note_element(header, element, follows == Follows::Loss, reporter);
    }

    fn begin_at(&mut self, header: Header, element: &Element) {
        self.announced = None;
        // Trades of a snapshot may be of an epoch before; the subscription stands in the last one.
        let is_older = element.epoch.is_some() && element.epoch < self.epoch;
        let Some(seq) = element.seq.filter(|_| !is_older) else { return };
        let is_newer = element.epoch > self.epoch;
        self.epoch = element.epoch.or(self.epoch);
        self.link = match (header.channel, self.link.last().filter(|_| !is_newer)) {
            // Of the trades of a snapshot and the place of the acknowledgement, what is later.
            (Channel::Trade, Some(other)) => Link::From(other.max(seq)),
            (Channel::Trade, None) => Link::From(seq),
            _ => Link::At(seq),
        };
    }

    fn check_link(&mut self, element: &Element, reporter: &mut Reporter<'_>) -> Follows {
        let is_new_epoch = element.epoch.is_some() && element.epoch != self.epoch;
        let mut follows = Follows::Yes;
        if let Some(last) = self.link.last() {
            let is_told = |prev: u64| !reporter.opted_in && reporter.channel == Channel::Trade && prev > last;
            match element.prev {
                Some(prev) if self.link.follows(prev) => {}
                // Who did not opt in learns of lost trades by this alone.
                Some(prev) if is_told(prev) => follows = Follows::Loss,
                prev => {
                    let expected = format!("prev {}", self.link);
                    reporter.report(Kind::PrevBroken, &self.symbol, expected, shown("prev", prev));
                }
            }
            if !is_new_epoch && element.seq.is_none_or(|seq| seq <= last) {
                let expected = format!("seq above {last}");
                reporter.report(Kind::SeqOrder, &self.symbol, expected, shown("seq", element.seq));
            }
        } else if element.seq.is_none() {
            reporter.report(Kind::SeqOrder, &self.symbol, "a seq", "none");
        }
        if let Some(seq) = element.seq {
            self.link = Link::At(seq);
        }
        self.epoch = element.epoch.or(self.epoch);
        follows
    }

    /// Whether an update is what a notice or an acknowledgement said it would be.
    fn check_promises(&mut self, element: &Element, reporter: &mut Reporter<'_>) {
        if let Some((to, count)) = self.announced.take()
            && (element.seq != Some(to) || element.merged != Some(count))
        {
            let expected = format!("seq {to}, merged {count}, as a notice says");
            let got = format!("{}, {}", shown("seq", element.seq), shown("merged", element.merged));
            reporter.report(Kind::NoticeWrong, &self.symbol, expected, got);
        }
        if let Some(owed) = self.owed.take()
            && element.epoch.is_none()
            && element.seq.is_none_or(|seq| seq < owed)
        {
            let expected = format!("all that was missed, up to {owed}");
            reporter.report(Kind::ResumeBroken, &self.symbol, expected, shown("seq", element.seq));
        }
    }

    fn check_trade_id(&mut self, element: &Element, follows: Follows, reporter: &mut Reporter<'_>) {
        let told_lost = std::mem::take(&mut self.told_lost);
        let was_stale = std::mem::take(&mut self.is_stale);
        // With a new epoch the venue may count its trades anew, and says so by it.
        let epoch = element.epoch.or(self.epoch);
        let last = self.trade_id.filter(|_| self.trade_epoch == epoch);
        self.trade_epoch = epoch;
        self.trade_id = element.trade_id.or(last);
        let Some(id) = element.trade_id else {
            return reporter.report(Kind::TradeId, &self.symbol, "a trade_id", "none");
        };
        let Some(last) = last else { return };
        let expected = last + 1 + told_lost;
        match follows {
            // The link says that something was lost, and the numbers say how much.
            Follows::Loss if id > expected => {
                reporter.tally.received(Channel::Trade).lost_by_link += id - expected;
            }
            Follows::Loss => {
                let got = format!("trade_id {id} after {last}, which are neighbours");
                reporter.report(Kind::PrevBroken, &self.symbol, "a loss, as prev says", got);
            }
            Follows::Yes if id == expected => {}
            // The feed was lost for longer than it tells trades again: the client was told of that, and sees here how many.
            Follows::Yes if id > expected && was_stale => {}
            Follows::Yes => {
                let is_untold = reporter.opted_in && id > expected;
                let kind = if is_untold { Kind::LossUntold } else { Kind::TradeId };
                reporter.report(kind, &self.symbol, format!("trade_id {expected}"), format!("trade_id {id}"));
            }
        }
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

    /// Latency, merging and frequency of an update. A candle's own timestamp is the end of its interval, so `ohlc` is
    /// measured by the timestamp of the message.
    fn count_update(&mut self, header: Header, element: &Element, reporter: &mut Reporter<'_>) {
        let event = if header.channel == Channel::Ohlc { header.timestamp } else { element.timestamp };
        if let Some(event) = event {
            reporter.tally.record_latency(reporter.group, event, reporter.now);
        }
        let folded = element.merged.unwrap_or(1).saturating_sub(1);
        reporter.tally.counts.merged += u64::from(folded > 0);
        let received = reporter.tally.received(header.channel);
        received.updates += 1;
        received.plain += u64::from(!reporter.opted_in);
        received.folded += folded;
        if self.interval_us > 0 && matches!(header.channel, Channel::Book | Channel::Ticker) {
            self.check_interval(reporter);
        }
    }

    /// Whether updates come more often than was granted. Receipts bunch when a machine is busy, so a second's worth is forgiven.
    fn check_interval(&mut self, reporter: &mut Reporter<'_>) {
        if self.updates == 0 {
            self.first_update_at = reporter.now;
        }
        self.updates += 1;
        let passed = (reporter.now - self.first_update_at).max(0) + FORGIVEN_US;
        let allowed = (passed / self.interval_us) as u64 + 2;
        if self.updates > allowed {
            let expected = format!("an update per {} ms at most", self.interval_us / 1_000);
            let got = format!("{} in {} ms", self.updates, (passed - FORGIVEN_US) / 1_000);
            reporter.report(Kind::TooOften, &self.symbol, expected, got);
            self.updates = 0;
        }
    }
}

/// How much a delayed receipt may make updates look bunched.
const FORGIVEN_US: Micros = 1_000_000;

impl Header {
    pub(super) fn kind(self) -> &'static str {
        if self.is_snapshot { "snapshot" } else { "update" }
    }
}

fn shown(name: &str, value: Option<u64>) -> String {
    value.map_or_else(|| format!("no {name}"), |value| format!("{name} {value}"))
}
