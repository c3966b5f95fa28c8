//! Bugs planted on purpose: each is found within a thousand seeds, and without one the same seeds are clean.
#![cfg(feature = "planted")]

use std::panic::catch_unwind;

use fanout::planted::{Bug, plant};
use sim::{Scenario, World};

/// Within how many seeds a bug must be found.
const SEEDS_MAX: u64 = 1_000;

/// What is wrong with a seed; an assertion of the core counts as well.
fn verdict(seed: u64) -> Option<String> {
    match catch_unwind(|| World::new(seed, Scenario::of_seed(seed)).run()) {
        Ok(Ok(_)) => None,
        Ok(Err(violation)) => Some(violation.to_string()),
        Err(_) => Some("an assertion of the core".to_owned()),
    }
}

/// The first seed that a bug fails, and what is seen of it.
fn hunt(bug: Bug) -> Option<(u64, String)> {
    plant(Some(bug));
    let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, verdict(seed)?)));
    // The same seed fails in the same way, at the same step, after the same trace.
    if let Some((seed, what)) = &found {
        assert_eq!(verdict(*seed).as_ref(), Some(what), "{} fails differently when replayed", bug.name());
    }
    plant(None);
    found
}

#[test]
fn every_planted_bug_is_found_within_a_thousand_seeds() {
    let mut missed = Vec::new();
    let mut seeds_max = 0;
    for bug in Bug::ALL.into_iter().chain(Bug::OF_GRANTS) {
        match hunt(bug) {
            Some((seed, what)) => {
                let what: String = what.chars().take(150).collect();
                println!("{:<22} {:>4} seeds: {what}", bug.name(), seed + 1);
                seeds_max = seeds_max.max(seed + 1);
            }
            None => missed.push(bug.name()),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {missed:?}");
    // Nothing was wrong but what was planted.
    for seed in 0..seeds_max {
        assert_eq!(verdict(seed), None, "seed {seed} without a planted bug");
    }
}
