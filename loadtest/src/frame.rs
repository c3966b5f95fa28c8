//! WebSocket frames as bytes: the headers of both directions and the masking of the client's.
//!
//! Owns the layout of RFC 6455, section 5.2, as far as the bench needs it. Never touches a socket and never joins
//! fragments. Bytes come from [`crate::ceiling`] and [`crate::bench`], which go on from one frame to the next by
//! the length in its header.

/// Text of a message, or its first part.
pub(crate) const TEXT: u8 = 1;
/// Bytes of a message, or its first part.
pub(crate) const BINARY: u8 = 2;
/// The end of the connection.
pub(crate) const CLOSE: u8 = 8;
/// To be answered by a pong with the same payload.
pub(crate) const PING: u8 = 9;
/// The answer to a ping.
pub(crate) const PONG: u8 = 10;

/// Key that the bench masks with. A fixed one: it hides nothing from proxies here, and saves a random source.
const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];
/// Largest payload that is believed; a larger one is a mistake in the framing.
const PAYLOAD_BYTES_MAX: u64 = 16 << 20;

/// What stands before a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// One of the constants above, or 0 for a further part of a message.
    pub(crate) opcode: u8,
    /// Whether this is the last part of its message.
    pub(crate) is_last: bool,
    /// The client's key.
    pub(crate) mask: Option<[u8; 4]>,
    /// Bytes of the header itself.
    pub(crate) head_bytes: usize,
    /// Bytes of the payload.
    pub(crate) payload_bytes: usize,
}

/// Bytes that are no frame.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    /// Reserved bits mean an extension that nobody asked for.
    #[error("a frame begins with {0:#04x}, which has reserved bits")]
    Reserved(u8),
    /// No server of this bench sends so much at once.
    #[error("a frame announces {0} bytes")]
    TooLong(u64),
}

impl Header {
    /// The length of the whole frame.
    pub(crate) const fn frame_bytes(&self) -> usize {
        self.head_bytes + self.payload_bytes
    }

    /// Reads the header at the start of `bytes`; none when it is cut off.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Self>, FrameError> {
        let &[first, second, ref rest @ ..] = bytes else { return Ok(None) };
        if first & 0x70 != 0 {
            return Err(FrameError::Reserved(first));
        }
        let (payload_bytes, length_bytes) = match second & 0x7F {
            126 => match *rest {
                [a, b, ..] => (u64::from(u16::from_be_bytes([a, b])), 2),
                _ => return Ok(None),
            },
            127 => match *rest {
                [a, b, c, d, e, f, g, h, ..] => (u64::from_be_bytes([a, b, c, d, e, f, g, h]), 8),
                _ => return Ok(None),
            },
            short => (u64::from(short), 0),
        };
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(FrameError::TooLong(payload_bytes));
        }
        let mask = match (second & 0x80, &rest[length_bytes..]) {
            (0, _) => None,
            (_, &[a, b, c, d, ..]) => Some([a, b, c, d]),
            _ => return Ok(None),
        };
        Ok(Some(Self {
            opcode: first & 0x0F,
            is_last: first & 0x80 != 0,
            mask,
            head_bytes: 2 + length_bytes + if mask.is_some() { 4 } else { 0 },
            payload_bytes: payload_bytes as usize,
        }))
    }
}

/// Appends a server's frame: a whole message, not masked.
pub(crate) fn push_server(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    push_head(opcode, payload.len(), 0, out);
    out.extend_from_slice(payload);
}

/// Appends a client's frame: a whole message, masked.
pub(crate) fn push_client(opcode: u8, payload: &[u8], out: &mut Vec<u8>) {
    push_head(opcode, payload.len(), 0x80, out);
    out.extend_from_slice(&MASK);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(MASK, &mut out[start..]);
}

fn push_head(opcode: u8, payload_bytes: usize, mask_bit: u8, out: &mut Vec<u8>) {
    out.push(0x80 | opcode);
    match payload_bytes {
        short @ 0..126 => out.push(mask_bit | short as u8),
        middle @ 126..0x1_0000 => {
            out.push(mask_bit | 126);
            out.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            out.push(mask_bit | 127);
            out.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
}

/// Masks or unmasks a payload.
pub(crate) fn unmask(mask: [u8; 4], payload: &mut [u8]) {
    for (byte, key) in payload.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_are_read_whole_or_not_at_all() {
        let parse = |bytes: &[u8]| Header::parse(bytes);
        let ping = Header { opcode: PING, is_last: true, mask: None, head_bytes: 2, payload_bytes: 3 };
        assert_eq!(parse(&[0x89, 3]), Ok(Some(ping)));
        assert_eq!(parse(&[0x81]), Ok(None));
        assert_eq!(parse(&[0x81, 126, 1]), Ok(None));
        assert_eq!(parse(&[0x81, 0x83, 1, 2, 3]), Ok(None));
        assert_eq!(parse(&[0xC1, 0]), Err(FrameError::Reserved(0xC1)));
        assert_eq!(parse(&[0x82, 127, 1, 0, 0, 0, 0, 0, 0, 0]), Err(FrameError::TooLong(1 << 56)));
    }

    proptest! {
        #[test]
        fn what_is_framed_is_read_again(bytes in prop_oneof![0..130_usize, 65_500..65_600_usize]) {
            let payload: Vec<u8> = (0..bytes).map(|i| i as u8).collect();
            let (mut server, mut client) = (Vec::new(), Vec::new());
            push_server(TEXT, &payload, &mut server);
            push_client(BINARY, &payload, &mut client);
            let header = Header::parse(&server)?.expect("a whole frame has a header");
            prop_assert_eq!((header.frame_bytes(), header.mask), (server.len(), None));
            prop_assert_eq!(&server[header.head_bytes..], &payload);
            let header = Header::parse(&client)?.expect("a whole frame has a header");
            prop_assert_eq!(header.frame_bytes(), client.len());
            let mask = header.mask.expect("clients mask");
            unmask(mask, &mut client[header.head_bytes..]);
            prop_assert_eq!(&client[header.head_bytes..], &payload);
        }
    }
}
