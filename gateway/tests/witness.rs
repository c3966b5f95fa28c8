//! The client of these tests against doctored messages: each that breaks a rule is found, and what keeps them is not.
//!
//! Needs no gateway. Every message is made by hand; prices have one decimal, quantities two.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};

use serde_json::{Value, json};
use support::book::{Book, Precision, Side};
use support::view::View;

const SYMBOL: &str = "AAA/USD";

/// A book that an honest gateway tells.
struct Tape {
    book: Book,
    seq: u64,
}

impl Tape {
    fn new() -> Self {
        let side = |prices: [u64; 2]| Side::from(prices.map(|price| (price, 100)));
        Self { book: Book { bids: side([1_000, 999]), asks: side([1_010, 1_011]) }, seq: 10 }
    }

    fn message(&self, kind: &str, sides: [Side; 2]) -> Value {
        let levels = |side: &Side| -> Vec<Value> {
            let level = |(&price, &qty): (&u64, &u64)| json!({ "price": price as f64 / 10.0, "qty": qty as f64 / 100.0 });
            side.iter().map(level).collect()
        };
        let [bids, asks] = sides.each_ref().map(levels);
        json!({ "channel": "book", "type": kind, "data": [{
            "symbol": SYMBOL, "bids": bids, "asks": asks, "checksum": self.book.checksum(), "seq": self.seq,
        }] })
    }

    fn snapshot(&self) -> Value {
        let mut message = self.message("snapshot", [self.book.bids.clone(), self.book.asks.clone()]);
        message["data"][0]["epoch"] = 7.into();
        message
    }

    /// The best bid has one more; events that change nothing here lie between.
    fn update(&mut self) -> Value {
        let prev = self.seq;
        self.seq += 3;
        *self.book.bids.get_mut(&1_000).expect("it stays") += 1;
        let changed = Side::from([(1_000, self.book.bids[&1_000])]);
        let mut message = self.message("update", [changed, Side::new()]);
        message["data"][0]["prev"] = prev.into();
        message
    }
}

fn acknowledged(channel: &str, more: Value) -> Value {
    let mut result = json!({ "channel": channel, "symbol": SYMBOL });
    if channel == "book" {
        result["depth"] = 10.into();
    }
    result.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
    json!({ "method": "subscribe", "result": result, "success": true })
}

fn trade(id: u64, seq: u64, prev: u64) -> Value {
    let element = json!({ "symbol": SYMBOL, "trade_id": id, "seq": seq, "prev": prev });
    json!({ "channel": "trade", "type": "update", "data": [element] })
}

fn gap(channel: &str, from: u64, to: u64, count: u64) -> Value {
    let notice = json!({
        "code": "gap", "channel": channel, "symbol": SYMBOL, "from_seq": from, "to_seq": to, "count": count,
    });
    json!({ "channel": "notice", "type": "update", "data": [notice] })
}

fn view() -> View {
    let mut view = View::default();
    view.precisions.insert(SYMBOL.into(), Precision { price: 1, qty: 2 });
    view
}

/// What a view says to some messages: what is wrong, or nothing.
fn verdict(view: &mut View, messages: &[Value]) -> String {
    let result = catch_unwind(AssertUnwindSafe(|| {
        for message in messages {
            view.apply(&message.to_string());
        }
    }));
    let Err(panic) = result else { return String::new() };
    panic
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| panic.downcast_ref::<&str>().map(|&text| text.into()))
        .expect("a text")
}

/// Messages that a fresh view is shown, and how its complaint begins.
fn check(messages: &[&Value], complaint: &str) {
    let messages: Vec<Value> = messages.iter().map(|&message| message.clone()).collect();
    let found = verdict(&mut view(), &messages);
    assert!(
        if complaint.is_empty() { found.is_empty() } else { found.contains(complaint) },
        "expected \"{complaint}\", found \"{found}\": {messages:#?}"
    );
}

#[test]
fn holes_repeats_and_wrong_orders_are_found() {
    let mut tape = Tape::new();
    let ack = acknowledged("book", json!({ "snapshot": true, "epoch": 7, "seq": 10 }));
    let plain = acknowledged("book", json!({ "snapshot": true }));
    let late = acknowledged("book", json!({ "snapshot": true, "epoch": 7, "seq": 11 }));
    let gone = json!({ "method": "unsubscribe", "result": { "channel": "book", "symbol": SYMBOL, "depth": 10 }, "success": true });
    let start = tape.snapshot();
    let [first, second, third] = [(); 3].map(|()| tape.update());
    check(&[&ack, &start, &first, &second, &third], "");
    check(&[&plain, &start, &first, &second, &third], "");
    check(&[&start, &ack], "not acknowledged");
    check(&[&ack, &ack], "acknowledged twice");
    check(&[&ack, &first], "before its snapshot");
    check(&[&plain, &first], "before its snapshot");
    check(&[&ack, &start, &second], "follows Some(10), says 13");
    check(&[&ack, &start, &first, &third], "follows Some(13), says 16");
    check(&[&ack, &start, &first, &first], "follows Some(13), says 10");
    check(&[&ack, &start, &first, &start], "a second snapshot");
    check(&[&late, &start], "older than its acknowledgement");
    check(&[&ack, &start, &gone, &first], "not acknowledged");
    check(&[&ack, &start, &gone, &ack, &start, &first], "");
    check(&[&ack, &start, &gap("book", 10, 16, 2), &third], "instead of the snapshot that was announced");
    check(&[&ack, &start, &gap("book", 11, 16, 2)], "a gap from 11, after Some(10)");
}

#[test]
fn wrong_books_are_found_by_their_checksum() {
    let mut tape = Tape::new();
    let ack = acknowledged("book", json!({ "snapshot": true }));
    let (start, update) = (tape.snapshot(), tape.update());
    let mut wrong = start.clone();
    wrong["data"][0]["bids"][0]["qty"] = 1.01.into();
    check(&[&ack, &wrong], "checksum of AAA/USD at 10");
    let mut wrong = update.clone();
    wrong["data"][0]["bids"] = json!([]);
    check(&[&ack, &start, &wrong], "checksum of AAA/USD at 13");
    let mut wrong = update;
    wrong["data"][0]["asks"] = json!([{ "price": 101.1, "qty": 0.0 }]);
    check(&[&ack, &start, &wrong], "checksum of AAA/USD at 13");
}

#[test]
fn without_a_snapshot_the_first_update_follows_the_acknowledgement() {
    let ack = acknowledged("trade", json!({ "snapshot": false, "epoch": 7, "seq": 10 }));
    check(&[&ack, &trade(5, 12, 10)], "");
    check(&[&ack, &trade(5, 12, 9)], "follows Some(10), says 9");
    let ack = acknowledged("ohlc", json!({ "snapshot": true, "interval": 1, "epoch": 7, "seq": 10 }));
    let candle = |prev: u64| {
        let element = json!({ "symbol": SYMBOL, "interval": 1, "seq": 12, "prev": prev });
        json!({ "channel": "ohlc", "type": "update", "data": [element] })
    };
    check(&[&ack, &candle(10)], "");
    check(&[&ack, &candle(11)], "follows Some(10), says 11");
}

#[test]
fn trades_are_missed_and_told_or_not() {
    let ack = acknowledged("trade", json!({ "snapshot": false, "epoch": 7, "seq": 10 }));
    let shown = |messages: &[Value]| {
        let mut view = view();
        assert_eq!(verdict(&mut view, messages), "", "{messages:#?}");
        (view.missed, view.untold, view.breaks)
    };
    assert_eq!(shown(&[ack.clone(), trade(5, 12, 10), trade(6, 13, 12)]), (0, 0, 0));
    assert_eq!(shown(&[ack.clone(), trade(5, 12, 10), trade(8, 15, 14)]), (2, 2, 1));
    assert_eq!(shown(&[ack.clone(), trade(5, 12, 10), gap("trade", 12, 14, 2), trade(8, 15, 14)]), (2, 0, 0));
    assert_eq!(shown(&[ack.clone(), trade(5, 12, 10), gap("trade", 12, 14, 1), trade(8, 15, 14)]), (2, 1, 0));
    check(&[&ack, &trade(5, 12, 10), &trade(5, 13, 12)], "trade 5 after 5");
}

#[test]
fn who_comes_back_gets_all_that_was_missed_in_one_message_or_begins_again() {
    let ack = |recovered: Value| {
        acknowledged(
            "book",
            json!({
                "snapshot": true, "epoch": 7, "seq": 19, "policy": "conflate", "recovered": recovered,
            }),
        )
    };
    let back = |messages: &[&Value]| {
        let mut tape = Tape::new();
        let mut view = view();
        let begun = acknowledged("book", json!({ "snapshot": true }));
        assert_eq!(verdict(&mut view, &[begun, tape.snapshot(), tape.update()]), "");
        view.reconnect();
        assert_eq!(view.place(&("book".into(), SYMBOL.into(), 0)), Some((7, 13)));
        let messages: Vec<Value> = messages.iter().map(|&message| message.clone()).collect();
        verdict(&mut view, &messages)
    };
    let mut tape = Tape::new();
    let [_, second, third] = [(); 3].map(|()| tape.update());
    let start = tape.snapshot();
    // What was missed, up to where the subscription began; or beyond.
    let mut merged = third.clone();
    merged["data"][0]["prev"] = 13.into();
    assert_eq!(back(&[&ack(true.into()), &merged, &tape.update()]), "");
    assert!(back(&[&ack(true.into()), &second]).starts_with("less than all that was missed up to 19"));
    assert!(back(&[&ack(true.into()), &third]).starts_with("follows Some(13), says 16"));
    assert!(back(&[&ack(true.into()), &start]).starts_with("a second snapshot"));
    assert_eq!(back(&[&ack(false.into()), &start]), "");
    assert!(back(&[&ack(false.into()), &merged]).starts_with("before its snapshot"));
    assert!(back(&[&ack(Value::Null)]).contains("was to go on"));
}
