//! What strangers may do, limit by limit: each has its stated answer and its count, and a canary beside it loses nothing.
//!
//! Strangers come from other addresses of this machine than the canary, whose address has no limits of its own. Limits of framing and
//! slow readers are in `connection.rs` and `slow.rs`.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::gateway::{Gateway, settings};
use support::http::{Answer, read_one};
use support::scene::Scene;
use support::socket::{CLOSE, CONTINUATION, Incoming, PING, PONG, Socket, TEXT, dial, frame};

const UPGRADE: &str = "GET /v2 HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// What the upgrade is answered with.
fn knock(n: u8, gateway: &Gateway) -> Answer {
    let mut stream = dial(n, gateway.public);
    // Who has been refused already may not be heard.
    let _ = stream.write_all(UPGRADE.as_bytes());
    read_one(&mut stream)
}

fn reached(gateway: &Gateway, limit: &str) -> u64 {
    gateway.samples().of("gateway_limit_refusals_total", "limit", limit)
}

fn book() -> String {
    let params = json!({ "channel": "book", "symbol": ["BTC/USD"] });
    json!({ "method": "subscribe", "params": params }).to_string()
}

/// The next answer to a request.
fn answer(socket: &mut Socket) -> Value {
    loop {
        let frame = socket.frame();
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        let message: Value = serde_json::from_str(frame.text()).expect("JSON");
        if message["channel"].is_null() {
            return message;
        }
    }
}

#[test]
fn an_address_has_so_many_clients() {
    let mut config = settings();
    config.inbound.connections_per_address_max = 2;
    let mut scene = Scene::start(config);
    let first = Socket::connect_from(2, scene.gateway.public, "/v2");
    let _second = Socket::connect_from(2, scene.gateway.public, "/v2");
    let refused = knock(2, &scene.gateway);
    assert_eq!((refused.status, refused.header("retry-after")), (429, "5"), "{refused:?}");
    let _other = Socket::connect_from(3, scene.gateway.public, "/v2");
    assert_eq!(reached(&scene.gateway, "connections_per_address_max"), 1);
    drop(first);
    support::wait_for("the place to be given back", || {
        (knock(2, &scene.gateway).status == 101).then_some(())
    });
    scene.check_canary();
}

#[test]
fn an_address_comes_so_often() {
    let mut config = settings();
    (config.inbound.accepts_per_address_per_s, config.inbound.accepts_per_address_burst) = (1, 3);
    let mut scene = Scene::start(config);
    let answers: Vec<u16> = (0..4).map(|_| knock(2, &scene.gateway).status).collect();
    assert_eq!(answers[..3], [101; 3]);
    if answers[3] != 429 {
        // On a machine that stood still for a second a token has come; two at once are too many all the same.
        assert!((0..20).any(|_| knock(2, &scene.gateway).status == 429), "{answers:?}");
    }
    assert_eq!(knock(3, &scene.gateway).status, 101);
    assert!(reached(&scene.gateway, "accepts_per_address_per_s") >= 1);
    // It may come again when a token has come.
    support::wait_for("a token", || (knock(2, &scene.gateway).status == 101).then_some(()));
    scene.check_canary();
}

#[test]
fn an_address_has_few_silent_connections() {
    let mut config = settings();
    config.inbound.handshakes_per_address_max = 2;
    let mut scene = Scene::start(config);
    let mut silent: Vec<TcpStream> = (0..2).map(|_| dial(2, scene.gateway.public)).collect();
    let refused = knock(2, &scene.gateway);
    assert_eq!((refused.status, &refused.body[..]), (429, "too many connections of this address now\n"));
    assert_eq!(knock(3, &scene.gateway).status, 101);
    assert_eq!(reached(&scene.gateway, "handshakes_per_address_max"), 1);
    // Those that were taken are heard.
    silent[0].write_all(UPGRADE.as_bytes()).unwrap();
    assert_eq!(read_one(&mut silent[0]).status, 101);
    scene.check_canary();
}

#[test]
fn the_slowest_handshakes_make_room_for_others() {
    let mut config = settings();
    config.inbound.handshakes_max = 3;
    config.inbound.handshake_ms = 60_000;
    let mut scene = Scene::start(config);
    let mut slow: Vec<TcpStream> = (2..8).map(|n| dial(n, scene.gateway.public)).collect();
    for stream in &mut slow {
        stream.write_all(b"GET /v2 HTTP/1.1\r\nHost: ").unwrap();
    }
    let start = Instant::now();
    assert_eq!(knock(9, &scene.gateway).status, 101);
    // Far before the deadline of those in front of it.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    assert!(reached(&scene.gateway, "handshakes_max") >= 4);
    assert_eq!(slow[0].read(&mut [0; 16]).unwrap_or(0), 0, "the first had to go");
    scene.check_canary();
}

#[test]
fn connections_are_accepted_so_fast_and_wait_otherwise() {
    let mut config = settings();
    (config.inbound.accepts_per_s, config.inbound.accepts_burst) = (10, 5);
    let gateway = Gateway::start_ready(config);
    let start = Instant::now();
    for n in 0..15 {
        assert_eq!(knock(2 + n, &gateway).status, 101, "nobody is refused");
    }
    assert!(start.elapsed() > Duration::from_millis(800), "{:?}", start.elapsed());
    assert!(reached(&gateway, "accepts_per_s") > 0, "it is counted that they waited");
}

#[test]
fn floods_of_messages_are_closed() {
    let mut config = settings();
    config.inbound.requests_per_s = 0;
    let mut scene = Scene::start(config);
    let floods = [
        ("pings", frame(0x80 | PING, b"x")),
        ("pongs", frame(0x80 | PONG, b"")),
        ("empty messages", frame(0x80 | TEXT, b"")),
        ("pings of the protocol", frame(0x80 | TEXT, br#"{"method":"ping"}"#)),
    ];
    for (what, message) in &floods {
        let mut socket = Socket::connect_from(2, scene.gateway.public, "/v2");
        // A machine that stands still for a moment lets some more through.
        socket.send_raw(&message.repeat(1_000));
        let expected = (1008, "more than 20 messages a second, 100 at once".to_owned());
        assert_eq!(socket.closing(), expected, "{what}");
    }
    assert_eq!(reached(&scene.gateway, "messages_per_s"), floods.len() as u64);
    // Who keeps within the burst stays.
    let mut socket = Socket::connect_from(3, scene.gateway.public, "/v2");
    socket.send_raw(&frame(0x80 | PING, b"x").repeat(90));
    let pongs = (0..91).filter(|_| socket.frame().opcode == PONG).count();
    assert_eq!(pongs, 90);
    scene.check_canary();
}

#[test]
fn requests_beyond_the_rate_are_refused_and_who_goes_on_is_closed() {
    let mut config = settings();
    (config.inbound.requests_per_s, config.inbound.requests_burst) = (1, 5);
    config.inbound.messages_per_s = 0;
    let mut scene = Scene::start(config);
    let mut socket = Socket::connect_from(2, scene.gateway.public, "/v2");
    let ping = frame(0x80 | TEXT, br#"{"method":"ping"}"#);
    socket.send_raw(&ping.repeat(8));
    let answers: Vec<Value> = (0..8).map(|_| answer(&mut socket)).collect();
    assert!(answers[..5].iter().all(|answer| answer["method"] == "pong"), "{answers:?}");
    let refused = answers.iter().filter(|answer| answer["error"] == "Exceeded msg rate").count();
    // On a machine that stood still a token may have come.
    assert!((1..=3).contains(&refused), "{answers:?}");
    assert!(answers.iter().all(|answer| answer["method"] == "pong" || answer["success"] == false));
    socket.send_raw(&ping.repeat(100));
    assert_eq!(socket.closing(), (1008, "more than 1 requests a second".to_owned()));
    assert!(reached(&scene.gateway, "requests_per_s") >= 6);
    scene.check_canary();
}

#[test]
fn a_message_that_is_begun_has_to_be_finished() {
    let mut config = settings();
    config.inbound.message_ms = 400;
    let mut scene = Scene::start(config);
    let whole = frame(0x80 | TEXT, br#"{"method":"ping"}"#);
    let first_piece = frame(TEXT, br#"{"method":"#);
    for (what, octets) in [
        ("one octet", &whole[..1]),
        ("half a header", &whole[..4]),
        ("half a frame", &whole[..whole.len() - 1]),
        ("a whole message and half a frame", &[&whole[..], &whole[..9]].concat()),
        ("half a message", &first_piece),
    ] {
        let mut socket = Socket::connect_from(2, scene.gateway.public, "/v2");
        socket.send_raw(octets);
        assert_eq!(socket.closing(), (1008, "a message took more than 400 ms".to_owned()), "{what}");
    }
    // Neither pieces nor pings in between help.
    let mut socket = Socket::connect_from(2, scene.gateway.public, "/v2");
    socket.send_raw(&first_piece);
    let start = Instant::now();
    let mut next = start;
    let closed = 'closed: loop {
        socket.send_raw(&[frame(CONTINUATION, b""), frame(0x80 | PING, b"")].concat());
        next += Duration::from_millis(60);
        loop {
            match socket.read(next) {
                Incoming::Frame(frame) if frame.opcode == CLOSE => break 'closed frame.close().0,
                Incoming::Frame(_) => {}
                Incoming::End => break 'closed 1006,
                Incoming::Nothing => break,
            }
        }
        assert!(start.elapsed() < support::PATIENCE, "it is never closed");
    };
    assert_eq!(closed, 1008);
    assert_eq!(reached(&scene.gateway, "message_ms"), 6);
    scene.check_canary();
}

#[test]
fn who_wants_nothing_is_closed_after_a_while() {
    let mut config = settings();
    config.inbound.idle_ms = 1_000;
    let mut scene = Scene::start(config);
    let mut idle = Socket::connect_from(2, scene.gateway.public, "/v2");
    let mut subscriber = scene.gateway.client();
    subscriber.view.precisions.clone_from(&scene.canary.view.precisions);
    subscriber.subscribe(json!({ "channel": "book", "symbol": ["BTC/USD"] }));
    assert_eq!(idle.closing(), (1008, "no subscription for 1 s".to_owned()));
    // Longer than that after it asked for the last time.
    let updates = subscriber.view.updates;
    subscriber.follow_until(Instant::now() + Duration::from_millis(1_500));
    assert!(subscriber.view.updates > updates);
    subscriber
        .send(&json!({ "method": "unsubscribe", "params": { "channel": "book", "symbol": ["BTC/USD"] } }));
    assert_eq!(subscriber.wait_closed(), 1008);
    assert_eq!(reached(&scene.gateway, "idle_ms"), 2);
    scene.check_canary();
}

#[test]
fn requests_that_are_too_much_are_refused_with_the_number() {
    let mut config = settings();
    config.inbound.symbols_max = 3;
    config.inbound.json_depth_max = 5;
    config.inbound.json_keys_max = 16;
    // The canary asks for four.
    let gateway = Gateway::start_ready(config);
    let mut socket = Socket::connect_from(2, gateway.public, "/v2");
    let many_keys: String = (0..20).map(|n| format!(r#","k{n}":0"#)).collect();
    for (request, error) in [
        (
            json!({ "method": "subscribe", "params": { "channel": "book", "symbol": ["A", "B", "C", "D"] } })
                .to_string(),
            "Malformed request: params.symbol has 4 symbols, at most 3 are taken in one request",
        ),
        (
            r#"{"method":"ping","x":[[[[[1]]]]]}"#.to_owned(),
            "Malformed request: objects and arrays are nested deeper than 5",
        ),
        (
            format!(r#"{{"method":"ping"{many_keys}}}"#),
            "Malformed request: an object has 21 keys, at most 16 are taken",
        ),
        (
            format!(r#"{{"method":"ping","req_id":{}}}"#, "1".repeat(21)),
            "Malformed request: a number has more than 20 digits",
        ),
        (
            format!(r#"{{"method":"ping","req_id":"{}"}}"#, "1".repeat(65)),
            "Malformed request: req_id must be an integer of 64 bits",
        ),
    ] {
        socket.send_text(&request);
        assert_eq!(answer(&mut socket)["error"], error, "{request}");
    }
    let counts = ["symbols_max", "json_depth_max", "json_keys_max"].map(|limit| reached(&gateway, limit));
    assert_eq!(counts, [1, 1, 1]);
    socket.send_text(&book());
    assert_eq!(answer(&mut socket)["success"], true, "the connection is as good as before");
}
