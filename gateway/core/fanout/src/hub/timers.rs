//! Deadlines of single subscriptions and clients: updates at an interval, bandwidth.
//!
//! A deadline that was overtaken by a change of terms still fires and finds nothing to do: cheaper than to search for it.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use model::{Nanos, StreamId};

use super::Hub;
use crate::client::ClientId;

/// What is due, the earliest first.
#[derive(Debug, Default)]
pub(super) struct Timers(BinaryHeap<Reverse<(Nanos, ClientId, Option<StreamId>)>>);

impl Timers {
    /// A subscription by its stream, or the client itself.
    pub(super) fn push(&mut self, at: Nanos, client: ClientId, stream: Option<StreamId>) {
        self.0.push(Reverse((at, client, stream)));
    }

    pub(super) fn next(&self) -> Option<Nanos> {
        self.0.peek().map(|Reverse((at, ..))| *at)
    }

    fn pop(&mut self, now: Nanos) -> Option<(Nanos, ClientId, Option<StreamId>)> {
        if self.next()? > now { None } else { self.0.pop().map(|Reverse(timer)| timer) }
    }
}

impl Hub {
    /// Makes dirty whoever is due.
    pub fn handle_timers(&mut self, now: Nanos) {
        while let Some((at, id, stream)) = self.timers.pop(now) {
            match stream {
                None => self.make_dirty(id),
                Some(stream) => self.handle_due(id, stream, at, now),
            }
        }
    }

    /// An interval is over: what came meanwhile is sent, or the next interval begins.
    fn handle_due(&mut self, id: ClientId, stream: StreamId, at: Nanos, now: Nanos) {
        let Some((client, stream)) = self.client_and_stream(id, stream) else { return };
        let key = stream.key.id();
        let Some(index) = client.subs.iter().position(|sub| sub.stream == key) else { return };
        let sub = &mut client.subs[index];
        if sub.due != at || sub.is_fed() || sub.paused {
            return;
        }
        if sub.cursor < stream.published {
            client.has_due = true;
            self.make_dirty(id);
        } else {
            // Nothing came.
            sub.due = sub.next_due(now);
            let due = sub.due;
            self.timers.push(due, id, Some(key));
        }
    }

    /// Sets the timer of a subscription with an interval.
    pub(super) fn arm(&mut self, id: ClientId, sub: u32, at: Nanos) {
        let Some(client) = self.client(id) else { return };
        let sub = &mut client.subs[sub as usize];
        if sub.terms.interval_ms > 0 && !sub.paused {
            sub.due = at;
            let stream = sub.stream;
            self.timers.push(at, id, Some(stream));
        }
    }
}
