//! The floor's connection to the publisher.
//!
//! Owns the socket and the record that has not come whole. Never looks into a payload.
//! Records go to [`super::Floor::publish`].

use crate::record::Record;
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use std::io::{self, ErrorKind, Read};
use std::net::SocketAddr;
use std::time::Duration;

/// How long the publisher may take to answer a connection attempt.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = 256 << 10;
/// Most reads of a turn, so that clients are written to even when the feed never runs dry.
const READS_PER_TURN: usize = 4;

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FeedState {
    Open,
    Ended,
}

/// The connection.
pub(super) struct Feed {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Bytes of `buffer` that are filled.
    filled: usize,
    /// The socket may have something to read.
    is_ready: bool,
}

impl Feed {
    /// Connects and watches the socket.
    pub(super) fn connect(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Self> {
        let stream = std::net::TcpStream::connect_timeout(&address, CONNECT_PATIENCE)?;
        stream.set_nonblocking(true)?;
        let mut stream = TcpStream::from_std(stream);
        registry.register(&mut stream, token, Interest::READABLE)?;
        Ok(Self { stream, buffer: vec![0; BUFFER_BYTES], filled: 0, is_ready: false })
    }

    /// Notes that there is something to read.
    pub(super) const fn set_ready(&mut self) {
        self.is_ready = true;
    }

    /// Whether the last turn left something unread.
    pub(super) const fn has_more(&self) -> bool {
        self.is_ready
    }

    /// Reads until nothing is left or the turn is over, and gives each record to `publish`.
    pub(super) fn read(&mut self, mut publish: impl FnMut(Record<'_>)) -> io::Result<FeedState> {
        for _ in 0..READS_PER_TURN {
            if !self.is_ready {
                break;
            }
            let room = self.buffer.len() - self.filled;
            match self.stream.read(&mut self.buffer[self.filled..]) {
                Ok(0) => return Ok(FeedState::Ended),
                Ok(len) => {
                    self.filled += len;
                    // A short read has emptied the socket; what comes later is told again.
                    self.is_ready = len == room;
                    self.split(&mut publish)?;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => self.is_ready = false,
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(FeedState::Ended),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(FeedState::Open)
    }

    fn split(&mut self, publish: &mut impl FnMut(Record<'_>)) -> io::Result<()> {
        let mut start = 0;
        let broken = |error| io::Error::new(ErrorKind::InvalidData, error);
        while let Some((record, len)) = Record::parse(&self.buffer[start..self.filled]).map_err(broken)? {
            publish(record);
            start += len;
        }
        self.buffer.copy_within(start..self.filled, 0);
        self.filled -= start;
        if self.filled == self.buffer.len() {
            // A record longer than the buffer: rare, and bounded by what `Record` believes.
            self.buffer.resize(2 * self.filled, 0);
        }
        Ok(())
    }
}
