//! The only place of the gateway that reads a clock.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use fanout::Now;
use model::Nanos;

/// Wall and monotonic time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
}

impl Default for Clock {
    fn default() -> Self {
        Self { start: Instant::now() }
    }
}

impl Clock {
    /// Nanoseconds since 1970. For stamps only: it may jump.
    #[must_use]
    pub fn wall(&self) -> Nanos {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Nanoseconds since this clock was made. For time-outs: it never jumps.
    #[must_use]
    pub fn mono(&self) -> Nanos {
        Nanos(u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Both.
    #[must_use]
    pub fn now(&self) -> Now {
        Now { mono: self.mono(), wall: self.wall() }
    }
}
