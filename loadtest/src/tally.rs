//! What one thread has counted.
//!
//! Owns the counters and histograms of a thread, and the violations of the whole run. Never reads a clock: times come in as
//! arguments. Filled by [`crate::verify`] and [`crate::client`], sent on every second as a [`Beat`], merged and shown by
//! [`crate::report`].

use crate::cpu::ThreadTime;
use crate::scan::Channel;
use crate::time::Micros;
use crate::verify::Seen;
use crate::violation::Violations;
use hdrhistogram::Histogram;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Latencies above this are recorded as this.
const LATENCY_US_MAX: u64 = 3_600_000_000;
const LATENCY_DIGITS: u8 = 3;

/// Counts of the whole run, from its start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    /// Text messages, whatever they say.
    pub(crate) messages: u64,
    /// Elements of update messages.
    pub(crate) updates: u64,
    /// Payload bytes of text messages.
    pub(crate) bytes: u64,
    /// Heartbeats.
    pub(crate) heartbeats: u64,
    /// Elements whose `merged` is above 1.
    pub(crate) merged: u64,
    /// Elements whose timestamp is later than their receipt; recorded as latency 0.
    pub(crate) from_future: u64,
}

/// What clients received of one channel over the whole run, to be compared with the gateway's own counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    /// Elements of updates: each is one delivery that was written.
    pub(crate) updates: u64,
    /// Of them, those to clients that did not opt in, and so are not told what was merged or dropped.
    pub(crate) plain: u64,
    /// Deliveries that they stand for beyond themselves.
    pub(crate) folded: u64,
    /// Deliveries that a notice told as lost.
    pub(crate) told_lost: u64,
    /// Trades missing between two that were received, where the link of the second says so.
    pub(crate) lost_by_link: u64,
}

/// What a book was when its subscription ended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct BookAt {
    pub(crate) symbol: String,
    pub(crate) depth_levels: usize,
    pub(crate) epoch: Option<u64>,
    pub(crate) seq: u64,
}

/// What a thread tells the supervisor every second.
#[derive(Debug)]
pub(crate) struct Beat {
    /// When.
    pub(crate) at: Instant,
    /// From the start of the run to now.
    pub(crate) counts: Counts,
    /// Latency of prompt clients since the beat before.
    pub(crate) latency: Histogram<u64>,
    /// CPU time of the thread so far.
    pub(crate) cpu: Duration,
}

/// Counts and histograms of a thread.
pub(crate) struct Tally {
    /// So far.
    pub(crate) counts: Counts,
    opened_at: Counts,
    /// Of the window, once it is closed.
    pub(crate) window: Counts,
    is_open: bool,
    /// Latency in microseconds by group, within the window.
    pub(crate) latency: Vec<Histogram<u64>>,
    /// The same since the last beat.
    recent: Vec<Histogram<u64>>,
    /// Whether a group's latency is the server's doing.
    is_prompt: Vec<bool>,
    /// From when a client meant to connect until its handshake was done.
    pub(crate) connects: Histogram<u64>,
    /// From when a client meant to ask until it was answered.
    pub(crate) answers: Histogram<u64>,
    /// Of the whole run, in the order of [`Channel::ALL`].
    pub(crate) received: [Received; Channel::ALL.len()],
    /// Handshakes that succeeded.
    pub(crate) handshakes: u64,
    /// Connections that ended after everything of them was acknowledged, so that nothing was left unread.
    pub(crate) quiet_ends: u64,
    /// Digests of books at their end, and the client that had each first.
    pub(crate) books: HashMap<BookAt, (u64, u32)>,
    /// Books that were compared with the same one of another client.
    pub(crate) books_compared: u64,
    /// Of the whole run.
    pub(crate) violations: Violations,
    /// Connections that the server ended, by code and reason.
    pub(crate) closes: BTreeMap<(Option<u16>, String), u64>,
    /// Data frames that the fast reader did not know.
    pub(crate) slow_frames: u64,
    /// Notices by code.
    pub(crate) notices: BTreeMap<String, u64>,
    /// What clients were sent, for who compares it with the feed and takes it out after each message; not kept without one.
    pub(crate) seen: Option<Vec<Seen>>,
    /// Subscriptions that went on after a reconnect, and those that got a snapshot instead.
    pub(crate) resumed: [u64; 2],
    /// Processor time of the thread within the window.
    pub(crate) cpu: ThreadTime,
    /// Length of the window as this thread saw it.
    pub(crate) elapsed: Duration,
}

pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
        .expect("bounds of the latency histogram are constants")
}

impl Tally {
    /// Nothing counted, for groups that are prompt or not.
    pub(crate) fn new(is_prompt: &[bool]) -> Self {
        let per_group = || is_prompt.iter().map(|_| histogram()).collect();
        Self {
            counts: Counts::default(),
            opened_at: Counts::default(),
            window: Counts::default(),
            is_open: false,
            latency: per_group(),
            recent: per_group(),
            is_prompt: is_prompt.to_vec(),
            connects: histogram(),
            answers: histogram(),
            received: Default::default(),
            handshakes: 0,
            quiet_ends: 0,
            books: HashMap::new(),
            books_compared: 0,
            violations: Violations::new(),
            closes: BTreeMap::new(),
            slow_frames: 0,
            notices: BTreeMap::new(),
            seen: None,
            resumed: [0; 2],
            cpu: ThreadTime::default(),
            elapsed: Duration::ZERO,
        }
    }

    /// Starts the window: what was counted during the ramp is put aside.
    pub(crate) fn open_window(&mut self) {
        self.recent.iter_mut().for_each(Histogram::reset);
        self.opened_at = self.counts;
        self.is_open = true;
    }

    /// Ends the window: what is counted while clients leave does not belong to it.
    pub(crate) fn close_window(&mut self) {
        self.flush_latency();
        self.is_open = false;
        self.window = self.counts.since(&self.opened_at);
    }

    /// Text messages of the ramp.
    pub(crate) const fn messages_before_window(&self) -> u64 {
        self.opened_at.messages
    }

    /// Records the time from the venue's event to its receipt.
    pub(crate) fn record_latency(&mut self, group: usize, event: Micros, now: Micros) {
        let us = u64::try_from(now - event).unwrap_or_else(|_| {
            self.counts.from_future += 1;
            0
        });
        self.recent[group].saturating_record(us);
    }

    /// Notes what a client was sent, where somebody wants to know.
    pub(crate) fn note_seen(&mut self, seen: Seen) {
        if let Some(all) = &mut self.seen {
            all.push(seen);
        }
    }

    /// The counts of a channel.
    pub(crate) const fn received(&mut self, channel: Channel) -> &mut Received {
        &mut self.received[channel as usize]
    }

    /// What the supervisor is told, and the start of the next second.
    pub(crate) fn beat(&mut self, at: Instant, cpu: Duration) -> Beat {
        let latency = self.flush_latency();
        Beat { at, counts: self.counts, latency, cpu }
    }

    /// Moves what is recent into the window, if it is open, and returns what prompt clients had of it.
    fn flush_latency(&mut self) -> Histogram<u64> {
        let mut prompt = histogram();
        for (group, recent) in self.recent.iter_mut().enumerate() {
            if recent.is_empty() {
                continue;
            }
            if self.is_open {
                add(&mut self.latency[group], recent);
            }
            if self.is_prompt[group] {
                add(&mut prompt, recent);
            }
            recent.reset();
        }
        prompt
    }

    /// Notes what a book was at its end; the client that had another one at the same place, if there is one.
    pub(crate) fn note_book(&mut self, at: BookAt, digest: u64, client: u32) -> Option<u32> {
        match self.books.get(&at) {
            None => drop(self.books.insert(at, (digest, client))),
            Some((other, _)) if *other == digest => self.books_compared += 1,
            Some((_, other)) => return Some(*other),
        }
        None
    }

    /// Latency of all prompt clients within the window; of all clients when none is prompt.
    pub(crate) fn prompt_latency(&self) -> Histogram<u64> {
        let has_prompt = self.is_prompt.contains(&true);
        let mut sum = histogram();
        for (latency, is_prompt) in self.latency.iter().zip(&self.is_prompt) {
            if *is_prompt || !has_prompt {
                add(&mut sum, latency);
            }
        }
        sum
    }

    /// Takes in another thread's tally. Books of different threads are compared by the caller.
    pub(crate) fn merge(&mut self, other: Self) {
        self.counts.add(&other.counts);
        self.opened_at.add(&other.opened_at);
        self.window.add(&other.window);
        self.latency.iter_mut().zip(&other.latency).for_each(|(own, other)| add(own, other));
        add(&mut self.connects, &other.connects);
        add(&mut self.answers, &other.answers);
        for (own, other) in self.received.iter_mut().zip(&other.received) {
            own.add(other);
        }
        self.handshakes += other.handshakes;
        self.quiet_ends += other.quiet_ends;
        self.books_compared += other.books_compared;
        self.violations.merge(other.violations);
        merge_counts(&mut self.closes, other.closes);
        merge_counts(&mut self.notices, other.notices);
        self.slow_frames += other.slow_frames;
        self.resumed.iter_mut().zip(other.resumed).for_each(|(own, other)| *own += other);
        self.cpu.ran += other.cpu.ran;
        self.cpu.waited += other.cpu.waited;
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}

fn merge_counts<K: Ord>(own: &mut BTreeMap<K, u64>, other: BTreeMap<K, u64>) {
    for (key, count) in other {
        *own.entry(key).or_default() += count;
    }
}

/// Adds a histogram to another one of the same bounds.
pub(crate) fn add(own: &mut Histogram<u64>, other: &Histogram<u64>) {
    own.add(other).expect("all histograms have the same bounds");
}

impl Counts {
    /// What was counted since an earlier moment.
    pub(crate) const fn since(&self, before: &Self) -> Self {
        Self {
            messages: self.messages - before.messages,
            updates: self.updates - before.updates,
            bytes: self.bytes - before.bytes,
            heartbeats: self.heartbeats - before.heartbeats,
            merged: self.merged - before.merged,
            from_future: self.from_future - before.from_future,
        }
    }

    /// Takes in another thread's.
    pub(crate) const fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.updates += other.updates;
        self.bytes += other.bytes;
        self.heartbeats += other.heartbeats;
        self.merged += other.merged;
        self.from_future += other.from_future;
    }
}

impl Received {
    const fn add(&mut self, other: &Self) {
        self.updates += other.updates;
        self.plain += other.plain;
        self.folded += other.folded;
        self.told_lost += other.told_lost;
        self.lost_by_link += other.lost_by_link;
    }
}
