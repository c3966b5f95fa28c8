//! One connection of the crowd: connecting, upgrading, asking, reading.
//!
//! Owns the socket and the frame that has not come whole. Never counts: [`super::meter`] does.
//! Readiness comes from [`super::Crowd`].

use super::dialect::{Dialect, Splitter};
use super::meter::{Chain, Meter, StreamError, Tracks};
use crate::unsent;
use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::io::{self, ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// `EINPROGRESS`, the answer to connecting without waiting; the standard library has no stable name for it.
const IN_PROGRESS: i32 = 115;
/// Reads of one member before others are served.
const READS_PER_TURN: usize = 4;
/// Longest answer to the upgrade request.
const HEAD_BYTES_MAX: usize = 8 << 10;
/// Receive buffer of a client that does not read: the least that the kernel gives.
const STALLED_RECEIVE_BYTES: usize = 2_048;

/// What a client does with what it gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Reads and counts.
    Reader,
    /// Reads, counts and checks every link.
    Witness,
    /// Asks and then never reads.
    Stalled,
    /// Leaves as soon as it is upgraded.
    Visitor,
}

/// Where a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The socket is not connected yet.
    Connecting,
    /// The upgrade was asked for.
    Upgrading,
    /// Upgraded, and the symbols were asked for.
    Open,
}

/// Whether there may be more to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// The socket is empty.
    Dry,
    /// Others come first.
    More,
}

/// Why a connection ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MemberError {
    /// The socket.
    #[error("{0}")]
    Socket(#[from] io::Error),
    /// The upgrade.
    #[error("the server answers {0:?} instead of upgrading")]
    Refused(String),
    /// What came afterwards.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// A frame that the buffer cannot hold.
    #[error("a frame is longer than {0} bytes")]
    Frame(usize),
}

/// A connection.
pub(super) struct Member {
    pub(super) stream: TcpStream,
    pub(super) state: State,
    pub(super) role: Role,
    /// The start of a frame whose rest is to come.
    tail: Vec<u8>,
    tracks: Tracks,
    /// What is still to be sent: requests and pongs.
    unsent: Vec<u8>,
}

impl Member {
    /// Begins to connect from a source address.
    pub(super) fn start(address: SocketAddr, source: Ipv4Addr, role: Role) -> io::Result<Self> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        if role == Role::Stalled {
            // Before connecting, because the window is agreed upon then.
            socket.set_recv_buffer_size(STALLED_RECEIVE_BYTES)?;
        }
        socket.set_tcp_nodelay(true)?;
        // Closing resets, so that no port is kept back for a minute.
        socket.set_linger(Some(Duration::ZERO))?;
        socket.bind(&SockAddr::from(SocketAddr::new(IpAddr::V4(source), 0)))?;
        match socket.connect(&address.into()) {
            Err(error)
                if error.raw_os_error() != Some(IN_PROGRESS) && error.kind() != ErrorKind::WouldBlock =>
            {
                return Err(error);
            }
            _ => {}
        }
        Ok(Self {
            stream: TcpStream::from_std(socket.into()),
            state: State::Connecting,
            role,
            tail: Vec::new(),
            tracks: Tracks::default(),
            unsent: Vec::new(),
        })
    }

    /// Goes on when the socket takes bytes: asks for the upgrade once it is connected.
    pub(super) fn handle_writable<'a>(
        &mut self,
        address: SocketAddr,
        dialect: Dialect,
        symbols: impl FnOnce() -> Vec<&'a str>,
    ) -> Result<(), MemberError> {
        if self.state == State::Connecting {
            if let Some(error) = self.stream.take_error()? {
                return Err(error.into());
            }
            if self.stream.peer_addr().is_err() {
                return Ok(());
            }
            self.state = State::Upgrading;
            self.unsent = upgrade_request(address, dialect, &dialect.path(symbols)).into_bytes();
        }
        self.send().map_err(Into::into)
    }

    fn send(&mut self) -> io::Result<()> {
        unsent::flush(&mut self.stream, &mut self.unsent)
    }

    /// Reads the answer to the upgrade; true when the connection is open now.
    pub(super) fn read_answer(
        &mut self,
        dialect: Dialect,
        symbols: &[&str],
        buffer: &mut [u8],
    ) -> Result<bool, MemberError> {
        let len = match self.stream.read(buffer) {
            Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        };
        self.tail.extend_from_slice(&buffer[..len]);
        let Some(end) = memchr::memmem::find(&self.tail, b"\r\n\r\n") else {
            let is_long = self.tail.len() > HEAD_BYTES_MAX;
            return if is_long { Err(self.refused()) } else { Ok(false) };
        };
        if !self.tail.starts_with(b"HTTP/1.1 101 ") {
            return Err(self.refused());
        }
        // What the server said at once behind its answer stays in `tail`, as the start of the frames.
        self.tail.drain(..end + 4);
        self.tail.shrink_to_fit();
        self.state = State::Open;
        self.tracks = Tracks {
            chain: (self.role == Role::Witness).then(|| Box::new(Chain::default())),
            splitter: Splitter::new(dialect).map(Box::new),
        };
        if self.role != Role::Visitor {
            dialect.push_request(symbols, &mut self.unsent);
            self.send()?;
        }
        Ok(true)
    }

    fn refused(&self) -> MemberError {
        let line = self.tail.split(|&byte| byte == b'\r').next().unwrap_or_default();
        MemberError::Refused(String::from_utf8_lossy(&line[..line.len().min(100)]).into_owned())
    }

    /// Reads what is there and has it counted.
    pub(super) fn read(&mut self, buffer: &mut [u8], meter: &mut Meter) -> Result<Rest, MemberError> {
        let mut filled = self.tail.len();
        buffer[..filled].copy_from_slice(&self.tail);
        let mut rest = Rest::More;
        for _ in 0..READS_PER_TURN {
            let room = buffer.len() - filled;
            match self.stream.read(&mut buffer[filled..]) {
                Ok(0) if room == 0 => return Err(MemberError::Frame(buffer.len())),
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(len) => {
                    filled += len;
                    meter.start_read();
                    let taken = meter.walk(&buffer[..filled], &mut self.tracks, &mut self.unsent)?;
                    buffer.copy_within(taken..filled, 0);
                    filled -= taken;
                    if len < room {
                        // A short read has emptied the socket; what comes later is told again.
                        rest = Rest::Dry;
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    rest = Rest::Dry;
                    break;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.tail.clear();
        self.tail.extend_from_slice(&buffer[..filled]);
        if !self.unsent.is_empty() {
            self.send()?;
        }
        Ok(rest)
    }
}

fn upgrade_request(address: SocketAddr, dialect: Dialect, path: &str) -> String {
    let subprotocol = dialect.subprotocol().map(|name| format!("Sec-WebSocket-Protocol: {name}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
        subprotocol.unwrap_or_default()
    )
}
