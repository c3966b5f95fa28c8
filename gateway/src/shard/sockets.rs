//! The sockets of a shard: reading into one shared buffer, writing without waiting.

use std::collections::{BTreeMap, VecDeque};
use std::hint::black_box;
use std::io;
use std::net::SocketAddr;

use fanout::{ClientId, Now, Sink, Written};
use mio::{Interest, Registry, Token};
use model::Nanos;
use wire::ws::{FrameReader, Violation};

use super::Opening;
use super::link::Link;
use crate::clock::Clock;
use crate::http::Place;

/// Most bytes of one read.
const READ_BYTES: usize = 64 << 10;

/// Reads of one client before others are served.
const READS_PER_TURN: usize = 4;

/// What reading a client came to.
pub(super) enum ReadOutcome {
    /// Everything that is there was taken, for now.
    Idle,
    /// The peer has gone.
    Gone,
    /// Nothing more is read of it.
    Stopped(Stop),
}

/// Why a client is not read any more.
pub(super) enum Stop {
    /// It broke the framing rules.
    Violation(Violation),
    /// The hub has closed it.
    Closed,
}

struct Socket {
    link: Link,
    reader: FrameReader,
    /// Given back with the socket.
    _place: Place,
    /// After a violation or a close nothing is parsed any more; the rest is read and thrown away.
    deaf: bool,
    /// The answer to the opening request has not been sent whole.
    owes_answer: bool,
}

/// All sockets by the number of their client. Watched edge-triggered for both directions from the start, so that neither
/// blocking nor draining costs a system call.
pub(super) struct Sockets {
    registry: Registry,
    clock: Clock,
    sockets: Vec<Option<Socket>>,
    count: usize,
    /// Clients that had more to say than a turn takes; an edge is not told twice.
    unread: Vec<ClientId>,
    /// Octets that came behind an opening request, until their client is read for the first time.
    leftovers: Vec<(ClientId, Vec<u8>)>,
    /// Answers to opening requests, until their client is written to for the first time.
    answers: VecDeque<(ClientId, Vec<u8>)>,
    buffer: Vec<u8>,
    /// Wall time less monotonic time, as it was at the last tick: one clock is read for each write instead of two.
    wall_offset: Nanos,
    /// Bytes read so far.
    read_bytes: u64,
    /// Clients that have begun a message and not finished it, and since when (monotonic).
    midway: BTreeMap<ClientId, Nanos>,
}

impl Sockets {
    pub(super) fn new(registry: Registry, clock: Clock) -> Self {
        Self {
            registry,
            clock,
            sockets: Vec::new(),
            count: 0,
            unread: Vec::new(),
            leftovers: Vec::new(),
            answers: VecDeque::new(),
            buffer: vec![0; READ_BYTES],
            wall_offset: wall_offset(clock),
            read_bytes: 0,
            midway: BTreeMap::new(),
        }
    }

    /// Sees whether the wall clock was set.
    pub(super) fn handle_tick(&mut self) {
        self.wall_offset = wall_offset(self.clock);
    }

    pub(super) fn peer(&self, id: ClientId) -> Option<SocketAddr> {
        self.sockets.get(id.0 as usize)?.as_ref()?.link.peer().ok()
    }

    /// Bytes that clients sent.
    pub(super) const fn read_bytes(&self) -> u64 {
        self.read_bytes
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes a connection; what the client sent behind its handshake is read first.
    pub(super) fn insert(
        &mut self,
        id: ClientId,
        mut link: Link,
        reader: FrameReader,
        place: Place,
        opening: Opening,
    ) -> io::Result<()> {
        let Opening { answer, leftover } = opening;
        let interest = Interest::READABLE | Interest::WRITABLE;
        let registered = self.registry.register(link.socket(), Token(id.0 as usize), interest);
        if self.sockets.len() <= id.0 as usize {
            self.sockets.resize_with(id.0 as usize + 1, || None);
        }
        // What is in the socket already is told like what comes later; what TLS has taken from it is not.
        if !leftover.is_empty() || link.is_tls() {
            self.leftovers.push((id, leftover));
            self.unread.push(id);
        }
        let owes_answer = !answer.is_empty();
        if owes_answer {
            self.answers.push_back((id, answer));
        }
        self.sockets[id.0 as usize] = Some(Socket { link, reader, _place: place, deaf: false, owes_answer });
        self.count += 1;
        registered
    }

    /// Has a client read once more, if it is still there.
    pub(super) fn read_on(&mut self, id: ClientId) {
        if self.sockets.get(id.0 as usize).is_some_and(Option::is_some) {
            self.unread.push(id);
        }
    }

    pub(super) const fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    pub(super) fn take_unread(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.unread)
    }

    /// Reads what is there and gives it to `handle`, with the client's frame reader.
    pub(super) fn read(
        &mut self,
        id: ClientId,
        mut handle: impl FnMut(&mut [u8], &mut FrameReader) -> Result<(), Stop>,
    ) -> ReadOutcome {
        let Some(Some(socket)) = self.sockets.get_mut(id.0 as usize) else { return ReadOutcome::Idle };
        if let Some(index) = self.leftovers.iter().position(|(client, _)| *client == id) {
            let (_, mut bytes) = self.leftovers.swap_remove(index);
            if let Err(stop) = handle(&mut bytes, &mut socket.reader) {
                socket.deaf = true;
                return ReadOutcome::Stopped(stop);
            }
        }
        for _ in 0..READS_PER_TURN {
            let read = socket.link.read(&mut self.buffer);
            self.read_bytes += *read.as_ref().unwrap_or(&0) as u64;
            match read {
                Ok(0) => return ReadOutcome::Gone,
                Ok(_) if socket.deaf => {}
                Ok(len) => {
                    if let Err(stop) = handle(&mut self.buffer[..len], &mut socket.reader) {
                        socket.deaf = true;
                        // More may lie in the socket; the edge was used up by this read.
                        self.unread.push(id);
                        return ReadOutcome::Stopped(stop);
                    }
                    if len < READ_BYTES && !socket.link.is_tls() {
                        // The socket is empty; what comes from here on, also its end, is told.
                        return ReadOutcome::Idle;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return ReadOutcome::Idle,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return ReadOutcome::Gone,
            }
        }
        self.unread.push(id);
        ReadOutcome::Idle
    }

    /// Notes whether a client that was read is in the middle of a message; `finished` when another one was finished before it.
    pub(super) fn note_midway(&mut self, id: ClientId, finished: bool, now: Nanos) {
        let is_midway = self
            .sockets
            .get(id.0 as usize)
            .and_then(Option::as_ref)
            .is_some_and(|socket| !socket.deaf && socket.reader.is_midway());
        if !is_midway {
            if !self.midway.is_empty() {
                self.midway.remove(&id);
            }
        } else if finished {
            self.midway.insert(id, now);
        } else {
            self.midway.entry(id).or_insert(now);
        }
    }

    /// A client that has begun a message before `then` and not finished it; each is told once.
    pub(super) fn take_overdue(&mut self, then: Nanos) -> Option<ClientId> {
        let id = self.midway.iter().find(|(_, since)| **since < then).map(|(id, _)| *id)?;
        self.midway.remove(&id);
        Some(id)
    }

    /// The socket takes bytes again.
    pub(super) fn handle_writable(&mut self, id: ClientId) {
        if let Some(Some(socket)) = self.sockets.get_mut(id.0 as usize) {
            socket.link.handle_writable();
        }
    }

    /// Ends the writing half; the peer sees the end after everything that was written.
    pub(super) fn shutdown(&mut self, id: ClientId) {
        if let Some(Some(socket)) = self.sockets.get_mut(id.0 as usize) {
            socket.deaf = true;
            socket.link.shutdown();
        }
    }

    /// Drops a socket; `false` when there was none.
    pub(super) fn remove(&mut self, id: ClientId) -> bool {
        let Some(mut socket) = self.sockets.get_mut(id.0 as usize).and_then(Option::take) else {
            return false;
        };
        // Dropping the socket would do it as well; the kernel forgets a closed descriptor.
        let _ = self.registry.deregister(socket.link.socket());
        self.leftovers.retain(|(client, _)| *client != id);
        self.unread.retain(|&client| client != id);
        if socket.owes_answer {
            self.answers.retain(|(client, _)| *client != id);
        }
        self.midway.remove(&id);
        self.count -= 1;
        true
    }
}

impl Socket {
    fn write(&mut self, bytes: &[u8]) -> Written {
        loop {
            match self.link.write(bytes) {
                Ok(len) => return Written::Bytes(len),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Written::Bytes(0),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Written::Gone,
            }
        }
    }
}

/// The first write of a client, by `write`: the answer to its opening request goes before it, in one piece, and does not count; says also
/// whether the answer has left. Answers wait in the order in which clients came, which is nearly that in which they are written.
fn write_first(
    answers: &mut VecDeque<(ClientId, Vec<u8>)>,
    id: ClientId,
    bytes: &[u8],
    write: impl FnOnce(&[u8]) -> Written,
) -> (Written, bool) {
    let Some(index) = answers.iter().position(|(client, _)| *client == id) else {
        return (Written::Gone, false);
    };
    let answer = &mut answers[index].1;
    let owed = answer.len();
    answer.extend_from_slice(bytes);
    let written = write(answer);
    let Written::Bytes(taken) = written else { return (written, false) };
    if taken < owed {
        answer.truncate(owed);
        answer.drain(..taken);
        return (Written::Bytes(0), false);
    }
    answers.remove(index);
    (Written::Bytes(taken - owed), true)
}

fn wall_offset(clock: Clock) -> Nanos {
    let now = clock.now();
    now.wall.since(now.mono)
}

impl Sink for Sockets {
    fn write(&mut self, id: ClientId, bytes: &[u8]) -> Written {
        let Some(Some(socket)) = self.sockets.get_mut(id.0 as usize) else { return Written::Gone };
        if socket.owes_answer {
            let (written, has_left) = write_first(&mut self.answers, id, bytes, |all| socket.write(all));
            socket.owes_answer = !has_left;
            written
        } else {
            socket.write(bytes)
        }
    }

    fn now(&mut self) -> Now {
        let mono = self.clock.mono();
        Now { mono, wall: mono + self.wall_offset }
    }

    fn warm(&self, id: ClientId) {
        black_box(self.sockets.get(id.0 as usize).and_then(Option::as_ref).map(|socket| socket.owes_answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes through a socket that takes so many octets at a time until all of `bytes` is taken; says what came out.
    fn write_all(answer: &[u8], bytes: &[u8], at_a_time: usize) -> Vec<u8> {
        let (id, other) = (ClientId(7), ClientId(8));
        let mut answers = VecDeque::from([(other, b"other".to_vec()), (id, answer.to_vec())]);
        let (mut sent, mut rest, mut owes) = (Vec::new(), bytes, true);
        while owes || !rest.is_empty() {
            let mut write = |all: &[u8]| {
                let taken = all.len().min(at_a_time);
                sent.extend_from_slice(&all[..taken]);
                Written::Bytes(taken)
            };
            let written = if owes {
                let (written, has_left) = write_first(&mut answers, id, rest, &mut write);
                owes = !has_left;
                written
            } else {
                write(rest)
            };
            let Written::Bytes(taken) = written else { panic!("the socket is there") };
            rest = &rest[taken..];
        }
        assert_eq!(answers, [(other, b"other".to_vec())], "nobody else's answer is touched");
        sent
    }

    #[test]
    fn the_answer_to_an_upgrade_leaves_once_and_first_wherever_a_full_socket_cuts_it() {
        let (answer, status) = (b"HTTP/1.1 101 Switching Protocols", b"status and more");
        let whole = [&answer[..], status].concat();
        for at_a_time in 1..=whole.len() {
            assert_eq!(write_all(answer, status, at_a_time), whole, "{at_a_time} at a time");
        }
    }

    #[test]
    fn a_broken_socket_is_told_also_before_the_answer_has_left() {
        let mut answers = VecDeque::from([(ClientId(1), b"answer".to_vec())]);
        let mut write = |id| write_first(&mut answers, ClientId(id), b"status", |_| Written::Gone);
        assert_eq!(write(1), (Written::Gone, false));
        assert_eq!(write(2), (Written::Gone, false), "nothing is owed to it");
    }
}
