//! The oracle: what one client knows from nothing but the bytes it was sent, and what is wrong with them.
//!
//! Shares no code with the market or the hub but the checksum: its books are maps, its numbers are text read as text.

mod grants;
mod message;
#[cfg(test)]
mod tests;
mod view;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};

use model::{Channel, Instrument};

use crate::granting::Granted;
use message::{Answer, Data, Element, Message, Pair};
pub(crate) use view::View;

/// A subscription as the oracle knows it: channel, and index of the symbol.
pub(crate) type Key = (Channel, usize);

/// The one subscription that has no symbol.
pub(crate) const INSTRUMENTS: Key = (Channel::Instrument, 0);

/// Everything that one client knows.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) ext: bool,
    pub(crate) views: BTreeMap<Key, View>,
    /// Subscriptions that were asked for while the one before them was leaving: each begins when that has ended.
    pub(crate) pending: BTreeMap<Key, View>,
    /// Subscriptions that were acknowledged, and of them those whose first update was seen to follow.
    pub(crate) joins: u64,
    pub(crate) followed: u64,
    /// Trades missing in sequence that nobody told: for a plain client `trade_id` tells.
    pub(crate) trades_missed: u64,
    /// Trades that came instead of a snapshot of those before them.
    pub(crate) snapshots_missed: u64,
    /// Deliveries that notices said were lost.
    pub(crate) told_dropped: u64,
    pub(crate) closed: Option<u16>,
    /// Answers still owed that must be refusals.
    pub(crate) refusals_due: u64,
    /// Answers to pings that are owed.
    pub(crate) pongs_due: u64,
    /// A subscription was acknowledged, so heartbeats may come.
    has_subscribed: bool,
    requests: u64,
    /// Bytes that were read before the message at hand.
    pub(crate) at: u64,
    /// What it may have; everything when none was given.
    granted: Option<Granted>,
    /// No data may begin behind so many bytes: its grant has ended.
    ended_at: Option<u64>,
    /// A notice said that the whole grant has ended.
    told_end: bool,
    /// Subscriptions that notices said were revoked.
    pub(crate) revoked: u64,
    /// For each unanswered pause or resume of everything: how many requests had been sent before it.
    pauses: VecDeque<u64>,
}

/// What is wrong, if anything.
type Verdict = Result<(), String>;

impl Oracle {
    pub(crate) fn new(ext: bool) -> Self {
        Self { ext, ..Self::default() }
    }

    /// The name of a symbol on the wire.
    pub(crate) fn symbol(index: usize) -> String {
        format!("S{index}/USD")
    }

    pub(crate) fn expect(&mut self, key: Key, depth: usize, wants_snapshot: bool) {
        self.requests += 1;
        let view = View { depth, wants_snapshot, born: self.requests, ..View::default() };
        match self.views.entry(key) {
            Entry::Occupied(_) => drop(self.pending.insert(key, view)),
            Entry::Vacant(place) => drop(place.insert(view)),
        }
    }

    /// Whether the gateway has a subscription of it, as far as it was asked.
    pub(crate) fn holds(&self, key: Key) -> bool {
        self.pending.contains_key(&key) || self.views.get(&key).is_some_and(|view| !view.leaving)
    }

    /// How many subscriptions the gateway has of it.
    pub(crate) fn held(&self) -> usize {
        self.pending.len() + self.views.values().filter(|view| !view.leaving).count()
    }

    /// From here on it is a client that opted in; holes from before that are nobody's fault.
    pub(crate) fn opt_in(&mut self) {
        self.ext = true;
        self.trades_missed = 0;
        for view in self.views.values_mut() {
            view.forgive_gap();
        }
    }

    /// An operator changed how it is served: what it was told before need not hold.
    pub(crate) fn note_order(&mut self, channel: Option<Channel>) {
        let views = self.views.iter_mut().chain(&mut self.pending);
        for (_, view) in views.filter(|(key, _)| channel.is_none_or(|channel| key.0 == channel)) {
            view.ordered = true;
        }
    }

    /// Expects a subscription that goes on from what another connection had; with `lying` from what nobody ever had.
    pub(crate) fn expect_resumed(&mut self, key: Key, ghost: View, lying: bool) {
        self.requests += 1;
        let view = View {
            acknowledged: false,
            leaving: false,
            paused: false,
            told_stale: false,
            promised: None,
            lag_limits: None,
            revoked_at: None,
            resuming: true,
            lying,
            snapshots: 1,
            born: self.requests,
            ..ghost
        };
        self.views.insert(key, view);
    }

    /// Expects the answer to a pause or a resume of every subscription that there is.
    pub(crate) fn expect_pause(&mut self) {
        self.requests += 1;
        self.pauses.push_back(self.requests);
    }

    /// Answers to subscriptions and unsubscriptions that are on their way.
    pub(crate) fn owed(&self) -> usize {
        let owed = |view: &&View| view.leaving || !view.acknowledged;
        self.views.values().filter(owed).count()
    }

    /// Takes one text message.
    pub(crate) fn take(&mut self, text: &[u8], instruments: &[Instrument]) -> Verdict {
        let message: Message<'_> =
            serde_json::from_slice(text).map_err(|error| format!("cannot be read: {error}"))?;
        if message.success.is_some() || message.method.is_some() {
            return self.take_answer(&message);
        }
        match message.channel {
            Some("notice") if !self.ext => Err("a notice to a client that did not opt in".into()),
            Some("heartbeat") if !self.has_subscribed => Err("a heartbeat before a subscription".into()),
            Some("status" | "heartbeat") => Ok(()),
            Some(name) => match &message.data {
                Data::Reference(reference) => self.take_pairs(&reference.pairs, message.kind),
                Data::Elements(elements) if name == "notice" => {
                    elements.first().map_or(Ok(()), |notice| self.take_notice(notice))
                }
                Data::Elements(elements) => {
                    let channel = channel_of(Some(name)).ok_or("an unknown channel")?;
                    self.take_data(channel, message.kind, elements, instruments)
                }
            },
            None => Err("neither an answer nor data".into()),
        }
    }

    /// Takes reference data: a subscription without symbol.
    fn take_pairs(&mut self, pairs: &[Pair<'_>], kind: Option<&str>) -> Verdict {
        self.check_granted(INSTRUMENTS)?;
        let view = self.views.get_mut(&INSTRUMENTS).ok_or("data without subscription")?;
        view.admit(kind == Some("snapshot"), true)?;
        for pair in pairs {
            view.pairs.insert(pair.symbol.to_owned(), pair.status.to_owned());
        }
        Ok(())
    }

    fn take_answer(&mut self, message: &Message<'_>) -> Verdict {
        let method = message.method.as_deref().unwrap_or_default();
        match message.success {
            Some(true) => {}
            Some(false) if self.refusals_due > 0 => {
                self.refusals_due -= 1;
                return Ok(());
            }
            None if method == "pong" && self.pongs_due > 0 => {
                self.pongs_due -= 1;
                return Ok(());
            }
            _ => return Err("refused".into()),
        }
        let answer = message.result.as_ref().ok_or("an answer without result")?;
        let Some(key) = key_of(answer.channel, answer.symbol) else {
            if method == "pause" || method == "resume" {
                return self.pause_all(method == "pause");
            }
            return Ok(());
        };
        match method {
            "subscribe" => self.acknowledge(key, answer),
            "unsubscribe" => {
                self.views.remove(&key);
                if let Some(next) = self.pending.remove(&key) {
                    self.views.insert(key, next);
                }
                Ok(())
            }
            _ => {
                let view = self.views.get_mut(&key).ok_or_else(|| format!("{method} of nothing: {key:?}"))?;
                match method {
                    "pause" => view.paused = true,
                    "resume" => view.paused = false,
                    _ => view.take_terms(answer),
                }
                Ok(())
            }
        }
    }

    fn pause_all(&mut self, paused: bool) -> Verdict {
        let born_max = self.pauses.pop_front().ok_or("a pause that nobody asked for")?;
        let views = self.views.values_mut().chain(self.pending.values_mut());
        for view in views.filter(|view| view.born <= born_max) {
            view.paused = paused;
        }
        Ok(())
    }

    fn acknowledge(&mut self, key: Key, answer: &Answer<'_>) -> Verdict {
        let view =
            self.views.get_mut(&key).ok_or_else(|| format!("acknowledged without request: {key:?}"))?;
        if std::mem::replace(&mut view.acknowledged, true) {
            return Err(format!("acknowledged twice: {key:?}"));
        }
        self.joins += 1;
        view.take_terms(answer);
        self.has_subscribed = true;
        // Who leaves before the answer is only told that it was there.
        if view.resuming != answer.recovered.is_some() && !view.leaving {
            return Err(format!("recovered is {:?}: {key:?}", answer.recovered));
        }
        if view.lying && answer.recovered == Some(true) {
            return Err(format!("recovered from where nobody ever was: {key:?}"));
        }
        view.lying = false;
        if answer.recovered == Some(false) {
            view.begin_again();
        }
        view.begin_at(answer.epoch, answer.seq);
        Ok(())
    }

    fn take_notice(&mut self, notice: &Element<'_>) -> Verdict {
        if matches!(notice.code, Some("gap" | "resynced")) {
            self.told_dropped += notice.count.unwrap_or_default();
        }
        if let (Some(from), Some(to), None) = (notice.from_seq, notice.to_seq, notice.epoch)
            && to <= from
        {
            return Err(format!("{:?} from {from} to {to} of the same epoch", notice.code));
        }
        let Some(key) = key_of(notice.channel, notice.symbol) else {
            self.told_end |= notice.code == Some("revoked");
            return Ok(());
        };
        if notice.code == Some("revoked") {
            return self.take_revocation(key);
        }
        let Some(view) = self.views.get_mut(&key) else { return Ok(()) };
        match notice.code {
            // A book cannot go on behind a gap: a snapshot follows, as after a subscription.
            Some("gap") if key.0 == Channel::Book => view.begin_again(),
            Some("gap") => {
                view.told_lost += notice.count.unwrap_or_default();
                (view.told_gap, view.begun) = (true, None);
                if notice.epoch.is_some() {
                    (view.epoch, view.last_seq) = (notice.epoch, None);
                }
            }
            Some("resynced") => view.begin_again(),
            // Of candles several messages may follow, one for each interval.
            Some("merged") if matches!(key.0, Channel::Book | Channel::Ticker) => {
                view.promised = notice.count
            }
            Some("stale") if std::mem::replace(&mut view.told_stale, true) => {
                return Err(format!("stale twice: {key:?}"));
            }
            Some("fresh") if !std::mem::replace(&mut view.told_stale, false) => {
                return Err(format!("fresh, but never stale: {key:?}"));
            }
            _ => {}
        }
        Ok(())
    }

    fn take_data(
        &mut self,
        channel: Channel,
        kind: Option<&str>,
        elements: &[Element<'_>],
        instruments: &[Instrument],
    ) -> Verdict {
        let is_snapshot = kind == Some("snapshot");
        let first = elements.first().ok_or("a message without elements")?;
        let (_, symbol) = key_of(Some(channel.name()), first.symbol).ok_or("data without a symbol")?;
        self.check_granted((channel, symbol))?;
        let view = self.views.get_mut(&(channel, symbol)).ok_or("data without subscription")?;
        let merged = first.merged.unwrap_or(1);
        match view.promised.take() {
            Some(promised) if promised != merged => {
                return Err(format!("stands for {merged}, {promised} were promised"));
            }
            _ => {}
        }
        view.admit(is_snapshot, matches!(channel, Channel::Book | Channel::Ticker))?;
        if channel == Channel::Trade && self.ext && !is_snapshot && view.lacks_snapshot(first) {
            self.snapshots_missed += 1;
        }
        for element in elements {
            view.link(element, is_snapshot, channel == Channel::Trade, self.ext)?;
            self.followed += u64::from(!is_snapshot && view.is_first());
            if channel == Channel::Trade {
                self.trades_missed += view.trade(element);
            }
            match channel {
                Channel::Book if !view.is_blind() => {
                    view.apply(element, is_snapshot, &instruments[symbol])?;
                }
                Channel::Ticker => view.note_quote(element, &instruments[symbol])?,
                Channel::Ohlc => view.candle_trades = element.trades,
                _ => {}
            }
        }
        Ok(())
    }
}

fn channel_of(name: Option<&str>) -> Option<Channel> {
    Channel::ALL.into_iter().find(|channel| Some(channel.name()) == name)
}

fn key_of(channel: Option<&str>, symbol: Option<&str>) -> Option<Key> {
    if channel == Some("instrument") {
        return Some(INSTRUMENTS);
    }
    let symbol = symbol?.strip_prefix('S')?.strip_suffix("/USD")?.parse().ok()?;
    Some((channel_of(channel)?, symbol))
}
