//! The fault run as a program: a good gateway is clean, and whatever lie is planted into what it sends is named.
//!
//! Starts the gateway and the feed that were built together with loadtest (`cargo test --workspace` builds them).

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may end the test; the lint only knows test functions"
)]

use serde_json::Value;
use std::process::Command;

/// Runs and returns the exit code and the report.
fn run(arguments: &str) -> (Option<i32>, Value) {
    let output = Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .args(arguments.split_ascii_whitespace())
        .arg("--json")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {errors}"));
    println!("{errors}");
    (output.status.code(), report)
}

/// Without optimisation, beside other tests, everything takes its time.
const PATIENT: &str = "--patience 10";

#[test]
fn everything_that_goes_wrong_is_recovered_from_and_told() {
    let faults = "feed-killed,feed-cut,feed-stalled,gateway-killed,gateway-stopped,links-cut,links-stalled,\
                  clients-stalled,descriptors,log-full";
    let (code, report) = run(&format!("faults --duration 25s --clients 16 {PATIENT} --only {faults}"));
    assert_eq!((code, &report["clean"]), (Some(0), &true.into()), "{report:#}");
    assert_eq!((&report["violations"]["total"], &report["losses"]["silent"]), (&0.into(), &0.into()));
    let rows = report["faults"].as_array().unwrap();
    assert!(rows.len() >= 3, "{report:#}");
    for row in rows {
        assert!(row["worst_s"].as_f64() > Some(0.0), "{row}");
    }
    assert!(report["compared"]["books"].as_u64() > Some(1_000), "{report:#}");
    assert!(report["compared"]["trades"].as_u64() > Some(100), "{report:#}");
    // Each client has eight symbols.
    assert_eq!(report["compared_in_the_end"], 16 * 8);
}

/// A lie is named by what is wrong to its reader.
fn check_found(lie: &str, fault: &str, kinds: &[&str]) -> Value {
    let (code, report) = run(&format!("faults --duration 3s --clients 8 --only {fault} --lie {lie}"));
    assert_eq!((code, &report["clean"]), (Some(1), &false.into()), "{report:#}");
    let by_kind = &report["violations"]["by_kind"];
    for kind in kinds {
        assert!(by_kind[kind].as_u64() > Some(0), "{lie} is no {kind}: {report:#}");
    }
    report
}

#[test]
fn an_update_that_is_lost_is_named() {
    check_found("lost-update", "links-delayed", &["prev_broken"]);
}

#[test]
fn a_trade_that_is_lost_is_a_silent_loss_to_who_should_have_been_told() {
    let report = check_found("lost-trade", "links-delayed", &["prev_broken", "loss_untold"]);
    assert!(report["losses"]["silent"].as_u64() > Some(0), "{report:#}");
}

#[test]
fn an_update_that_comes_twice_is_named() {
    check_found("repeated", "links-delayed", &["seq_order"]);
}

#[test]
fn a_wrong_quantity_is_named() {
    check_found("wrong-quantity", "links-delayed", &["checksum"]);
}

#[test]
fn a_recovery_that_is_none_is_named() {
    check_found("false-recovery", "gateway-killed", &["snapshot_repeated"]);
}

#[test]
fn who_is_sent_nothing_any_more_is_behind() {
    check_found("frozen", "links-delayed", &["behind"]);
}

#[test]
fn a_rolling_restart_is_even_and_loses_nothing() {
    let (code, report) = run("rolling --clients 300 --window 3s --reconnect 1s");
    assert_eq!((code, &report["clean"]), (Some(0), &true.into()), "{report:#}");
    assert_eq!((&report["evenness"]["closes"], &report["losses"]["silent"]), (&300.into(), &0.into()));
    let resumed: u64 = report["resumed"].as_array().unwrap().iter().filter_map(Value::as_u64).sum();
    assert_eq!((resumed, &report["compared_in_the_end"]), (300, &450.into()), "{report:#}");
    // A gateway that lets everybody in at once is not one that closes everybody evenly.
    assert!(report["evenness"]["most_over_mean"].as_f64() <= Some(2.0), "{report:#}");
}
