//! Clients that want less: updates at an interval, bytes per second, pauses. Over real sockets and real time.
//!
//! Books are proven against a client without limits once the market stands still.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use feed_sim::{Server, ServerHandle, SimulatorConfig, SourceConfig};
use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Gateway, let_hurry, settings_of};
use support::socket::{Incoming, PING, PONG, Socket};

/// How long a rate is measured.
const SPAN: Duration = Duration::from_secs(10);

const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

fn start(rate: f64) -> (ServerHandle, Gateway) {
    let simulator = SimulatorConfig { symbols: 4, depth: 600, rate, zipf: 0.0, ..SimulatorConfig::default() };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let feed = Server::start(free, &SourceConfig::Simulator(simulator)).expect("as the protocol says");
    let mut config = settings_of(feed.local_addr());
    config.shards.count = 1;
    let_hurry(&mut config);
    let gateway = Gateway::start_ready(config);
    (feed, gateway)
}

fn is_near(measured: f64, wanted: f64) -> bool {
    (measured / wanted - 1.0).abs() <= 0.05
}

/// Stops the market and compares books with those of a client without limits.
fn prove(feed: ServerHandle, reference: &mut Client, clients: &mut [Client]) {
    feed.stop();
    let at_rest =
        |view: &support::view::View| SYMBOLS.iter().all(|symbol| view.pair(symbol) == "maintenance");
    reference.wait("the end of the market", at_rest);
    for client in clients {
        for symbol in SYMBOLS.iter().filter(|symbol| reference.view.books.contains_key(**symbol)) {
            let truth = &reference.view.books[*symbol];
            if client.view.books.contains_key(*symbol) {
                client.wait("the last book", |view| view.books[*symbol].seq == truth.seq);
                let one = &client.view.books[*symbol];
                assert!(one.book == truth.book.top(one.depth), "{symbol} at {}", one.seq);
            }
        }
        assert_eq!(client.closed, None);
    }
}

/// Sends for a while what arrives to the view; returns how many book updates that were.
fn updates_within(client: &mut Client, span: Duration) -> u64 {
    client.drain();
    let (before, until) = (client.view.updates, Instant::now() + span);
    client.follow_until(until);
    client.view.updates - before
}

#[test]
fn an_interval_is_kept_exactly_and_may_change() {
    let (feed, gateway) = start(2_000.0);
    let mut reference = gateway.ext_client();
    reference.follow(&SYMBOLS, 25);
    let mut client = gateway.ext_client();
    client.view.precisions.clone_from(&reference.view.precisions);
    client.subscribe(json!({ "channel": "book", "symbol": ["BTC/USD"], "depth": 25, "interval_ms": 100 }));
    let updates = updates_within(&mut client, SPAN);
    println!("{updates} updates in {SPAN:?} at 100 ms");
    assert!(is_near(updates as f64, 100.0), "{updates} updates in {SPAN:?}");
    assert!(client.view.merged_max > 1 && client.view.notices.is_empty(), "{:?}", client.view.notices);
    client.send(&json!({
        "method": "configure", "params": { "channel": "book", "symbol": ["BTC/USD"], "interval_ms": 500 },
    }));
    client
        .wait("new terms", |view| view.answers.last().is_some_and(|one| one["result"]["interval_ms"] == 500));
    let updates = updates_within(&mut client, Duration::from_secs(5));
    println!("{updates} updates in 5 s at 500 ms");
    assert!((9..=11).contains(&updates), "{updates} updates in 5 s");
    prove(feed, &mut reference, &mut [client]);
    gateway.samples().check_conserved();
}

#[test]
fn a_bandwidth_is_kept_exactly_and_may_change() {
    let (feed, gateway) = start(2_000.0);
    let mut reference = gateway.ext_client();
    reference.follow(&SYMBOLS, 25);
    let mut client = gateway.ext_client();
    client.view.precisions.clone_from(&reference.view.precisions);
    let params = |channel: &str| json!({ "channel": channel, "symbol": SYMBOLS, "max_bytes_per_s": 64_000 });
    let mut book = params("book");
    book["depth"] = 25.into();
    client.subscribe(book);
    client.subscribe(params("trade"));
    let mut ticker = params("ticker");
    ticker["event_trigger"] = "bbo".into();
    client.subscribe(ticker);
    // The snapshots of the beginning were more than it may get at once.
    let updates = client.view.updates;
    client.wait("updates to come", |view| view.updates > updates + 20);
    for (bytes_per_s, span) in [(64_000, SPAN), (32_000, Duration::from_secs(5))] {
        client.send(&json!({ "method": "configure", "params": { "max_bytes_per_s": bytes_per_s } }));
        client.wait("the new rate", |view| {
            view.answers.last().is_some_and(|one| one["result"]["max_bytes_per_s"] == bytes_per_s)
        });
        client.drain();
        let (before, since) = (client.bytes, Instant::now());
        client.follow_until(since + span);
        let rate = (client.bytes - before) as f64 / since.elapsed().as_secs_f64();
        println!("{rate:.0} B/s of {bytes_per_s}");
        assert!(is_near(rate, f64::from(bytes_per_s)), "{rate} B/s of {bytes_per_s}");
    }
    client.send(&json!({ "method": "configure", "params": { "max_bytes_per_s": 0 } }));
    prove(feed, &mut reference, &mut [client]);
    gateway.samples().check_conserved();
}

#[test]
fn answers_do_not_wait_for_bandwidth() {
    let (_feed, gateway) = start(500.0);
    let mut socket = Socket::connect(gateway.public, "/v2?ext=1");
    let params = json!({ "channel": "book", "symbol": ["BTC/USD"], "depth": 500, "max_bytes_per_s": 1_000 });
    socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    let is = |payload: &[u8], key: &str, value: &str| {
        serde_json::from_slice::<Value>(payload).is_ok_and(|message| message[key] == value)
    };
    while !is(&socket.frame().payload, "type", "snapshot") {}
    // The snapshot is worth tens of seconds: nothing but answers comes now.
    for _ in 0..50 {
        socket.send_text(r#"{"method":"ping"}"#);
        assert!(is(&socket.frame().payload, "method", "pong"));
        socket.send(PING, b"at once");
        let frame = socket.frame();
        assert_eq!((frame.opcode, &frame.payload[..]), (PONG, &b"at once"[..]));
    }
    assert_eq!(socket.read(Instant::now() + Duration::from_millis(100)), Incoming::Nothing);
}

#[test]
fn a_pause_is_silent_and_what_follows_it_is_one_merged_update() {
    let (feed, gateway) = start(1_000.0);
    let mut reference = gateway.ext_client();
    reference.follow(&SYMBOLS, 10);
    let mut client = gateway.ext_client();
    client.view.precisions.clone_from(&reference.view.precisions);
    client.subscribe(json!({ "channel": "book", "symbol": SYMBOLS, "depth": 10 }));
    client.view.kept = Some(Vec::new());
    for params in [json!({ "channel": "book", "symbol": ["BTC/USD"] }), json!({})] {
        let is_all = params == json!({});
        client.send(&json!({ "method": "pause", "params": &params }));
        client.wait("the pause", |view| view.answers.last().is_some_and(|one| one["method"] == "pause"));
        reference.drain();
        let paused = if is_all { &SYMBOLS[..] } else { &SYMBOLS[..1] };
        let before: Vec<u64> = paused.iter().map(|symbol| client.view.books[*symbol].seq).collect();
        let seqs: Vec<u64> = paused.iter().map(|symbol| reference.view.books[*symbol].seq).collect();
        reference.wait("much to be missed", |view| {
            paused.iter().zip(&seqs).all(|(symbol, seq)| view.books[*symbol].seq > seq + 50)
        });
        client.drain();
        let after: Vec<u64> = paused.iter().map(|symbol| client.view.books[*symbol].seq).collect();
        assert_eq!(before, after, "nothing of a pause is sent");
        client.view.kept = Some(Vec::new());
        client.send(&json!({ "method": "resume", "params": &params }));
        client.wait("to go on", |view| {
            paused.iter().zip(&after).all(|(symbol, seq)| view.books[*symbol].seq > *seq)
        });
        for (symbol, seq) in paused.iter().zip(&after) {
            let mut all = client.view.kept.iter().flatten();
            let first = all.find(|message| message["data"][0]["symbol"] == *symbol).expect("just waited for");
            let element = &first["data"][0];
            assert_eq!((&first["channel"], &element["prev"]), (&json!("book"), &json!(seq)));
            assert!(element["merged"].as_u64() > Some(1), "{first}");
        }
    }
    prove(feed, &mut reference, &mut [client]);
    gateway.samples().check_conserved();
}

#[test]
fn clients_of_one_interval_share_their_merged_updates() {
    let (feed, gateway) = start(1_000.0);
    let mut reference = gateway.ext_client();
    reference.follow(&SYMBOLS, 10);
    let mut clients: Vec<Client> = (0..40)
        .map(|_| {
            let mut client = gateway.ext_client();
            client.view.precisions.clone_from(&reference.view.precisions);
            client.subscribe(json!({ "channel": "book", "symbol": ["BTC/USD"], "interval_ms": 100 }));
            client
        })
        .collect();
    let before = gateway.samples();
    let updates = updates_within(&mut clients[0], Duration::from_secs(4));
    let after = gateway.samples();
    let grown = |name: &str| after.one(name) - before.one(name);
    let (encoded, shared) = (grown("gateway_merges_encoded_total"), grown("gateway_merges_shared_total"));
    println!("{updates} updates each, {encoded} encoded, {shared} shared");
    assert!(encoded * 5 < encoded + shared, "{encoded} encoded, {shared} shared");
    prove(feed, &mut reference, &mut clients);
}
