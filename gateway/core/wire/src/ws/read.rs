//! The strict, incremental reader of client frames.
//!
//! Takes octets in any cut and gives whole messages. A message that lies whole in the input in one frame is
//! unmasked in place and handed on without a copy; anything half read is kept in one box that exists only
//! meanwhile, so an idle connection holds none. Every rule is checked on the first octet that can break it.

use std::mem;

use super::header::{CLIENT_HEADER_MAX, Context, Header};
use super::utf8::Utf8;
use super::{CONTROL_PAYLOAD_MAX, Opcode, Violation, close_code_is_valid};

/// What a reader takes at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadLimits {
    /// Payload bytes of one message, over all its fragments. Default 64 KiB; a connection that stops inside a
    /// message holds up to this much.
    pub message_bytes_max: usize,
    /// Frames of one message. Default 64; at least 1.
    pub fragments_max: u32,
}

impl Default for ReadLimits {
    fn default() -> Self {
        Self { message_bytes_max: 64 << 10, fragments_max: 64 }
    }
}

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// Valid UTF-8; mutable because simd-json parses in place.
    Text(&'a mut [u8]),
    /// Any octets.
    Binary(&'a mut [u8]),
    /// To be answered by a pong with the same payload.
    Ping(&'a [u8]),
    /// To be ignored.
    Pong(&'a [u8]),
    /// The last message: the reader yields nothing after it.
    Close {
        /// The client's code; none when the frame was empty.
        code: Option<u16>,
        /// The client's words.
        reason: &'a str,
    },
}

/// Reads the frames of one client.
///
/// ```
/// use wire::ws::{FrameReader, Message, ReadLimits};
///
/// let mut reader = FrameReader::new(ReadLimits::default());
/// let mut octets = *b"\x81\x82\x01\x02\x03\x04\x49\x6b";
/// let mut input = &mut octets[..];
/// let mut seen = 0;
/// while let Some(message) = reader.next(&mut input)? {
///     assert_eq!(message, Message::Text(&mut b"Hi".to_owned()));
///     seen += 1;
/// }
/// assert_eq!(seen, 1);
/// # Ok::<(), wire::ws::Violation>(())
/// ```
#[derive(Debug)]
pub struct FrameReader {
    limits: ReadLimits,
    /// What is half read, and the last message that was; none while idle.
    half: Option<Box<Half>>,
    /// After a close frame or a violation: all further input is dropped.
    ended: bool,
}

/// Where a complete frame lies.
enum Found {
    /// At the start of the input, unmasked: header length, payload length.
    Input(Opcode, usize, usize),
    /// In [`Half::control`] or [`Half::message`], by opcode.
    Half(Opcode),
}

impl FrameReader {
    /// A reader at the start of a connection.
    #[must_use]
    pub const fn new(limits: ReadLimits) -> Self {
        Self { limits, half: None, ended: false }
    }

    /// Takes octets from `input` up to the end of the next message and gives the message.
    ///
    /// Call until it gives none: then the input is used up. The message lives until the next call, which
    /// gives its memory back.
    ///
    /// # Errors
    /// On the first octet that breaks the protocol. After an error, and after a close, all input is dropped.
    pub fn next<'m>(&'m mut self, input: &'m mut &mut [u8]) -> Result<Option<Message<'m>>, Violation> {
        if self.ended || self.half.as_mut().is_some_and(|half| half.release()) {
            self.half = None;
        }
        if self.ended {
            *input = &mut [];
            return Ok(None);
        }
        let found = match self.find(input) {
            Ok(None) => return Ok(None),
            Ok(Some(found)) => found,
            Err(violation) => {
                self.end(input);
                return Err(violation);
            }
        };
        let (Found::Input(opcode, ..) | Found::Half(opcode)) = found;
        self.ended = opcode == Opcode::Close;
        let payload = match found {
            Found::Input(_, header, len) => &mut take(input, header + len)[header..],
            Found::Half(_) => self.half.as_mut().map_or(&mut [][..], |half| half.payload(opcode)),
        };
        message(opcode, payload).map(Some)
    }

    /// Whether a frame or a fragmented message is half read: the client owes us octets.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        self.half.as_ref().is_some_and(|half| half.is_midway())
    }

    /// Bytes held for what is half read; none while idle.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.half.as_ref().map_or(0, |half| size_of::<Half>() + half.message.capacity())
    }

    fn end(&mut self, input: &mut &mut [u8]) {
        self.ended = true;
        self.half = None;
        *input = &mut [];
    }

    /// Finds the next complete frame that ends a message, in the input or in what was half read.
    fn find(&mut self, input: &mut &mut [u8]) -> Result<Option<Found>, Violation> {
        if self.half.is_none() {
            if input.is_empty() {
                return Ok(None);
            }
            if let Some(found) = find_whole(input, self.limits)? {
                return Ok(Some(found));
            }
        }
        let half = self.half.get_or_insert_default();
        Ok(half.read(input, self.limits)?.map(Found::Half))
    }
}

/// Finds a message that lies whole in the input, in one frame, and unmasks it.
fn find_whole(input: &mut [u8], limits: ReadLimits) -> Result<Option<Found>, Violation> {
    let Some(header) = Header::parse(input, Context::outside(limits))? else { return Ok(None) };
    let Some(payload) = input.get_mut(header.size..).and_then(|rest| rest.get_mut(..header.len)) else {
        return Ok(None);
    };
    if !header.fin {
        return Ok(None);
    }
    unmask(payload, header.mask);
    if header.opcode == Opcode::Text {
        let mut utf8 = Utf8::default();
        utf8.push(payload).map_err(|at| Violation::TextNotUtf8 { at })?;
        check_text_end(utf8, payload.len())?;
    }
    Ok(Some(Found::Input(header.opcode, header.size, header.len)))
}

/// A complete payload as what it means.
fn message(opcode: Opcode, payload: &mut [u8]) -> Result<Message<'_>, Violation> {
    Ok(match opcode {
        Opcode::Text => Message::Text(payload),
        Opcode::Binary | Opcode::Continuation => Message::Binary(payload),
        Opcode::Ping => Message::Ping(payload),
        Opcode::Pong => Message::Pong(payload),
        Opcode::Close => return close(payload),
    })
}

fn close(payload: &[u8]) -> Result<Message<'_>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        let empty = payload.is_empty();
        return if empty {
            Ok(Message::Close { code: None, reason: "" })
        } else {
            Err(Violation::CloseTooShort)
        };
    };
    let code = u16::from_be_bytes(*code);
    if !close_code_is_valid(code) {
        return Err(Violation::CloseCode(code));
    }
    let reason = std::str::from_utf8(reason)
        .map_err(|error| Violation::CloseReasonNotUtf8 { at: error.valid_up_to() })?;
    Ok(Message::Close { code: Some(code), reason })
}

const fn check_text_end(utf8: Utf8, bytes: usize) -> Result<(), Violation> {
    if utf8.is_complete() { Ok(()) } else { Err(Violation::TextCutOff { bytes }) }
}

/// A frame or a message of which a part has arrived.
#[derive(Debug)]
struct Half {
    /// Kind of the message under way or just delivered; none outside.
    opcode: Option<Opcode>,
    /// Frames of the message so far.
    fragments: u32,
    /// Unmasked payload of the message so far; never above `message_bytes_max`, neither is its capacity.
    message: Vec<u8>,
    /// Check of the message's text so far.
    utf8: Utf8,
    /// The frame whose payload is under way, and how much of it was read.
    frame: Option<(Header, usize)>,
    /// The header under way.
    header: [u8; CLIENT_HEADER_MAX],
    /// Octets of `header` that were read.
    header_len: u8,
    /// Unmasked payload of the control frame under way or just delivered.
    control: [u8; CONTROL_PAYLOAD_MAX],
    /// Octets of `control` that were read.
    control_len: u8,
    /// The last call gave a message from here: the next one forgets it.
    delivered: Option<Opcode>,
}

impl Default for Half {
    fn default() -> Self {
        Self {
            opcode: None,
            fragments: 0,
            message: Vec::new(),
            utf8: Utf8::default(),
            frame: None,
            header: [0; CLIENT_HEADER_MAX],
            header_len: 0,
            control: [0; CONTROL_PAYLOAD_MAX],
            control_len: 0,
            delivered: None,
        }
    }
}

impl Half {
    /// Reads on until a message is complete, and says its kind.
    fn read(&mut self, input: &mut &mut [u8], limits: ReadLimits) -> Result<Option<Opcode>, Violation> {
        loop {
            let (header, done) = match self.frame {
                Some(frame) => frame,
                None => match self.read_header(input, limits)? {
                    Some(header) => (header, 0),
                    None => return Ok(None),
                },
            };
            let part = take(input, (header.len - done).min(input.len()));
            let mut mask = header.mask;
            mask.rotate_left(done % 4);
            unmask(part, mask);
            self.store(&header, done, part)?;
            let done = done + part.len();
            if done < header.len {
                self.frame = Some((header, done));
                return Ok(None);
            }
            self.frame = None;
            if let Some(opcode) = self.complete(&header)? {
                self.delivered = Some(opcode);
                return Ok(Some(opcode));
            }
        }
    }

    /// Reads octets of a header; a complete one begins a frame.
    fn read_header(
        &mut self,
        input: &mut &mut [u8],
        limits: ReadLimits,
    ) -> Result<Option<Header>, Violation> {
        let bytes = self.message.len();
        let context = Context { limits, inside: self.opcode.is_some(), fragments: self.fragments, bytes };
        while !input.is_empty() {
            self.header[usize::from(self.header_len)] = take(input, 1)[0];
            self.header_len += 1;
            let read = &self.header[..usize::from(self.header_len)];
            if let Some(header) = Header::parse(read, context)? {
                self.begin(&header);
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    fn begin(&mut self, header: &Header) {
        self.header_len = 0;
        if header.opcode.is_control() {
            self.control_len = 0;
        } else {
            self.fragments += 1;
            self.opcode.get_or_insert(header.opcode);
        }
    }

    /// Keeps unmasked octets of a frame of which `done` were kept before.
    fn store(&mut self, header: &Header, done: usize, part: &[u8]) -> Result<(), Violation> {
        if header.opcode.is_control() {
            self.control[done..done + part.len()].copy_from_slice(part);
            self.control_len = (done + part.len()) as u8;
            return Ok(());
        }
        let before = self.message.len();
        if self.opcode == Some(Opcode::Text) {
            self.utf8.push(part).map_err(|at| Violation::TextNotUtf8 { at: before + at })?;
        }
        self.reserve(part.len(), before - done + header.len);
        self.message.extend_from_slice(part);
        Ok(())
    }

    /// Makes room for octets that are here, by doubling, up to what the frames so far announced: a header
    /// alone costs nothing, and nothing costs more than it announced.
    fn reserve(&mut self, more: usize, announced: usize) {
        let (len, capacity) = (self.message.len(), self.message.capacity());
        if capacity - len < more {
            let target = (len + more).max(capacity * 2).min(announced);
            self.message.reserve_exact(target - len);
        }
    }

    /// The kind of message that the end of this frame completes.
    fn complete(&self, header: &Header) -> Result<Option<Opcode>, Violation> {
        if header.opcode.is_control() {
            return Ok(Some(header.opcode));
        }
        if !header.fin {
            return Ok(None);
        }
        check_text_end(self.utf8, self.message.len())?;
        Ok(self.opcode)
    }

    /// The payload just completed.
    fn payload(&mut self, opcode: Opcode) -> &mut [u8] {
        if opcode.is_control() {
            &mut self.control[..usize::from(self.control_len)]
        } else {
            &mut self.message
        }
    }

    /// Forgets a delivered message; true when nothing is left.
    fn release(&mut self) -> bool {
        match self.delivered.take() {
            Some(opcode) if opcode.is_control() => self.opcode.is_none(),
            Some(_) => true,
            None => false,
        }
    }

    fn is_midway(&self) -> bool {
        self.delivered.is_none_or(|opcode| opcode.is_control() && self.opcode.is_some())
    }
}

/// The first `n` octets of the input, which goes on after them.
fn take<'i>(input: &mut &'i mut [u8], n: usize) -> &'i mut [u8] {
    let (head, tail) = mem::take(input).split_at_mut(n);
    *input = tail;
    head
}

/// Takes the mask off a payload that begins with the mask's first octet.
fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let mut wide = [0; 16];
    wide.iter_mut().zip(mask.iter().cycle()).for_each(|(to, from)| *to = *from);
    let mut chunks = payload.chunks_exact_mut(wide.len());
    for chunk in &mut chunks {
        chunk.iter_mut().zip(wide).for_each(|(byte, mask)| *byte ^= mask);
    }
    chunks.into_remainder().iter_mut().zip(wide).for_each(|(byte, mask)| *byte ^= mask);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_reader_is_small() {
        assert!(size_of::<FrameReader>() <= 48, "{}", size_of::<FrameReader>());
        assert!(size_of::<Half>() <= 320, "{}", size_of::<Half>());
    }

    #[test]
    fn any_length_is_unmasked_octet_by_octet() {
        for len in 0..50 {
            let mut payload: Vec<u8> = (0..len).collect();
            unmask(&mut payload, [1, 2, 3, 4]);
            let expected = (0..len).map(|n| n ^ (n % 4 + 1));
            assert_eq!(payload, expected.collect::<Vec<_>>());
        }
    }
}
