//! What RFC 6455 and our limits say of a stream of client octets: read slowly, from the beginning, with everything in sight.
//!
//! Shares nothing with the reader but the close codes. Octets that break a rule end it at once, as the reader promises.

use wire::close::CloseCode;
use wire::ws::ReadLimits;

/// A whole message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Told {
    Text(Vec<u8>),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// How it stands after the last octet.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The stream may go on; `midway` when something is half read.
    Open { midway: bool },
    /// The client said goodbye.
    Closed,
    /// A rule was broken.
    Violation(CloseCode),
}

/// A message of which not all frames are there.
struct Parts {
    is_text: bool,
    payload: Vec<u8>,
    frames: u32,
}

/// What becomes of the next frame.
enum Next {
    /// Octets are missing, and none of those there is wrong.
    Missing,
    Wrong(CloseCode),
    /// It ends here; what it told, if anything.
    Whole(usize, Option<Told>),
}

/// The messages of a stream, and how it ends.
pub(super) fn read(stream: &[u8], limits: ReadLimits) -> (Vec<Told>, End) {
    let (mut told, mut at, mut parts) = (Vec::new(), 0, None);
    while at < stream.len() {
        match next(&stream[at..], limits, &mut parts) {
            Next::Missing => return (told, End::Open { midway: true }),
            Next::Wrong(code) => return (told, End::Violation(code)),
            Next::Whole(len, message) => {
                at += len;
                told.extend(message);
                if let Some(Told::Close(..)) = told.last() {
                    return (told, End::Closed);
                }
            }
        }
    }
    (told, End::Open { midway: parts.is_some() })
}

fn next(bytes: &[u8], limits: ReadLimits, parts: &mut Option<Parts>) -> Next {
    use CloseCode::{PolicyViolation, ProtocolError, TooBig};
    let (fin, opcode) = (bytes[0] >> 7 == 1, bytes[0] & 15);
    let is_control = opcode >= 8;
    if bytes[0] & 0x70 != 0 || !matches!(opcode, 0..=2 | 8..=10) || (is_control && !fin) {
        return Next::Wrong(ProtocolError);
    }
    if !is_control && (opcode == 0) != parts.is_some() {
        return Next::Wrong(ProtocolError);
    }
    if !is_control && parts.as_ref().is_some_and(|parts| parts.frames >= limits.fragments_max) {
        return Next::Wrong(PolicyViolation);
    }
    let Some(&second) = bytes.get(1) else { return Next::Missing };
    let code = second & 127;
    if second < 128 || (is_control && code > 125) {
        return Next::Wrong(ProtocolError);
    }
    let width = [0, 2, 8][usize::from(code).saturating_sub(125)];
    let Some(extended) = bytes.get(2..2 + width) else { return Next::Missing };
    let extended = extended.iter().fold(0_u64, |number, &byte| number << 8 | u64::from(byte));
    let (len, is_minimal) = match width {
        0 => (u64::from(code), true),
        2 => (extended, extended > 125),
        _ => (extended, extended > 0xffff && extended < 1 << 63),
    };
    if !is_minimal {
        return Next::Wrong(ProtocolError);
    }
    let before = parts.as_ref().map_or(0, |parts| parts.payload.len() as u64);
    if !is_control && before + len > limits.message_bytes_max as u64 {
        return Next::Wrong(TooBig);
    }
    let start = 2 + width + 4;
    let Some(mask) = bytes.get(2 + width..start) else { return Next::Missing };
    let there = &bytes[start..bytes.len().min(start + len as usize)];
    let payload: Vec<u8> = there.iter().enumerate().map(|(n, byte)| byte ^ mask[n % 4]).collect();
    let is_whole = payload.len() as u64 == len;
    let message = if is_control {
        if is_whole { control(opcode, payload) } else { return Next::Missing }
    } else {
        data(opcode, fin && is_whole, payload, parts)
    };
    match message {
        Err(code) => Next::Wrong(code),
        Ok(_) if !is_whole => Next::Missing,
        Ok(message) => Next::Whole(start + len as usize, message),
    }
}

fn control(opcode: u8, payload: Vec<u8>) -> Result<Option<Told>, CloseCode> {
    match opcode {
        9 => return Ok(Some(Told::Ping(payload))),
        10 => return Ok(Some(Told::Pong(payload))),
        _ => {}
    }
    let [high, low, reason @ ..] = &payload[..] else {
        let empty = Told::Close(None, String::new());
        return if payload.is_empty() { Ok(Some(empty)) } else { Err(CloseCode::ProtocolError) };
    };
    let code = u16::from_be_bytes([*high, *low]);
    // RFC 6455 section 7.4 and what was registered since; 1004 to 1006 and 1015 are never sent.
    if !(1000..5000).contains(&code) || (1015..3000).contains(&code) || (1004..=1006).contains(&code) {
        return Err(CloseCode::ProtocolError);
    }
    match String::from_utf8(reason.to_vec()) {
        Ok(reason) => Ok(Some(Told::Close(Some(code), reason))),
        Err(_) => Err(CloseCode::InvalidPayload),
    }
}

/// Adds what is there of a data frame; a text is wrong as soon as it can no longer become UTF-8.
fn data(
    opcode: u8,
    is_last: bool,
    payload: Vec<u8>,
    parts: &mut Option<Parts>,
) -> Result<Option<Told>, CloseCode> {
    let all = parts.get_or_insert_with(|| Parts { is_text: opcode == 1, payload: Vec::new(), frames: 0 });
    all.frames += 1;
    all.payload.extend(payload);
    if all.is_text {
        match std::str::from_utf8(&all.payload) {
            Err(error) if is_last || error.error_len().is_some() => return Err(CloseCode::InvalidPayload),
            _ => {}
        }
    }
    if !is_last {
        return Ok(None);
    }
    Ok(parts.take().map(|all| if all.is_text { Told::Text(all.payload) } else { Told::Binary(all.payload) }))
}
