//! What a token says about its bearer, and the rules that decide whether it holds now.

use serde::{Deserialize, Deserializer, Serialize};

use crate::Refusal;

/// Most characters of a subject, a token id, an issuer or a tier.
const NAME_CHARS_MAX: usize = 128;

/// Most symbol patterns, channels or audiences of a token.
const ITEMS_MAX: usize = 256;

/// The claims that are looked at; others are ignored. Those of RFC 7519 have its meaning.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    /// Who it is. Needed.
    pub sub: Box<str>,
    /// Until when, in seconds since 1970. Needed: a token that is good for ever cannot be taken back by waiting.
    #[serde(deserialize_with = "seconds")]
    pub exp: u64,
    /// From when on, in seconds since 1970.
    #[serde(default, deserialize_with = "seconds_or_none", skip_serializing_if = "Option::is_none")]
    pub nbf: Option<u64>,
    /// When it was made; not looked at.
    #[serde(default, deserialize_with = "seconds_or_none", skip_serializing_if = "Option::is_none")]
    pub iat: Option<u64>,
    /// Who made it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iss: Option<Box<str>>,
    /// For whom it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aud: Option<Audience>,
    /// Its own name, by which it can be revoked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jti: Option<Box<str>>,
    /// The tier of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Box<str>>,
    /// Patterns of symbols: `*`, `BTC/*`, `*/USD`, `BTC/USD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<Vec<Box<str>>>,
    /// Names of channels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Box<str>>>,
    /// Most levels a side of a book.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth_max: Option<u16>,
}

/// Less than what a tier allows; what is not said is as the tier has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Narrowing {
    /// Patterns of symbols.
    pub symbols: Option<Vec<Box<str>>>,
    /// Names of channels.
    pub channels: Option<Vec<Box<str>>>,
    /// Most levels a side of a book.
    pub depth_max: Option<u16>,
}

/// One name or several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Audience {
    /// One.
    One(Box<str>),
    /// Several: to be among them is enough.
    Several(Vec<Box<str>>),
}

/// A date of RFC 7519: a number, perhaps with a fraction, which is cut off.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    let fraction = || number.as_f64().filter(|&date| (0.0..=9e15).contains(&date)).map(|date| date as u64);
    number.as_u64().or_else(fraction).ok_or_else(|| serde::de::Error::custom("no date"))
}

fn seconds_or_none<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    seconds(deserializer).map(Some)
}

/// What claims are held against.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    /// Whose tokens are taken; none is anybody's who has a key.
    pub issuer: Option<Box<str>>,
    /// What we are called; none takes only tokens that are for nobody in particular.
    pub audience: Option<Box<str>>,
    /// How far clocks may be apart, in seconds.
    pub leeway_s: u64,
}

impl Claims {
    pub(crate) fn decode(payload: &[u8]) -> Result<Self, Refusal> {
        let claims: Self = crate::jws::object(payload)?;
        let names = [Some(&claims.sub), claims.jti.as_ref(), claims.tier.as_ref(), claims.iss.as_ref()];
        if !names.into_iter().flatten().all(|name| is_name(name)) || !claims.narrowing().is_short() {
            return Err(Refusal::Malformed);
        }
        Ok(claims)
    }

    /// What it allows of what the tier allows.
    pub(crate) fn narrowing(&self) -> Narrowing {
        let (symbols, channels) = (self.symbols.clone(), self.channels.clone());
        Narrowing { symbols, channels, depth_max: self.depth_max }
    }

    /// Whether they hold at a time, in seconds since 1970.
    pub(crate) fn check(&self, rules: &Rules, now_s: u64) -> Result<(), Refusal> {
        if now_s >= self.exp.saturating_add(rules.leeway_s) {
            return Err(Refusal::Expired);
        }
        if self.nbf.is_some_and(|nbf| nbf > now_s.saturating_add(rules.leeway_s)) {
            return Err(Refusal::Early);
        }
        if rules.issuer.is_some() && rules.issuer != self.iss {
            return Err(Refusal::Issuer);
        }
        let is_ours = |name: &str| rules.audience.as_deref() == Some(name);
        let for_us = match &self.aud {
            // RFC 7519: who is not among the audience must not accept it.
            Some(Audience::One(name)) => is_ours(name),
            Some(Audience::Several(names)) => names.iter().any(|name| is_ours(name)),
            None => rules.audience.is_none(),
        };
        if for_us { Ok(()) } else { Err(Refusal::Audience) }
    }
}

impl Narrowing {
    /// Whether the lists are as short as they must be.
    pub(crate) fn is_short(&self) -> bool {
        [&self.symbols, &self.channels].into_iter().flatten().all(|list| list.len() <= ITEMS_MAX)
    }
}

/// Whether a name can be told in a log, a list of revocations and a report without being taken for something else.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && text.chars().count() <= NAME_CHARS_MAX && !text.chars().any(char::is_control)
}
