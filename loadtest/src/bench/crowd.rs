//! The crowd: many light connections on one thread, which polls instead of sleeping so that no wake-up is measured.
//!
//! Owns the readiness set and the connections. Never decides what a figure means: it counts (`meter.rs`), and the
//! session asks. What it gets is not verified beyond links: `loadtest run` is the witness, this is the load.

mod dialect;
mod member;
mod meter;

use crate::bench::work::Work;
use member::{Member, MemberError, Rest, State};
use mio::{Events, Interest, Poll, Token};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

pub(crate) use dialect::Dialect;
pub(crate) use member::Role;
pub(crate) use meter::{Counts, Meter, PARTS};

const EVENTS_MAX: usize = 1_024;
/// Room for what one read brings; a frame that is longer ends its connection.
const BUFFER_BYTES: usize = 512 << 10;
/// How long a crowd may take to come together.
const JOIN_LIMIT: Duration = Duration::from_secs(60);
/// How long a turn waits while connections are made.
const JOIN_PATIENCE: Duration = Duration::from_millis(1);

/// Where a crowd connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    /// Address of the server.
    pub(crate) address: SocketAddr,
    /// What it speaks.
    pub(crate) dialect: Dialect,
}

/// A crowd that did not come together.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CrowdError {
    /// The readiness set.
    #[error("cannot poll sockets: {0}")]
    Poll(#[from] io::Error),
    /// A connection.
    #[error("{open} of {asked} clients are connected, then: {error}")]
    Member {
        /// How many are open.
        open: usize,
        /// How many were wanted.
        asked: usize,
        /// What happened to the first that is not.
        error: String,
    },
}

/// The connections.
pub(crate) struct Crowd {
    target: Target,
    source: Ipv4Addr,
    work: Work,
    names: Arc<[String]>,
    poll: Poll,
    events: Events,
    members: Vec<Option<Member>>,
    free: Vec<usize>,
    /// Members that had more to say than one turn takes; an edge is not told twice.
    unread: Vec<usize>,
    buffer: Vec<u8>,
    /// The counts.
    pub(crate) meter: Meter,
    /// Connections on their way to be open.
    opening: usize,
    /// Connections that were opened so far.
    opened: usize,
    /// Why the first connection that was lost was lost.
    error: Option<String>,
    /// Time of turns that had something to do, and since when the turn at hand lasts.
    busy: Duration,
    since: Instant,
}

impl Crowd {
    /// A crowd without members, whose work has symbols of these names.
    pub(crate) fn new(target: Target, work: Work, names: Arc<[String]>) -> io::Result<Self> {
        assert!(work.symbols <= names.len(), "every symbol has a name");
        Ok(Self {
            target,
            source: next_source(),
            work,
            names,
            poll: Poll::new()?,
            events: Events::with_capacity(EVENTS_MAX),
            members: Vec::new(),
            free: Vec::new(),
            unread: Vec::new(),
            buffer: vec![0; BUFFER_BYTES],
            meter: Meter::new(),
            opening: 0,
            opened: 0,
            error: None,
            busy: Duration::ZERO,
            since: Instant::now(),
        })
    }

    /// Connects the clients of the work up to this number, so many at a time, each in its role, and says how long that took.
    pub(crate) fn join(
        &mut self,
        asked: usize,
        in_flight: usize,
        role: impl Fn(usize) -> Role,
    ) -> Result<Duration, CrowdError> {
        let start = Instant::now();
        let mut next = self.opened;
        while self.opened < asked && self.error.is_none() && start.elapsed() < JOIN_LIMIT {
            while next < asked && self.opening < in_flight && self.error.is_none() {
                self.start(role(next));
                next += 1;
            }
            self.turn(Some(JOIN_PATIENCE))?;
        }
        if self.opened == asked {
            return Ok(start.elapsed());
        }
        let error = self.error.clone().unwrap_or_else(|| format!("no answer for {} s", JOIN_LIMIT.as_secs()));
        Err(CrowdError::Member { open: self.opened, asked, error })
    }

    /// For so long, keeps so many further connections on their way, each of which leaves when it is open. Says how many
    /// came. Those that fail are seen in the counts.
    pub(crate) fn storm(&mut self, in_flight: usize, span: Duration) -> io::Result<usize> {
        let opened = self.opened;
        let start = Instant::now();
        while start.elapsed() < span {
            for _ in self.opening..in_flight {
                self.start(Role::Visitor);
            }
            self.turn(Some(Duration::ZERO))?;
        }
        Ok(self.opened - opened)
    }

    fn start(&mut self, role: Role) {
        let index = self.free.pop().unwrap_or(self.members.len());
        if index == self.members.len() {
            self.members.push(None);
        }
        let interest = Interest::READABLE | Interest::WRITABLE;
        let started = Member::start(self.target.address, self.source, role).and_then(|mut member| {
            self.poll.registry().register(&mut member.stream, Token(index), interest)?;
            Ok(member)
        });
        match started {
            Ok(member) => {
                self.members[index] = Some(member);
                self.opening += 1;
            }
            Err(error) => {
                self.free.push(index);
                self.lose(error.to_string());
            }
        }
    }

    fn lose(&mut self, error: String) {
        self.meter.counts.gone += 1;
        self.error.get_or_insert(error);
    }

    /// Handles what the sockets say, waiting for that at most so long; without a limit for ever.
    pub(crate) fn turn(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let patience = if self.unread.is_empty() { patience } else { Some(Duration::ZERO) };
        match self.poll.poll(&mut self.events, patience) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        if patience != Some(Duration::ZERO) {
            // What was slept through is no work; where nobody sleeps, looking for work is part of it.
            self.since = Instant::now();
        }
        let was_idle = self.events.is_empty() && self.unread.is_empty();
        for index in std::mem::take(&mut self.unread) {
            self.read(index);
        }
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        for event in &events {
            let index = event.token().0;
            if event.is_writable() {
                self.write(index);
            }
            if event.is_readable() || event.is_error() {
                self.read(index);
            }
        }
        self.events = events;
        let now = Instant::now();
        if was_idle {
            // The publisher shares the core: it need not wait until this thread's slice of time is over.
            std::thread::yield_now();
        } else {
            self.busy += now - self.since;
        }
        self.since = now;
        Ok(())
    }

    fn write(&mut self, index: usize) {
        let Target { address, dialect } = self.target;
        let Some(member) = self.members[index].as_mut() else { return };
        let (work, names) = (self.work, &self.names);
        let symbols = || symbols_of(work, names, index);
        if let Err(error) = member.handle_writable(address, dialect, symbols) {
            self.remove(index, Some(error));
        }
    }

    fn read(&mut self, index: usize) {
        let Some(member) = self.members[index].as_mut() else { return };
        let result = match member.state {
            State::Connecting => self.check(index),
            State::Upgrading => self.upgrade(index),
            State::Open => member.read(&mut self.buffer, &mut self.meter),
        };
        match result {
            Ok(Rest::Dry) => {}
            Ok(Rest::More) => self.unread.push(index),
            Err(error) => self.remove(index, Some(error)),
        }
    }

    /// A socket that says something before it is connected has failed.
    fn check(&self, index: usize) -> Result<Rest, MemberError> {
        let Some(member) = &self.members[index] else { return Ok(Rest::Dry) };
        match member.stream.take_error()? {
            Some(error) => Err(error.into()),
            None => Ok(Rest::Dry),
        }
    }

    fn upgrade(&mut self, index: usize) -> Result<Rest, MemberError> {
        let Some(member) = self.members[index].as_mut() else { return Ok(Rest::Dry) };
        let symbols: Vec<&str> = match member.role {
            Role::Visitor => Vec::new(),
            _ => symbols_of(self.work, &self.names, index),
        };
        if !member.read_answer(self.target.dialect, &symbols, &mut self.buffer)? {
            return Ok(Rest::Dry);
        }
        self.opening -= 1;
        self.opened += 1;
        match member.role {
            // What was sent behind the answer has been read with it, and is not told again.
            Role::Reader | Role::Witness => return Ok(Rest::More),
            Role::Stalled => self.poll.registry().deregister(&mut member.stream)?,
            Role::Visitor => self.remove(index, None),
        }
        Ok(Rest::Dry)
    }

    fn remove(&mut self, index: usize, error: Option<MemberError>) {
        let Some(member) = self.members[index].take() else { return };
        self.free.push(index);
        if let Some(error) = error {
            self.opening -= usize::from(member.state != State::Open);
            self.lose(error.to_string());
        }
    }

    /// Time of turns that had something to do since the last time that this was asked.
    pub(crate) fn take_busy(&mut self) -> Duration {
        std::mem::take(&mut self.busy)
    }

    /// Why the first lost connection was lost.
    pub(crate) fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }
}

/// The names of the symbols of a client; one that is none of the work has those of another.
fn symbols_of(work: Work, names: &[String], client: usize) -> Vec<&str> {
    work.symbols_of(client).map(|symbol| names[symbol].as_str()).collect()
}

/// A source address that no crowd of this process had before: each has ports enough for all its connections.
fn next_source() -> Ipv4Addr {
    static USED: AtomicU32 = AtomicU32::new(0);
    // Relaxed: the number only has to be different each time.
    let number = USED.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::new(127, 1 + (number / 250 % 250) as u8, (number % 250) as u8, 1)
}
