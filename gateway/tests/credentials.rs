//! The command with keys: mint-token and check-token, settings that cannot be used, SIGHUP, and that no credential is ever logged.

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::client::Client;
use support::http::{Samples, ask, get};
use support::running::{PORTS, Running};
use support::socket::Socket;
use support::token::bearer;
use support::wait_for;

fn gateway(arguments: &[&str], folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GATEWAY_")) {
        command.env_remove(name);
    }
    command.args(arguments).current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs to the end with a text on standard input; exit code, standard output, standard error.
fn run(command: &mut Command, input: &str) -> (i32, String, String) {
    let mut child = command.spawn().expect("the command starts");
    // Who does not read it may have ended.
    let _ = child.stdin.take().expect("piped").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("the command ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().expect("no signal"), text(output.stdout), text(output.stderr))
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn what_is_minted_is_accepted_by_whoever_has_the_key() {
    for algorithm in ["HS256", "HS384", "HS512", "EdDSA", "ES256"] {
        let folder = folder();
        let mint =
            ["mint-token", "--key", "dev.jwk", "--create", algorithm, "--subject", "alice", "--id", "t-1"];
        let (code, token, err) = run(&mut gateway(&mint, folder.path()), "");
        assert_eq!((code, err.as_str()), (0, format!("made dev.jwk with a key for {algorithm}\n").as_str()));
        let mode = fs::metadata(folder.path().join("dev.jwk")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "a key is nobody else's");
        let mut check = gateway(&["check-token"], folder.path());
        let (code, out, err) = run(check.env("GATEWAY_AUTH_KEYS", "dev.jwk"), &token);
        assert_eq!(code, 0, "{err}");
        assert!(out.starts_with("accepted: alice in tier default, for another 360"), "{out}");
        assert!(err.contains("\"jti\": \"t-1\"") && err.contains(algorithm), "{err}");
        assert!(!err.contains(token.trim()), "what is shown is no token");
        // The same key is taken again, not made anew.
        let (code, again, err) = run(&mut gateway(&mint, folder.path()), "");
        assert_eq!((code, err.as_str()), (0, ""));
        fs::write(folder.path().join("token"), again).unwrap();
        let mut check = gateway(&["check-token", "token"], folder.path());
        assert_eq!(run(check.env("GATEWAY_AUTH_KEYS", "dev.jwk"), "").0, 0);
    }
}

#[test]
fn check_token_says_why_it_would_be_refused() {
    let folder = folder();
    let mint = |more: &[&str]| {
        let arguments =
            [&["mint-token", "--key", "dev.jwk", "--create", "EdDSA", "--subject", "bob"], more].concat();
        let (code, token, err) = run(&mut gateway(&arguments, folder.path()), "");
        assert_eq!(code, 0, "{err}");
        token
    };
    fs::write(folder.path().join("revoked"), "token t-9\n").unwrap();
    let settings = "[auth]\nkeys = [\"dev.jwk\"]\nrevocations = \"revoked\"\naudience = \"here\"\nleeway_s = 0\n\
        [tiers.gold]\nconnections_per_subject = 1\n";
    fs::write(folder.path().join("gateway.toml"), settings).unwrap();
    let check = |token: &str| {
        let arguments = ["check-token", "--config", "gateway.toml"];
        let (code, out, err) = run(&mut gateway(&arguments, folder.path()), token);
        (code, out, err.lines().last().unwrap_or_default().to_owned())
    };
    let here: &[&str] = &["--audience", "here"];
    let cases: [(String, &str); 8] = [
        (mint(&[here, &["--expires-in", "0s"]].concat()), "error: refused: token expired"),
        (mint(&[here, &["--not-before-in", "5m"]].concat()), "error: refused: token not valid yet"),
        (mint(&["--audience", "there"]), "error: refused: token for another audience"),
        (mint(&[]), "error: refused: token for another audience"),
        (mint(&[here, &["--id", "t-9"]].concat()), "error: refused: token revoked"),
        (mint(&[here, &["--tier", "lead"]].concat()), "error: refused: tier not known"),
        ("mdk_nobody".into(), "error: refused: key not known"),
        ("x".repeat(5_000), "error: refused: token above 4096 bytes"),
    ];
    for (token, expected) in &cases {
        let (code, out, err) = check(token);
        assert_eq!((code, out.as_str(), err.as_str()), (1, "", *expected), "{token:.40}");
    }
    let (code, out, _) = check(&mint(&[here, &["--tier", "gold"]].concat()));
    assert_eq!((code, out.starts_with("accepted: bob in tier gold, for another ")), (0, true), "{out}");
    // Issuer and audience are those of the settings when nothing else is said.
    let arguments = ["mint-token", "--config", "gateway.toml", "--key", "dev.jwk", "--subject", "bob"];
    let (_, token, _) = run(&mut gateway(&arguments, folder.path()), "");
    assert_eq!(check(&token).0, 0);
}

#[test]
fn an_api_key_comes_with_the_entry_of_its_file() {
    let folder = folder();
    let arguments =
        ["mint-token", "--api-key", "--subject", "robot", "--channels", "book,trade", "--depth-max", "25"];
    let (code, key, entry) = run(&mut gateway(&arguments, folder.path()), "");
    assert_eq!(code, 0);
    assert!(key.starts_with("mdk_") && !entry.contains(key.trim()), "{entry}");
    assert!(entry.starts_with("[[key]]\nsubject = \"robot\"\nsha256 = \""), "{entry}");
    fs::write(folder.path().join("keys.toml"), &entry).unwrap();
    let check = |key: &str| {
        let mut command = gateway(&["check-token"], folder.path());
        run(command.env("GATEWAY_AUTH_API_KEYS", "keys.toml"), key)
    };
    assert_eq!(check(&key), (0, "accepted: robot in tier default\n".into(), String::new()));
    assert_eq!(check("mdk_other"), (1, String::new(), "error: refused: key not known\n".into()));
    let (_, other, _) = run(&mut gateway(&arguments, folder.path()), "");
    assert_ne!(key, other);
}

#[test]
fn mint_token_says_what_is_missing_or_wrong() {
    let folder = folder();
    fs::write(
        folder.path().join("public.jwk"),
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
    )
    .unwrap();
    let cases: [(&[&str], i32, &str); 6] = [
        (&["--subject", "a"], 2, "--key"),
        (&["--key", "dev.jwk"], 2, "--subject"),
        (&["--subject", "a", "--key", "none.jwk"], 1, "none.jwk: No such file"),
        (
            &["--subject", "a", "--key", "public.jwk"],
            1,
            "public.jwk: the key has no private part, it cannot sign",
        ),
        (
            &["--subject", "a", "--key", "dev.jwk", "--create", "RS256"],
            2,
            "HS256, HS384, HS512, EdDSA, ES256",
        ),
        (
            &["--subject", "a", "--api-key", "--symbols", "btc/usd"],
            1,
            "`btc/usd` is none of *, BTC/*, */USD, BTC/USD",
        ),
    ];
    for (arguments, expected, words) in cases {
        let (code, out, err) = run(&mut gateway(&[&["mint-token"], arguments].concat(), folder.path()), "");
        assert_eq!((code, out.as_str()), (expected, ""), "{arguments:?}: {err}");
        assert!(err.contains(words), "{err}");
    }
    for command in ["mint-token", "check-token"] {
        let (code, help, _) = run(&mut gateway(&[command, "--help"], folder.path()), "");
        assert!(code == 0 && help.len() > 500, "{help}");
    }
}

#[test]
fn files_and_settings_that_cannot_be_used_exit_with_78() {
    let folder = folder();
    fs::write(folder.path().join("short"), r#"{"kty":"oct","alg":"HS256","kid":"s","k":"c2hvcnQ"}"#).unwrap();
    fs::write(folder.path().join("rsa"), r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#).unwrap();
    fs::write(folder.path().join("keys.toml"), "[[key]]\nsubject = \"a\"\nsha256 = \"1\"\n").unwrap();
    fs::write(folder.path().join("revoked"), "bob\n").unwrap();
    let cases = [
        ("[auth]\nkeys = [\"none\"]\n", "auth.keys: none: No such file"),
        (
            "[auth]\nkeys = [\"short\"]\n",
            "auth.keys: short: key s: the secret is shorter than the hash of its algorithm",
        ),
        (
            "[auth]\nkeys = [\"rsa\"]\n",
            "auth.keys: rsa: no key of HS256, HS384, HS512, EdDSA (Ed25519) or ES256 (P-256)",
        ),
        (
            "[auth]\napi_keys = \"keys.toml\"\n",
            "auth.api_keys: keys.toml: a: sha256 must have 64 hexadecimal digits",
        ),
        (
            "[auth]\nrevocations = \"revoked\"\n",
            "auth.revocations: revoked: line 1: expected `subject NAME` or `token ID`",
        ),
        ("[auth]\ntier = \"gold\"\n", "auth.tier = gold: there is no such tier"),
        (
            "[auth]\nanonymous = \"nobody\"\n",
            "auth.anonymous = nobody: there is no such tier; name one, or `refused`",
        ),
        ("[auth]\nanonymous = \"refused\"\n", "auth.anonymous = refused lets in nobody"),
        ("[tiers.refused]\n", "tiers.refused: that means no tier in auth.anonymous"),
        ("[delivery]\nsymbols = [\"btc/usd\"]\n", "delivery: `btc/usd` is none of *, BTC/*, */USD, BTC/USD"),
        (
            "[tiers.a]\nchannels = [\"books\"]\n",
            "tiers.a: `books` is none of book, ticker, trade, ohlc, instrument",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:9464\"\n",
            "admin.listen is reachable from elsewhere: set admin.token_file",
        ),
        (
            "[admin]\nlisten = \"[::]:9464\"\n",
            "admin.listen is reachable from elsewhere: set admin.token_file",
        ),
        (
            "[admin]\nlisten = \"0.0.0.0:0\"\ntoken_file = \"revoked\"\n",
            "admin.token_file: revoked: expected a token of at least 16",
        ),
    ];
    for (settings, words) in cases {
        fs::write(folder.path().join("gateway.toml"), settings).unwrap();
        for arguments in [
            &["check-config", "--config", "gateway.toml"][..],
            &["--config", "gateway.toml", "--listen", "127.0.0.1:0"],
        ] {
            let (code, out, err) = run(&mut gateway(arguments, folder.path()), "");
            assert_eq!((code, out.as_str()), (78, ""), "{settings}: {err}");
            assert!(err.starts_with("error: ") && err.contains(words), "{words}: {err}");
        }
    }
}

/// A gateway with these settings.
fn start(folder: &Path, settings: &str, arguments: &[&str]) -> Running {
    fs::write(folder.join("gateway.toml"), settings).expect("room for it");
    let ours = [&PORTS[..], &["--config", "gateway.toml"], arguments].concat();
    Running::over(gateway(&ours, folder))
}

fn sample(running: &Running, name: &str, label: &str, value: &str) -> u64 {
    Samples::parse(&get(running.admin, "/metrics").body).of(name, label, value)
}

/// Ends it; everything that it said and logged.
fn end(mut running: Running) -> String {
    running.signal("TERM");
    let (said, logs) = running.said();
    running.wait();
    said + &logs
}

#[test]
fn sighup_reads_keys_again_and_ends_nothing() {
    let folder = folder();
    let mint = |key: &str, subject: &str| {
        let arguments = ["mint-token", "--key", key, "--create", "ES256", "--kid", key, "--subject", subject];
        run(&mut gateway(&arguments, folder.path()), "").1.trim().to_owned()
    };
    let (first, second) = (mint("one", "alice"), mint("two", "bob"));
    fs::copy(folder.path().join("one"), folder.path().join("keys.json")).unwrap();
    // Files are looked at so seldom that only the signal can be the cause.
    let settings = "[auth]\nkeys = [\"keys.json\"]\nreload_ms = 3600000\n";
    let running = start(folder.path(), settings, &[]);
    let connect =
        |token: &str| Client::over(Socket::connect_saying(running.public, "/v2?ext=1", &bearer(token)));
    let mut alice = connect(&first);
    alice.wait("the status", |view| view.connection > 0);
    let read = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
    let both = format!("{{\"keys\":[{},{}]}}", read("one"), read("two"));
    fs::write(folder.path().join("keys.json"), both).unwrap();
    running.signal("HUP");
    wait_for("both keys", || (sample(&running, "gateway_auth_entries", "kind", "key") == 2).then_some(()));
    let mut bob = connect(&second);
    bob.wait("the status", |view| view.connection > 0);
    fs::copy(folder.path().join("two"), folder.path().join("keys.json")).unwrap();
    running.signal("HUP");
    assert_eq!(alice.wait_closed(), 4403);
    bob.drain();
    assert_eq!(bob.closed, None);
    let said = end(running);
    assert!(said.contains("keys and revocations read again"), "{said}");
}

#[test]
fn no_credential_reaches_a_log_even_when_everything_is_logged() {
    let folder = folder();
    let arguments = ["mint-token", "--key", "key", "--create", "HS256", "--subject", "alice"];
    let (_, token, _) = run(&mut gateway(&arguments, folder.path()), "");
    let arguments = ["mint-token", "--api-key", "--subject", "robot"];
    let (_, api_key, entry) = run(&mut gateway(&arguments, folder.path()), "");
    let (token, api_key) = (token.trim(), api_key.trim());
    fs::write(folder.path().join("keys.toml"), entry).unwrap();
    fs::write(folder.path().join("admin"), "the-token-of-operators\n").unwrap();
    let settings = "[auth]\nkeys = [\"key\"]\napi_keys = \"keys.toml\"\n[admin]\ntoken_file = \"admin\"\n";
    let running = start(folder.path(), settings, &["--log-level", "trace"]);
    let at = token.len() - 10;
    let other = if token.as_bytes()[at] == b'x' { "y" } else { "x" };
    let bad = format!("{}{other}{}", &token[..at], &token[at + 1..]);
    for presented in [token, api_key, bad.as_str(), "mdk_wrong"] {
        let request = format!(
            "GET /v2?token={presented} HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: close, Upgrade\r\n\
             Sec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n{}\r\n",
            bearer(presented)
        );
        assert_eq!(ask(running.public, &request).status, 400, "a bad key");
        ask(
            running.public,
            &request.replace("Key: short", "Key: dGhlIHNhbXBsZSBub25jZQ==").replace("websocket", "else"),
        );
        let mut socket = Socket::connect(running.public, &format!("/v2?access_token={presented}"));
        let login: Value = json!({ "method": "login", "params": { "token": presented }, "req_id": 1 });
        socket.send_text(&login.to_string());
        let answer =
            wait_for("the answer", || Some(socket.frame()).filter(|frame| frame.text().contains("login")));
        assert!(!answer.text().contains(presented), "{}", answer.text());
        get(running.public, &format!("/0/public/Depth?pair=BTC/USD&token={presented}"));
        ask(
            running.admin,
            &format!(
                "GET /clients?token={presented} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{}\r\n",
                bearer("the-token-of-operators")
            ),
        );
    }
    let said = end(running);
    assert!(said.contains("a client was refused") && said.contains("reason=\"signature\""), "{said:.2000}");
    let secret = fs::read_to_string(folder.path().join("key")).unwrap();
    let secret = serde_json::from_str::<Value>(&secret).unwrap()["k"].as_str().unwrap().to_owned();
    let (head, signature) = token.rsplit_once('.').unwrap();
    for text in [token, head, signature, api_key, &bad, "mdk_wrong", &secret, "the-token-of-operators"] {
        assert!(!said.contains(text), "{text:.20} is in the logs");
    }
}

#[test]
fn the_admin_listener_wants_its_token_where_it_has_one() {
    let folder = folder();
    fs::write(folder.path().join("admin"), "the-token-of-operators\n").unwrap();
    let settings = "[admin]\ntoken_file = \"admin\"\n";
    let running = start(folder.path(), settings, &[]);
    let status = |method: &str, path: &str, headers: &str| {
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\nContent-Length: 0\r\n"
        );
        ask(running.admin, &format!("{head}{headers}\r\n")).status
    };
    let right = bearer("the-token-of-operators");
    for wrong in [
        "",
        "Authorization: Bearer \r\n",
        "Authorization: Basic the-token-of-operators\r\n",
        "Authorization: Bearer the-token-of-operator\r\n",
    ] {
        for path in ["/metrics", "/clients", "/clients/1", "/streams", "/nothing"] {
            assert_eq!(status("GET", path, wrong), 401, "{path} {wrong}");
        }
        for path in ["/clients/1/kick", "/revoke?subject=alice"] {
            assert_eq!(status("POST", path, wrong), 401, "{path} {wrong}");
        }
        assert_eq!(status("GET", "/livez", wrong), 200);
        assert!([200, 503].contains(&status("GET", "/readyz", wrong)));
    }
    assert_eq!(status("GET", "/metrics", &right), 200);
    assert_eq!(status("POST", "/revoke?subject=alice", &right), 200);
    // A web page of the same machine can send an order, but not without saying where it is from.
    assert_eq!(
        status("POST", "/revoke?subject=alice", &format!("{right}Origin: http://evil.example\r\n")),
        403
    );
    assert_eq!(status("POST", "/revoke?subject=alice", &format!("{right}Origin: null\r\n")), 403);
    drop(running);
}
