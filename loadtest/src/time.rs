//! Wall-clock time in microseconds, and its text in the protocol.
//!
//! Owns the only clock reading of the witness and the reading of RFC 3339 texts.
//! Never keeps state. Latency is the difference of the two, so both are on the machine's wall clock.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since 1970 on the wall clock.
pub(crate) type Micros = i64;

/// Now, on the clock that the venue's timestamps come from.
pub(crate) fn now() -> Micros {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_micros() as Micros)
}

/// Reads `2026-01-01T00:00:00.123456Z`, with up to nine digits of fraction (cut to micros) or none.
pub(crate) fn from_rfc3339(text: &[u8]) -> Option<Micros> {
    let [head @ .., b'Z'] = text else { return None };
    if head.len() < 19 {
        return None;
    }
    let (stem, fraction) = head.split_at(19);
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|(at, mark)| stem[*at] != *mark) {
        return None;
    }
    let (year, month, day) = (number(&stem[..4])?, number(&stem[5..7])?, number(&stem[8..10])?);
    let (hour, minute, second) = (number(&stem[11..13])?, number(&stem[14..16])?, number(&stem[17..])?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    Some(seconds * 1_000_000 + fraction_micros(fraction)?)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |n, b| b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0')))
}

fn fraction_micros(text: &[u8]) -> Option<i64> {
    match text {
        [] => Some(0),
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => {
            let nanos = number(digits)? * 10_i64.pow(9 - digits.len() as u32);
            Some(nanos / 1_000)
        }
        _ => None,
    }
}

/// Days since 1970-01-01 of a Gregorian date (Howard Hinnant's `days_from_civil`).
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// Year, month and day of a number of days since 1970-01-01, the other way round.
pub(crate) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_are_the_same_thing() {
        for days in (-200_000..200_000).step_by(7) {
            let (year, month, day) = civil(days);
            assert_eq!(days_from_civil(year, month, day), days, "{year}-{month}-{day}");
        }
    }

    #[test]
    fn timestamps_are_read_to_the_microsecond() {
        let check = |text: &str, expected| assert_eq!(from_rfc3339(text.as_bytes()), expected, "{text}");
        check("1970-01-01T00:00:00.000000Z", Some(0));
        check("2026-01-01T00:00:00.000000Z", Some(1_767_225_600_000_000));
        check("2024-02-29T23:59:59.000001Z", Some(1_709_251_199_000_001));
        check("2026-01-01T00:00:00.123456789Z", Some(1_767_225_600_123_456));
        check("2026-01-01T00:00:00Z", Some(1_767_225_600_000_000));
        check("2026-01-01T00:00:00.Z", None);
        check("2026-13-01T00:00:00.000000Z", None);
        check("2026-01-01 00:00:00.000000Z", None);
        check("2026-01-01T00:00:00.000000", None);
        check("", None);
    }
}
