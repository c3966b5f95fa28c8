//! What strangers try, threat by threat, plain and over TLS: each gets its stated answer, and a thousand clients beside it lose nothing.
//!
//! Strangers come from other addresses of this machine than the good clients, whose address has no limits of its own. Times are
//! shortened, everything else is as it is by default. What a process can suffer as a whole is in `process.rs`, what its feed can do to
//! it in `faults.rs`, that no credential reaches a log in `credentials.rs`, and that no deadline follows the wall clock in
//! `gateway/core/fanout/tests/grants.rs`.

mod support;

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use feed_sim::{Arrivals, Server, ServerConfig, ServerHandle, SimulatorConfig, SourceConfig};
use gateway::config::Config;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection};
use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Gateway, settings_of};
use support::multitude::Multitude;
use support::socket::{
    CLOSE, CONTINUATION, Incoming, PING, PONG, Socket, TEXT, dial, frame, unmasked_frame, until_end,
};
use support::stranger::{
    Cases, GET_V2, Got, answer, ask, ask_over, http, read_status, subscribe, trickle, upgrade, ws,
};
use support::token::{Files, SECRET, base64url, bearer, now_s, signed, token};
use support::truth::truths;
use support::tunnel::{Credentials, Tunnel};

/// Symbols of strangers and canaries; those of the thousand are others.
const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

/// Symbols of the market.
const MARKET: usize = 64;

/// Good clients with one slow symbol each. In a debug build a message costs gateway and view together a tenth of a millisecond, so the
/// market is slow.
const GOOD: usize = 1_000;

/// Lines per second of the feed, over all symbols.
const RATE: f64 = 300.0;

/// Deadline of a head, of a message, and of a client that takes nothing.
const SHORT_MS: u64 = 700;

/// Threats before the upgrade.
fn http_threats(address: SocketAddr) -> Cases {
    use Got::{End, Status};
    let huge = "x".repeat(300 << 10);
    // What the gateway has not read is answered by a reset, which may overtake its word.
    let too_big = |got: Got| if got == End { Status(431) } else { got };
    let many = (0..80).map(|n| format!("X-{n}: evil\r\n")).collect::<String>();
    let whole = |further: &str| http(address, &upgrade(GET_V2, further));
    let first = |first: &str| http(address, &upgrade(first, ""));
    let good = String::from_utf8(upgrade(GET_V2, "")).expect("ASCII");
    let replaced = |word: &str, other: &str| good.replace(word, other).into_bytes();
    let without = |name: &str| replaced(name, "X-Evil");
    let mut slow = dial(2, address);
    let slow =
        if trickle(&mut slow, b"GET /v2 HTTP/1.1\r\nX: ".iter().copied().chain(std::iter::repeat(b'x'))) {
            End
        } else {
            Got::Served
        };
    let client_hello = b"\x16\x03\x01\x00\xC4\x01\x00\x00\xC0\x03\x03evil\r\n\r\n";
    vec![
        ("a silent connection", http(address, b""), End),
        ("slowloris", slow, End),
        ("half a request", http(address, b"GET /v2 HTTP/1.1\r\nHost: evil"), End),
        ("many headers", whole(&many), Status(431)),
        ("a huge header", too_big(whole(&format!("X-Evil: {huge}\r\n"))), Status(431)),
        ("a huge target", too_big(first(&format!("GET /v2?{huge} HTTP/1.1"))), Status(431)),
        ("another method", first("POST /v2 HTTP/1.1"), Status(405)),
        ("an unknown method", first("EVIL /v2 HTTP/1.1"), Status(405)),
        ("an old version", first("GET /v2 HTTP/1.0"), Status(505)),
        ("no key", http(address, &without("Sec-WebSocket-Key")), Status(400)),
        ("no version of the protocol", http(address, &without("Sec-WebSocket-Version")), Status(426)),
        ("another upgrade", http(address, &replaced("websocket", "evil")), Status(426)),
        ("two keys", whole("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"), Status(400)),
        ("no upgrade", http(address, b"GET /v2 HTTP/1.1\r\nHost: evil\r\n\r\n"), Status(426)),
        (
            "a smuggled request",
            whole("Content-Length: 30\r\n\r\nGET /evil HTTP/1.1\r\nHost: a\r\n"),
            Status(400),
        ),
        (
            "chunks and a length",
            whole("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"),
            Status(400),
        ),
        ("a NUL", whole("X-Evil: \0\r\n"), Status(400)),
        ("TLS where HTTP is spoken", http(address, client_hello), Status(400)),
        ("garbage", http(address, &[0xFF; 512]), Status(400)),
        ("a page of somebody else", whole("Origin: https://evil.example\r\n"), Status(403)),
        ("a page without an origin", whole("Origin: null\r\n"), Status(403)),
        ("an injected header", first("GET /%0d%0aX-Evil:%20a HTTP/1.1"), Status(404)),
        (
            "subprotocols and extensions",
            whole("Sec-WebSocket-Protocol: evil\r\nSec-WebSocket-Extensions: evil; evil=1\r\n"),
            Status(101),
        ),
        ("a path that climbs", first("GET /../../../etc/passwd HTTP/1.1"), Status(404)),
        ("an encoded path that climbs", first("GET /0/public/..%2f..%2fetc HTTP/1.1"), Status(200)),
        ("metrics at the public address", first("GET /metrics HTTP/1.1"), Status(404)),
        ("orders at the public address", first("POST /clients/1/kick HTTP/1.1"), Status(405)),
    ]
}

/// Threats by frames.
fn frame_threats(address: SocketAddr) -> Cases {
    use Got::Closed;
    let ping = br#"{"method":"ping"}"#;
    let huge = [&[0x81, 0xFF][..], &(1_u64 << 62).to_be_bytes(), &[0; 4]].concat();
    let pieces = [frame(TEXT, b""), frame(CONTINUATION, b"").repeat(70)].concat();
    let bad_text = frame(TEXT, b"\xC3\x28 and much that never comes");
    let mut half = dial(2, address);
    half.write_all(&upgrade(GET_V2, "")).expect("it takes that");
    read_status(&mut half);
    let octets = frame(0x80 | TEXT, &vec![b' '; 60_000]);
    // Its code was read past; that it is 1008 is seen where the frame stops.
    let trickled = if trickle(&mut half, octets.into_iter()) { Got::End } else { Got::Served };
    vec![
        ("not masked", ws(address, &unmasked_frame(0x80 | TEXT, ping)), Closed(1002)),
        ("a reserved bit, as compressed data has", ws(address, &frame(0xC0 | TEXT, &[0; 64])), Closed(1002)),
        ("a reserved opcode", ws(address, &frame(0x80 | 0xB, b"")), Closed(1002)),
        ("a control frame in pieces", ws(address, &frame(PING, b"")), Closed(1002)),
        ("a long control frame", ws(address, &frame(0x80 | PING, &[0; 126])), Closed(1002)),
        ("a close code of nobody", ws(address, &frame(0x80 | CLOSE, b"\x03\xEE")), Closed(1002)),
        ("a length that is not minimal", ws(address, b"\x81\xFE\x00\x01\0\0\0\0x"), Closed(1002)),
        ("a message inside a message", ws(address, &frame(TEXT, b"{").repeat(2)), Closed(1002)),
        ("a header of four exabytes", ws(address, &huge), Closed(1009)),
        ("a message of 65 KiB", ws(address, &frame(0x80 | TEXT, &vec![b' '; 65 << 10])), Closed(1009)),
        ("many pieces", ws(address, &pieces), Closed(1008)),
        ("text that is none", ws(address, &frame(0x80 | TEXT, b"\xFF")), Closed(1007)),
        ("text that is none, before its frame is whole", ws(address, &bad_text[..9]), Closed(1007)),
        ("text that is cut off", ws(address, &frame(0x80 | TEXT, b"\xF0\x9F\x92")), Closed(1007)),
        ("half a frame", ws(address, &frame(0x80 | TEXT, ping)[..9]), Closed(1008)),
        ("a trickled frame", trickled, Got::End),
        ("a flood of pings", ws(address, &frame(0x80 | PING, b"x").repeat(2_000)), Closed(1008)),
        ("a flood of pongs", ws(address, &frame(0x80 | PONG, b"x").repeat(2_000)), Closed(1008)),
        ("a flood of empty messages", ws(address, &frame(0x80 | TEXT, b"").repeat(2_000)), Closed(1008)),
        (
            "a flood of subscriptions",
            ws(address, &frame(0x80 | TEXT, subscribe(&json!(SYMBOLS)).as_bytes()).repeat(1_000)),
            Closed(1008),
        ),
    ]
}

/// Threats by requests.
fn request_threats(address: SocketAddr) -> Cases {
    let unknown = |symbol: &str| format!("Currency pair not supported {symbol}");
    let cut = |text: &str| text.chars().take(32).collect::<String>();
    let malformed = |why: &str| format!("Malformed request: {why}");
    let many: Vec<String> = (0..1_001).map(|n| format!("A{n}/B")).collect();
    let keys: String = (0..65).map(|n| format!(r#","k{n}":0"#)).collect();
    let long = "evil".repeat(500);
    let cases = [
        (
            "a thousand and one symbols",
            subscribe(&json!(many)),
            malformed("params.symbol has 1001 symbols, at most 1000 are taken in one request"),
        ),
        ("no symbols", subscribe(&json!([])), malformed("params.symbol is empty, name at least one symbol")),
        ("the same symbol twice", subscribe(&json!(["BTC/USD", "BTC/USD"])), "Already subscribed".to_owned()),
        ("an unknown symbol", subscribe(&json!(["NO/SUCH"])), unknown("NO/SUCH")),
        ("a wildcard", subscribe(&json!(["*"])), unknown("*")),
        ("a pattern", subscribe(&json!(["BTC/>"])), unknown("BTC/>")),
        ("lower case", subscribe(&json!(["btc/usd"])), unknown("btc/usd")),
        ("Unicode that looks alike", subscribe(&json!(["ВТС/USD"])), unknown("ВТС/USD")),
        ("a NUL", subscribe(&json!(["BTC/USD\0"])), unknown("BTC/USD\0")),
        ("a line break", subscribe(&json!(["BTC/USD\r\nX"])), unknown("BTC/USD\r\nX")),
        ("a long symbol", subscribe(&json!([long])), unknown(&cut(&long))),
        (
            "deep nesting",
            format!(r#"{{"method":"ping","x":{}{}}}"#, "[".repeat(30_000), "]".repeat(30_000)),
            malformed("objects and arrays are nested deeper than 16"),
        ),
        (
            "many keys",
            format!(r#"{{"method":"ping"{keys}}}"#),
            malformed("an object has 66 keys, at most 64 are taken"),
        ),
        (
            "the same key twice",
            r#"{"method":"ping","req_id":1,"req_id":2}"#.to_owned(),
            malformed("an object has the same key twice"),
        ),
        (
            "a huge number",
            format!(r#"{{"method":"ping","x":{}}}"#, "9".repeat(10_000)),
            malformed("a number has more than 20 digits"),
        ),
        (
            "an id to be repeated",
            format!(r#"{{"method":"ping","req_id":"{long}"}}"#),
            malformed("req_id must be an integer of 64 bits"),
        ),
        ("a method to be repeated", format!(r#"{{"method":"{long}"}}"#), "Method(s) not found".to_owned()),
        ("no JSON", "GET / HTTP/1.1".to_owned(), "Malformed request".to_owned()),
    ];
    cases
        .into_iter()
        .map(|(threat, request, error)| (threat, ask(address, &request), Got::Error(error)))
        .collect()
}

/// Threats by what says who a client is.
fn credential_threats(address: SocketAddr) -> Cases {
    let claims = json!({ "sub": "evil", "exp": now_s() + 600, "iss": "desk", "aud": "gateway" }).to_string();
    let encoded = base64url(claims.as_bytes());
    let none = |algorithm: &str| {
        format!("{}.{encoded}.", base64url(json!({ "alg": algorithm }).to_string().as_bytes()))
    };
    let tokens = [
        ("a forged token", signed(r#"{"alg":"HS256"}"#, &claims, &[7; 32])),
        ("a token without a signature", none("HS256")),
        ("a token that wants none", none("none")),
        ("a token of another algorithm", signed(r#"{"alg":"RS256"}"#, &claims, SECRET)),
        ("an expired token", token(json!({ "exp": now_s() - 1 }))),
        ("an early token", token(json!({ "nbf": now_s() + 600 }))),
        ("an oversized token", token(json!({ "pad": "x".repeat(4_096) }))),
        ("a key of nobody", "mdk_evil".to_owned()),
        ("no token at all", String::new()),
    ];
    let mut cases = Cases::new();
    for (threat, token) in &tokens {
        cases.push((*threat, http(address, &upgrade(GET_V2, &bearer(token))), Got::Status(401)));
        let login = json!({ "method": "login", "params": { "token": token } }).to_string();
        cases.push((*threat, ws(address, &frame(0x80 | TEXT, login.as_bytes())), Got::Closed(1008)));
    }
    let as_one = |grant: Value, params: Value| {
        let socket = Socket::connect_saying(address, "/v2?ext=1", &bearer(&token(grant)));
        ask_over(socket, &json!({ "method": "subscribe", "params": params }).to_string())
    };
    let trades = json!({ "channel": "trade", "symbol": ["BTC/USD"] });
    let resumed = json!({ "channel": "trade", "symbol": ["BTC/USD"], "resume": { "epoch": 1, "seq": 1 } });
    let denied = |what: &str| Got::Error(format!("Permission denied: {what}"));
    cases.extend([
        (
            "a symbol that is not granted",
            as_one(json!({ "symbols": ["ETH/*"] }), trades.clone()),
            denied("symbol"),
        ),
        (
            "a stream that was granted once",
            as_one(json!({ "symbols": ["ETH/*"] }), resumed),
            denied("symbol"),
        ),
        (
            "a channel that is not granted",
            as_one(json!({ "channels": ["book"] }), trades),
            denied("channel trade"),
        ),
        (
            "more levels than are granted",
            as_one(
                json!({ "depth_max": 10 }),
                json!({ "channel": "book", "symbol": ["BTC/USD"], "depth": 25 }),
            ),
            denied("depth above 10"),
        ),
    ]);
    cases
}

/// Threats by what comes in the place of a handshake, straight to the listener that speaks TLS.
fn handshake_threats(address: SocketAddr, client: &Arc<ClientConfig>) -> Cases {
    // Versions 1.0 and 1.1 of TLS, each with a suite of that time.
    let hello = |version: u8| {
        let body = [&[3, version][..], &[7; 32], &[0, 0, 2, 0, 0x2F, 1, 0]].concat();
        let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
        [&[0x16, 3, 1, 0, message.len() as u8][..], &message].concat()
    };
    let mut begun = Vec::new();
    let name = ServerName::try_from("localhost").expect("a name");
    let mut connection = ClientConnection::new(Arc::clone(client), name).expect("a name that fits");
    connection.write_tls(&mut begun).expect("room for it");
    // Whoever is answered with a part of a handshake was heard; an alert is no more than a word of why not.
    let ended = |octets: &[u8]| match until_end(address, octets).first() {
        None | Some(0x15) => Got::End,
        Some(_) => Got::Served,
    };
    let http = b"GET /v2 HTTP/1.1\r\nHost: evil\r\n\r\n";
    vec![
        ("a silent handshake", ended(b""), Got::End),
        ("half a record", ended(&begun[..begun.len() / 2]), Got::End),
        ("HTTP where TLS is spoken", ended(http), Got::End),
        ("garbage where TLS is spoken", ended(&[0xFF; 600]), Got::End),
        ("TLS 1.0", ended(&hello(1)), Got::End),
        ("TLS 1.1", ended(&hello(2)), Got::End),
        // It ends all the same.
        ("an abandoned handshake", ended(&begun), Got::Served),
    ]
}

/// Threats by connections as a whole. `door` is where the stranger from the n-th address goes, `listener` the listener behind it.
fn connection_threats(door: &dyn Fn(u8) -> SocketAddr, listener: SocketAddr) -> Cases {
    let served = |n: u8| {
        let mut socket = Socket::connect_from(n, door(n), "/v2");
        socket.send_text(&subscribe(&json!(["BTC/USD"])));
        assert_eq!(answer(&mut socket)["success"], true);
        Got::Served
    };
    // So many clients of one address as it may have, then one more.
    let crowd: Vec<Socket> = (0..100).map(|_| Socket::connect_from(4, door(4), "/v2")).collect();
    let mut one_more = dial(4, door(4));
    one_more.write_all(&upgrade(GET_V2, "")).expect("it takes that");
    let too_many = read_status(&mut one_more);
    let others = served(5);
    drop(crowd);
    // Two hundred that come and go without a word, then one that asks.
    for n in 0..200 {
        let stream = dial(6, listener);
        if n % 2 == 0 {
            // Goes with a reset.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it may be");
        }
    }
    let after_storm = served(7);
    // Wants nothing.
    let idle = Socket::connect_from(8, door(8), "/v2").closing().0;
    // Ends its half and waits.
    let mut half_closed = Socket::connect_from(9, door(9), "/v2");
    half_closed.end();
    let deadline = Instant::now() + support::PATIENCE;
    let end = loop {
        match half_closed.read(deadline) {
            Incoming::Frame(_) => {}
            Incoming::End => break Got::End,
            Incoming::Nothing => break Got::Served,
        }
    };
    vec![
        ("a hundred and one clients of an address", too_many, Got::Status(429)),
        ("clients of another address meanwhile", others, Got::Served),
        ("a storm of connections", after_storm, Got::Served),
        ("a client that wants nothing", Got::Closed(idle), Got::Closed(1008)),
        ("a client that has ended its half", end, Got::End),
    ]
}

/// Threats by who does not read, and by who reads too much of what is for operators.
fn reading_threats(gateway: &Gateway) -> Cases {
    let stalled = || gateway.samples().of("gateway_connections_closed_total", "code", "slow_consumer");
    // Takes nothing of the much that it asked for.
    let before = stalled();
    let mut deaf = Socket::connect_narrow(gateway.public, "/v2");
    let params = json!({ "channel": "book", "symbol": SYMBOLS, "depth": 1000 });
    deaf.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    gateway.wait_samples("the end of who takes nothing", |_| stalled() > before);
    let scrapes: Vec<_> = (0..200)
        .map(|_| {
            let mut stream = dial(10, gateway.admin);
            stream
                .write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                .expect("it takes that");
            stream
        })
        .collect();
    let statuses: Vec<Got> = scrapes.into_iter().map(|mut stream| read_status(&mut stream)).collect();
    let is_fine = |status: &Got| [Got::Status(200), Got::Status(503)].contains(status);
    let scraped = statuses.iter().find(|status| !is_fine(status)).cloned().unwrap_or(Got::Served);
    vec![
        // The count said so; its close frame lies behind what it does not read.
        ("a client that takes nothing", Got::Closed(4008), Got::Closed(4008)),
        ("a flood of scrapes", scraped, Got::Served),
    ]
}

/// A gateway with both listeners, the feed that it is on, and what it was given.
struct Stage {
    feed: ServerHandle,
    gateway: Gateway,
    credentials: Credentials,
    _files: Files,
}

impl Stage {
    fn set() -> Self {
        let simulator = SimulatorConfig {
            symbols: MARKET,
            rate: RATE,
            arrivals: Arrivals::Poisson,
            depth: 50,
            zipf: 0.0,
            ..SimulatorConfig::default()
        };
        let free = SocketAddr::from(([127, 0, 0, 1], 0));
        let source = SourceConfig::Simulator(simulator);
        let feed = Server::start_with(free, &source, ServerConfig::default()).expect("the simulator starts");
        let (files, credentials) = (Files::new(), Credentials::make());
        let mut config = files.settings(settings_of(feed.local_addr()));
        shorten(&mut config);
        config.public.send_buffer_bytes = 8 << 10;
        credentials.put_into(&mut config);
        let gateway = Gateway::start(config);
        gateway.wait_ready(MARKET);
        Self { feed, gateway, credentials, _files: files }
    }

    fn tls(&self) -> SocketAddr {
        self.gateway.tls.expect("it is switched on")
    }

    /// A way through TLS that comes from the n-th address.
    fn tunnel(&self, n: u8) -> Tunnel {
        Tunnel::open_from(n, self.tls(), self.credentials.client(rustls::ALL_VERSIONS))
    }

    /// Lets the market stand still and compares what everybody has with what the venue has.
    fn prove(&self, good: Multitude, canaries: &mut [Client]) -> u64 {
        self.feed.set_rate(0.0);
        let truths = truths(self.feed.local_addr(), MARKET);
        self.gateway.wait_settled();
        for canary in canaries {
            canary.wait("the venue's books", |view| {
                SYMBOLS.iter().all(|&symbol| view.books[symbol].book == truths[symbol].book.top(10))
            });
            assert_eq!((canary.closed, canary.view.missing_trades()), (None, 0));
        }
        good.prove(&truths)
    }
}

fn shorten(config: &mut Config) {
    config.inbound.handshake_ms = SHORT_MS;
    config.inbound.message_ms = SHORT_MS;
    config.inbound.idle_ms = 3 * SHORT_MS;
    config.limits.stall_ms = 2 * SHORT_MS;
    config.limits.heartbeat_ms = SHORT_MS;
}

#[test]
fn every_threat_gets_its_answer_and_a_thousand_good_clients_lose_nothing() {
    let stage = Stage::set();
    let tunnel = stage.tunnel(1);
    let (plain, tls) = (stage.gateway.public, tunnel.address);
    let ways = [(plain, "/v2"), (plain, "/v2?ext=1"), (tls, "/v2?ext=1")];
    let mut canaries = ways.map(|(address, path)| Client::connect(address, path));
    canaries.iter_mut().for_each(|client| client.follow(&SYMBOLS, 10));
    let guide = &canaries[0].view;
    let slow = guide.precisions.keys().filter(|symbol| !SYMBOLS.contains(&symbol.as_str()));
    let slow: Vec<String> = slow.cloned().collect();
    let ways = [(plain, "/v2"), (plain, "/v2"), (plain, "/v2?ext=1"), (tls, "/v2")];
    let good = Multitude::gather(GOOD, &ways, &slow, guide);
    let strangers: Vec<Tunnel> = (0..10).map(|n| stage.tunnel(n.max(1))).collect();
    let client = stage.credentials.client(rustls::ALL_VERSIONS);
    let kinds: [(&str, &dyn Fn() -> Cases); 12] = [
        ("requests over HTTP", &|| http_threats(plain)),
        ("requests over HTTPS", &|| http_threats(tls)),
        ("handshakes", &|| handshake_threats(stage.tls(), &client)),
        ("frames", &|| frame_threats(plain)),
        ("frames over TLS", &|| frame_threats(tls)),
        ("requests of the protocol", &|| request_threats(plain)),
        ("requests of the protocol over TLS", &|| request_threats(tls)),
        ("credentials", &|| credential_threats(plain)),
        ("credentials over TLS", &|| credential_threats(tls)),
        ("connections", &|| connection_threats(&|_| plain, plain)),
        ("connections over TLS", &|| connection_threats(&|n| strangers[usize::from(n)].address, stage.tls())),
        ("readers", &|| reading_threats(&stage.gateway)),
    ];
    let mut wrong = Vec::new();
    for (kind, try_them) in kinds {
        let (start, counts) = (Instant::now(), good.counts());
        let cases = try_them();
        println!("{} {kind} in {:?}", cases.len(), start.elapsed());
        wrong.extend(cases.into_iter().filter(|(_, got, expected)| got != expected));
        canaries.iter_mut().for_each(check_good);
        good.wait_moved(&counts);
    }
    assert!(wrong.is_empty(), "threat, got, expected: {wrong:#?}");
    let all = (GOOD + canaries.len()) as u64;
    stage.gateway.wait_samples("all strangers to be gone", |samples| {
        samples.one("gateway_connections") == all && samples.one("gateway_handshakes") == 0
    });
    let messages = stage.prove(good, &mut canaries);
    println!("{messages} messages to {GOOD} good clients");
    stage.gateway.samples().check_conserved();
    assert_eq!(stage.gateway.samples().one("gateway_connections_refused_total{reason=\"full\"}"), 0);
}

/// The client goes on, and has missed nothing: its view has checked every message.
fn check_good(client: &mut Client) {
    client.drain();
    let updates = client.view.updates;
    client.wait("the market to go on", |view| view.updates > updates);
    assert_eq!((client.closed, client.view.missing_trades()), (None, 0));
}
