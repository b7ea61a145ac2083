//! Somebody else who signs JWTs: a client with a private key, or an issuer.

use accord_token::verify;
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::KeySize,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

type Sign = Box<dyn Fn(&[u8]) -> Vec<u8> + Send + Sync>;

/// A key, and its public half.
pub(crate) struct Forge {
    pub jwk: Value,
    algorithm: &'static str,
    sign: Sign,
}

fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Forge {
    pub(crate) fn ed25519(kid: &str) -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "kid": kid, "x": text(pair.public_key().as_ref())});
        Self { jwk, algorithm: "EdDSA", sign: Box::new(move |message| pair.sign(message).as_ref().to_vec()) }
    }

    pub(crate) fn p256(kid: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        let point = pair.public_key().as_ref();
        let jwk = json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": text(&point[1..33]), "y": text(&point[33..])});
        let sign = move |message: &[u8]| pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec();
        Self { jwk, algorithm: "ES256", sign: Box::new(sign) }
    }

    pub(crate) fn rsa(kid: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        // DER of a sequence: the modulus of 256 bytes behind its sign, and the exponent 65537 (RFC 8017, appendix A.1.1).
        let der = pair.public_key().as_ref();
        let (n, e) = (text(&der[9..265]), text(&der[der.len() - 3..]));
        let jwk = json!({"kty": "RSA", "kid": kid, "use": "sig", "alg": "RS256", "n": n, "e": e});
        let sign = move |message: &[u8]| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
            signature
        };
        Self { jwk, algorithm: "RS256", sign: Box::new(sign) }
    }

    /// A JWT with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.with_header(&json!({"alg": self.algorithm, "kid": self.jwk["kid"], "typ": "JWT"}), claims)
    }

    /// The same without the name of its key.
    pub(crate) fn unnamed(&self, claims: &Value) -> String {
        self.with_header(&json!({"alg": self.algorithm}), claims)
    }

    pub(crate) fn with_header(&self, header: &Value, claims: &Value) -> String {
        let message = format!("{}.{}", text(header.to_string().as_bytes()), text(claims.to_string().as_bytes()));
        format!("{message}.{}", text(&(self.sign)(message.as_bytes())))
    }
}

/// A document with these keys.
pub(crate) fn key_set(keys: &[&Forge]) -> String {
    json!({"keys": keys.iter().map(|key| &key.jwk).collect::<Vec<_>>()}).to_string()
}

/// The claims of an assertion of a client that is good now.
pub(crate) fn assertion(client: &str, jti: &str) -> Value {
    let now = verify::now();
    json!({"iss": client, "sub": client, "aud": "https://accord.local", "iat": now, "exp": now + 60, "jti": jti})
}
