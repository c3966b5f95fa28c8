//! The two readers against each other by random frames, and both against tables of frames.

use super::*;
use proptest::prelude::*;

/// Everything a scan says, as text, so that two readers can be compared.
fn shown(scanner: &Scanner, message: &Message) -> String {
    let rows = scanner.elements().iter().map(|e| {
        let (bids, asks) = scanner.sides(e);
        let plain = Element { symbol: 0..0, bids: 0..0, asks: 0..0, ..e.clone() };
        format!("{} {bids:?} {asks:?} {plain:?}", scanner.symbol(e))
    });
    format!("{message:?} {}", rows.collect::<Vec<_>>().join("; "))
}

fn fast(frame: &[u8]) -> Option<String> {
    let mut scanner = Scanner::default();
    let message = scanner.scan_fast(frame)?;
    Some(shown(&scanner, &message))
}

fn slow(frame: &[u8]) -> Result<String, String> {
    let mut scanner = Scanner::default();
    let message = scanner.scan_slow(frame)?;
    Ok(shown(&scanner, &message))
}

const BOOK: &str = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":64000.1,"qty":0.00000000},{"price":63999.9,"qty":0.00100000}],"asks":[],"checksum":123,"timestamp":"2026-01-01T00:00:00.000001Z","seq":44,"prev":42}]}"#;

#[test]
fn known_shape_is_read_fast() {
    let shapes = [
        BOOK,
        r#"{"channel":"heartbeat"}"#,
        r#"{"channel":"trade","type":"snapshot","data":[]}"#,
        r#"{"channel":"trade","type":"update","data":[{"symbol":"A/B","side":"buy","price":1.0,"qty":2.0,"ord_type":"market","trade_id":7,"timestamp":"2026-01-01T00:00:00.000001Z","seq":2,"prev":1},{"symbol":"A/B","trade_id":8,"seq":3,"prev":2}]}"#,
        r#"{"channel":"ohlc","type":"update","timestamp":"2026-01-01T00:00:00.000000001Z","data":[{"symbol":"A/B","open":1.0,"trades":0,"change":-0.5,"seq":2,"prev":1}]}"#,
        r#"{"channel":"ticker","type":"update","data":[{"seq":2,"symbol":"A/B","merged":3,"epoch":9,"prev":1}]}"#,
    ];
    for shape in shapes {
        let read = fast(shape.as_bytes());
        assert!(read.is_some(), "{shape}");
        assert_eq!(read, slow(shape.as_bytes()).ok(), "{shape}");
    }
}

#[test]
fn unusual_but_valid_json_is_still_read() {
    let usual = slow(BOOK.as_bytes()).unwrap();
    let blanks = BOOK.replace(':', " : ").replace("T00 : 00 : 00", "T00:00:00");
    let escaped = BOOK.replace("BTC/USD", "BTC\\/USD");
    let data_first = format!(
        "{{{},\"channel\":\"book\",\"type\":\"update\"}}",
        &BOOK[BOOK.find("\"data\"").unwrap()..BOOK.len() - 1]
    );
    let level_turned =
        BOOK.replace(r#"{"price":63999.9,"qty":0.00100000}"#, r#"{"qty":0.00100000,"price":63999.9}"#);
    for frame in [blanks, escaped, data_first, level_turned] {
        assert_eq!(fast(frame.as_bytes()), None, "{frame}");
        let mut scanner = Scanner::default();
        let message = scanner.scan(frame.as_bytes()).unwrap();
        assert_eq!(shown(&scanner, &message), usual, "{frame}");
        assert_eq!(scanner.slow_frames, 1);
    }
}

#[test]
fn what_the_protocol_does_not_allow_is_an_error() {
    let check = |frame: &str, reason: &str| {
        let error = Scanner::default().scan(frame.as_bytes()).unwrap_err();
        assert!(error.contains(reason), "{frame}: {error}");
    };
    check("[1]", "invalid type");
    check("{}", "neither channel nor method");
    check(&BOOK[..100], "EOF");
    check(&BOOK.replace("64000.1", "\"64000.1\""), "not plain decimals");
    check(&BOOK.replace("0.00100000", "1e-3"), "not plain decimals");
    check(&BOOK.replace("64000.1", "064000.1"), "invalid number");
    check(&BOOK.replace("\"update\"", "\"delta\""), "neither snapshot nor update");
    check(&BOOK.replace("\"seq\":44", "\"seq\":44,\"seq\":45"), "duplicate field");
    check(&BOOK.replace("2026-01-01T", "2026-01-01 "), "not RFC 3339");
    check(&BOOK.replace("\"symbol\":\"BTC/USD\",", ""), "missing field `symbol`");
    check(&BOOK.replace("123", "4294967296"), "invalid value");
}

#[test]
fn answers_are_told_apart() {
    let scan = |frame: &str| Scanner::default().scan(frame.as_bytes()).unwrap();
    let ack = r#"{"method":"subscribe","result":{"channel":"book","depth":10,"snapshot":true,"symbol":"BTC/USD","epoch":7},"success":true,"time_in":"a","time_out":"b","req_id":0}"#;
    let Message::Ack(ack) = scan(ack) else { panic!("not an ack") };
    assert_eq!((ack.symbol.as_str(), ack.req_id, ack.epoch, ack.error), ("BTC/USD", Some(0), Some(7), None));
    let refusal =
        r#"{"error":"Currency pair not supported X/Y","method":"subscribe","success":false,"symbol":"X/Y"}"#;
    let Message::Ack(ack) = scan(refusal) else { panic!("not an answer") };
    assert_eq!((ack.symbol.as_str(), ack.error.as_deref()), ("X/Y", Some("Currency pair not supported X/Y")));
    assert_eq!(scan(r#"{"method":"pong","time_in":"a"}"#), Message::Other("method pong".to_owned()));
    let status = |data: &str| scan(&format!(r#"{{"channel":"status","type":"update","data":[{{{data}}}]}}"#));
    for (data, is_online) in
        [("", true), (r#""system":"online""#, true), (r#""system":"maintenance""#, false)]
    {
        assert_eq!(status(data), Message::Status { is_online });
    }
    assert!(matches!(
        scan(r#"{"channel":"notice","type":"update","data":[{"code":"lagging"}]}"#),
        Message::Notice(_)
    ));
}

fn decimal() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (0_u64..1_000_000, 0_u64..100_000_000).prop_map(|(a, b)| format!("{a}.{b:08}")),
        2 => any::<u32>().prop_map(|n| n.to_string()),
        1 => Just("0.00000000".to_owned()),
    ]
}

fn levels() -> impl Strategy<Value = String> {
    let level = (decimal(), decimal()).prop_map(|(p, q)| format!(r#"{{"price":{p},"qty":{q}}}"#));
    prop::collection::vec(level, 0..5).prop_map(|l| format!("[{}]", l.join(",")))
}

fn element() -> impl Strategy<Value = String> {
    let number = || prop::option::of(any::<u64>());
    let fields =
        (levels(), levels(), any::<u32>(), 0_u32..1_000_000, number(), number(), number(), decimal());
    let keys = fields.prop_map(|(bids, asks, checksum, micros, seq, prev, id, last)| {
        let mut keys = vec![
            r#""symbol":"BTC/USD""#.to_owned(),
            format!(r#""bids":{bids}"#),
            format!(r#""asks":{asks}"#),
            format!(r#""checksum":{checksum}"#),
            format!(r#""timestamp":"2026-01-01T00:00:00.{micros:06}Z""#),
            format!(r#""last":{last}"#),
            r#""side":"buy","flag":true,"nothing":null,"change":-1.5"#.to_owned(),
        ];
        let numbers = [("seq", seq), ("prev", prev), ("trade_id", id)];
        keys.extend(numbers.iter().filter_map(|(k, n)| n.map(|n| format!("\"{k}\":{n}"))));
        keys
    });
    keys.prop_shuffle().prop_map(|k| format!("{{{}}}", k.join(",")))
}

fn frame() -> impl Strategy<Value = String> {
    let channel = prop::sample::select(vec!["book", "ticker", "trade", "ohlc"]);
    let kind = prop::sample::select(vec!["snapshot", "update"]);
    (channel, kind, prop::collection::vec(element(), 0..4)).prop_map(|(channel, kind, elements)| {
        format!(r#"{{"channel":"{channel}","type":"{kind}","data":[{}]}}"#, elements.join(","))
    })
}

/// Replaces, inserts or deletes a byte. Bytes of the protocol find more than arbitrary ones.
fn edit(bytes: &mut Vec<u8>, at: usize, kind: u8, byte: u8) {
    let byte = if byte < 224 { b"0.-e\"\\,:{}[] 1"[usize::from(byte) % 14] } else { byte };
    match kind % 3 {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        _ => drop(bytes.remove(at)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn both_readers_agree_on_every_well_formed_message(frame in frame()) {
        // Twenty-digit sequences are the one thing here that only the slow reader takes.
        if let Some(read) = fast(frame.as_bytes()) {
            prop_assert_eq!(Ok(read), slow(frame.as_bytes()));
        } else {
            prop_assert!(slow(frame.as_bytes()).is_ok());
        }
    }

    #[test]
    fn fast_reader_takes_nothing_that_serde_refuses(
        element in element(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), any::<u8>()), 1..3),
    ) {
        let mut bytes = format!(r#"{{"channel":"book","type":"update","data":[{element}]}}"#).into_bytes();
        for (at, kind, byte) in edits {
            let at = at.index(bytes.len());
            edit(&mut bytes, at, kind, byte);
        }
        // The frame reader has checked UTF-8 before the scanner sees it.
        if std::str::from_utf8(&bytes).is_ok() && let Some(read) = fast(&bytes) {
            prop_assert_eq!(Ok(read), slow(&bytes));
        }
    }
}
