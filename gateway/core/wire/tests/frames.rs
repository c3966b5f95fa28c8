//! The strict reader of client frames: every rule, any cut, any bytes.

use std::fmt::Write as _;

use proptest::prelude::*;
use wire::close::CloseCode;
use wire::ws::{self, FrameReader, Message, Opcode, ReadLimits, Violation};

const MASK: [u8; 4] = [0x37, 0xFA, 0x21, 0x3D];

const SMALL: ReadLimits = ReadLimits { message_bytes_max: 1_000, fragments_max: 4 };

/// A masked client frame; `first` is the whole first octet, the length in its shortest form.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        n @ 0..=125 => out.push(0x80 | n as u8),
        n @ 126..=0xFFFF => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(n as u16).to_be_bytes());
        }
        n => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(n as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

fn text(payload: &str) -> Vec<u8> {
    frame(0x81, payload.as_bytes())
}

/// A masked header that announces `len` in the long form, and nothing after it.
fn announced(first: u8, len: u64) -> Vec<u8> {
    [&[first, 0x80 | 127][..], &len.to_be_bytes(), &MASK].concat()
}

/// Reads one input to its end, and describes each message in one word.
fn read_on(reader: &mut FrameReader, input: &[u8], told: &mut Vec<String>) -> Result<(), Violation> {
    let mut octets = input.to_vec();
    let mut input = &mut octets[..];
    while let Some(message) = reader.next(&mut input)? {
        told.push(describe(&message));
    }
    assert!(input.is_empty(), "a reader that wants more has used up its input");
    Ok(())
}

fn describe(message: &Message<'_>) -> String {
    let (kind, payload): (&str, &[u8]) = match message {
        Message::Text(payload) => ("text", payload),
        Message::Binary(payload) => ("binary", payload),
        Message::Ping(payload) => ("ping", payload),
        Message::Pong(payload) => ("pong", payload),
        Message::Close { code, reason } => return format!("close:{}:{reason}", code.unwrap_or(0)),
    };
    if kind == "text" {
        std::str::from_utf8(payload).expect("a text message is utf-8");
    }
    let mut text = format!("{kind}:{}", String::from_utf8_lossy(payload));
    if text.len() > 60 {
        text.truncate(text.floor_char_boundary(40));
        write!(text, "..{}", payload.len()).expect("a string takes text");
    }
    text
}

/// Reads pieces one after the other; the last word is the violation, if there was one.
fn read_pieces<'p>(limits: ReadLimits, pieces: impl IntoIterator<Item = &'p [u8]>) -> String {
    let mut reader = FrameReader::new(limits);
    let mut told = Vec::new();
    for piece in pieces {
        if let Err(violation) = read_on(&mut reader, piece, &mut told) {
            told.push(format!("[{}] {violation}", violation.close_code().code()));
            let after = told.len();
            read_on(&mut reader, &text("late"), &mut told).expect("an ended reader says nothing");
            assert_eq!(told.len(), after, "an ended reader says nothing");
            assert_eq!(reader.held_bytes(), 0);
            break;
        }
        assert!(reader.held_bytes() <= limits.message_bytes_max + 400, "{}", reader.held_bytes());
    }
    told.join(" ")
}

/// Reads the octets whole, and one by one, which must give the same.
fn check(octets: &[u8]) -> String {
    let whole = read_pieces(SMALL, [octets]);
    assert_eq!(read_pieces(SMALL, octets.chunks(1)), whole, "octet by octet");
    whole
}

#[test]
fn messages_are_read() {
    let cases: [(&[&[u8]], &str); 12] = [
        (&[], ""),
        (&[&text("Hello")], "text:Hello"),
        (&[&text("")], "text:"),
        (&[&text("a"), &frame(0x82, b"\xFF\x00"), &text("b")], "text:a binary:\u{FFFD}\0 text:b"),
        (&[&frame(0x89, b"?"), &frame(0x8A, b"!"), &frame(0x8A, b"")], "ping:? pong:! pong:"),
        (&[&frame(0x01, b"Hel"), &frame(0x00, b""), &frame(0x80, b"lo")], "text:Hello"),
        (&[&frame(0x02, b"a"), &frame(0x80, b"\xC3")], "binary:a\u{FFFD}"),
        (&[&frame(0x01, b"a"), &frame(0x89, b"?"), &frame(0x80, b"b"), &text("c")], "ping:? text:ab text:c"),
        (&[&frame(0x01, b"\xE2\x82"), &frame(0x8A, b""), &frame(0x80, b"\xAC")], "pong: text:€"),
        (&[&text(&"x".repeat(126))], &format!("text:{}..126", "x".repeat(35))),
        (&[&text(&"x".repeat(1_000))], &format!("text:{}..1000", "x".repeat(35))),
        (&[&frame(0x89, &[b'x'; 125])], &format!("ping:{}..125", "x".repeat(35))),
    ];
    for (frames, expected) in cases {
        assert_eq!(check(&frames.concat()), expected);
    }
}

#[test]
fn every_rule_of_framing_is_kept() {
    let cases: [(&[&[u8]], &str); 18] = [
        (&[&[0xC1, 0x80]], "[1002] reserved bits 0x40 are set"),
        (&[&[0xA1, 0x80]], "[1002] reserved bits 0x20 are set"),
        (&[&[0x91, 0x80]], "[1002] reserved bits 0x10 are set"),
        (&[&[0xF1, 0x80]], "[1002] reserved bits 0x70 are set"),
        (&[&[0x83, 0x80]], "[1002] opcode 0x3 is reserved"),
        (&[&[0x8F, 0x80]], "[1002] opcode 0xf is reserved"),
        (&[&[0x81, 0x05]], "[1002] client frame is not masked"),
        (&[&[0x09, 0x80]], "[1002] control frame 0x9 is fragmented"),
        (&[&[0x89, 0xFE]], "[1002] control frame of more than 125 bytes"),
        (&[&[0x88, 0xFF]], "[1002] control frame of more than 125 bytes"),
        (&[&[0x81, 0xFE, 0, 125]], "[1002] length 125 is not in its shortest form"),
        (&[&announced(0x81, 0xFFFF)], "[1002] length 65535 is not in its shortest form"),
        (&[&announced(0x81, 1 << 63)], "[1002] length 0x8000000000000000 has its top bit set"),
        (&[&text("a"), &[0x80]], "text:a [1002] continuation frame outside a fragmented message"),
        (&[&frame(0x01, b"a"), &[0x81]], "[1002] new data frame 0x1 inside a fragmented message"),
        (&[&frame(0x01, b"a"), &[0x02]], "[1002] new data frame 0x2 inside a fragmented message"),
        (
            &[&frame(0x01, b"a"), &frame(0x00, b""), &frame(0x00, b""), &frame(0x00, b""), &[0x80]],
            "[1008] more than 4 fragments in a message",
        ),
        (
            &[&frame(0x01, b"a"), &frame(0x80, b"b"), &frame(0x80, b"c")],
            "text:ab [1002] continuation frame outside a fragmented message",
        ),
    ];
    for (frames, expected) in cases {
        assert_eq!(check(&frames.concat()), expected);
    }
}

#[test]
fn size_is_checked_from_the_header() {
    let cases: [(&[&[u8]], &str); 4] = [
        (&[&[0x82, 0xFE, 0x03, 0xE9]], "[1009] message of 1001 bytes, at most 1000 are taken"),
        (
            &[&announced(0x82, (1 << 63) - 1)],
            "[1009] message of 9223372036854775807 bytes, at most 1000 are taken",
        ),
        (
            &[&frame(0x02, &[0; 600]), &[0x00, 0xFE, 0x01, 0x91]],
            "[1009] message of 1001 bytes, at most 1000 are taken",
        ),
        (
            &[&frame(0x02, &[b'x'; 600]), &frame(0x80, &[b'x'; 400])],
            &format!("binary:{}..1000", "x".repeat(33)),
        ),
    ];
    for (frames, expected) in cases {
        assert_eq!(check(&frames.concat()), expected);
    }
}

#[test]
fn close_frames_are_judged() {
    let close = |code: u16, reason: &[u8]| check(&frame(0x88, &[&code.to_be_bytes(), reason].concat()));
    assert_eq!(check(&frame(0x88, b"")), "close:0:");
    assert_eq!(check(&frame(0x88, b"\x03")), "[1002] close payload of 1 byte");
    assert_eq!(close(1000, "bye €".as_bytes()), "close:1000:bye €");
    assert_eq!(close(1000, b"bye \xE2\x82"), "[1007] close reason is not utf-8 at byte 4");
    for code in [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535] {
        assert_eq!(close(code, b""), format!("[1002] close code {code} is not allowed"));
    }
    for code in
        [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
    {
        assert_eq!(close(code, b""), format!("close:{code}:"));
    }
    let late = [frame(0x01, b"half"), frame(0x88, b"\x03\xE8"), text("late"), vec![0xFF]].concat();
    assert_eq!(check(&late), "close:1000:");
}

#[test]
fn text_is_judged_at_the_first_bad_octet() {
    let cases: [(&[&[u8]], &str); 7] = [
        (&[&text("ok"), &frame(0x81, b"ab\xFF")], "text:ok [1007] text is not utf-8 at byte 2"),
        (&[&frame(0x81, b"\xED\xA0\x80")], "[1007] text is not utf-8 at byte 1"),
        (&[&frame(0x81, b"\xC0\xAF")], "[1007] text is not utf-8 at byte 0"),
        (&[&frame(0x81, b"\xF4\x90\x80\x80")], "[1007] text is not utf-8 at byte 1"),
        (&[&frame(0x81, b"ab\xE2\x82")], "[1007] text of 4 bytes ends inside a utf-8 sequence"),
        (
            &[&frame(0x01, b"ab\xE2"), &frame(0x80, b"")],
            "[1007] text of 3 bytes ends inside a utf-8 sequence",
        ),
        (&[&frame(0x01, b"ab\xE2"), &frame(0x80, b"\x82x")], "[1007] text is not utf-8 at byte 4"),
    ];
    for (frames, expected) in cases {
        assert_eq!(check(&frames.concat()), expected);
    }
    let half = &frame(0x81, b"0123\xFF56789")[..6 + 5];
    assert_eq!(check(half), "[1007] text is not utf-8 at byte 4", "the frame is not complete");
}

#[test]
fn an_idle_reader_holds_nothing_and_a_waiting_one_little() {
    let mut reader = FrameReader::new(ReadLimits::default());
    let mut told = Vec::new();
    read_on(&mut reader, &text(&"x".repeat(60_000)), &mut told).unwrap();
    assert_eq!((reader.held_bytes(), reader.is_midway()), (0, false), "whole");
    let octets = text(&"x".repeat(60_000));
    read_on(&mut reader, &octets[..20], &mut told).unwrap();
    assert!(reader.held_bytes() < 1_000, "the header alone reserves nothing: {}", reader.held_bytes());
    assert!(reader.is_midway());
    read_on(&mut reader, &octets[20..], &mut told).unwrap();
    assert_eq!((reader.held_bytes(), reader.is_midway(), told.len()), (0, false, 2), "in two pieces");
    read_on(&mut reader, &frame(0x01, b"a"), &mut told).unwrap();
    assert!(reader.is_midway(), "between two fragments");
    read_on(&mut reader, &frame(0x89, b"?"), &mut told).unwrap();
    assert!(reader.is_midway(), "after a ping between two fragments");
    read_on(&mut reader, &frame(0x80, b"b"), &mut told).unwrap();
    assert_eq!((reader.held_bytes(), reader.is_midway(), told.len()), (0, false, 4), "after the last");
}

#[test]
fn a_whole_message_is_read_where_it_lies() {
    let mut octets = text("Hello");
    let place = octets[6..].as_ptr();
    let mut input = &mut octets[..];
    let mut reader = FrameReader::new(SMALL);
    let Some(Message::Text(payload)) = reader.next(&mut input).unwrap() else { panic!("no text") };
    assert_eq!((payload.as_ptr(), &*payload), (place, &b"Hello"[..]));
}

#[test]
fn violations_close_with_the_codes_of_the_table() {
    let cases = [
        (Violation::NotMasked, CloseCode::ProtocolError),
        (Violation::TextCutOff { bytes: 1 }, CloseCode::InvalidPayload),
        (Violation::TooManyFragments { max: 4 }, CloseCode::PolicyViolation),
        (Violation::MessageTooBig { bytes: 2, max: 1 }, CloseCode::TooBig),
    ];
    for (violation, code) in cases {
        assert_eq!(violation.close_code(), code, "{violation}");
    }
}

/// Frames mostly as they should be, some not.
fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let first = prop_oneof![
        6 => Just(0x81), 3 => Just(0x01), 3 => Just(0x00), 4 => Just(0x80), 2 => Just(0x82),
        3 => Just(0x89), 1 => Just(0x8A), 1 => Just(0x88), 1 => any::<u8>(),
    ];
    let payload = prop_oneof![
        4 => "[ -~]{0,30}".prop_map(String::into_bytes),
        4 => "\\PC{0,40}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(any::<u8>(), 0..10),
        1 => (0_usize..1_100).prop_map(|n| vec![b'x'; n]),
    ];
    (first, payload).prop_map(|(first, payload)| frame(first, &payload))
}

/// The octets in pieces that end at the cuts.
fn pieces<'o>(octets: &'o [u8], cuts: &[prop::sample::Index]) -> Vec<&'o [u8]> {
    let mut ends: Vec<usize> = cuts.iter().map(|cut| cut.index(octets.len() + 1)).collect();
    ends.extend([0, octets.len()]);
    ends.sort_unstable();
    ends.windows(2).map(|pair| &octets[pair[0]..pair[1]]).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn cuts_do_not_matter(
        frames in proptest::collection::vec(any_frame(), 0..12),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let octets = frames.concat();
        let whole = check(&octets);
        prop_assert_eq!(read_pieces(SMALL, pieces(&octets, &cuts)), whole);
    }

    #[test]
    fn random_bytes_never_panic(
        octets in proptest::collection::vec(any::<u8>(), 0..300),
        cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..5),
    ) {
        prop_assert_eq!(read_pieces(SMALL, pieces(&octets, &cuts)), check(&octets));
    }

    #[test]
    fn what_is_written_is_read_once_it_is_masked(payload in proptest::collection::vec(any::<u8>(), 0..70_000)) {
        let mut out = Vec::new();
        ws::write_frame(Opcode::Binary, &payload, &mut out);
        prop_assert_eq!(out.len(), ws::header_len(payload.len()) + payload.len());
        let header = ws::header_len(payload.len());
        let mut masked = out[..header].to_vec();
        masked[1] |= 0x80;
        masked.extend_from_slice(&[0; 4]);
        masked.extend_from_slice(&payload);
        let mut reader = FrameReader::new(ReadLimits { message_bytes_max: 70_000, fragments_max: 1 });
        let mut input = &mut masked[..];
        let read = reader.next(&mut input).unwrap();
        prop_assert_eq!(read, Some(Message::Binary(&mut payload.clone()[..])));
    }
}
