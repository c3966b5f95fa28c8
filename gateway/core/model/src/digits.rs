//! Numbers as decimal digits, eight at a time, and back.
//!
//! Owns the arithmetic and the room it is written to: what a number means is the caller's. Every update has some forty numbers
//! in it or in its checksum. No loop runs over digits: eight of them are the bytes of
//! one word, which is worked on as a whole. Whole words are written, and what is too much of them is written over by what follows.

/// Numbers below it have at most eight digits.
pub(crate) const BLOCK: u64 = 100_000_000;

/// Powers of ten by their exponents, as far as decimals go.
pub const POWERS: [u64; 16] = {
    let mut powers = [1; 16];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// The digit zero in each byte.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// The half of each byte that says whether it is a digit, not which.
const ROWS: u64 = 0xF0F0_F0F0_F0F0_F0F0;

/// The eight digits of a number below 10^8, 0 to 9 each, the first in the lowest byte.
const fn eight_digits(n: u32) -> u64 {
    debug_assert!((n as u64) < BLOCK);
    // Two halves of four digits, then four quarters of two, then eight: each step divides all parts at once, by multiplying with the
    // reciprocal, which is exact for numbers so small.
    let halves = (n as u64 / 10_000) | ((n as u64 % 10_000) << 32);
    let hundreds = ((halves * 10_486) >> 20) & 0x0000_007F_0000_007F;
    let quarters = hundreds | ((halves - 100 * hundreds) << 16);
    let tens = ((quarters * 103) >> 10) & 0x000F_000F_000F_000F;
    tens | ((quarters - 10 * tens) << 8)
}

/// The eight digits of a number below 10^8 as text, with leading zeros.
#[must_use]
pub const fn eight_as_text(n: u32) -> [u8; 8] {
    (eight_digits(n) | ZEROS).to_le_bytes()
}

/// Writes text from left to right into room that was made before.
///
/// Where it stands is a number at hand, not the length of a vector in memory, which every single piece would wait for.
#[derive(Debug)]
pub struct Pen<'a> {
    room: &'a mut [u8],
    at: usize,
}

impl<'a> Pen<'a> {
    /// Octets behind a number that writing it may touch.
    pub const SLACK: usize = 8;

    /// A pen that begins at an octet of the room.
    #[must_use]
    pub const fn new(room: &'a mut [u8], at: usize) -> Self {
        Self { room, at }
    }

    /// Where the text ends.
    #[must_use]
    pub const fn end(&self) -> usize {
        self.at
    }

    /// Writes text whose length is known here.
    ///
    /// # Panics
    /// As all that writes, where there is no room.
    #[inline]
    pub fn literal<const N: usize>(&mut self, text: &[u8; N]) {
        self.room[self.at..self.at + N].copy_from_slice(text);
        self.at += N;
    }

    /// Writes a number without leading zeros.
    #[inline]
    pub fn digits(&mut self, n: u64) {
        if n < BLOCK {
            let digits = eight_digits(n as u32);
            // The last digit stays, whatever it is.
            let zeros = (digits | (1 << 56)).trailing_zeros() / 8;
            self.word((digits | ZEROS) >> (8 * zeros), 8 - zeros as usize);
        } else {
            self.long(n);
        }
    }

    /// Writes a number below 10^8 with its last digits, eight at most, behind a dot.
    #[inline]
    pub(crate) fn short_decimal(&mut self, n: u32, decimals: usize) {
        let digits = eight_digits(n);
        let text = digits | ZEROS;
        if decimals == 8 {
            self.literal(b"0.");
            self.word(text, 8);
            return;
        }
        // One digit stays before the dot, whatever it is.
        let zeros = (digits | 1 << (56 - 8 * decimals)).trailing_zeros() as usize / 8;
        self.word(text >> (8 * zeros), 8 - decimals - zeros);
        if decimals > 0 {
            self.literal(b".");
            self.word(text >> (64 - 8 * decimals), decimals);
        }
    }

    fn long(&mut self, n: u64) {
        self.digits(n / BLOCK);
        self.padded(n % BLOCK, 8);
    }

    /// Writes what stands behind a dot: a number of at most `width` digits with leading zeros; `width` is 1 to 16.
    #[inline]
    pub(crate) fn fraction(&mut self, n: u64, width: usize) {
        if width > 8 {
            self.padded(n / BLOCK, width - 8);
            self.padded(n % BLOCK, 8);
        } else {
            self.padded(n, width);
        }
    }

    #[inline]
    fn padded(&mut self, n: u64, width: usize) {
        self.word((eight_digits(n as u32) | ZEROS) >> (8 * (8 - width)), width);
    }

    #[inline]
    fn word(&mut self, word: u64, len: usize) {
        self.room[self.at..self.at + 8].copy_from_slice(&word.to_le_bytes());
        self.at += len;
    }
}

/// Appends what a pen writes into room for `N` octets, of which it leaves [`Pen::SLACK`].
///
/// # Panics
/// When it needs more.
#[inline]
pub fn write_within<const N: usize>(out: &mut Vec<u8>, write: impl FnOnce(&mut Pen<'_>)) {
    let start = out.len();
    out.extend_from_slice(&[0; N]);
    let mut pen = Pen::new(&mut out[start..start + N], 0);
    write(&mut pen);
    let end = start + pen.end();
    out.truncate(end);
}

/// Appends a number without leading zeros.
pub fn push_digits(n: u64, out: &mut Vec<u8>) {
    // Twenty digits at most.
    write_within::<{ 20 + Pen::SLACK }>(out, |pen| pen.digits(n));
}

/// How many of the first eight octets are digits, and the number that these are.
///
/// Octets beyond the end of the text count as no digits.
#[must_use]
pub fn leading_digits(text: &[u8]) -> (usize, u64) {
    let word = match text.first_chunk::<8>() {
        Some(chunk) => u64::from_le_bytes(*chunk),
        None => {
            let mut chunk = [0; 8];
            chunk[..text.len()].copy_from_slice(text);
            u64::from_le_bytes(chunk)
        }
    };
    // The high half of each byte is 3 in a digit, also after 6 was added, which takes the six octets behind the nine to the next row.
    let odd = ((word & ROWS) ^ ZEROS) | ((word.wrapping_add(0x0606_0606_0606_0606) & ROWS) ^ ZEROS);
    let count = (odd.trailing_zeros() / 8) as usize;
    if count == 0 {
        return (0, 0);
    }
    // Digits to the high end: zeros stand before them.
    (count, number_of((word & !ROWS) << (8 * (8 - count))))
}

/// The number of eight digits, 0 to 9 each, the first in the lowest byte.
const fn number_of(digits: u64) -> u64 {
    let pairs = (digits * 10 + (digits >> 8)) & 0x00FF_00FF_00FF_00FF;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_FFFF_0000_FFFF;
    (fours * 10_000 + (fours >> 32)) & 0xFFFF_FFFF
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pushed(n: u64) -> String {
        let mut out = b"<".to_vec();
        push_digits(n, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_of_every_length_are_written_as_they_are_read() {
        let mut power = 1_u64;
        loop {
            for n in [power - 1, power, power + 1, power.saturating_mul(9)] {
                assert_eq!(pushed(n), format!("<{n}"));
            }
            match power.checked_mul(10) {
                Some(next) => power = next,
                None => break,
            }
        }
        assert_eq!(pushed(u64::MAX), format!("<{}", u64::MAX));
    }

    #[test]
    fn digits_end_at_whatever_is_none() {
        let cases: [(&[u8], (usize, u64)); 9] = [
            (b"", (0, 0)),
            (b"7", (1, 7)),
            (b"007,1234567", (3, 7)),
            (b"12345678", (8, 12_345_678)),
            (b"123456789", (8, 12_345_678)),
            (b"9/", (1, 9)),
            (b"9:", (1, 9)),
            (b"64005.2\"", (5, 64_005)),
            (b"\xB1\xB2", (0, 0)),
        ];
        for (text, expected) in cases {
            assert_eq!(leading_digits(text), expected, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_number_is_written_as_the_standard_library_writes_it(n: u64, shift in 0_u32..64) {
            prop_assert_eq!(pushed(n >> shift), format!("<{}", n >> shift));
        }

        #[test]
        fn digits_are_counted_and_read_as_a_loop_would(text in prop::collection::vec(prop_oneof![b'0'..=b'9', any::<u8>()], 0..12)) {
            let count = text.iter().take(8).take_while(|byte| byte.is_ascii_digit()).count();
            let number = text[..count].iter().fold(0, |n, digit| n * 10 + u64::from(digit - b'0'));
            prop_assert_eq!(leading_digits(&text), (count, number));
        }
    }
}
