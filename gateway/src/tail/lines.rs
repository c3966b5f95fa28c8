//! Messages as lines that people read.
//!
//! Owns the layout, and a book of each symbol because a change alone says little. Numbers are printed as they were sent. Never
//! touches a socket.

use std::collections::BTreeMap;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Turns messages into lines.
pub(super) struct Reader {
    depth: usize,
    /// Levels that are printed of each side.
    levels: usize,
    books: BTreeMap<String, Book>,
}

/// One book; the best bid is the last, the best ask the first.
#[derive(Debug, Default)]
struct Book {
    bids: BTreeMap<Decimal, [String; 2]>,
    asks: BTreeMap<Decimal, [String; 2]>,
}

#[derive(Deserialize)]
struct Message<'a> {
    channel: Option<String>,
    r#type: Option<String>,
    timestamp: Option<String>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What any element may have; numbers as they were written.
#[derive(Deserialize)]
struct Element<'a> {
    #[serde(default)]
    symbol: String,
    timestamp: Option<String>,
    #[serde(borrow, default)]
    bids: Vec<Level<'a>>,
    #[serde(borrow, default)]
    asks: Vec<Level<'a>>,
    seq: Option<u64>,
    merged: Option<u64>,
    side: Option<String>,
    trade_id: Option<u64>,
    interval: Option<u64>,
    system: Option<String>,
    code: Option<String>,
    channel: Option<String>,
    from_seq: Option<u64>,
    to_seq: Option<u64>,
    count: Option<u64>,
    text: Option<String>,
    #[serde(borrow)]
    price: Option<&'a RawValue>,
    #[serde(borrow)]
    qty: Option<&'a RawValue>,
    #[serde(borrow)]
    bid: Option<&'a RawValue>,
    #[serde(borrow)]
    bid_qty: Option<&'a RawValue>,
    #[serde(borrow)]
    ask: Option<&'a RawValue>,
    #[serde(borrow)]
    ask_qty: Option<&'a RawValue>,
    #[serde(borrow)]
    last: Option<&'a RawValue>,
    #[serde(borrow)]
    change_pct: Option<&'a RawValue>,
    #[serde(borrow)]
    volume: Option<&'a RawValue>,
    #[serde(borrow)]
    open: Option<&'a RawValue>,
    #[serde(borrow)]
    high: Option<&'a RawValue>,
    #[serde(borrow)]
    low: Option<&'a RawValue>,
    #[serde(borrow)]
    close: Option<&'a RawValue>,
    trades: Option<u64>,
}

#[derive(Deserialize)]
struct Level<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

impl Reader {
    pub(super) fn new(depth: usize, levels: usize) -> Self {
        Self { depth, levels, books: BTreeMap::new() }
    }

    /// An entry for each element of a message, of a line or several; none for heartbeats and acknowledgements.
    pub(super) fn lines(&mut self, text: &str) -> Result<Vec<String>, serde_json::Error> {
        let message: Message<'_> = serde_json::from_str(text)?;
        let (Some(channel), Some(data)) = (&message.channel, message.data) else { return Ok(Vec::new()) };
        if channel == "instrument" {
            return Ok(Vec::new());
        }
        let is_snapshot = message.r#type.as_deref() == Some("snapshot");
        let elements: Vec<Element<'_>> = serde_json::from_str(data.get())?;
        let mut lines = Vec::new();
        for element in &elements {
            let at = element.timestamp.as_deref().or(message.timestamp.as_deref());
            let at = if channel == "ohlc" { message.timestamp.as_deref() } else { at };
            let head = format!("{} {:<9}", clock(at), element.symbol);
            match channel.as_str() {
                "book" => self.book(&head, element, is_snapshot, &mut lines),
                "trade" => lines.push(trade(&head, element)),
                "ticker" => lines.push(ticker(&head, element)),
                "ohlc" => lines.push(candle(&head, element)),
                "notice" => lines.push(notice(element)),
                "status" => {
                    lines.push(format!("{:<15} venue is {}", "", element.system.as_deref().unwrap_or("?")))
                }
                other => lines.push(format!("{head} {other}")),
            }
        }
        Ok(lines)
    }

    fn book(&mut self, head: &str, element: &Element<'_>, is_snapshot: bool, lines: &mut Vec<String>) {
        let book = self.books.entry(element.symbol.clone()).or_default();
        if is_snapshot {
            *book = Book::default();
        }
        let changed = book.apply(element, self.depth);
        let what = match (is_snapshot, element.merged) {
            (true, _) => format!("snapshot of {} + {} levels", book.bids.len(), book.asks.len()),
            (false, Some(merged)) if merged > 1 => format!("{changed}, merged from {merged}"),
            (false, _) => changed,
        };
        let line = format!("{head} {}  {what}  seq {}", book.best(), element.seq.unwrap_or(0));
        // One entry, however many lines it takes.
        lines.push(std::iter::once(line).chain(book.ladder(self.levels)).collect::<Vec<_>>().join("\n"));
    }
}

impl Book {
    /// Takes the levels and says what they changed.
    fn apply(&mut self, element: &Element<'_>, depth: usize) -> String {
        let (mut set, mut removed) = (0, 0);
        for (side, levels) in [(&mut self.bids, &element.bids), (&mut self.asks, &element.asks)] {
            for level in levels {
                let (price, qty) = (level.price.get(), level.qty.get());
                let Ok(key) = price.parse::<Decimal>() else { continue };
                if qty.parse::<Decimal>().is_ok_and(|qty| qty.is_zero()) {
                    removed += 1;
                    side.remove(&key);
                } else {
                    set += 1;
                    side.insert(key, [price.to_owned(), qty.to_owned()]);
                }
            }
        }
        while self.bids.len() > depth {
            self.bids.pop_first();
        }
        while self.asks.len() > depth {
            self.asks.pop_last();
        }
        format!("{set} set, {removed} removed")
    }

    fn best(&self) -> String {
        match (self.bids.last_key_value(), self.asks.first_key_value()) {
            (Some((bid, [bid_text, bid_qty])), Some((ask, [ask_text, ask_qty]))) => {
                format!("{bid_qty} x {bid_text} | {ask_text} x {ask_qty}  spread {}", ask - bid)
            }
            (bid, ask) => {
                let shown = |side: Option<(&Decimal, &[String; 2])>| {
                    side.map_or_else(|| "none".to_owned(), |(_, [price, qty])| format!("{price} x {qty}"))
                };
                format!("{} | {}", shown(bid), shown(ask))
            }
        }
    }

    /// So many of the best levels beside each other.
    fn ladder(&self, levels: usize) -> Vec<String> {
        let mut asks = self.asks.values();
        let mut bids = self.bids.values().rev();
        let cells = |level: Option<&[String; 2]>| level.map_or([String::new(), String::new()], Clone::clone);
        (0..levels)
            .map(|_| {
                let [bid, bid_qty] = cells(bids.next());
                let [ask, ask_qty] = cells(asks.next());
                format!("{:>40} {bid:>14} | {ask:<14} {ask_qty}", bid_qty)
            })
            .collect()
    }
}

fn shown(value: Option<&RawValue>) -> &str {
    value.map_or("-", RawValue::get)
}

fn trade(head: &str, element: &Element<'_>) -> String {
    let side = element.side.as_deref().unwrap_or("-");
    format!(
        "{head} {side:<4} {} x {}  #{}",
        shown(element.price),
        shown(element.qty),
        element.trade_id.unwrap_or(0)
    )
}

fn ticker(head: &str, element: &Element<'_>) -> String {
    format!(
        "{head} {} x {} | {} x {}  last {}  {} %  volume {}",
        shown(element.bid_qty),
        shown(element.bid),
        shown(element.ask),
        shown(element.ask_qty),
        shown(element.last),
        shown(element.change_pct),
        shown(element.volume)
    )
}

fn candle(head: &str, element: &Element<'_>) -> String {
    format!(
        "{head} {} min  open {} high {} low {} close {}  volume {} in {} trades",
        element.interval.unwrap_or(0),
        shown(element.open),
        shown(element.high),
        shown(element.low),
        shown(element.close),
        shown(element.volume),
        element.trades.unwrap_or(0)
    )
}

fn notice(element: &Element<'_>) -> String {
    let mut line =
        format!("{:<15} {:<9} notice {}", "", element.symbol, element.code.as_deref().unwrap_or("?"));
    if let Some(channel) = &element.channel {
        line += &format!(" on {channel}");
    }
    if let (Some(from), Some(to), Some(count)) = (element.from_seq, element.to_seq, element.count) {
        line += &format!(": {count} updates behind seq {from} up to {to}");
    }
    if let Some(text) = &element.text {
        line += &format!(": {text}");
    }
    line
}

/// The time of day of `2026-02-03T04:05:06.789012Z`.
fn clock(timestamp: Option<&str>) -> String {
    let time =
        timestamp.and_then(|text| text.split_once('T')).map_or("", |(_, time)| time.trim_end_matches('Z'));
    format!("{:<15}", &time[..time.len().min(15)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(levels: usize, messages: &[&str], expected: &[&str]) {
        let mut reader = Reader::new(2, levels);
        let entries: Vec<String> = messages.iter().flat_map(|text| reader.lines(text).unwrap()).collect();
        let lines = entries.iter().flat_map(|entry| entry.lines()).map(str::trim_end);
        assert_eq!(lines.collect::<Vec<_>>(), expected);
    }

    const SNAPSHOT: &str = r#"{"channel":"book","type":"snapshot","data":[{"symbol":"BTC/USD","bids":[{"price":9.5,"qty":1.00},{"price":9.4,"qty":2.00}],"asks":[{"price":10.0,"qty":3.00},{"price":10.5,"qty":4.00}],"checksum":1,"timestamp":"2026-02-03T04:05:06.789012Z","seq":7,"epoch":1}]}"#;

    #[test]
    fn a_change_of_the_book_shows_what_is_best_now() {
        let update = r#"{"channel":"book","type":"update","data":[{"symbol":"BTC/USD","bids":[{"price":9.5,"qty":0.00},{"price":9.3,"qty":5.00}],"asks":[],"checksum":1,"timestamp":"2026-02-03T04:05:07.000001Z","seq":9,"prev":7,"merged":3}]}"#;
        check(
            1,
            &[SNAPSHOT, update, r#"{"channel":"heartbeat"}"#],
            &[
                "04:05:06.789012 BTC/USD   1.00 x 9.5 | 10.0 x 3.00  spread 0.5  snapshot of 2 + 2 levels  seq 7",
                "                                    1.00            9.5 | 10.0           3.00",
                "04:05:07.000001 BTC/USD   2.00 x 9.4 | 10.0 x 3.00  spread 0.6  1 set, 1 removed, merged from 3  seq 9",
                "                                    2.00            9.4 | 10.0           3.00",
            ],
        );
    }

    #[test]
    fn trades_tickers_candles_and_notices_read_well() {
        let trade = r#"{"channel":"trade","type":"update","data":[{"symbol":"BTC/USD","side":"buy","price":9.5,"qty":0.10,"ord_type":"market","trade_id":12,"timestamp":"2026-02-03T04:05:06.789012Z","seq":9,"prev":7}]}"#;
        let ticker = r#"{"channel":"ticker","type":"update","data":[{"symbol":"BTC/USD","bid":9.5,"bid_qty":1.0,"ask":9.6,"ask_qty":2.0,"last":9.5,"volume":100.0,"vwap":9.4,"low":9.0,"high":10.0,"change":0.5,"change_pct":5.5,"timestamp":"2026-02-03T04:05:06.789012Z","seq":9,"prev":7}]}"#;
        let candle = r#"{"channel":"ohlc","type":"update","timestamp":"2026-02-03T04:05:06.789012345Z","data":[{"symbol":"BTC/USD","open":1.0,"high":2.0,"low":0.5,"close":1.5,"trades":3,"volume":7.0,"vwap":1.2,"interval_begin":"x","interval":1,"timestamp":"2026-02-03T04:06:00.000000Z","seq":9,"prev":7}]}"#;
        let gap = r#"{"channel":"notice","type":"update","data":[{"code":"gap","channel":"trade","symbol":"BTC/USD","from_seq":5,"to_seq":9,"count":3}]}"#;
        let status = r#"{"channel":"status","type":"update","data":[{"api_version":"v2","connection_id":1,"system":"online","version":"0.1.0"}]}"#;
        check(
            0,
            &[trade, ticker, candle, gap, status],
            &[
                "04:05:06.789012 BTC/USD   buy  9.5 x 0.10  #12",
                "04:05:06.789012 BTC/USD   1.0 x 9.5 | 9.6 x 2.0  last 9.5  5.5 %  volume 100.0",
                "04:05:06.789012 BTC/USD   1 min  open 1.0 high 2.0 low 0.5 close 1.5  volume 7.0 in 3 trades",
                "                BTC/USD   notice gap on trade: 3 updates behind seq 5 up to 9",
                "                venue is online",
            ],
        );
    }
}
