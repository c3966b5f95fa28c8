//! Records: how updates travel from the bench's publisher to the floor and to the peers.
//!
//! Owns the layout `u32 BE length of what follows | u8 length of the symbol | symbol | payload`. Never looks into a
//! payload. Written by [`crate::bench`], read by [`crate::ceiling`] and by the glue of each peer.

/// Longest record that is believed; a longer one is a mistake in the layout.
const RECORD_BYTES_MAX: usize = 1 << 20;
const LENGTH_BYTES: usize = 4;

/// One update.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    /// Who it is for: the subscribers of this symbol.
    pub(crate) symbol: &'a [u8],
    /// What they get, as the text of one message.
    pub(crate) payload: &'a [u8],
}

/// Bytes that are no record.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record announces {0} bytes")]
pub(crate) struct RecordError(usize);

impl<'a> Record<'a> {
    /// Reads the record at the start of `bytes`, and says how long it was; none when it is cut off.
    #[inline]
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Option<(Self, usize)>, RecordError> {
        let Some((&length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
        let length = u32::from_be_bytes(length) as usize;
        if !(1..=RECORD_BYTES_MAX).contains(&length) {
            return Err(RecordError(length));
        }
        let Some((&symbol_bytes, body)) = rest.get(..length).and_then(<[u8]>::split_first) else {
            return Ok(None);
        };
        let Some((symbol, payload)) = body.split_at_checked(symbol_bytes.into()) else {
            return Err(RecordError(length));
        };
        Ok(Some((Self { symbol, payload }, LENGTH_BYTES + length)))
    }

    /// Appends the record.
    ///
    /// Panics when the symbol is longer than its length can say.
    pub(crate) fn push(&self, out: &mut Vec<u8>) {
        let symbol_bytes = u8::try_from(self.symbol.len()).expect("symbols are short");
        let length = 1 + self.symbol.len() + self.payload.len();
        out.extend_from_slice(&(length as u32).to_be_bytes());
        out.push(symbol_bytes);
        out.extend_from_slice(self.symbol);
        out.extend_from_slice(self.payload);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read_whole_or_not_at_all() {
        let record = Record { symbol: b"BTC/USD", payload: b"{}" };
        let mut bytes = Vec::new();
        record.push(&mut bytes);
        assert_eq!(bytes, b"\0\0\0\x0A\x07BTC/USD{}");
        bytes.push(0);
        assert_eq!(Record::parse(&bytes), Ok(Some((record, 14))));
        for cut in 0..14 {
            assert_eq!(Record::parse(&bytes[..cut]), Ok(None), "{cut}");
        }
        assert_eq!(Record::parse(b"\0\0\0\x02\x07A"), Err(RecordError(2)));
        assert_eq!(Record::parse(b"\xFF\0\0\0"), Err(RecordError(0xFF00_0000)));
        assert_eq!(Record::parse(b"\0\0\0\0"), Err(RecordError(0)));
    }
}
