//! What the mock does with one connection: answers, updates, and most of the planted bugs.
//!
//! Owns the client's subscriptions. What is wrong in the content of a message is planted in `market.rs`, what is wrong in counts in
//! `admin.rs`.

use super::admin::Counts;
use super::flood::Script;
use super::market::Market;
use super::wire::{Input, Wire};
use super::{BUG_AT, Bug};
use serde_json::{Value, json};
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::interval;

/// Time between two messages of a subscription: the mock's market, nothing waits for it.
const UPDATE_EVERY: Duration = Duration::from_millis(2);
/// Updates after which nothing changes any more, where that is wanted.
const STOP_AFTER: u64 = 40;
const SYMBOLS: [&str; 3] = ["BTC/USD", "ETH/USD", "SOL/USD"];
const STATUS: &str =
    r#"{"channel":"status","type":"update","data":[{"system":"online","api_version":"v2"}]}"#;
const HEARTBEAT: &str = r#"{"channel":"heartbeat"}"#;

/// What is known of a connection from the start.
#[derive(Clone, Copy)]
pub(super) struct Setting {
    pub(super) bug: Bug,
    pub(super) opts_in: bool,
    /// Which connection of the server it is, from 0.
    pub(super) number: u64,
}

struct Session<'a> {
    wire: Wire,
    setting: Setting,
    counts: &'a Counts,
    channel: String,
    markets: Vec<Market>,
    is_paused: bool,
    is_silent: bool,
    /// Ticks between two updates.
    every: u64,
    /// Ticks so far.
    ticks: u64,
    /// Updates so far.
    updates: u64,
}

/// Acknowledges, then writes a script round and round until the client wants no more.
pub(super) async fn flood(mut wire: Wire, script: Script) -> io::Result<()> {
    wire.send(STATUS.to_owned()).await?;
    let Input::Request(request) = wire.next().await else { return Ok(()) };
    if request["params"]["channel"] == "instrument" {
        return list(&mut wire).await;
    }
    wire.send(ack(&request, super::flood::SYMBOL, None)).await?;
    wire.send(script.snapshot.clone()).await?;
    loop {
        for frames in script.parts() {
            tokio::select! {
                biased;
                input = wire.next() => {
                    let Input::Request(request) = input else { return Ok(()) };
                    wire.send(ack(&request, super::flood::SYMBOL, None)).await?;
                    wire.wait_for_end().await;
                    return Ok(());
                }
                () = std::future::ready(()) => wire.write_raw(frames).await?,
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Talks until the client leaves, or the bug is to leave it.
pub(super) async fn talk(mut wire: Wire, setting: Setting, counts: &Counts) -> io::Result<()> {
    wire.send(STATUS.to_owned()).await?;
    let mut session = Session {
        wire,
        setting,
        counts,
        channel: String::new(),
        markets: Vec::new(),
        is_paused: false,
        is_silent: false,
        every: 1,
        ticks: 0,
        updates: 0,
    };
    let mut clock = interval(UPDATE_EVERY);
    loop {
        tokio::select! {
            biased;
            input = session.wire.next() => match input {
                Input::Request(request) => session.handle_request(&request).await?,
                Input::End => return Ok(()),
            },
            _ = clock.tick() => {
                if !session.tick().await? {
                    return Ok(());
                }
            }
        }
    }
}

impl Session<'_> {
    async fn handle_request(&mut self, request: &Value) -> io::Result<()> {
        let params = &request["params"];
        if params["channel"] == "instrument" {
            return list(&mut self.wire).await;
        }
        match request["method"].as_str().unwrap() {
            "subscribe" => self.subscribe(request).await,
            "unsubscribe" => self.unsubscribe(request).await,
            method @ ("pause" | "resume") => {
                self.is_paused = method == "pause" && self.setting.bug != Bug::PauseLeak;
                let result = json!({"subscriptions": self.markets.len(), "paused": method == "pause"});
                self.wire.send(answer(request, result)).await
            }
            other => panic!("the witness asks for {other}"),
        }
    }

    async fn subscribe(&mut self, request: &Value) -> io::Result<()> {
        let bug = self.setting.bug;
        if bug == Bug::NoAck {
            return Ok(());
        }
        let params = &request["params"];
        self.channel = params["channel"].as_str().unwrap().to_owned();
        let depth = params["depth"].as_u64().unwrap_or(10) as usize;
        let interval_ms = params["interval_ms"].as_u64().unwrap_or(0);
        self.every = if bug == Bug::IntervalIgnored { 1 } else { (interval_ms / 2).max(1) };
        for symbol in params["symbol"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()) {
            if bug == Bug::Refusal {
                let text = format!("Currency pair not supported {symbol}");
                self.wire.send(refusal(request, symbol, &text)).await?;
                continue;
            }
            let mut market = Market::new(symbol, depth, bug, self.setting.number);
            let resume = params["resume"][symbol]["seq"].as_u64();
            let mut messages = match resume {
                Some(seq) => self.resume(request, &mut market, seq),
                None => vec![ack(request, symbol, None), self.shaped(market.snapshot(&self.channel))],
            };
            match bug {
                Bug::SnapshotBeforeAck => messages.reverse(),
                Bug::UpdateBeforeSnapshot => messages.insert(1, market.update(&self.channel, false)),
                _ => {}
            }
            self.markets.retain(|other| other.symbol != symbol);
            self.markets.push(market);
            for message in messages {
                self.wire.send(message).await?;
            }
        }
        Ok(())
    }

    /// Goes on from a place: the market is brought there, for it is the same for everybody.
    fn resume(&mut self, request: &Value, market: &mut Market, seq: u64) -> Vec<String> {
        market.forward_to(&self.channel, seq);
        let (from, symbol) = (market.seq(), market.symbol.clone());
        // Meanwhile two more entries have happened.
        let mut missed = market.clone();
        missed.forward(&self.channel, 2);
        let acked = ack(request, &symbol, Some(missed.seq()));
        match self.setting.bug {
            Bug::ResumeHole => {
                market.forward(&self.channel, 1);
                vec![acked, market.merged(&self.channel, 1)]
            }
            Bug::ResumeShort => vec![acked, market.merged(&self.channel, 1)],
            _ => {
                assert_eq!(from, seq, "the witness names a place where the market was");
                self.count(1, 1, 0);
                vec![acked, market.merged(&self.channel, 2)]
            }
        }
    }

    async fn unsubscribe(&mut self, request: &Value) -> io::Result<()> {
        for symbol in request["params"]["symbol"].as_array().unwrap().iter().map(|s| s.as_str().unwrap()) {
            let acked = answer(request, json!({"channel": self.channel, "symbol": symbol}));
            self.wire.send(acked).await?;
            if self.setting.bug == Bug::TalksOn {
                let market = self.markets.iter_mut().find(|market| market.symbol == symbol).unwrap();
                let message = market.update(&self.channel, false);
                self.wire.send(message).await?;
            }
            self.markets.retain(|market| market.symbol != symbol);
        }
        Ok(())
    }

    /// The next update of each subscription; false when the connection is not to go on.
    async fn tick(&mut self) -> io::Result<bool> {
        self.ticks += 1;
        if self.is_silent {
            return Ok(true);
        }
        if matches!(self.setting.bug, Bug::Refusal | Bug::NoAck) || self.is_paused {
            self.wire.send(HEARTBEAT.to_owned()).await?;
            return Ok(true);
        }
        if self.markets.is_empty() || !self.ticks.is_multiple_of(self.every) {
            return Ok(true);
        }
        let stops = matches!(self.setting.bug, Bug::Stops | Bug::DeepDifference);
        if stops && self.updates == STOP_AFTER {
            self.wire.send(HEARTBEAT.to_owned()).await?;
            return Ok(true);
        }
        // Where the end is looked at, the last one is wrong, so that nothing can make it right again.
        let is_wrong = self.updates == if stops { STOP_AFTER - 1 } else { BUG_AT };
        self.updates += 1;
        if is_wrong && !self.misbehave().await? {
            return Ok(false);
        }
        for at in (0..self.markets.len()).filter(|_| !self.is_silent) {
            let message = self.markets[at].update(&self.channel, is_wrong);
            self.count(if self.channel == "trade" { 2 } else { 1 }, 0, 0);
            let message = self.shaped(message);
            self.wire.send(message).await?;
        }
        Ok(true)
    }

    /// Bugs that are messages of their own, and what looks like one and is none; false when the connection is not to go on.
    async fn misbehave(&mut self) -> io::Result<bool> {
        match self.setting.bug {
            Bug::BrokenJson => self.wire.send(r#"{"channel":"book","type":"#.to_owned()).await?,
            Bug::SecondSnapshot => {
                let snapshot = self.markets[0].snapshot(&self.channel);
                self.wire.send(snapshot).await?;
            }
            Bug::Notice => {
                self.wire.send(r#"{"channel":"notice","data":[{"code":"lagging"}]}"#.to_owned()).await?;
            }
            Bug::PingFrame => self.wire.send_frame(9, &[1]).await?,
            Bug::BinaryFrame => self.wire.send_frame(2, &[1, 2, 3]).await?,
            // It answers requests, and says nothing by itself.
            Bug::Silent => self.is_silent = true,
            Bug::CloseFrame => {
                let mut payload = 4008_u16.to_be_bytes().to_vec();
                payload.extend_from_slice(b"slow consumer");
                self.wire.send_frame(8, &payload).await?;
                self.wire.wait_for_end().await;
                return Ok(false);
            }
            Bug::DropConnection => return Ok(false),
            Bug::LostDelta => self.markets[0].forward(&self.channel, 1),
            Bug::Merges | Bug::MergeMiscounted => self.merge().await?,
            Bug::Drops | Bug::DropsSilently | Bug::GapMiscounted | Bug::DropMiscounted => {
                self.drop_trades(3).await?
            }
            Bug::PlainLoss if !self.setting.opts_in => {
                self.markets[0].forward(&self.channel, 1);
                self.count(0, 0, 1);
            }
            _ => {}
        }
        Ok(true)
    }

    /// Three entries as one update, announced to who opted in.
    async fn merge(&mut self) -> io::Result<()> {
        let said = if self.setting.bug == Bug::MergeMiscounted { 4 } else { 3 };
        let from = self.markets[0].seq();
        let message = self.markets[0].merged(&self.channel, 3);
        let notice = self.notice("merged", from, said);
        self.wire.send(notice).await?;
        self.wire.send(message).await?;
        self.count(1, 2, 0);
        Ok(())
    }

    /// So many trades are never sent.
    async fn drop_trades(&mut self, trades: u64) -> io::Result<()> {
        let from = self.markets[0].seq();
        self.markets[0].forward(&self.channel, trades);
        self.count(0, 0, trades);
        let said = if self.setting.bug == Bug::GapMiscounted { trades - 1 } else { trades };
        let notice = self.notice("gap", from, said);
        if self.setting.bug != Bug::DropsSilently {
            self.wire.send(notice).await?;
        }
        Ok(())
    }

    fn notice(&self, code: &str, from: u64, count: u64) -> String {
        let market = &self.markets[0];
        json!({"channel": "notice", "type": "update", "data": [{
            "code": code, "channel": self.channel, "symbol": market.symbol,
            "from_seq": from, "to_seq": market.seq(), "count": count,
        }]})
        .to_string()
    }

    fn count(&self, written: u64, merged: u64, dropped: u64) {
        let counts = self.counts.channel(&self.channel);
        counts.written.fetch_add(written, Relaxed);
        counts.merged.fetch_add(merged, Relaxed);
        counts.dropped.fetch_add(dropped, Relaxed);
    }

    /// The same message in an unusual shape, when that is asked for.
    fn shaped(&self, message: String) -> String {
        match self.setting.bug {
            Bug::OddShape => {
                let at = message.find("\"data\"").unwrap();
                let (head, data) = (&message[1..at - 1], &message[at..message.len() - 1]);
                format!("{{ {data} , {head} }}")
            }
            _ => message,
        }
    }
}

fn answer(request: &Value, result: Value) -> String {
    json!({
        "method": request["method"], "success": true, "time_in": "a", "time_out": "b",
        "req_id": request["req_id"], "result": result,
    })
    .to_string()
}

/// `resumed_at` is where the stream stands that goes on from the client's place.
fn ack(request: &Value, symbol: &str, resumed_at: Option<u64>) -> String {
    let params = &request["params"];
    let mut result = json!({
        "channel": params["channel"], "symbol": symbol, "snapshot": true, "depth": params["depth"],
    });
    if !params["interval_ms"].is_null() {
        result["interval_ms"] = params["interval_ms"].clone();
    }
    if let Some(seq) = resumed_at {
        result["recovered"] = true.into();
        result["epoch"] = 7.into();
        result["seq"] = seq.into();
    }
    answer(request, result)
}

fn refusal(request: &Value, symbol: &str, text: &str) -> String {
    json!({
        "method": "subscribe", "success": false, "symbol": symbol, "req_id": request["req_id"], "error": text,
    })
    .to_string()
}

async fn list(wire: &mut Wire) -> io::Result<()> {
    let pairs: Vec<_> = SYMBOLS.iter().map(|s| json!({"symbol": s})).collect();
    let data = json!({"assets": [], "pairs": pairs});
    wire.send(json!({"channel":"instrument","type":"snapshot","data":data}).to_string()).await?;
    wire.wait_for_end().await;
    Ok(())
}
