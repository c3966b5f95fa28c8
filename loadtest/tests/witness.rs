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
    let admin = if arguments.contains("--admin") { String::new() } else { format!("--admin {}", mock.admin) };
    let output = loadtest(&format!("--json {duration} --url {} {admin} {arguments}", mock.url()));
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
    let report = check_clean(
        Bug::None,
        "--clients 20 --symbols 3 --symbols-per-client 2 --threads 2 --ramp 2000 --sources 7",
    );
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
    check_among(Bug::WrongQuantity, "--symbols BTC/USD", "checksum");
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

/// Opts in to the superset.
const EXT: &str = "--symbols BTC/USD --policy drop_oldest";

#[test]
fn a_change_that_is_never_told_is_named() {
    check_among(Bug::LostDelta, "--symbols BTC/USD", "prev_broken");
    check_among(Bug::LostDelta, EXT, "prev_broken");
}

#[test]
fn what_is_merged_or_dropped_and_told_is_clean_and_counted() {
    let report = check_clean(Bug::Merges, "--symbols BTC/USD --policy conflate");
    assert_eq!(report["notices"]["merged"], 1);
    assert_eq!(report["conservation"]["comparison"], "exact", "{report:#}");
    assert_eq!(report["conservation"]["channels"][0]["merged"], 2);
    let report = check_clean(Bug::Drops, &format!("{EXT} --channel trade"));
    assert_eq!(report["conservation"]["channels"][0]["dropped"], 3);
    check_clean(Bug::PlainLoss, "--symbols BTC/USD --channel trade");
}

#[test]
fn losses_that_are_not_told_or_told_wrong_are_named() {
    let trades = format!("{EXT} --channel trade");
    check_among(Bug::DropsSilently, &trades, "prev_broken");
    check_among(Bug::DropsSilently, &trades, "loss_untold");
    check_among(Bug::GapMiscounted, &trades, "loss_untold");
    check_once(Bug::MergeMiscounted, "--symbols BTC/USD --policy conflate", "notice_wrong");
}

#[test]
fn counts_of_the_gateway_that_do_not_add_up_are_named() {
    let trades = format!("{EXT} --channel trade");
    for bug in [Bug::WriteMiscounted, Bug::WriteForgotten, Bug::OwnBreach] {
        check_counts(bug, "--symbols BTC/USD");
    }
    check_counts(Bug::WriteForgotten, &trades);
    check_counts(Bug::DropMiscounted, &trades);
    // Without the admin listener nobody can know.
    let report = check_clean(Bug::WriteMiscounted, "--symbols BTC/USD --admin none");
    assert_eq!(report["conservation"]["comparison"], "not_asked");
}

/// Nothing is wrong but the counts.
fn check_counts(bug: Bug, arguments: &str) {
    let (code, report) = run(bug, arguments);
    let found: Vec<_> = kinds(&report).into_iter().map(|(kind, _)| kind).collect();
    assert_eq!((code, found), (1, vec!["conservation".to_owned()]), "{bug:?}: {report:#}");
    assert_eq!(report["violations"]["first"][0]["client"], Value::Null);
}

#[test]
fn every_profile_of_a_good_server_is_clean() {
    let mix = "fast=30,slow:20kB/s=10,stalled=10,bursty:50ms/100ms=10,flapping:150ms=10,resuming:150ms=10,\
               churning:60ms=10,paused:80ms/80ms=5,limited:20ms=5";
    for channel in ["book", "ticker", "trade", "ohlc"] {
        // Only of books the mock knows how to go on from a place.
        let mix = if channel == "book" { mix.to_owned() } else { mix.replace("resuming", "flapping") };
        let line = format!(
            "--symbols 3 --symbols-per-client 2 --clients 40 --ramp 1000 --duration 900ms --mix {mix}"
        );
        let report = check_clean(Bug::None, &format!("{line} --channel {channel}"));
        assert!(report["clients"]["reconnects"].as_u64() > Some(8), "{report:#}");
        assert_eq!(report["groups"].as_array().unwrap().len(), 9);
        assert_eq!(report["conservation"]["comparison"], "at_least");
        if channel == "book" {
            assert!(report["resumed"][0].as_u64() > Some(4), "{report:#}");
        }
    }
}

#[test]
fn who_leaves_quietly_has_received_what_the_server_counts() {
    let mix = "fast=40,slow:60kB/s=20,stalled=10,churning:60ms=20,paused:80ms/80ms=10";
    let report =
        check_clean(Bug::None, &format!("--symbols BTC/USD --clients 10 --duration 700ms --mix {mix}"));
    let (conservation, counts) = (&report["conservation"], &report["conservation"]["channels"][0]);
    assert_eq!(conservation["comparison"], "exact", "{report:#}");
    assert_eq!(counts["received"], counts["written"], "{report:#}");
}

#[test]
fn broken_promises_to_unusual_clients_are_named() {
    let one = |profile: &str| format!("--symbols BTC/USD --duration 900ms --mix {profile}=100");
    check_among(Bug::PauseLeak, &one("paused:100ms/300ms"), "while_paused");
    check_among(Bug::ResumeHole, &one("resuming:200ms"), "prev_broken");
    check_among(Bug::ResumeShort, &one("resuming:200ms"), "resume_broken");
    check_among(Bug::TalksOn, &one("churning:100ms"), "unexpected_message");
    let slowly = "--symbols BTC/USD --duration 1500ms --mix limited:100ms=100";
    check_among(Bug::IntervalIgnored, slowly, "too_often");
}

#[test]
fn books_of_different_clients_are_compared_beyond_the_checksum() {
    let two = "--symbols BTC/USD --clients 2 --depth 25 --duration 600ms";
    let report = check_clean(Bug::Stops, two);
    assert_eq!(report["books_compared"], 1, "{report:#}");
    check_among(Bug::DeepDifference, two, "book_differs");
}

#[test]
fn storms_happen_and_are_verified() {
    let storms = "--storm connect:10@200ms --storm reconnect:50%@400ms";
    let report =
        check_clean(Bug::None, &format!("--symbols 3 --clients 10 --ramp 1000 --duration 800ms {storms}"));
    let clients = &report["clients"];
    assert_eq!((&clients["asked"], &clients["connected"]), (&20.into(), &20.into()), "{report:#}");
    assert_eq!(clients["reconnects"], 10, "{report:#}");
    assert_eq!(report["connect_us"]["count"], 30);
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
    let arguments = format!("--url {} --symbols 1 --duration 300ms --json {}", mock.url(), path.display());
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
