//! The slow reader: any JSON of the protocol, whatever its key order, blanks and escapes.
//!
//! Owns the serde shapes of the messages. Never guesses: what they do not allow is an error with a reason.
//! Frames come from [`Scanner::scan`] when the fast reader did not know them; results go to the same buffers.

use super::{Ack, Channel, Element, Header, Message, Notice, Scanner};
use crate::book::Level;
use crate::time::{self, Micros};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::ops::Range;

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    channel: Option<Cow<'a, str>>,
    r#type: Option<Cow<'a, str>>,
    timestamp: Option<Cow<'a, str>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    method: Option<Cow<'a, str>>,
    success: Option<bool>,
    error: Option<String>,
    symbol: Option<String>,
    req_id: Option<u64>,
    result: Option<AckResult>,
}

#[derive(Deserialize, Default)]
struct AckResult {
    channel: Option<String>,
    symbol: Option<String>,
    epoch: Option<u64>,
    seq: Option<u64>,
    recovered: Option<bool>,
    interval_ms: Option<u64>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    symbol: Cow<'a, str>,
    #[serde(borrow)]
    bids: Option<Vec<RowLevel<'a>>>,
    #[serde(borrow)]
    asks: Option<Vec<RowLevel<'a>>>,
    checksum: Option<u32>,
    #[serde(borrow)]
    timestamp: Option<Cow<'a, str>>,
    seq: Option<u64>,
    prev: Option<u64>,
    epoch: Option<u64>,
    trade_id: Option<u64>,
    merged: Option<u64>,
}

#[derive(Deserialize)]
struct State<'a> {
    #[serde(borrow)]
    system: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct RowLevel<'a> {
    #[serde(borrow)]
    price: &'a RawValue,
    #[serde(borrow)]
    qty: &'a RawValue,
}

impl Scanner {
    /// Reads any message of the protocol, or says why it cannot.
    pub(super) fn scan_slow(&mut self, frame: &[u8]) -> Result<Message, String> {
        self.clear();
        let envelope: Envelope<'_> = serde_json::from_slice(frame).map_err(|e| e.to_string())?;
        let Some(name) = envelope.channel.as_deref() else { return answer(envelope) };
        match name {
            "heartbeat" => Ok(Message::Heartbeat),
            "status" => Ok(Message::Status { is_online: is_online(&envelope) }),
            "notice" => notice(&envelope),
            _ => match Channel::from_name(name.as_bytes()) {
                Some(channel) => self.data(channel, &envelope).map(Message::Data),
                None => Ok(Message::Other(format!("channel {name}"))),
            },
        }
    }

    fn data(&mut self, channel: Channel, envelope: &Envelope<'_>) -> Result<Header, String> {
        let is_snapshot = match envelope.r#type.as_deref() {
            Some("snapshot") => true,
            Some("update") => false,
            other => return Err(format!("type {other:?}, neither snapshot nor update")),
        };
        let timestamp = envelope.timestamp.as_deref().map(micros).transpose()?;
        let data = envelope.data.ok_or("no data in a channel message")?;
        let rows: Vec<Row<'_>> = serde_json::from_str(data.get()).map_err(|e| format!("in data: {e}"))?;
        for row in rows {
            self.push_row(row)?;
        }
        Ok(Header { channel, is_snapshot, timestamp })
    }

    fn push_row(&mut self, row: Row<'_>) -> Result<(), String> {
        let start = self.symbols.len();
        self.symbols.push_str(&row.symbol);
        let symbol = start..self.symbols.len();
        let bids = self.push_row_levels(row.bids.unwrap_or_default())?;
        let asks = self.push_row_levels(row.asks.unwrap_or_default())?;
        let timestamp = row.timestamp.as_deref().map(micros).transpose()?;
        let Row { checksum, seq, prev, epoch, trade_id, merged, .. } = row;
        let element = Element { symbol, bids, asks, checksum, timestamp, seq, prev, epoch, trade_id, merged };
        self.elements.push(element);
        Ok(())
    }

    fn push_row_levels(&mut self, levels: Vec<RowLevel<'_>>) -> Result<Range<usize>, String> {
        let start = self.levels.len();
        for RowLevel { price, qty } in levels {
            let level = Level::from_tokens(price.get().as_bytes(), qty.get().as_bytes());
            self.levels.push(level.ok_or_else(|| format!("level {price} x {qty}, not plain decimals"))?);
        }
        Ok(start..self.levels.len())
    }
}

/// A server that names no state has none to complain of.
fn is_online(envelope: &Envelope<'_>) -> bool {
    let states = envelope.data.and_then(|data| serde_json::from_str::<Vec<State<'_>>>(data.get()).ok());
    let is_fine = |state: &State<'_>| state.system.as_deref().is_none_or(|system| system == "online");
    states.unwrap_or_default().iter().all(is_fine)
}

fn micros(text: &str) -> Result<Micros, String> {
    time::from_rfc3339(text.as_bytes()).ok_or_else(|| format!("timestamp {text:?}, not RFC 3339 in UTC"))
}

fn notice(envelope: &Envelope<'_>) -> Result<Message, String> {
    let data = envelope.data.ok_or("no data in a notice")?;
    let notices: Vec<Notice> = serde_json::from_str(data.get()).map_err(|e| format!("in a notice: {e}"))?;
    let [notice] =
        <[Notice; 1]>::try_from(notices).map_err(|all| format!("{} notices in a message", all.len()))?;
    Ok(Message::Notice(Box::new(notice)))
}

fn answer(envelope: Envelope<'_>) -> Result<Message, String> {
    let method = envelope.method.ok_or("neither channel nor method")?.into_owned();
    let Some(success) = envelope.success else { return Ok(Message::Other(format!("method {method}"))) };
    let result = envelope.result.unwrap_or_default();
    Ok(Message::Ack(Box::new(Ack {
        method,
        channel: result.channel.unwrap_or_default(),
        symbol: result.symbol.or(envelope.symbol).unwrap_or_default(),
        req_id: envelope.req_id,
        epoch: result.epoch,
        seq: result.seq,
        recovered: result.recovered,
        interval_ms: result.interval_ms,
        error: match success {
            true => None,
            false => Some(envelope.error.unwrap_or_else(|| "no error text".to_owned())),
        },
    })))
}
