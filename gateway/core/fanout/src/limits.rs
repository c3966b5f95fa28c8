//! Every bound of the delivery, and how they depend on each other.

use model::Nanos;
use wire::request::RequestLimits;

use crate::bucket::Allowance;

/// Bounds of one shard. Sizes are per shard unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the shard's frame log. Default 16 MiB, all of it taken at the start. A client that falls further behind than this is
    /// lagging; more memory buys nothing else.
    pub log_bytes: usize,
    /// Entries that a stream keeps for clients that lag. Default 512. A stream that changes 100 times a second then
    /// reaches back five seconds; each entry of a book costs about 100 bytes.
    pub ring_entries: usize,
    /// Bytes of the entries that a stream keeps. Default 4 MiB, which only entries of thousands of levels reach.
    pub ring_bytes: usize,
    /// Bytes of the entries that all rings together keep. Default 256 MiB. Above it every new entry pushes out two of its own
    /// stream, down to [`Self::RING_ENTRIES_MIN`].
    pub ring_bytes_total: usize,
    /// Longest list of log ranges of one client before it is lagging. Default 1,024, which 16 KiB hold: at the highest load that a shard
    /// keeps up with it lasts for about as long as the log, so that a moment without the processor is caught up with by larger writes
    /// and not by leaving out updates.
    pub ranges_max: usize,
    /// So many clients, and an eighth of all, that begin to lag because their turn did not come are an overrun of the shard: from then
    /// on all are brought on in rounds. Default 16.
    pub overrun_clients: usize,
    /// Most bytes joined for one write. Default 256 KiB.
    pub write_bytes_max: usize,
    /// A client that has a frame or a backlog of so many bytes to be written waits apart: one such write is done between two rounds
    /// of others, so that nobody waits behind a crowd of snapshots. Default 16 KiB.
    pub bulky_bytes: usize,
    /// Snapshots of [`Self::DEEP_LEVELS`] levels and more that a shard asks for at once. Default 4. Each costs the engine about a
    /// tenth of a millisecond and the log 35 kB and more: all at once they would push everybody's updates out of it.
    pub deep_asks_max: usize,
    /// Snapshots that a client is given at once when it has to be synced again. Default 16; more than its socket takes would only
    /// be asked for twice.
    pub resyncs_max: usize,
    /// Most bytes of answers to a client's own requests that wait for its socket. Default 256 KiB; beyond it the client
    /// is closed with 1008, because it asks without reading, or for more than can be answered in a turn.
    pub control_bytes_max: usize,
    /// Subscriptions of one connection. Default 4,000.
    pub subscriptions_max: usize,
    /// How long a client may refuse bytes before it is closed with 4008. Default 30 s.
    pub stall_max: Nanos,
    /// Silence after which a subscribed client gets a heartbeat. Default 1 s.
    pub heartbeat: Nanos,
    /// How long a stream without subscribers is still published to this shard, for who comes back. Default 60 s.
    pub linger: Nanos,
    /// How long a client has to take its close frame and to answer it. Default 2 s.
    pub close_grace: Nanos,
    /// When the gateway ends, its clients are told to come back after up to this long, each after another delay, so that they do not
    /// come all at once; 0 tells nothing. Default 0.
    pub reconnect_max: Nanos,
    /// Messages that a client may send, pings and pongs too; beyond it the client is closed with 1008. Default no limit.
    pub messages: Allowance,
    /// Requests that a client may make. Beyond it they are answered with an error, and who owes as many as a burst is closed with
    /// 1008. Default no limit.
    pub requests: Allowance,
    /// How long a client may be connected without a subscription and a message before it is closed with 1008; 0 is for ever.
    /// Default 0.
    pub idle_max: Nanos,
    /// What a single request may be.
    pub request: RequestLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            log_bytes: 16 << 20,
            ring_entries: 512,
            ring_bytes: 4 << 20,
            ring_bytes_total: 256 << 20,
            ranges_max: 1_024,
            overrun_clients: 16,
            write_bytes_max: 256 << 10,
            bulky_bytes: 16 << 10,
            deep_asks_max: 4,
            resyncs_max: 16,
            control_bytes_max: 256 << 10,
            subscriptions_max: 4_000,
            stall_max: Nanos::from_secs(30),
            heartbeat: Nanos::SECOND,
            linger: Nanos::from_secs(60),
            close_grace: Nanos::from_secs(2),
            reconnect_max: Nanos(0),
            messages: Allowance::default(),
            requests: Allowance::default(),
            idle_max: Nanos(0),
            request: RequestLimits::default(),
        }
    }
}

impl Limits {
    /// Entries that a stream keeps even when all rings together are over their budget.
    pub const RING_ENTRIES_MIN: usize = 16;

    /// Depth from which on a snapshot is deep.
    pub const DEEP_LEVELS: u16 = 500;

    /// What is wrong with these limits together; empty when they fit.
    #[must_use]
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, text: &str| {
            if !holds {
                problems.push(text.to_owned());
            }
        };
        // A snapshot of all instruments is the largest frame; it must fit several times or it overwrites itself.
        require(self.log_bytes >= 1 << 20, "log_bytes must be at least 1048576");
        require(
            self.write_bytes_max <= self.log_bytes / 4,
            "write_bytes_max must be at most a quarter of log_bytes",
        );
        require(self.write_bytes_max >= 4_096, "write_bytes_max must be at least 4096");
        require(self.ring_entries >= 2, "ring_entries must be at least 2");
        require(self.ring_bytes_total >= self.ring_bytes, "ring_bytes_total must be at least ring_bytes");
        require(self.ring_bytes >= 65_536, "ring_bytes must be at least 65536");
        require(self.ranges_max >= 2, "ranges_max must be at least 2");
        require(self.overrun_clients >= 1, "overrun_clients must be at least 1");
        require(self.bulky_bytes >= 1, "bulky_bytes must be at least 1");
        require(self.deep_asks_max >= 1, "deep_asks_max must be at least 1");
        require(self.resyncs_max >= 1, "resyncs_max must be at least 1");
        require(self.control_bytes_max >= 16_384, "control_bytes_max must be at least 16384");
        require(self.subscriptions_max >= 1, "subscriptions_max must be at least 1");
        require(self.heartbeat >= Nanos::from_millis(10), "heartbeat must be at least 10 ms");
        require(self.stall_max >= self.heartbeat, "stall must be at least the heartbeat");
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fit_together_and_all_problems_come_at_once() {
        assert_eq!(Limits::default().problems(), Vec::<String>::new());
        let broken = Limits { ring_entries: 0, ranges_max: 0, log_bytes: 10, ..Limits::default() };
        assert_eq!(broken.problems().len(), 4);
    }
}
