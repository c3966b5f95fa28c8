//! The text that a client presents: bounded, and never shown.

use std::fmt;

use crate::Refusal;

/// Most bytes of a token or an API key.
pub const CREDENTIAL_BYTES_MAX: usize = 4 << 10;

/// A token or an API key as it was presented. Has no debug form, so that it cannot get into a log by mistake.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(Box<str>);

impl Credential {
    /// Takes a text of at most [`CREDENTIAL_BYTES_MAX`] bytes.
    ///
    /// # Errors
    /// [`Refusal::Oversized`].
    pub fn new(text: &str) -> Result<Self, Refusal> {
        if text.len() > CREDENTIAL_BYTES_MAX { Err(Refusal::Oversized) } else { Ok(Self(text.into())) }
    }

    /// Takes what stands in an `Authorization` header; `None` when it is of another scheme than `Bearer`.
    pub fn from_header(value: &[u8]) -> Option<Result<Self, Refusal>> {
        const SCHEME: &[u8] = b"bearer";
        let (scheme, rest) = value.split_at_checked(SCHEME.len())?;
        if !scheme.eq_ignore_ascii_case(SCHEME) || rest.first().is_some_and(|&byte| byte != b' ') {
            return None;
        }
        let text = std::str::from_utf8(rest).map_err(|_| Refusal::Malformed);
        Some(text.map(|text| text.trim_matches(' ')).and_then(Self::new))
    }

    pub(crate) fn text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_taken_only_of_the_bearer_scheme() {
        let text = |value: &str| Credential::from_header(value.as_bytes()).map(|one| one.map(|c| c.0));
        assert_eq!(text("Bearer abc"), Some(Ok("abc".into())));
        assert_eq!(text("bEARER   abc "), Some(Ok("abc".into())));
        assert_eq!(text("Bearer"), Some(Ok("".into())));
        assert_eq!(text("Basic abc"), None);
        assert_eq!(text("Bearerabc"), None);
        assert_eq!(text("Bear"), None);
        assert_eq!(Credential::from_header(b"Bearer \xff"), Some(Err(Refusal::Malformed)));
        let long = "x".repeat(CREDENTIAL_BYTES_MAX);
        assert!(Credential::new(&long).is_ok());
        assert_eq!(Credential::new(&(long + "x")), Err(Refusal::Oversized));
    }

    #[test]
    fn a_credential_is_not_shown() {
        assert_eq!(format!("{:?}", Credential::new("secret").unwrap()), "Credential");
    }
}
