//! What a client was sent, read without a copy: numbers of books stay text.

use std::borrow::Cow;
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
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
    pub(super) data: Data<'a>,
}

/// What a message carries.
#[derive(Debug)]
pub(super) enum Data<'a> {
    /// Elements: of every channel but one.
    Elements(Vec<Element<'a>>),
    /// What the instrument channel sends.
    Reference(Reference<'a>),
}

impl Default for Data<'_> {
    fn default() -> Self {
        Self::Elements(Vec::new())
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Data<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(DataVisitor)
    }
}

struct DataVisitor;

impl<'de> Visitor<'de> for DataVisitor {
    type Value = Data<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("elements, or an object of reference data")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, elements: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(SeqAccessDeserializer::new(elements)).map(Data::Elements)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<Self::Value, A::Error> {
        Deserialize::deserialize(MapAccessDeserializer::new(object)).map(Data::Reference)
    }
}

/// The reference data of the instrument channel.
#[derive(Debug, Deserialize)]
pub(super) struct Reference<'a> {
    #[serde(borrow)]
    pub(super) pairs: Vec<Pair<'a>>,
}

/// A pair of the reference data.
#[derive(Debug, Deserialize)]
pub(super) struct Pair<'a> {
    pub(super) symbol: &'a str,
    pub(super) status: &'a str,
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
    pub(super) bid: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(super) ask: Option<&'a RawValue>,
    /// Trades of a candle.
    pub(super) trades: Option<u64>,
    #[serde(borrow)]
    pub(super) code: Option<&'a str>,
    #[serde(borrow)]
    pub(super) channel: Option<&'a str>,
    pub(super) from_seq: Option<u64>,
    pub(super) to_seq: Option<u64>,
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
