//! Keys as JSON: RFC 7517, and RFC 8037 for Ed25519.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use super::{Algorithm, Key, KeyError};

/// A key as it is written. Other members are ignored.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Jwk {
    kty: Box<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) kid: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    alg: Option<Box<str>>,
    #[serde(default, rename = "use", skip_serializing_if = "Option::is_none")]
    usage: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crv: Option<Box<str>>,
    /// Of `oct`: the secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    k: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    x: Option<Box<str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    y: Option<Box<str>>,
    /// The private part.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<Box<str>>,
}

/// A set, or one key.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Set { keys: Vec<serde_json::Value> },
    One(Box<Jwk>),
}

/// What a key is made of, before it is known whether it verifies or signs.
pub(super) struct Material {
    pub(super) kid: Option<Box<str>>,
    pub(super) algorithm: Algorithm,
    /// The shared secret, or the public key as RFC 8032 and SEC 1 write it.
    pub(super) verifying: Vec<u8>,
    /// The secret again, or the private part.
    pub(super) signing: Option<Vec<u8>>,
}

/// The keys of a file that can be used, and how many others there are.
pub(super) fn decode(text: &str) -> Result<(Vec<Key>, usize), KeyError> {
    let (materials, skipped) = materials(text)?;
    let key = |one: Material| {
        let name = shown(one.kid.as_deref());
        Key::new(one.kid, one.algorithm, &one.verifying).map_err(|problem| KeyError::Key(name, problem))
    };
    Ok((materials.into_iter().map(key).collect::<Result<_, _>>()?, skipped))
}

pub(super) fn materials(text: &str) -> Result<(Vec<Material>, usize), KeyError> {
    let written: Written = serde_json::from_str(text).map_err(|_| KeyError::NotKeys)?;
    // A key of a kind that is not known need not have the form of those that are.
    let keys: Vec<Jwk> = match written {
        Written::Set { keys } => {
            keys.into_iter().map(|one| serde_json::from_value(one).unwrap_or_default()).collect()
        }
        Written::One(key) => vec![*key],
    };
    let count = keys.len();
    let mut found = Vec::new();
    for key in keys {
        let name = shown(key.kid.as_deref());
        if let Some(material) = key.material().map_err(|problem| KeyError::Key(name, problem))? {
            found.push(material);
        }
    }
    let skipped = count - found.len();
    Ok((found, skipped))
}

fn shown(kid: Option<&str>) -> String {
    kid.unwrap_or("without a name").to_owned()
}

fn part(text: Option<&str>, problem: &'static str) -> Result<Vec<u8>, &'static str> {
    URL_SAFE_NO_PAD.decode(text.ok_or(problem)?).map_err(|_| problem)
}

impl Jwk {
    /// The key; `None` when it is not for signatures, or of a kind that is not taken here.
    fn material(self) -> Result<Option<Material>, &'static str> {
        if self.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Ok(None);
        }
        let algorithm = match (&*self.kty, self.crv.as_deref(), self.alg.as_deref()) {
            ("OKP", Some("Ed25519"), None) => Some(Algorithm::EdDsa),
            ("EC", Some("P-256"), None) => Some(Algorithm::Es256),
            ("oct", _, None) => return Err("an `oct` key needs its `alg`: HS256, HS384 or HS512"),
            (_, _, Some(name)) => Algorithm::from_name(name),
            _ => None,
        };
        let Some(algorithm) = algorithm else { return Ok(None) };
        let (kty, crv, x, y) = (&*self.kty, self.crv.as_deref(), self.x.as_deref(), self.y.as_deref());
        let private = self.d.as_deref();
        let private = private.map(|d| part(Some(d), "`d` is no base64url")).transpose()?;
        let (verifying, signing) = match (algorithm, kty, crv) {
            (Algorithm::EdDsa, "OKP", Some("Ed25519")) => {
                (part(x, "`x` is missing or no base64url")?, private)
            }
            (Algorithm::Es256, "EC", Some("P-256")) => {
                let (x, y) =
                    (part(x, "`x` is missing or no base64url")?, part(y, "`y` is missing or no base64url")?);
                if (x.len(), y.len()) != (32, 32) {
                    return Err("`x` and `y` must have 32 bytes");
                }
                ([&[4], &x[..], &y[..]].concat(), private)
            }
            (Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512, "oct", _) => {
                let secret = part(self.k.as_deref(), "`k` is missing or no base64url")?;
                (secret.clone(), Some(secret))
            }
            _ => return Err("`alg` does not fit `kty` and `crv`"),
        };
        Ok(Some(Material { kid: self.kid, algorithm, verifying, signing }))
    }

    /// A key with its private part, as it is written.
    pub(super) fn write(material: &Material) -> String {
        let text = |bytes: &[u8]| Some(URL_SAFE_NO_PAD.encode(bytes).into());
        let private = material.signing.as_deref().and_then(text);
        let alg = Some(material.algorithm.name().into());
        let base = Self { kid: material.kid.clone(), alg, usage: Some("sig".into()), ..Self::default() };
        let public = &material.verifying;
        let key = match material.algorithm {
            Algorithm::EdDsa => {
                Self { kty: "OKP".into(), crv: Some("Ed25519".into()), x: text(public), d: private, ..base }
            }
            Algorithm::Es256 => Self {
                kty: "EC".into(),
                crv: Some("P-256".into()),
                x: text(&public[1..33]),
                y: text(&public[33..]),
                d: private,
                ..base
            },
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
                Self { kty: "oct".into(), k: text(public), ..base }
            }
        };
        serde_json::to_string_pretty(&key).expect("a key is texts")
    }
}
