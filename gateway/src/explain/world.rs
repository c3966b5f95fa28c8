//! The gateway on virtual time: a recording goes through decoder, market, publisher and hub to one client at the end of a link.
//!
//! Decides nothing: what a client is sent is decided by the parts that a gateway is made of. Steps from one moment at which
//! something is due to the next, in the order of a shard: what the engine posted, what the socket says, timers, writes. How it ends is
//! in `world/end.rs`.

mod end;

use std::sync::Arc;

use fanout::{Batch, ClientId, Hub, Item, Now, Output, SubscriptionReport};
use market::{Market, MarketLimits};
use model::{InstrumentId, Nanos, StreamKey};
use publish::{News, Publisher};
use wire::feed::FeedRequest;

use super::link::Link;
use super::plan::{Plan, Window};
use super::reader::{Reader, refusal};
use super::socket::Socket;
use super::tape::{Counted, Survey, Tape};
use super::{Answer, Ending, ExplainError, Scene, Watch};
use crate::VERSION;
use crate::config::Config;
pub(super) use end::Lag;

/// How often the engine and the shard look at their deadlines, as in a running gateway.
const MARKET_TICK: Nanos = Nanos::from_millis(20);
const HUB_TICK: Nanos = Nanos::from_millis(50);

/// Number of the only connection.
const CONNECTION: u64 = 1;

/// A run.
pub(super) struct World<'a> {
    plan: &'a Plan,
    survey: &'a Survey,
    symbol: &'a Counted,
    tape: Tape,
    market: Market,
    publisher: Publisher<Box<Batch>>,
    hub: Hub,
    socket: Socket,
    /// Since the beginning of the tape.
    now: Nanos,
    /// When to read the tape again; none at its end.
    feed_due: Option<Nanos>,
    /// Questions to the venue, asked with the next read.
    asks: Vec<FeedRequest>,
    market_due: Nanos,
    hub_due: Nanos,
    client: Option<ClientId>,
    connected_at: Nanos,
    /// The client and its stream, from the request on.
    main: Option<(StreamKey, Reader)>,
    lag: Lag,
    /// When the gateway began to close the connection.
    closing_at: Option<Nanos>,
    ending: Option<Ending>,
}

impl<'a> World<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        survey: &'a Survey,
        symbol: &'a Counted,
        config: &Config,
    ) -> Result<Self, ExplainError> {
        let public = &config.public;
        let send_buffer_bytes = plan.send_buffer_bytes.unwrap_or_else(|| public.send_buffer_bytes.into());
        let link = Link::new(plan.rate, &plan.stalls, send_buffer_bytes, public.notsent_lowat_bytes.into());
        Ok(Self {
            plan,
            survey,
            symbol,
            tape: Tape::open(&plan.tape)?,
            market: Market::new(MarketLimits::default()),
            publisher: Publisher::new(vec![Box::default()]),
            hub: Hub::new(config.limits.limits(), config.tier_bounds(), VERSION),
            socket: Socket::new(link),
            now: Nanos(0),
            feed_due: Some(Nanos(0)),
            asks: Vec::new(),
            market_due: Nanos(0),
            hub_due: Nanos(0),
            client: None,
            connected_at: Nanos(0),
            main: None,
            lag: Lag::default(),
            closing_at: None,
            ending: None,
        })
    }

    /// Runs until the client has everything, or its connection has ended.
    pub(super) fn run(mut self, watch: &mut dyn Watch) -> Result<Answer, ExplainError> {
        self.market.handle_connect(self.wall());
        self.drain_market();
        loop {
            self.turn(watch)?;
            if let Some(end) = self.conclude()? {
                return self.finish(end, watch);
            }
            if watch.is_gone() {
                return Err(ExplainError::Unwatched);
            }
            self.now = self.next_due().max(self.now);
        }
    }

    fn wall(&self) -> Nanos {
        self.survey.first + self.now
    }

    fn clocks(&self) -> Now {
        Now { mono: self.now, wall: self.wall() }
    }

    fn next_due(&self) -> Nanos {
        // A client that waits for a book is looked at whenever the tape has said something.
        let connect = Some(self.plan.from).filter(|&from| from > self.now);
        let dues = [self.feed_due, self.hub.poll_timer(), self.socket.link.writable_at(), connect];
        dues.into_iter().flatten().fold(self.market_due.min(self.hub_due), Nanos::min)
    }

    fn turn(&mut self, watch: &mut dyn Watch) -> Result<(), ExplainError> {
        self.socket.now = self.clocks();
        if self.feed_due.is_some_and(|due| due <= self.now) {
            self.read_tape();
        }
        if self.market_due <= self.now {
            self.market_due = self.now + MARKET_TICK;
            self.market.handle_timeout(self.wall());
            self.drain_market();
            self.post();
            if !self.asks.is_empty() {
                self.feed_due = self.feed_due.map(|due| due.min(self.now));
            }
        }
        if self.client.is_none() && self.plan.from <= self.now && self.ending.is_none() {
            self.connect(watch)?;
        }
        if let Some(id) = self.client
            && self.socket.link.writable_at().is_some_and(|at| at <= self.now)
        {
            self.socket.link.take_writable();
            self.hub.handle_writable(id);
        }
        self.hub.handle_timers(self.now);
        self.write();
        if self.hub_due <= self.now {
            self.hub_due = self.now + HUB_TICK;
            self.hub.handle_timeout(self.clocks());
            self.write();
        }
        self.note_lag();
        self.read_inbox(watch)?;
        watch.progress(self.now, self.survey.span());
        Ok(())
    }

    /// What the feed's thread and the engine do.
    fn read_tape(&mut self) {
        let mut next = self.tape.read(self.wall()).since(self.survey.first);
        self.apply();
        for request in std::mem::take(&mut self.asks) {
            self.tape.ask(&request, self.wall());
            self.apply();
            // What did not fit into one answer.
            next = self.now;
        }
        let end = self.plan.span.map_or(Window::NEVER, |span| self.plan.from + span);
        self.feed_due = Some(next).filter(|&next| next <= end && !self.tape.is_finished());
    }

    fn apply(&mut self) {
        let batch = std::mem::take(&mut self.tape.batch);
        for event in &batch.events {
            self.market.apply(event, &batch);
            self.drain_market();
            self.publisher.status(self.market.status());
        }
        self.tape.batch = batch;
        self.post();
    }

    fn drain_market(&mut self) {
        while let Some(output) = self.market.poll_output() {
            if let Some(News::Ask(request)) = self.publisher.handle_output(output, &self.market) {
                self.asks.push(request);
            }
        }
    }

    /// Gives the hub what was published since the last time.
    fn post(&mut self) {
        let now = self.clocks();
        let batch = &mut self.publisher.lanes()[0];
        if batch.items.is_empty() {
            return;
        }
        batch.ts_publish = now.wall;
        if let Some((key, reader)) = &mut self.main {
            for item in &batch.items {
                match item {
                    Item::Join(join) if join.stream == key.id() => reader.begin(join.epoch.0),
                    Item::Entry(entry) if entry.stream == key.id() => {
                        reader.expect(entry.epoch.0, entry.seq.0);
                    }
                    _ => {}
                }
            }
        }
        self.hub.handle_batch(batch, now);
        batch.clear();
    }

    /// Connects the client and sends its requests, once the tape has told what they are about.
    fn connect(&mut self, watch: &mut dyn Watch) -> Result<(), ExplainError> {
        let symbols = self.plan.beside.iter().map(|one| &*one.symbol).chain([&*self.symbol.symbol]);
        let instruments = self.tape.instruments();
        let is_told = |id: InstrumentId| self.market.book(id).is_some_and(|book| !book.is_empty());
        if !symbols.into_iter().all(|symbol| instruments.id(symbol).is_some_and(is_told)) {
            return Ok(());
        }
        let now = self.clocks();
        let id = self.hub.handle_connect(CONNECTION, self.plan.ext, now);
        self.client = Some(id);
        if let Some(name) = &self.plan.tier {
            let ordered = self.hub.order_tier(CONNECTION, name, now);
            ordered.map_err(|names| ExplainError::NoTier { name: name.clone(), names })?;
        }
        let mut requests = vec![self.plan.request(&self.symbol.symbol)];
        requests.extend(self.plan.beside.iter().map(|one| one.request()));
        for request in requests {
            self.hub.handle_message(id, &mut request.to_string().into_bytes(), now);
        }
        // The first subscription is the one that is looked at; a refused one has no report.
        let reports = self.hub.subscriptions(CONNECTION).unwrap_or_default();
        let is_ours = |one: &SubscriptionReport| {
            one.symbol == self.symbol.symbol && one.stream.channel() == self.plan.channel
        };
        let report = reports.into_iter().next().filter(is_ours);
        let instrument = report.as_ref().and_then(|one| self.market.instrument(one.stream.instrument()?));
        if let (Some(report), Some(instrument)) = (&report, instrument) {
            let reader = Reader::new(report.stream, Arc::clone(instrument), self.survey.first);
            self.main = Some((report.stream, reader));
            self.connected_at = self.now;
            watch.begin(&self.scene(report));
        }
        Ok(())
    }

    fn scene(&self, report: &SubscriptionReport) -> Scene {
        let bytes_per_s = self.hub.clients(self.clocks()).first().map_or(0, |one| one.bytes_per_s);
        Scene {
            symbols: self.survey.symbols.len(),
            events: self.survey.events(),
            symbol_events: self.symbol.books + self.symbol.trades,
            is_chosen: self.plan.symbol.is_none(),
            first: self.survey.first,
            span: self.survey.span(),
            stream: report.stream,
            symbol: report.symbol.clone(),
            terms: report.terms,
            bytes_per_s,
            held_max: self.socket.link.held_max,
        }
    }

    /// Lets the hub write until it has nothing more to write, and does what it wants done.
    fn write(&mut self) {
        self.drain_hub();
        while self.hub.sweep(1, &mut self.socket) > 0 {
            self.drain_hub();
        }
    }

    fn drain_hub(&mut self) {
        while let Some(output) = self.hub.poll_output() {
            match output {
                Output::Ask(stream) => {
                    let wall = self.wall();
                    self.publisher.join(0, stream, &self.market, wall);
                    self.post();
                }
                Output::Leave(stream) => self.publisher.leave(0, stream),
                Output::Closed(_) => self.ending = Some(self.closed(true)),
                Output::Abort(id) => {
                    self.ending = Some(self.closed(false));
                    self.hub.handle_disconnect(id);
                }
            }
        }
    }

    fn read_inbox(&mut self, watch: &mut dyn Watch) -> Result<(), ExplainError> {
        while let Some((at, frame)) = self.socket.inbox.pop_front() {
            // Without a subscription only the refusal is of interest.
            let Some((_, reader)) = &mut self.main else {
                refusal(&frame).map_or(Ok(()), |text| Err(ExplainError::Refused(text)))?;
                continue;
            };
            if at < Window::NEVER
                && let Some(received) = reader.read(at, &frame)?
            {
                watch.received(&received);
            }
        }
        Ok(())
    }
}
