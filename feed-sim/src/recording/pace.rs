//! When a recorded event is told again, and which time it then carries.
//!
//! Owns the relation between recorded time and time now. Never reads a clock.

use std::str::FromStr;

use model::Nanos;
use thiserror::Error;

use super::ReplayConfig;

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
    /// The start of this pass: now, and in the recording.
    start: Nanos,
    start_recorded: Nanos,
    /// Events of this pass so far; what `rate` is measured by.
    told: u64,
}

impl Pace {
    pub(crate) const fn new(config: &ReplayConfig) -> Self {
        Self {
            speed: config.speed,
            rate: config.rate,
            timestamps: config.timestamps,
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
        match (self.rate, self.speed) {
            (Some(rate), _) => self.start + Nanos((self.told as f64 / rate * 1e9) as u64),
            (None, Speed::Times(times)) => {
                self.start + Nanos((recorded.since(self.start_recorded).0 as f64 / times) as u64)
            }
            (None, Speed::Max) => Nanos(0),
        }
    }

    /// The time that an event carries which is told at `now`.
    pub(crate) fn stamp(&self, recorded: Nanos, now: Nanos) -> Nanos {
        match self.timestamps {
            Timestamps::Kept => recorded,
            Timestamps::Shifted if self.is_unpaced() => now,
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
    fn speeds_are_numbers_above_zero_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        for bad in ["0", "-1", "fast", "inf", "NaN"] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }
}
