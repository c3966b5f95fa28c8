//! Mean prices and percentages in integers.
//!
//! Pure arithmetic for tickers and candles; keeps nothing. Never overflows for prices and quantities
//! within [`model::SIGNIFICANT_DIGITS_MAX`].

/// Mean price in units of the last decimal, rounded half to even; 0 where nothing was traded.
///
/// `turnover` is in ticks times lots, `volume` in lots, `step` in units per tick.
pub(crate) fn mean_price_units(turnover: i128, volume: i128, step: u32) -> i64 {
    if volume <= 0 {
        return 0;
    }
    let step = i128::from(step);
    // Divided before it is multiplied: turnover times step could leave 128 bits.
    let fraction = turnover.rem_euclid(volume) * step;
    let floor = turnover.div_euclid(volume).saturating_mul(step).saturating_add(fraction / volume);
    let twice = 2 * (fraction % volume);
    let up = twice > volume || (twice == volume && floor % 2 != 0);
    clamp(floor.saturating_add(i128::from(up)))
}

/// `change` in hundredths of a percent of `base`, rounded half away from zero; 0 without a positive base.
pub(crate) fn basis_points(change: i64, base: i64) -> i64 {
    if base <= 0 {
        return 0;
    }
    let (change, base) = (i128::from(change), i128::from(base));
    let magnitude = (2 * change.abs() * 10_000 + base) / (2 * base);
    clamp(change.signum() * magnitude)
}

/// The nearest number that fits.
pub(crate) fn clamp(n: i128) -> i64 {
    n.clamp(i128::from(i64::MIN), i128::from(i64::MAX)) as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mean_prices_round_half_to_even() {
        let cases = [
            (0, 0, 1, 0),
            (10, 4, 1, 2),
            (14, 4, 1, 4),
            (11, 4, 1, 3),
            (9, 4, 1, 2),
            (10, 4, 5, 12),
            (30, 4, 5, 38),
            (i128::MAX, 1, 4, i64::MAX),
            (999_999_999_999_999 * 999_999_999_999_999, 999_999_999_999_999, 1, 999_999_999_999_999),
        ];
        for (turnover, volume, step, expected) in cases {
            assert_eq!(mean_price_units(turnover, volume, step), expected, "{turnover} / {volume} x {step}");
        }
    }

    #[test]
    fn basis_points_round_half_away_from_zero() {
        let cases =
            [(1, 20_000, 1), (-1, 20_000, -1), (1, 20_001, 0), (1, 3, 3333), (-2, 3, -6667), (5, 0, 0)];
        for (change, base, expected) in cases {
            assert_eq!(basis_points(change, base), expected, "{change} of {base}");
        }
    }
}
