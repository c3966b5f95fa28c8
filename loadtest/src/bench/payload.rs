//! The updates of the publisher: texts of one length that look like a book update of the gateway.
//!
//! Owns a template per symbol, in which the time and the sequence are replaced in place. Never sends.

use crate::record::Record;
use crate::time::Micros;

/// The first sequence: from here on it has eight digits for as long as any run takes.
const SEQ_START: u64 = 10_000_000;
const SEQ_DIGITS: usize = 8;
/// `2026-02-03T04:05:06.789012Z`
const TIME_BYTES: usize = 27;

/// The templates.
#[derive(Debug)]
pub(crate) struct Payload {
    symbols: Vec<Symbol>,
    time: [u8; TIME_BYTES],
}

#[derive(Debug)]
struct Symbol {
    name: Box<str>,
    text: Vec<u8>,
    time_at: usize,
    seq_at: usize,
    prev_at: usize,
    seq: u64,
}

impl Payload {
    /// Templates of exactly `bytes` for these symbols; says how many it takes when those are too few.
    pub(crate) fn new(symbols: &[String], bytes: usize) -> Result<Self, String> {
        let symbols = symbols.iter().map(|name| Symbol::new(name, bytes)).collect::<Result<_, _>>()?;
        Ok(Self { symbols, time: *b"1970-01-01T00:00:00.000000Z" })
    }

    /// How many symbols there are.
    pub(crate) const fn symbols(&self) -> usize {
        self.symbols.len()
    }

    /// The time that updates carry from now on.
    pub(crate) fn set_time(&mut self, time: Micros) {
        write_time(time, &mut self.time);
    }

    /// Appends the next update of a symbol as a record.
    pub(crate) fn push(&mut self, symbol: usize, out: &mut Vec<u8>) {
        let Symbol { name, text, time_at, seq_at, prev_at, seq } = &mut self.symbols[symbol];
        text[*time_at..*time_at + TIME_BYTES].copy_from_slice(&self.time);
        write_digits(*seq, &mut text[*prev_at..*prev_at + SEQ_DIGITS]);
        *seq += 1;
        write_digits(*seq, &mut text[*seq_at..*seq_at + SEQ_DIGITS]);
        Record { symbol: name.as_bytes(), payload: text }.push(out);
    }
}

/// The least bytes from `bytes` on that an update of any of so many symbols can have.
pub(crate) fn fitting(symbols: usize, bytes: usize) -> usize {
    const MORE_MAX: usize = 1_000;
    let names = names(symbols);
    (bytes..bytes + MORE_MAX).find(|&bytes| Payload::new(&names, bytes).is_ok()).unwrap_or(bytes)
}

impl Symbol {
    fn new(name: &str, bytes: usize) -> Result<Self, String> {
        let before = format!(
            "{{\"channel\":\"book\",\"type\":\"update\",\"data\":[{{\"symbol\":\"{name}\",\"asks\":[{{\"price\":7,\"qty\":"
        );
        let zeros = "0".repeat(SEQ_DIGITS);
        let after =
            format!("}}],\"timestamp\":\"{}\",\"seq\":{zeros},\"prev\":{zeros}}}]}}", "0".repeat(TIME_BYTES));
        let least = before.len() + 1 + after.len();
        let digits = (bytes + 1).checked_sub(least);
        let digits = digits.filter(|&digits| digits > 0).ok_or_else(|| {
            format!("a payload of {bytes} bytes is too short: an update of {name} takes {least}")
        })?;
        // The quantity fills what is left; two bytes of it may be `0.`.
        let qty = if digits > 2 { "0.".to_owned() + &"1".repeat(digits - 2) } else { "1".repeat(digits) };
        let text = before + &qty + &after;
        let from_end = |bytes: usize| text.len() - bytes;
        let prev_at = from_end("}]}".len() + SEQ_DIGITS);
        let seq_at = prev_at - ",\"prev\":".len() - SEQ_DIGITS;
        let time_at = seq_at - "\",\"seq\":".len() - TIME_BYTES;
        Ok(Self { name: name.into(), text: text.into_bytes(), time_at, seq_at, prev_at, seq: SEQ_START })
    }
}

/// Names for symbols of servers that take any.
pub(crate) fn names(count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("S{number:04}/USD")).collect()
}

fn write_digits(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}

fn write_time(time: Micros, out: &mut [u8; TIME_BYTES]) {
    let (days, in_day) = (time.div_euclid(86_400_000_000), time.rem_euclid(86_400_000_000));
    let (year, month, day) = civil(days);
    let seconds = in_day / 1_000_000;
    let parts = [
        (0, 4, year),
        (5, 2, month),
        (8, 2, day),
        (11, 2, seconds / 3_600),
        (14, 2, seconds / 60 % 60),
        (17, 2, seconds % 60),
        (20, 6, in_day % 1_000_000),
    ];
    for (at, digits, number) in parts {
        write_digits(number as u64, &mut out[at..at + digits]);
    }
}

/// Year, month and day of a day since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let of_era = days.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::from_rfc3339;
    use proptest::prelude::*;

    #[test]
    fn updates_have_the_length_asked_for_and_are_linked() {
        for bytes in [170, 211, 500] {
            let mut payload = Payload::new(&names(9_999)[9_997..], bytes).unwrap();
            payload.set_time(1_770_091_506_789_012);
            let mut out = Vec::new();
            payload.push(1, &mut out);
            payload.push(1, &mut out);
            let (first, len) = Record::parse(&out).unwrap().unwrap();
            let (second, _) = Record::parse(&out[len..]).unwrap().unwrap();
            assert_eq!((first.symbol, first.payload.len()), (&b"S9999/USD"[..], bytes));
            let read = |payload: &[u8]| serde_json::from_slice::<serde_json::Value>(payload).unwrap();
            let (first, second) = (read(first.payload), read(second.payload));
            let element = &second["data"][0];
            assert_eq!(element["timestamp"], "2026-02-03T04:05:06.789012Z");
            assert_eq!(element["prev"], first["data"][0]["seq"]);
            assert_eq!((&element["seq"], &element["symbol"]), (&10_000_002.into(), &"S9999/USD".into()));
        }
        let error = Payload::new(&names(1), 100).unwrap_err();
        assert!(error.contains("S0001/USD takes 16"), "{error}");
    }

    proptest! {
        #[test]
        fn times_are_written_as_they_are_read(time in 0..4_000_000_000_000_000_i64) {
            let mut text = [b'-'; TIME_BYTES];
            text.copy_from_slice(b"1970-01-01T00:00:00.000000Z");
            write_time(time, &mut text);
            prop_assert_eq!(from_rfc3339(&text), Some(time));
        }
    }
}
