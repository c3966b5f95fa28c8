//! Seeds: many random worlds, and the named ones that once found something.

use sim::{Report, Scenario, World};

fn check(seeds: std::ops::Range<u64>, scenario: Scenario) -> Report {
    let mut sum = Report::default();
    for seed in seeds {
        match World::new(seed, scenario).run() {
            Ok(report) => {
                sum.messages += report.messages;
                sum.merged += report.merged;
                sum.dropped += report.dropped;
                sum.out_of_reach += report.out_of_reach;
                sum.resumed += report.resumed;
            }
            Err(what) => panic!("seed {seed}: {what}\nrun it again: World::new({seed}, {scenario:?})"),
        }
    }
    sum
}

#[test]
fn slow_and_stalled_clients_end_with_the_right_book() {
    let sum = check(0..150, Scenario { feed_trouble: 0, ..Scenario::default() });
    assert!(sum.merged > 1_000, "the worlds must make clients lag: {sum:?}");
    assert_eq!(sum.out_of_reach, 0, "a book can be merged from any cursor");
}

#[test]
fn feed_trouble_is_healed_under_lagging_clients() {
    let sum = check(1_000..1_150, Scenario::default());
    assert!(sum.messages > 10_000 && sum.merged > 1_000 && sum.resumed > 100, "{sum:?}");
}

#[test]
fn what_a_full_lane_loses_is_told_or_closed() {
    let sum = check(2_000..2_100, Scenario { lossy_lane: true, ..Scenario::default() });
    assert!(sum.out_of_reach > 0 && sum.dropped > 0, "{sum:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| World::new(seed, Scenario::default()).run().unwrap();
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).trace, run(8).trace);
}
