//! What a subscription lacks, as frames: merged, newest, or one by one.
//!
//! Writes into the buffer of one write and notes where each frame ends and what holds once it is sent. Changes nothing else.

use model::{Channel, Epoch, Nanos, Policy, Sequence, StreamKey};
use wire::reply::{Notice, NoticeCode};
use wire::text::TimeText;
use wire::update::{self, Link};
use wire::ws::{Opcode, write_frame};

use super::Hub;
use crate::batch::Row;
use crate::client::{ClientId, Mode, Sub};
use crate::planted::{self, Bug};
use crate::stream::{Merged, RingData, RingEntry, Stream};

/// Where a frame of a catch-up ends, and what holds once it is handed to the socket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    pub(super) end: usize,
    pub(super) sub: u32,
    pub(super) ordinal: u64,
    pub(super) seq: Sequence,
    pub(super) epoch: Epoch,
    pub(super) merged: u64,
    pub(super) dropped: u64,
    /// It says that the data is fresh again.
    pub(super) told_fresh: bool,
}

/// One write that is being put together.
pub(super) struct Writing<'a> {
    pub(super) bytes: &'a mut Vec<u8>,
    pub(super) marks: &'a mut Vec<Mark>,
    bytes_max: usize,
    /// Whose subscription it is.
    index: u32,
    ext: bool,
    /// Whether the client was too slow: merging is then told, and not when it asked for an interval.
    lagging: bool,
}

impl Hub {
    /// Joins everything that is due and lacking, up to the size of one write; `true` when nothing is left after it.
    pub(super) fn gather(
        &mut self,
        id: ClientId,
        now: Nanos,
        bytes_max: usize,
        bytes: &mut Vec<u8>,
        marks: &mut Vec<Mark>,
    ) -> bool {
        let Some(client) = self.client(id) else { return true };
        bytes.extend_from_slice(&client.out);
        let (mode, ext) = (client.mode, client.ext);
        let lagging = client.lagging_since().is_some();
        // Trades first: a quote that is sent shows a trade only after the trade itself.
        for trades in [true, false] {
            for index in 0..self.client(id).map_or(0, |client| client.subs.len()) {
                let Some(client) = self.client(id) else { return true };
                let sub = client.subs[index];
                let stream = self.stream(sub.stream);
                let is_trade = stream.key.channel() == Channel::Trade;
                if is_trade != trades || stream.published <= sub.cursor || !Self::is_served(mode, &sub, now) {
                    continue;
                }
                if bytes.len() >= bytes_max {
                    return false;
                }
                let index = index as u32;
                let mut writing = Writing {
                    bytes,
                    marks,
                    bytes_max,
                    index,
                    ext,
                    lagging: lagging && mode == Mode::Lagging,
                };
                if !self.gather_stream(&sub, &mut writing) {
                    return false;
                }
                if sub.told_stale && !self.is_stale(sub.stream) {
                    self.tell_fresh(&sub, &mut writing);
                }
            }
        }
        true
    }

    /// Writes what one subscription lacks; `false` when the write is full before the head.
    fn gather_stream(&mut self, sub: &Sub, writing: &mut Writing<'_>) -> bool {
        match (sub.terms.policy, StreamKey::from(sub.stream).channel()) {
            (_, Channel::Instrument) => self.gather_pairs(sub, writing),
            (Policy::DropNewest, _) => self.skip_to_head(sub, writing),
            (Policy::DropOldest | Policy::Disconnect, _) => return self.gather_entries(sub, writing),
            (_, Channel::Book) => self.gather_merged(sub, writing),
            (_, Channel::Ohlc) => self.gather_candles(sub, writing),
            (_, Channel::Ticker | Channel::Trade) => self.gather_newest(sub, writing),
        }
        true
    }

    /// The update that made the data fresh comes before the news that it is.
    fn tell_fresh(&mut self, sub: &Sub, writing: &mut Writing<'_>) {
        let Some(last) = writing.marks.last().filter(|mark| mark.sub == writing.index).copied() else {
            return;
        };
        let mut payload = std::mem::take(&mut self.scratch.payload);
        payload.clear();
        let key = StreamKey::from(sub.stream);
        wire::reply::notice(&Notice::about(NoticeCode::Fresh, key, self.symbol(key)), &mut payload);
        self.stats.notices[NoticeCode::Fresh as usize] += 1;
        write_frame(Opcode::Text, &payload, writing.bytes);
        self.scratch.payload = payload;
        writing.mark(Mark { merged: 0, dropped: 0, told_fresh: true, ..last });
    }

    /// One merged update, shared by all that lag from the same entry on.
    fn gather_merged(&mut self, sub: &Sub, writing: &mut Writing<'_>) {
        self.merge_book(sub, writing.ext);
        self.tell_merged(sub, writing);
        let stream = self.stream(sub.stream);
        let found =
            stream.merged.iter().find(|one| one.from == sub.cursor && one.ext == writing.ext).copied();
        if let Some(Merged { start, end, .. }) = found {
            writing.bytes.extend_from_slice(&stream.merged_bytes[start..end]);
            writing.mark(Mark::head(stream, sub));
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
            stream.entry(if planted::is(Bug::ChecksumStale) { stream.oldest() } else { stream.published })
        else {
            return;
        };
        let merger = &mut self.scratch.merger;
        merger.merge(stream, sub.cursor);
        self.scratch.payload.clear();
        let link = link(stream, sub, ext);
        let (bids, asks) = (merger.bids.iter().copied(), merger.asks.iter().copied());
        update::book(
            &pair.instrument,
            bids,
            asks,
            checksum,
            TimeText::of(ts_event),
            link,
            &mut self.scratch.payload,
        );
        let start = stream.merged_bytes.len();
        write_frame(Opcode::Text, &self.scratch.payload, &mut stream.merged_bytes);
        let end = stream.merged_bytes.len();
        stream.merged.push(Merged { from: sub.cursor, ext, start, end });
        self.stats.merges_encoded += 1;
    }

    /// Tells a slow client that opted in how much the next message stands for.
    fn tell_merged(&mut self, sub: &Sub, writing: &mut Writing<'_>) {
        let stream = self.stream(sub.stream);
        let (key, head, count) = (stream.key, stream.head, stream.published - sub.cursor);
        let epoch = other_epoch(stream.epoch, sub);
        if writing.ext && writing.lagging && count > 1 {
            self.write_notice(NoticeCode::Merged, key, (sub.cursor_seq, head), epoch, count, writing);
        }
    }

    fn write_notice(
        &mut self,
        code: NoticeCode,
        key: StreamKey,
        range: (Sequence, Sequence),
        epoch: Option<Epoch>,
        count: u64,
        writing: &mut Writing<'_>,
    ) {
        let mut payload = std::mem::take(&mut self.scratch.payload);
        payload.clear();
        let notice = Notice {
            from_seq: Some(range.0),
            to_seq: Some(range.1),
            epoch,
            count: Some(count),
            ..Notice::about(code, key, self.symbol(key))
        };
        wire::reply::notice(&notice, &mut payload);
        self.stats.notices[code as usize] += 1;
        write_frame(Opcode::Text, &payload, writing.bytes);
        self.scratch.payload = payload;
    }

    fn gather_newest(&mut self, sub: &Sub, writing: &mut Writing<'_>) {
        self.tell_merged(sub, writing);
        let Some(stream) = self.streams[sub.stream.index()].as_deref() else { return };
        let Some(pair) = stream.key.instrument().and_then(|id| self.pairs.get(id.index())) else { return };
        if let Some(Row::Ticker(row)) = stream.row(stream.published) {
            self.scratch.payload.clear();
            update::ticker(&pair.instrument, row, link(stream, sub, writing.ext), &mut self.scratch.payload);
            write_frame(Opcode::Text, &self.scratch.payload, writing.bytes);
            writing.mark(Mark::head(stream, sub));
        }
    }

    /// The last state of each interval, so that no close of a candle is missed.
    fn gather_candles(&mut self, sub: &Sub, writing: &mut Writing<'_>) {
        self.tell_merged(sub, writing);
        let Some(stream) = self.streams[sub.stream.index()].as_deref() else { return };
        let Some(pair) = stream.key.instrument().and_then(|id| self.pairs.get(id.index())) else { return };
        let StreamKey::Ohlc(_, interval) = stream.key else { return };
        let mut at = *sub;
        let mut candles = stream.candles_after(sub.cursor).peekable();
        while let Some((ordinal, entry, candle)) = candles.next() {
            if candles.peek().is_some_and(|(_, _, next)| next.begin == candle.begin) {
                continue;
            }
            let link = link_to(entry, ordinal, &at, writing.ext);
            let element = std::iter::once((candle, link));
            self.scratch.payload.clear();
            update::ohlc(
                "update",
                &pair.instrument,
                interval,
                element,
                entry.ts_event,
                &mut self.scratch.payload,
            );
            write_frame(Opcode::Text, &self.scratch.payload, writing.bytes);
            writing.mark(Mark::entry(entry, ordinal, &at));
            (at.cursor, at.cursor_seq, at.cursor_epoch) = (ordinal, entry.seq, entry.epoch);
        }
    }

    /// Every entry that is still in the ring; what fell out is told first. `false` when the write is full before the head.
    fn gather_entries(&mut self, sub: &Sub, writing: &mut Writing<'_>) -> bool {
        let stream = self.stream(sub.stream);
        let lost = stream.oldest().saturating_sub(sub.cursor + 1);
        let mut at = *sub;
        if lost > 0 {
            let gap = Mark::gap(stream, sub, lost);
            let (key, epoch) = (stream.key, other_epoch(stream.place(gap.ordinal).1, sub));
            if writing.ext && !planted::is(Bug::GapUntold) {
                self.write_notice(NoticeCode::Gap, key, (sub.cursor_seq, gap.seq), epoch, lost, writing);
            }
            writing.mark(gap);
            at.cursor += lost;
        }
        let Some(stream) = self.streams[sub.stream.index()].as_deref() else { return true };
        let Some(pair) = stream.key.instrument().and_then(|id| self.pairs.get(id.index())) else {
            return true;
        };
        for (ordinal, start, end, entry) in stream.changes_after(at.cursor) {
            let is_trade = stream.key.channel() == Channel::Trade;
            if is_trade && ordinal < stream.published && planted::is(Bug::TradesMerged) {
                continue;
            }
            // The frame of the log says a new epoch only once, in an entry that may be lost; and its `prev` is the entry before it.
            let is_plain = entry.epoch == at.cursor_epoch && entry.prev == at.cursor_seq;
            let log_end = entry.log_at + u64::from(entry.log_len);
            if is_plain && entry.log_len > 0 && self.log.holds(entry.log_at) {
                writing.bytes.extend_from_slice(self.log.read(entry.log_at, log_end));
            } else {
                self.scratch.payload.clear();
                let link = Link::Next {
                    seq: entry.seq,
                    // After a hole the break shows; without one it is what the client was sent last.
                    prev: if lost > 0 { entry.prev } else { at.cursor_seq },
                    epoch: (entry.epoch != at.cursor_epoch).then_some(entry.epoch),
                    merged: 1,
                };
                encode(
                    stream,
                    (ordinal, entry),
                    start..end,
                    &pair.instrument,
                    link,
                    &mut self.scratch.payload,
                );
                write_frame(Opcode::Text, &self.scratch.payload, writing.bytes);
            }
            writing.mark(Mark::entry(entry, ordinal, &at));
            (at.cursor, at.cursor_seq, at.cursor_epoch) = (ordinal, entry.seq, entry.epoch);
            if writing.bytes.len() >= writing.bytes_max {
                return ordinal == stream.published;
            }
        }
        true
    }

    /// Tells the whole range as a gap; the next entry is live again.
    fn skip_to_head(&mut self, sub: &Sub, writing: &mut Writing<'_>) {
        let stream = self.stream(sub.stream);
        let (key, head, lost) = (stream.key, stream.head, stream.published - sub.cursor);
        let mark = Mark { merged: 0, dropped: lost, ..Mark::head(stream, sub) };
        // Nothing else says that the next entry is of another generation.
        let epoch = other_epoch(mark.epoch, sub);
        if writing.ext {
            self.write_notice(NoticeCode::Gap, key, (sub.cursor_seq, head), epoch, lost, writing);
        }
        writing.mark(mark);
    }

    /// The pairs that changed, as they are now.
    fn gather_pairs(&mut self, sub: &Sub, writing: &mut Writing<'_>) {
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
        let pairs = pairs.map(|pair| (&*pair.instrument, pair.status));
        self.scratch.payload.clear();
        update::instruments("update", pairs, &mut self.scratch.payload);
        write_frame(Opcode::Text, &self.scratch.payload, writing.bytes);
        writing.mark(Mark::head(stream, sub));
    }
}

/// Generation of the last entry of a range, for the notice about it, when it is another than that of what was sent last: sequences
/// begin anew with it.
pub(super) fn other_epoch(end: Epoch, sub: &Sub) -> Option<Epoch> {
    (end != sub.cursor_epoch).then_some(end)
}

/// Encodes one entry from its data.
fn encode(
    stream: &Stream,
    (ordinal, entry): (u64, &RingEntry),
    changes: std::ops::Range<usize>,
    instrument: &model::Instrument,
    link: Link,
    out: &mut Vec<u8>,
) {
    match (entry.data, stream.row(ordinal)) {
        (RingData::Book { bids, checksum, .. }, _) => {
            let middle = changes.start + usize::from(bids);
            let sent = |span: std::ops::Range<usize>| {
                span.map(|index| stream.change(index))
                    .filter(|change| change.is_sent())
                    .map(|change| change.level)
            };
            let (bids, asks) = (sent(changes.start..middle), sent(middle..changes.end));
            update::book(instrument, bids, asks, checksum, TimeText::of(entry.ts_event), link, out);
        }
        (_, Some(Row::Ticker(row))) => update::ticker(instrument, row, link, out),
        (_, Some(Row::Trade(trade))) => update::trade(instrument, trade, link, out),
        (_, Some(Row::Candle(candle))) => {
            let StreamKey::Ohlc(_, interval) = stream.key else { return };
            let element = std::iter::once((candle, link));
            update::ohlc("update", instrument, interval, element, entry.ts_event, out);
        }
        (RingData::Pair(_) | RingData::Row, _) => {}
    }
}

impl Writing<'_> {
    /// Notes that the frame of a mark ends here.
    fn mark(&mut self, mark: Mark) {
        self.marks.push(Mark { end: self.bytes.len(), sub: self.index, ..mark });
    }
}

impl Mark {
    /// Everything up to the head, in one message.
    fn head(stream: &Stream, sub: &Sub) -> Self {
        Self {
            end: 0,
            sub: 0,
            ordinal: stream.published,
            seq: stream.head,
            epoch: stream.epoch,
            merged: stream.published - sub.cursor - 1,
            dropped: 0,
            told_fresh: false,
        }
    }

    /// Everything before the oldest entry: it is lost, and who opted in was told.
    fn gap(stream: &Stream, sub: &Sub, lost: u64) -> Self {
        let ordinal = sub.cursor + lost;
        let seq = stream.entry(ordinal + 1).map_or(stream.head, |entry| entry.prev);
        // The epoch stays that of what was sent last, so that a new one is told with the next entry.
        let dropped = if planted::is(Bug::GapCountedAsWritten) { 0 } else { lost };
        let epoch = sub.cursor_epoch;
        Self { end: 0, sub: 0, ordinal, seq, epoch, merged: 0, dropped, told_fresh: false }
    }

    /// Everything up to one entry, in one message.
    fn entry(entry: &RingEntry, ordinal: u64, sub: &Sub) -> Self {
        let merged = ordinal - sub.cursor - 1;
        let (seq, epoch) = (entry.seq, entry.epoch);
        Self { end: 0, sub: 0, ordinal, seq, epoch, merged, dropped: 0, told_fresh: false }
    }
}

/// The link of a message that brings a subscription to the head.
fn link(stream: &Stream, sub: &Sub, ext: bool) -> Link {
    let stream_prev = stream.entry(stream.published).filter(|_| planted::is(Bug::PrevOfStream));
    let is_told = stream.epoch != sub.cursor_epoch && !planted::is(Bug::EpochUntold);
    Link::Next {
        seq: stream.head,
        prev: stream_prev.map_or(sub.cursor_seq, |newest| newest.prev),
        epoch: is_told.then_some(stream.epoch),
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
