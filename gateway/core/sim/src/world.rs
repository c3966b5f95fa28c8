//! The world: steps time, lets things happen by the seed, and asks the oracle after every step.
//!
//! What clients ask is in `asking.rs`, `demanding.rs` and `lying.rs`, their grants are in `granting.rs`, what must hold in `checks.rs`. A world without a seed, in which
//! somebody outside decides what happens, is in `driven.rs`.

mod asking;
mod checks;
mod demanding;
mod driven;
mod granting;
mod lying;

use std::collections::VecDeque;
use std::fmt;

use fanout::{Batch, ClientId, Hub, Limits, Now, Output, TierBounds};
use market::{Market, MarketLimits};
use model::{EventBatch, Instrument, Nanos};
use publish::{News, Publisher};
use wire::feed::{FeedDecoder, FeedRequest};

use crate::client::{Clients, Sent, SimClient, Sockets, Temper};
use crate::oracle::{Key, View};
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::venue::Venue;
pub use driven::Act;
use granting::Waiting;

/// An overrun of the shard is over after at most so many steps.
const OVERRUN_STEPS: u64 = 16;

/// Virtual time of one step.
const STEP: Nanos = Nanos::from_millis(10);

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages that clients took.
    pub messages: u64,
    /// Subscriptions that were acknowledged.
    pub subscribes: u64,
    /// Of them, those whose first update was seen to go on from where they began.
    pub followed: u64,
    /// Deliveries folded into others.
    pub merged: u64,
    /// Deliveries dropped and told.
    pub dropped: u64,
    /// Clients closed because they were out of reach.
    pub out_of_reach: u64,
    /// Clients closed because they chose that rather than to lag.
    pub disconnected: u64,
    /// Clients closed because they asked without reading.
    pub unread: u64,
    /// Subscriptions that went on from where another connection stood.
    pub resumed: u64,
    /// Requests that were refused as they should be.
    pub lies: u64,
    /// Subscriptions that were refused because no grant covers them.
    pub denied: u64,
    /// Subscriptions that ended, and were told to, because their grant shrank.
    pub revoked: u64,
    /// Clients closed because their grant ended.
    pub grants_ended: u64,
    /// A fold of everything that was sent: equal runs have equal traces.
    pub trace: u64,
}

impl Report {
    /// Adds another run; traces are folded in order.
    pub fn add(&mut self, other: &Self) {
        self.messages += other.messages;
        self.subscribes += other.subscribes;
        self.followed += other.followed;
        self.merged += other.merged;
        self.dropped += other.dropped;
        self.out_of_reach += other.out_of_reach;
        self.disconnected += other.disconnected;
        self.unread += other.unread;
        self.resumed += other.resumed;
        self.lies += other.lies;
        self.denied += other.denied;
        self.revoked += other.revoked;
        self.grants_ended += other.grants_ended;
        self.trace = fold(self.trace, &other.trace.to_be_bytes());
    }
}

/// An invariant that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The step after which it was seen.
    pub step: u64,
    /// What is wrong.
    pub what: String,
    /// The fold of everything that was sent before.
    pub trace: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step {}, trace {:016x}: {}", self.step, self.trace, self.what)
    }
}

/// One run.
#[derive(Debug)]
pub struct World {
    scenario: Scenario,
    rng: Rng,
    step: u64,
    venue: Venue,
    decoder: FeedDecoder,
    market: Market,
    publisher: Publisher<Box<Batch>>,
    limits: Limits,
    hub: Hub,
    clients: Clients,
    asks: Vec<FeedRequest>,
    /// What the hub asked of the engine and was not answered yet.
    questions: VecDeque<Output>,
    /// What clients had that were cut off, until they come back.
    ghosts: Vec<(Key, View)>,
    /// Logins that were not answered yet.
    logins: Vec<Waiting>,
    /// By the index of the symbol.
    instruments: Vec<Instrument>,
    connections: u64,
    /// Deliveries that clients who are gone were told to be lost.
    told_dropped: u64,
    calm: bool,
    /// What happens is decided by acts, not by the seed.
    driven: bool,
    /// Bytes by which a frame was made longer than any is by itself.
    padded_bytes: usize,
    /// What was found wrong where nothing could be returned.
    wrong: Option<String>,
    report: Report,
}

impl World {
    /// A world before its first step.
    #[must_use]
    pub fn new(seed: u64, scenario: Scenario) -> Self {
        let limits = Limits {
            log_bytes: 1 << 20,
            ring_entries: scenario.ring_entries,
            ranges_max: 6,
            overrun_clients: 2,
            write_bytes_max: 4_096,
            bulky_bytes: 1_000,
            deep_asks_max: 1,
            resyncs_max: 2,
            ring_bytes: 65_536,
            ring_bytes_total: 80_000,
            control_bytes_max: 16_384,
            stall_max: Nanos::from_secs(1_000),
            linger: Nanos::from_millis(300),
            ..Limits::default()
        };
        Self::build(Rng::new(seed), scenario, limits, vec![TierBounds::default()])
    }

    fn build(rng: Rng, scenario: Scenario, limits: Limits, tiers: Vec<TierBounds>) -> Self {
        let venue = Venue::new(scenario.symbols, scenario.levels, scenario.feed_trouble);
        let mut world = Self {
            scenario,
            rng,
            step: 0,
            instruments: venue.listings.iter().map(|one| (*one.instrument).clone()).collect(),
            venue,
            decoder: FeedDecoder::default(),
            market: Market::new(MarketLimits::default()),
            publisher: Publisher::new(vec![Box::default()]),
            hub: Hub::new(limits.clone(), tiers, "sim"),
            limits,
            clients: Clients::default(),
            asks: Vec::new(),
            questions: VecDeque::new(),
            ghosts: Vec::new(),
            logins: Vec::new(),
            connections: 0,
            told_dropped: 0,
            calm: false,
            driven: false,
            padded_bytes: 0,
            wrong: None,
            report: Report::default(),
        };
        world.connect_feed(false);
        world
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first thing that was found wrong.
    pub fn run(self) -> Result<Report, Violation> {
        self.run_watched(&mut |_| {})
    }

    /// Runs to the end and shows every message as its client reads it.
    ///
    /// # Errors
    /// The first thing that was found wrong.
    pub fn run_watched(mut self, watch: &mut dyn FnMut(Sent<'_>)) -> Result<Report, Violation> {
        match self.live(watch) {
            Ok(()) => Ok(self.report),
            Err(what) => Err(Violation { step: self.step, what, trace: self.report.trace }),
        }
    }

    fn live(&mut self, watch: &mut dyn FnMut(Sent<'_>)) -> Result<(), String> {
        while self.step < self.scenario.steps {
            self.turn(watch)?;
        }
        self.calm_down(watch)?;
        let stats = self.hub.stats();
        self.report.merged = stats.channels.iter().map(|channel| channel.merged).sum();
        self.report.dropped = stats.channels.iter().map(|channel| channel.dropped).sum();
        for client in self.clients.iter() {
            self.report.subscribes += client.oracle.joins;
            self.report.followed += client.oracle.followed;
            self.report.revoked += client.oracle.revoked;
        }
        Ok(())
    }

    const fn time(&self) -> Nanos {
        Nanos(1_700_000_000_000_000_000 + self.step * STEP.0)
    }

    const fn now(&self) -> Now {
        Now { mono: Nanos(self.step * STEP.0), wall: self.time() }
    }

    fn turn(&mut self, watch: &mut dyn FnMut(Sent<'_>)) -> Result<(), String> {
        self.step += 1;
        let now = self.time();
        if !self.calm {
            for _ in 0..self.rng.below(self.scenario.events) {
                self.venue.happen(&mut self.rng, now);
            }
            for _ in 0..self.scenario.connects {
                self.meddle();
                self.meddle_with_grants();
            }
        }
        self.answer_logins();
        self.take_feed();
        self.market.handle_timeout(now);
        self.drain_market();
        self.deliver();
        if self.calm || self.step.is_multiple_of(OVERRUN_STEPS) {
            self.hub.handle_calm();
        }
        self.sweep();
        let now = self.now();
        self.hub.handle_timeout(now);
        self.drain_hub();
        self.check_grants()?;
        self.read_clients(watch)?;
        self.check_counts()?;
        self.check_held_bytes()?;
        self.wrong.take().map_or(Ok(()), Err)
    }

    /// Writes dirty clients in small rounds, as a shard does; often not all of them.
    fn sweep(&mut self) {
        const VISITS_PER_ROUND: usize = 8;
        let mut visits = if self.calm { usize::MAX } else { self.rng.below(self.scenario.visits) as usize };
        let now = self.now();
        while visits > 0 {
            let sockets = &mut Sockets { clients: &mut self.clients, now };
            let visited = self.hub.sweep(visits.min(VISITS_PER_ROUND), sockets);
            self.drain_hub();
            if visited == 0 {
                return;
            }
            visits = visits.saturating_sub(visited);
        }
    }

    /// Something rare: connections come and go, subscriptions too, the feed breaks.
    fn meddle(&mut self) {
        match self.rng.below(14) {
            0..=2 if self.clients.len() < self.scenario.clients => self.connect_client(),
            3 if self.rng.one_in(self.scenario.steadiness) => self.cut_somebody_off(),
            4..=7 => self.subscribe_somebody(),
            8 => self.unsubscribe_somebody(),
            9 if self.scenario.feed_trouble > 0 && self.rng.one_in(25 * self.scenario.connects as u64) => {
                let restart = self.rng.one_in(2);
                self.connect_feed(restart);
            }
            10 => self.configure_somebody(),
            11 | 12 if !self.ghosts.is_empty() => self.resume_somebody(),
            13 => self.lie(),
            _ => {}
        }
    }

    fn connect_feed(&mut self, restart: bool) {
        let now = self.time();
        self.market.handle_disconnect(now);
        self.drain_market();
        self.market.handle_connect(now);
        self.drain_market();
        self.asks.clear();
        if restart { self.venue.restart(now) } else { self.venue.connect(now) }
    }

    fn connect_client(&mut self) {
        self.connections += 1;
        let (ext, lies) = (self.rng.one_in(2), self.rng.one_in(4));
        let id = self.hub.handle_connect(self.connections, ext, self.now());
        self.clients.insert(SimClient::new(id, self.connections, ext, lies, &mut self.rng));
        if ext && self.scenario.rated {
            let bytes_per_s = 5_000 + self.rng.below(60_000);
            self.limit_rate(id, bytes_per_s);
        }
    }

    /// A connection breaks; who it was remembers where it stands.
    fn cut_somebody_off(&mut self) {
        let Some(client) = self.clients.pick(&mut self.rng) else { return };
        let kept = client.oracle.views.iter().filter(|(_, view)| view.can_resume());
        self.ghosts.extend(kept.map(|(&key, view)| (key, view.clone())));
        let id = client.id;
        self.drop_client(id);
    }

    fn drop_client(&mut self, id: ClientId) {
        if let Some(client) = self.clients.find(id) {
            self.told_dropped += client.oracle.told_dropped;
            self.report.subscribes += client.oracle.joins;
            self.report.followed += client.oracle.followed;
            self.report.revoked += client.oracle.revoked;
        }
        self.clients.remove(id);
        self.hub.handle_disconnect(id);
    }

    fn take_feed(&mut self) {
        for ask in std::mem::take(&mut self.asks) {
            self.venue.answer(&ask, self.time());
        }
        let now = self.time();
        for mut line in std::mem::take(&mut self.venue.lines) {
            let mut batch = EventBatch::default();
            // What is refused leaves a hole that the market sees.
            let _ = self.decoder.decode_line(&mut line, now, &mut batch);
            let instruments = batch.events.iter().filter_map(|event| event.body.instrument());
            self.market.warm(instruments.clone());
            self.publisher.warm(instruments);
            for event in &batch.events {
                self.market.apply(event, &batch);
                self.drain_market();
            }
            self.churn();
        }
    }

    /// Subscriptions that come and go between two lines, so that joins stand between the entries of one batch.
    fn churn(&mut self) {
        if !self.calm && self.has_begun() {
            for _ in 0..self.scenario.churn {
                self.churn_somebody();
            }
        }
    }

    fn drain_market(&mut self) {
        while let Some(output) = self.market.poll_output() {
            match self.publisher.handle_output(output, &self.market) {
                Some(News::Ask(request)) => self.asks.push(request),
                Some(News::Status) if self.driven => drop(self.publisher.status(self.market.status())),
                _ => {}
            }
        }
    }

    /// Hands the batch to the hub, or lets it wait for more, or gives up what is in it.
    fn deliver(&mut self) {
        let waits = !self.calm && self.rng.one_in(4);
        let gives_up = self.scenario.lossy_lane && self.rng.one_in(80);
        let now = self.now();
        let batch = &mut self.publisher.lanes()[0];
        batch.ts_publish = now.wall;
        if gives_up {
            batch.give_up_entries();
        }
        if !waits {
            self.hub.handle_batch(batch, now);
            batch.clear();
        }
    }

    fn drain_hub(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Ask(_) | Output::Leave(_) => self.questions.push_back(output),
                Output::Abort(id) if self.driven => self.abort(id),
                Output::Closed(id) | Output::Abort(id) => {
                    // The client reads what is left, then it is gone.
                    if let Some(client) = self.clients.find(id) {
                        client.temper = Temper::Fast;
                    }
                }
            }
        }
        if !self.driven || self.calm {
            self.answer(usize::MAX);
        }
    }

    /// Answers questions of the hub, in their order.
    fn answer(&mut self, questions: usize) {
        let now = self.time();
        for question in self.questions.drain(..questions.min(self.questions.len())) {
            match question {
                Output::Ask(stream) => drop(self.publisher.join(0, stream, &self.market, now)),
                Output::Leave(stream) => self.publisher.leave(0, stream),
                Output::Closed(_) | Output::Abort(_) => {}
            }
        }
    }

    fn read_clients(&mut self, watch: &mut dyn FnMut(Sent<'_>)) -> Result<(), String> {
        let mut gone = Vec::new();
        let Self { clients, hub, report, rng, instruments, calm, step, .. } = self;
        let mut watch = |sent: Sent<'_>| {
            report.messages += 1;
            report.trace = fold(report.trace, sent.payload);
            watch(sent);
        };
        for client in clients.iter_mut() {
            if *calm {
                client.temper = Temper::Fast;
            }
            client.read(*step, rng, instruments, &mut watch).map_err(|what| {
                format!("connection {} (ext {}): {what}", client.connection_id, client.oracle.ext)
            })?;
            if !client.is_open() {
                gone.push(client.id);
            }
            if client.drained() {
                hub.handle_writable(client.id);
            }
        }
        for id in gone {
            self.check_close(id)?;
            self.drop_client(id);
        }
        Ok(())
    }
}

fn fold(trace: u64, bytes: &[u8]) -> u64 {
    // FNV-1a: a digest of the trace, not a defence.
    bytes.iter().fold(trace ^ 0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
