//! A client's connection, plain or with TLS, without waiting: what is not taken now is not taken.
//!
//! With TLS at most one record waits that the socket did not take; nothing is encrypted before it has left, so that what a slow
//! client gets next is as fresh as over a plain connection. Never decides anything and never looks at what it carries.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use rustix::net::{SendFlags, send};
use rustls::ServerConnection;

/// Plain bytes of one record.
const RECORD_BYTES: usize = 16 << 10;

/// One connection.
pub(super) enum Link {
    Plain(TcpStream),
    Tls(Box<TlsLink>),
}

/// A connection with TLS after its handshake.
pub(super) struct TlsLink {
    stream: TcpStream,
    connection: ServerConnection,
    /// To be ended when everything has left.
    is_ending: bool,
}

impl Link {
    pub(super) fn new(stream: TcpStream, tls: Option<Box<ServerConnection>>) -> Self {
        match tls {
            None => Self::Plain(stream),
            Some(connection) => {
                Self::Tls(Box::new(TlsLink { stream, connection: *connection, is_ending: false }))
            }
        }
    }

    /// Whether bytes may wait between the socket and its reader: then a short read says nothing about the socket.
    pub(super) const fn is_tls(&self) -> bool {
        matches!(self, Self::Tls(_))
    }

    /// The socket below.
    pub(super) fn socket(&mut self) -> &mut TcpStream {
        match self {
            Self::Plain(stream) => stream,
            Self::Tls(link) => &mut link.stream,
        }
    }

    pub(super) fn peer(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Plain(stream) => stream.peer_addr(),
            Self::Tls(link) => link.stream.peer_addr(),
        }
    }

    pub(super) fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => stream.read(bytes),
            Self::Tls(link) => link.read(bytes),
        }
    }

    /// Fewer bytes than given mean that the socket would block, and that it tells when it does not any more.
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            // A short write means a full socket: Linux notes that it has no space and tells when it has some again, so there is
            // no need to be refused as well. Not through the C library, whose call is a cancellation point with work before and
            // after it.
            Self::Plain(stream) => Ok(send(stream, bytes, SendFlags::NOSIGNAL)?),
            Self::Tls(link) => link.write(bytes),
        }
    }

    /// The socket takes bytes again: a record that waited comes first.
    pub(super) fn handle_writable(&mut self) {
        if let Self::Tls(link) = self {
            // A broken connection is found by whoever reads or writes it next.
            let _ = link.push();
        }
    }

    /// Ends the writing half behind everything that was written.
    pub(super) fn shutdown(&mut self) {
        match self {
            // A connection that is gone already is what was wanted.
            Self::Plain(stream) => drop(stream.shutdown(Shutdown::Write)),
            Self::Tls(link) => {
                link.connection.send_close_notify();
                link.is_ending = true;
                let _ = link.push();
            }
        }
    }
}

impl TlsLink {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.connection.reader().read(bytes) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                other => return other,
            }
            if self.connection.read_tls(&mut self.stream)? == 0 {
                return Ok(0);
            }
            let processed = self.connection.process_new_packets();
            // An alert, or what TLS answers by itself; that the socket would block is no matter of who reads.
            match self.push() {
                Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
                _ => {}
            }
            processed.map_err(|error| io::Error::new(ErrorKind::InvalidData, error))?;
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.push()?;
        let mut taken = 0;
        for record in bytes.chunks(RECORD_BYTES) {
            taken += self.connection.writer().write(record)?;
            match self.push() {
                Ok(()) => {}
                // What was encrypted has been taken, and leaves first.
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Writes what is encrypted until it has left or the socket would block.
    fn push(&mut self) -> io::Result<()> {
        while self.connection.wants_write() {
            match self.connection.write_tls(&mut self.stream) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut self.is_ending) {
            drop(self.stream.shutdown(Shutdown::Write));
        }
        Ok(())
    }
}
