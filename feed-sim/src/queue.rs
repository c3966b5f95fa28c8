//! Batches on their way to one reader.
//!
//! Owns what waits for a reader's socket and its limit in bytes. A lock and a condition variable rather than a channel,
//! because the limit counts bytes. Batches come from the server's venue thread and leave through the reader's writer
//! thread.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::encode::Lines;

#[derive(Debug, Default)]
struct State {
    batches: VecDeque<(Arc<Lines>, Kind)>,
    /// Bytes of the live batches that wait, and of the answers: an opening must not count against a reader.
    live_bytes: usize,
    answer_bytes: usize,
    is_closed: bool,
}

/// What a batch is: answers to the reader itself are limited apart from live events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Live,
    Answer,
}

/// Batches that wait for one reader.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    live_bytes_max: usize,
    answer_bytes_max: usize,
}

/// The reader is too far behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Overflow;

impl Queue {
    pub(crate) fn new(live_bytes_max: usize, answer_bytes_max: usize) -> Self {
        Self { state: Mutex::default(), changed: Condvar::new(), live_bytes_max, answer_bytes_max }
    }

    /// Adds a batch, unless the reader is too far behind. A closed queue takes nothing.
    pub(crate) fn push(&self, lines: Arc<Lines>, kind: Kind) -> Result<(), Overflow> {
        let mut state = self.state.lock();
        if state.is_closed {
            return Ok(());
        }
        let (bytes, max) = match kind {
            Kind::Live => (&mut state.live_bytes, self.live_bytes_max),
            Kind::Answer => (&mut state.answer_bytes, self.answer_bytes_max),
        };
        if *bytes >= max {
            return Err(Overflow);
        }
        *bytes += lines.bytes_len();
        state.batches.push_back((lines, kind));
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    /// Waits for a batch and takes it; none when the queue is closed.
    pub(crate) fn take(&self) -> Option<Arc<Lines>> {
        let mut state = self.state.lock();
        loop {
            if state.is_closed {
                return None;
            }
            if let Some((lines, kind)) = state.batches.pop_front() {
                match kind {
                    Kind::Live => state.live_bytes -= lines.bytes_len(),
                    Kind::Answer => state.answer_bytes -= lines.bytes_len(),
                }
                drop(state);
                self.changed.notify_all();
                return Some(lines);
            }
            self.changed.wait(&mut state);
        }
    }

    /// Ends both sides' waiting; what waits is not sent.
    pub(crate) fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.batches.clear();
        drop(state);
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state.lock().is_closed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{Epoch, Nanos};

    #[test]
    fn a_reader_too_far_behind_overflows_and_answers_count_apart() {
        let queue = Queue::new(1, 1);
        let batch = || {
            let mut lines = Lines::default();
            lines.heartbeat(Epoch(1), Nanos(1));
            Arc::new(lines)
        };
        assert_eq!(queue.push(batch(), Kind::Live), Ok(()));
        assert_eq!(queue.push(batch(), Kind::Live), Err(Overflow));
        assert_eq!(queue.push(batch(), Kind::Answer), Ok(()));
        assert!(queue.take().is_some());
        assert_eq!(queue.push(batch(), Kind::Live), Ok(()));
        queue.close();
        assert!(queue.take().is_none() && queue.is_closed());
    }
}
