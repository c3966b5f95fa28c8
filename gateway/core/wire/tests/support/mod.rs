//! Golden files: one message per file, compared byte for byte.
//!
//! `UPDATE_GOLDEN=1 cargo test -p wire` rewrites them. The protocol document shows the same files.

use std::path::PathBuf;
use std::{env, fs};

/// Compares a message with `tests/golden/<name>.json`, which ends with a newline that the message has not.
///
/// # Panics
/// When they differ or the file is missing, and says how to rewrite it.
pub(crate) fn golden(name: &str, bytes: &[u8]) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.json"));
    let written = String::from_utf8(bytes.to_vec()).expect("a message is utf-8");
    serde_json::from_str::<serde_json::Value>(&written).expect("a message is json");
    if env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, format!("{written}\n")).expect("golden files are writable");
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    let kept = kept.strip_suffix('\n').unwrap_or(&kept);
    assert_eq!(written, kept, "{name} differs from {}; UPDATE_GOLDEN=1 rewrites it", path.display());
}
