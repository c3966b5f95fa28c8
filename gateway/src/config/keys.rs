//! The keys that exist, read off the defaults, and what is wrong with those that somebody wrote.

use toml::{Table, Value};

/// Every setting as `section.key` with its default, in the order of the tree.
pub(super) fn leaves(table: &Table) -> Vec<(String, Value)> {
    let mut found = Vec::new();
    collect("", table, &mut found);
    found
}

fn collect(prefix: &str, table: &Table, found: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match value {
            Value::Table(inner) => collect(&path, inner, found),
            _ => found.push((path, value.clone())),
        }
    }
}

/// Compares what was written with what exists: unknown keys with the nearest one, and values of a wrong type.
pub(super) fn problems(written: &Table, defaults: &Table) -> Vec<String> {
    let known = leaves(defaults);
    let mut problems = Vec::new();
    check("", written, defaults, &known, &mut problems);
    problems
}

fn check(
    prefix: &str,
    written: &Table,
    defaults: &Table,
    known: &[(String, Value)],
    problems: &mut Vec<String>,
) {
    for (key, value) in written {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (value, defaults.get(key)) {
            (Value::Table(inner), Some(Value::Table(default))) => {
                check(&path, inner, default, known, problems)
            }
            (_, None) => problems.push(unknown(&path, value, known)),
            (_, Some(default)) if !fits(value, default) => {
                let (is, should) = (value.type_str(), default.type_str());
                problems.push(format!("{path}: expected {should} such as {default}, found {is}"));
            }
            _ => {}
        }
    }
}

/// Whether a value can stand where the default stands; a whole number may stand for a decimal one.
fn fits(value: &Value, default: &Value) -> bool {
    value.same_type(default) || (value.is_integer() && default.is_float())
}

fn unknown(path: &str, value: &Value, known: &[(String, Value)]) -> String {
    let mut candidates: Vec<&str> = known.iter().map(|(path, _)| path.as_str()).collect();
    if value.is_table() {
        candidates =
            candidates.iter().filter_map(|path| path.rsplit_once('.')).map(|(section, _)| section).collect();
    }
    match nearest(path, candidates.into_iter()) {
        Some(near) => format!("{path}: unknown key, did you mean {near}?"),
        None => format!("{path}: unknown key"),
    }
}

/// The most similar of some names, if any is similar at all.
pub(super) fn nearest<'a>(name: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    const SIMILAR: f64 = 0.8;
    let last = |path: &str| path.rsplit('.').next().unwrap_or_default().to_owned();
    let likeness = |candidate: &str| {
        strsim::jaro_winkler(name, candidate).max(0.95 * strsim::jaro_winkler(&last(name), &last(candidate)))
    };
    candidates
        .map(|candidate| (likeness(candidate), candidate))
        .filter(|(likeness, _)| *likeness >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}
