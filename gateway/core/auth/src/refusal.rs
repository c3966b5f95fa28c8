//! The one table of reasons why a client is not let in: metric labels, and the words that it is told.

use std::fmt;

/// Why a credential is not accepted. Displays as what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// Nothing was presented where something is needed.
    Missing,
    /// Above [`crate::CREDENTIAL_BYTES_MAX`].
    Oversized,
    /// No token by its form, or a claim that is missing or of another type.
    Malformed,
    /// `none`, one that is not taken here, or another than the key is for.
    Algorithm,
    /// No key of that name, or no such API key.
    UnknownKey,
    /// The signature is not that of the key.
    Signature,
    /// `exp` has passed.
    Expired,
    /// `nbf` is to come.
    Early,
    /// Another issuer than the one that is wanted.
    Issuer,
    /// Meant for somebody else.
    Audience,
    /// The subject or the token was revoked.
    Revoked,
    /// It names a tier that the settings do not have.
    UnknownTier,
    /// The subject has as many connections as its tier allows.
    Connections,
    /// Too many wait to be looked at.
    Busy,
}

impl Refusal {
    /// All of them.
    pub const ALL: [Self; 14] = [
        Self::Missing,
        Self::Oversized,
        Self::Malformed,
        Self::Algorithm,
        Self::UnknownKey,
        Self::Signature,
        Self::Expired,
        Self::Early,
        Self::Issuer,
        Self::Audience,
        Self::Revoked,
        Self::UnknownTier,
        Self::Connections,
        Self::Busy,
    ];

    /// What the client is told.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Missing => "a token is needed",
            Self::Oversized => "token above 4096 bytes",
            Self::Malformed => "token malformed",
            Self::Algorithm => "token signed with an algorithm that is not accepted",
            Self::UnknownKey => "key not known",
            Self::Signature => "token signature wrong",
            Self::Expired => "token expired",
            Self::Early => "token not valid yet",
            Self::Issuer => "token of another issuer",
            Self::Audience => "token for another audience",
            Self::Revoked => "token revoked",
            Self::UnknownTier => "tier not known",
            Self::Connections => "too many connections of this subject",
            Self::Busy => "too many logins at once, try again",
        }
    }

    /// The metric label.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Oversized => "oversized",
            Self::Malformed => "malformed",
            Self::Algorithm => "algorithm",
            Self::UnknownKey => "unknown_key",
            Self::Signature => "signature",
            Self::Expired => "expired",
            Self::Early => "early",
            Self::Issuer => "issuer",
            Self::Audience => "audience",
            Self::Revoked => "revoked",
            Self::UnknownTier => "unknown_tier",
            Self::Connections => "connections",
            Self::Busy => "busy",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_indexed_in_their_order() {
        for (index, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, index);
        }
    }
}
