//! UTF-8 checked as octets arrive, so that a bad one is found before its frame is complete.
//!
//! Holds the state between two arrivals: three octets, whatever the text. The bulk is left to the standard
//! library, whose ASCII path is fast; the automaton here walks the few octets around a cut.

/// State of a text that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Utf8 {
    /// Continuation octets that the sequence under way still needs.
    need: u8,
    /// Lowest value that the next of them may have; above 0x80 only right after some first octets.
    low: u8,
    /// Highest value of it.
    high: u8,
}

impl Default for Utf8 {
    fn default() -> Self {
        Self::BETWEEN
    }
}

impl Utf8 {
    /// Between two characters.
    const BETWEEN: Self = Self::after(0);

    const fn after(need: u8) -> Self {
        Self { need, low: 0x80, high: 0xBF }
    }

    /// Checks the next octets of the text; the error is the index of the first that cannot stand where it does.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), usize> {
        let mut at = 0;
        while self.need > 0 && at < bytes.len() {
            self.step(bytes[at]).ok_or(at)?;
            at += 1;
        }
        let Err(error) = std::str::from_utf8(&bytes[at..]) else { return Ok(()) };
        for (at, byte) in bytes.iter().enumerate().skip(at + error.valid_up_to()) {
            self.step(*byte).ok_or(at)?;
        }
        Ok(())
    }

    /// Whether the text may end here.
    pub(super) const fn is_complete(self) -> bool {
        self.need == 0
    }

    /// Moves by one octet; none when the octet cannot stand here.
    fn step(&mut self, byte: u8) -> Option<()> {
        *self = if self.need == 0 { Self::first(byte)? } else { self.continued(byte)? };
        Some(())
    }

    /// State after the first octet of a character. The bounds shut out overlong forms, surrogates and
    /// what lies above U+10FFFF.
    const fn first(byte: u8) -> Option<Self> {
        Some(match byte {
            0..=0x7F => Self::BETWEEN,
            0xC2..=0xDF => Self::after(1),
            0xE0 => Self { low: 0xA0, ..Self::after(2) },
            0xED => Self { high: 0x9F, ..Self::after(2) },
            0xE1..=0xEF => Self::after(2),
            0xF0 => Self { low: 0x90, ..Self::after(3) },
            0xF4 => Self { high: 0x8F, ..Self::after(3) },
            0xF1..=0xF3 => Self::after(3),
            _ => return None,
        })
    }

    const fn continued(self, byte: u8) -> Option<Self> {
        if byte < self.low || byte > self.high { None } else { Some(Self::after(self.need - 1)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What the automaton alone says: bad at an index, cut off, or whole.
    fn stepped(bytes: &[u8]) -> Result<bool, usize> {
        let mut state = Utf8::default();
        for (at, byte) in bytes.iter().enumerate() {
            state.step(*byte).ok_or(at)?;
        }
        Ok(state.is_complete())
    }

    fn agrees_with_the_standard_library(bytes: &[u8]) {
        match (stepped(bytes), std::str::from_utf8(bytes)) {
            (Ok(true), Ok(_)) => {}
            (Ok(false), Err(error)) => assert_eq!(error.error_len(), None, "{bytes:02x?}"),
            (Err(at), Err(error)) => {
                assert!(error.error_len().is_some(), "{bytes:02x?}");
                assert!((error.valid_up_to()..error.valid_up_to() + 4).contains(&at), "{bytes:02x?}");
            }
            (ours, theirs) => panic!("{ours:?} but {theirs:?} for {bytes:02x?}"),
        }
    }

    #[test]
    fn every_pair_and_every_start_of_a_long_character_agrees_with_the_standard_library() {
        for a in 0..=255 {
            for b in 0..=255 {
                agrees_with_the_standard_library(&[a, b]);
                agrees_with_the_standard_library(&[a, b, 0x80]);
                agrees_with_the_standard_library(&[a, b, 0xBF, 0x80]);
                agrees_with_the_standard_library(&[a, b, 0x80, 0xC0]);
            }
        }
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(bytes in mostly_text(), cuts in proptest::collection::vec(0_usize..40, 0..4)) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.extend([0, bytes.len()]);
            cuts.sort_unstable();
            let mut state = Utf8::default();
            let mut result = Ok(true);
            for pair in cuts.windows(2) {
                if let Err(at) = state.push(&bytes[pair[0]..pair[1]]) {
                    result = Err(pair[0] + at);
                    break;
                }
                result = Ok(state.is_complete());
            }
            prop_assert_eq!(result, stepped(&bytes));
        }
    }

    /// Texts of characters of every length, some with an octet overwritten.
    fn mostly_text() -> impl Strategy<Value = Vec<u8>> {
        let chars = proptest::collection::vec(any::<char>(), 0..10);
        (chars, any::<u8>(), 0_usize..60).prop_map(|(chars, byte, at)| {
            let mut bytes = chars.into_iter().collect::<String>().into_bytes();
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            bytes
        })
    }
}
