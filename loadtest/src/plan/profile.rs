//! Profiles: how a client behaves that is not simply fast.
//!
//! Owns their names, their parameters and the one grammar in which command lines and scenarios write them. Never acts:
//! [`crate::client`] does.

use super::parse_duration;
use std::fmt::{Display, Formatter};
use std::time::Duration;

/// What `--help` says of profiles.
pub(crate) const PROFILES_HELP: &str = "\
Profiles (in parentheses what they mean without a parameter):
  fast                    reads everything at once
  slow:64kB/s             reads so many bytes per second
  stalled                 stops reading once it is subscribed, until the run ends
  bursty:200ms/800ms      reads for the first time, then not for the second, again and again
  flapping:2s             drops its connection every so often and begins anew
  resuming:2s             drops its connection every so often and goes on from where it stood
  churning:1s             unsubscribes and subscribes again, one step every so often
  paused:2s/3s            a tab that is seen for the first time and hidden (paused) for the second
  limited:100ms+64kB/s    asks for at most one update per interval, a bandwidth, or both (100ms)
All but `fast` opt in to the superset. Slow, stalled and bursty clients have a small receive buffer.";

/// How a client behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Profile {
    /// Reads everything at once.
    Fast,
    /// Reads slowly, all the time.
    Slow {
        /// What it reads.
        bytes_per_s: u64,
    },
    /// Reads nothing between its subscription and the end of the run.
    Stalled,
    /// Reads now and then.
    Bursty {
        /// How long it reads.
        read: Duration,
        /// How long it does not.
        rest: Duration,
    },
    /// Comes back anew again and again.
    Flapping {
        /// Time from one reconnect to the next.
        every: Duration,
    },
    /// Comes back again and again, and names its place.
    Resuming {
        /// Time from one reconnect to the next.
        every: Duration,
    },
    /// Changes its subscriptions.
    Churning {
        /// Time between two requests.
        every: Duration,
    },
    /// A tab that is hidden now and then.
    Paused {
        /// How long it is seen.
        seen: Duration,
        /// How long it is hidden.
        hidden: Duration,
    },
    /// Wants less than there is.
    Limited {
        /// At most one update per this; 0 is no limit.
        interval_ms: u32,
        /// Bandwidth of the connection; 0 is no limit.
        bytes_per_s: u64,
    },
}

impl Profile {
    /// Its name without parameters.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Slow { .. } => "slow",
            Self::Stalled => "stalled",
            Self::Bursty { .. } => "bursty",
            Self::Flapping { .. } => "flapping",
            Self::Resuming { .. } => "resuming",
            Self::Churning { .. } => "churning",
            Self::Paused { .. } => "paused",
            Self::Limited { .. } => "limited",
        }
    }

    /// Whether it takes what comes as soon as it comes, so that its latency is the server's doing and the server has no
    /// reason to close it.
    pub(crate) const fn is_prompt(&self) -> bool {
        matches!(self, Self::Fast | Self::Flapping { .. } | Self::Churning { .. })
    }

    /// Whether it does not read at times, so that the server may close it for that.
    pub(crate) const fn may_lag(&self) -> bool {
        matches!(self, Self::Slow { .. } | Self::Stalled | Self::Bursty { .. })
    }

    /// Whether it never drops its connection by itself, and does not come back when it has lost it.
    pub(crate) const fn is_steady(&self) -> bool {
        matches!(self, Self::Fast)
    }

    /// Whether it must opt in to the superset, because it uses it.
    pub(crate) const fn needs_superset(&self) -> bool {
        matches!(self, Self::Resuming { .. } | Self::Paused { .. } | Self::Limited { .. })
    }

    /// Time between two of its actions, when it does anything by itself; `count` of them are behind it.
    pub(crate) const fn next_action(&self, count: u64) -> Option<Duration> {
        match *self {
            Self::Flapping { every } | Self::Resuming { every } | Self::Churning { every } => Some(every),
            Self::Paused { seen, hidden } => Some(if count.is_multiple_of(2) { seen } else { hidden }),
            _ => None,
        }
    }
}

impl Display for Profile {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())?;
        match *self {
            Self::Fast | Self::Stalled => Ok(()),
            Self::Slow { bytes_per_s } => write!(f, ":{bytes_per_s}B/s"),
            Self::Bursty { read: a, rest: b } | Self::Paused { seen: a, hidden: b } => {
                write!(f, ":{}ms/{}ms", a.as_millis(), b.as_millis())
            }
            Self::Flapping { every } | Self::Resuming { every } | Self::Churning { every } => {
                write!(f, ":{}ms", every.as_millis())
            }
            Self::Limited { interval_ms, bytes_per_s: 0 } => write!(f, ":{interval_ms}ms"),
            Self::Limited { interval_ms: 0, bytes_per_s } => write!(f, ":{bytes_per_s}B/s"),
            Self::Limited { interval_ms, bytes_per_s } => write!(f, ":{interval_ms}ms+{bytes_per_s}B/s"),
        }
    }
}

/// Reads `NAME` or `NAME:PARAMETERS`.
pub(crate) fn parse_profile(text: &str) -> Result<Profile, String> {
    let (name, rest) = match text.split_once(':') {
        Some((name, rest)) => (name, Some(rest)),
        None => (text, None),
    };
    let time = |default_ms| rest.map_or_else(|| Ok(Duration::from_millis(default_ms)), parse_duration);
    let profile = match (name, rest) {
        ("fast", None) => Profile::Fast,
        ("stalled", None) => Profile::Stalled,
        ("slow", _) => Profile::Slow { bytes_per_s: rest.map_or(Ok(64_000), parse_bytes_per_s)? },
        ("bursty", _) => {
            let (read, rest) = pair(rest.unwrap_or("200ms/800ms"))?;
            Profile::Bursty { read, rest }
        }
        ("flapping", _) => Profile::Flapping { every: time(2_000)? },
        ("resuming", _) => Profile::Resuming { every: time(2_000)? },
        ("churning", _) => Profile::Churning { every: time(1_000)? },
        ("paused", _) => {
            let (seen, hidden) = pair(rest.unwrap_or("2s/3s"))?;
            Profile::Paused { seen, hidden }
        }
        ("limited", _) => limited(rest.unwrap_or("100ms"))?,
        ("fast" | "stalled", Some(_)) => return Err(format!("`{name}` takes no parameter")),
        _ => {
            return Err(format!(
                "`{name}` is no profile: expected fast, slow, stalled, bursty, flapping, resuming, churning, paused or limited"
            ));
        }
    };
    Ok(profile)
}

fn pair(text: &str) -> Result<(Duration, Duration), String> {
    let (first, second) =
        text.split_once('/').ok_or_else(|| format!("`{text}`: give two times, like 200ms/800ms"))?;
    Ok((parse_duration(first)?, parse_duration(second)?))
}

fn limited(text: &str) -> Result<Profile, String> {
    let (mut interval_ms, mut bytes_per_s) = (0, 0);
    for part in text.split('+') {
        if part.ends_with("B/s") {
            bytes_per_s = parse_bytes_per_s(part)?;
        } else {
            let interval = parse_duration(part)?.as_millis();
            interval_ms = u32::try_from(interval).map_err(|_| format!("`{part}` is too long"))?;
        }
    }
    Ok(Profile::Limited { interval_ms, bytes_per_s })
}

/// Reads a speed: `800B/s`, `64kB/s`, `2MB/s`.
fn parse_bytes_per_s(text: &str) -> Result<u64, String> {
    let wrong = || format!("`{text}` is no speed: give a number and a unit, like 64kB/s");
    let stem = text.strip_suffix("B/s").ok_or_else(wrong)?;
    let (digits, unit) = match stem.as_bytes() {
        [.., b'k'] => (&stem[..stem.len() - 1], 1_000),
        [.., b'M'] => (&stem[..stem.len() - 1], 1_000_000),
        _ => (stem, 1),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|speed| *speed > 0).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let written = [
            "fast",
            "stalled",
            "slow:64000B/s",
            "bursty:200ms/800ms",
            "flapping:2000ms",
            "resuming:500ms",
            "churning:1000ms",
            "paused:2000ms/3000ms",
            "limited:100ms",
            "limited:64000B/s",
            "limited:100ms+64000B/s",
        ];
        for text in written {
            assert_eq!(parse_profile(text).map(|profile| profile.to_string()), Ok(text.to_owned()));
        }
        assert_eq!(parse_profile("slow:2MB/s"), Ok(Profile::Slow { bytes_per_s: 2_000_000 }));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_reason() {
        let refused = |text: &str, reason: &str| {
            let error = parse_profile(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        };
        refused("lazy", "is no profile: expected fast");
        refused("fast:1s", "takes no parameter");
        refused("slow:1s", "64kB/s");
        refused("slow:0B/s", "64kB/s");
        refused("bursty:1s", "two times");
        refused("flapping:0s", "more than nothing");
    }
}
