//! Keys that verify, by name and each for one algorithm; those that sign are in `key/signing.rs`.
//!
//! The algorithm belongs to the key and never to the token, so a public key cannot be taken for a shared secret. Sets of keys come
//! as JSON (`key/jwk.rs`) or PEM (`key/pem.rs`) that somebody else has read.

mod jwk;
mod pem;
mod signing;

use ring::digest::{SHA256, digest};
use ring::hmac;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey, VerificationAlgorithm};
use thiserror::Error;

use crate::Refusal;
use crate::jws::Header;

pub use signing::SigningKey;

/// Most keys of a set.
const KEYS_MAX: usize = 64;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// HMAC with SHA-384.
    Hs384,
    /// HMAC with SHA-512.
    Hs512,
    /// Ed25519.
    EdDsa,
    /// ECDSA on P-256 with SHA-256.
    Es256,
}

impl Algorithm {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Hs256, Self::Hs384, Self::Hs512, Self::EdDsa, Self::Es256];

    /// The registered name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Hs384 => "HS384",
            Self::Hs512 => "HS512",
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
        }
    }

    /// The algorithm of a registered name; `Ed25519` is what RFC 9864 calls EdDSA with that curve.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = if name == "Ed25519" { "EdDSA" } else { name };
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    const fn hmac(self) -> Option<hmac::Algorithm> {
        match self {
            Self::Hs256 => Some(hmac::HMAC_SHA256),
            Self::Hs384 => Some(hmac::HMAC_SHA384),
            Self::Hs512 => Some(hmac::HMAC_SHA512),
            Self::EdDsa | Self::Es256 => None,
        }
    }

    /// Shortest shared secret: as long as the hash, RFC 7518 section 3.2.
    const fn secret_bytes_min(self) -> usize {
        match self {
            Self::Hs256 => 32,
            Self::Hs384 => 48,
            _ => 64,
        }
    }
}

/// What is wrong with a key or a set of keys.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Neither JSON nor PEM.
    #[error("neither a JSON key set, nor a JSON key, nor a PEM public key")]
    NotKeys,
    /// A key that is not right; says which and what.
    #[error("key {0}: {1}")]
    Key(String, &'static str),
    /// Nothing in it can be used.
    #[error("no key of HS256, HS384, HS512, EdDSA (Ed25519) or ES256 (P-256) that is for signatures")]
    Empty,
    /// Two keys of one name: which of them is meant would be a guess.
    #[error("two keys are called {0}")]
    SameName(String),
    /// See `KEYS_MAX`.
    #[error("{0} keys, at most {KEYS_MAX} are taken")]
    TooMany(usize),
    /// A key that cannot sign was asked to.
    #[error("the key has no private part, it cannot sign")]
    Public,
    /// The system has no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// What verifies.
enum Verifier {
    Hmac(hmac::Key),
    Public(&'static dyn VerificationAlgorithm, Vec<u8>),
}

/// A key that verifies.
struct Key {
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    verifier: Verifier,
    /// Tells the key from others without its name: a name may be given to another key.
    fingerprint: u64,
}

impl Key {
    fn new(kid: Option<Box<str>>, algorithm: Algorithm, material: &[u8]) -> Result<Self, &'static str> {
        let verifier = match (algorithm.hmac(), algorithm) {
            (Some(_), _) if material.len() < algorithm.secret_bytes_min() => {
                return Err("the secret is shorter than the hash of its algorithm");
            }
            (Some(hmac), _) => Verifier::Hmac(hmac::Key::new(hmac, material)),
            (None, Algorithm::EdDsa) if material.len() == 32 => Verifier::Public(&ED25519, material.into()),
            (None, Algorithm::Es256) if material.len() == 65 && material[0] == 4 => {
                Verifier::Public(&ECDSA_P256_SHA256_FIXED, material.into())
            }
            _ => return Err("the public key has another length than its kind"),
        };
        let named = [algorithm.name().as_bytes(), material].concat();
        let hash = digest(&SHA256, &named);
        let fingerprint = hash.as_ref()[..8].iter().fold(0, |all, &byte| all << 8 | u64::from(byte));
        Ok(Self { kid, algorithm, verifier, fingerprint })
    }

    fn verifies(&self, signed: &[u8], signature: &[u8]) -> bool {
        match &self.verifier {
            Verifier::Hmac(key) => hmac::verify(key, signed, signature).is_ok(),
            Verifier::Public(algorithm, key) => {
                UnparsedPublicKey::new(*algorithm, key).verify(signed, signature).is_ok()
            }
        }
    }

    /// Whether a token that names a key may mean this one. A key without a name may be meant by any.
    fn may_be(&self, kid: Option<&str>) -> bool {
        self.kid.is_none() || kid.is_none() || self.kid.as_deref() == kid
    }
}

/// Keys that verify tokens.
#[derive(Default)]
pub struct KeySet(Vec<Key>);

impl std::fmt::Debug for KeySet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // A shared secret is among what is left out.
        f.debug_list().entries(self.0.iter().map(|key| (&key.kid, key.algorithm))).finish()
    }
}

impl KeySet {
    /// Adds the keys of one file: a JSON key set, a JSON key, or a PEM public key. Says how many keys were left out because they
    /// are of a kind, an algorithm or a use that is not taken here, as RFC 7517 wants it.
    ///
    /// # Errors
    /// When nothing can be used, or something is wrong with a key that could.
    pub fn add(&mut self, file: &[u8]) -> Result<usize, KeyError> {
        let text = std::str::from_utf8(file).map_err(|_| KeyError::NotKeys)?;
        let (keys, skipped) = if text.trim_start().starts_with('{') {
            jwk::decode(text)?
        } else {
            (vec![pem::decode(text)?], 0)
        };
        if keys.is_empty() {
            return Err(KeyError::Empty);
        }
        for key in keys {
            if key.kid.is_some() && self.0.iter().any(|other| other.kid == key.kid) {
                return Err(KeyError::SameName(key.kid.unwrap_or_default().into()));
            }
            self.0.push(key);
        }
        if self.0.len() > KEYS_MAX { Err(KeyError::TooMany(self.0.len())) } else { Ok(skipped) }
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

    pub(crate) fn has(&self, fingerprint: u64) -> bool {
        self.0.iter().any(|key| key.fingerprint == fingerprint)
    }

    /// The fingerprint of the key whose signature it is. The algorithm that the token names must be that of the key.
    pub(crate) fn verify(&self, header: &Header, signed: &[u8], signature: &[u8]) -> Result<u64, Refusal> {
        let algorithm = Algorithm::from_name(&header.alg).ok_or(Refusal::Algorithm)?;
        let mut refusal = Refusal::UnknownKey;
        for key in self.0.iter().filter(|key| key.may_be(header.kid.as_deref())) {
            if key.algorithm != algorithm {
                refusal = if refusal == Refusal::UnknownKey { Refusal::Algorithm } else { refusal };
            } else if key.verifies(signed, signature) {
                return Ok(key.fingerprint);
            } else {
                refusal = Refusal::Signature;
            }
        }
        Err(refusal)
    }
}
