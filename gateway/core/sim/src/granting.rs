//! What a simulated client was granted, as an outsider understands it: a few sets, looked at without the core's own patterns.

use model::{Channel, Nanos};

use crate::oracle::Key;
use crate::rng::Rng;

/// Patterns of symbols, and which symbols each covers: all, none, or one by its index.
const PATTERNS: [(&str, Covers); 7] = [
    ("*", Covers::All),
    ("*/USD", Covers::All),
    ("*/EUR", Covers::Nothing),
    ("S0/*", Covers::One(0)),
    ("S1/USD", Covers::One(1)),
    ("S2/*", Covers::One(2)),
    ("S/USD", Covers::Nothing),
];

#[derive(Clone, Copy, Debug)]
enum Covers {
    All,
    Nothing,
    One(usize),
}

/// A grant.
#[derive(Clone, Debug)]
pub(crate) struct Granted {
    /// Indices into [`PATTERNS`].
    patterns: Vec<usize>,
    /// In the order of [`Channel::ALL`].
    channels: [bool; Channel::ALL.len()],
    depth_max: u16,
    /// When it ends (monotonic).
    pub(crate) ends: Option<Nanos>,
}

impl Granted {
    /// Any grant: often much, sometimes little or nothing.
    pub(crate) fn pick(rng: &mut Rng, now: Nanos) -> Self {
        let mut patterns: Vec<usize> =
            (0..rng.below(3)).map(|_| rng.below(PATTERNS.len() as u64) as usize).collect();
        if rng.one_in(3) {
            patterns.push(0);
        }
        let all_channels = rng.one_in(2);
        let channels = Channel::ALL.map(|_| all_channels || !rng.one_in(3));
        let depth_max = rng.among(&[0, 10, 25, 25, 1_000, 1_000]);
        let ends = rng.one_in(3).then(|| now + Nanos::from_millis(200 + rng.below(2_000)));
        Self { patterns, channels, depth_max, ends }
    }

    /// Whether a subscription is covered.
    pub(crate) fn covers(&self, (channel, symbol): Key, depth: usize) -> bool {
        let covers_symbol = |&pattern: &usize| match PATTERNS[pattern].1 {
            Covers::All => true,
            Covers::Nothing => false,
            Covers::One(one) => one == symbol,
        };
        let at = Channel::ALL.into_iter().position(|one| one == channel);
        at.is_some_and(|at| self.channels[at])
            // Reference data names every symbol: it goes with its channel.
            && (channel == Channel::Instrument || self.patterns.iter().any(covers_symbol))
            && (channel != Channel::Book || depth <= usize::from(self.depth_max))
    }

    /// The same grant as whoever judges tokens would hand it over.
    pub(crate) fn grant(&self) -> Result<fanout::Grant, String> {
        let symbols: Vec<&str> = self.patterns.iter().map(|&pattern| PATTERNS[pattern].0).collect();
        let granted = Channel::ALL.into_iter().zip(self.channels).filter(|(_, granted)| *granted);
        let channels: Vec<&str> = granted.map(|(channel, _)| channel.name()).collect();
        let coverage = fanout::Coverage::new(Some(&symbols), Some(&channels), Some(self.depth_max))?;
        let subject = "somebody".into();
        Ok(fanout::Grant { subject, coverage, ends: self.ends, ..fanout::Grant::of_tier(0) })
    }
}

#[cfg(test)]
impl Granted {
    /// Everything of the symbols that some patterns cover.
    pub(crate) fn of_symbols(patterns: &[&str]) -> Self {
        let place = |text: &&str| PATTERNS.iter().position(|(pattern, _)| pattern == text);
        let patterns = patterns.iter().map(|text| place(text).expect("a pattern of the table")).collect();
        Self { patterns, channels: [true; Channel::ALL.len()], depth_max: 1_000, ends: None }
    }
}

#[cfg(test)]
mod tests {
    use model::{DEPTHS, InstrumentId, StreamKey, Trigger};

    use super::*;

    /// What is covered is told in two ways, which know nothing of each other.
    #[test]
    fn the_core_and_an_outsider_agree_on_what_is_granted() {
        let mut rng = Rng::new(7);
        let mut covered = [0_u32; 2];
        for _ in 0..500 {
            let granted = Granted::pick(&mut rng, Nanos(0));
            let coverage = granted.grant().expect("patterns and channels that there are").coverage;
            for symbol in 0..5 {
                let (name, id) = (format!("S{symbol}/USD"), InstrumentId(symbol as u32));
                let mut streams = vec![
                    (StreamKey::Trade(id), 10),
                    (StreamKey::Ticker(id, Trigger::Bbo), 10),
                    (StreamKey::Ohlc(id, 0), 10),
                    (StreamKey::Instruments, 10),
                ];
                streams
                    .extend((0..DEPTHS.len()).map(|at| (StreamKey::Book(id, at as u8), DEPTHS[at].into())));
                for (stream, depth) in streams {
                    let is_covered = granted.covers((stream.channel(), symbol), depth);
                    assert_eq!(coverage.check(stream, &name).is_ok(), is_covered, "{granted:?} {stream:?}");
                    covered[usize::from(is_covered)] += 1;
                }
            }
        }
        assert!(covered.iter().all(|&count| count > 2_000), "both happen often: {covered:?}");
    }
}
