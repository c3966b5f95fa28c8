//! What a shard counts: plain numbers that the shell publishes.

use model::{Channel, Nanos};

/// Upper bounds of the latency buckets in nanoseconds: 1-2-5 from 5 µs to 10 s.
pub const LATENCY_BOUNDS_NS: [u64; 20] = [
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// A histogram over [`LATENCY_BOUNDS_NS`]; the last bucket has no upper bound.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LatencyHistogram {
    /// Observations per bucket, not cumulated.
    pub counts: [u64; LATENCY_BOUNDS_NS.len() + 1],
    /// Sum of all observations.
    pub sum_ns: u64,
}

impl LatencyHistogram {
    /// Counts one observation.
    pub fn observe(&mut self, latency: Nanos) {
        let bucket = LATENCY_BOUNDS_NS.partition_point(|&bound| bound < latency.0);
        self.counts[bucket] += 1;
        self.sum_ns = self.sum_ns.saturating_add(latency.0);
    }

    /// Adds another shard's observations.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum_ns = self.sum_ns.saturating_add(other.sum_ns);
    }
}

/// Deliveries of one channel: entries times subscribers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelStats {
    /// Entries times their subscribers at that moment.
    pub fanned_out: u64,
    /// Handed to a socket, one by one or as the head of a merge.
    pub written: u64,
    /// Folded into a later message.
    pub merged: u64,
    /// Lost to a client that was told.
    pub dropped: u64,
    /// Not written when the subscription or the connection ended.
    pub discarded: u64,
    /// Between the cursors and the heads at this moment.
    pub pending: u64,
    /// Subscriptions at this moment.
    pub subscriptions: u64,
}

impl ChannelStats {
    fn add(&mut self, other: &Self) {
        self.fanned_out += other.fanned_out;
        self.written += other.written;
        self.merged += other.merged;
        self.dropped += other.dropped;
        self.discarded += other.discarded;
        self.pending += other.pending;
        self.subscriptions += other.subscriptions;
    }

    /// Fanned out less everything that became of it; 0 unless there is a mistake of ours.
    #[must_use]
    pub const fn imbalance(&self) -> i64 {
        self.fanned_out
            .wrapping_sub(self.written + self.merged + self.dropped + self.discarded + self.pending)
            as i64
    }
}

/// Counts of one shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HubStats {
    /// Per channel, in the order of [`Channel::ALL`].
    pub channels: [ChannelStats; Channel::ALL.len()],
    /// Open connections.
    pub clients: u64,
    /// Of them, those that are lagging.
    pub lagging: u64,
    /// Entries received from the engine.
    pub entries: u64,
    /// Writes to sockets.
    pub writes: u64,
    /// Bytes that sockets took.
    pub bytes_written: u64,
    /// Writes that a socket did not take whole.
    pub writes_blocked: u64,
    /// Messages from clients.
    pub requests: u64,
    /// Of them, those that were answered with an error.
    pub requests_refused: u64,
    /// Heartbeats written.
    pub heartbeats: u64,
    /// Merged messages that had to be encoded.
    pub merges_encoded: u64,
    /// Merged messages that were shared with another client.
    pub merges_shared: u64,
    /// Times that the counts of a channel were found not to add up: each is a mistake of ours.
    pub conservation_breaches: u64,
    /// Closes by code, in the order of `CloseCode::ALL`.
    pub closes: [u64; wire::close::CloseCode::ALL.len()],
    /// From the engine's post to the write; the oldest entry of each write.
    pub publish_to_written: LatencyHistogram,
    /// From the venue's event time to the write; the oldest entry of each write.
    pub event_to_written: LatencyHistogram,
}

impl HubStats {
    /// Adds another shard's counts.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.channels.iter_mut().zip(&other.channels) {
            mine.add(theirs);
        }
        for (mine, theirs) in self.closes.iter_mut().zip(other.closes) {
            *mine += theirs;
        }
        self.clients += other.clients;
        self.lagging += other.lagging;
        self.entries += other.entries;
        self.writes += other.writes;
        self.bytes_written += other.bytes_written;
        self.writes_blocked += other.writes_blocked;
        self.requests += other.requests;
        self.requests_refused += other.requests_refused;
        self.heartbeats += other.heartbeats;
        self.merges_encoded += other.merges_encoded;
        self.merges_shared += other.merges_shared;
        self.conservation_breaches += other.conservation_breaches;
        self.publish_to_written.add(&other.publish_to_written);
        self.event_to_written.add(&other.event_to_written);
    }

    /// The counts of a channel.
    pub(crate) const fn channel(&mut self, channel: Channel) -> &mut ChannelStats {
        &mut self.channels[channel as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = LatencyHistogram::default();
        for ns in [0, 5_000, 5_001, 10_000_000_000, 10_000_000_001] {
            histogram.observe(Nanos(ns));
        }
        assert_eq!((histogram.counts[0], histogram.counts[1]), (2, 1));
        assert_eq!((histogram.counts[19], histogram.counts[20]), (1, 1));
    }

    #[test]
    fn channels_are_indexed_in_their_order() {
        for (index, channel) in Channel::ALL.into_iter().enumerate() {
            assert_eq!(channel as usize, index);
        }
    }
}
