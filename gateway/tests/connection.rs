//! The life of a connection: pings, heartbeats, requests in pieces, how it ends, and what ends it.

mod support;

use std::time::{Duration, Instant};

use feed_sim::{SimulatorConfig, SourceConfig};
use serde_json::json;
use support::gateway::{Gateway, let_hurry, settings, settings_of};
use support::scene::{Scene, timeless};
use support::socket::{CLOSE, CONTINUATION, Incoming, PING, PONG, Socket, TEXT, frame, unmasked_frame};
use support::tape::TapeFeed;

#[test]
fn pings_are_answered_with_their_payload() {
    let mut scene = Scene::start(settings());
    let mut client = scene.gateway.client();
    let payloads = [Vec::new(), b"hello".to_vec(), vec![0xFF; 125]];
    for payload in &payloads {
        client.send_frame(PING, payload);
    }
    client.send_frame(PONG, b"nobody asked");
    client.send(&json!({ "method": "ping", "req_id": 2 }));
    client.wait("the last answer", |view| !view.answers.is_empty());
    assert_eq!(client.pongs, payloads);
    scene.check_canary();
}

#[test]
fn a_quiet_subscriber_gets_a_heartbeat_a_second_and_others_get_none() {
    let simulator = SimulatorConfig { symbols: 1, ..SimulatorConfig::default() };
    let mut feed = TapeFeed::open(&SourceConfig::Simulator(simulator));
    let gateway = Gateway::start(settings_of(feed.address()));
    feed.begin();
    gateway.wait_ready(1);
    let mut idle = gateway.client();
    let mut subscriber = gateway.client();
    subscriber.subscribe(json!({ "channel": "trade", "symbol": ["BTC/USD"] }));
    let start = Instant::now();
    subscriber.wait("three heartbeats", |view| view.heartbeats == 3);
    let took = start.elapsed();
    assert!((Duration::from_millis(2_800)..Duration::from_secs(6)).contains(&took), "{took:?}");
    idle.drain();
    assert_eq!((idle.view.heartbeats, &idle.view.statuses[..]), (0, &["online".to_owned()][..]));
    // What is not quiet needs none.
    assert_eq!(subscriber.view.updates, 0);
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let mut scene = Scene::start(settings());
    let mut asker = scene.asker("/v2");
    let parts: [(u8, &[u8]); 5] = [
        (TEXT, br#"{"method":"#),
        (0x80 | PING, b"between"),
        (CONTINUATION, b""),
        (CONTINUATION, br#""ping","req_id""#),
        (0x80 | CONTINUATION, b":5}"),
    ];
    let octets: Vec<u8> = parts.iter().flat_map(|(first, payload)| frame(*first, payload)).collect();
    for octet in octets {
        asker.socket.send_raw(&[octet]);
    }
    let mut pongs = 0;
    loop {
        let frame = asker.socket.frame();
        pongs += u64::from(frame.opcode == PONG && frame.payload == b"between");
        if frame.opcode == TEXT && frame.text().contains("pong") {
            let answer = timeless(serde_json::from_str(frame.text()).unwrap());
            assert_eq!((answer, pongs), (json!({ "method": "pong", "req_id": 5 }), 1));
            break;
        }
    }
    scene.check_canary();
}

#[test]
fn a_close_is_answered_with_its_code() {
    let scene = Scene::start(settings());
    for (payload, code) in [
        (&b"\x03\xE8bye"[..], 1000),
        (&b"\x03\xE9"[..], 1001),
        (&b"\x0F\xA1for my own reasons"[..], 4001),
        (&b""[..], 1000),
    ] {
        let mut socket = Socket::connect(scene.gateway.public, "/v2");
        let params = json!({ "channel": "book", "symbol": ["BTC/USD"] });
        socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
        socket.send(CLOSE, payload);
        assert_eq!(socket.closing(), (code, String::new()));
    }
}

#[test]
fn who_breaks_the_framing_rules_is_closed_with_the_stated_code() {
    let mut scene = Scene::start(settings());
    let ping = br#"{"method":"ping"}"#;
    let fragments: Vec<u8> = std::iter::once(frame(TEXT, b""))
        .chain((0..64).map(|_| frame(CONTINUATION, b" ")))
        .flatten()
        .collect();
    let cases: [(&str, Vec<u8>, u16); 13] = [
        ("not masked", unmasked_frame(0x80 | TEXT, ping), 1002),
        ("70 KiB", frame(0x80 | TEXT, &vec![b' '; 70 << 10]), 1009),
        ("invalid UTF-8", frame(0x80 | TEXT, b"{\"method\":\"\xC3\x28\"}"), 1007),
        ("cut off UTF-8", frame(0x80 | TEXT, b"{\"method\":\"\xC3"), 1007),
        ("a reserved bit", frame(0xC0 | TEXT, ping), 1002),
        ("a reserved opcode", frame(0x80 | 0x3, ping), 1002),
        ("a ping in pieces", frame(PING, b""), 1002),
        ("a long ping", frame(0x80 | PING, &[0; 126]), 1002),
        ("a continuation of nothing", frame(0x80 | CONTINUATION, ping), 1002),
        ("a message inside a message", [frame(TEXT, b"{"), frame(0x80 | TEXT, ping)].concat(), 1002),
        ("too many pieces", fragments, 1008),
        ("a close code that must not be sent", frame(0x80 | CLOSE, b"\x03\xED"), 1002),
        ("half a close code", frame(0x80 | CLOSE, b"\x03"), 1002),
    ];
    for (what, octets, code) in cases {
        let mut socket = Socket::connect(scene.gateway.public, "/v2");
        socket.send_raw(&octets);
        let (got, reason) = socket.closing();
        assert_eq!(got, code, "{what}: {reason}");
        assert!(!reason.is_empty(), "{what}");
    }
    scene.check_canary();
    let samples = scene.gateway.samples();
    let closed = |name| samples.of("gateway_connections_closed_total", "code", name);
    assert_eq!(
        ["protocol_error", "too_big", "invalid_payload", "policy_violation"].map(closed),
        [9, 1, 2, 1]
    );
}

#[test]
fn who_asks_without_reading_is_closed_with_1008() {
    let mut config = settings();
    let_hurry(&mut config);
    let mut scene = Scene::start(config);
    let mut socket = Socket::connect_narrow(scene.gateway.public, "/v2");
    let pings = frame(0x80 | TEXT, br#"{"method":"ping","req_id":1234567890}"#).repeat(100);
    let closed = |scene: &Scene| {
        scene.gateway.samples().of("gateway_connections_closed_total", "code", "policy_violation")
    };
    support::wait_for("the gateway to lose its patience", || {
        socket.send_raw(&pings);
        (closed(&scene) == 1).then_some(())
    });
    assert_eq!(socket.closing(), (1008, "answers are not read".to_owned()));
    scene.check_canary();
}

/// The answers to one request outgrow their bound between two of its symbols.
#[test]
fn a_flood_of_acknowledgements_ends_only_the_connection_that_asked_for_it() {
    const MANY: usize = 200;
    let simulator = SimulatorConfig { symbols: MANY, depth: 20, ..SimulatorConfig::default() };
    let mut feed = TapeFeed::open(&SourceConfig::Simulator(simulator));
    let mut config = settings_of(feed.address());
    config.limits.control_bytes_max = 16 << 10;
    config.public.send_buffer_bytes = 4_096;
    // All in one shard, so that what goes wrong there is seen.
    config.shards.count = 1;
    let gateway = Gateway::start(config);
    feed.begin();
    gateway.wait_ready(MANY);
    let mut neighbour = gateway.client();
    neighbour.subscribe(json!({ "channel": "ticker", "symbol": ["BTC/USD"] }));
    let mut socket = Socket::connect_narrow(gateway.public, "/v2");
    let params = json!({ "channel": "book", "symbol": feed.symbols() });
    socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    // It reads nothing before it is given up.
    gateway.wait_samples("the flood to be seen", |samples| {
        samples.of("gateway_connections_closed_total", "code", "policy_violation") == 1
    });
    assert_eq!(socket.closing(), (1008, "answers are not read".to_owned()));
    let heartbeats = neighbour.view.heartbeats;
    neighbour.wait("a sign of life", |view| view.heartbeats > heartbeats);
    gateway.samples().check_conserved();
}

#[test]
fn who_vanishes_is_forgotten() {
    let mut scene = Scene::start(settings());
    for _ in 0..20 {
        let mut socket = Socket::connect(scene.gateway.public, "/v2");
        let params = json!({ "channel": "book", "symbol": ["BTC/USD"], "depth": 1000 });
        socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
        // Some with half a frame, all without a goodbye.
        socket.send_raw(&[0x81]);
        drop(socket);
    }
    scene.gateway.wait_samples("only the canary to be left", |samples| {
        samples.one("gateway_connections_opened_total") == 21 && samples.one("gateway_connections") == 1
    });
    scene.check_canary();
}

#[test]
fn a_half_closed_connection_ends() {
    let scene = Scene::start(settings());
    let mut socket = Socket::connect(scene.gateway.public, "/v2");
    socket.end();
    let deadline = Instant::now() + support::PATIENCE;
    while let Incoming::Frame(_) = socket.read(deadline) {}
    assert_eq!(socket.read(deadline), Incoming::End);
}
