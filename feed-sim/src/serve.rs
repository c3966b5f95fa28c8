//! A feed over TCP.
//!
//! Owns the listening socket and two threads: one accepts, one runs the venue (each reader has one or two more, `reader.rs`).
//! All decisions are made on the venue's thread, which the others send commands to, so that readers see
//! events and answers in one order. Lines come from `feed.rs`.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::thread::{self, JoinHandle, Thread};
use std::time::Duration;

use crossbeam_channel::{Receiver, SendTimeoutError, Sender};
use model::Nanos;
use wire::feed::FeedRequest;

use crate::clock::now;
use crate::encode::{BATCH_BYTES_MAX, Lines};
use crate::fault::{Fault, FaultPlan};
use crate::feed::{Feed, HEARTBEAT_EVERY, Telling};
use crate::queue::Kind;
use crate::reader::{Reader, spawn};
use crate::recording::OpenError;
use crate::venue::{NEVER, SourceConfig};

/// Most readers at once.
const READERS_MAX: usize = 256;

/// Most commands that wait for the venue's thread, and that it takes in one turn.
const COMMANDS_MAX: usize = 1_024;

/// How the server serves.
#[derive(Clone, Debug, Default)]
pub struct ServerConfig {
    /// Whether the venue waits for readers that are behind, instead of disconnecting them beyond
    /// [`crate::READER_BYTES_MAX`]; default: recordings do, the simulator does not.
    pub wait_for_slow_readers: Option<bool>,
    /// Whether the venue's time starts only with the first reader; default: for recordings it does.
    pub wait_for_reader: Option<bool>,
    /// Faults that happen again and again.
    pub faults: Vec<FaultPlan>,
}

/// What the venue's thread is told by the others.
pub(crate) enum Command {
    Connect(TcpStream),
    Request(u64, FeedRequest),
    Inject(Fault),
    Rate(f64),
    Stop,
}

/// The way to the venue's thread, which sleeps beside its channel and not in it: a receiver that waits in a channel first
/// spins and yields, which on a busy core makes the next event late.
#[derive(Clone, Debug)]
pub(crate) struct Mailbox {
    sender: Sender<Command>,
    venue: Thread,
}

impl Mailbox {
    /// Sends a command and wakes the venue's thread; waits while too many wait. A server that has stopped needs none.
    pub(crate) fn send(&self, command: Command) {
        if self.sender.send(command).is_ok() {
            self.venue.unpark();
        }
    }

    /// The same, with a limit to the waiting; gives back what could not be sent in time.
    pub(crate) fn send_timeout(&self, command: Command, limit: Duration) -> Result<(), Command> {
        match self.sender.send_timeout(command, limit) {
            Err(SendTimeoutError::Timeout(unsent)) => return Err(unsent),
            Ok(()) => self.venue.unpark(),
            Err(SendTimeoutError::Disconnected(_)) => {}
        }
        Ok(())
    }
}

/// Numbers that a handle can look at.
#[derive(Debug, Default)]
struct Counters {
    readers: AtomicUsize,
    connections: AtomicU64,
    slow: AtomicU64,
    lines: AtomicU64,
    finished: AtomicBool,
    stopping: AtomicBool,
}

/// Starts servers.
#[derive(Debug)]
pub struct Server;

impl Server {
    /// Serves a source on an address; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound, or the source cannot be opened.
    pub fn start(addr: SocketAddr, source: &SourceConfig) -> Result<ServerHandle, OpenError> {
        Self::start_with(addr, source, ServerConfig::default())
    }

    /// The same with settings.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(
        addr: SocketAddr,
        source: &SourceConfig,
        config: ServerConfig,
    ) -> Result<ServerHandle, OpenError> {
        let failed = |error| OpenError::Io { path: addr.to_string().into(), error };
        let feed = Feed::open(source, &config.faults)?;
        let listener = TcpListener::bind(addr).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let counters = Arc::new(Counters::default());
        // Bounded, so that a reader that asks without end waits itself.
        let (commands, receiver) = crossbeam_channel::bounded(COMMANDS_MAX);
        let hub = Hub {
            feed,
            receiver,
            counters: Arc::clone(&counters),
            waits: config.wait_for_slow_readers.unwrap_or_else(|| source.is_replay()),
            waits_to_start: config.wait_for_reader.unwrap_or_else(|| source.is_replay()),
            readers: Vec::new(),
            held: Vec::new(),
            closed_until: Nanos(0),
        };
        let sender = commands.clone();
        let venue = move || hub.run(&Mailbox { sender, venue: thread::current() });
        let venue = spawn("feed-venue", venue).map_err(failed)?;
        let mailbox = Mailbox { sender: commands, venue: venue.thread().clone() };
        let accepting = (mailbox.clone(), Arc::clone(&counters));
        let accepting = move || accept(&listener, &accepting.0, &accepting.1);
        let threads = vec![venue, spawn("feed-accept", accepting).map_err(failed)?];
        Ok(ServerHandle { local_addr, mailbox, counters, threads })
    }
}

/// A running server; stops when it is dropped.
#[derive(Debug)]
pub struct ServerHandle {
    local_addr: SocketAddr,
    mailbox: Mailbox,
    counters: Arc<Counters>,
    threads: Vec<JoinHandle<()>>,
}

impl std::fmt::Debug for Command {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Command")
    }
}

impl ServerHandle {
    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Lets a fault happen, now or to the next event that it can happen to.
    pub fn inject(&self, fault: Fault) {
        self.mailbox.send(Command::Inject(fault));
    }

    /// Tells so many lines per second from now on, whatever the source was started with; 0 stands still. Heartbeats go on.
    ///
    /// # Panics
    /// When the rate is negative or no finite number.
    pub fn set_rate(&self, rate: f64) {
        assert!(rate >= 0.0 && rate.is_finite(), "a rate is 0 or more: {rate}");
        self.mailbox.send(Command::Rate(rate));
    }

    /// How many readers are connected.
    #[must_use]
    pub fn readers(&self) -> usize {
        self.counters.readers.load(Relaxed)
    }

    /// How many readers ever connected.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.counters.connections.load(Relaxed)
    }

    /// How many readers were disconnected because they were too far behind.
    #[must_use]
    pub fn slow_readers(&self) -> u64 {
        self.counters.slow.load(Relaxed)
    }

    /// How many lines the venue told, each counted once however many readers there are.
    #[must_use]
    pub fn lines(&self) -> u64 {
        self.counters.lines.load(Relaxed)
    }

    /// Whether a recording that doesn't loop was told to its end.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.counters.finished.load(Relaxed)
    }

    /// Closes all connections and waits for the threads.
    pub fn stop(mut self) {
        self.shut_down();
    }

    fn shut_down(&mut self) {
        self.counters.stopping.store(true, Relaxed);
        self.mailbox.send(Command::Stop);
        // Wakes the accepting thread, which then sees that it is over.
        drop(TcpStream::connect_timeout(&self.local_addr, Duration::from_secs(1)));
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for ServerHandle {
    fn drop(&mut self) {
        if !self.threads.is_empty() {
            self.shut_down();
        }
    }
}

fn accept(listener: &TcpListener, mailbox: &Mailbox, counters: &Counters) {
    for stream in listener.incoming() {
        if counters.stopping.load(Relaxed) {
            return;
        }
        match stream {
            Ok(stream) => mailbox.send(Command::Connect(stream)),
            // Out of descriptors, most likely: trying again at once would only spin.
            Err(_) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// The venue's thread.
struct Hub {
    feed: Feed,
    receiver: Receiver<Command>,
    counters: Arc<Counters>,
    waits: bool,
    /// Until there was a reader.
    waits_to_start: bool,
    readers: Vec<Reader>,
    /// Commands that came during a silence; at most [`COMMANDS_MAX`].
    held: Vec<Command>,
    /// New connections are closed before this time.
    closed_until: Nanos,
}

impl Hub {
    fn run(mut self, mailbox: &Mailbox) {
        let mut lines = Lines::with_capacity(2 * BATCH_BYTES_MAX);
        let mut next = Nanos(0);
        while self.handle_commands(next, mailbox) {
            let now = now();
            if self.waits_to_start && self.readers.is_empty() {
                next = now + HEARTBEAT_EVERY;
                continue;
            }
            self.waits_to_start = false;
            let turn = self.feed.turn(now, &mut lines);
            if !lines.is_empty() {
                self.counters.lines.fetch_add(lines.len() as u64, Relaxed);
                let room = Lines::with_capacity(lines.bytes_len().max(1_024));
                self.send_all(Arc::new(std::mem::replace(&mut lines, room)), now);
            }
            if let Some(until) = turn.closed_until {
                self.closed_until = until;
                self.readers.clear();
            }
            self.counters.finished.store(self.feed.is_finished(), Relaxed);
            next = self.send_heartbeats(now, turn.next);
            // A recording at full speed would run through while nobody is there.
            if self.waits && self.readers.is_empty() && turn.next == Nanos(0) {
                self.waits_to_start = true;
            }
            self.counters.readers.store(self.readers.len(), Relaxed);
        }
    }

    /// Waits for commands until `next`, handles them, and says whether to go on.
    fn handle_commands(&mut self, next: Nanos, mailbox: &Mailbox) -> bool {
        let silent = self.feed.is_silent(now());
        if !silent {
            for command in std::mem::take(&mut self.held) {
                self.handle(command, mailbox);
            }
        }
        let wait = next.since(now());
        if wait > Nanos(0) && self.receiver.is_empty() {
            // Whoever sends from here on wakes us.
            thread::park_timeout(Duration::from_nanos(wait.0));
        }
        for _ in 0..COMMANDS_MAX {
            match self.receiver.try_recv() {
                Ok(Command::Stop) => return false,
                Ok(command @ (Command::Connect(_) | Command::Request(..))) if silent => {
                    if self.held.len() < COMMANDS_MAX {
                        self.held.push(command);
                    }
                }
                Ok(command) => self.handle(command, mailbox),
                Err(_) => break,
            }
        }
        !self.counters.stopping.load(Relaxed)
    }

    fn handle(&mut self, command: Command, mailbox: &Mailbox) {
        let now = now();
        match command {
            Command::Connect(stream) => self.connect(stream, mailbox, now),
            Command::Request(id, request) => {
                let Some(telling) = self.feed.telling_of(&request) else { return };
                if let Some(at) = self.readers.iter().position(|reader| reader.id == id) {
                    self.tell(at, telling, now);
                }
            }
            Command::Inject(fault) => self.feed.inject(fault, now),
            Command::Rate(rate) => self.feed.set_rate(rate, now),
            Command::Stop => {}
        }
    }

    fn connect(&mut self, stream: TcpStream, mailbox: &Mailbox, now: Nanos) {
        self.readers.retain(|reader| !reader.queue.is_closed());
        if now < self.closed_until || self.readers.len() == READERS_MAX {
            // Dropping the stream closes it.
            return;
        }
        let id = self.counters.connections.fetch_add(1, Relaxed) + 1;
        // A reader that fails here has gone already.
        let Ok(reader) = Reader::start(id, stream, mailbox.clone(), self.waits) else { return };
        self.readers.push(reader);
        self.counters.readers.store(self.readers.len(), Relaxed);
        self.tell(self.readers.len() - 1, Telling::OPENING, now);
    }

    /// Tells one reader an opening or an answer, in batches.
    fn tell(&mut self, at: usize, mut telling: Telling, now: Nanos) {
        let mut is_told = false;
        while !is_told {
            let mut lines = Lines::default();
            is_told = self.feed.tell(&mut telling, now, &mut lines);
            let reader = &mut self.readers[at];
            reader.last = now;
            if !lines.is_empty() {
                let is_over = || self.counters.stopping.load(Relaxed);
                if reader.send(Arc::new(lines), Kind::Answer, is_over).is_err() {
                    self.counters.slow.fetch_add(1, Relaxed);
                    reader.queue.close();
                }
            }
        }
    }

    fn send_all(&mut self, lines: Arc<Lines>, now: Nanos) {
        for reader in &mut self.readers {
            reader.last = now;
            let is_over = || self.counters.stopping.load(Relaxed);
            if reader.send(Arc::clone(&lines), Kind::Live, is_over).is_err() {
                self.counters.slow.fetch_add(1, Relaxed);
                reader.queue.close();
            }
        }
        self.readers.retain(|reader| !reader.queue.is_closed());
    }

    /// Sends heartbeats where nothing else was sent, and says when the venue's thread has to act next.
    fn send_heartbeats(&mut self, now: Nanos, next: Nanos) -> Nanos {
        if self.feed.is_silent(now) {
            return next;
        }
        let is_due = |reader: &Reader| now.since(reader.last) >= HEARTBEAT_EVERY;
        if self.readers.iter().any(is_due) {
            let mut lines = Lines::default();
            self.feed.heartbeat(now, &mut lines);
            let lines = Arc::new(lines);
            for reader in self.readers.iter_mut().filter(|reader| is_due(reader)) {
                reader.last = now;
                // One that is too far behind for a heartbeat is found out by the next event.
                let is_over = || self.counters.stopping.load(Relaxed);
                let _ = reader.send(Arc::clone(&lines), Kind::Live, is_over);
            }
            self.readers.retain(|reader| !reader.queue.is_closed());
        }
        let heartbeat = self.readers.iter().map(|reader| reader.last + HEARTBEAT_EVERY).min();
        next.min(heartbeat.unwrap_or(NEVER)).min(now + HEARTBEAT_EVERY)
    }
}
