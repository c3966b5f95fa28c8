//! The reader of client frames: whatever the octets and however they are cut, it says what the RFC says.
//!
//! The input chooses limits and cuts; the rest is the stream, either octet by octet or as frames to be masked and written, so
//! that what is inside a payload is within the fuzzer's reach. The reference in `reference.rs` reads the whole stream slowly.

mod reference;

use arbitrary::{Result, Unstructured};
use wire::ws::{FrameReader, Message, ReadLimits, Violation};

use reference::{End, Told};

/// More than what a reader holds besides a message: its state for a half read frame.
const STATE_BYTES_MAX: usize = 400;

/// Reads one input.
///
/// # Panics
/// When the reader says anything else than the reference, or holds more than it may.
pub fn run(data: &[u8]) {
    // An input that is too short for its own choices has nothing to say.
    let Ok(input) = Input::decode(&mut Unstructured::new(data)) else { return };
    let expected = reference::read(&input.stream, input.limits);
    let whole = read(&[input.stream.len()], &input);
    assert_eq!(whole, expected, "read whole");
    assert_eq!(read(&[1], &input), expected, "octet by octet");
    assert_eq!(read(&input.cuts, &input), expected, "in pieces of {:?}", input.cuts);
}

/// What the fuzzer decides.
struct Input {
    limits: ReadLimits,
    /// Lengths of the pieces, again and again.
    cuts: Vec<usize>,
    stream: Vec<u8>,
}

impl Input {
    fn decode(u: &mut Unstructured<'_>) -> Result<Self> {
        let message_bytes_max = *u.choose(&[1_000, 125, 16, 1, 0, 70_000])?;
        let limits = ReadLimits { message_bytes_max, fragments_max: u.int_in_range(1..=4)? };
        let is_built = u.ratio(1, 2)?;
        let mut cuts = Vec::new();
        for _ in 0..4 {
            cuts.push(usize::from(u.arbitrary::<u8>()? % 32));
        }
        if cuts.iter().all(|&cut| cut == 0) {
            cuts[0] = 3;
        }
        let mut stream = Vec::new();
        if !is_built {
            stream.extend_from_slice(u.bytes(u.len())?);
        }
        while !u.is_empty() {
            write_frame(u, &mut stream)?;
        }
        Ok(Self { limits, cuts, stream })
    }
}

/// Writes one frame, masked, and mostly as it should be.
fn write_frame(u: &mut Unstructured<'_>, out: &mut Vec<u8>) -> Result<()> {
    let (first, form, seed) = (u.arbitrary::<u8>()?, u.arbitrary::<u8>()?, u.arbitrary::<u8>()?);
    let len = usize::from(u.arbitrary::<u8>()?).min(u.len());
    // A few payloads are long without costing the fuzzer that many bytes.
    let times = if form & 0x30 == 0x30 { 1 + usize::from(seed) } else { 1 };
    let payload = u.bytes(len)?.repeat(times);
    let is_masked = form & 0x0f != 0x0f;
    let told = if form & 0xc0 == 0xc0 { payload.len() + usize::from(seed) } else { payload.len() };
    let bit = if is_masked { 0x80 } else { 0 };
    out.push(first);
    match (told, form & 0x0f) {
        (0..=125, 0..=11) => out.push(bit | told as u8),
        (0..=0xffff, 0..=12) => {
            out.push(bit | 126);
            out.extend_from_slice(&(told as u16).to_be_bytes());
        }
        (_, form) => {
            out.push(bit | 127);
            let top = if form == 14 { 1 << 63 } else { 0 };
            out.extend_from_slice(&(told as u64 | top).to_be_bytes());
        }
    }
    let mask = [seed, seed.wrapping_mul(31), seed ^ 0xa5, seed.wrapping_add(77)];
    if is_masked {
        out.extend_from_slice(&mask);
    }
    out.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Ok(())
}

/// Reads the stream in pieces of these lengths.
fn read(cuts: &[usize], input: &Input) -> (Vec<Told>, End) {
    let mut reader = FrameReader::new(input.limits);
    let (mut told, mut end) = (Vec::new(), None);
    let mut octets = input.stream.clone();
    let mut left = &mut octets[..];
    let mut cuts = cuts.iter().cycle();
    while !left.is_empty() {
        let cut = cuts.next().map_or(1, |&cut| cut.min(left.len()));
        let (piece, rest) = std::mem::take(&mut left).split_at_mut(cut);
        left = rest;
        match (read_piece(&mut reader, piece, &mut told), &end) {
            (Ok(()), _) => {}
            (Err(violation), None) => end = Some(End::Violation(violation.close_code())),
            (Err(violation), Some(_)) => panic!("{violation} after the end"),
        }
        if let Some(Told::Close(..)) = told.last() {
            end.get_or_insert(End::Closed);
        }
        let held = reader.held_bytes();
        assert!(held <= input.limits.message_bytes_max + STATE_BYTES_MAX, "{held} bytes are held");
    }
    if let Some(end) = end {
        // A frame that would be a message, if anybody still listened.
        read_piece(&mut reader, &mut [0x81, 0x80, 1, 2, 3, 4], &mut told).expect("an ended reader is silent");
        assert_eq!(reader.held_bytes(), 0, "an ended reader holds nothing");
        return (told, end);
    }
    let midway = reader.is_midway();
    (told, End::Open { midway })
}

fn read_piece(
    reader: &mut FrameReader,
    piece: &mut [u8],
    told: &mut Vec<Told>,
) -> std::result::Result<(), Violation> {
    let mut left = piece;
    while let Some(message) = reader.next(&mut left)? {
        told.push(match message {
            Message::Text(payload) => Told::Text(payload.to_vec()),
            Message::Binary(payload) => Told::Binary(payload.to_vec()),
            Message::Ping(payload) => Told::Ping(payload.to_vec()),
            Message::Pong(payload) => Told::Pong(payload.to_vec()),
            Message::Close { code, reason } => Told::Close(code, reason.to_owned()),
        });
    }
    assert!(left.is_empty(), "a reader that wants more has used up its input");
    Ok(())
}
