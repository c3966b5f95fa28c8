//! Whether what is known is complete: line numbers, sequences, and stale or fresh.
//!
//! Owns the line counter of the connection and, per instrument, the head and the reason for being stale.
//! Never touches a book and never asks the feed; it judges the place of an event, and the instrument's
//! state acts on the verdict.

use model::{Epoch, Nanos, Sequence};

/// Why an instrument's data may not be what the venue has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum StaleReason {
    /// No snapshot has come yet.
    Never,
    /// A number was missing in the instrument's sequence.
    SequenceGap,
    /// A number was missing in the lines of the connection.
    TransportGap,
    /// An event would have crossed the book.
    Crossed,
    /// An event would have grown a side beyond its limit.
    Limit,
    /// The feed went on in another epoch before its snapshot.
    NewEpoch,
    /// The connection ended or fell silent.
    Disconnected,
}

impl StaleReason {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Never,
        Self::SequenceGap,
        Self::TransportGap,
        Self::Crossed,
        Self::Limit,
        Self::NewEpoch,
        Self::Disconnected,
    ];

    /// The name in metric labels and notices.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::SequenceGap => "sequence_gap",
            Self::TransportGap => "transport_gap",
            Self::Crossed => "crossed",
            Self::Limit => "limit",
            Self::NewEpoch => "new_epoch",
            Self::Disconnected => "disconnected",
        }
    }
}

/// Counts the lines of one connection.
#[derive(Debug)]
pub(crate) struct LineCounter {
    /// Number that the next line must have.
    next: u64,
}

/// Place of a line among those of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LinePlace {
    Next,
    Repeated,
    AfterGap,
}

impl LineCounter {
    /// At the start of a connection.
    pub(crate) const fn new() -> Self {
        Self { next: 1 }
    }

    /// Takes a line; after a gap counting goes on behind it.
    pub(crate) const fn take(&mut self, line: u64) -> LinePlace {
        if line < self.next {
            return LinePlace::Repeated;
        }
        let place = if line == self.next { LinePlace::Next } else { LinePlace::AfterGap };
        self.next = line.saturating_add(1);
        place
    }
}

/// Place of a delta or trade among the events of its instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Right after the head.
    Next,
    /// Not above the head.
    Old,
    /// Further on: something is missing.
    AfterGap,
    /// Of an epoch whose snapshot has not come.
    OtherEpoch,
}

/// Place of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SnapshotPlace {
    /// Says something new, or ends being stale.
    Useful,
    /// Says what is known.
    Known,
    /// Older than the head.
    Old,
}

/// Epochs that were left and are remembered: enough for a feed that flaps between a few venues.
const LEFT: usize = 4;

/// How complete one instrument is.
#[derive(Debug)]
pub(crate) struct Track {
    /// None while fresh.
    stale: Option<StaleReason>,
    /// The last applied event; none before the first snapshot.
    head: Option<(Epoch, Sequence)>,
    /// The last event in the head's epoch that changed the book; what is told next must lie above.
    book_seq: Option<Sequence>,
    /// Epochs that were left, the last first, and where. A stream may still stand there, when nothing of it changed since.
    left: [(Epoch, Sequence); LEFT],
    /// When a snapshot was asked for, or should have been on its way by itself; our clock.
    pub(crate) asked_at: Nanos,
    /// That request was for all instruments, whose answers take their time.
    pub(crate) asked_for_all: bool,
}

impl Track {
    /// An instrument that was just announced; its snapshot should be on its way.
    pub(crate) const fn new(now: Nanos) -> Self {
        Self {
            stale: Some(StaleReason::Never),
            head: None,
            book_seq: None,
            left: [(Epoch(0), Sequence(0)); LEFT],
            asked_at: now,
            asked_for_all: true,
        }
    }

    pub(crate) const fn stale(&self) -> Option<StaleReason> {
        self.stale
    }

    pub(crate) const fn is_stale(&self) -> bool {
        self.stale.is_some()
    }

    /// Whether a snapshot was ever applied.
    pub(crate) const fn has_book(&self) -> bool {
        self.head.is_some()
    }

    pub(crate) fn head(&self) -> (Epoch, Sequence) {
        self.head.unwrap_or_default()
    }

    /// Whether a snapshot of this epoch was applied.
    pub(crate) fn knows_epoch(&self, epoch: Epoch) -> bool {
        self.head.is_some_and(|(known, _)| known == epoch)
    }

    pub(crate) fn place(&self, epoch: Epoch, seq: Sequence) -> Place {
        match self.head {
            Some((known, head)) if known == epoch => match seq.0.checked_sub(head.0) {
                None | Some(0) => Place::Old,
                Some(1) => Place::Next,
                Some(_) => Place::AfterGap,
            },
            _ => Place::OtherEpoch,
        }
    }

    pub(crate) fn snapshot_place(&self, epoch: Epoch, seq: Sequence) -> SnapshotPlace {
        match self.head {
            Some((known, head)) if known == epoch && seq < head => SnapshotPlace::Old,
            Some((known, head)) if known == epoch && seq == head && !self.is_stale() => SnapshotPlace::Known,
            // Whoever was told of a place in it could not tell that the count began anew.
            _ if self.left.iter().any(|&(left, head)| left == epoch && seq <= head) => SnapshotPlace::Old,
            _ => SnapshotPlace::Useful,
        }
    }

    /// Whether clients were already told of a book at this place, so that another one cannot follow.
    pub(crate) fn has_told(&self, epoch: Epoch, seq: Sequence) -> bool {
        self.knows_epoch(epoch) && self.book_seq.is_some_and(|told| seq <= told)
    }

    /// The next event was applied.
    pub(crate) const fn advance(&mut self, epoch: Epoch, seq: Sequence) {
        self.head = Some((epoch, seq));
    }

    /// The head changed the book.
    pub(crate) fn note_book(&mut self) {
        self.book_seq = self.head.map(|(_, seq)| seq);
    }

    /// A snapshot was applied: the instrument is fresh. Says whether it was stale.
    pub(crate) fn adopt(&mut self, epoch: Epoch, seq: Sequence) -> bool {
        if !self.knows_epoch(epoch) {
            self.book_seq = None;
            if let Some(head) = self.head {
                self.left.rotate_right(1);
                self.left[0] = head;
            }
        }
        self.head = Some((epoch, seq));
        self.stale.take().is_some()
    }

    /// Makes a fresh instrument stale; says whether it was fresh.
    pub(crate) const fn go_stale(&mut self, reason: StaleReason) -> bool {
        let was_fresh = self.stale.is_none();
        if was_fresh {
            self.stale = Some(reason);
        }
        was_fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_from_one_and_go_on_behind_a_gap() {
        let mut lines = LineCounter::new();
        let places: Vec<_> =
            [1, 2, 2, 0, 5, 4, 6, u64::MAX].into_iter().map(|line| lines.take(line)).collect();
        use LinePlace::*;
        assert_eq!(places, [Next, Next, Repeated, Repeated, AfterGap, Repeated, Next, AfterGap]);
        assert_eq!(LineCounter::new().take(2), AfterGap);
    }

    #[test]
    fn an_epoch_that_was_left_goes_on_and_does_not_begin_anew() {
        let mut track = Track::new(Nanos(0));
        for (epoch, seq) in [(7, 5), (8, 1), (9, 3)] {
            track.adopt(Epoch(epoch), Sequence(seq));
        }
        let place = |track: &Track, epoch, seq| track.snapshot_place(Epoch(epoch), Sequence(seq));
        assert_eq!(
            [1, 5, 6].map(|seq| place(&track, 7, seq)),
            [SnapshotPlace::Old, SnapshotPlace::Old, SnapshotPlace::Useful]
        );
        track.adopt(Epoch(7), Sequence(6));
        assert_eq!(place(&track, 8, 1), SnapshotPlace::Old);
        assert_eq!(place(&track, 10, 1), SnapshotPlace::Useful);
    }

    #[test]
    fn every_reason_has_its_own_name() {
        let mut names = StaleReason::ALL.map(StaleReason::name).to_vec();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), StaleReason::ALL.len());
    }
}
