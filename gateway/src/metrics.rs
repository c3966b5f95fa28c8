//! Metrics: one table of names, and a scrape that asks every thread for its counts of this moment.
//!
//! The hot path counts in plain numbers; only a scrape turns them into metrics. Labels are closed sets, never a client or a symbol,
//! so the number of series does not depend on the load.

mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use fanout::HubStats;
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::MetricFamily;
use prometheus::{Encoder, TextEncoder};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::engine::{EngineRequest, EngineStats};
use crate::http::PublicState;
use crate::shard::ShardInput;

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
    pub(crate) engine: EngineStats,
    /// Sum over all shards.
    pub(crate) hubs: HubStats,
    pub(crate) opened: u64,
    pub(crate) refused_full: u64,
    pub(crate) refused_malformed: u64,
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
        let mut hubs = HubStats::default();
        for shard in &self.public.shards {
            let (reply, answer) = oneshot::channel();
            shard.send(ShardInput::Stats(reply)).map_err(|_| ScrapeError::Silent("a shard"))?;
            let stats = tokio::time::timeout(PATIENCE, answer).await;
            let stats = stats.ok().and_then(Result::ok).ok_or(ScrapeError::Silent("a shard"))?;
            hubs.add(&stats);
        }
        Ok(Counts {
            engine,
            hubs,
            opened: self.public.upgraded.load(Ordering::Relaxed),
            refused_full: self.public.refused_full.load(Ordering::Relaxed),
            refused_malformed: self.public.refused_malformed.load(Ordering::Relaxed),
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
