//! The listener with TLS: the same as the plain one, certificates that are renewed while it runs, and what strangers try there.

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gateway::config::Config;
use rustls::pki_types::ServerName;
use rustls::version::{TLS12, TLS13};
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::json;
use support::client::Client;
use support::gateway::{Gateway, settings};
use support::http::{Samples, get};
use support::running::{PORTS, Running, gateway};
use support::socket::{PING, Socket, TEXT, frame, unmasked_frame, until_end};
use support::tunnel::{Credentials, Tunnel};

const SYMBOLS: [&str; 4] = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];

const UPGRADE: &str = "GET /v2 HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";

fn settings_with(credentials: &Credentials) -> Config {
    let mut config = settings();
    credentials.put_into(&mut config);
    config
}

/// A gateway with both listeners, and the address of the one with TLS.
fn start(set: impl FnOnce(&mut Config)) -> (Credentials, Gateway, SocketAddr) {
    let credentials = Credentials::make();
    let mut config = settings_with(&credentials);
    set(&mut config);
    let gateway = Gateway::start_ready(config);
    let address = gateway.tls.expect("it is switched on");
    (credentials, gateway, address)
}

/// The client goes on, and has missed nothing: its view has checked every message.
fn check_good(client: &mut Client) {
    client.drain();
    let updates = client.view.updates;
    client.wait("the market to go on", |view| view.updates > updates + 20);
    assert_eq!((client.closed, client.view.missing_trades()), (None, 0));
}

/// A connection over TLS by hand.
fn connect(address: SocketAddr, client: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").expect("a name");
    let stream = TcpStream::connect(address).expect("the gateway listens");
    stream.set_read_timeout(Some(support::PATIENCE)).expect("a time-out");
    StreamOwned::new(ClientConnection::new(client, name).expect("a name that fits"), stream)
}

/// Whether a handshake with what the client trusts succeeds.
fn shakes_hands(address: SocketAddr, client: Arc<ClientConfig>) -> bool {
    let mut stream = connect(address, client);
    stream.conn.complete_io(&mut stream.sock).is_ok()
}

#[test]
fn clients_over_both_versions_get_what_plain_ones_get() {
    let (credentials, gateway, address) = start(|_| {});
    let tunnels = [&TLS12, &TLS13].map(|version| Tunnel::open(address, credentials.client(&[version])));
    let mut plain = gateway.client();
    plain.follow(&SYMBOLS, 1000);
    let mut secure = tunnels.each_ref().map(|tunnel| Client::connect(tunnel.address, "/v2?ext=1"));
    secure.iter_mut().for_each(|client| client.follow(&SYMBOLS, 1000));
    for client in secure.iter_mut().chain([&mut plain]) {
        check_good(client);
    }
    assert!(get(tunnels[0].address, "/").body.contains("<html"));
    // A ping sent with the upgrade, and one afterwards.
    let mut socket = Socket::connect_with(tunnels[1].address, "/v2", &frame(0x80 | PING, b"early"));
    socket.send(PING, b"late");
    let pongs: Vec<Vec<u8>> =
        (0..3).map(|_| socket.frame()).filter(|f| f.opcode == 0xA).map(|f| f.payload).collect();
    assert_eq!(pongs, [b"early".to_vec(), b"late".to_vec()]);
    socket.send(0x8, b"\x03\xE8");
    assert_eq!(socket.closing(), (1000, String::new()));
    gateway.samples().check_conserved();
}

#[test]
fn requests_of_any_size_and_cut_are_read() {
    let (credentials, gateway, address) = start(|config| config.echo.enabled = true);
    let tunnel = Tunnel::open(address, credentials.client(rustls::ALL_VERSIONS));
    let mut echo = Socket::connect(tunnel.address, "/echo");
    let large = vec![b'x'; 3 << 20];
    echo.send(0x2, &large);
    assert!(echo.frame().payload == large, "three mebibytes over many records");
    let mut socket = Socket::connect(tunnel.address, "/v2");
    socket.frame();
    let padded = format!("{}{}", r#"{"method":"ping","req_id":5}"#, " ".repeat(60_000));
    socket.send_text(&padded);
    assert!(socket.frame().text().contains(r#""req_id":5"#));
    for octet in frame(0x80 | TEXT, br#"{"method":"ping","req_id":6}"#) {
        socket.send_raw(&[octet]);
    }
    assert!(socket.frame().text().contains(r#""req_id":6"#));
    drop(gateway);
}

#[test]
fn what_breaks_the_rules_is_closed_as_over_plain_connections() {
    let (credentials, gateway, address) = start(|config| config.inbound.message_ms = 500);
    let tunnel = Tunnel::open(address, credentials.client(rustls::ALL_VERSIONS));
    let mut canary = Client::connect(tunnel.address, "/v2");
    canary.follow(&SYMBOLS, 10);
    let ping = br#"{"method":"ping"}"#;
    for (what, octets, code) in [
        ("not masked", unmasked_frame(0x80 | TEXT, ping), 1002),
        ("a reserved bit", frame(0xC0 | TEXT, ping), 1002),
        ("too big", frame(0x80 | TEXT, &vec![b' '; 70 << 10]), 1009),
        ("no UTF-8", frame(0x80 | TEXT, b"\xFF"), 1007),
        ("half a frame", frame(0x80 | TEXT, ping)[..9].to_vec(), 1008),
        ("a flood", frame(0x80 | PING, b"x").repeat(2_000), 1008),
    ] {
        let mut socket = Socket::connect(tunnel.address, "/v2");
        socket.send_raw(&octets);
        assert_eq!(socket.closing().0, code, "{what}");
    }
    check_good(&mut canary);
    gateway.wait_samples("all others to be gone", |samples| samples.one("gateway_connections") == 1);
}

#[test]
fn handshakes_that_fail_or_do_not_come_end_and_nobody_waits_for_them() {
    let (credentials, gateway, address) = start(|config| config.inbound.handshake_ms = 500);
    let tunnel = Tunnel::open(address, credentials.client(rustls::ALL_VERSIONS));
    let mut canary = Client::connect(tunnel.address, "/v2");
    canary.follow(&SYMBOLS, 10);
    // Versions 1.0 and 1.1 of TLS, each with a suite of that time.
    let hello = |version: u8| {
        let body = [&[3, version][..], &[7; 32], &[0, 0, 2, 0, 0x2F, 1, 0]].concat();
        let message = [&[1, 0, 0, body.len() as u8][..], &body].concat();
        [&[0x16, 3, 1, 0, message.len() as u8][..], &message].concat()
    };
    for (what, octets) in [
        ("nothing", Vec::new()),
        ("half a record", vec![0x16, 3, 1, 0]),
        ("HTTP", b"GET /v2 HTTP/1.1\r\nHost: gateway\r\n\r\n".to_vec()),
        ("garbage", vec![0xFF; 600]),
        ("TLS 1.0", hello(1)),
        ("TLS 1.1", hello(2)),
    ] {
        let got = until_end(address, &octets);
        // At most an alert: a record of seven octets.
        assert!(got.is_empty() || (got[0] == 0x15 && got.len() == 7), "{what}: {got:02x?}");
    }
    assert_eq!(gateway.samples().of("gateway_connections_refused_total", "reason", "tls"), 6);
    check_good(&mut canary);
    gateway.wait_samples("nobody to wait", |samples| samples.one("gateway_handshakes") == 0);
}

#[test]
fn who_reads_nothing_over_tls_is_closed_and_others_notice_nothing() {
    let (credentials, gateway, address) = start(|config| {
        config.limits.stall_ms = 1_500;
        config.public.send_buffer_bytes = 8 << 10;
    });
    let tunnel = Tunnel::open(address, credentials.client(rustls::ALL_VERSIONS));
    let mut canary = Client::connect(tunnel.address, "/v2");
    canary.follow(&SYMBOLS, 10);
    // By hand, because a tunnel would read on.
    let mut deaf = connect(address, credentials.client(&[&TLS13]));
    socket2::SockRef::from(&deaf.sock).set_recv_buffer_size(4_096).unwrap();
    let params = json!({ "channel": "book", "symbol": SYMBOLS, "depth": 1000 });
    let subscribe = json!({ "method": "subscribe", "params": params }).to_string();
    deaf.write_all(UPGRADE.as_bytes()).expect("it takes that");
    deaf.write_all(&frame(0x80 | TEXT, subscribe.as_bytes())).expect("it takes that");
    gateway.wait_samples("the end of its patience", |samples| {
        samples.of("gateway_connections_closed_total", "code", "slow_consumer") == 1
    });
    // The rest of what it was given is whole, and then comes the end.
    let mut rest = Vec::new();
    let start = Instant::now();
    let _ = deaf.read_to_end(&mut rest);
    assert!(start.elapsed() < Duration::from_secs(20) && rest.starts_with(b"HTTP/1.1 101"));
    check_good(&mut canary);
    gateway.wait_samples("it to be forgotten", |samples| samples.one("gateway_connections") == 1);
    gateway.samples().check_conserved();
}

#[test]
fn a_renewed_certificate_is_taken_and_a_bad_one_is_not() {
    let (mut credentials, gateway, address) = start(|_| {});
    let old = credentials.client(rustls::ALL_VERSIONS);
    let tunnel = Tunnel::open(address, Arc::clone(&old));
    let mut canary = Client::connect(tunnel.address, "/v2");
    canary.follow(&SYMBOLS, 10);
    credentials.renew();
    let new = credentials.client(rustls::ALL_VERSIONS);
    support::wait_for("the new certificate", || shakes_hands(address, Arc::clone(&new)).then_some(()));
    assert!(!shakes_hands(address, Arc::clone(&old)));
    let reloads = |result: &str| gateway.samples().of("gateway_tls_reloads_total", "result", result);
    support::wait_for("it to be counted", || (reloads("renewed") >= 1).then_some(()));
    fs::write(credentials.certificate_path(), "no certificate").unwrap();
    support::wait_for("the bad one to be refused", || (reloads("refused") >= 1).then_some(()));
    let unusable = || gateway.samples().of("gateway_files_unusable", "files", "certificate");
    support::wait_for("it to be seen", || (unusable() == 1).then_some(()));
    assert!(shakes_hands(address, new));
    // Also without a change, when it is asked to.
    let before = reloads("refused");
    gateway.reload();
    assert_eq!(reloads("refused"), before + 1);
    credentials.renew();
    support::wait_for("a good one to be taken", || (unusable() == 0).then_some(()));
    check_good(&mut canary);
}

#[test]
fn sighup_has_the_files_read_again_and_bad_files_are_said_at_the_start() {
    let credentials = Credentials::make();
    let mut command = gateway(&PORTS);
    command.env("GATEWAY_TLS_LISTEN", "127.0.0.1:0");
    command.env("GATEWAY_TLS_CERTIFICATE", credentials.certificate_path());
    command.env("GATEWAY_TLS_KEY", credentials.key_path());
    let mut running = Running::over(command);
    running.signal("HUP");
    let renewed = || {
        let page = get(running.admin, "/metrics").body;
        page.contains("gateway_tls_reloads_total{result=\"renewed\"} 1").then_some(())
    };
    support::wait_for("the files to be read again", renewed);
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
    assert!(running.said().0.contains("wss://127.0.0.1:"));

    let mut command = gateway(&PORTS);
    command.env("GATEWAY_TLS_CERTIFICATE", credentials.key_path());
    command.env("GATEWAY_TLS_KEY", credentials.key_path());
    let output = command.output().expect("it ends");
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && words.contains("key.pem: no certificate in it"), "{words}");
}

/// What an idle connection costs with TLS, most of which is rustls' own state and buffers; the gateway is a process of its own here.
#[test]
fn an_idle_connection_over_tls_is_small() {
    const CONNECTIONS: u64 = 400;
    let credentials = Credentials::make();
    let mut command = gateway(&PORTS);
    command.env("GATEWAY_TLS_LISTEN", "127.0.0.1:0");
    command.env("GATEWAY_TLS_CERTIFICATE", credentials.certificate_path());
    command.env("GATEWAY_TLS_KEY", credentials.key_path());
    // The simulated market would fill its rings meanwhile.
    command.env("GATEWAY_FEED_SIM_SYMBOLS", "1").env("GATEWAY_FEED_SIM_RATE", "1");
    let mut running = Running::over(command);
    let resident = |running: &Running| {
        Samples::parse(&get(running.admin, "/metrics").body).one("process_resident_memory_bytes")
    };
    let client = credentials.client(&[&TLS13]);
    let address = running.tls();
    let open =
        |count: u64| -> Vec<_> { (0..count).map(|_| upgraded(address, Arc::clone(&client))).collect() };
    // The first ones fill what all have in common.
    let first = open(50);
    let before = resident(&running);
    let others = open(CONNECTIONS);
    let each = resident(&running).saturating_sub(before) / CONNECTIONS;
    println!("{each} bytes each over {CONNECTIONS} connections");
    assert!(each < 24 << 10, "{each} bytes each");
    drop((first, others));
    running.signal("TERM");
    assert_eq!(running.wait().code(), Some(0));
}

/// An upgraded connection over TLS that has read the status.
fn upgraded(address: SocketAddr, client: Arc<ClientConfig>) -> StreamOwned<ClientConnection, TcpStream> {
    let mut stream = connect(address, client);
    stream.write_all(UPGRADE.as_bytes()).expect("it takes that");
    let mut got = Vec::new();
    let mut bytes = [0; 1_024];
    while !got.windows(8).any(|eight| eight == b"\"status\"") {
        let len = stream.read(&mut bytes).expect("it answers");
        assert!(len > 0, "it ends");
        got.extend_from_slice(&bytes[..len]);
    }
    stream
}
