//! The engine: one thread that owns all books, applies what the feed says and publishes each change once.
//!
//! Never touches a socket and never waits for a shard. Its inputs are the feed's messages and [`EngineRequest`]s; its outputs
//! are batches in the lanes of the shards, and the reference data that HTTP reads.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, bounded};
use fanout::LatencyHistogram;
use market::{Market, MarketLimits, MarketStats, Output, StaleReason};
use model::{Event, EventBatch, EventBody, FeedStatus, InstrumentId, Level, Nanos, PairStatus, StreamId};
use parking_lot::RwLock;
use tokio::sync::oneshot;

use crate::busy::{LoopStats, LoopWatch};
use crate::clock::Clock;
use crate::feed::{FeedLanes, FeedLoss, FeedMessage, FeedRefusals};
use crate::lane::ShardLane;
use crate::reference::Reference;
use publish::{News, Publisher};

/// Requests that wait for the engine. Shards keep what does not fit and try again in their next turn.
pub(crate) const REQUESTS_MAX: usize = 16_384;

/// Most requests handled between two batches of the feed: a flood of subscribers must not stop the market.
const REQUESTS_PER_TURN: usize = 256;

/// Bytes of snapshots encoded between two batches of the feed, for the same reason.
const SNAPSHOT_BYTES_PER_TURN: usize = 64 << 10;

/// Events whose instruments are read before they are applied: as many as one core fetches side by side.
const WARMED: usize = 16;

/// With so many instruments that is done: the books of fewer stay in a core's own cache.
const WARMED_FROM: usize = 500;

/// How long the engine leaves everything to shards that do not keep up.
const PRESSED_PAUSE: Duration = Duration::from_micros(200);

/// How often deadlines are looked at when nothing happens.
const TICK: Duration = Duration::from_millis(20);

/// What others ask of the engine.
#[derive(Debug)]
pub enum EngineRequest {
    /// A shard wants a stream: a join now, and its entries from then on.
    Ask(usize, StreamId),
    /// A shard has no subscribers of a stream any more.
    Leave(usize, StreamId),
    /// Somebody wants the best levels of a book: bids and asks, best first.
    Depth(InstrumentId, usize, oneshot::Sender<(Vec<Level>, Vec<Level>)>),
    /// Somebody wants the counts.
    Stats(oneshot::Sender<Box<EngineStats>>),
    /// The gateway ends.
    Stop,
}

/// Lines of the feed by what they said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedEvents(pub [u64; 6]);

impl FeedEvents {
    const NAMES: [&'static str; 6] =
        ["instrument", "book_snapshot", "book_delta", "trade", "status", "heartbeat"];

    /// All kinds with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Self::NAMES.into_iter().zip(self.0)
    }

    const fn count(&mut self, body: &EventBody) {
        let index = match body {
            EventBody::Instrument(..) => 0,
            EventBody::BookSnapshot { .. } => 1,
            EventBody::BookDelta { .. } => 2,
            EventBody::Trade { .. } => 3,
            EventBody::Status(_) => 4,
            EventBody::Heartbeat => 5,
        };
        self.0[index] += 1;
    }
}

/// Counts of the engine.
#[derive(Clone, Debug, Default)]
pub struct EngineStats {
    /// Lines by kind.
    pub feed_events: FeedEvents,
    /// Lines refused by reason.
    pub feed_refusals: FeedRefusals,
    /// Ended connections to the feed, in the order of [`FeedLoss::ALL`].
    pub feed_losses: [u64; FeedLoss::ALL.len()],
    /// Whether the feed is connected.
    pub feed_connected: bool,
    /// What the market counted.
    pub market: MarketStats,
    /// Instruments known, and of them stale.
    pub instruments: usize,
    /// Instruments whose data is stale.
    pub instruments_stale: usize,
    /// Times that an instrument became stale, in the order of [`StaleReason::ALL`].
    pub went_stale: [u64; StaleReason::ALL.len()],
    /// How long there has been at least one stale instrument; 0 without one.
    pub stale_for: Nanos,
    /// Since the last line of the feed, or since the start.
    pub feed_silence: Nanos,
    /// Batches of the feed that wait.
    pub feed_waiting: u64,
    /// Requests that wait.
    pub requests_waiting: u64,
    /// How busy the thread is.
    pub turns: LoopStats,
    /// Entries published by channel, in the order of `Channel::ALL`.
    pub published: [u64; model::Channel::ALL.len()],
    /// Snapshots encoded.
    pub snapshots: u64,
    /// Times that a batch did not fit into the lane of a shard.
    pub lane_full: u64,
    /// From the venue's event time to our receipt, per event.
    pub feed_to_receive: LatencyHistogram,
    /// From receipt to the post, per batch.
    pub receive_to_publish: LatencyHistogram,
}

/// What the rest of the gateway holds of the engine.
#[derive(Clone, Debug)]
pub struct EngineHandle {
    /// Where to ask.
    pub requests: Sender<EngineRequest>,
}

/// An engine, and what the rest of the gateway holds of it.
#[must_use]
pub fn build(
    feed: FeedLanes,
    lanes: Vec<ShardLane>,
    reference: Arc<RwLock<Reference>>,
    clock: Clock,
    requests: (Sender<EngineRequest>, Receiver<EngineRequest>),
) -> (EngineHandle, Engine) {
    let (sender, requests) = requests;
    let engine = Engine {
        next_tick: Nanos(0),
        market: Market::new(MarketLimits::default()),
        publisher: Publisher::new(lanes),
        feed,
        requests,
        reference,
        stats: EngineStats::default(),
        watch: LoopWatch::new(clock.mono()),
        last_line: clock.mono(),
        stale_since: None,
        clock,
    };
    (EngineHandle { requests: sender }, engine)
}

/// Gives an engine a thread of its own. It ends at [`EngineRequest::Stop`].
///
/// # Errors
/// When the thread cannot be started.
pub fn spawn(mut engine: Engine) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name("engine".into()).spawn(move || {
        while let Some(done) = engine.turn() {
            if done == 0 {
                engine.wait();
            }
        }
    })
}

/// The channel of requests; made before the shards, which hold its sending end.
#[must_use]
pub fn requests() -> (Sender<EngineRequest>, Receiver<EngineRequest>) {
    bounded(REQUESTS_MAX)
}

/// Owner of all books: applies what the feed says, publishes what changed, answers what shards ask.
pub struct Engine {
    market: Market,
    publisher: Publisher<ShardLane>,
    feed: FeedLanes,
    requests: Receiver<EngineRequest>,
    reference: Arc<RwLock<Reference>>,
    clock: Clock,
    stats: EngineStats,
    watch: LoopWatch,
    /// When the feed last said anything (monotonic).
    last_line: Nanos,
    /// Since when at least one instrument has been stale (monotonic).
    stale_since: Option<Nanos>,
    /// When deadlines are looked at next (monotonic).
    next_tick: Nanos,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Engine")
    }
}

impl Engine {
    /// One step: answers requests, takes a message of the feed, looks at deadlines. Says how much there was to do; `None` when the
    /// gateway ends.
    pub fn turn(&mut self) -> Option<usize> {
        // What came between two steps was sleep, or the work of others on this thread.
        self.watch.end_sleep(self.clock.mono());
        let requests = self.take_requests()?;
        let events = self.take_feed();
        let mono = self.clock.mono();
        self.watch.end_turn(mono);
        self.note_stale(mono);
        if mono >= self.next_tick {
            self.next_tick = mono + Nanos(u64::try_from(TICK.as_nanos()).unwrap_or(0));
            self.market.handle_timeout(self.clock.wall());
            self.drain_outputs();
            // A batch that found its lane full goes out now.
            self.post(Nanos(0));
        }
        Some(requests + events)
    }

    /// When deadlines are looked at next (monotonic).
    #[must_use]
    pub const fn next_tick(&self) -> Nanos {
        self.next_tick
    }

    /// Whether all shards are far behind, so that no more of the feed is taken.
    pub(crate) fn is_pressed(&mut self) -> bool {
        self.publisher.lanes().iter().all(ShardLane::is_pressed)
    }

    fn note_stale(&mut self, now: Nanos) {
        if self.market.stale_count() == 0 {
            self.stale_since = None;
        } else {
            self.stale_since = self.stale_since.or(Some(now));
        }
    }

    /// Sleeps until there is something to do, at most one tick. Which of the two channels woke it does not matter: the next
    /// turn looks into both, requests first.
    fn wait(&mut self) {
        if self.is_pressed() {
            // A message of the feed would be ready at once, and shards do not say when they have room.
            thread::sleep(PRESSED_PAUSE);
            return;
        }
        let mut select = crossbeam_channel::Select::new();
        select.recv(&self.requests);
        select.recv(&self.feed.messages);
        let _ = select.ready_timeout(TICK);
    }

    /// Answers some requests and posts the answers; `None` when the gateway ends.
    fn take_requests(&mut self) -> Option<usize> {
        let (mut count, mut bytes) = (0, 0);
        while count < REQUESTS_PER_TURN
            && bytes < SNAPSHOT_BYTES_PER_TURN
            && let Ok(request) = self.requests.try_recv()
        {
            count += 1;
            match request {
                EngineRequest::Ask(shard, stream) => {
                    bytes += self.publisher.join(shard, stream, &self.market, self.clock.wall());
                    self.stats.snapshots += 1;
                }
                EngineRequest::Leave(shard, stream) => self.publisher.leave(shard, stream),
                // A receiver that is gone does not need its answer.
                EngineRequest::Depth(id, levels, reply) => drop(reply.send(self.depth(id, levels))),
                EngineRequest::Stats(reply) => drop(reply.send(Box::new(self.stats()))),
                EngineRequest::Stop => return None,
            }
        }
        if count > 0 {
            self.post(Nanos(0));
        }
        Some(count)
    }

    /// Takes one message of the feed, applies it and posts what changed. While no shard keeps up the feed waits in its own socket:
    /// more would only have to be given up. One shard that does not keep up is no reason for the others to wait.
    fn take_feed(&mut self) -> usize {
        if self.is_pressed() {
            return 0;
        }
        let Ok(message) = self.feed.messages.try_recv() else { return 0 };
        let mut ts_recv = Nanos(0);
        match message {
            FeedMessage::Connected => {
                self.stats.feed_connected = true;
                self.market.handle_connect(self.clock.wall());
                self.drain_outputs();
            }
            FeedMessage::Disconnected(loss) => {
                self.stats.feed_connected = false;
                self.stats.feed_losses[loss as usize] += 1;
                self.market.handle_disconnect(self.clock.wall());
                self.drain_outputs();
                self.tell_status();
            }
            FeedMessage::Events(mut batch, refusals) => {
                self.stats.feed_refusals.add(&refusals);
                self.last_line = self.clock.mono();
                for events in batch.events.chunks(WARMED) {
                    self.warm(events);
                    for event in events {
                        self.apply(event, &batch);
                    }
                }
                ts_recv = batch.events.first().map_or(Nanos(0), |event| event.ts_recv);
                batch.clear();
                // When the feed has enough empty batches this one is freed.
                let _ = self.feed.emptied.try_send(batch);
            }
        }
        self.post(ts_recv);
        1
    }

    /// Sends what was published since the last post; `ts_recv` is 0 when the feed had no part in it.
    fn post(&mut self, ts_recv: Nanos) {
        let ts_publish = self.clock.wall();
        if ts_recv > Nanos(0) {
            self.stats.receive_to_publish.observe(ts_publish.since(ts_recv).0);
        }
        for lane in self.publisher.lanes() {
            lane.post(ts_recv, ts_publish);
        }
    }

    /// Reads what some events will need; one kind after the other, so that as many as possible are fetched side by side. What few
    /// instruments have is in a cache already.
    fn warm(&self, events: &[Event]) {
        if self.market.instrument_count() < WARMED_FROM {
            return;
        }
        let instruments = events.iter().filter_map(|event| event.body.instrument());
        self.market.warm(instruments.clone());
        self.publisher.warm(instruments);
    }

    fn apply(&mut self, event: &Event, batch: &EventBatch) {
        self.stats.feed_events.count(&event.body);
        if matches!(event.body, EventBody::BookDelta { .. } | EventBody::Trade { replay: false, .. }) {
            self.stats.feed_to_receive.observe(event.ts_recv.since(event.ts_event).0);
        }
        self.market.apply(event, batch);
        self.drain_outputs();
        // The first line of a connection says that the venue is there, whatever it is.
        self.tell_status();
    }

    fn drain_outputs(&mut self) {
        while let Some(output) = self.market.poll_output() {
            if let Output::Stale { instrument, reason } = output {
                self.stats.went_stale[reason as usize] += 1;
                tracing::debug!(instrument = instrument.0, reason = reason.name(), "stale");
            }
            match self.publisher.handle_output(output, &self.market) {
                None => {}
                Some(News::Pair(id, status)) => self.refer(id, status),
                Some(News::Status) => self.tell_status(),
                // A question that does not fit is asked again by the market's time-out.
                Some(News::Ask(request)) => drop(self.feed.requests.try_send(request)),
            }
        }
    }

    /// Tells HTTP what an instrument is now.
    fn refer(&self, id: InstrumentId, status: PairStatus) {
        if let Some(instrument) = self.market.instrument(id) {
            self.reference.write().set(id, Arc::clone(instrument), status);
        }
    }

    /// Tells clients the state of the venue; without a connection that is maintenance.
    fn tell_status(&mut self) {
        let status = if self.stats.feed_connected { self.market.status() } else { FeedStatus::Maintenance };
        if self.publisher.status(status) {
            self.reference.write().status = status;
        }
    }

    fn depth(&self, id: InstrumentId, levels: usize) -> (Vec<Level>, Vec<Level>) {
        let side = |side| self.market.book(id).map(|book| book.top(side, levels).collect());
        (side(model::Side::Bid).unwrap_or_default(), side(model::Side::Ask).unwrap_or_default())
    }

    fn stats(&mut self) -> EngineStats {
        let now = self.clock.mono();
        EngineStats {
            stale_for: self.stale_since.map_or(Nanos(0), |since| now.since(since)),
            feed_silence: now.since(self.last_line),
            feed_waiting: self.feed.messages.len() as u64,
            requests_waiting: self.requests.len() as u64,
            turns: self.watch.stats().clone(),
            market: *self.market.stats(),
            instruments: self.market.instrument_count(),
            instruments_stale: self.market.stale_count(),
            published: self.publisher.published(),
            lane_full: self.publisher.lanes().iter().map(|lane| lane.full).sum(),
            ..self.stats.clone()
        }
    }
}
