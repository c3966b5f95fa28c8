//! The whole program against the mock server: clean servers pass, every planted bug is named.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may end the test; the lint only knows test functions"
)]

mod mock;

use mock::{BUG_AT, Bug, Mock};
use serde_json::Value;
use std::process::{Command, Output};

fn loadtest(arguments: &str) -> Output {
    let words = arguments.split_ascii_whitespace();
    Command::new(env!("CARGO_BIN_EXE_loadtest")).arg("run").args(words).output().unwrap()
}

/// Runs against a server with this bug and returns the exit code and the report.
fn run(bug: Bug, arguments: &str) -> (i32, Value) {
    let mock = Mock::start(bug);
    let duration = if arguments.contains("--duration") { "" } else { "--duration 300ms" };
    let output = loadtest(&format!("--json {duration} --url {} {arguments}", mock.url()));
    let errors = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    assert!(errors.is_empty(), "{errors}");
    (output.status.code().unwrap(), report)
}

/// The kinds that were reported, with their counts.
fn kinds(report: &Value) -> Vec<(String, u64)> {
    let by_kind = report["violations"]["by_kind"].as_object().unwrap();
    let counted = by_kind.iter().map(|(kind, count)| (kind.clone(), count.as_u64().unwrap()));
    counted.filter(|(_, count)| *count > 0).collect()
}

fn check_clean(bug: Bug, arguments: &str) -> Value {
    let (code, report) = run(bug, arguments);
    assert_eq!((code, kinds(&report)), (0, vec![]), "{bug:?} {arguments}: {report:#}");
    assert!(report["updates"].as_u64() > Some(BUG_AT), "{bug:?} {arguments}: {report:#}");
    assert_eq!(report["clean"], true);
    report
}

/// The bug is reported as this kind and no other, exactly once.
fn check_once(bug: Bug, arguments: &str, kind: &str) -> Value {
    let (code, report) = run(bug, arguments);
    assert_eq!((code, kinds(&report)), (1, vec![(kind.to_owned(), 1)]), "{bug:?}: {report:#}");
    let first = &report["violations"]["first"][0];
    assert_eq!((&first["kind"], &first["client"]), (&kind.into(), &0.into()), "{first}");
    assert!(first["expected"].is_string() && first["got"].is_string(), "{first}");
    report
}

/// The bug is reported as this kind, among its consequences.
fn check_among(bug: Bug, arguments: &str, kind: &str) {
    let (code, report) = run(bug, arguments);
    let found = kinds(&report);
    assert!(code == 1 && found.iter().any(|(k, _)| k == kind), "{bug:?}: {report:#}");
}

#[test]
fn every_channel_of_a_good_server_is_clean() {
    for channel in ["book", "ticker", "trade", "ohlc"] {
        let report = check_clean(Bug::None, &format!("--symbols BTC/USD --channel {channel}"));
        let latency = &report["latency_us"];
        assert!(
            latency["count"].as_u64() > Some(0) && latency["p50"].as_u64() < Some(5_000_000),
            "{latency}"
        );
        assert_eq!(report["slow_frames"], 0, "{channel}: the fast reader must know this shape");
    }
}

#[test]
fn every_depth_of_a_good_server_is_clean() {
    for depth in [10, 25, 100, 500, 1000] {
        check_clean(Bug::None, &format!("--symbols BTC/USD --depth {depth}"));
    }
}

#[test]
fn many_clients_symbols_and_threads_are_clean() {
    let report =
        check_clean(Bug::None, "--clients 20 --symbols 3 --symbols-per-client 2 --threads 2 --ramp 2000");
    assert_eq!(report["settings"]["symbols"], serde_json::json!(["BTC/USD", "ETH/USD", "SOL/USD"]));
    assert_eq!((&report["clients"]["connected"], &report["clients"]["lost"]), (&20.into(), &0.into()));
}

#[test]
fn unusual_json_is_read_all_the_same() {
    let report = check_clean(Bug::OddShape, "--symbols BTC/USD");
    assert!(report["slow_frames"].as_u64() > Some(0));
}

#[test]
fn wrong_content_of_a_book_is_named() {
    check_once(Bug::WrongChecksum, "--symbols BTC/USD", "checksum");
    check_once(Bug::MissingChecksum, "--symbols BTC/USD", "checksum");
    check_once(Bug::RemovalsLast, "--symbols BTC/USD", "level_order");
    check_once(Bug::DeepSnapshot, "--symbols BTC/USD --depth 25", "level_leak");
    check_once(Bug::LevelOutsideWindow, "--symbols BTC/USD", "level_leak");
    check_among(Bug::LostRemoval, "--symbols BTC/USD", "checksum");
    check_among(Bug::CrossedBook, "--symbols BTC/USD", "crossed");
}

#[test]
fn broken_links_are_named() {
    for channel in ["book", "ticker", "trade", "ohlc"] {
        let arguments = format!("--symbols BTC/USD --channel {channel}");
        check_among(Bug::BrokenPrev, &arguments, "prev_broken");
        check_among(Bug::SeqBack, &arguments, "seq_order");
    }
    let report = check_once(Bug::BrokenPrev, "--symbols BTC/USD", "prev_broken");
    assert_eq!(report["violations"]["first"][0]["symbol"], "BTC/USD");
    check_among(Bug::SkippedTradeId, "--symbols BTC/USD --channel trade", "trade_id");
}

#[test]
fn wrong_order_at_the_start_is_named() {
    check_once(Bug::SnapshotBeforeAck, "--symbols BTC/USD", "snapshot_before_ack");
    check_among(Bug::UpdateBeforeSnapshot, "--symbols BTC/USD", "update_before_snapshot");
    check_once(Bug::Refusal, "--symbols BTC/USD", "subscribe_refused");
    check_once(Bug::NoAck, "--symbols BTC/USD", "ack_missing");
}

#[test]
fn messages_that_must_not_come_are_named() {
    check_among(Bug::StringNumbers, "--symbols BTC/USD", "unparseable");
    check_once(Bug::BrokenJson, "--symbols BTC/USD", "unparseable");
    check_once(Bug::SecondSnapshot, "--symbols BTC/USD", "snapshot_repeated");
    check_once(Bug::Notice, "--symbols BTC/USD", "unrequested_notice");
    check_once(Bug::PingFrame, "--symbols BTC/USD", "ping_frame");
    check_once(Bug::BinaryFrame, "--symbols BTC/USD", "unexpected_message");
}

#[test]
fn a_connection_that_falls_silent_is_named() {
    check_once(Bug::Silent, "--symbols BTC/USD --silence 400ms --duration 1s", "silent");
}

#[test]
fn lost_connections_are_counted_with_code_and_reason() {
    let report = check_once(Bug::CloseFrame, "--symbols BTC/USD", "closed");
    let close = serde_json::json!({"code": 4008, "reason": "slow consumer", "count": 1});
    assert_eq!(report["closes"], serde_json::json!([close]));
    assert_eq!(report["clients"]["lost"], 1);
    let report = check_once(Bug::DropConnection, "--symbols BTC/USD", "closed");
    assert_eq!(report["closes"][0]["code"], Value::Null);
}

#[test]
fn bad_usage_and_no_connection_exit_with_2() {
    let code = |arguments: &str| loadtest(arguments).status.code();
    assert_eq!(code("--depth 11"), Some(2));
    assert_eq!(code("--url wss://127.0.0.1/v2"), Some(2));
    assert_eq!(code("--symbols A/B --symbols-per-client 2"), Some(2));
    // A port that was free a moment ago: bound, then given back.
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(code(&format!("--url ws://{free}/v2 --symbols A/B")), Some(2));
    assert_eq!(code(&format!("--url ws://{free}/v2 --symbols 1")), Some(2));
}

#[test]
fn the_report_goes_to_people_and_to_a_file() {
    let mock = Mock::start(Bug::WrongChecksum);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.json");
    let arguments =
        format!("--url {} --symbols 1 --duration 300ms --json-out {}", mock.url(), path.display());
    let output = loadtest(&arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    for part in ["NOT CLEAN", "checksum", "latency     p50", "expected", "1 of 1 connected"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let plain = String::from_utf8(output.stderr).unwrap();
    assert!(plain.contains("measuring: "), "plain lines where there is no terminal: {plain}");
    let report: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    assert_eq!((output.status.code(), &report["clean"]), (Some(1), &false.into()));
}

#[test]
fn a_flood_is_verified_without_a_violation() {
    let mock = Mock::start_flood();
    let line = "--symbols BTC/USD --clients 20 --ramp 10000 --duration 1s";
    let output = loadtest(&format!("--json --url {} {line}", mock.url()));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), kinds(&report)), (Some(0), vec![]), "{report:#}");
    assert!(report["updates"].as_u64() > Some(1_000), "{report:#}");
    println!("{:.0} messages/s, {}", report["messages_per_s"].as_f64().unwrap(), report["cpu"]);
}
