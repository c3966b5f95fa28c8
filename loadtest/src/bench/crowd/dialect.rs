//! What clients say to ask for symbols, and how messages lie in what they get: per protocol of the server.
//!
//! Owns the requests and the splitting of a stream into messages where the protocol above WebSocket does its own
//! framing. Never touches a socket. [`super::member`] sends the requests, [`super::meter`] counts the messages.

use crate::frame;
use std::ops::Range;

/// The protocol of a server above WebSocket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// The gateway's own: a JSON request, then one message per frame.
    Json,
    /// The same, but the address says the symbols.
    Nchan,
    /// The protocol of NATS: a stream of lines and payloads that frames cut anywhere.
    Nats,
    /// MQTT 3.1.1: a stream of packets that frames cut anywhere.
    Mqtt,
}

/// A server says that it refuses.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the server refuses: {0}")]
pub(crate) struct Refusal(pub(crate) String);

impl Dialect {
    /// Where the upgrade is asked for; the symbols are asked for only where they matter.
    pub(super) fn path<'a>(self, symbols: impl FnOnce() -> Vec<&'a str>) -> String {
        match self {
            Self::Json => "/v2".to_owned(),
            Self::Nchan => format!("/v2?id={}", symbols().join(",")),
            Self::Nats => "/".to_owned(),
            Self::Mqtt => "/mqtt".to_owned(),
        }
    }

    /// The WebSocket subprotocol that has to be asked for.
    pub(super) const fn subprotocol(self) -> Option<&'static str> {
        match self {
            Self::Json | Self::Nchan | Self::Nats => None,
            Self::Mqtt => Some("mqtt"),
        }
    }

    /// Appends the frames by which a client asks for symbols.
    pub(super) fn push_request(self, symbols: &[&str], out: &mut Vec<u8>) {
        match self {
            Self::Json => {
                // Snapshots are not wanted: they are the gateway's alone, and the bench compares updates.
                let request = serde_json::json!({
                    "method": "subscribe",
                    "params": {"channel": "book", "symbol": symbols, "snapshot": false},
                });
                frame::push_client(frame::TEXT, request.to_string().as_bytes(), out);
            }
            Self::Nchan => {}
            Self::Nats => {
                let mut text = "CONNECT {\"verbose\":false,\"pedantic\":false,\"lang\":\"bench\",\
                                \"version\":\"1\",\"protocol\":1}\r\n"
                    .to_owned();
                for (symbol, number) in symbols.iter().zip(1..) {
                    text += &format!("SUB {} {number}\r\n", symbol.replace('/', "."));
                }
                frame::push_client(frame::BINARY, text.as_bytes(), out);
            }
            Self::Mqtt => frame::push_client(frame::BINARY, &mqtt_request(symbols), out),
        }
    }
}

/// A connection request with a clean session and no keep-alive, and a subscription to each symbol with QoS 0.
fn mqtt_request(symbols: &[&str]) -> Vec<u8> {
    let mut out = b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0".to_vec();
    let mut body = vec![0, 1];
    for symbol in symbols {
        body.extend_from_slice(&(symbol.len() as u16).to_be_bytes());
        body.extend_from_slice(symbol.as_bytes());
        body.push(0);
    }
    out.push(0x82);
    let mut length = body.len();
    while length >= 128 {
        out.push(0x80 | length as u8);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(&body);
    out
}

/// Splits what the frames of one connection carry into messages.
#[derive(Debug)]
pub(super) struct Splitter {
    dialect: Dialect,
    /// Bytes that belong to a message that has not come whole.
    carry: Vec<u8>,
}

/// What lies at the start of a stream.
enum Piece {
    /// Of this length, and a message in it.
    Message(usize, Range<usize>),
    /// Of this length, and of no interest.
    Other(usize),
    /// Of this length, and to be answered by these bytes.
    Answered(usize, &'static [u8]),
    /// Not whole.
    Cut,
}

impl Splitter {
    /// For protocols with framing of their own; none for the others.
    pub(super) fn new(dialect: Dialect) -> Option<Self> {
        matches!(dialect, Dialect::Nats | Dialect::Mqtt).then(|| Self { dialect, carry: Vec::new() })
    }

    /// Takes the payload of a frame, gives each message to `handle`, and appends frames that answer the server.
    pub(super) fn split(
        &mut self,
        payload: &[u8],
        answers: &mut Vec<u8>,
        mut handle: impl FnMut(&[u8]),
    ) -> Result<(), Refusal> {
        self.carry.extend_from_slice(payload);
        let mut start = 0;
        loop {
            let rest = &self.carry[start..];
            start += match if self.dialect == Dialect::Nats { nats(rest)? } else { mqtt(rest)? } {
                Piece::Message(len, message) => {
                    handle(&rest[message]);
                    len
                }
                Piece::Other(len) => len,
                Piece::Answered(len, answer) => {
                    frame::push_client(frame::BINARY, answer, answers);
                    len
                }
                Piece::Cut => break,
            };
        }
        self.carry.drain(..start);
        Ok(())
    }
}

fn nats(bytes: &[u8]) -> Result<Piece, Refusal> {
    let Some(end) = memchr::memmem::find(bytes, b"\r\n") else { return Ok(Piece::Cut) };
    let (line, head) = (&bytes[..end], end + 2);
    if line.starts_with(b"MSG ") {
        let size = line.rsplit(|&byte| byte == b' ').next().and_then(number);
        let size = size.ok_or_else(|| Refusal(String::from_utf8_lossy(line).into_owned()))?;
        let whole = head + size + 2;
        return Ok(if bytes.len() < whole { Piece::Cut } else { Piece::Message(whole, head..head + size) });
    }
    match line {
        b"PING" => Ok(Piece::Answered(head, b"PONG\r\n")),
        line if line.starts_with(b"-ERR") => Err(Refusal(String::from_utf8_lossy(line).into_owned())),
        _ => Ok(Piece::Other(head)),
    }
}

fn number(digits: &[u8]) -> Option<usize> {
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn mqtt(bytes: &[u8]) -> Result<Piece, Refusal> {
    let Some((&kind, rest)) = bytes.split_first() else { return Ok(Piece::Cut) };
    let Some(length_bytes) = rest.iter().take(4).position(|byte| byte & 0x80 == 0).map(|at| at + 1) else {
        return Ok(Piece::Cut);
    };
    let digits = rest[..length_bytes].iter().rev();
    let length = digits.fold(0, |length, byte| length << 7 | usize::from(byte & 0x7F));
    let head = 1 + length_bytes;
    let Some(body) = bytes.get(head..head + length) else { return Ok(Piece::Cut) };
    match (kind >> 4, body) {
        (3, &[high, low, ..]) => {
            let topic_bytes = usize::from(u16::from_be_bytes([high, low]));
            // With QoS 0 there is no packet number between topic and payload.
            Ok(Piece::Message(head + length, (head + 2 + topic_bytes).min(head + length)..head + length))
        }
        (2, &[_, code]) if code != 0 => Err(Refusal(format!("connection refused with code {code}"))),
        (9, [_, _, codes @ ..]) if codes.contains(&0x80) => {
            Err(Refusal("a subscription is refused".to_owned()))
        }
        _ => Ok(Piece::Other(head + length)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::Header;

    /// Messages and answers of a stream that comes in pieces of every size.
    fn check(dialect: Dialect, stream: &[u8], expected: &[&str], answers: usize) {
        for size in 1..=stream.len() {
            let mut splitter = Splitter::new(dialect).unwrap();
            let (mut messages, mut out) = (Vec::new(), Vec::new());
            for piece in stream.chunks(size) {
                let handle = |message: &[u8]| messages.push(String::from_utf8_lossy(message).into_owned());
                splitter.split(piece, &mut out, handle).unwrap();
            }
            assert_eq!(messages, expected, "in pieces of {size}");
            assert_eq!((out.len(), splitter.carry.len()), (answers, 0));
        }
    }

    #[test]
    fn streams_are_split_wherever_frames_cut_them() {
        let nats = b"INFO {}\r\nMSG A/B 1 3\r\n\r\n!\r\nPING\r\n+OK\r\nMSG A/B 1 reply 0\r\n\r\n";
        check(Dialect::Nats, nats, &["\r\n!", ""], 2 + 4 + 6);
        let long = "x".repeat(300);
        let mut mqtt = b"\x20\x02\0\0\x90\x03\0\x01\0\x30\x06\0\x03A/B!\x30\xB1\x02\0\x03A/B".to_vec();
        mqtt.extend_from_slice(long.as_bytes());
        check(Dialect::Mqtt, &mqtt, &["!", &long], 0);
        assert!(Splitter::new(Dialect::Json).is_none());
    }

    #[test]
    fn refusals_are_told() {
        let refused = |dialect, stream: &[u8]| {
            Splitter::new(dialect).unwrap().split(stream, &mut Vec::new(), |_| {}).unwrap_err().0
        };
        assert_eq!(refused(Dialect::Nats, b"-ERR 'no'\r\n"), "-ERR 'no'");
        assert_eq!(refused(Dialect::Mqtt, b"\x20\x02\0\x05"), "connection refused with code 5");
        assert_eq!(refused(Dialect::Mqtt, b"\x90\x03\0\x01\x80"), "a subscription is refused");
    }

    #[test]
    fn requests_are_as_each_protocol_wants_them() {
        let text = |dialect: Dialect, symbols: &[&str]| {
            let mut bytes = Vec::new();
            dialect.push_request(symbols, &mut bytes);
            let header = Header::parse(&bytes).unwrap().unwrap();
            let payload = &mut bytes[header.head_bytes..];
            frame::unmask(header.mask.unwrap(), payload);
            payload.to_vec()
        };
        assert_eq!(Dialect::Nchan.path(|| vec!["A/B", "C/D"]), "/v2?id=A/B,C/D");
        let json: serde_json::Value = serde_json::from_slice(&text(Dialect::Json, &["A/B"])).unwrap();
        assert_eq!(json["params"]["symbol"], serde_json::json!(["A/B"]));
        let nats = String::from_utf8(text(Dialect::Nats, &["A/B", "C/D"])).unwrap();
        assert!(nats.starts_with("CONNECT {") && nats.ends_with("}\r\nSUB A.B 1\r\nSUB C.D 2\r\n"), "{nats}");
        let mqtt = text(Dialect::Mqtt, &["A/B"]);
        assert_eq!(mqtt, b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0\x82\x08\0\x01\0\x03A/B\0");
        let many = vec!["A/B"; 40];
        assert_eq!(text(Dialect::Mqtt, &many)[14..17], [0x82, 0x80 | (242 - 128) as u8, 1]);
    }
}
