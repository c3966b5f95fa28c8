//! Plays our own recordings: the lines of one connection, told again with fresh numbers, epochs and times.
//!
//! Owns the file's bytes and where each line's prefix ends, so that telling a line is copying it. Its books are made
//! only when somebody asks for them (or a few lines at a time all along, when the replay is paced): a replay at full speed
//! never looks into a line, and a fast one into few. Lines come from `feed-sim record`.

use std::collections::HashMap;
use std::io::Read;

use model::{Epoch, FeedStatus, Instrument, Levels, Nanos};

use super::pace::Pace;
use super::text::{Decoded, decode, parse};
use super::{OpenError, ReplayConfig, open_reader};
use crate::market::Market;
use crate::venue::{Event, NEVER, RecordedLine, Sink, Venue};

/// Kinds of lines that are told again. Heartbeats are not: the replay has its own.
const KINDS: [&str; 5] = ["book_delta", "trade", "book_snapshot", "instrument", "status"];
const INSTRUMENT: u8 = 3;
const STATUS: u8 = 4;
/// Bytes that are no line of the protocol.
const GARBAGE: u8 = 5;

/// No symbol, or one that was never announced.
const NOBODY: u32 = u32::MAX;

/// Most lines of one poll, so that a poll ends even when its sink is never full.
const LINES_PER_POLL_MAX: usize = 65_536;

/// Most lines that one poll of a paced replay reads into the books: looking into a line costs far more than telling it.
const FOLLOWED_PER_POLL_MAX: usize = 16;

/// Where a line lies.
#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u64,
    len: u32,
    /// Where the text after the `ts` value begins, from `start`.
    rest_at: u16,
    /// Index into [`KINDS`], or [`GARBAGE`].
    kind: u8,
    /// Index of its symbol, or [`NOBODY`].
    symbol: u32,
    /// Recorded epoch less the first one.
    epoch: u32,
    ts: Nanos,
}

/// An own recording that is played.
#[derive(Debug)]
pub(super) struct LineVenue {
    data: Vec<u8>,
    index: Vec<Entry>,
    /// As first announced; the increments of a symbol never change.
    instruments: Vec<Instrument>,
    by_symbol: HashMap<Box<str>, u32>,
    pace: Pace,
    looping: bool,
    /// Epoch of the first line of this pass.
    base: Epoch,
    /// Next of `index`.
    position: usize,
    started: bool,
    /// What the lines before `followed` say; never beyond `position`.
    markets: Vec<Market>,
    status: Option<FeedStatus>,
    followed: usize,
}

impl LineVenue {
    pub(super) fn open(config: &ReplayConfig) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io { path: config.path.clone(), error };
        let mut data = Vec::new();
        open_reader(&config.path).and_then(|mut reader| reader.read_to_end(&mut data)).map_err(failed)?;
        if data.last().is_some_and(|&last| last != b'\n') {
            data.push(b'\n');
        }
        let mut indexer = Indexer::default();
        let mut start = 0;
        for line in data.split_inclusive(|&byte| byte == b'\n') {
            indexer.add(start, line);
            start += line.len() as u64;
        }
        let Some(first) = indexer.first_epoch else {
            let reason = "it has no lines".into();
            return Err(OpenError::Content { path: config.path.clone(), reason });
        };
        Ok(Self {
            data,
            index: indexer.index,
            instruments: indexer.instruments,
            by_symbol: indexer.by_symbol,
            pace: Pace::new(config),
            looping: config.looping,
            base: config.epoch.unwrap_or(Epoch(first)),
            position: 0,
            started: false,
            markets: Vec::new(),
            status: None,
            followed: 0,
        })
    }

    fn start(&mut self, now: Nanos) {
        self.started = true;
        self.pace.start(now, self.index[0].ts);
    }

    fn start_again(&mut self, now: Nanos) {
        let last = self.index.last().map_or(0, |entry| entry.epoch);
        self.base = Epoch(self.base.0 + u64::from(last) + 1);
        self.position = 0;
        self.followed = 0;
        self.markets.clear();
        self.status = None;
        self.start(now);
    }

    fn epoch_of(&self, entry: &Entry) -> Epoch {
        Epoch(self.base.0 + u64::from(entry.epoch))
    }

    fn line(&self, entry: &Entry) -> RecordedLine<'_> {
        RecordedLine {
            kind: KINDS.get(usize::from(entry.kind)).copied().unwrap_or_default(),
            whole: &self.data[entry.start as usize..][..entry.len as usize],
            rest_at: entry.rest_at.into(),
            instrument: self.instruments.get(entry.symbol as usize),
        }
    }

    /// Reads the lines up to `position` into the books.
    fn follow(&mut self) {
        self.follow_until(self.position);
    }

    fn follow_until(&mut self, position: usize) {
        while self.followed < position {
            let entry = self.index[self.followed];
            self.followed += 1;
            self.follow_line(entry);
        }
    }

    fn follow_line(&mut self, entry: Entry) {
        let line = self.line(&entry);
        match entry.kind {
            GARBAGE => {}
            STATUS => self.status = parse(line.whole).and_then(|text| FeedStatus::from_name(text.system?)),
            INSTRUMENT => {
                let Some(instrument) = parse(line.whole).and_then(|text| text.instrument()) else { return };
                match self.markets.get_mut(entry.symbol as usize) {
                    Some(market) => market.instrument = instrument,
                    None => self.markets.push(Market::new(instrument)),
                }
            }
            _ => {
                let mut levels = (Vec::new(), Vec::new());
                let decoded = decode(&line, &mut levels.0, &mut levels.1);
                // A snapshot before its instrument was announced has no market: such a line is only told again.
                if let (Some(market), Some(decoded)) = (self.markets.get_mut(entry.symbol as usize), decoded)
                {
                    apply(market, decoded, Levels { bids: &levels.0, asks: &levels.1 });
                }
            }
        }
    }

    fn now_epoch(&self) -> Epoch {
        let at = self.position.saturating_sub(1);
        self.index.get(at).map_or(self.base, |entry| self.epoch_of(entry))
    }

    fn stamp_now(&self, now: Nanos) -> Nanos {
        let recorded = self.index.get(self.position.saturating_sub(1)).map_or(now, |entry| entry.ts);
        self.pace.stamp_now(recorded, now)
    }
}

fn apply(market: &mut Market, decoded: Decoded, levels: Levels<'_>) {
    match decoded {
        Decoded::Snapshot { seq } => {
            market.book.clear();
            market.book.apply(levels);
            market.seq = seq;
        }
        Decoded::Delta { seq } => {
            market.book.apply(levels);
            market.seq = seq;
        }
        Decoded::Trade { seq, trade, replay } => {
            if trade.id > market.trade_id {
                market.trade_id = trade.id;
                market.remember(seq, trade);
            }
            if !replay {
                market.seq = seq;
            }
        }
    }
}

impl Venue for LineVenue {
    fn epoch(&self) -> Epoch {
        self.now_epoch()
    }

    fn symbols(&mut self) -> usize {
        self.follow();
        self.markets.len()
    }

    fn find(&mut self, symbol: &str) -> Option<usize> {
        let announced = self.symbols();
        self.by_symbol.get(symbol).map(|&index| index as usize).filter(|&index| index < announced)
    }

    fn tell_status(&mut self, now: Nanos, sink: &mut dyn Sink) {
        // Before its first line the recording opens the connection itself.
        self.follow();
        if let Some(status) = self.status {
            sink.event(self.now_epoch(), self.stamp_now(now), &Event::Status(status));
        }
    }

    fn tell(&mut self, index: usize, announce: bool, now: Nanos, sink: &mut dyn Sink) {
        self.follow();
        if let Some(market) = self.markets.get(index) {
            market.tell(self.now_epoch(), announce, self.stamp_now(now), sink);
        }
    }

    fn next_due(&self) -> Nanos {
        match self.index.get(self.position) {
            _ if !self.started => Nanos(0),
            Some(entry) => self.pace.due(entry.ts),
            None if self.looping => Nanos(0),
            None => NEVER,
        }
    }

    fn poll(&mut self, now: Nanos, sink: &mut dyn Sink) {
        if !self.started {
            self.start(now);
        }
        if self.looping && self.position == self.index.len() {
            self.start_again(now);
        }
        let until = self.index.len().min(self.position + LINES_PER_POLL_MAX);
        while self.position < until && !sink.is_full() {
            let entry = self.index[self.position];
            if self.pace.due(entry.ts) > now {
                break;
            }
            let line = self.line(&entry);
            let event = if entry.kind == GARBAGE { Event::Garbage(line.whole) } else { Event::Line(line) };
            sink.event(self.epoch_of(&entry), self.pace.stamp(entry.ts, now), &event);
            self.position += 1;
            self.pace.count();
        }
        if !self.pace.is_unpaced() {
            self.follow_until(self.position.min(self.followed + FOLLOWED_PER_POLL_MAX));
        }
    }

    fn set_rate(&mut self, rate: f64, now: Nanos) {
        // The recorded time does not matter where there is a rate.
        self.pace.set_rate(rate, now, Nanos(0));
    }
}

/// Finds out what the lines of a file are.
#[derive(Debug, Default)]
struct Indexer {
    index: Vec<Entry>,
    instruments: Vec<Instrument>,
    by_symbol: HashMap<Box<str>, u32>,
    first_epoch: Option<u64>,
    last_ts: Nanos,
}

impl Indexer {
    fn add(&mut self, start: u64, line: &[u8]) {
        let Ok(len) = u32::try_from(line.len()) else { return };
        let Some(prefix) = Prefix::parse(line) else {
            let ts = self.last_ts;
            self.index.push(Entry { start, len, rest_at: 0, kind: GARBAGE, symbol: NOBODY, epoch: 0, ts });
            return;
        };
        let Some(kind) = KINDS.iter().position(|kind| *kind == prefix.kind) else { return };
        let kind = kind as u8;
        let first = *self.first_epoch.get_or_insert(prefix.epoch);
        self.last_ts = Nanos(prefix.ts);
        let entry = Entry {
            start,
            len,
            rest_at: prefix.rest_at,
            kind,
            symbol: self.symbol(kind, line, prefix.rest_at.into()),
            epoch: u32::try_from(prefix.epoch.saturating_sub(first)).unwrap_or(0),
            ts: self.last_ts,
        };
        self.index.push(entry);
    }

    fn symbol(&mut self, kind: u8, line: &[u8], rest_at: usize) -> u32 {
        const KEY: &[u8] = b",\"symbol\":\"";
        let Some(rest) = line[rest_at..].strip_prefix(KEY) else { return NOBODY };
        let end = rest.iter().position(|&byte| byte == b'"').unwrap_or(0);
        let Ok(symbol) = std::str::from_utf8(&rest[..end]) else { return NOBODY };
        if let Some(&index) = self.by_symbol.get(symbol) {
            return index;
        }
        match parse(line).and_then(|text| text.instrument()) {
            Some(instrument) if kind == INSTRUMENT => {
                let index = self.instruments.len() as u32;
                self.by_symbol.insert(symbol.into(), index);
                self.instruments.push(instrument);
                index
            }
            _ => NOBODY,
        }
    }
}

/// What a line begins with.
struct Prefix<'a> {
    kind: &'a str,
    epoch: u64,
    ts: u64,
    rest_at: u16,
}

impl<'a> Prefix<'a> {
    fn parse(line: &'a [u8]) -> Option<Self> {
        let rest = line.strip_prefix(b"{\"type\":\"")?;
        let end = rest.iter().take(32).position(|&byte| byte == b'"')?;
        let kind = std::str::from_utf8(&rest[..end]).ok()?;
        let (_, rest) = number(rest[end..].strip_prefix(b"\",\"line\":")?)?;
        let (epoch, rest) = number(rest.strip_prefix(b",\"epoch\":")?)?;
        let (ts, rest) = number(rest.strip_prefix(b",\"ts\":")?)?;
        let rest_at = u16::try_from(line.len() - rest.len()).ok()?;
        matches!(rest.first(), Some(b',' | b'}')).then_some(Self { kind, epoch, ts, rest_at })
    }
}

fn number(text: &[u8]) -> Option<(u64, &[u8])> {
    let digits = text.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    let number = std::str::from_utf8(&text[..digits]).ok()?.parse().ok()?;
    Some((number, &text[digits..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_after_the_time() {
        let line = b"{\"type\":\"heartbeat\",\"line\":7,\"epoch\":12,\"ts\":345}\n";
        let prefix = Prefix::parse(line).unwrap();
        assert_eq!((prefix.kind, prefix.epoch, prefix.ts), ("heartbeat", 12, 345));
        assert_eq!(&line[prefix.rest_at.into()..], b"}\n");
        for bad in ["", "oops", "{\"type\":\"trade\",\"line\":x", "{\"type\":\"trade\",\"epoch\":1}"] {
            assert!(Prefix::parse(bad.as_bytes()).is_none(), "{bad}");
        }
    }
}
