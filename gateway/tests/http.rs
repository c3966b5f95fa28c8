//! What the two listeners answer over HTTP: reference data, the page, refused upgrades, health, and metrics that add up.

mod support;

use std::collections::BTreeSet;
use std::time::Instant;

use feed_sim::{SimulatorConfig, SourceConfig};
use model::FeedStatus;
use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Gateway, settings, settings_of};
use support::http::{Samples, ask, get};
use support::socket::{Incoming, Socket};
use support::tape::TapeFeed;

const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

/// The result in the venue's envelope.
fn result(gateway: &Gateway, path: &str) -> Value {
    let answer = get(gateway.public, path);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
    let mut envelope = answer.json();
    assert_eq!(keys(&envelope), ["error", "result"], "{path}: {envelope}");
    assert_eq!(envelope["error"], json!([]), "{path}");
    envelope["result"].take()
}

/// The only error in the venue's envelope.
fn error(gateway: &Gateway, path: &str) -> String {
    let answer = get(gateway.public, path);
    assert_eq!((answer.status, answer.header("content-type")), (200, "application/json"), "{path}");
    let envelope = answer.json();
    assert_eq!(keys(&envelope), ["error"], "{path}: {envelope}");
    envelope["error"][0].as_str().expect("an error").to_owned()
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn pairs_are_listed_with_what_clients_need_of_them() {
    let gateway = Gateway::start_ready(settings());
    let all = result(&gateway, "/0/public/AssetPairs");
    assert_eq!(keys(&all), SYMBOLS);
    let expected = json!({
        "altname": "BTCUSD", "wsname": "BTC/USD", "aclass_base": "currency", "base": "BTC",
        "aclass_quote": "currency", "quote": "USD", "lot": "unit", "cost_decimals": 5, "pair_decimals": 1,
        "lot_decimals": 8, "lot_multiplier": 1, "leverage_buy": [], "leverage_sell": [],
        "fees": [[0, 0.0]], "fees_maker": [[0, 0.0]], "fee_volume_currency": "USD", "margin_call": 80,
        "margin_stop": 40, "ordermin": all["BTC/USD"]["ordermin"], "costmin": "0.5", "tick_size": "0.1",
        "status": "online",
    });
    assert_eq!(all["BTC/USD"], expected);
    let least: f64 = all["BTC/USD"]["ordermin"].as_str().unwrap().parse().unwrap();
    assert!(least > 0.0);
}

#[test]
fn a_pair_is_keyed_by_the_name_that_was_asked() {
    let gateway = Gateway::start_ready(settings());
    let asked = |pair: &str| {
        let found = result(&gateway, &format!("/0/public/AssetPairs?pair={pair}"));
        let names: Vec<String> = found.as_object().unwrap().keys().cloned().collect();
        let symbols: Vec<Value> = names.iter().map(|name| found[name]["wsname"].clone()).collect();
        json!([names, symbols])
    };
    assert_eq!(asked("BTC/USD"), json!([["BTC/USD"], ["BTC/USD"]]));
    assert_eq!(asked("BTC%2FUSD"), json!([["BTC/USD"], ["BTC/USD"]]));
    assert_eq!(asked("BTCUSD"), json!([["BTCUSD"], ["BTC/USD"]]));
    assert_eq!(asked("ETH/USD,BTCUSD"), json!([["BTCUSD", "ETH/USD"], ["BTC/USD", "ETH/USD"]]));
    for unknown in ["NONE/USD", "BTC/USD,NONE/USD", "", "btc/usd", "%ff%"] {
        let path = format!("/0/public/AssetPairs?pair={unknown}");
        assert_eq!(error(&gateway, &path), "EQuery:Unknown asset pair", "{unknown}");
    }
}

#[test]
fn assets_status_and_time_are_told() {
    let gateway = Gateway::start_ready(settings());
    let assets = result(&gateway, "/0/public/Assets");
    assert_eq!(keys(&assets), ["BTC", "ETH", "SOL", "USD", "XRP"]);
    let btc = json!({ "aclass": "currency", "altname": "BTC", "decimals": 8, "display_decimals": 5,
        "status": "enabled" });
    assert_eq!(assets["BTC"], btc);
    assert_eq!(result(&gateway, "/0/public/Assets?asset=BTC"), json!({ "BTC": btc }));
    assert_eq!(error(&gateway, "/0/public/Assets?asset=BTC,NONE"), "EQuery:Unknown asset");

    let status = result(&gateway, "/0/public/SystemStatus");
    assert_eq!((keys(&status), &status["status"]), (vec!["status", "timestamp"], &json!("online")));
    let time = result(&gateway, "/0/public/Time");
    assert_eq!(keys(&time), ["rfc1123", "unixtime"]);
    let now = feed_sim::now().0 / 1_000_000_000;
    assert!(now.abs_diff(time["unixtime"].as_u64().unwrap()) < 30, "{time}");
    assert_eq!(error(&gateway, "/0/public/Trades"), "EGeneral:Unknown method");
}

/// Bids and asks of an answer, as texts of price and quantity.
fn rows(result: &Value, name: &str) -> [Vec<(String, String)>; 2] {
    ["bids", "asks"].map(|side| {
        let rows = result[name][side].as_array().expect("rows");
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let row = |row: &Value| {
            assert!(row.as_array().is_some_and(|row| row.len() == 3) && row[2].is_u64(), "{row}");
            (text(&row[0]), text(&row[1]))
        };
        rows.iter().map(row).collect()
    })
}

#[test]
fn depth_is_the_book_that_clients_are_sent() {
    let mut feed = quiet_feed();
    let gateway = Gateway::start(settings_of(feed.address()));
    feed.begin();
    gateway.wait_ready(SYMBOLS.len());
    let truth = feed.truths()["BTC/USD"].book.clone();
    let answer = result(&gateway, "/0/public/Depth?pair=BTC/USD&count=10");
    assert_eq!(keys(&answer["BTC/USD"]), ["asks", "bids"]);
    let [bids, asks] = rows(&answer, "BTC/USD");
    let digits = |(price, qty): &(String, String)| -> (u64, u64) {
        let units = |text: &String| text.replace('.', "").parse().unwrap();
        (units(price), units(qty))
    };
    let best_bids: Vec<(u64, u64)> = truth.bids.iter().rev().take(10).map(|(&p, &q)| (p, q)).collect();
    let best_asks: Vec<(u64, u64)> = truth.asks.iter().take(10).map(|(&p, &q)| (p, q)).collect();
    assert_eq!(bids.iter().map(digits).collect::<Vec<_>>(), best_bids);
    assert_eq!(asks.iter().map(digits).collect::<Vec<_>>(), best_asks);

    let count = |query: &str| {
        let answer = result(&gateway, &format!("/0/public/Depth?pair=BTCUSD{query}"));
        rows(&answer, "BTCUSD").map(|side| side.len())
    };
    let all = [truth.bids.len(), truth.asks.len()];
    assert!(all.iter().all(|&levels| levels > 100), "{all:?}");
    assert_eq!([count(""), count("&count=1"), count("&count=0")], [[100, 100], [1, 1], [1, 1]]);
    assert_eq!(count("&count=99999"), all.map(|levels| levels.min(500)));
    assert_eq!(error(&gateway, "/0/public/Depth"), "EGeneral:Invalid arguments:pair");
    assert_eq!(error(&gateway, "/0/public/Depth?pair=NONE/USD"), "EQuery:Unknown asset pair");
    let wrong = "/0/public/Depth?pair=BTC/USD&count=many";
    assert_eq!(error(&gateway, wrong), "EGeneral:Invalid arguments:count");
}

/// A simulated market whose time stands still.
fn quiet_feed() -> TapeFeed {
    let simulator = SimulatorConfig { symbols: 4, depth: 150, ..SimulatorConfig::default() };
    TapeFeed::open(&SourceConfig::Simulator(simulator))
}

#[test]
fn the_page_is_served_and_other_paths_are_not() {
    let gateway = Gateway::start(settings());
    let page = get(gateway.public, "/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.contains("<html") && page.body.contains("/v2"));
    assert_eq!(page.header("content-length"), page.body.len().to_string());
    for path in ["/metrics", "/livez", "/readyz", "/clients", "/streams", "/drain", "/index.html", "/v2x"] {
        assert_eq!(get(gateway.public, path).status, 404, "{path}");
    }
    for path in ["/v2", "/", "/0/public/Time"] {
        assert_ne!(get(gateway.admin, path).status, 200, "{path}");
    }
    let post = |path: &str| format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    for (address, path) in
        [(gateway.public, "/"), (gateway.public, "/0/public/Time"), (gateway.admin, "/metrics")]
    {
        assert_eq!(ask(address, &post(path)).status, 405, "{path}");
    }
}

#[test]
fn readiness_follows_the_feed_and_liveness_does_not() {
    let mut feed = quiet_feed();
    let gateway = Gateway::start(settings_of(feed.address()));
    let ready = || {
        assert_eq!(get(gateway.admin, "/livez").status, 200);
        let answer = gateway.readiness();
        (answer.status, answer.body)
    };
    let no = |reason: &str| (503, format!("not ready: {reason}\n"));
    support::wait_for("a connection without a word", || {
        (ready() == no("the feed has announced no instrument")).then_some(())
    });
    let mut client = gateway.client();
    client.wait("the status", |view| !view.statuses.is_empty());
    assert_eq!(result(&gateway, "/0/public/SystemStatus")["status"], "maintenance");
    feed.begin();
    gateway.wait_ready(SYMBOLS.len());
    assert_eq!(ready(), (200, "ready\n".to_owned()));
    client.wait("the venue", |view| view.statuses == ["maintenance", "online"]);
    feed.status(FeedStatus::PostOnly);
    client.wait("the venue's word", |view| view.statuses.last().is_some_and(|one| one == "post_only"));
    assert_eq!(result(&gateway, "/0/public/SystemStatus")["status"], "post_only");
    feed.end();
    support::wait_for("the end of the feed", || (ready() == no("the feed is not connected")).then_some(()));
    client.wait("the end of the venue", |view| view.statuses.last().is_some_and(|one| one == "maintenance"));
    assert_eq!(result(&gateway, "/0/public/AssetPairs?pair=BTC/USD")["BTC/USD"]["status"], "maintenance");
}

/// A client that takes everything of all symbols.
fn take_all(client: &mut Client) {
    client.follow(&SYMBOLS, 100);
    client.subscribe(json!({ "channel": "ohlc", "symbol": SYMBOLS }));
}

#[test]
fn deliveries_are_conserved_under_load() {
    let mut config = settings();
    config.feed.sim.rate = 3_000.0;
    config.public.send_buffer_bytes = 8_192;
    config.limits.ring_entries = 64;
    let gateway = Gateway::start_ready(config);
    let mut clients: Vec<Client> = (0..6).map(|_| gateway.client()).collect();
    clients.iter_mut().for_each(take_all);
    let mut slow: Vec<Socket> = (0..4).map(|n| sleeper(&gateway, n)).collect();
    gateway.wait_samples("much to be fanned out", |samples| {
        let whole = samples.check_conserved();
        let lost = samples.deliveries("merged_total", "book") + samples.deliveries("pending", "book");
        whole[0] > 30_000 && lost > 1_000
    });
    // The slow ones read on, some clients leave and others unsubscribe, while everything goes on.
    clients.truncate(3);
    clients[0].send(&json!({ "method": "unsubscribe", "params": { "channel": "book", "symbol": SYMBOLS } }));
    slow.truncate(3);
    for socket in &mut slow {
        let deadline = Instant::now() + std::time::Duration::from_millis(300);
        while let Incoming::Frame(_) = socket.read(deadline) {
            if Instant::now() > deadline {
                break;
            }
        }
        gateway.samples().check_conserved();
    }
    let samples = gateway.wait_samples("some of everything", |samples| {
        samples.check_conserved();
        samples.deliveries("merged_total", "book") > 0 && samples.deliveries("discarded_total", "book") > 0
    });
    let whole = samples.check_conserved();
    assert!(whole[..4].iter().all(|&count| count > 0), "{whole:?}");
}

/// A client that subscribes and then does not read.
fn sleeper(gateway: &Gateway, index: usize) -> Socket {
    let path = if index.is_multiple_of(2) { "/v2" } else { "/v2?ext=1" };
    let mut socket = Socket::connect_narrow(gateway.public, path);
    for channel in ["book", "ticker", "trade", "ohlc"] {
        let params = json!({ "channel": channel, "symbol": SYMBOLS });
        socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    }
    socket
}

#[test]
fn the_metrics_page_has_help_and_type_of_everything() {
    let gateway = Gateway::start_ready(settings());
    let answer = get(gateway.admin, "/metrics");
    assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    let named = |what: &str| -> BTreeSet<String> {
        let lines = answer.body.lines().filter_map(|line| line.strip_prefix(what));
        lines.filter_map(|line| line.split(' ').next().map(str::to_owned)).collect()
    };
    let (help, kinds) = (named("# HELP "), named("# TYPE "));
    assert_eq!(help, kinds);
    for metric in gateway::metrics::METRICS {
        assert!(help.contains(metric.name), "{} is not on the page", metric.name);
    }
    let family = |sample: &str| {
        let name = sample.split('{').next().unwrap();
        let base =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        kinds.contains(name) || kinds.contains(base)
    };
    let samples = Samples::parse(&answer.body);
    assert!(samples.0.keys().all(|sample| family(sample)));
    assert!(samples.0.values().all(|value| value.is_finite()));
    let buckets = |stage: &str, le: &str| {
        samples.one(&format!("gateway_stage_latency_seconds_bucket{{stage=\"{stage}\",le=\"{le}\"}}"))
    };
    let count = samples.of("gateway_stage_latency_seconds_count", "stage", "receive_to_publish");
    assert_eq!(buckets("receive_to_publish", "+Inf"), count);
    assert!(count > 0);
}
