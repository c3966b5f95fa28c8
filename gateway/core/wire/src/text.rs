//! Times and strings as JSON text, appended to a buffer; and times read back.

use model::{Nanos, eight_as_text};

/// Appends `2026-01-31T23:59:59.123456Z`, without quotes.
pub fn write_time_micros(at: Nanos, out: &mut Vec<u8>) {
    out.extend_from_slice(&TimeText::of(at).0);
}

/// The text of a time with microseconds, `2026-01-31T23:59:59.123456Z`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeText(pub(crate) [u8; Self::LEN]);

impl TimeText {
    /// How long it is.
    pub const LEN: usize = 27;

    /// The text of a time.
    #[must_use]
    pub fn of(at: Nanos) -> Self {
        let mut text = Self(*b"0000-00-00T00:00:00.000000Z");
        put_seconds(at.0 / 1_000_000_000, &mut text.0);
        text.put_micros(at);
        text
    }

    fn put_micros(&mut self, at: Nanos) {
        let micros = (at.0 % 1_000_000_000 / 1_000) as u32;
        self.0[20..26].copy_from_slice(&eight_as_text(micros)[2..]);
    }
}

/// Makes texts of times that come one soon after the other: what stands before the dot is made once a second.
#[derive(Clone, Debug)]
pub struct Clockface {
    second: u64,
    text: TimeText,
}

impl Default for Clockface {
    fn default() -> Self {
        Self { second: 0, text: TimeText::of(Nanos(0)) }
    }
}

impl Clockface {
    /// The text of a time.
    pub fn show(&mut self, at: Nanos) -> TimeText {
        let second = at.0 / 1_000_000_000;
        if second == self.second {
            self.text.put_micros(at);
        } else {
            (self.second, self.text) = (second, TimeText::of(at));
        }
        self.text
    }
}

/// Appends `2026-01-31T23:59:59.123456789Z`, without quotes.
pub fn write_time_nanos(at: Nanos, out: &mut Vec<u8>) {
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    put_seconds(at.0 / 1_000_000_000, &mut text);
    let nanos = (at.0 % 1_000_000_000) as u32;
    text[20..28].copy_from_slice(&eight_as_text(nanos / 10));
    text[28] += (nanos % 10) as u8;
    out.extend_from_slice(&text);
}

/// Fills in all that stands before the dot.
fn put_seconds(seconds: u64, text: &mut [u8]) {
    let (year, month, day) = civil_from_days(seconds / 86_400);
    let date = eight_as_text(year * 10_000 + month * 100 + day);
    let in_day = (seconds % 86_400) as u32;
    let time = eight_as_text(in_day / 3_600 * 10_000 + in_day / 60 % 60 * 100 + in_day % 60);
    text[..4].copy_from_slice(&date[..4]);
    text[5..7].copy_from_slice(&date[4..6]);
    text[8..10].copy_from_slice(&date[6..]);
    text[11..13].copy_from_slice(&time[2..4]);
    text[14..16].copy_from_slice(&time[4..6]);
    text[17..19].copy_from_slice(&time[6..]);
}

/// Year, month and day of a number of days since 1970-01-01, by counting in eras of 400 years that begin in March.
fn civil_from_days(days: u64) -> (u32, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year as u32, month as u32, day as u32)
}

/// Reads what [`write_time_micros`] and [`write_time_nanos`] write, with up to nine decimals; none for anything else.
#[must_use]
pub fn parse_time(text: &[u8]) -> Option<Nanos> {
    let (stem, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if marks.iter().any(|&(at, mark)| stem[at] != mark) {
        return None;
    }
    let [year, month, day, hour, minute, second] =
        [&stem[..4], &stem[5..7], &stem[8..10], &stem[11..13], &stem[14..16], &stem[17..]].map(parse_digits);
    let (month, day) = (month.filter(|n| (1..=12).contains(n))?, day.filter(|n| (1..=31).contains(n))?);
    let (hour, minute) = (hour.filter(|&n| n < 24)?, minute.filter(|&n| n < 60)?);
    let days = days_from_civil(year.filter(|&n| n >= 1970)?, month, day);
    let seconds = days * 86_400 + hour * 3_600 + minute * 60 + second.filter(|&n| n < 60)?;
    let nanos = match fraction.strip_prefix(b".") {
        None if fraction.is_empty() => 0,
        Some(digits) if (1..=9).contains(&digits.len()) => {
            parse_digits(digits)? * 10_u64.pow(9 - digits.len() as u32)
        }
        _ => return None,
    };
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos).map(Nanos)
}

fn parse_digits(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |n, digit| digit.is_ascii_digit().then(|| n * 10 + u64::from(digit - b'0')))
}

/// The inverse of [`civil_from_days`].
const fn days_from_civil(year: u64, month: u64, day: u64) -> u64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let march_month = (month + 9) % 12;
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Appends an integer.
pub fn write_int(n: impl Into<u64>, out: &mut Vec<u8>) {
    model::push_digits(n.into(), out);
}

/// Appends a JSON string with its quotes; control characters, quotes and backslashes are escaped.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            0..0x20 => {
                const HEX: &[u8; 16] = b"0123456789abcdef";
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn micros(seconds: u64, nanos: u64) -> String {
        let mut out = Vec::new();
        write_time_micros(Nanos(seconds * 1_000_000_000 + nanos), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn known_instants_have_their_known_text() {
        assert_eq!(micros(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(micros(951_782_399, 999_999_999), "2000-02-28T23:59:59.999999Z");
        assert_eq!(micros(951_868_799, 0), "2000-02-29T23:59:59.000000Z");
        assert_eq!(micros(1_709_251_200, 1_000), "2024-03-01T00:00:00.000001Z");
        assert_eq!(micros(4_102_444_799, 0), "2099-12-31T23:59:59.000000Z");
        let mut out = Vec::new();
        write_time_nanos(Nanos(1_618_678_132_000_000_007), &mut out);
        assert_eq!(out, b"2021-04-17T16:48:52.000000007Z");
    }

    #[test]
    fn what_is_no_time_is_not_read() {
        assert_eq!(parse_time(b"1970-01-01T00:00:01Z"), Some(Nanos(1_000_000_000)));
        assert_eq!(parse_time(b"2000-02-29T23:59:59.5Z"), Some(Nanos(951_868_799_500_000_000)));
        for text in [
            "",
            "Z",
            "2021-04-17",
            "2021-04-17T16:48:52",
            "2021-04-17 16:48:52Z",
            "2021-13-17T16:48:52Z",
            "2021-04-17T24:48:52Z",
            "2021-04-17T16:48:52.Z",
            "2021-04-17T16:48:52.0000000001Z",
            "1969-12-31T23:59:59Z",
            "+021-04-17T16:48:52Z",
        ] {
            assert_eq!(parse_time(text.as_bytes()), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_time_is_read_back(nanos in 0..4_102_444_800_000_000_000_u64) {
            let (mut fine, mut coarse) = (Vec::new(), Vec::new());
            write_time_nanos(Nanos(nanos), &mut fine);
            write_time_micros(Nanos(nanos), &mut coarse);
            prop_assert_eq!(parse_time(&fine), Some(Nanos(nanos)));
            prop_assert_eq!(parse_time(&coarse), Some(Nanos(nanos / 1_000 * 1_000)));
        }

        #[test]
        fn a_clockface_shows_what_a_text_made_anew_says(
            begin in 0..4_102_444_800_000_000_000_u64,
            steps in prop::collection::vec(0..2_000_000_000_u64, 1..9),
        ) {
            let (mut face, mut at) = (Clockface::default(), Nanos(begin));
            for step in steps {
                prop_assert_eq!(face.show(at), TimeText::of(at));
                at.0 += step;
            }
        }

        #[test]
        fn every_string_is_read_back_by_a_json_parser(text in ".*") {
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }
}
