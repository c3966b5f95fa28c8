//! What a shard counts: plain numbers that the shell publishes.
//!
//! Every number is kept up to date where its cause is, so that reading them costs the same with one client and with ten thousand.
//! [`Standing`] is the part that could be counted anew from clients and streams, and is now and then, to see that both agree.

use model::{Channel, Policy};
use wire::close::CloseCode;
use wire::reply::NoticeCode;
use wire::request::{Malformed, RequestErrorKind};

use crate::grant::Denied;
use crate::histogram::{Histogram, LagAge, LagEntries, LatencyHistogram, WriteMessages};

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
    /// Between the places of clients and the heads at this moment.
    pub pending: u64,
    /// Subscriptions at this moment by policy, in the order of [`Policy::ALL`].
    pub subscriptions: [u64; Policy::ALL.len()],
}

impl ChannelStats {
    fn add(&mut self, other: &Self) {
        self.fanned_out += other.fanned_out;
        self.written += other.written;
        self.merged += other.merged;
        self.dropped += other.dropped;
        self.discarded += other.discarded;
        self.pending += other.pending;
        add_all(&mut self.subscriptions, &other.subscriptions);
    }

    /// Fanned out less everything that became of it; 0 unless there is a mistake of ours.
    #[must_use]
    pub const fn imbalance(&self) -> i64 {
        self.fanned_out
            .wrapping_sub(self.written + self.merged + self.dropped + self.discarded + self.pending)
            as i64
    }
}

/// What stands at this moment, and could be counted by looking at every client.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Open connections.
    pub clients: u64,
    /// Of them, those that are lagging.
    pub lagging: u64,
    /// Deliveries not made yet, by channel.
    pub pending: [u64; Channel::ALL.len()],
    /// Subscriptions by channel and policy.
    pub subscriptions: [[u64; Policy::ALL.len()]; Channel::ALL.len()],
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
    /// Open connections by tier, in the order in which the hub was given its tiers.
    pub tiers: Vec<u64>,
    /// Connections that ended without a close frame of ours.
    pub broken: u64,
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
    /// Subscriptions refused because a connection has enough of them.
    pub subscriptions_refused: u64,
    /// Subscriptions refused because memory is short.
    pub tight_refused: u64,
    /// Policies refused because the operator does not allow them.
    pub policies_refused: u64,
    /// Subscriptions refused because the grant does not cover them, by [`Denied::NAMES`].
    pub denied: [u64; Denied::NAMES.len()],
    /// Subscriptions that ended because the grant no longer covers them.
    pub subscriptions_revoked: u64,
    /// Requests refused because their subject asks too often.
    pub requests_over_rate: u64,
    /// Connections closed because their answers were not read.
    pub floods: u64,
    /// Connections closed because they sent too many messages.
    pub message_floods: u64,
    /// Requests not read because there were too many of them.
    pub requests_limited: u64,
    /// Requests that named too many symbols, were nested too deep, or had too many keys.
    pub request_limits: [u64; 3],
    /// Connections closed because they had no subscription for too long.
    pub idle_closed: u64,
    /// Clients that came back and were brought on from where they stood, and those that were not.
    pub resumed: [u64; 2],
    /// Notices encoded, in the order of [`NoticeCode::ALL`].
    pub notices: [u64; NoticeCode::ALL.len()],
    /// Heartbeats written.
    pub heartbeats: u64,
    /// Merged messages that had to be encoded.
    pub merges_encoded: u64,
    /// Merged messages that were shared with another client.
    pub merges_shared: u64,
    /// Bytes of the entries in all rings, and how many there may be.
    pub ring_bytes: u64,
    /// See [`crate::Limits::ring_bytes_total`].
    pub ring_bytes_max: u64,
    /// Bytes of the frame log in use, and its size.
    pub log_bytes: u64,
    /// See [`crate::Limits::log_bytes`].
    pub log_bytes_max: u64,
    /// Streams of which entries were lost on the way from the engine.
    pub streams_lost: u64,
    /// Times that the shard was overrun, see [`crate::Hub::is_overrun`].
    pub overruns: u64,
    /// Times that everything was counted anew, to see whether it adds up.
    pub audits: u64,
    /// Times that something was found not to add up: each is a mistake of ours.
    pub conservation_breaches: u64,
    /// Closes by code, in the order of `CloseCode::ALL`.
    pub closes: [u64; CloseCode::ALL.len()],
    /// Age of the oldest unsent entry of each lagging client, taken twice a second.
    pub lag_age: Histogram<LagAge>,
    /// Unsent entries of each lagging client, taken twice a second.
    pub lag_entries: Histogram<LagEntries>,
    /// Deliveries carried by each write that carried any.
    pub write_messages: Histogram<WriteMessages>,
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
        self.tiers.resize(self.tiers.len().max(other.tiers.len()), 0);
        add_all(&mut self.tiers, &other.tiers);
        add_all(&mut self.closes, &other.closes);
        add_all(&mut self.notices, &other.notices);
        add_all(&mut self.resumed, &other.resumed);
        add_all(&mut self.denied, &other.denied);
        add_all(&mut self.request_limits, &other.request_limits);
        for (mine, theirs) in self.sums().into_iter().zip(other.clone().sums()) {
            *mine += *theirs;
        }
        self.lag_age.add(&other.lag_age);
        self.lag_entries.add(&other.lag_entries);
        self.write_messages.add(&other.write_messages);
        self.publish_to_written.add(&other.publish_to_written);
        self.event_to_written.add(&other.event_to_written);
    }

    /// The single numbers, of which those of all shards are added up.
    const fn sums(&mut self) -> [&mut u64; 29] {
        [
            &mut self.clients,
            &mut self.lagging,
            &mut self.broken,
            &mut self.entries,
            &mut self.writes,
            &mut self.bytes_written,
            &mut self.writes_blocked,
            &mut self.requests,
            &mut self.requests_refused,
            &mut self.subscriptions_refused,
            &mut self.policies_refused,
            &mut self.subscriptions_revoked,
            &mut self.requests_over_rate,
            &mut self.tight_refused,
            &mut self.floods,
            &mut self.message_floods,
            &mut self.requests_limited,
            &mut self.idle_closed,
            &mut self.heartbeats,
            &mut self.merges_encoded,
            &mut self.merges_shared,
            &mut self.ring_bytes,
            &mut self.ring_bytes_max,
            &mut self.log_bytes,
            &mut self.log_bytes_max,
            &mut self.streams_lost,
            &mut self.overruns,
            &mut self.audits,
            &mut self.conservation_breaches,
        ]
    }

    /// Counts a request that is none, if it is for one of the limits.
    pub(crate) const fn count_request_limit(&mut self, kind: &RequestErrorKind) {
        let RequestErrorKind::Malformed(malformed) = kind else { return };
        let index = match malformed {
            Malformed::TooManySymbols(..) => 0,
            Malformed::TooDeep(_) => 1,
            Malformed::TooManyKeys(..) => 2,
            _ => return,
        };
        self.request_limits[index] += 1;
    }

    /// What stands at this moment, as it was kept up to date.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            clients: self.clients,
            lagging: self.lagging,
            pending: self.channels.map(|channel| channel.pending),
            subscriptions: self.channels.map(|channel| channel.subscriptions),
        }
    }

    /// What a client was given was handed to a socket, or will stand behind a cursor; says how many entries.
    pub(crate) fn write_given(&mut self, given: &mut [u32; Channel::ALL.len()]) -> u64 {
        let mut messages = 0;
        for (channel, count) in self.channels.iter_mut().zip(given) {
            let count = u64::from(std::mem::take(count));
            channel.written += count;
            channel.pending -= count;
            messages += count;
        }
        messages
    }

    /// The counts of a channel.
    pub(crate) const fn channel(&mut self, channel: Channel) -> &mut ChannelStats {
        &mut self.channels[channel as usize]
    }
}

fn add_all(mine: &mut [u64], theirs: &[u64]) {
    for (mine, theirs) in mine.iter_mut().zip(theirs) {
        *mine += theirs;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_in_every_number() {
        let mut one = HubStats { tiers: vec![1, 2], ..HubStats::default() };
        one.sums().into_iter().enumerate().for_each(|(index, sum)| *sum = index as u64 + 1);
        (one.closes, one.notices, one.resumed, one.denied) = ([3; _], [4; _], [5; _], [6; _]);
        one.request_limits = [6; _];
        one.channels[1].pending = 7;
        one.channels[2].subscriptions = [8; _];
        one.lag_entries.observe(9);
        let mut sum = HubStats::default();
        sum.add(&one);
        assert_eq!(sum, one, "nothing is left out");
        sum.add(&one);
        assert_eq!((sum.clients, sum.conservation_breaches), (2, 58));
        assert_eq!((sum.closes[0], sum.notices[0], sum.resumed[1], sum.tiers[1]), (6, 8, 10, 4));
        assert_eq!((sum.channels[1].pending, sum.channels[2].subscriptions[0]), (14, 16));
        assert_eq!((sum.lag_entries.count(), sum.denied[2]), (2, 12));
    }

    #[test]
    fn channels_are_indexed_in_their_order() {
        for (index, channel) in Channel::ALL.into_iter().enumerate() {
            assert_eq!(channel as usize, index);
        }
    }
}
