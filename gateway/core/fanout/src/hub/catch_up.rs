//! The way back: brings a lagging client from its cursors to the heads, in the way of each channel.
//!
//! A book is sent as one merged update, a ticker as its newest row, candles as the last state of each interval, trades one by one.
//! What is gone from the ring is told: a gap of trades by a notice (and by `trade_id`), a book out of reach by a
//! fresh snapshot to who opted in and by close code 4009 to others.

use model::{Epoch, INTERVALS_MIN, Sequence, StreamId, StreamKey};
use wire::reply::{Notice, NoticeCode};
use wire::update::{self, Link};
use wire::ws::{Opcode, write_frame};

use super::{Hub, Sink};
use crate::client::{ClientId, Mode, Sub, SubState};
use crate::stream::{Merged, RingData, RingEntry, Stream, SubRef};

/// Where a frame of a catch-up ends, and what holds once it is handed to the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    end: usize,
    sub: u32,
    ordinal: u64,
    seq: Sequence,
    epoch: Epoch,
    merged: u64,
    dropped: u64,
}

impl Hub {
    /// One write of a lagging client: its unsent rest and answers, then what its subscriptions lack.
    pub(super) fn catch_up(&mut self, id: ClientId, sink: &mut impl Sink) {
        if !self.prepare(id) {
            return;
        }
        let mut bytes = std::mem::take(&mut self.scratch.bytes);
        let mut marks = std::mem::take(&mut self.scratch.marks);
        marks.clear();
        bytes.clear();
        let complete = self.gather(id, &mut bytes, &mut marks);
        if bytes.is_empty() {
            // A cursor may move without a byte: over trades whose loss `trade_id` tells.
            self.settle(id, &bytes, &marks, 0);
            self.become_live(id, complete);
        } else {
            let written = sink.write(id, &bytes);
            let now = sink.now();
            if let Some(taken) = self.account(id, written, bytes.len(), now) {
                self.settle(id, &bytes, &marks, taken);
                if taken == bytes.len() {
                    self.become_live(id, complete);
                }
            }
        }
        self.scratch.bytes = bytes;
        self.scratch.marks = marks;
    }

    /// Sees which subscriptions cannot be served from the ring; `false` when the client is closed for it.
    fn prepare(&mut self, id: ClientId) -> bool {
        let Some(count) = self.client(id).map(|client| client.subs.len()) else { return false };
        for index in 0..count as u32 {
            let Some(client) = self.client(id) else { return false };
            let (sub, ext) = (client.subs[index as usize], client.ext);
            let stream = self.stream(sub.stream);
            let gone = sub.state == SubState::Active && !stream.serves(sub.cursor);
            if gone && !ext {
                self.out_of_reach(id);
                return false;
            }
            if gone {
                self.resync(id, index, &sub);
            }
        }
        true
    }

    /// Gives up on a cursor of a client that opted in: it is told, and gets a snapshot.
    fn resync(&mut self, id: ClientId, index: u32, sub: &Sub) {
        let stream = self.stream(sub.stream);
        let (key, head, lost) = (stream.key, stream.head, stream.published - sub.cursor);
        self.count(key.channel()).dropped += lost;
        let symbol = self.symbol(key).to_owned();
        let notice = Notice {
            channel: Some(key.channel()),
            symbol: Some(&symbol),
            from_seq: Some(sub.cursor_seq),
            to_seq: Some(head),
            count: Some(lost),
            ..Notice::new(NoticeCode::Resynced)
        };
        self.notify(id, &notice);
        self.unsync(id, index);
    }

    /// Joins everything that the client lacks, up to the size of one write; `true` when nothing is left after it.
    fn gather(&mut self, id: ClientId, bytes: &mut Vec<u8>, marks: &mut Vec<Mark>) -> bool {
        let bytes_max = self.limits.write_bytes_max;
        let Some(client) = self.client(id) else { return true };
        bytes.extend_from_slice(&client.out);
        for index in 0..client.subs.len() {
            if bytes.len() >= bytes_max {
                return false;
            }
            let Some(client) = self.client(id) else { return true };
            let (sub, ext) = (client.subs[index], client.ext);
            let behind = |stream: &Stream| sub.state == SubState::Active && stream.published > sub.cursor;
            if self.streams.get(sub.stream.index()).and_then(Option::as_deref).is_some_and(behind)
                && !self.gather_stream(&sub, index as u32, ext, bytes, marks)
            {
                return false;
            }
        }
        true
    }

    fn gather_stream(
        &mut self,
        sub: &Sub,
        index: u32,
        ext: bool,
        bytes: &mut Vec<u8>,
        marks: &mut Vec<Mark>,
    ) -> bool {
        match StreamKey::from(sub.stream) {
            StreamKey::Book(..) => self.gather_book(sub, index, ext, bytes, marks),
            StreamKey::Trade(_) => return self.gather_trades(sub, index, ext, bytes, marks),
            StreamKey::Ticker(..) => self.gather_newest(sub, index, ext, bytes, marks),
            StreamKey::Ohlc(..) => self.gather_candles(sub, index, ext, bytes, marks),
            StreamKey::Instruments => self.gather_pairs(sub, index, bytes, marks),
        }
        true
    }

    /// One merged update, shared by all that lag from the same entry on.
    fn gather_book(&mut self, sub: &Sub, index: u32, ext: bool, bytes: &mut Vec<u8>, marks: &mut Vec<Mark>) {
        self.merge_book(sub, ext);
        let stream = self.stream(sub.stream);
        let found = stream.merged.iter().find(|one| one.from == sub.cursor && one.ext == ext).copied();
        if let Some(Merged { start, end, .. }) = found {
            bytes.extend_from_slice(&stream.merged_bytes[start..end]);
            marks.push(Mark::head(stream, sub, index, bytes.len()));
        }
    }

    fn merge_book(&mut self, sub: &Sub, ext: bool) {
        let Some(stream) = self.streams[sub.stream.index()].as_deref_mut() else { return };
        if stream.merged.iter().any(|one| one.from == sub.cursor && one.ext == ext) {
            self.stats.merges_shared += 1;
            return;
        }
        let Some(pair) = stream.key.instrument().and_then(|id| self.pairs.get(id.index())) else { return };
        let Some(&RingEntry { data: RingData::Book { checksum, .. }, ts_event, .. }) =
            stream.entry(stream.published)
        else {
            return;
        };
        let merger = &mut self.scratch.merger;
        merger.merge(stream, sub.cursor);
        self.scratch.payload.clear();
        let link = link(stream, sub, ext);
        let (bids, asks) = (merger.bids.iter().copied(), merger.asks.iter().copied());
        update::book(&pair.instrument, bids, asks, checksum, ts_event, link, &mut self.scratch.payload);
        let start = stream.merged_bytes.len();
        write_frame(Opcode::Text, &self.scratch.payload, &mut stream.merged_bytes);
        let end = stream.merged_bytes.len();
        stream.merged.push(Merged { from: sub.cursor, ext, start, end });
        self.stats.merges_encoded += 1;
    }

    fn gather_newest(
        &mut self,
        sub: &Sub,
        index: u32,
        ext: bool,
        bytes: &mut Vec<u8>,
        marks: &mut Vec<Mark>,
    ) {
        let Some(stream) = self.streams[sub.stream.index()].as_deref() else { return };
        let Some(pair) = stream.key.instrument().and_then(|id| self.pairs.get(id.index())) else { return };
        if let Some(RingEntry { data: RingData::Ticker(row), .. }) = stream.entry(stream.published) {
            self.scratch.payload.clear();
            update::ticker(&pair.instrument, row, link(stream, sub, ext), &mut self.scratch.payload);
            write_frame(Opcode::Text, &self.scratch.payload, bytes);
            marks.push(Mark::head(stream, sub, index, bytes.len()));
        }
    }

    /// The last state of each interval, so that no close of a candle is missed.
    fn gather_candles(
        &mut self,
        sub: &Sub,
        index: u32,
        ext: bool,
        bytes: &mut Vec<u8>,
        marks: &mut Vec<Mark>,
    ) {
        let Some(stream) = self.streams[sub.stream.index()].as_deref() else { return };
        let Some(pair) = stream.key.instrument().and_then(|id| self.pairs.get(id.index())) else { return };
        let StreamKey::Ohlc(_, interval) = stream.key else { return };
        debug_assert!(usize::from(interval) < INTERVALS_MIN.len());
        let mut at = *sub;
        let mut entries = stream.closings_after(sub.cursor).chain(stream.after(sub.cursor)).peekable();
        while let Some((ordinal, entry)) = entries.next() {
            let RingData::Candle(candle) = entry.data else { continue };
            let next = entries.peek().map(|(_, next)| next.data);
            if matches!(next, Some(RingData::Candle(next)) if next.begin == candle.begin) {
                continue;
            }
            let link = link_to(entry, ordinal, &at, ext);
            let element = std::iter::once((&candle, link));
            self.scratch.payload.clear();
            update::ohlc(
                "update",
                &pair.instrument,
                interval,
                element,
                entry.ts_event,
                &mut self.scratch.payload,
            );
            write_frame(Opcode::Text, &self.scratch.payload, bytes);
            marks.push(Mark::entry(entry, ordinal, &at, index, bytes.len()));
            (at.cursor, at.cursor_seq, at.cursor_epoch) = (ordinal, entry.seq, entry.epoch);
        }
    }

    /// Every trade that is still in the ring; what fell out is told first. `false` when the write is full before the head.
    fn gather_trades(
        &mut self,
        sub: &Sub,
        index: u32,
        ext: bool,
        bytes: &mut Vec<u8>,
        marks: &mut Vec<Mark>,
    ) -> bool {
        let Some(stream) = self.streams[sub.stream.index()].as_deref() else { return true };
        let Some(pair) = stream.key.instrument().and_then(|id| self.pairs.get(id.index())) else {
            return true;
        };
        let lost = stream.oldest().saturating_sub(sub.cursor + 1);
        if lost > 0 && ext {
            let oldest = stream.entry(stream.oldest());
            let notice = Notice {
                channel: Some(stream.key.channel()),
                symbol: Some(&pair.instrument.symbol),
                from_seq: Some(sub.cursor_seq),
                to_seq: Some(oldest.map_or(stream.head, |entry| entry.prev)),
                count: Some(lost),
                ..Notice::new(NoticeCode::Gap)
            };
            self.scratch.payload.clear();
            wire::reply::notice(&notice, &mut self.scratch.payload);
            write_frame(Opcode::Text, &self.scratch.payload, bytes);
        }
        let mut at = *sub;
        if lost > 0 {
            marks.push(Mark::gap(stream, &at, index, bytes.len(), lost));
            at.cursor += lost;
        }
        for (ordinal, entry) in stream.after(sub.cursor) {
            let RingData::Trade(trade) = entry.data else { continue };
            // The frame of the log says a new epoch only once, in an entry that may be lost.
            let is_plain = entry.epoch == at.cursor_epoch;
            if is_plain && entry.log_end > entry.log_at && self.log.holds(entry.log_at) {
                bytes.extend_from_slice(self.log.read(entry.log_at, entry.log_end));
            } else {
                self.scratch.payload.clear();
                let link = Link::Next {
                    seq: entry.seq,
                    prev: entry.prev,
                    epoch: (!is_plain).then_some(entry.epoch),
                    merged: 1,
                };
                update::trade(&pair.instrument, &trade, link, &mut self.scratch.payload);
                write_frame(Opcode::Text, &self.scratch.payload, bytes);
            }
            marks.push(Mark::entry(entry, ordinal, &at, index, bytes.len()));
            (at.cursor, at.cursor_seq, at.cursor_epoch) = (ordinal, entry.seq, entry.epoch);
            if bytes.len() >= self.limits.write_bytes_max {
                return ordinal == stream.published;
            }
        }
        true
    }

    /// The pairs that changed, as they are now.
    fn gather_pairs(&mut self, sub: &Sub, index: u32, bytes: &mut Vec<u8>, marks: &mut Vec<Mark>) {
        let Some(stream) = self.streams[sub.stream.index()].as_deref() else { return };
        let mut changed: Vec<usize> = if stream.reaches(sub.cursor) {
            let pair = |entry: &RingEntry| match entry.data {
                RingData::Pair(id) => Some(id.index()),
                _ => None,
            };
            stream.after(sub.cursor).filter_map(|(_, entry)| pair(entry)).collect()
        } else {
            (0..self.pairs.len()).collect()
        };
        changed.sort_unstable();
        changed.dedup();
        let pairs = changed.iter().map(|&index| &self.pairs[index]);
        self.scratch.payload.clear();
        update::instruments(
            "update",
            pairs.map(|pair| (&*pair.instrument, pair.status)),
            &mut self.scratch.payload,
        );
        write_frame(Opcode::Text, &self.scratch.payload, bytes);
        marks.push(Mark::head(stream, sub, index, bytes.len()));
    }

    /// Moves the cursors over what the socket took; the frame it stopped in counts as taken and its rest is kept.
    fn settle(&mut self, id: ClientId, bytes: &[u8], marks: &[Mark], taken: usize) {
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
        client.out.extend_from_slice(&bytes[taken..end]);
        for mark in marks.iter().filter(|mark| mark.end <= end) {
            let sub = &mut client.subs[mark.sub as usize];
            let passed = mark.ordinal - sub.cursor;
            let counts = &mut self.stats.channels[StreamKey::from(sub.stream).channel() as usize];
            counts.merged += mark.merged;
            counts.dropped += mark.dropped;
            counts.written += passed - mark.merged - mark.dropped;
            (sub.cursor, sub.cursor_seq, sub.cursor_epoch) = (mark.ordinal, mark.seq, mark.epoch);
        }
    }

    /// A client that lacks nothing is live again; what has to be synced is asked for.
    fn become_live(&mut self, id: ClientId, complete: bool) {
        let Some(client) = self.client(id) else { return };
        if !complete {
            return self.make_dirty(id);
        }
        client.mode = Mode::Live;
        let unsynced = |(index, sub): (usize, &mut Sub)| -> Option<(StreamId, SubRef)> {
            let waits = sub.state == SubState::Unsynced;
            if waits {
                sub.state = SubState::Resyncing;
            }
            waits.then_some((sub.stream, SubRef { client: id, sub: index as u32 }))
        };
        let asks: Vec<_> = client.subs.iter_mut().enumerate().filter_map(unsynced).collect();
        for (stream, waiter) in asks {
            self.ask(stream, waiter);
        }
    }
}

impl Mark {
    /// Everything up to the head, in one message.
    fn head(stream: &Stream, sub: &Sub, index: u32, end: usize) -> Self {
        Self {
            end,
            sub: index,
            ordinal: stream.published,
            seq: stream.head,
            epoch: stream.epoch,
            merged: stream.published - sub.cursor - 1,
            dropped: 0,
        }
    }

    /// Everything before the oldest entry: it is lost, and who opted in was told.
    fn gap(stream: &Stream, sub: &Sub, index: u32, end: usize, lost: u64) -> Self {
        let ordinal = sub.cursor + lost;
        let seq = stream.entry(ordinal + 1).map_or(stream.head, |entry| entry.prev);
        // The epoch stays that of what was sent last, so that a new one is told with the next trade.
        Self { end, sub: index, ordinal, seq, epoch: sub.cursor_epoch, merged: 0, dropped: lost }
    }

    /// Everything up to one entry, in one message.
    fn entry(entry: &RingEntry, ordinal: u64, sub: &Sub, index: u32, end: usize) -> Self {
        let merged = ordinal - sub.cursor - 1;
        Self { end, sub: index, ordinal, seq: entry.seq, epoch: entry.epoch, merged, dropped: 0 }
    }
}

/// The link of a message that brings a subscription to the head.
fn link(stream: &Stream, sub: &Sub, ext: bool) -> Link {
    Link::Next {
        seq: stream.head,
        prev: sub.cursor_seq,
        epoch: (stream.epoch != sub.cursor_epoch).then_some(stream.epoch),
        merged: if ext { u32::try_from(stream.published - sub.cursor).unwrap_or(u32::MAX) } else { 1 },
    }
}

/// The link of a message that brings a subscription to one entry.
fn link_to(entry: &RingEntry, ordinal: u64, sub: &Sub, ext: bool) -> Link {
    Link::Next {
        seq: entry.seq,
        prev: sub.cursor_seq,
        epoch: (entry.epoch != sub.cursor_epoch).then_some(entry.epoch),
        merged: if ext { u32::try_from(ordinal - sub.cursor).unwrap_or(u32::MAX) } else { 1 },
    }
}
