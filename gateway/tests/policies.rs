//! Every delivery policy on every channel where it fits, over real sockets: a client that stops reading while known events
//! happen, and then exactly what it reads.
//!
//! The feed is a script: not one entry comes of itself. A second symbol fills the sleeping client's socket.

mod support;

use serde_json::{Value, json};
use support::asleep::{FEW, MANY, RING, SYMBOL, Scene, params};
use support::client::Client;
use support::gateway::Gateway;
use support::scene::Asker;
use support::script::{ASK, BID};
use support::socket::{Socket, TEXT};

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
        let sleeper = loop {
            let sleeper = scene.fall_asleep(&params(channel, policy));
            scene.miss(channel, events);
            if scene.is_asleep(&sleeper) {
                break sleeper;
            }
            drop(sleeper);
            scene.tidy_up();
        };
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
