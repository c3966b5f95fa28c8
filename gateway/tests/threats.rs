//! What strangers try, threat by threat, plain and over TLS: each gets its stated answer, and clients beside it lose nothing.
//!
//! Strangers come from other addresses of this machine than the good clients, whose address has no limits of its own. Times are
//! shortened, everything else is as it is by default. What a process can suffer as a whole is in `process.rs`.

mod support;

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Gateway, settings};
use support::socket::{CLOSE, CONTINUATION, Incoming, PING, PONG, Socket, TEXT, dial, frame, unmasked_frame};
use support::tunnel::{Credentials, Tunnel};

const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

/// Good clients that follow everything meanwhile.
const GOOD: usize = 24;

/// Deadline of a head, of a message, and of a client that takes nothing.
const SHORT_MS: u64 = 700;

/// What a stranger got.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    /// An answer over HTTP, and nothing of what was sent repeated in it.
    Status(u16),
    /// The end of the connection without a word.
    End,
    /// A close frame.
    Closed(u16),
    /// An error answer, and a connection that is as good as before.
    Error(String),
    /// The connection stays and is served.
    Served,
}

/// Threats with what a stranger got and what it is to get.
type Cases = Vec<(&'static str, Got, Got)>;

/// Sends octets as they are and waits for what comes of it; the word `evil` must not come back.
fn http(address: SocketAddr, octets: &[u8]) -> Got {
    let mut stream = dial(2, address);
    // A server that has seen enough may end the connection before it has everything.
    let _ = stream.write_all(octets);
    read_status(&mut stream)
}

fn read_status(stream: &mut TcpStream) -> Got {
    stream.set_read_timeout(Some(support::PATIENCE)).expect("a time-out");
    let mut answer = Vec::new();
    let mut bytes = [0; 4_096];
    while !answer.windows(4).any(|four| four == b"\r\n\r\n") {
        match stream.read(&mut bytes) {
            Ok(0) => return Got::End,
            Ok(len) => answer.extend_from_slice(&bytes[..len]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Got::End,
            Err(error) => panic!("neither an answer nor an end: {error}"),
        }
    }
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(!answer.to_lowercase().contains("evil"), "{answer}");
    Got::Status(answer.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status line"))
}

/// An upgrade request in which nothing is wrong but for what the further headers say.
fn upgrade(first: &str, further: &str) -> Vec<u8> {
    format!(
        "{first}\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{further}\r\n"
    )
    .into_bytes()
}

const GET_V2: &str = "GET /v2 HTTP/1.1";

/// Sends octets over an upgraded connection and waits for what comes of it.
fn ws(address: SocketAddr, octets: &[u8]) -> Got {
    let mut socket = Socket::connect_from(2, address, "/v2");
    socket.send_raw(octets);
    Got::Closed(socket.closing().0)
}

/// Sends a request; if it is answered with an error the connection has to be as good as before.
fn ask(address: SocketAddr, request: &str) -> Got {
    let mut socket = Socket::connect_from(2, address, "/v2");
    socket.send_text(request);
    let answer = answer(&mut socket);
    let Some(error) = answer["error"].as_str() else { panic!("no error: {answer}") };
    assert_eq!(answer["success"], false);
    socket.send_text(r#"{"method":"ping","req_id":7}"#);
    while answer_of(&mut socket) != json!(7) {}
    Got::Error(error.to_owned())
}

fn answer(socket: &mut Socket) -> Value {
    loop {
        let message: Value = serde_json::from_str(socket.frame().text()).expect("JSON");
        if message["channel"].is_null() {
            return message;
        }
    }
}

fn answer_of(socket: &mut Socket) -> Value {
    answer(socket)["req_id"].take()
}

fn subscribe(symbols: &Value) -> String {
    json!({ "method": "subscribe", "params": { "channel": "book", "symbol": symbols } }).to_string()
}

/// Sends the parts of something one after the other, slowly, until the connection ends.
fn trickle(stream: &mut TcpStream, octets: impl Iterator<Item = u8>) -> bool {
    let start = Instant::now();
    stream.set_read_timeout(Some(Duration::from_millis(40))).expect("a time-out");
    let mut bytes = [0; 4_096];
    for octet in octets {
        if stream.write_all(&[octet]).is_err() {
            return true;
        }
        match stream.read(&mut bytes) {
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Ok(0) | Err(_) => return true,
            Ok(_) => {}
        }
        assert!(start.elapsed() < support::PATIENCE, "it is waited for without end");
    }
    false
}

/// Threats before the upgrade.
fn http_threats(address: SocketAddr) -> Cases {
    use Got::{End, Status};
    let huge = "x".repeat(300 << 10);
    // What the gateway has not read is answered by a reset, which may overtake its word.
    let too_big = |got: Got| if got == End { Status(431) } else { got };
    let many = (0..80).map(|n| format!("X-{n}: evil\r\n")).collect::<String>();
    let whole = |further: &str| http(address, &upgrade(GET_V2, further));
    let first = |first: &str| http(address, &upgrade(first, ""));
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

/// Threats by connections as a whole.
fn connection_threats(gateway: &Gateway) -> Cases {
    let served = |n: u8| {
        let mut socket = Socket::connect_from(n, gateway.public, "/v2");
        socket.send_text(&subscribe(&json!(["BTC/USD"])));
        assert_eq!(answer(&mut socket)["success"], true);
        Got::Served
    };
    // So many clients of one address as it may have, then one more.
    let crowd: Vec<Socket> = (0..100).map(|_| Socket::connect_from(4, gateway.public, "/v2")).collect();
    let mut one_more = dial(4, gateway.public);
    one_more.write_all(&upgrade(GET_V2, "")).expect("it takes that");
    let too_many = read_status(&mut one_more);
    let others = served(5);
    drop(crowd);
    // Two hundred that come and go without a word, then one that asks.
    for n in 0..200 {
        let stream = dial(6, gateway.public);
        if n % 2 == 0 {
            // Goes with a reset.
            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("it may be");
        }
    }
    let after_storm = served(7);
    // Takes nothing of the much that it asked for.
    let before = stalled(gateway);
    let mut deaf = Socket::connect_narrow(gateway.public, "/v2");
    let params = json!({ "channel": "book", "symbol": SYMBOLS, "depth": 1000 });
    deaf.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
    gateway.wait_samples("the end of who takes nothing", |_| stalled(gateway) > before);
    // Wants nothing.
    let mut idle = Socket::connect_from(8, gateway.public, "/v2");
    let idle = idle.closing().0;
    // Ends its half and waits.
    let mut half_closed = Socket::connect_from(9, gateway.public, "/v2");
    half_closed.end();
    let deadline = Instant::now() + support::PATIENCE;
    let end = loop {
        match half_closed.read(deadline) {
            Incoming::Frame(_) => {}
            other => break other,
        }
    };
    assert_eq!(end, Incoming::End);
    vec![
        ("a hundred and one clients of an address", too_many, Got::Status(429)),
        ("clients of another address meanwhile", others, Got::Served),
        ("a storm of connections", after_storm, Got::Served),
        ("a client that wants nothing", Got::Closed(idle), Got::Closed(1008)),
    ]
}

/// Clients closed with 4008.
fn stalled(gateway: &Gateway) -> u64 {
    gateway.samples().of("gateway_connections_closed_total", "code", "slow_consumer")
}

#[test]
fn every_threat_gets_its_answer_and_good_clients_lose_nothing() {
    let mut config = settings();
    config.inbound.handshake_ms = SHORT_MS;
    config.inbound.message_ms = SHORT_MS;
    config.inbound.idle_ms = 3 * SHORT_MS;
    config.limits.stall_ms = 2 * SHORT_MS;
    config.limits.heartbeat_ms = SHORT_MS;
    config.public.send_buffer_bytes = 8 << 10;
    let credentials = Credentials::make();
    config.tls.listen = SocketAddr::from(([127, 0, 0, 1], 0));
    (config.tls.certificate, config.tls.key) = (credentials.certificate_path(), credentials.key_path());
    let gateway = Gateway::start_ready(config);
    let mut good: Vec<Client> = (0..GOOD).map(|_| gateway.client()).collect();
    let tunnel =
        Tunnel::open(gateway.tls.expect("it is switched on"), credentials.client(rustls::ALL_VERSIONS));
    good.push(Client::connect(tunnel.address, "/v2"));
    good.iter_mut().for_each(|client| client.follow(&SYMBOLS, 10));
    let (plain, tls) = (gateway.public, tunnel.address);
    let kinds: [(&str, &dyn Fn() -> Cases); 7] = [
        ("requests over HTTP", &|| http_threats(plain)),
        ("requests over HTTPS", &|| http_threats(tls)),
        ("frames", &|| frame_threats(plain)),
        ("frames over TLS", &|| frame_threats(tls)),
        ("requests of the protocol", &|| request_threats(plain)),
        ("requests of the protocol over TLS", &|| request_threats(tls)),
        ("connections", &|| connection_threats(&gateway)),
    ];
    let mut wrong = Vec::new();
    for (kind, try_them) in kinds {
        let start = Instant::now();
        let cases = try_them();
        println!("{} {kind} in {:?}", cases.len(), start.elapsed());
        wrong.extend(cases.into_iter().filter(|(_, got, expected)| got != expected));
        for client in &mut good {
            check_good(client);
        }
    }
    assert!(wrong.is_empty(), "threat, got, expected: {wrong:#?}");
    gateway.wait_samples("all strangers to be gone", |samples| {
        samples.one("gateway_connections") == GOOD as u64 + 1 && samples.one("gateway_handshakes") == 0
    });
    gateway.samples().check_conserved();
    assert_eq!(gateway.samples().one("gateway_connections_refused_total{reason=\"full\"}"), 0);
}

/// The client goes on, and has missed nothing: its view has checked every message.
fn check_good(client: &mut Client) {
    client.drain();
    let updates = client.view.updates;
    client.wait("the market to go on", |view| view.updates > updates);
    assert_eq!((client.closed, client.view.missing_trades()), (None, 0));
}
