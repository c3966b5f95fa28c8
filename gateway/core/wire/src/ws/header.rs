//! Headers of client frames, checked octet by octet: a rule that is broken is told before the header is complete.

use super::{CONTROL_PAYLOAD_MAX, Opcode, ReadLimits, Violation};

/// Longest header of a client: two octets, a length of eight, a mask of four.
pub(super) const CLIENT_HEADER_MAX: usize = 14;

/// What the rules for the next header hang on.
#[derive(Clone, Copy)]
pub(super) struct Context {
    pub(super) limits: ReadLimits,
    /// Inside a fragmented message.
    pub(super) inside: bool,
    /// Frames of it so far.
    pub(super) fragments: u32,
    /// Bytes of it so far.
    pub(super) bytes: usize,
}

impl Context {
    pub(super) const fn outside(limits: ReadLimits) -> Self {
        Self { limits, inside: false, fragments: 0, bytes: 0 }
    }
}

/// Header of a client frame that keeps all rules.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    /// The last frame of its message.
    pub(super) fin: bool,
    pub(super) opcode: Opcode,
    pub(super) mask: [u8; 4],
    /// Length of the payload; within the limit of a message.
    pub(super) len: usize,
    /// Length of the header itself.
    pub(super) size: usize,
}

impl Header {
    /// Reads a header from the start of `bytes`; none when octets are missing and those there keep the rules.
    pub(super) fn parse(bytes: &[u8], context: Context) -> Result<Option<Self>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (fin, opcode) = Self::parse_first(first, context)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & 0x80 == 0 {
            return Err(Violation::NotMasked);
        }
        let code = second & 0x7F;
        if opcode.is_control() && usize::from(code) > CONTROL_PAYLOAD_MAX {
            return Err(Violation::ControlTooLong);
        }
        let Some((len, at)) = Self::parse_len(code, bytes)? else { return Ok(None) };
        let len = if opcode.is_control() { len as usize } else { Self::check_size(len, context)? };
        let mask = bytes.get(at..).and_then(<[u8]>::first_chunk::<4>);
        Ok(mask.map(|mask| Self { fin, opcode, mask: *mask, len, size: at + 4 }))
    }

    fn parse_first(first: u8, context: Context) -> Result<(bool, Opcode), Violation> {
        let (fin, bits) = (first & 0x80 != 0, first & 0x0F);
        if first & 0x70 != 0 {
            return Err(Violation::ReservedBits(first & 0x70));
        }
        let opcode = Opcode::from_bits(bits).ok_or(Violation::ReservedOpcode(bits))?;
        if opcode.is_control() {
            return if fin { Ok((fin, opcode)) } else { Err(Violation::FragmentedControl(bits)) };
        }
        match (opcode == Opcode::Continuation, context.inside) {
            (true, false) => Err(Violation::ContinuationOutside),
            (false, true) => Err(Violation::DataInside(bits)),
            _ if context.fragments >= context.limits.fragments_max => {
                Err(Violation::TooManyFragments { max: context.limits.fragments_max })
            }
            _ => Ok((fin, opcode)),
        }
    }

    /// The payload's length and where the mask begins; none when octets are missing.
    fn parse_len(code: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
        let rest = &bytes[2..];
        let (len, at, min) = match code {
            126 => (rest.first_chunk().map(|n| u64::from(u16::from_be_bytes(*n))), 4, 126),
            127 => (rest.first_chunk().map(|n| u64::from_be_bytes(*n)), 10, 0x1_0000),
            _ => (Some(u64::from(code)), 2, 0),
        };
        match len {
            None => Ok(None),
            Some(len) if len < min => Err(Violation::LengthNotMinimal(len)),
            Some(len) if len >> 63 != 0 => Err(Violation::LengthTopBit(len)),
            Some(len) => Ok(Some((len, at))),
        }
    }

    fn check_size(len: u64, context: Context) -> Result<usize, Violation> {
        let max = context.limits.message_bytes_max;
        let bytes = len.saturating_add(context.bytes as u64);
        if bytes > max as u64 { Err(Violation::MessageTooBig { bytes, max }) } else { Ok(len as usize) }
    }
}
