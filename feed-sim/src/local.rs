//! One reader in this process: the feed that the gateway embeds.
//!
//! Owns the numbering of its lines and what is still to be told. Never reads a clock, waits, or starts a thread: the
//! caller brings the time, gets lines, and is told when to come again.

use std::collections::VecDeque;

use model::Nanos;
use wire::feed::{FeedRequest, decode_request};

use crate::encode::{BATCH_BYTES_MAX, Lines, Stamper};
use crate::fault::{Fault, FaultPlan};
use crate::feed::{Feed, HEARTBEAT_EVERY, Telling};
use crate::recording::OpenError;
use crate::venue::SourceConfig;

/// Most requests that wait for their answer, and faults for their time; more are ignored.
const REQUESTS_MAX: usize = 1_024;

/// One in-process reader of a venue.
pub struct Local {
    feed: Feed,
    stamper: Stamper,
    lines: Lines,
    /// Openings and answers not told yet; the venue's time stands still until they are.
    tellings: VecDeque<Telling>,
    /// When something was last told; a heartbeat follows after [`HEARTBEAT_EVERY`].
    last: Nanos,
    /// While the connection is closed.
    closed_until: Option<Nanos>,
    connections: u64,
    /// Faults that begin with the next call that brings the time; at most [`REQUESTS_MAX`].
    injected: Vec<Fault>,
}

impl std::fmt::Debug for Local {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Local")
            .field("line", &self.stamper.line())
            .field("connections", &self.connections)
            .finish()
    }
}

impl Local {
    /// Opens a source; its time starts with the first [`Self::read`].
    ///
    /// # Errors
    /// When a recording cannot be read or makes no sense, or a setting is out of range.
    pub fn open(source: SourceConfig) -> Result<Self, OpenError> {
        Self::open_with(source, &[])
    }

    /// The same, with faults that happen again and again.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_with(source: SourceConfig, plans: &[FaultPlan]) -> Result<Self, OpenError> {
        Ok(Self {
            feed: Feed::open(&source, plans)?,
            stamper: Stamper::default(),
            lines: Lines::with_capacity(BATCH_BYTES_MAX),
            tellings: VecDeque::from([Telling::OPENING]),
            last: Nanos(0),
            closed_until: None,
            connections: 1,
            injected: Vec::new(),
        })
    }

    /// Number of the connection, from 1: another one begins, with line 1, after each [`Fault::Disconnect`].
    #[must_use]
    pub const fn connections(&self) -> u64 {
        self.connections
    }

    /// Whether the connection is open; closed by [`Fault::Disconnect`], and opened by a later [`Self::read`].
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.closed_until.is_none()
    }

    /// Whether everything was told: the end of a recording that doesn't loop. Heartbeats go on.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.tellings.is_empty() && self.feed.is_finished()
    }

    /// Lets a fault happen from the next call on that brings the time, or to the next event that it can happen to.
    pub fn inject(&mut self, fault: Fault) {
        if self.injected.len() < REQUESTS_MAX {
            self.injected.push(fault);
        }
    }

    fn begin_faults(&mut self, now: Nanos) {
        for fault in self.injected.drain(..) {
            self.feed.inject(fault, now);
        }
    }

    /// Appends the lines due by `now`, about [`BATCH_BYTES_MAX`] at most, and says when to call again.
    pub fn read(&mut self, now: Nanos, out: &mut Vec<u8>) -> Nanos {
        self.begin_faults(now);
        if let Some(until) = self.closed_until {
            if now < until {
                return until;
            }
            self.connect();
        }
        self.lines.clear();
        let mut next = now;
        if self.feed.is_silent(now) || self.tell(now) {
            let turn = self.feed.turn(now, &mut self.lines);
            next = turn.next;
            if let Some(until) = turn.closed_until {
                self.closed_until = Some(until);
                return until;
            }
        }
        self.finish(now, next, out)
    }

    /// Numbers the batch, or says that all is well when there was none for long.
    fn finish(&mut self, now: Nanos, next: Nanos, out: &mut Vec<u8>) -> Nanos {
        if self.last == Nanos(0) {
            self.last = now;
        }
        let is_silent = self.feed.is_silent(now);
        if self.lines.is_empty() && !is_silent && now.since(self.last) >= HEARTBEAT_EVERY {
            self.feed.heartbeat(now, &mut self.lines);
        }
        if !self.lines.is_empty() {
            self.last = now;
            self.stamper.stamp(&self.lines, out);
        }
        if is_silent { next } else { next.min(self.last + HEARTBEAT_EVERY) }
    }

    fn connect(&mut self) {
        self.closed_until = None;
        self.connections += 1;
        self.stamper = Stamper::default();
        self.tellings.clear();
        self.tellings.push_back(Telling::OPENING);
    }

    /// Goes on with openings and answers; true when none are left.
    fn tell(&mut self, now: Nanos) -> bool {
        while let Some(telling) = self.tellings.front_mut() {
            if !self.feed.tell(telling, now, &mut self.lines) {
                return false;
            }
            self.tellings.pop_front();
        }
        true
    }

    /// Takes a request line and appends what fits of its answer; the rest comes with the next reads.
    ///
    /// What is no request, or asks for a symbol that there is not, is ignored.
    pub fn handle_request(&mut self, line: &mut [u8], now: Nanos, out: &mut Vec<u8>) {
        self.begin_faults(now);
        if let Ok(request) = decode_request(line) {
            self.handle(&request, now, out);
        }
    }

    fn handle(&mut self, request: &FeedRequest, now: Nanos, out: &mut Vec<u8>) {
        let Some(telling) = self.feed.telling_of(request) else { return };
        if self.tellings.len() == REQUESTS_MAX || !self.is_connected() {
            return;
        }
        self.tellings.push_back(telling);
        if !self.feed.is_silent(now) {
            self.lines.clear();
            self.tell(now);
            self.finish(now, now, out);
        }
    }
}
