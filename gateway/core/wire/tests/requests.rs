//! What clients ask: every rule of the decoder, and that no bytes bring it down.

use std::fmt::Write as _;

use model::{InstrumentId, StreamKey, Trigger};
use proptest::prelude::*;
use wire::reply::Refusal;
use wire::request::{self, Method, Params, Request, RequestErrorKind, SYMBOLS_MAX};

/// Decodes and describes in one line: what was understood, or the answer and what it carries.
fn check(sent: &str) -> String {
    let mut text = String::new();
    match request::decode(&mut sent.as_bytes().to_vec()) {
        Ok(Request { method, req_id }) => {
            text.push_str(method.name());
            if let Method::Subscribe(params) | Method::Unsubscribe(params) = &method {
                describe(params, &mut text);
            }
            write(&mut text, "id", req_id);
        }
        Err(error) => {
            text.push_str(&error.to_string());
            write(&mut text, "method", error.method);
            write(&mut text, "id", error.req_id);
            write(&mut text, "symbol", error.symbol);
        }
    }
    text
}

fn describe(params: &Params, text: &mut String) {
    match params.channel.stream_key(InstrumentId(3)) {
        Ok(StreamKey::Book(_, depth)) => write(text, "book", Some(model::DEPTHS[usize::from(depth)])),
        Ok(StreamKey::Ticker(_, trigger)) => write(text, "ticker", Some(trigger.name())),
        Ok(StreamKey::Trade(_)) => text.push_str(" trade"),
        Ok(StreamKey::Ohlc(_, n)) => write(text, "ohlc", Some(model::INTERVALS_MIN[usize::from(n)])),
        Ok(StreamKey::Instruments) => text.push_str(" instrument"),
        Err(refusal) => write(text, "refused", Some(refusal)),
    }
    write(text, "symbols", Some(params.symbols.join(",")));
    write(text, "snapshot", Some(params.snapshot()));
    write(text, "superset", params.superset.then_some(true));
}

fn write(text: &mut String, key: &str, value: Option<impl std::fmt::Display>) {
    if let Some(value) = value {
        write!(text, " {key}={value}").expect("a string takes text");
    }
}

/// A subscribe request with these params.
fn subscribe(params: &str) -> String {
    check(&format!(r#"{{"method":"subscribe","params":{{{params}}},"req_id":1}}"#))
}

#[test]
fn requests_of_plain_clients_are_understood() {
    let cases = [
        (r#"{"method":"ping"}"#, "ping"),
        (r#" { "req_id" : 0 , "method" : "ping" } "#, "ping id=0"),
        (r#"{"method":"ping","params":{},"req_id":null}"#, "ping"),
        (r#"{"method":"ping","req_id":18446744073709551615}"#, "ping id=18446744073709551615"),
        (r#"{"method":"ping","req_id":-9223372036854775808}"#, "ping id=-9223372036854775808"),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","ETH/USD"],"depth":25},"req_id":7}"#,
            "subscribe book=25 symbols=BTC/USD,ETH/USD snapshot=true id=7",
        ),
        (
            r#"{"method":"unsubscribe","params":{"channel":"trade","symbol":"BTC\/USD","token":"x"}}"#,
            "unsubscribe trade symbols=BTC/USD snapshot=false",
        ),
    ];
    for (sent, expected) in cases {
        assert_eq!(check(sent), expected, "{sent}");
    }
}

#[test]
fn params_have_the_defaults_of_the_venue() {
    let btc = r#""symbol":["BTC/USD"]"#;
    let cases = [
        (r#""channel":"book""#, "book=10 symbols=BTC/USD snapshot=true"),
        (r#""channel":"book","depth":null,"snapshot":null"#, "book=10 symbols=BTC/USD snapshot=true"),
        (r#""channel":"book","depth":1000,"snapshot":false"#, "book=1000 symbols=BTC/USD snapshot=false"),
        (r#""channel":"ticker""#, "ticker=trades symbols=BTC/USD snapshot=true"),
        (r#""channel":"ticker","event_trigger":"bbo""#, "ticker=bbo symbols=BTC/USD snapshot=true"),
        (r#""channel":"trade""#, "trade symbols=BTC/USD snapshot=false"),
        (r#""channel":"trade","snapshot":true"#, "trade symbols=BTC/USD snapshot=true"),
        (r#""channel":"ohlc""#, "ohlc=1 symbols=BTC/USD snapshot=true"),
        (r#""channel":"ohlc","interval":21600"#, "ohlc=21600 symbols=BTC/USD snapshot=true"),
        (r#""channel":"instrument""#, "instrument symbols= snapshot=true"),
    ];
    for (params, expected) in cases {
        assert_eq!(subscribe(&format!("{params},{btc}")), format!("subscribe {expected} id=1"), "{params}");
    }
    assert_eq!(subscribe(r#""channel":"instrument""#), "subscribe instrument symbols= snapshot=true id=1");
}

#[test]
fn depths_and_intervals_that_do_not_exist_are_refused_per_symbol_and_never_rounded() {
    for depth in ["0", "11", "-10", "65546", "9223372036854775807", "18446744073709551615"] {
        let expected =
            "subscribe refused=Subscription depth not supported symbols=A/B,C/D snapshot=true id=1";
        assert_eq!(
            subscribe(&format!(r#""channel":"book","symbol":["A/B","C/D"],"depth":{depth}"#)),
            expected
        );
    }
    let expected =
        "subscribe refused=Subscription ohlc interval not supported symbols=A/B snapshot=true id=1";
    assert_eq!(subscribe(r#""channel":"ohlc","symbol":["A/B"],"interval":2"#), expected);
}

#[test]
fn a_parameter_of_the_superset_opts_in_and_other_unknown_ones_do_not() {
    for key in
        ["policy", "max_lag_ms", "max_lag_entries", "interval_ms", "max_bytes_per_s", "resume", "checksum"]
    {
        let told = subscribe(&format!(r#""channel":"trade","symbol":["A/B"],"{key}":{{"any":["thing"]}}"#));
        assert_eq!(told, "subscribe trade symbols=A/B snapshot=false superset=true id=1", "{key}");
    }
    let told = subscribe(r#""channel":"trade","symbol":["A/B"],"token":"policy","policy":null"#);
    assert_eq!(told, "subscribe trade symbols=A/B snapshot=false id=1");
}

#[test]
fn what_is_not_a_request_is_told_what_is_wrong() {
    let cases = [
        ("", "Malformed request"),
        ("hello", "Malformed request"),
        (r#"{"method":"ping""#, "Malformed request"),
        (r#"{"method":"ping"} {}"#, "Malformed request"),
        (r#"{"method":"ping",}"#, "Malformed request"),
        ("[]", "Malformed request: a request must be a JSON object"),
        ("7", "Malformed request: a request must be a JSON object"),
        ("{}", "Malformed request: method is missing"),
        (r#"{"req_id":4}"#, "Malformed request: method is missing id=4"),
        (r#"{"method":1,"req_id":4}"#, "Malformed request: method must be a string id=4"),
        (r#"{"method":"login","req_id":4}"#, "Method(s) not found method=login id=4"),
        (r#"{"event":"subscribe","pair":["XBT/USD"]}"#, "Malformed request: method is missing"),
        (
            r#"{"method":"ping","req_id":"4"}"#,
            "Malformed request: req_id must be an integer of 64 bits method=ping",
        ),
        (
            r#"{"method":"ping","req_id":4.0}"#,
            "Malformed request: req_id must be an integer of 64 bits method=ping",
        ),
        (
            r#"{"method":"subscribe","req_id":4}"#,
            "Malformed request: params is missing method=subscribe id=4",
        ),
        (
            r#"{"method":"subscribe","params":[]}"#,
            "Malformed request: params must be an object method=subscribe",
        ),
    ];
    for (sent, expected) in cases {
        assert_eq!(check(sent), expected, "{sent}");
    }
}

#[test]
fn wrong_params_are_named() {
    let btc = r#""symbol":["BTC/USD"]"#;
    let cases = [
        (btc.to_owned(), "Malformed request: params.channel is missing", " symbol=BTC/USD"),
        (format!(r#"{btc},"channel":5"#), "Malformed request: channel must be a string", " symbol=BTC/USD"),
        (format!(r#"{btc},"channel":"Book""#), "Channel not supported Book", " symbol=BTC/USD"),
        (
            format!(r#"{btc},"channel":"level3""#),
            "Private data and trading are unavailable on this endpoint",
            " symbol=BTC/USD",
        ),
        (
            r#""channel":"heartbeat""#.into(),
            "Channel not supported heartbeat, it is sent without a subscription",
            "",
        ),
        (r#""channel":"book""#.into(), "Malformed request: params.symbol is missing", ""),
        (
            r#""channel":"book","symbol":[]"#.into(),
            "Malformed request: params.symbol is empty, name at least one symbol",
            "",
        ),
        (
            r#""channel":"book","symbol":[1]"#.into(),
            "Malformed request: symbol must be an array of strings",
            "",
        ),
        (
            r#""channel":"book","symbol":{}"#.into(),
            "Malformed request: symbol must be an array of strings",
            "",
        ),
        (
            format!(r#"{btc},"channel":"book","depth":"10""#),
            "Malformed request: depth must be an integer",
            " symbol=BTC/USD",
        ),
        (
            format!(r#"{btc},"channel":"ohlc","interval":1.5"#),
            "Malformed request: interval must be an integer",
            " symbol=BTC/USD",
        ),
        (
            format!(r#"{btc},"channel":"ticker","event_trigger":"all""#),
            "Malformed request: event_trigger must be trades or bbo",
            " symbol=BTC/USD",
        ),
        (
            format!(r#"{btc},"channel":"book","snapshot":1"#),
            "Malformed request: snapshot must be true or false",
            " symbol=BTC/USD",
        ),
    ];
    for (params, expected, symbol) in cases {
        assert_eq!(subscribe(&params), format!("{expected} method=subscribe id=1{symbol}"), "{params}");
    }
}

#[test]
fn limits_are_exact() {
    let nested = |n: usize| format!(r#"{{"method":"ping","x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    assert_eq!(check(&nested(15)), "ping");
    assert_eq!(
        check(&nested(16)),
        "Malformed request: objects and arrays are nested deeper than 16",
        "the id is not known: parsing stopped"
    );
    let keys = |n: usize| {
        (0..n).fold(r#"{"method":"ping""#.to_owned(), |text, n| text + &format!(r#","k{n}":0"#)) + "}"
    };
    assert_eq!(check(&keys(63)), "ping");
    assert_eq!(
        check(&keys(64)),
        "Malformed request: an object has 65 keys, at most 64 are taken method=ping"
    );
    let digits =
        |n: usize| format!(r#"{{"method":"ping","x":0.{},"y":"{}"}}"#, "1".repeat(n), "1".repeat(99));
    assert_eq!(check(&digits(19)), "ping");
    let too_long = "Malformed request: a number has more than 20 digits";
    assert_eq!(check(&digits(20)), format!("{too_long} method=ping"));
    assert_eq!(check(&format!(r#"{{"req_id":{}}}"#, "9".repeat(21))), too_long);
    let after = |text: &str| check(&format!(r#"{{"method":"ping","x":"{text}","y":{}.5}}"#, "1".repeat(20)));
    assert_eq!(
        after(r"\\"),
        format!("{too_long} method=ping"),
        "an escaped backslash does not hide the quote"
    );
    let inside = format!(r#"{{"method":"ping","x":"\"{}"}}"#, "1".repeat(99));
    assert_eq!(check(&inside), "ping", "digits behind an escaped quote are text");
    let symbols = |n| format!(r#""channel":"trade","symbol":[{}]"#, vec![r#""A/B""#; n].join(","));
    assert!(subscribe(&symbols(SYMBOLS_MAX)).starts_with("subscribe trade symbols=A/B,A/B,"));
    assert_eq!(
        subscribe(&symbols(SYMBOLS_MAX + 1)),
        "Malformed request: params.symbol has 1001 symbols, at most 1000 are taken in one request \
         method=subscribe id=1"
    );
}

#[test]
fn a_key_sent_twice_is_refused_wherever_it_stands() {
    for sent in [
        r#"{"method":"ping","req_id":1,"req_id":2}"#,
        r#"{"method":"ping","req_id":1,"x":[{"a":1,"b":2,"\u0061":3}]}"#,
    ] {
        assert_eq!(
            check(sent),
            "Malformed request: an object has the same key twice method=ping id=1",
            "{sent}"
        );
    }
}

#[test]
fn what_is_repeated_is_cut_to_32_characters() {
    let long = "€".repeat(1_000);
    let shown = "€".repeat(32);
    let sent = format!(r#"{{"method":"{long}","params":{{"symbol":"{long}"}}}}"#);
    assert_eq!(check(&sent), format!("Method(s) not found method={shown} symbol={shown}"));
    assert_eq!(
        subscribe(&format!(r#""channel":"{long}""#)),
        format!("Channel not supported {shown} method=subscribe id=1")
    );
}

#[test]
fn invalid_utf8_in_a_binary_frame_is_not_json() {
    let error = request::decode(&mut b"{\"method\":\"ping\xFF\"}".to_vec()).unwrap_err();
    assert_eq!(error.kind, RequestErrorKind::NotJson);
}

#[test]
fn stream_keys_carry_the_instrument() {
    let sent = br#"{"method":"subscribe","params":{"channel":"ticker","symbol":"A/B"}}"#;
    let request = request::decode(&mut sent.to_vec()).unwrap();
    let Method::Subscribe(params) = request.method else { panic!("{request:?}") };
    let key = params.channel.stream_key(InstrumentId(9));
    assert_eq!(key, Ok::<_, Refusal<'_>>(StreamKey::Ticker(InstrumentId(9), Trigger::Trades)));
}

const VALID: [&str; 6] = [
    r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD","ETH/EUR"],"depth":25,"snapshot":true},"req_id":42}"#,
    r#"{"req_id":-1,"method":"unsubscribe","params":{"symbol":"BTC/USD","channel":"ohlc","interval":5}}"#,
    r#"{"method":"subscribe","params":{"channel":"ticker","event_trigger":"bbo","symbol":["\u20ac/\ud83d\ude00"]}}"#,
    r#"{"method":"ping","req_id":0,"x":[null,true,1.5e3,{"a":[]}]}"#,
    r#"{"method":"subscribe","params":{"channel":"trade","symbol":["A/B"],"resume":{"epoch":1,"seq":2}}}"#,
    r#"{"method":"subscribe","params":{"channel":"instrument","snapshot":false}}"#,
];

/// What an independent parser says: the message is JSON if it is, and only then.
fn agrees_with_serde_json(bytes: &[u8]) {
    let ours = request::decode(&mut bytes.to_vec());
    let theirs = serde_json::from_slice::<serde_json::Value>(bytes);
    let text = String::from_utf8_lossy(bytes);
    match ours {
        Ok(request) => {
            let value = theirs.expect("what is accepted is json");
            assert_eq!(value["method"], request.method.name(), "{text}");
        }
        Err(error) if error.kind == RequestErrorKind::NotJson => {
            let integer_beyond_64_bits = bytes.iter().filter(|b| b.is_ascii_digit()).count() >= 19;
            assert!(theirs.is_err() || integer_beyond_64_bits, "{text}");
        }
        Err(error) if error.method.is_some() => assert!(theirs.is_ok(), "{text}"),
        Err(_) => {}
    }
}

#[test]
fn valid_requests_cut_anywhere_are_not_json() {
    for sent in VALID {
        assert!(request::decode(&mut sent.as_bytes().to_vec()).is_ok(), "{sent}");
        for end in 0..sent.len() {
            let error = request::decode(&mut sent.as_bytes()[..end].to_vec()).unwrap_err();
            assert_eq!(error.kind, RequestErrorKind::NotJson, "{}", &sent[..end]);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes_are_answered(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        agrees_with_serde_json(&bytes);
    }

    #[test]
    fn random_json_like_text_is_answered(text in r#"[\[\]{}:,"\\u0-9a-f. eE+tn-]{0,60}"#) {
        agrees_with_serde_json(text.as_bytes());
    }

    #[test]
    fn mutated_requests_are_answered(
        which in 0..VALID.len(),
        changes in proptest::collection::vec((0_usize..150, any::<u8>(), 0_u8..3), 1..4),
    ) {
        let mut bytes = VALID[which].as_bytes().to_vec();
        for (at, byte, how) in changes {
            let at = at % bytes.len();
            match how {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                _ => drop(bytes.remove(at)),
            }
        }
        agrees_with_serde_json(&bytes);
    }
}
