//! What operators see of single clients and streams, and what they order: the admin listener over HTTP, clients over sockets.

mod support;

use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Gateway, settings};
use support::http::{Answer, ask, get};
use support::socket::Socket;
use support::view::View;
use support::wait_for;

const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

/// Entries that a stream keeps.
const RING: usize = 64;

fn post(gateway: &Gateway, path: &str) -> Answer {
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    ask(gateway.admin, &request)
}

fn shown(gateway: &Gateway, path: &str) -> Value {
    let answer = get(gateway.admin, path);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
    answer.json()
}

fn start() -> Gateway {
    let mut config = settings();
    config.public.send_buffer_bytes = 4_096;
    config.limits.ring_entries = RING;
    config.feed.sim.rate = 1_000.0;
    Gateway::start_ready(config)
}

/// A client that follows everything and reads on.
fn follower(gateway: &Gateway) -> Client {
    let mut client = gateway.ext_client();
    client.follow(&SYMBOLS, 10);
    client
}

/// A client that takes books and trades and does not read them; its number.
fn stalled(gateway: &Gateway) -> (Socket, u64) {
    let mut socket = Socket::connect_narrow(gateway.public, "/v2?ext=1");
    let mut view = View::default();
    view.apply(socket.frame().text());
    for channel in ["book", "trade"] {
        let params = json!({ "channel": channel, "symbol": SYMBOLS });
        socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    }
    (socket, view.connection)
}

#[test]
fn the_client_that_lags_stands_first_by_age_entries_and_drops() {
    let gateway = start();
    let followers = [follower(&gateway), follower(&gateway)];
    let (mut socket, id) = stalled(&gateway);
    wait_for("entries to be missed", || {
        let one = shown(&gateway, &format!("/clients/{id}"));
        (one["mode"] == "lagging" && one["lag_entries"].as_u64() > Some(1_000)).then_some(())
    });
    for by in ["age", "entries"] {
        let list = shown(&gateway, &format!("/clients?by={by}"));
        assert_eq!(list.as_array().map(Vec::len), Some(3), "{list}");
        let first = &list[0];
        assert_eq!(
            (&first["id"], &first["mode"], &first["ext"]),
            (&json!(id), &json!("lagging"), &json!(true))
        );
        assert_eq!(first["subscriptions"], 8, "{first}");
        assert_eq!(first["address"], socket.stream().local_addr().expect("as the protocol says").to_string());
        assert!(
            first["lagging_s"].as_f64() > Some(0.0) && first["connected_s"].as_f64() > Some(0.0),
            "{first}"
        );
        // What a client costs that does not read: the rest of a frame.
        assert!(first["held_bytes"].as_u64() < Some(20_000), "{first}");
        let key = if by == "age" { "lag_age_s" } else { "lag_entries" };
        let ranks: Vec<f64> = list
            .as_array()
            .expect("as the protocol says")
            .iter()
            .map(|one| one[key].as_f64().expect("as the protocol says"))
            .collect();
        assert!(ranks.is_sorted_by(|a, b| a >= b) && ranks[0] > 0.0 && ranks[0] < 1e6, "{ranks:?}");
    }
    assert_eq!(shown(&gateway, "/clients?by=age&top=1").as_array().map(Vec::len), Some(1));
    assert_eq!(shown(&gateway, "/clients?top=0"), json!([]));
    // It reads on, and is told what it lost of the trades.
    let dropped = wait_for("trades to be dropped", || {
        socket.frame();
        let list = shown(&gateway, "/clients?by=drops");
        let drops = |one: &Value| one["dropped"].as_u64().expect("a count");
        let rows = list.as_array().expect("a list");
        assert!(rows.is_sorted_by(|a, b| drops(a) >= drops(b)), "{list}");
        rows.iter().find(|one| one["id"] == id).map(drops).filter(|dropped| *dropped > 0)
    });
    assert!(gateway.samples().deliveries("dropped_total", "trade") >= dropped);
    drop(followers);
}

#[test]
fn one_client_is_shown_with_its_subscriptions() {
    let gateway = start();
    let mut client = gateway.ext_client();
    client.subscribe(json!({ "channel": "instrument" }));
    client.subscribe(json!({
        "channel": "book", "symbol": ["BTC/USD"], "depth": 25, "interval_ms": 200, "max_bytes_per_s": 90_000,
    }));
    client.subscribe(
        json!({ "channel": "ohlc", "symbol": ["BTC/USD"], "interval": 5, "policy": "disconnect" }),
    );
    client.send(
        &json!({ "method": "pause", "params": { "channel": "ohlc", "symbol": ["BTC/USD"], "interval": 5 } }),
    );
    client.wait("the pause", |view| view.answers.last().is_some_and(|one| one["method"] == "pause"));
    let one = shown(&gateway, &format!("/clients/{}", client.view.connection));
    assert_eq!((&one["id"], &one["max_bytes_per_s"]), (&json!(client.view.connection), &json!(90_000)));
    let of = |channel: &str| {
        let all = one["subscriptions"].as_array().expect("a list");
        all.iter()
            .find(|sub| sub["channel"] == channel)
            .unwrap_or_else(|| panic!("no {channel}: {one}"))
            .clone()
    };
    let expect = |channel: &str, expected: Value| {
        let mut sub = of(channel);
        let keys = sub.as_object_mut().expect("as the protocol says");
        assert!(keys.remove("seq").is_some_and(|seq| seq.is_u64()));
        assert!(keys.remove("lag_entries").is_some_and(|lag| lag.is_u64()));
        assert_eq!(sub, expected);
    };
    expect(
        "book",
        json!({
            "channel": "book", "symbol": "BTC/USD", "variant": { "depth": 25 }, "state": "active", "policy": "conflate",
            "interval_ms": 200, "paused": false,
        }),
    );
    expect(
        "ohlc",
        json!({
            "channel": "ohlc", "symbol": "BTC/USD", "variant": { "interval": 5 }, "state": "active",
            "policy": "disconnect", "interval_ms": 0, "paused": true,
        }),
    );
    expect(
        "instrument",
        json!({
            "channel": "instrument", "symbol": "", "variant": {}, "state": "active", "policy": "latest",
            "interval_ms": 0, "paused": false,
        }),
    );
}

#[test]
fn a_kicked_client_is_closed_with_1008_and_others_stay() {
    let gateway = start();
    let (mut kicked, mut other) = (follower(&gateway), follower(&gateway));
    let id = kicked.view.connection;
    let answer = post(&gateway, &format!("/clients/{id}/kick"));
    assert_eq!((answer.status, answer.json()), (200, json!({ "kicked": id })));
    assert_eq!(kicked.wait_closed(), 1008);
    gateway.wait_samples("one client to be left", |samples| samples.one("gateway_connections") == 1);
    let answer = post(&gateway, &format!("/clients/{id}/kick"));
    assert_eq!((answer.status, answer.body), (404, format!("no connection {id}; it may have gone\n")));
    let updates = other.view.updates;
    other.wait("the market to go on", |view| view.updates > updates + 20);
    assert_eq!(gateway.samples().of("gateway_connections_closed_total", "code", "policy_violation"), 1);
}

#[test]
fn a_policy_that_is_ordered_holds_for_the_channel_and_is_visible() {
    let gateway = start();
    let client = follower(&gateway);
    let id = client.view.connection;
    let answer = post(&gateway, &format!("/clients/{id}/policy?channel=book&policy=drop_newest"));
    let expected = json!({ "id": id, "policy": "drop_newest", "subscriptions": 4 });
    assert_eq!((answer.status, answer.json()), (200, expected));
    let one = shown(&gateway, &format!("/clients/{id}"));
    for sub in one["subscriptions"].as_array().expect("a list") {
        let policy = match sub["channel"].as_str().expect("as the protocol says") {
            "book" => "drop_newest",
            "trade" => "drop_oldest",
            _ => "latest",
        };
        assert_eq!(sub["policy"], policy, "{sub}");
    }
}

#[test]
fn a_tier_bounds_what_its_clients_have_and_ask_for() {
    let mut config = settings();
    let mut trial = config.delivery.clone();
    trial.bytes_per_s_max = 50_000;
    trial.book.policies = vec!["drop_newest".into(), "disconnect".into()];
    trial.book.policy = "drop_newest".into();
    trial.book.interval_ms_min = 250;
    trial.book.max_lag_entries = 7;
    config.tiers.insert("trial".into(), trial);
    let gateway = Gateway::start_ready(config);
    let mut client = gateway.ext_client();
    client.subscribe(json!({ "channel": "instrument" }));
    client.subscribe(json!({ "channel": "book", "symbol": ["BTC/USD"], "policy": "conflate" }));
    let id = client.view.connection;
    let path = format!("/clients/{id}");
    assert_eq!(shown(&gateway, &path)["tier"], "default");
    let answer = post(&gateway, &format!("{path}/tier?name=trial"));
    assert_eq!((answer.status, answer.json()), (200, json!({ "id": id, "tier": "trial" })));
    // What it has was brought inside the bounds at once.
    let one = shown(&gateway, &path);
    assert_eq!((&one["tier"], &one["max_bytes_per_s"]), (&json!("trial"), &json!(50_000)), "{one}");
    let book = one["subscriptions"].as_array().expect("a list").iter().find(|sub| sub["channel"] == "book");
    let book = book.expect("it takes a book");
    assert_eq!((&book["policy"], &book["interval_ms"]), (&json!("drop_newest"), &json!(250)));
    // What it asks for is judged by the tier, and echoed.
    let ask = json!({ "channel": "book", "symbol": ["ETH/USD"], "policy": "disconnect", "interval_ms": 10, "max_lag_entries": 90 });
    client.subscribe(ask);
    let key = ("book".to_owned(), "ETH/USD".to_owned(), 0);
    let result = &client.view.subscribed[&key];
    assert_eq!((&result["interval_ms"], &result["max_lag_entries"]), (&json!(250), &json!(7)), "{result}");
    let refused = json!({ "channel": "book", "symbol": ["SOL/USD"], "policy": "conflate" });
    client.send(&json!({ "method": "subscribe", "params": refused }));
    client.wait("a refusal", |view| view.answers.last().is_some_and(|one| one["success"] == false));
    let error = &client.view.answers.last().expect("an answer")["error"];
    assert_eq!(error, "Policy not supported, choose drop_newest, disconnect");
    // And back: the bandwidth that it never asked for is gone.
    assert_eq!(post(&gateway, &format!("{path}/tier?name=default")).status, 200);
    assert_eq!(shown(&gateway, &path)["max_bytes_per_s"], 0);
    let answer = post(&gateway, &format!("{path}/tier?name=gold"));
    assert_eq!((answer.status, &*answer.body), (400, "name must be one of default, trial\n"));
}

#[test]
fn what_is_wrong_with_an_order_is_said() {
    let gateway = start();
    let client = follower(&gateway);
    let id = client.view.connection;
    let usage = "GET /clients?by=age|entries|drops&top=N";
    let cases = [
        ("GET", "/clients?by=size".into(), 400, "by=size: expected age, entries or drops"),
        ("GET", "/clients?top=many".into(), 400, "top must be a number"),
        ("GET", "/streams?top=-1".into(), 400, "top must be a number"),
        ("GET", "/clients/me".into(), 400, "me is no connection id"),
        ("GET", "/clients/".into(), 400, "is no connection id"),
        ("GET", "/clients/9007199254740991".into(), 404, "no connection 9007199254740991; it may have gone"),
        ("GET", format!("/clients/{id}/kick"), 404, usage),
        ("GET", "/clients/1/2/3".into(), 404, usage),
        ("POST", "/clients".into(), 404, usage),
        ("POST", "/streams".into(), 404, usage),
        ("POST", "/metrics".into(), 405, "only GET"),
        ("POST", "/clients/me/kick".into(), 400, "me is no connection id"),
        ("POST", "/clients/9007199254740991/kick".into(), 404, "it may have gone"),
        ("POST", format!("/clients/{id}/policy"), 400, "channel must be book, ticker, trade or ohlc"),
        ("POST", format!("/clients/{id}/policy?channel=books&policy=latest"), 400, "channel must be"),
        ("POST", format!("/clients/{id}/policy?channel=book"), 400, "policy must be conflate, latest"),
        ("POST", format!("/clients/{id}/policy?channel=book&policy=best"), 400, "policy must be conflate"),
        (
            "POST",
            format!("/clients/{id}/policy?channel=trade&policy=conflate"),
            400,
            "Policy not supported, choose drop_oldest, drop_newest, disconnect",
        ),
        (
            "POST",
            "/clients/9007199254740991/policy?channel=book&policy=conflate".into(),
            404,
            "it may have gone",
        ),
    ];
    for (method, path, status, text) in cases {
        let answer = if method == "GET" { get(gateway.admin, &path) } else { post(&gateway, &path) };
        assert!(answer.status == status && answer.body.contains(text), "{method} {path}: {answer:?}");
    }
    // Nothing came of any of them.
    assert_eq!(shown(&gateway, &format!("/clients/{id}"))["mode"], "live");
}

#[test]
fn streams_are_listed_by_their_subscribers() {
    let gateway = start();
    let mut clients: Vec<Client> = (0..3).map(|_| follower(&gateway)).collect();
    clients[0]
        .subscribe(json!({ "channel": "ohlc", "symbol": ["BTC/USD"], "interval": 5, "snapshot": false }));
    let list = shown(&gateway, "/streams?top=1000");
    let list = list.as_array().expect("a list");
    let count = |one: &Value| one["subscribers"].as_u64().expect("a count");
    assert!(list.is_sorted_by(|a, b| count(a) >= count(b)), "{list:?}");
    // Three clients on book, ticker and trade of four symbols and on instruments, and one on candles.
    assert_eq!(list.iter().map(count).sum::<u64>(), 3 * (3 * 4 + 1) + 1);
    let candles: Vec<&Value> = list.iter().filter(|one| one["channel"] == "ohlc").collect();
    assert_eq!(candles.len(), 1);
    assert_eq!(
        (&candles[0]["symbol"], &candles[0]["variant"]),
        (&json!("BTC/USD"), &json!({ "interval": 5 }))
    );
    wait_for("a ring to be full", || {
        let list = shown(&gateway, "/streams?top=1000");
        let full = list
            .as_array()
            .expect("a list")
            .iter()
            .find(|one| one["published"].as_u64() > Some(RING as u64))?;
        assert_eq!(full["ring_entries"], RING, "{full}");
        Some(())
    });
    assert_eq!(shown(&gateway, "/streams?top=2").as_array().map(Vec::len), Some(2));
}

#[test]
fn nothing_of_it_is_on_the_public_listener() {
    let gateway = start();
    let client = follower(&gateway);
    let id = client.view.connection;
    for path in ["/clients".into(), format!("/clients/{id}"), "/streams".into(), "/metrics".into()] {
        assert_eq!(get(gateway.public, &path).status, 404, "{path}");
    }
    for path in
        [format!("/clients/{id}/kick"), format!("/clients/{id}/policy?channel=book&policy=disconnect")]
    {
        let request = format!(
            "POST {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let status = ask(gateway.public, &request).status;
        assert!(status == 404 || status == 405, "{path}: {status}");
    }
    assert_eq!(shown(&gateway, &format!("/clients/{id}"))["mode"], "live");
}
