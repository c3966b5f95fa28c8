//! What a venue is: something that tells events by time, and can tell its books again at any moment.
//!
//! Events carry no line number, because each reader's connection has its own count (see `encode.rs`).
//! A venue never reads a clock, never writes to anybody, and knows nothing of faults.

use model::{Epoch, FeedStatus, Instrument, Level, Levels, Nanos, Sequence, Trade};

use crate::recording::{OpenError, ReplayConfig};
use crate::simulator::{Simulator, SimulatorConfig};

/// A time that does not come: what [`Venue::next_due`] says at the end of a recording.
pub const NEVER: Nanos = Nanos(u64::MAX);

/// One thing that a venue tells, without the number of its line.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The venue's state.
    Status(FeedStatus),
    /// An instrument and its state.
    Instrument(&'a Instrument),
    /// The whole book.
    BookSnapshot {
        /// Whose book.
        instrument: &'a Instrument,
        /// The last event that it contains.
        seq: Sequence,
        /// All levels, best first.
        levels: Levels<'a>,
    },
    /// Changed levels with absolute quantities.
    BookDelta {
        /// Whose book.
        instrument: &'a Instrument,
        /// Position of this event.
        seq: Sequence,
        /// The changed levels; quantity 0 removes.
        levels: Levels<'a>,
    },
    /// A trade.
    Trade {
        /// Of what.
        instrument: &'a Instrument,
        /// Position of this event.
        seq: Sequence,
        /// The trade.
        trade: Trade,
        /// Told again before a snapshot.
        replay: bool,
    },
    /// A line of an own recording, not looked into.
    Line(RecordedLine<'a>),
    /// Bytes of an own recording that are no line of the protocol; they take the place of one.
    Garbage(&'a [u8]),
}

/// A line of an own recording: what follows the `ts` value is sent as it was received.
#[derive(Clone, Copy, Debug)]
pub struct RecordedLine<'a> {
    /// The `type` of the line.
    pub kind: &'static str,
    /// The whole line as recorded, line feed included.
    pub whole: &'a [u8],
    /// Where the recorded text after the `ts` value begins in `whole`.
    pub rest_at: usize,
    /// Whose event it is; none for status lines.
    pub instrument: Option<&'a Instrument>,
}

impl<'a> RecordedLine<'a> {
    /// The text after the `ts` value, line feed included.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.whole[self.rest_at..]
    }
}

/// What the venue itself said about its book right after an event: an oracle for tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VenueCheck {
    /// Kraken: CRC-32 of the ten best levels of each side after the event just told.
    Checksum(u32),
    /// Binance: last update number that the event just told contains.
    Update {
        /// The number.
        u: u64,
    },
    /// Binance: best prices at an update number.
    Top {
        /// The number.
        u: u64,
        /// Best bid.
        bid: Level,
        /// Best ask.
        ask: Level,
    },
}

/// Takes what a venue tells.
pub trait Sink {
    /// One event, with the venue's time of it.
    fn event(&mut self, epoch: Epoch, ts: Nanos, event: &Event<'_>);

    /// What the venue said about the book of `instrument`; most readers don't care.
    fn check(&mut self, _instrument: &Instrument, _check: VenueCheck) {}

    /// Whether the venue should stop and go on at the next poll.
    fn is_full(&self) -> bool {
        false
    }
}

/// A source of events on a given time, with books that it can tell again.
pub trait Venue: Send {
    /// The generation that is told at the moment.
    fn epoch(&self) -> Epoch;

    /// How many symbols there are so far; they are numbered from 0.
    fn symbols(&mut self) -> usize;

    /// The number of a symbol.
    fn find(&mut self, symbol: &str) -> Option<usize>;

    /// Tells the venue's state: the first line of a connection.
    fn tell_status(&mut self, now: Nanos, sink: &mut dyn Sink);

    /// Tells the latest trades and the book of a symbol; `announce` puts its instrument before.
    fn tell(&mut self, index: usize, announce: bool, now: Nanos, sink: &mut dyn Sink);

    /// When [`Self::poll`] has something to tell; zero means at once, [`NEVER`] that all was told.
    fn next_due(&self) -> Nanos;

    /// Tells what is due by `now`, until the sink is full. The first call starts the venue's time.
    fn poll(&mut self, now: Nanos, sink: &mut dyn Sink);

    /// Tells so many lines per second from `now` on; 0 stands still until the next rate.
    fn set_rate(&mut self, rate: f64, now: Nanos);
}

/// Tells what a connection starts with: the status, then instrument, latest trades and book of each symbol.
pub fn tell_opening(venue: &mut dyn Venue, now: Nanos, sink: &mut dyn Sink) {
    venue.tell_status(now, sink);
    for index in 0..venue.symbols() {
        venue.tell(index, true, now, sink);
    }
}

/// Where a feed comes from.
#[derive(Clone, Debug)]
pub enum SourceConfig {
    /// Generated orders.
    Simulator(SimulatorConfig),
    /// A recording.
    Replay(ReplayConfig),
}

impl SourceConfig {
    /// Whether it is a recording: those wait for their readers.
    #[must_use]
    pub const fn is_replay(&self) -> bool {
        matches!(self, Self::Replay(_))
    }

    /// Opens the venue.
    ///
    /// # Errors
    /// When a recording cannot be read or makes no sense, or a setting is out of range.
    pub fn open(&self) -> Result<Box<dyn Venue>, OpenError> {
        match self {
            Self::Simulator(config) => Ok(Box::new(Simulator::new(config.clone())?)),
            Self::Replay(config) => config.open(),
        }
    }
}
