//! One client: what it subscribes to and how far it has been sent. Owns no messages but its unsent rest.

use std::sync::Arc;

use model::{Channel, Epoch, Nanos, Sequence, StreamId};
use wire::close::CloseCode;
use wire::reply::Terms;

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

/// What the ranges of a client stand for. Kept beside them and not in each: there is a range for every delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Given {
    /// Entries per channel, in the order of [`Channel::ALL`], until all ranges are written.
    pub(crate) counts: [u32; Channel::ALL.len()],
    /// Post and event time of the oldest of them, for the latency figures.
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

    /// Whether it may be sent something now.
    pub(crate) fn is_due(&self, now: Nanos) -> bool {
        let paused = self.paused && !planted::is(Bug::PauseIgnored);
        self.state == SubState::Active && !paused && (self.terms.interval_ms == 0 || self.due <= now)
    }
}

/// Everything kept per connection. Idle ones hold no heap but their list of subscriptions.
#[derive(Debug)]
pub(crate) struct Client {
    /// Number on the wire, below 2^53.
    pub(crate) connection_id: u64,
    /// Whether it opted in to the superset.
    pub(crate) ext: bool,
    /// Index of its tier.
    pub(crate) tier: u8,
    /// What it was granted; none is everything that its tier covers.
    pub(crate) grant: Option<Arc<Grant>>,
    /// Somebody looks at its token.
    pub(crate) logs_in: bool,
    pub(crate) mode: Mode,
    /// Stands in the queue of dirty clients.
    pub(crate) queued: bool,
    /// Log position when it was queued: nothing it was given is older.
    pub(crate) queued_at: u64,
    /// The socket refused bytes; wait for it to become writable.
    pub(crate) blocked_since: Option<Nanos>,
    /// Has subscribed once, so heartbeats are due.
    pub(crate) heartbeats: bool,
    /// A heartbeat is due and nothing else is there to send.
    pub(crate) heartbeat_due: bool,
    /// When it connected (monotonic).
    pub(crate) connected: Nanos,
    /// When bytes were last handed to the socket (monotonic), or when it connected.
    pub(crate) last_sent: Nanos,
    /// When a closing client is given up (monotonic); set when its closing is first seen by the clock.
    pub(crate) close_by: Option<Nanos>,
    /// Has much to be written, so it waits apart from the others.
    pub(crate) bulky: bool,
    /// Some subscription has to be synced again and is not asked for yet.
    pub(crate) has_unsynced: bool,
    /// A held subscription may be due.
    pub(crate) has_due: bool,
    /// Bandwidth, when it is limited.
    pub(crate) rate: Option<Box<Rate>>,
    /// Since when it has been lagging (monotonic), for reports.
    pub(crate) lagging_since: Option<Nanos>,
    /// Bytes that its socket took, for reports.
    pub(crate) written_bytes: u64,
    /// Entries dropped for it, for reports.
    pub(crate) dropped: u64,
    /// Written before anything else: the rest of a partly sent frame, then answers. At most `control_bytes_max` plus one frame.
    pub(crate) out: Vec<u8>,
    /// What a live client has not been sent, oldest first; at most `ranges_max`.
    pub(crate) ranges: Vec<LogRange>,
    pub(crate) given: Given,
    pub(crate) subs: Vec<Sub>,
}

impl Client {
    pub(crate) fn new(connection_id: u64, ext: bool, now: Nanos) -> Self {
        Self {
            connection_id,
            ext,
            tier: 0,
            grant: None,
            logs_in: false,
            mode: Mode::Live,
            queued: false,
            queued_at: 0,
            blocked_since: None,
            heartbeats: false,
            heartbeat_due: false,
            connected: now,
            last_sent: now,
            close_by: None,
            bulky: false,
            has_unsynced: false,
            has_due: false,
            rate: None,
            lagging_since: None,
            written_bytes: 0,
            dropped: 0,
            out: Vec::new(),
            ranges: Vec::new(),
            given: Given::default(),
            subs: Vec::new(),
        }
    }

    /// Gives a live client one more frame of the log; `false` when its list is full.
    #[inline]
    pub(crate) fn push_range(&mut self, start: u64, end: u64, limits: &Limits) -> bool {
        if let Some(last) = self.ranges.last_mut()
            && last.end == start
            && (end - last.start) as usize <= limits.write_bytes_max
        {
            last.end = end;
            return true;
        }
        if self.ranges.len() == limits.ranges_max {
            return false;
        }
        self.ranges.push(LogRange { start, end });
        true
    }
}
