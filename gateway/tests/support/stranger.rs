//! What a stranger does and what it gets for it: octets before the upgrade, frames, requests, and the answer in one word.
//!
//! Strangers come from another address of this machine than the good clients of a test, whose address has no limits of its own. The
//! word `evil` is in much of what they send and must not come back.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::PATIENCE;
use super::socket::{Socket, dial};

/// What a stranger got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Got {
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
pub type Cases = Vec<(&'static str, Got, Got)>;

/// Sends octets as they are and waits for what comes of it; the word `evil` must not come back.
pub fn http(address: SocketAddr, octets: &[u8]) -> Got {
    let mut stream = dial(2, address);
    // A server that has seen enough may end the connection before it has everything.
    let _ = stream.write_all(octets);
    read_status(&mut stream)
}

pub fn read_status(stream: &mut TcpStream) -> Got {
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
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
pub fn upgrade(first: &str, further: &str) -> Vec<u8> {
    format!(
        "{first}\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{further}\r\n"
    )
    .into_bytes()
}

pub const GET_V2: &str = "GET /v2 HTTP/1.1";

/// Sends octets over an upgraded connection and waits for what comes of it.
pub fn ws(address: SocketAddr, octets: &[u8]) -> Got {
    let mut socket = Socket::connect_from(2, address, "/v2");
    socket.send_raw(octets);
    Got::Closed(socket.closing().0)
}

/// Sends a request; if it is answered with an error the connection has to be as good as before.
pub fn ask(address: SocketAddr, request: &str) -> Got {
    ask_over(Socket::connect_from(2, address, "/v2"), request)
}

/// The same over a connection that there is.
pub fn ask_over(mut socket: Socket, request: &str) -> Got {
    socket.send_text(request);
    let answer = answer(&mut socket);
    let Some(error) = answer["error"].as_str() else { panic!("no error: {answer}") };
    assert_eq!(answer["success"], false);
    socket.send_text(r#"{"method":"ping","req_id":7}"#);
    while answer_of(&mut socket) != json!(7) {}
    Got::Error(error.to_owned())
}

pub fn answer(socket: &mut Socket) -> Value {
    loop {
        let message: Value = serde_json::from_str(socket.frame().text()).expect("JSON");
        if message["channel"].is_null() {
            return message;
        }
    }
}

pub fn answer_of(socket: &mut Socket) -> Value {
    answer(socket)["req_id"].take()
}

pub fn subscribe(symbols: &Value) -> String {
    json!({ "method": "subscribe", "params": { "channel": "book", "symbol": symbols } }).to_string()
}

/// Sends the parts of something one after the other, slowly, until the connection ends.
pub fn trickle(stream: &mut TcpStream, octets: impl Iterator<Item = u8>) -> bool {
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
        assert!(start.elapsed() < PATIENCE, "it is waited for without end");
    }
    false
}
