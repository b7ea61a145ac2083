//! Tokens that others sign: assertions of clients (RFC 7523), what `OpenID` providers and clusters issue.
//!
//! The checklist is that of [`verify`](crate::verify), in the same order. Others may leave out what their RFCs leave open: `kid`,
//! `typ`, `nbf`, and `iat` and `jti` each where its [`ForeignType`] does not need it. What is there is held to the same rules.

mod jwk;
mod rsa;

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

pub use self::jwk::{ForeignAlgorithm, Jwk, JwkError, JwkSet};
use crate::{
    claims::LEEWAY,
    json,
    refusal::{InvalidTokenReason, Refusal},
    verify::{LONGEST, decode, seconds, segments},
};

/// The longest name of a key that a header may have.
const MAX_KEY_NAME: usize = 128;

/// What a token of others is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForeignType {
    /// A client proves with it who it is, once (RFC 7523, section 3; `OpenID` Connect Core, section 9).
    ClientAssertion,
    /// An issuer says with it who somebody is.
    Identity,
}

impl ForeignType {
    /// The longest life that it may claim: 5 min for an assertion, 24 h for an identity.
    pub const fn longest_life(self) -> Duration {
        match self {
            Self::ClientAssertion => Duration::from_mins(5),
            Self::Identity => Duration::from_hours(24),
        }
    }

    /// What the header's `typ` may say where it says anything.
    fn names(self) -> &'static [&'static str] {
        match self {
            Self::ClientAssertion => &["JWT", "client-authentication+jwt"],
            Self::Identity => &["JWT", "at+jwt"],
        }
    }

    /// Whether what it needs is there. An assertion is told apart by its `jti`, an identity is dated.
    fn is_complete(self, claims: &ForeignClaims) -> bool {
        match self {
            Self::ClientAssertion => claims.jti.as_ref().is_some_and(|jti| !jti.is_empty()),
            Self::Identity => claims.iat.is_some(),
        }
    }
}

/// A token as it came: it has the form of one, and nothing that it says is believed.
pub struct Unverified<'a> {
    message: &'a str,
    signature: Vec<u8>,
    header: Header,
    payload: Vec<u8>,
}

/// These three, each at most once, and nothing that could redirect the check (`crit`, `jku`, `jwk`, `x5*`, `b64`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    typ: Option<String>,
}

/// In whose name a token claims to come: by that the keys are chosen, and nothing else is.
#[derive(Debug, Deserialize)]
pub struct Claimed {
    /// The issuer.
    #[serde(default)]
    pub iss: String,
    /// The subject.
    #[serde(default)]
    pub sub: String,
}

/// What a token says whose signature was checked.
#[derive(Clone, Debug, Deserialize)]
pub struct ForeignClaims {
    /// Who issued it.
    pub iss: String,
    /// Whose it is.
    pub sub: String,
    aud: Audience,
    /// When it ends, in seconds since 1970.
    pub exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
    /// Its own name.
    pub jti: Option<String>,
    /// All else.
    #[serde(flatten)]
    pub others: Map<String, Value>,
}

/// RFC 7519, section 4.1.3: one, as a text or in a list.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    List(Vec<String>),
}

/// What a token of others has to say.
#[derive(Clone, Copy, Debug)]
pub struct ForeignExpected<'a> {
    /// What it is for.
    pub foreign_type: ForeignType,
    /// The exact issuer.
    pub issuer: &'a str,
    /// The names of ours, of which it has exactly one as its audience.
    pub audiences: &'a [&'a str],
}

impl<'a> Unverified<'a> {
    /// Reads what is needed to find the key.
    pub fn parse(token: &'a str) -> Result<Self, InvalidTokenReason> {
        if token.len() > LONGEST {
            return Err(InvalidTokenReason::TooLong);
        }
        let (message, [header, payload, signature]) = segments(token)?;
        let header: Header = json::read(&decode(header)?).map_err(|_| InvalidTokenReason::Header)?;
        if header.kid.as_ref().is_some_and(|kid| !is_key_name(kid)) {
            return Err(InvalidTokenReason::Header);
        }
        Ok(Self { message, signature: decode(signature)?, header, payload: decode(payload)? })
    }

    /// In whose name it claims to come.
    pub fn claimed(&self) -> Result<Claimed, InvalidTokenReason> {
        json::read(&self.payload).map_err(|_| InvalidTokenReason::Claims)
    }

    /// Whether this key may have signed it, so that [`Self::verify`] tries it: without a `kid` any of its algorithm may.
    pub fn may_be_signed_by(&self, key: &Jwk) -> bool {
        self.names(key) && key.algorithm.name() == self.header.alg
    }

    /// What the header says of its key.
    pub fn kid(&self) -> Option<&str> {
        self.header.kid.as_deref()
    }

    fn names(&self, key: &Jwk) -> bool {
        self.header.kid.as_ref().is_none_or(|kid| *kid == key.kid)
    }

    /// Checks the type and the signature. Without a `kid` it may be any key's of its algorithm.
    pub fn verify(&self, foreign_type: ForeignType, keys: &JwkSet) -> Result<ForeignClaims, InvalidTokenReason> {
        let is_name = |typ: &String| foreign_type.names().iter().any(|name| name.eq_ignore_ascii_case(typ));
        if !self.header.typ.as_ref().is_none_or(is_name) {
            return Err(InvalidTokenReason::Type);
        }
        if !keys.iter().any(|key| self.names(key)) {
            return Err(InvalidTokenReason::KeyUnknown);
        }
        let mut usable = keys.iter().filter(|key| self.may_be_signed_by(key)).peekable();
        usable.peek().ok_or(InvalidTokenReason::Algorithm)?;
        if !usable.any(|key| key.verifies(self.message.as_bytes(), &self.signature)) {
            return Err(InvalidTokenReason::Signature);
        }
        json::read(&self.payload).map_err(|_| InvalidTokenReason::Claims)
    }
}

impl Unverified<'_> {
    /// What it says, where its issuer has said itself, just now, that it is good.
    pub fn vouched(&self) -> Result<ForeignClaims, InvalidTokenReason> {
        json::read(&self.payload).map_err(|_| InvalidTokenReason::Claims)
    }
}

impl ForeignClaims {
    /// Checks what time and whoever asks decide.
    pub fn check(&self, expected: &ForeignExpected, now: i64) -> Result<(), Refusal> {
        if self.iss != expected.issuer {
            return Err(Refusal::Invalid(InvalidTokenReason::Issuer));
        }
        if !self.audience().is_some_and(|audience| expected.audiences.contains(&audience)) {
            return Err(Refusal::Invalid(InvalidTokenReason::Audience));
        }
        if self.sub.is_empty() || !expected.foreign_type.is_complete(self) {
            return Err(Refusal::Invalid(InvalidTokenReason::Claims));
        }
        self.times(seconds(expected.foreign_type.longest_life()), now)
    }

    /// The only one; None where there are more, of which another reader could take another.
    fn audience(&self) -> Option<&str> {
        match &self.aud {
            Audience::One(audience) => Some(audience),
            Audience::List(list) => match &list[..] {
                [audience] => Some(audience),
                _ => None,
            },
        }
    }

    fn times(&self, longest: i64, now: i64) -> Result<(), Refusal> {
        let leeway = seconds(LEEWAY);
        let latest = now.saturating_add(leeway);
        if now >= self.exp.saturating_add(leeway) {
            return Err(Refusal::Expired);
        }
        if [self.iat, self.nbf].into_iter().flatten().any(|begin| begin > latest) {
            return Err(Refusal::Invalid(InvalidTokenReason::Times));
        }
        let life = self.exp.saturating_sub(self.iat.unwrap_or(latest));
        // Without a date all that is left counts; it may have come to an end within the leeway.
        if life > longest || (life <= 0 && self.iat.is_some()) {
            return Err(Refusal::Invalid(InvalidTokenReason::Times));
        }
        Ok(())
    }
}

/// Others name their keys as they like; it is a map key and nothing else.
fn is_key_name(kid: &str) -> bool {
    (1..=MAX_KEY_NAME).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests;
