//! Keys of nobody, by which assertions are checked that no key of their client may have signed: clients that there are not cost what
//! others cost.

use std::sync::atomic::{AtomicU64, Ordering};

use accord_token::{
    Algorithm, SigningKey,
    foreign::{Jwk, JwkSet, Unverified},
    keys::KeyError,
};

/// One key of each kind that clients have, whose private halves are forgotten.
pub struct DecoyKeys {
    keys: Vec<Jwk>,
    checked: AtomicU64,
}

impl DecoyKeys {
    /// New ones.
    pub(crate) fn new() -> Result<Self, KeyError> {
        let key = |algorithm| {
            let jwk = SigningKey::generate(algorithm)?.public().to_jwk();
            Ok(jwk.as_object().and_then(|jwk| Jwk::read(jwk).ok()))
        };
        let keys = [Algorithm::EdDsa, Algorithm::Es256].map(key).into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Self { keys: keys.into_iter().flatten().collect(), checked: AtomicU64::new(0) })
    }

    /// These keys, or one of nobody where none of them may have signed the token.
    pub(crate) fn beside(&self, keys: JwkSet, token: &Unverified) -> JwkSet {
        let keys = if keys.iter().any(|key| token.may_be_signed_by(key)) { keys } else { self.named_by(token) };
        let tried = keys.iter().filter(|key| token.may_be_signed_by(key)).count();
        self.checked.fetch_add(tried as u64, Ordering::Relaxed);
        keys
    }

    /// How many signatures were checked so far, by keys of clients and of nobody.
    pub fn checked(&self) -> u64 {
        self.checked.load(Ordering::Relaxed)
    }

    fn named_by(&self, token: &Unverified) -> JwkSet {
        let renamed = |key: &Jwk| {
            let mut renamed = key.clone();
            if let Some(kid) = token.kid() {
                kid.clone_into(&mut renamed.kid);
            }
            renamed
        };
        self.keys.iter().map(renamed).collect()
    }
}
