//! WebSocket frames of RFC 6455, the server's side.
//!
//! Writes headers and frames (unmasked, whole, of minimal length) into buffers it is given, and reads the
//! frames of clients with [`FrameReader`], which is as strict as the RFC allows. Never touches a socket and
//! knows nothing of what the messages say: text and binary go to [`crate::request`], everything written comes
//! from [`crate::reply`] and [`crate::update`].

mod header;
mod read;
mod utf8;
mod violation;

pub use read::{FrameReader, Message, ReadLimits};
pub use violation::Violation;

/// Longest payload of a control frame.
pub const CONTROL_PAYLOAD_MAX: usize = 125;

/// Longest reason of a close frame: a control payload less the two octets of the code.
pub const CLOSE_REASON_MAX: usize = CONTROL_PAYLOAD_MAX - 2;

/// Longest header of a frame that we write: two octets and a length of eight.
pub const SERVER_HEADER_MAX: usize = 10;

/// Kind of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opcode {
    /// The next part of a fragmented message.
    Continuation,
    /// A message of UTF-8 text, or its first part.
    Text,
    /// A message of octets, or its first part.
    Binary,
    /// The goodbye.
    Close,
    /// A question for a pong.
    Ping,
    /// The answer to a ping.
    Pong,
}

impl Opcode {
    /// The four bits in the header.
    #[must_use]
    pub const fn bits(self) -> u8 {
        match self {
            Self::Continuation => 0x0,
            Self::Text => 0x1,
            Self::Binary => 0x2,
            Self::Close => 0x8,
            Self::Ping => 0x9,
            Self::Pong => 0xA,
        }
    }

    /// The kind of those four bits; none for reserved ones.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Option<Self> {
        Some(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xA => Self::Pong,
            _ => return None,
        })
    }

    /// Whether frames of this kind stand between the parts of messages instead of carrying them.
    #[must_use]
    pub const fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

/// Octets of the header that [`write_header`] writes for a payload of this length.
#[must_use]
pub const fn header_len(payload_len: usize) -> usize {
    match payload_len {
        0..=125 => 2,
        126..=0xFFFF => 4,
        _ => SERVER_HEADER_MAX,
    }
}

/// Appends the header of an unmasked, unfragmented frame.
pub fn write_header(opcode: Opcode, payload_len: usize, out: &mut Vec<u8>) {
    debug_assert!(!opcode.is_control() || payload_len <= CONTROL_PAYLOAD_MAX);
    out.push(0x80 | opcode.bits());
    match header_len(payload_len) {
        2 => out.push(payload_len as u8),
        4 => {
            out.push(126);
            out.extend_from_slice(&(payload_len as u16).to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload_len as u64).to_be_bytes());
        }
    }
}

/// Appends a whole frame.
pub fn write_frame(opcode: Opcode, payload: &[u8], out: &mut Vec<u8>) {
    write_header(opcode, payload.len(), out);
    out.extend_from_slice(payload);
}

/// Appends a text frame whose payload is written in place, so that it is not copied behind its header.
pub fn write_text_frame(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // Room for the header that nearly every message has; another one makes room by moving the payload.
    const USUAL: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0x80 | Opcode::Text.bits(), 126, 0, 0]);
    write(out);
    let len = out.len() - start - USUAL;
    match header_len(len) {
        USUAL => out[start + 2..start + USUAL].copy_from_slice(&(len as u16).to_be_bytes()),
        _ => {
            let mut header = Vec::new();
            write_header(Opcode::Text, len, &mut header);
            out.splice(start..start + USUAL, header);
        }
    }
}

/// Appends a close frame; the reason is cut to [`CLOSE_REASON_MAX`] bytes between two characters.
pub fn write_close(code: u16, reason: &str, out: &mut Vec<u8>) {
    debug_assert!(close_code_is_valid(code));
    let reason = &reason[..reason.floor_char_boundary(CLOSE_REASON_MAX)];
    write_header(Opcode::Close, 2 + reason.len(), out);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// Whether a code may stand in a close frame: the registered ones that are not reserved, and 3000-4999.
#[must_use]
pub const fn close_code_is_valid(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_minimal_and_as_long_as_announced() {
        let cases: [(usize, &[u8]); 7] = [
            (0, &[0x81, 0]),
            (125, &[0x81, 125]),
            (126, &[0x81, 126, 0, 126]),
            (0xFFFF, &[0x81, 126, 0xFF, 0xFF]),
            (0x1_0000, &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (5, &[0x81, 5]),
            (1000, &[0x81, 126, 3, 0xE8]),
        ];
        for (len, expected) in cases {
            let mut out = Vec::new();
            write_header(Opcode::Text, len, &mut out);
            assert_eq!(out, expected, "{len}");
            assert_eq!(header_len(len), out.len(), "{len}");
        }
    }

    #[test]
    fn a_frame_written_in_place_is_the_same_frame() {
        for len in [0, 1, 125, 126, 127, 0xFFFF, 0x1_0000] {
            let (mut copied, mut in_place) = (b"before".to_vec(), b"before".to_vec());
            write_frame(Opcode::Text, &vec![b'x'; len], &mut copied);
            write_text_frame(&mut in_place, |out| out.resize(out.len() + len, b'x'));
            assert!(copied == in_place, "{len}");
        }
    }

    #[test]
    fn opcodes_come_back_from_their_bits() {
        let known = (0..=15).filter_map(Opcode::from_bits).map(Opcode::bits);
        assert_eq!(known.collect::<Vec<_>>(), [0, 1, 2, 8, 9, 10]);
    }

    #[test]
    fn a_long_close_reason_is_cut_between_characters() {
        let mut out = Vec::new();
        write_close(4008, &"ä".repeat(100), &mut out);
        assert_eq!(out[..4], [0x88, 124, 0x0F, 0xA8]);
        assert_eq!(std::str::from_utf8(&out[4..]).unwrap(), "ä".repeat(61));
    }
}
