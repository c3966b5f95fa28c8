//! Joins at scale over real sockets: many connections that subscribe and unsubscribe all the time while the market runs.
//!
//! Each connection has its own thread and its own chance from a seed. It asks without waiting for its answers, so that a
//! subscription may end before it was acknowledged and begin again behind its end. Every message is checked by its view; at the
//! end every book is compared with the venue's.

mod support;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use feed_sim::{Server, SimulatorConfig, SourceConfig};
use serde_json::{Value, json};
use support::crowd::{Signal, live_together};
use support::dice::Dice;
use support::gateway::{Gateway, settings_of};
use support::reference::Reference;
use support::view::{Key, View};
use support::visitor::Visitor;

const CONNECTIONS: usize = 32;

/// Subscriptions of one connection; what it ends with comes on top.
const SUBSCRIBES: u64 = 1_000;

/// Events per second over all symbols.
const RATE: f64 = 5_000.0;

const SYMBOLS: usize = 20;

/// Levels a side; more than the deepest subscriptions but one show.
const DEPTH: usize = 600;

const DEPTHS: [u64; 5] = [10, 25, 100, 500, 1000];

/// Most answers that a connection waits for when it asks more.
const OWED_MAX: usize = 12;

/// One connection that cannot make up its mind.
struct Waverer {
    visitor: Visitor,
    dice: Dice,
    ext: bool,
    symbols: Vec<String>,
    /// What it is subscribed to once all its requests are answered.
    wanted: Vec<Key>,
    /// Ends of subscriptions that had not been acknowledged.
    hasty: u64,
}

impl Waverer {
    fn new(gateway: SocketAddr, seed: u64, symbols: &[String]) -> Self {
        let mut dice = Dice::new(seed);
        let ext = dice.one_in(2);
        let mut visitor = Visitor::connect(gateway, if ext { "/v2?ext=1" } else { "/v2" });
        visitor.learn();
        Self { visitor, dice, ext, symbols: symbols.to_vec(), wanted: Vec::new(), hasty: 0 }
    }

    fn view(&self) -> &View {
        &self.visitor.view
    }

    /// Subscribes and unsubscribes until it has done so often enough.
    fn waver(&mut self, signal: &Signal<'_>) {
        while self.view().joins < SUBSCRIBES && !signal.is_over() {
            if self.visitor.owed() < OWED_MAX {
                for _ in 0..=self.dice.below(4) {
                    // About eight at a time.
                    if self.dice.below(16) < self.wanted.len() { self.leave() } else { self.join() }
                }
            }
            for _ in 0..self.dice.below(12) {
                self.visitor.read();
            }
        }
    }

    /// Subscribes to a few symbols of a channel at once.
    fn join(&mut self) {
        let (channel, interval, mut params) = self.choose();
        let mut symbols = Vec::new();
        for _ in 0..=self.dice.below(3) {
            let symbol = self.dice.pick(&self.symbols).clone();
            let key: Key = (channel.into(), symbol.clone(), interval);
            if !self.wanted.contains(&key) {
                self.wanted.push(key);
                symbols.push(symbol);
            }
        }
        if !symbols.is_empty() {
            params["channel"] = channel.into();
            params["symbol"] = symbols.clone().into();
            self.visitor.ask(&json!({ "method": "subscribe", "params": params }), symbols.len());
        }
    }

    /// A channel, the interval of candles, and how it is asked for.
    fn choose(&mut self) -> (&'static str, u64, Value) {
        let channel = *self.dice.pick(&["book", "book", "ticker", "trade", "ohlc"]);
        let mut params = json!({});
        let mut interval = 0;
        match channel {
            "book" => params["depth"] = (*self.dice.pick(&DEPTHS)).into(),
            "ticker" => params["event_trigger"] = (*self.dice.pick(&["bbo", "trades"])).into(),
            "trade" => params["snapshot"] = self.dice.one_in(2).into(),
            _ => {
                interval = *self.dice.pick(&[1, 5, 60]);
                params["interval"] = interval.into();
            }
        }
        if self.ext && self.dice.one_in(4) {
            params["interval_ms"] = (10 * self.dice.below(10)).into();
        }
        if self.ext && self.dice.one_in(4) && channel != "ohlc" {
            params["policy"] = (*self.dice.pick(&["drop_oldest", "drop_newest"])).into();
        }
        (channel, interval, params)
    }

    fn leave(&mut self) {
        let at = self.dice.below(self.wanted.len());
        let key = self.wanted.swap_remove(at);
        self.hasty += u64::from(!self.view().subscribed.contains_key(&key));
        let mut params = json!({ "channel": key.0, "symbol": [key.1] });
        if key.2 > 0 {
            params["interval"] = key.2.into();
        }
        self.visitor.ask(&json!({ "method": "unsubscribe", "params": params }), 1);
    }

    /// Ends with a book of every symbol; those that it has stay as deep as they are.
    fn settle_down(&mut self) {
        for symbol in self.symbols.clone() {
            let key: Key = ("book".into(), symbol.clone(), 0);
            if !self.wanted.contains(&key) {
                self.wanted.push(key);
                let depth = *self.dice.pick(&DEPTHS);
                let params = json!({ "channel": "book", "symbol": [symbol], "depth": depth });
                self.visitor.ask(&json!({ "method": "subscribe", "params": params }), 1);
            }
        }
        self.visitor.wait("every book", |one| one.owed() == 0 && one.view.books.len() == SYMBOLS);
    }

    /// All of one connection's life. Says when it has what it wants, and takes what comes until the market has ended.
    fn live(mut self, signal: &Signal<'_>) -> Self {
        self.waver(signal);
        self.settle_down();
        signal.stay(&mut self.visitor);
        self
    }

    /// What it knows is what it asked for, and everything that was lost to it was told.
    fn check(&self) {
        let view = self.view();
        let mut subscribed: Vec<&Key> = view.subscribed.keys().filter(|key| key.0 != "instrument").collect();
        let mut wanted: Vec<&Key> = self.wanted.iter().collect();
        subscribed.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(subscribed, wanted, "connection {}", view.connection);
        if self.ext {
            assert_eq!((view.untold, view.breaks), (0, 0), "connection {}", view.connection);
        }
    }
}

#[test]
fn ten_thousand_subscribes_each_begin_without_a_hole_or_a_repeat() {
    let simulator =
        SimulatorConfig { symbols: SYMBOLS, depth: DEPTH, rate: RATE, ..SimulatorConfig::default() };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let feed = Server::start(free, &SourceConfig::Simulator(simulator)).expect("a free port is to be had");
    let gateway = Gateway::start(settings_of(feed.local_addr()));
    gateway.wait_ready(SYMBOLS);
    let reference = Reference::follow(feed.local_addr(), SYMBOLS);
    let mut first = Visitor::connect(gateway.public, "/v2");
    first.learn();
    let symbols: Vec<String> = first.view.precisions.into_keys().collect();
    let address = gateway.public;
    let life = |seed| {
        let symbols = &symbols;
        move |signal: &Signal<'_>| Waverer::new(address, seed, symbols).live(signal)
    };
    let waverers = live_together((1..=CONNECTIONS as u64).map(life).collect(), || {
        assert_eq!(gateway.samples().rejects(), []);
        feed.stop();
        gateway.wait_settled();
    });
    waverers.iter().for_each(Waverer::check);
    let views: Vec<&View> = waverers.iter().map(Waverer::view).collect();
    assert_eq!(reference.finish().check(&views), CONNECTIONS * SYMBOLS);
    let sum = |count: fn(&Waverer) -> u64| waverers.iter().map(count).sum::<u64>();
    let (joins, hasty) = (sum(|one| one.view().joins), sum(|one| one.hasty));
    let updates = sum(|one| one.view().updates);
    let merged: BTreeMap<&str, u64> = support::http::CHANNELS
        .map(|channel| (channel, gateway.samples().deliveries("merged_total", channel)))
        .into();
    println!("{joins} subscribes, {hasty} ended unacknowledged, {updates} updates, merged {merged:?}");
    assert!(joins >= 10_000 && hasty > 100 && updates > 20_000, "{joins}, {hasty}, {updates}");
    gateway.samples().check_conserved();
    drop(waverers);
    let samples = gateway.wait_samples("everybody to be forgotten", |s| s.one("gateway_connections") <= 1);
    samples.check_conserved();
}
