//! What a client was sent, read without a copy: numbers of books stay text.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

/// Any message of the gateway; what it lacks is none.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Message<'a> {
    #[serde(borrow)]
    pub(super) method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) channel: Option<&'a str>,
    #[serde(borrow, rename = "type")]
    pub(super) kind: Option<&'a str>,
    pub(super) success: Option<bool>,
    #[serde(borrow)]
    pub(super) result: Option<Answer<'a>>,
    #[serde(borrow)]
    pub(super) data: Vec<Element<'a>>,
}

/// The result of an answer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub(super) channel: Option<&'a str>,
    #[serde(borrow)]
    pub(super) symbol: Option<&'a str>,
    pub(super) epoch: Option<u64>,
    pub(super) seq: Option<u64>,
    pub(super) recovered: Option<bool>,
    #[serde(borrow)]
    pub(super) policy: Option<&'a str>,
    pub(super) max_lag_ms: Option<u64>,
    pub(super) max_lag_entries: Option<u64>,
}

/// One element of data: of a book, a trade, a ticker, a candle, or a notice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Element<'a> {
    #[serde(borrow)]
    pub(super) symbol: Option<&'a str>,
    pub(super) seq: Option<u64>,
    pub(super) prev: Option<u64>,
    pub(super) epoch: Option<u64>,
    pub(super) merged: Option<u64>,
    pub(super) checksum: Option<u32>,
    pub(super) trade_id: Option<u64>,
    #[serde(borrow)]
    pub(super) bids: Option<Vec<LevelText<'a>>>,
    #[serde(borrow)]
    pub(super) asks: Option<Vec<LevelText<'a>>>,
    #[serde(borrow)]
    pub(super) code: Option<&'a str>,
    #[serde(borrow)]
    pub(super) channel: Option<&'a str>,
    pub(super) count: Option<u64>,
}

/// A level as it stands in the text.
#[derive(Debug, Deserialize)]
pub(super) struct LevelText<'a> {
    #[serde(borrow)]
    pub(super) price: &'a RawValue,
    #[serde(borrow)]
    pub(super) qty: &'a RawValue,
}
