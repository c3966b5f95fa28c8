//! The way back: brings subscriptions from their cursors to the heads, each in the way of its policy.
//!
//! Serves clients that lag, subscriptions with an interval that are due, and those that go on after a pause or a reconnect. What is
//! gone from the ring is told: a gap of trades by a notice (and by `trade_id`), a book out of reach by a fresh snapshot to who
//! opted in and by close code 4009 to others. Who writes what is in `gather.rs`.

use model::{Channel, Nanos, Policy, StreamKey};
use wire::close::CloseCode;
use wire::reply::{Notice, NoticeCode};

use super::gather::{Mark, other_epoch};
use super::{Hub, Sink};
use crate::client::{ClientId, Mode, Sub};
use crate::planted::{self, Bug};

/// Why a subscription cannot be brought on from its cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// What it needs is gone.
    OutOfReach,
    /// Its policy skips a book: it goes on from a snapshot.
    Skips,
    /// Its policy takes every entry or nothing, and entries are gone.
    Strict,
}

impl Hub {
    /// One write: the unsent rest and the answers, then what the subscriptions that are due lack, up to about `bytes_max`.
    pub(super) fn catch_up(&mut self, id: ClientId, bytes_max: usize, sink: &mut impl Sink) {
        let now = sink.now();
        if !self.prepare(id, now.mono) {
            return;
        }
        let mut bytes = std::mem::take(&mut self.scratch.bytes);
        let mut marks = std::mem::take(&mut self.scratch.marks);
        marks.clear();
        bytes.clear();
        let bytes_max = bytes_max.min(self.limits.write_bytes_max);
        let complete = self.gather(id, now.mono, bytes_max, &mut bytes, &mut marks);
        if bytes.is_empty() {
            // A cursor may move without a byte: over trades whose loss `trade_id` tells.
            self.settle(id, &bytes, &marks, 0, now.mono);
            self.finish_catch_up(id, complete);
        } else {
            let written = sink.write(id, &bytes);
            let now = sink.now();
            if let Some(taken) = self.account(id, written, bytes.len(), now) {
                self.settle(id, &bytes, &marks, taken, now.mono);
                if taken == bytes.len() {
                    self.finish_catch_up(id, complete);
                } else {
                    self.stay_behind(id);
                }
            }
        }
        self.scratch.bytes = bytes;
        self.scratch.marks = marks;
    }

    /// Whether a subscription is to be brought on now: all of a lagging client's, of a live one only the held.
    pub(super) fn is_served(mode: Mode, sub: &Sub, now: Nanos) -> bool {
        sub.is_due(now) && (mode == Mode::Lagging || !sub.is_fed())
    }

    /// Sees which subscriptions cannot be served from the ring; `false` when the client is closed for it.
    fn prepare(&mut self, id: ClientId, now: Nanos) -> bool {
        let Some(count) = self.client(id).map(|client| client.subs.len()) else { return false };
        for index in 0..count as u32 {
            let Some(client) = self.client(id) else { return false };
            let (sub, ext, mode) = (client.subs[index as usize], client.ext, client.mode);
            if !Self::is_served(mode, &sub, now) {
                continue;
            }
            match self.obstacle(&sub) {
                None => {}
                Some(Obstacle::Strict) => {
                    self.close(id, CloseCode::SlowConsumer, "lag limit of the disconnect policy");
                    return false;
                }
                // Who did not opt in gets no second snapshot, whatever the operator's policy.
                Some(Obstacle::OutOfReach | Obstacle::Skips)
                    if !ext && !planted::is(Bug::SnapshotRepeated) =>
                {
                    self.out_of_reach(id);
                    return false;
                }
                Some(Obstacle::OutOfReach) => self.resync(id, index, NoticeCode::Resynced),
                Some(Obstacle::Skips) => self.resync(id, index, NoticeCode::Gap),
            }
        }
        true
    }

    fn obstacle(&mut self, sub: &Sub) -> Option<Obstacle> {
        let stream = self.stream(sub.stream);
        let (channel, behind) = (stream.key.channel(), stream.published > sub.cursor);
        let complete = stream.reaches(sub.cursor);
        match sub.terms.policy {
            _ if !behind => None,
            Policy::Conflate | Policy::Latest => (!stream.serves(sub.cursor)).then_some(Obstacle::OutOfReach),
            Policy::Disconnect => (!complete).then_some(Obstacle::Strict),
            Policy::DropNewest if channel == Channel::Book => Some(Obstacle::Skips),
            // A book with a hole is wrong, so a hole in its entries means to begin again.
            Policy::DropOldest if channel == Channel::Book => (!complete).then_some(Obstacle::Skips),
            Policy::DropOldest | Policy::DropNewest => {
                (!stream.serves(sub.cursor)).then_some(Obstacle::OutOfReach)
            }
        }
    }

    /// Gives up on a cursor of a client that opted in: it is told, and gets a snapshot.
    fn resync(&mut self, id: ClientId, index: u32, code: NoticeCode) {
        let Some(sub) = self.client(id).map(|client| client.subs[index as usize]) else { return };
        let stream = self.stream(sub.stream);
        let (key, head, lost) = (stream.key, stream.head, stream.published - sub.cursor);
        let epoch = other_epoch(stream.epoch, &sub);
        let counts = self.count(key.channel());
        counts.dropped += lost - u64::from(planted::is(Bug::DropMiscounted));
        counts.pending -= lost;
        if let Some(client) = self.client(id) {
            client.rare().dropped += lost;
        }
        let symbol = self.symbol(key).to_owned();
        let notice = Notice {
            from_seq: Some(sub.cursor_seq),
            to_seq: Some(head),
            epoch,
            count: Some(lost),
            ..Notice::about(code, key, &symbol)
        };
        self.notify(id, &notice);
        self.unsync(id, index);
    }

    /// Moves the cursors over what the socket took; the frame it stopped in counts as taken and its rest is kept.
    fn settle(&mut self, id: ClientId, bytes: &[u8], marks: &[Mark], taken: usize, now: Nanos) {
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        let answers = client.out.len();
        if taken < answers {
            client.out.drain(..taken);
            return;
        }
        super::sweep::release(&mut client.out);
        let mut end = answers;
        while end < taken {
            end += super::sweep::frame_len(&bytes[end..]);
        }
        if end > answers && !planted::is(Bug::NoticeAlone) {
            // A notice goes together with the message that it speaks of: otherwise it would be said again, of another one.
            end = marks.iter().map(|mark| mark.end).find(|&whole| whole >= end).unwrap_or(end);
        }
        // The news that data is fresh goes with the update before it: nothing else would bring it.
        if let Some(mark) = marks.iter().find(|mark| mark.end > end).filter(|mark| mark.told_fresh) {
            end = mark.end;
        }
        client.out.extend_from_slice(&bytes[taken..end]);
        let mut messages = 0;
        for mark in marks.iter().filter(|mark| mark.end <= end) {
            let sub = &mut client.subs[mark.sub as usize];
            let passed = mark.ordinal - sub.cursor;
            let counts = &mut self.stats.channels[StreamKey::from(sub.stream).channel() as usize];
            counts.merged += mark.merged;
            counts.dropped += mark.dropped;
            counts.written += passed - mark.merged - mark.dropped;
            counts.pending -= passed;
            messages += passed - mark.merged - mark.dropped;
            if mark.dropped > 0 {
                client.rare.get_or_insert_default().dropped += mark.dropped;
            }
            (sub.cursor, sub.cursor_seq, sub.cursor_epoch) = (mark.ordinal, mark.seq, mark.epoch);
            sub.told_stale &= !mark.told_fresh;
            if sub.terms.interval_ms > 0 && sub.due <= now {
                sub.due = sub.next_due(now);
                self.timers.push(sub.due, id, Some(sub.stream));
            }
        }
        if messages > 0 {
            self.stats.write_messages.observe(messages);
        }
    }

    /// Everything due was taken: a client that lacks nothing more is live again, and what has to be synced is asked for.
    fn finish_catch_up(&mut self, id: ClientId, complete: bool) {
        let Some(client) = self.client(id) else { return };
        if !complete {
            client.has_due = true;
            return self.make_dirty(id);
        }
        client.has_due = false;
        if client.mode == Mode::Lagging && client.rate().is_none() && self.stays_in_rounds(id) {
            // Where it stands the next round begins.
            return;
        }
        let Some(client) = self.client(id) else { return };
        if let Some(rare) = client.rare.as_deref_mut() {
            rare.lagging_since = None;
        }
        let was_lagging = std::mem::replace(&mut client.mode, Mode::Live) == Mode::Lagging;
        let has_unsynced = client.has_unsynced;
        self.stats.lagging -= u64::from(was_lagging);
        if has_unsynced {
            self.ask_unsynced(id);
        }
    }

    /// The socket refused a part: whatever the client was, it lags now.
    fn stay_behind(&mut self, id: ClientId) {
        let end = self.log.end();
        if self.client(id).is_some_and(|client| client.mode == Mode::Live) {
            // Its ranges were written before; only held subscriptions were on their way.
            self.lag_told(id, end);
        }
    }
}
