//! A naive order book and its checksum, kept by the witness for itself.
//!
//! Owns the levels of one subscription, in the text the server sent them in.
//! Never uses the gateway's book, never knows a precision: a level is compared and summed by its digits.
//! Levels come from [`crate::scan`]; [`crate::verify`] asks whether the result is what the server claims.

use std::hash::{Hash, Hasher};

/// Most digits of one number that are kept. The protocol promises 15; more than this is unreadable.
pub(crate) const DIGITS_MAX: usize = 19;
/// Levels of each side that the checksum covers, whatever the depth.
pub(crate) const CHECKSUM_LEVELS: usize = 10;

const TEXT_BYTES: usize = 2 * DIGITS_MAX;

/// One level of a message: its price as an integer, and the text that the checksum takes from it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Level {
    /// The price token's digits as one integer; comparable as long as the server pads prices alike.
    pub(crate) price: u64,
    /// Price digits then quantity digits, no dots, no leading zeros; `len` bytes count, the rest is zero.
    text: [u8; TEXT_BYTES],
    len: u8,
    /// Whether the quantity is zero, which removes the level.
    pub(crate) is_removal: bool,
}

/// Which half of the book.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Buyers, best is highest.
    Bid,
    /// Sellers, best is lowest.
    Ask,
}

/// Both sides of one subscription, best level first.
pub(crate) struct Book {
    bids: Vec<Level>,
    asks: Vec<Level>,
    depth_levels: usize,
}

/// Scratch space of the checksum; one per thread, so that a message costs no allocation and no clearing.
pub(crate) struct Checksum {
    text: [u8; 2 * CHECKSUM_LEVELS * TEXT_BYTES],
}

impl Level {
    /// Reads a level from its two number tokens; `None` when one is not a plain decimal of at most
    /// [`DIGITS_MAX`] significant digits.
    pub(crate) fn from_tokens(price: &[u8], qty: &[u8]) -> Option<Self> {
        let mut text = [0; TEXT_BYTES];
        let (price, price_len) = push_digits(price, &mut text, 0)?;
        let (qty, qty_len) = push_digits(qty, &mut text, price_len)?;
        let len = (price_len + qty_len) as u8;
        Some(Self { price, text, len, is_removal: qty == 0 })
    }

    /// What the level adds to the checksum's text.
    pub(crate) fn text(&self) -> &[u8] {
        &self.text[..usize::from(self.len)]
    }
}

impl std::fmt::Debug for Level {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.price, String::from_utf8_lossy(self.text()))
    }
}

impl Side {
    /// Orders prices of this side from best to worst.
    pub(crate) fn rank(self, price: u64) -> u64 {
        match self {
            Self::Bid => !price,
            Self::Ask => price,
        }
    }

    /// The word for it in a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bid => "bids",
            Self::Ask => "asks",
        }
    }
}

impl Book {
    /// An empty book for a subscription of this depth.
    pub(crate) fn new(depth_levels: usize) -> Self {
        Self { bids: Vec::new(), asks: Vec::new(), depth_levels }
    }

    /// Levels of each side that are kept.
    pub(crate) const fn depth_levels(&self) -> usize {
        self.depth_levels
    }

    /// Forgets every level.
    pub(crate) fn clear(&mut self) {
        self.bids.clear();
        self.asks.clear();
    }

    /// Applies levels in the order they were sent. The caller truncates once the message is through.
    pub(crate) fn apply(&mut self, side: Side, levels: &[Level]) {
        let own = self.side_mut(side);
        for level in levels {
            let rank = side.rank(level.price);
            let at = own.partition_point(|l| side.rank(l.price) < rank);
            let found = own.get(at).is_some_and(|l| l.price == level.price);
            match (found, level.is_removal) {
                (true, true) => drop(own.remove(at)),
                (true, false) => own[at] = *level,
                (false, true) => {}
                (false, false) => own.insert(at, *level),
            }
        }
    }

    /// Cuts a side to the depth, and returns the first level among `sent` that did not survive the cut.
    pub(crate) fn truncate(&mut self, side: Side, sent: &[Level]) -> Option<Level> {
        let depth_levels = self.depth_levels;
        let own = self.side_mut(side);
        if own.len() <= depth_levels {
            return None;
        }
        let leaked = sent.iter().find(|s| own[depth_levels..].iter().any(|cut| cut == *s)).copied();
        own.truncate(depth_levels);
        leaked
    }

    /// The best bid and ask where the bid is not below the ask.
    pub(crate) fn crossed(&self) -> Option<(u64, u64)> {
        let (bid, ask) = (self.bids.first()?.price, self.asks.first()?.price);
        (bid >= ask).then_some((bid, ask))
    }

    fn side_mut(&mut self, side: Side) -> &mut Vec<Level> {
        match side {
            Side::Bid => &mut self.bids,
            Side::Ask => &mut self.asks,
        }
    }
}

impl Checksum {
    /// Scratch for any number of books, one after the other.
    pub(crate) fn new() -> Self {
        Self { text: [0; 2 * CHECKSUM_LEVELS * TEXT_BYTES] }
    }

    /// CRC-32 (ISO-HDLC) of the ten best asks, then the ten best bids.
    pub(crate) fn of(&mut self, book: &Book) -> u32 {
        let mut at = 0;
        let best = book.asks.iter().take(CHECKSUM_LEVELS).chain(book.bids.iter().take(CHECKSUM_LEVELS));
        for level in best {
            // The whole array is copied and the tail overwritten: a copy of fixed size is a few moves.
            self.text[at..at + TEXT_BYTES].copy_from_slice(&level.text);
            at += usize::from(level.len);
        }
        crc32fast::hash(&self.text[..at])
    }
}

/// A number that is the same for equal books, and hardly ever for others: all levels of both sides.
pub(crate) fn digest(book: &Book) -> u64 {
    digest_of_best(book, usize::MAX)
}

/// The same of the best levels of each side, as a subscription of this depth has them.
pub(crate) fn digest_of_best(book: &Book, depth_levels: usize) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    for side in [&book.bids, &book.asks] {
        let best = &side[..side.len().min(depth_levels)];
        best.len().hash(&mut hasher);
        best.iter().for_each(|level| level.text().hash(&mut hasher));
    }
    hasher.finish()
}

/// Writes the digits of a plain decimal to `out[at..]`, leading zeros and dot left out; returns the integer
/// they make and their count. Follows JSON's number grammar without sign and exponent.
fn push_digits(token: &[u8], out: &mut [u8; TEXT_BYTES], at: usize) -> Option<(u64, usize)> {
    if token.is_empty() || (token[0] == b'0' && token.get(1).is_some_and(|b| *b != b'.')) {
        return None;
    }
    let (mut value, mut len, mut dotted) = (0_u64, 0, false);
    for (i, byte) in token.iter().enumerate() {
        match byte {
            b'0' if value == 0 => {}
            b'0'..=b'9' if len < DIGITS_MAX => {
                out[at + len] = *byte;
                len += 1;
                value = value * 10 + u64::from(byte - b'0');
            }
            b'.' if !dotted && i > 0 && i + 1 < token.len() => dotted = true,
            _ => return None,
        }
    }
    Some((value, len))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn level(price: &str, qty: &str) -> Level {
        Level::from_tokens(price.as_bytes(), qty.as_bytes()).unwrap()
    }

    fn levels(rows: &[(&str, &str)]) -> Vec<Level> {
        rows.iter().map(|(p, q)| level(p, q)).collect()
    }

    fn check_text(price: &str, qty: &str, expected: &str) {
        let got = Level::from_tokens(price.as_bytes(), qty.as_bytes())
            .map_or_else(|| "refused".to_owned(), |l| String::from_utf8_lossy(l.text()).into_owned());
        assert_eq!(got, expected, "{price} x {qty}");
    }

    #[test]
    fn digits_lose_dot_and_leading_zeros_and_nothing_else() {
        check_text("45285.2", "0.00100000", "452852100000");
        check_text("0.00012", "10.50", "121050");
        check_text("100", "7", "1007");
        check_text("5.0", "0.00000000", "50");
        for bad in ["", ".5", "5.", "1.2.3", "1e-8", "-1.0", "01.0", "\"1.0\"", "12345678901234567890"] {
            check_text(bad, "1", "refused");
        }
    }

    #[test]
    fn worked_example_of_the_venue_gives_its_checksum() {
        let asks = [
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
        ];
        let bids = [
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
        ];
        let mut book = Book::new(10);
        book.apply(Side::Ask, &levels(&asks));
        book.apply(Side::Bid, &levels(&bids));
        assert_eq!(Checksum::new().of(&book), 3_310_070_434);
        // The eleventh level of a deeper book is not covered, and the order of arrival does not matter.
        let mut deep = Book::new(25);
        let mut reversed = levels(&asks);
        reversed.reverse();
        deep.apply(Side::Ask, &levels(&[("45300.0", "1.00000000")]));
        deep.apply(Side::Ask, &reversed);
        deep.apply(Side::Bid, &levels(&bids));
        assert_eq!(Checksum::new().of(&deep), 3_310_070_434);
    }

    #[test]
    fn removal_then_entering_level_keeps_the_window_full() {
        let mut book = Book::new(2);
        book.apply(Side::Ask, &levels(&[("10.0", "1.0"), ("10.1", "1.0")]));
        let change = levels(&[("10.0", "0.0"), ("10.2", "3.0")]);
        book.apply(Side::Ask, &change);
        assert_eq!(book.truncate(Side::Ask, &change), None);
        assert_eq!(book.asks, levels(&[("10.1", "1.0"), ("10.2", "3.0")]));
    }

    #[test]
    fn a_level_beyond_the_window_is_named() {
        let mut book = Book::new(2);
        book.apply(Side::Bid, &levels(&[("10.2", "1.0"), ("10.1", "1.0")]));
        // A better level pushes an old one out: nothing was sent in vain.
        let better = levels(&[("10.3", "1.0")]);
        book.apply(Side::Bid, &better);
        assert_eq!(book.truncate(Side::Bid, &better), None);
        let worse = levels(&[("10.0", "1.0")]);
        book.apply(Side::Bid, &worse);
        assert_eq!(book.truncate(Side::Bid, &worse), Some(worse[0]));
    }

    #[test]
    fn touching_prices_are_crossed() {
        let mut book = Book::new(10);
        book.apply(Side::Bid, &levels(&[("10.0", "1.0")]));
        assert_eq!(book.crossed(), None);
        book.apply(Side::Ask, &levels(&[("10.0", "1.0")]));
        assert_eq!(book.crossed(), Some((100, 100)));
    }
}
