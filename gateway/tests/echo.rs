//! The echo for conformance tests: off unless configured, the same framing with limits of its own, and few at a time.
//!
//! The conformance itself is for `autobahn.sh`.

mod support;

use std::io::Write;
use std::net::TcpStream;

use support::gateway::{Gateway, settings};
use support::http::{get, read_one};
use support::scene::Scene;
use support::socket::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, Socket, TEXT, frame, unmasked_frame};

#[test]
fn without_the_setting_there_is_no_echo() {
    let gateway = Gateway::start(settings());
    assert_eq!(get(gateway.public, "/echo").status, 404);
}

#[test]
fn messages_far_beyond_those_of_clients_come_back_while_others_are_served() {
    let mut config = settings();
    config.echo.enabled = true;
    let mut scene = Scene::start(config);
    let mut socket = Socket::connect(scene.gateway.public, "/echo");
    socket.send(PING, b"are you there");
    assert_eq!(socket.frame(), Frame { opcode: PONG, payload: b"are you there".to_vec() });
    let large = vec![b'x'; 1 << 20];
    socket.send(BINARY, &large);
    assert!(socket.frame() == Frame { opcode: BINARY, payload: large }, "a mebibyte");
    let mut pieces = frame(TEXT, b"");
    pieces.extend((0..1_000).flat_map(|_| frame(CONTINUATION, b"ab")));
    pieces.extend(frame(0x80 | CONTINUATION, "ä".as_bytes()));
    socket.send_raw(&pieces);
    assert_eq!(socket.frame(), Frame { opcode: TEXT, payload: ("ab".repeat(1_000) + "ä").into_bytes() });
    socket.send(CLOSE, b"\x0F\xA1bye");
    assert_eq!(socket.closing(), (4001, String::new()));
    scene.check_canary();
}

#[test]
fn rules_are_those_of_clients_and_limits_those_of_the_settings() {
    let mut config = settings();
    config.echo.enabled = true;
    config.echo.message_bytes_max = 2_000;
    config.echo.fragments_max = 3;
    let gateway = Gateway::start(config);
    let pieces = [frame(TEXT, b"a"), frame(CONTINUATION, b"b").repeat(3)].concat();
    for (what, octets, code) in [
        ("not masked", unmasked_frame(0x80 | TEXT, b"a"), 1002),
        ("too big", frame(0x80 | TEXT, &[b'a'; 2_001]), 1009),
        ("too many pieces", pieces, 1008),
        ("bad from its second octet on", frame(TEXT, b"\xC3\x28")[..8].to_vec(), 1007),
    ] {
        let mut socket = Socket::connect(gateway.public, "/echo");
        socket.send_raw(&octets);
        assert_eq!(socket.closing().0, code, "{what}");
    }
}

#[test]
fn there_are_few_echoes_at_a_time() {
    let mut config = settings();
    config.echo.enabled = true;
    config.echo.connections_max = 1;
    let gateway = Gateway::start(config);
    let only = Socket::connect(gateway.public, "/echo");
    let status = || {
        let mut stream = TcpStream::connect(gateway.public).unwrap();
        let request = "GET /echo HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
        stream.write_all(request.as_bytes()).unwrap();
        read_one(&mut stream).status
    };
    assert_eq!(status(), 503);
    drop(only);
    support::wait_for("the place to be given back", || (status() == 101).then_some(()));
}
