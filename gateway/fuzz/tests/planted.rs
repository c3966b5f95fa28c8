//! What the inputs of `hub_operations` that are kept are worth: replaying them finds the bugs that are planted on purpose in the
//! delivery.
//!
//! Plants them one after the other, as the simulator's own test does with seeds. Reads the corpus and the findings beside this
//! crate.
#![cfg(feature = "planted")]

use std::fs;
use std::panic::{catch_unwind, set_hook};
use std::path::Path;

use fanout::planted::{Bug, plant};
use gateway_fuzz::hub_operations;

/// The inputs that are kept.
fn kept() -> Vec<Vec<u8>> {
    let folders = ["corpus", "regressions"]
        .map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder).join("hub_operations"));
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).expect("it is beside the crate"));
    entries.map(|entry| fs::read(entry.expect("it is readable").path()).expect("it is readable")).collect()
}

/// How many inputs find a bug.
fn found(bug: Option<Bug>, inputs: &[Vec<u8>]) -> usize {
    plant(bug);
    let found = inputs.iter().filter(|data| catch_unwind(|| hub_operations::run(data)).is_err()).count();
    plant(None);
    found
}

#[test]
fn planted_bugs_are_found_by_replaying_what_is_kept() {
    let inputs = kept();
    // Hundreds of panics are as they should be.
    set_hook(Box::new(|_| {}));
    assert_eq!(found(None, &inputs), 0, "without a planted bug nothing is found");
    let counts = Bug::ALL.map(|bug| (bug, found(Some(bug), &inputs)));
    let missed: Vec<Bug> = counts.into_iter().filter(|&(_, count)| count == 0).map(|(bug, _)| bug).collect();
    println!(
        "{} planted bugs, {} found by replaying {} inputs",
        Bug::ALL.len(),
        Bug::ALL.len() - missed.len(),
        inputs.len()
    );
    assert!(missed.is_empty(), "not found: {missed:?}");
}
