//! One message as the client received it, in the terms in which it is shown.

use model::Nanos;
use serde::{Serialize, Serializer};

/// What a message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The venue's state.
    Status,
    /// The acknowledgement of the subscription.
    Subscribed,
    /// Everything at once.
    Snapshot,
    /// One update, or several in one.
    Update,
    /// Nothing, after silence.
    #[default]
    Heartbeat,
    /// A notice: the client was too slow.
    Lagging,
    /// A notice: the next update stands for several.
    Merged,
    /// A notice: entries are lost.
    Gap,
    /// A notice: a snapshot follows that was not asked for.
    Resynced,
    /// A notice: the instrument's data may be wrong.
    Stale,
    /// A notice: it is right again.
    Fresh,
    /// Another notice; its code is the text.
    Notice,
    /// The gateway closes the connection.
    Close,
    /// The connection ends without a close frame.
    End,
}

/// One message. Numbers that it does not have are none.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Received {
    /// What it is.
    pub kind: Kind,
    /// When the client has its last byte, from the beginning of the tape.
    #[serde(rename = "offset_us", serialize_with = "micros")]
    pub offset: Nanos,
    /// How old its data is then.
    #[serde(rename = "age_us", serialize_with = "maybe_micros", skip_serializing_if = "Option::is_none")]
    pub age: Option<Nanos>,
    /// Bytes of its frame.
    pub bytes: usize,
    /// Its own position in the stream, or where the subscription begins.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// What it follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prev: Option<u64>,
    /// Generation of `seq`, where it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub epoch: Option<u64>,
    /// How many entries it stands for, where it is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub merged: Option<u64>,
    /// Of a notice: the last entry before those that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_seq: Option<u64>,
    /// Of a notice: the last entry that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to_seq: Option<u64>,
    /// Of a notice: how many entries it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// Number of its last trade.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trade_id: Option<u64>,
    /// Levels, trades or candles in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub elements: Option<usize>,
    /// Of a close.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<u16>,
    /// State of the venue, reason of a close, code of another notice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Received {
    /// Whether it brings data of the stream.
    #[must_use]
    pub const fn is_data(&self) -> bool {
        matches!(self.kind, Kind::Snapshot | Kind::Update)
    }
}

/// Times are told in whole microseconds: exact in every reader of JSON.
pub(super) fn micros<S: Serializer>(time: &Nanos, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.0 / Nanos::MICRO.0)
}

pub(super) fn maybe_micros<S: Serializer>(time: &Option<Nanos>, serializer: S) -> Result<S::Ok, S::Error> {
    match time {
        Some(time) => micros(time, serializer),
        None => serializer.serialize_none(),
    }
}
