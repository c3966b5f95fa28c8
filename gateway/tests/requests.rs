//! What clients may ask and how it is answered: every stated text and key, and that a neighbour never notices.

mod support;

use serde_json::{Value, json};
use support::gateway::{Gateway, settings};
use support::scene::{Asker, Scene};
use support::socket::{BINARY, Socket, TEXT};

/// Sends each message on one connection and compares the answers with the stated ones, key by key.
fn check(scene: &mut Scene, path: &str, cases: &[(&str, Value)]) {
    let mut asker = scene.asker(path);
    for (sent, expected) in cases {
        let expected = expected.as_array().expect("a list of answers");
        let got = asker.ask(TEXT, sent.as_bytes(), expected.len());
        assert_eq!(got, *expected, "{}", &sent[..sent.len().min(200)]);
    }
    scene.check_canary();
}

/// The refusal of something that was no request; with what could be read of it.
fn malformed(text: &str, known: Value) -> Value {
    let mut answer = known;
    answer["error"] = format!("Malformed request{text}").into();
    answer["success"] = false.into();
    json!([answer])
}

/// The answer to what names no method, such as a request of the venue's first API.
fn not_found(known: Value) -> Value {
    let mut answer = known;
    answer["error"] = "Method(s) not found".into();
    answer["success"] = false.into();
    json!([answer])
}

fn refused(error: &str, method: &str, symbol: &str) -> Value {
    json!({ "error": error, "method": method, "success": false, "symbol": symbol })
}

fn book_ack(depth: u64, symbol: &str) -> Value {
    let result = json!({ "channel": "book", "depth": depth, "snapshot": true, "symbol": symbol });
    json!({ "method": "subscribe", "result": result, "success": true })
}

#[test]
fn what_is_no_request_is_answered_as_malformed() {
    let nested = format!(r#"{{"method":"ping","x":{}1{}}}"#, "[".repeat(40), "]".repeat(40));
    let keys: Vec<String> = (0..64).map(|n| format!(r#""k{n}":1"#)).collect();
    let crowded = format!(r#"{{"method":"ping",{}}}"#, keys.join(","));
    let ping = || json!({ "method": "ping" });
    let nothing = || json!({});
    let cases = [
        ("", malformed("", nothing())),
        ("hello", malformed("", nothing())),
        (r#"{"method":"ping""#, malformed("", nothing())),
        (r#"{"method":"ping"}{}"#, malformed("", nothing())),
        ("[]", malformed(": a request must be a JSON object", nothing())),
        ("null", malformed(": a request must be a JSON object", nothing())),
        ("42", malformed(": a request must be a JSON object", nothing())),
        ("{}", not_found(nothing())),
        (r#"{"req_id":3}"#, not_found(json!({ "req_id": 3 }))),
        (r#"{"method":null}"#, not_found(nothing())),
        (r#"{"method":5}"#, malformed(": method must be a string", nothing())),
        (&nested, malformed(": objects and arrays are nested deeper than 16", nothing())),
        (&crowded, malformed(": an object has 65 keys, at most 64 are taken", ping())),
        (r#"{"method":"ping","a":1,"a":1}"#, malformed(": an object has the same key twice", ping())),
        (r#"{"method":"ping","x":{"a":1,"a":2}}"#, malformed(": an object has the same key twice", ping())),
        (
            r#"{"method":"ping","x":123456789012345678901}"#,
            malformed(": a number has more than 20 digits", nothing()),
        ),
        (r#"{"method":"ping","req_id":"7"}"#, malformed(": req_id must be an integer of 64 bits", ping())),
        (r#"{"method":"ping","req_id":1.5}"#, malformed(": req_id must be an integer of 64 bits", ping())),
    ];
    check(&mut Scene::start(settings()), "/v2", &cases);
}

#[test]
fn wrong_parameters_are_named() {
    let sent = |params: &str| format!(r#"{{"method":"subscribe","params":{params}}}"#);
    let wrong = |text: &str| malformed(text, json!({ "method": "subscribe" }));
    let btc = |text: &str| malformed(text, json!({ "method": "subscribe", "symbol": "BTC/USD" }));
    let many = format!(r#"{{"channel":"book","symbol":[{}]}}"#, vec![r#""BTC/USD""#; 1_001].join(","));
    let rows = [
        ("null", wrong(": params is missing")),
        ("[]", wrong(": params must be an object")),
        ("{}", wrong(": params.channel is missing")),
        (r#"{"channel":5}"#, wrong(": channel must be a string")),
        (r#"{"channel":"book"}"#, wrong(": params.symbol is missing")),
        (r#"{"channel":"book","symbol":[]}"#, wrong(": params.symbol is empty, name at least one symbol")),
        (r#"{"channel":"book","symbol":7}"#, wrong(": symbol must be an array of strings")),
        (r#"{"channel":"book","symbol":["BTC/USD",7]}"#, wrong(": symbol must be an array of strings")),
        (&many, wrong(": params.symbol has 1001 symbols, at most 1000 are taken in one request")),
        (r#"{"channel":"book","symbol":["BTC/USD"],"depth":"10"}"#, btc(": depth must be an integer")),
        (r#"{"channel":"book","symbol":["BTC/USD"],"depth":10.5}"#, btc(": depth must be an integer")),
        (r#"{"channel":"ohlc","symbol":["BTC/USD"],"interval":[]}"#, btc(": interval must be an integer")),
        (
            r#"{"channel":"ticker","symbol":["BTC/USD"],"event_trigger":"all"}"#,
            btc(": event_trigger must be trades or bbo"),
        ),
        (
            r#"{"channel":"book","symbol":["BTC/USD"],"snapshot":"no"}"#,
            btc(": snapshot must be true or false"),
        ),
        (
            r#"{"channel":"book","symbol":["BTC/USD"],"depth":10,"depth":25}"#,
            malformed(": an object has the same key twice", json!({ "method": "subscribe" })),
        ),
    ];
    let rows = rows.map(|(params, expected)| (sent(params), expected));
    let cases: Vec<(&str, Value)> = rows.iter().map(|(text, answer)| (&text[..], answer.clone())).collect();
    check(&mut Scene::start(settings()), "/v2", &cases);
}

#[test]
fn what_does_not_exist_is_refused_with_the_venues_words() {
    let subscribe = "subscribe";
    let long = "A".repeat(40);
    let asked_long = format!(r#"{{"method":"subscribe","params":{{"channel":"book","symbol":["{long}"]}}}}"#);
    let cut = &long[..32];
    let cases = [
        (
            r#"{"method":"add_order","req_id":9}"#,
            json!([{ "error": "Method(s) not found", "method": "add_order", "success": false, "req_id": 9 }]),
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"books","symbol":["BTC/USD"]}}"#,
            json!([refused("Channel not supported books", subscribe, "BTC/USD")]),
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"executions"}}"#,
            json!([{ "error": "Private data and trading are unavailable on this endpoint",
                "method": "subscribe", "success": false }]),
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"heartbeat"}}"#,
            json!([{ "error": "Channel not supported heartbeat, it is sent without a subscription",
                "method": "subscribe", "success": false }]),
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":["XBT/USD"]}}"#,
            json!([refused("Currency pair not supported XBT/USD", subscribe, "XBT/USD")]),
        ),
        (&asked_long, json!([refused(&format!("Currency pair not supported {cut}"), subscribe, cut)])),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":11}}"#,
            json!([refused("Subscription depth not supported", subscribe, "BTC/USD")]),
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"book","symbol":["BTC/USD"],"depth":18446744073709551615}}"#,
            json!([refused("Subscription depth not supported", subscribe, "BTC/USD")]),
        ),
        (
            r#"{"method":"subscribe","params":{"channel":"ohlc","symbol":["BTC/USD"],"interval":2}}"#,
            json!([refused("Subscription ohlc interval not supported", subscribe, "BTC/USD")]),
        ),
        (
            r#"{"method":"unsubscribe","params":{"channel":"book","symbol":["BTC/USD"]}}"#,
            json!([refused("Subscription Not Found", "unsubscribe", "BTC/USD")]),
        ),
    ];
    check(&mut Scene::start(settings()), "/v2", &cases);
}

#[test]
fn every_symbol_has_its_own_answer_and_a_wrong_one_stops_no_other() {
    let mut scene = Scene::start(settings());
    let mut asker = scene.asker("/v2");
    let symbols = r#"["BTC/USD","NO/SUCH","ETH/USD","BTC/USD"]"#;
    let sent =
        format!(r#"{{"method":"subscribe","req_id":4,"params":{{"channel":"book","symbol":{symbols}}}}}"#);
    let mut got = asker.ask(TEXT, sent.as_bytes(), 4);
    got.sort_by_key(|answer| answer.to_string());
    let with_id = |mut answer: Value| {
        answer["req_id"] = 4.into();
        answer
    };
    let mut expected = [
        refused("Already subscribed", "subscribe", "BTC/USD"),
        refused("Currency pair not supported NO/SUCH", "subscribe", "NO/SUCH"),
        book_ack(10, "BTC/USD"),
        book_ack(10, "ETH/USD"),
    ]
    .map(with_id);
    expected.sort_by_key(|answer| answer.to_string());
    assert_eq!(got, expected);
    scene.check_canary();
}

#[test]
fn subscribing_again_in_whatever_depth_is_refused_and_sends_nothing() {
    let mut scene = Scene::start(settings());
    let sent = |depth: u64, method: &str| {
        let params = json!({ "channel": "book", "symbol": ["BTC/USD"], "depth": depth });
        json!({ "method": method, "params": params }).to_string()
    };
    let again = json!([refused("Already subscribed", "subscribe", "BTC/USD")]);
    let gone = json!({ "channel": "book", "depth": 25, "symbol": "BTC/USD" });
    let not_found = json!([refused("Subscription Not Found", "unsubscribe", "BTC/USD")]);
    let cases = [
        (&*sent(25, "subscribe"), json!([book_ack(25, "BTC/USD")])),
        (&*sent(25, "subscribe"), again.clone()),
        (&*sent(100, "subscribe"), again),
        (&*sent(25, "unsubscribe"), json!([{ "method": "unsubscribe", "result": gone, "success": true }])),
        (&*sent(25, "unsubscribe"), not_found),
        (&*sent(100, "subscribe"), json!([book_ack(100, "BTC/USD")])),
    ];
    check(&mut scene, "/v2", &cases);
}

#[test]
fn acknowledgements_have_exactly_the_venues_keys() {
    let mut scene = Scene::start(settings());
    let subscribe = |params: Value| json!({ "method": "subscribe", "params": params }).to_string();
    let symbol = ["BTC/USD"];
    let made = |result: Value| json!([{ "method": "subscribe", "result": result, "success": true }]);
    let warn = |text: &str| json!([format!("{text} is deprecated, use {}", replacement(text))]);
    let cases = [
        (
            subscribe(json!({ "channel": "ticker", "symbol": symbol })),
            made(
                json!({ "channel": "ticker", "event_trigger": "trades", "snapshot": true, "symbol": "BTC/USD" }),
            ),
        ),
        (
            subscribe(json!({ "channel": "trade", "symbol": symbol })),
            made(json!({ "channel": "trade", "snapshot": false, "symbol": "BTC/USD" })),
        ),
        (
            subscribe(json!({ "channel": "ohlc", "symbol": symbol, "interval": 5 })),
            made(json!({ "channel": "ohlc", "interval": 5, "snapshot": true, "symbol": "BTC/USD",
                "warnings": warn("timestamp") })),
        ),
        (
            subscribe(json!({ "channel": "instrument" })),
            made(json!({ "channel": "instrument", "snapshot": true, "warnings": warn("tick_size") })),
        ),
        (
            subscribe(json!({ "channel": "book", "symbol": "BTC/USD", "snapshot": false, "token": "x" })),
            made(json!({ "channel": "book", "depth": 10, "snapshot": false, "symbol": "BTC/USD" })),
        ),
    ];
    let cases: Vec<(&str, Value)> = cases.iter().map(|(sent, answer)| (&sent[..], answer.clone())).collect();
    check(&mut scene, "/v2", &cases);
}

fn replacement(deprecated: &str) -> &'static str {
    if deprecated == "timestamp" { "interval_begin" } else { "price_increment" }
}

#[test]
fn clients_that_opted_in_are_told_epoch_and_sequence() {
    let scene = Scene::start(settings());
    let asked = |extra: &str| {
        format!(
            r#"{{"method":"subscribe","params":{{"channel":"book","symbol":["BTC/USD"],"depth":25{extra}}}}}"#
        )
    };
    for (path, extra) in [("/v2?ext=1", ""), ("/v2", r#","policy":"conflate""#)] {
        let mut got = scene.asker(path).ask(TEXT, asked(extra).as_bytes(), 1);
        let result = got[0]["result"].as_object_mut().unwrap();
        assert!(result.remove("epoch").unwrap().is_u64() && result.remove("seq").unwrap().is_u64());
        assert_eq!(result.remove("policy"), Some(json!("conflate")));
        assert_eq!(result.remove("interval_ms"), Some(json!(0)));
        assert_eq!(got, [book_ack(25, "BTC/USD")]);
    }
}

#[test]
fn ids_of_requests_come_back_as_they_were_sent() {
    let ping = |id: &str| format!(r#"{{"method":"ping","req_id":{id}}}"#);
    let rows = ["0", "-1", "18446744073709551615", "-9223372036854775808", "null"].map(|id| {
        let id_value: Value = serde_json::from_str(id).unwrap();
        let pong = json!({ "method": "pong", "req_id": id_value });
        (ping(id), if id == "null" { json!([{ "method": "pong" }]) } else { json!([pong]) })
    });
    let cases: Vec<(&str, Value)> = rows.iter().map(|(sent, answer)| (&sent[..], answer.clone())).collect();
    check(&mut Scene::start(settings()), "/v2", &cases);
}

#[test]
fn binary_frames_are_requests_too() {
    let mut scene = Scene::start(settings());
    let mut asker = scene.asker("/v2");
    let ping = br#"{"method":"ping","req_id":1}"#;
    assert_eq!(asker.ask(BINARY, ping, 1), [json!({ "method": "pong", "req_id": 1 })]);
    let book = br#"{"method":"subscribe","params":{"channel":"book","symbol":["SOL/USD"]}}"#;
    assert_eq!(asker.ask(BINARY, book, 1), [book_ack(10, "SOL/USD")]);
    assert_eq!(json!(asker.ask(BINARY, b"\xFF\xFE", 1)), malformed("", json!({})));
    scene.check_canary();
}

#[test]
fn the_acknowledgement_comes_before_the_snapshot_and_the_snapshot_before_updates() {
    let scene = Scene::start_traded();
    for channel in ["book", "ticker", "trade", "ohlc"] {
        let mut socket = Socket::connect(scene.gateway.public, "/v2");
        let params = json!({ "channel": channel, "symbol": ["BTC/USD"], "snapshot": true });
        socket.send_text(&json!({ "method": "subscribe", "params": params }).to_string());
        let kinds: Vec<String> = (0..4)
            .map(|_| {
                let message: Value = serde_json::from_str(socket.frame().text()).unwrap();
                let kind = if message["channel"] == "status" { "status" } else { "ack" };
                message["type"].as_str().filter(|_| kind == "ack").unwrap_or(kind).to_owned()
            })
            .collect();
        assert_eq!(kinds, ["status", "ack", "snapshot", "update"], "{channel}");
    }
}

#[test]
fn every_channel_links_its_first_update_to_its_snapshot() {
    let scene = Scene::start_traded();
    for mut client in [scene.gateway.client(), scene.gateway.ext_client()] {
        client.subscribe(json!({ "channel": "instrument" }));
        for channel in ["book", "ticker", "trade", "ohlc"] {
            let symbols = ["BTC/USD", "ETH/USD", "SOL/USD", "XRP/USD"];
            client.subscribe(json!({ "channel": channel, "symbol": symbols, "snapshot": true }));
        }
        // The view compares `prev` with the last `seq` from the snapshot on.
        let updates = client.view.updates;
        client.wait("some updates", |view| view.updates > updates + 300);
        assert_eq!(client.view.missing_trades(), 0);
    }
}

#[test]
fn subscriptions_of_a_connection_are_limited() {
    let mut config = settings();
    config.limits.subscriptions_max = 2;
    let gateway = Gateway::start_ready(config);
    let mut asker = Asker::over(Socket::connect(gateway.public, "/v2"));
    let params = json!({ "channel": "book", "symbol": ["BTC/USD", "ETH/USD", "SOL/USD"] });
    let sent = json!({ "method": "subscribe", "params": params }).to_string();
    let mut got = asker.ask(TEXT, sent.as_bytes(), 3);
    got.sort_by_key(|answer| answer["success"] == true);
    let limit = refused("Subscription limit of 2 per connection reached", "subscribe", "SOL/USD");
    assert_eq!(got[0], limit);
    assert!(got[1..].iter().all(|answer| answer["success"] == true), "{got:?}");
}
