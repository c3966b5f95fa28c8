//! What becomes of a run: exit codes, scenario files, reports and their comparison, as the program writes them.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests may end the test; the lint only knows test functions"
)]

mod mock;

use mock::{Bug, Mock};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

fn loadtest(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_loadtest")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs against a server with this bug and returns exit code and output.
fn run(bug: Bug, arguments: &[&str]) -> (i32, String) {
    let mock = Mock::start(bug);
    let (url, admin) = (mock.url(), mock.admin.to_string());
    let duration = if arguments.contains(&"--duration") { &[][..] } else { &["--duration", "300ms"][..] };
    let base = ["run", "--symbols", "BTC/USD", "--url", &url, "--admin", &admin];
    let output = loadtest(&[&base[..], duration, arguments].concat());
    (output.status.code().unwrap(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_threshold_that_does_not_hold_sets_the_exit_code() {
    let check = |bug, thresholds: &[&str], code: i32, shown: &[&str]| {
        let arguments: Vec<&str> = thresholds.iter().flat_map(|one| ["--require", one]).collect();
        let (got, said) = run(bug, &arguments);
        assert_eq!(got, code, "{thresholds:?}: {said}");
        shown.iter().for_each(|part| assert!(said.contains(part), "{part}: {said}"));
    };
    check(Bug::None, &["violations = 0", "p99 < 1h"], 2, &["a time has a unit"]);
    check(Bug::None, &["violations = 0", "p99 < 3600s"], 0, &["p99 < 3600s: holds", "result      clean"]);
    check(
        Bug::None,
        &["violations = 0", "p99 < 0us"],
        3,
        &["p99 < 0us: BROKEN", "a threshold does not hold"],
    );
    check(Bug::None, &["gateway.end_to_end.p99 < 1s"], 3, &["BROKEN, not measured"]);
    check(Bug::None, &["connect.p99 < 60s", "subscribe.max < 60s"], 0, &["connect.p99 < 60s: holds"]);
    // A violation weighs more than a threshold.
    check(Bug::WrongChecksum, &["p99 < 0us"], 1, &["NOT CLEAN"]);
    check(Bug::WrongChecksum, &["violations = 1"], 1, &["violations = 1: holds"]);
}

#[test]
fn a_result_is_shown_as_a_share_of_the_machines_own_limit() {
    let folder = tempfile::tempdir().unwrap();
    let (json, html) = (folder.path().join("run.json"), folder.path().join("run.html"));
    let files = ["--json", json.to_str().unwrap(), "--html", html.to_str().unwrap()];
    let (code, said) = run(Bug::None, &[&["--clients", "3", "--ceiling=50ms"], &files[..]].concat());
    assert_eq!(code, 0, "{said}");
    let what = "the machine's own limit, measured after the run: 3 clients, 1 of 1 symbols each, ";
    assert!(said.contains(what) && said.contains("updates/s, of which this run is "), "{said}");
    let report: Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
    let ceiling = &report["ceiling"];
    let floors = ceiling["floors"].as_array().unwrap();
    let unmeasured = ceiling["unmeasured"].as_array().unwrap();
    assert_eq!(floors.len() + unmeasured.len(), 2, "{ceiling:#}");
    let number = |value: &Value| value.as_f64().unwrap_or_else(|| panic!("{ceiling:#}"));
    assert!(!floors.is_empty(), "{ceiling:#}");
    for floor in floors {
        let whole = number(&floor["updates_per_s"]);
        let percent = 100.0 * number(&report["updates_per_s"]) / whole;
        assert!((number(&floor["percent"]) - percent).abs() < 1e-6, "{ceiling:#}");
        // The server of the test tells a few updates; any floor carries thousands.
        assert!(whole > 1_000.0 && percent > 0.0 && percent < 100.0, "{ceiling:#}");
    }
    assert!(fs::read_to_string(html).unwrap().contains("The machine's own limit"));
    let (_, said) = run(Bug::None, &[]);
    assert!(!said.contains("ceiling"), "only when it was asked for: {said}");
}

#[test]
fn a_scenario_says_what_is_run_and_flags_win_over_it() {
    let mock = Mock::start(Bug::None);
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("scenario.toml");
    let scenario = format!(
        "title = \"Two <kinds>\"\nurl = \"{}\"\nadmin = \"{}\"\nclients = 10\nsymbols = [\"BTC/USD\", \"ETH/USD\"]\n\
         duration = \"400ms\"\nstorms = [\"reconnect:50%@100ms\"]\nrequire = [\"violations = 0\", \"failed = 0\"]\n\
         [[group]]\npercent = 70\nsymbols_per_client = 2\ndepth = 25\n\
         [[group]]\nname = \"tape\"\npercent = 30\nprofile = \"bursty:50ms/50ms\"\nchannel = \"trade\"\n",
        mock.url(),
        mock.admin
    );
    fs::write(&file, scenario).unwrap();
    let report = |more: &[&str]| -> Value {
        let base = ["run", "--json", "--scenario", file.to_str().unwrap()];
        let output = loadtest(&[&base[..], more].concat());
        assert_eq!(output.status.code(), Some(0), "{}{}", text(&output.stdout), text(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let shown = report(&[]);
    assert_eq!(shown["settings"]["title"], "Two <kinds>");
    assert_eq!(shown["clients"]["reconnects"], 5, "{shown:#}");
    let groups = &shown["groups"];
    assert_eq!((&groups[0]["clients"], &groups[0]["depth"]), (&7.into(), &25.into()));
    assert_eq!((&groups[1]["name"], &groups[1]["channel"]), (&"tape".into(), &"trade".into()));
    assert_eq!(shown["thresholds"].as_array().unwrap().len(), 2);
    let shown = report(&["--clients", "4", "--mix", "fast=100"]);
    assert_eq!((&shown["clients"]["asked"], shown["groups"].as_array().unwrap().len()), (&4.into(), 1));
}

#[test]
fn a_scenario_that_makes_no_sense_is_refused_with_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("odd.toml");
    let refused = |scenario: &str, reason: &str| {
        fs::write(&file, scenario).unwrap();
        let output = loadtest(&["run", "--scenario", file.to_str().unwrap()]);
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains("odd.toml") && said.contains(reason), "{said}");
    };
    refused("clinets = 3", "unknown field `clinets`");
    refused("duration = \"soon\"", "give a number and a unit");
    refused("require = [\"p98 < 1s\"]", "no figure `p98`");
    refused("[[group]]\npercent = 90", "90 in all");
    refused("[[group]]\npercent = 100\nprofile = \"lazy\"", "`lazy` is no profile");
    refused("[[group]]\npercent = 100\nprofile = \"paused\"\next = false", "uses the superset");
    refused("[[group]]\npercent = 100\ndepth = 11", "depth 11 is none of");
}

#[test]
fn the_page_has_plots_and_needs_no_network() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("report.html");
    let html = path.to_str().unwrap();
    let (code, said) = run(Bug::WrongChecksum, &["--html", html, "--duration", "2200ms", "--clients", "3"]);
    assert_eq!(code, 1, "{said}");
    let page = fs::read_to_string(&path).unwrap();
    for part in
        ["Latency by quantile", "Latency over time", "Rate", "Clients", "CPU", "not clean", "checksum"]
    {
        assert!(page.contains(part), "{part}");
    }
    assert!(page.matches("<svg").count() >= 5, "{} plots", page.matches("<svg").count());
    assert!(page.matches("<polyline").count() >= 6, "plots without lines");
    // The name of the SVG language looks like an address and is none.
    let rest = page.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
    for outside in ["http:", "https:", "<script", "<link", "<img", "@import", "url("] {
        assert!(!rest.contains(outside), "{outside}");
    }
}

#[test]
fn reports_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (before, after) = (place("before.json"), place("after.json"));
    run(Bug::None, &["--json", &before]);
    run(Bug::WrongChecksum, &["--json", &after]);
    let compare = |arguments: &[&str]| {
        let output = loadtest(&[&["compare", &before, &after][..], arguments].concat());
        (output.status.code().unwrap(), text(&output.stdout))
    };
    let (code, table) = compare(&[]);
    assert_eq!(code, 0, "{table}");
    for part in ["before", "after", "latency p99, us", "violations"] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let (code, table) = compare(&["--max-worse", "1000000"]);
    assert_eq!(code, 3, "violations where there were none: {table}");
    let nonsense = Path::new(&before).with_file_name("nonsense.json");
    fs::write(&nonsense, "{}").unwrap();
    let output = loadtest(&["compare", &before, nonsense.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no report of loadtest run"));
}

#[test]
fn every_command_explains_itself() {
    let help = |command: &str, parts: &[&str]| {
        let output = loadtest(&[command, "--help"]);
        let shown = text(&output.stdout);
        assert_eq!(output.status.code(), Some(0), "{command}");
        parts.iter().for_each(|part| assert!(shown.contains(part), "{command} lacks {part}:\n{shown}"));
        let wide = shown.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(wide <= 130, "{command} has lines of {wide} characters");
    };
    help("run", &["--scenario", "--mix", "flapping:2s", "connect.p99", "Profiles (", "--storm"]);
    help("find-max", &["--p99", "--precision", "Starts a gateway and a feed"]);
    help("compare", &["--max-worse", "<BEFORE> <AFTER>"]);
    for command in ["bench", "ceiling", "naive"] {
        help(command, &["Usage: loadtest"]);
    }
    let output = loadtest(&["--help"]);
    // Wherever lines are broken.
    let shown = text(&output.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in ["find-max", "compare", "3 clean, but a threshold"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
}
