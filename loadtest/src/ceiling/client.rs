//! One client of the floor: its handshake, its requests, and what waits for its socket.
//!
//! Owns the socket. Understands just enough of HTTP to upgrade and of the protocol to know which symbols are wanted; whatever
//! else a client says is ignored. Requests go to [`super::Floor`], frames come from it.

use crate::frame::{self, Header};
use base64::prelude::{BASE64_STANDARD, Engine};
use mio::net::TcpStream;
use serde::Deserialize;
use sha1::{Digest, Sha1};
use std::io::{self, ErrorKind, Read, Write};

/// Longest request, of HTTP or of the protocol.
const INPUT_BYTES_MAX: usize = 1 << 20;
const READ_BYTES: usize = 16 << 10;
/// What RFC 6455 appends to a key before it is hashed.
const KEY_SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A connection.
pub(super) struct Client {
    stream: TcpStream,
    /// The start of a request that has not come whole.
    input: Vec<u8>,
    /// Frames that the socket has not taken.
    pending: Vec<u8>,
    /// Numbers of its symbols.
    pub(super) topics: Vec<usize>,
    is_open: bool,
    /// The socket took less than it was given and has not become writable since.
    is_blocked: bool,
}

/// What a client said.
pub(super) enum Reading {
    /// Nothing of interest, or not all of it yet.
    Idle,
    /// It wants these as well.
    Symbols(Vec<Box<str>>),
    /// It has left, or makes no sense.
    Gone,
}

#[derive(Deserialize)]
struct Request {
    method: Box<str>,
    #[serde(default)]
    params: Params,
}

#[derive(Default, Deserialize)]
struct Params {
    #[serde(default)]
    symbol: Vec<Box<str>>,
}

impl Client {
    pub(super) const fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            input: Vec::new(),
            pending: Vec::new(),
            topics: Vec::new(),
            is_open: false,
            is_blocked: false,
        }
    }

    /// Reads all there is and answers what has to be answered.
    pub(super) fn read(&mut self) -> Reading {
        let mut chunk = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut chunk) {
                Ok(0) => return Reading::Gone,
                Ok(len) if self.input.len() + len > INPUT_BYTES_MAX => return Reading::Gone,
                Ok(len) => {
                    self.input.extend_from_slice(&chunk[..len]);
                    // A short read has emptied the socket; what comes later is told again.
                    if len < READ_BYTES {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Reading::Gone,
            }
        }
        let reading = self.parse();
        if self.input.is_empty() {
            // An idle connection holds no buffer.
            self.input = Vec::new();
        }
        reading
    }

    fn parse(&mut self) -> Reading {
        if !self.is_open {
            let Some(end) = memchr::memmem::find(&self.input, b"\r\n\r\n") else { return Reading::Idle };
            let Some(answer) = upgrade(&self.input[..end]) else { return Reading::Gone };
            self.input.drain(..end + 4);
            self.is_open = true;
            if self.write(answer.as_bytes()).is_err() {
                return Reading::Gone;
            }
        }
        let mut input = std::mem::take(&mut self.input);
        let mut wanted = Vec::new();
        let mut start = 0;
        while let Ok(Some(header)) = Header::parse(&input[start..]) {
            let Some(bytes) = input.get_mut(start..start + header.frame_bytes()) else { break };
            start += header.frame_bytes();
            let payload = &mut bytes[header.head_bytes..];
            let Some(mask) = header.mask else { return Reading::Gone };
            frame::unmask(mask, payload);
            match self.handle_frame(header, payload) {
                Ok(symbols) => wanted.extend(symbols),
                Err(Leaving) => return Reading::Gone,
            }
        }
        input.drain(..start);
        self.input = input;
        if wanted.is_empty() { Reading::Idle } else { Reading::Symbols(wanted) }
    }

    fn handle_frame(&mut self, header: Header, payload: &[u8]) -> Result<Vec<Box<str>>, Leaving> {
        match header.opcode {
            frame::TEXT | frame::BINARY if header.is_last => {
                let request: Request = serde_json::from_slice(payload).map_err(|_| Leaving)?;
                let is_subscribe = &*request.method == "subscribe";
                Ok(if is_subscribe { request.params.symbol } else { Vec::new() })
            }
            frame::PING => {
                let mut pong = Vec::new();
                frame::push_server(frame::PONG, payload, &mut pong);
                self.write(&pong).map(|()| Vec::new()).map_err(|_| Leaving)
            }
            frame::PONG => Ok(Vec::new()),
            // A close frame, or a request in parts, which no client of the bench sends.
            _ => Err(Leaving),
        }
    }

    /// Notes that the socket takes bytes again; true when some have waited for that.
    pub(super) fn set_writable(&mut self) -> bool {
        std::mem::take(&mut self.is_blocked)
    }

    /// Adds a frame to what is pending; true when the client becomes dirty by it.
    pub(super) fn push(&mut self, frame: &[u8]) -> bool {
        let becomes_dirty = self.pending.is_empty();
        self.pending.extend_from_slice(frame);
        becomes_dirty
    }

    /// Writes a frame at once, or keeps what the socket does not take. Fails when the connection is over.
    pub(super) fn write(&mut self, frame: &[u8]) -> io::Result<()> {
        let taken = if self.pending.is_empty() { write(&mut self.stream, frame)? } else { 0 };
        if taken < frame.len() {
            // Only a full socket leaves something behind, and that is told when it has room again.
            self.is_blocked = true;
            self.pending.extend_from_slice(&frame[taken..]);
        }
        Ok(())
    }

    /// Writes what is pending. Fails when the connection is over.
    pub(super) fn flush(&mut self) -> io::Result<()> {
        let taken = write(&mut self.stream, &self.pending)?;
        if taken < self.pending.len() {
            self.is_blocked = true;
            self.pending.drain(..taken);
        } else {
            self.pending.clear();
        }
        Ok(())
    }
}

/// The client is to be dropped.
struct Leaving;

/// Gives bytes to a socket until it takes no more, and says how many it took.
fn write(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
    let mut taken = 0;
    while taken < bytes.len() {
        match stream.write(&bytes[taken..]) {
            Ok(len) => taken += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// The answer to an upgrade request; none when it has no key.
fn upgrade(head: &[u8]) -> Option<String> {
    let head = std::str::from_utf8(head).ok()?;
    let key = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("sec-websocket-key").then(|| value.trim())
    })?;
    let digest = Sha1::new().chain_update(key).chain_update(KEY_SUFFIX).finalize();
    let accept = BASE64_STANDARD.encode(digest);
    Some(format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\
         sec-websocket-accept: {accept}\r\n\r\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_standard_gets_the_answer_of_the_standard() {
        let head = b"GET /v2 HTTP/1.1\r\nHost: x\r\nSEC-WebSocket-key:  dGhlIHNhbXBsZSBub25jZQ== ";
        let answer = upgrade(head).expect("there is a key");
        assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert_eq!(upgrade(b"GET / HTTP/1.1\r\nHost: x"), None);
    }
}
