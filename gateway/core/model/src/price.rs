//! Prices and quantities: integers in ticks and lots inside, decimal text at the edge.
//!
//! A [`Scale`] is the only way from text to integer and back. It never rounds: what does not fit the
//! instrument's increment is an error that says why.

use rust_decimal::Decimal;
use thiserror::Error;

use crate::digits::{BLOCK, POWERS, Pen, leading_digits, write_within};

/// Most digits a price or quantity may have, counted in its smallest unit.
///
/// Most clients hold doubles; a number of 16 digits cannot be formatted back, so their checksum would
/// fail through no fault of ours.
pub const SIGNIFICANT_DIGITS_MAX: u32 = 15;

const UNITS_MAX: i64 = 10_i64.pow(SIGNIFICANT_DIGITS_MAX) - 1;

/// Most decimals of a number that is read or written as two words, the whole and the fraction.
const WORD_DECIMALS_MAX: u8 = 8;

/// A price in ticks of its instrument.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Price(pub i64);

/// A quantity in lots of its instrument; 0 on a level means that the level is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Qty(pub i64);

impl Qty {
    /// No quantity: removes a level.
    pub const ZERO: Self = Self(0);
}

/// One price and the absolute quantity resting there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Level {
    /// Price in ticks.
    pub price: Price,
    /// Quantity in lots; 0 removes the level.
    pub qty: Qty,
}

/// Side of a book, or of the taker of a trade (bid = buy, ask = sell).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// Buyers, best price highest.
    Bid,
    /// Sellers, best price lowest.
    Ask,
}

impl Side {
    /// Both, bids first.
    pub const BOTH: [Self; 2] = [Self::Bid, Self::Ask];

    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Bid => Self::Ask,
            Self::Ask => Self::Bid,
        }
    }

    /// Whether `a` stands before `b` on this side of a book.
    #[must_use]
    pub fn is_better(self, a: Price, b: Price) -> bool {
        match self {
            Self::Bid => a > b,
            Self::Ask => a < b,
        }
    }

    /// The taker's word for this side.
    #[must_use]
    pub const fn taker(self) -> &'static str {
        match self {
            Self::Bid => "buy",
            Self::Ask => "sell",
        }
    }
}

/// Why a text is no price or quantity of an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NumberError {
    /// Nothing there.
    #[error("number is empty")]
    Empty,
    /// A sign, an exponent, or anything that is not a digit or one dot.
    #[error("not a plain decimal number")]
    Malformed,
    /// A minus sign.
    #[error("number is negative")]
    Negative,
    /// Digits other than zero after the last decimal of the instrument.
    #[error("more than {decimals} decimals")]
    TooPrecise {
        /// Decimals that the instrument has.
        decimals: u8,
    },
    /// More than [`SIGNIFICANT_DIGITS_MAX`] digits.
    #[error("more than {SIGNIFICANT_DIGITS_MAX} significant digits")]
    TooLarge,
    /// Not a multiple of the increment.
    #[error("not a multiple of the increment ({step} of the last decimal)")]
    OffIncrement {
        /// Increment in units of the last decimal.
        step: u32,
    },
    /// An increment that is zero, too fine, or finer than the decimals.
    #[error("increment does not fit {decimals} decimals")]
    BadIncrement {
        /// Decimals that the instrument has.
        decimals: u8,
    },
}

/// Ties integer steps (ticks or lots) to decimal text.
///
/// A *unit* is one of the last decimal; a *step* is `step` units. Checksums and text speak units,
/// everything else speaks steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scale {
    /// Digits after the dot, at most 15.
    decimals: u8,
    /// Units per step, at least 1.
    step: u32,
}

impl Scale {
    /// A scale of `decimals` digits whose step is one unit.
    ///
    /// # Panics
    /// When `decimals` is above 15: a constant of ours that is wrong.
    #[must_use]
    pub const fn new(decimals: u8) -> Self {
        assert!(decimals as u32 <= SIGNIFICANT_DIGITS_MAX);
        Self { decimals, step: 1 }
    }

    /// A scale from the decimals and the increment that a venue publishes, such as 1 and `0.5`.
    ///
    /// # Errors
    /// [`NumberError::BadIncrement`] when the increment is not a whole, positive number of units or has
    /// more than nine digits; [`NumberError::TooLarge`] above 15 decimals.
    pub fn from_increment(decimals: u8, increment: Decimal) -> Result<Self, NumberError> {
        if u32::from(decimals) > SIGNIFICANT_DIGITS_MAX {
            return Err(NumberError::TooLarge);
        }
        let bad = NumberError::BadIncrement { decimals };
        let units = increment.checked_mul(Decimal::from(10_u64.pow(decimals.into()))).ok_or(bad)?;
        if !units.is_integer() {
            return Err(bad);
        }
        let step = u32::try_from(units.trunc()).map_err(|_| bad)?;
        if step == 0 { Err(bad) } else { Ok(Self { decimals, step }) }
    }

    /// Digits after the dot.
    #[must_use]
    pub const fn decimals(self) -> u8 {
        self.decimals
    }

    /// Units of the last decimal per step.
    #[must_use]
    pub const fn step(self) -> u32 {
        self.step
    }

    /// The increment as a decimal number.
    #[must_use]
    pub fn increment(self) -> Decimal {
        Decimal::new(i64::from(self.step), self.decimals.into())
    }

    /// `steps` counted in units of the last decimal: what checksums are made of. Saturates, as sums of quantities do.
    #[must_use]
    pub const fn units(self, steps: i64) -> i64 {
        steps.saturating_mul(self.step as i64)
    }

    /// `steps` as an exact decimal number, for reports and reference data.
    #[must_use]
    pub fn decimal(self, steps: i64) -> Decimal {
        Decimal::new(self.units(steps), self.decimals.into())
    }

    /// Reads plain decimal text (`64000.10`) as a whole number of steps.
    ///
    /// # Errors
    /// Any [`NumberError`]; nothing is ever rounded. Zeros beyond the last decimal are accepted.
    pub fn parse(self, text: &[u8]) -> Result<i64, NumberError> {
        if let Some((steps, len)) = self.parse_front(text)
            && len == text.len()
        {
            return Ok(steps);
        }
        let units = self.parse_units(text)?;
        if self.step == 1 {
            return Ok(units);
        }
        let step = i64::from(self.step);
        if units % step == 0 { Ok(units / step) } else { Err(NumberError::OffIncrement { step: self.step }) }
    }

    /// Reads the number that a longer text begins with, and says how long it is, when it is one like most: below ten million, with a
    /// dot and at most eight decimals. `None` says nothing of the text: ask [`Scale::parse`].
    #[must_use]
    pub fn parse_front(self, text: &[u8]) -> Option<(i64, usize)> {
        let (whole_len, whole) = leading_digits(text);
        if whole_len == 8 || self.decimals > WORD_DECIMALS_MAX || text.get(whole_len) != Some(&b'.') {
            return None;
        }
        let (fraction_len, fraction) = leading_digits(&text[whole_len + 1..]);
        let len = whole_len + 1 + fraction_len;
        let padding = usize::from(self.decimals).checked_sub(fraction_len)?;
        if whole_len == 0 || fraction_len == 0 || text.get(len).is_some_and(u8::is_ascii_digit) {
            return None;
        }
        let units = (whole * POWERS[usize::from(self.decimals)] + fraction * POWERS[padding]) as i64;
        if self.step == 1 {
            return Some((units, len));
        }
        let step = i64::from(self.step);
        (units % step == 0).then(|| (units / step, len))
    }

    fn parse_units(self, text: &[u8]) -> Result<i64, NumberError> {
        match text.first() {
            None => return Err(NumberError::Empty),
            Some(b'-') => return Err(NumberError::Negative),
            Some(_) => {}
        }
        let mut units: i64 = 0;
        // Decimals still to be filled; `None` before the dot.
        let mut left: Option<u8> = None;
        let mut digits = 0_usize;
        for &byte in text {
            match (byte, left) {
                (b'0'..=b'9', None | Some(1..)) => {
                    units = units * 10 + i64::from(byte - b'0');
                    if units > UNITS_MAX {
                        return Err(NumberError::TooLarge);
                    }
                    left = left.map(|n| n - 1);
                    digits += 1;
                }
                (b'0', Some(0)) => {}
                (b'1'..=b'9', Some(0)) => return Err(NumberError::TooPrecise { decimals: self.decimals }),
                (b'.', None) if digits > 0 => left = Some(self.decimals),
                _ => return Err(NumberError::Malformed),
            }
        }
        if digits == 0 || text.last() == Some(&b'.') {
            return Err(NumberError::Malformed);
        }
        let scaled = units.checked_mul(10_i64.pow(left.unwrap_or(self.decimals).into()));
        scaled.filter(|n| *n <= UNITS_MAX).ok_or(NumberError::TooLarge)
    }

    /// Appends `steps` as decimal text with every decimal of the instrument: `0.00044780`, `-0.5`.
    pub fn write(self, steps: i64, out: &mut Vec<u8>) {
        write_within::<{ Self::TEXT_MAX + Pen::SLACK }>(out, |pen| self.write_by(pen, steps));
    }

    /// Longest text of a number: twenty digits, a dot, a sign, and a zero before the dot.
    pub const TEXT_MAX: usize = 23;

    /// As [`Scale::write`], where there is a pen.
    #[inline]
    pub fn write_by(self, pen: &mut Pen<'_>, steps: i64) {
        let units = self.units(steps);
        if units < 0 {
            pen.literal(b"-");
        }
        let (units, decimals) = (units.unsigned_abs(), usize::from(self.decimals));
        if units < BLOCK && self.decimals <= WORD_DECIMALS_MAX {
            return pen.short_decimal(units as u32, decimals);
        }
        let power = POWERS[decimals];
        pen.digits(units / power);
        if decimals > 0 {
            pen.literal(b".");
            pen.fraction(units % power, decimals);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(decimals: u8, increment: &str, text: &str) -> String {
        let scale = Scale::from_increment(decimals, increment.parse().unwrap()).unwrap();
        match scale.parse(text.as_bytes()) {
            Ok(steps) => {
                let mut out = Vec::new();
                scale.write(steps, &mut out);
                format!("{steps} {}", String::from_utf8(out).unwrap())
            }
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn text_becomes_whole_steps_and_comes_back_padded() {
        let cases = [
            (1, "0.1", "64000.1", "640001 64000.1"),
            (1, "0.5", "64000.5", "128001 64000.5"),
            (8, "0.00000001", "0.0004478", "44780 0.00044780"),
            (8, "0.00000001", "0.00000000", "0 0.00000000"),
            (2, "0.25", "7", "28 7.00"),
            (0, "1", "12", "12 12"),
            (3, "0.001", "1.50000", "1500 1.500"),
            (9, "0.000000001", "0.000009876", "9876 0.000009876"),
        ];
        for (decimals, increment, text, expected) in cases {
            assert_eq!(check(decimals, increment, text), expected, "{text} at {increment}");
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_and_never_rounded() {
        let cases = [
            (1, "0.1", "", "number is empty"),
            (1, "0.1", "-1", "number is negative"),
            (1, "0.1", "1.25", "more than 1 decimals"),
            (1, "0.5", "1.2", "not a multiple of the increment (5 of the last decimal)"),
            (1, "0.1", "1e5", "not a plain decimal number"),
            (1, "0.1", "NaN", "not a plain decimal number"),
            (1, "0.1", ".5", "not a plain decimal number"),
            (1, "0.1", "5.", "not a plain decimal number"),
            (1, "0.1", "1.1.1", "not a plain decimal number"),
            (1, "0.1", "+1", "not a plain decimal number"),
            (8, "0.00000001", "99999999.0", "more than 15 significant digits"),
            (0, "1", "99999999999999999999999999", "more than 15 significant digits"),
        ];
        for (decimals, increment, text, expected) in cases {
            assert_eq!(check(decimals, increment, text), expected, "{text} at {increment}");
        }
    }

    #[test]
    fn a_sum_that_saturated_is_written_as_the_largest_number() {
        let mut out = Vec::new();
        Scale::from_increment(1, "0.5".parse().unwrap()).unwrap().write(i64::MAX, &mut out);
        assert_eq!(out, b"922337203685477580.7");
    }

    #[test]
    fn increments_that_do_not_fit_the_decimals_are_refused() {
        for (decimals, increment) in [(1, "0.05"), (2, "0"), (2, "-0.01"), (0, "0.1")] {
            assert!(Scale::from_increment(decimals, increment.parse().unwrap()).is_err(), "{increment}");
        }
    }

    proptest! {
        #[test]
        fn any_number_is_written_with_its_sign_and_all_decimals(units: i64, shift in 0_u32..63, decimals in 0_u8..=15) {
            let units = units >> shift;
            let mut text = Vec::new();
            Scale::new(decimals).write(units, &mut text);
            let digits = format!("{:0width$}", units.unsigned_abs(), width = usize::from(decimals) + 1);
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(decimals));
            let (sign, dot) = (if units < 0 { "-" } else { "" }, if decimals > 0 { "." } else { "" });
            prop_assert_eq!(String::from_utf8(text).unwrap(), format!("{sign}{whole}{dot}{fraction}"));
        }

        #[test]
        fn a_number_read_at_the_front_is_what_the_loop_reads(text in "[0-9]{0,9}[.]?[0-9]{0,10}[\"0-9.]{0,2}", decimals in 0_u8..=9, step in 1_u32..4) {
            let scale = Scale { decimals, step };
            if let Some((steps, len)) = scale.parse_front(text.as_bytes()) {
                prop_assert_eq!(scale.parse_units(&text.as_bytes()[..len]), Ok(scale.units(steps)));
                prop_assert!(!text.as_bytes().get(len).is_some_and(u8::is_ascii_digit));
            }
        }

        #[test]
        fn agrees_with_rust_decimal(units in 0_i64..=UNITS_MAX, decimals in 0_u8..=15) {
            let scale = Scale::new(decimals);
            let mut text = Vec::new();
            scale.write(units, &mut text);
            let exact: Decimal = std::str::from_utf8(&text).unwrap().parse().unwrap();
            prop_assert_eq!(exact, Decimal::new(units, decimals.into()));
            prop_assert_eq!(scale.parse(&text), Ok(units));
        }

        #[test]
        fn any_text_is_read_as_rust_decimal_reads_it_or_refused(text in "[0-9.]{0,18}", decimals in 0_u8..=9) {
            if let Ok(units) = Scale::new(decimals).parse(text.as_bytes()) {
                let exact: Decimal = text.parse().unwrap();
                prop_assert_eq!(exact, Decimal::new(units, decimals.into()));
            }
        }
    }
}
