//! How busy a thread's loop is: turns, time at work and time asleep, and the share at work of late.
//!
//! Counts in plain numbers on the thread itself; never reads a clock and never decides anything. A turn is one pass of the loop
//! without its sleep. Time during which the system ran another thread counts as work, because it delays clients as work does.

use fanout::LatencyHistogram;
use model::Nanos;

/// Length of the windows of which the last whole one is reported: short enough to see a burst, long enough that a scrape every
/// fifteen seconds sees a third of them.
const WINDOW: Nanos = Nanos::from_secs(5);

/// What a loop has done since it began.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LoopStats {
    /// Time at work.
    pub busy: u64,
    /// Time asleep.
    pub idle: u64,
    /// Lengths of turns.
    pub turns: LatencyHistogram,
    /// Share of the last whole window that was work, in thousandths; the highest of several threads.
    pub busy_permille: u64,
}

impl LoopStats {
    /// Adds another thread's loop.
    pub fn add(&mut self, other: &Self) {
        self.busy += other.busy;
        self.idle += other.idle;
        self.turns.add(&other.turns);
        self.busy_permille = self.busy_permille.max(other.busy_permille);
    }
}

/// Watches one loop.
#[derive(Debug)]
pub struct LoopWatch {
    stats: LoopStats,
    /// When the current turn or sleep began.
    since: Nanos,
    window_began: Nanos,
    busy_at_window: u64,
}

impl LoopWatch {
    /// A loop that begins its first turn now.
    #[must_use]
    pub fn new(now: Nanos) -> Self {
        Self { stats: LoopStats::default(), since: now, window_began: now, busy_at_window: 0 }
    }

    /// A turn is over; sleep or the next turn begins.
    pub fn end_turn(&mut self, now: Nanos) {
        if cfg!(feature = "unmeasured") {
            return;
        }
        let turn = now.since(self.since).0;
        self.stats.busy += turn;
        self.stats.turns.observe(turn);
        self.since = now;
        self.end_window(now);
    }

    /// The sleep that followed a turn is over.
    pub fn end_sleep(&mut self, now: Nanos) {
        if cfg!(feature = "unmeasured") {
            return;
        }
        self.stats.idle += now.since(self.since).0;
        self.since = now;
    }

    fn end_window(&mut self, now: Nanos) {
        let length = now.since(self.window_began).0;
        if length >= WINDOW.0 {
            self.stats.busy_permille = 1_000 * (self.stats.busy - self.busy_at_window) / length;
            (self.window_began, self.busy_at_window) = (now, self.stats.busy);
        }
    }

    /// What was counted so far.
    #[must_use]
    pub const fn stats(&self) -> &LoopStats {
        &self.stats
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_sleep_are_told_apart_and_the_last_window_is_kept() {
        let mut watch = LoopWatch::new(Nanos(0));
        for second in 0..10_u64 {
            let at = |ms: u64| Nanos::from_millis(second * 1_000 + ms);
            watch.end_turn(at(250));
            watch.end_turn(at(300));
            watch.end_sleep(at(1_000));
        }
        let stats = watch.stats();
        assert_eq!((stats.busy, stats.idle), (3_000_000_000, 7_000_000_000));
        assert_eq!(stats.turns.count(), 20);
        // The window from 0 to 5.25 s: five turns of 300 ms and one of 250.
        assert_eq!(stats.busy_permille, 333);
    }

    #[test]
    fn of_several_threads_the_busiest_is_told() {
        let mut sum = LoopStats { busy: 1, busy_permille: 200, ..LoopStats::default() };
        sum.add(&LoopStats { busy: 2, idle: 5, busy_permille: 900, ..LoopStats::default() });
        sum.add(&LoopStats { busy_permille: 100, ..LoopStats::default() });
        assert_eq!((sum.busy, sum.idle, sum.busy_permille), (3, 5, 900));
    }
}
