//! A shard: one thread that owns its clients, their sockets and one hub.
//!
//! It has a readiness set of its own instead of a task per connection: an idle connection costs a socket and two small
//! structs. One turn: take what the sockets say, take new connections, then alternate between small bites of
//! the engine's lane and a few writes, so that a client waiting for its write gets what arrived meanwhile. Every decision
//! is the hub's; this file moves bytes.

mod admitted;
mod counts;
mod link;
mod sockets;

use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;
use std::{io, thread};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use fanout::{ClientId, Hub, Limits, Output, Sink, TierBounds};
use mio::{Events, Poll, Token, Waker};
use model::Nanos;
use rustls::ServerConnection;
use tokio::sync::oneshot;
use wire::close::CloseCode;
use wire::ws::{FrameReader, Message, ReadLimits};

use crate::auth::{Admission, Auth, Verdict};
use crate::busy::LoopWatch;
use crate::clock::Clock;
use crate::engine::EngineRequest;
use crate::http::Place;
use crate::lane::{EngineLane, ShardLane, ShardWaker, lane};
use crate::memory::Budget;
use crate::upstream::Upstream;
use admitted::Seats;
pub use counts::ShardStats;
use link::Link;
use sockets::{ReadOutcome, Sockets, Stop};

/// The waker's token; clients have the number of their [`ClientId`].
const WAKER: Token = Token(usize::MAX);

/// The token of a feed that is read on this thread.
const FEED: Token = Token(usize::MAX - 1);

/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(50);

/// How often everything is counted anew, to see whether the deliveries add up. That looks at every subscription, so it is done at a
/// moment without work, and given up as soon as there is some.
const AUDIT_EVERY: Nanos = Nanos::from_secs(10);

/// Batches taken from the lane between two rounds of writes.
const BATCHES_PER_BITE: usize = 2;

/// Clients written between two looks into the lane: late binding needs a short round.
const WRITES_PER_BITE: usize = 32;

/// How long a shard that is overrun takes news before everybody is written: at first, and when round after round did not end it. Longer
/// rounds merge more and leave more time for news, which would else get old in the feed's socket.
const ROUND_MIN: Nanos = Nanos::from_millis(10);
const ROUND_MAX: Nanos = Nanos::from_millis(80);

/// Rounds of writes before sockets are read again.
const BITES_PER_TURN: usize = 64;

/// Connections and questions that wait for a shard.
const INPUTS_MAX: usize = 4_096;

/// What a shard is told from outside.
#[derive(Debug)]
pub enum ShardInput {
    /// An upgraded connection.
    Connect(NewConnection),
    /// Somebody wants the counts.
    Stats(oneshot::Sender<Box<ShardStats>>),
    /// What became of a login.
    LoggedIn(Box<Verdict>),
    /// An operator asks or orders something of the hub; the answer travels in the closure.
    Operate(Operation),
    /// Close every client with this code, one after the other, then end.
    Drain {
        /// What they are closed with.
        code: CloseCode,
        /// Time for all of them.
        window: Nanos,
        /// Longest time between two of them.
        each_max: Nanos,
    },
    /// Close every client with this code at once, then end.
    Stop(CloseCode),
}

/// Something that an operator asks of a shard or orders it. A closure, because each has an answer of its own type, and none is
/// on the way of an update.
pub struct Operation(pub Box<dyn FnOnce(&mut Operated<'_>) + Send>);

/// What an operation sees of a shard.
pub struct Operated<'a> {
    /// The clients and streams.
    pub hub: &'a mut Hub,
    /// The time.
    pub now: fanout::Now,
    sockets: &'a Sockets,
}

impl Operated<'_> {
    /// The address of a client's peer, while it is connected.
    #[must_use]
    pub fn peer(&self, id: ClientId) -> Option<std::net::SocketAddr> {
        self.sockets.peer(id)
    }
}

impl std::fmt::Debug for Operation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Operation")
    }
}

/// A connection after its opening handshake.
#[derive(Debug)]
pub struct NewConnection {
    /// The socket, not blocking.
    pub stream: TcpStream,
    /// What encrypts it, after its handshake.
    pub tls: Option<Box<ServerConnection>>,
    /// What is left of its opening handshake.
    pub opening: Opening,
    /// Whether its address opted in to the superset.
    pub ext: bool,
    /// Number on the wire.
    pub connection_id: u64,
    /// As whom it was let in.
    pub admission: Admission,
    /// Its place among the clients.
    pub place: Place,
}

/// What is left of an opening handshake: the rest of it is up to who takes the connection.
#[derive(Debug)]
pub struct Opening {
    /// The answer to the request, which the peer has to be sent before anything else. It leaves with the first thing that it is told,
    /// in one write.
    pub answer: Vec<u8>,
    /// Octets that the peer sent behind its request.
    pub leftover: Vec<u8>,
}

/// What the rest of the gateway holds of a shard.
#[derive(Clone, Debug)]
pub struct ShardHandle {
    inputs: Sender<ShardInput>,
    waker: ShardWaker,
    /// Connections handed to the shard and not yet ended.
    pub connections: Arc<AtomicUsize>,
}

impl ShardHandle {
    /// Sends an input and wakes the shard; gives it back when too many wait.
    ///
    /// # Errors
    /// The input, when the shard has no room or is gone.
    pub fn send(&self, input: ShardInput) -> Result<(), ShardInput> {
        self.inputs.try_send(input).map_err(TrySendError::into_inner)?;
        self.waker.wake();
        Ok(())
    }
}

/// What a shard is made of.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// Number of the shard.
    pub index: usize,
    /// Bounds of the delivery.
    pub limits: Limits,
    /// What clients may ask of it, by tier.
    pub tiers: Vec<TierBounds>,
    /// Bounds of what clients send.
    pub read_limits: ReadLimits,
    /// Longest time from the first octet of a message to its last.
    pub message_max: Nanos,
    /// Whether there is memory for more.
    pub memory: Arc<Budget>,
    /// The gateway's, as clients see it.
    pub version: &'static str,
    /// Whether to ask for readiness again and again instead of sleeping.
    pub busy_poll: bool,
    /// Who is let in.
    pub auth: Arc<Auth>,
}

/// A shard, and what engine and gateway hold of it.
///
/// # Errors
/// When its readiness set cannot be made.
pub fn build(
    settings: ShardSettings,
    engine: Sender<EngineRequest>,
    clock: Clock,
) -> io::Result<(ShardHandle, ShardLane, Shard)> {
    let poll = Poll::new()?;
    let waker = ShardWaker::new(Waker::new(poll.registry(), WAKER)?);
    let (lane_in, lane_out) = lane(waker.clone());
    let (inputs, inputs_out) = bounded(INPUTS_MAX);
    let connections = Arc::new(AtomicUsize::new(0));
    let handle = ShardHandle { inputs, waker: waker.clone(), connections: Arc::clone(&connections) };
    let shard = Shard {
        hub: Hub::new(settings.limits.clone(), settings.tiers.clone(), settings.version),
        sockets: Sockets::new(poll.registry().try_clone()?, clock),
        seats: Seats::default(),
        poll,
        settings,
        lane: lane_out,
        inputs: inputs_out,
        engine,
        waker,
        connections,
        unsent: None,
        watch: LoopWatch::new(clock.mono()),
        counts: ShardStats::default(),
        round: ROUND_MIN,
        next_tick: clock.mono(),
        next_audit: clock.mono() + AUDIT_EVERY,
        breached: false,
        clock,
        stopping: None,
    };
    Ok((handle, lane_in, shard))
}

/// Gives a shard a thread, which it may share with feed and engine. It ends at [`ShardInput::Stop`].
///
/// # Errors
/// When the thread cannot be started.
pub(crate) fn spawn(
    shard: Shard,
    mut upstream: impl Upstream + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let name = format!("shard-{}", shard.settings.index);
    thread::Builder::new().name(name).spawn(move || {
        if let Err(error) = shard.run(&mut upstream) {
            tracing::error!(%error, "a shard cannot poll its sockets and ends");
        }
    })
}

/// Owner of a part of the clients.
pub struct Shard {
    poll: Poll,
    settings: ShardSettings,
    hub: Hub,
    sockets: Sockets,
    seats: Seats,
    lane: EngineLane,
    inputs: Receiver<ShardInput>,
    engine: Sender<EngineRequest>,
    waker: ShardWaker,
    connections: Arc<AtomicUsize>,
    clock: Clock,
    /// A request that found the engine's channel full; nothing else is asked before it.
    unsent: Option<EngineRequest>,
    watch: LoopWatch,
    /// What is counted here; the rest is asked of those who count it.
    counts: ShardStats,
    /// Length of the next round, should the shard be overrun.
    round: Nanos,
    /// When time-outs are looked at next (monotonic).
    next_tick: Nanos,
    /// When everything is to be counted anew.
    next_audit: Nanos,
    /// Whether the deliveries did not add up when they were last counted.
    breached: bool,
    /// When everything must be closed by, once the gateway ends.
    stopping: Option<Nanos>,
}

impl std::fmt::Debug for Shard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shard").field("index", &self.settings.index).finish_non_exhaustive()
    }
}

impl Shard {
    fn run(mut self, upstream: &mut impl Upstream) -> io::Result<()> {
        let mut events = Events::with_capacity(1_024);
        // The upstream begins with work: to connect.
        let mut more = true;
        loop {
            self.watch.end_turn(self.clock.mono());
            let patience = if more { Duration::ZERO } else { self.patience(upstream.next_turn()) };
            match self.poll.poll(&mut events, Some(patience)) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => self.waker.set_asleep(false),
            }
            if !patience.is_zero() {
                self.watch.end_sleep(self.clock.mono());
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    FEED => upstream.set_ready(),
                    _ => self.handle_event(event),
                }
            }
            self.read_again();
            self.take_inputs();
            self.hub.handle_timers(self.clock.mono());
            more = self.work(upstream);
            upstream.watch(self.poll.registry(), FEED)?;
            self.look_at_deadlines();
            if self.is_finished() {
                return Ok(());
            }
        }
    }

    fn look_at_deadlines(&mut self) {
        if self.clock.mono() >= self.next_tick {
            self.next_tick = self.clock.mono() + Nanos(u64::try_from(TICK.as_nanos()).unwrap_or(0));
            self.sockets.handle_tick();
            self.review_when_due();
            self.hub.handle_timeout(self.clock.now());
            self.close_overdue();
            self.drain_outputs();
        }
        if !self.is_busy() && self.clock.mono() >= self.next_audit {
            self.audit();
        }
    }

    /// How long the next poll may sleep: not at all while there is work, or when the shard is to spin.
    fn patience(&self, upstream: Option<Nanos>) -> Duration {
        if self.settings.busy_poll {
            return Duration::ZERO;
        }
        self.waker.set_asleep(true);
        // Looked at after the announcement: what is sent from here on wakes us.
        if self.is_busy() {
            self.waker.set_asleep(false);
            Duration::ZERO
        } else {
            let due =
                [self.hub.poll_timer(), upstream].into_iter().flatten().fold(self.next_tick, Nanos::min);
            Duration::from_nanos(due.since(self.clock.mono()).0)
        }
    }

    fn is_busy(&self) -> bool {
        self.hub.is_dirty()
            || !self.lane.batches.is_empty()
            || !self.inputs.is_empty()
            || self.sockets.has_unread()
            || self.unsent.is_some()
    }

    fn handle_event(&mut self, event: &mio::event::Event) {
        let id = ClientId(event.token().0 as u32);
        if event.is_writable() {
            self.sockets.handle_writable(id);
            self.hub.handle_writable(id);
        }
        if event.is_readable() || event.is_error() {
            self.read(id);
        }
        if event.is_read_closed() {
            // The end came with what was there to read, and is not told a second time.
            self.sockets.read_on(id);
        }
    }

    /// Reads on where a client had more to say than one turn takes.
    fn read_again(&mut self) {
        for id in self.sockets.take_unread() {
            self.read(id);
        }
    }

    /// Reads one client: whole messages go to the hub, violations close it.
    fn read(&mut self, id: ClientId) {
        let now = self.sockets.now();
        self.hub.set_tight(self.settings.memory.is_tight());
        let hub = &mut self.hub;
        let mut finished = false;
        let outcome = self.sockets.read(id, |mut input, reader| {
            while let Some(message) = reader.next(&mut input).map_err(Stop::Violation)? {
                if !hub.is_heard(id, now) {
                    return Err(Stop::Closed);
                }
                match message {
                    Message::Text(payload) | Message::Binary(payload) => {
                        finished = true;
                        hub.handle_message(id, payload, now);
                    }
                    Message::Ping(payload) => hub.handle_ping(id, payload),
                    Message::Pong(_) => {}
                    Message::Close { code, .. } => hub.handle_close(id, code),
                }
            }
            Ok(())
        });
        match outcome {
            ReadOutcome::Idle | ReadOutcome::Stopped(Stop::Closed) => {}
            ReadOutcome::Gone => self.disconnect(id),
            ReadOutcome::Stopped(Stop::Violation(violation)) => {
                self.counts.count_violation(&violation);
                let code = violation.close_code();
                self.hub.close(id, code, &violation.to_string());
            }
        }
        self.sockets.note_midway(id, finished, now.mono);
        self.drain_outputs();
    }

    /// Closes who has begun a message and does not go on with it.
    fn close_overdue(&mut self) {
        let patience = self.settings.message_max;
        while let Some(id) = self.sockets.take_overdue(self.clock.mono() - patience) {
            self.counts.messages_overdue += 1;
            let reason = format!("a message took more than {} ms", patience.0 / Nanos::MILLI.0);
            self.hub.close(id, CloseCode::PolicyViolation, &reason);
        }
    }

    fn take_inputs(&mut self) {
        while let Ok(input) = self.inputs.try_recv() {
            match input {
                ShardInput::Connect(connection) => self.connect(connection),
                // A receiver that is gone does not need its answer.
                ShardInput::LoggedIn(verdict) => self.handle_verdict(*verdict),
                ShardInput::Stats(reply) => drop(reply.send(Box::new(self.stats()))),
                ShardInput::Operate(Operation(operate)) => {
                    let now = self.clock.now();
                    operate(&mut Operated { hub: &mut self.hub, now, sockets: &self.sockets });
                    self.drain_outputs();
                }
                ShardInput::Drain { code, window, each_max } => {
                    let window = self.hub.drain(code, window, each_max, self.clock.mono());
                    self.end_after(window);
                }
                ShardInput::Stop(code) => {
                    self.hub.close_all(code);
                    self.end_after(Nanos(0));
                }
            }
        }
    }

    /// Ends at the latest a moment after the last client was closed.
    fn end_after(&mut self, window: Nanos) {
        self.stopping = Some(self.clock.mono() + window + self.settings.limits.close_grace);
    }

    /// The counts of this moment. Looks at no client, so it costs the same whatever there is.
    fn stats(&self) -> ShardStats {
        ShardStats {
            hub: self.hub.stats(),
            turns: self.watch.stats().clone(),
            read_bytes: self.sockets.read_bytes(),
            lane_waiting: self.lane.batches.len() as u64,
            lane_bytes: self.lane.waiting_bytes() as u64,
            ..self.counts.clone()
        }
    }

    /// Counts everything anew and sees whether it adds up, unless work comes meanwhile: then it is tried again at the next quiet
    /// moment. A breach is logged when it begins and when it ends.
    fn audit(&mut self) {
        let (batches, inputs) = (&self.lane.batches, &self.inputs);
        let Some(verdict) = self.hub.audit(|| batches.is_empty() && inputs.is_empty()) else { return };
        self.next_audit = self.clock.mono() + AUDIT_EVERY;
        match (&verdict, self.breached) {
            (Err(what), false) => tracing::error!(what, "deliveries do not add up"),
            (Ok(()), true) => tracing::info!("deliveries add up again"),
            _ => {}
        }
        self.breached = verdict.is_err();
    }

    fn connect(&mut self, connection: NewConnection) {
        let NewConnection { stream, tls, opening, ext, connection_id, place, admission } = connection;
        let id = self.hub.handle_connect(connection_id, ext, self.sockets.now());
        self.admit(id, admission);
        let reader = FrameReader::new(self.settings.read_limits);
        let link = Link::new(mio::net::TcpStream::from_std(stream), tls);
        if let Err(error) = self.sockets.insert(id, link, reader, place, opening) {
            tracing::warn!(%error, "a socket cannot be watched");
            self.disconnect(id);
        }
        if let Some(code) = self.stopping.map(|_| CloseCode::GoingAway) {
            self.hub.close(id, code, code.reason());
        }
    }

    /// Alternates between what comes and the sockets until both are done or it is time to read again; `true` when there may be
    /// more to do.
    fn work(&mut self, upstream: &mut impl Upstream) -> bool {
        for bite in 0..BITES_PER_TURN {
            if bite > 0 {
                // What came since the poll is not told before the next one.
                upstream.set_ready();
            }
            if self.hub.is_overrun() {
                self.work_in_rounds(upstream);
                return true;
            }
            let more = upstream.turn();
            let batches = self.take_batches(BATCHES_PER_BITE);
            self.hub.handle_timers(self.clock.mono());
            let visits = self.hub.sweep(WRITES_PER_BITE, &mut self.sockets);
            self.drain_outputs();
            if !more && batches == 0 && visits == 0 {
                return false;
            }
        }
        true
    }

    /// One round of a shard that is overrun: all the news that come within a moment, then everybody once.
    fn work_in_rounds(&mut self, upstream: &mut impl Upstream) {
        let until = self.clock.mono() + self.round;
        self.round = ROUND_MAX.min(self.round + self.round);
        while self.clock.mono() < until {
            upstream.set_ready();
            let more = upstream.turn();
            if self.take_batches(usize::MAX) == 0 && !more {
                self.hub.handle_calm();
                self.round = ROUND_MIN;
                break;
            }
        }
        self.hub.handle_timers(self.clock.mono());
        for _ in 0..self.hub.waiting().div_ceil(WRITES_PER_BITE) {
            self.hub.sweep(WRITES_PER_BITE, &mut self.sockets);
        }
        self.drain_outputs();
    }

    /// Takes up to so many batches of the lane.
    fn take_batches(&mut self, most: usize) -> usize {
        let mut batches = 0;
        while batches < most
            && let Ok(batch) = self.lane.batches.try_recv()
        {
            batches += 1;
            self.hub.handle_batch(&batch, self.clock.now());
            self.lane.done(batch);
        }
        batches
    }

    fn drain_outputs(&mut self) {
        self.pass_logins_on();
        if let Some(request) = self.unsent.take() {
            self.ask(request);
        }
        while self.unsent.is_none()
            && let Some(output) = self.hub.poll_output()
        {
            match output {
                Output::Ask(stream) => self.ask(EngineRequest::Ask(self.settings.index, stream)),
                Output::Leave(stream) => self.ask(EngineRequest::Leave(self.settings.index, stream)),
                Output::Closed(id) => self.sockets.shutdown(id),
                Output::Abort(id) => self.disconnect(id),
            }
        }
    }

    /// Asks the engine, or keeps the question for the next turn: a shard never waits for the engine.
    fn ask(&mut self, request: EngineRequest) {
        if let Err(TrySendError::Full(request)) = self.engine.try_send(request) {
            self.unsent = Some(request);
        }
    }

    fn disconnect(&mut self, id: ClientId) {
        if self.sockets.remove(id) {
            // Relaxed: a count for choosing a shard and for the limit, nothing hangs on its order.
            self.connections.fetch_sub(1, Ordering::Relaxed);
        }
        self.seats.put(id, None);
        self.hub.handle_disconnect(id);
    }

    fn is_finished(&self) -> bool {
        self.stopping.is_some_and(|until| self.sockets.is_empty() || self.clock.mono() > until)
    }
}
