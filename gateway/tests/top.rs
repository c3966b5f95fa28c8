//! `gateway top` and `gateway tail` as programs, against a gateway that runs.

mod support;

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use support::gateway::{Gateway, settings};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gateway"));
    command.args(arguments).env_clear();
    command
}

/// Exit code, standard output, standard error.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let output = command(arguments).output().expect("the program is built");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

/// An address where nobody listens: bound, then given back.
fn nowhere() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    listener.local_addr().expect("it has an address")
}

#[test]
fn top_shows_everything_once() {
    let gateway = Gateway::start_ready(settings());
    let mut client = gateway.ext_client();
    client.follow(&["BTC/USD", "ETH/USD"], 10);
    let admin = gateway.admin.to_string();
    let (code, out, err) = run(&["top", "--once", "--interval", "700ms", "--admin", &admin]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    for part in [
        "state               ready",
        "clients             1 of ",
        "0 of 4 instruments stale",
        "end to end",
        "of a core",
        "live",
    ] {
        assert!(out.contains(part), "{part}: {out}");
    }
    // The feed is never silent for so long, and somebody takes what it says.
    let delivered = out.lines().find_map(|line| line.strip_prefix("delivered ")).expect("a rate");
    let rate: f64 = delivered.trim().split("/s").next().expect("a number").parse().expect("a number");
    assert!(rate > 0.0, "{out}");
    assert!(out.contains(&client.local_address().to_string()), "its address: {out}");
}

#[test]
fn top_prints_lines_where_there_is_no_terminal() {
    let gateway = Gateway::start_ready(settings());
    let admin = gateway.admin.to_string();
    let mut child = command(&["top", "--interval", "100ms", "--admin", &admin])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is built");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let lines: Vec<String> = lines.take(3).collect::<Result<_, _>>().expect("three lines");
    child.kill().and_then(|()| child.wait()).expect("it runs until it is ended");
    assert!(lines[0].starts_with("clients lagging"), "{lines:?}");
    assert!(lines[1..].iter().all(|line| line.split_whitespace().count() == 10), "{lines:?}");
}

#[test]
fn tail_prints_each_channel_readably() {
    let mut config = settings();
    config.feed.sim.rate = 2_000.0;
    let gateway = Gateway::start_ready(config);
    let url = format!("ws://{}/v2", gateway.public);
    let tail = |arguments: &[&str]| {
        let (code, out, err) =
            run(&[&["tail", "BTC/USD", "--url", &url, "--count", "5"], arguments].concat());
        assert_eq!((code, err.as_str()), (0, ""), "{arguments:?}: {out}");
        out
    };
    let books = tail(&[]);
    assert!(books.contains("venue is online") && books.contains("snapshot of 10 + 10 levels"), "{books}");
    assert_eq!(books.matches("  spread ").count(), 5, "{books}");
    let ladder = tail(&["--levels", "3"]);
    // Each of the five with three levels below it.
    assert_eq!(ladder.matches("  spread ").count(), 5, "{ladder}");
    assert_eq!(ladder.matches(" | ").count(), 5 * 4, "{ladder}");
    let trades = tail(&["--channel", "trade"]);
    assert!(trades.contains(" buy ") || trades.contains(" sell"), "{trades}");
    assert!(tail(&["--channel", "ticker"]).contains("  last "));
    assert!(tail(&["--channel", "ohlc"]).contains(" 1 min  open "));
    let raw = tail(&["--json"]);
    let channels = raw.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).expect("JSON"));
    assert_eq!(channels.filter(|message| message["channel"] == "book").count(), 5, "{raw}");
}

#[test]
fn what_cannot_be_shown_is_told() {
    let gateway = Gateway::start_ready(settings());
    let failed = |arguments: &[&str], reason: &str| {
        let (code, _, err) = run(arguments);
        assert!(
            code == 1 && err.starts_with("error: ") && err.contains(reason),
            "{arguments:?}: {code} {err}"
        );
    };
    let url = format!("ws://{}/v2", gateway.public);
    failed(&["tail", "NO/SUCH", "--url", &url], "Currency pair not supported NO/SUCH");
    failed(&["tail", "BTC/USD", "--url", &url, "--depth", "11"], "depth not supported");
    failed(
        &["tail", "BTC/USD", "--url", &format!("ws://{}/metrics", gateway.public)],
        "instead of upgrading",
    );
    failed(&["tail", "BTC/USD", "--url", "wss://127.0.0.1/v2"], "expected ws://HOST:PORT/v2");
    let nobody = nowhere().to_string();
    failed(&["tail", "BTC/USD", "--url", &format!("ws://{nobody}/v2")], &nobody);
    failed(&["top", "--once", "--admin", &nobody], "no gateway answers at");
    // The public listener is no admin listener.
    failed(&["top", "--once", "--admin", &gateway.public.to_string()], "answers");
    assert_eq!(run(&["tail"]).0, 2, "a symbol is needed");
}
