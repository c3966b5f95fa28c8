//! Positions in an instrument's stream of events.

/// Position of an event among the events of its instrument.
///
/// Counted by the feed, one by one, so a missing number is a lost event. Strictly increasing within
/// an [`Epoch`] and the same on every gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The position after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Generation of a feed: sequences of different epochs cannot be compared.
///
/// The feed chooses it, so it goes on through a restart of the gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Epoch(pub u64);
