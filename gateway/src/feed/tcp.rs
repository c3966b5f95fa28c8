//! A feed over TCP: lines in, requests out.

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::fd::{AsRawFd, RawFd};
use std::time::Duration;

use wire::feed::{FeedRequest, encode_request};

use super::Source;

/// Longest wait for a connection.
const CONNECT_PATIENCE: Duration = Duration::from_secs(2);

/// Most bytes taken in one read: enough for a burst, small enough for the cache.
const READ_BYTES: usize = 64 << 10;

pub(super) struct TcpSource {
    stream: TcpStream,
    patience: Duration,
    /// Reads go here and what came is copied: to make room in the caller's buffer would mean to zero it each time.
    scratch: Box<[u8]>,
    /// Whether the last read filled `scratch`: a shorter one has emptied the socket.
    has_more: bool,
}

impl TcpSource {
    pub(super) fn connect(address: &str) -> io::Result<Self> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, format!("no address for {address}"));
        for address in address.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, CONNECT_PATIENCE) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let scratch = vec![0; READ_BYTES].into_boxed_slice();
                    // Another patience than any that is asked for, so that the first read sets it.
                    return Ok(Self { stream, patience: Duration::MAX, scratch, has_more: true });
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}

impl Source for TcpSource {
    fn read(&mut self, buffer: &mut Vec<u8>, patience: Duration) -> io::Result<usize> {
        if self.patience != patience {
            self.stream.set_nonblocking(patience.is_zero())?;
            if !patience.is_zero() {
                self.stream.set_read_timeout(Some(patience.max(Duration::from_millis(1))))?;
            }
            self.patience = patience;
        }
        match self.stream.read(&mut self.scratch) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(len) => {
                self.has_more = len == self.scratch.len();
                buffer.extend_from_slice(&self.scratch[..len]);
                Ok(len)
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                self.has_more = false;
                Ok(0)
            }
            Err(error) => Err(error),
        }
    }

    fn has_more(&self) -> bool {
        self.has_more
    }

    fn descriptor(&self) -> Option<RawFd> {
        Some(self.stream.as_raw_fd())
    }

    fn request(&mut self, request: &FeedRequest) -> io::Result<()> {
        let mut line = Vec::new();
        encode_request(request, &mut line);
        self.stream.write_all(&line)
    }
}
