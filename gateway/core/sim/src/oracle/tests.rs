//! The oracle against doctored traffic: each wrong message is found, and what is right is not.
//!
//! The market here is one bid and one ask; every message is made by hand, so that nothing of the gateway is believed.

use std::slice::from_ref;

use model::{Instrument, Level, Price, Qty};

use super::*;
use crate::venue::Venue;

const KEY: Key = (Channel::Book, 0);

/// A book that changes, and what an honest gateway would send of it.
struct Tape {
    instrument: Instrument,
    /// Quantity of the one bid.
    qty: i64,
    seq: u64,
}

impl Tape {
    fn new() -> Self {
        let instrument = (*Venue::new(1, 1, 0).listings[0].instrument).clone();
        Self { instrument, qty: 1, seq: 10 }
    }

    fn book(&self, kind: &str, link: &str) -> String {
        let level = |price, qty| Level { price: Price(price), qty: Qty(qty) };
        let (bids, asks) = ([level(1_000, self.qty)], [level(1_001, 1)]);
        let checksum = wire::checksum::checksum(&self.instrument, bids.into_iter(), asks.into_iter());
        format!(
            r#"{{"channel":"book","type":"{kind}","data":[{{"symbol":"S0/USD","bids":[{{"price":100.0,"qty":0.{:08}}}],"asks":[{{"price":100.1,"qty":0.00000001}}],"checksum":{checksum},"seq":{},{link}}}]}}"#,
            self.qty, self.seq
        )
    }

    fn snapshot(&self) -> String {
        self.book("snapshot", r#""epoch":1"#)
    }

    /// The next change; events that change nothing here lie between.
    fn update(&mut self) -> String {
        let prev = self.seq;
        (self.qty, self.seq) = (self.qty + 1, self.seq + 3);
        self.book("update", &format!(r#""prev":{prev}"#))
    }
}

/// The answer to a subscription to anything, with whatever more it says.
fn answer(method: &str, channel: &str, more: &str) -> String {
    format!(
        r#"{{"method":"{method}","result":{{"channel":"{channel}","symbol":"S0/USD"{more}}},"success":true}}"#
    )
}

fn trade(id: u64, seq: u64, prev: u64) -> String {
    format!(
        r#"{{"channel":"trade","type":"update","data":[{{"symbol":"S0/USD","trade_id":{id},"seq":{seq},"prev":{prev}}}]}}"#
    )
}

/// What an oracle says to some messages, one after the other.
fn verdict(mut oracle: Oracle, messages: &[String]) -> String {
    let instruments = [Tape::new().instrument];
    for message in messages {
        if let Err(what) = oracle.take(message.as_bytes(), &instruments) {
            return what;
        }
    }
    format!(
        "right, {} joined, {} followed, {} trades and {} snapshots missed",
        oracle.joins, oracle.followed, oracle.trades_missed, oracle.snapshots_missed
    )
}

fn reader(ext: bool) -> Oracle {
    let mut oracle = Oracle::new(ext);
    oracle.expect(KEY, 10, true);
    oracle
}

#[test]
fn what_is_wrong_at_a_join_or_after_it_is_found() {
    let mut tape = Tape::new();
    let ack = answer("subscribe", "book", r#","epoch":1,"seq":10"#);
    let late = answer("subscribe", "book", r#","epoch":1,"seq":11"#);
    let gone = answer("unsubscribe", "book", "");
    let start = tape.snapshot();
    let [first, second, third] = [(); 3].map(|()| tape.update());
    let right = "right, 1 joined, 1 followed, 0 trades and 0 snapshots missed";
    let cases: [(&[&String], &str); 11] = [
        (&[&ack, &start, &first, &second, &third], right),
        (&[&start, &ack], "data before the acknowledgement"),
        (&[&ack, &first], "an update before the snapshot"),
        (&[&ack, &start, &second], "prev 13 after 10"),
        (&[&ack, &start, &first, &third], "prev 16 after 13"),
        (&[&ack, &start, &first, &first], "prev 10 after 13"),
        (&[&ack, &start, &start], "a second snapshot"),
        (&[&ack, &ack], "acknowledged twice: (Book, 0)"),
        (&[&late, &start], "a snapshot of 10, acknowledged at 11"),
        (&[&ack, &start, &gone, &first], "data without subscription"),
        (&[&gone, &ack], "acknowledged without request: (Book, 0)"),
    ];
    for (messages, expected) in cases {
        let messages: Vec<String> = messages.iter().map(|&message| message.clone()).collect();
        assert_eq!(verdict(reader(true), &messages), expected, "{messages:#?}");
    }
}

#[test]
fn a_wrong_quantity_is_found_by_its_checksum() {
    let mut tape = Tape::new();
    let (ack, start) = (answer("subscribe", "book", ""), tape.snapshot());
    let update = tape.update();
    for wrong in [
        [ack.clone(), start.replace("0.00000001", "0.00000003")],
        [ack.clone(), start.replace("100.1", "100.2")],
    ] {
        assert!(verdict(reader(false), &wrong).starts_with("checksum"), "{wrong:#?}");
    }
    let wrong = [ack, start, update.replace("0.00000002", "0.00000009")];
    assert!(verdict(reader(false), &wrong).starts_with("checksum"), "{wrong:#?}");
}

#[test]
fn who_has_no_snapshot_begins_where_the_acknowledgement_says() {
    let subscribe = |more: &str| answer("subscribe", "trade", more);
    let reader = |wants_snapshot| {
        let mut oracle = Oracle::new(true);
        oracle.expect((Channel::Trade, 0), 10, wants_snapshot);
        oracle
    };
    let ack = subscribe(r#","epoch":1,"seq":10"#);
    let right = "right, 1 joined, 1 followed, 0 trades and 0 snapshots missed";
    assert_eq!(verdict(reader(false), &[ack.clone(), trade(7, 12, 10)]), right);
    assert_eq!(verdict(reader(false), &[ack.clone(), trade(7, 12, 11)]), "prev 11 after 10");
    let missing = "right, 1 joined, 1 followed, 1 trades and 0 snapshots missed";
    assert_eq!(verdict(reader(false), &[ack.clone(), trade(7, 12, 10), trade(9, 14, 12)]), missing);
    // No snapshot comes before the first trade of all.
    assert_eq!(verdict(reader(true), &[ack.clone(), trade(1, 12, 10)]), right);
    let missed = "right, 1 joined, 1 followed, 0 trades and 1 snapshots missed";
    assert_eq!(verdict(reader(true), &[ack, trade(7, 12, 10)]), missed);
}

#[test]
fn who_comes_back_goes_on_from_its_own_place() {
    let mut tape = Tape::new();
    let mut before = reader(true);
    let messages = [answer("subscribe", "book", ""), tape.snapshot(), tape.update()];
    let instruments = [tape.instrument.clone()];
    for message in &messages {
        before.take(message.as_bytes(), &instruments).expect("an honest gateway");
    }
    let back = |lying| {
        let mut oracle = Oracle::new(true);
        oracle.expect_resumed(KEY, before.views[&KEY].clone(), lying);
        oracle
    };
    let ack = |recovered: bool| {
        answer("subscribe", "book", &format!(r#","epoch":1,"seq":16,"recovered":{recovered}"#))
    };
    let (next, later) = (tape.update(), tape.update());
    let right = "right, 1 joined, 1 followed, 0 trades and 0 snapshots missed";
    assert_eq!(verdict(back(false), &[ack(true), next.clone(), later.clone()]), right);
    assert_eq!(verdict(back(false), &[ack(true), later]), "prev 16 after 13");
    assert_eq!(verdict(back(false), &[ack(true), tape.snapshot()]), "a second snapshot");
    assert_eq!(verdict(back(false), &[ack(false), next]), "an update before the snapshot");
    assert_eq!(verdict(back(false), &[ack(false), tape.snapshot(), tape.update()]), right);
    assert_eq!(verdict(back(true), &[ack(true)]), "recovered from where nobody ever was: (Book, 0)");
    assert_eq!(verdict(back(false), &[answer("subscribe", "book", "")]), "recovered is None: (Book, 0)");
}

/// An oracle that follows a book and whose grant ends after so many bytes; with what it has been sent by then.
fn reader_without(ext: bool, on_its_way: u64) -> (Oracle, Tape) {
    let mut oracle = reader(ext);
    let tape = Tape::new();
    for message in [answer("subscribe", "book", ""), tape.snapshot()] {
        oracle.take(message.as_bytes(), from_ref(&tape.instrument)).expect("an honest gateway");
    }
    assert!(oracle.may_have(KEY, 10) && oracle.granted_until().is_none());
    let revoked = oracle.take_grant(Granted::of_symbols(&["S1/USD"]), on_its_way, ext);
    assert_eq!(
        (revoked, oracle.may_have(KEY, 10), oracle.may_have((Channel::Book, 1), 10)),
        (1, false, true)
    );
    (oracle, tape)
}

const REVOKED: &str =
    r#"{"channel":"notice","type":"update","data":[{"code":"revoked","channel":"book","symbol":"S0/USD"}]}"#;
const ENDED: &str =
    r#"{"channel":"notice","type":"update","data":[{"code":"revoked","text":"token expired"}]}"#;

#[test]
fn what_is_sent_without_a_grant_is_found() {
    let said = |(mut oracle, mut tape): (Oracle, Tape), at: u64, messages: &[&str]| {
        oracle.at = at;
        let update = tape.update();
        for message in messages {
            let message = if *message == "update" { &update } else { *message };
            if let Err(what) = oracle.take(message.as_bytes(), from_ref(&tape.instrument)) {
                return what;
            }
        }
        oracle.untold().unwrap_or_else(|| "right".to_owned())
    };
    let of_book = || reader_without(true, 100);
    assert_eq!(said(of_book(), 99, &["update", REVOKED]), "right", "it was on its way");
    assert_eq!(said(of_book(), 100, &[REVOKED]), "right");
    assert_eq!(said(of_book(), 100, &["update"]), "data of what was revoked: (Book, 0)");
    assert_eq!(said(of_book(), 99, &[REVOKED, "update"]), "data without subscription");
    assert_eq!(said(of_book(), 100, &[]), "nobody told it that (Book, 0) was revoked");
    assert_eq!(said(of_book(), 100, &[REVOKED, REVOKED]), "revoked, but never had: (Book, 0)");
    assert_eq!(said((reader(true), Tape::new()), 0, &[REVOKED]), "revoked although it is granted: (Book, 0)");
    // Who cannot be told has to be closed.
    assert_eq!(said(reader_without(false, 100), 100, &["update"]), "data behind the end of the grant");
    assert_eq!(said(reader_without(false, 100), 100, &[]), "its grant has ended and it is still there");
}

#[test]
fn who_opted_in_is_told_why_it_is_closed() {
    let closed = |ext, code, told: &[&str]| {
        let mut oracle = reader(ext);
        told.iter().for_each(|notice| oracle.take(notice.as_bytes(), &[]).expect("a notice"));
        oracle.take_close(code)
    };
    assert_eq!(closed(true, 4410, &[ENDED]), Ok(()));
    assert_eq!(closed(true, 4410, &[]), Err("closed with 4410 without having been told why".to_owned()));
    assert_eq!(closed(true, 4403, &[]), Err("closed with 4403 without having been told why".to_owned()));
    assert_eq!((closed(false, 4403, &[]), closed(true, 4008, &[])), (Ok(()), Ok(())));
}
