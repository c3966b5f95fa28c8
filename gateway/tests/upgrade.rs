//! The opening handshake over plain sockets: what is refused, with which status, and that nothing is repeated to who asked.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use support::gateway::{Gateway, settings};
use support::http::{Answer, Samples, ask, get, read_one};
use support::socket::Socket;
use support::tunnel::{Credentials, Tunnel};

/// An upgrade request of which one thing can be wrong.
fn upgrade(first: &str, headers: &[&str]) -> String {
    format!("{first}\r\nHost: gateway\r\n{}\r\n\r\n", headers.join("\r\n"))
}

/// One in which nothing is wrong but for what the further headers say.
fn upgrade_with(headers: &[&str]) -> String {
    upgrade(GET_V2, &[&[UPGRADE, CONNECTION, KEY, VERSION], headers].concat())
}

const GET_V2: &str = "GET /v2 HTTP/1.1";
const UPGRADE: &str = "Upgrade: websocket";
const CONNECTION: &str = "Connection: Upgrade";
const KEY: &str = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
const VERSION: &str = "Sec-WebSocket-Version: 13";

#[test]
fn upgrades_that_are_none_are_refused_with_the_reason() {
    let gateway = Gateway::start(settings());
    let cases: [(&str, &str, &[&str], u16); 14] = [
        ("a POST", "POST /v2 HTTP/1.1", &[UPGRADE, CONNECTION, KEY, VERSION], 405),
        ("HTTP/1.0", "GET /v2 HTTP/1.0", &[UPGRADE, CONNECTION, KEY, VERSION], 505),
        ("no upgrade", GET_V2, &["Connection: close", KEY, VERSION], 426),
        ("another upgrade", GET_V2, &["Upgrade: h2c", CONNECTION, KEY, VERSION], 426),
        ("no connection", GET_V2, &[UPGRADE, KEY, VERSION], 400),
        ("a connection that closes", GET_V2, &[UPGRADE, "Connection: close", KEY, VERSION], 400),
        ("no version", GET_V2, &[UPGRADE, CONNECTION, KEY], 426),
        ("an old version", GET_V2, &[UPGRADE, CONNECTION, KEY, "Sec-WebSocket-Version: 8"], 426),
        ("two versions", GET_V2, &[UPGRADE, CONNECTION, KEY, VERSION, VERSION], 426),
        ("no key", GET_V2, &[UPGRADE, CONNECTION, VERSION], 400),
        ("a short key", GET_V2, &[UPGRADE, CONNECTION, "Sec-WebSocket-Key: c2hvcnQ=", VERSION], 400),
        (
            "no base64",
            GET_V2,
            &[UPGRADE, CONNECTION, "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25j!Q==", VERSION],
            400,
        ),
        ("two keys", GET_V2, &[UPGRADE, CONNECTION, KEY, KEY, VERSION], 400),
        ("an empty key", GET_V2, &[UPGRADE, CONNECTION, "Sec-WebSocket-Key:", VERSION], 400),
    ];
    let refused = |samples: &Samples| samples.of("gateway_connections_refused_total", "reason", "malformed");
    for (index, (what, first, headers, status)) in cases.into_iter().enumerate() {
        let answer = ask_once(&gateway, &upgrade(first, headers));
        assert_eq!(answer.status, status, "{what}: {}", answer.body);
        assert!(status == 426 || answer.header("sec-websocket-version").is_empty(), "{what}");
        assert!(status != 426 || answer.header("sec-websocket-version") == "13", "{what}");
        assert!(answer.body.len() > 10, "{what} has no words: {}", answer.body);
        assert!(answer.header("connection").contains("close"), "{what}: {answer:?}");
        assert_eq!(refused(&gateway.samples()), index as u64 + 1, "{what}");
    }
    assert_eq!(gateway.samples().one("gateway_connections_opened_total"), 0);
}

/// Asks and does not wait for the end of the connection, which the server may keep.
fn ask_once(gateway: &Gateway, request: &str) -> Answer {
    ask_at(gateway.public, request)
}

fn ask_at(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).expect("the gateway listens");
    stream.write_all(request.as_bytes()).expect("it takes a request");
    read_one(&mut stream)
}

#[test]
fn headers_may_be_written_in_any_way_that_http_allows() {
    let gateway = Gateway::start(settings());
    let head = upgrade(
        "GET /v2?a=b&ext=1 HTTP/1.1",
        &[
            "UPGRADE: WebSocket",
            "connection: keep-alive, upgrade",
            "SEC-WEBSOCKET-KEY:dGhlIHNhbXBsZSBub25jZQ==",
            VERSION,
        ],
    );
    let answer = ask_once(&gateway, &head);
    assert_eq!((answer.status, answer.header("upgrade")), (101, "websocket"));
    assert_eq!(answer.header("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    assert_eq!(answer.header("sec-websocket-extensions"), "");
}

#[test]
fn heads_that_are_too_big_are_refused() {
    let gateway = Gateway::start(settings());
    let long = format!("X-Long: {}", "x".repeat(20 << 10));
    let headers = [UPGRADE, CONNECTION, KEY, VERSION, &long];
    assert_eq!(ask_once(&gateway, &upgrade(GET_V2, &headers)).status, 431);
    let many: Vec<String> = (0..100).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(ask_once(&gateway, &upgrade(GET_V2, &many)).status, 431);
    gateway.wait_samples("both to be counted", |samples| reached(samples, "head") == 2);
}

/// How often a limit was reached.
fn reached(samples: &Samples, limit: &str) -> u64 {
    samples.of("gateway_limit_refusals_total", "limit", limit)
}

#[test]
fn requests_sent_with_the_upgrade_are_not_lost() {
    let gateway = Gateway::start_ready(settings());
    let ping = support::socket::frame(0x81, br#"{"method":"ping","req_id":6}"#);
    let mut socket = Socket::connect_with(gateway.public, "/v2", &ping);
    let status = socket.frame();
    assert!(status.text().starts_with(r#"{"channel":"status""#), "{}", status.text());
    let pong = socket.frame();
    assert!(pong.text().contains(r#""pong""#) && pong.text().contains(r#""req_id":6"#), "{}", pong.text());
}

#[test]
fn the_answer_and_the_status_come_in_one_piece() {
    let gateway = Gateway::start_ready(settings());
    let mut stream = TcpStream::connect(gateway.public).expect("the gateway listens");
    stream.write_all(upgrade_with(&[]).as_bytes()).expect("it takes a request");
    let mut bytes = [0; 4_096];
    // What was written at once is read at once on this machine.
    let len = stream.read(&mut bytes).expect("an answer");
    let piece = String::from_utf8_lossy(&bytes[..len]).into_owned();
    let (head, frames) = piece.split_once("\r\n\r\n").expect("a whole head");
    assert!(head.starts_with("HTTP/1.1 101 "), "{piece}");
    assert!(frames.contains(r#"{"channel":"status""#), "{piece}");
}

#[test]
fn beyond_the_most_connections_there_is_503() {
    let mut config = settings();
    config.inbound.connections_max = 2;
    let gateway = Gateway::start(config);
    let clients = [gateway.client(), gateway.client()];
    let whole = upgrade(GET_V2, &[UPGRADE, CONNECTION, KEY, VERSION]);
    assert_eq!(ask_once(&gateway, &whole).status, 503);
    assert_eq!(gateway.samples().of("gateway_connections_refused_total", "reason", "full"), 1);
    drop(clients);
    gateway.wait_samples("room for others", |samples| samples.one("gateway_connections") == 0);
    assert_eq!(ask_once(&gateway, &whole).status, 101);
}

#[test]
fn a_head_that_does_not_come_ends_the_connection() {
    let mut config = settings();
    config.inbound.handshake_ms = 200;
    let gateway = Gateway::start(config);
    let answer = ask(gateway.public, "GET /v2 HTTP/1.1\r\nHost: ");
    assert!([0, 408].contains(&answer.status), "{answer:?}");
    gateway.wait_samples("it to be counted", |samples| reached(samples, "handshake_ms") == 1);
}

#[test]
fn a_peer_that_says_nothing_is_waited_for_as_long_as_for_a_head_and_never_beyond_its_life() {
    for (handshake_ms, http_ms) in [(200, 60_000), (60_000, 200)] {
        let mut config = settings();
        (config.inbound.handshake_ms, config.inbound.http_ms) = (handshake_ms, http_ms);
        let gateway = Gateway::start(config);
        assert_eq!(ask(gateway.public, "").status, 0, "nothing is asked, and nothing answered");
        gateway.wait_samples("it to be counted", |samples| reached(samples, "handshake_ms") == 1);
    }
}

#[test]
fn requests_that_two_readers_could_read_in_two_ways_are_refused() {
    let gateway = Gateway::start(settings());
    let whole = [UPGRADE, CONNECTION, KEY, VERSION].join("\r\n");
    let smuggled = "GET /v2 HTTP/1.1\r\nHost: gateway\r\n\r\n";
    let cases = [
        ("no host", format!("{GET_V2}\r\n{whole}\r\n\r\n")),
        ("an empty host", format!("{GET_V2}\r\nHost:\r\n{whole}\r\n\r\n")),
        ("two hosts", format!("{GET_V2}\r\nHost: a\r\nHost: b\r\n{whole}\r\n\r\n")),
        ("a body", upgrade_with(&[&format!("Content-Length: {}", smuggled.len())]) + smuggled),
        ("a body in chunks", upgrade_with(&["Transfer-Encoding: chunked"]) + "0\r\n\r\n"),
        ("two lengths", upgrade_with(&["Content-Length: 0", "Content-Length: 44"]) + smuggled),
        (
            "a length and chunks",
            upgrade_with(&["Content-Length: 4", "Transfer-Encoding: chunked"]) + "0\r\n\r\n",
        ),
        ("a NUL in a header", upgrade_with(&["X-Odd: a\0b"])),
        ("a blank in a name", upgrade_with(&["X Odd: a"])),
        ("a bare return", upgrade_with(&["X-Odd: a\rX-Evil: b"])),
        ("garbage", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n".to_owned()),
        ("no version", "GET /v2\r\n\r\n".to_owned()),
    ];
    for (what, request) in cases {
        let answer = ask(gateway.public, &request);
        // It may also end the connection without a word.
        assert!([0, 400].contains(&answer.status), "{what}: {answer:?}");
    }
    let folded = ask(gateway.public, &upgrade_with(&["X-Odd: a", " folded"]));
    assert!([0, 400].contains(&folded.status), "a folded header: {folded:?}");
    assert_eq!(gateway.samples().one("gateway_connections_opened_total"), 0);
}

/// What a page is answered that asks for an upgrade, at a listener and with a host of its own choice.
fn status_of_page(address: SocketAddr, host: &str, origins: &[&str]) -> u16 {
    let mut headers = vec![format!("Host: {host}")];
    headers.extend(origins.iter().map(|origin| format!("Origin: {origin}")));
    headers.extend([UPGRADE, CONNECTION, KEY, VERSION].map(str::to_owned));
    ask_at(address, &format!("{GET_V2}\r\n{}\r\n\r\n", headers.join("\r\n"))).status
}

#[test]
fn pages_of_others_are_refused_and_programs_are_not() {
    let credentials = Credentials::make();
    let mut config = settings();
    config.public.origins = vec!["https://trade.example".to_owned(), "https://desk.example:8443".to_owned()];
    credentials.put_into(&mut config);
    let gateway = Gateway::start(config);
    let tunnel = Tunnel::to(&gateway, &credentials);
    let tls = gateway.tls.expect("it is switched on");
    let any = "gateway.example";
    let mut refused = 0;
    // Where it is connected to, what the gateway itself is called there, and the schemes of its own page and of the other one.
    for (address, own, scheme, other) in
        [(gateway.public, gateway.public, "http", "https"), (tunnel.address, tls, "https", "http")]
    {
        let own = own.to_string();
        let own_page = format!("{scheme}://{own}");
        let good: [(&str, &[&str]); 4] = [
            (any, &[]),
            (any, &["https://trade.example"]),
            (any, &["https://desk.example:8443"]),
            (&own, &[&own_page]),
        ];
        for (host, origins) in good {
            assert_eq!(status_of_page(address, host, origins), 101, "{origins:?} at {host}");
        }
        let other_scheme = format!("{other}://{own}");
        let bad: [(&str, &[&str]); 25] = [
            (any, &["null"]),
            (any, &[""]),
            // Others.
            (any, &["https://evil.example"]),
            (any, &["file://"]),
            (any, &["*"]),
            // Another port, or another scheme.
            (any, &["https://trade.example:444"]),
            (any, &["https://trade.example:443"]),
            (any, &["https://desk.example"]),
            (any, &["http://trade.example"]),
            // What looks alike.
            (any, &["https://trade.example.evil.example"]),
            (any, &["https://evil-trade.example"]),
            (any, &["https://trade.example.evil"]),
            (any, &["https://trade.example."]),
            (any, &["https://trade.example/"]),
            (any, &["https://TRADE.example"]),
            (any, &["HTTPS://trade.example"]),
            (any, &["https://user@trade.example"]),
            (any, &["https://tr\u{430}de.example"]),
            (any, &["https://trade%2eexample"]),
            // Several.
            (any, &["https://trade.example", "https://evil.example"]),
            (any, &["https://trade.example https://evil.example"]),
            (any, &["https://trade.example,https://evil.example"]),
            // A name that was made to point here, and this address by another way.
            ("evil.example", &[&format!("{scheme}://evil.example")]),
            (&own, &[&format!("{scheme}://127.0.0.1:1")]),
            (&own, &[&other_scheme]),
        ];
        for (host, origins) in bad {
            assert_eq!(status_of_page(address, host, origins), 403, "{origins:?} at {host}");
        }
        refused += bad.len() as u64;
    }
    let samples = gateway.samples();
    let counted = |reason: &str| samples.of("gateway_connections_refused_total", "reason", reason);
    assert_eq!((counted("origin"), counted("malformed")), (refused, 0));
    // Reference data is for everybody; what a page may read of it is its browser's business.
    assert_eq!(get(gateway.public, "/0/public/Time").status, 200);
}

#[test]
fn nothing_that_was_sent_is_repeated() {
    let gateway = Gateway::start(settings());
    let headers =
        ["Sec-WebSocket-Protocol: evil, chat", "Sec-WebSocket-Extensions: permessage-deflate; evil=1"];
    let answer = ask_once(&gateway, &upgrade_with(&headers));
    let names: Vec<&str> = answer.headers.keys().map(String::as_str).collect();
    assert_eq!((answer.status, names), (101, vec!["connection", "date", "sec-websocket-accept", "upgrade"]));
    for target in
        ["/v2?evil%0d%0aX-Evil:1", "/evil", "/0/public/evil?pair=evil", "/../../etc/passwd", "/%2e%2e/evil"]
    {
        let answer = get(gateway.public, target);
        let shown = format!("{answer:?}").to_lowercase();
        assert!(!shown.contains("evil") && !shown.contains("root:"), "{target}: {shown}");
        assert!([200, 404, 426].contains(&answer.status), "{target}: {shown}");
    }
}

#[test]
fn a_connection_that_idles_between_two_requests_ends() {
    let mut config = settings();
    config.inbound.http_ms = 300;
    let gateway = Gateway::start(config);
    let mut stream = TcpStream::connect(gateway.public).expect("the gateway listens");
    let request = b"GET /0/public/Time HTTP/1.1\r\nHost: gateway\r\n\r\n";
    stream.write_all(request).expect("it takes a request");
    assert_eq!(read_one(&mut stream).status, 200);
    assert_eq!(stream.read(&mut [0; 64]).unwrap_or(0), 0, "the end of the connection");
    gateway.wait_samples("nobody to be left", |samples| {
        samples.one("gateway_handshakes") == 0 && reached(samples, "http_ms") == 1
    });
}
