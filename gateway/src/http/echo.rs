//! The echo at `/echo`: every message comes back. For conformance tests of the framing, off unless configured.
//!
//! Reads and writes with the same code as the shards (`wire::ws`), under raised limits of its own, in a task on the HTTP thread:
//! no client of the market ever waits for it. Never answers while the peer does not read what it was sent.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;
use wire::close::CloseCode;
use wire::ws::{FrameReader, Message, Opcode, ReadLimits, write_close, write_frame};

use crate::shard::Opening;

/// Most bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Longest silence, and longest time for the peer to take what it is sent.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest wait for the peer to end the connection after the close frame.
const CLOSE_PATIENCE: Duration = Duration::from_secs(2);

/// A place among the echoing connections; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Arc<AtomicUsize>);

impl Place {
    /// Takes a place if there is one.
    pub(super) fn take(taken: &Arc<AtomicUsize>, max: usize) -> Option<Self> {
        // Relaxed: a bare count, and only this thread takes places.
        let place = Self(Arc::clone(taken));
        (place.0.fetch_add(1, Ordering::Relaxed) < max).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Echoes until the connection ends.
pub(super) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    opening: Opening,
    limits: ReadLimits,
    _place: Place,
) {
    let mut reader = FrameReader::new(limits);
    let Opening { answer: mut out, leftover: mut bytes } = opening;
    let mut len = bytes.len();
    bytes.resize(READ_BYTES.max(len), 0);
    loop {
        let ended = answer(&mut reader, &mut bytes[..len], &mut out);
        let written = timeout(PATIENCE, write(&mut stream, &out)).await;
        if !matches!(written, Ok(Ok(()))) {
            return;
        }
        // A message of megabytes is no reason to hold as much until the next.
        out = Vec::new();
        if ended {
            return say_goodbye(stream, &mut bytes).await;
        }
        len = match timeout(PATIENCE, stream.read(&mut bytes)).await {
            Ok(Ok(len)) if len > 0 => len,
            _ => return,
        };
    }
}

/// With TLS, what is written has not left before it is flushed.
async fn write(stream: &mut (impl AsyncWrite + Unpin), out: &[u8]) -> io::Result<()> {
    stream.write_all(out).await?;
    stream.flush().await
}

/// Ends the writing half and waits for the peer to do the same, so that the close frame is not lost behind a reset.
async fn say_goodbye(mut stream: impl AsyncRead + AsyncWrite + Unpin, bytes: &mut [u8]) {
    let end = async {
        if stream.shutdown().await.is_ok() {
            while stream.read(bytes).await.is_ok_and(|len| len > 0) {}
        }
    };
    // Over the patience the connection is simply dropped.
    let _ = timeout(CLOSE_PATIENCE, end).await;
}

/// Answers everything in the input; `true` when a close frame was the last answer.
fn answer(reader: &mut FrameReader, mut input: &mut [u8], out: &mut Vec<u8>) -> bool {
    loop {
        match reader.next(&mut input) {
            Ok(None) => return false,
            Ok(Some(Message::Text(payload))) => write_frame(Opcode::Text, payload, out),
            Ok(Some(Message::Binary(payload))) => write_frame(Opcode::Binary, payload, out),
            Ok(Some(Message::Ping(payload))) => write_frame(Opcode::Pong, payload, out),
            Ok(Some(Message::Pong(_))) => {}
            Ok(Some(Message::Close { code, .. })) => {
                write_close(code.unwrap_or_else(|| CloseCode::Normal.code()), "", out);
                return true;
            }
            Err(violation) => {
                write_close(violation.close_code().code(), &violation.to_string(), out);
                return true;
            }
        }
    }
}
