//! What can be subscribed to: channels, their variants, and a dense number for each stream.

use crate::InstrumentId;

/// Levels a side that a book subscription can ask for.
pub const DEPTHS: [u16; 5] = [10, 25, 100, 500, 1000];

/// Candle intervals in minutes.
pub const INTERVALS_MIN: [u16; 9] = [1, 5, 15, 30, 60, 240, 1440, 10080, 21600];

/// Streams that one instrument has: books, tickers, trades, candles.
pub const STREAMS_PER_INSTRUMENT: u32 = (DEPTHS.len() + 2 + 1 + INTERVALS_MIN.len()) as u32;

/// A kind of data; what metrics and policies are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Channel {
    /// Depth by price.
    Book,
    /// Best prices and 24 h figures.
    Ticker,
    /// Single trades.
    Trade,
    /// Candles.
    Ohlc,
    /// Reference data of all instruments.
    Instrument,
}

impl Channel {
    /// All of them, in the order of their index.
    pub const ALL: [Self; 5] = [Self::Book, Self::Ticker, Self::Trade, Self::Ohlc, Self::Instrument];

    /// The name on the wire and in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Book => "book",
            Self::Ticker => "ticker",
            Self::Trade => "trade",
            Self::Ohlc => "ohlc",
            Self::Instrument => "instrument",
        }
    }
}

/// What makes a ticker subscription send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// Every trade.
    Trades,
    /// Every change of the best bid or ask, price or quantity.
    Bbo,
}

impl Trigger {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Trades => "trades",
            Self::Bbo => "bbo",
        }
    }
}

/// One stream: a channel of an instrument in one variant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StreamKey {
    /// The book at one of [`DEPTHS`], named by its index there.
    Book(InstrumentId, u8),
    /// The ticker with one trigger.
    Ticker(InstrumentId, Trigger),
    /// The trades.
    Trade(InstrumentId),
    /// The candles of one of [`INTERVALS_MIN`], named by its index there.
    Ohlc(InstrumentId, u8),
    /// The reference data of all instruments.
    Instruments,
}

/// Dense number of a stream: an index into tables, so the hot path hashes nothing.
///
/// Stream 0 is the instruments stream; each instrument then has [`STREAMS_PER_INSTRUMENT`] in a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

impl StreamId {
    /// Index into a table of streams.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl StreamKey {
    /// The channel that the stream belongs to.
    #[must_use]
    pub const fn channel(self) -> Channel {
        match self {
            Self::Book(..) => Channel::Book,
            Self::Ticker(..) => Channel::Ticker,
            Self::Trade(..) => Channel::Trade,
            Self::Ohlc(..) => Channel::Ohlc,
            Self::Instruments => Channel::Instrument,
        }
    }

    /// The instrument, where there is one.
    #[must_use]
    pub const fn instrument(self) -> Option<InstrumentId> {
        match self {
            Self::Book(id, _) | Self::Ticker(id, _) | Self::Trade(id) | Self::Ohlc(id, _) => Some(id),
            Self::Instruments => None,
        }
    }

    /// The stream's dense number.
    #[must_use]
    pub const fn id(self) -> StreamId {
        let (instrument, slot) = match self {
            Self::Instruments => return StreamId(0),
            Self::Book(id, depth) => (id, depth as u32),
            Self::Ticker(id, Trigger::Trades) => (id, 5),
            Self::Ticker(id, Trigger::Bbo) => (id, 6),
            Self::Trade(id) => (id, 7),
            Self::Ohlc(id, interval) => (id, 8 + interval as u32),
        };
        StreamId(1 + instrument.0 * STREAMS_PER_INSTRUMENT + slot)
    }
}

impl From<StreamId> for StreamKey {
    fn from(id: StreamId) -> Self {
        let Some(n) = id.0.checked_sub(1) else { return Self::Instruments };
        let instrument = InstrumentId(n / STREAMS_PER_INSTRUMENT);
        match (n % STREAMS_PER_INSTRUMENT) as u8 {
            slot @ 0..=4 => Self::Book(instrument, slot),
            5 => Self::Ticker(instrument, Trigger::Trades),
            6 => Self::Ticker(instrument, Trigger::Bbo),
            7 => Self::Trade(instrument),
            slot => Self::Ohlc(instrument, slot - 8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stream_has_its_own_number_and_comes_back_from_it() {
        for n in 0..=3 * STREAMS_PER_INSTRUMENT {
            assert_eq!(StreamKey::from(StreamId(n)).id(), StreamId(n));
        }
    }
}
