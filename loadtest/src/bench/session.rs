//! One server under one work: publisher, server and crowd, together for as long as it is measured.
//!
//! Owns the three and the order in which they start. Measures windows of time; never decides what to measure next
//! (`works/` do) and never compares (`table.rs` does).

use super::crowd::{Crowd, CrowdError, Role};
use super::feed::{Feed, Recording};
use super::machine::{Awake, Machine};
use super::payload::{self, Payload};
use super::publisher::Publisher;
use super::sample::{Latency, Sample};
use super::server::{Kind, Server, ServerError};
use super::work::Work;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long everything around the connections may take to come into force.
const READY_LIMIT: Duration = Duration::from_secs(20);
/// Deliveries per second at which it is tried whether subscriptions are in force: any server carries that.
const TRIAL_DELIVERIES: f64 = 20_000.0;
/// Least updates of a trial.
const TRIAL_UPDATES: f64 = 10.0;
/// Length of a trial, unless so many updates take longer.
const TRIAL: Duration = Duration::from_millis(200);
/// Share of the deliveries due that must arrive for subscriptions to count as in force; updates at the edges of a trial
/// and, where clients are few, unequal symbols make it differ from all.
const TRIAL_SHARE: f64 = 0.9;
/// Silence after which nothing is on its way any more.
const SETTLED: Duration = Duration::from_millis(200);
/// Samples of latency per second that are aimed at.
const SAMPLES_PER_S: f64 = 200_000.0;

/// Why a session cannot be measured.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The server.
    #[error(transparent)]
    Server(#[from] ServerError),
    /// The clients.
    #[error(transparent)]
    Crowd(#[from] CrowdError),
    /// The publisher, or the crowd's readiness set.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The payload does not fit.
    #[error("{0}")]
    Payload(String),
    /// It does not come into force.
    #[error("not ready: {0}")]
    NotReady(String),
}

/// How a session is set up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    /// Handshakes at once.
    pub(crate) in_flight: usize,
    /// The last so many clients never read.
    pub(crate) stalled: usize,
    /// One of so many clients that read checks every link.
    pub(crate) witness_every: usize,
    /// Whether the crowd sleeps until something comes, instead of polling.
    pub(crate) sleeps: bool,
    /// Whether the generator's core is kept from sleeping even when nobody has anything to do there.
    pub(crate) is_awake: bool,
    /// Bytes of a payload, where the publisher makes them.
    pub(crate) payload_bytes: usize,
}

/// Where the server's updates come from.
enum Source {
    Records(Publisher),
    Feed(Feed),
}

/// The three together.
pub(crate) struct Session {
    // The order is that of ending: clients leave before the server, the server before its feed.
    pub(crate) crowd: Crowd,
    pub(crate) server: Server,
    source: Source,
    pub(crate) work: Work,
    setup: Setup,
    processes: Vec<u32>,
    /// Processes that publish for us, beside the source.
    glue: Vec<u32>,
    _awake: Option<Awake>,
}

impl Source {
    fn set_rate(&mut self, rate: f64) -> io::Result<()> {
        match self {
            Self::Records(publisher) => {
                publisher.set_rate(rate);
                Ok(())
            }
            Self::Feed(feed) => feed.set_rate(rate),
        }
    }

    fn published(&mut self) -> io::Result<u64> {
        match self {
            Self::Records(publisher) => Ok(publisher.published()),
            Self::Feed(feed) => feed.published(),
        }
    }

    fn cpu(&self) -> Duration {
        match self {
            Self::Records(publisher) => publisher.cpu(),
            Self::Feed(feed) => feed.cpu(),
        }
    }

    fn take_late(&self) -> Option<Duration> {
        match self {
            Self::Records(publisher) => Some(publisher.take_late()),
            Self::Feed(_) => None,
        }
    }
}

impl Session {
    /// Starts publisher and server; the gateway needs a recording of the work's symbols. Nobody is connected and nothing is published.
    pub(crate) fn start(
        kind: &Kind,
        machine: &Machine,
        work: Work,
        recording: Option<&Recording>,
        setup: Setup,
    ) -> Result<Self, SessionError> {
        let mut awake = setup.is_awake.then(|| machine.keep_awake()).transpose()?;
        let (source, server, names) = if let Some(recording) = recording.filter(|_| kind.is_gateway()) {
            let feed = Feed::start(machine, recording)?;
            let server = Server::start(kind, machine, feed.address())?;
            (Source::Feed(feed), server, recording.symbols.clone())
        } else {
            let names = payload::names(work.symbols);
            let payload = Payload::new(&names, setup.payload_bytes).map_err(SessionError::Payload)?;
            let publisher = Publisher::start(payload)?;
            let server = Server::start(kind, machine, publisher.address())?;
            (Source::Records(publisher), server, names)
        };
        let crowd = Crowd::new(server.target, work, Arc::from(names))?;
        // The server has taken its time to start: a process that cannot run has ended by now.
        awake.as_mut().map_or(Ok(()), Awake::check)?;
        let (processes, glue) = (Vec::new(), Vec::new());
        let mut session = Self { crowd, server, source, work, setup, processes, glue, _awake: awake };
        session.wait_for_feed()?;
        (session.processes, session.glue) = session.server.processes();
        Ok(session)
    }

    /// Waits until the server knows the feed, and stops the feed then.
    fn wait_for_feed(&mut self) -> Result<(), SessionError> {
        let start = Instant::now();
        let (symbols, server) = (self.work.symbols as f64, &self.server);
        let is_ready = || match &self.source {
            Source::Records(publisher) => publisher.is_connected(),
            Source::Feed(_) => {
                server.metric("gateway_instruments").is_some_and(|count| count >= symbols)
                    && server.metric("gateway_instruments_stale") == Some(0.0)
            }
        };
        while !is_ready() {
            if start.elapsed() > READY_LIMIT {
                return Err(SessionError::NotReady("the server does not read the feed".to_owned()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        self.source.set_rate(0.0).map_err(Into::into)
    }

    /// Connects the clients up to this number and says how long that took.
    pub(crate) fn join(&mut self, clients: usize) -> Result<Duration, SessionError> {
        let Setup { in_flight, stalled, witness_every, .. } = self.setup;
        let readers = self.work.clients - stalled;
        let role = |client: usize| match client {
            stalled if stalled >= readers => Role::Stalled,
            reader if reader % witness_every == 0 => Role::Witness,
            _ => Role::Reader,
        };
        Ok(self.crowd.join(clients, in_flight, role)?)
    }

    /// Publishes a little until what is due arrives, then nothing until all of it has: subscriptions are in force.
    pub(crate) fn try_subscriptions(&mut self) -> Result<(), SessionError> {
        let start = Instant::now();
        let fan_out = self.fan_out();
        let rate = (TRIAL_DELIVERIES / fan_out).max(TRIAL_UPDATES / 2.0);
        let trial = TRIAL.max(Duration::from_secs_f64(TRIAL_UPDATES / rate));
        self.source.set_rate(rate)?;
        let mut share = 0.0;
        while start.elapsed() < READY_LIMIT {
            let published = self.source.published()?;
            self.crowd.meter.reset(1);
            self.run(trial)?;
            let due = (self.source.published()? - published) as f64 * fan_out;
            share = self.crowd.meter.counts.updates as f64 / due;
            if share >= TRIAL_SHARE {
                self.source.set_rate(0.0)?;
                self.settle(READY_LIMIT)?;
                return Ok(());
            }
        }
        let error = self.crowd.error().unwrap_or("no connection was lost");
        Err(SessionError::NotReady(format!("{:.0} % of the updates arrive; {error}", 100.0 * share)))
    }

    /// Deliveries to clients that read, per update.
    pub(crate) fn fan_out(&self) -> f64 {
        let share = (self.work.clients - self.setup.stalled) as f64 / self.work.clients as f64;
        self.work.fan_out() * share
    }

    /// Updates per second from now on.
    pub(crate) fn set_rate(&mut self, rate: f64) -> io::Result<()> {
        self.source.set_rate(rate)
    }

    /// Lets the crowd read for so long.
    pub(crate) fn run(&mut self, span: Duration) -> io::Result<()> {
        let end = Instant::now() + span;
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            let patience = if self.setup.sleeps { end - now } else { Duration::ZERO };
            self.crowd.turn(Some(patience))?;
        }
    }

    /// Publishes nothing and reads until nothing comes any more; false when that takes too long.
    pub(crate) fn settle(&mut self, limit: Duration) -> io::Result<bool> {
        self.source.set_rate(0.0)?;
        let start = Instant::now();
        loop {
            let before = self.crowd.meter.counts.updates;
            self.run(SETTLED)?;
            if self.crowd.meter.counts.updates == before {
                return Ok(true);
            }
            if start.elapsed() > limit {
                return Ok(false);
            }
        }
    }

    /// Goes on at a rate of updates per second, lets it become steady, and measures a window.
    pub(crate) fn measure(
        &mut self,
        rate: f64,
        warm_up: Duration,
        window: Duration,
    ) -> Result<Sample, SessionError> {
        self.source.set_rate(rate)?;
        self.run(warm_up)?;
        self.measure_window(rate, window)
    }

    /// Measures a window of what goes on at this rate.
    pub(crate) fn measure_window(&mut self, rate: f64, window: Duration) -> Result<Sample, SessionError> {
        let stride = (rate * self.fan_out() / SAMPLES_PER_S) as usize;
        self.crowd.meter.reset(stride);
        self.crowd.take_busy();
        self.source.take_late();
        let (published, source_cpu) = (self.source.published()?, self.source_cpu());
        let (start, cpu) = (Instant::now(), self.server.cpu(&self.processes));
        for part in 0..super::crowd::PARTS {
            self.crowd.meter.part = part;
            self.run(window / super::crowd::PARTS as u32)?;
        }
        let (cpu_after, span) = (self.server.cpu(&self.processes), start.elapsed());
        let published = self.source.published()? - published;
        Ok(Sample {
            rate,
            span,
            published,
            due: published as f64 * self.fan_out(),
            counts: self.crowd.meter.counts,
            latency: Latency::of(&self.crowd.meter),
            cpu: Sample::cpu_between(&cpu, &cpu_after),
            busy: self.crowd.take_busy(),
            source_cpu: self.source_cpu().saturating_sub(source_cpu),
            late: self.source.take_late(),
            memory: self.server.memory(&self.processes),
        })
    }

    /// CPU time of whatever publishes, so far.
    fn source_cpu(&self) -> Duration {
        self.source.cpu() + self.server.cpu(&self.glue).values().sum::<Duration>()
    }

    /// CPU time of all threads of the server so far.
    pub(crate) fn server_cpu(&self) -> Duration {
        self.server.cpu(&self.processes).values().sum()
    }

    /// Memory of the server now.
    pub(crate) fn server_memory(&self) -> super::proc::Memory {
        self.server.memory(&self.processes)
    }
}
