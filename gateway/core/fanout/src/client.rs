//! One client: what it subscribes to and how far it has been sent. Owns no messages but its unsent rest.

use std::mem::offset_of;
use std::sync::Arc;

use model::{Channel, Epoch, Nanos, Sequence, StreamId};
use wire::close::CloseCode;
use wire::reply::Terms;

use crate::bucket::Bucket;
use crate::grant::Grant;
use crate::limits::Limits;
use crate::planted::{self, Bug};
use crate::terms::Rate;

/// Number of a client within its shard; used again after [`crate::Hub::handle_disconnect`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u32);

impl ClientId {
    pub(crate) const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Neighbouring frames of the log that a client was given and not yet sent: at most one write.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogRange {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Post and event time of the oldest entry of a client's ranges, for the latency figures.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Oldest {
    pub(crate) ts_publish: Nanos,
    pub(crate) ts_event: Nanos,
}

/// How a client is served at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// It is given ranges of the log as entries come.
    Live,
    /// It has only cursors; the next time its socket takes bytes it is caught up.
    Lagging,
    /// It is sent what is in `out`, a close frame last, and nothing else.
    Closing(CloseCode),
    /// The close frame is written; the socket only waits for its end.
    Closed,
}

/// What a subscription waits for before it gets entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SubState {
    /// The engine was asked; the acknowledgement is still owed.
    Subscribing,
    /// It stands among the subscribers of its stream.
    Active,
    /// Its snapshot was never sent whole, or its cursor is out of reach; to be asked for when the socket drains.
    Unsynced,
    /// The same, and the engine was asked.
    Resyncing,
}

/// A subscription: a cursor into a stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sub {
    pub(crate) stream: StreamId,
    /// Index among the subscribers or the held of the stream while [`SubState::Active`].
    pub(crate) slot: u32,
    pub(crate) state: SubState,
    /// How it is served.
    pub(crate) terms: Terms,
    /// The client wants nothing of it for now.
    pub(crate) paused: bool,
    /// With an interval: when the next update may be sent (monotonic).
    pub(crate) due: Nanos,
    /// The client was told that the data is stale, and not yet that it is fresh again: that comes behind the update that made it so.
    pub(crate) told_stale: bool,
    /// Whether a snapshot was asked for.
    pub(crate) snapshot: bool,
    /// Log position behind its snapshot; 0 without one. As long as the client has not been sent up to here, it has nothing.
    pub(crate) snapshot_end: u64,
    /// Ordinal of the last entry sent; while the client is live and the subscription fed, only a lower bound (where it joined).
    pub(crate) cursor: u64,
    /// Sequence and epoch at the cursor: the `prev` of a merged message.
    pub(crate) cursor_seq: Sequence,
    pub(crate) cursor_epoch: Epoch,
}

impl Sub {
    /// Whether a live client is given ranges for it. Otherwise it is held: a cursor that is brought on when it is due.
    pub(crate) const fn is_fed(&self) -> bool {
        !self.paused && self.terms.interval_ms == 0
    }

    /// When the interval after this one begins. Intervals count from the start of the clock and not of the subscription, so all that have
    /// the same one are due together and share what is merged.
    pub(crate) fn next_due(&self, now: Nanos) -> Nanos {
        let interval = self.terms.interval().0.max(1);
        Nanos((now.0 / interval + 1) * interval)
    }

    /// Whether it may be sent something now.
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        let paused = self.paused && !planted::is(Bug::PauseIgnored);
        self.state == SubState::Active && !paused && (self.terms.interval_ms == 0 || self.due <= now)
    }
}

/// Everything kept per connection. Idle ones hold no heap but their list of subscriptions.
///
/// Three cache lines, in the order of use: each delivery touches the first, the first one after a write and each write the second, the
/// third is for requests and time-outs.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Client {
    /// What a live client has not been sent, oldest first; at most `ranges_max`.
    pub(crate) ranges: Vec<LogRange>,
    /// Where the last of them ends: whether a frame follows it is known without the list, which with many clients is in no cache.
    given_to: u64,
    /// The entries in them per channel, in the order of [`Channel::ALL`]. Kept until all are written, and not in each range: there is a
    /// range for every delivery.
    pub(crate) given: [u32; Channel::ALL.len()],
    pub(crate) mode: Mode,
    /// Stands in the queue of dirty clients.
    pub(crate) queued: bool,
    /// Has much to be written, so it waits apart from the others.
    pub(crate) bulky: bool,
    /// The socket refused bytes; wait for it to become writable.
    pub(crate) blocked: bool,
    /// What most clients never have.
    pub(crate) rare: Option<Box<Rare>>,

    /// Log position when it was queued: nothing it was given is older.
    pub(crate) queued_at: u64,
    pub(crate) oldest: Oldest,
    /// When bytes were last handed to the socket (monotonic), or when it connected.
    pub(crate) last_sent: Nanos,
    /// Bytes that its socket took, for reports.
    pub(crate) written_bytes: u64,
    /// Written before anything else: the rest of a partly sent frame, then answers. At most `control_bytes_max` plus one frame.
    pub(crate) out: Vec<u8>,

    pub(crate) subs: Vec<Sub>,
    /// Whether it opted in to the superset.
    pub(crate) ext: bool,
    /// Has subscribed once, so heartbeats are due.
    pub(crate) heartbeats: bool,
    /// A heartbeat is due and nothing else is there to send.
    pub(crate) heartbeat_due: bool,
    /// Some subscription has to be synced again and is not asked for yet.
    pub(crate) has_unsynced: bool,
    /// A held subscription may be due.
    pub(crate) has_due: bool,
    /// Index of its tier.
    pub(crate) tier: u8,
    /// What it may send; full not before it last sent something.
    pub(crate) messages: Bucket,
    /// What it may ask.
    pub(crate) requests: Bucket,
    /// When it connected (monotonic).
    pub(crate) connected: Nanos,
    /// Number on the wire, below 2^53.
    pub(crate) connection_id: u64,
}

/// What only a client has that is slow, limited or about to end.
#[derive(Debug, Default)]
pub(crate) struct Rare {
    /// Bandwidth, when it is limited.
    pub(crate) rate: Option<Rate>,
    /// Since when it has been lagging (monotonic), for reports.
    pub(crate) lagging_since: Option<Nanos>,
    /// When a closing client is given up (monotonic); set when its closing is first seen by the clock.
    pub(crate) close_by: Option<Nanos>,
    /// Entries dropped for it, for reports.
    pub(crate) dropped: u64,
    /// What it was granted; none is everything that its tier covers.
    pub(crate) grant: Option<Arc<Grant>>,
    /// Somebody looks at its token.
    pub(crate) logs_in: bool,
    /// Since when its socket is blocked (monotonic), while it is.
    pub(crate) blocked_since: Nanos,
    /// Where in `out` the pong begins that was added since then.
    pub(crate) pong_at: Option<usize>,
}

/// A fourth line would be touched for nothing by all that is done for all clients.
const _: () = {
    assert!(size_of::<Option<Client>>() == 192);
    assert!(offset_of!(Client, queued_at) == 64 && offset_of!(Client, subs) == 128);
};

impl Client {
    pub(crate) fn new(connection_id: u64, ext: bool, now: Nanos) -> Self {
        Self {
            ranges: Vec::new(),
            given_to: 0,
            given: Default::default(),
            mode: Mode::Live,
            queued: false,
            bulky: false,
            blocked: false,
            rare: None,
            queued_at: 0,
            oldest: Oldest::default(),
            last_sent: now,
            written_bytes: 0,
            out: Vec::new(),
            subs: Vec::new(),
            ext,
            heartbeats: false,
            heartbeat_due: false,
            has_unsynced: false,
            has_due: false,
            tier: 0,
            messages: Bucket::new(now),
            requests: Bucket::new(now),
            connected: now,
            connection_id,
        }
    }

    /// Its socket refused bytes.
    pub(crate) fn block(&mut self, now: Nanos) {
        self.blocked = true;
        self.rare().blocked_since = now;
    }

    /// Its socket takes bytes again.
    pub(crate) fn unblock(&mut self) {
        self.blocked = false;
        self.rare().pong_at = None;
    }

    /// Since when its socket is blocked (monotonic).
    pub(crate) fn blocked_since(&self) -> Option<Nanos> {
        self.rare.as_deref().filter(|_| self.blocked).map(|rare| rare.blocked_since)
    }

    /// What it was granted; none is everything that its tier covers.
    pub(crate) fn grant(&self) -> Option<&Arc<Grant>> {
        self.rare.as_deref()?.grant.as_ref()
    }

    /// What it has that most have not, to be changed.
    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn rate(&self) -> Option<&Rate> {
        self.rare.as_deref()?.rate.as_ref()
    }

    pub(crate) fn rate_mut(&mut self) -> Option<&mut Rate> {
        self.rare.as_deref_mut()?.rate.as_mut()
    }

    pub(crate) fn lagging_since(&self) -> Option<Nanos> {
        self.rare.as_deref()?.lagging_since
    }

    /// Gives a live client one more frame of the log; `false` when its list is full.
    #[inline]
    pub(crate) fn push_range(&mut self, start: u64, end: u64, limits: &Limits) -> bool {
        debug_assert!(self.ranges.last().is_none_or(|last| last.end == self.given_to));
        if self.given_to == start
            && let Some(last) = self.ranges.last_mut()
            && (end - last.start) as usize <= limits.write_bytes_max
        {
            (last.end, self.given_to) = (end, end);
            return true;
        }
        if self.ranges.len() == limits.ranges_max {
            return false;
        }
        self.ranges.push(LogRange { start, end });
        self.given_to = end;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_become_one_range_and_a_full_list_takes_no_more() {
        let limits = Limits { write_bytes_max: 100, ranges_max: 3, ..Limits::default() };
        let mut client = Client::new(1, false, Nanos(0));
        let check = |client: &mut Client, start, end, given, expected: &[(u64, u64)]| {
            assert_eq!(client.push_range(start, end, &limits), given, "{start}..{end}");
            let ranges: Vec<_> = client.ranges.iter().map(|range| (range.start, range.end)).collect();
            assert_eq!(ranges, expected, "after {start}..{end}");
        };
        check(&mut client, 0, 40, true, &[(0, 40)]);
        check(&mut client, 40, 100, true, &[(0, 100)]);
        check(&mut client, 100, 110, true, &[(0, 100), (100, 110)]);
        check(&mut client, 200, 210, true, &[(0, 100), (100, 110), (200, 210)]);
        check(&mut client, 300, 310, false, &[(0, 100), (100, 110), (200, 210)]);
        check(&mut client, 210, 220, true, &[(0, 100), (100, 110), (200, 220)]);
        client.ranges.drain(..2);
        check(&mut client, 220, 230, true, &[(200, 230)]);
        client.ranges.clear();
        check(&mut client, 230, 240, true, &[(230, 240)]);
    }
}
