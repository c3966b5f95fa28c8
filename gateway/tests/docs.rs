//! Documents against the code: what can be checked is checked, and a failure says which side to change.
//!
//! Metrics, settings, close codes, protocol examples, dashboards, paths and links. Reads documents as text and what they speak of
//! from the crates themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use gateway::config::{self, Config};
use gateway::metrics::METRICS;
use toml::{Table, Value};

/// Metrics of the process, which come from the library.
const PROCESS_METRICS: [&str; 7] = [
    "process_cpu_seconds_total",
    "process_max_fds",
    "process_open_fds",
    "process_resident_memory_bytes",
    "process_start_time_seconds",
    "process_threads",
    "process_virtual_memory_bytes",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the workspace is above the gateway").into()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Files directly in a folder whose name has one of some endings, with their text.
fn files_in(folder: &str, endings: &[&str]) -> Vec<(String, String)> {
    let entries = fs::read_dir(root().join(folder)).unwrap_or_else(|error| panic!("{folder}: {error}"));
    let names =
        entries.map(|entry| entry.expect("a folder is readable").file_name().to_string_lossy().into_owned());
    let wanted = names.filter(|name| endings.iter().any(|ending| name.ends_with(ending)));
    wanted.map(|name| format!("{folder}/{name}")).map(|path| (path.clone(), read(&path))).collect()
}

/// The documents that people read.
fn documents() -> Vec<(String, String)> {
    let folders = ["docs", "docs/decisions", "deploy", "dashboards", "feed-sim/data"];
    let mut found: Vec<_> = folders.iter().flat_map(|folder| files_in(folder, &[".md"])).collect();
    for path in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        found.push((path.into(), read(path)));
    }
    found
}

/// Fails with all complaints at once.
fn check(rule: &str, complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{rule}\n  {}", complaints.join("\n  "));
}

/// Words of a text that begin with a prefix: letters, digits and underscores, not part of a longer word.
fn words<'a>(text: &'a str, prefix: &str) -> BTreeSet<&'a str> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c: char| !is_word(c))
        .filter(|word| word.starts_with(prefix) && word.len() > prefix.len())
        .collect()
}

/// Whether something exports a series of that name; a histogram exports three.
fn is_series(name: &str) -> bool {
    let find = |name: &str| METRICS.iter().find(|metric| metric.name == name);
    let base = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending));
    find(name).is_some() || base.and_then(find).is_some_and(|metric| metric.is_histogram())
}

#[test]
fn every_metric_stands_in_the_operations_page() {
    let page = read("docs/operations.md");
    let names = METRICS.iter().map(|metric| metric.name).chain(PROCESS_METRICS);
    let lacking = names.filter(|name| !page.contains(&format!("| `{name}` |")));
    check("docs/operations.md lacks these metrics: add a row", lacking.map(str::to_owned));
}

#[test]
fn documents_and_dashboards_name_only_metrics_that_exist() {
    let mut texts = documents();
    texts.extend(files_in("dashboards", &[".json"]));
    texts.extend(files_in("dashboards/rules", &[".yml"]));
    let mut complaints = Vec::new();
    for (path, text) in texts {
        // The two words are no metrics but the crate's own name in paths and filters.
        let gateway = words(&text, "gateway_").into_iter().filter(|name| !is_series(name));
        let process = words(&text, "process_").into_iter().filter(|name| !PROCESS_METRICS.contains(name));
        complaints.extend(gateway.chain(process).map(|name| format!("{path}: {name}")));
    }
    check("these metrics do not exist: correct the name, or see gateway/src/metrics/table.rs", complaints);
}

#[test]
fn dashboards_are_json_and_use_the_metrics() {
    let dashboards = files_in("dashboards", &[".json"]);
    assert!(!dashboards.is_empty(), "there is a dashboard");
    for (path, text) in dashboards {
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        assert!(!words(&text, "gateway_").is_empty(), "{path} shows nothing of the gateway");
    }
}

#[test]
fn every_alert_has_its_section_in_the_operations_page() {
    let page = read("docs/operations.md");
    let rules = read("dashboards/rules/gateway.yml");
    let alerts: BTreeSet<&str> =
        rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() >= 10, "there are alerts: {alerts:?}");
    let (_, section) = page.split_once("\n## Alerts\n").expect("docs/operations.md has a section on alerts");
    let section = section.split("\n## ").next().unwrap_or_default();
    let told: BTreeSet<&str> = section.lines().filter_map(|line| line.strip_prefix("### ")).collect();
    let differs = alerts.symmetric_difference(&told);
    check(
        "docs/operations.md has other alerts than dashboards/rules/gateway.yml: add or remove the section",
        differs.map(|name| (*name).to_owned()),
    );
}

#[test]
fn every_limit_on_strangers_has_an_answer_a_count_and_a_test() {
    let page = read("docs/operations.md");
    let (_, section) = page.split_once("\n## What strangers may do\n").expect("docs/operations.md has it");
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows: Vec<&str> = section.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(rows.len() > 15, "the limits are rows of a table: {rows:?}");
    let labels = read("gateway/src/metrics/table.rs");
    let unit_tests = files_in("gateway/src/http", &[".rs"])
        .into_iter()
        .filter_map(|(_, text)| text.split_once("#[cfg(test)]").map(|(_, tests)| tests.to_owned()));
    let whole = files_in("gateway/tests", &[".rs"]).into_iter().map(|(_, text)| text);
    let tests = unit_tests.chain(whole).collect::<String>();
    let mut complaints = Vec::new();
    for row in rows {
        let (limit, answer) = row.trim_matches('|').split_once(" | ").unwrap_or((row, ""));
        for setting in quoted(limit).into_iter().filter(|text| text.contains('.')) {
            let name = setting.rsplit('.').next().unwrap_or_default();
            if answer.trim().is_empty() {
                complaints.push(format!("{setting}: say what happens beyond it"));
            }
            // What the kernel does is counted elsewhere, and the row says where.
            if !labels.contains(&format!("(\"{name}\", ")) && !row.contains("`gateway_") {
                complaints.push(format!("{setting}: count it in gateway_limit_refusals_total"));
            }
            if !tests.contains(&format!(".{name}")) {
                complaints.push(format!("{setting}: no test sets it"));
            }
        }
    }
    check("these limits lack something", complaints);
}

#[test]
fn the_table_of_close_codes_is_the_one_of_the_code() {
    let table = wire::close::markdown_table();
    assert!(
        read("docs/protocol.md").contains(&table),
        "docs/protocol.md has another table of close codes than wire::close; put this there:\n{table}"
    );
}

/// The fenced blocks of a document that follow a marker such as `<!-- golden: name -->`, by the name.
fn marked_blocks(text: &str, marker: &str) -> Vec<(String, String)> {
    let opening = format!("<!-- {marker}: ");
    let block = |rest: &str| {
        let (name, rest) = rest.split_once(" -->\n")?;
        let (_, rest) = rest.strip_prefix("```")?.split_once('\n')?;
        Some((name.to_owned(), rest.split_once("\n```")?.0.to_owned()))
    };
    let parts = text.split(opening.as_str()).skip(1);
    parts
        .map(|part| block(part).unwrap_or_else(|| panic!("no fenced block follows the marker {part:.40}")))
        .collect()
}

#[test]
fn examples_of_the_protocol_are_golden_files() {
    let shown = marked_blocks(&read("docs/protocol.md"), "golden");
    assert!(shown.len() > 20, "the protocol is shown by examples: {} are left", shown.len());
    let differs = shown.iter().filter_map(|(name, block)| {
        let golden = read(&format!("gateway/core/wire/tests/golden/{name}.json"));
        // The document may break a message into lines, and begin those after the first with blanks.
        let joined: String = block.lines().map(str::trim_start).collect();
        (joined != golden.trim_end()).then(|| format!("{name}: the golden file has\n{golden}"))
    });
    check("these examples of docs/protocol.md differ from their golden files: copy them", differs);
    let names: BTreeSet<&String> = shown.iter().map(|(name, _)| name).collect();
    for channel in ["book", "ticker", "trade", "ohlc", "instrument"] {
        for kind in ["snapshot", "update"] {
            let name = format!("{channel}-{kind}");
            assert!(names.contains(&name), "docs/protocol.md lacks the example {name}");
        }
    }
}

/// Every setting as `section.key` with its default as it is printed.
fn settings() -> BTreeMap<String, String> {
    let printed: Table = toml::from_str(&config::print(&Config::default())).expect("what is printed is toml");
    let mut found = BTreeMap::new();
    collect("", &printed, &mut found);
    found
}

fn collect(prefix: &str, table: &Table, found: &mut BTreeMap<String, String>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => collect(&path, inner, found),
            _ => drop(found.insert(path, value.to_string())),
        }
    }
}

/// Doc comments of the fields of `config.rs` and what stands below it, as `key: sentence`.
fn doc_comments() -> BTreeSet<String> {
    let (mut found, mut comment) = (BTreeSet::new(), Vec::new());
    let parts = files_in("gateway/src/config", &[".rs"]).into_iter().map(|(_, text)| text);
    let source: String = std::iter::once(read("gateway/src/config.rs")).chain(parts).collect();
    for line in source.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            comment.push(text);
            continue;
        }
        if let Some((key, _)) = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")) {
            found.insert(format!("{key}: {}", comment.join(" ")));
        }
        comment.clear();
    }
    found
}

#[test]
fn every_setting_stands_in_the_page_of_settings() {
    let page = read("docs/settings.md");
    let comments = doc_comments();
    let rows: Vec<Vec<&str>> = page
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect())
        .collect();
    let mut complaints = Vec::new();
    let mut lacking = settings();
    for row in rows {
        let &[path, default, meaning, variable] = &row[..] else { panic!("a row has four cells: {row:?}") };
        let path = path.trim_matches('`');
        let Some(value) = lacking.remove(path) else {
            complaints.push(format!("{path}: no such setting, or a second row"));
            continue;
        };
        if default != format!("`{value}`") {
            complaints.push(format!("{path}: the default is `{value}`"));
        }
        let expected = format!("`GATEWAY_{}`", path.replace('.', "_").to_uppercase());
        if variable != expected {
            complaints.push(format!("{path}: the variable is {expected}"));
        }
        let key = path.rsplit('.').next().unwrap_or_default();
        if !comments.contains(&format!("{key}: {meaning}")) {
            complaints.push(format!("{path}: the meaning is not the doc comment in gateway/src/config.rs"));
        }
    }
    complaints.extend(lacking.keys().map(|path| format!("{path}: lacks a row")));
    check("docs/settings.md is not what the gateway has", complaints);
}

/// What stands between backticks outside fenced blocks.
fn quoted(text: &str) -> Vec<String> {
    let mut fenced = false;
    let prose = text.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    let prose = prose.collect::<Vec<_>>().join("\n");
    prose.split('`').skip(1).step_by(2).map(|one| one.replace('\n', " ")).collect()
}

#[test]
fn paths_and_functions_in_documents_exist() {
    let top = ["gateway/", "feed-sim/", "loadtest/", "docs/", "dashboards/", "deploy/"];
    let mut complaints = Vec::new();
    for (document, text) in documents() {
        for quoted in quoted(&text) {
            let (path, function) = quoted.split_once(": ").unwrap_or((&quoted, ""));
            let is_path =
                top.iter().any(|folder| path.starts_with(folder)) && !path.contains([' ', '*', '<', '{']);
            if !is_path {
                continue;
            }
            if !root().join(path).exists() {
                complaints.push(format!("{document}: {path} does not exist"));
            } else if !function.is_empty() && !has_function(&read(path), function) {
                complaints.push(format!("{document}: {path} has no function {function}"));
            }
        }
    }
    check("these are told of and not there: correct the document", complaints);
}

fn has_function(code: &str, name: &str) -> bool {
    code.contains(&format!("fn {name}(")) || code.contains(&format!("fn {name}<"))
}

#[test]
fn links_between_documents_lead_somewhere() {
    let mut complaints = Vec::new();
    for (document, text) in documents() {
        let folder = root().join(&document).parent().expect("a file lies in a folder").to_owned();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let relative = targets.filter(|target| !target.is_empty() && !target.contains("://"));
        let broken = relative.filter(|target| !folder.join(target).exists());
        complaints.extend(broken.map(|target| format!("{document}: {target}")));
    }
    check("these links lead nowhere", complaints);
}

#[test]
fn continuous_integration_runs_the_readmes_test_command() {
    const COMMAND: &str = "gateway/tests/all.sh";
    assert!(read("README.md").contains(COMMAND), "README.md names the command that runs all tests");
    assert!(read(".ci/run").contains(COMMAND), ".ci/run runs the command that README.md names");
    assert!(root().join(COMMAND).exists(), "{COMMAND} exists");
}

#[test]
fn every_block_of_the_readme_that_looks_like_a_command_is_run_or_exempt() {
    let readme = read("README.md");
    let script = read("gateway/tests/readme.sh");
    let marked = marked_blocks(&readme, "run");
    for (name, _) in &marked {
        assert!(
            script.contains(name.as_str()),
            "gateway/tests/readme.sh does not run the block `{name}` of README.md"
        );
    }
    let commands =
        readme.lines().filter(|line| line.starts_with("```sh") || line.starts_with("```python")).count();
    // The tests themselves are the one block that the test of the README does not run.
    assert_eq!(
        commands,
        marked.len() + 1,
        "mark each block of README.md with `<!-- run: name -->` and run it in readme.sh"
    );
}

#[test]
fn the_example_configuration_is_the_defaults_with_every_setting() {
    let written: Table = toml::from_str(&read("deploy/gateway.toml")).expect("deploy/gateway.toml is toml");
    let mut found = BTreeMap::new();
    collect("", &written, &mut found);
    assert_eq!(found, settings(), "deploy/gateway.toml must show every setting with its default");
}
