//! The witness against scripted frames: each rule broken once, and what may look broken and is not.

use super::*;
use crate::plan::{Cli, Command, Settings};
use clap::Parser;

fn plan(line: &str) -> Plan {
    let words = ["loadtest", "run"].into_iter().chain(line.split_ascii_whitespace());
    let Command::Run(args) = Cli::parse_from(words).command else { panic!("run is run") };
    Plan::new(Settings::new(&args).unwrap(), vec!["A/B".to_owned()]).unwrap()
}

/// A client of one symbol that has asked for it, at time 0.
fn asked(plan: &Plan) -> (Verifier, Desk) {
    let mut verifier = Verifier::new(0, plan, 0);
    assert_eq!(verifier.subscribe_all(&plan.settings.groups[0], 0).len(), 1);
    (verifier, Desk::new(plan))
}

/// Feeds frames to one client of one symbol, a millisecond apart, and lists the kinds of violations.
fn check(line: &str, frames: &[&str], expected: &[&str]) {
    let (mut verifier, mut desk) = asked(&plan(line));
    for (i, frame) in frames.iter().enumerate() {
        verifier.handle_text(frame.as_bytes(), 1_000 * (i as Micros + 1), &mut desk);
    }
    let got: Vec<_> = desk.tally.violations.examples().iter().map(|v| v.kind).collect();
    assert_eq!(got, expected, "{:#?}", desk.tally.violations.examples());
}

fn ack(channel: &str) -> String {
    format!(
        r#"{{"method":"subscribe","result":{{"channel":"{channel}","symbol":"A/B"}},"success":true,"req_id":1}}"#
    )
}

fn trade(kind: &str, elements: &[(u64, u64, u64)]) -> String {
    let element = |(id, seq, prev): &(u64, u64, u64)| {
        format!(
            r#"{{"symbol":"A/B","trade_id":{id},"seq":{seq},"prev":{prev},"timestamp":"1970-01-01T00:00:00.000000Z"}}"#
        )
    };
    let data: Vec<_> = elements.iter().map(element).collect();
    format!(r#"{{"channel":"trade","type":"{kind}","data":[{}]}}"#, data.join(","))
}

#[test]
fn trades_in_order_are_clean_whether_single_or_together() {
    let frames = [
        ack("trade"),
        trade("snapshot", &[(1, 5, 0), (2, 6, 0)]),
        trade("update", &[(3, 9, 6), (4, 11, 9)]),
        trade("update", &[(5, 12, 11)]),
    ];
    check("--channel trade", &frames.each_ref().map(String::as_str), &[]);
}

#[test]
fn each_break_of_the_trade_stream_has_its_kind() {
    let start = ack("trade");
    let first = trade("update", &[(1, 5, 4)]);
    let next = |frame: &str, kind: &str| check("--channel trade", &[&start, &first, frame], &[kind]);
    next(&trade("update", &[(3, 6, 5)]), "trade_id");
    next(&trade("update", &[(2, 6, 4)]), "prev_broken");
    next(&trade("update", &[(2, 5, 5)]), "seq_order");
    next(
        r#"{"channel":"trade","type":"update","data":[{"symbol":"A/B","trade_id":2,"seq":6}]}"#,
        "prev_broken",
    );
    next(r#"{"channel":"trade","type":"update","data":[{"symbol":"X/Y"}]}"#, "unexpected_message");
    next(r#"{"channel":"ticker","type":"update","data":[]}"#, "unexpected_message");
    next(r#"{"channel":"notice","data":[{"code":"lagging"}]}"#, "unrequested_notice");
    next(r#"{"channel":"notice","data":[]}"#, "unparseable");
    next("not json", "unparseable");
    next(&start, "ack_wrong");
}

#[test]
fn seq_may_go_back_with_a_new_epoch_but_the_link_holds() {
    let start = ack("ticker");
    let element =
        |rest: &str| format!(r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"A/B",{rest}}}]}}"#);
    let first = element(r#""seq":9,"prev":1,"epoch":7"#);
    let check_next = |rest: &str, kinds: &[&str]| {
        check("--channel ticker", &[&start, &first, &element(rest)], kinds);
    };
    check_next(r#""seq":2,"prev":9,"epoch":8"#, &[]);
    check_next(r#""seq":2,"prev":9,"epoch":7"#, &["seq_order"]);
    check_next(r#""seq":2,"prev":8,"epoch":8"#, &["prev_broken"]);
}

#[test]
fn a_new_epoch_counts_trades_anew_also_within_a_snapshot() {
    let element = |(epoch, id, seq): (u64, u64, u64), prev: u64| {
        format!(r#"{{"symbol":"A/B","trade_id":{id},"seq":{seq},"prev":{prev},"epoch":{epoch}}}"#)
    };
    let message = |kind: &str, elements: &[String]| {
        format!(r#"{{"channel":"trade","type":"{kind}","data":[{}]}}"#, elements.join(","))
    };
    let update = |place, prev| message("update", &[element(place, prev)]);
    let start = ack("trade");
    let both = message("snapshot", &[element((7, 40, 90), 0), element((8, 1, 3), 0)]);
    check("--channel trade", &[&start, &both, &update((8, 2, 4), 3)], &[]);
    check("--channel trade", &[&start, &both, &update((9, 5, 2), 3)], &[]);
    check("--channel trade", &[&start, &both, &update((8, 3, 4), 3)], &["trade_id"]);
    check("--channel trade", &[&start, &both, &update((8, 2, 3), 3)], &["seq_order"]);
    // Who was told no epoch yet is told of the first one that is another.
    let first = trade("update", &[(9, 5, 4)]);
    check("--channel trade", &[&start, &first, &update((8, 1, 1), 5)], &[]);
}

#[test]
fn what_the_feed_lost_is_told_as_stale() {
    let (start, first, later) = (ack("trade"), trade("update", &[(1, 5, 4)]), trade("update", &[(4, 9, 5)]));
    let last = trade("update", &[(6, 12, 9)]);
    let maintenance = r#"{"channel":"status","type":"update","data":[{"system":"maintenance"}]}"#;
    let stale =
        r#"{"channel":"notice","type":"update","data":[{"code":"stale","channel":"trade","symbol":"A/B"}]}"#;
    let of_another = stale.replace("A/B", "X/Y");
    let ext = "--channel trade --url ws://h/v2?ext=1";
    check("--channel trade", &[&start, &first, maintenance, &later], &[]);
    check(ext, &[&start, &first, stale, &later], &[]);
    check(ext, &[&start, &first, &of_another, &later], &["loss_untold"]);
    // Once the market goes on, nothing more may be missing.
    check(ext, &[&start, &first, stale, &later, &last], &["loss_untold"]);
}

fn notice(code: &str, from: u64, to: u64, count: u64) -> String {
    format!(
        r#"{{"channel":"notice","type":"update","data":[{{"code":"{code}","channel":"trade","symbol":"A/B","from_seq":{from},"to_seq":{to},"count":{count}}}]}}"#
    )
}

#[test]
fn notices_and_second_snapshots_are_for_those_who_opted_in() {
    let start = ack("trade");
    let snapshot = trade("snapshot", &[(1, 5, 0)]);
    let frames = [start.as_str(), &snapshot, &notice("resynced", 5, 9, 4), &snapshot];
    check("--channel trade --url ws://h/v2?ext=1", &frames, &[]);
    check("--channel trade --url ws://h/v2", &frames, &["unrequested_notice", "snapshot_repeated"]);
    let unannounced = [start.as_str(), &snapshot, &snapshot];
    check("--channel trade --url ws://h/v2?ext=1", &unannounced, &["snapshot_repeated"]);
}

#[test]
fn a_gap_that_is_told_is_no_loss_and_one_that_is_not_is() {
    let ext = "--channel trade --url ws://h/v2?ext=1";
    let (start, first) = (ack("trade"), trade("update", &[(1, 5, 4)]));
    let after = trade("update", &[(4, 9, 8)]);
    let told = |notice: &str, kinds: &[&str]| check(ext, &[&start, &first, notice, &after], kinds);
    told(&notice("gap", 5, 8, 2), &[]);
    told(&notice("gap", 5, 8, 1), &["loss_untold"]);
    told(&notice("gap", 5, 8, 3), &["trade_id"]);
    told(&notice("gap", 4, 8, 2), &["notice_wrong"]);
    told(&notice("gap", 5, 7, 2), &["prev_broken"]);
    check(ext, &[&start, &first, &after], &["prev_broken", "loss_untold"]);
    // Who did not opt in is told by the link alone, and only of what was lost.
    check("--channel trade", &[&start, &first, &after], &[]);
    check("--channel trade", &[&start, &first, &trade("update", &[(2, 9, 8)])], &["prev_broken"]);
}

#[test]
fn the_first_trade_follows_the_place_of_the_acknowledgement() {
    let start = r#"{"method":"subscribe","result":{"channel":"trade","symbol":"A/B","epoch":1,"seq":8},"success":true,"req_id":1}"#;
    let snapshot = trade("snapshot", &[(1, 5, 0)]);
    let next = |prev: u64, kinds: &[&str]| {
        check(
            "--channel trade --url ws://h/v2?ext=1",
            &[start, &snapshot, &trade("update", &[(2, 9, prev)])],
            kinds,
        );
    };
    next(8, &[]);
    next(7, &["prev_broken"]);
}

#[test]
fn what_a_notice_announces_must_come() {
    let ext = "--channel ticker --url ws://h/v2?ext=1";
    let ticker =
        |rest: &str| format!(r#"{{"channel":"ticker","type":"update","data":[{{"symbol":"A/B",{rest}}}]}}"#);
    let (start, first) = (ack("ticker"), ticker(r#""seq":5,"prev":4"#));
    let merged = notice("merged", 5, 9, 4).replace("trade", "ticker");
    let next = |rest: &str, kinds: &[&str]| check(ext, &[&start, &first, &merged, &ticker(rest)], kinds);
    next(r#""seq":9,"prev":5,"merged":4"#, &[]);
    next(r#""seq":9,"prev":5,"merged":3"#, &["notice_wrong"]);
    next(r#""seq":8,"prev":5,"merged":4"#, &["notice_wrong"]);
    // A range whose end is below its beginning ends in another epoch, and says in which.
    let renewed = ticker(r#""seq":2,"prev":5,"epoch":8,"merged":4"#);
    let merged = notice("merged", 5, 2, 4).replace("trade", "ticker");
    check(ext, &[&start, &first, &merged, &renewed], &["notice_wrong"]);
    let told = merged.replace(r#""count""#, r#""epoch":8,"count""#);
    check(ext, &[&start, &first, &told, &renewed], &[]);
}

#[test]
fn refusal_and_wrong_echo_are_told_apart() {
    let refusal = r#"{"error":"Currency pair not supported A/B","method":"subscribe","success":false,"symbol":"A/B","req_id":1}"#;
    check("", &[refusal], &["subscribe_refused"]);
    check("", &[&ack("book").replace("\"req_id\":1", "\"req_id\":2")], &["ack_wrong"]);
    check("", &[&ack("ticker")], &["ack_wrong"]);
}

#[test]
fn missing_answers_are_reported_once_and_silence_once_per_pause() {
    let (mut verifier, mut desk) = asked(&plan(""));
    for second in 1..=12 {
        verifier.handle_time(second * 1_000_000, &mut desk.tally);
    }
    verifier.handle_text(b"{\"channel\":\"heartbeat\"}", 13_000_000, &mut desk);
    // This pause ends between two ticks, and is found by the message that ends it.
    verifier.handle_text(b"{\"channel\":\"heartbeat\"}", 18_500_000, &mut desk);
    let violations = &desk.tally.violations;
    assert_eq!(violations.count(Kind::AckMissing), 1);
    assert_eq!(violations.count(Kind::Silent), 2);
    assert!(verifier.is_settled());
}
