//! Storms: many clients that do the same at one moment of the measured window.
//!
//! Owns their grammar. Never acts: [`crate::hall`] lets them happen.

use super::parse_duration;
use std::fmt::{Display, Formatter};
use std::time::Duration;

/// Many clients at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Storm {
    /// Further clients come, all at one moment, and stay. They are `fast`.
    Connect {
        /// How many.
        clients: u32,
        /// When, after the window has opened.
        at: Duration,
    },
    /// Clients drop their connections at one moment and come back at once.
    Reconnect {
        /// Which part of them, above 0, up to 1.
        share: f64,
        /// When, after the window has opened.
        at: Duration,
    },
}

impl Storm {
    /// When, after the window has opened.
    pub(crate) const fn at(&self) -> Duration {
        match *self {
            Self::Connect { at, .. } | Self::Reconnect { at, .. } => at,
        }
    }

    /// Further clients that it brings.
    pub(crate) const fn newcomers(&self) -> u32 {
        match *self {
            Self::Connect { clients, .. } => clients,
            Self::Reconnect { .. } => 0,
        }
    }
}

impl Display for Storm {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Connect { clients, at } => write!(f, "connect:{clients}@{}ms", at.as_millis()),
            Self::Reconnect { share, at } => write!(f, "reconnect:{}%@{}ms", share * 100.0, at.as_millis()),
        }
    }
}

/// Reads `connect:500@3s` or `reconnect:50%@5s`.
pub(crate) fn parse_storm(text: &str) -> Result<Storm, String> {
    let wrong = || format!("`{text}` is no storm: give connect:CLIENTS@TIME or reconnect:PERCENT%@TIME");
    let (what, at) = text.split_once('@').ok_or_else(wrong)?;
    let at = parse_duration(at)?;
    let (kind, amount) = what.split_once(':').ok_or_else(wrong)?;
    match kind {
        "connect" => {
            let clients = amount.parse().ok().filter(|clients| *clients > 0).ok_or_else(wrong)?;
            Ok(Storm::Connect { clients, at })
        }
        "reconnect" => {
            let percent: f64 =
                amount.strip_suffix('%').and_then(|text| text.parse().ok()).ok_or_else(wrong)?;
            if !(percent > 0.0 && percent <= 100.0) {
                return Err(wrong());
            }
            Ok(Storm::Reconnect { share: percent / 100.0, at })
        }
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storms_are_read() {
        for text in ["connect:500@3000ms", "reconnect:50%@5000ms"] {
            assert_eq!(parse_storm(text).map(|storm| storm.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["connect:0@1s", "reconnect:0%@1s", "reconnect:101%@1s", "rain:1@1s", "connect:5", "connect:5@x"]
        {
            assert!(parse_storm(text).is_err(), "{text}");
        }
    }
}
