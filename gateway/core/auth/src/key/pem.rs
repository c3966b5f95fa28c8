//! Public keys as PEM, the form that OpenSSL writes: SubjectPublicKeyInfo of Ed25519 (RFC 8410) or of P-256 (RFC 5480).
//!
//! Both have one form only, so the bytes before the key are compared instead of being parsed.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::{Algorithm, Key, KeyError};

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// What stands before the 32 bytes of an Ed25519 key.
const ED25519_HEAD: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// What stands before the 65 bytes of an uncompressed P-256 key.
const P256_HEAD: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86,
    0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// The key, which has no name: a token that names its key may mean it.
pub(super) fn decode(text: &str) -> Result<Key, KeyError> {
    const NAME: &str = "in PEM";
    let problem = |problem| KeyError::Key(NAME.into(), problem);
    let body = text.split_once(BEGIN).and_then(|(_, rest)| rest.split_once(END)).ok_or(KeyError::NotKeys)?.0;
    let body: String = body.split_ascii_whitespace().collect();
    let der = STANDARD.decode(body).map_err(|_| problem("not base64"))?;
    let (algorithm, material) = if let Some(key) = der.strip_prefix(&ED25519_HEAD) {
        (Algorithm::EdDsa, key)
    } else if let Some(key) = der.strip_prefix(&P256_HEAD) {
        (Algorithm::Es256, key)
    } else {
        return Err(problem("neither Ed25519 nor uncompressed P-256"));
    };
    Key::new(None, algorithm, material).map_err(problem)
}
