//! The bench as a program, against the floor: what is published arrives, is counted, and is written down.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may end the test; the lint only knows test functions"
)]

use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};

fn bench(out: &Path, arguments: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest"))
        .arg("bench")
        .args(arguments.split_ascii_whitespace())
        .arg("--out")
        .arg(out)
        .output()
        .unwrap()
}

#[test]
fn one_client_gets_every_update_of_the_floor_and_results_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(folder.path(), "--only one --servers floor-batch");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for part in ["## one", "| floor-batch ", "| floor-batch-spin ", "1,000 updates/s, 1 client, 1 symbol"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let results: Value =
        serde_json::from_slice(&std::fs::read(folder.path().join("results.json")).unwrap()).unwrap();
    let readings = results["readings"].as_array().unwrap();
    // Two cases, two kinds of floor.
    assert_eq!(readings.len(), 4, "{results:#}");
    for reading in readings {
        assert_eq!(reading["error"], Value::Null, "{reading}");
        let value = |name: &str| reading["values"][name].as_f64().unwrap();
        assert_eq!((value("broken"), value("gone")), (0.0, 0.0), "{reading}");
        assert!(value("linked") > 50.0, "{reading}");
        assert!(value("p50_us") >= 1.0 && value("bytes_per_update") == 174.0, "{reading}");
    }
    assert!(results["facts"]["cores"].as_u64() > Some(0), "{}", results["facts"]);
}

#[test]
fn a_peer_that_is_not_set_up_is_told_to_be_absent() {
    let folder = tempfile::tempdir().unwrap();
    let output = bench(folder.path(), "--only one --servers none --peers nobody");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("nobody is absent"), "{text}");
}

#[test]
fn servers_and_works_that_there_are_not_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    for arguments in [
        "--servers apache",
        "--only everything",
        "--gateway nameless",
        "--small --full",
        "--only one --case nowhere",
    ] {
        assert_eq!(bench(folder.path(), arguments).status.code(), Some(2), "{arguments}");
    }
}
