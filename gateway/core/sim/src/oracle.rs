//! The oracle: what one client knows from nothing but the bytes it was sent, and what is wrong with them.
//!
//! Shares no code with the market or the hub but the checksum: its books are maps, its numbers are text read as text.

mod message;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, VecDeque};

use model::{Channel, Instrument};

use message::{Answer, Element, Message};
pub(crate) use view::View;

/// A subscription as the oracle knows it: channel, and index of the symbol.
pub(crate) type Key = (Channel, usize);

/// Everything that one client knows.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) ext: bool,
    pub(crate) views: BTreeMap<Key, View>,
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
    requests: u64,
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
        self.views.insert(key, View { depth, wants_snapshot, born: self.requests, ..View::default() });
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
            Some("notice") => message.data.first().map_or(Ok(()), |notice| self.take_notice(notice)),
            Some("status" | "heartbeat" | "instrument") => Ok(()),
            Some(name) => {
                let channel = channel_of(Some(name)).ok_or("an unknown channel")?;
                self.take_data(channel, &message, instruments)
            }
            None => Err("neither an answer nor data".into()),
        }
    }

    fn take_answer(&mut self, message: &Message<'_>) -> Verdict {
        let method = message.method.as_deref().unwrap_or_default();
        match message.success {
            Some(true) => {}
            Some(false) if self.refusals_due > 0 => {
                self.refusals_due -= 1;
                return Ok(());
            }
            None if method == "pong" => return Ok(()),
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
                Ok(())
            }
            _ => {
                let view = self.views.get_mut(&key).ok_or_else(|| format!("{method} of nothing: {key:?}"))?;
                match method {
                    "pause" => view.paused = true,
                    "resume" => view.paused = false,
                    _ => view.lag_limits = limits_of(answer),
                }
                Ok(())
            }
        }
    }

    fn pause_all(&mut self, paused: bool) -> Verdict {
        let born_max = self.pauses.pop_front().ok_or("a pause that nobody asked for")?;
        for view in self.views.values_mut().filter(|view| view.born <= born_max) {
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
        view.lag_limits = limits_of(answer);
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
        let Some(key) = key_of(notice.channel, notice.symbol) else { return Ok(()) };
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

    fn take_data(&mut self, channel: Channel, message: &Message<'_>, instruments: &[Instrument]) -> Verdict {
        let is_snapshot = message.kind == Some("snapshot");
        let first = message.data.first().ok_or("a message without elements")?;
        let (_, symbol) = key_of(Some(channel.name()), first.symbol).ok_or("data without a symbol")?;
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
        for element in &message.data {
            view.link(element, is_snapshot, channel == Channel::Trade, self.ext)?;
            self.followed += u64::from(!is_snapshot && view.is_first());
            if channel == Channel::Trade {
                self.trades_missed += view.trade(element);
            }
            if channel == Channel::Book {
                view.apply(element, is_snapshot, &instruments[symbol])?;
            }
        }
        Ok(())
    }
}

fn channel_of(name: Option<&str>) -> Option<Channel> {
    Channel::ALL.into_iter().find(|channel| Some(channel.name()) == name)
}

fn key_of(channel: Option<&str>, symbol: Option<&str>) -> Option<Key> {
    let symbol = symbol?.strip_prefix('S')?.strip_suffix("/USD")?.parse().ok()?;
    Some((channel_of(channel)?, symbol))
}

fn limits_of(answer: &Answer<'_>) -> Option<(u64, u64)> {
    let is_strict = answer.policy == Some("disconnect");
    is_strict.then(|| (answer.max_lag_ms.unwrap_or_default(), answer.max_lag_entries.unwrap_or_default()))
}
