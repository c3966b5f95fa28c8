//! What the engine posts: entries go to the log and to whom keeps up, joins to who asked.

use model::{
    Channel, DEPTHS, Epoch, FeedStatus, Instrument, InstrumentId, Nanos, PairStatus, STREAMS_PER_INSTRUMENT,
    Sequence, StreamId, StreamKey,
};
use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use wire::close::CloseCode;
use wire::reply::{Notice, NoticeCode, Stamp, Subscribed, SubscribedExt};

use super::{Hub, Now, Output, Pair};
use crate::batch::{Batch, Entry, Item, Join, Lost};
use crate::client::{ClientId, Mode, Oldest, SubState};
use crate::limits::Limits;
use crate::planted::{self, Bug};
use crate::stream::{Asked, Stream, SubRef, Waiter};

/// Entries whose streams are read before they are handled: as many as one core fetches side by side.
const WARMED: usize = 16;

/// With so many instruments that is done: the streams of fewer stay in a core's own cache.
const WARMED_FROM: usize = 500;

impl Hub {
    /// Takes one turn of the engine. Costs one step per entry and subscriber that keeps up; writes nothing.
    pub fn handle_batch(&mut self, batch: &Batch, now: Now) {
        for items in batch.items.chunks(WARMED) {
            self.warm_streams(items);
            for item in items {
                match item {
                    Item::Entry(entry) => self.handle_entry(entry, batch),
                    Item::Join(join) => self.handle_join(join, batch, now),
                    Item::Pair(id, instrument, status) => self.handle_pair(*id, instrument, *status),
                    Item::Stale(id, stale) => self.handle_stale(*id, *stale),
                    Item::Status(status) => self.handle_status(*status),
                    Item::Lost(lost) => self.handle_lost(lost, now.mono),
                }
                self.close_flooders();
            }
        }
    }

    /// Reads where the entries will be put, and does nothing with it. With thousands of streams the next one is in no cache; so the
    /// memory of some is fetched side by side instead of one after the other. With few streams it is there already.
    fn warm_streams(&self, items: &[Item]) {
        if self.pairs.len() < WARMED_FROM {
            return;
        }
        let streams = || {
            items.iter().filter_map(|item| match item {
                Item::Entry(entry) => self.streams.get(entry.stream.index())?.as_deref(),
                _ => None,
            })
        };
        // What leads on is fetched before what it leads to.
        for stream in streams() {
            black_box(stream.published);
        }
        streams().for_each(Stream::warm);
        for reader in streams().filter_map(|stream| stream.subscribers.first()) {
            black_box(self.clients[reader.client.index()].as_ref().map(|client| client.mode));
        }
    }

    fn handle_entry(&mut self, entry: &Entry, batch: &Batch) {
        self.stats.entries += 1;
        let Some(stream) = self.streams.get_mut(entry.stream.index()).and_then(Option::as_deref_mut) else {
            return;
        };
        if !stream.active && (stream.waiting.is_empty() || stream.knows(entry)) {
            // On its way when this shard left the stream, or history that is here already.
            return;
        }
        let Some(at) = self.log.push(batch.frame(entry.frame)) else {
            // A frame that outgrows the log: its readers are served from the data instead.
            return self.handle_unlogged(entry, batch);
        };
        let over = self.ring_bytes > self.limits.ring_bytes_total;
        let evictions = evictions(stream, entry, &self.limits, over);
        let leaving = stream.leaving(evictions);
        if let Some(leaving) = leaving.filter(|&leaving| leaving >= self.oldest_unwritten()) {
            self.lag_before(entry.stream, leaving);
        }
        let Some(stream) = self.streams.get_mut(entry.stream.index()).and_then(Option::as_deref_mut) else {
            return;
        };
        let end = at + u64::from(entry.frame.len);
        let before = stream.ring_bytes();
        stream.make_room(evictions, self.stats.lagging > 0);
        stream.push(entry, batch, at..end);
        self.ring_bytes = self.ring_bytes + stream.ring_bytes() - before;
        let channel = stream.key.channel();
        let is_crowded = stream.older.is_crowded(stream.subscribers.len() + stream.held.len());
        let held = if planted::is(Bug::HeldUncounted) { 0 } else { stream.held.len() };
        let counts = self.stats.channel(channel);
        counts.fanned_out += (stream.subscribers.len() + held) as u64;
        counts.pending += (stream.subscribers.len() + stream.held.len()) as u64;
        for &SubRef { client: id, .. } in &stream.subscribers {
            let Some(client) = self.clients[id.index()].as_mut() else { continue };
            if client.mode == Mode::Lagging && planted::is(Bug::LagQueued) {
                client.out.extend_from_slice(batch.frame(entry.frame));
            }
            if client.mode == Mode::Lagging && self.overrun && !client.queued && !client.blocked {
                (client.queued, client.queued_at) = (true, at);
                self.dirty.push_back(id);
            }
            if client.mode != Mode::Live || (client.queued && planted::is(Bug::EntryDropped)) {
                continue;
            }
            if client.ranges.is_empty() {
                client.oldest = Oldest { ts_publish: batch.ts_publish, ts_event: entry.ts_event };
            }
            if client.push_range(at, end, &self.limits) {
                client.given[channel as usize] += 1;
            } else {
                self.scratch.overflowed.push(id);
            }
            if !client.queued && !client.blocked {
                (client.queued, client.queued_at) = (true, at);
                self.dirty.push_back(id);
            }
        }
        while let Some(id) = self.scratch.overflowed.pop() {
            self.lag_without_range(id, channel);
        }
        if is_crowded {
            self.forget_unneeded(entry.stream);
        }
    }

    /// Forgets the older entries of a stream that no cursor stands before. Who keeps up has no cursor, and stands in the ring.
    fn forget_unneeded(&mut self, stream: StreamId) {
        let Some(stream) = self.streams[stream.index()].as_deref_mut() else { return };
        let cursors = &mut self.scratch.cursors;
        cursors.clear();
        for SubRef { client, sub } in stream.readers() {
            let Some(client) = self.clients[client.index()].as_ref() else { continue };
            let sub = &client.subs[sub as usize];
            if client.mode != Mode::Live || !sub.is_fed() {
                cursors.push(sub.cursor);
            }
        }
        cursors.sort_unstable();
        if planted::is(Bug::OlderForNearest) {
            cursors.drain(..cursors.len().saturating_sub(1));
        }
        stream.older.forget_unneeded(cursors);
    }

    /// A position at or before everything that live clients were given and not sent: the queue is in the order in which clients
    /// were queued, and nothing they were given is older.
    fn oldest_unwritten(&self) -> u64 {
        let queued_at = |queue: &VecDeque<ClientId>| {
            let first = queue.front().and_then(|id| self.clients[id.index()].as_ref());
            first.map_or(u64::MAX, |client| client.queued_at)
        };
        queued_at(&self.dirty).min(queued_at(&self.bulky))
    }

    /// Makes those clients lagging that were not yet sent an entry that is about to fall out of the ring: afterwards nobody could say
    /// where they stood.
    fn lag_before(&mut self, stream: StreamId, leaving: u64) {
        let clients = &self.clients;
        let unsent = |reader: &SubRef| {
            let client = clients[reader.client.index()].as_ref()?;
            let first = client.ranges.first()?;
            (client.mode == Mode::Live && first.start <= leaving).then_some((reader.client, first.start))
        };
        let stream = self.streams[stream.index()].as_deref();
        let late: Vec<(ClientId, u64)> =
            stream.map(|stream| stream.subscribers.iter().filter_map(unsent).collect()).unwrap_or_default();
        for (id, written_to) in late {
            self.lag_told(id, written_to);
        }
    }

    fn handle_unlogged(&mut self, entry: &Entry, batch: &Batch) {
        for SubRef { client, .. } in self.stream(entry.stream).subscribers.clone() {
            self.lag_told_live(client);
        }
        let end = self.log.end();
        let over = self.ring_bytes > self.limits.ring_bytes_total;
        let Some(stream) = self.streams[entry.stream.index()].as_deref_mut() else { return };
        let before = stream.ring_bytes();
        let evictions = evictions(stream, entry, &self.limits, over);
        stream.make_room(evictions, self.stats.lagging > 0);
        stream.push(entry, batch, end..end);
        self.ring_bytes = self.ring_bytes + stream.ring_bytes() - before;
        let readers = stream.readers().count() as u64;
        let counts = self.stats.channel(stream.key.channel());
        counts.fanned_out += readers;
        counts.pending += readers;
    }

    /// Makes a live client lagging where it stands, because what comes next cannot be given to it as a range.
    fn lag_told_live(&mut self, id: ClientId) {
        let end = self.log.end();
        let Some(client) = self.client(id).filter(|client| client.mode == Mode::Live) else { return };
        let written_to = client.ranges.first().map_or(end, |range| range.start);
        self.lag_told(id, written_to);
    }

    /// Makes a live client lagging because it could not be given a range for an entry that was fanned out to it.
    fn lag_without_range(&mut self, id: ClientId, channel: Channel) {
        if self.client(id).is_some_and(|client| client.mode == Mode::Live) {
            // `lag` takes what is pending out of the count of written entries, where ranges were put before; this
            // entry never was in a range. For the same reason it is pending once, and not twice.
            let counts = self.count(channel);
            counts.written += 1;
            counts.pending -= 1;
            self.lag_told_live(id);
            self.note_late();
        }
    }

    fn handle_join(&mut self, join: &Join, batch: &Batch, now: Now) {
        self.deep_answered(join.stream);
        let stream = self.stream(join.stream);
        stream.unanswered = stream.unanswered.saturating_sub(1);
        if !self.stream(join.stream).continues(join) {
            // How many entries that were is not known: at least one.
            let Join { stream, epoch, seq, .. } = *join;
            self.handle_lost(&Lost { stream, epoch, seq, count: 1 }, now.mono);
        }
        let snapshot = self.log.push(batch.frame(join.snapshot));
        let stream = self.stream(join.stream);
        stream.stand_at(join);
        let waiting = std::mem::take(&mut stream.waiting);
        for waiter in waiting {
            self.join_one(waiter, join, batch, snapshot, now);
        }
        self.note_idle(join.stream, now.mono);
    }

    /// Acknowledges one subscription, gives it the snapshot, and makes it a subscriber.
    fn join_one(&mut self, waiter: Waiter, join: &Join, batch: &Batch, at: Option<u64>, now: Now) {
        let Waiter { reader: SubRef { client: id, sub }, asked } = waiter;
        let Some((client, stream)) = self.client_and_stream(id, join.stream) else { return };
        let Some(one) = client.subs.get_mut(sub as usize) else { return };
        let state = std::mem::replace(&mut one.state, SubState::Active);
        let is_wanted = one.snapshot || state == SubState::Resyncing;
        (one.cursor, one.cursor_seq, one.cursor_epoch) = (stream.published, join.seq, join.epoch);
        one.due = now.mono;
        let point = asked.and_then(|asked| asked.resume);
        let found = point.and_then(|(epoch, seq)| stream.locate(epoch, seq));
        let recovered = point.map(|_| found.is_some());
        if let Some(recovered) = recovered {
            self.stats.resumed[usize::from(!recovered)] += 1;
        }
        let has_snapshot =
            (is_wanted || recovered == Some(false)) && join.snapshot.len > 0 && found.is_none();
        if let Some(Asked { req_id, time_in, .. }) = asked {
            let stamp = Stamp { time_in, time_out: now.wall, req_id };
            self.acknowledge(id, sub, join, recovered, stamp);
        } else if planted::is(Bug::AcknowledgedTwice) {
            let stamp = Stamp { time_in: now.wall, time_out: now.wall, req_id: None };
            self.acknowledge(id, sub, join, recovered, stamp);
        }
        if let (Some(point), Some(ordinal)) = (point, found) {
            self.go_on_from(id, sub, point, ordinal);
        }
        self.add_subscriber(id, sub, join.stream);
        let next = self.client(id).map_or(now.mono, |client| client.subs[sub as usize].next_due(now.mono));
        // What was missed is sent at once.
        self.arm(id, sub, if found.is_some() { now.mono } else { next });
        self.tell_fresh_behind(id, sub);
        if has_snapshot {
            self.give_snapshot(id, sub, batch.frame(join.snapshot), at, batch.ts_publish);
        }
        self.tell_if_stale(id, sub);
        if state == SubState::Resyncing {
            // What else has to be synced is asked for when this is written.
            self.make_dirty(id);
        }
    }

    /// Sets the cursor of a client that comes back to where it stands; what it missed counts as fanned out now.
    fn go_on_from(&mut self, id: ClientId, sub: u32, point: (Epoch, Sequence), ordinal: u64) {
        // A live client has no cursors, so it lags until this one is at the head.
        self.lag_live(id);
        let Some(client) = self.client(id) else { return };
        let one = &mut client.subs[sub as usize];
        let missed = one.cursor - ordinal;
        one.cursor = ordinal;
        (one.cursor_epoch, one.cursor_seq) = point;
        client.has_due = true;
        let channel = StreamKey::from(one.stream).channel();
        let counts = self.count(channel);
        counts.fanned_out += if planted::is(Bug::ResumeUncounted) { 0 } else { missed };
        counts.pending += missed;
        self.make_dirty(id);
    }

    fn acknowledge(&mut self, id: ClientId, sub: u32, join: &Join, recovered: Option<bool>, stamp: Stamp) {
        let Some(client) = self.client(id) else { return };
        client.heartbeats = true;
        let (ext, snapshot, terms) = {
            let one = &client.subs[sub as usize];
            (client.ext, one.snapshot, one.terms)
        };
        let symbol = self.symbol(join.stream.into()).to_owned();
        let made = Subscribed {
            stream: join.stream.into(),
            symbol: &symbol,
            snapshot,
            ext: ext.then_some(SubscribedExt { epoch: join.epoch, seq: join.seq, terms, recovered }),
        };
        self.answer(id, |out| wire::reply::subscribed(&made, stamp, out));
    }

    /// Gives a snapshot as a range of the log, or, to a client that lags or when it outgrew the log, leaves the subscription to
    /// be synced when the socket drains.
    fn give_snapshot(&mut self, id: ClientId, sub: u32, frame: &[u8], at: Option<u64>, ts_publish: Nanos) {
        let end = at.map(|at| at + frame.len() as u64);
        let Some(client) = self.clients.get_mut(id.index()).and_then(Option::as_mut) else { return };
        client.bulky |= frame.len() >= self.limits.bulky_bytes;
        let given = match (client.mode, at, end) {
            (Mode::Live, Some(start), Some(end)) => {
                client.subs[sub as usize].snapshot_end = end;
                if client.ranges.is_empty() {
                    client.oldest = Oldest { ts_publish, ts_event: ts_publish };
                }
                client.push_range(start, end, &self.limits)
            }
            // Nobody waits behind it: the frame itself becomes the client's output.
            (Mode::Live, None, _) if client.ranges.is_empty() => {
                client.out.extend_from_slice(frame);
                true
            }
            _ => false,
        };
        if !given {
            self.unsync(id, sub);
            self.lag_live(id);
        }
        self.make_dirty(id);
    }

    /// Makes a live client lagging where it stands; its way back asks for what has to be synced.
    pub(super) fn lag_live(&mut self, id: ClientId) {
        let end = self.log.end();
        let Some(client) = self.client(id) else { return };
        if client.mode == Mode::Live {
            let written_to = client.ranges.first().map_or(end, |range| range.start);
            self.lag(id, written_to);
        }
    }

    fn handle_pair(&mut self, id: InstrumentId, instrument: &Arc<Instrument>, status: PairStatus) {
        let known = self.table.insert(Arc::clone(instrument));
        assert_eq!(known, id, "the engine numbers instruments in the order in which it announces them");
        let stale = self.pairs.get(id.index()).is_some_and(|pair| pair.stale);
        let pair = Pair { instrument: Arc::clone(instrument), status, stale };
        match self.pairs.get_mut(id.index()) {
            Some(known) => *known = pair,
            None => self.pairs.push(pair),
        }
    }

    /// Tells those who opted in, on each stream of the instrument that they take.
    fn handle_stale(&mut self, id: InstrumentId, stale: bool) {
        let Some(pair) = self.pairs.get_mut(id.index()) else { return };
        pair.stale = stale;
        let first = 1 + id.0 * STREAMS_PER_INSTRUMENT;
        for stream in (first..first + STREAMS_PER_INSTRUMENT).map(StreamId) {
            let Some(one) = self.streams.get(stream.index()).and_then(Option::as_deref) else { continue };
            for SubRef { client, sub } in one.readers().collect::<Vec<_>>() {
                if stale {
                    self.tell_if_stale(client, sub);
                } else {
                    self.tell_fresh_behind(client, sub);
                }
            }
        }
    }

    /// Tells a subscription that its data is fresh again, unless an update comes first: then it is told behind that.
    fn tell_fresh_behind(&mut self, id: ClientId, sub: u32) {
        let Some(one) = self.client(id).map(|client| client.subs[sub as usize]) else { return };
        if !one.told_stale || self.is_stale(one.stream) {
            return;
        }
        self.hand_over_ranges(id);
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        let one = &mut client.subs[sub as usize];
        let Some(stream) = self.streams[one.stream.index()].as_deref() else { return };
        let has_cursor = client.mode == Mode::Lagging || !one.is_fed();
        let is_behind = has_cursor && one.cursor < stream.published;
        if !is_behind {
            one.told_stale = false;
            let symbol = self.symbol(stream.key).to_owned();
            self.notify(id, &Notice::about(NoticeCode::Fresh, stream.key, &symbol));
        }
    }

    /// Tells a subscription that its data is stale, when it is and was not told so before.
    fn tell_if_stale(&mut self, id: ClientId, sub: u32) {
        let Some(one) = self.client(id).filter(|client| client.ext).map(|client| client.subs[sub as usize])
        else {
            return;
        };
        if self.is_stale(one.stream) && !one.told_stale {
            let key = StreamKey::from(one.stream);
            let symbol = self.symbol(key).to_owned();
            self.notify(id, &Notice::about(NoticeCode::Stale, key, &symbol));
            if let Some(client) = self.client(id) {
                client.subs[sub as usize].told_stale = true;
            }
        }
    }

    /// Whether the data of a stream is stale.
    pub(super) fn is_stale(&self, stream: StreamId) -> bool {
        let pair = StreamKey::from(stream).instrument().and_then(|one| self.pairs.get(one.index()));
        pair.is_some_and(|pair| pair.stale)
    }

    /// Sends a notice to a client that opted in.
    pub(super) fn notify(&mut self, id: ClientId, notice: &Notice<'_>) {
        if self.client(id).is_some_and(|client| client.ext) {
            self.stats.notices[notice.code as usize] += 1;
            self.answer(id, |out| wire::reply::notice(notice, out));
        }
    }

    fn handle_status(&mut self, status: FeedStatus) {
        if self.status == status {
            return;
        }
        self.status = status;
        for index in 0..self.clients.len() {
            let Some(client) = self.clients[index].as_ref() else { continue };
            let (connection_id, version) = (client.connection_id, self.version);
            self.answer(ClientId(index as u32), |out| {
                wire::reply::status(connection_id, status, version, out)
            });
        }
    }

    /// Entries did not reach this shard: nobody can be brought on by merging. Who opted in gets a snapshot, others are closed.
    fn handle_lost(&mut self, lost: &Lost, now: Nanos) {
        let id = lost.stream;
        // First everybody's place is noted, while the ring still knows it.
        for SubRef { client, .. } in self.stream(id).subscribers.clone() {
            self.lag_live(client);
        }
        let stream = self.stream(id);
        let forgotten = stream.ring_bytes();
        stream.lose(lost);
        let (channel, readers) = (stream.key.channel(), stream.readers().count() as u64);
        let counts = self.count(channel);
        counts.fanned_out += readers * lost.count;
        counts.pending += readers * lost.count;
        self.stats.streams_lost += 1;
        self.ring_bytes -= forgotten;
        self.note_idle(id, now);
    }

    /// Takes a subscription out of its stream's subscribers until it has a snapshot again; a plain client that had one is closed.
    pub(super) fn unsync(&mut self, id: ClientId, sub: u32) {
        let Some(client) = self.client(id) else { return };
        let one = &mut client.subs[sub as usize];
        let stream = one.stream;
        let was_active = std::mem::replace(&mut one.state, SubState::Unsynced) == SubState::Active;
        one.snapshot_end = 0;
        client.has_unsynced = true;
        if was_active {
            self.remove_subscriber(id, sub, stream);
        }
    }

    pub(super) fn ask(&mut self, stream: StreamId, waiter: Waiter) {
        let one = self.stream(stream);
        one.waiting.push(waiter);
        // Somebody wants it again: it must not be left behind the question.
        one.idle_since = None;
        self.idle.remove(&stream);
        let one = self.stream(stream);
        // One question is enough for all that wait.
        if one.waiting.len() == 1 {
            if is_deep(stream) {
                self.deep_asks.push_back(stream);
                self.ask_deep();
            } else {
                self.ask_now(stream);
            }
        }
    }

    /// Asks for deep snapshots, a few at a time.
    fn ask_deep(&mut self) {
        while self.deep_asked < self.limits.deep_asks_max
            && let Some(stream) = self.deep_asks.pop_front()
        {
            // Whoever waited may have gone.
            if !self.stream(stream).waiting.is_empty() {
                self.deep_asked += 1;
                self.ask_now(stream);
            }
        }
    }

    fn ask_now(&mut self, stream: StreamId) {
        self.stream(stream).unanswered += 1;
        self.outputs.push_back(Output::Ask(stream));
    }

    fn deep_answered(&mut self, stream: StreamId) {
        if is_deep(stream) {
            self.deep_asked -= 1;
            self.ask_deep();
        }
    }

    /// Asks for some of the snapshots that a live client has to be given, unless as many are on their way to it.
    pub(super) fn ask_unsynced(&mut self, id: ClientId) {
        let resyncs_max = self.limits.resyncs_max;
        let Some(client) = self.client(id) else { return };
        let on_their_way = client.subs.iter().filter(|sub| sub.state == SubState::Resyncing).count();
        let mut unsynced =
            client.subs.iter_mut().enumerate().filter(|(_, sub)| sub.state == SubState::Unsynced);
        let room = resyncs_max.saturating_sub(on_their_way);
        let asks: Vec<_> = unsynced
            .by_ref()
            .take(room)
            .map(|(index, sub)| {
                sub.state = SubState::Resyncing;
                let reader = SubRef { client: id, sub: index as u32 };
                (sub.stream, Waiter { reader, asked: None })
            })
            .collect();
        let has_more = unsynced.next().is_some();
        client.has_unsynced = has_more;
        for (stream, waiter) in asks {
            self.ask(stream, waiter);
        }
    }

    pub(super) fn note_idle(&mut self, id: StreamId, now: Nanos) {
        let stream = self.stream(id);
        if stream.active && stream.readers().next().is_none() && stream.waiting.is_empty() {
            stream.idle_since = stream.idle_since.or(Some(now));
            self.idle.insert(id);
        }
    }

    /// What a client is closed with when its cursor cannot be served and it did not opt in to a second snapshot.
    pub(super) fn out_of_reach(&mut self, id: ClientId) {
        self.close(id, CloseCode::OutOfReach, CloseCode::OutOfReach.reason());
    }
}

/// Whether a snapshot of a stream is large enough to be asked for with care.
fn is_deep(stream: StreamId) -> bool {
    matches!(StreamKey::from(stream), StreamKey::Book(_, depth) if DEPTHS[usize::from(depth)] >= Limits::DEEP_LEVELS)
}

/// How many entries a stream gives up for one more: what its own limits say, and one more when all rings together are too large.
fn evictions(stream: &Stream, entry: &Entry, limits: &Limits, over: bool) -> usize {
    let own = stream.evictions(entry, limits.ring_entries, limits.ring_bytes);
    let spare = stream.ring_len().saturating_sub(Limits::RING_ENTRIES_MIN);
    if over { own.max(spare.min(2)) } else { own }
}
