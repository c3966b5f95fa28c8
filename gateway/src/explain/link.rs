//! The way to one client as a model: a kernel's send buffer that drains at the rate of a link, as long as the client reads.
//!
//! Never looks at bytes and never at a clock: it is told how many were written when, and says when each will have been received.
//! All arithmetic is in integers, so equal inputs give equal times.
//!
//! What it leaves out of a real connection, and so of the times that it says:
//! - there is one buffer, the gateway's; what the client's own kernel takes while the client does not read is not there;
//! - bytes are on the way for no time at all but that of their own transmission, and acknowledged one by one;
//! - the kernel calls a socket writable again when a third of the buffer is free, and so does the model: after a refusal exactly
//!   once, at that moment.

use model::Nanos;

use super::plan::{Rate, Window};

/// Work of one byte: the backlog counts in billionths, so that a rate per second times nanoseconds is exact.
const BYTE: u128 = 1_000_000_000;

/// What the kernel makes of a send buffer that was asked for: Linux doubles it and keeps about a quarter for its own books. On Linux
/// 6.18 with 65,536 set, a loopback socket took 98,304 bytes of large writes before it refused, and up to 107,000 of small ones. A
/// client that is too slow is caught up by large ones.
const HELD_PER_SET: (u64, u64) = (3, 2);

/// A connection's way to its client.
#[derive(Clone, Debug)]
pub(super) struct Link {
    rate: Rate,
    /// In order, none touching another.
    stalls: Vec<Window>,
    /// Bytes that the kernel holds.
    pub(super) held_max: u64,
    /// A refused writer is woken when no more than this many are held.
    writable_at_most: u64,
    /// Bytes held, in billionths, as of `at`.
    backlog: u128,
    at: Nanos,
    /// A write was not taken whole, and nobody was told since that there is room.
    refused: bool,
}

impl Link {
    /// A link before its first byte. With a low-water mark for what is not sent (0 is none) the kernel holds that much, if it is
    /// less, and wakes at half of it.
    pub(super) fn new(
        rate: Rate,
        stalls: &[Window],
        send_buffer_bytes: u64,
        notsent_lowat_bytes: u64,
    ) -> Self {
        let held_max = send_buffer_bytes.saturating_mul(HELD_PER_SET.0) / HELD_PER_SET.1;
        let is_low = notsent_lowat_bytes > 0 && notsent_lowat_bytes < held_max;
        let (held_max, writable_at_most) = if is_low {
            (notsent_lowat_bytes, notsent_lowat_bytes / 2)
        } else {
            (held_max, held_max / 3 * 2)
        };
        Self {
            rate,
            stalls: joined(stalls),
            held_max,
            writable_at_most,
            backlog: 0,
            at: Nanos(0),
            refused: false,
        }
    }

    /// Takes of some bytes what the kernel has room for.
    pub(super) fn write(&mut self, now: Nanos, bytes: usize) -> usize {
        self.advance(now);
        let room = if self.rate.0.is_none() && self.stall_at(now).is_none() {
            // Gone as soon as they are there.
            bytes as u64
        } else {
            self.held_max.saturating_sub(self.held())
        };
        let taken = (bytes as u64).min(room);
        self.backlog += u128::from(taken) * BYTE;
        self.refused |= taken < bytes as u64;
        taken as usize
    }

    /// When everything that was written but the last `behind` bytes will have been received.
    pub(super) fn received_at(&self, behind: usize) -> Nanos {
        self.drained_at((behind as u128 * BYTE).min(self.backlog))
    }

    /// When a refused writer is told that there is room; none when nobody waits.
    pub(super) fn writable_at(&self) -> Option<Nanos> {
        let held = u128::from(self.writable_at_most) * BYTE;
        self.refused.then(|| self.drained_at(held.min(self.backlog)))
    }

    /// The writer was told.
    pub(super) const fn take_writable(&mut self) {
        self.refused = false;
    }

    /// Whether the client has everything.
    pub(super) fn is_empty(&mut self, now: Nanos) -> bool {
        self.advance(now);
        self.backlog == 0
    }

    /// Bytes held, begun ones included.
    fn held(&self) -> u64 {
        self.backlog.div_ceil(BYTE) as u64
    }

    fn advance(&mut self, now: Nanos) {
        let drained = match self.rate.0 {
            Some(rate) => {
                u128::from(rate) * u128::from(self.reading_time(now).since(self.reading_time(self.at)).0)
            }
            None if self.drained_at(0) <= now => self.backlog,
            None => 0,
        };
        self.backlog = self.backlog.saturating_sub(drained);
        self.at = self.at.max(now);
    }

    /// When so much is left.
    fn drained_at(&self, left: u128) -> Nanos {
        let Some(rate) = self.rate.0 else {
            return self.stall_at(self.at).filter(|_| self.backlog > left).map_or(self.at, |stall| stall.to);
        };
        let needed = (self.backlog - left).div_ceil(u128::from(rate));
        if needed == 0 {
            return self.at;
        }
        let needed = Nanos(u64::try_from(needed).unwrap_or(u64::MAX));
        self.clock_time(self.reading_time(self.at) + needed)
    }

    fn stall_at(&self, now: Nanos) -> Option<&Window> {
        self.stalls.iter().find(|stall| stall.from <= now && now < stall.to)
    }

    /// How much of the time up to now the client read.
    fn reading_time(&self, now: Nanos) -> Nanos {
        let stalled = |stall: &Window| now.min(stall.to).since(stall.from).0;
        Nanos(now.0 - self.stalls.iter().map(stalled).sum::<u64>())
    }

    /// When the client will have read for so long.
    fn clock_time(&self, reading: Nanos) -> Nanos {
        self.stalls.iter().fold(reading, |at, stall| {
            if at <= stall.from {
                at
            } else if stall.to == Window::NEVER {
                Window::NEVER
            } else {
                at + stall.to.since(stall.from)
            }
        })
    }
}

/// Windows in order, those that touch as one.
fn joined(windows: &[Window]) -> Vec<Window> {
    let mut sorted = windows.to_vec();
    sorted.sort_unstable();
    let mut joined: Vec<Window> = Vec::new();
    for window in sorted {
        match joined.last_mut() {
            Some(last) if window.from <= last.to => last.to = last.to.max(window.to),
            _ => joined.push(window),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(rate: &str, stalls: &[&str]) -> Link {
        let stalls: Vec<Window> = stalls.iter().map(|text| text.parse().unwrap()).collect();
        // 1,500 bytes are held, and a refused writer is woken at 1,000.
        Link::new(rate.parse().unwrap(), &stalls, 1_000, 0)
    }

    const fn ms(n: u64) -> Nanos {
        Nanos::from_millis(n)
    }

    #[test]
    fn bytes_leave_one_after_the_other_at_the_rate() {
        let mut link = link("1kB/s", &[]);
        assert_eq!(link.write(ms(0), 100), 100);
        assert_eq!(
            [link.received_at(100), link.received_at(99), link.received_at(0)],
            [ms(0), ms(1), ms(100)]
        );
        // Behind those that are still on their way.
        assert_eq!(link.write(ms(60), 10), 10);
        assert_eq!(link.received_at(0), ms(110));
        assert!(!link.is_empty(ms(109)) && link.is_empty(ms(110)));
        assert_eq!(link.write(ms(500), 10), 10);
        assert_eq!(link.received_at(0), ms(510));
    }

    #[test]
    fn a_full_buffer_refuses_and_wakes_its_writer_once_when_a_third_is_free() {
        let mut link = link("1kB/s", &[]);
        assert_eq!((link.write(ms(0), 1_500), link.writable_at()), (1_500, None));
        assert_eq!((link.write(ms(0), 1), link.writable_at()), (0, Some(ms(500))));
        link.take_writable();
        assert_eq!(link.writable_at(), None);
        assert_eq!(link.write(ms(500), 1_000), 500);
        assert_eq!(link.writable_at(), Some(ms(1_000)));
    }

    #[test]
    fn a_low_mark_for_unsent_bytes_holds_less_and_wakes_at_half() {
        let mut link = Link::new(Rate(Some(1_000)), &[], 1_000, 200);
        assert_eq!((link.write(ms(0), 1_000), link.writable_at()), (200, Some(ms(100))));
    }

    #[test]
    fn nothing_is_received_while_the_client_does_not_read() {
        let mut link = link("1kB/s", &["50ms..150ms", "140ms..200ms", "1s..2s"]);
        assert_eq!(link.write(ms(0), 100), 100);
        assert_eq!(
            [link.received_at(50), link.received_at(49), link.received_at(0)],
            [ms(50), ms(201), ms(250)]
        );
        assert_eq!(link.write(ms(100), 10), 10);
        assert_eq!(link.received_at(0), ms(260));
        assert_eq!(link.write(ms(1_500), 2_000), 1_500);
        assert_eq!(link.writable_at(), Some(ms(2_500)));
    }

    #[test]
    fn an_unlimited_link_holds_bytes_only_in_a_stall() {
        let mut link = link("unlimited", &["1s..2s", "3s.."]);
        assert_eq!((link.write(ms(500), 1 << 30), link.received_at(0)), (1 << 30, ms(500)));
        assert_eq!((link.write(ms(1_200), 1_000), link.received_at(0)), (1_000, ms(2_000)));
        assert_eq!((link.write(ms(1_300), 1_000), link.writable_at()), (500, Some(ms(2_000))));
        link.take_writable();
        assert!(!link.is_empty(ms(1_999)) && link.is_empty(ms(2_000)));
        assert_eq!(link.write(ms(3_500), 10), 10);
        assert_eq!(link.received_at(0), Window::NEVER);
        assert!(!link.is_empty(ms(1_000_000)));
    }
}
