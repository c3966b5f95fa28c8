//! Events as lines of the feed's protocol, written once and numbered for each reader.
//!
//! Owns the bytes of a batch and where in each line its number belongs. Never talks to a socket.
//! Events come from a venue (through the faults); a [`Stamper`] per connection puts the numbers in.

use model::{Epoch, Nanos};
use wire::feed::FeedWriter;

use crate::venue::{Event, RecordedLine, Sink};

/// Bytes at which a batch is full; a single line may go beyond.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// What stands before the kind, and between the kind and the number, in every line.
const BEFORE_KIND: &str = "{\"type\":\"";
const BEFORE_NUMBER: &str = "\",\"line\":";

/// One line of a batch.
#[derive(Clone, Copy, Debug)]
enum Mark {
    /// Bytes up to `number`, the reader's line number, then the bytes from `number + 1` to `end`.
    Line { number: u32, end: u32 },
    /// Bytes as they are, in the place of a line.
    Whole { end: u32 },
    /// A number that is used up by nothing.
    Skipped,
}

/// A batch of lines without their numbers.
#[derive(Debug, Default)]
pub struct Lines {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
    /// `,"epoch":n,"ts":n` of the last recorded line: most of a batch have the same.
    stamp: Vec<u8>,
    stamped: Option<(Epoch, Nanos)>,
}

impl Lines {
    /// An empty batch with room for `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self { bytes: Vec::with_capacity(bytes), ..Self::default() }
    }

    /// Forgets the lines and keeps the room.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.marks.clear();
    }

    /// Number of lines, skipped ones included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.marks.len()
    }

    /// Whether there are no lines.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Bytes of all lines, about what a reader receives.
    #[must_use]
    pub const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Uses up a number without a line.
    pub fn skip(&mut self) {
        self.marks.push(Mark::Skipped);
    }

    /// Puts bytes in the place of a line.
    pub fn garbage(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.marks.push(Mark::Whole { end: self.end() });
    }

    /// A sign of life.
    pub fn heartbeat(&mut self, epoch: Epoch, ts: Nanos) {
        self.write("heartbeat", epoch, |writer, out| writer.heartbeat(ts, out));
    }

    fn end(&self) -> u32 {
        u32::try_from(self.bytes.len()).expect("a batch is closed long before 4 GiB")
    }

    /// Writes a line with a writer that has told nothing yet, so that its number is the single digit 1.
    fn write(&mut self, kind: &str, epoch: Epoch, write: impl FnOnce(&mut FeedWriter, &mut Vec<u8>)) {
        let number = self.end() + (BEFORE_KIND.len() + kind.len() + BEFORE_NUMBER.len()) as u32;
        write(&mut FeedWriter::new(epoch), &mut self.bytes);
        debug_assert_eq!(self.bytes[number as usize..][..2], *b"1,");
        self.marks.push(Mark::Line { number, end: self.end() });
    }

    fn write_recorded(&mut self, epoch: Epoch, ts: Nanos, line: &RecordedLine<'_>) {
        if self.stamped != Some((epoch, ts)) {
            self.stamped = Some((epoch, ts));
            self.stamp.clear();
            FeedWriter::new(epoch).prefix("", ts, &mut self.stamp);
            self.stamp.drain(..BEFORE_KIND.len() + BEFORE_NUMBER.len());
        }
        self.bytes.extend_from_slice(BEFORE_KIND.as_bytes());
        self.bytes.extend_from_slice(line.kind.as_bytes());
        self.bytes.extend_from_slice(BEFORE_NUMBER.as_bytes());
        let number = self.end();
        self.bytes.extend_from_slice(&self.stamp);
        self.bytes.extend_from_slice(line.rest());
        self.marks.push(Mark::Line { number, end: self.end() });
    }
}

impl Sink for Lines {
    fn event(&mut self, epoch: Epoch, ts: Nanos, event: &Event<'_>) {
        match *event {
            Event::Status(status) => self.write("status", epoch, |w, out| w.status(ts, status, out)),
            Event::Instrument(one) => self.write("instrument", epoch, |w, out| w.instrument(ts, one, out)),
            Event::BookSnapshot { instrument, seq, levels } => {
                self.write("book_snapshot", epoch, |w, out| {
                    w.book_snapshot(ts, instrument, seq, levels, out)
                });
            }
            Event::BookDelta { instrument, seq, levels } => {
                self.write("book_delta", epoch, |w, out| w.book_delta(ts, instrument, seq, levels, out));
            }
            Event::Trade { instrument, seq, trade, replay } => {
                self.write("trade", epoch, |w, out| w.trade(ts, instrument, seq, &trade, replay, out));
            }
            Event::Line(line) => self.write_recorded(epoch, ts, &line),
            Event::Garbage(bytes) => self.garbage(bytes),
        }
    }

    fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES_MAX
    }
}

/// Numbers the lines of one connection.
#[derive(Clone, Debug, Default)]
pub struct Stamper {
    /// Number of the last line; the first is 1.
    line: u64,
}

impl Stamper {
    /// Number of the last line.
    #[must_use]
    pub const fn line(&self) -> u64 {
        self.line
    }

    /// Appends the lines of a batch with their numbers.
    pub fn stamp(&mut self, lines: &Lines, out: &mut Vec<u8>) {
        let bytes = &lines.bytes;
        let mut start = 0;
        for mark in &lines.marks {
            self.line += 1;
            match *mark {
                Mark::Line { number, end } => {
                    let (number, end) = (number as usize, end as usize);
                    out.extend_from_slice(&bytes[start..number]);
                    model::push_digits(self.line, out);
                    out.extend_from_slice(&bytes[number + 1..end]);
                    start = end;
                }
                Mark::Whole { end } => {
                    out.extend_from_slice(&bytes[start..end as usize]);
                    start = end as usize;
                }
                Mark::Skipped => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::FeedStatus;

    #[test]
    fn each_reader_gets_its_own_numbers_and_skipped_ones_are_missing() {
        let mut lines = Lines::default();
        lines.event(Epoch(7), Nanos(5), &Event::Status(FeedStatus::Online));
        lines.skip();
        lines.garbage(b"oops\n");
        let recorded = RecordedLine {
            kind: "status",
            whole: b"xyz,\"system\":\"online\"}\n",
            rest_at: 3,
            instrument: None,
        };
        lines.event(Epoch(7), Nanos(6), &Event::Line(recorded));
        let mut stamper = Stamper { line: 98 };
        let mut out = Vec::new();
        stamper.stamp(&lines, &mut out);
        let expected = "{\"type\":\"status\",\"line\":99,\"epoch\":7,\"ts\":5,\"system\":\"online\"}\noops\n\
            {\"type\":\"status\",\"line\":102,\"epoch\":7,\"ts\":6,\"system\":\"online\"}\n";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }
}
