//! Tokens made by hand, good and bad ones, and the files that a gateway is given to judge them.
//!
//! Shares no code with what judges them: base64url and the three parts are written out here.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gateway::config::Config;
use ring::hmac;
use serde_json::{Value, json};

/// The secret of the key `main`.
pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// Unpadded base64url.
pub fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let word =
            chunk.iter().fold(0, |word: u32, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        let digit = |place: u32| char::from(DIGITS[(word >> (18 - 6 * place)) as usize & 63]);
        out.extend((0..=chunk.len() as u32).map(digit));
    }
    out
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// Signs whatever is given with a secret.
pub fn signed(header: &str, claims: &str, secret: &[u8]) -> String {
    let text = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.as_bytes()));
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), text.as_bytes());
    format!("{text}.{}", base64url(tag.as_ref()))
}

/// A good token with some claims changed; `null` takes one out.
pub fn token(changes: Value) -> String {
    let mut claims = json!({ "sub": "alice", "exp": now_s() + 600, "iss": "desk", "aud": "gateway" });
    for (key, value) in changes.as_object().unwrap() {
        claims[key] = value.clone();
    }
    claims.as_object_mut().unwrap().retain(|_, value| !value.is_null());
    signed(r#"{"alg":"HS256","kid":"main"}"#, &claims.to_string(), SECRET)
}

/// The header that presents a token.
pub fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}\r\n")
}

/// A JSON key of a secret.
pub fn key(kid: &str, secret: &[u8]) -> Value {
    json!({ "kty": "oct", "alg": "HS256", "kid": kid, "k": base64url(secret) })
}

/// Files of a gateway in a folder of their own.
#[derive(Debug)]
pub struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    /// The key `main`, and nobody revoked.
    pub fn new() -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.put("keys.json", &json!({ "keys": [key("main", SECRET)] }).to_string());
        files.put("api-keys.toml", "");
        files.put("revocations", "");
        files
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces a file whole, as operators are told to.
    pub fn put(&self, name: &str, text: &str) {
        let draft = self.path(&format!("{name}.draft"));
        fs::write(&draft, text).unwrap();
        fs::rename(&draft, self.path(name)).unwrap();
    }

    /// Settings with these files, looked at often, and a leeway of nothing.
    pub fn settings(&self, mut config: Config) -> Config {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        config.auth.keys = vec![text(&self.path("keys.json"))];
        config.auth.api_keys = text(&self.path("api-keys.toml"));
        config.auth.revocations = text(&self.path("revocations"));
        (config.auth.issuer, config.auth.audience) = ("desk".into(), "gateway".into());
        (config.auth.leeway_s, config.auth.reload_ms) = (0, 50);
        config
    }
}
