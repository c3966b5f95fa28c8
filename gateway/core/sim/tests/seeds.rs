//! Seeds: many random worlds, and the named ones that once found something.

use sim::{Report, Scenario, World};

fn check(seeds: std::ops::Range<u64>, scenario: Scenario) -> Report {
    let mut sum = Report::default();
    for seed in seeds {
        match World::new(seed, scenario).run() {
            Ok(report) => sum.add(&report),
            Err(what) => {
                panic!(
                    "seed {seed}: {what}\nrun it again: cargo sim --scenario {} --seed {seed}",
                    scenario.name
                )
            }
        }
    }
    sum
}

#[test]
fn slow_and_stalled_clients_end_with_the_right_book() {
    let sum = check(0..100, Scenario::calm_feed());
    assert!(sum.merged > 1_000, "the worlds must make clients lag: {sum:?}");
    assert_eq!(sum.out_of_reach, 0, "a book can be merged from any cursor");
}

#[test]
fn feed_trouble_is_healed_under_lagging_clients() {
    let sum = check(1_000..1_100, Scenario::troubled_feed());
    assert!(sum.messages > 10_000 && sum.merged > 1_000 && sum.resumed > 100, "{sum:?}");
}

#[test]
fn what_a_full_lane_loses_is_told_or_closed() {
    let sum = check(2_000..2_100, Scenario::lossy_lane());
    assert!(sum.out_of_reach > 0 && sum.dropped > 0, "{sum:?}");
}

#[test]
fn clients_that_flap_go_on_from_where_they_stood() {
    let sum = check(3_000..3_100, Scenario::flapping());
    assert!(sum.resumed > 1_000, "{sum:?}");
}

#[test]
fn clients_with_a_bandwidth_get_everything_late() {
    let sum = check(4_000..4_100, Scenario::rated());
    assert!(sum.merged > 1_000, "{sum:?}");
}

#[test]
fn thousands_of_clients_are_served_at_once() {
    let sum = check(5_000..5_002, Scenario::crowd());
    assert!(sum.messages > 50_000, "{sum:?}");
}

#[test]
fn a_hundred_thousand_subscribes_each_begin_without_a_hole_or_a_repeat() {
    let sum = check(7_000..7_020, Scenario::churn());
    assert!(sum.subscribes >= 100_000 && sum.followed > 20_000 && sum.merged > 10_000, "{sum:?}");
}

/// A frame ended exactly where the byte log begins anew, and a client was given it together with the next one.
#[test]
fn what_a_client_is_given_at_once_never_goes_beyond_the_end_of_the_log() {
    check(20_114..20_115, Scenario::churn());
}

#[test]
fn who_chose_it_is_disconnected_and_who_lies_is_refused() {
    let sum = check(6_000..6_100, Scenario::calm_feed());
    assert!(sum.disconnected > 50 && sum.lies > 500, "{sum:?}");
}

#[test]
fn grants_end_at_once_and_what_is_left_goes_on() {
    let sum = check(8_000..8_100, Scenario::granted());
    assert!(sum.revoked > 500 && sum.grants_ended > 300 && sum.denied > 500, "{sum:?}");
    assert!(sum.messages > 10_000 && sum.merged > 1_000, "{sum:?}");
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    let run = |seed| World::new(seed, Scenario::troubled_feed()).run().unwrap();
    assert_eq!(run(7), run(7));
    assert_ne!(run(7).trace, run(8).trace);
}
