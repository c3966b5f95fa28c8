//! Keys that sign: for the commands and for tests. A running gateway has none.

use ring::rand::SecureRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _};
use ring::{hmac, rand};

use super::jwk::{Jwk, Material, materials};
use super::{Algorithm, KeyError};

/// A key that signs.
pub struct SigningKey {
    kid: Option<Box<str>>,
    algorithm: Algorithm,
    signer: Signer,
}

enum Signer {
    Hmac(hmac::Key),
    Ed25519(Box<Ed25519KeyPair>),
    P256(Box<EcdsaKeyPair>),
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningKey")
            .field("kid", &self.kid)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads the first key that can sign, or the one of a name, from a JSON key or key set.
    ///
    /// # Errors
    /// When there is none, or it is not right.
    pub fn decode(text: &str, kid: Option<&str>, random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let (materials, _) = materials(text)?;
        let wanted = |one: &Material| kid.is_none() || one.kid.as_deref() == kid;
        let mut named = materials.into_iter().filter(wanted).peekable();
        if named.peek().is_none() {
            return Err(KeyError::Empty);
        }
        let material = named.find(|one| one.signing.is_some()).ok_or(KeyError::Public)?;
        Self::new(&material, random)
    }

    /// Makes a key and gives it as JSON, private part included.
    ///
    /// # Errors
    /// [`KeyError::NoRandom`].
    pub fn create(algorithm: Algorithm, kid: &str, random: &dyn SecureRandom) -> Result<String, KeyError> {
        let no_random = |_| KeyError::NoRandom;
        let (verifying, signing) = match algorithm {
            Algorithm::Hs256 | Algorithm::Hs384 | Algorithm::Hs512 => {
                let mut secret = vec![0; algorithm.secret_bytes_min()];
                random.fill(&mut secret).map_err(no_random)?;
                (secret, None)
            }
            Algorithm::EdDsa => {
                let seed: [u8; 32] = rand::generate(random).map_err(no_random)?.expose();
                let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::NoRandom)?;
                (pair.public_key().as_ref().to_vec(), Some(seed.to_vec()))
            }
            Algorithm::Es256 => create_p256(random)?,
        };
        Ok(Jwk::write(&Material { kid: Some(kid.into()), algorithm, verifying, signing }))
    }

    fn new(material: &Material, random: &dyn SecureRandom) -> Result<Self, KeyError> {
        let Material { kid, algorithm, verifying, signing } = material;
        let name = kid.as_deref().unwrap_or("without a name");
        let wrong = |_| KeyError::Key(name.into(), "private and public part are not one key");
        let private = signing.as_deref().unwrap_or_default();
        let signer = match algorithm.hmac() {
            Some(hmac) => Signer::Hmac(hmac::Key::new(hmac, private)),
            None if *algorithm == Algorithm::EdDsa => {
                let pair = Ed25519KeyPair::from_seed_and_public_key(private, verifying).map_err(wrong)?;
                Signer::Ed25519(Box::new(pair))
            }
            None => {
                let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
                let pair = EcdsaKeyPair::from_private_key_and_public_key(kind, private, verifying, random);
                Signer::P256(Box::new(pair.map_err(wrong)?))
            }
        };
        Ok(Self { kid: kid.clone(), algorithm: *algorithm, signer })
    }

    /// Its name.
    #[must_use]
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    pub(crate) fn sign(&self, message: &[u8], random: &dyn SecureRandom) -> Result<Vec<u8>, KeyError> {
        Ok(match &self.signer {
            Signer::Hmac(key) => hmac::sign(key, message).as_ref().to_vec(),
            Signer::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Signer::P256(pair) => {
                pair.sign(random, message).map_err(|_| KeyError::NoRandom)?.as_ref().to_vec()
            }
        })
    }
}

/// A P-256 key: the public part, and the private one, which ring gives only inside a PKCS #8 document of one fixed form.
fn create_p256(random: &dyn SecureRandom) -> Result<(Vec<u8>, Option<Vec<u8>>), KeyError> {
    const PRIVATE: std::ops::Range<usize> = 36..68;
    let kind = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let document = EcdsaKeyPair::generate_pkcs8(kind, random).map_err(|_| KeyError::NoRandom)?;
    let pair = EcdsaKeyPair::from_pkcs8(kind, document.as_ref(), random).map_err(|_| KeyError::NoRandom)?;
    let public = pair.public_key().as_ref().to_vec();
    Ok((public, document.as_ref().get(PRIVATE).map(<[u8]>::to_vec)))
}
