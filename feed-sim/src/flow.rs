//! When the next event comes, whose it is, and how large things are: the randomness of the simulator.
//!
//! Owns the seeded generator and the shapes measured on real feeds (`docs` and the research behind it): self-exciting
//! arrivals, Zipf popularity, lognormal sizes, log-uniform distances. Never looks at a book or a clock.

use std::str::FromStr;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use thiserror::Error;

/// How events are spread over time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arrivals {
    /// At equal distances.
    Uniform,
    /// Independent of each other.
    Poisson,
    /// Self-exciting, as real markets are: each event makes more events likely.
    #[default]
    Bursty,
}

/// A text that names no arrivals.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} are no arrivals: expected uniform, poisson or bursty")]
pub struct ArrivalsError(String);

impl FromStr for Arrivals {
    type Err = ArrivalsError;

    fn from_str(text: &str) -> Result<Self, ArrivalsError> {
        match text {
            "uniform" => Ok(Self::Uniform),
            "poisson" => Ok(Self::Poisson),
            "bursty" => Ok(Self::Bursty),
            _ => Err(ArrivalsError(text.to_owned())),
        }
    }
}

/// Share of events that another event caused. The Fano factor of long counts is 1/(1-0.85)^2 = 44.
const BRANCHING_RATIO: f64 = 0.85;

/// Per second: how fast the excitement of an event fades (a time constant of 2 ms).
const DECAY: f64 = 500.0;

/// Lines that the running mean of lines per event starts with, so that it doesn't jump at the beginning.
const PRIOR_EVENTS: f64 = 2_000.0;
const PRIOR_LINES_PER_EVENT: f64 = 1.25;

/// Times between the events of a venue.
#[derive(Debug)]
pub(crate) struct ArrivalTimes {
    kind: Arrivals,
    /// Lines per second.
    rate: f64,
    /// Events and lines so far, with the prior: an event is one or several lines, the rate counts lines.
    events: f64,
    lines: f64,
    /// Self-excited part of the intensity, events per second; used by [`Arrivals::Bursty`] only.
    excitement: f64,
}

/// The time to the next event.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) nanos: u64,
    /// Whether an earlier event caused it, which then likely was of the same symbol.
    pub(crate) caused: bool,
}

impl ArrivalTimes {
    pub(crate) const fn new(kind: Arrivals, rate: f64) -> Self {
        let lines = PRIOR_EVENTS * PRIOR_LINES_PER_EVENT;
        Self { kind, rate, events: PRIOR_EVENTS, lines, excitement: 0.0 }
    }

    /// Lines per second from the next event on.
    pub(crate) const fn set_rate(&mut self, rate: f64) {
        self.rate = rate;
    }

    /// Notes how many lines the last event was, and says when the next one comes.
    pub(crate) fn next(&mut self, lines: usize, dice: &mut Dice) -> Gap {
        self.events += 1.0;
        self.lines += lines as f64;
        let rate = self.rate * self.events / self.lines;
        let (seconds, caused) = match self.kind {
            Arrivals::Uniform => (1.0 / rate, false),
            Arrivals::Poisson => (dice.exponential() / rate, false),
            Arrivals::Bursty => self.next_of_burst(rate, dice),
        };
        Gap { nanos: (seconds * 1e9 + 0.5) as u64, caused }
    }

    /// Exact sampling of a Hawkes process with an exponential kernel: the earlier of an immigrant and a child.
    fn next_of_burst(&mut self, rate: f64, dice: &mut Dice) -> (f64, bool) {
        let immigrant = dice.exponential() / (rate * (1.0 - BRANCHING_RATIO));
        // A child comes at all only when the fading excitement outlasts its exponential threshold.
        let left = 1.0 - DECAY * dice.exponential() / self.excitement;
        let child = if left > 0.0 { -left.ln() / DECAY } else { f64::INFINITY };
        let gap = immigrant.min(child);
        self.excitement = self.excitement * (-DECAY * gap).exp() + BRANCHING_RATIO * DECAY;
        (gap, child < immigrant)
    }
}

/// Draws symbols by popularity in constant time (Walker's alias method).
#[derive(Debug)]
pub(crate) struct Popularity {
    /// Share of a slot that is its own, of 2^32; the rest is the alias's.
    own: Vec<u32>,
    alias: Vec<u32>,
}

impl Popularity {
    /// Zipf: the k-th symbol has a share proportional to `k^-exponent`.
    pub(crate) fn zipf(symbols: usize, exponent: f64) -> Self {
        let weights: Vec<f64> = (1..=symbols).map(|k| (k as f64).powf(-exponent)).collect();
        let total: f64 = weights.iter().sum();
        let mut share: Vec<f64> = weights.iter().map(|w| w / total * symbols as f64).collect();
        let mut own = vec![u32::MAX; symbols];
        let mut alias: Vec<u32> = (0..symbols as u32).collect();
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..symbols).partition(|&i| share[i] < 1.0);
        while let (Some(poor), Some(&rich)) = (small.pop(), large.last()) {
            own[poor] = (share[poor] * f64::from(u32::MAX)) as u32;
            alias[poor] = rich as u32;
            share[rich] -= 1.0 - share[poor];
            if share[rich] < 1.0 {
                large.pop();
                small.push(rich);
            }
        }
        Self { own, alias }
    }

    pub(crate) fn draw(&self, dice: &mut Dice) -> usize {
        let slot = dice.below(self.own.len() as u64) as usize;
        let own = dice.rng.next_u32() <= self.own[slot];
        if own { slot } else { self.alias[slot] as usize }
    }
}

/// Entries of the tables of shapes.
const TABLE: usize = 8_192;

/// Sigma of trade sizes and of level sizes.
const TRADE_SIGMA: f64 = 2.0;
const LEVEL_SIGMA: f64 = 1.3;

/// Largest factor of a size against its median; with [`crate::instruments::BASE_LOTS_MAX`] it keeps sizes in 15 digits.
pub(crate) const FACTOR_MAX: f64 = 100.0;

/// Unit of the tables of factors: they are fixed-point numbers, so that the hot path has integers only.
const FACTOR_ONE: f64 = 1_024.0;

/// The seeded generator with the shapes that it is asked for.
#[derive(Debug)]
pub(crate) struct Dice {
    rng: ChaCha8Rng,
    trade_factors: Vec<u32>,
    level_factors: Vec<u32>,
    /// Log-uniform distances from 1 to the reach of a book, in ticks.
    distances: Vec<u32>,
}

impl Dice {
    pub(crate) fn new(seed: u64, reach: i64) -> Self {
        // The shapes are the same for all seeds: only the draws from them differ.
        let mut shapes = ChaCha8Rng::seed_from_u64(0);
        let trade_factors = lognormal(TRADE_SIGMA, &mut shapes);
        let level_factors = lognormal(LEVEL_SIGMA, &mut shapes);
        let distance = |i| (reach as f64).powf((i as f64 + 0.5) / TABLE as f64) as u32;
        let distances = (0..TABLE).map(distance).collect();
        Self { rng: ChaCha8Rng::seed_from_u64(seed), trade_factors, level_factors, distances }
    }

    /// Uniform from 0 to `n - 1`.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.rng.next_u64()) * u128::from(n)) >> 64) as u64
    }

    /// True `n` times of 1000.
    pub(crate) fn chance(&mut self, n: i64) -> bool {
        (self.below(1_000) as i64) < n
    }

    /// Exponential with mean 1.
    fn exponential(&mut self) -> f64 {
        let unit = ((self.rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        -unit.ln()
    }

    fn entry(&mut self) -> usize {
        self.below(TABLE as u64) as usize
    }

    /// Lognormal around `median`, at least 1.
    pub(crate) fn trade_size(&mut self, median: i64) -> i64 {
        let entry = self.entry();
        scale(median, self.trade_factors[entry])
    }

    /// Lognormal around `median`, at least 1.
    pub(crate) fn level_size(&mut self, median: i64) -> i64 {
        let entry = self.entry();
        scale(median, self.level_factors[entry])
    }

    /// Log-uniform from 1 tick to the reach.
    pub(crate) fn distance(&mut self) -> i64 {
        let entry = self.entry();
        i64::from(self.distances[entry])
    }

    /// Geometric from 0: failures before a success of probability 0.2.
    pub(crate) fn geometric(&mut self) -> i64 {
        let mut failures = 0;
        while failures < 200 && self.chance(800) {
            failures += 1;
        }
        failures
    }
}

fn scale(median: i64, factor: u32) -> i64 {
    ((median * i64::from(factor)) >> 10).max(1)
}

fn lognormal(sigma: f64, rng: &mut ChaCha8Rng) -> Vec<u32> {
    let mut unit = || ((rng.next_u64() >> 11) + 1) as f64 / (1_u64 << 53) as f64;
    let mut normal = || (-2.0 * unit().ln()).sqrt() * (std::f64::consts::TAU * unit()).cos();
    let factor = |z: f64| (sigma * z).exp().clamp(1.0 / 64.0, FACTOR_MAX);
    (0..TABLE).map(|_| (factor(normal()) * FACTOR_ONE) as u32).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn popularity_is_zipf() {
        let popularity = Popularity::zipf(100, 1.1);
        let mut dice = Dice::new(1, 1_000);
        let mut counts = [0_u32; 100];
        for _ in 0..100_000 {
            counts[popularity.draw(&mut dice)] += 1;
        }
        let total: f64 = (1..=100).map(|k| f64::from(k).powf(-1.1)).sum();
        for k in [1, 2, 10, 50] {
            let expected = 100_000.0 * f64::from(k as u32).powf(-1.1) / total;
            let seen = f64::from(counts[k - 1]);
            assert!((seen - expected).abs() < 5.0 * expected.sqrt(), "{k}: {seen} instead of {expected}");
        }
    }

    #[test]
    fn mean_rates_are_as_asked() {
        for kind in [Arrivals::Uniform, Arrivals::Poisson, Arrivals::Bursty] {
            let mut times = ArrivalTimes::new(kind, 1_000.0);
            let mut dice = Dice::new(3, 1_000);
            let nanos: u64 = (0..200_000).map(|_| times.next(2, &mut dice).nanos).sum();
            let rate = 2.0 * 200_000.0 / (nanos as f64 / 1e9);
            assert!((950.0..1_050.0).contains(&rate), "{kind:?}: {rate}");
        }
    }
}
