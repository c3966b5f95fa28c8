//! Writing: each dirty client in turn gets one write with everything it lacks at that moment.

use std::hint::black_box;

use wire::reply::{Notice, NoticeCode};
use wire::ws::{Opcode, write_frame};

use super::{Hub, Now, Output, Sink, Written};
use crate::client::{Client, ClientId, LogRange, Mode};
use crate::limits::Limits;
use crate::log::ByteLog;
use crate::planted::{self, Bug};

impl Hub {
    /// Visits up to `visits` dirty clients, and one of those with much to be written; returns how many. The caller looks into the
    /// engine's lane again before the next call, so that clients still waiting get what arrived meanwhile.
    pub fn sweep(&mut self, visits: usize, sink: &mut impl Sink) -> usize {
        self.warm_clients(visits, sink);
        let mut visited = 0;
        while visited < visits
            && let Some(id) = self.dirty.pop_front()
        {
            visited += 1;
            if self.client(id).is_some_and(|client| client.bulky) {
                self.move_apart(id, sink);
            } else {
                self.visit_queued(id, sink);
            }
        }
        if visits > 0
            && let Some(id) = self.bulky.pop_front()
        {
            visited += 1;
            self.visit_queued(id, sink);
        }
        if self.dirty.is_empty() {
            self.late = 0;
        }
        visited
    }

    /// Reads what the next visits begin with, so that the memory of many clients is fetched side by side.
    fn warm_clients(&self, visits: usize, sink: &impl Sink) {
        let next = || self.dirty.iter().take(visits);
        let clients = || next().filter_map(|id| self.clients[id.index()].as_ref());
        for client in clients() {
            black_box((client.mode, client.last_sent, client.has_due));
        }
        for &id in next() {
            sink.warm(id);
        }
        for client in clients() {
            black_box(client.ranges.first().copied());
        }
    }

    /// Lets a client with much to be written wait apart; its answers do not wait with it.
    fn move_apart(&mut self, id: ClientId, sink: &mut impl Sink) {
        let Some(client) = self.client(id) else { return };
        if client.mode != Mode::Live || client.rate().is_some() {
            return self.visit_queued(id, sink);
        }
        if !client.out.is_empty() {
            self.write_live_answers(id, sink);
        }
        let Some(client) = self.client(id) else { return };
        if client.mode == Mode::Live {
            // Moved in their order, so that the first of either queue is the one that was queued first.
            self.bulky.push_back(id);
        } else {
            (client.queued, client.bulky) = (false, false);
        }
    }

    /// Writes the answers of a client that keeps up, and leaves its data for later.
    fn write_live_answers(&mut self, id: ClientId, sink: &mut impl Sink) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        let written = sink.write(id, &client.out);
        let (given, now) = (client.out.len(), sink.now());
        match self.account(id, written, given, now) {
            Some(taken) if taken < given => self.cut_live(id, taken),
            Some(_) => {
                if let Some(client) = self.client(id) {
                    release(&mut client.out);
                }
            }
            None => {}
        }
    }

    fn visit_queued(&mut self, id: ClientId, sink: &mut impl Sink) {
        let Some(client) = self.client(id) else { return };
        (client.queued, client.bulky) = (false, false);
        self.visit(id, sink);
        self.close_flooders();
    }

    fn visit(&mut self, id: ClientId, sink: &mut impl Sink) {
        let Some(client) = self.clients[id.index()].as_ref() else { return };
        if client.blocked {
            return;
        }
        match client.mode {
            Mode::Live | Mode::Lagging if client.rate().is_some() => self.visit_rated(id, sink),
            Mode::Live => self.visit_live(id, sink),
            Mode::Lagging => self.catch_up(id, usize::MAX, sink),
            Mode::Closing(_) => self.write_out(id, sink),
            Mode::Closed => {}
        }
    }

    fn visit_live(&mut self, id: ClientId, sink: &mut impl Sink) {
        let Some(client) = self.clients[id.index()].as_ref() else { return };
        match client.ranges.first() {
            Some(first) if !self.log.holds(first.start) => {
                let written_to = first.start;
                self.lag_told(id, written_to);
                self.note_late();
                self.catch_up(id, usize::MAX, sink);
            }
            had => {
                let had_data = had.is_some();
                self.write_live(id, sink);
                let is_due =
                    |client: &mut Client| client.has_due && !client.blocked && client.ranges.is_empty();
                if self.client(id).is_some_and(is_due) {
                    self.catch_up(id, usize::MAX, sink);
                }
                let may_ask = |client: &mut Client| {
                    client.has_unsynced && client.mode == Mode::Live && client.ranges.is_empty()
                };
                if self.client(id).is_some_and(may_ask) {
                    self.ask_unsynced(id);
                }
                if self.overrun && had_data {
                    self.join_rounds(id);
                }
            }
        }
    }

    /// A client with a bandwidth: within its credit it is served like others, beyond it it lags until there is credit. Answers to
    /// its own requests do not wait for credit.
    fn visit_rated(&mut self, id: ClientId, sink: &mut impl Sink) {
        let now = sink.now().mono;
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        let Some(rate) = client.rate_mut() else { return };
        let credit = rate.credit(now);
        let next = rate.next(now);
        let is_armed = rate.wake > now;
        let given: u64 = client.ranges.iter().map(|range| range.end - range.start).sum();
        let first = client.ranges.first().map_or(u64::MAX, |range| range.start);
        // A snapshot goes out in debt, which the updates after it pay: given up, it would only be asked for again.
        let owes_snapshot = client.subs.iter().any(|sub| sub.snapshot_end > first);
        let has_credit = credit > 0 && given <= credit as u64;
        if client.mode == Mode::Live && (owes_snapshot || has_credit) {
            return self.visit_live(id, sink);
        }
        self.lag_live(id);
        if credit > 0 {
            self.catch_up(id, credit as usize, sink);
        } else {
            self.write_answers(id, sink);
        }
        let Some(client) = self.client(id) else { return };
        let waits = client.mode == Mode::Lagging && !is_armed;
        if let Some(rate) = client.rate_mut().filter(|_| waits) {
            rate.wake = next;
            self.timers.push(next, id, None);
        }
    }

    /// Writes only what answers the client's own requests, and the rest of a frame.
    fn write_answers(&mut self, id: ClientId, sink: &mut impl Sink) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        if client.out.is_empty() {
            return;
        }
        let written = sink.write(id, &client.out);
        let (given, now) = (client.out.len(), sink.now());
        if let Some(taken) = self.account(id, written, given, now)
            && let Some(client) = self.client(id)
        {
            client.out.drain(..taken);
        }
    }

    /// One write of a client that keeps up: its answers, then what its ranges cover.
    fn write_live(&mut self, id: ClientId, sink: &mut impl Sink) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        let heartbeat =
            std::mem::take(&mut client.heartbeat_due) && client.out.is_empty() && client.ranges.is_empty();
        if heartbeat {
            write_frame(Opcode::Text, b"{\"channel\":\"heartbeat\"}", &mut client.out);
        }
        let alone = first_alone(client, &self.limits).filter(|_| client.out.is_empty());
        let (ranges, bytes) = if let Some(first) = alone {
            // The common case needs no copy: one range of the log is one write.
            (1, self.log.read(first.start, first.end))
        } else {
            let joined = &mut self.scratch.bytes;
            joined.clear();
            joined.extend_from_slice(&client.out);
            let mut ranges = 0;
            for range in &client.ranges {
                let part = self.log.read(range.start, range.end);
                if ranges > 0 && joined.len() + part.len() > self.limits.write_bytes_max {
                    break;
                }
                joined.extend_from_slice(part);
                ranges += 1;
            }
            (ranges, &joined[..])
        };
        let given = bytes.len();
        if given == 0 {
            return;
        }
        let written = sink.write(id, bytes);
        let now = sink.now();
        self.stats.heartbeats += u64::from(heartbeat);
        match self.account(id, written, given, now) {
            None => {}
            Some(taken) if taken == given => self.finish_live(id, ranges, now),
            Some(taken) => self.cut_live(id, taken),
        }
    }

    /// Counts a write; `None` when the connection is gone.
    pub(super) fn account(
        &mut self,
        id: ClientId,
        written: Written,
        given: usize,
        now: Now,
    ) -> Option<usize> {
        let Written::Bytes(taken) = written else {
            self.outputs.push_back(Output::Abort(id));
            return None;
        };
        self.stats.writes += 1;
        self.stats.bytes_written += taken as u64;
        self.stats.writes_blocked += u64::from(taken < given);
        let client = self.client(id)?;
        client.written_bytes += taken as u64;
        if let Some(rate) = client.rate_mut() {
            rate.spend(taken);
        }
        if taken > 0 {
            client.last_sent = now.mono;
        }
        if taken < given {
            client.block(now.mono);
        }
        Some(taken)
    }

    /// Everything that was given was taken.
    fn finish_live(&mut self, id: ClientId, ranges: usize, now: Now) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        release(&mut client.out);
        if ranges > 0 {
            self.stats.publish_to_written.observe(now.wall.since(client.oldest.ts_publish).0);
            self.stats.event_to_written.observe(now.wall.since(client.oldest.ts_event).0);
        }
        client.ranges.drain(..ranges);
        if client.ranges.is_empty() {
            let messages = self.stats.write_given(&mut client.given);
            if messages > 0 {
                self.stats.write_messages.observe(messages);
            }
        } else if !client.queued {
            // More than one write can carry. It goes on before others with much to be written, so that whoever is first there was
            // also queued first; what it was given is still no older than when it was queued.
            (client.queued, client.bulky) = (true, true);
            self.bulky.push_front(id);
        }
    }

    /// The socket took only a part: what follows the frame it stopped in becomes a cursor.
    fn cut_live(&mut self, id: ClientId, taken: usize) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        let answers = client.out.len();
        if taken < answers {
            client.out.drain(..taken);
            // Also without ranges: a live client is never blocked, so what it is given is always on its way to be written.
            let end = self.log.end();
            let written_to = client.ranges.first().map_or(end, |first| first.start);
            self.lag_told(id, written_to);
            return;
        }
        client.out.clear();
        let mut left = (taken - answers) as u64;
        let mut written_to = 0;
        for range in &client.ranges {
            let len = range.end - range.start;
            if left < len {
                written_to = frame_end(&self.log, range, left);
                let rest = self.log.read(range.start + left, written_to);
                if !planted::is(Bug::RestForgotten) {
                    client.out.extend_from_slice(rest);
                }
                if planted::is(Bug::EntryRepeated) {
                    written_to = range.start;
                }
                break;
            }
            left -= len;
            written_to = range.end;
        }
        self.lag_told(id, written_to);
    }

    /// Makes a live client lagging because it is too slow; who opted in is told, once until it has caught up.
    pub(super) fn lag_told(&mut self, id: ClientId, written_to: u64) {
        self.lag(id, written_to);
        let Some(client) = self.client(id) else { return };
        if client.mode == Mode::Lagging && client.lagging_since().is_none() {
            client.rare().lagging_since = Some(client.last_sent);
            self.notify(id, &Notice::new(NoticeCode::Lagging));
        }
    }

    /// Turns what a live client was given and not sent into cursors: everything before `written_to` was sent.
    pub(super) fn lag(&mut self, id: ClientId, written_to: u64) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        assert_eq!(client.mode, Mode::Live, "only a live client begins to lag");
        client.mode = Mode::Lagging;
        self.stats.lagging += 1;
        // What was pending as ranges and is not behind a cursor below was written.
        client.ranges = Vec::new();
        self.stats.write_given(&mut client.given);
        for index in 0..client.subs.len() {
            self.place_cursor(id, index, written_to);
        }
        self.make_dirty(id);
    }

    fn place_cursor(&mut self, id: ClientId, index: usize, written_to: u64) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        let sub = &mut client.subs[index];
        let stream = self.streams.get(sub.stream.index()).and_then(Option::as_deref);
        let Some(stream) = stream.filter(|_| sub.state == crate::client::SubState::Active) else { return };
        let channel = stream.key.channel();
        let never_synced = sub.snapshot_end > written_to;
        if !sub.is_fed() {
            // Held: its cursor is where it was.
            if never_synced {
                let pending = stream.published - sub.cursor;
                let counts = self.stats.channel(channel);
                counts.discarded += pending;
                counts.pending -= pending;
                self.unsync(id, index as u32);
            }
            return;
        }
        // What fell out of the ring was sent: whoever was not sent an entry began to lag before it fell out.
        let ordinal = stream.ordinal_before(written_to).max(stream.oldest() - 1);
        let off = u64::from(planted::is(Bug::CursorOffByOne));
        let ordinal = (ordinal + off).min(stream.published);
        if ordinal > sub.cursor {
            sub.cursor = ordinal;
            (sub.cursor_seq, sub.cursor_epoch) = stream.place(ordinal);
        }
        let pending = stream.published - sub.cursor;
        let counts = self.stats.channel(channel);
        counts.written -= pending;
        if never_synced {
            counts.discarded += pending;
            self.unsync(id, index as u32);
        } else {
            counts.pending += pending;
        }
    }

    /// Writes what a closing client has left, its close frame last.
    fn write_out(&mut self, id: ClientId, sink: &mut impl Sink) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        let written = sink.write(id, &client.out);
        let (given, now) = (client.out.len(), sink.now());
        let Some(taken) = self.account(id, written, given, now) else { return };
        let Some(client) = self.client(id) else { return };
        client.out.drain(..taken);
        if client.out.is_empty() {
            client.mode = Mode::Closed;
            self.outputs.push_back(Output::Closed(id));
        }
    }
}

/// The first range of a client, when it is to be written by itself: it is the only one, or the next does not fit beside it.
fn first_alone<'a>(client: &'a Client, limits: &Limits) -> Option<&'a LogRange> {
    match &client.ranges[..] {
        [first] => Some(first),
        [first, second, ..] => {
            let bytes = first.end - first.start + second.end - second.start;
            (bytes as usize > limits.write_bytes_max).then_some(first)
        }
        [] => None,
    }
}

/// Empties a buffer, and gives its room back: answers are rare, and a client that only listens needs none.
pub(super) fn release(buffer: &mut Vec<u8>) {
    *buffer = Vec::new();
}

/// Length of the server frame at the beginning of some bytes, header included.
pub(super) fn frame_len(bytes: &[u8]) -> usize {
    match bytes[1] {
        126 => 4 + usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        127 => {
            let mut len = [0; 8];
            len.copy_from_slice(&bytes[2..10]);
            10 + usize::try_from(u64::from_be_bytes(len)).expect("we wrote it from a usize")
        }
        len => 2 + usize::from(len),
    }
}

/// End of the frame in which `offset` bytes into a range lies; `offset` itself when it is between two frames.
fn frame_end(log: &ByteLog, range: &LogRange, offset: u64) -> u64 {
    let bytes = log.read(range.start, range.end);
    let mut at = 0;
    while at < offset as usize {
        at += frame_len(&bytes[at..]);
    }
    range.start + at as u64
}
