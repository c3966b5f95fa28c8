//! What a scrape says: the same series whatever the load, and counts of what clients did, each in its place.

mod support;

use std::collections::BTreeSet;

use serde_json::json;
use support::gateway::{Gateway, settings};
use support::http::get;
use support::socket::{Socket, frame};
use support::wait_for;

/// Descriptors that a thousand connections with both their ends need, and some.
const DESCRIPTORS: u64 = 2_500;

/// Names and labels of all samples, without their values.
fn series(gateway: &Gateway) -> BTreeSet<String> {
    gateway.samples().0.keys().cloned().collect()
}

/// A gateway with so many instruments, and as many clients that each take some of everything.
fn loaded(size: usize) -> (Gateway, Vec<Socket>) {
    let mut config = settings();
    config.feed.sim.symbols = size as u32;
    config.feed.sim.depth = 10;
    let gateway = Gateway::start(config);
    gateway.wait_ready(size);
    let symbols = get(gateway.public, "/0/public/AssetPairs").json()["result"].clone();
    let symbols: Vec<&String> = symbols.as_object().expect("pairs by name").keys().collect();
    let client = |number: usize| {
        let mut socket = Socket::connect(gateway.public, "/v2?ext=1");
        for channel in ["book", "ticker", "trade", "ohlc"] {
            let params = json!({ "channel": channel, "symbol": [symbols[number]] });
            socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
        }
        socket
    };
    let clients: Vec<Socket> = (0..size).map(client).collect();
    let wanted = 4 * size as u64;
    gateway.wait_samples("everybody to have subscribed", |samples| {
        let all = samples.0.iter().filter(|(name, _)| name.starts_with("gateway_subscriptions{"));
        all.map(|(_, &value)| value as u64).sum::<u64>() == wanted
    });
    (gateway, clients)
}

#[test]
fn series_are_the_same_with_ten_and_with_a_thousand_clients_and_symbols() {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("the kernel tells limits");
    let soft = limits.lines().find(|line| line.starts_with("Max open files"));
    let soft = soft.and_then(|line| line.split_whitespace().nth(3)?.parse().ok()).unwrap_or(u64::MAX);
    assert!(
        soft >= DESCRIPTORS,
        "this test needs {DESCRIPTORS} descriptors and may have {soft}: ulimit -n 4096"
    );
    let (few, many) = (loaded(10), loaded(1_000));
    let (few, many) = (series(&few.0), series(&many.0));
    let difference: Vec<&String> = few.symmetric_difference(&many).collect();
    assert!(difference.is_empty(), "these depend on the load: {difference:?}");
    assert!((300..1_000).contains(&few.len()), "{} series", few.len());
}

#[test]
fn tiers_are_counted_by_the_names_of_the_settings() {
    let mut config = settings();
    config.tiers.insert("trial".into(), config.delivery.clone());
    let gateway = Gateway::start_ready(config);
    let mut client = gateway.ext_client();
    client.wait("the status", |view| view.connection > 0);
    gateway.client().wait("the status", |view| view.connection > 0);
    let tier = |name: &str| gateway.samples().of("gateway_tier_connections", "tier", name);
    wait_for("the other to have gone", || (tier("default") == 1 && tier("trial") == 0).then_some(()));
    let path = format!("/clients/{}/tier?name=trial", client.view.connection);
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(support::http::ask(gateway.admin, &request).status, 200);
    assert_eq!((tier("default"), tier("trial")), (0, 1));
    drop(client);
    wait_for("it to have gone", || (tier("trial") == 0).then_some(()));
}

#[test]
fn limits_and_ends_are_counted_in_their_places() {
    let mut config = settings();
    config.limits.subscriptions_max = 1;
    config.inbound.message_bytes_max = 2_000;
    config.inbound.fragments_max = 3;
    let gateway = Gateway::start_ready(config);
    let limit = |name: &str| gateway.samples().of("gateway_limit_refusals_total", "limit", name);

    let mut client = gateway.ext_client();
    client.subscribe(json!({ "channel": "trade", "symbol": ["BTC/USD"] }));
    client.send(&json!({ "method": "subscribe", "params": { "channel": "trade", "symbol": ["ETH/USD"] } }));
    let policy = json!({ "channel": "trade", "symbol": ["BTC/USD"], "policy": "conflate" });
    client.send(&json!({ "method": "configure", "params": policy }));
    wait_for("two refusals", || (limit("subscriptions_max") == 1 && limit("policies") == 1).then_some(()));

    let mut talker = Socket::connect(gateway.public, "/v2");
    talker.send_text(&"x".repeat(2_001));
    assert_eq!(talker.closing().0, 1009);
    let mut splitter = Socket::connect(gateway.public, "/v2");
    splitter.send_raw(&[frame(0x01, b"{"), frame(0, b" "), frame(0, b" "), frame(0, b" ")].concat());
    assert_eq!(splitter.closing().0, 1008);
    assert_eq!((limit("message_bytes_max"), limit("fragments_max")), (1, 1));

    let broken = gateway.samples().one("gateway_connections_broken_total");
    drop(client);
    gateway.wait_samples("a connection to break", |samples| {
        samples.one("gateway_connections_broken_total") > broken
    });
    let samples = gateway.samples();
    assert!(samples.one("gateway_read_bytes_total") > 2_001);
    assert_eq!(samples.of("gateway_subscriptions", "channel", "trade\",policy=\"drop_oldest"), 0);
}

#[test]
fn a_client_that_comes_back_and_one_that_stalls_are_seen() {
    let mut config = settings();
    config.public.send_buffer_bytes = 4_096;
    config.feed.sim.rate = 2_000.0;
    let gateway = Gateway::start_ready(config);
    let mut stranger = Socket::connect(gateway.public, "/v2?ext=1");
    let params =
        json!({ "channel": "book", "symbol": ["BTC/USD"], "resume": json!({ "epoch": 1, "seq": 1 }) });
    stranger.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    gateway.wait_samples("a place that nobody knows", |samples| {
        samples.of("gateway_resumes_total", "result", "snapshot") == 1
    });
    drop(stranger);
    let mut socket = Socket::connect_narrow(gateway.public, "/v2?ext=1");
    let params = json!({ "channel": "book", "symbol": ["BTC/USD", "ETH/USD"], "depth": 100 });
    socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    let samples = gateway.wait_samples("a lagging client to be looked at", |samples| {
        samples.one("gateway_lag_age_seconds_count") >= 3 && samples.one("gateway_clients_lagging") == 1
    });
    assert_eq!(
        samples.one("gateway_lag_age_seconds_count"),
        samples.one("gateway_lag_entries_count"),
        "each look is one observation of both"
    );
    let sum = |name: &str| samples.0[name];
    assert!(sum("gateway_lag_age_seconds_sum") > 0.0 && sum("gateway_lag_entries_sum") > 3.0);
    assert!(samples.of("gateway_notices_total", "code", "lagging") >= 1);
    samples.check_conserved();
}

#[test]
fn loops_say_how_busy_they_are() {
    let gateway = Gateway::start_ready(settings());
    let mut client = gateway.ext_client();
    client.follow(&["BTC/USD", "ETH/USD"], 10);
    client.wait("the market", |view| view.updates > 50);
    let samples = gateway.samples();
    for one in ["engine", "shard"] {
        let of = |name: &str| samples.0[&format!("gateway_loop_{name}{{loop=\"{one}\"}}")];
        assert!(of("busy_seconds_total") > 0.0 && of("idle_seconds_total") > 0.0, "{one}");
        assert!((0.0..=1.0).contains(&of("busy_ratio")), "{one}");
        assert!(of("turn_seconds_count") > 10.0, "{one}");
    }
    assert_eq!(samples.of("gateway_loop_threads", "loop", "shard"), 2);
    let cpu = |thread: &str| samples.0[&format!("gateway_thread_cpu_seconds_total{{thread=\"{thread}\"}}")];
    assert!(cpu("engine") > 0.0 && cpu("shard") > 0.0 && cpu("feed") > 0.0);
    // What is told of a write is told of its messages as well.
    assert!(samples.one("gateway_write_messages_count") <= samples.one("gateway_writes_total"));
    assert!(samples.one("gateway_write_messages_sum") >= 50);
}
