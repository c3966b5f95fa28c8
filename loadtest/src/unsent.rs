//! Bytes that wait until a socket takes them.
//!
//! Owns nothing: the bytes belong to the connection, of the load generator or of the bench, that calls when its socket is writable.

use std::io::{self, ErrorKind, Write};

/// Writes as much as the socket takes and keeps the rest; what is empty afterwards holds no memory.
///
/// # Errors
/// The connection is over.
pub(crate) fn flush(socket: &mut impl Write, unsent: &mut Vec<u8>) -> io::Result<()> {
    while !unsent.is_empty() {
        match socket.write(unsent) {
            Ok(taken) => drop(unsent.drain(..taken)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    *unsent = Vec::new();
    Ok(())
}
