//! Feed lines: what is written is read back, and what does not fit is refused with a reason.

#![expect(clippy::unwrap_used, reason = "a figure that cannot be read fails its test")]

use std::fmt::Write as _;

use model::{
    Epoch, EventBatch, EventBody, FeedStatus, Instrument, Level, Levels, Nanos, OrdType, PairStatus, Price,
    Qty, Scale, Sequence, Side, Trade,
};
use proptest::prelude::*;
use wire::feed::{FeedDecoder, FeedRequest, FeedWriter, decode_request, encode_request};

fn bitcoin() -> Instrument {
    Instrument {
        symbol: "BTC/USD".into(),
        status: PairStatus::Online,
        price: Scale::from_increment(1, "0.5".parse().unwrap()).unwrap(),
        qty: Scale::new(8),
        qty_min: Qty(5_000),
        cost_decimals: 5,
        cost_min: "0.5".parse().unwrap(),
    }
}

/// Decodes lines and shows what came out, one row each. A blank before a line changes nothing, but that its form is none that is read
/// by itself: so both readers are held against each other.
fn check(lines: &[u8]) -> String {
    let shown = decode(lines, b"");
    assert_eq!(shown, decode(lines, b" "), "{}", String::from_utf8_lossy(lines));
    shown
}

fn decode(lines: &[u8], before: &[u8]) -> String {
    let mut decoder = FeedDecoder::default();
    let mut shown = String::new();
    for line in lines.split(|&b| b == b'\n').filter(|line| !line.is_empty()) {
        let mut batch = EventBatch::default();
        let result = decoder.decode_line(&mut [before, line].concat(), Nanos(5), &mut batch);
        match (result, batch.events.first()) {
            (Ok(()), Some(event)) => {
                let at = format!("{}:{}:{}", event.line, event.epoch.0, event.ts_event.0);
                let _ = writeln!(shown, "{at} {}", show(&event.body, &batch));
            }
            (Err(error), event) => {
                let _ = writeln!(shown, "refused {}: {error} ({})", error.reason(), event.is_some());
                assert!(batch.levels.is_empty(), "a refused line leaves no levels");
            }
            (Ok(()), None) => unreachable!("an accepted line is an event"),
        }
    }
    shown
}

fn show(body: &EventBody, batch: &EventBatch) -> String {
    let book = |kind, levels, seq: &Sequence| {
        let Levels { bids, asks } = batch.levels(levels);
        let pairs =
            |side: &[Level]| side.iter().map(|l| format!("{}x{}", l.price.0, l.qty.0)).collect::<Vec<_>>();
        format!("{kind} {} {:?} {:?}", seq.0, pairs(bids), pairs(asks))
    };
    match body {
        EventBody::Instrument(id, one) => format!("instrument {} {} {:?}", id.0, one.symbol, one.status),
        EventBody::BookSnapshot { seq, levels, .. } => book("snapshot", *levels, seq),
        EventBody::BookDelta { seq, levels, .. } => book("delta", *levels, seq),
        EventBody::Trade { seq, trade, replay, .. } => format!("trade {} {trade:?} {replay}", seq.0),
        EventBody::Status(status) => format!("status {}", status.name()),
        EventBody::Heartbeat => "heartbeat".into(),
    }
}

fn announced() -> Vec<u8> {
    let mut out = Vec::new();
    FeedWriter::new(Epoch(7)).instrument(Nanos(1), &bitcoin(), &mut out);
    out
}

#[test]
fn every_line_that_is_written_is_read_back() {
    let mut out = announced();
    let mut writer = FeedWriter::new(Epoch(7));
    writer.skip_line();
    let one = bitcoin();
    let bids = [Level { price: Price(128_001), qty: Qty(1) }, Level { price: Price(128_000), qty: Qty(0) }];
    let asks = [Level { price: Price(128_003), qty: Qty(250_000_000) }];
    let levels = Levels { bids: &bids, asks: &asks };
    writer.book_snapshot(Nanos(2), &one, Sequence(41), levels, &mut out);
    writer.book_delta(Nanos(3), &one, Sequence(42), Levels { bids: &bids[1..], asks: &[] }, &mut out);
    let trade = Trade {
        id: 9,
        price: Price(128_003),
        qty: Qty(10),
        taker: Side::Bid,
        ord_type: OrdType::Market,
        ts_event: Nanos(4),
    };
    writer.trade(Nanos(4), &one, Sequence(43), &trade, false, &mut out);
    writer.trade(Nanos(4), &one, Sequence(43), &trade, true, &mut out);
    writer.status(Nanos(5), FeedStatus::CancelOnly, &mut out);
    writer.heartbeat(Nanos(6), &mut out);
    let shown = format!("{trade:?}");
    let expected = format!(
        "1:7:1 instrument 0 BTC/USD Online\n\
         2:7:2 snapshot 41 [\"128001x1\", \"128000x0\"] [\"128003x250000000\"]\n\
         3:7:3 delta 42 [\"128000x0\"] []\n\
         4:7:4 trade 43 {shown} false\n\
         5:7:4 trade 43 {shown} true\n\
         6:7:5 status cancel_only\n\
         7:7:6 heartbeat\n"
    );
    assert_eq!(check(&out), expected);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains(r#""bids":[["64000.5","0.00000001"],["64000.0","0.00000000"]]"#), "{text}");
}

#[test]
fn what_does_not_fit_is_refused_with_its_reason() {
    let head = r#""line":2,"epoch":7,"ts":1,"symbol":"BTC/USD","seq":3"#;
    let cases = [
        ("garbage", "not_json: not a JSON object (false)"),
        ("[1,2]", "not_json: not a JSON object (false)"),
        (&"[".repeat(40_000), "not_json: not a JSON object (false)"),
        (r#"{"type":"book_delta"}"#, "bad_key: line is missing or of the wrong type (false)"),
        (r#"{"type":"party","line":2,"epoch":7,"ts":1}"#, "unknown_type: unknown type (true)"),
        (r#"{"type":"heartbeat","line":2,"epoch":0,"ts":1}"#, "bad_key: epoch has an unknown value (false)"),
        (r#"{"line":2,"epoch":7,"ts":1}"#, "bad_key: type is missing or of the wrong type (true)"),
        (
            r#"{"type":"heartbeat","line":-2,"epoch":7,"ts":1}"#,
            "bad_key: line is missing or of the wrong type (false)",
        ),
        (
            r#"{"type":"book_delta","line":2,"epoch":7,"ts":1,"seq":3,"symbol":"ETH/USD","bids":[],"asks":[]}"#,
            "unknown_symbol: symbol was never announced (true)",
        ),
        (
            &format!(r#"{{"type":"book_delta",{head},"bids":[]}}"#),
            "bad_key: asks is missing or of the wrong type (true)",
        ),
        (
            &format!(r#"{{"type":"book_delta",{head},"bids":[["1.0","1"],["1.2","1"]],"asks":[]}}"#),
            "bad_number: bids: not a multiple of the increment (5 of the last decimal) (true)",
        ),
        (
            &format!(r#"{{"type":"book_delta",{head},"bids":[],"asks":[["1.0","0.000000001"]]}}"#),
            "bad_number: asks: more than 8 decimals (true)",
        ),
        (
            &format!(r#"{{"type":"book_delta",{head},"bids":[],"asks":[["NaN","1"]]}}"#),
            "bad_number: asks: not a plain decimal number (true)",
        ),
        (
            &format!(r#"{{"type":"book_delta",{head},"bids":[],"asks":[["-1.0","1"]]}}"#),
            "bad_number: asks: number is negative (true)",
        ),
        (
            &format!(r#"{{"type":"book_delta",{head},"bids":[],"asks":[["0.0","1"]]}}"#),
            "bad_key: asks has an unknown value (true)",
        ),
        (
            &format!(r#"{{"type":"book_delta",{head},"bids":[[1.0,"1"]],"asks":[]}}"#),
            "bad_key: bids is missing or of the wrong type (true)",
        ),
        (
            &format!(
                r#"{{"type":"trade",{head},"id":1,"price":"1.0","qty":"0","side":"buy","ord_type":"limit"}}"#
            ),
            "bad_key: price or qty has an unknown value (true)",
        ),
        (
            &String::from_utf8(announced()).unwrap().replace("\"0.5\",\"qty_p", "\"0.1\",\"qty_p"),
            "redefined: instrument was announced before with other increments (true)",
        ),
    ];
    for (line, expected) in cases {
        let mut lines = announced();
        lines.extend_from_slice(line.as_bytes());
        let shown = check(&lines);
        assert_eq!(shown.lines().last(), Some(format!("refused {expected}").as_str()), "{line}");
    }
}

#[test]
fn increments_may_be_written_with_an_exponent() {
    let line = String::from_utf8(announced()).unwrap().replace("\"0.00000001\"", "\"1e-08\"");
    assert_eq!(check(line.as_bytes()), "1:7:1 instrument 0 BTC/USD Online\n");
}

#[test]
fn requests_are_read_back_and_others_refused() {
    for request in [FeedRequest::Snapshot(None), FeedRequest::Snapshot(Some("BTC/USD".into()))] {
        let mut line = Vec::new();
        encode_request(&request, &mut line);
        assert_eq!(line.pop(), Some(b'\n'));
        assert_eq!(decode_request(&mut line), Ok(request));
    }
    for line in ["", "{}", "[]", r#"{"method":"dance"}"#, r#"{"method":"snapshot","symbol":1}"#] {
        assert!(decode_request(&mut line.as_bytes().to_vec()).is_err(), "{line}");
    }
}

/// With everything a book line may have: several levels, a quantity of zero, long numbers.
const BOOK_LINE: &[u8] = br#"{"type":"book_delta","line":2,"epoch":1790000000,"ts":1700000000015753889,"symbol":"BTC/USD","seq":123456789,"bids":[["64000.5","0.00000000"],["1.0","999999.99999999"]],"asks":[["64001.0","10.5"]]}"#;

#[test]
fn book_lines_at_the_bounds_of_the_usual_form_are_read_alike() {
    let line = std::str::from_utf8(BOOK_LINE).unwrap();
    let cases = [
        ("", ""),
        ("\"line\":2", "\"line\":02"),
        ("\"line\":2", "\"line\":18446744073709551615"),
        ("\"line\":2", "\"line\":9999999999999999999"),
        ("\"line\":2", "\"line\":0"),
        ("\"line\":2", "\"line\":-1"),
        ("\"line\":2", "\"line\":2.0"),
        ("1790000000,", "0,"),
        ("book_delta", "book_snapshot"),
        ("book_delta", "book_Delta"),
        ("BTC/USD", "BTC\\/USD"),
        ("BTC/USD", "BTC/EUR"),
        ("64000.5", "64000.50"),
        ("64000.5", "64000"),
        ("64000.5", "64000.7"),
        ("64000.5", "0.0"),
        ("64000.5", "12345678.5"),
        ("999999.99999999", "9999999.99999999"),
        ("999999.99999999", "10000000.00000000"),
        ("999999.99999999", "1.000000000"),
        ("10.5\"", "10.5e3\""),
        ("]]}", "]] }"),
        ("]]}", "]]}}"),
        ("]]}", "]],\"seq\":7}"),
    ];
    for (from, to) in cases {
        let changed = line.replacen(from, to, 1);
        check(&[&announced(), b"\n".as_slice(), changed.as_bytes()].concat());
    }
    let whole = check(&[&announced(), b"\n".as_slice(), BOOK_LINE].concat());
    assert!(
        whole.contains("delta 123456789 [\"128001x0\", \"2x99999999999999\"] [\"128002x1050000000\"]"),
        "{whole}"
    );
}

proptest! {
    #[test]
    fn no_bytes_break_the_decoder(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        check(&bytes);
    }

    /// Where a byte is put in, left out or changed, and where digits grow longer than a block.
    #[test]
    fn a_damaged_book_line_is_read_alike_by_both_readers(
        cuts in proptest::collection::vec((0_usize..400, 0_usize..2, "[0-9.\"\\\\,\\[\\]{} ]{0,9}"), 1..4),
    ) {
        let mut lines = announced();
        lines.push(b'\n');
        let start = lines.len();
        lines.extend_from_slice(BOOK_LINE);
        for (at, removed, added) in cuts {
            let at = start + at % (lines.len() - start);
            lines.splice(at..at + removed.min(lines.len() - at), added.bytes());
        }
        check(&lines);
    }

    #[test]
    fn a_damaged_line_is_an_event_or_refused(at in 0_usize..200, byte in any::<u8>()) {
        let mut line = announced();
        let at = at % line.len();
        line[at] = byte;
        check(&line);
    }
}
