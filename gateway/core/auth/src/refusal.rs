//! The one table of reasons why a client is not let in: metric labels, and the words that it is told.

use thiserror::Error;

/// Why a credential is not accepted. Displays as what the client is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Error)]
pub enum Refusal {
    /// Nothing was presented where something is needed.
    #[error("a token is needed")]
    Missing,
    /// Above [`crate::CREDENTIAL_BYTES_MAX`].
    #[error("token above 4096 bytes")]
    Oversized,
    /// No token by its form, or a claim that is missing or of another type.
    #[error("token malformed")]
    Malformed,
    /// `none`, one that is not taken here, or another than the key is for.
    #[error("token signed with an algorithm that is not accepted")]
    Algorithm,
    /// No key of that name, or no such API key.
    #[error("key not known")]
    UnknownKey,
    /// The signature is not that of the key.
    #[error("token signature wrong")]
    Signature,
    /// `exp` has passed.
    #[error("token expired")]
    Expired,
    /// `nbf` is to come.
    #[error("token not valid yet")]
    Early,
    /// Another issuer than the one that is wanted.
    #[error("token of another issuer")]
    Issuer,
    /// Meant for somebody else.
    #[error("token for another audience")]
    Audience,
    /// The subject or the token was revoked.
    #[error("token revoked")]
    Revoked,
    /// It names a tier that the settings do not have.
    #[error("tier not known")]
    UnknownTier,
    /// The subject has as many connections as its tier allows.
    #[error("too many connections of this subject")]
    Connections,
    /// Too many wait to be looked at.
    #[error("too many logins at once, try again")]
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
