//! Every delivery policy on every channel where it fits, over real sockets: a client that stops reading while known events
//! happen, and then exactly what it reads.
//!
//! The feed is a script: not one entry comes of itself. A second symbol fills the sleeping client's socket.

mod support;

use serde_json::{Value, json};
use support::book::units;
use support::client::Client;
use support::gateway::{Gateway, settings_of};
use support::http::get;
use support::scene::Asker;
use support::script::{ASK, BID, LEVELS, ScriptFeed};
use support::socket::{Socket, TEXT};
use support::view::View;

/// What is looked at.
const SYMBOL: &str = "AAA/USD";

/// What fills sockets.
const NOISE: &str = "ZZZ/USD";

/// Entries that a stream keeps.
const RING: u64 = 16;

/// Bytes of a frame that surely no kernel buffer takes on.
const REST_BYTES_MIN: u64 = 16_000;

/// Events within the ring, and beyond it.
const FEW: u64 = 12;
const MANY: u64 = RING + 5;

struct Scene {
    feed: ScriptFeed,
    gateway: Gateway,
    /// Reads always; where it stands the hub stands.
    witness: Client,
    /// Quantity of the best bid in hundredths, one more with each event.
    qty: u64,
    noise: u64,
}

/// A client that does not read, and what was so when it stopped.
struct Sleeper {
    socket: Socket,
    view: View,
    channel: String,
    start: Start,
}

/// What the events are counted from.
#[derive(Clone, Copy)]
struct Start {
    /// Where the subscription began: an earlier event, when those after it were of other channels.
    ack: u64,
    seq: u64,
    qty: u64,
    trades: u64,
}

impl Scene {
    fn start() -> Self {
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
    fn settle(&mut self, symbol: &str) {
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
    fn fall_asleep(&mut self, params: &Value) -> Sleeper {
        let mut socket = Socket::connect_narrow(self.gateway.public, "/v2?ext=1");
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
        let path = format!("/clients/{}", view.connection);
        // The kernel may take some more bytes at any time, but not the rest of so large a frame.
        while get(self.gateway.admin, &path).json()["held_bytes"].as_u64() < Some(REST_BYTES_MIN) {
            self.make_noise();
        }
        let ack = view.subscribed.values().find(|result| result["symbol"] == SYMBOL);
        let start = Start {
            ack: ack.expect("it is subscribed")["seq"].as_u64().expect("it opted in"),
            seq: self.feed.seq(SYMBOL),
            qty: self.qty,
            trades: self.feed.trades(SYMBOL),
        };
        Sleeper {
            socket,
            view,
            channel: params["channel"].as_str().expect("as the protocol says").to_owned(),
            start,
        }
    }

    /// So many events that the client misses.
    fn miss(&mut self, channel: &str, events: u64) {
        (0..events).for_each(|_| self.event(channel));
        self.settle(SYMBOL);
    }

    /// Reads on, then sees one more event; everything about the symbol that was received.
    fn wake(&mut self, sleeper: Sleeper, messages: usize) -> Vec<String> {
        let Sleeper { socket, mut view, channel, start } = sleeper;
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
    fn tidy_up(&self) {
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

/// What a client has to get for some events that it missed.
#[derive(Clone, Copy, Debug)]
enum Expected {
    /// All in one.
    Merged,
    /// Each of the last so many, after a gap over the others.
    Each(u64),
    /// A gap over all, and for a book a snapshot.
    Nothing,
}

impl Expected {
    fn lines(self, channel: &str, events: u64) -> Vec<String> {
        let mut lines = match self {
            Self::Merged => {
                vec![
                    format!("merged 0..{events} of {events}"),
                    format!("0>{events} #{events} merged {events}"),
                ]
            }
            Self::Each(kept) => {
                let lost = events - kept;
                let gap = (lost > 0).then(|| format!("gap 0..{lost} of {lost}"));
                gap.into_iter().chain((lost + 1..=events).map(|n| format!("{}>{n} #{n}", n - 1))).collect()
            }
            Self::Nothing => {
                let snapshot = (channel == "book").then(|| format!("snapshot at {events}"));
                std::iter::once(format!("gap 0..{events} of {events}")).chain(snapshot).collect()
            }
        };
        lines.push(format!("{events}>{0} #{0}", events + 1));
        lines
    }
}

fn params(channel: &str, policy: &str) -> Value {
    let mut params = json!({ "channel": channel, "symbol": [SYMBOL], "policy": policy });
    match channel {
        "ticker" => params["event_trigger"] = "bbo".into(),
        "trade" | "ohlc" => params["snapshot"] = false.into(),
        _ => {}
    }
    params
}

#[test]
fn each_policy_gives_exactly_what_it_says() {
    use Expected::{Each, Merged, Nothing};
    let cases = [
        ("book", "conflate", FEW, Merged),
        // A book is merged over everything that changed, beyond the ring too.
        ("book", "conflate", MANY, Merged),
        ("ticker", "latest", FEW, Merged),
        ("ticker", "latest", MANY, Merged),
        ("ohlc", "latest", FEW, Merged),
        ("ohlc", "latest", MANY, Merged),
        ("book", "drop_oldest", FEW, Each(FEW)),
        // A book with a hole would be wrong.
        ("book", "drop_oldest", MANY, Nothing),
        ("ticker", "drop_oldest", MANY, Each(RING)),
        ("trade", "drop_oldest", FEW, Each(FEW)),
        ("trade", "drop_oldest", MANY, Each(RING)),
        ("ohlc", "drop_oldest", MANY, Each(RING)),
        ("book", "drop_newest", FEW, Nothing),
        ("book", "drop_newest", MANY, Nothing),
        ("ticker", "drop_newest", FEW, Nothing),
        ("trade", "drop_newest", MANY, Nothing),
        ("ohlc", "drop_newest", FEW, Nothing),
        ("book", "disconnect", FEW, Each(FEW)),
        ("ticker", "disconnect", FEW, Each(FEW)),
        ("trade", "disconnect", FEW, Each(FEW)),
        ("ohlc", "disconnect", FEW, Each(FEW)),
    ];
    let mut scene = Scene::start();
    for (channel, policy, events, expected) in cases {
        let case = format!("{policy} of {channel} after {events}");
        println!("{case}");
        let sleeper = scene.fall_asleep(&params(channel, policy));
        scene.miss(channel, events);
        let expected = expected.lines(channel, events);
        let got = scene.wake(sleeper, expected.len() - 1);
        assert_eq!(got, expected, "{case}");
        scene.tidy_up();
    }
}

#[test]
fn disconnect_ends_with_4008_beyond_its_limits() {
    let cases = [
        ("trade", json!({ "max_lag_entries": 5 }), FEW),
        ("book", json!({ "max_lag_entries": 5 }), FEW),
        ("ticker", json!({ "max_lag_ms": 1 }), 1),
        // The limits allow it, but what it wants is no longer there.
        ("trade", json!({}), MANY),
    ];
    let mut scene = Scene::start();
    for (index, (channel, limits, events)) in cases.into_iter().enumerate() {
        let mut params = params(channel, "disconnect");
        params
            .as_object_mut()
            .expect("as the protocol says")
            .extend(limits.as_object().expect("as the protocol says").clone());
        let mut sleeper = scene.fall_asleep(&params);
        scene.miss(channel, events);
        println!("{params} after {events}");
        scene.gateway.wait_samples("the gateway to give up", |samples| {
            samples.of("gateway_connections_closed_total", "code", "slow_consumer") == index as u64 + 1
        });
        let closing = sleeper.socket.closing();
        assert_eq!(closing, (4008, "lag limit of the disconnect policy".to_owned()), "{params}");
        drop(sleeper);
        scene.tidy_up();
    }
}

#[test]
fn a_merged_book_has_the_last_quantity_of_each_price_and_nothing_that_came_and_went() {
    let mut scene = Scene::start();
    let sleeper = scene.fall_asleep(&params("book", "conflate"));
    let feed = &mut scene.feed;
    feed.book(SYMBOL, &[(BID, 250)], &[]);
    // Between the best prices for a moment.
    feed.book(SYMBOL, &[(BID + 2, 100)], &[]);
    feed.book(SYMBOL, &[(BID + 2, 0), (BID - 1, 50)], &[]);
    feed.book(SYMBOL, &[], &[(ASK + 3, 0)]);
    // There again, with another quantity; and one that stays away lets the eleventh in.
    feed.book(SYMBOL, &[(BID - 1, 0)], &[(ASK + 3, 400), (ASK + 4, 0)]);
    feed.book(SYMBOL, &[(BID, 300)], &[]);
    scene.settle(SYMBOL);
    let mut client = Client::over(sleeper.socket);
    client.view = sleeper.view;
    client.view.kept = Some(Vec::new());
    client.wait("the merged book", |view| view.books[SYMBOL].seq == sleeper.start.seq + 6);
    let about = |message: &&Value| message["data"][0]["symbol"] == SYMBOL;
    let got: Vec<&Value> = client.view.kept.iter().flatten().filter(about).collect();
    let [notice, update] = got[..] else { panic!("a notice and an update: {got:?}") };
    assert_eq!((&notice["data"][0]["code"], &notice["data"][0]["count"]), (&json!("merged"), &json!(6)));
    let element = &update["data"][0];
    let level = |price: u64, qty: f64| json!({ "price": price as f64, "qty": qty });
    // The tenth bid left the window for a moment: it is told although it is as it was.
    let bids = [(BID - 1, 0.0), (BID, 3.0), (BID - 9, 1.0), (BID - 10, 1.0)];
    assert_eq!(element["bids"], json!(bids.map(|(price, qty)| level(price, qty))));
    assert_eq!(element["asks"], json!([level(ASK + 4, 0.0), level(ASK + 3, 4.0), level(ASK + 10, 1.0)]));
    assert_eq!(element["merged"], 6);
    let witness = &scene.witness.view.books[SYMBOL].book;
    assert_eq!(client.view.books[SYMBOL].book, witness.top(10));
}

#[test]
fn terms_are_echoed_and_brought_inside_what_the_operator_allows() {
    let mut config = support::gateway::settings();
    let book = &mut config.delivery.book;
    book.policies = vec!["conflate".into(), "disconnect".into()];
    (book.interval_ms_min, book.interval_ms_max) = (50, 1_000);
    (book.max_lag_ms, book.max_lag_entries) = (5_000, 100);
    config.delivery.trade.policy = "disconnect".into();
    config.delivery.bytes_per_s_max = 1_000_000;
    let gateway = Gateway::start_ready(config);
    let terms = |params: Value, answer: &str| {
        let mut asker = Asker::over(Socket::connect(gateway.public, "/v2"));
        let request = json!({ "method": "subscribe", "params": params }).to_string();
        let got = asker.ask(TEXT, request.as_bytes(), 1).remove(0);
        let shown = match &got["error"] {
            Value::String(error) => {
                format!("{error} ({})", got["symbol"].as_str().expect("as the protocol says"))
            }
            _ => {
                let keys = ["policy", "interval_ms", "max_lag_ms", "max_lag_entries"].into_iter();
                let told = keys.filter_map(|key| Some(format!("{key}={}", got["result"].get(key)?)));
                told.collect::<Vec<_>>().join(" ")
            }
        };
        assert_eq!(shown, answer, "{request}");
    };
    let of = |channel: &str, more: Value| {
        let mut params = json!({ "channel": channel, "symbol": ["BTC/USD"] });
        params
            .as_object_mut()
            .expect("as the protocol says")
            .extend(more.as_object().expect("as the protocol says").clone());
        params
    };
    terms(of("book", json!({})), "");
    terms(of("book", json!({ "interval_ms": 10 })), "policy=\"conflate\" interval_ms=50");
    terms(of("book", json!({ "interval_ms": 70 })), "policy=\"conflate\" interval_ms=70");
    terms(of("book", json!({ "interval_ms": 9_999_999 })), "policy=\"conflate\" interval_ms=1000");
    terms(
        of("book", json!({ "policy": "disconnect" })),
        "policy=\"disconnect\" interval_ms=50 max_lag_ms=5000 max_lag_entries=100",
    );
    terms(
        of("book", json!({ "policy": "disconnect", "max_lag_ms": 700, "max_lag_entries": 7_000 })),
        "policy=\"disconnect\" interval_ms=50 max_lag_ms=700 max_lag_entries=100",
    );
    terms(
        of("trade", json!({ "max_lag_entries": 0 })),
        "policy=\"disconnect\" interval_ms=0 max_lag_ms=30000 max_lag_entries=1000",
    );
    for (channel, policy, allowed) in [
        ("book", "drop_oldest", "conflate, disconnect"),
        ("book", "latest", "conflate, disconnect"),
        ("trade", "conflate", "drop_oldest, drop_newest, disconnect"),
        ("trade", "latest", "drop_oldest, drop_newest, disconnect"),
        ("ticker", "conflate", "latest, drop_oldest, drop_newest, disconnect"),
        ("ohlc", "conflate", "latest, drop_oldest, drop_newest, disconnect"),
    ] {
        let refusal = format!("Policy not supported, choose {allowed} (BTC/USD)");
        terms(of(channel, json!({ "policy": policy })), &refusal);
    }
}
