//! The lane from the engine to one shard: bounded, and the engine never waits for it.
//!
//! A lane is bounded in batches and in bytes. A batch that does not fit is kept and grows; when it outgrows its bound, the entries in it
//! are given up and their streams are told as lost, so that nobody takes what follows for the whole story.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use fanout::Batch;
use model::Nanos;

/// Batches in a lane.
pub(crate) const LANE_BATCHES_MAX: usize = 256;

/// Bytes of frames in a lane: what a shard does not take at once would only get old there.
pub(crate) const LANE_BYTES_MAX: usize = 16 << 20;

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
    /// Bytes of frames in the lane. Relaxed: a measure of how full it is, nothing hangs on its order.
    bytes: Arc<AtomicUsize>,
    waker: ShardWaker,
    /// Times that a batch did not fit.
    pub(crate) full: u64,
}

/// The shard's end.
#[derive(Debug)]
pub struct EngineLane {
    pub(crate) batches: Receiver<Box<Batch>>,
    emptied: Sender<Box<Batch>>,
    bytes: Arc<AtomicUsize>,
}

impl EngineLane {
    /// Bytes of frames in the lane.
    pub(crate) fn waiting_bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Gives a batch back that was taken from the lane.
    pub(crate) fn done(&self, mut batch: Box<Batch>) {
        self.bytes.fetch_sub(batch.bytes.len(), Ordering::Relaxed);
        batch.clear();
        // When the engine has enough empty batches this one is freed.
        let _ = self.emptied.try_send(batch);
    }
}

/// A lane to a shard.
#[must_use]
pub fn lane(waker: ShardWaker) -> (ShardLane, EngineLane) {
    let (batches, batches_out) = bounded(LANE_BATCHES_MAX);
    let (emptied_in, emptied) = bounded(LANE_BATCHES_MAX);
    let bytes = Arc::<AtomicUsize>::default();
    let theirs = EngineLane { batches: batches_out, emptied: emptied_in, bytes: Arc::clone(&bytes) };
    (ShardLane { batch: Box::default(), batches, emptied, bytes, waker, full: 0 }, theirs)
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
        let (waiting, mine) = (self.bytes.load(Ordering::Relaxed), self.batch.bytes.len());
        // Into an empty lane anything fits.
        if waiting > 0 && waiting + mine > LANE_BYTES_MAX {
            return self.refused();
        }
        let empty = self.emptied.try_recv().unwrap_or_default();
        match self.batches.try_send(std::mem::replace(&mut self.batch, empty)) {
            Ok(()) => {
                self.bytes.fetch_add(mine, Ordering::Relaxed);
                self.waker.wake();
            }
            Err(TrySendError::Full(batch)) => {
                self.batch = batch;
                self.refused();
            }
            // The shard is gone: the gateway is ending.
            Err(TrySendError::Disconnected(_)) => {}
        }
    }

    /// Whether the shard is far behind: half of what the lane takes waits in it.
    pub fn is_pressed(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > LANE_BYTES_MAX / 2 || self.batches.len() > LANE_BATCHES_MAX / 2
    }

    /// The lane has no room: the batch waits and grows, up to a point.
    fn refused(&mut self) {
        self.full += 1;
        if self.batch.bytes.len() > WAITING_BYTES_MAX {
            let lost = self.batch.give_up_entries();
            tracing::warn!(streams = lost, "a shard does not keep up, its clients are resynced");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fanout::{Item, Lost};
    use model::{Epoch, Sequence, StreamId};

    #[test]
    fn a_lane_takes_so_many_bytes_and_goes_on_when_they_are_taken() {
        let poll = mio::Poll::new().unwrap();
        let waker = ShardWaker::new(mio::Waker::new(poll.registry(), mio::Token(0)).unwrap());
        let (mut engine, shard) = lane(waker);
        let fill = |lane: &mut ShardLane, bytes: usize| {
            let lost = Lost { stream: StreamId(1), epoch: Epoch(1), seq: Sequence(1), count: 1 };
            lane.batch.items.push(Item::Lost(lost));
            lane.batch.bytes.resize(lane.batch.bytes.len() + bytes, 0);
            lane.post(Nanos(0), Nanos(0));
        };
        const QUARTER: usize = LANE_BYTES_MAX / 4;
        (0..6).for_each(|_| fill(&mut engine, QUARTER));
        assert_eq!((shard.batches.len(), engine.full), (4, 2), "two wait as one");
        assert!(engine.is_pressed());
        shard.done(shard.batches.recv().unwrap());
        fill(&mut engine, 0);
        assert_eq!(
            (shard.batches.len(), engine.full),
            (3, 3),
            "two quarters do not fit into the room of one"
        );
        shard.done(shard.batches.recv().unwrap());
        fill(&mut engine, 0);
        assert_eq!((shard.batches.len(), engine.full), (3, 3));
        (0..3).for_each(|_| shard.done(shard.batches.recv().unwrap()));
        assert!(!engine.is_pressed());
    }
}
