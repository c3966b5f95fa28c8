//! The parameters of the superset: how a client wants to be served, and from where it goes on.

use model::{Epoch, Policy, Sequence};
use simd_json::prelude::ValueAsScalar;
use simd_json::tape::{Object, Value};

use super::{Malformed, sent};

/// How a subscription is to be served; what was not sent stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivery {
    /// What becomes of entries that the client is too slow for.
    pub policy: Option<Policy>,
    /// With [`Policy::Disconnect`]: how old the oldest unsent entry may become, in milliseconds.
    pub max_lag_ms: Option<u64>,
    /// With [`Policy::Disconnect`]: how many entries may be unsent.
    pub max_lag_entries: Option<u64>,
    /// At most one update per this many milliseconds; 0 is as fast as the client reads.
    pub interval_ms: Option<u64>,
}

/// Where a client stands that comes back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resume {
    /// The same for every symbol of the request; meant for requests of one symbol.
    All(Epoch, Sequence),
    /// By symbol.
    PerSymbol(Vec<(Box<str>, Epoch, Sequence)>),
}

impl Resume {
    /// The point of one symbol.
    #[must_use]
    pub fn point(&self, symbol: &str) -> Option<(Epoch, Sequence)> {
        match self {
            Self::All(epoch, seq) => Some((*epoch, *seq)),
            Self::PerSymbol(points) => {
                points.iter().find(|(name, ..)| **name == *symbol).map(|(_, epoch, seq)| (*epoch, *seq))
            }
        }
    }
}

pub(super) fn decode_delivery(params: &Object<'_, '_>) -> Result<Delivery, Malformed> {
    let policy = match sent(params, "policy") {
        None => None,
        Some(value) => {
            const NAMES: &str = "one of conflate, latest, drop_oldest, drop_newest, disconnect";
            let policy = value.as_str().and_then(Policy::from_name);
            Some(policy.ok_or(Malformed::WrongType("policy", NAMES))?)
        }
    };
    Ok(Delivery {
        policy,
        max_lag_ms: count(params, "max_lag_ms")?,
        max_lag_entries: count(params, "max_lag_entries")?,
        interval_ms: count(params, "interval_ms")?,
    })
}

/// A parameter of a whole number, 0 and above.
pub(super) fn count(params: &Object<'_, '_>, key: &'static str) -> Result<Option<u64>, Malformed> {
    let Some(value) = sent(params, key) else { return Ok(None) };
    value.as_u64().map(Some).ok_or(Malformed::WrongType(key, "a whole number, 0 or above"))
}

pub(super) fn decode_resume(params: &Object<'_, '_>) -> Result<Option<Resume>, Malformed> {
    const SHAPE: &str = "{\"epoch\":e,\"seq\":n}, or that by symbol";
    let wrong = Malformed::WrongType("resume", SHAPE);
    let Some(value) = sent(params, "resume") else { return Ok(None) };
    let object = value.as_object().ok_or(wrong)?;
    if let Some((epoch, seq)) = point(&object) {
        return Ok(Some(Resume::All(epoch, seq)));
    }
    let per_symbol = |(symbol, value): (&str, Value<'_, '_>)| {
        let (epoch, seq) = point(&value.as_object()?)?;
        Some((Box::from(symbol), epoch, seq))
    };
    let points: Option<Vec<_>> = object.iter().map(per_symbol).collect();
    points.map(|points| Some(Resume::PerSymbol(points))).ok_or(wrong)
}

fn point(object: &Object<'_, '_>) -> Option<(Epoch, Sequence)> {
    Some((Epoch(sent(object, "epoch")?.as_u64()?), Sequence(sent(object, "seq")?.as_u64()?)))
}
