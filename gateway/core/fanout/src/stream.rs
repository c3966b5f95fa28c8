//! One stream in a shard: its newest entries as data, and who subscribes to it.

use std::collections::VecDeque;
use std::hint::black_box;
use std::ops::Range;

use model::{
    Candle, Channel, DEPTHS, Epoch, InstrumentId, Nanos, Sequence, Side, StreamId, StreamKey, WindowChange,
};

use wire::request::ReqId;

use crate::batch::{Batch, Entry, EntryData, Join, Lost, Row};
use crate::client::ClientId;
use crate::older::Older;
use crate::planted::{self, Bug};

/// An entry of the ring: a cache line, since the oldest and the newest of a ring are in no cache when the next one comes.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
pub(crate) struct RingEntry {
    /// Where its frame lies in the byte log, as long as the log holds it; empty when it was too large for the log.
    pub(crate) log_at: u64,
    pub(crate) log_len: u32,
    pub(crate) epoch: Epoch,
    pub(crate) seq: Sequence,
    pub(crate) prev: Sequence,
    pub(crate) ts_event: Nanos,
    /// When the engine posted it (wall time): the age of a lag counts from here.
    pub(crate) ts_publish: Nanos,
    pub(crate) data: RingData,
}

/// The change of an entry as data; it is kept in step with the entries where it has more than a few bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum RingData {
    /// So many changes.
    Book {
        bids: u16,
        asks: u16,
        checksum: u32,
    },
    /// One row.
    Row,
    Pair(InstrumentId),
}

const _: () = assert!(size_of::<RingEntry>() == 64);

/// Changes of one side of an entry: at most all levels before and all after it.
const _: () = assert!(2 * DEPTHS[DEPTHS.len() - 1] as usize <= u16::MAX as usize);

/// A subscriber: its client, and the index among that client's subscriptions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SubRef {
    pub(crate) client: ClientId,
    pub(crate) sub: u32,
}

/// Who waits for an answer of the engine, and what it asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Waiter {
    pub(crate) reader: SubRef,
    /// The request that is to be acknowledged; none when it is synced again.
    pub(crate) asked: Option<Asked>,
}

/// A subscription that is not acknowledged yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    pub(crate) req_id: Option<ReqId>,
    pub(crate) time_in: Nanos,
    /// Where the client stands already, by its own word.
    pub(crate) resume: Option<(Epoch, Sequence)>,
}

/// A merged message that equal laggards share; valid while no entry is added.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Merged {
    pub(crate) from: u64,
    pub(crate) ext: bool,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Closing states of candles kept beyond the ring: a stall of hours at one minute each would need more, and is closed before.
const CLOSINGS_MAX: usize = 64;

/// A log of entries. Entry number `published` is the newest; the ring keeps the last ones of them.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) key: StreamKey,
    /// Generation and sequence of the newest entry, or where the stream was joined.
    pub(crate) epoch: Epoch,
    pub(crate) head: Sequence,
    /// Ordinal of the newest entry; entries are numbered from 1 without holes.
    pub(crate) published: u64,
    /// Epoch of what stood before the oldest entry; none when that was lost.
    epoch_before: Option<Epoch>,
    /// Last states of candle intervals that fell out of the ring, with their ordinals.
    closings: VecDeque<(u64, RingEntry, Candle)>,
    /// Book entries that fell out of the ring, folded together.
    pub(crate) older: Older,
    entries: VecDeque<RingEntry>,
    /// Book changes of the entries, in their order.
    changes: VecDeque<WindowChange>,
    /// What the entries of other channels say, one each.
    rows: VecDeque<Row>,
    /// Who is given ranges as entries come.
    pub(crate) subscribers: Vec<SubRef>,
    /// Who has a cursor only: paused, or with an interval of its own.
    pub(crate) held: Vec<SubRef>,
    /// Who gets the next answer of the engine.
    pub(crate) waiting: Vec<Waiter>,
    /// Questions to the engine that were not answered yet. While there are any the stream is not left: the answers would come
    /// when it is wanted again, and the history before the last of them would be taken for news.
    pub(crate) unanswered: u32,
    /// Whether the engine was told to publish it to this shard.
    pub(crate) active: bool,
    /// Since when nobody subscribes (monotonic).
    pub(crate) idle_since: Option<Nanos>,
    pub(crate) merged: Vec<Merged>,
    pub(crate) merged_bytes: Vec<u8>,
}

impl Stream {
    pub(crate) fn new(id: StreamId) -> Self {
        Self {
            key: id.into(),
            epoch: Epoch::default(),
            head: Sequence::default(),
            published: 0,
            epoch_before: None,
            closings: VecDeque::new(),
            older: Older::default(),
            entries: VecDeque::new(),
            changes: VecDeque::new(),
            rows: VecDeque::new(),
            subscribers: Vec::new(),
            held: Vec::new(),
            waiting: Vec::new(),
            unanswered: 0,
            active: false,
            idle_since: None,
            merged: Vec::new(),
            merged_bytes: Vec::new(),
        }
    }

    /// Reads what the next entry of a book needs: the parts of the stream, its oldest entry, where the newest change ends.
    pub(crate) fn warm(&self) {
        black_box((
            self.head,
            self.older.floor,
            self.held.len(),
            self.merged.len(),
            self.entries.front().copied(),
            self.changes.back().map(|change| change.is),
            self.subscribers.first().copied(),
        ));
    }

    /// So many of the oldest entries fall out. With laggards what they changed is kept: somebody may stand before them.
    pub(crate) fn make_room(&mut self, evictions: usize, laggards: bool) {
        let is_needed = laggards || !self.held.is_empty();
        for _ in 0..evictions {
            self.evict(is_needed);
        }
    }

    /// Adds the newest entry, with where its frame lies in the byte log.
    pub(crate) fn push(&mut self, entry: &Entry, batch: &Batch, log: Range<u64>) {
        let data = match entry.data {
            EntryData::Book { changes, checksum } => {
                let (bids, asks) = batch.changes(changes);
                self.changes.extend(bids.iter().chain(asks));
                let [bids, asks] = [changes.bids, changes.asks]
                    .map(|count| u16::try_from(count).expect("it is at most twice the largest depth"));
                RingData::Book { bids, asks, checksum }
            }
            EntryData::Row(index) => {
                self.rows.push_back(batch.rows[index as usize]);
                RingData::Row
            }
            EntryData::Pair(id) => RingData::Pair(id),
        };
        self.entries.push_back(RingEntry {
            log_at: log.start,
            log_len: (log.end - log.start) as u32,
            epoch: entry.epoch,
            seq: entry.seq,
            prev: entry.prev,
            ts_event: entry.ts_event,
            ts_publish: batch.ts_publish,
            data,
        });
        (self.epoch, self.head) = (entry.epoch, entry.seq);
        self.published += 1;
        if !planted::is(Bug::MergeOutdated) {
            self.merged.clear();
            self.merged_bytes.clear();
        }
    }

    fn evict(&mut self, is_needed: bool) {
        let ordinal = self.oldest();
        let Some(entry) = self.entries.pop_front() else { return };
        self.epoch_before = Some(entry.epoch);
        match entry.data {
            RingData::Book { .. } if !is_needed => {
                self.changes.drain(..entry.change_count());
                self.older.skip(ordinal);
            }
            RingData::Book { bids, .. } => {
                for (index, change) in self.changes.drain(..entry.change_count()).enumerate() {
                    let side = if index < usize::from(bids) { Side::Bid } else { Side::Ask };
                    if !planted::is(Bug::OlderForgotten) {
                        self.older.fold(side, ordinal, &change);
                    }
                }
            }
            RingData::Row => {
                if let Some(Row::Candle(candle)) = self.rows.pop_front() {
                    self.keep_closing(ordinal, entry, candle);
                }
            }
            RingData::Pair(_) => {}
        }
    }

    /// Keeps a candle that fell out of the ring, unless a later state of its interval follows.
    fn keep_closing(&mut self, ordinal: u64, entry: RingEntry, candle: Candle) {
        if matches!(self.rows.front(), Some(Row::Candle(next)) if next.begin == candle.begin) {
            return;
        }
        if self.closings.len() == CLOSINGS_MAX {
            self.closings.pop_front();
        }
        self.closings.push_back((ordinal, entry, candle));
    }

    /// Whether a join goes on from the newest entry that is known here. If it does not, entries were published that this shard did
    /// not get.
    pub(crate) fn continues(&self, join: &Join) -> bool {
        (self.epoch, self.head) == (join.epoch, join.seq)
    }

    /// Takes in that entries are missing: the stream stands at the last of them, and no cursor before it can be served any more.
    pub(crate) fn lose(&mut self, lost: &Lost) {
        self.forget(lost.count);
        (self.epoch, self.head) = (lost.epoch, lost.seq);
        self.epoch_before = Some(lost.epoch);
    }

    /// Empties the ring. A hole of so many ordinals makes every older cursor unreachable, also one that stood at the head.
    pub(crate) fn forget(&mut self, hole: u64) {
        self.entries.clear();
        self.changes.clear();
        self.rows.clear();
        self.closings.clear();
        self.merged.clear();
        self.merged_bytes.clear();
        self.published += hole;
        self.epoch_before = None;
        self.older.clear(self.published);
    }

    /// Ordinal of the oldest entry that is still there; one past the newest when there is none.
    pub(crate) fn oldest(&self) -> u64 {
        self.published + 1 - self.entries.len() as u64
    }

    /// Whether every entry after `cursor` is still there.
    pub(crate) fn reaches(&self, cursor: u64) -> bool {
        cursor + 1 >= self.oldest()
    }

    /// Whether a subscriber can be brought from `cursor` to the head: a book as long as every change is known, others
    /// as long as the newest entry is (trades behind a gap that is told). Pairs are kept elsewhere.
    pub(crate) fn serves(&self, cursor: u64) -> bool {
        match self.key.channel() {
            Channel::Book => cursor >= self.older.floor,
            Channel::Ticker | Channel::Ohlc | Channel::Trade => {
                cursor == self.published || !self.entries.is_empty()
            }
            Channel::Instrument => true,
        }
    }

    /// How many entries have to fall out so that one more finds room; all of them when it alone needs more than there is.
    pub(crate) fn evictions(&self, entry: &Entry, entries_max: usize, bytes_max: usize) -> usize {
        let mut evictions = (self.entries.len() + 1).saturating_sub(entries_max.max(1));
        let row_bytes = if matches!(entry.data, EntryData::Row(_)) { size_of::<Row>() } else { 0 };
        let mut bytes = self.ring_bytes() + entry_bytes(entry.data.change_count()) + row_bytes;
        for (index, one) in self.entries.iter().enumerate() {
            if index >= evictions && bytes <= bytes_max {
                break;
            }
            bytes -= entry_bytes(one.change_count()) + row_bytes;
            evictions = evictions.max(index + 1);
        }
        evictions
    }

    /// Log position of the newest of the oldest entries that are about to fall out: with it all older ones leave as well.
    pub(crate) fn leaving(&self, evictions: usize) -> Option<u64> {
        self.entries.get(evictions.checked_sub(1)?).map(|entry| entry.log_at)
    }

    /// Bytes of the entries in the ring.
    pub(crate) fn ring_bytes(&self) -> usize {
        entry_bytes(0) * self.entries.len()
            + size_of::<WindowChange>() * self.changes.len()
            + size_of::<Row>() * self.rows.len()
    }

    /// The entry of an ordinal, if it is still there.
    pub(crate) fn entry(&self, ordinal: u64) -> Option<&RingEntry> {
        self.entries.get(usize::try_from(ordinal.checked_sub(self.oldest())?).ok()?)
    }

    /// Whether an entry is not newer than what the ring holds.
    pub(crate) fn knows(&self, entry: &Entry) -> bool {
        !self.entries.is_empty() && entry.epoch == self.epoch && entry.seq <= self.head
    }

    /// Entries in the ring.
    pub(crate) fn ring_len(&self) -> usize {
        self.entries.len()
    }

    /// Sequence and epoch of an entry of the ring, or of the one before its oldest.
    pub(crate) fn place(&self, ordinal: u64) -> (Sequence, Epoch) {
        match (self.entry(ordinal), self.entries.front()) {
            (Some(entry), _) => (entry.seq, entry.epoch),
            // An entry in which the epoch changed says so itself; the one before it is of the older epoch then.
            (None, Some(oldest)) => (oldest.prev, self.epoch_before.unwrap_or(oldest.epoch)),
            (None, None) => (self.head, self.epoch),
        }
    }

    /// Entries after `cursor` that are still there, oldest first, with their ordinals.
    pub(crate) fn after(&self, cursor: u64) -> impl DoubleEndedIterator<Item = (u64, &RingEntry)> {
        let first = self.oldest().max(cursor + 1);
        let skip = (first - self.oldest()) as usize;
        self.entries
            .range(skip.min(self.entries.len())..)
            .enumerate()
            .map(move |(n, entry)| (first + n as u64, entry))
    }

    /// What an entry of the ring says, on channels whose entries each say everything.
    pub(crate) fn row(&self, ordinal: u64) -> Option<&Row> {
        self.rows.get(usize::try_from(ordinal.checked_sub(self.oldest())?).ok()?)
    }

    /// States of candles after `cursor`, oldest first: of those that fell out of the ring the last one of each interval.
    pub(crate) fn candles_after(&self, cursor: u64) -> impl Iterator<Item = (u64, &RingEntry, &Candle)> {
        let fallen = self.closings.iter().filter(move |(ordinal, ..)| *ordinal > cursor);
        let fallen = fallen.map(|(ordinal, entry, candle)| (*ordinal, entry, candle));
        let known = self.after(cursor).filter_map(|(ordinal, entry)| match self.row(ordinal)? {
            Row::Candle(candle) => Some((ordinal, entry, candle)),
            Row::Ticker(_) | Row::Trade(_) => None,
        });
        fallen.chain(known)
    }

    /// Entries after `cursor` with their ordinals, each with where its book changes begin and end.
    pub(crate) fn changes_after(&self, cursor: u64) -> impl Iterator<Item = (u64, usize, usize, &RingEntry)> {
        let mut at =
            self.changes.len() - self.after(cursor).map(|(_, entry)| entry.change_count()).sum::<usize>();
        self.after(cursor).map(move |(ordinal, entry)| {
            let start = at;
            at += entry.change_count();
            (ordinal, start, at, entry)
        })
    }

    /// Ordinal of what a client was sent that stands at `(epoch, seq)`, when every entry after it is still there.
    pub(crate) fn locate(&self, epoch: Epoch, seq: Sequence) -> Option<u64> {
        if self.key.channel() == Channel::Instrument {
            // Reference data has a count of this gateway's own: it says nothing about what a client was sent before.
            return None;
        }
        let epoch = if planted::is(Bug::EpochIgnoredOnResume) { self.epoch } else { epoch };
        let is_future = epoch == self.epoch && seq > self.head;
        if (epoch, seq) == (self.epoch, self.head) || (is_future && planted::is(Bug::FutureBelieved)) {
            return Some(self.published);
        }
        // A client of another gateway may stand between two entries: what it has is what the earlier one left.
        let follows = |index: usize, entry: &RingEntry| {
            let epoch_before =
                index.checked_sub(1).map_or(self.epoch_before, |before| Some(self.entries[before].epoch));
            // How far the other epoch went on is not known here: only who stands right before the entry lacks nothing else.
            let stands =
                if entry.epoch == epoch { entry.prev <= seq && seq < entry.seq } else { entry.prev == seq };
            epoch_before == Some(epoch) && stands
        };
        let next = self.entries.iter().enumerate().position(|(index, entry)| follows(index, entry))?;
        Some(self.oldest() + next as u64 - 1)
    }

    /// Takes where the stream stands from a join.
    pub(crate) fn stand_at(&mut self, join: &Join) {
        if self.entries.is_empty() {
            self.epoch_before = Some(join.epoch);
        }
        (self.epoch, self.head, self.active) = (join.epoch, join.seq, true);
    }

    /// Subscribers of both kinds.
    pub(crate) fn readers(&self) -> impl Iterator<Item = SubRef> {
        self.subscribers.iter().chain(&self.held).copied()
    }

    /// How long ago the oldest entry after `cursor` was posted; longer than anything when it is gone.
    pub(crate) fn lag_age(&self, cursor: u64, now: Nanos) -> Nanos {
        if cursor >= self.published {
            return Nanos(0);
        }
        self.entry(cursor + 1).map_or(Nanos(u64::MAX), |entry| now.since(entry.ts_publish))
    }

    /// One book change by the index that [`Self::changes_after`] gives.
    pub(crate) fn change(&self, index: usize) -> &WindowChange {
        &self.changes[index]
    }

    /// Ordinal of the newest entry whose frame begins before `position`; 0 when all that is known is later.
    pub(crate) fn ordinal_before(&self, position: u64) -> u64 {
        // From the newest on: who begins to lag lacks little, and the older part of a ring is in no cache.
        let later = self.entries.iter().rev().take_while(|entry| entry.log_at >= position).count();
        let earlier = (self.entries.len() - later) as u64;
        if earlier == 0 { 0 } else { self.oldest() + earlier - 1 }
    }
}

/// What an entry with so many book changes takes in a ring.
const fn entry_bytes(changes: usize) -> usize {
    size_of::<RingEntry>() + changes * size_of::<WindowChange>()
}

impl RingEntry {
    const fn change_count(&self) -> usize {
        match self.data {
            RingData::Book { bids, asks, .. } => bids as usize + asks as usize,
            _ => 0,
        }
    }
}
