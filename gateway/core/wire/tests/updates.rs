//! Every message of market data, against its golden file.
//!
//! The books are those of the venue's own checksum guide, so that the files can be checked by hand: each update, applied to
//! the snapshot before it, gives the checksum that it carries.

#![expect(clippy::unwrap_used, reason = "a figure that cannot be read fails its test")]

mod support;

use std::collections::BTreeMap;

use model::{
    Candle, Epoch, Instrument, Level, Nanos, OrdType, PairStatus, Price, Qty, Scale, Sequence, Side, Ticker,
    Trade,
};
use rust_decimal::Decimal;
use serde_json::Value;
use support::golden;
use wire::checksum::checksum;
use wire::text::TimeText;
use wire::update::{self, Link};

/// 2026-02-03T04:05:06.789012345Z.
const AT: Nanos = Nanos(1_770_091_506_789_012_345);

/// An epoch such as feed-sim makes: the second of its start.
const EPOCH: Epoch = Epoch(1_770_088_000);

const ASKS: [(&str, &str); 10] = [
    ("45285.2", "0.00100000"),
    ("45286.4", "1.54571953"),
    ("45286.6", "1.54571109"),
    ("45289.6", "1.54560911"),
    ("45290.2", "0.15890660"),
    ("45291.8", "1.54553491"),
    ("45294.7", "0.04454749"),
    ("45296.1", "0.35380000"),
    ("45297.5", "0.09945542"),
    ("45299.5", "0.18772827"),
];

const BIDS: [(&str, &str); 10] = [
    ("45283.5", "0.10000000"),
    ("45283.4", "1.54582015"),
    ("45282.1", "0.10000000"),
    ("45281.0", "0.10000000"),
    ("45280.3", "1.54592586"),
    ("45279.0", "0.07990000"),
    ("45277.6", "0.03310103"),
    ("45277.5", "0.30000000"),
    ("45277.3", "1.54602737"),
    ("45276.6", "0.15445238"),
];

/// The best ask is bought up: its removal, then the level that enters the window.
const ASKS_CHANGED: [(&str, &str); 2] = [("45285.2", "0.00000000"), ("45301.0", "0.25000000")];

/// What a client that slept over some entries more lacks.
const BIDS_MERGED: [(&str, &str); 3] =
    [("45276.6", "0.00000000"), ("45284.0", "0.00020000"), ("45283.5", "0.20000000")];
const ASKS_MERGED: [(&str, &str); 2] = [("45286.4", "0.00000000"), ("45301.5", "2.00000000")];

fn btc() -> Instrument {
    instrument("BTC/USD", PairStatus::Online, Scale::new(1), Scale::new(8), Qty(5_000))
}

/// Prices in steps of 0.25.
fn eth() -> Instrument {
    let quarter = Scale::from_increment(2, Decimal::new(25, 2)).unwrap();
    instrument("ETH/USD", PairStatus::Maintenance, quarter, Scale::new(4), Qty(20))
}

fn instrument(symbol: &str, status: PairStatus, price: Scale, qty: Scale, qty_min: Qty) -> Instrument {
    let cost_min = Decimal::new(5, 1);
    Instrument { symbol: symbol.into(), status, price, qty, qty_min, cost_decimals: 5, cost_min }
}

fn levels(texts: &[(&str, &str)]) -> Vec<Level> {
    let btc = btc();
    let level = |&(price, qty): &(&str, &str)| Level {
        price: Price(btc.price.parse(price.as_bytes()).unwrap()),
        qty: Qty(btc.qty.parse(qty.as_bytes()).unwrap()),
    };
    texts.iter().map(level).collect()
}

/// A book as a client keeps it: apply all levels, then truncate.
#[derive(Default)]
struct Naive {
    bids: BTreeMap<i64, i64>,
    asks: BTreeMap<i64, i64>,
}

impl Naive {
    fn apply(&mut self, side: Side, changes: &[Level]) {
        let levels = if side == Side::Bid { &mut self.bids } else { &mut self.asks };
        for level in changes {
            // Best first on both sides.
            let rank = if side == Side::Bid { -level.price.0 } else { level.price.0 };
            match level.qty {
                Qty::ZERO => drop(levels.remove(&rank).expect("only known levels are removed")),
                Qty(qty) => drop(levels.insert(rank, qty)),
            }
        }
        while levels.len() > 10 {
            levels.pop_last();
        }
    }

    fn checksum(&self) -> u32 {
        let level = |(&rank, &qty): (&i64, &i64)| Level { price: Price(rank.abs()), qty: Qty(qty) };
        checksum(&btc(), self.bids.iter().map(level), self.asks.iter().map(level))
    }
}

fn check(name: &str, write: impl FnOnce(&mut Vec<u8>)) -> Value {
    let mut out = Vec::new();
    write(&mut out);
    golden(name, &out);
    let text = std::str::from_utf8(&out).unwrap();
    assert!(text.starts_with("{\"channel\":\""), "channel is the first key, clients look no further: {text}");
    assert!(!has_exponent(text), "{text}");
    serde_json::from_str(text).expect("golden files are json")
}

/// Whether any number is written with an exponent.
fn has_exponent(text: &str) -> bool {
    let mut in_string = false;
    text.as_bytes().windows(2).any(|pair| {
        in_string ^= pair[0] == b'"';
        !in_string && pair[0].is_ascii_digit() && matches!(pair[1], b'e' | b'E')
    })
}

fn book(bids: &[Level], asks: &[Level], sum: u32, link: Link, out: &mut Vec<u8>) {
    update::book(&btc(), bids.iter().copied(), asks.iter().copied(), sum, TimeText::of(AT), link, out);
}

#[test]
fn a_book_is_told_whole_then_by_what_changed() {
    let mut naive = Naive::default();
    let (bids, asks) = (levels(&BIDS), levels(&ASKS));
    naive.apply(Side::Bid, &bids);
    naive.apply(Side::Ask, &asks);
    assert_eq!(naive.checksum(), 3_310_070_434, "the figure of the venue's checksum guide");
    check("book-snapshot", |out| {
        book(&bids, &asks, naive.checksum(), Link::Start(EPOCH, Sequence(81_234)), out);
    });

    let changed = levels(&ASKS_CHANGED);
    naive.apply(Side::Ask, &changed);
    let link = Link::next(Sequence(81_236), Sequence(81_234));
    let sum = naive.checksum();
    let update = check("book-update", |out| book(&[], &changed, sum, link, out));
    let qty = |index: usize| update["data"][0]["asks"][index]["qty"].as_f64();
    assert_eq!((qty(0), qty(1)), (Some(0.0), Some(0.25)), "the removal comes first");

    let (bids, asks) = (levels(&BIDS_MERGED), levels(&ASKS_MERGED));
    naive.apply(Side::Bid, &bids);
    naive.apply(Side::Ask, &asks);
    let epoch = Some(Epoch(EPOCH.0 + 900));
    let link = Link::Next { seq: Sequence(17), prev: Sequence(81_236), epoch, merged: 42 };
    let sum = naive.checksum();
    check("book-update-merged", |out| book(&bids, &asks, sum, link, out));
}

#[test]
fn a_ticker_row_is_told_whole_each_time() {
    let row = Ticker {
        bid: levels(&BIDS).first().copied(),
        ask: levels(&ASKS).first().copied(),
        last: Some(Price(452_835)),
        volume: Qty(254_512_345_678),
        vwap_units: 451_020,
        low: Some(Price(448_010)),
        high: Some(Price(456_000)),
        change: -1_234,
        change_bp: -27,
        ts_event: AT,
    };
    let tell = |name, row: &Ticker, link| check(name, |out| update::ticker(&btc(), row, link, out));
    tell("ticker-snapshot", &row, Link::Start(EPOCH, Sequence(81_234)));
    let row = Ticker { ask: levels(&ASKS).get(1).copied(), ..row };
    tell("ticker-update", &row, Link::next(Sequence(81_236), Sequence(81_234)));

    let mut out = Vec::new();
    update::ticker(&btc(), &Ticker::default(), Link::Start(EPOCH, Sequence(1)), &mut out);
    let empty: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(empty["data"][0]["bid"].as_f64(), Some(0.0), "what does not exist yet is 0");
}

#[test]
fn trades_are_told_one_by_one() {
    let trade = |id, price, qty, taker, ord_type, ago_ms| Trade {
        id,
        price: Price(price),
        qty: Qty(qty),
        taker,
        ord_type,
        ts_event: AT - Nanos::from_millis(ago_ms),
    };
    let past = [
        trade(5_117, 452_830, 1_000_000, Side::Ask, OrdType::Limit, 1_500),
        trade(5_118, 452_835, 25_000_000, Side::Ask, OrdType::Market, 320),
    ];
    let starts = [80_977, 81_190].map(|seq| Link::Start(EPOCH, Sequence(seq)));
    check("trade-snapshot", |out| update::trade_snapshot(&btc(), past.iter().zip(starts), out));
    let next = trade(5_119, 452_852, 100_000, Side::Bid, OrdType::Market, 0);
    let link = Link::next(Sequence(81_235), Sequence(81_190));
    check("trade-update", |out| update::trade(&btc(), &next, link, out));

    let mut out = Vec::new();
    update::trade_snapshot(&btc(), std::iter::empty(), &mut out);
    assert_eq!(out, br#"{"channel":"trade","type":"snapshot","data":[]}"#, "no trade yet");
}

#[test]
fn candles_run_until_their_interval_ends() {
    let minute = Nanos::from_secs(60);
    let begin = Nanos(AT.0 / minute.0 * minute.0);
    let past = Candle {
        begin: begin - minute,
        open: Price(452_790),
        high: Price(452_900),
        low: Price(452_755),
        close: Price(452_830),
        volume: Qty(1_234_567_890),
        vwap_units: 452_811,
        trades: 31,
    };
    let running = Candle {
        begin,
        open: Price(452_830),
        high: Price(452_835),
        low: Price(452_830),
        close: Price(452_835),
        volume: Qty(26_000_000),
        vwap_units: 452_835,
        trades: 2,
    };
    let start = Link::Start(EPOCH, Sequence(81_234));
    let all = [(&past, start), (&running, start)];
    check("ohlc-snapshot", |out| update::ohlc("snapshot", &btc(), 0, all.into_iter(), AT, out));
    let grown =
        Candle { high: Price(452_852), close: Price(452_852), volume: Qty(26_100_000), trades: 3, ..running };
    let link = Link::next(Sequence(81_235), Sequence(81_234));
    check("ohlc-update", |out| {
        update::ohlc("update", &btc(), 0, std::iter::once((&grown, link)), AT, out);
    });
}

#[test]
fn instruments_carry_what_clients_round_by() {
    let (btc, eth) = (btc(), eth());
    let all = [(&btc, btc.status), (&eth, PairStatus::Online)];
    let told = check("instrument-snapshot", |out| update::instruments("snapshot", all.into_iter(), out));
    assert_eq!(told["data"]["pairs"][1]["price_increment"].as_f64(), Some(0.25));
    check("instrument-update", |out| {
        update::instruments("update", std::iter::once((&eth, eth.status)), out);
    });
}

#[test]
fn numbers_are_padded_to_the_precision_of_their_instrument() {
    let mut out = Vec::new();
    let dust = [Level { price: Price(5), qty: Qty(1) }, Level { price: Price(10), qty: Qty(0) }];
    book(&dust, &[], 0, Link::next(Sequence(2), Sequence(1)), &mut out);
    let text = String::from_utf8(out).unwrap();
    let bids = r#""bids":[{"price":0.5,"qty":0.00000001},{"price":1.0,"qty":0.00000000}],"asks":[]"#;
    assert!(text.contains(bids), "{text}");
    assert!(has_exponent("{\"a\":1e-8}") && !has_exponent("{\"1e\":\"1e5\"}"));
}

#[test]
fn a_volume_that_doubles_cannot_hold_loses_decimals_from_the_right() {
    let row = Ticker { volume: Qty(123_456_789_012_345_678), ..Ticker::default() };
    let mut out = Vec::new();
    update::ticker(&btc(), &row, Link::Start(EPOCH, Sequence(1)), &mut out);
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\"volume\":1234567890.12345,"), "{text}");
}
