//! Decides who somebody is, and later whether that still holds.

use std::sync::Arc;

use crate::api_key::ApiKeys;
use crate::claims::{Claims, Narrowing, Rules};
use crate::jws;
use crate::key::KeySet;
use crate::{Credential, Refusal, Revocations};

/// Everything that credentials are held against. Made anew when one of its files changes.
#[derive(Debug, Default)]
pub struct Authority {
    /// Keys that verify tokens.
    pub keys: Arc<KeySet>,
    /// API keys.
    pub api_keys: Arc<ApiKeys>,
    /// Who is refused all the same.
    pub revocations: Revocations,
    /// What claims are held against.
    pub rules: Rules,
}

/// Who somebody is, and what was said about what it may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub subject: Box<str>,
    /// The tier of the settings; none is the one for those that name none.
    pub tier: Option<Box<str>>,
    /// What it may do of what the tier allows.
    pub narrowing: Narrowing,
    /// Until when, in seconds since 1970, leeway included; none is for ever.
    pub expires_s: Option<u64>,
    /// What it was proved by.
    pub proof: Proof,
}

/// What an identity was proved by, without the credential itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Proof {
    /// A token.
    Token {
        /// Its `jti`.
        id: Option<Box<str>>,
        /// Of the key that signed it.
        fingerprint: u64,
    },
    /// An API key, by the hash of its secret.
    ApiKey([u8; 32]),
}

/// Whether an identity still holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// As it was.
    Holds,
    /// With another grant.
    Changed(Identity),
    /// No more.
    Ended,
}

impl Authority {
    /// The same with other revocations.
    #[must_use]
    pub fn with_revocations(&self, revocations: Revocations) -> Self {
        let (keys, api_keys) = (Arc::clone(&self.keys), Arc::clone(&self.api_keys));
        Self { keys, api_keys, revocations, rules: self.rules.clone() }
    }

    /// Who presents this credential, at a time in seconds since 1970.
    ///
    /// # Errors
    /// Why it is not accepted.
    pub fn authenticate(&self, credential: &Credential, now_s: u64) -> Result<Identity, Refusal> {
        let text = credential.text();
        if text.is_empty() {
            return Err(Refusal::Missing);
        }
        // Base64url has no dots, and a token has two.
        let identity = if text.contains('.') {
            let (payload, fingerprint) = jws::verify(credential, &self.keys)?;
            let claims = Claims::decode(&payload)?;
            claims.check(&self.rules, now_s)?;
            Identity {
                narrowing: claims.narrowing(),
                subject: claims.sub,
                tier: claims.tier,
                expires_s: Some(claims.exp.saturating_add(self.rules.leeway_s)),
                proof: Proof::Token { id: claims.jti, fingerprint },
            }
        } else {
            self.api_key(self.api_keys.find(credential)?.0, now_s)?
        };
        if self.is_revoked(&identity) { Err(Refusal::Revoked) } else { Ok(identity) }
    }

    fn api_key(&self, hash: [u8; 32], now_s: u64) -> Result<Identity, Refusal> {
        let entry = self.api_keys.get(&hash).ok_or(Refusal::UnknownKey)?;
        if entry.expires.is_some_and(|expires| now_s >= expires) {
            return Err(Refusal::Expired);
        }
        Ok(Identity {
            subject: entry.subject.clone(),
            tier: entry.tier.clone(),
            narrowing: entry.narrowing(),
            expires_s: entry.expires,
            proof: Proof::ApiKey(hash),
        })
    }

    /// Whether an identity that was accepted before still is: its key is there, and nobody revoked it. A token says the same for as
    /// long as it lives; what an API key may do can have changed.
    #[must_use]
    pub fn standing(&self, identity: &Identity, now_s: u64) -> Standing {
        if self.is_revoked(identity) {
            return Standing::Ended;
        }
        match &identity.proof {
            Proof::Token { fingerprint, .. } if self.keys.has(*fingerprint) => Standing::Holds,
            Proof::Token { .. } => Standing::Ended,
            Proof::ApiKey(hash) => match self.api_key(*hash, now_s) {
                Ok(now) if now == *identity => Standing::Holds,
                Ok(now) if !self.is_revoked(&now) => Standing::Changed(now),
                _ => Standing::Ended,
            },
        }
    }

    fn is_revoked(&self, identity: &Identity) -> bool {
        let token_id = match &identity.proof {
            Proof::Token { id, .. } => id.as_deref(),
            Proof::ApiKey(_) => None,
        };
        self.revocations.has(&identity.subject, token_id)
    }
}
