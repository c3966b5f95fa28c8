//! One connected reader of the server: its socket and its threads.
//!
//! Owns the thread that reads the requests of the reader, and the one that numbers and writes what waits for it; where the
//! venue waits for its readers there is none, and the venue's thread writes itself. Never decides anything: batches
//! come from the venue's thread in `serve.rs`, requests go to it as commands.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use model::Nanos;
use wire::feed::decode_request;

use crate::encode::{BATCH_BYTES_MAX, Lines, Stamper};
use crate::queue::{Kind, Overflow, Queue};
use crate::serve::{Command, Mailbox};

/// Live bytes that may wait for a reader before it is disconnected.
pub const READER_BYTES_MAX: usize = 64 << 20;

/// Bytes of openings and answers that may wait for a reader: 10,000 symbols of 1,000 levels.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Longest request line.
const REQUEST_BYTES_MAX: u64 = 4_096;

/// How long a reader's request waits for the venue's thread before it looks whether the reader is still there.
const SEND_TIMEOUT: Duration = Duration::from_millis(50);

/// How long a write may wait before the venue's thread looks whether it should go on waiting.
const WRITE_PATIENCE: Duration = Duration::from_millis(50);

/// A connected reader.
pub(crate) struct Reader {
    pub(crate) id: u64,
    /// What waits for the writing thread; where there is none, only whether the connection is over.
    pub(crate) queue: Arc<Queue>,
    /// Where the venue's thread writes itself.
    pen: Option<Pen>,
    socket: TcpStream,
    /// When something was last sent to it.
    pub(crate) last: Nanos,
    threads: Vec<JoinHandle<()>>,
}

impl Reader {
    /// Starts the threads of a connection. A venue that waits for its readers writes to them itself.
    pub(crate) fn start(id: u64, stream: TcpStream, mailbox: Mailbox, waits: bool) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let queue = Arc::new(Queue::new(READER_BYTES_MAX, ANSWER_BYTES_MAX));
        let socket = stream.try_clone()?;
        let requests = stream.try_clone()?;
        let mut pen =
            Pen { stream, stamper: Stamper::default(), out: Vec::with_capacity(2 * BATCH_BYTES_MAX) };
        let mut threads = Vec::new();
        let pen = if waits {
            pen.stream.set_write_timeout(Some(WRITE_PATIENCE))?;
            Some(pen)
        } else {
            let queue = Arc::clone(&queue);
            threads.push(spawn("feed-write", move || pen.write_queue(&queue))?);
            None
        };
        let asking = Arc::clone(&queue);
        threads.push(spawn("feed-requests", move || read_requests(id, requests, &mailbox, &asking))?);
        Ok(Self { id, queue, pen, socket, last: Nanos(0), threads })
    }

    /// Writes a batch, waiting for the reader unless `is_over`, or has it written while nobody waits. Fails when the reader is
    /// too far behind.
    pub(crate) fn send(
        &mut self,
        lines: Arc<Lines>,
        kind: Kind,
        is_over: impl Fn() -> bool,
    ) -> Result<(), Overflow> {
        let Some(pen) = &mut self.pen else { return self.queue.push(lines, kind) };
        if pen.write(&lines, || is_over() || self.queue.is_closed()).is_err() {
            self.queue.close();
        }
        Ok(())
    }

    fn close(&mut self) {
        self.queue.close();
        let _ = self.socket.shutdown(Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.close();
    }
}

/// Numbers and writes the lines of one connection.
struct Pen {
    stream: TcpStream,
    stamper: Stamper,
    out: Vec<u8>,
}

impl Pen {
    fn write_queue(&mut self, queue: &Queue) {
        while let Some(lines) = queue.take() {
            if self.write(&lines, || false).is_err() {
                queue.close();
            }
        }
    }

    /// Writes a batch whole, unless it is over; that is looked at each time the socket's patience ends.
    fn write(&mut self, lines: &Lines, is_over: impl Fn() -> bool) -> io::Result<()> {
        self.out.clear();
        self.stamper.stamp(lines, &mut self.out);
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            match self.stream.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => rest = &rest[taken..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !is_over() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn read_requests(id: u64, stream: TcpStream, mailbox: &Mailbox, queue: &Queue) {
    let mut reader = BufReader::new(stream);
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.by_ref().take(REQUEST_BYTES_MAX).read_until(b'\n', &mut line) {
            // The end of its requests is not the end of its interest.
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        // Whatever is no request is ignored: a feed doesn't explain itself.
        if let Ok(request) = decode_request(&mut line) {
            let mut command = Command::Request(id, request);
            // The venue's thread joins this one, so it must not be waited for without end.
            while let Err(unsent) = mailbox.send_timeout(command, SEND_TIMEOUT) {
                if queue.is_closed() {
                    return;
                }
                command = unsent;
            }
        }
    }
}

/// Starts a named thread.
pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).spawn(run)
}
