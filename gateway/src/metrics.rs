//! Metrics: one table of names, and a scrape that asks every thread for its counts of this moment.
//!
//! The hot path counts in plain numbers; only a scrape turns them into metrics. Labels are closed sets, never a client or a symbol,
//! so the number of series does not depend on the load.

mod family;
mod table;
mod threads;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use auth::Refusal;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::engine::{EngineRequest, EngineStats};
use crate::http::{PublicState, Reason};
use crate::logs::{self, LOSSES};
use crate::shard::{ShardInput, ShardStats};
use threads::{KINDS, ThreadTimes};

pub use family::Metric;
pub use table::METRICS;

/// Longest wait for a thread's counts.
const PATIENCE: Duration = Duration::from_secs(1);

/// Why there is no scrape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ScrapeError {
    /// A thread did not answer in time, or is gone.
    #[error("{0} did not answer within a second")]
    Silent(&'static str),
}

/// The counts of all threads at about one moment.
#[derive(Debug)]
pub struct Counts {
    engine: EngineStats,
    /// Sum over all shards.
    shards: ShardStats,
    shard_count: u64,
    /// Names of the tiers, in the order in which shards count them.
    tiers: Vec<String>,
    threads: [ThreadTimes; KINDS.len()],
    opened: u64,
    refusals: [u64; Reason::ALL.len()],
    /// Times that connections were left in the kernel's queue.
    accept_waits: u64,
    /// Credentials accepted: tokens, API keys.
    auth_accepted: [u64; 2],
    /// In the order of `Refusal::ALL`.
    auth_refused: [u64; Refusal::ALL.len()],
    /// Times that files with keys were read again: whole, and in vain.
    auth_reloads: [u64; 2],
    /// Keys that verify, API keys, revocations.
    auth_sizes: [u64; 3],
    connections_max: u64,
    handshakes: u64,
    stopping: bool,
    memory_budget: u64,
    memory_tight: bool,
    log_lines_lost: [u64; LOSSES.len()],
    tls_reloads: [u64; 2],
    /// Whether files that were tried last cannot be used: keys, certificate.
    unusable: [bool; 2],
}

/// Nanoseconds as the unit that is published.
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

/// Counts that several threads make.
fn loaded<const N: usize>(counts: &[AtomicU64; N]) -> [u64; N] {
    counts.each_ref().map(|count| count.load(Ordering::Relaxed))
}

/// Where counts come from.
#[derive(Debug)]
pub struct Metrics {
    public: Arc<PublicState>,
    stopping: Arc<AtomicBool>,
    process: ProcessCollector,
}

impl Metrics {
    /// Metrics of the gateway whose public listener is given; `stopping` is set when it ends.
    #[must_use]
    pub fn new(public: Arc<PublicState>, stopping: Arc<AtomicBool>) -> Self {
        Self { public, stopping, process: ProcessCollector::for_self() }
    }

    /// The gateway whose numbers these are.
    #[must_use]
    pub fn public(&self) -> &PublicState {
        &self.public
    }

    /// The page in Prometheus' text form.
    ///
    /// # Errors
    /// When a thread does not answer in time.
    pub async fn scrape(&self) -> Result<Vec<u8>, ScrapeError> {
        let counts = self.counts().await?;
        let mut families: Vec<MetricFamily> = METRICS.iter().map(|metric| metric.family(&counts)).collect();
        families.extend(self.process.collect());
        let mut page = Vec::new();
        TextEncoder::new()
            .encode(&families, &mut page)
            .expect("writing to memory and names that are constants");
        Ok(page)
    }

    /// Whether clients should come here.
    ///
    /// # Errors
    /// Why not.
    pub async fn readiness(&self) -> Result<(), String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Err("the gateway is stopping".into());
        }
        if self.public.memory.is_tight() {
            return Err("memory is short".into());
        }
        let engine = self.engine_counts().await.map_err(|error| error.to_string())?;
        match engine {
            EngineStats { feed_connected: false, .. } => Err("the feed is not connected".into()),
            EngineStats { instruments: 0, .. } => Err("the feed has announced no instrument".into()),
            EngineStats { instruments, instruments_stale, .. } if instruments == instruments_stale => {
                Err("the data of every instrument is stale".into())
            }
            _ => Ok(()),
        }
    }

    async fn counts(&self) -> Result<Counts, ScrapeError> {
        let engine = self.engine_counts().await?;
        let mut shards = ShardStats::default();
        for shard in &self.public.shards {
            let (reply, answer) = oneshot::channel();
            shard.send(ShardInput::Stats(reply)).map_err(|_| ScrapeError::Silent("a shard"))?;
            let stats = tokio::time::timeout(PATIENCE, answer).await;
            let stats = stats.ok().and_then(Result::ok).ok_or(ScrapeError::Silent("a shard"))?;
            shards.add(&stats);
        }
        let config = &self.public.config;
        let tiers = config.tier_bounds().into_iter().map(|tier| tier.name.into()).collect();
        Ok(Counts {
            engine,
            shards,
            shard_count: self.public.shards.len() as u64,
            tiers,
            threads: threads::times(),
            connections_max: config.inbound.connections_max as u64,
            handshakes: self.public.door.handshakes() as u64,
            memory_budget: self.public.memory.bytes(),
            memory_tight: self.public.memory.is_tight(),
            log_lines_lost: logs::lost(),
            tls_reloads: self.public.tls.as_ref().map_or([0; 2], |tls| tls.reloads()),
            unusable: [
                self.public.auth.stats.unusable.load(Ordering::Relaxed),
                self.public.tls.as_ref().is_some_and(|tls| tls.is_unusable()),
            ],
            stopping: self.stopping.load(Ordering::Relaxed),
            opened: self.public.upgraded.load(Ordering::Relaxed),
            refusals: self.public.refusals.counts(),
            accept_waits: self.public.refusals.waits(),
            auth_accepted: loaded(&self.public.auth.stats.accepted),
            auth_refused: loaded(&self.public.auth.stats.refused),
            auth_reloads: loaded(&self.public.auth.stats.reloads),
            auth_sizes: self.public.auth.sizes().map(|size| size as u64),
        })
    }

    async fn engine_counts(&self) -> Result<EngineStats, ScrapeError> {
        let (reply, answer) = oneshot::channel();
        let silent = ScrapeError::Silent("the engine");
        self.public.engine.requests.try_send(EngineRequest::Stats(reply)).map_err(|_| silent)?;
        let stats = tokio::time::timeout(PATIENCE, answer).await;
        stats.ok().and_then(Result::ok).map(|stats| *stats).ok_or(silent)
    }
}
