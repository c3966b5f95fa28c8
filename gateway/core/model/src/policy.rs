//! What becomes of the entries between a client's cursor and the head when the client does not keep up.

use crate::Channel;

/// A delivery policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Policy {
    /// One merged delta: the last quantity per price. Books only.
    Conflate,
    /// The newest value only. Tickers and candles (of candles the last state of each interval).
    Latest,
    /// Every entry that is still in the ring; what fell out is told as a gap.
    DropOldest,
    /// Nothing of it: the range is told as a gap, then live again (a book gets a snapshot).
    DropNewest,
    /// Every entry, or a close once the lag passes its limit.
    Disconnect,
}

impl Policy {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Conflate, Self::Latest, Self::DropOldest, Self::DropNewest, Self::Disconnect];

    /// The name on the wire, in settings and in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Conflate => "conflate",
            Self::Latest => "latest",
            Self::DropOldest => "drop_oldest",
            Self::DropNewest => "drop_newest",
            Self::Disconnect => "disconnect",
        }
    }

    /// The policy of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.name() == name)
    }

    /// What a channel does when nobody chooses.
    #[must_use]
    pub const fn default_of(channel: Channel) -> Self {
        match channel {
            Channel::Book => Self::Conflate,
            Channel::Ticker | Channel::Ohlc | Channel::Instrument => Self::Latest,
            Channel::Trade => Self::DropOldest,
        }
    }

    /// Whether the policy makes sense for a channel: trades are never merged, a book has no newest value, and reference data
    /// only has its newest.
    #[must_use]
    pub const fn fits(self, channel: Channel) -> bool {
        match self {
            Self::Conflate => matches!(channel, Channel::Book),
            Self::Latest => matches!(channel, Channel::Ticker | Channel::Ohlc | Channel::Instrument),
            Self::DropOldest | Self::DropNewest | Self::Disconnect => !matches!(channel, Channel::Instrument),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_takes_its_default() {
        for channel in Channel::ALL {
            assert!(Policy::default_of(channel).fits(channel));
        }
        assert!(!Policy::Conflate.fits(Channel::Trade) && !Policy::Latest.fits(Channel::Trade));
    }
}
