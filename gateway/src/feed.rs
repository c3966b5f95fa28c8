//! Feeds: where market data comes from, behind one boundary.
//!
//! A source gives bytes; a thread splits them into lines, decodes them and sends batches of events to the engine. It reconnects
//! with backoff and never decides what a gap means: that is the market's.

mod local;
mod reader;
mod tcp;

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender};
use model::{EventBatch, Nanos};
use wire::feed::{FeedReject, FeedRequest};

use crate::config::FeedConfig;

pub(crate) use reader::BATCHES_MAX;
pub use reader::{Reader, build, spawn};

/// One connection to a feed.
pub(crate) trait Source: Send {
    /// Appends what is there to `buffer`, waiting at most `patience` for it, and not at all when that is nothing. Nothing within that time is `Ok(0)`.
    ///
    /// # Errors
    /// The connection is over; [`io::ErrorKind::UnexpectedEof`] when the feed ended it.
    fn read(&mut self, buffer: &mut Vec<u8>, patience: Duration) -> io::Result<usize>;

    /// Whether there may be more to read than the last read took, for a source that is told when there is something.
    fn has_more(&self) -> bool {
        true
    }

    /// How long until there is something to read, for a source that knows it.
    fn next(&self) -> Option<Nanos> {
        None
    }

    /// What says that there is something to read, for a source that is told.
    fn descriptor(&self) -> Option<RawFd> {
        None
    }

    /// Sends one request line.
    ///
    /// # Errors
    /// The connection is over.
    fn request(&mut self, request: &FeedRequest) -> io::Result<()>;
}

/// Opens a connection to the configured feed.
fn connect(config: &FeedConfig) -> io::Result<Box<dyn Source>> {
    use crate::config::FeedSource;
    Ok(match &config.source {
        FeedSource::Tcp(address) => Box::new(tcp::TcpSource::connect(address)?),
        FeedSource::Sim => Box::new(local::LocalSource::simulator(&config.sim)?),
        FeedSource::Replay(path) => Box::new(local::LocalSource::replay(path, &config.replay)?),
    })
}

/// What the feed's thread tells the engine.
#[derive(Debug)]
pub enum FeedMessage {
    /// A connection was made; lines are counted from 1 again.
    Connected,
    /// Events, in order, and how many lines were refused since the last message, by reason.
    Events(Box<EventBatch>, FeedRefusals),
    /// The connection ended or fell silent.
    Disconnected(FeedLoss),
}

/// Why a connection to a feed is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedLoss {
    /// It could not be made.
    Refused,
    /// It was closed or broke.
    Ended,
    /// Nothing came for the silence limit.
    Silent,
}

impl FeedLoss {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Refused, Self::Ended, Self::Silent];

    /// The name in metric labels.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Ended => "ended",
            Self::Silent => "silent",
        }
    }
}

/// Lines refused by reason, in the order of [`FeedRefusals::iter`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeedRefusals(pub [u64; FeedReject::REASONS.len() + 1]);

impl FeedRefusals {
    /// The last reason: a line longer than the protocol allows.
    const TOO_LONG: usize = FeedReject::REASONS.len();

    /// All reasons with their counts.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        FeedReject::REASONS.into_iter().chain(["line_too_long"]).zip(self.0)
    }

    fn count(&mut self, reject: FeedReject) {
        let index = FeedReject::REASONS.iter().position(|&reason| reason == reject.reason());
        self.0[index.expect("every reason stands in the table")] += 1;
    }

    /// Adds another count.
    pub fn add(&mut self, other: &Self) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// The engine's ends of the lanes to the feed.
#[derive(Debug)]
pub struct FeedLanes {
    /// What the feed tells. Bounded: a feed that is faster than the engine waits in its own socket.
    pub messages: Receiver<FeedMessage>,
    /// Emptied batches on their way back, so that the feed allocates none.
    pub emptied: Sender<Box<EventBatch>>,
    /// What the engine asks. Bounded; a question that does not fit is asked again by the market's time-out.
    pub requests: Sender<FeedRequest>,
}
