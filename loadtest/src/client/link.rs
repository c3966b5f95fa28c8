//! One WebSocket of the witness: connecting from a chosen address, the opening handshake, frames in both directions.
//!
//! Owns the socket, the start of a frame that has not come whole, and what the socket did not take yet. Never waits and
//! never judges a message. Readiness comes from [`crate::hall`]; messages go to [`super::Client`].

use crate::frame::{self, FrameError, Header};
use crate::plan::Target;
use crate::unsent;
use crate::violation::quote;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mio::net::TcpStream;
use sha1::{Digest, Sha1};
use socket2::{Domain, Protocol, Socket, Type};
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, SocketAddr};

/// Bytes asked of a socket at once. A larger frame is put together over several reads.
pub(crate) const READ_BYTES: usize = 64 << 10;
/// `EINPROGRESS`, the answer to connecting without waiting; the standard library has no stable name for it.
const IN_PROGRESS: i32 = 115;
/// Longest answer to the upgrade request.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Largest message that is put together from its parts; a snapshot of 1000 levels has about 100 kB.
const MESSAGE_BYTES_MAX: usize = 16 << 20;
/// What RFC 6455 has the server append to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// How to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    /// The server.
    pub(crate) address: SocketAddr,
    /// Where from; the system's choice without it.
    pub(crate) source: Option<IpAddr>,
    /// Bound of what the kernel takes while nobody reads; the system's choice without it.
    pub(crate) receive_bytes: Option<usize>,
}

/// Why there is no connection, or not any more.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LinkError {
    /// The socket.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The other end closed it without a word.
    #[error("the connection ended without a close frame")]
    Ended,
    /// The server did not upgrade.
    #[error("no WebSocket handshake: {0}")]
    Refused(String),
    /// What came is no WebSocket frame, or not one that a server may send.
    #[error("{0}")]
    Frame(#[from] FrameError),
    /// The same.
    #[error("{0}")]
    Violation(&'static str),
}

/// A whole message of the other end.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Incoming<'a> {
    /// A text message.
    Text(&'a [u8]),
    /// A message that is not text.
    Binary(&'a [u8]),
    /// To be answered.
    Ping(&'a [u8]),
    /// The end, with its payload.
    Close(&'a [u8]),
}

/// The connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) stream: TcpStream,
    key: String,
    /// The start of a frame, or of the handshake's answer; empty most of the time.
    rest: Vec<u8>,
    /// What the socket did not take; empty most of the time.
    unsent: Vec<u8>,
    /// The parts of a message so far.
    parts: Option<(u8, Vec<u8>)>,
}

impl Link {
    /// Begins to connect. `salt` makes its handshake's key differ from those of others.
    pub(crate) fn dial(dial: &Dial, salt: u64) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(dial.address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(bytes) = dial.receive_bytes {
            // Before connecting, because the window is agreed upon then.
            socket.set_recv_buffer_size(bytes)?;
        }
        if let Some(source) = dial.source {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        match socket.connect(&dial.address.into()) {
            Err(error)
                if error.raw_os_error() != Some(IN_PROGRESS) && error.kind() != ErrorKind::WouldBlock =>
            {
                return Err(error);
            }
            _ => {}
        }
        let mut nonce = [0; 16];
        nonce[..8].copy_from_slice(&salt.to_be_bytes());
        nonce[8..].copy_from_slice(&salt.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes());
        Ok(Self {
            stream: TcpStream::from_std(socket.into()),
            key: STANDARD.encode(nonce),
            rest: Vec::new(),
            unsent: Vec::new(),
            parts: None,
        })
    }

    /// Whether the socket is connected by now; asks for the upgrade when it is.
    pub(crate) fn finish_dial(&mut self, target: &Target, path: &str) -> Result<bool, LinkError> {
        if let Some(error) = self.stream.take_error()? {
            return Err(error.into());
        }
        if self.stream.peer_addr().is_err() {
            return Ok(false);
        }
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Key: {}\r\nSec-WebSocket-Version: 13\r\n\r\n",
            target.authority, self.key
        );
        self.unsent.extend_from_slice(request.as_bytes());
        self.flush()?;
        Ok(true)
    }

    /// Reads what there is of the answer to the upgrade; true when the connection is open now. What the server said
    /// behind its answer is kept for [`Self::read`].
    pub(crate) fn read_answer(&mut self, buffer: &mut Vec<u8>) -> Result<bool, LinkError> {
        loop {
            let Some(came) = self.take(buffer, READ_BYTES)? else { return Ok(false) };
            self.rest = buffer[..self.rest.len() + came].to_vec();
            if let Some(end) = memchr::memmem::find(&self.rest, b"\r\n\r\n") {
                self.judge_answer(end)?;
                self.rest.drain(..end + 4);
                return Ok(true);
            }
            if self.rest.len() > HEAD_BYTES_MAX {
                return Err(LinkError::Refused("its answer does not end".to_owned()));
            }
        }
    }

    fn judge_answer(&self, end: usize) -> Result<(), LinkError> {
        let head = &self.rest[..end];
        let mut lines = head.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
        let status = lines.next().unwrap_or_default();
        if !status.starts_with(b"HTTP/1.1 101 ") {
            return Err(LinkError::Refused(format!("the server answers {:?}", quote(status))));
        }
        let accept = lines.find_map(|line| {
            let colon = memchr::memchr(b':', line)?;
            let (name, value) = line.split_at(colon);
            name.eq_ignore_ascii_case(b"sec-websocket-accept").then(|| value[1..].trim_ascii())
        });
        let mut hash = Sha1::new();
        hash.update(self.key.as_bytes());
        hash.update(GUID);
        if accept != Some(STANDARD.encode(hash.finalize()).as_bytes()) {
            return Err(LinkError::Refused("its key does not answer ours".to_owned()));
        }
        Ok(())
    }

    /// Reads once, at most so many bytes, and gives each whole message to `sink`, which says whether to go on. Returns how
    /// many bytes the socket gave; none when it is empty.
    pub(crate) fn read(
        &mut self,
        buffer: &mut Vec<u8>,
        bytes_max: usize,
        mut sink: impl FnMut(Incoming<'_>) -> bool,
    ) -> Result<Option<usize>, LinkError> {
        let came = self.take(buffer, bytes_max)?;
        let bytes = &buffer[..self.rest.len() + came.unwrap_or(0)];
        let mut at = 0;
        while let Some(header) = Header::parse(&bytes[at..])? {
            let end = at + header.frame_bytes();
            if end > bytes.len() {
                break;
            }
            if header.mask.is_some() {
                return Err(LinkError::Violation("a server must not mask its frames"));
            }
            let payload = &bytes[at + header.head_bytes..end];
            at = end;
            if !give(&header, payload, &mut self.parts, &mut sink)? {
                break;
            }
        }
        self.rest.clear();
        self.rest.extend_from_slice(&bytes[at..]);
        if self.rest.is_empty() && self.rest.capacity() > READ_BYTES {
            self.rest = Vec::new();
        }
        Ok(came)
    }

    /// Puts what is kept and what the socket has into the buffer, and says how many bytes the socket gave; none when it
    /// is empty.
    fn take(&mut self, buffer: &mut Vec<u8>, bytes_max: usize) -> Result<Option<usize>, LinkError> {
        let kept = self.rest.len();
        let most = bytes_max.clamp(1, READ_BYTES);
        if buffer.len() < kept + most {
            buffer.resize(kept + most, 0);
        }
        buffer[..kept].copy_from_slice(&self.rest);
        loop {
            return match self.stream.read(&mut buffer[kept..kept + most]) {
                Ok(0) => Err(LinkError::Ended),
                Ok(len) => Ok(Some(len)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => Err(error.into()),
            };
        }
    }

    /// Sends a message, as far as the socket takes it; the rest goes with [`Self::flush`].
    pub(crate) fn send(&mut self, opcode: u8, payload: &[u8]) -> io::Result<()> {
        frame::push_client(opcode, payload, &mut self.unsent);
        self.flush()
    }

    /// Sends what the socket did not take before.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        unsent::flush(&mut self.stream, &mut self.unsent)
    }

    /// Lets the end of this connection be a reset, so that its port is free at once.
    pub(crate) fn reset_at_end(&self) {
        let socket = socket2::SockRef::from(&self.stream);
        // A socket that cannot be told ends in the ordinary way.
        let _ = socket.set_linger(Some(std::time::Duration::ZERO));
    }
}

/// Gives a frame to the sink, or keeps it as a part of its message; false when the sink wants no more.
fn give(
    header: &Header,
    payload: &[u8],
    parts: &mut Option<(u8, Vec<u8>)>,
    sink: &mut impl FnMut(Incoming<'_>) -> bool,
) -> Result<bool, LinkError> {
    match (header.opcode, header.is_last) {
        (frame::TEXT, true) if parts.is_none() => Ok(sink(Incoming::Text(payload))),
        (frame::BINARY, true) if parts.is_none() => Ok(sink(Incoming::Binary(payload))),
        (frame::PING, true) => Ok(sink(Incoming::Ping(payload))),
        (frame::PONG, true) => Ok(true),
        (frame::CLOSE, true) => Ok(sink(Incoming::Close(payload))),
        (frame::TEXT | frame::BINARY, false) if parts.is_none() => {
            *parts = Some((header.opcode, payload.to_vec()));
            Ok(true)
        }
        (0, is_last) => {
            let Some((opcode, message)) = parts.as_mut() else {
                return Err(LinkError::Violation("a further part without a first"));
            };
            if message.len() + payload.len() > MESSAGE_BYTES_MAX {
                return Err(LinkError::Violation("a message that does not end"));
            }
            message.extend_from_slice(payload);
            if !is_last {
                return Ok(true);
            }
            let (opcode, message) = (*opcode, std::mem::take(message));
            *parts = None;
            Ok(sink(match opcode {
                frame::TEXT => Incoming::Text(&message),
                _ => Incoming::Binary(&message),
            }))
        }
        _ => Err(LinkError::Violation("a frame that is not allowed here")),
    }
}
