//! The checksum that clients compare their books by.
//!
//! CRC-32 (ISO-HDLC) of the ten best asks from the lowest price up, then the ten best bids from the highest down, each
//! level as its price and its quantity in units of their last decimals: full precision without dot and leading zeros.

use model::{Instrument, Level, Pen, Side};

/// Levels a side that the checksum covers, whatever the depth of a subscription.
pub const CHECKSUM_LEVELS: usize = 10;

/// Room for the text of one side: two numbers a level, each of nineteen digits at most.
const SIDE_ROOM: usize = CHECKSUM_LEVELS * 2 * 19 + Pen::SLACK;

/// The checksum of a book, from its levels best first on each side.
pub fn checksum(
    instrument: &Instrument,
    bids: impl Iterator<Item = Level>,
    asks: impl Iterator<Item = Level>,
) -> u32 {
    ChecksumText::default().sum(instrument, bids, asks)
}

/// The text that the checksum of a book is made of, kept from one change of the book to the next.
///
/// Writing the numbers is nearly all the cost of a checksum, and most changes leave most of the levels as they were. Whoever keeps
/// this says with each change of the book from which rank on a side is another ([`Self::cut`]); when the checksum is wanted
/// ([`Self::sum`]), only that part is written anew.
#[derive(Clone, Debug, Default)]
pub struct ChecksumText {
    asks: SideText,
    bids: SideText,
    /// Checksum of the asks alone, while they are what they were.
    asks_sum: Option<u32>,
}

#[derive(Clone, Debug)]
struct SideText {
    room: [u8; SIDE_ROOM],
    /// Where the text of each level ends.
    ends: [u16; CHECKSUM_LEVELS],
    /// Levels whose text stands.
    kept: usize,
}

impl Default for SideText {
    fn default() -> Self {
        Self { room: [0; SIDE_ROOM], ends: [0; CHECKSUM_LEVELS], kept: 0 }
    }
}

impl ChecksumText {
    /// Reads an octet of each cache line of the text, so that it is in a cache when it is used; what is read means nothing.
    #[must_use]
    pub fn warm(&self) -> [u8; 2] {
        [&self.asks, &self.bids].map(|text| {
            let lines = text.room[..=text.len()].chunks(64);
            lines.fold(0, |sum, line| sum ^ line[0])
        })
    }

    /// The levels of a side from this rank on are others than when they were written.
    pub fn cut(&mut self, side: Side, rank: usize) {
        let text = match side {
            Side::Ask => &mut self.asks,
            Side::Bid => &mut self.bids,
        };
        if rank < text.kept {
            text.kept = rank;
            if side == Side::Ask {
                self.asks_sum = None;
            }
        }
    }

    /// The checksum of a book, from its levels best first on each side.
    pub fn sum(
        &mut self,
        instrument: &Instrument,
        bids: impl Iterator<Item = Level>,
        asks: impl Iterator<Item = Level>,
    ) -> u32 {
        if self.asks.write(instrument, asks) {
            self.asks_sum = None;
        }
        self.bids.write(instrument, bids);
        let asks = *self.asks_sum.get_or_insert_with(|| crc32fast::hash(self.asks.text()));
        let mut both = crc32fast::Hasher::new_with_initial(asks);
        both.update(self.bids.text());
        both.finalize()
    }
}

impl SideText {
    fn len(&self) -> usize {
        self.kept.checked_sub(1).map_or(0, |last| self.ends[last].into())
    }

    fn text(&self) -> &[u8] {
        &self.room[..self.len()]
    }

    /// Writes the levels behind those that are kept, and says whether there were any.
    fn write(&mut self, instrument: &Instrument, levels: impl Iterator<Item = Level>) -> bool {
        let (kept, end) = (self.kept, self.len());
        let mut pen = Pen::new(&mut self.room, end);
        for (end, level) in self.ends[kept..].iter_mut().zip(levels.skip(kept)) {
            pen.digits(instrument.price.units(level.price.0).unsigned_abs());
            pen.digits(instrument.qty.units(level.qty.0).unsigned_abs());
            *end = pen.end() as u16;
            self.kept += 1;
        }
        self.kept > kept
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::{PairStatus, Price, Qty, Scale};
    use proptest::prelude::*;

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

    proptest! {
        /// A side is changed at some ranks, grows and shrinks; what is kept gives what is made anew.
        #[test]
        fn a_kept_text_gives_the_checksum_of_a_new_one(
            changes in proptest::collection::vec((any::<bool>(), 0_usize..14, 0_i64..3, 1_i64..1_000_000_000_000_000), 1..60),
        ) {
            let instrument = Instrument {
                symbol: "A/B".into(),
                status: PairStatus::Online,
                price: Scale::new(2),
                qty: Scale::new(8),
                qty_min: Qty(1),
                cost_decimals: 5,
                cost_min: rust_decimal::Decimal::ONE,
            };
            let (mut text, mut sides) = (ChecksumText::default(), [Vec::new(), Vec::new()]);
            for (is_bid, rank, kind, number) in changes {
                let levels = &mut sides[usize::from(is_bid)];
                let rank = rank.min(levels.len());
                let level = Level { price: Price(number / 7), qty: Qty(number) };
                match (kind, levels.get_mut(rank)) {
                    (0, Some(_)) => drop(levels.remove(rank)),
                    (1, Some(old)) => *old = level,
                    _ => levels.insert(rank, level),
                }
                text.cut(if is_bid { Side::Bid } else { Side::Ask }, rank);
                let [asks, bids] = &sides;
                let (bids, asks) = (bids.iter().copied(), asks.iter().copied());
                // Not always: several changes may come before a checksum is wanted.
                if number % 3 > 0 {
                    prop_assert_eq!(
                        text.sum(&instrument, bids.clone(), asks.clone()),
                        checksum(&instrument, bids, asks)
                    );
                }
            }
        }
    }
}
