//! The world: steps time, lets things happen by the seed, and asks the oracle after every step.

use std::collections::BTreeMap;

use fanout::{Batch, ClientId, Hub, Limits, Now, Output, TierBounds};
use market::{Market, MarketLimits, Output as MarketOutput};
use model::{Channel, EventBatch, Instrument, Nanos, Side};
use publish::{Publisher, told_status};
use wire::feed::{FeedDecoder, FeedRequest};

use crate::client::{SimClient, Sockets};
use crate::oracle::View;
use crate::rng::Rng;
use crate::venue::Venue;

/// What kind of world a run is.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    /// Steps in which things happen; the world then calms down until everybody has everything.
    pub steps: u64,
    /// Instruments.
    pub symbols: usize,
    /// Most clients at once.
    pub clients: usize,
    /// One feed line in this many is lost, doubled or garbled; 0 is none.
    pub feed_trouble: u64,
    /// Entries of a ring: few, so that clients fall out of it.
    pub ring_entries: usize,
    /// Whether batches are sometimes given up as if a lane had been full.
    pub lossy_lane: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self { steps: 600, symbols: 3, clients: 12, feed_trouble: 60, ring_entries: 8, lossy_lane: false }
    }
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Messages that clients took.
    pub messages: u64,
    /// Deliveries folded into others.
    pub merged: u64,
    /// Deliveries dropped and told.
    pub dropped: u64,
    /// Clients closed because they were out of reach.
    pub out_of_reach: u64,
    /// Subscriptions that went on from where another connection stood.
    pub resumed: u64,
    /// A fold of everything that was sent: equal runs have equal traces.
    pub trace: u64,
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
    hub: Hub,
    clients: Vec<SimClient>,
    asks: Vec<FeedRequest>,
    /// What clients had that were cut off, until they come back.
    ghosts: Vec<(String, String, View)>,
    instruments: BTreeMap<String, Instrument>,
    connections: u64,
    calm: bool,
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
            write_bytes_max: 4_096,
            stall_max: Nanos::from_secs(1_000),
            linger: Nanos::from_millis(300),
            ..Limits::default()
        };
        let venue = Venue::new(scenario.symbols, scenario.feed_trouble);
        let instruments =
            venue.listings.iter().map(|one| (one.instrument.symbol.to_string(), (*one.instrument).clone()));
        let mut world = Self {
            scenario,
            rng: Rng::new(seed),
            step: 0,
            instruments: instruments.collect(),
            venue,
            decoder: FeedDecoder::default(),
            market: Market::new(MarketLimits::default()),
            publisher: Publisher::new(vec![Box::default()]),
            hub: Hub::new(limits, TierBounds::default(), "sim"),
            clients: Vec::new(),
            asks: Vec::new(),
            ghosts: Vec::new(),
            connections: 0,
            calm: false,
            report: Report::default(),
        };
        world.connect_feed(false);
        world
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first thing that the oracle found wrong, with its step.
    pub fn run(mut self) -> Result<Report, String> {
        while self.step < self.scenario.steps {
            self.turn().map_err(|what| format!("step {}: {what}", self.step))?;
        }
        self.calm_down().map_err(|what| format!("at the end, step {}: {what}", self.step))?;
        let stats = self.hub.stats();
        self.report.merged = stats.channels.iter().map(|channel| channel.merged).sum();
        self.report.dropped = stats.channels.iter().map(|channel| channel.dropped).sum();
        Ok(self.report)
    }

    const fn time(&self) -> Nanos {
        Nanos(1_700_000_000_000_000_000 + self.step * 10_000_000)
    }

    fn now(&self) -> Now {
        Now { mono: Nanos(self.step * 10_000_000), wall: self.time() }
    }

    fn turn(&mut self) -> Result<(), String> {
        self.step += 1;
        let now = self.time();
        if !self.calm {
            for _ in 0..self.rng.below(6) {
                self.venue.happen(&mut self.rng, now);
            }
            self.meddle();
        }
        self.take_feed();
        self.market.handle_timeout(now);
        self.drain_market();
        self.deliver();
        let visits = if self.calm { 1_000 } else { self.rng.below(8) as usize };
        let mono = self.now().mono;
        self.hub.sweep(visits, &mut Sockets { clients: &mut self.clients, now: mono });
        self.hub.handle_timeout(self.now());
        self.drain_hub();
        self.read_clients()?;
        self.check_counts()
    }

    /// Something rare: connections come and go, subscriptions too, the feed breaks.
    fn meddle(&mut self) {
        match self.rng.below(13) {
            0..=2 if self.clients.len() < self.scenario.clients => self.connect_client(),
            3 if self.rng.one_in(6) && !self.clients.is_empty() => {
                let index = self.rng.below(self.clients.len() as u64) as usize;
                let client = &self.clients[index];
                let kept = client.oracle.views.iter().filter(|(_, view)| view.can_resume());
                let kept =
                    kept.map(|((channel, symbol), view)| (channel.clone(), symbol.clone(), view.clone()));
                let (id, kept) = (client.id, kept.collect::<Vec<_>>());
                self.ghosts.extend(kept);
                self.drop_client(id);
            }
            4..=7 => self.subscribe_somebody(),
            8 => self.unsubscribe_somebody(),
            10 => self.configure_somebody(),
            11 if !self.ghosts.is_empty() => self.resume_somebody(),
            9 if self.scenario.feed_trouble > 0 && self.rng.one_in(25) => {
                let restart = self.rng.one_in(2);
                self.connect_feed(restart);
            }
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
        let ext = self.rng.one_in(2);
        let id = self.hub.handle_connect(self.connections, ext, self.now());
        self.clients.push(SimClient::new(id, ext, &mut self.rng));
    }

    fn drop_client(&mut self, id: ClientId) {
        self.clients.retain(|client| client.id != id);
        self.hub.handle_disconnect(id);
    }

    fn subscribe_somebody(&mut self) {
        // Until then some instrument may not have been announced.
        const FIRST_STEPS: u64 = 20;
        if self.clients.is_empty() || self.step < FIRST_STEPS {
            return;
        }
        let index = self.rng.below(self.clients.len() as u64) as usize;
        let symbol = format!("S{}/USD", self.rng.below(self.scenario.symbols as u64));
        let channel = ["book", "book", "trade", "ticker", "ohlc"][self.rng.below(5) as usize];
        let depth = [10, 25][self.rng.below(2) as usize];
        let snapshot = channel != "trade" || self.rng.one_in(2);
        let client = &mut self.clients[index];
        if client.oracle.closed.is_some()
            || client.oracle.views.contains_key(&(channel.into(), symbol.clone()))
        {
            return;
        }
        client.oracle.expect(channel, &symbol, depth, snapshot);
        let ext = client.oracle.ext;
        let variant = variant(channel, depth);
        let terms = if ext { self.terms(channel) } else { String::new() };
        let request = format!(
            r#"{{"method":"subscribe","params":{{"channel":"{channel}","symbol":["{symbol}"],"snapshot":{snapshot}{variant}{terms}}}}}"#
        );
        self.hub.handle_message(self.clients[index].id, &mut request.into_bytes(), self.now());
        self.drain_hub();
    }

    /// Terms that fit a channel, often none.
    fn terms(&mut self, channel: &str) -> String {
        let policies: &[&str] = match channel {
            "book" => &["conflate", "drop_oldest", "drop_newest"],
            "trade" => &["drop_oldest", "drop_newest"],
            _ => &["latest", "drop_oldest", "drop_newest"],
        };
        let policy = policies[self.rng.below(policies.len() as u64) as usize];
        match self.rng.below(4) {
            0 => format!(r#","policy":"{policy}""#),
            1 => format!(r#","interval_ms":{}"#, self.rng.below(300)),
            2 => format!(r#","policy":"{policy}","interval_ms":{}"#, self.rng.below(300)),
            _ => String::new(),
        }
    }

    /// New terms, a pause, the end of a pause, or a bandwidth.
    fn configure_somebody(&mut self) {
        let pick = self.rng.next() as usize;
        let count = self.clients.len().max(1);
        let Some(client) = self.clients.get(pick % count) else { return };
        let (id, closed, ext) = (client.id, client.oracle.closed.is_some(), client.oracle.ext);
        let target = client.oracle.views.iter().nth(pick % 3).map(|(key, view)| (key.clone(), view.clone()));
        let Some(((channel, symbol), view)) = target else { return };
        if closed || !ext || view.leaving {
            return;
        }
        let body = match self.rng.below(5) {
            0 => format!(
                r#""method":"configure","params":{{"max_bytes_per_s":{}}}"#,
                self.rng.below(4) * 20_000
            ),
            1 => r#""method":"pause""#.to_owned(),
            2 => r#""method":"resume""#.to_owned(),
            kind => {
                let variant = variant(&channel, view.depth);
                let terms = self.terms(&channel);
                let method = ["configure", "pause", "resume"]
                    [if kind == 3 { 0 } else { 1 + self.rng.below(2) as usize }];
                format!(
                    r#""method":"{method}","params":{{"channel":"{channel}","symbol":["{symbol}"]{variant}{terms}}}"#
                )
            }
        };
        self.hub.handle_message(id, &mut format!("{{{body}}}").into_bytes(), self.now());
        self.drain_hub();
    }

    /// Somebody who was cut off comes back, on another connection, and names where it stands.
    fn resume_somebody(&mut self) {
        let pick = self.rng.below(self.ghosts.len() as u64) as usize;
        let (channel, symbol, view) = self.ghosts.swap_remove(pick);
        let key = (channel.clone(), symbol.clone());
        let fits = |client: &&mut SimClient| {
            client.oracle.ext && client.oracle.closed.is_none() && !client.oracle.views.contains_key(&key)
        };
        let Some(client) = self.clients.iter_mut().find(fits) else { return };
        let (Some(epoch), Some(seq)) = (view.epoch, view.last_seq) else { return };
        let variant = variant(&channel, view.depth);
        let request = format!(
            r#"{{"method":"subscribe","params":{{"channel":"{channel}","symbol":"{symbol}"{variant},"resume":{{"epoch":{epoch},"seq":{seq}}}}}}}"#
        );
        client.oracle.expect_resumed(&channel, &symbol, view);
        let id = client.id;
        self.hub.handle_message(id, &mut request.into_bytes(), self.now());
        self.report.resumed += 1;
        self.drain_hub();
    }

    fn unsubscribe_somebody(&mut self) {
        let pick = self.rng.next() as usize;
        let count = self.clients.len().max(1);
        let Some(client) = self.clients.get_mut(pick % count) else { return };
        let Some(((channel, symbol), view)) = client.oracle.views.iter_mut().nth(pick % 3) else { return };
        if client.oracle.closed.is_some() || std::mem::replace(&mut view.leaving, true) {
            return;
        }
        let request = format!(
            r#"{{"method":"unsubscribe","params":{{"channel":"{channel}","symbol":["{symbol}"]}},"req_id":1}}"#
        );
        let id = client.id;
        self.hub.handle_message(id, &mut request.into_bytes(), self.now());
        self.drain_hub();
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
            for event in &batch.events {
                self.market.apply(event, &batch);
                self.drain_market();
            }
        }
    }

    /// What the engine does with the outputs of the market.
    fn drain_market(&mut self) {
        while let Some(output) = self.market.poll_output() {
            let market = &self.market;
            match output {
                MarketOutput::Book { instrument, seq, epoch, ts_event } => {
                    self.publisher.book(instrument, seq, epoch, ts_event, market);
                }
                MarketOutput::Bbo { instrument, seq, epoch, ts_event } => {
                    self.publisher.bbo(instrument, seq, epoch, ts_event, market);
                }
                MarketOutput::Trade { instrument, seq, epoch, trade } => {
                    self.publisher.trade(instrument, seq, epoch, &trade, market);
                }
                MarketOutput::Instrument(id)
                | MarketOutput::Stale { instrument: id, .. }
                | MarketOutput::Fresh { instrument: id } => {
                    if let Some(one) = market.instrument(id) {
                        let status = told_status(one, market.is_stale(id));
                        self.publisher.pair(id, &one.clone(), status);
                    }
                }
                MarketOutput::Status(_) => {}
                MarketOutput::Ask(id) => {
                    let symbol = id.and_then(|id| market.instrument(id)).map(|one| one.symbol.clone());
                    self.asks.push(FeedRequest::Snapshot(symbol));
                }
            }
        }
    }

    /// Hands the batch to the hub, or lets it wait for more, or gives up what is in it.
    fn deliver(&mut self) {
        let waits = !self.calm && self.rng.one_in(4);
        let gives_up = self.scenario.lossy_lane && self.rng.one_in(80);
        let now = self.now();
        let batch = &mut self.publisher.lanes()[0];
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
                Output::Ask(stream) => {
                    let now = self.time();
                    self.publisher.join(0, stream, &self.market, now);
                }
                Output::Leave(stream) => self.publisher.leave(0, stream),
                Output::Closed(id) | Output::Abort(id) => {
                    // The client reads what is left, then it is gone.
                    if let Some(client) = self.clients.iter_mut().find(|client| client.id == id) {
                        client.temper = crate::client::Temper::Fast;
                    }
                }
            }
        }
    }

    fn read_clients(&mut self) -> Result<(), String> {
        let mut gone = Vec::new();
        for client in &mut self.clients {
            if self.calm {
                client.temper = crate::client::Temper::Fast;
            }
            for (opcode, payload) in client.read(self.step, &mut self.rng) {
                self.report.trace = fold(self.report.trace, &payload);
                match opcode {
                    1 => client.oracle.take(&payload, &self.instruments).map_err(|what| {
                        format!("client {:?} (ext {}): {what}", client.id, client.oracle.ext)
                    })?,
                    8 => {
                        client.oracle.closed = Some(u16::from_be_bytes([payload[0], payload[1]]));
                        gone.push(client.id);
                    }
                    other => return Err(format!("opcode {other}")),
                }
                self.report.messages += 1;
            }
            if client.drained() {
                self.hub.handle_writable(client.id);
            }
        }
        for id in gone {
            self.check_close(id)?;
            self.drop_client(id);
        }
        Ok(())
    }

    /// A client is closed for a reason only: plain ones when entries were lost before they reached the hub.
    fn check_close(&mut self, id: ClientId) -> Result<(), String> {
        let Some(client) = self.clients.iter().find(|client| client.id == id) else { return Ok(()) };
        match client.oracle.closed {
            Some(4009) if self.scenario.lossy_lane && !client.oracle.ext => {
                self.report.out_of_reach += 1;
                Ok(())
            }
            code => Err(format!("client {id:?} (ext {}) closed with {code:?}", client.oracle.ext)),
        }
    }

    fn check_counts(&self) -> Result<(), String> {
        let stats = self.hub.stats();
        for (channel, counts) in Channel::ALL.into_iter().zip(&stats.channels) {
            if counts.imbalance() != 0 {
                return Err(format!("{} does not add up: {counts:?}", channel.name()));
            }
        }
        Ok(())
    }

    /// No more trouble: everything is delivered, every book must be right.
    fn calm_down(&mut self) -> Result<(), String> {
        const CALM_STEPS: u64 = 400;
        self.calm = true;
        self.venue.trouble = 0;
        // Nobody is paused for ever, and nobody has less bandwidth than it needs.
        let ids: Vec<_> = self
            .clients
            .iter()
            .filter(|one| one.oracle.closed.is_none())
            .map(|one| (one.id, one.oracle.ext))
            .collect();
        for (id, _) in ids.into_iter().filter(|(_, ext)| *ext) {
            for request in
                [r#"{"method":"resume"}"#, r#"{"method":"configure","params":{"max_bytes_per_s":0}}"#]
            {
                self.hub.handle_message(id, &mut request.as_bytes().to_vec(), self.now());
            }
        }
        // One more event each, so that a loss at the very end is seen.
        for _ in 0..self.scenario.symbols * 20 {
            let now = self.time();
            self.venue.happen(&mut self.rng, now);
        }
        for _ in 0..CALM_STEPS {
            self.turn()?;
        }
        self.check_books()
    }

    fn check_books(&self) -> Result<(), String> {
        for (index, listing) in self.venue.listings.iter().enumerate() {
            let symbol = &*listing.instrument.symbol;
            let id = self.decoder.instruments().id(symbol).ok_or("an instrument was never announced")?;
            if self.market.is_stale(id) {
                return Err(format!("{symbol} is still stale: {:?}", self.market.stale_reason(id)));
            }
            for client in &self.clients {
                let Some(view) = client.oracle.views.get(&("book".to_owned(), symbol.to_owned())) else {
                    continue;
                };
                for (side, have) in [(Side::Bid, &view.bids), (Side::Ask, &view.asks)] {
                    let truth = listing.top(side, view.depth);
                    let mut have: Vec<_> = have.iter().map(|(&price, &qty)| (price, qty)).collect();
                    if side == Side::Bid {
                        have.reverse();
                    }
                    if have != truth {
                        return Err(format!(
                            "client {:?} has a wrong book of S{index}: {have:?}, not {truth:?}",
                            client.id
                        ));
                    }
                }
            }
        }
        let missed: u64 =
            self.clients.iter().filter(|one| one.oracle.ext).map(|one| one.oracle.trades_missed).sum();
        let untold = if self.scenario.feed_trouble == 0 { missed } else { 0 };
        if untold > 0 { Err(format!("{untold} trades are missing and nobody was told")) } else { Ok(()) }
    }
}

/// The parameter that names the variant of a channel.
fn variant(channel: &str, depth: usize) -> String {
    match channel {
        "book" => format!(",\"depth\":{depth}"),
        "ticker" => ",\"event_trigger\":\"bbo\"".to_owned(),
        _ => String::new(),
    }
}

fn fold(trace: u64, bytes: &[u8]) -> u64 {
    // FNV-1a: a digest of the trace, not a defence.
    bytes.iter().fold(trace ^ 0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
