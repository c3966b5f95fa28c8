//! The floor: what the machine itself takes to hand updates to many sockets, with nothing else around it.
//!
//! Owns one thread that reads records from a publisher and writes each to the clients that asked for its symbol: one
//! write per message and client (`each`), or one write per client and turn with all that is pending joined (`batch`).
//! Every payload is framed once. Never keeps a book, a policy, a limit or a heartbeat: whatever a gateway costs beyond
//! this is its own. Clients and their requests are in `client.rs`, records come through `feed.rs`.

mod client;
mod feed;

use crate::frame;
use crate::record::Record;
use clap::{Args, ValueEnum};
use client::{Client, Reading};
use feed::{Feed, FeedState};
use mio::event::Event;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::collections::HashMap;
use std::io::{self, ErrorKind, Write};
use std::net::SocketAddr;
use std::time::Duration;

const LISTENER: Token = Token(0);
const FEED: Token = Token(1);
/// The token of the client in place 0.
const FIRST_CLIENT: usize = 2;
const EVENTS_MAX: usize = 1_024;
/// Connections that wait to be accepted.
const BACKLOG: i32 = 4_096;

/// Settings of `loadtest ceiling`.
#[derive(Args, Debug, Clone)]
pub(crate) struct CeilingArgs {
    /// How updates are written.
    #[arg(long, value_enum)]
    pub(crate) mode: Mode,
    /// Poll without ever sleeping.
    #[arg(long)]
    pub(crate) spin: bool,
    /// Where clients connect; port 0 takes a free one. The address in use is printed after the word `ready`.
    #[arg(long, default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// The publisher to connect to. The floor ends with it.
    #[arg(long)]
    pub(crate) feed: SocketAddr,
}

/// How updates are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Mode {
    /// Each message by itself, at once.
    Each,
    /// What is pending for a client in one piece, after the feed was read dry.
    Batch,
}

/// Why the floor ended.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CeilingError {
    /// The listening socket.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, io::Error),
    /// The publisher.
    #[error("cannot read the feed at {0}: {1}")]
    Feed(SocketAddr, io::Error),
    /// The readiness set.
    #[error("cannot poll sockets: {0}")]
    Poll(#[from] io::Error),
}

/// Serves until the publisher ends the feed.
pub(crate) fn run(args: &CeilingArgs) -> Result<(), CeilingError> {
    let failed = |error| CeilingError::Listen(args.listen, error);
    let mut poll = Poll::new()?;
    let mut listener = listen(args.listen).map_err(failed)?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut feed =
        Feed::connect(args.feed, poll.registry(), FEED).map_err(|e| CeilingError::Feed(args.feed, e))?;
    let mut floor = Floor::new(args.mode, poll.registry().try_clone()?);
    tell_ready(listener.local_addr().map_err(failed)?)?;
    let mut events = Events::with_capacity(EVENTS_MAX);
    loop {
        let patience = (args.spin || feed.has_more()).then_some(Duration::ZERO);
        match poll.poll(&mut events, patience) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error.into()),
            _ => {}
        }
        for event in &events {
            match event.token() {
                LISTENER => floor.accept(&listener),
                FEED => feed.set_ready(),
                Token(token) => floor.handle(token - FIRST_CLIENT, event),
            }
        }
        let read = feed.read(|record| floor.publish(record));
        floor.flush();
        if read.map_err(|e| CeilingError::Feed(args.feed, e))? == FeedState::Ended {
            return Ok(());
        }
    }
}

/// A listener that holds as many connections as any server of the bench: the default of mio overflows with 256 at once.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

fn tell_ready(address: SocketAddr) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "ready {address}")?;
    out.flush()
}

/// Clients, what they subscribe to, and what waits for them.
struct Floor {
    mode: Mode,
    registry: Registry,
    /// By their token; a free place is none.
    clients: Vec<Option<Client>>,
    free: Vec<usize>,
    /// Index into `subscribers` by symbol.
    topics: HashMap<Box<[u8]>, usize>,
    subscribers: Vec<Vec<usize>>,
    /// Clients with something pending that are not blocked, each once.
    dirty: Vec<usize>,
    /// Clients whose socket failed while others were being written to.
    gone: Vec<usize>,
    /// The message at hand with its header.
    frame: Vec<u8>,
}

impl Floor {
    fn new(mode: Mode, registry: Registry) -> Self {
        Self {
            mode,
            registry,
            clients: Vec::new(),
            free: Vec::new(),
            topics: HashMap::new(),
            subscribers: Vec::new(),
            dirty: Vec::new(),
            gone: Vec::new(),
            frame: Vec::new(),
        }
    }

    fn accept(&mut self, listener: &TcpListener) {
        // An error that is not about this one connection will come again with the next event.
        while let Ok((mut stream, _)) = listener.accept() {
            let index = self.free.pop().unwrap_or(self.clients.len());
            let interest = Interest::READABLE | Interest::WRITABLE;
            let token = Token(FIRST_CLIENT + index);
            let watched =
                stream.set_nodelay(true).and_then(|()| self.registry.register(&mut stream, token, interest));
            let client = watched.is_ok().then(|| Client::new(stream));
            if index == self.clients.len() {
                self.clients.push(client);
            } else {
                self.clients[index] = client;
            }
        }
    }

    fn handle(&mut self, index: usize, event: &Event) {
        let Some(client) = self.clients.get_mut(index).and_then(Option::as_mut) else { return };
        let mut is_gone = event.is_error();
        if event.is_writable() && client.set_writable() {
            self.dirty.push(index);
        }
        if event.is_readable() {
            match client.read() {
                Reading::Symbols(symbols) => self.subscribe(index, &symbols),
                Reading::Idle => {}
                Reading::Gone => is_gone = true,
            }
        }
        if is_gone {
            self.remove(index);
        }
    }

    fn subscribe(&mut self, index: usize, symbols: &[Box<str>]) {
        for symbol in symbols {
            let topic = *self.topics.entry(symbol.as_bytes().into()).or_insert_with(|| {
                self.subscribers.push(Vec::new());
                self.subscribers.len() - 1
            });
            let Some(client) = self.clients[index].as_mut() else { return };
            if !client.topics.contains(&topic) {
                client.topics.push(topic);
                self.subscribers[topic].push(index);
            }
        }
        if let Some(client) = self.clients[index].as_mut() {
            client.topics.shrink_to_fit();
        }
    }

    fn publish(&mut self, record: Record<'_>) {
        let Some(&topic) = self.topics.get(record.symbol) else { return };
        self.frame.clear();
        frame::push_server(frame::TEXT, record.payload, &mut self.frame);
        for &index in &self.subscribers[topic] {
            let Some(client) = self.clients[index].as_mut() else { continue };
            let is_sent = match self.mode {
                Mode::Each => client.write(&self.frame),
                Mode::Batch => {
                    if client.push(&self.frame) {
                        self.dirty.push(index);
                    }
                    Ok(())
                }
            };
            if is_sent.is_err() {
                self.gone.push(index);
            }
        }
    }

    /// Writes what is pending, one write per client.
    fn flush(&mut self) {
        for index in self.dirty.drain(..) {
            let Some(client) = self.clients[index].as_mut() else { continue };
            if client.flush().is_err() {
                self.gone.push(index);
            }
        }
        while let Some(index) = self.gone.pop() {
            self.remove(index);
        }
    }

    fn remove(&mut self, index: usize) {
        let Some(client) = self.clients[index].take() else { return };
        for topic in client.topics {
            self.subscribers[topic].retain(|&subscriber| subscriber != index);
        }
        self.free.push(index);
    }
}
