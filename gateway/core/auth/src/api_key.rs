//! API keys: long random secrets of which only the hash is kept.
//!
//! A plain hash is enough because a key is 256 random bits: there is nothing to guess, so nothing that a slow hash would slow down.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};

use crate::claims::{Narrowing, is_name};
use crate::{Credential, Refusal};

/// How a secret begins, so that it is told apart from a token, and found where it should not be.
pub const SECRET_PREFIX: &str = "mdk_";

/// Random bytes of a secret.
const SECRET_BYTES: usize = 32;

/// Most API keys.
const KEYS_MAX: usize = 100_000;

/// An API key as it is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ApiKeyEntry {
    /// Who it is.
    pub subject: Box<str>,
    /// SHA-256 of the secret, in hexadecimal.
    pub sha256: Box<str>,
    /// The tier of the settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tier: Option<Box<str>>,
    /// Until when, in seconds since 1970; none is until it is taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires: Option<u64>,
    /// Patterns of symbols, less than the tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbols: Option<Vec<Box<str>>>,
    /// Names of channels, less than the tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channels: Option<Vec<Box<str>>>,
    /// Most levels a side of a book, less than the tier's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub depth_max: Option<u16>,
}

impl ApiKeyEntry {
    /// What it allows of what the tier allows.
    #[must_use]
    pub fn narrowing(&self) -> Narrowing {
        Narrowing {
            symbols: self.symbols.clone(),
            channels: self.channels.clone(),
            depth_max: self.depth_max,
        }
    }
}

/// API keys by the hash of their secret.
#[derive(Clone, Debug, Default)]
pub struct ApiKeys(BTreeMap<[u8; 32], ApiKeyEntry>);

impl ApiKeys {
    /// Keys by their hashes.
    ///
    /// # Errors
    /// Everything that is wrong with them, by subject.
    pub fn new(entries: Vec<ApiKeyEntry>) -> Result<Self, Vec<String>> {
        let (mut keys, mut problems) = (BTreeMap::new(), Vec::new());
        if entries.len() > KEYS_MAX {
            problems.push(format!("{} API keys, at most {KEYS_MAX} are taken", entries.len()));
        }
        for entry in entries {
            let subject = entry.subject.clone();
            match parse_hash(&entry.sha256) {
                _ if !is_name(&subject) => {
                    problems.push("a subject must have from 1 to 128 characters".into())
                }
                _ if !entry.narrowing().is_short() => problems.push(format!("{subject}: a list is too long")),
                None => problems.push(format!("{subject}: sha256 must have 64 hexadecimal digits")),
                Some(hash) if keys.insert(hash, entry).is_some() => {
                    problems.push(format!("{subject}: another key has the same sha256"));
                }
                Some(_) => {}
            }
        }
        if problems.is_empty() { Ok(Self(keys)) } else { Err(problems) }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn entries(&self) -> impl Iterator<Item = &ApiKeyEntry> {
        self.0.values()
    }

    /// The key whose secret it is. What is looked up is a hash, so how long that takes says nothing about the secret.
    pub(crate) fn find(&self, secret: &Credential) -> Result<([u8; 32], &ApiKeyEntry), Refusal> {
        let hash = hash(secret.text());
        self.0.get(&hash).map(|entry| (hash, entry)).ok_or(Refusal::UnknownKey)
    }

    pub(crate) fn get(&self, hash: &[u8; 32]) -> Option<&ApiKeyEntry> {
        self.0.get(hash)
    }
}

fn hash(secret: &str) -> [u8; 32] {
    let hash = digest(&SHA256, secret.as_bytes());
    hash.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// The hash of a secret as it is kept.
#[must_use]
pub fn hash_secret(secret: &str) -> String {
    hash(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The text of a secret from random bytes.
#[must_use]
pub fn secret_text(random: &[u8; SECRET_BYTES]) -> String {
    format!("{SECRET_PREFIX}{}", URL_SAFE_NO_PAD.encode(random))
}

fn parse_hash(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let bytes: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(bytes.chunks_exact(2)) {
        *byte = (digit(pair[0])? * 16 + digit(pair[1])?) as u8;
    }
    Some(hash)
}
