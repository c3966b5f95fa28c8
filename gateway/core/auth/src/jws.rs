//! The form of a token: JWS compact serialization, RFC 7515 section 7.1, read strictly.
//!
//! Three parts of unpadded base64url and nothing else; the header is a JSON object whose `alg`, `kid`, `typ` are looked at; `crit`
//! and `b64` are refused, since nothing that they could announce is understood here. Which key verifies is never taken from the
//! token beyond the name of one of ours: `jwk`, `jku`, `x5c` and `x5u` are not read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SecureRandom;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::credential::Credential;
use crate::key::{KeyError, KeySet, SigningKey};
use crate::{Claims, Refusal};

/// Most characters of the name of a key.
const KID_CHARS_MAX: usize = 128;

/// What a token says about its signature. Nothing of it is to be believed before that is verified.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Header {
    /// The algorithm by its registered name.
    pub alg: Box<str>,
    /// The name of the key.
    #[serde(default)]
    pub kid: Option<Box<str>>,
    #[serde(default)]
    typ: Option<Box<str>>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
    #[serde(default)]
    b64: Option<bool>,
}

/// A token whose form is right: header, what was signed, payload and signature.
struct Parts<'a> {
    header: Header,
    signed: &'a str,
    payload: &'a str,
    signature: Vec<u8>,
}

/// Decodes unpadded base64url.
pub(crate) fn decode(text: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(text).map_err(|_| Refusal::Malformed)
}

/// Reads a JSON object. Twice: into a struct the library would take a list of the members in their order as well, and passes over what
/// is not asked for without a look, be it no UTF-8; as a value it would take the last of two members of one name.
pub(crate) fn object<T: DeserializeOwned>(json: &[u8]) -> Result<T, Refusal> {
    let whole: serde_json::Value = serde_json::from_slice(json).map_err(|_| Refusal::Malformed)?;
    if !whole.is_object() {
        return Err(Refusal::Malformed);
    }
    serde_json::from_slice(json).map_err(|_| Refusal::Malformed)
}

/// Encodes as unpadded base64url.
pub(crate) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn split(credential: &Credential) -> Result<Parts<'_>, Refusal> {
    let text = credential.text();
    let (signed, signature) = text.rsplit_once('.').ok_or(Refusal::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Refusal::Malformed)?;
    if payload.contains('.') {
        return Err(Refusal::Malformed);
    }
    let header: Header = object(&decode(header)?)?;
    let is_jwt = |typ: &str| ["JWT", "at+jwt"].into_iter().any(|one| typ.eq_ignore_ascii_case(one));
    let is_long = |kid: &str| kid.len() > KID_CHARS_MAX;
    if header.crit.is_some()
        || header.b64 == Some(false)
        || !header.typ.as_deref().is_none_or(is_jwt)
        || header.kid.as_deref().is_some_and(is_long)
    {
        return Err(Refusal::Malformed);
    }
    Ok(Parts { header, signed, payload, signature: decode(signature)? })
}

/// Verifies a token; gives its payload and the fingerprint of the key that signed it.
pub(crate) fn verify(credential: &Credential, keys: &KeySet) -> Result<(Vec<u8>, u64), Refusal> {
    let parts = split(credential)?;
    let fingerprint = keys.verify(&parts.header, parts.signed.as_bytes(), &parts.signature)?;
    Ok((decode(parts.payload)?, fingerprint))
}

/// Header and claims of a token whose signature is not looked at; for people who want to see what is in it.
///
/// # Errors
/// [`Refusal::Malformed`].
pub fn inspect(credential: &Credential) -> Result<(Header, Claims), Refusal> {
    let parts = split(credential)?;
    let claims = Claims::decode(&decode(parts.payload)?)?;
    Ok((parts.header, claims))
}

/// Signs claims; ES256 needs random numbers for it.
///
/// # Errors
/// [`KeyError::NoRandom`].
pub fn sign(claims: &Claims, key: &SigningKey, random: &dyn SecureRandom) -> Result<String, KeyError> {
    let header = match key.kid() {
        Some(kid) => serde_json::json!({ "alg": key.algorithm().name(), "typ": "JWT", "kid": kid }),
        None => serde_json::json!({ "alg": key.algorithm().name(), "typ": "JWT" }),
    };
    let payload = serde_json::to_vec(claims).expect("claims are texts and numbers");
    let signed = format!("{}.{}", encode(header.to_string().as_bytes()), encode(&payload));
    let signature = key.sign(signed.as_bytes(), random)?;
    Ok(format!("{signed}.{}", encode(&signature)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The worked examples of RFC 7515 (A.1, A.3) and RFC 8037 (A.4): keys and tokens that somebody else has made.
    const EXAMPLES: [(&str, &str, &str); 3] = [
        (
            "HS256",
            r#"{"kty":"oct","alg":"HS256",
                "k":"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow"}"#,
            "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
             cGxlLmNvbS9pc19yb290Ijp0cnVlfQ.dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
        ),
        (
            "ES256",
            r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"},{"kty":"EC","crv":"P-256",
                "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#,
            "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290\
             Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
        ),
        (
            "EdDSA",
            r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
            "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbh\
             ijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
        ),
    ];

    fn keys(text: &str) -> KeySet {
        let mut keys = KeySet::default();
        keys.add(text.as_bytes()).unwrap();
        keys
    }

    #[test]
    fn examples_of_the_standards_are_verified_and_only_by_their_own_key() {
        for (index, (name, key, token)) in EXAMPLES.into_iter().enumerate() {
            let token = Credential::new(token).unwrap();
            assert!(verify(&token, &keys(key)).is_ok(), "{name}");
            for (other, (_, key, _)) in EXAMPLES.into_iter().enumerate().filter(|(other, _)| *other != index)
            {
                assert_eq!(verify(&token, &keys(key)), Err(Refusal::Algorithm), "{name} by {other}");
            }
        }
    }

    #[test]
    fn every_other_text_within_one_character_is_refused() {
        for (name, key, token) in EXAMPLES {
            let keys = keys(key);
            for at in 0..token.len() {
                for other in ["A", "b", ".", "=", " ", ""] {
                    let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
                    let is_same = changed == token;
                    let verdict = verify(&Credential::new(&changed).unwrap(), &keys);
                    assert_eq!(verdict.is_ok(), is_same, "{name} at {at}: {other}");
                }
            }
        }
    }
}
