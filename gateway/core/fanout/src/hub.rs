//! The hub of a shard: owns its streams, its clients and the byte log.
//!
//! Inputs are `handle_*`; then [`Hub::sweep`] writes the dirty clients and [`Hub::poll_output`] says what the shell has to do.
//! Requests of clients are in `requests.rs`, writing in `sweep.rs`, the way back from lagging to live in `catch_up.rs`.

mod audit;
mod catch_up;
mod drain;
mod entries;
mod gather;
mod grants;
mod overrun;
mod report;
mod requests;
mod serving;
mod sweep;
mod timers;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

use model::{Channel, FeedStatus, Instrument, InstrumentId, InstrumentTable, Nanos, PairStatus, StreamId};
use wire::close::CloseCode;

use wire::ws::{Opcode, write_close, write_frame};

use crate::client::{Client, ClientId, Mode};
use crate::limits::Limits;
use crate::log::ByteLog;
use crate::merge::Merger;
use crate::stats::HubStats;
use crate::stream::Stream;
use crate::terms::TierBounds;
pub use grants::Login;
pub use report::{ClientReport, StreamReport, SubscriptionReport};
use timers::Timers;

/// The two clocks, read by the shell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For time-outs: never jumps.
    pub mono: Nanos,
    /// For stamps.
    pub wall: Nanos,
}

/// What became of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// The socket took this many bytes; fewer than given means that it would block.
    Bytes(usize),
    /// The connection is broken.
    Gone,
}

/// The sockets of a shard, as the hub sees them.
pub trait Sink {
    /// Writes without waiting.
    fn write(&mut self, client: ClientId, bytes: &[u8]) -> Written;
    /// The time, read for each write because a sweep takes milliseconds.
    fn now(&mut self) -> Now;
    /// This client is written to soon: what its write begins with may be fetched from memory. Without consequence.
    fn warm(&self, _: ClientId) {}
}

/// What the shell has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Ask the engine for a join of this stream: it publishes it to this shard from then on.
    Ask(StreamId),
    /// Tell the engine that nobody subscribes any more.
    Leave(StreamId),
    /// The close frame is written: end the writing half, wait for the peer, then disconnect.
    Closed(ClientId),
    /// End the connection now.
    Abort(ClientId),
}

/// An instrument as clients are told it.
#[derive(Clone, Debug)]
struct Pair {
    instrument: Arc<Instrument>,
    status: PairStatus,
    stale: bool,
}

/// Owner of the clients of one shard.
#[derive(Debug)]
pub struct Hub {
    limits: Limits,
    version: &'static str,
    log: ByteLog,
    /// By [`StreamId`]; made at the first subscription.
    streams: Vec<Option<Box<Stream>>>,
    clients: Vec<Option<Client>>,
    free: Vec<ClientId>,
    /// Clients with something to write, each once here or in `bulky`.
    dirty: VecDeque<ClientId>,
    /// Those of them with much to write: one of them is written between two rounds of the others.
    bulky: VecDeque<ClientId>,
    /// Deep snapshots that the engine is to be asked for, and how many it was asked for and has not answered.
    deep_asks: VecDeque<StreamId>,
    deep_asked: usize,
    timers: Timers,
    /// What the operator allows, by tier; a client begins in the first.
    tiers: Vec<TierBounds>,
    outputs: VecDeque<Output>,
    /// Tokens that somebody has to look at, at most one of each client.
    logins: VecDeque<Login>,
    table: InstrumentTable,
    pairs: Vec<Pair>,
    status: FeedStatus,
    /// Streams without subscribers that are still published to us.
    idle: BTreeSet<StreamId>,
    /// Where the scan for heartbeats and stalls goes on.
    scan_at: usize,
    stats: HubStats,
    /// Whether all are brought on in rounds, and how many began to lag for want of their turn since all were last written.
    overrun: bool,
    late: usize,
    /// Bytes of the entries in all rings.
    ring_bytes: usize,
    /// Errors answered so far, several per request where several symbols are wrong.
    refusals: u64,
    /// The gateway ends: who is closed when.
    drain: Option<drain::Drain>,
    /// No new subscriptions are taken: memory is short.
    tight: bool,
    /// Clients whose answers pile up. They are closed when the input at hand is done: who answers may still hold the numbers of
    /// their subscriptions, which a close ends.
    flooders: Vec<ClientId>,
    scratch: Scratch,
}

/// Room that is used again and again instead of being allocated.
#[derive(Debug, Default)]
struct Scratch {
    bytes: Vec<u8>,
    payload: Vec<u8>,
    marks: Vec<gather::Mark>,
    merger: Merger,
    overflowed: Vec<ClientId>,
    cursors: Vec<u64>,
}

impl Hub {
    /// A hub without clients.
    ///
    /// # Panics
    /// When the limits contradict each other ([`Limits::problems`]), and without a tier.
    #[must_use]
    pub fn new(limits: Limits, tiers: Vec<TierBounds>, version: &'static str) -> Self {
        assert!(
            limits.problems().is_empty(),
            "limits are checked when they are read: {:?}",
            limits.problems()
        );
        assert!(!tiers.is_empty(), "every client has a tier");
        let tiers_len = tiers.len();
        Self {
            log: ByteLog::new(limits.log_bytes),
            limits,
            version,
            streams: Vec::new(),
            clients: Vec::new(),
            free: Vec::new(),
            dirty: VecDeque::new(),
            bulky: VecDeque::new(),
            deep_asks: VecDeque::new(),
            deep_asked: 0,
            timers: Timers::default(),
            tiers,
            outputs: VecDeque::new(),
            logins: VecDeque::new(),
            table: InstrumentTable::default(),
            pairs: Vec::new(),
            status: FeedStatus::Maintenance,
            idle: BTreeSet::new(),
            scan_at: 0,
            stats: HubStats { tiers: vec![0; tiers_len], ..HubStats::default() },
            overrun: false,
            late: 0,
            ring_bytes: 0,
            refusals: 0,
            drain: None,
            tight: false,
            flooders: Vec::new(),
            scratch: Scratch::default(),
        }
    }

    /// A connection was upgraded; `ext` when it opted in to the superset by its address.
    pub fn handle_connect(&mut self, connection_id: u64, ext: bool, now: Now) -> ClientId {
        let client = Client::new(connection_id, ext, now.mono);
        let id = self.free.pop().unwrap_or_else(|| {
            self.clients.push(None);
            ClientId(
                u32::try_from(self.clients.len() - 1).expect("a shard has fewer clients than descriptors"),
            )
        });
        self.clients[id.index()] = Some(client);
        self.stats.clients += 1;
        self.stats.tiers[0] += 1;
        if self.tiers[0].bytes_per_s_max > 0 {
            self.set_rate(id, 0, now);
        }
        let (status, version) = (self.status, self.version);
        self.answer(id, |out| wire::reply::status(connection_id, status, version, out));
        id
    }

    /// The connection ended, for whatever reason; its number may be given to another client from now on.
    pub fn handle_disconnect(&mut self, id: ClientId) {
        if self.clients.get(id.index()).is_some_and(Option::is_some) {
            self.discard_subscriptions(id);
            let Some(client) = self.clients[id.index()].take() else { return };
            self.stats.clients -= 1;
            self.stats.tiers[usize::from(client.tier)] -= 1;
            self.stats.lagging -= u64::from(client.mode == Mode::Lagging);
            self.stats.broken += u64::from(matches!(client.mode, Mode::Live | Mode::Lagging));
            if client.queued {
                // A number that stands in the queue must not be given to another client.
                self.dirty.retain(|&other| other != id);
                self.bulky.retain(|&other| other != id);
            }
            self.free.push(id);
        }
    }

    /// Whether memory is short: then no new subscription is taken until it is not.
    pub const fn set_tight(&mut self, tight: bool) {
        self.tight = tight;
    }

    /// The socket takes bytes again.
    pub fn handle_writable(&mut self, id: ClientId) {
        if let Some(client) = self.client(id)
            && client.blocked
        {
            client.unblock();
            self.make_dirty(id);
        }
    }

    /// Ends a connection: everything pending is dropped, the close frame is the last thing written.
    pub fn close(&mut self, id: ClientId, code: CloseCode, reason: &str) {
        self.close_with(id, code, code.code(), reason);
    }

    fn close_with(&mut self, id: ClientId, code: CloseCode, number: u16, reason: &str) {
        let Some(client) = self.client(id) else { return };
        if matches!(client.mode, Mode::Closing(_) | Mode::Closed) {
            return;
        }
        // What it was not sent is counted by its mode, so the mode changes after that.
        self.discard_subscriptions(id);
        let Some(client) = self.clients[id.index()].as_mut() else { return };
        self.stats.lagging -= u64::from(client.mode == Mode::Lagging);
        client.mode = Mode::Closing(code);
        write_close(number, reason, &mut client.out);
        let index = CloseCode::ALL.iter().position(|&one| one == code).unwrap_or_default();
        self.stats.closes[index] += 1;
        self.make_dirty(id);
    }

    /// The client closes: its code is echoed, nothing else is sent.
    pub fn handle_close(&mut self, id: ClientId, code: Option<u16>) {
        let Some(client) = self.client(id) else { return };
        match client.mode {
            // Both closed at once: our own close frame is on its way.
            Mode::Closing(_) | Mode::Closed => {}
            _ => self.close_with(id, CloseCode::Normal, code.unwrap_or_else(|| CloseCode::Normal.code()), ""),
        }
    }

    /// Answers a ping of the client. While its socket takes nothing, only the newest of its pings is answered, as RFC 6455 allows:
    /// who pings without reading does not pile up pongs.
    pub fn handle_ping(&mut self, id: ClientId, payload: &[u8]) {
        let Some(client) = self.client(id) else { return };
        if matches!(client.mode, Mode::Closing(_) | Mode::Closed) {
            return;
        }
        if let Some(at) = client.rare.as_deref().and_then(|rare| rare.pong_at) {
            // A pong has a header of two octets, the second of which is its length.
            let len = usize::from(client.out[at + 1]);
            client.out.drain(at..at + 2 + len);
        }
        if client.blocked {
            client.rare().pong_at = Some(client.out.len());
        }
        write_frame(Opcode::Pong, payload, &mut client.out);
        self.answered(id);
        self.close_flooders();
    }

    /// What is due by time: heartbeats, stalled clients, idle streams. Looks at a tenth of the clients per call: called every
    /// 50 ms it sees each client twice a second.
    pub fn handle_timeout(&mut self, now: Now) {
        let share = self.clients.len().div_ceil(10);
        for _ in 0..share {
            self.scan_at = (self.scan_at + 1) % self.clients.len();
            self.check_client(ClientId(self.scan_at as u32), now);
        }
        self.leave_idle_streams(now.mono);
        self.drain_on(now.mono);
        self.handle_timers(now.mono);
    }

    fn check_client(&mut self, id: ClientId, now: Now) {
        let Limits { stall_max, close_grace, heartbeat, idle_max, .. } = self.limits;
        let Some(client) = self.client(id) else { return };
        let mono = now.mono;
        if client.grant().is_some_and(|grant| grant.has_ended(mono)) && self.end_expired(id) {
            return;
        }
        let Some(client) = self.client(id) else { return };
        let quiet = mono.since(client.last_sent);
        match client.mode {
            Mode::Closing(_) | Mode::Closed => {
                if mono > *client.rare().close_by.get_or_insert(mono + close_grace) {
                    self.outputs.push_back(Output::Abort(id));
                }
            }
            _ if client.blocked_since().is_some_and(|since| mono.since(since) > stall_max) => {
                self.close(id, CloseCode::SlowConsumer, CloseCode::SlowConsumer.reason());
            }
            _ if client.subs.is_empty()
                && idle_max > Nanos(0)
                && mono.since(client.messages.full_at()) > idle_max =>
            {
                self.stats.idle_closed += 1;
                let seconds = idle_max.0 / Nanos::SECOND.0;
                self.close(id, CloseCode::PolicyViolation, &format!("no subscription for {seconds} s"));
            }
            Mode::Lagging => self.check_lag(id, now.wall),
            Mode::Live if client.heartbeats && quiet >= heartbeat => {
                client.heartbeat_due = true;
                if client.ranges.is_empty() {
                    // An idle client keeps no room for what it does not get.
                    client.ranges = Vec::new();
                }
                self.make_dirty(id);
            }
            Mode::Live => {}
        }
    }

    fn leave_idle_streams(&mut self, now: Nanos) {
        let linger = self.limits.linger;
        let due = |stream: &Stream| {
            stream.unanswered == 0 && stream.idle_since.is_some_and(|since| now.since(since) > linger)
        };
        while let Some(&id) = self.idle.iter().find(|id| self.streams[id.index()].as_deref().is_some_and(due))
        {
            self.idle.remove(&id);
            if let Some(stream) = self.streams[id.index()].as_deref_mut() {
                stream.idle_since = None;
                stream.active = false;
                self.ring_bytes -= stream.ring_bytes();
                // Whoever comes after this begins anew; the ring would only take room.
                stream.forget(1);
                self.outputs.push_back(Output::Leave(id));
            }
        }
    }

    /// The next thing that the shell has to do.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Self::handle_timers`] has something to do (monotonic).
    #[must_use]
    pub fn poll_timer(&self) -> Option<Nanos> {
        self.timers.next()
    }

    /// Whether clients wait to be written.
    #[must_use]
    pub fn is_dirty(&self) -> bool {
        !self.dirty.is_empty() || !self.bulky.is_empty()
    }

    fn client(&mut self, id: ClientId) -> Option<&mut Client> {
        self.clients.get_mut(id.index())?.as_mut()
    }

    fn make_dirty(&mut self, id: ClientId) {
        let end = self.log.end();
        let Some(client) = self.client(id) else { return };
        if !client.queued && !client.blocked && client.mode != Mode::Closed {
            client.queued = true;
            client.queued_at = client.ranges.first().map_or(end, |range| range.start);
            self.dirty.push_back(id);
        }
    }

    /// Appends one answer to a client's own output, ahead of its market data.
    fn answer(&mut self, id: ClientId, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut payload = std::mem::take(&mut self.scratch.payload);
        payload.clear();
        encode(&mut payload);
        if let Some(client) = self.client(id)
            && !matches!(client.mode, Mode::Closing(_) | Mode::Closed)
        {
            write_frame(Opcode::Text, &payload, &mut client.out);
            self.answered(id);
        }
        self.scratch.payload = payload;
    }

    /// Sees to it that an answer leaves, and that answers do not pile up.
    fn answered(&mut self, id: ClientId) {
        if self.is_flooded(id) && self.flooders.last() != Some(&id) {
            self.flooders.push(id);
        }
        self.make_dirty(id);
    }

    fn is_flooded(&mut self, id: ClientId) -> bool {
        let control_bytes_max = self.limits.control_bytes_max;
        self.client(id).is_some_and(|client| client.out.len() > control_bytes_max)
    }

    /// Ends the connections of clients that do not read their answers; to be called at the end of each input.
    fn close_flooders(&mut self) {
        while let Some(id) = self.flooders.pop() {
            // What was written meanwhile is no flood, and the number may be that of another client.
            if self.is_flooded(id) {
                // Whatever is half written must be finished; what comes after it need not be.
                self.stats.floods += 1;
                self.close(id, CloseCode::PolicyViolation, "answers are not read");
            }
        }
    }

    fn stream(&mut self, id: StreamId) -> &mut Stream {
        if self.streams.len() <= id.index() {
            self.streams.resize_with(id.index() + 1, || None);
        }
        self.streams[id.index()].get_or_insert_with(|| Box::new(Stream::new(id)))
    }

    fn instrument(&self, id: InstrumentId) -> Option<&Arc<Instrument>> {
        self.pairs.get(id.index()).map(|pair| &pair.instrument)
    }

    fn symbol(&self, stream: model::StreamKey) -> &str {
        stream.instrument().and_then(|id| self.instrument(id)).map_or("", |one| &one.symbol)
    }

    fn count(&mut self, channel: Channel) -> &mut crate::stats::ChannelStats {
        self.stats.channel(channel)
    }
}
