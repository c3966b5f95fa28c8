//! One connected reader of the server: its socket and its two threads.
//!
//! Owns the thread that numbers and writes what waits for the reader, and the one that reads its requests. Never decides
//! anything: batches come from the venue's thread in `serve.rs`, requests go to it as commands.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{SendTimeoutError, Sender};
use model::Nanos;
use wire::feed::decode_request;

use crate::encode::{BATCH_BYTES_MAX, Stamper};
use crate::queue::Queue;
use crate::serve::Command;

/// Live bytes that may wait for a reader before it is disconnected.
pub const READER_BYTES_MAX: usize = 64 << 20;

/// Bytes of openings and answers that may wait for a reader: 10,000 symbols of 1,000 levels.
const ANSWER_BYTES_MAX: usize = 1 << 30;

/// Longest request line.
const REQUEST_BYTES_MAX: u64 = 4_096;

/// How long a reader's request waits for the venue's thread before it looks whether the reader is still there.
const SEND_TIMEOUT: Duration = Duration::from_millis(50);

/// A connected reader.
pub(crate) struct Reader {
    pub(crate) id: u64,
    pub(crate) queue: Arc<Queue>,
    socket: TcpStream,
    /// When something was last sent to it.
    pub(crate) last: Nanos,
    threads: Vec<JoinHandle<()>>,
}

impl Reader {
    /// Starts the threads of a connection.
    pub(crate) fn start(id: u64, stream: TcpStream, commands: Sender<Command>) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let queue = Arc::new(Queue::new(READER_BYTES_MAX, ANSWER_BYTES_MAX));
        let socket = stream.try_clone()?;
        let requests = stream.try_clone()?;
        let mut reader = Self { id, queue: Arc::clone(&queue), socket, last: Nanos(0), threads: Vec::new() };
        let asking = Arc::clone(&queue);
        reader.threads.push(spawn("feed-write", move || write(stream, &queue))?);
        reader.threads.push(spawn("feed-requests", move || read_requests(id, requests, &commands, &asking))?);
        Ok(reader)
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

fn write(mut stream: TcpStream, queue: &Queue) {
    let mut stamper = Stamper::default();
    let mut out = Vec::with_capacity(2 * BATCH_BYTES_MAX);
    while let Some(lines) = queue.take() {
        out.clear();
        stamper.stamp(&lines, &mut out);
        if stream.write_all(&out).is_err() {
            queue.close();
        }
    }
}

fn read_requests(id: u64, stream: TcpStream, commands: &Sender<Command>, queue: &Queue) {
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
            while let Err(SendTimeoutError::Timeout(unsent)) = commands.send_timeout(command, SEND_TIMEOUT) {
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
