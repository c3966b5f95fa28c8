//! A token bucket of eight octets, for whatever strangers may do only so often.
//!
//! Owns nothing but the moment at which it will be full again; the allowance and the time come in as arguments, so that ten
//! thousand connections cost ten thousand numbers and no timer.

use model::Nanos;

/// How often something may be done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Tokens that come per second; 0 is no limit.
    pub per_s: u32,
    /// Tokens that a full bucket holds; at least 1.
    pub burst: u32,
}

impl Allowance {
    /// Time after which a token has come.
    const fn interval(&self) -> u64 {
        Nanos::SECOND.0 / self.per_s as u64
    }
}

/// A bucket; full when it is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bucket {
    /// When it will be full (monotonic); each token taken puts it off by the time that a token takes to come.
    full_at: Nanos,
}

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub const fn new(now: Nanos) -> Self {
        Self { full_at: now }
    }

    /// Takes a token if there is one.
    pub fn try_take(&mut self, allowance: Allowance, now: Nanos) -> bool {
        let before = *self;
        let has = self.take(allowance, now) == 0;
        if !has {
            *self = before;
        }
        has
    }

    /// Takes a token whether there is one or not; how many are owed since, at most `u32::MAX`.
    pub fn take(&mut self, allowance: Allowance, now: Nanos) -> u32 {
        let full_at = self.full_at.max(now);
        if allowance.per_s == 0 {
            // Kept up to date all the same: it says when it was last used.
            self.full_at = now;
            return 0;
        }
        let interval = allowance.interval();
        self.full_at = full_at + Nanos(interval);
        let missing = self.full_at.since(now).0.div_ceil(interval);
        u32::try_from(missing.saturating_sub(allowance.burst.into())).unwrap_or(u32::MAX)
    }

    /// When it is or was full: not before it was last used.
    #[must_use]
    pub const fn full_at(&self) -> Nanos {
        self.full_at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Allowance = Allowance { per_s: 10, burst: 5 };

    #[test]
    fn a_burst_passes_then_one_per_interval() {
        let mut bucket = Bucket::new(Nanos::SECOND);
        let now = Nanos::from_secs(7);
        assert_eq!((0..8).filter(|_| bucket.try_take(TEN, now)).count(), 5);
        assert!(!bucket.try_take(TEN, now + Nanos::from_millis(99)));
        assert!(bucket.try_take(TEN, now + Nanos::from_millis(100)));
        assert!(!bucket.try_take(TEN, now + Nanos::from_millis(100)));
        let mut taken = 0;
        for millis in 100..10_100 {
            taken += u32::from(bucket.try_take(TEN, now + Nanos::from_millis(millis)));
        }
        assert_eq!(taken, 99, "ten seconds of ten a second, the first of which was taken");
    }

    #[test]
    fn what_is_taken_without_tokens_is_owed_until_they_come() {
        let mut bucket = Bucket::default();
        let owed: Vec<u32> = (0..8).map(|_| bucket.take(TEN, Nanos::SECOND)).collect();
        assert_eq!(owed, [0, 0, 0, 0, 0, 1, 2, 3]);
        assert_eq!(bucket.take(TEN, Nanos::from_millis(1_300)), 1);
        assert_eq!(bucket.take(TEN, Nanos::from_millis(1_900)), 0);
        assert_eq!(bucket.full_at(), Nanos::from_secs(2));
    }

    #[test]
    fn without_a_limit_everything_passes_and_the_last_use_is_known() {
        let mut bucket = Bucket::default();
        let none = Allowance::default();
        assert!((0..1_000).all(|n| bucket.take(none, Nanos(n)) == 0));
        assert_eq!(bucket.full_at(), Nanos(999));
    }
}
