//! The byte log of a shard: a ring of the newest frames of all streams, in the order in which they came.
//!
//! Positions count bytes since the start and never repeat, so a stale position is noticed and never read. A frame is
//! never split at the end of the ring: the rest of the lap is skipped instead. No frame ends there either, so that frames
//! whose positions are neighbours lie side by side and are read as one.

/// A ring of frames with positions that only grow.
#[derive(Debug)]
pub(crate) struct ByteLog {
    bytes: Vec<u8>,
    /// Position of the next byte.
    end: u64,
    /// Oldest position that is still readable.
    start: u64,
}

impl ByteLog {
    pub(crate) fn new(capacity: usize) -> Self {
        // Written once: memory that is only asked for is given page by page, each at the moment when a frame first comes there.
        let mut bytes = vec![0; capacity];
        bytes.fill(1);
        Self { bytes, end: 0, start: 0 }
    }

    /// Position of the next byte.
    pub(crate) const fn end(&self) -> u64 {
        self.end
    }

    /// Bytes in use, and how many there are room for.
    pub(crate) const fn room(&self) -> (u64, u64) {
        (self.end - self.start, self.bytes.len() as u64)
    }

    /// Whether what lies at `position` has not been overwritten.
    pub(crate) const fn holds(&self, position: u64) -> bool {
        position >= self.start
    }

    /// Appends one frame and says where it begins; `None` when it is larger than half the log.
    pub(crate) fn push(&mut self, frame: &[u8]) -> Option<u64> {
        let capacity = self.bytes.len() as u64;
        let len = frame.len() as u64;
        if len > capacity / 2 {
            return None;
        }
        let offset = self.end % capacity;
        if offset + len >= capacity {
            self.end += capacity - offset;
        }
        let at = self.end;
        let offset = (at % capacity) as usize;
        self.bytes[offset..offset + frame.len()].copy_from_slice(frame);
        self.end += len;
        self.start = self.start.max(self.end.saturating_sub(capacity));
        Some(at)
    }

    /// The bytes of one contiguous range of frames.
    pub(crate) fn read(&self, from: u64, to: u64) -> &[u8] {
        assert!(self.holds(from) && from <= to && to <= self.end, "a range is checked before it is read");
        let offset = (from % self.bytes.len() as u64) as usize;
        &self.bytes[offset..offset + (to - from) as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_read_back_until_they_are_overwritten() {
        let mut log = ByteLog::new(100);
        let mut frames = Vec::new();
        for n in 0..50_u8 {
            let frame = vec![n; 1 + usize::from(n) % 30];
            let at = log.push(&frame).unwrap();
            frames.push((at, frame));
            let mut readable = 0;
            for (at, frame) in &frames {
                if log.holds(*at) {
                    readable += frame.len();
                    assert_eq!(log.read(*at, at + frame.len() as u64), &frame[..]);
                }
            }
            assert!(readable <= 100);
        }
        assert!(!log.holds(frames[0].0));
    }

    /// A client is given ranges of frames whose positions are neighbours; found by seed 20114 of the simulator's churn.
    #[test]
    fn frames_that_are_neighbours_are_read_as_one_wherever_a_lap_ends() {
        for len in 1..=50 {
            let mut log = ByteLog::new(100);
            let mut before: Option<(u64, u64)> = None;
            for n in 0..100_u8 {
                let at = log.push(&vec![n; len]).unwrap();
                let end = at + len as u64;
                if let Some((start, _)) = before.filter(|&(start, end)| end == at && log.holds(start)) {
                    let both = [vec![n - 1; len], vec![n; len]].concat();
                    assert_eq!(log.read(start, end), both, "frames of {len} bytes at {start}");
                }
                before = Some((at, end));
            }
        }
    }

    #[test]
    fn a_frame_larger_than_half_the_log_is_refused() {
        let mut log = ByteLog::new(100);
        assert_eq!(log.push(&[0; 51]), None);
        assert_eq!(log.push(&[0; 50]), Some(0));
        assert_eq!(log.push(&[0; 40]), Some(50));
        assert_eq!(log.push(&[0; 20]), Some(100), "the last ten bytes of the lap are skipped");
        assert!(!log.holds(0) && log.holds(50));
    }
}
