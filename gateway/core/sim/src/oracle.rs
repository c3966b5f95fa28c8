//! The oracle: what one client knows from nothing but the bytes it was sent, and what is wrong with them.
//!
//! Shares no code with the market or the hub: its books are maps, its numbers are text read as text.

use std::collections::BTreeMap;

use model::{Instrument, Level, Price, Qty};
use serde_json::Value;

/// What a client knows of one subscription.
#[derive(Clone, Debug, Default)]
pub(crate) struct View {
    /// Depth asked for; books only.
    pub(crate) depth: usize,
    wants_snapshot: bool,
    /// An unsubscription is on its way.
    pub(crate) leaving: bool,
    acknowledged: bool,
    snapshots: u64,
    pub(crate) last_seq: Option<u64>,
    pub(crate) epoch: Option<u64>,
    /// It came back with what it had: no snapshot is owed when it is acknowledged as recovered.
    resuming: bool,
    pub(crate) bids: BTreeMap<i64, i64>,
    pub(crate) asks: BTreeMap<i64, i64>,
    last_trade: Option<u64>,
    /// Trades that a notice said were lost.
    told_lost: u64,
    /// A notice said that the next link is broken.
    told_gap: bool,
}

/// Everything that one client knows.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    pub(crate) ext: bool,
    /// By (channel, symbol).
    pub(crate) views: BTreeMap<(String, String), View>,
    /// Trades missing in sequence that nobody told: for a plain client `trade_id` tells.
    pub(crate) trades_missed: u64,
    pub(crate) messages: u64,
    pub(crate) closed: Option<u16>,
}

type Verdict = Result<(), String>;

impl Oracle {
    pub(crate) fn expect(&mut self, channel: &str, symbol: &str, depth: usize, wants_snapshot: bool) {
        let view = View { depth, wants_snapshot, ..View::default() };
        self.views.insert((channel.into(), symbol.into()), view);
    }

    /// Expects a subscription that goes on from what another connection had.
    pub(crate) fn expect_resumed(&mut self, channel: &str, symbol: &str, ghost: View) {
        let view = View { acknowledged: false, leaving: false, resuming: true, snapshots: 1, ..ghost };
        self.views.insert((channel.into(), symbol.into()), view);
    }

    /// Takes one text message.
    pub(crate) fn take(&mut self, text: &[u8], instruments: &BTreeMap<String, Instrument>) -> Verdict {
        self.messages += 1;
        let message: Value = serde_json::from_slice(text).map_err(|error| format!("no JSON: {error}"))?;
        if let Some(method) = message["method"].as_str() {
            return self.take_answer(method, &message);
        }
        match message["channel"].as_str() {
            Some("book" | "ticker" | "trade" | "ohlc") => self.take_data(&message, instruments),
            Some("notice") if self.ext => self.take_notice(&message["data"][0]),
            Some("notice") => Err("a notice to a client that did not opt in".into()),
            Some("status" | "heartbeat" | "instrument") => Ok(()),
            _ => Err(format!("unknown message {message}")),
        }
    }

    fn take_answer(&mut self, method: &str, message: &Value) -> Verdict {
        if message["success"] != Value::Bool(true) {
            return if method == "pong" { Ok(()) } else { Err(format!("refused: {message}")) };
        }
        let key = (text_of(&message["result"]["channel"]), text_of(&message["result"]["symbol"]));
        match method {
            "subscribe" => {
                let view = self
                    .views
                    .get_mut(&key)
                    .ok_or_else(|| format!("acknowledged without request: {key:?}"))?;
                if std::mem::replace(&mut view.acknowledged, true) {
                    return Err(format!("acknowledged twice: {key:?}"));
                }
                let recovered = &message["result"]["recovered"];
                // Who leaves before the answer is only told that it was there.
                if view.resuming != recovered.is_boolean() && !view.leaving {
                    return Err(format!("recovered is {recovered}: {key:?}"));
                }
                if recovered == &Value::Bool(false) {
                    view.begin_again();
                }
            }
            "unsubscribe" => drop(self.views.remove(&key)),
            _ => {}
        }
        Ok(())
    }

    fn take_notice(&mut self, notice: &Value) -> Verdict {
        let key = (text_of(&notice["channel"]), text_of(&notice["symbol"]));
        let Some(view) = self.views.get_mut(&key) else { return Ok(()) };
        match notice["code"].as_str() {
            // A book cannot go on behind a gap: a snapshot follows, as after a subscription.
            Some("gap") if key.0 == "book" => view.begin_again(),
            Some("gap") => {
                view.told_lost += notice["count"].as_u64().unwrap_or_default();
                view.told_gap = true;
                if let Some(epoch) = notice["epoch"].as_u64() {
                    (view.epoch, view.last_seq) = (Some(epoch), None);
                }
            }
            Some("resynced") => view.begin_again(),
            _ => {}
        }
        Ok(())
    }

    fn take_data(&mut self, message: &Value, instruments: &BTreeMap<String, Instrument>) -> Verdict {
        let channel = text_of(&message["channel"]);
        let is_snapshot = message["type"] == "snapshot";
        let elements = message["data"].as_array().ok_or("data is no array")?;
        if elements.is_empty() {
            return Err("a message without elements".into());
        }
        let symbol = text_of(&elements[0]["symbol"]);
        let ext = self.ext;
        let view = self
            .views
            .get_mut(&(channel.clone(), symbol.clone()))
            .ok_or_else(|| format!("data without subscription: {channel} {symbol}"))?;
        if !view.acknowledged {
            return Err(format!("data before the acknowledgement: {channel} {symbol}"));
        }
        let wrong = |what: String| Err(format!("{channel} {symbol}: {what} in {message}"));
        if is_snapshot {
            view.snapshots += 1;
            if view.snapshots > 1 {
                return wrong("a second snapshot".into());
            }
        } else if view.wants_snapshot && view.snapshots == 0 && (channel == "book" || channel == "ticker") {
            return wrong("an update before the snapshot".into());
        }
        for element in elements {
            if let Err(what) = view.link(element, is_snapshot, channel == "trade", ext) {
                return wrong(what);
            }
            if channel == "trade" {
                self.trades_missed += view.trade(element);
            }
            if channel == "book"
                && let Err(what) = view.apply(element, is_snapshot, &instruments[&symbol])
            {
                return wrong(what);
            }
        }
        Ok(())
    }
}

impl View {
    /// Whether a connection that takes this over can go on from it.
    pub(crate) fn can_resume(&self) -> bool {
        self.acknowledged && self.last_seq.is_some() && self.epoch.is_some() && self.snapshots == 1
    }

    /// Forgets what is behind: a snapshot is to come.
    fn begin_again(&mut self) {
        self.snapshots = 0;
        self.last_seq = None;
        self.last_trade = None;
        self.told_gap = false;
        self.wants_snapshot = true;
    }

    /// Checks `seq`, `prev` and `epoch` against what was sent before.
    fn link(&mut self, element: &Value, is_snapshot: bool, is_trade: bool, ext: bool) -> Verdict {
        let seq = element["seq"].as_u64().ok_or("seq is missing")?;
        let epoch = element["epoch"].as_u64();
        if is_snapshot {
            (self.last_seq, self.epoch) = (Some(seq), epoch);
            return epoch.map(drop).ok_or_else(|| "a snapshot without epoch".into());
        }
        let prev = element["prev"].as_u64().ok_or("prev is missing")?;
        if let Some(last) = self.last_seq {
            // A hole in trades is allowed when it is told: by a notice, or by trade_id to a plain client.
            let told = (is_trade && !ext) || std::mem::take(&mut self.told_gap);
            if prev != last && !told {
                return Err(format!("prev {prev} after {last}"));
            }
            if epoch.is_none() && seq <= last {
                return Err(format!("seq {seq} after {last}"));
            }
        }
        if epoch.is_some() {
            self.epoch = epoch;
        }
        self.last_seq = Some(seq);
        Ok(())
    }

    /// Counts trades that are missing before this one.
    fn trade(&mut self, element: &Value) -> u64 {
        let id = element["trade_id"].as_u64().unwrap_or_default();
        let missing = match self.last_trade {
            // Ids begin again with a new epoch.
            Some(last) if id > last => id - last - 1,
            _ => 0,
        };
        self.last_trade = Some(id);
        let told = missing.min(self.told_lost);
        self.told_lost -= told;
        missing - told
    }

    fn apply(&mut self, element: &Value, is_snapshot: bool, instrument: &Instrument) -> Verdict {
        if is_snapshot {
            self.bids.clear();
            self.asks.clear();
        }
        for (name, is_bid) in [("bids", true), ("asks", false)] {
            let mut added = false;
            for level in element[name].as_array().ok_or("a side is missing")? {
                let price = steps(instrument.price, &level["price"])?;
                let qty = steps(instrument.qty, &level["qty"])?;
                let side = if is_bid { &mut self.bids } else { &mut self.asks };
                if qty == 0 {
                    if added {
                        return Err("a removal behind another level".into());
                    }
                    side.remove(&price);
                } else {
                    added = true;
                    side.insert(price, qty);
                }
                // As strict clients do: cut after every level.
                self.truncate();
            }
        }
        if self.crossed() {
            return Err("a crossed book".into());
        }
        let expected = element["checksum"].as_u64().ok_or("checksum is missing")?;
        let actual = u64::from(self.checksum(instrument));
        if actual == expected { Ok(()) } else { Err(format!("checksum {expected}, the book has {actual}")) }
    }

    fn truncate(&mut self) {
        while self.bids.len() > self.depth {
            self.bids.pop_first();
        }
        while self.asks.len() > self.depth {
            self.asks.pop_last();
        }
    }

    fn crossed(&self) -> bool {
        match (self.bids.keys().next_back(), self.asks.keys().next()) {
            (Some(bid), Some(ask)) => bid >= ask,
            _ => false,
        }
    }

    fn checksum(&self, instrument: &Instrument) -> u32 {
        let level = |(&price, &qty): (&i64, &i64)| Level { price: Price(price), qty: Qty(qty) };
        wire::checksum::checksum(instrument, self.bids.iter().rev().map(level), self.asks.iter().map(level))
    }
}

fn text_of(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// Reads a JSON number back into steps by its decimals: exact for the 15 digits that are allowed.
fn steps(scale: model::Scale, number: &Value) -> Result<i64, String> {
    let value = number.as_f64().ok_or("a number is missing")?;
    let text = format!("{value:.*}", usize::from(scale.decimals()));
    scale.parse(text.as_bytes()).map_err(|error| error.to_string())
}
