//! A feed in this process: the simulator or a recording of feed-sim, as the bytes that a socket would bring.

use std::io;
use std::path::Path;
use std::time::Duration;

use feed_sim::{Local, SimulatorConfig, SourceConfig, Speed, Timestamps};
use model::{Epoch, Nanos};
use wire::feed::{FeedRequest, encode_request};

use super::Source;
use crate::clock::Clock;
use crate::config::{ReplayConfig, SimConfig};

pub(super) struct LocalSource {
    local: Local,
    clock: Clock,
    /// When the feed has something to say next (wall time).
    next: Nanos,
    /// The beginning of an answer, until the next read.
    answered: Vec<u8>,
}

impl LocalSource {
    /// The simulator. Its epoch is the second of its start, so that a restarted gateway is told from a running one.
    pub(super) fn simulator(config: &SimConfig) -> io::Result<Self> {
        let clock = Clock::default();
        let source = SimulatorConfig {
            symbols: config.symbols as usize,
            rate: config.rate,
            arrivals: config.arrivals.parse().map_err(invalid)?,
            seed: config.seed,
            depth: config.depth as usize,
            epoch: Epoch(clock.wall().0 / Nanos::SECOND.0),
            ..SimulatorConfig::default()
        };
        Self::open(SourceConfig::Simulator(source), clock)
    }

    /// A recording, in whatever format feed-sim knows.
    pub(super) fn replay(path: &Path, config: &ReplayConfig) -> io::Result<Self> {
        let source = feed_sim::ReplayConfig {
            speed: if config.speed == 0.0 { Speed::Max } else { Speed::Times(config.speed) },
            timestamps: if config.shift_timestamps { Timestamps::Shifted } else { Timestamps::Kept },
            looping: config.looping,
            ..feed_sim::ReplayConfig::new(path)
        };
        Self::open(SourceConfig::Replay(source), Clock::default())
    }

    fn open(source: SourceConfig, clock: Clock) -> io::Result<Self> {
        let local = Local::open(source).map_err(invalid)?;
        Ok(Self { local, clock, next: Nanos(0), answered: Vec::new() })
    }
}

fn invalid(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, error)
}

impl Source for LocalSource {
    fn read(&mut self, buffer: &mut Vec<u8>, patience: Duration) -> io::Result<usize> {
        let wait = Duration::from_nanos(self.next.since(self.clock.wall()).0).min(patience);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        if self.clock.wall() < self.next && self.answered.is_empty() {
            return Ok(0);
        }
        let before = buffer.len();
        buffer.append(&mut self.answered);
        self.next = self.local.read(self.clock.wall(), buffer);
        Ok(buffer.len() - before)
    }

    fn next(&self) -> Option<Nanos> {
        Some(self.next.since(self.clock.wall()))
    }

    fn request(&mut self, request: &FeedRequest) -> io::Result<()> {
        let mut line = Vec::new();
        encode_request(request, &mut line);
        line.pop();
        self.local.handle_request(&mut line, self.clock.wall(), &mut self.answered);
        self.next = Nanos(0);
        Ok(())
    }
}
