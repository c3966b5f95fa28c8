//! Reads a book line in the one form in which nearly all of them come.
//!
//! That is the form of [`super::FeedWriter`]: these keys in this order, without spaces, plain numbers. Never says that a line is
//! wrong: of any other form, and of anything that is odd, the general reader ([`super::FeedDecoder`]) is asked, which knows JSON
//! and reasons. What is read here it would read the same; the tests of this crate and the fuzzer hold both against each other.
//! Nearly all lines of a busy feed are of books, and where each key stands need not be found out anew.

use model::{
    Epoch, Event, EventBody, InstrumentTable, Level, LevelSpan, Listing, Nanos, POWERS, Price, Qty,
    SYMBOL_BYTES_MAX, Sequence, leading_digits,
};

use super::FEED_LEVELS_MAX;

/// Longest text between the quotes of a symbol, its closing quote included.
const SYMBOL_MAX: usize = SYMBOL_BYTES_MAX + 1;

/// The event of a line and its levels, appended to `levels`; none when it has another form, and then what was appended is to be
/// taken out again.
pub(super) fn read(
    line: &[u8],
    instruments: &InstrumentTable,
    ts_recv: Nanos,
    levels: &mut Vec<Level>,
) -> Option<Event> {
    let mut text = Text(line);
    let Front { is_delta, line, epoch, ts_event, symbol } = text.front()?;
    let listing = instruments.listing(symbol)?;
    text.skip(b",\"seq\":")?;
    let seq = Sequence(text.number()?);
    text.skip(b",\"bids\":[")?;
    let start = levels.len();
    text.side(&listing, levels)?;
    let bids = levels.len() - start;
    text.skip(b",\"asks\":[")?;
    text.side(&listing, levels)?;
    text.skip(b"}")?;
    let count = levels.len() - start;
    if !text.0.is_empty() || count > FEED_LEVELS_MAX {
        return None;
    }
    let levels = LevelSpan { start: start as u32, bids: bids as u32, asks: (count - bids) as u32 };
    let body = if is_delta {
        EventBody::BookDelta { instrument: listing.id, seq, levels }
    } else {
        EventBody::BookSnapshot { instrument: listing.id, seq, levels }
    };
    Some(Event { epoch: Epoch(epoch), line, ts_event: Nanos(ts_event), ts_recv, body })
}

/// The symbol of a line of this form.
pub(super) fn symbol(line: &[u8]) -> Option<&[u8]> {
    Text(line).front().map(|front| front.symbol)
}

/// What a line says before its numbers, which only its instrument can tell how to read.
struct Front<'a> {
    is_delta: bool,
    line: u64,
    epoch: u64,
    ts_event: u64,
    symbol: &'a [u8],
}

/// What is left of a line.
struct Text<'a>(&'a [u8]);

impl<'a> Text<'a> {
    /// Passes over what must come next. The length is known where this is called, so that comparing is no loop.
    #[inline]
    fn skip<const N: usize>(&mut self, expected: &[u8; N]) -> Option<()> {
        let (first, rest) = self.0.split_first_chunk::<N>()?;
        (first == expected).then(|| self.0 = rest)
    }

    /// Everything up to the symbol, its closing quote included.
    #[inline]
    fn front(&mut self) -> Option<Front<'a>> {
        self.skip(b"{\"type\":\"book_")?;
        let is_delta = self.skip(b"delta\",\"line\":").is_some();
        if !is_delta {
            self.skip(b"snapshot\",\"line\":")?;
        }
        let line = self.number()?;
        self.skip(b",\"epoch\":")?;
        let epoch = self.number().filter(|&epoch| epoch > 0)?;
        self.skip(b",\"ts\":")?;
        let ts_event = self.number()?;
        self.skip(b",\"symbol\":\"")?;
        Some(Front { is_delta, line, epoch, ts_event, symbol: self.symbol()? })
    }

    /// A whole number as JSON has them, with at most nineteen digits.
    #[inline]
    fn number(&mut self) -> Option<u64> {
        let (mut len, mut number) = leading_digits(self.0);
        if len == 0 || (len > 1 && self.0[0] == b'0') {
            return None;
        }
        let mut count = len;
        while count == 8 {
            let digits;
            (count, digits) = leading_digits(&self.0[len..]);
            if len + count > 19 {
                return None;
            }
            number = number * POWERS[count] + digits;
            len += count;
        }
        self.0 = &self.0[len..];
        Some(number)
    }

    /// What stands before the next quote.
    #[inline]
    fn symbol(&mut self) -> Option<&'a [u8]> {
        let len = self.0.iter().take(SYMBOL_MAX).position(|&byte| byte == b'"')?;
        let (symbol, rest) = self.0.split_at(len);
        self.0 = &rest[1..];
        // What the table holds has no escapes and is ASCII, so what has some or is no text is not found.
        Some(symbol)
    }

    /// The levels of a side up to its closing bracket.
    fn side(&mut self, listing: &Listing, levels: &mut Vec<Level>) -> Option<()> {
        if self.skip(b"]").is_some() {
            return Some(());
        }
        loop {
            self.skip(b"[\"")?;
            let (price, len) = listing.price.parse_front(self.0)?;
            self.0 = &self.0[len..];
            self.skip(b"\",\"")?;
            let (qty, len) = listing.qty.parse_front(self.0)?;
            self.0 = &self.0[len..];
            self.skip(b"\"]")?;
            if price == 0 {
                return None;
            }
            levels.push(Level { price: Price(price), qty: Qty(qty) });
            if self.skip(b"]").is_some() {
                return Some(());
            }
            self.skip(b",")?;
        }
    }
}
