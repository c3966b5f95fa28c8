//! What honest clients ask: subscriptions, their end, other terms, pauses, bandwidth, and to go on from where they stood.

use fanout::ClientId;
use model::{Channel, INTERVALS_MIN};

use super::World;
use crate::client::SimClient;
use crate::oracle::{Key, Oracle, View};

impl World {
    /// Hands a request to the hub, and what the hub asks of the engine to the engine.
    pub(super) fn request(&mut self, id: ClientId, text: String) {
        if let Some(client) = self.clients.find(id) {
            client.unwritten += 1;
            client.unwritten_most = client.unwritten_most.max(client.unwritten);
        }
        self.hub.handle_message(id, &mut text.into_bytes(), self.now());
        self.drain_hub();
    }

    /// Any client, and any stream.
    pub(super) fn pick_key(&mut self) -> Key {
        use Channel::{Book, Ohlc, Ticker, Trade};
        let symbol = self.rng.below(self.scenario.symbols as u64) as usize;
        ([Book, Book, Trade, Ticker, Ohlc][self.rng.below(5) as usize], symbol)
    }

    /// Whether all instruments have been announced.
    pub(super) const fn has_begun(&self) -> bool {
        const FIRST_STEPS: u64 = 20;
        self.step >= FIRST_STEPS
    }

    pub(super) fn subscribe_somebody(&mut self) {
        if !self.has_begun() {
            return;
        }
        let key = self.pick_key();
        let (depth, snapshot) = self.pick_variant(key.0);
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        if !client.is_open() || client.oracle.views.contains_key(&key) {
            return;
        }
        let id = client.id;
        self.subscribe(id, key, depth, snapshot);
    }

    /// Depth of a book, and whether a snapshot is wanted.
    fn pick_variant(&mut self, channel: Channel) -> (usize, bool) {
        let depths = self.scenario.depths;
        let depth = depths[self.rng.below(depths.len() as u64) as usize];
        (depth, channel != Channel::Trade || self.rng.one_in(2))
    }

    fn subscribe(&mut self, id: ClientId, key: Key, depth: usize, snapshot: bool) {
        let Some(client) = self.clients.find(id) else { return };
        if client.oracle.may_have(key, depth) {
            client.oracle.expect(key, depth, snapshot);
        } else {
            client.oracle.refusals_due += 1;
            self.report.denied += 1;
        }
        let ext = client.oracle.ext;
        let terms = if ext { self.terms(key.0) } else { String::new() };
        let params = format!("{},\"snapshot\":{snapshot}{terms}", params(key, depth));
        self.request(id, format!(r#"{{"method":"subscribe","params":{{{params}}}}}"#));
    }

    /// A client that has it unsubscribes, another one subscribes; who is owed many answers waits for them.
    pub(super) fn churn_somebody(&mut self) {
        const OWED_MAX: usize = 8;
        let key = self.pick_key();
        let (depth, snapshot) = self.pick_variant(key.0);
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        if !client.is_open() || client.oracle.owed() >= OWED_MAX {
            return;
        }
        let id = client.id;
        match client.oracle.views.get(&key) {
            None => self.subscribe(id, key, depth, snapshot),
            Some(_) => self.unsubscribe(id, key),
        }
    }

    /// Terms that fit a channel, often none.
    pub(super) fn terms(&mut self, channel: Channel) -> String {
        let policies: &[&str] = match channel {
            Channel::Instrument => &["latest"],
            Channel::Book => &["conflate", "drop_oldest", "drop_newest", "disconnect"],
            Channel::Trade => &["drop_oldest", "drop_newest", "disconnect"],
            _ => &["latest", "drop_oldest", "drop_newest", "disconnect"],
        };
        let policy = policies[self.rng.below(policies.len() as u64) as usize];
        let mut terms = String::new();
        if self.rng.one_in(2) {
            terms += &format!(r#","policy":"{policy}""#);
            if policy == "disconnect" {
                let (entries, ms) = (1 + self.rng.below(30), 20 + self.rng.below(600));
                terms += &format!(r#","max_lag_entries":{entries},"max_lag_ms":{ms}"#);
            }
        }
        if self.rng.one_in(2) {
            terms += &format!(r#","interval_ms":{}"#, self.rng.below(300));
        }
        terms
    }

    /// New terms, a pause, the end of a pause, or a bandwidth.
    pub(super) fn configure_somebody(&mut self) {
        let nth = self.rng.below(4) as usize;
        let kind = self.rng.below(6);
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        let Some((&key, view)) = client.oracle.views.iter().nth(nth) else { return };
        let (id, depth, leaving) = (client.id, view.depth, view.leaving);
        if !client.is_open() || !client.oracle.ext || leaving {
            return;
        }
        match kind {
            0 => {
                let bytes_per_s = self.rng.below(4) * 20_000;
                self.limit_rate(id, bytes_per_s);
            }
            1 => self.pause_all(id, "pause"),
            2 => self.pause_all(id, "resume"),
            3 => {
                let params = params(key, depth) + &self.terms(key.0);
                self.request(id, format!(r#"{{"method":"configure","params":{{{params}}}}}"#));
            }
            kind => {
                let method = if kind == 4 { "pause" } else { "resume" };
                let params = params(key, depth);
                self.request(id, format!(r#"{{"method":"{method}","params":{{{params}}}}}"#));
            }
        }
    }

    /// Pauses everything that a client takes, or lets it go on.
    pub(super) fn pause_all(&mut self, id: ClientId, method: &str) {
        if let Some(client) = self.clients.find(id) {
            client.oracle.expect_pause();
            self.request(id, format!(r#"{{"method":"{method}"}}"#));
        }
    }

    pub(super) fn limit_rate(&mut self, id: ClientId, bytes_per_s: u64) {
        self.request(id, format!(r#"{{"method":"configure","params":{{"max_bytes_per_s":{bytes_per_s}}}}}"#));
    }

    /// Somebody who was cut off comes back, on another connection, and names where it stands.
    pub(super) fn resume_somebody(&mut self) {
        let pick = self.rng.below(self.ghosts.len() as u64) as usize;
        let (key, view) = self.ghosts.swap_remove(pick);
        let fits = |client: &SimClient| {
            client.oracle.ext && client.is_open() && !client.oracle.views.contains_key(&key)
        };
        let Some(id) = self.clients.iter().find(|client| fits(client)).map(|client| client.id) else {
            return;
        };
        let (Some(epoch), Some(seq)) = (view.epoch, view.last_seq) else { return };
        self.report.resumed += 1;
        self.resume(id, key, view, (epoch, seq), false);
    }

    pub(super) fn resume(
        &mut self,
        id: ClientId,
        key: Key,
        view: View,
        (epoch, seq): (u64, u64),
        lying: bool,
    ) {
        let params = params(key, view.depth);
        if let Some(client) = self.clients.find(id) {
            if client.oracle.may_have(key, view.depth) {
                client.oracle.expect_resumed(key, view, lying);
            } else {
                client.oracle.refusals_due += 1;
                self.report.denied += 1;
            }
        }
        let resume = format!(r#""resume":{{"epoch":{epoch},"seq":{seq}}}"#);
        self.request(id, format!(r#"{{"method":"subscribe","params":{{{params},{resume}}}}}"#));
    }

    pub(super) fn unsubscribe_somebody(&mut self) {
        let nth = self.rng.below(4) as usize;
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        let (id, open) = (client.id, client.is_open());
        let Some((&key, _)) = client.oracle.views.iter().nth(nth) else { return };
        if open {
            self.unsubscribe(id, key);
        }
    }

    /// Unsubscribes once; the answer may be long in coming.
    fn unsubscribe(&mut self, id: ClientId, key: Key) {
        let Some(view) = self.clients.find(id).and_then(|client| client.oracle.views.get_mut(&key)) else {
            return;
        };
        if std::mem::replace(&mut view.leaving, true) {
            return;
        }
        let params = params(key, view.depth);
        self.request(id, format!(r#"{{"method":"unsubscribe","params":{{{params}}},"req_id":1}}"#));
    }
}

/// How many symbols have the same variants.
pub(super) const ALIKE: usize = 3;

/// The parameters that name a stream: channel, symbol, and variant.
pub(super) fn params((channel, symbol): Key, depth: usize) -> String {
    let (name, variant) = (channel.name(), variant((channel, symbol), depth));
    let symbol = Oracle::symbol(symbol);
    format!(r#""channel":"{name}","symbol":["{symbol}"]{variant}"#)
}

/// The parameter of the variant. Tickers and candles have theirs by the symbol, so that a key is one stream: the first symbols have
/// the same, those that only some worlds have all others.
pub(super) fn variant((channel, symbol): Key, depth: usize) -> String {
    match channel {
        Channel::Book => format!(",\"depth\":{depth}"),
        Channel::Ticker if symbol < ALIKE => ",\"event_trigger\":\"bbo\"".to_owned(),
        Channel::Ohlc => format!(",\"interval\":{}", INTERVALS_MIN[interval_index(symbol)]),
        _ => String::new(),
    }
}

/// Of which interval the candles of a symbol are.
pub(super) const fn interval_index(symbol: usize) -> usize {
    (symbol + 1).saturating_sub(ALIKE) % INTERVALS_MIN.len()
}
