//! What clients ask: every rule of the decoder, and that no bytes bring it down.

use std::fmt::Write as _;

use model::{InstrumentId, StreamKey, Trigger};
use proptest::prelude::*;
use wire::reply::Refusal;
use wire::request::{
    self, Configure, Delivery, Method, Params, Request, RequestErrorKind, Resume, SYMBOLS_MAX, Target,
};

/// Decodes and describes in one line: what was understood, or the answer and what it carries.
fn check(sent: &str) -> String {
    let mut text = String::new();
    match request::decode(&mut sent.as_bytes().to_vec()) {
        Ok(Request { method, req_id }) => {
            text.push_str(method.name());
            match &method {
                Method::Subscribe(params) | Method::Unsubscribe(params) => describe(params, &mut text),
                Method::Configure(Configure { target, delivery, max_bytes_per_s }) => {
                    describe_target(target, &mut text);
                    describe_delivery(delivery, &mut text);
                    write(&mut text, "max_bytes_per_s", *max_bytes_per_s);
                }
                Method::Pause(target) | Method::Resume(target) => describe_target(target, &mut text),
                Method::Ping => {}
                Method::Login(token) => {
                    write(&mut text, "token", Some(token.reveal()));
                    assert_eq!(format!("{token:?}"), "Token", "it is not shown");
                }
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
    describe_delivery(&params.delivery, text);
    write(text, "max_bytes_per_s", params.max_bytes_per_s);
    match &params.resume {
        None => {}
        Some(Resume::All(epoch, seq)) => write(text, "resume", Some(format!("{}:{}", epoch.0, seq.0))),
        Some(Resume::PerSymbol(points)) => {
            for (symbol, epoch, seq) in points {
                write(text, &format!("resume[{symbol}]"), Some(format!("{}:{}", epoch.0, seq.0)));
            }
        }
    }
    write(text, "superset", params.superset.then_some(true));
}

fn describe_delivery(delivery: &Delivery, text: &mut String) {
    write(text, "policy", delivery.policy.map(model::Policy::name));
    write(text, "max_lag_ms", delivery.max_lag_ms);
    write(text, "max_lag_entries", delivery.max_lag_entries);
    write(text, "interval_ms", delivery.interval_ms);
}

fn describe_target(target: &Target, text: &mut String) {
    match target {
        Target::All => text.push_str(" all"),
        Target::Some(channel, symbols) => {
            write(text, "channel", Some(channel.channel().name()));
            write(text, "symbols", Some(symbols.join(",")));
        }
    }
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
    let params = [
        (r#""policy":"disconnect""#, " policy=disconnect"),
        (r#""max_lag_ms":5"#, " max_lag_ms=5"),
        (r#""max_lag_entries":5"#, " max_lag_entries=5"),
        (r#""interval_ms":5"#, " interval_ms=5"),
        (r#""max_bytes_per_s":5"#, " max_bytes_per_s=5"),
        (r#""resume":{"epoch":7,"seq":5}"#, " resume=7:5"),
        (r#""checksum":{"any":["thing"]}"#, ""),
    ];
    for (param, shown) in params {
        let told = subscribe(&format!(r#""channel":"trade","symbol":["A/B"],{param}"#));
        assert_eq!(told, format!("subscribe trade symbols=A/B snapshot=false{shown} superset=true id=1"));
    }
    let told = subscribe(r#""channel":"trade","symbol":["A/B"],"token":"policy","policy":null"#);
    assert_eq!(told, "subscribe trade symbols=A/B snapshot=false id=1");
}

#[test]
fn parameters_of_the_delivery_are_understood() {
    let cases = [
        (r#""policy":"drop_newest""#, "policy=drop_newest superset=true"),
        (r#""policy":null,"interval_ms":null"#, ""),
        (
            r#""policy":"disconnect","max_lag_ms":5000,"max_lag_entries":0"#,
            "policy=disconnect max_lag_ms=5000 max_lag_entries=0 superset=true",
        ),
        (r#""interval_ms":18446744073709551615"#, "interval_ms=18446744073709551615 superset=true"),
        (r#""max_bytes_per_s":0"#, "max_bytes_per_s=0 superset=true"),
        (r#""resume":{"seq":5,"epoch":7,"more":true}"#, "resume=7:5 superset=true"),
        (
            r#""resume":{"A/USD":{"epoch":7,"seq":5},"B/USD":{"epoch":8,"seq":0}}"#,
            "resume[A/USD]=7:5 resume[B/USD]=8:0 superset=true",
        ),
        (r#""resume":{}"#, "superset=true"),
    ];
    for (params, expected) in cases {
        let text = subscribe(&format!(r#""channel":"trade","symbol":["A/USD"],{params}"#));
        let expected = format!("subscribe trade symbols=A/USD snapshot=false {expected}");
        assert_eq!(text, format!("{} id=1", expected.trim_end()), "{params}");
    }
}

#[test]
fn a_wrong_parameter_of_the_delivery_is_named_with_what_it_must_be() {
    let policies = "policy must be one of conflate, latest, drop_oldest, drop_newest, disconnect";
    let point = r#"resume must be {"epoch":e,"seq":n}, or that by symbol"#;
    let whole = |key: &str| format!("{key} must be a whole number, 0 or above");
    let cases = [
        (r#""policy":"Conflate""#, policies.to_owned()),
        (r#""policy":1"#, policies.to_owned()),
        (r#""interval_ms":-1"#, whole("interval_ms")),
        (r#""interval_ms":0.5"#, whole("interval_ms")),
        (r#""max_lag_ms":"5""#, whole("max_lag_ms")),
        (r#""max_lag_entries":[5]"#, whole("max_lag_entries")),
        (r#""max_bytes_per_s":true"#, whole("max_bytes_per_s")),
        (r#""resume":true"#, point.to_owned()),
        (r#""resume":[7,5]"#, point.to_owned()),
        (r#""resume":{"epoch":7}"#, point.to_owned()),
        (r#""resume":{"epoch":7,"seq":-5}"#, point.to_owned()),
        (r#""resume":{"epoch":"7","seq":5}"#, point.to_owned()),
        (r#""resume":{"A/USD":{"epoch":7,"seq":5},"B/USD":{"epoch":7}}"#, point.to_owned()),
        (r#""resume":{"A/USD":5}"#, point.to_owned()),
    ];
    for (params, expected) in cases {
        let text = subscribe(&format!(r#""channel":"book","symbol":["A/USD"],{params}"#));
        let expected = format!("Malformed request: {expected} method=subscribe id=1 symbol=A/USD");
        assert_eq!(text, expected, "{params}");
    }
}

#[test]
fn configure_pause_and_resume_are_about_some_subscriptions_or_all() {
    let cases = [
        (r#"{"method":"pause"}"#, "pause all"),
        (r#"{"method":"resume","params":{}}"#, "resume all"),
        (r#"{"method":"resume","params":null}"#, "resume all"),
        (
            r#"{"method":"pause","params":{"channel":"book","symbol":["A/USD","B/USD"]}}"#,
            "pause channel=book symbols=A/USD,B/USD",
        ),
        (r#"{"method":"pause","params":{"channel":"instrument"}}"#, "pause channel=instrument symbols="),
        (
            r#"{"method":"configure","params":{"channel":"book","symbol":"A/USD","interval_ms":100}}"#,
            "configure channel=book symbols=A/USD interval_ms=100",
        ),
        (
            r#"{"method":"configure","params":{"max_bytes_per_s":64000}}"#,
            "configure all max_bytes_per_s=64000",
        ),
        (r#"{"method":"configure"}"#, "Malformed request: params is missing method=configure"),
        (r#"{"method":"pause","params":[]}"#, "Malformed request: params must be an object method=pause"),
        (
            r#"{"method":"pause","params":{"channel":"book"}}"#,
            "Malformed request: params.symbol is missing method=pause",
        ),
        (
            r#"{"method":"configure","params":{"channel":"book","symbol":"A/USD","policy":"best"}}"#,
            "Malformed request: policy must be one of conflate, latest, drop_oldest, drop_newest, \
             disconnect method=configure symbol=A/USD",
        ),
    ];
    for (sent, expected) in cases {
        assert_eq!(check(sent), expected, "{sent}");
    }
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
        ("{}", "Method(s) not found"),
        (r#"{"req_id":4}"#, "Method(s) not found id=4"),
        (r#"{"method":1,"req_id":4}"#, "Malformed request: method must be a string id=4"),
        (r#"{"method":"auth","req_id":4}"#, "Method(s) not found method=auth id=4"),
        (r#"{"event":"subscribe","pair":["XBT/USD"]}"#, "Method(s) not found"),
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

#[test]
fn a_login_has_a_token() {
    let cases = [
        (r#"{"method":"login","params":{"token":"a.b.c"},"req_id":5}"#, "login token=a.b.c id=5"),
        (r#"{"method":"login","params":{"token":""}}"#, "login token="),
        (r#"{"method":"login"}"#, "Malformed request: params is missing method=login"),
        (r#"{"method":"login","params":{}}"#, "Malformed request: params.token is missing method=login"),
        (
            r#"{"method":"login","params":{"token":["a"]}}"#,
            "Malformed request: token must be a string method=login",
        ),
    ];
    for (sent, expected) in cases {
        assert_eq!(check(sent), expected);
    }
}

#[test]
fn limits_may_be_narrower() {
    let limits = request::RequestLimits { symbols_max: 2, depth_max: 3, keys_max: 4 };
    let shown = |sent: &str| {
        request::decode_within(&mut sent.as_bytes().to_vec(), &limits).err().map(|error| error.to_string())
    };
    for method in ["subscribe", "unsubscribe", "configure", "pause", "resume"] {
        let ask = |symbols: &str| {
            format!(r#"{{"method":"{method}","params":{{"channel":"trade","symbol":[{symbols}]}}}}"#)
        };
        assert_eq!(shown(&ask(r#""A/B","C/D""#)), None, "{method}");
        let expected = "Malformed request: params.symbol has 3 symbols, at most 2 are taken in one request";
        assert_eq!(shown(&ask(r#""A/B","C/D","E/F""#)), Some(expected.to_owned()), "{method}");
    }
    let deep = "Malformed request: objects and arrays are nested deeper than 3";
    assert_eq!(shown(r#"{"method":"ping","x":[[[]]]}"#), Some(deep.to_owned()));
    let keys = "Malformed request: an object has 5 keys, at most 4 are taken";
    assert_eq!(shown(r#"{"method":"ping","a":1,"b":2,"c":3,"d":4}"#), Some(keys.to_owned()));
    assert_eq!(shown(r#"{"method":"ping","a":[[]],"b":2,"c":3}"#), None);
}
