//! What one thread has counted.
//!
//! Owns the counters and the latency histogram of the measured window, and the violations of the whole run.
//! Never reads a clock: times come in as arguments.
//! Filled by [`crate::verify`] and [`crate::client`], merged and shown by [`crate::report`].

use crate::time::Micros;
use crate::violation::Violations;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::Duration;

/// Latencies above this are recorded as this.
const LATENCY_US_MAX: u64 = 3_600_000_000;
const LATENCY_DIGITS: u8 = 3;

/// Counts that are reset when the measured window opens.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Text frames, whatever they say.
    pub(crate) messages: u64,
    /// Elements of update messages.
    pub(crate) updates: u64,
    /// Payload bytes of text frames.
    pub(crate) bytes: u64,
    /// Heartbeats.
    pub(crate) heartbeats: u64,
    /// Elements whose `merged` is above 1.
    pub(crate) merged: u64,
    /// Elements whose timestamp is later than their receipt; recorded as latency 0.
    pub(crate) from_future: u64,
}

/// Counts of the window, and of the run.
pub(crate) struct Tally {
    /// Since the window opened.
    pub(crate) window: Counts,
    /// End-to-end latency in microseconds since the window opened.
    pub(crate) latency: Histogram<u64>,
    /// Text frames of the whole run, added when the window opens and closes.
    pub(crate) messages_before_window: u64,
    /// Of the whole run.
    pub(crate) violations: Violations,
    /// Connections that the server ended, by code and reason.
    pub(crate) closes: BTreeMap<(Option<u16>, String), u64>,
    /// Data frames that the fast reader did not know.
    pub(crate) slow_frames: u64,
    /// CPU time of the thread within the window.
    pub(crate) cpu: Duration,
    /// Length of the window as this thread saw it.
    pub(crate) elapsed: Duration,
}

impl Tally {
    /// Nothing counted. Fails only when the histogram's fixed bounds are wrong.
    pub(crate) fn new() -> Self {
        let latency = Histogram::new_with_bounds(1, LATENCY_US_MAX, LATENCY_DIGITS)
            .expect("bounds of the latency histogram are constants");
        Self {
            window: Counts::default(),
            latency,
            messages_before_window: 0,
            violations: Violations::new(),
            closes: BTreeMap::new(),
            slow_frames: 0,
            cpu: Duration::ZERO,
            elapsed: Duration::ZERO,
        }
    }

    /// Starts the window: what was counted during the ramp is put aside.
    pub(crate) fn open_window(&mut self) {
        self.messages_before_window = self.window.messages;
        self.window = Counts::default();
        self.latency.reset();
    }

    /// Records the time from the venue's event to its receipt.
    pub(crate) fn record_latency(&mut self, event: Micros, now: Micros) {
        let us = u64::try_from(now - event).unwrap_or_else(|_| {
            self.window.from_future += 1;
            0
        });
        self.latency.saturating_record(us);
    }

    /// Takes in another thread's tally.
    pub(crate) fn merge(&mut self, other: Self) {
        let (own, theirs) = (&mut self.window, &other.window);
        own.messages += theirs.messages;
        own.updates += theirs.updates;
        own.bytes += theirs.bytes;
        own.heartbeats += theirs.heartbeats;
        own.merged += theirs.merged;
        own.from_future += theirs.from_future;
        self.messages_before_window += other.messages_before_window;
        self.latency.add(&other.latency).expect("both histograms have the same bounds");
        self.violations.merge(other.violations);
        for (close, count) in other.closes {
            *self.closes.entry(close).or_default() += count;
        }
        self.slow_frames += other.slow_frames;
        self.cpu += other.cpu;
        self.elapsed = self.elapsed.max(other.elapsed);
    }
}
