//! Replays every input that is kept, without a fuzzer: the corpora, which say what is reached, and the findings, which must stay
//! fixed.
//!
//! Reads `corpus/TARGET` and `regressions/TARGET` beside this crate. A failure names the file, and how to look at it.

use std::fs;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};

use gateway_fuzz::{TARGETS, Target};

/// What lies in a folder, in the order of its names; nothing where there is none.
fn entries(folder: &Path) -> Vec<PathBuf> {
    if !folder.exists() {
        return Vec::new();
    }
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.expect("a folder is readable").path()).collect();
    paths.sort_unstable();
    paths
}

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Replays the inputs of one target, and says how many there were.
fn replay(Target { name, run }: Target) -> usize {
    let folders = ["corpus", "regressions"].map(|folder| here().join(folder).join(name));
    let paths: Vec<PathBuf> = folders.iter().flat_map(|folder| entries(folder)).collect();
    for path in &paths {
        let data = fs::read(path).expect("an input is readable");
        let is_fine = catch_unwind(|| run(&data)).is_ok();
        assert!(is_fine, "{name} fails on {}; see CONTRIBUTING.md, Fuzz", path.display());
    }
    paths.len()
}

#[test]
fn everything_that_was_kept_still_passes() {
    for target in TARGETS {
        let (name, inputs) = (target.name, replay(target));
        println!("{name}: {inputs} inputs replayed");
        assert!(inputs > 10, "the corpus of {name} is missing: {inputs} inputs");
    }
}

/// What lies in a folder of another name is never replayed.
#[test]
fn whatever_is_kept_is_kept_for_a_target() {
    let targets = TARGETS.map(|target| target.name);
    for folder in ["corpus", "regressions"] {
        for path in entries(&here().join(folder)) {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            assert!(targets.contains(&name.as_str()), "{} is of no target", path.display());
        }
    }
}
