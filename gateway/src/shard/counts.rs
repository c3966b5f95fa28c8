//! What a shard counts beside its hub, and the sum over shards.

use fanout::HubStats;
use wire::ws::Violation;

use crate::busy::LoopStats;

/// Counts of one shard, or of all.
#[derive(Clone, Debug, Default)]
pub struct ShardStats {
    /// What the hub counted.
    pub hub: HubStats,
    /// How busy the thread is.
    pub turns: LoopStats,
    /// Bytes that clients sent.
    pub read_bytes: u64,
    /// Messages beyond `inbound.message_bytes_max`.
    pub messages_too_big: u64,
    /// Messages of more than `inbound.fragments_max` fragments.
    pub fragments_too_many: u64,
    /// Messages begun and not finished within `inbound.message_ms`.
    pub messages_overdue: u64,
    /// Batches that wait in the lane from the engine; of several shards the most.
    pub lane_waiting: u64,
    /// Bytes of frames in them; of several shards the most.
    pub lane_bytes: u64,
}

impl ShardStats {
    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Self) {
        self.hub.add(&other.hub);
        self.turns.add(&other.turns);
        self.read_bytes += other.read_bytes;
        self.messages_too_big += other.messages_too_big;
        self.fragments_too_many += other.fragments_too_many;
        self.messages_overdue += other.messages_overdue;
        self.lane_waiting = self.lane_waiting.max(other.lane_waiting);
        self.lane_bytes = self.lane_bytes.max(other.lane_bytes);
    }

    /// Counts a violation if it is one of a limit.
    pub(super) const fn count_violation(&mut self, violation: &Violation) {
        match violation {
            Violation::MessageTooBig { .. } => self.messages_too_big += 1,
            Violation::TooManyFragments { .. } => self.fragments_too_many += 1,
            _ => {}
        }
    }
}
