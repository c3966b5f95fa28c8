//! Joins at scale over real sockets: many connections that subscribe and unsubscribe all the time while the market runs.
//!
//! Each connection has its own thread and its own chance from a seed. It asks without waiting for its answers, so that a
//! subscription may end before it was acknowledged and begin again behind its end. The market runs as fast as the gateway brings
//! it to who reads. Every message is checked by its view; at the end every book is compared with the venue's.

mod support;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Instant;

use feed_sim::{SimulatorConfig, SourceConfig};
use model::PairStatus;
use serde_json::{Value, json};
use support::client::Client;
use support::crowd::{Signal, live_together};
use support::dice::Dice;
use support::gateway::{Gateway, let_hurry, settings_of};
use support::tape::TapeFeed;
use support::view::{Key, View};
use support::visitor::Visitor;

const CONNECTIONS: usize = 32;

/// Subscriptions of one connection; what it ends with comes on top.
const SUBSCRIBES: u64 = 1_000;

/// Events between two looks at who keeps up.
const EVENTS_PER_STEP: usize = 500;

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

/// A market that goes on as fast as the gateway brings it to who reads: at full rate, and on a loaded machine at its own.
struct Market {
    feed: TapeFeed,
    gateway: Gateway,
    /// One in each shard; they take only what tells them that everything before it was sent.
    pacers: [Client; 2],
    states: std::iter::Cycle<std::array::IntoIter<PairStatus, 2>>,
    steps: usize,
}

impl Market {
    fn open() -> Self {
        // Always an event due, so that each step tells as many as were asked for.
        let simulator =
            SimulatorConfig { symbols: SYMBOLS, depth: DEPTH, rate: 1e6, ..SimulatorConfig::default() };
        let mut feed = TapeFeed::open(&SourceConfig::Simulator(simulator));
        let mut config = settings_of(feed.address());
        let_hurry(&mut config);
        let gateway = Gateway::start(config);
        feed.begin();
        gateway.wait_ready(SYMBOLS);
        let pacers = [(); 2].map(|()| gateway.client());
        let pacers = pacers.map(|mut pacer| {
            pacer.subscribe(json!({ "channel": "instrument" }));
            pacer
        });
        let states = [PairStatus::PostOnly, PairStatus::LimitOnly].into_iter().cycle();
        Self { feed, gateway, pacers, states, steps: 0 }
    }

    fn go_on(&mut self) {
        self.feed.step(EVENTS_PER_STEP);
        let state = self.states.next().expect("a cycle has no end");
        let symbol = self.feed.barrier(state);
        for pacer in &mut self.pacers {
            pacer.wait("everything that was told", |view| view.pair(&symbol) == state.name());
        }
        self.steps += 1;
    }

    /// Compares all books with the venue's, and last trades with each other.
    fn check(&mut self, views: &[&View]) {
        for (symbol, truth) in self.feed.truths() {
            for view in views {
                let one = &view.books[&symbol];
                assert!(
                    one.book == truth.book.top(one.depth),
                    "connection {} at {} of {} has a wrong book of {symbol}",
                    view.connection,
                    one.seq,
                    truth.seq
                );
            }
            let last: BTreeSet<u64> = views.iter().filter_map(|view| view.last_trade(&symbol)).collect();
            assert!(last.len() <= 1, "last trades of {symbol}: {last:?}");
        }
    }
}

#[test]
fn thirty_thousand_subscribes_each_begin_without_a_hole_or_a_repeat() {
    let market = RefCell::new(Market::open());
    let (address, symbols) = {
        let market = market.borrow();
        (market.gateway.public, market.feed.symbols())
    };
    let life = |seed| {
        let symbols = &symbols;
        move |signal: &Signal<'_>| Waverer::new(address, seed, symbols).live(signal)
    };
    let lives = (1..=CONNECTIONS as u64).map(life).collect();
    let end = || {
        let gateway = &market.borrow().gateway;
        gateway.wait_settled();
        assert_eq!(gateway.samples().rejects(), []);
    };
    let start = Instant::now();
    let waverers = live_together(lives, || market.borrow_mut().go_on(), end);
    let mut market = market.into_inner();
    println!("{} events in {:?}", market.steps * EVENTS_PER_STEP, start.elapsed());
    waverers.iter().for_each(Waverer::check);
    let views: Vec<&View> = waverers.iter().map(Waverer::view).collect();
    market.check(&views);
    let sum = |count: fn(&Waverer) -> u64| waverers.iter().map(count).sum::<u64>();
    let [joins, hasty, updates] =
        [sum(|one| one.view().joins), sum(|one| one.hasty), sum(|one| one.view().updates)];
    println!("{joins} subscribes, {hasty} ended unacknowledged, {updates} updates");
    assert!(joins >= 30_000 && hasty > 100 && updates > 20_000, "{joins}, {hasty}, {updates}");
    market.gateway.samples().check_conserved();
    drop(waverers);
    let samples =
        market.gateway.wait_samples("the pacers to be alone", |s| s.one("gateway_connections") == 2);
    samples.check_conserved();
}
