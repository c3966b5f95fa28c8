//! Histograms of a few kinds, each with the bounds that its quantity needs.
//!
//! Counts observations and their sum; never names a metric. An observation is one search among two dozen bounds and two additions.

use std::marker::PhantomData;

/// A quantity that is counted in buckets.
pub trait Quantity {
    /// Upper bounds of the buckets, ascending; at most twenty.
    const BOUNDS: &'static [u64];
    /// How many of the quantity make one of the unit that is published: nanoseconds a second, or 1.
    const PER_UNIT: f64;
}

/// Most bounds of a histogram.
pub(crate) const BOUNDS_MAX: usize = 20;

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000 * MICRO;
const SECOND: u64 = 1_000 * MILLI;

/// Latency of a stage or a turn: 1-2-5 from 5 µs to 10 s.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Latency;

impl Quantity for Latency {
    const BOUNDS: &'static [u64] = &[
        5 * MICRO,
        10 * MICRO,
        20 * MICRO,
        50 * MICRO,
        100 * MICRO,
        200 * MICRO,
        500 * MICRO,
        MILLI,
        2 * MILLI,
        5 * MILLI,
        10 * MILLI,
        20 * MILLI,
        50 * MILLI,
        100 * MILLI,
        200 * MILLI,
        500 * MILLI,
        SECOND,
        2 * SECOND,
        5 * SECOND,
        10 * SECOND,
    ];
    const PER_UNIT: f64 = 1e9;
}

/// Age of the oldest entry that a lagging client lacks: from what a healthy line catches up at once to far beyond
/// [`crate::Limits::stall_max`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagAge;

impl Quantity for LagAge {
    const BOUNDS: &'static [u64] = &[
        10 * MILLI,
        20 * MILLI,
        50 * MILLI,
        100 * MILLI,
        200 * MILLI,
        500 * MILLI,
        SECOND,
        2 * SECOND,
        5 * SECOND,
        10 * SECOND,
        20 * SECOND,
        30 * SECOND,
        60 * SECOND,
        120 * SECOND,
        300 * SECOND,
    ];
    const PER_UNIT: f64 = 1e9;
}

/// Entries that a lagging client lacks, in powers of four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LagEntries;

impl Quantity for LagEntries {
    const BOUNDS: &'static [u64] =
        &[1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304];
    const PER_UNIT: f64 = 1.0;
}

/// Deliveries that one write carries, in powers of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteMessages;

impl Quantity for WriteMessages {
    const BOUNDS: &'static [u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];
    const PER_UNIT: f64 = 1.0;
}

/// Latencies, by far the most used.
pub type LatencyHistogram = Histogram<Latency>;

/// Observations of one quantity in buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram<Q> {
    /// Observations per bucket, not cumulated; the one behind the last bound has none.
    counts: [u64; BOUNDS_MAX + 1],
    sum: u64,
    quantity: PhantomData<Q>,
}

impl<Q> Default for Histogram<Q> {
    fn default() -> Self {
        Self { counts: [0; _], sum: 0, quantity: PhantomData }
    }
}

impl<Q: Quantity> Histogram<Q> {
    /// Counts one observation.
    pub fn observe(&mut self, value: u64) {
        if cfg!(feature = "unmeasured") {
            return;
        }
        const { assert!(Q::BOUNDS.len() <= BOUNDS_MAX) };
        let bucket = Q::BOUNDS.partition_point(|&bound| bound < value);
        self.counts[bucket] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Adds the observations of another histogram.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.counts.iter_mut().zip(other.counts) {
            *mine += theirs;
        }
        self.sum = self.sum.saturating_add(other.sum);
    }

    /// Observations per bucket with its upper bound, not cumulated; those beyond the last bound are left out.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> {
        Q::BOUNDS.iter().copied().zip(self.counts)
    }

    /// All observations.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of all observations.
    #[must_use]
    pub const fn sum(&self) -> u64 {
        self.sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_that_holds_it() {
        let mut histogram = LatencyHistogram::default();
        for ns in [0, 5_000, 5_001, 10_000_000_000, 10_000_000_001] {
            histogram.observe(ns);
        }
        let filled: Vec<(u64, u64)> = histogram.buckets().filter(|&(_, count)| count > 0).collect();
        assert_eq!(filled, [(5_000, 2), (10_000, 1), (10_000_000_000, 1)]);
        assert_eq!((histogram.count(), histogram.sum()), (5, 20_000_010_002));
    }

    fn ascends<Q: Quantity>() -> bool {
        Q::BOUNDS.is_sorted_by(|a, b| a < b) && Q::BOUNDS.len() <= BOUNDS_MAX
    }

    #[test]
    fn bounds_ascend() {
        assert!(
            ascends::<Latency>()
                && ascends::<LagAge>()
                && ascends::<LagEntries>()
                && ascends::<WriteMessages>()
        );
    }
}
