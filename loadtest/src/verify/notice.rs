//! Notices: whether what a client is told of losses and merges is what it sees.
//!
//! Owns what a notice changes in a subscription: the link moves over a gap, a snapshot may come again, trades may be missing, the
//! next update stands for several entries.

use super::element::Link;
use super::{Reporter, Subscription, Verifier};
use crate::scan::{Channel, Notice};
use crate::violation::Kind;

impl Verifier {
    pub(super) fn handle_notice(&mut self, notice: &Notice, reporter: &mut Reporter<'_>) {
        match reporter.tally.notices.get_mut(&notice.code) {
            Some(count) => *count += 1,
            None => drop(reporter.tally.notices.insert(notice.code.clone(), 1)),
        }
        match notice.code.as_str() {
            "gap" | "resynced" | "merged" => self.handle_loss(notice, reporter),
            "stale" if notice.channel.as_deref() == Some(self.channel.name()) => {
                self.note_stale(notice.symbol.as_deref(), reporter);
            }
            "lagging" | "stale" | "fresh" | "closing" | "revoked" => {}
            other => reporter.report(
                Kind::UnexpectedMessage,
                "",
                "a notice of the protocol",
                format!("code {other}"),
            ),
        }
    }

    /// The data of a symbol, or of all, is told to be stale.
    pub(super) fn note_stale(&mut self, symbol: Option<&str>, reporter: &mut Reporter<'_>) {
        for one in &mut self.subscriptions {
            if symbol.is_none_or(|symbol| symbol == one.symbol) {
                one.is_stale = true;
                one.note_stale(reporter);
            }
        }
    }

    fn handle_loss(&mut self, notice: &Notice, reporter: &mut Reporter<'_>) {
        let symbol = notice.symbol.as_deref().unwrap_or_default();
        let is_ours = notice.channel.as_deref() == Some(self.channel.name());
        let Some(at) = self.find(symbol).filter(|_| is_ours) else {
            let got = format!("{} of {:?} {symbol:?}", notice.code, notice.channel);
            return reporter.report(Kind::NoticeWrong, symbol, "a subscription of this client", got);
        };
        let (Some(from), Some(to), Some(count)) = (notice.from_seq, notice.to_seq, notice.count) else {
            let got = format!("{notice:?}");
            return reporter.report(Kind::NoticeWrong, symbol, "from_seq, to_seq and count", got);
        };
        let channel = self.channel;
        self.subscriptions[at].take_loss(notice, channel, [from, to, count], reporter);
    }
}

impl Subscription {
    fn take_loss(
        &mut self,
        notice: &Notice,
        channel: Channel,
        [from, to, count]: [u64; 3],
        reporter: &mut Reporter<'_>,
    ) {
        let is_wrong = !self.link.follows(from)
            || count == 0
            || (to <= from && notice.epoch.is_none())
            || (notice.code == "merged" && count < 2);
        if is_wrong {
            let expected = format!("a range behind {}, of at least one entry", self.link);
            let got = format!("{} from {from} to {to}, {count} entries", notice.code);
            reporter.report(Kind::NoticeWrong, &self.symbol, expected, got);
        }
        if notice.code == "merged" {
            self.announced = Some((to, count));
            return;
        }
        reporter.tally.received(channel).told_lost += count;
        self.note_told(count, reporter);
        self.link = Link::At(to);
        self.epoch = notice.epoch.or(self.epoch);
        self.announced = None;
        // What was to be made up for is told as lost.
        self.owed = None;
        if channel == Channel::Trade && notice.code == "gap" {
            self.told_lost += count;
            if notice.epoch.is_some() {
                // The venue may count its trades anew.
                self.trade_id = None;
            }
        }
        self.state.resync = notice.code == "resynced" || channel == Channel::Book;
    }
}
