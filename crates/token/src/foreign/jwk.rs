//! Public keys of others, as they publish them (RFC 7517).

use std::fmt;

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    },
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Map, Value};

use super::{is_key_name, rsa};
use crate::json;

/// Members of the JWKs of private or shared keys (RFC 7518, sections 6.2.2, 6.3.2 and 6.4.1).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// What others may sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ForeignAlgorithm {
    /// Ed25519 (RFC 8037).
    #[serde(rename = "EdDSA")]
    EdDsa,
    /// ECDSA over P-256 with SHA-256 (RFC 7518).
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256 (RFC 7518).
    #[serde(rename = "RS256")]
    Rs256,
}

impl ForeignAlgorithm {
    /// The header's `alg`.
    pub fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Rs256 => "RS256",
        }
    }
}

/// Why a key can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwkError {
    /// Not JSON, or not of the form.
    #[error("it is no JWK set, `{{\"keys\": [...]}}` with each member once")]
    Set,
    /// More than there may be.
    #[error("there are more keys than {0}")]
    TooMany(usize),
    /// A private half, or a secret.
    #[error("there is a private key or a secret in it; give the public keys alone")]
    Private,
    /// Another kind of key.
    #[error("a key is none of Ed25519, P-256 and RSA")]
    Kind,
    /// It says that it is for something else.
    #[error("a key is not for signatures: its `use`, `key_ops` or `alg` says so")]
    Purpose,
    /// A member is missing or malformed, or the key is too weak.
    #[error(
        "a key is malformed, or an RSA key has not 2048 to 8192 bits, an exponent that is even, 1 or beyond 32 bits, or the form of \
         CVE-2017-15361 (ROCA)"
    )]
    Malformed,
    /// A name that could not stand in a header, or twice.
    #[error("a `kid` is not 1 to 128 visible characters, or comes twice")]
    Name,
}

/// A public key of somebody else.
#[derive(Clone)]
pub struct Jwk {
    /// Its name: that of the document, or its thumbprint (RFC 7638) where it has none there.
    pub kid: String,
    /// The only algorithm that it verifies.
    pub algorithm: ForeignAlgorithm,
    parsed: ParsedPublicKey,
    members: Map<String, Value>,
}

impl fmt::Debug for Jwk {
    fn fmt(&self, formatter: &mut fmt::Formatter) -> fmt::Result {
        write!(formatter, "{} {}", self.algorithm.name(), self.kid)
    }
}

impl Jwk {
    /// Reads one.
    pub fn read(jwk: &Map<String, Value>) -> Result<Self, JwkError> {
        let text = |member: &str| jwk.get(member).map(|value| value.as_str().unwrap_or_default());
        if PRIVATE.iter().any(|member| jwk.contains_key(*member)) {
            return Err(JwkError::Private);
        }
        let algorithm = match (text("kty"), text("crv")) {
            (Some("OKP"), Some("Ed25519")) => ForeignAlgorithm::EdDsa,
            (Some("EC"), Some("P-256")) => ForeignAlgorithm::Es256,
            (Some("RSA"), _) => ForeignAlgorithm::Rs256,
            _ => return Err(JwkError::Kind),
        };
        let verifies = |operations: &Value| operations.as_array().is_some_and(|all| all.contains(&"verify".into()));
        if text("use").is_some_and(|purpose| purpose != "sig")
            || text("alg").is_some_and(|named| named != algorithm.name())
            || !jwk.get("key_ops").is_none_or(verifies)
        {
            return Err(JwkError::Purpose);
        }
        let parsed = parsed(algorithm, jwk).ok_or(JwkError::Malformed)?;
        let members: Map<_, _> = required(algorithm)
            .iter()
            .filter_map(|member| Some(((*member).to_owned(), jwk.get(*member)?.clone())))
            .collect();
        let kid = text("kid").map_or_else(|| thumbprint(&members), str::to_owned);
        if is_key_name(&kid) { Ok(Self { kid, algorithm, parsed, members }) } else { Err(JwkError::Name) }
    }

    /// The public key and its name, and nothing else of the document that it comes from.
    pub fn to_json(&self) -> Value {
        let mut members = self.members.clone();
        members.insert("kid".to_owned(), self.kid.clone().into());
        Value::Object(members)
    }

    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.parsed.verify_sig(message, signature).is_ok()
    }
}

/// Keys of somebody else.
#[derive(Clone, Debug, Default)]
pub struct JwkSet(Vec<Jwk>);

impl JwkSet {
    /// Reads a document of which every key has to be usable.
    pub fn read(text: &[u8], most: usize) -> Result<Self, JwkError> {
        let set: Self = members(text, most)?.iter().map(Jwk::read).collect::<Result<_, _>>()?;
        let mut names: Vec<_> = set.iter().map(|key| &key.kid).collect();
        names.sort();
        names.dedup();
        if names.len() == set.0.len() { Ok(set) } else { Err(JwkError::Name) }
    }

    /// Reads a document of which those keys are taken that are of these algorithms: an issuer may have others, for other uses (RFC
    /// 7517, section 5).
    pub fn read_usable(text: &[u8], most: usize, algorithms: &[ForeignAlgorithm]) -> Result<Self, JwkError> {
        let usable = members(text, most)?.iter().filter_map(|jwk| Jwk::read(jwk).ok()).collect::<Vec<_>>();
        Ok(usable.into_iter().filter(|key| algorithms.contains(&key.algorithm)).collect())
    }

    /// All keys.
    pub fn iter(&self) -> impl Iterator<Item = &Jwk> {
        self.0.iter()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<Jwk> for JwkSet {
    fn from_iter<I: IntoIterator<Item = Jwk>>(keys: I) -> Self {
        Self(keys.into_iter().collect())
    }
}

fn members(text: &[u8], most: usize) -> Result<Vec<Map<String, Value>>, JwkError> {
    #[derive(serde::Deserialize)]
    struct Document {
        keys: Vec<Map<String, Value>>,
    }
    let Document { keys } = json::read(text).map_err(|_| JwkError::Set)?;
    if keys.len() > most { Err(JwkError::TooMany(most)) } else { Ok(keys) }
}

fn parsed(algorithm: ForeignAlgorithm, jwk: &Map<String, Value>) -> Option<ParsedPublicKey> {
    let bytes = |member: &str| URL_SAFE_NO_PAD.decode(jwk.get(member)?.as_str()?).ok();
    match algorithm {
        ForeignAlgorithm::EdDsa => {
            let x = bytes("x").filter(|x| x.len() == 32)?;
            ParsedPublicKey::new(&ED25519, x).ok()
        }
        ForeignAlgorithm::Es256 => {
            let [x, y] = [bytes("x")?, bytes("y")?];
            // An uncompressed point (SEC 1, section 2.3.3), of coordinates in full length (RFC 7518, section 6.2.1.2).
            let point = (x.len() == 32 && y.len() == 32).then(|| [&[4], &x[..], &y].concat())?;
            ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).ok()
        }
        ForeignAlgorithm::Rs256 => {
            let n = bytes("n").filter(|n| rsa::is_modulus(n) && !rsa::is_roca(n))?;
            let e = bytes("e").filter(|e| rsa::is_exponent(e))?;
            RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()
        }
    }
}

/// What makes the key, in the order of their names (RFC 7638, section 3.2).
fn required(algorithm: ForeignAlgorithm) -> &'static [&'static str] {
    match algorithm {
        ForeignAlgorithm::EdDsa => &["crv", "kty", "x"],
        ForeignAlgorithm::Es256 => &["crv", "kty", "x", "y"],
        ForeignAlgorithm::Rs256 => &["e", "kty", "n"],
    }
}

/// RFC 7638: the digest of the required members in the order of their names.
fn thumbprint(members: &Map<String, Value>) -> String {
    let mut sorted: Vec<_> = members.iter().collect();
    sorted.sort_by_key(|(name, _)| *name);
    let texts: Vec<_> = sorted.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    URL_SAFE_NO_PAD.encode(digest(&SHA256, format!("{{{}}}", texts.join(",")).as_bytes()))
}
