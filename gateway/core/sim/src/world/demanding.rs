//! What clients demand that are neither quite honest nor lying: many symbols at once, some unknown and some twice, depths and policies
//! that do not exist, subscriptions again before the last one has ended, pings, noise.
//!
//! How many refusals each request deserves is counted from nothing but what the client asked before.

use fanout::ClientId;
use model::{Channel, DEPTHS};
use wire::close::CloseCode;

use super::World;
use super::asking::{ALIKE, params, variant};
use crate::oracle::{INSTRUMENTS, Key, Oracle};

/// So many answers at once are more than may wait.
const FLOOD: u64 = 300;

/// A symbol that is never announced.
const UNKNOWN: usize = 99;

/// A subscription as it is asked for.
struct Demand {
    channel: Channel,
    /// By index; unknown ones and repetitions included.
    symbols: Vec<usize>,
    depth: usize,
    /// As sent.
    snapshot: Option<bool>,
    /// More parameters, each behind a comma.
    terms: String,
    /// Whether the depth and the policy exist.
    is_sound: bool,
}

impl World {
    /// Any client that is not about to end.
    fn pick_open(&mut self) -> Option<ClientId> {
        let client = self.clients.pick(&mut self.rng)?;
        client.is_open().then_some(client.id)
    }

    /// Notes that the last request opted the connection in; one that is closing is not listened to any more.
    pub(super) fn note_opt_in(&mut self, id: ClientId) {
        let is_known = self.hub.clients(self.now()).iter().any(|client| client.id == id && client.ext);
        if let Some(client) = self.clients.find(id).filter(|_| is_known) {
            client.opt_in();
        }
    }

    /// A client that opts in by what it asks: a bandwidth, which may be none.
    pub(super) fn opt_somebody_in(&mut self) {
        let Some(id) = self.pick_open() else { return };
        let bytes_per_s = self.rng.below(3) * 30_000;
        self.limit_rate(id, bytes_per_s);
        self.note_opt_in(id);
    }

    /// Subscribes, in any way that there is.
    pub(super) fn demand_subscription(&mut self) {
        let Some(id) = self.pick_open() else { return };
        let demand = self.pick_demand(id);
        self.expect(id, &demand);
        self.request(id, demand.text());
        self.note_opt_in(id);
    }

    fn pick_demand(&mut self, id: ClientId) -> Demand {
        use Channel::{Book, Instrument, Ohlc, Ticker, Trade};
        let channel = self.rng.among(&[Book, Book, Ticker, Trade, Ohlc, Instrument]);
        let which = self.rng.below(256);
        let odd = self.scenario.symbols > ALIKE && which & 0x08 > 0;
        // All symbols of a request have the same variant.
        let alike = if odd { ALIKE..self.scenario.symbols } else { 0..self.scenario.symbols.min(ALIKE) };
        let first = alike.start;
        let mut symbols: Vec<usize> = alike.filter(|symbol| which >> symbol & 1 == 1).collect();
        if which & 0x80 > 0 {
            symbols.push(UNKNOWN);
        }
        if symbols.is_empty() || which & 0x40 > 0 {
            symbols.push(first);
        }
        let depths = DEPTHS.map(usize::from);
        let depth = if which & 0x20 > 0 { self.rng.among(&depths) } else { depths[0] };
        let snapshot = self.rng.among(&[None, None, Some(true), Some(false)]);
        let chooses = self.clients.find(id).is_some_and(|client| client.has_opted_in());
        let mut terms = if chooses { self.terms(channel) } else { String::new() };
        let mut demand = Demand { channel, symbols, depth, snapshot, terms: String::new(), is_sound: true };
        if self.rng.one_in(16) {
            demand.is_sound = false;
            match channel {
                Book => demand.depth = 7,
                _ => terms = r#","policy":"conflate""#.to_owned(),
            }
        }
        demand.terms = terms;
        demand
    }

    /// What must come of a demand: for each symbol a subscription or a refusal.
    fn expect(&mut self, id: ClientId, demand: &Demand) {
        let subscriptions_max = self.limits.subscriptions_max;
        let symbols = self.scenario.symbols;
        let Some(client) = self.clients.find(id) else { return };
        let oracle = &mut client.oracle;
        for key in demand.keys() {
            let fits = key.1 < symbols && demand.is_sound && oracle.held() < subscriptions_max;
            if fits && !oracle.holds(key) {
                oracle.expect(key, demand.depth, demand.wants_snapshot());
            } else {
                oracle.refusals_due += 1;
            }
        }
    }

    /// Ends a subscription and asks for it again at once, to another depth.
    pub(super) fn change_somebodys_mind(&mut self) {
        let Some(id) = self.pick_open() else { return };
        let nth = self.rng.below(4) as usize;
        let depth = usize::from(self.rng.among(&DEPTHS));
        let Some(client) = self.clients.find(id) else { return };
        let Some((&key, view)) = client.oracle.views.iter_mut().nth(nth) else { return };
        if std::mem::replace(&mut view.leaving, true) {
            return;
        }
        let old = params(key, view.depth);
        let wants_snapshot = key.0 != Channel::Trade;
        client.oracle.expect(key, depth, wants_snapshot);
        self.request(id, format!(r#"{{"method":"unsubscribe","params":{{{old}}}}}"#));
        let new = params(key, depth);
        self.request(
            id,
            format!(r#"{{"method":"subscribe","params":{{{new}}},"req_id":18446744073709551615}}"#),
        );
    }

    /// Pings, as a request or by a frame.
    pub(super) fn ping_somebody(&mut self) {
        let Some(id) = self.pick_open() else { return };
        let len = self.rng.below(126).max(1) as usize;
        let by_frame = self.rng.one_in(2);
        let Some(client) = self.clients.find(id) else { return };
        if by_frame {
            // No two that wait at once are alike.
            client.pings_sent = client.pings_sent.wrapping_add(1);
            let payload = vec![client.pings_sent; len];
            client.pings.push_back(payload.clone());
            self.hub.handle_ping(id, &payload);
            self.drain_hub();
        } else {
            client.oracle.pongs_due += 1;
            self.request(id, r#"{"method":"ping","req_id":-1}"#.to_owned());
        }
    }

    /// Sends what can be no JSON, however it goes on; once in a while so much of it that the answers are a flood.
    pub(super) fn make_noise(&mut self) {
        let Some(id) = self.pick_open() else { return };
        let times = if self.rng.one_in(8) { FLOOD } else { 1 };
        for _ in 0..times {
            let Some(client) = self.clients.find(id) else { return };
            client.oracle.refusals_due += 1;
            if times == FLOOD {
                client.closings.push(CloseCode::PolicyViolation.code());
            }
            let noise = format!("}}{:?}", self.rng.next());
            self.request(id, noise);
        }
    }
}

impl Demand {
    /// The subscriptions that it asks for.
    fn keys(&self) -> Vec<Key> {
        match self.channel {
            Channel::Instrument => vec![INSTRUMENTS],
            channel => self.symbols.iter().map(|&symbol| (channel, symbol)).collect(),
        }
    }

    fn wants_snapshot(&self) -> bool {
        self.snapshot.unwrap_or(self.channel != Channel::Trade)
    }

    fn text(&self) -> String {
        let symbols: Vec<String> =
            self.symbols.iter().map(|&one| format!("\"{}\"", Oracle::symbol(one))).collect();
        let (channel, symbols) = (self.channel.name(), symbols.join(","));
        // An unknown symbol is no reason for another variant.
        let key = (self.channel, self.symbols.iter().copied().min().unwrap_or_default());
        let (variant, terms) = (variant(key, self.depth), &self.terms);
        let snapshot = self.snapshot.map(|wanted| format!(",\"snapshot\":{wanted}")).unwrap_or_default();
        let params = format!(r#""channel":"{channel}","symbol":[{symbols}]{variant}{terms}{snapshot}"#);
        format!(r#"{{"params":{{{params}}},"method":"subscribe"}}"#)
    }
}
