//! What becomes of connections that were let in when their grant expires, shrinks or is taken back, or when keys change, while others go
//! on undisturbed.

mod support;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::client::Client;
use support::gateway::{Gateway, settings};
use support::http::{Answer, ask};
use support::scene::Scene;
use support::socket::Socket;
use support::token::{Files, SECRET, bearer, key, now_s, signed, token};
use support::tunnel::{Credentials, Tunnel};
use support::view::View;
use support::wait_for;

/// From the moment on that it is known until nothing more comes.
const STOPPED_WITHIN: Duration = Duration::from_secs(1);

fn post(gateway: &Gateway, path: &str) -> Answer {
    let request =
        format!("POST {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
    ask(gateway.admin, &request)
}

/// A client that presented a token, and takes trades, books and tickers of some symbols.
fn follower(gateway: &Gateway, path: &str, token: &str, symbols: &[&str]) -> Client {
    follower_at(gateway.public, path, token, symbols)
}

fn follower_at(address: SocketAddr, path: &str, token: &str, symbols: &[&str]) -> Client {
    let mut client = Client::over(Socket::connect_saying(address, path, &bearer(token)));
    client.follow(symbols, 10);
    let updates = client.view.updates;
    client.wait("the market", |view| view.updates > updates);
    client
}

/// The notices `revoked` that a client got.
fn revoked(client: &Client) -> Vec<&Value> {
    client.view.notices.iter().filter(|notice| notice["code"] == "revoked").collect()
}

/// Waits for the end of a client that opted in; when it came, the code, and what the notice about the whole grant said.
fn end(client: &mut Client) -> (Instant, u16, String) {
    let code = client.wait_closed();
    let at = Instant::now();
    let told = revoked(client);
    assert_eq!(told.len(), 1, "{told:?}");
    (at, code, told[0]["text"].as_str().expect("it is about the whole grant").to_owned())
}

/// A gateway under watch that is given files, with a way through TLS.
fn open(files: &Files) -> (Scene, Tunnel) {
    let credentials = Credentials::make();
    let mut config = files.settings(settings());
    credentials.put_into(&mut config);
    let scene = Scene::start(config);
    let tunnel = Tunnel::to(&scene.gateway, &credentials);
    (scene, tunnel)
}

#[test]
fn whoever_is_revoked_by_an_operator_gets_nothing_more_within_a_second() {
    let files = Files::new();
    let (mut scene, tunnel) = open(&files);
    let all = ["BTC/USD", "ETH/USD"];
    let gateway = &scene.gateway;
    let mut secure = follower_at(tunnel.address, "/v2?ext=1", &token(json!({ "jti": "t-1" })), &all);
    let mut secure_plain = follower_at(tunnel.address, "/v2", &token(json!({ "jti": "t-1" })), &all);
    let mut one = follower(gateway, "/v2?ext=1", &token(json!({ "jti": "t-1" })), &all);
    let mut same = follower(gateway, "/v2?ext=1", &token(json!({ "jti": "t-2" })), &all);
    let mut plain = follower(gateway, "/v2", &token(json!({ "sub": "m\u{e9}lanie" })), &all);
    let mut bob = follower(gateway, "/v2?ext=1", &token(json!({ "sub": "bob" })), &all);

    let answer = post(gateway, "/revoke?token=t-1");
    let known = Instant::now();
    assert_eq!((answer.status, answer.json()), (200, json!({ "token": "t-1", "revocations": 1 })));
    let (at, code, text) = end(&mut one);
    assert_eq!((code, text.as_str()), (4403, "grant revoked"));
    assert!(at - known < STOPPED_WITHIN, "{:?}", at - known);
    let (at, code, text) = end(&mut secure);
    assert_eq!((code, text.as_str()), (4403, "grant revoked"), "over TLS");
    assert!(at - known < STOPPED_WITHIN, "over TLS after {:?}", at - known);
    assert_eq!(secure_plain.wait_closed(), 4403);

    // The other token of the same subject was not meant; the subject is.
    let updates = same.view.updates;
    same.wait("the market to go on", |view| view.updates > updates + 20);
    assert_eq!(post(gateway, "/revoke?subject=alice").json()["revocations"], 2);
    let known = Instant::now();
    let (at, code, _) = end(&mut same);
    assert!(code == 4403 && at - known < STOPPED_WITHIN, "{code} {:?}", at - known);

    assert_eq!(post(gateway, "/revoke?subject=m%C3%A9lanie").status, 200);
    assert_eq!(plain.wait_closed(), 4403, "who cannot be told is closed");
    assert!(revoked(&plain).is_empty());

    for path in ["/revoke", "/revoke?subject=", "/revoke?subject=a&token=b"] {
        assert_eq!(post(gateway, path).status, 400, "{path}");
    }
    let again = bearer(&token(json!({})));
    let upgrade = format!(
        "GET /v2 HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{again}\r\n"
    );
    let answer = ask(gateway.public, &upgrade);
    assert_eq!((answer.status, answer.body.trim_end()), (401, "token revoked"));

    let updates = bob.view.updates;
    bob.wait("the market to go on", |view| view.updates > updates + 20);
    assert_eq!((bob.closed, revoked(&bob).len(), bob.view.missing_trades()), (None, 0, 0));
    gateway.samples().check_conserved();
    scene.check_canary();
}

#[test]
fn files_that_change_are_read_again_and_reach_whoever_is_connected() {
    let files = Files::new();
    let mut scene = Scene::start(files.settings(settings()));
    let gateway = &scene.gateway;
    let reloads = |result: &str| gateway.samples().of("gateway_auth_reloads_total", "result", result);
    let mut one = follower(gateway, "/v2?ext=1", &token(json!({ "jti": "t-1" })), &["BTC/USD"]);
    let mut two = follower(gateway, "/v2?ext=1", &token(json!({ "sub": "bob" })), &["BTC/USD"]);

    files.put("revocations", "# a lost laptop\ntoken t-1\n");
    let known = Instant::now();
    let (at, code, _) = end(&mut one);
    assert_eq!(code, 4403);
    assert!(at - known < STOPPED_WITHIN, "{:?}", at - known);
    assert_eq!((reloads("ok"), reloads("failed")), (1, 0));

    // A file that cannot be used changes nothing.
    files.put("keys.json", "{\"keys\":[");
    wait_for("the failure", || (reloads("failed") == 1).then_some(()));
    let unusable = || gateway.samples().of("gateway_files_unusable", "files", "keys");
    assert_eq!(unusable(), 1);
    let updates = two.view.updates;
    two.wait("the market to go on", |view| view.updates > updates + 20);

    // A second key comes, the first one goes, and with it whoever it vouched for.
    const SECOND: &[u8] = b"another secret of thirty-two byte";
    files.put("keys.json", &json!({ "keys": [key("main", SECRET), key("next", SECOND)] }).to_string());
    wait_for("the second key", || {
        (gateway.samples().of("gateway_auth_entries", "kind", "key") == 2).then_some(())
    });
    assert_eq!(unusable(), 0);
    let claims = json!({ "sub": "carol", "exp": now_s() + 600, "iss": "desk", "aud": "gateway" }).to_string();
    let next = signed(r#"{"alg":"HS256","kid":"next"}"#, &claims, SECOND);
    let mut carol = follower(gateway, "/v2?ext=1", &next, &["BTC/USD"]);
    assert!(two.closed.is_none());
    files.put("keys.json", &json!({ "keys": [key("next", SECOND)] }).to_string());
    assert_eq!(end(&mut two).1, 4403);
    let updates = carol.view.updates;
    carol.wait("the market to go on", |view| view.updates > updates + 20);
    assert_eq!((carol.closed, revoked(&carol).len()), (None, 0));
    scene.check_canary();
}

#[test]
fn an_api_key_that_is_given_less_loses_at_once_what_it_may_not_have() {
    let files = Files::new();
    let entry = |more: &str| {
        let digest = ring::digest::digest(&ring::digest::SHA256, b"mdk_robot");
        let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[[key]]\nsubject = \"robot\"\nsha256 = \"{hash}\"\n{more}")
    };
    files.put("api-keys.toml", &entry(""));
    let (scene, tunnel) = open(&files);
    let gateway = &scene.gateway;
    let mut robot = follower_at(tunnel.address, "/v2?ext=1", "mdk_robot", &["BTC/USD", "ETH/USD"]);
    let mut plain = follower(gateway, "/v2", "mdk_robot", &["ETH/USD"]);
    files.put("api-keys.toml", &entry("symbols = [\"BTC/*\"]\n"));
    // The view fails at the first message of a subscription that has ended.
    robot.wait("three subscriptions to end", |view| {
        view.notices
            .iter()
            .filter(|notice| notice["code"] == "revoked" && notice["symbol"] == "ETH/USD")
            .count()
            == 3
    });
    let updates = robot.view.updates;
    robot.wait("the others to go on", |view| view.updates > updates + 50);
    assert_eq!((robot.closed, robot.view.subscribed.len()), (None, 4), "{:?}", robot.view.subscribed.keys());
    assert_eq!(plain.wait_closed(), 4403);
    let samples = gateway.samples();
    assert!(samples.one("gateway_subscriptions_revoked_total") >= 6);
    samples.check_conserved();
    // It is given more again, and may ask for it.
    files.put("api-keys.toml", &entry(""));
    wait_for("the grant to grow", || {
        let answers = robot.view.answers.len();
        let params = json!({ "channel": "ticker", "symbol": ["ETH/USD"] });
        robot.send(&json!({ "method": "subscribe", "params": params }));
        robot.wait("an answer", |view| view.answers.len() > answers);
        (robot.view.answers[answers]["success"] == true).then_some(())
    });
    files.put("api-keys.toml", "");
    assert_eq!(robot.wait_closed(), 4403);
}

#[test]
fn a_token_that_expires_ends_its_connection_unless_a_new_one_came() {
    let files = Files::new();
    let (mut scene, tunnel) = open(&files);
    // Whole seconds, and time enough to subscribe on a loaded machine.
    let expires = now_s() + 4;
    let short = token(json!({ "exp": expires }));
    let mut one = follower(&scene.gateway, "/v2?ext=1", &short, &["BTC/USD"]);
    let mut plain = follower(&scene.gateway, "/v2", &short, &["BTC/USD"]);
    let mut secure = follower_at(tunnel.address, "/v2?ext=1", &short, &["BTC/USD"]);
    let mut renewed = follower(&scene.gateway, "/v2?ext=1", &short, &["BTC/USD", "ETH/USD"]);
    let less = token(json!({ "exp": expires + 600, "symbols": ["BTC/USD"] }));
    renewed.send(&json!({ "method": "login", "params": { "token": less } }));
    renewed.wait("what it lost", |view| {
        view.notices.iter().filter(|notice| notice["code"] == "revoked").count() == 3
    });
    assert!(now_s() < expires, "this machine is too slow for this test");
    let (_, code, text) = end(&mut one);
    let late = now_s() - expires;
    assert_eq!((code, text.as_str()), (4410, "token expired"));
    assert!(late <= 1, "{late} s late");
    let (_, code, text) = end(&mut secure);
    let late = now_s() - expires;
    assert_eq!((code, text.as_str(), late <= 1), (4410, "token expired", true), "over TLS: {late} s late");
    assert_eq!(plain.wait_closed(), 4410);
    let updates = renewed.view.updates;
    renewed.wait("the market to go on", |view| view.updates > updates + 50);
    assert_eq!((renewed.closed, renewed.view.missing_trades()), (None, 0));
    scene.gateway.samples().check_conserved();
    scene.check_canary();
}

#[test]
fn a_tier_that_an_operator_gives_takes_what_it_does_not_cover() {
    let files = Files::new();
    let mut config = files.settings(settings());
    config.tiers.insert("trial".into(), config.delivery.clone());
    config.tiers.get_mut("trial").unwrap().channels = vec!["trade".into(), "instrument".into()];
    let gateway = Gateway::start_ready(config);
    let mut client = follower(&gateway, "/v2?ext=1", &token(json!({})), &["BTC/USD"]);
    assert_eq!(post(&gateway, &format!("/clients/{}/tier?name=trial", client.view.connection)).status, 200);
    client.wait("book and ticker to end", |view| {
        view.notices.iter().filter(|notice| notice["code"] == "revoked").count() == 2
    });
    let trades = |view: &View| view.trades.get("BTC/USD").map_or(0, Vec::len);
    let before = trades(&client.view);
    client.wait("trades to go on", |view| trades(view) > before);
    assert_eq!(client.closed, None);
}
