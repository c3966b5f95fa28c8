//! What a client was sent, as a client reads it: frames, and the JSON in them.
//!
//! Never knows more than the bytes say. Numbers of books stay text until the instrument's precision is at hand.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Opcodes of the frames that the gateway sends to a client that never pings.
pub(super) const TEXT: u8 = 1;
pub(super) const CLOSE: u8 = 8;

/// One whole frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) opcode: u8,
    /// Length with its header.
    pub(super) bytes: usize,
    pub(super) payload: Vec<u8>,
}

/// Puts frames together that come in pieces.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// From the beginning of the first frame that is not whole on.
    bytes: Vec<u8>,
}

impl Frames {
    /// Takes some bytes and gives each frame that is whole with them, with the number of bytes that are behind it.
    pub(super) fn push(&mut self, bytes: &[u8], mut take: impl FnMut(Frame, usize)) {
        self.bytes.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(frame) = first_frame(&self.bytes[start..]) {
            start += frame.bytes;
            take(frame, self.bytes.len() - start);
        }
        self.bytes.drain(..start);
    }
}

fn first_frame(bytes: &[u8]) -> Option<Frame> {
    let (header, len) = match *bytes.get(1)? {
        126 => (4, usize::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)).ok()?),
        len => (2, usize::from(len)),
    };
    let end = header + len;
    Some(Frame { opcode: bytes[0] & 0x0F, bytes: end, payload: bytes.get(header..end)?.to_vec() })
}

/// Any message of the gateway; what it lacks is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) method: Option<&'a str>,
    #[serde(borrow)]
    pub(super) channel: Option<&'a str>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'a str>,
    pub(super) success: Option<bool>,
    #[serde(borrow)]
    pub(super) error: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) result: Option<Answer<'a>>,
    #[serde(borrow)]
    pub(super) timestamp: Option<&'a str>,
    #[serde(borrow)]
    pub(super) data: Vec<Element<'a>>,
}

/// The result of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) channel: Option<&'a str>,
    #[serde(borrow)]
    pub(super) symbol: Option<&'a str>,
    pub(super) interval: Option<u16>,
    pub(super) epoch: Option<u64>,
    pub(super) seq: Option<u64>,
}

/// One element of data: of a book, a trade, a ticker, a candle, a notice, or the status.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Element<'a> {
    #[serde(borrow)]
    pub(super) symbol: Option<&'a str>,
    pub(super) seq: Option<u64>,
    pub(super) prev: Option<u64>,
    pub(super) epoch: Option<u64>,
    pub(super) merged: Option<u64>,
    #[serde(borrow)]
    pub(super) timestamp: Option<&'a str>,
    #[serde(borrow)]
    pub(super) system: Option<&'a str>,
    // A book.
    pub(super) checksum: Option<u32>,
    #[serde(borrow)]
    pub(super) bids: Vec<LevelText<'a>>,
    #[serde(borrow)]
    pub(super) asks: Vec<LevelText<'a>>,
    // A ticker.
    #[serde(borrow)]
    pub(super) bid: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) bid_qty: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) ask: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) ask_qty: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) last: Option<&'a RawValue>,
    // A trade.
    pub(super) trade_id: Option<u64>,
    // A candle.
    pub(super) interval: Option<u16>,
    #[serde(borrow)]
    pub(super) interval_begin: Option<&'a str>,
    pub(super) trades: Option<u64>,
    #[serde(borrow)]
    pub(super) close: Option<&'a RawValue>,
    // A notice.
    #[serde(borrow)]
    pub(super) code: Option<&'a str>,
    #[serde(borrow)]
    pub(super) channel: Option<&'a str>,
    pub(super) from_seq: Option<u64>,
    pub(super) to_seq: Option<u64>,
    pub(super) count: Option<u64>,
    #[serde(borrow)]
    pub(super) text: Option<Cow<'a, str>>,
}

/// A level as it stands in the text.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct LevelText<'a> {
    #[serde(borrow)]
    pub(super) price: &'a RawValue,
    #[serde(borrow)]
    pub(super) qty: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::ws::{Opcode, write_close, write_frame};

    #[test]
    fn frames_come_out_whole_and_in_order() {
        let mut bytes = Vec::new();
        for len in [0, 125, 126, 70_000] {
            write_frame(Opcode::Text, &vec![b'x'; len], &mut bytes);
        }
        write_close(4_008, "why", &mut bytes);
        for step in [1, 7, bytes.len()] {
            let (mut frames, mut shown) = (Frames::default(), Vec::new());
            for piece in bytes.chunks(step) {
                frames.push(piece, |one, behind| {
                    shown.push((one.opcode, one.bytes, one.payload.len(), behind))
                });
            }
            let expected =
                [(TEXT, 2, 0), (TEXT, 127, 125), (TEXT, 130, 126), (TEXT, 70_010, 70_000), (CLOSE, 7, 5)];
            let mut left = bytes.len();
            for (got, (opcode, bytes, payload)) in shown.iter().zip(expected) {
                left -= bytes;
                assert_eq!((got.0, got.1, got.2), (opcode, bytes, payload));
                assert!(got.3 == left || got.3 < step, "{got:?} of which {left} are behind");
            }
            assert_eq!((shown.len(), left), (expected.len(), 0));
        }
    }
}
