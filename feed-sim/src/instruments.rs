//! The instruments of the simulator: well-known names of very different precision, then generated ones.
//!
//! Owns symbols, increments, starting prices and typical sizes. The universe is the same for every seed.

use model::{Instrument, PairStatus, Qty, Scale};
use rust_decimal::Decimal;

/// Largest typical quantity in lots: times the largest size factor it still has 15 digits.
pub(crate) const BASE_LOTS_MAX: i64 = 2_000_000_000_000;

/// What the simulator starts a symbol from.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    pub(crate) instrument: Instrument,
    /// Starting price in ticks; the price is pulled back to it gently.
    pub(crate) anchor: i64,
    /// Typical quantity of a level, in lots.
    pub(crate) base_lots: i64,
}

/// Symbol, decimals of the price, increment in units of the last one, decimals of the quantity, starting price in units.
type Known = (&'static str, u8, u32, u8, i64);

/// BTC/EUR moves in steps of 0.5: an increment that is no power of ten.
const KNOWN: [Known; 20] = [
    ("BTC/USD", 1, 1, 8, 640_000),
    ("ETH/USD", 2, 1, 8, 320_000),
    ("SOL/USD", 2, 1, 8, 15_012),
    ("XRP/USD", 5, 1, 8, 52_140),
    ("DOGE/USD", 7, 1, 8, 1_234_567),
    ("SHIB/USD", 8, 1, 5, 987),
    ("ADA/USD", 6, 1, 8, 452_310),
    ("LTC/USD", 2, 1, 8, 8_420),
    ("USDT/USD", 5, 1, 8, 100_012),
    ("EUR/USD", 5, 1, 8, 108_450),
    ("ETH/BTC", 5, 1, 8, 5_012),
    ("BTC/EUR", 1, 5, 8, 590_000),
    ("LINK/USD", 5, 1, 8, 1_452_310),
    ("DOT/USD", 4, 1, 8, 61_234),
    ("AVAX/USD", 2, 1, 8, 3_512),
    ("TRX/USD", 6, 1, 8, 123_456),
    ("BCH/USD", 2, 1, 8, 45_310),
    ("XLM/USD", 6, 1, 8, 112_345),
    ("ATOM/USD", 4, 1, 8, 84_210),
    ("UNI/USD", 3, 1, 8, 9_876),
];

/// The instrument of a number: what the simulator announces for its `index`-th symbol.
#[must_use]
pub fn instrument(index: usize) -> Instrument {
    listing(index).instrument
}

pub(crate) fn listing(index: usize) -> Listing {
    match KNOWN.get(index) {
        Some(&(symbol, price_decimals, step, qty_decimals, units)) => {
            let price =
                Scale::from_increment(price_decimals, Decimal::new(i64::from(step), price_decimals.into()))
                    .expect("the table has increments that fit their decimals");
            build(symbol, price, qty_decimals, units / i64::from(step))
        }
        None => generated(index),
    }
}

fn generated(index: usize) -> Listing {
    let mixed = mix(index as u64);
    let price = Scale::new((mixed % 9) as u8);
    // From 5,000 to about 1,000,000 ticks, so that there is room for a deep book below.
    let anchor = 5_000 + (mixed >> 8) as i64 % 1_000 * 1_000 + (mixed >> 40) as i64 % 1_000;
    let symbol = format!("S{:05}/USD", index + 1);
    build(&symbol, price, ((mixed >> 20) % 9) as u8, anchor)
}

/// About 150 of the quote currency are typical for a level.
const BASE_NOTIONAL: f64 = 150.0;

fn build(symbol: &str, price: Scale, qty_decimals: u8, anchor: i64) -> Listing {
    let unit_price = price.units(anchor) as f64 / 10_f64.powi(price.decimals().into());
    let base = BASE_NOTIONAL / unit_price;
    // Dear things need more decimals for a size at all, cheap ones fewer to stay in 15 digits.
    let fits =
        |decimals: &u8| (20.0..BASE_LOTS_MAX as f64).contains(&(base * 10_f64.powi((*decimals).into())));
    let qty_decimals = Some(qty_decimals).filter(fits).or_else(|| (0..=12).find(fits)).unwrap_or(0);
    let base_lots = ((base * 10_f64.powi(qty_decimals.into())) as i64).clamp(1, BASE_LOTS_MAX);
    let instrument = Instrument {
        symbol: symbol.into(),
        status: PairStatus::Online,
        price,
        qty: Scale::new(qty_decimals),
        qty_min: Qty((base_lots / 1_000).max(1)),
        cost_decimals: 5,
        cost_min: Decimal::new(5, 1),
    };
    Listing { instrument, anchor, base_lots }
}

/// SplitMix64: a fixed scramble, so that neighbours differ.
const fn mix(n: u64) -> u64 {
    let z = n.wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FACTOR_MAX;
    use crate::orders::TOUCH_FACTOR;
    use std::collections::HashSet;

    #[test]
    fn ten_thousand_symbols_are_valid_and_different_and_stay_in_15_digits() {
        let mut symbols = HashSet::new();
        let mut precisions = HashSet::new();
        for index in 0..10_000 {
            let listing = listing(index);
            let one = &listing.instrument;
            assert!(model::symbol_is_valid(&one.symbol), "{}", one.symbol);
            assert!(symbols.insert(one.symbol.clone()), "{}", one.symbol);
            precisions.insert((one.price.decimals(), one.qty.decimals()));
            let largest = listing.base_lots as f64 * FACTOR_MAX * TOUCH_FACTOR as f64;
            assert!(largest < 1e15, "{}: {largest}", one.symbol);
            assert!(one.price.units(listing.anchor * 2) < 10_i64.pow(15));
        }
        assert!(precisions.len() > 40, "{} precisions", precisions.len());
    }

    #[test]
    fn the_first_names_have_the_precisions_of_the_real_ones() {
        let text = |index| {
            let one = instrument(index);
            format!("{} {} {}", one.symbol, one.price.increment(), one.qty.decimals())
        };
        assert_eq!(
            [text(0), text(5), text(11), text(20)],
            ["BTC/USD 0.1 8", "SHIB/USD 0.00000001 5", "BTC/EUR 0.5 8", &text(20)]
        );
        assert!(text(20).starts_with("S00021/USD"));
    }
}
