//! When a recorded event is told again, and which time it then carries.
//!
//! Owns the relation between recorded time and time now. Never reads a clock.

use std::str::FromStr;

use model::Nanos;
use thiserror::Error;

use super::ReplayConfig;

/// When something is due while nothing is told: later than any time, yet not the end.
const STANDSTILL: Nanos = Nanos(u64::MAX - 1);

/// How fast a recording is played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Speed {
    /// This many times as fast as recorded.
    Times(f64),
    /// As fast as the readers take it.
    Max,
}

/// A text that is no speed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no speed: expected a number above 0, or max")]
pub struct SpeedError(String);

impl FromStr for Speed {
    type Err = SpeedError;

    fn from_str(text: &str) -> Result<Self, SpeedError> {
        match text.parse() {
            _ if text == "max" => Ok(Self::Max),
            Ok(times) if times > 0.0 && f64::is_finite(times) => Ok(Self::Times(times)),
            _ => Err(SpeedError(text.to_owned())),
        }
    }
}

/// Which times the lines of a replay carry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Timestamps {
    /// Now: when the event is due, or sent.
    #[default]
    Shifted,
    /// As recorded.
    Kept,
}

/// The course of one replay.
#[derive(Clone, Debug)]
pub(crate) struct Pace {
    speed: Speed,
    rate: Option<f64>,
    timestamps: Timestamps,
    /// Events leave at the ends of ticks of this length; 0 is each by itself.
    tick: Nanos,
    /// The start of this pass or of this rate: now, and in the recording.
    start: Nanos,
    start_recorded: Nanos,
    /// Events since then; what `rate` is measured by.
    told: u64,
}

impl Pace {
    pub(crate) const fn new(config: &ReplayConfig) -> Self {
        Self {
            speed: config.speed,
            rate: config.rate,
            timestamps: config.timestamps,
            tick: config.tick,
            start: Nanos(0),
            start_recorded: Nanos(0),
            told: 0,
        }
    }

    /// Begins a pass at `now` with what was recorded at `recorded`.
    pub(crate) const fn start(&mut self, now: Nanos, recorded: Nanos) {
        self.start = now;
        self.start_recorded = recorded;
        self.told = 0;
    }

    /// Goes on at this many events per second from `now`, with what was recorded at `recorded`; 0 stands still.
    pub(crate) const fn set_rate(&mut self, rate: f64, now: Nanos, recorded: Nanos) {
        self.rate = Some(rate);
        self.start(now, recorded);
    }

    /// Counts an event as told.
    pub(crate) const fn count(&mut self) {
        self.told += 1;
    }

    /// Whether events are told as fast as they are taken.
    pub(crate) fn is_unpaced(&self) -> bool {
        self.rate.is_none() && self.speed == Speed::Max
    }

    /// When the next event, recorded at `recorded`, is due; zero means at once.
    pub(crate) fn due(&self, recorded: Nanos) -> Nanos {
        let since_start = match (self.rate, self.speed) {
            (Some(0.0), _) => return STANDSTILL,
            (Some(rate), _) => self.told as f64 / rate * 1e9,
            (None, Speed::Times(times)) => recorded.since(self.start_recorded).0 as f64 / times,
            (None, Speed::Max) => return Nanos(0),
        } as u64;
        let ticks = since_start.div_ceil(self.tick.0.max(1));
        self.start + Nanos(ticks * self.tick.0.max(1))
    }

    /// The time that an event carries which is told at `now`.
    pub(crate) fn stamp(&self, recorded: Nanos, now: Nanos) -> Nanos {
        match self.timestamps {
            Timestamps::Kept => recorded,
            Timestamps::Shifted if self.is_unpaced() => now,
            // A tick that leaves in time is stamped with when it left, one that was held up with when it should have.
            Timestamps::Shifted if now.since(self.due(recorded)) < self.tick => now,
            Timestamps::Shifted => self.due(recorded).min(now),
        }
    }

    /// The time of something that was recorded before the start.
    pub(crate) fn stamp_history(&self, recorded: Nanos) -> Nanos {
        match self.timestamps {
            Timestamps::Kept => recorded,
            Timestamps::Shifted => self.start.since(self.start_recorded.since(recorded)),
        }
    }

    /// The time of what is told between events: now, or the recorded moment.
    pub(crate) const fn stamp_now(&self, recorded: Nanos, now: Nanos) -> Nanos {
        match self.timestamps {
            Timestamps::Kept => recorded,
            Timestamps::Shifted => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pace(speed: Speed, timestamps: Timestamps) -> Pace {
        let mut pace = Pace::new(&ReplayConfig { speed, timestamps, ..ReplayConfig::new("") });
        pace.start(Nanos(1_000), Nanos(100));
        pace
    }

    #[test]
    fn events_are_due_at_their_distance_divided_by_the_speed() {
        let ten = pace(Speed::Times(10.0), Timestamps::Shifted);
        assert_eq!(ten.due(Nanos(300)), Nanos(1_020));
        assert_eq!(ten.stamp(Nanos(300), Nanos(5_000)), Nanos(1_020));
        let max = pace(Speed::Max, Timestamps::Shifted);
        assert_eq!((max.due(Nanos(300)), max.stamp(Nanos(300), Nanos(5_000))), (Nanos(0), Nanos(5_000)));
        assert_eq!(pace(Speed::Max, Timestamps::Kept).stamp(Nanos(300), Nanos(5_000)), Nanos(300));
    }

    #[test]
    fn a_tick_in_time_is_stamped_when_it_leaves_and_a_late_one_when_it_should_have() {
        let tick = Nanos(500);
        let mut pace = Pace::new(&ReplayConfig { tick, ..ReplayConfig::new("") });
        pace.set_rate(4e6, Nanos(1_000), Nanos(0));
        // One event each 250 ns: the third is due at the end of the first tick.
        let due: Vec<u64> = (0..5)
            .map(|_| {
                let due = pace.due(Nanos(0));
                pace.count();
                due.0
            })
            .collect();
        assert_eq!(due, [1_000, 1_500, 1_500, 2_000, 2_000]);
        assert_eq!(pace.due(Nanos(0)), Nanos(2_500));
        assert_eq!(pace.stamp(Nanos(0), Nanos(2_999)), Nanos(2_999));
        assert_eq!(pace.stamp(Nanos(0), Nanos(3_000)), Nanos(2_500));
    }

    #[test]
    fn a_new_rate_begins_where_it_is_set_and_none_stands_still() {
        let mut pace = pace(Speed::Max, Timestamps::Shifted);
        pace.set_rate(0.0, Nanos(5_000), Nanos(300));
        assert!(pace.due(Nanos(300)) > Nanos(1 << 62) && pace.due(Nanos(300)) < crate::NEVER);
        pace.set_rate(1e9, Nanos(7_000), Nanos(300));
        pace.count();
        assert_eq!(pace.due(Nanos(300)), Nanos(7_001));
    }

    #[test]
    fn speeds_are_numbers_above_zero_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        for bad in ["0", "-1", "fast", "inf", "NaN"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }
}
