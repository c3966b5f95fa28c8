//! Windows against a naive model: maps for books, brute force for differences, and a client that truncates.

use std::collections::BTreeMap;

use model::Levels;
use proptest::prelude::*;

use super::*;
use crate::book::{BookRefusal, Snapshot};

const DEPTHS: [usize; 6] = [1, 2, 3, 5, 10, 1000];
const LEVELS_MAX: usize = 24;

/// One side as a map from the price, negated for bids, so that the best comes first.
type Side1 = BTreeMap<i64, i64>;

#[derive(Clone, Debug, Default, PartialEq)]
struct Naive {
    sides: [Side1; 2],
}

fn key(side: Side, price: i64) -> i64 {
    if side == Side::Bid { -price } else { price }
}

fn set(side: &mut Side1, key: i64, qty: i64) {
    if qty == 0 {
        side.remove(&key);
    } else {
        side.insert(key, qty);
    }
}

fn top(side: &Side1, depth: usize) -> Side1 {
    side.iter().take(depth).map(|(&k, &v)| (k, v)).collect()
}

impl Naive {
    fn apply(&mut self, event: &TestEvent) -> Result<(), BookRefusal> {
        let before = self.clone();
        if event.snapshot {
            self.sides = Default::default();
        }
        let mut too_many = false;
        for side in Side::BOTH {
            for level in event.levels().side(side) {
                set(&mut self.sides[side as usize], key(side, level.price.0), level.qty.0);
                too_many |= self.sides[side as usize].len() > LEVELS_MAX;
            }
        }
        let best = |side: usize| self.sides[side].keys().next().copied();
        let crossed = matches!((best(0), best(1)), (Some(bid), Some(ask)) if -bid >= ask);
        match (too_many, crossed) {
            (true, _) => Err(BookRefusal::Limit),
            (_, true) => Err(BookRefusal::Crossed),
            _ => return Ok(()),
        }
        .inspect_err(|_| *self = before)
    }
}

#[derive(Clone, Debug)]
struct TestEvent {
    snapshot: bool,
    bids: Vec<Level>,
    asks: Vec<Level>,
}

impl TestEvent {
    fn levels(&self) -> Levels<'_> {
        Levels { bids: &self.bids, asks: &self.asks }
    }

    fn apply(&self, book: &mut Book, changes: &mut BookChanges) -> Result<(), BookRefusal> {
        if !self.snapshot {
            return book.apply_delta(self.levels(), LEVELS_MAX, changes);
        }
        let mut snapshot = Snapshot::default();
        changes.clear();
        snapshot.load(self.levels(), LEVELS_MAX)?;
        book.compare(&snapshot, changes);
        book.replace(&snapshot, changes);
        Ok(())
    }
}

fn event() -> impl Strategy<Value = TestEvent> {
    let level = |prices| {
        (prices, prop_oneof![Just(0_i64), 1_i64..4]).prop_map(|(p, q)| Level { price: Price(p), qty: Qty(q) })
    };
    let side = move |prices: std::ops::Range<i64>, n: usize| prop::collection::vec(level(prices), 0..n);
    prop_oneof![
        12 => (side(1..41, 9), side(40..80, 9)).prop_map(|(bids, asks)| TestEvent { snapshot: false, bids, asks }),
        2 => (side(1..45, 3), side(36..80, 3)).prop_map(|(bids, asks)| TestEvent { snapshot: false, bids, asks }),
        1 => (side(1..41, 30), side(40..80, 30)).prop_map(|(bids, asks)| TestEvent { snapshot: true, bids, asks }),
    ]
}

/// What the rules say about one side, from the whole windows before and after.
fn brute_force(side: Side, old: &Side1, new: &Side1, depth: usize) -> Vec<WindowChange> {
    let (was, is) = (top(old, depth), top(new, depth));
    let mut keys: Vec<i64> = was.keys().chain(is.keys()).copied().collect();
    keys.sort_unstable();
    keys.dedup();
    let changes = keys.into_iter().filter(|k| was.get(k) != is.get(k)).map(|k| WindowChange {
        level: Level { price: Price(key(side, k)), qty: Qty(new.get(&k).copied().unwrap_or(0)) },
        was: was.contains_key(&k),
        is: is.contains_key(&k),
    });
    let (removed, rest): (Vec<_>, Vec<_>) = changes.partition(|change| change.level.qty == Qty::ZERO);
    removed.into_iter().chain(rest).collect()
}

/// Like python-kraken-sdk: sets each level in the order of the message and truncates after every one.
fn follow(client: &mut Side1, side: Side, changes: &[WindowChange], depth: usize) {
    for change in changes.iter().filter(|change| change.is_sent()) {
        set(client, key(side, change.level.price.0), change.level.qty.0);
        *client = top(client, depth);
    }
}

fn contents(book: &Book, side: Side) -> Vec<(i64, i64)> {
    book.side(side).map(|level| (key(side, level.price.0), level.qty.0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn windows_agree_with_brute_force_and_a_truncating_client_follows(events in prop::collection::vec(event(), 1..50)) {
        let (mut book, mut changes, mut naive) = (Book::new(), BookChanges::default(), Naive::default());
        let mut clients = DEPTHS.map(|_| Naive::default());
        let mut out = WindowDelta::default();
        for event in events {
            let before = naive.clone();
            prop_assert_eq!(event.apply(&mut book, &mut changes), naive.apply(&event));
            for side in Side::BOTH {
                let expected: Vec<_> = naive.sides[side as usize].iter().map(|(&k, &v)| (k, v)).collect();
                prop_assert_eq!(contents(&book, side), expected);
            }
            if before == naive {
                prop_assert!(changes.is_empty());
                continue;
            }
            for (depth, client) in DEPTHS.into_iter().zip(&mut clients) {
                changes.window_delta(&book, depth, &mut out);
                for (side, told) in [(Side::Bid, &out.bids), (Side::Ask, &out.asks)] {
                    let (old, new) = (&before.sides[side as usize], &naive.sides[side as usize]);
                    prop_assert_eq!(told, &brute_force(side, old, new, depth), "depth {} {:?}", depth, side);
                    follow(&mut client.sides[side as usize], side, told, depth);
                    prop_assert_eq!(&client.sides[side as usize], &top(new, depth));
                }
            }
        }
    }
}

/// Events on the bid side, then the window of depth 3 after the last one.
fn check(events: &[&[(i64, i64)]]) -> String {
    let (mut book, mut changes) = (Book::new(), BookChanges::default());
    for event in events {
        let bids: Vec<_> = event.iter().map(|&(p, q)| Level { price: Price(p), qty: Qty(q) }).collect();
        book.apply_delta(Levels { bids: &bids, asks: &[] }, LEVELS_MAX, &mut changes).unwrap();
    }
    let mut out = WindowDelta::default();
    changes.window_delta(&book, 3, &mut out);
    let text = |c: &WindowChange| {
        let (was, is) = (if c.was { "in" } else { "out" }, if c.is { "in" } else { "out" });
        format!("{}:{} {was}>{is}", c.level.price.0, c.level.qty.0)
    };
    out.bids.iter().map(text).collect::<Vec<_>>().join(", ")
}

#[test]
fn each_way_into_and_out_of_a_window_is_told() {
    type Pairs = &'static [(i64, i64)];
    let full: Pairs = &[(9, 1), (8, 1), (7, 1), (6, 1), (5, 1)];
    let cases: [(&str, Pairs, &str); 9] = [
        ("changed", &[(8, 4)], "8:4 in>in"),
        ("below the window", &[(6, 4), (5, 0), (4, 1)], ""),
        ("removed, the next enters", &[(8, 0)], "8:0 in>out, 6:1 out>in"),
        ("inserted, the last leaves", &[(10, 2)], "10:2 out>in, 7:1 in>out"),
        ("removed and inserted", &[(8, 0), (10, 2)], "8:0 in>out, 10:2 out>in"),
        ("changed while pushed out", &[(7, 5), (10, 2)], "10:2 out>in, 7:5 in>out"),
        ("enters with another quantity", &[(6, 5), (9, 0)], "9:0 in>out, 6:5 out>in"),
        (
            "born between, entering",
            &[(9, 0), (8, 0), (4, 3)],
            "9:0 in>out, 8:0 in>out, 6:1 out>in, 5:1 out>in",
        ),
        ("same price twice", &[(9, 7), (9, 0), (9, 1)], ""),
    ];
    for (name, event, expected) in cases {
        assert_eq!(check(&[full, event]), expected, "{name}");
    }
    assert_eq!(check(&[&[(9, 1)], &[(8, 1)]]), "8:1 out>in", "a window that is not full");
}
