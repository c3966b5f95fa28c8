//! One symbol of the mock server, as one subscription sees it.
//!
//! Owns a full book and the window of it that the client was told about, and the text of the messages. Plants
//! the bugs that are wrong content rather than wrong order.

use super::Bug;
use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

/// Levels of each side of the full book, beyond any window used in the tests.
const LEVELS: u64 = 40;
const MID: u64 = 640_000;

/// Price ticks (one decimal) to lots (eight decimals).
type Levels = BTreeMap<u64, u64>;

#[derive(Clone)]
pub(crate) struct Market {
    pub(crate) symbol: String,
    depth: usize,
    bug: Bug,
    /// Which connection it is for.
    connection: u64,
    asks: Levels,
    bids: Levels,
    seq: u64,
    trade_id: u64,
    random: u64,
}

/// What changed in the window of one side: removals, then levels.
struct Change {
    removed: Vec<u64>,
    set: Vec<(u64, u64)>,
}

impl Market {
    pub(crate) fn new(symbol: &str, depth: usize, bug: Bug, connection: u64) -> Self {
        let asks = (1..=LEVELS).map(|i| (MID + i * 2, 100_000 * i)).collect();
        let bids = (1..=LEVELS).map(|i| (MID - i * 2, 100_000 * i)).collect();
        let random = symbol.bytes().map(u64::from).sum();
        Self {
            symbol: symbol.to_owned(),
            depth,
            bug,
            connection,
            asks,
            bids,
            seq: 40,
            trade_id: 1000,
            random,
        }
    }

    /// Where it stands.
    pub(crate) const fn seq(&self) -> u64 {
        self.seq
    }

    /// So many entries happen that nobody is told of.
    pub(crate) fn forward(&mut self, channel: &str, entries: u64) {
        (0..entries).for_each(|_| drop(self.element(channel, Bug::None)));
    }

    /// Entries happen until it stands somewhere.
    pub(crate) fn forward_to(&mut self, channel: &str, seq: u64) {
        while self.seq < seq {
            self.forward(channel, 1);
        }
    }

    /// So many entries of a book as one update.
    pub(crate) fn merged(&mut self, channel: &str, entries: u64) -> String {
        assert_eq!(channel, "book", "only books are merged here");
        let before = [true, false].map(|is_ask| self.window(is_ask));
        let prev = self.seq;
        self.forward(channel, entries);
        let [asks, bids] = [true, false].map(|is_ask| self.difference(is_ask, &before[usize::from(!is_ask)]));
        let (asks, bids) = (asks.text(Bug::None), bids.text(Bug::None));
        let tail = self.tail(self.seq, Some(prev));
        let merged = if entries > 1 { format!(r#","merged":{entries}"#) } else { String::new() };
        let element =
            format!(r#""bids":[{bids}],"asks":[{asks}],"checksum":{},{tail}{merged}"#, self.checksum());
        self.message(channel, "update", &[element])
    }

    /// What the window shows of what has changed.
    fn difference(&self, is_ask: bool, before: &[(u64, u64)]) -> Change {
        let after = self.window(is_ask);
        let side = if is_ask { &self.asks } else { &self.bids };
        let gone = before.iter().filter(|(price, _)| !side.contains_key(price)).map(|(price, _)| *price);
        let removed = gone.collect();
        let set = after.into_iter().filter(|level| !before.contains(level)).collect();
        Change { removed, set }
    }

    pub(crate) fn snapshot(&self, channel: &str) -> String {
        let depth = if self.bug == Bug::DeepSnapshot { self.depth + 1 } else { self.depth };
        let element = match channel {
            "book" => {
                let bids = list(self.bids.iter().rev().take(self.depth));
                let asks = list(self.asks.iter().take(depth));
                format!(r#""bids":[{bids}],"asks":[{asks}],"checksum":{},"#, self.checksum())
            }
            "trade" => self.trade(self.trade_id),
            _ => row(channel),
        };
        self.message(channel, "snapshot", &[format!("{element}{}", self.tail(self.seq, None))])
    }

    /// The next message of the subscription; `is_wrong` plants the bug.
    pub(crate) fn update(&mut self, channel: &str, is_wrong: bool) -> String {
        let bug = if is_wrong { self.bug } else { Bug::None };
        let count = if channel == "trade" { 2 } else { 1 };
        let elements: Vec<_> = (0..count).map(|_| self.element(channel, bug)).collect();
        self.message(channel, "update", &elements)
    }

    fn element(&mut self, channel: &str, bug: Bug) -> String {
        let body = match channel {
            "book" => self.book_change(bug),
            "trade" => {
                self.trade_id += if bug == Bug::SkippedTradeId { 2 } else { 1 };
                self.trade(self.trade_id)
            }
            _ => row(channel),
        };
        let mut prev = self.seq;
        self.seq = if bug == Bug::SeqBack { self.seq - 1 } else { self.seq + 1 + self.next_random() % 3 };
        if bug == Bug::BrokenPrev {
            prev -= 1;
        }
        format!("{body}{}", self.tail(self.seq, Some(prev)))
    }

    fn book_change(&mut self, bug: Bug) -> String {
        let asks = self.change(true, bug);
        let bids = self.change(false, Bug::None);
        let mut checksum = self.checksum();
        if bug == Bug::WrongChecksum {
            checksum ^= 1;
        }
        let checksum = match bug {
            Bug::MissingChecksum => String::new(),
            _ => format!(r#""checksum":{checksum},"#),
        };
        format!(r#""bids":[{}],"asks":[{}],{checksum}"#, bids.text(Bug::None), asks.text(bug))
    }

    /// Changes a random level of one side, and returns what the window shows of it. Bugs are planted in asks.
    fn change(&mut self, is_ask: bool, bug: Bug) -> Change {
        let before = self.window(is_ask);
        let offset = 1 + self.next_random() % LEVELS;
        let price = if is_ask { MID + offset * 2 } else { MID - offset * 2 };
        let price = match bug {
            // The best level goes, so that another one enters, or should.
            Bug::RemovalsLast | Bug::LostRemoval | Bug::StringNumbers => before[0].0,
            Bug::CrossedBook => self.bids.keys().next_back().copied().unwrap(),
            _ => price,
        };
        let qty = self.next_random() % 1_000_000_000;
        let is_removal =
            matches!(bug, Bug::RemovalsLast | Bug::LostRemoval | Bug::StringNumbers) || qty.is_multiple_of(3);
        let side = if is_ask { &mut self.asks } else { &mut self.bids };
        if is_removal && bug != Bug::CrossedBook && side.len() > 25 {
            side.remove(&price);
        } else {
            side.insert(price, qty + 1);
        }
        let Change { mut removed, mut set } = self.difference(is_ask, &before);
        let side = if is_ask { &self.asks } else { &self.bids };
        if bug == Bug::LostRemoval {
            removed.clear();
        }
        if bug == Bug::LevelOutsideWindow {
            set.extend(side.iter().nth(self.depth).map(|(price, qty)| (*price, *qty)));
        }
        if bug == Bug::WrongQuantity {
            // The best level, as if it had changed.
            set.retain(|(price, _)| *price != before[0].0);
            set.push((before[0].0, before[0].1 + 7));
        }
        if bug == Bug::DeepDifference && self.connection % 2 == 1 {
            // Beyond the levels that the checksum covers, for one client of two.
            set.retain(|(price, _)| *price != before[15].0);
            set.push((before[15].0, before[15].1 + 7));
        }
        Change { removed, set }
    }

    fn window(&self, is_ask: bool) -> Vec<(u64, u64)> {
        let level = |(price, qty): (&u64, &u64)| (*price, *qty);
        match is_ask {
            true => self.asks.iter().take(self.depth).map(level).collect(),
            false => self.bids.iter().rev().take(self.depth).map(level).collect(),
        }
    }

    fn checksum(&self) -> u32 {
        let best = self.asks.iter().take(10).chain(self.bids.iter().rev().take(10));
        let text: String = best.map(|(price, qty)| format!("{price}{qty}")).collect();
        crc32fast::hash(text.as_bytes())
    }

    fn trade(&self, id: u64) -> String {
        format!(r#""side":"buy","price":64000.1,"qty":0.00100000,"ord_type":"market","trade_id":{id},"#)
    }

    fn tail(&self, seq: u64, prev: Option<u64>) -> String {
        let prev = prev.map_or_else(|| r#""epoch":7"#.to_owned(), |prev| format!(r#""prev":{prev}"#));
        format!(r#""timestamp":"{}","seq":{seq},{prev}"#, now())
    }

    fn message(&self, channel: &str, kind: &str, elements: &[String]) -> String {
        let symbol = &self.symbol;
        let data: Vec<_> = elements.iter().map(|e| format!(r#"{{"symbol":"{symbol}",{e}}}"#)).collect();
        let stamp = if channel == "ohlc" { format!(r#","timestamp":"{}""#, now()) } else { String::new() };
        format!(r#"{{"channel":"{channel}","type":"{kind}","data":[{}]{stamp}}}"#, data.join(","))
    }

    fn next_random(&mut self) -> u64 {
        self.random =
            self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 33
    }
}

impl Change {
    fn text(&self, bug: Bug) -> String {
        let zeros = self.removed.iter().map(|price| (*price, 0));
        let mut levels: Vec<_> = zeros.chain(self.set.iter().copied()).collect();
        if bug == Bug::RemovalsLast {
            levels.reverse();
        }
        let text = list(levels.iter().map(|(price, qty)| (price, qty)));
        match bug {
            Bug::StringNumbers => {
                text.replace(r#""price":"#, r#""price":""#).replace(r#","qty""#, r#"","qty""#)
            }
            _ => text,
        }
    }
}

fn list<'a>(levels: impl Iterator<Item = (&'a u64, &'a u64)>) -> String {
    let level = |(price, qty): (&u64, &u64)| {
        let (price, tenths) = (price / 10, price % 10);
        let (qty, rest) = (qty / 100_000_000, qty % 100_000_000);
        format!(r#"{{"price":{price}.{tenths},"qty":{qty}.{rest:08}}}"#)
    };
    levels.map(level).collect::<Vec<_>>().join(",")
}

fn row(channel: &str) -> String {
    match channel {
        "ticker" => r#""bid":63999.8,"bid_qty":1.00000000,"ask":64000.2,"change":-0.5,"#.to_owned(),
        _ => r#""open":1.0,"close":2.0,"trades":3,"interval":1,"interval_begin":"2026-01-01T00:00:00.000000000Z","#
            .to_owned(),
    }
}

/// The wall clock as the protocol writes it.
fn now() -> String {
    let micros = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    let (seconds, fraction) = (micros / 1_000_000, micros % 1_000_000);
    let (mut days, of_day) = (seconds / 86_400, seconds % 86_400);
    let mut year = 1970;
    let is_leap =
        |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= months[month] {
        days -= months[month];
        month += 1;
    }
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.{fraction:06}Z", month + 1, days + 1)
}
