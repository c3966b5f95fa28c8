//! The lane from the engine to one shard: bounded, and the engine never waits for it.
//!
//! A batch that does not fit is kept and grows; when it outgrows its bound, the entries in it are given up and their streams are told
//! as lost, so that nobody takes what follows for the whole story.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use fanout::Batch;
use model::Nanos;

/// Batches in a lane.
pub(crate) const LANE_BATCHES_MAX: usize = 256;

/// Bytes of frames in a batch that waits for room in the lane.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Wakes a shard that sleeps in its poll; costs nothing while the shard is at work.
#[derive(Clone, Debug)]
pub struct ShardWaker {
    /// Set by the shard before it sleeps. The swap pairs with that store: either the shard sees what was sent before
    /// it sleeps, or the sender sees that it must wake.
    asleep: Arc<AtomicBool>,
    waker: Arc<mio::Waker>,
}

impl ShardWaker {
    /// A waker for a poll.
    #[must_use]
    pub fn new(waker: mio::Waker) -> Self {
        Self { asleep: Arc::default(), waker: Arc::new(waker) }
    }

    /// To be called after something was sent.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst)
            && let Err(error) = self.waker.wake()
        {
            tracing::error!(%error, "a shard cannot be woken");
        }
    }

    /// Announces sleep; the shard must look into its lanes once more before it sleeps.
    pub(crate) fn set_asleep(&self, asleep: bool) {
        self.asleep.store(asleep, Ordering::SeqCst);
    }
}

/// The engine's end.
#[derive(Debug)]
pub struct ShardLane {
    batch: Box<Batch>,
    batches: Sender<Box<Batch>>,
    emptied: Receiver<Box<Batch>>,
    waker: ShardWaker,
    /// Times that a batch did not fit.
    pub(crate) full: u64,
}

/// The shard's end.
#[derive(Debug)]
pub struct EngineLane {
    pub(crate) batches: Receiver<Box<Batch>>,
    pub(crate) emptied: Sender<Box<Batch>>,
}

/// A lane to a shard.
#[must_use]
pub fn lane(waker: ShardWaker) -> (ShardLane, EngineLane) {
    let (batches, batches_out) = bounded(LANE_BATCHES_MAX);
    let (emptied_in, emptied) = bounded(LANE_BATCHES_MAX);
    let lane = ShardLane { batch: Box::default(), batches, emptied, waker, full: 0 };
    (lane, EngineLane { batches: batches_out, emptied: emptied_in })
}

impl AsMut<Batch> for ShardLane {
    /// The batch that is being filled.
    fn as_mut(&mut self) -> &mut Batch {
        &mut self.batch
    }
}

impl ShardLane {
    /// Sends what was filled; never waits.
    pub fn post(&mut self, ts_recv: Nanos, ts_publish: Nanos) {
        if self.batch.items.is_empty() {
            return;
        }
        self.batch.ts_recv = ts_recv;
        self.batch.ts_publish = ts_publish;
        let empty = self.emptied.try_recv().unwrap_or_default();
        match self.batches.try_send(std::mem::replace(&mut self.batch, empty)) {
            Ok(()) => self.waker.wake(),
            Err(TrySendError::Full(batch)) => {
                self.full += 1;
                self.batch = batch;
                if self.batch.bytes.len() > WAITING_BYTES_MAX {
                    let lost = self.batch.give_up_entries();
                    tracing::warn!(streams = lost, "a shard does not keep up, its clients are resynced");
                }
            }
            // The shard is gone: the gateway is ending.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }
}
