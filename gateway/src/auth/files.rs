//! The files that an authority is made of, and whether they have changed.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use ::auth::{ApiKeyEntry, ApiKeys, Authority, KeySet, Revocations, Rules};
use serde::Deserialize;

use super::coverage;
use crate::config::AuthConfig;

/// Most bytes of a file: more is a mistake, not a list.
const FILE_BYTES_MAX: u64 = 64 << 20;

/// A file of API keys.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiKeyFile {
    #[serde(default)]
    key: Vec<ApiKeyEntry>,
}

/// Reads all files; `ordered` are the revocations that operators gave since the start.
///
/// # Errors
/// Everything that is wrong with them.
pub(super) fn load(settings: &AuthConfig, ordered: &Revocations) -> Result<Authority, Vec<String>> {
    let mut problems = Vec::new();
    let keys = keys(settings, &mut problems);
    let api_keys = api_keys(&settings.api_keys, &mut problems);
    let revocations = revocations(&settings.revocations, ordered, &mut problems);
    let named = |text: &str| (!text.is_empty()).then(|| text.into());
    let (issuer, audience) = (named(&settings.issuer), named(&settings.audience));
    let rules = Rules { issuer, audience, leeway_s: settings.leeway_s };
    if problems.is_empty() {
        Ok(Authority { keys: keys.into(), api_keys: api_keys.into(), revocations, rules })
    } else {
        Err(problems)
    }
}

fn read(path: &str) -> Result<String, String> {
    let told = |error: std::io::Error| format!("{path}: {error}");
    let len = fs::metadata(path).map_err(told)?.len();
    if len > FILE_BYTES_MAX {
        return Err(format!("{path}: {len} bytes, at most {FILE_BYTES_MAX} are read"));
    }
    fs::read_to_string(path).map_err(told)
}

fn keys(settings: &AuthConfig, problems: &mut Vec<String>) -> KeySet {
    let mut keys = KeySet::default();
    for path in settings.key_files() {
        let added =
            read(path).and_then(|text| keys.add(text.as_bytes()).map_err(|error| format!("{path}: {error}")));
        match added {
            Ok(0) => {}
            Ok(skipped) => tracing::warn!(path, skipped, "keys of kinds or uses that are not taken here"),
            Err(problem) => problems.push(format!("auth.keys: {problem}")),
        }
    }
    keys
}

fn api_keys(path: &str, problems: &mut Vec<String>) -> ApiKeys {
    if path.is_empty() {
        return ApiKeys::default();
    }
    let parsed = read(path).and_then(|text| {
        toml::from_str::<ApiKeyFile>(&text).map_err(|error| format!("{path}: {}", error.message()))
    });
    let entries = parsed.unwrap_or_else(|problem| {
        problems.push(format!("auth.api_keys: {problem}"));
        ApiKeyFile::default()
    });
    let keys = ApiKeys::new(entries.key).unwrap_or_else(|found| {
        problems.extend(found.into_iter().map(|problem| format!("auth.api_keys: {path}: {problem}")));
        ApiKeys::default()
    });
    for entry in keys.entries() {
        if let Err(problem) = coverage(&entry.narrowing()) {
            problems.push(format!("auth.api_keys: {path}: {}: {problem}", entry.subject));
        }
    }
    keys
}

fn revocations(path: &str, ordered: &Revocations, problems: &mut Vec<String>) -> Revocations {
    let mut revocations = ordered.clone();
    if path.is_empty() {
        return revocations;
    }
    let added = read(path).and_then(|text| {
        let listed = Revocations::parse(&text).map_err(|error| format!("{path}: {error}"))?;
        revocations.extend(listed).map_err(|error| format!("{path}: {error}"))
    });
    if let Err(problem) = added {
        problems.push(format!("auth.revocations: {problem}"));
    }
    revocations
}

/// What a file looked like: whoever replaces or writes it changes one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Look {
    inode: u64,
    len: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// What the files looked like when they were last read.
#[derive(Debug)]
pub(super) struct Watch {
    paths: Vec<String>,
    looks: Vec<Option<Look>>,
}

impl Watch {
    /// Has a look at the files of the settings; to be made before they are read.
    pub(super) fn new(settings: &AuthConfig) -> Self {
        let others = [&settings.api_keys, &settings.revocations].into_iter().filter(|path| !path.is_empty());
        let paths: Vec<String> = settings.key_files().chain(others).cloned().collect();
        let looks = paths.iter().map(|path| look(path)).collect();
        Self { paths, looks }
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// Whether a file looks different than last time; looks at them all.
    pub(super) fn has_changed(&mut self) -> bool {
        let looks: Vec<_> = self.paths.iter().map(|path| look(path)).collect();
        std::mem::replace(&mut self.looks, looks.clone()) != looks
    }
}

fn look(path: &str) -> Option<Look> {
    let found = fs::metadata(Path::new(path)).ok()?;
    Some(Look {
        inode: found.ino(),
        len: found.len(),
        modified: (found.mtime(), found.mtime_nsec()),
        changed: (found.ctime(), found.ctime_nsec()),
    })
}
