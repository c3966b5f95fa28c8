//! Who is let in, and as whom.

use serde::{Deserialize, Serialize};

/// Who is let in, and as whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AuthConfig {
    /// Files with the keys that verify tokens (JWT): JSON key sets, JSON keys, or public keys in PEM.
    pub keys: Vec<String>,
    /// File with API keys, their secrets hashed; none when empty.
    pub api_keys: String,
    /// File with who is revoked, `subject NAME` or `token ID` on a line; none when empty.
    pub revocations: String,
    /// Issuer (`iss`) whose tokens are taken; anybody's who has a key when empty.
    pub issuer: String,
    /// What tokens must name as their audience (`aud`); when empty, only tokens that name none are taken.
    pub audience: String,
    /// Seconds that the clock of an issuer may be apart from ours.
    pub leeway_s: u64,
    /// Tier of tokens and API keys that name none.
    pub tier: String,
    /// Tier of clients that present nothing; `refused` lets in nobody without a token.
    pub anonymous: String,
    /// With `anonymous` refused: milliseconds that a client without a token has to log in; with 0 its upgrade is refused.
    pub login_ms: u64,
    /// Milliseconds between two looks whether a file has changed.
    pub reload_ms: u64,
}

/// What `auth.anonymous` is when nobody is let in without a token; no tier can be called so.
pub(crate) const REFUSED: &str = "refused";

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            api_keys: String::new(),
            revocations: String::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway_s: 5,
            tier: super::tiers::DEFAULT.into(),
            anonymous: super::tiers::DEFAULT.into(),
            login_ms: 10_000,
            reload_ms: 500,
        }
    }
}

impl AuthConfig {
    /// Whether anything is presented to us at all that could be accepted.
    #[must_use]
    pub fn is_used(&self) -> bool {
        self.key_files().next().is_some() || !self.api_keys.is_empty()
    }

    /// Whether somebody who presents nothing is nobody.
    #[must_use]
    pub fn refuses_anonymous(&self) -> bool {
        self.anonymous == REFUSED
    }

    /// Files with keys; an empty name, as an empty variable of the environment gives, is none.
    pub(crate) fn key_files(&self) -> impl Iterator<Item = &String> {
        self.keys.iter().filter(|path| !path.is_empty())
    }

    pub(super) fn problems(&self, is_tier: impl Fn(&str) -> bool) -> Vec<String> {
        let mut problems = Vec::new();
        let mut require = |holds: bool, text: String| {
            if !holds {
                problems.push(text);
            }
        };
        let is_known = is_tier(&self.tier);
        require(
            is_known,
            format!("auth.tier = {}: there is no such tier, name it in [tiers.{0}]", self.tier),
        );
        let is_known = self.refuses_anonymous() || is_tier(&self.anonymous);
        require(
            is_known,
            format!("auth.anonymous = {}: there is no such tier; name one, or `{REFUSED}`", self.anonymous),
        );
        let somebody = !self.refuses_anonymous() || self.is_used();
        require(
            somebody,
            format!("auth.anonymous = {REFUSED} lets in nobody: set auth.keys or auth.api_keys as well"),
        );
        require(
            self.leeway_s <= 300,
            "auth.leeway_s must be at most 300: expired tokens would live on".into(),
        );
        require(
            (50..=3_600_000).contains(&self.reload_ms),
            "auth.reload_ms must be from 50 to 3600000".into(),
        );
        problems
    }
}
