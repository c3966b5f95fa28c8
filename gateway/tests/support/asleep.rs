//! A client that stops reading while known events happen: the gateway, the feed that is a script, and what is read afterwards.
//!
//! Not one entry comes of itself. A second symbol fills the sleeping client's socket, so that it misses every event about the first.

use serde_json::{Value, json};

use super::book::units;
use super::client::Client;
use super::gateway::{Gateway, settings_of};
use super::http::get;
use super::script::{ASK, BID, LEVELS, ScriptFeed};
use super::socket::Socket;
use super::view::View;

/// What is looked at.
pub const SYMBOL: &str = "AAA/USD";

/// What fills sockets.
pub const NOISE: &str = "ZZZ/USD";

/// Entries that a stream keeps.
pub const RING: u64 = 16;

/// Bytes of a frame that surely no kernel buffer takes on.
const REST_BYTES_MIN: u64 = 16_000;

/// Events within the ring, and beyond it.
pub const FEW: u64 = 12;
pub const MANY: u64 = RING + 5;

/// A gateway with little room for who does not read, its feed, and a client that always reads.
#[derive(Debug)]
pub struct Scene {
    pub feed: ScriptFeed,
    pub gateway: Gateway,
    /// Reads always; where it stands the hub stands.
    pub witness: Client,
    /// Quantity of the best bid in hundredths, one more with each event.
    qty: u64,
    noise: u64,
}

/// A client that does not read, and what was so when it stopped.
#[derive(Debug)]
pub struct Sleeper {
    pub socket: Socket,
    pub view: View,
    pub channel: String,
    /// What the gateway held for it when it stopped.
    pub held_bytes: u64,
    pub start: Start,
}

/// What the events are counted from.
#[derive(Clone, Copy, Debug)]
pub struct Start {
    /// Where the subscription began: an earlier event, when those after it were of other channels.
    pub ack: u64,
    pub seq: u64,
    pub qty: u64,
    pub trades: u64,
    /// The last line that the feed told before the client subscribed and stopped to read.
    pub line: u64,
}

impl Scene {
    pub fn start() -> Self {
        let mut feed = ScriptFeed::open(&[SYMBOL, NOISE]);
        let mut config = settings_of(feed.address());
        // One shard: what the witness was sent, the hub of the sleeper knows.
        config.shards.count = 1;
        config.public.send_buffer_bytes = 4_096;
        config.limits.ring_entries = RING as usize;
        let gateway = Gateway::start(config);
        feed.begin();
        gateway.wait_ready(2);
        let mut witness = gateway.ext_client();
        witness.subscribe(json!({ "channel": "instrument" }));
        witness.subscribe(json!({ "channel": "book", "symbol": [SYMBOL, NOISE], "depth": 1000 }));
        witness.subscribe(json!({ "channel": "trade", "symbol": [SYMBOL] }));
        Self { feed, gateway, witness, qty: 100, noise: 0 }
    }

    /// Waits until the gateway has passed on everything that the feed said.
    pub fn settle(&mut self, symbol: &str) {
        let seq = self.feed.seq(symbol);
        self.witness.wait("the feed's last event", |view| {
            let of = |channel: &str| view.links.get(&(channel.to_owned(), symbol.to_owned(), 0));
            of("book").max(of("trade")).is_some_and(|&at| at >= seq)
        });
    }

    /// One event that is one entry of a channel, the n-th since the start as the client sees it.
    fn event(&mut self, channel: &str) {
        if channel == "book" || channel == "ticker" {
            self.qty += 1;
            self.feed.book(SYMBOL, &[(BID, self.qty)], &[]);
        } else {
            self.feed.trade(SYMBOL, 100);
        }
    }

    fn make_noise(&mut self) {
        self.noise += 1;
        let qty = 100 + self.noise % 2;
        let side = |price: fn(u64) -> u64| (0..LEVELS).map(|n| (price(n), qty)).collect::<Vec<_>>();
        self.feed.book(NOISE, &side(|n| BID - n), &side(|n| ASK + n));
        self.settle(NOISE);
    }

    /// A client with one subscription that is looked at, whose socket is full.
    pub fn fall_asleep(&mut self, params: &Value) -> Sleeper {
        let mut socket = Socket::connect_narrow(self.gateway.public, "/v2?ext=1");
        let line = self.feed.line();
        let mut view = View::default();
        view.precisions.clone_from(&self.witness.view.precisions);
        let noise = json!({ "channel": "book", "symbol": [NOISE], "depth": 1000 });
        for params in [&noise, params] {
            socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
        }
        let snapshots = if params["snapshot"] == false { 1 } else { 2 };
        while view.subscribed.len() < 2 || view.snapshots < snapshots {
            view.apply(socket.frame().text());
        }
        // The kernel may take some more bytes at any time, but hardly the rest of so large a frame.
        while self.held_bytes(&view) < REST_BYTES_MIN {
            self.make_noise();
        }
        let held_bytes = self.held_bytes(&view);
        let ack = view.subscribed.values().find(|result| result["symbol"] == SYMBOL);
        let start = Start {
            ack: ack.expect("it is subscribed")["seq"].as_u64().expect("it opted in"),
            seq: self.feed.seq(SYMBOL),
            qty: self.qty,
            trades: self.feed.trades(SYMBOL),
            line,
        };
        Sleeper {
            socket,
            view,
            channel: params["channel"].as_str().expect("as the protocol says").to_owned(),
            held_bytes,
            start,
        }
    }

    /// What the gateway holds for a client.
    fn held_bytes(&self, view: &View) -> u64 {
        let path = format!("/clients/{}", view.connection);
        get(self.gateway.admin, &path).json()["held_bytes"].as_u64().expect("it is connected")
    }

    /// Whether a client has missed everything so far: a kernel short of memory packs what it holds, and may then take a frame after all.
    pub fn is_asleep(&self, sleeper: &Sleeper) -> bool {
        self.held_bytes(&sleeper.view) == sleeper.held_bytes
    }

    /// So many events that the client misses.
    pub fn miss(&mut self, channel: &str, events: u64) {
        (0..events).for_each(|_| self.event(channel));
        self.settle(SYMBOL);
    }

    /// Reads on, then sees one more event; everything about the symbol that was received.
    pub fn wake(&mut self, sleeper: Sleeper, messages: usize) -> Vec<String> {
        let Sleeper { socket, mut view, channel, start, .. } = sleeper;
        view.kept = Some(Vec::new());
        let mut client = Client::over(socket);
        client.view = view;
        let shown = |view: &View| -> Vec<String> {
            view.kept.iter().flatten().filter_map(|message| show(message, start)).collect()
        };
        client.wait("what was missed", |view| shown(view).len() >= messages);
        self.gateway.wait_samples("nobody to lag", |samples| samples.one("gateway_clients_lagging") == 0);
        self.event(&channel);
        self.settle(SYMBOL);
        client.wait("the event after it", |view| shown(view).len() > messages);
        client.drain();
        assert_eq!(client.view.notices[0], json!({ "code": "lagging" }), "before everything else");
        shown(&client.view)
    }

    /// Lets the sleeper of a finished case go.
    pub fn tidy_up(&self) {
        self.gateway.wait_samples("the witness to be alone", |s| s.one("gateway_connections") == 1);
        self.gateway.samples().check_conserved();
    }
}

/// A message about the symbol in a line; sequences count from the start, and `#n` is the n-th event.
fn show(message: &Value, start: Start) -> Option<String> {
    let element = &message["data"][0];
    if element["symbol"] != SYMBOL {
        return None;
    }
    let number = |key: &str| element[key].as_u64().unwrap_or_else(|| panic!("no {key}: {message}"));
    let since = |key: &str| match number(key) {
        seq if seq == start.ack => 0,
        seq => seq.checked_sub(start.seq).unwrap_or_else(|| panic!("{key} is of the past: {message}")),
    };
    if message["channel"] == "notice" {
        let code = element["code"].as_str().expect("as the protocol says");
        return Some(format!("{code} {}..{} of {}", since("from_seq"), since("to_seq"), number("count")));
    }
    if message["type"] == "snapshot" {
        return Some(format!("snapshot at {}", since("seq")));
    }
    let hundredths = |value: &Value| units(value, 2) - start.qty;
    let event = match message["channel"].as_str().expect("as the protocol says") {
        "book" => {
            assert_eq!(element["asks"], json!([]), "{message}");
            let [bid] = &element["bids"].as_array().expect("as the protocol says")[..] else {
                panic!("one level: {message}")
            };
            assert_eq!(units(&bid["price"], 0), BID, "{message}");
            hundredths(&bid["qty"])
        }
        "ticker" => hundredths(&element["bid_qty"]),
        "trade" => number("trade_id") - start.trades,
        "ohlc" => number("trades") - start.trades,
        other => panic!("{other}: {message}"),
    };
    let merged = element["merged"].as_u64().map_or(String::new(), |count| format!(" merged {count}"));
    Some(format!("{}>{} #{event}{merged}", since("prev"), since("seq")))
}

/// A subscription to a channel in whose stream each event is an entry.
pub fn params(channel: &str, policy: &str) -> Value {
    let mut params = json!({ "channel": channel, "symbol": [SYMBOL], "policy": policy });
    match channel {
        "ticker" => params["event_trigger"] = "bbo".into(),
        "trade" | "ohlc" => params["snapshot"] = false.into(),
        _ => {}
    }
    params
}
