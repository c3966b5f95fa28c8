//! How fast a client reads.
//!
//! Owns the allowance of bytes over time. Never reads a clock or a socket: times come in, and [`super::Client`] reads.

use crate::plan::Profile;
use std::time::{Duration, Instant};

/// How often a slow client reads a little.
const SIP_EVERY: Duration = Duration::from_millis(50);

/// The pace of one client.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Pace {
    /// Whatever comes, at once.
    Free,
    /// Nothing.
    Never,
    /// So many bytes per second, in sips.
    Sips {
        /// The speed.
        bytes_per_s: u64,
        /// Bytes that may be read by now.
        credit: f64,
        /// Until when they were counted.
        at: Instant,
    },
    /// Everything for a while, then nothing for a while.
    Bursts {
        /// How long it reads.
        read: Duration,
        /// How long it does not.
        rest: Duration,
        /// When it began.
        from: Instant,
    },
}

impl Pace {
    /// The pace of a profile, from now on.
    pub(crate) const fn of(profile: Profile, now: Instant) -> Self {
        match profile {
            Profile::Slow { bytes_per_s } => Self::Sips { bytes_per_s, credit: 0.0, at: now },
            Profile::Stalled => Self::Never,
            Profile::Bursty { read, rest } => Self::Bursts { read, rest, from: now },
            _ => Self::Free,
        }
    }

    /// Whether everything is read at once, so that silence is the server's doing.
    pub(crate) const fn is_free(&self) -> bool {
        matches!(self, Self::Free)
    }

    /// Bytes that may be read now; 0 is none.
    pub(crate) fn allowance(&mut self, now: Instant) -> usize {
        match self {
            Self::Free => usize::MAX,
            Self::Never => 0,
            Self::Sips { bytes_per_s, credit, at } => {
                let speed = *bytes_per_s as f64;
                let came = speed * now.saturating_duration_since(*at).as_secs_f64();
                // What was not read is not saved up: a slow line does not become fast by waiting.
                *credit = (*credit + came).min(2.0 * speed * SIP_EVERY.as_secs_f64() + 1.0);
                *at = now;
                let sip = (speed * SIP_EVERY.as_secs_f64() / 2.0).max(1.0);
                if *credit >= sip { *credit as usize } else { 0 }
            }
            Self::Bursts { read, rest, from } => {
                let into = now.saturating_duration_since(*from).as_nanos() % (*read + *rest).as_nanos();
                if into < read.as_nanos() { usize::MAX } else { 0 }
            }
        }
    }

    /// So many bytes were read.
    pub(crate) fn spend(&mut self, bytes: usize) {
        if let Self::Sips { credit, .. } = self {
            *credit -= bytes as f64;
        }
    }

    /// When there may be more to read without a word from the socket; none when the socket tells.
    pub(crate) fn next(&self, now: Instant) -> Option<Instant> {
        match self {
            Self::Free | Self::Never => None,
            Self::Sips { .. } => Some(now + SIP_EVERY),
            Self::Bursts { read, rest, from } => {
                let period = *read + *rest;
                let periods = now.saturating_duration_since(*from).as_nanos() / period.as_nanos() + 1;
                Some(*from + period * u32::try_from(periods).unwrap_or(u32::MAX))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_client_reads_its_speed_whatever_the_steps() {
        let start = Instant::now();
        for step_ms in [7, 50, 130] {
            let mut pace = Pace::of(Profile::Slow { bytes_per_s: 10_000 }, start);
            let mut read = 0;
            for at_ms in (0..20_000).step_by(step_ms) {
                let allowed = pace.allowance(start + Duration::from_millis(at_ms));
                pace.spend(allowed);
                read += allowed;
            }
            // Steps longer than two sips lose what could not be saved up.
            let most = if step_ms > 100 { 155_000 } else { 200_001 };
            assert!((most - 5_000..=most).contains(&read), "{step_ms}: {read}");
        }
    }

    #[test]
    fn a_bursty_client_rests_in_between() {
        let start = Instant::now();
        let ms = Duration::from_millis;
        let mut pace = Pace::of(Profile::Bursty { read: ms(200), rest: ms(800) }, start);
        let mut reads = |at| pace.allowance(start + ms(at)) > 0;
        assert!(reads(0) && reads(199) && !reads(200) && !reads(999) && reads(1_000));
        assert_eq!(pace.next(start + ms(300)), Some(start + ms(1_000)));
    }
}
