//! Who a client is: bearer tokens (JWT), API keys, and who of them was revoked.
//!
//! An [`Authority`] is made of keys, API keys, revocations and rules that somebody else read from files; it takes the text that a
//! client presented and the time, and gives an [`Identity`] or a [`Refusal`]. Never reads a file, a clock or the environment, never
//! logs, and never shows a credential: texts of clients are in [`Credential`], whose debug form is empty. What an identity may do is
//! decided by the delivery (`gateway/core/fanout/src/grant.rs`).
//!
//! The form of a token is read by ourselves, strictly (`jws.rs`); the cryptography is ring's
//! (`docs/decisions/0010-tokens-are-read-here.md`).
#![forbid(unsafe_code)]

mod api_key;
mod authority;
mod claims;
mod credential;
mod jws;
mod key;
mod refusal;
mod revocation;

pub use api_key::{ApiKeyEntry, ApiKeys, SECRET_PREFIX, hash_secret, secret_text};
pub use authority::{Authority, Identity, Proof, Standing};
pub use claims::{Audience, Claims, Narrowing, Rules};
pub use credential::{CREDENTIAL_BYTES_MAX, Credential};
pub use jws::{Header, inspect, sign};
pub use key::{Algorithm, KeyError, KeySet, SigningKey};
pub use refusal::Refusal;
pub use revocation::{RevocationError, Revocations};
