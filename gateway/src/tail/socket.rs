//! A client's end of a WebSocket, one message after the other.
//!
//! Owns connecting, the upgrade and the frames. Waits as long as it takes: a gateway with nothing to say sends heartbeats. Never
//! reads a message.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use thiserror::Error;

/// How long the gateway may be silent; a heartbeat comes every second.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Longest message.
const MESSAGE_BYTES_MAX: u64 = 16 << 20;
/// Most lines of the answer to the upgrade.
const HEAD_LINES_MAX: usize = 64;
/// The key and its answer that RFC 6455 gives as an example: it hides nothing here, and saves computing one.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
/// A key that masks nothing: a mask is for proxies between a browser and a server.
const MASK: [u8; 4] = [0; 4];
const PORT_DEFAULT: &str = "80";

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// Why there is no connection, or not any more.
#[derive(Debug, Error)]
pub(super) enum SocketError {
    /// The address.
    #[error("`{0}` is no address: expected ws://HOST:PORT/v2")]
    Address(String),
    /// The network.
    #[error("{address}: {error}")]
    Network {
        /// Where.
        address: String,
        /// What happened.
        error: io::Error,
    },
    /// The gateway did not upgrade.
    #[error("the gateway answers `{0}` instead of upgrading")]
    Refused(String),
    /// The gateway ends the connection.
    #[error("the gateway closes the connection: {0}")]
    Closed(String),
    /// What came is no frame.
    #[error("what the gateway sends is no WebSocket")]
    Frame,
}

/// The connection.
pub(super) struct Socket {
    stream: BufReader<TcpStream>,
    address: String,
}

impl Socket {
    /// Connects and upgrades.
    pub(super) fn connect(url: &str) -> Result<Self, SocketError> {
        let wrong = || SocketError::Address(url.to_owned());
        let rest = url.strip_prefix("ws://").ok_or_else(wrong)?;
        let (authority, path) = rest.find('/').map_or((rest, "/v2"), |at| rest.split_at(at));
        if authority.is_empty() {
            return Err(wrong());
        }
        let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let address = if has_port { authority.to_owned() } else { format!("{authority}:{PORT_DEFAULT}") };
        let failed = |error| SocketError::Network { address: address.clone(), error };
        let stream = TcpStream::connect(&address).map_err(failed)?;
        stream.set_read_timeout(Some(SILENCE_MAX)).map_err(failed)?;
        let mut socket = Self { stream: BufReader::new(stream), address };
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        );
        socket.write(request.as_bytes())?;
        socket.read_head()?;
        Ok(socket)
    }

    fn read_head(&mut self) -> Result<(), SocketError> {
        let (mut status, mut is_accepted) = (String::new(), false);
        for number in 0..HEAD_LINES_MAX {
            let mut line = String::new();
            self.stream.read_line(&mut line).map_err(|error| self.failed(error))?;
            let line = line.trim();
            match line.split_once(':') {
                _ if number == 0 => status = line.to_owned(),
                Some((name, value)) if name.eq_ignore_ascii_case("sec-websocket-accept") => {
                    is_accepted = value.trim() == ACCEPT;
                }
                None if line.is_empty() => break,
                _ => {}
            }
        }
        let is_upgraded = status.split(' ').nth(1) == Some("101") && is_accepted;
        if is_upgraded { Ok(()) } else { Err(SocketError::Refused(status)) }
    }

    fn failed(&self, error: io::Error) -> SocketError {
        SocketError::Network { address: self.address.clone(), error }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), SocketError> {
        self.stream.get_mut().write_all(bytes).map_err(|error| self.failed(error))
    }

    fn read(&mut self, bytes: &mut [u8]) -> Result<(), SocketError> {
        self.stream.read_exact(bytes).map_err(|error| self.failed(error))
    }

    /// Sends a text message.
    pub(super) fn send(&mut self, text: &str) -> Result<(), SocketError> {
        self.send_frame(TEXT, text.as_bytes())
    }

    fn send_frame(&mut self, opcode: u8, payload: &[u8]) -> Result<(), SocketError> {
        let mut frame = vec![0x80 | opcode];
        match u16::try_from(payload.len()) {
            Ok(short @ 0..126) => frame.push(0x80 | short as u8),
            Ok(middle) => {
                frame.push(0x80 | 126);
                frame.extend_from_slice(&middle.to_be_bytes());
            }
            Err(_) => {
                frame.push(0x80 | 127);
                frame.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        frame.extend_from_slice(&MASK);
        frame.extend_from_slice(payload);
        self.write(&frame)
    }

    /// The next text message.
    pub(super) fn next_text(&mut self) -> Result<String, SocketError> {
        let mut message = Vec::new();
        loop {
            let (opcode, is_last, payload) = self.next_frame()?;
            match opcode {
                PING => self.send_frame(PONG, &payload)?,
                CLOSE => return Err(SocketError::Closed(reason(&payload))),
                PONG => {}
                _ => {
                    message.extend_from_slice(&payload);
                    if message.len() as u64 > MESSAGE_BYTES_MAX {
                        return Err(SocketError::Frame);
                    }
                    if is_last {
                        return String::from_utf8(message).map_err(|_| SocketError::Frame);
                    }
                }
            }
        }
    }

    fn next_frame(&mut self) -> Result<(u8, bool, Vec<u8>), SocketError> {
        let mut head = [0; 2];
        self.read(&mut head)?;
        let [first, second] = head;
        let length = match second {
            126 => {
                let mut length = [0; 2];
                self.read(&mut length)?;
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                self.read(&mut length)?;
                u64::from_be_bytes(length)
            }
            short => short.into(),
        };
        // A mask would make the length too long as well.
        if first & 0x70 != 0 || length > MESSAGE_BYTES_MAX || second & 0x80 != 0 {
            return Err(SocketError::Frame);
        }
        let mut payload = vec![0; length as usize];
        self.read(&mut payload)?;
        Ok((first & 0x0F, first & 0x80 != 0, payload))
    }
}

/// Code and reason of a close frame.
fn reason(payload: &[u8]) -> String {
    match payload {
        [high, low, reason @ ..] => {
            format!("{} {}", u16::from_be_bytes([*high, *low]), String::from_utf8_lossy(reason))
        }
        _ => "without a code".to_owned(),
    }
}
