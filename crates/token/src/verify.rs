//! Token verification: the checklist between a string and a verified identity (JWT, RFC 7519 and RFC 8725).
//!
//! It has two halves. [`signed`] reads the token and checks its signature: what it finds never changes, so it may be
//! remembered. [`current`] checks all that time and the asker decide, and is repeated on every use.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Deserialize;

use crate::{
    claims::{Claims, LEEWAY, RETENTION, Type},
    json,
    keys::KeySet,
    refusal::{InvalidTokenReason, Refusal},
    snapshot::RevocationSnapshot,
};

/// The longest token, in bytes.
pub const LONGEST: usize = 4096;

/// A token whose signature was checked.
#[derive(Clone, Debug)]
pub struct Verified {
    /// What it says.
    pub claims: Claims,
    /// What it is.
    pub token_type: Type,
    /// The key that signed it.
    pub kid: String,
}

/// What a token must be to be accepted by this verifier.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The type.
    pub token_type: Type,
    /// The exact issuer.
    pub issuer: &'a str,
    /// The exact audience.
    pub audience: &'a str,
}

/// The header: these three, each once, and nothing that could redirect the check (`crit`, `jku`, `jwk`, `x5*`, `b64`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    alg: String,
    kid: String,
    typ: String,
}

/// Reads a token and checks its signature. The order is part of the contract: nothing the claims say is parsed before.
pub fn signed(token: &str, token_type: Type, keys: &KeySet) -> Result<Verified, InvalidTokenReason> {
    if token.len() > LONGEST {
        return Err(InvalidTokenReason::TooLong);
    }
    let (message, [header, payload, signature]) = segments(token)?;
    let [header, payload, signature] = [decode(header)?, decode(payload)?, decode(signature)?];
    let header: Header = json::read(&header).map_err(|_| InvalidTokenReason::Header)?;
    if header.typ != token_type.name() {
        return Err(InvalidTokenReason::Type);
    }
    if !is_key_name(&header.kid) {
        return Err(InvalidTokenReason::Header);
    }
    let key = keys.get(&header.kid).ok_or(InvalidTokenReason::KeyUnknown)?;
    if header.alg != key.algorithm.name() {
        return Err(InvalidTokenReason::Algorithm);
    }
    if !key.verifies(message.as_bytes(), &signature) {
        return Err(InvalidTokenReason::Signature);
    }
    let claims = json::read(&payload).map_err(|_| InvalidTokenReason::Claims)?;
    Ok(Verified { claims, token_type, kid: header.kid })
}

/// Checks what may have changed since the signature was checked, and what depends on who asks.
pub fn current(
    verified: &Verified,
    expected: &Expected,
    now: i64,
    snapshot: &RevocationSnapshot,
) -> Result<(), Refusal> {
    let claims = &verified.claims;
    if verified.token_type != expected.token_type {
        return Err(Refusal::Invalid(InvalidTokenReason::Type));
    }
    // A retired key takes its remembered tokens along.
    if snapshot.keys.get(&verified.kid).is_none() {
        return Err(Refusal::Invalid(InvalidTokenReason::KeyUnknown));
    }
    if claims.iss != expected.issuer {
        return Err(Refusal::Invalid(InvalidTokenReason::Issuer));
    }
    if claims.aud != expected.audience {
        return Err(Refusal::Invalid(InvalidTokenReason::Audience));
    }
    times(claims, expected.token_type, now)?;
    if snapshot.revokes(claims) {
        return Err(Refusal::Revoked);
    }
    Ok(())
}

/// The wall clock, in seconds since 1970.
pub fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}

/// The name under which a token's checked signature is remembered.
pub fn fingerprint(token: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, token.as_bytes()).as_ref());
    bytes
}

/// Whether some verifier may accept these claims, by its clock: they claim no longer life than their kind has, and do not begin after
/// the fastest clock.
pub fn may_live(claims: &Claims, token_type: Type, now: i64) -> bool {
    has_life(claims, token_type) && claims.iat <= now.saturating_add(seconds(RETENTION))
}

fn has_life(claims: &Claims, token_type: Type) -> bool {
    (1..=seconds(token_type.longest_life())).contains(&claims.exp.saturating_sub(claims.iat))
}

fn times(claims: &Claims, token_type: Type, now: i64) -> Result<(), Refusal> {
    let leeway = seconds(LEEWAY);
    if claims.sub.is_empty() || claims.jti.is_empty() {
        return Err(Refusal::Invalid(InvalidTokenReason::Claims));
    }
    if !has_life(claims, token_type) {
        return Err(Refusal::Invalid(InvalidTokenReason::Times));
    }
    if claims.iat > now.saturating_add(leeway) || claims.nbf > now.saturating_add(leeway) {
        return Err(Refusal::Invalid(InvalidTokenReason::Times));
    }
    if now >= claims.exp.saturating_add(leeway) {
        return Err(Refusal::Expired);
    }
    Ok(())
}

/// What is signed, and the three segments.
pub(crate) fn segments(token: &str) -> Result<(&str, [&str; 3]), InvalidTokenReason> {
    let (message, signature) = token.rsplit_once('.').ok_or(InvalidTokenReason::Segments)?;
    let (header, payload) = message.split_once('.').ok_or(InvalidTokenReason::Segments)?;
    if payload.contains('.') { Err(InvalidTokenReason::Segments) } else { Ok((message, [header, payload, signature])) }
}

pub(crate) fn seconds(duration: std::time::Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}

/// The engine refuses padding and non-zero trailing bits, so every token has one spelling.
pub(crate) fn decode(segment: &str) -> Result<Vec<u8>, InvalidTokenReason> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| InvalidTokenReason::Encoding)
}

fn is_key_name(kid: &str) -> bool {
    (1..=64).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests;
