//! House rules as ordinary tests: each failure names the file and says what to do instead.
//!
//! Reads the files of the workspace as text and never builds anything. What the compiler or clippy can check (unsafe code
//! outside the pure crates, length of functions, documentation of public items) stands in the workspace's lints.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use toml::Table;

/// Longest file of code, tests and tables included.
const LINES_MAX: usize = 600;

/// What is not ours; in a second work tree `.git` is a file.
const SKIPPED: [&str; 4] = ["target", ".git", "node_modules", "__pycache__"];

/// A workspace of its own, because it is built with the flags of a sanitizer; its rules are those of the others.
const FUZZ: &str = "gateway/fuzz";

/// Crates without unsafe code, sockets only where they are their purpose.
const FORBID_UNSAFE: [&str; 10] = [
    "gateway/core/auth",
    "gateway/core/model",
    "gateway/core/wire",
    "gateway/core/market",
    "gateway/core/publish",
    "gateway/core/fanout",
    "gateway/core/sim",
    FUZZ,
    "feed-sim",
    "loadtest",
];

/// Who may read a clock. feed-sim's `bench.rs` measures with one; the load generator and tests wait on one.
const CLOCKS: [&str; 4] =
    ["gateway/src/clock.rs", "feed-sim/src/clock.rs", "feed-sim/src/bench.rs", "loadtest/"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above the gateway").into()
}

/// Every text file of the workspace with its path from the root, `/` between the parts.
fn texts() -> BTreeMap<String, String> {
    let root = root();
    let mut found = BTreeMap::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("the workspace is readable") {
            let path = entry.expect("the workspace is readable").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if SKIPPED.contains(&name.as_str()) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = fs::read_to_string(&path) {
                // What is no UTF-8 is a recording or an image.
                let path =
                    path.strip_prefix(&root).expect("it lies below").to_string_lossy().replace('\\', "/");
                found.insert(path, text);
            }
        }
    }
    found
}

fn code() -> impl Iterator<Item = (String, String)> {
    texts().into_iter().filter(|(path, _)| path.ends_with(".rs"))
}

fn is_test(path: &str) -> bool {
    path.contains("/tests/") || path.ends_with("/tests.rs")
}

/// Fails with all complaints at once.
fn check(rule: &str, complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{rule}\n  {}", complaints.join("\n  "));
}

/// Lines of code that contain any of some texts, as `path:line: text`. Comments and this file do not count.
fn lines_with(needles: &[&str], applies: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in code().filter(|(path, _)| applies(path) && path != "gateway/tests/tidy.rs") {
        for (number, line) in text.lines().enumerate() {
            if !line.trim_start().starts_with("//") && needles.iter().any(|needle| line.contains(needle)) {
                found.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    found
}

#[test]
fn every_file_of_code_says_what_it_owns() {
    let silent = code().filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path);
    check(
        "these files do not open with `//!`: say what the file owns, what it never does, and where its data comes from and goes",
        silent,
    );
}

#[test]
fn no_file_of_code_is_long() {
    let long = code().filter_map(|(path, text)| {
        let lines = text.lines().count();
        (lines > LINES_MAX).then(|| format!("{path}: {lines} lines"))
    });
    check(&format!("these files have more than {LINES_MAX} lines: split them by noun"), long);
}

#[test]
fn pure_crates_and_witnesses_forbid_unsafe_code() {
    let texts = texts();
    let mut complaints = Vec::new();
    for folder in FORBID_UNSAFE {
        let roots = ["lib.rs", "main.rs"].map(|name| format!("{folder}/src/{name}"));
        let mut found = roots.iter().filter_map(|path| Some((path, texts.get(path)?))).peekable();
        if found.peek().is_none() {
            complaints.push(format!("{folder}: has neither lib.rs nor main.rs; correct the list in tidy.rs"));
        }
        let lacks = found.filter(|(_, text)| !text.lines().any(|line| line == "#![forbid(unsafe_code)]"));
        complaints.extend(lacks.map(|(path, _)| path.clone()));
    }
    check("these crates lack `#![forbid(unsafe_code)]` at their root: add it", complaints);
}

/// A row of ARCHITECTURE's table: what a crate imports of ours and of others.
type Imports = (BTreeSet<String>, BTreeSet<String>);

/// The table below `## Who may import whom`.
fn documented_imports(architecture: &str) -> BTreeMap<String, Imports> {
    let (_, section) =
        architecture.split_once("## Who may import whom").expect("ARCHITECTURE.md has that section");
    let section = section.split("\n## ").next().unwrap_or_default();
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty()).collect()
    };
    let row = |line: &str| {
        let mut cells = line.strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim);
        let name = cells.next()?.strip_prefix('`')?.strip_suffix('`')?;
        Some((name.to_owned(), (names(cells.next()?), names(cells.next()?))))
    };
    section.lines().filter_map(row).collect()
}

#[test]
fn crates_import_what_architecture_says() {
    let texts = texts();
    let workspace: Table = toml::from_str(&texts["Cargo.toml"]).expect("Cargo.toml is toml");
    let members = workspace["workspace"]["members"].as_array().expect("the workspace names its members");
    let documented = documented_imports(&texts["ARCHITECTURE.md"]);
    let mut actual = BTreeMap::new();
    for member in members.iter().filter_map(|member| member.as_str()).chain([FUZZ]) {
        let manifest: Table =
            toml::from_str(&texts[&format!("{member}/Cargo.toml")]).expect("a manifest is toml");
        let name = manifest["package"]["name"].as_str().expect("a package has a name").to_owned();
        let all =
            manifest.get("dependencies").and_then(|found| found.as_table()).cloned().unwrap_or_default();
        let of_workspace = |name: &str| workspace["workspace"]["dependencies"].get(name);
        let has_path = |found: &toml::Value| found.get("path").is_some();
        let is_ours = |name: &str| has_path(&all[name]) || of_workspace(name).is_some_and(has_path);
        let (ours, others) = all.keys().cloned().partition(|name| is_ours(name));
        actual.insert(name, (ours, others));
    }
    let names: BTreeSet<&String> = actual.keys().chain(documented.keys()).collect();
    let differs = names.into_iter().filter(|name| actual.get(*name) != documented.get(*name));
    let told = differs.map(|name| {
        format!("{name}: the table has {:?}, the manifest {:?}", documented.get(name), actual.get(name))
    });
    check(
        "the table in ARCHITECTURE.md and the manifests differ. A new edge is a design change: reconsider it, or change the table \
         and say so in the commit",
        told,
    );
}

#[test]
fn the_fuzzed_crate_has_the_lints_of_the_workspace() {
    let texts = texts();
    let workspace: Table = toml::from_str(&texts["Cargo.toml"]).expect("Cargo.toml is toml");
    let fuzz: Table = toml::from_str(&texts[&format!("{FUZZ}/Cargo.toml")]).expect("a manifest is toml");
    assert_eq!(
        fuzz.get("lints"),
        workspace["workspace"].get("lints"),
        "{FUZZ} cannot inherit the lints of the workspace: copy them"
    );
}

#[test]
fn exceptions_to_lints_are_expected_and_reasoned() {
    let mut complaints = Vec::new();
    for (path, text) in code().filter(|(path, _)| path != "gateway/tests/tidy.rs") {
        for (at, _) in text.match_indices("[allow(").chain(text.match_indices("[expect(")) {
            let attribute = &text[at..at + text[at..].find(")]").map_or(0, |end| end + 2)];
            let is_allow = attribute.starts_with("[allow(");
            // A module that several test files include is used by each in part, so nothing can be expected of it.
            let is_shared = path.contains("/tests/") && attribute.contains("dead_code");
            if (is_allow && !is_shared) || !attribute.contains("reason = \"") {
                complaints.push(format!("{path}: #{attribute}"));
            }
        }
    }
    check(
        "write `#[expect(.., reason = \"..\")]` instead of these, so that an exception goes when it is not needed any more",
        complaints,
    );
}

#[test]
fn nothing_unfinished_is_left() {
    let found = lines_with(&["todo!(", "unimplemented!(", "dbg!("], |_| true);
    check("finish these, or write the assertion that says why they cannot be reached", found);
}

#[test]
fn no_test_is_ignored() {
    check("these tests are never run: make them fast, or delete them", lines_with(&["#[ignore"], |_| true));
}

#[test]
fn clocks_are_read_in_one_place() {
    let may_not = |path: &str| !is_test(path) && !CLOCKS.iter().any(|clock| path.starts_with(clock));
    check(
        "these read a clock: take the time as an argument, or ask `clock.rs`",
        lines_with(&["SystemTime::now", "Instant::now"], may_not),
    );
}

#[test]
fn only_metrics_name_prometheus() {
    let may_not = |path: &str| !path.starts_with("gateway/src/metrics") && !is_test(path);
    check(
        "these name prometheus: count in plain numbers and publish them in gateway/src/metrics",
        lines_with(&["prometheus::"], may_not),
    );
}

#[test]
fn files_are_named_by_what_they_own() {
    const NAMELESS: [&str; 8] = ["util", "utils", "helper", "helpers", "manager", "common", "misc", "shared"];
    let nameless = code().map(|(path, _)| path).filter(|path| {
        let stem = path.rsplit('/').next().and_then(|name| name.strip_suffix(".rs")).unwrap_or_default();
        NAMELESS.contains(&stem)
    });
    check("these names say nothing: name the noun that the file owns", nameless);
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let folders = ["work", "home", "root"].map(|folder| format!("/{folder}/"));
    let starts_a_path = |line: &str, at: usize| {
        // Within a longer path or an address it is nobody's machine.
        !line[..at].ends_with(|c: char| c.is_alphanumeric() || "._-}$~/*".contains(c))
    };
    let mut complaints = Vec::new();
    for (path, text) in texts() {
        for (number, line) in text.lines().enumerate() {
            let names =
                |folder: &String| line.match_indices(folder.as_str()).any(|(at, _)| starts_a_path(line, at));
            if folders.iter().any(names) {
                let shown: String = line.trim().chars().take(120).collect();
                complaints.push(format!("{path}:{}: {shown}", number + 1));
            }
        }
    }
    check(
        "these name a folder of one machine: make the path relative, or let the caller give it",
        complaints,
    );
}

#[test]
fn every_document_has_one_title() {
    let mut complaints = Vec::new();
    for (path, text) in texts().into_iter().filter(|(path, _)| path.ends_with(".md")) {
        let mut fenced = false;
        let is_title = |line: &&str| {
            fenced ^= line.trim_start().starts_with("```");
            !fenced && line.starts_with("# ")
        };
        let titles = text.lines().filter(is_title).count();
        if titles != 1 || !text.starts_with("# ") {
            complaints.push(format!("{path}: {titles} titles"));
        }
    }
    check("a document begins with its one `# ` title; use `##` below it", complaints);
}

#[test]
fn licences_lie_beside_recordings() {
    let data = root().join("feed-sim/data");
    let folders = fs::read_dir(&data).expect("recordings lie in feed-sim/data");
    let folders =
        folders.map(|entry| entry.expect("a folder is readable").path()).filter(|path| path.is_dir());
    let is_licence = |path: &PathBuf| {
        let mut names = fs::read_dir(path).expect("a folder is readable").flatten();
        names.any(|entry| entry.file_name().to_string_lossy().starts_with("LICENSE"))
    };
    let lacking = folders.filter(|path| !is_licence(path)).map(|path| path.display().to_string());
    check("these recordings lack the licence that they came under: put its text beside them", lacking);
    let readme = fs::read_to_string(root().join("README.md")).expect("there is a README");
    let acknowledgement =
        "This product includes software developed by\nBryant Moscon (http://www.bryantmoscon.com/)";
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        flat(&readme).contains(&flat(acknowledgement)),
        "the licence of two recordings wants this in README.md: {acknowledgement}"
    );
}
