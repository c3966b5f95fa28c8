//! The token of a `login`: text that must not be shown.

use std::fmt;

use simd_json::prelude::ValueIntoString;
use simd_json::tape::{Object, Value};

use super::{Malformed, sent};

/// A token as it was sent; bounded by the size of a message. Its debug form shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Box<str>);

impl Token {
    /// The text, for whoever judges it.
    #[must_use]
    pub const fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

/// `token`, where Kraken has it for its private channels.
pub(super) fn decode_token(params: &Object<'_, '_>) -> Result<Token, Malformed> {
    let value = sent(params, "token").ok_or(Malformed::Missing("params.token"))?;
    let text = Value::into_string(value).ok_or(Malformed::WrongType("token", "a string"))?;
    Ok(Token(text.into()))
}
