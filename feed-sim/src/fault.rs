//! What goes wrong on purpose.
//!
//! Owns the faults that wait for an event that they can happen to. Faults change only what readers are told: the
//! venue's books stay true, and what answers a snapshot request does not pass through here.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;

use model::{Epoch, Instrument, Level, Levels, Nanos, Price, Qty, Sequence};
use thiserror::Error;

use crate::clock::parse_span;
use crate::encode::Lines;
use crate::recording::{Decoded, decode};
use crate::venue::{Event, Sink, VenueCheck};

/// Most faults that wait; more are forgotten.
const WAITING_MAX: usize = 1_024;

/// How far back the sequence of an old event lies, at most.
const OLD_BY: u64 = 3;

/// What stands in the place of a line.
const GARBAGE_LINE: &[u8] = b"{\"type\":\"book_delta\",\"line\":#*! not JSON\n";

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An event is lost on the way: its line number and its sequence are missing.
    Gap,
    /// An event is lost before the lines are numbered: only its sequence is missing.
    GapSeq,
    /// A line of any type is lost on the way: its number is missing, and its sequence if it had one.
    GapLine,
    /// An event is told twice, with the same sequence.
    Duplicate,
    /// After an event comes one with an older sequence.
    Old,
    /// Instead of a change of the book, under its sequence, comes one that crosses it.
    Crossed,
    /// Bytes that are no JSON take the place of a line.
    Garbage,
    /// Nothing is sent for this long, no heartbeats either; then what happened meanwhile.
    Silence(Nanos),
    /// All connections are closed, and for this long new ones are too.
    Disconnect(Nanos),
}

/// A text that is no fault.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0:?} is no fault: expected gap, gap_seq, gap_line, duplicate, old, crossed, garbage, silence[:3s] or \
     disconnect[:1s], and for a plan @ and how often, such as gap@5s"
)]
pub struct FaultError(String);

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = || FaultError(text.to_owned());
        let (kind, span) = match text.split_once(':') {
            Some((kind, span)) => (kind, Some(parse_span(span).map_err(|_| error())?)),
            None => (text, None),
        };
        match (kind, span) {
            ("gap", None) => Ok(Self::Gap),
            ("gap_seq", None) => Ok(Self::GapSeq),
            ("gap_line", None) => Ok(Self::GapLine),
            ("duplicate", None) => Ok(Self::Duplicate),
            ("old", None) => Ok(Self::Old),
            ("crossed", None) => Ok(Self::Crossed),
            ("garbage", None) => Ok(Self::Garbage),
            ("silence", span) => Ok(Self::Silence(span.unwrap_or(Nanos::from_secs(3)))),
            ("disconnect", span) => Ok(Self::Disconnect(span.unwrap_or(Nanos::from_secs(1)))),
            _ => Err(error()),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gap => f.write_str("gap"),
            Self::GapSeq => f.write_str("gap_seq"),
            Self::GapLine => f.write_str("gap_line"),
            Self::Duplicate => f.write_str("duplicate"),
            Self::Old => f.write_str("old"),
            Self::Crossed => f.write_str("crossed"),
            Self::Garbage => f.write_str("garbage"),
            Self::Silence(span) => write!(f, "silence:{}ms", span.0 / 1_000_000),
            Self::Disconnect(span) => write!(f, "disconnect:{}ms", span.0 / 1_000_000),
        }
    }
}

/// A fault that happens again and again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultPlan {
    /// What.
    pub fault: Fault,
    /// How often; the first time after as long.
    pub every: Nanos,
}

impl FromStr for FaultPlan {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        let error = || FaultError(text.to_owned());
        let (fault, every) = text.split_once('@').ok_or_else(error)?;
        let every = parse_span(every).map_err(|_| error())?;
        if every == Nanos(0) {
            return Err(error());
        }
        Ok(Self { fault: fault.parse()?, every })
    }
}

/// Faults that wait for their event.
#[derive(Debug, Default)]
pub(crate) struct Waiting {
    faults: VecDeque<Fault>,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

impl Waiting {
    pub(crate) fn push(&mut self, fault: Fault) {
        if self.faults.len() < WAITING_MAX {
            self.faults.push_back(fault);
        }
    }
}

/// Passes events on, and lets waiting faults happen to them, one to each.
pub(crate) struct Faulty<'a> {
    pub(crate) waiting: &'a mut Waiting,
    pub(crate) lines: &'a mut Lines,
}

impl Sink for Faulty<'_> {
    fn event(&mut self, epoch: Epoch, ts: Nanos, event: &Event<'_>) {
        let Some(&fault) = self.waiting.faults.front() else {
            return self.lines.event(epoch, ts, event);
        };
        let Event::Line(line) = event else {
            return self.happen(fault, epoch, ts, event);
        };
        // An own recording is looked into only now.
        let mut bids = std::mem::take(&mut self.waiting.bids);
        let mut asks = std::mem::take(&mut self.waiting.asks);
        let decoded = decode(line, &mut bids, &mut asks);
        let levels = Levels { bids: &bids, asks: &asks };
        match (decoded, line.instrument) {
            (Some(decoded), Some(one)) => self.happen(fault, epoch, ts, &event_of(decoded, one, levels)),
            _ => self.happen(fault, epoch, ts, event),
        }
        (self.waiting.bids, self.waiting.asks) = (bids, asks);
    }

    fn check(&mut self, instrument: &Instrument, check: VenueCheck) {
        self.lines.check(instrument, check);
    }

    fn is_full(&self) -> bool {
        self.lines.is_full()
    }
}

fn event_of<'a>(decoded: Decoded, instrument: &'a Instrument, levels: Levels<'a>) -> Event<'a> {
    match decoded {
        Decoded::Snapshot { seq } => Event::BookSnapshot { instrument, seq, levels },
        Decoded::Delta { seq } => Event::BookDelta { instrument, seq, levels },
        Decoded::Trade { seq, trade, replay } => Event::Trade { instrument, seq, trade, replay },
    }
}

/// The position of an event that has one of its own.
const fn seq_of(event: &Event<'_>) -> Option<Sequence> {
    match event {
        Event::BookDelta { seq, .. } | Event::Trade { seq, replay: false, .. } => Some(*seq),
        _ => None,
    }
}

impl Faulty<'_> {
    /// Lets `fault` happen to this event if it can, and else passes it on.
    fn happen(&mut self, fault: Fault, epoch: Epoch, ts: Nanos, event: &Event<'_>) {
        match (fault, seq_of(event)) {
            (Fault::Gap, Some(_)) | (Fault::GapLine, _) => self.lines.skip(),
            (Fault::GapSeq, Some(_)) => {}
            (Fault::Duplicate, Some(_)) => {
                self.lines.event(epoch, ts, event);
                self.lines.event(epoch, ts, event);
            }
            (Fault::Old, Some(seq)) if seq.0 > 1 => {
                self.lines.event(epoch, ts, event);
                self.lines.event(epoch, ts, &with_seq(*event, Sequence(seq.0 - OLD_BY.min(seq.0 - 1))));
            }
            (Fault::Garbage, _) => self.lines.garbage(GARBAGE_LINE),
            (Fault::Crossed, Some(_)) if self.cross(epoch, ts, event) => {}
            _ => return self.lines.event(epoch, ts, event),
        }
        self.waiting.faults.pop_front();
    }

    /// Tells, instead of a change at some price, a bid above an ask: whatever the book is, it is crossed then.
    fn cross(&mut self, epoch: Epoch, ts: Nanos, event: &Event<'_>) -> bool {
        let Event::BookDelta { instrument, seq, levels } = *event else { return false };
        let Some(first) = levels.bids.iter().chain(levels.asks).next() else { return false };
        let bid = Level { price: Price(first.price.0 + 1), qty: Qty(1) };
        let ask = Level { price: first.price, qty: Qty(1) };
        let levels = Levels { bids: &[bid], asks: &[ask] };
        self.lines.event(epoch, ts, &Event::BookDelta { instrument, seq, levels });
        true
    }
}

const fn with_seq(event: Event<'_>, seq: Sequence) -> Event<'_> {
    match event {
        Event::BookDelta { instrument, levels, .. } => Event::BookDelta { instrument, seq, levels },
        Event::Trade { instrument, trade, replay, .. } => Event::Trade { instrument, seq, trade, replay },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_are_a_fault_and_how_often() {
        let plan = |text: &str| text.parse::<FaultPlan>().map(|plan| (plan.fault.to_string(), plan.every.0));
        assert_eq!(plan("gap@5s"), Ok(("gap".into(), 5_000_000_000)));
        assert_eq!(plan("silence:500ms@20s"), Ok(("silence:500ms".into(), 20_000_000_000)));
        assert_eq!(plan("disconnect@1m"), Ok(("disconnect:1000ms".into(), 60_000_000_000)));
        for bad in ["gap", "gap:3s@5s", "gap@", "gap@0s", "flood@5s", "silence:x@5s"] {
            assert!(plan(bad).is_err(), "{bad}");
        }
    }
}
