//! A recording on virtual time: its events as the feed's thread of a gateway would hand them over, and what there is on it.
//!
//! Owns the file's venue and the decoder. Never looks at a clock: who reads brings the time.

use std::path::Path;

use feed_sim::{Local, OpenError, ReplayConfig, SourceConfig, Speed, Timestamps};
use model::{EventBatch, EventBody, InstrumentId, InstrumentTable, Nanos};
use wire::feed::{FeedDecoder, FeedRequest, encode_request};

/// A recording that is played.
pub(super) struct Tape {
    local: Local,
    decoder: FeedDecoder,
    bytes: Vec<u8>,
    /// What was read last.
    pub(super) batch: EventBatch,
    /// Lines that the decoder refused; the market sees the holes that they leave.
    pub(super) refused: u64,
}

impl Tape {
    /// Opens a recording, to be played at its own speed from the time of the first read on.
    pub(super) fn open(path: &Path) -> Result<Self, OpenError> {
        Self::open_at(path, Speed::Times(1.0))
    }

    fn open_at(path: &Path, speed: Speed) -> Result<Self, OpenError> {
        let config = ReplayConfig { speed, timestamps: Timestamps::Kept, ..ReplayConfig::new(path) };
        Ok(Self {
            local: Local::open(SourceConfig::Replay(config))?,
            decoder: FeedDecoder::default(),
            bytes: Vec::new(),
            batch: EventBatch::default(),
            refused: 0,
        })
    }

    /// Reads what is due into `batch` and says when to read again.
    pub(super) fn read(&mut self, now: Nanos) -> Nanos {
        self.bytes.clear();
        let next = self.local.read(now, &mut self.bytes);
        self.decode(now);
        next
    }

    /// Asks the venue, and reads into `batch` what it answers at once; the rest comes with the next reads.
    pub(super) fn ask(&mut self, request: &FeedRequest, now: Nanos) {
        let mut line = Vec::new();
        encode_request(request, &mut line);
        line.pop();
        self.bytes.clear();
        self.local.handle_request(&mut line, now, &mut self.bytes);
        self.decode(now);
    }

    /// Whether everything was told.
    pub(super) fn is_finished(&self) -> bool {
        self.local.is_finished()
    }

    pub(super) const fn instruments(&self) -> &InstrumentTable {
        self.decoder.instruments()
    }

    fn decode(&mut self, ts_recv: Nanos) {
        self.batch.clear();
        for line in self.bytes.split_mut(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            let result = self.decoder.decode_line(line, ts_recv, &mut self.batch);
            self.refused += u64::from(result.is_err());
        }
    }
}

/// Events of one symbol.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) symbol: String,
    /// Book changes and snapshots told again.
    pub(super) books: u64,
    pub(super) trades: u64,
}

/// What there is on a recording.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Survey {
    /// Time of its first line, by the venue's clock.
    pub(super) first: Nanos,
    /// Time of its latest event.
    pub(super) last: Nanos,
    /// In the order in which they were announced.
    pub(super) symbols: Vec<Counted>,
}

impl Survey {
    /// Reads a recording once from end to end.
    pub(super) fn of(path: &Path) -> Result<Self, OpenError> {
        let mut tape = Tape::open_at(path, Speed::Max)?;
        let mut survey = Self::default();
        while !tape.is_finished() {
            // As fast as it is taken, so any time will do.
            tape.read(Nanos(1));
            survey.count(&tape);
        }
        Ok(survey)
    }

    fn count(&mut self, tape: &Tape) {
        for event in &tape.batch.events {
            if self.first == Nanos(0) {
                self.first = event.ts_event;
            }
            self.last = self.last.max(event.ts_event);
            match event.body {
                EventBody::BookDelta { instrument, .. } => self.symbol(tape, instrument).books += 1,
                EventBody::Trade { instrument, replay: false, .. } => {
                    self.symbol(tape, instrument).trades += 1
                }
                EventBody::Instrument(id, _) => drop(self.symbol(tape, id)),
                _ => {}
            }
        }
    }

    fn symbol(&mut self, tape: &Tape, id: InstrumentId) -> &mut Counted {
        while self.symbols.len() <= id.index() {
            let known = tape.instruments().by_id(InstrumentId(self.symbols.len() as u32));
            let symbol = known.map(|one| one.symbol.to_string()).unwrap_or_default();
            self.symbols.push(Counted { symbol, ..Counted::default() });
        }
        &mut self.symbols[id.index()]
    }

    /// How long it is.
    pub(super) fn span(&self) -> Nanos {
        self.last.since(self.first)
    }

    /// Book changes and trades of all symbols.
    pub(super) fn events(&self) -> u64 {
        self.symbols.iter().map(|one| one.books + one.trades).sum()
    }

    /// The symbol that makes most entries; the first of several.
    pub(super) fn busiest(&self, weight: impl Fn(&Counted) -> u64) -> Option<&Counted> {
        let most = self.symbols.iter().map(&weight).max()?;
        self.symbols.iter().find(|one| weight(one) == most)
    }
}
