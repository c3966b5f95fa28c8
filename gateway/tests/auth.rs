//! Who is let in, and what for: tokens and API keys at the upgrade and by `login`, grants at every subscription, over real sockets and over
//! TLS.
//!
//! What happens to a connection that was let in before is in `grants.rs`.

mod support;

use std::net::SocketAddr;

use gateway::config::Config;
use serde_json::{Value, json};
use support::gateway::{Gateway, settings};
use support::http::{Answer, ask, get};
use support::scene::{Asker, Scene};
use support::socket::{CLOSE, Frame, Socket, TEXT};
use support::token::{Files, SECRET, base64url, bearer, key, now_s, signed, token};
use support::tunnel::{Credentials, Tunnel};

const UPGRADE: &str = "GET /v2 HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n";

fn upgrade(address: SocketAddr, headers: &str) -> Answer {
    ask(address, &format!("{UPGRADE}{headers}\r\n"))
}

/// A gateway under watch with both listeners, and the ways to it: plain, and over TLS.
fn open(mut config: Config) -> (Scene, Tunnel, [SocketAddr; 2]) {
    let credentials = Credentials::make();
    credentials.put_into(&mut config);
    let scene = Scene::start(config);
    let tunnel = Tunnel::to(&scene.gateway, &credentials);
    let ways = [scene.gateway.public, tunnel.address];
    (scene, tunnel, ways)
}

/// Every token that must not be accepted, with the reason.
fn bad_tokens() -> Vec<(&'static str, &'static str, String)> {
    let claims = json!({ "sub": "alice", "exp": now_s() + 600, "iss": "desk", "aud": "gateway" }).to_string();
    let with_header = |header: &str| signed(header, &claims, SECRET);
    let good = token(json!({}));
    let (head, signature) = good.rsplit_once('.').expect("a token has three parts");
    let unsigned = format!("{}.{}.", base64url(br#"{"alg":"none"}"#), base64url(claims.as_bytes()));
    vec![
        ("expired", "token expired", token(json!({ "exp": now_s() - 1 }))),
        ("expired", "token expired", token(json!({ "exp": 0 }))),
        ("early", "token not valid yet", token(json!({ "nbf": now_s() + 600 }))),
        ("early", "token not valid yet", token(json!({ "nbf": now_s() + 600, "exp": now_s() + 900 }))),
        ("issuer", "token of another issuer", token(json!({ "iss": "else" }))),
        ("issuer", "token of another issuer", token(json!({ "iss": null }))),
        ("audience", "token for another audience", token(json!({ "aud": "else" }))),
        ("audience", "token for another audience", token(json!({ "aud": null }))),
        ("malformed", "token malformed", token(json!({ "exp": null }))),
        ("malformed", "token malformed", token(json!({ "exp": "never" }))),
        ("malformed", "token malformed", token(json!({ "sub": "" }))),
        ("malformed", "token malformed", token(json!({ "symbols": ["btc/usd"] }))),
        ("malformed", "token malformed", token(json!({ "symbols": ["\u{0412}TC/USD"] }))),
        ("malformed", "token malformed", token(json!({ "channels": ["Book"] }))),
        ("unknown_tier", "tier not known", token(json!({ "tier": "platinum" }))),
        ("algorithm", "token signed with an algorithm that is not accepted", unsigned),
        (
            "algorithm",
            "token signed with an algorithm that is not accepted",
            with_header(r#"{"alg":"none"}"#),
        ),
        (
            "algorithm",
            "token signed with an algorithm that is not accepted",
            with_header(r#"{"alg":"NoNe"}"#),
        ),
        (
            "algorithm",
            "token signed with an algorithm that is not accepted",
            with_header(r#"{"alg":"hs256"}"#),
        ),
        (
            "algorithm",
            "token signed with an algorithm that is not accepted",
            with_header(r#"{"alg":"HS512"}"#),
        ),
        (
            "algorithm",
            "token signed with an algorithm that is not accepted",
            with_header(r#"{"alg":"RS256"}"#),
        ),
        ("unknown_key", "key not known", with_header(r#"{"alg":"HS256","kid":"other"}"#)),
        ("unknown_key", "key not known", "mdk_of-nobody".into()),
        ("signature", "token signature wrong", format!("{head}.{}", base64url(&[7; 32]))),
        ("signature", "token signature wrong", signed(r#"{"alg":"HS256"}"#, &claims, &[7; 32])),
        ("malformed", "token malformed", format!("{head}.{signature}=")),
        ("malformed", "token malformed", format!("{good}.{signature}")),
        ("missing", "a token is needed", String::new()),
        ("oversized", "token above 4096 bytes", "x".repeat(4_097)),
        ("oversized", "token above 4096 bytes", token(json!({ "pad": "x".repeat(4_096) }))),
    ]
}

/// Counts of refusals by reason.
fn refused(gateway: &Gateway) -> impl Fn(&str) -> u64 {
    let samples = gateway.samples();
    move |reason| samples.of("gateway_auth_refusals_total", "reason", reason)
}

#[test]
fn a_token_that_is_not_right_is_refused_at_the_upgrade_with_401() {
    let files = Files::new();
    let (mut scene, _tunnel, ways) = open(files.settings(settings()));
    let cases = bad_tokens();
    for (way, (reason, words, token)) in
        ways.iter().flat_map(|way| cases.iter().map(move |case| (*way, case)))
    {
        let before = refused(&scene.gateway)(reason);
        let answer = upgrade(way, &bearer(token));
        assert_eq!((answer.status, answer.body.trim_end()), (401, *words), "{reason}: {token}");
        let challenge = answer.header("www-authenticate");
        assert!(challenge.starts_with("Bearer realm=\"gateway\""), "{challenge}");
        let told = *reason == "missing" || challenge.contains(&format!("error_description=\"{words}\""));
        assert!(told && (token.is_empty() || !answer.body.contains(token.as_str())), "{challenge}");
        assert_eq!(refused(&scene.gateway)(reason), before + 1, "{reason}");
    }
    let two = bearer(&token(json!({}))).repeat(2);
    assert!(ways.iter().all(|way| upgrade(*way, &two).status == 401), "which of two is meant is a guess");
    let samples = scene.gateway.samples();
    let all = samples.of("gateway_connections_refused_total", "reason", "not_authenticated");
    assert_eq!(all, 2 * (cases.len() as u64 + 1));
    assert_eq!(samples.of("gateway_auth_accepted_total", "kind", "token"), 0);
    scene.check_canary();
}

#[test]
fn a_token_that_is_right_is_let_in_however_it_is_written() {
    let files = Files::new();
    let (scene, _tunnel, ways) = open(files.settings(settings()));
    let gateway = &scene.gateway;
    let good = token(json!({ "tier": "default" }));
    let not_tokens = ["", "Authorization: Basic YTpi\r\n", "X-Authorization: Bearer nonsense\r\n"];
    let tokens = [
        bearer(&good),
        format!("authorization: bearer {good}\r\n"),
        format!("AUTHORIZATION: BEARER   {good}  \r\n"),
        bearer(&token(json!({ "aud": ["else", "gateway"], "nbf": now_s() - 1, "iat": now_s() + 100 }))),
        bearer(&longest_token()),
    ];
    let all = || not_tokens.into_iter().chain(tokens.iter().map(String::as_str));
    let through = |way: &SocketAddr| -> Vec<Socket> {
        all().map(|headers| Socket::connect_saying(*way, "/v2", headers)).collect()
    };
    let sockets: Vec<Socket> = ways.iter().flat_map(through).collect();
    let tokens = 2 * tokens.len();
    // In an address a token would get into the logs of everybody on the way: it is not looked at.
    let _query = Socket::connect(gateway.public, "/v2?token=nonsense&access_token=nonsense");
    assert_eq!(gateway.samples().of("gateway_auth_accepted_total", "kind", "token"), tokens as u64);
    let subjects = |gateway: &Gateway| {
        let list = get(gateway.admin, "/clients").json();
        list.as_array().unwrap().iter().filter(|one| one["subject"] == "alice").count()
    };
    support::wait_for("everybody to have come to a shard", || (subjects(gateway) == tokens).then_some(()));
    drop(sockets);
}

/// A good token of as many bytes as one may have, or of as many as come near to that: base64 goes in steps.
fn longest_token() -> String {
    const BYTES_MAX: usize = 4_096;
    let tokens = (0..BYTES_MAX).rev().map(|pad| token(json!({ "pad": "x".repeat(pad) })));
    let longest = tokens.into_iter().find(|token| token.len() <= BYTES_MAX).expect("a short one fits");
    assert!(longest.len() > BYTES_MAX - 4, "{}", longest.len());
    longest
}

fn login(token: &str) -> Vec<u8> {
    json!({ "method": "login", "params": { "token": token }, "req_id": 9 }).to_string().into_bytes()
}

#[test]
fn a_token_that_is_not_right_ends_a_connection_that_logs_in_with_it() {
    let files = Files::new();
    let (mut scene, _tunnel, ways) = open(files.settings(settings()));
    for (way, (reason, words, token)) in
        ways.iter().flat_map(|way| bad_tokens().into_iter().map(move |case| (*way, case)))
    {
        let before = refused(&scene.gateway)(reason);
        let mut asker = Asker::over(Socket::connect(way, "/v2"));
        asker.socket.send(TEXT, &login(&token));
        let answer = asker.answer();
        let expected = format!("Authentication failed: {words}");
        assert_eq!((&answer["error"], &answer["success"]), (&json!(expected), &json!(false)), "{answer}");
        assert_eq!((&answer["method"], &answer["req_id"]), (&json!("login"), &json!(9)), "{answer}");
        assert!(token.is_empty() || !answer.to_string().contains(&token));
        assert_eq!(asker.socket.closing(), (1008, words.to_owned()), "{reason}");
        assert_eq!(refused(&scene.gateway)(reason), before + 1, "{reason}");
    }
    scene.check_canary();
}

#[test]
fn a_login_changes_what_a_connection_may_have() {
    let files = Files::new();
    let mut config = files.settings(settings());
    config.auth.anonymous = "trial".into();
    config.tiers.insert("trial".into(), config.delivery.clone());
    let trial = config.tiers.get_mut("trial").unwrap();
    (trial.symbols, trial.depth_max) = (vec!["BTC/*".into()], 10);
    let gateway = Gateway::start_ready(config);
    let mut asker = Asker::over(Socket::connect(gateway.public, "/v2"));
    let subscribe =
        |params: Value| json!({ "method": "subscribe", "params": params }).to_string().into_bytes();
    let outcome = |answers: &[Value]| {
        answers.iter().map(|one| one["error"].as_str().map(str::to_owned)).collect::<Vec<_>>()
    };
    let both = subscribe(json!({ "channel": "trade", "symbol": ["BTC/USD", "ETH/USD"] }));
    let denied = Some("Permission denied: symbol".to_owned());
    // Errors are answered at once, an acknowledgement waits for the engine.
    assert_eq!(outcome(&asker.ask(TEXT, &both, 2)), [denied, None]);
    let deep = subscribe(json!({ "channel": "book", "symbol": ["BTC/USD"], "depth": 100 }));
    assert_eq!(outcome(&asker.ask(TEXT, &deep, 1)), [Some("Permission denied: depth above 10".into())]);
    let expires = now_s() + 600;
    let answers = asker.ask(TEXT, &login(&token(json!({ "exp": expires }))), 1);
    let result = &answers[0]["result"];
    assert_eq!((&result["subject"], &result["tier"]), (&json!("alice"), &json!("default")), "{answers:?}");
    assert!(result["expires"].as_str().unwrap().ends_with(".000000Z"), "{result}");
    assert_eq!(outcome(&asker.ask(TEXT, &deep, 1)), [None]);
    assert_eq!(outcome(&asker.ask(TEXT, &both, 2)), [Some("Already subscribed".into()), None]);
    let samples = gateway.samples();
    assert_eq!(samples.of("gateway_tier_connections", "tier", "default"), 1);
    assert_eq!(samples.of("gateway_entitlement_refusals_total", "what", "symbol"), 1);
    assert_eq!(samples.of("gateway_entitlement_refusals_total", "what", "depth"), 1);
}

#[test]
fn a_grant_covers_what_it_says_and_nothing_that_looks_like_it() {
    let files = Files::new();
    let mut config = files.settings(settings());
    config.tiers.insert("strict".into(), config.delivery.clone());
    config.tiers.get_mut("strict").unwrap().trade.policies = vec!["drop_oldest".into()];
    let (_scene, _tunnel, ways) = open(config);
    let everything = json!(["*"]);
    let book = json!({ "channel": "book", "symbol": ["BTC/USD"], "depth": 25 });
    let of = |symbol: &str| json!({ "channel": "ticker", "symbol": [symbol] });
    let denied = |what: &str| format!("Permission denied: {what}");
    let none = |symbol: &str| format!("Currency pair not supported {symbol}");
    let cases = [
        (json!({ "symbols": everything }), of("BTC/USD"), "ok".into()),
        (json!({ "symbols": ["BTC/*"] }), of("BTC/USD"), "ok".into()),
        (json!({ "symbols": ["*/USD"] }), of("BTC/USD"), "ok".into()),
        (json!({ "symbols": ["ETH/USD", "BTC/USD"] }), of("BTC/USD"), "ok".into()),
        (json!({ "symbols": ["ETH/*"] }), of("BTC/USD"), denied("symbol")),
        (json!({ "symbols": ["*/EUR"] }), of("BTC/USD"), denied("symbol")),
        (json!({ "symbols": ["BTC/US"] }), of("BTC/USD"), denied("symbol")),
        (json!({ "symbols": ["C/USD"] }), of("BTC/USD"), denied("symbol")),
        (json!({ "symbols": [] }), of("BTC/USD"), denied("symbol")),
        // Only the symbol itself is one; another way to write it is never brought to it.
        (json!({ "symbols": everything }), of("btc/usd"), none("btc/usd")),
        (json!({ "symbols": everything }), of("BTC/USD "), none("BTC/USD ")),
        (json!({ "symbols": everything }), of("*"), none("*")),
        (json!({ "symbols": everything }), of("BTC/*"), none("BTC/*")),
        (json!({ "symbols": everything }), of("\u{0412}TC/USD"), none("\u{0412}TC/USD")),
        (json!({ "symbols": everything }), of("BTC\u{2215}USD"), none("BTC\u{2215}USD")),
        (json!({ "symbols": everything }), of("BTC/USD\u{0}"), none("BTC/USD\u{0}")),
        (json!({ "symbols": everything }), of("Btc/Usd"), none("Btc/Usd")),
        (json!({ "symbols": everything }), of("\u{ff22}TC/USD"), none("\u{ff22}TC/USD")),
        (json!({ "symbols": everything }), of("BTC/USD\u{301}"), none("BTC/USD\u{301}")),
        (json!({ "symbols": everything }), of("BTC/\u{200b}USD"), none("BTC/\u{200b}USD")),
        (json!({ "symbols": everything }), of("BTC%2FUSD"), none("BTC%2FUSD")),
        (json!({ "symbols": everything }), of("BTC-USD"), none("BTC-USD")),
        // A symbol that there is not is told to be none, granted or not: whoever guesses learns nothing of grants.
        (json!({ "symbols": ["ETH/*"] }), of("btc/usd"), none("btc/usd")),
        (json!({ "channels": ["ticker"] }), of("BTC/USD"), "ok".into()),
        (json!({ "channels": ["book"] }), of("BTC/USD"), denied("channel ticker")),
        (json!({ "channels": [] }), json!({ "channel": "instrument" }), denied("channel instrument")),
        (json!({ "symbols": [] }), json!({ "channel": "instrument" }), "ok".into()),
        (json!({ "depth_max": 25 }), book.clone(), "ok".into()),
        (json!({ "depth_max": 24 }), book.clone(), denied("depth above 24")),
        (json!({ "depth_max": 0 }), book, denied("depth above 0")),
        (
            json!({ "tier": "strict" }),
            json!({ "channel": "trade", "symbol": ["BTC/USD"], "policy": "disconnect" }),
            "Policy not supported, choose drop_oldest".into(),
        ),
    ];
    for (way, (grant, params, expected)) in
        ways.iter().flat_map(|way| cases.iter().map(move |case| (*way, case)))
    {
        let token = token(grant.clone());
        let mut asker = Asker::over(Socket::connect_saying(way, "/v2", &bearer(&token)));
        let message = json!({ "method": "subscribe", "params": params }).to_string();
        let answers = asker.ask(TEXT, message.as_bytes(), 1);
        let got = answers[0]["error"].as_str().unwrap_or("ok");
        assert_eq!((answers.len(), got), (1, expected.as_str()), "{grant} {params}");
    }
}

#[test]
fn who_comes_back_is_not_given_what_it_is_no_longer_granted() {
    let files = Files::new();
    let (_scene, _tunnel, ways) = open(files.settings(settings()));
    for way in ways {
        for channel in ["trade", "book", "ticker"] {
            check_resume(way, channel);
        }
    }
}

/// A client that had a stream comes back with a grant that does not cover it, and then with one that does.
fn check_resume(way: SocketAddr, channel: &str) {
    let resume = |grant: Value, point: Value| {
        let mut asker = Asker::over(Socket::connect_saying(way, "/v2?ext=1", &bearer(&token(grant))));
        let params = json!({ "channel": channel, "symbol": ["BTC/USD"], "resume": point });
        let answers =
            asker.ask(TEXT, json!({ "method": "subscribe", "params": params }).to_string().as_bytes(), 1);
        (answers[0].clone(), asker)
    };
    let (first, asker) = resume(json!({}), json!({ "epoch": 1, "seq": 1 }));
    let point = json!({ "epoch": first["result"]["epoch"], "seq": first["result"]["seq"] });
    assert!(point["seq"].is_u64(), "{first}");
    drop(asker);
    let (denied, _) = resume(json!({ "channels": ["ohlc"] }), point.clone());
    assert_eq!(denied["error"], format!("Permission denied: channel {channel}"), "{denied}");
    let (denied, mut asker) = resume(json!({ "symbols": ["ETH/*"] }), point.clone());
    assert_eq!(denied["error"], "Permission denied: symbol", "{denied}");
    // A grant that was had before does not help later.
    let message = json!({ "method": "resume", "params": { "channel": channel, "symbol": ["BTC/USD"] } });
    assert_eq!(asker.ask(TEXT, message.to_string().as_bytes(), 1)[0]["error"], "Subscription Not Found");
    assert_eq!(resume(json!({}), point).0["success"], true);
}

#[test]
fn without_a_token_nobody_is_let_in_where_that_is_wanted() {
    let files = Files::new();
    let mut config = files.settings(settings());
    (config.auth.anonymous, config.auth.login_ms) = ("refused".into(), 0);
    let gateway = Gateway::start_ready(config.clone());
    let answer = upgrade(gateway.public, "");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, "Bearer realm=\"gateway\""));
    assert_eq!(refused(&gateway)("missing"), 1);
    let depth = "/0/public/Depth?pair=BTC/USD";
    let denied = json!({ "error": ["EGeneral:Permission denied"] });
    assert_eq!(get(gateway.public, depth).json(), denied);
    let with = |token: &str| {
        let head = format!("GET {depth} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n");
        ask(gateway.public, &format!("{head}{}\r\n", bearer(token))).json()
    };
    assert_eq!(with(&token(json!({ "symbols": ["ETH/*"] }))), denied);
    assert_eq!(with(&token(json!({ "channels": ["trade"] }))), denied);
    assert_eq!(with(&token(json!({ "exp": 1 }))), denied);
    assert_eq!(with(&token(json!({ "depth_max": 0 }))), denied);
    let rows = |shown: &Value| shown["result"]["BTC/USD"]["asks"].as_array().map(Vec::len);
    assert_eq!(rows(&with(&token(json!({ "depth_max": 3 })))), Some(3));
    // Reference data is for everybody.
    assert_eq!(get(gateway.public, "/0/public/AssetPairs").json()["error"], json!([]));

    config.auth.login_ms = 60_000;
    let gateway = Gateway::start_ready(config.clone());
    let mut asker = Asker::over(Socket::connect(gateway.public, "/v2"));
    let subscribe = json!({ "method": "subscribe", "params": { "channel": "trade", "symbol": ["BTC/USD"] } });
    let subscribe = subscribe.to_string().into_bytes();
    assert_eq!(asker.ask(TEXT, &subscribe, 1)[0]["error"], "Not authenticated, log in first");
    assert_eq!(asker.ask(TEXT, &login(&token(json!({}))), 1)[0]["success"], true);
    assert_eq!(asker.ask(TEXT, &subscribe, 1)[0]["success"], true);
    assert_eq!(gateway.samples().of("gateway_entitlement_refusals_total", "what", "login"), 1);

    config.auth.login_ms = 100;
    let gateway = Gateway::start_ready(config);
    let mut socket = Socket::connect(gateway.public, "/v2?ext=1");
    let mut last = Frame { opcode: TEXT, payload: Vec::new() };
    let close = loop {
        let frame = socket.frame();
        if frame.opcode == CLOSE {
            break frame;
        }
        last = frame;
    };
    assert_eq!(close.close(), (4401, "nobody logged in"));
    assert!(last.text().contains(r#""code":"revoked","text":"nobody logged in""#), "{}", last.text());
}

#[test]
fn a_subject_has_so_many_connections_and_requests() {
    let files = Files::new();
    let mut config = files.settings(settings());
    config.delivery.connections_per_subject = 2;
    config.delivery.requests_per_s = 5;
    let gateway = Gateway::start_ready(config);
    let headers = bearer(&token(json!({})));
    let mut askers = [(); 2].map(|()| Asker::over(Socket::connect_saying(gateway.public, "/v2", &headers)));
    let answer = upgrade(gateway.public, &headers);
    assert_eq!((answer.status, answer.body.trim_end()), (429, "too many connections of this subject"));
    let mut third = Asker::over(Socket::connect(gateway.public, "/v2"));
    third.socket.send(TEXT, &login(&token(json!({}))));
    assert_eq!(third.answer()["error"], "Authentication failed: too many connections of this subject");
    assert_eq!(third.socket.closing().0, 1008);
    // Whoever sits keeps its seat when it logs in again, and others have their own.
    assert_eq!(askers[0].ask(TEXT, &login(&token(json!({}))), 1)[0]["success"], true);
    let bob = Socket::connect_saying(gateway.public, "/v2", &bearer(&token(json!({ "sub": "bob" }))));
    drop(bob);
    // Five at once over both connections, and some more while time passes.
    for number in 0..40 {
        askers[number % 2].socket.send_text(r#"{"method":"ping","req_id":3}"#);
    }
    let mut errors = 0;
    for asker in &mut askers {
        for _ in 0..20 {
            let answer = asker.answer();
            errors += u64::from(answer["error"] == "Exceeded msg rate");
            assert!(answer["method"] == "pong" || answer["method"] == "ping", "{answer}");
        }
    }
    assert!(errors >= 10, "{errors}");
    let samples = gateway.samples();
    assert!(samples.of("gateway_limit_refusals_total", "limit", "requests_per_subject") >= errors);
    assert_eq!(samples.of("gateway_limit_refusals_total", "limit", "connections_per_subject"), 2);
    let [first, _] = askers;
    drop(first);
    support::wait_for("the seat to be free", || {
        let stream = std::panic::catch_unwind(|| Socket::connect_saying(gateway.public, "/v2", &headers));
        stream.ok()
    });
}

#[test]
fn an_api_key_is_let_in_with_what_its_entry_says() {
    let files = Files::new();
    // SHA-256 of `mdk_robot`.
    let hash: String = {
        let digest = ring::digest::digest(&ring::digest::SHA256, b"mdk_robot");
        digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
    };
    let entry = format!("[[key]]\nsubject = \"robot\"\nsha256 = \"{hash}\"\nchannels = [\"trade\"]\n");
    files.put("api-keys.toml", &entry);
    files.put("keys.json", &json!(key("main", SECRET)).to_string());
    let gateway = Gateway::start_ready(files.settings(settings()));
    let mut asker = Asker::over(Socket::connect(gateway.public, "/v2"));
    let answers = asker.ask(TEXT, &login("mdk_robot"), 1);
    assert_eq!(answers[0]["result"], json!({ "subject": "robot", "tier": "default" }));
    let subscribe = |channel: &str| {
        let params = json!({ "channel": channel, "symbol": ["BTC/USD"] });
        json!({ "method": "subscribe", "params": params }).to_string().into_bytes()
    };
    assert_eq!(asker.ask(TEXT, &subscribe("book"), 1)[0]["error"], "Permission denied: channel book");
    assert_eq!(asker.ask(TEXT, &subscribe("trade"), 1)[0]["success"], true);
    for wrong in [hash.as_str(), "mdk_robo", "mdk_robot2"] {
        assert_eq!(upgrade(gateway.public, &bearer(wrong)).status, 401, "{wrong}");
    }
    let samples = gateway.samples();
    assert_eq!(samples.of("gateway_auth_accepted_total", "kind", "api_key"), 1);
    assert_eq!(samples.of("gateway_auth_entries", "kind", "api_key"), 1);
}
