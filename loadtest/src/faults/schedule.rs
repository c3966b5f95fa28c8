//! Which fault comes when: drawn by chance, and the same for the same seed.
//!
//! Owns the kinds of faults, how fast clients must have recovered from each, and the dice. Never does anything: faults are done by
//! [`super::conduct`].

use clap::ValueEnum;
use std::time::Duration;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Fault {
    /// The feed is killed, and started again with a new epoch and other books.
    FeedKilled,
    /// The link to the feed is reset, and refused for a while.
    FeedCut,
    /// The link to the feed is slow for a while.
    FeedDelayed,
    /// Nothing passes the link to the feed any more, without an end.
    FeedStalled,
    /// The gateway gets SIGKILL, and is started again.
    GatewayKilled,
    /// The gateway gets SIGTERM; another one is there already.
    GatewayStopped,
    /// Links of clients are reset.
    LinksCut,
    /// Links of clients are slow for a while.
    LinksDelayed,
    /// Nothing passes links of clients for a while.
    LinksStalled,
    /// Clients do not read until they are closed for that.
    ClientsStalled,
    /// More callers than the gateway has descriptors.
    Descriptors,
    /// The disk of the log is full.
    LogFull,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 12] = [
        Self::FeedKilled,
        Self::FeedCut,
        Self::FeedDelayed,
        Self::FeedStalled,
        Self::GatewayKilled,
        Self::GatewayStopped,
        Self::LinksCut,
        Self::LinksDelayed,
        Self::LinksStalled,
        Self::ClientsStalled,
        Self::Descriptors,
        Self::LogFull,
    ];

    /// What it is called in reports.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::FeedKilled => "feed killed",
            Self::FeedCut => "feed cut",
            Self::FeedDelayed => "feed delayed",
            Self::FeedStalled => "feed stalled",
            Self::GatewayKilled => "gateway killed",
            Self::GatewayStopped => "gateway stopped",
            Self::LinksCut => "links cut",
            Self::LinksDelayed => "links delayed",
            Self::LinksStalled => "links stalled",
            Self::ClientsStalled => "clients stalled",
            Self::Descriptors => "no descriptors",
            Self::LogFull => "log disk full",
        }
    }

    /// From when to when its recovery counts.
    pub(crate) const fn counts_from(self) -> &'static str {
        match self {
            Self::FeedKilled | Self::FeedCut => "the feed can be reached again",
            Self::FeedDelayed | Self::LinksDelayed | Self::LinksStalled => "bytes pass again as before",
            Self::FeedStalled => "the link stalls",
            Self::GatewayKilled => "SIGKILL",
            Self::GatewayStopped => "SIGTERM",
            Self::LinksCut => "the links are reset",
            Self::ClientsStalled => "they read again",
            Self::Descriptors => "the callers come",
            Self::LogFull => "lines are lost",
        }
    }

    /// Within which time everybody must have recovered.
    pub(crate) const fn limit(self) -> Duration {
        match self {
            // A gateway ends the connection of who could not be told two seconds after it closed it.
            Self::GatewayKilled | Self::GatewayStopped | Self::ClientsStalled => Duration::from_secs(5),
            _ => Duration::from_secs(2),
        }
    }
}

/// Chance, from a seed (splitmix64).
pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From one number up to another, both possible.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.next() % (high - low + 1)
    }

    /// The same in milliseconds.
    pub(crate) fn millis(&mut self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.between(low, high))
    }
}

/// Draws faults: all of them in one order, then all in another.
pub(crate) struct Schedule {
    faults: Vec<Fault>,
    left: Vec<Fault>,
}

impl Schedule {
    /// A schedule of these faults, at least one.
    pub(crate) fn new(faults: &[Fault]) -> Self {
        Self { faults: faults.to_vec(), left: Vec::new() }
    }

    /// The next one.
    pub(crate) fn draw(&mut self, dice: &mut Dice) -> Fault {
        if self.left.is_empty() {
            self.left.clone_from(&self.faults);
        }
        let at = dice.between(0, self.left.len() as u64 - 1) as usize;
        self.left.swap_remove(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_round_has_every_fault_and_a_seed_gives_one_order() {
        let draw = |seed| {
            let (mut dice, mut schedule) = (Dice::new(seed), Schedule::new(&Fault::ALL));
            (0..36).map(|_| schedule.draw(&mut dice)).collect::<Vec<_>>()
        };
        let drawn = draw(7);
        for round in drawn.chunks(Fault::ALL.len()) {
            let mut sorted = round.to_vec();
            sorted.sort_unstable();
            assert_eq!(sorted, Fault::ALL);
        }
        assert!(drawn[..12] != drawn[12..24] && drawn == draw(7) && drawn != draw(8));
    }
}
