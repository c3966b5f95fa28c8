//! The clock of this machine, and spans of time as text.
//!
//! The only file that reads a clock: everything else is told what time it is, so that it can run on virtual time.

use std::time::{SystemTime, UNIX_EPOCH};

use model::Nanos;
use thiserror::Error;

/// The time on this machine's clock, since 1970.
#[must_use]
pub fn now() -> Nanos {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Nanos(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}

/// A text that is no span of time.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0:?} is no span of time: expected a number and one of ms, s, m, h, such as 250ms or 3s")]
pub struct SpanError(String);

/// Reads a span of time such as `250ms`, `3s`, `1.5s` or `2m`; a bare number is seconds.
///
/// # Errors
/// [`SpanError`] when the text is anything else.
pub fn parse_span(text: &str) -> Result<Nanos, SpanError> {
    let error = || SpanError(text.to_owned());
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let nanos = match unit {
        "us" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" => 60e9,
        "h" => 3_600e9,
        _ => return Err(error()),
    };
    let number: f64 = number.parse().map_err(|_| error())?;
    Ok(Nanos((number * nanos) as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_a_number_and_a_unit() {
        for (text, nanos) in [("250ms", 250_000_000), ("3s", 3_000_000_000), ("1.5", 1_500_000_000)] {
            assert_eq!(parse_span(text), Ok(Nanos(nanos)));
        }
        for bad in ["", "s", "3 s", "-1s", "1.2.3s", "4d"] {
            assert!(parse_span(bad).is_err(), "{bad}");
        }
    }
}
