//! How a subscription is served: what the client asked for, inside what the operator allows.

use model::{Channel, Nanos, Policy};
use wire::reply::Terms;
use wire::request::Delivery;

use crate::grant::Coverage;

/// What the operator allows on one channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelBounds {
    /// Policy of a subscription that names none.
    pub policy: Policy,
    /// Policies that may be chosen.
    pub policies: Vec<Policy>,
    /// Shortest interval between updates, in milliseconds; a client that asks for less gets this.
    pub interval_ms_min: u32,
    /// Longest interval between updates, in milliseconds.
    pub interval_ms_max: u32,
    /// Longest lag that `disconnect` may tolerate, in milliseconds; also its default.
    pub max_lag_ms: u32,
    /// Most entries of lag that `disconnect` may tolerate; also its default.
    pub max_lag_entries: u32,
}

impl ChannelBounds {
    /// Everything that makes sense for a channel.
    #[must_use]
    pub fn open(channel: Channel) -> Self {
        Self {
            policy: Policy::default_of(channel),
            policies: Policy::ALL.into_iter().filter(|policy| policy.fits(channel)).collect(),
            interval_ms_min: 0,
            interval_ms_max: 60_000,
            max_lag_ms: 30_000,
            max_lag_entries: 1_000,
        }
    }
}

/// What the operator allows a tier of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TierBounds {
    /// What the tier is called.
    pub name: Box<str>,
    /// By channel, in the order of [`Channel::ALL`].
    pub channels: Vec<ChannelBounds>,
    /// Most bytes per second of a connection; 0 is no limit. A client may ask for less.
    pub bytes_per_s_max: u64,
    /// What its clients may have.
    pub coverage: Coverage,
}

impl Default for TierBounds {
    fn default() -> Self {
        Self {
            name: "default".into(),
            channels: Channel::ALL.into_iter().map(ChannelBounds::open).collect(),
            bytes_per_s_max: 0,
            coverage: Coverage::default(),
        }
    }
}

impl TierBounds {
    fn channel(&self, channel: Channel) -> &ChannelBounds {
        &self.channels[channel as usize]
    }

    /// The terms of a new subscription.
    ///
    /// # Errors
    /// The policies that may be chosen, when the one asked for may not.
    pub(crate) fn grant(&self, channel: Channel, asked: &Delivery) -> Result<Terms, String> {
        let bounds = self.channel(channel);
        let start = Terms {
            policy: bounds.policy,
            interval_ms: bounds.interval_ms_min,
            max_lag_ms: bounds.max_lag_ms,
            max_lag_entries: bounds.max_lag_entries,
        };
        self.change(channel, &start, asked)
    }

    /// Terms that were granted by another tier, inside the bounds of this one; a policy that may not be chosen becomes the default.
    pub(crate) fn bound(&self, channel: Channel, terms: &Terms) -> Terms {
        let bounds = self.channel(channel);
        Terms {
            policy: if bounds.policies.contains(&terms.policy) { terms.policy } else { bounds.policy },
            interval_ms: terms.interval_ms.clamp(bounds.interval_ms_min, bounds.interval_ms_max),
            max_lag_ms: terms.max_lag_ms.min(bounds.max_lag_ms),
            max_lag_entries: terms.max_lag_entries.min(bounds.max_lag_entries),
        }
    }

    /// Terms after a change; what is out of bounds is brought to the nearest that is allowed, and echoed.
    ///
    /// # Errors
    /// As [`Self::grant`].
    pub(crate) fn change(&self, channel: Channel, terms: &Terms, asked: &Delivery) -> Result<Terms, String> {
        let bounds = self.channel(channel);
        let policy = asked.policy.unwrap_or(terms.policy);
        if !bounds.policies.contains(&policy) {
            let names: Vec<&str> = bounds.policies.iter().map(|one| one.name()).collect();
            return Err(names.join(", "));
        }
        let up_to = |asked: Option<u64>, now: u32, max: u32| match asked {
            None => now,
            // 0 asks for no limit of its own.
            Some(0) => max,
            Some(asked) => clamped(asked).min(max),
        };
        Ok(Terms {
            policy,
            interval_ms: asked
                .interval_ms
                .map_or(terms.interval_ms, clamped)
                .clamp(bounds.interval_ms_min, bounds.interval_ms_max),
            max_lag_ms: up_to(asked.max_lag_ms, terms.max_lag_ms, bounds.max_lag_ms),
            max_lag_entries: up_to(asked.max_lag_entries, terms.max_lag_entries, bounds.max_lag_entries),
        })
    }
}

/// A number of a client, as far as it fits: what is beyond is brought inside the bounds anyway.
fn clamped(asked: u64) -> u32 {
    u32::try_from(asked).unwrap_or(u32::MAX)
}

/// The bandwidth of one connection: credit that grows with time and is spent by writes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) bytes_per_s: u64,
    /// What the client asked for; 0 is nothing.
    pub(crate) asked: u64,
    /// Bytes that may be written; below 0 after a frame larger than the credit.
    credit: i64,
    /// When the credit was last brought up to date (monotonic).
    at: Nanos,
    /// When the client is woken next (monotonic): one timer is enough.
    pub(crate) wake: Nanos,
}

impl Rate {
    /// Longest time for which credit is saved up: longer would let a burst through.
    const SAVED: Nanos = Nanos::from_millis(100);

    /// How far ahead a client is woken: small enough to be smooth, large enough to fill a write.
    const PAUSE: Nanos = Nanos::from_millis(20);

    pub(crate) const fn new(bytes_per_s: u64, asked: u64, now: Nanos) -> Self {
        Self { bytes_per_s, asked, credit: 0, at: now, wake: Nanos(0) }
    }

    /// Bytes that may be written now; none or less means to wait.
    pub(crate) fn credit(&mut self, now: Nanos) -> i64 {
        let earned = u128::from(now.since(self.at).0) * u128::from(self.bytes_per_s) / 1_000_000_000;
        let saved = u128::from(Self::SAVED.0) * u128::from(self.bytes_per_s) / 1_000_000_000;
        if earned > 0 {
            // Time is used up only as far as it earned whole bytes: nothing is lost by asking often.
            let used = earned * 1_000_000_000 / u128::from(self.bytes_per_s.max(1));
            self.at = self.at + Nanos(used as u64);
            self.credit = self.credit.saturating_add(earned as i64).min((saved as i64).max(1));
        }
        self.credit
    }

    pub(crate) const fn spend(&mut self, bytes: usize) {
        self.credit = self.credit.saturating_sub(bytes as i64);
    }

    /// When there will be credit for a write.
    pub(crate) fn next(&self, now: Nanos) -> Nanos {
        let missing = u64::try_from(-self.credit.min(0)).unwrap_or(0);
        let wait = u128::from(missing) * 1_000_000_000 / u128::from(self.bytes_per_s.max(1));
        now + Nanos(u64::try_from(wait).unwrap_or(u64::MAX)) + Self::PAUSE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_out_of_bounds_is_brought_inside_and_a_policy_is_refused() {
        let mut tier = TierBounds::default();
        tier.channels[Channel::Book as usize].interval_ms_min = 50;
        let asked = Delivery { interval_ms: Some(10), max_lag_ms: Some(99_999_999), ..Delivery::default() };
        let terms = tier.grant(Channel::Book, &asked).unwrap();
        assert_eq!((terms.policy, terms.interval_ms, terms.max_lag_ms), (Policy::Conflate, 50, 30_000));
        let asked = Delivery { policy: Some(Policy::Conflate), ..Delivery::default() };
        assert_eq!(tier.grant(Channel::Trade, &asked), Err("drop_oldest, drop_newest, disconnect".into()));
    }

    #[test]
    fn bandwidth_is_exact_over_time() {
        for bytes_per_s in [1_000, 64_000, 10_000_000] {
            let mut rate = Rate::new(bytes_per_s, 0, Nanos(0));
            let (mut now, mut written) = (Nanos(0), 0);
            while now < Nanos::from_secs(10) {
                let credit = rate.credit(now);
                if credit > 0 {
                    // Frames are whole: each write goes over its credit.
                    let bytes = credit as usize + 150;
                    rate.spend(bytes);
                    written += bytes;
                }
                now = rate.next(now);
            }
            let expected = 10.0 * bytes_per_s as f64;
            assert!((written as f64 / expected - 1.0).abs() < 0.05, "{written} at {bytes_per_s}");
        }
    }
}
