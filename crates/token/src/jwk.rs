//! Public keys as JSON Web Keys, in the form in which verifiers of any make read them (RFC 7517, RFC 7518, RFC 8037).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::{
    foreign::{ForeignAlgorithm, JwkError, JwkSet},
    keys::{Algorithm, KeySet, PublicKey},
};

/// Keys that a document may have: auth publishes those whose tokens are alive, which are few.
const MOST_KEYS: usize = 100;

impl KeySet {
    /// The keys that auth publishes as a JWK set. What is not of its making is left out.
    pub fn from_jwks(document: &[u8]) -> Result<Self, JwkError> {
        let usable = [ForeignAlgorithm::EdDsa, ForeignAlgorithm::Es256];
        let keys = JwkSet::read_usable(document, MOST_KEYS, &usable)?;
        Ok(keys.iter().filter_map(|key| PublicKey::of_jwk(&key.to_json())).collect())
    }
}

impl PublicKey {
    /// The key as a member of a JWK set.
    pub fn to_jwk(&self) -> Value {
        let (kid, alg) = (&self.kid, self.algorithm.name());
        match self.algorithm {
            Algorithm::EdDsa => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": text(&self.bytes), "kid": kid, "alg": alg, "use": "sig"})
            }
            Algorithm::Es256 => {
                // An uncompressed point: one byte that says so, then both coordinates (SEC 1, section 2.3.3).
                let (x, y) = self.bytes.get(1..).unwrap_or_default().split_at(self.bytes.len() / 2);
                json!({"kty": "EC", "crv": "P-256", "x": text(x), "y": text(y), "kid": kid, "alg": alg, "use": "sig"})
            }
        }
    }

    /// The key of a member of a JWK set; None where its name is not that of auth's making.
    fn of_jwk(jwk: &Value) -> Option<Self> {
        let bytes = |member: &str| URL_SAFE_NO_PAD.decode(jwk[member].as_str()?).ok();
        let kid = jwk["kid"].as_str()?;
        match jwk["kty"].as_str()? {
            "OKP" => Self::published(kid, Algorithm::EdDsa.name(), &bytes("x")?),
            "EC" => Self::published(kid, Algorithm::Es256.name(), &[vec![4], bytes("x")?, bytes("y")?].concat()),
            _ => None,
        }
    }
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SigningKey;

    fn bytes(jwk: &Value, member: &str) -> Vec<u8> {
        URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap()
    }

    #[test]
    fn jwk_of_ed25519_has_the_key_and_its_name() {
        let key = SigningKey::generate(Algorithm::EdDsa).unwrap().public().clone();
        let jwk = key.to_jwk();
        assert_eq!((&jwk["kty"], &jwk["crv"], &jwk["alg"]), (&json!("OKP"), &json!("Ed25519"), &json!("EdDSA")));
        assert_eq!((bytes(&jwk, "x"), &jwk["kid"]), (key.bytes.clone(), &json!(key.kid)));
    }

    #[test]
    fn published_keys_are_read_as_they_are_and_others_left_out() {
        let keys = [Algorithm::EdDsa, Algorithm::Es256].map(|it| SigningKey::generate(it).unwrap().public().clone());
        let mut renamed = keys[0].to_jwk();
        renamed["kid"] = json!("another");
        let encrypts = json!({"kty": "EC", "crv": "P-384"});
        let document = json!({"keys": [keys[0].to_jwk(), keys[1].to_jwk(), renamed, encrypts]}).to_string();
        assert_eq!(KeySet::from_jwks(document.as_bytes()).unwrap(), keys.into_iter().collect());
        assert_eq!(KeySet::from_jwks(b"{}").unwrap_err(), JwkError::Set);
    }

    #[test]
    fn jwk_of_p256_has_both_coordinates_whole() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap().public().clone();
        let jwk = key.to_jwk();
        assert_eq!((&jwk["kty"], &jwk["crv"], &jwk["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
        assert_eq!([vec![4], bytes(&jwk, "x"), bytes(&jwk, "y")].concat(), key.bytes);
        assert_eq!((bytes(&jwk, "x").len(), &jwk["use"]), (32, &json!("sig")));
    }
}
