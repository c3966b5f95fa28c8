//! The checksum that clients compare their books by.
//!
//! CRC-32 (ISO-HDLC) of the ten best asks from the lowest price up, then the ten best bids from the highest down, each
//! level as its price and its quantity in units of their last decimals: full precision without dot and leading zeros.

use model::{Instrument, Level};

/// Levels a side that the checksum covers, whatever the depth of a subscription.
pub const CHECKSUM_LEVELS: usize = 10;

/// The checksum of a book, from its levels best first on each side.
pub fn checksum(
    instrument: &Instrument,
    bids: impl Iterator<Item = Level>,
    asks: impl Iterator<Item = Level>,
) -> u32 {
    // 15 digits each for price and quantity of twenty levels.
    let mut text = [0_u8; 2 * CHECKSUM_LEVELS * 32];
    let mut len = 0;
    let mut digits = itoa::Buffer::new();
    for level in asks.take(CHECKSUM_LEVELS).chain(bids.take(CHECKSUM_LEVELS)) {
        for units in [instrument.price.units(level.price.0), instrument.qty.units(level.qty.0)] {
            let part = digits.format(units.unsigned_abs()).as_bytes();
            text[len..len + part.len()].copy_from_slice(part);
            len += part.len();
        }
    }
    crc32fast::hash(&text[..len])
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{PairStatus, Price, Qty, Scale};

    /// The worked example of the venue's own checksum guide.
    #[test]
    fn worked_example_of_the_venue() {
        let instrument = Instrument {
            symbol: "BTC/USD".into(),
            status: PairStatus::Online,
            price: Scale::new(1),
            qty: Scale::new(8),
            qty_min: Qty(1),
            cost_decimals: 5,
            cost_min: rust_decimal::Decimal::ONE,
        };
        let side = |levels: &[(&str, &str)]| -> Vec<Level> {
            let level = |&(price, qty): &(&str, &str)| Level {
                price: Price(instrument.price.parse(price.as_bytes()).unwrap()),
                qty: Qty(instrument.qty.parse(qty.as_bytes()).unwrap()),
            };
            levels.iter().map(level).collect()
        };
        let asks = side(&[
            ("45285.2", "0.00100000"),
            ("45286.4", "1.54571953"),
            ("45286.6", "1.54571109"),
            ("45289.6", "1.54560911"),
            ("45290.2", "0.15890660"),
            ("45291.8", "1.54553491"),
            ("45294.7", "0.04454749"),
            ("45296.1", "0.35380000"),
            ("45297.5", "0.09945542"),
            ("45299.5", "0.18772827"),
        ]);
        let bids = side(&[
            ("45283.5", "0.10000000"),
            ("45283.4", "1.54582015"),
            ("45282.1", "0.10000000"),
            ("45281.0", "0.10000000"),
            ("45280.3", "1.54592586"),
            ("45279.0", "0.07990000"),
            ("45277.6", "0.03310103"),
            ("45277.5", "0.30000000"),
            ("45277.3", "1.54602737"),
            ("45276.6", "0.15445238"),
        ]);
        assert_eq!(checksum(&instrument, bids.into_iter(), asks.into_iter()), 3_310_070_434);
    }
}
