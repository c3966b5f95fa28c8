//! A small blocking WebSocket client: the handshake by hand, masked frames, and raw octets when asked.
//!
//! Owns one connection. Never reads ahead of its caller by more than one read, so that a caller that stops reading
//! fills the kernel's buffers. Knows nothing of what messages say.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use super::PATIENCE;

pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xA;

/// Key and answer of the example in RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// Not random: servers must not care.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

/// A frame of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.payload).expect("the gateway sends UTF-8")
    }

    /// Code and reason of a close frame.
    pub fn close(&self) -> (u16, &str) {
        assert_eq!(self.opcode, CLOSE, "{}", self.text());
        let code = u16::from_be_bytes([self.payload[0], self.payload[1]]);
        (code, std::str::from_utf8(&self.payload[2..]).expect("reasons are UTF-8"))
    }
}

/// What a read came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    Frame(Frame),
    /// The server ended the connection.
    End,
    /// The deadline passed.
    Nothing,
}

/// One connection.
#[derive(Debug)]
pub struct Socket {
    stream: TcpStream,
    /// Octets read and not yet given out, from `start` on.
    buffer: Vec<u8>,
    start: usize,
    /// Most octets of one read; small to read slowly.
    pub read_bytes_max: usize,
    /// How fast it reads; none is as fast as it can.
    pub bytes_per_s: Option<u64>,
    /// When the next octet may be read, at that speed.
    next_read: Instant,
}

/// A reader at a speed that was kept from running for longer than this does not make up for it.
const HURRY_MAX: Duration = Duration::from_millis(50);

impl Socket {
    /// Connects and upgrades.
    pub fn connect(address: SocketAddr, path: &str) -> Self {
        Self::connect_with(address, path, b"")
    }

    /// The same with octets sent behind the request, before its answer.
    pub fn connect_with(address: SocketAddr, path: &str, octets: &[u8]) -> Self {
        Self::upgrade(TcpStream::connect(address).expect("the gateway listens"), path, "", octets)
    }

    /// The same with more headers, each with its line end.
    pub fn connect_saying(address: SocketAddr, path: &str, headers: &str) -> Self {
        Self::upgrade(TcpStream::connect(address).expect("the gateway listens"), path, headers, b"")
    }

    /// The same with a kernel buffer that holds little, so that what is not read stays with the gateway.
    pub fn connect_narrow(address: SocketAddr, path: &str) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        socket.connect(&address.into()).expect("the gateway listens");
        Self::upgrade(socket.into(), path, "", b"")
    }

    /// The same from another address of this machine: the n-th of 127.0.0.0/24.
    pub fn connect_from(n: u8, address: SocketAddr, path: &str) -> Self {
        Self::upgrade(dial(n, address), path, "", b"")
    }

    fn upgrade(mut stream: TcpStream, path: &str, headers: &str, octets: &[u8]) -> Self {
        stream.set_nodelay(true).unwrap();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{headers}\r\n"
        );
        stream.write_all(&[request.as_bytes(), octets].concat()).unwrap();
        let mut socket = Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            read_bytes_max: 64 << 10,
            bytes_per_s: None,
            next_read: Instant::now(),
        };
        let head = socket.read_head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        let accept = head.lines().find_map(|line| {
            let (name, value) = line.split_once(": ")?;
            name.eq_ignore_ascii_case("sec-websocket-accept").then_some(value)
        });
        assert_eq!(accept, Some(ACCEPT), "{head}");
        socket
    }

    fn read_head(&mut self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                self.start = end + 4;
                return String::from_utf8_lossy(&self.buffer[..self.start]).into_owned();
            }
            assert_eq!(self.fill(deadline), Ok(()), "no answer to the upgrade");
        }
    }

    /// Another handle of the same connection.
    pub fn stream(&self) -> TcpStream {
        self.stream.try_clone().unwrap()
    }

    pub fn send_text(&mut self, text: &str) {
        self.send(TEXT, text.as_bytes());
    }

    /// Sends one whole frame.
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_raw(&frame(0x80 | opcode, payload));
    }

    /// Sends octets as they are.
    pub fn send_raw(&mut self, octets: &[u8]) {
        self.stream.write_all(octets).expect("the gateway takes what a client sends");
    }

    /// Ends the writing half.
    pub fn end(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// The next frame; control frames too.
    pub fn read(&mut self, deadline: Instant) -> Incoming {
        loop {
            if let Some(frame) = self.take_frame() {
                return Incoming::Frame(frame);
            }
            match self.fill(deadline) {
                Ok(()) => {}
                Err(incoming) => return incoming,
            }
        }
    }

    /// The next frame.
    ///
    /// # Panics
    /// When none comes within [`PATIENCE`].
    pub fn frame(&mut self) -> Frame {
        match self.read(Instant::now() + PATIENCE) {
            Incoming::Frame(frame) => frame,
            other => panic!("expected a frame, found {other:?}"),
        }
    }

    /// Reads past everything up to a close frame and the end of the connection; code and reason.
    pub fn closing(&mut self) -> (u16, String) {
        loop {
            let frame = self.frame();
            if frame.opcode == CLOSE {
                let (code, reason) = frame.close();
                assert_eq!(self.read(Instant::now() + PATIENCE), Incoming::End, "after the close frame");
                return (code, reason.to_owned());
            }
        }
    }

    fn take_frame(&mut self) -> Option<Frame> {
        let bytes = &self.buffer[self.start..];
        let (&first, &second) = (bytes.first()?, bytes.get(1)?);
        let (len, header) = match second {
            126 => (u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().unwrap())), 4),
            127 => (u64::from_be_bytes(bytes.get(2..10)?.try_into().unwrap()), 10),
            len => {
                assert!(len < 126, "the server masks its frames");
                (u64::from(len), 2)
            }
        };
        assert_eq!(first & 0xF0, 0x80, "whole frames without reserved bits: {first:02x}");
        let payload = bytes.get(header..header + len as usize)?.to_vec();
        self.start += header + payload.len();
        Some(Frame { opcode: first & 0xF, payload })
    }

    /// Waits until the speed of reading allows more.
    fn wait_turn(&self) {
        while let Some(wait) =
            self.next_read.checked_duration_since(Instant::now()).filter(|wait| !wait.is_zero())
        {
            std::thread::park_timeout(wait);
        }
    }

    /// Reads once.
    fn fill(&mut self, deadline: Instant) -> Result<(), Incoming> {
        self.wait_turn();
        self.buffer.drain(..self.start);
        self.start = 0;
        let wait = deadline.saturating_duration_since(Instant::now());
        self.stream.set_read_timeout(Some(wait.max(Duration::from_millis(1)))).unwrap();
        let len = self.buffer.len();
        self.buffer.resize(len + self.read_bytes_max, 0);
        let result = self.stream.read(&mut self.buffer[len..]);
        let read = *result.as_ref().unwrap_or(&0);
        self.buffer.truncate(len + read);
        if let Some(bytes_per_s) = self.bytes_per_s {
            let earliest = Instant::now().checked_sub(HURRY_MAX).unwrap_or(self.next_read);
            let taken = Duration::from_nanos(read as u64 * 1_000_000_000 / bytes_per_s);
            self.next_read = self.next_read.max(earliest) + taken;
        }
        match result {
            Ok(0) => Err(Incoming::End),
            Ok(_) => Ok(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                Err(Incoming::Nothing)
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => Err(Incoming::End),
            Err(error) => panic!("{error}"),
        }
    }
}

/// A connection from the n-th address of 127.0.0.0/24. That of all other tests, the first, has no limits per address.
pub fn dial(n: u8, address: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, n], 0)).into()).unwrap();
    socket.connect(&address.into()).expect("the gateway listens");
    socket.into()
}

/// Sends octets from another address of this machine and reads up to the end of the connection, which has to come.
pub fn until_end(address: SocketAddr, octets: &[u8]) -> Vec<u8> {
    let mut stream = dial(2, address);
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream.write_all(octets).expect("it takes that");
    let mut got = Vec::new();
    match stream.read_to_end(&mut got) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("it does not end: {error}"),
    }
    got
}

/// A masked frame; the first octet is given whole, so that it may be wrong.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = header(first, 0x80, payload.len());
    out.extend(MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// A frame as only servers may send it.
pub fn unmasked_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = header(first, 0, payload.len());
    out.extend(payload);
    out
}

fn header(first: u8, mask_bit: u8, len: usize) -> Vec<u8> {
    let mut out = vec![first];
    match len {
        0..=125 => out.push(mask_bit | len as u8),
        126..=0xFFFF => {
            out.push(mask_bit | 126);
            out.extend((len as u16).to_be_bytes());
        }
        _ => {
            out.push(mask_bit | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out
}
