//! Public keys as JSON Web Keys, in the form in which verifiers of any make read them (RFC 7517, RFC 7518, RFC 8037).

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::keys::{Algorithm, PublicKey};

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
    fn jwk_of_p256_has_both_coordinates_whole() {
        let key = SigningKey::generate(Algorithm::Es256).unwrap().public().clone();
        let jwk = key.to_jwk();
        assert_eq!((&jwk["kty"], &jwk["crv"], &jwk["alg"]), (&json!("EC"), &json!("P-256"), &json!("ES256")));
        assert_eq!([vec![4], bytes(&jwk, "x"), bytes(&jwk, "y")].concat(), key.bytes);
        assert_eq!((bytes(&jwk, "x").len(), &jwk["use"]), (32, &json!("sig")));
    }
}
