//! A verifying client that comes back whatever happens to its connection.
//!
//! Owns its connection, when it tries again, and what it still has to be sent until it is fresh. Never judges a message: its
//! [`Verifier`] does; never judges an end: [`super::crowd`] does, which knows what is going on. Readiness and time come from there.

use super::reference::Place;
use crate::client::link::{Dial, Incoming, Link, LinkError, READ_BYTES};
use crate::frame;
use crate::plan::{Group, Plan};
use crate::scan::Channel;
use crate::time;
use crate::verify::{Desk, Seen, Verifier, What};
use crate::violation::quote;
use mio::event::Event;
use mio::{Interest, Registry, Token};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// How long connecting and the handshake may take together.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// First and longest time between two attempts to connect, unless the gateway names one.
const RETRY_MIN: Duration = Duration::from_millis(50);
const RETRY_MAX: Duration = Duration::from_millis(400);
/// Time between two looks at the clock for silence and overdue answers.
const TICK_EVERY: Duration = Duration::from_millis(500);
/// Receive buffer of a client that may be told not to read.
const NARROW_BYTES: usize = 32 << 10;
/// The golden ratio's fraction: multiples of it are spread evenly.
const SPREAD: f64 = 0.618_033_988_749_895;
/// What a goodbye says before the milliseconds.
const COME_BACK: &str = "come back after ";

/// What names of groups begin with whose clients may be told not to read.
pub(super) const STALLS: &str = "stalling";

/// Where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Away,
    Dialing,
    Upgrading,
    Open,
}

/// How a connection ended that had been open.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) at: Instant,
    pub(crate) client: u32,
    /// Of the close frame; none when there was no such.
    pub(crate) code: Option<u16>,
    pub(crate) reason: String,
    /// When the gateway wants it back.
    pub(crate) asked_back: Option<Duration>,
}

/// What it needs of its thread.
pub(super) struct Env<'a> {
    pub(super) plan: &'a Plan,
    pub(super) registry: &'a Registry,
    /// Where it connects, whoever it was connected to before.
    pub(super) address: SocketAddr,
    pub(super) desk: &'a mut Desk,
    pub(super) buffer: &'a mut Vec<u8>,
    pub(super) now: Instant,
}

/// The client.
pub(crate) struct Watcher {
    pub(super) number: u32,
    /// Its symbols, as places in the plan's.
    pub(super) symbols: Vec<usize>,
    stage: Stage,
    link: Option<Link>,
    pub(super) verifier: Box<Verifier>,
    is_narrow: bool,
    may_read: bool,
    is_read_closed: bool,
    /// It was told not to read.
    pub(super) is_stalled: bool,
    /// It was, and may have been closed for that.
    pub(super) may_be_slow: bool,
    /// When it tries to connect.
    dial_at: Option<Instant>,
    /// It was told to connect.
    pub(super) takes_part: bool,
    retry: Duration,
    /// Until when the handshake may last.
    deadline: Option<Instant>,
    tick_at: Option<Instant>,
    /// Connections that it has had.
    pub(super) opened: u64,
    /// Symbols of which something was verified that is beyond the mark.
    fresh: Vec<bool>,
}

impl Watcher {
    pub(super) fn new(number: u32, plan: &Plan) -> Self {
        let group = Self::group_of(number, plan);
        Self {
            number,
            symbols: symbols_of(number, plan),
            stage: Stage::Away,
            link: None,
            verifier: Box::new(Verifier::new(number, plan, time::now())),
            is_narrow: stalls(group),
            may_read: false,
            is_read_closed: false,
            is_stalled: false,
            may_be_slow: false,
            dial_at: None,
            takes_part: false,
            retry: RETRY_MIN,
            deadline: None,
            tick_at: None,
            opened: 0,
            fresh: vec![false; group.symbols_per_client],
        }
    }

    pub(super) fn group_of(number: u32, plan: &Plan) -> &Group {
        &plan.settings.groups[plan.group_of(number)]
    }

    /// Takes part from this time on.
    pub(super) const fn connect_at(&mut self, at: Instant) {
        self.takes_part = true;
        self.dial_at = Some(at);
    }

    /// Its connection is there, and its subscriptions are answered.
    pub(super) fn is_served(&self) -> bool {
        self.stage == Stage::Open && self.verifier.is_settled()
    }

    /// Whether it is served and something of each of its symbols is beyond the mark; of trades, which are rare, of one symbol.
    pub(super) fn is_fresh(&self, plan: &Plan) -> bool {
        let is_book = Self::group_of(self.number, plan).channel == Channel::Book;
        let mut fresh = self.fresh.iter();
        self.is_served() && if is_book { fresh.all(|one| *one) } else { fresh.any(|one| *one) }
    }

    /// Nothing is beyond the new mark yet.
    pub(super) fn expect_fresh(&mut self) {
        self.fresh.fill(false);
    }

    /// Notes what it was sent of a symbol of its own.
    pub(super) fn note_seen(&mut self, seen: Seen, mark: Place) {
        if let What::Element { epoch: Some(epoch), seq: Some(seq), .. } = seen.what {
            self.fresh[seen.subscription] |= (epoch, seq) > mark;
        }
    }

    /// Stops to read, or reads again.
    pub(super) fn stall(&mut self, is_stalled: bool) {
        self.is_stalled = is_stalled;
        self.may_be_slow |= is_stalled;
        self.may_read |= !is_stalled;
        self.verifier.excuse_silence(time::now());
    }

    pub(super) fn wants_turn(&self) -> bool {
        self.may_read && !self.is_stalled
    }

    /// When it wants to be looked at.
    pub(super) fn due(&self) -> Option<Instant> {
        [self.dial_at, self.deadline, self.tick_at].into_iter().flatten().min()
    }

    pub(super) fn handle_event(&mut self, event: &Event, env: &mut Env<'_>) -> Option<End> {
        self.is_read_closed |= event.is_read_closed() || event.is_error();
        self.may_read |= event.is_readable() || self.is_read_closed;
        if !event.is_writable() {
            return None;
        }
        let link = self.link.as_mut()?;
        let result = if self.stage == Stage::Dialing {
            let path = env.plan.settings.target.path_for(Self::group_of(self.number, env.plan).opted_in);
            link.finish_dial(&env.plan.settings.target, &path)
        } else {
            link.flush().map(|()| false).map_err(Into::into)
        };
        match result {
            Ok(true) => self.stage = Stage::Upgrading,
            Ok(false) => {}
            Err(error) => return self.fail(&error, env),
        }
        None
    }

    pub(super) fn handle_time(&mut self, env: &mut Env<'_>) -> Option<End> {
        let is_due = |at: Option<Instant>| at.is_some_and(|at| at <= env.now);
        if is_due(self.dial_at) {
            self.dial_at = None;
            return self.dial(env);
        }
        if is_due(self.deadline) {
            return self.fail(&LinkError::Refused("it takes too long".to_owned()), env);
        }
        if is_due(self.tick_at) {
            self.tick_at = Some(env.now + TICK_EVERY);
            if !self.is_stalled {
                self.verifier.handle_time(time::now(), &mut env.desk.tally);
            }
        }
        None
    }

    fn dial(&mut self, env: &mut Env<'_>) -> Option<End> {
        let receive_bytes = self.is_narrow.then_some(NARROW_BYTES);
        let dial = Dial { address: env.address, source: None, receive_bytes };
        self.stage = Stage::Dialing;
        self.deadline = Some(env.now + CONNECT_LIMIT);
        let salt = u64::from(self.number) << 32 | self.opened;
        let token = Token(self.number as usize);
        let dialed = Link::dial(&dial, salt).and_then(|mut link| {
            env.registry.register(&mut link.stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(link)
        });
        match dialed {
            Ok(link) => self.link = Some(link),
            Err(error) => return self.fail(&error.into(), env),
        }
        None
    }

    /// Reads once.
    pub(super) fn take_turn(&mut self, env: &mut Env<'_>) -> Option<End> {
        if self.stage == Stage::Upgrading {
            match self.link.as_mut()?.read_answer(env.buffer) {
                Ok(true) => self.open(env),
                Ok(false) => self.may_read = false,
                Err(error) => return self.fail(&error, env),
            }
        }
        if self.stage != Stage::Open {
            self.may_read &= self.stage == Stage::Upgrading;
            return None;
        }
        self.read(env)
    }

    fn open(&mut self, env: &mut Env<'_>) {
        self.stage = Stage::Open;
        self.opened += 1;
        (self.retry, self.deadline, self.tick_at) = (RETRY_MIN, None, Some(env.now + TICK_EVERY));
        let now = time::now();
        self.verifier.reconnect(now);
        let requests = self.verifier.subscribe_all(Self::group_of(self.number, env.plan), now);
        let Some(link) = &mut self.link else { return };
        for request in requests {
            // A socket that fails tells so when it is read.
            let _ = link.send(frame::TEXT, request.as_bytes());
        }
    }

    fn read(&mut self, env: &mut Env<'_>) -> Option<End> {
        let (link, verifier, desk) = (self.link.as_mut()?, &mut self.verifier, &mut *env.desk);
        let mut closed = None;
        let mut pongs: Vec<Vec<u8>> = Vec::new();
        let now = time::now();
        let came = link.read(env.buffer, READ_BYTES, |incoming| {
            match incoming {
                Incoming::Text(text) => verifier.handle_text(text, now, desk),
                Incoming::Binary(payload) => verifier.handle_binary(payload, now, &mut desk.tally),
                Incoming::Ping(payload) => {
                    verifier.handle_ping(now, &mut desk.tally);
                    pongs.push(payload.to_vec());
                }
                Incoming::Close(payload) => closed = Some(close_of(payload)),
            }
            closed.is_none()
        });
        for pong in pongs {
            let _ = link.send(frame::PONG, &pong);
        }
        match (came, closed) {
            (_, Some((code, reason))) => Some(self.end(code, reason, env)),
            (Err(error), None) => self.fail(&error, env),
            (Ok(came), None) => {
                // A short read has emptied the socket; what comes later is told of again.
                self.may_read = came.is_some_and(|came| came >= READ_BYTES || self.is_read_closed);
                None
            }
        }
    }

    /// The link failed: the end of a connection, or an attempt in vain, which is nobody's business.
    fn fail(&mut self, error: &LinkError, env: &mut Env<'_>) -> Option<End> {
        if self.stage == Stage::Open {
            return Some(self.end(None, error.to_string(), env));
        }
        self.hang_up(env, None);
        None
    }

    fn end(&mut self, code: Option<u16>, reason: String, env: &mut Env<'_>) -> End {
        let asked_back = asked_back(&reason);
        self.hang_up(env, asked_back);
        End { at: env.now, client: self.number, code, reason, asked_back }
    }

    /// Tries again at the time that the gateway named, or after a while that grows with each attempt.
    fn hang_up(&mut self, env: &mut Env<'_>, asked_back: Option<Duration>) {
        if let Some(mut link) = self.link.take() {
            // It is dropped with the registration, whether it can be withdrawn or not.
            let _ = env.registry.deregister(&mut link.stream);
            link.reset_at_end();
        }
        if self.stage == Stage::Open {
            self.verifier.disconnect();
        }
        let part = 0.5 + (f64::from(self.number) * SPREAD).fract() / 2.0;
        self.dial_at = Some(env.now + asked_back.unwrap_or_else(|| self.retry.mul_f64(part)));
        self.retry = (self.retry * 2).min(RETRY_MAX);
        (self.stage, self.deadline, self.tick_at) = (Stage::Away, None, None);
        (self.may_read, self.is_read_closed) = (false, false);
    }

    /// Leaves for good.
    pub(super) fn leave(&mut self, env: &mut Env<'_>) {
        self.hang_up(env, None);
        self.dial_at = None;
    }
}

/// Whether clients of a group may be told not to read; they have small receive buffers.
pub(super) fn stalls(group: &Group) -> bool {
    group.name.starts_with(STALLS)
}

fn symbols_of(number: u32, plan: &Plan) -> Vec<usize> {
    let place = |symbol: &str| plan.symbols.iter().position(|one| one == symbol);
    plan.symbols_of(number).filter_map(place).collect()
}

fn close_of(payload: &[u8]) -> (Option<u16>, String) {
    match payload {
        [high, low, reason @ ..] => (Some(u16::from_be_bytes([*high, *low])), quote(reason)),
        _ => (None, "a close frame without code".to_owned()),
    }
}

/// When a goodbye asks to come back.
fn asked_back(reason: &str) -> Option<Duration> {
    let (_, rest) = reason.split_once(COME_BACK)?;
    rest.strip_suffix(" ms")?.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goodbye_says_when_to_come_back() {
        let wanted = Some(Duration::from_millis(1_234));
        assert_eq!(asked_back("gateway restarts, come back after 1234 ms"), wanted);
        assert_eq!(asked_back("gateway restarts"), None);
        let close = [&1012_u16.to_be_bytes()[..], b"gateway restarts"].concat();
        assert_eq!(close_of(&close), (Some(1012), "gateway restarts".to_owned()));
    }
}
