//! Reads settings: file, then environment, then flags. All problems come at once.

use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::{Table, Value};

use super::{Config, keys, tiers};

/// What begins the name of an environment variable that is a setting: `GATEWAY_PUBLIC_LISTEN` is `public.listen`.
const ENV_PREFIX: &str = "GATEWAY_";

/// Environment variables that begin like a setting and are a flag of the command line.
const ENV_OTHER: [&str; 1] = ["GATEWAY_CONFIG"];

/// Settings from the command line as `section.key` and TOML value.
pub type Overrides = Vec<(&'static str, Value)>;

/// Why the settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {error}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        error: std::io::Error,
    },
    /// The file is no TOML; the message shows line and column.
    #[error("{}: {error}", path.display())]
    NotToml {
        /// The file.
        path: PathBuf,
        /// The parser's reason.
        error: Box<toml::de::Error>,
    },
    /// Everything that is wrong, one line each.
    #[error("{}", list(.0))]
    Invalid(Vec<String>),
}

fn list(problems: &[String]) -> String {
    let count = problems.len();
    let noun = if count == 1 { "problem" } else { "problems" };
    format!("{count} {noun} in the settings\n  {}", problems.join("\n  "))
}

/// Lays file, environment and flags over the defaults, in this order.
///
/// # Errors
/// Every problem at once: unknown keys with the nearest one, wrong types, values out of range.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    overrides: Overrides,
) -> Result<Config, ConfigError> {
    let defaults = table(&Config::default());
    let mut problems = Vec::new();
    let mut merged = defaults.clone();
    let mut tiers = Table::new();
    if let Some(path) = file {
        let mut written = read_file(path)?;
        tiers = tiers::take(&mut written);
        let wrong = keys::problems(&written, &defaults).into_iter().chain(tiers::problems(&tiers, &defaults));
        problems.extend(wrong.map(|problem| format!("{}: {problem}", path.display())));
        lay_over(&mut merged, written);
    }
    for (name, text) in environment.filter(|(name, _)| name.starts_with(ENV_PREFIX)) {
        if let Err(problem) = apply_variable(&name, &text, &defaults, &mut merged) {
            problems.push(problem);
        }
    }
    for (path, value) in overrides {
        set(&mut merged, path, value);
    }
    tiers::finish(tiers, &mut merged);
    finish(merged, problems)
}

fn finish(merged: Table, mut problems: Vec<String>) -> Result<Config, ConfigError> {
    if problems.is_empty() {
        let config: Config = merged.try_into().map_err(|error: toml::de::Error| {
            ConfigError::Invalid(vec![error.message().replace('\n', " ")])
        })?;
        problems = config.problems();
        if problems.is_empty() {
            return Ok(config);
        }
    }
    Err(ConfigError::Invalid(problems))
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| ConfigError::Unreadable { path: path.into(), error })?;
    toml::from_str(&text).map_err(|error| ConfigError::NotToml { path: path.into(), error: Box::new(error) })
}

fn table(config: &Config) -> Table {
    Table::try_from(config).expect("the settings are plain structs of plain values")
}

/// Replaces what was written; keys that do not exist were reported and are left out.
pub(super) fn lay_over(base: &mut Table, written: Table) {
    for (key, value) in written {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(inner)), Value::Table(written)) => lay_over(inner, written),
            (Some(slot), value) if !slot.is_table() => *slot = value,
            _ => {}
        }
    }
}

fn apply_variable(name: &str, text: &str, defaults: &Table, merged: &mut Table) -> Result<(), String> {
    if ENV_OTHER.contains(&name) {
        return Ok(());
    }
    let leaves = keys::leaves(defaults);
    let Some((path, default)) = leaves.iter().find(|(path, _)| variable(path) == name) else {
        let names: Vec<String> = leaves.iter().map(|(path, _)| variable(path)).collect();
        let near = keys::nearest(name, names.iter().map(String::as_str));
        let hint = near.map(|near| format!(", did you mean {near}?")).unwrap_or_default();
        return Err(format!("{name}: no such setting{hint}"));
    };
    let value = parse_like(text, default).ok_or_else(|| {
        format!("{name}: expected {} such as {default}, found `{text}`", default.type_str())
    })?;
    set(merged, path, value);
    Ok(())
}

/// The environment variable of a setting.
fn variable(path: &str) -> String {
    format!("{ENV_PREFIX}{}", path.replace('.', "_").to_uppercase())
}

fn parse_like(text: &str, default: &Value) -> Option<Value> {
    match default {
        Value::Integer(_) => text.parse().ok().map(Value::Integer),
        Value::Float(_) => text.parse().ok().map(Value::Float),
        Value::Boolean(_) => text.parse().ok().map(Value::Boolean),
        Value::Array(_) => {
            let parts = text.split(',').map(str::trim).filter(|one| !one.is_empty());
            Some(Value::Array(parts.map(|one| Value::String(one.into())).collect()))
        }
        _ => Some(Value::String(text.into())),
    }
}

fn set(table: &mut Table, path: &str, value: Value) {
    let (section, rest) = path.split_once('.').unwrap_or((path, ""));
    match (table.get_mut(section), rest) {
        (Some(Value::Table(inner)), rest) if !rest.is_empty() => set(inner, rest, value),
        (Some(slot), _) => *slot = value,
        (None, _) => {}
    }
}

/// The settings as a TOML file.
#[must_use]
pub fn print(config: &Config) -> String {
    toml::to_string_pretty(config).expect("the settings are plain structs of plain values")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    /// Loads a file and variables and shows the error, or the settings that differ from the defaults.
    fn check(file: &str, variables: &[(&str, &str)]) -> String {
        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(file.as_bytes()).unwrap();
        let variables = variables.iter().map(|&(name, value)| (name.to_owned(), value.to_owned()));
        let shown = match load(Some(path.path()), variables, Vec::new()) {
            Err(error) => error.to_string(),
            Ok(config) => {
                let defaults = keys::leaves(&table(&Config::default()));
                let mine = keys::leaves(&table(&config));
                let changed = mine.iter().zip(&defaults).filter(|(a, b)| a != b);
                changed.map(|((path, value), _)| format!("{path} = {value}\n")).collect()
            }
        };
        shown.replace(&path.path().display().to_string(), "FILE")
    }

    #[test]
    fn file_then_environment_are_laid_over_the_defaults() {
        let file = "[public]\nlisten = \"127.0.0.1:1\"\n[feed.sim]\nrate = 5\n[shards]\ncount = 3\n";
        let shown = check(
            file,
            &[("GATEWAY_SHARDS_COUNT", "2"), ("GATEWAY_FEED_SOURCE", "tcp://h:7"), ("OTHER", "x")],
        );
        assert_eq!(
            shown,
            "feed.sim.rate = 5.0\nfeed.source = \"tcp://h:7\"\npublic.listen = \"127.0.0.1:1\"\nshards.count = 2\n"
        );
    }

    #[test]
    fn every_wrong_key_is_named_at_once_with_the_nearest() {
        let file = "colour = 1\n[public]\nlisen = \"x\"\n[feed.sim]\nsymbols = \"many\"\n[limit]\nring_entries = 2\n";
        let shown = check(file, &[("GATEWAY_SHARD_COUNT", "2"), ("GATEWAY_FEED_SIM_RATE", "fast")]);
        assert_eq!(
            shown,
            "6 problems in the settings\n  \
             FILE: colour: unknown key\n  \
             FILE: feed.sim.symbols: expected integer such as 20, found string\n  \
             FILE: limit: unknown key, did you mean limits?\n  \
             FILE: public.lisen: unknown key, did you mean public.listen?\n  \
             GATEWAY_SHARD_COUNT: no such setting, did you mean GATEWAY_SHARDS_COUNT?\n  \
             GATEWAY_FEED_SIM_RATE: expected float such as 2000.0, found `fast`"
        );
    }

    #[test]
    fn values_out_of_range_are_named_at_once_with_the_remedy() {
        let file = "[feed]\nsilence_ms = 1\n[feed.sim]\nsymbols = 0\narrivals = \"often\"\n[limits]\nring_entries = 0\n";
        assert_eq!(
            check(file, &[]),
            "4 problems in the settings\n  \
             limits.ring_entries must be at least 2\n  \
             feed.silence_ms must be at least 300: heartbeats come every 250 ms\n  \
             feed.sim.symbols must be from 1 to 10000\n  \
             feed.sim.arrivals must be uniform, poisson or bursty"
        );
    }

    #[test]
    fn a_tier_says_only_how_it_differs() {
        let file = "[delivery.book]\ninterval_ms_min = 50\n[tiers.gold.book]\nmax_lag_ms = 5\n[tiers.slow]\nbytes_per_s_max = 9\n";
        let mut path = tempfile::NamedTempFile::new().unwrap();
        path.write_all(file.as_bytes()).unwrap();
        let config = load(Some(path.path()), std::iter::empty(), Vec::new()).unwrap();
        let tiers = config.tier_bounds();
        let shown: Vec<_> = tiers
            .iter()
            .map(|tier| {
                let book = &tier.channels[model::Channel::Book as usize];
                (&*tier.name, tier.bytes_per_s_max, book.interval_ms_min, book.max_lag_ms)
            })
            .collect();
        assert_eq!(shown, [("default", 0, 50, 30_000), ("gold", 0, 50, 5), ("slow", 9, 50, 30_000)]);
        let file = "[tiers.gold]\nbook.polices = []\n[tiers.default]\n[tiers]\niron = 1\n";
        assert_eq!(
            check(file, &[]),
            "2 problems in the settings\n  \
             FILE: tiers.gold.book.polices: unknown key, did you mean book.policies?\n  \
             FILE: tiers.iron: expected a table such as [tiers.iron], found integer"
        );
        let shown = check("[tiers.default]\n[tiers.gold]\nbook.policies = [\"latest\"]\n", &[]);
        assert_eq!(
            shown,
            "3 problems in the settings\n  \
             tiers.default: that is the name of [delivery], choose another\n  \
             tiers.gold.book.policies: latest is none of conflate, drop_oldest, drop_newest, disconnect\n  \
             tiers.gold.book.policy must be one of tiers.gold.book.policies: latest"
        );
    }

    #[test]
    fn what_is_no_toml_is_shown_with_its_place() {
        let shown = check("[public\nlisten = 1\n", &[]);
        assert!(shown.starts_with("FILE: TOML parse error at line 1, column 8"), "{shown}");
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let printed = print(&Config::default());
        assert_eq!(check(&printed, &[]), "");
    }
}
