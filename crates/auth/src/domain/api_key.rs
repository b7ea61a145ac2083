//! API keys, `ak_<public id>_<secret>`: what scripts use that can't log in. A key brings access tokens, which are narrowed to its
//! scope, end with it, and are revoked with it. A script exchanges it itself, or the gateway does with the key of a call.

use std::{net::IpAddr, sync::Arc, time::Duration};

use accord_token::{Verified, verify};

use super::{
    auth::Auth,
    denial::Denial,
    encryption_key::{EncryptionError, EncryptionKey, generate_secret},
    issue::{self, Limits},
    login::{IssuedTokens, outcome},
    scope::Scope,
    state::AuthState,
};
use crate::store::StoreError;

/// What every key begins with.
pub(crate) const PREFIX: &str = "ak_";

/// Hexadecimal digits of a key's public id.
const ID: usize = 16;

/// The longest text that is looked at.
const LONGEST: usize = 256;

/// A key that was made just now. Its text is shown once, and kept nowhere.
pub(crate) struct NewApiKey {
    /// The public part.
    pub(crate) id: String,
    /// The whole key.
    pub(crate) text: String,
    /// What is kept of the secret.
    pub(crate) mac: String,
}

impl NewApiKey {
    /// A key that nobody can have again.
    pub(crate) fn generate(encryption_key: &EncryptionKey) -> Result<Self, EncryptionError> {
        Ok(Self::of(encryption_key, &generate_secret()?))
    }

    /// The key that belongs to the request of this nonce: the same where the request comes again.
    pub(crate) fn of(encryption_key: &EncryptionKey, nonce: &str) -> Self {
        let id = format!("{PREFIX}{:016x}", encryption_key.api_key_number(nonce));
        let secret = encryption_key.client_secret(nonce);
        let mac = encryption_key.api_key_mac(&id, &secret);
        Self { text: format!("{id}_{secret}"), id, mac }
    }
}

/// Whether this is the public part of a key, and so no client's id.
pub(crate) fn is_key_id(id: &str) -> bool {
    id.strip_prefix(PREFIX).is_some_and(|digits| digits.len() == ID && digits.bytes().all(|it| it.is_ascii_hexdigit()))
}

/// The public part and the secret of a text that could be a key.
fn parts(text: &str) -> Option<(&str, &str)> {
    // The secret may have the separator in it, the id has it in one place.
    let (id, secret) = text.split_at_checked(PREFIX.len() + ID)?;
    let secret = secret.strip_prefix('_').filter(|_| is_key_id(id) && text.len() <= LONGEST)?;
    Some((id, secret))
}

impl Auth {
    /// Whose a key is that a proxy's request came with. What it brings is remembered for as long as that holds, the key as its SHA-256
    /// alone.
    pub(super) async fn verify_api_key(
        &self,
        text: &str,
        address: Option<IpAddr>,
        state: &AuthState,
    ) -> Result<Verified, Denial> {
        let (id, secret) = parts(text).ok_or(Denial::Credential)?;
        let fingerprint = verify::fingerprint(text);
        if let Some(verified) = self.proxied_keys.get(&fingerprint)
            && self.reverify(&verified, state).is_ok()
        {
            return Ok(Verified::clone(&verified));
        }
        let tokens = match address {
            Some(address) => self.login_api_key(text, address).await,
            // Who guesses is not known then, and nobody else must wait for that. Nobody guesses 256 bits either.
            None => self.tokens_of_api_key(id, secret).await,
        };
        self.metrics.login(tokens.as_ref().map_or_else(outcome, |_| "succeeded"));
        let (access, state) = (tokens?.access, self.state.current().await?);
        self.metrics.token("access");
        let verified = self.verify_access_token(&access.token, &state).map_err(Denial::Caller)?;
        self.proxied_keys.insert(fingerprint, Arc::new(verified.clone()));
        Ok(verified)
    }

    /// An access token for a key that came from this address.
    pub(super) async fn login_api_key(&self, text: &str, address: IpAddr) -> Result<IssuedTokens, Denial> {
        // Nothing is looked up for what can be no key.
        let (id, secret) = parts(text).ok_or(Denial::Credential)?;
        self.key_throttle.count_attempt(address).map_err(Denial::Throttled)?;
        let tokens = self.tokens_of_api_key(id, secret).await;
        if !matches!(tokens, Err(Denial::Credential)) {
            self.key_throttle.cancel_attempt(address);
        }
        tokens
    }

    /// Whether what was made under the encryption key of this name can be checked. What a build before made has no name.
    fn can_check(&self, key_id: &str) -> bool {
        key_id.is_empty() || self.encryption_key.knows(key_id)
    }

    /// Whatever is wrong with a key is refused with the same words, after the same work.
    async fn tokens_of_api_key(&self, id: &str, secret: &str) -> Result<IssuedTokens, Denial> {
        let key = self.store.api_key(id).await?;
        let kept = key.as_ref().map_or("", |key| &key.mac);
        let is_it = self.encryption_key.is_api_key_mac(id, secret, kept);
        if let Some(key) = key.as_ref().filter(|key| !self.can_check(&key.key_id)) {
            self.refused_logins.write(|| tracing::warn!(api_key = key.id, "refused: {OTHER_KEY}"));
        }
        let now = verify::now();
        let key = key.filter(|key| is_it && key.is_valid(now)).ok_or(Denial::Credential)?;
        let principal = self.active(&key.subject).await?;
        let state = self.state.current().await?;
        let left = u64::try_from(key.expires_at - now).ok().filter(|_| key.expires_at != 0).map(Duration::from_secs);
        let limits = Limits {
            life: left.map_or(self.tokens.access_ttl, |left| left.min(self.tokens.access_ttl)),
            scope: Scope::parse(&key.scope)?,
            key: Some(key.source()),
        };
        let access = issue::access_token(&self.tokens, &state, &principal, limits)?;
        if key.key_id != self.encryption_key.id() {
            let (store, mac) = (self.store.clone(), self.encryption_key.api_key_mac(id, secret));
            let (key, key_id) = (key.clone(), self.encryption_key.id().to_owned());
            write_use(async move { store.remac_api_key(&key, &mac, &key_id).await });
        }
        if key.is_use_news(now) {
            let (store, id) = (self.store.clone(), key.id);
            write_use(async move { store.touch_api_key(&id, now).await });
        }
        Ok(IssuedTokens { access, refresh: None })
    }
}

/// What is written of a credential that nobody can check any more.
pub(super) const OTHER_KEY: &str =
    "it was made under an encryption key that is not configured; set `keys.accepted_encryption_key_file` to that one";

/// Nobody waits for it: a use that is not written down is no reason to refuse the credential.
pub(super) fn write_use(writing: impl Future<Output = Result<(), StoreError>> + Send + 'static) {
    tokio::spawn(async move {
        if let Err(error) = writing.await {
            tracing::debug!(%error, "the use of a credential is not written down");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use accord_runtime::config::Secret;

    fn new_key() -> EncryptionKey {
        EncryptionKey::new(&Secret::from(generate_secret().unwrap())).unwrap()
    }

    #[test]
    fn generated_key_has_its_public_id_and_its_secret() {
        let key = NewApiKey::generate(&new_key()).unwrap();
        let (id, secret) = parts(&key.text).unwrap();
        assert_eq!((id, secret.len()), (&*key.id, 43));
        assert!(is_key_id(&key.id));
    }

    #[test]
    fn secret_may_have_the_separator_in_it() {
        assert_eq!(parts("ak_0123456789abcdef_a_b"), Some(("ak_0123456789abcdef", "a_b")));
    }

    #[test]
    fn text_that_could_be_no_key_is_none() {
        let long = format!("ak_0123456789abcdef_{}", "a".repeat(LONGEST));
        for text in [
            "",
            "ak_",
            "ak_0123456789abcdef",
            "ak_0123456789abcdefa",
            "ak_0123456789abcdeg_x",
            "at_0123456789abcdef_x",
            &long,
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }

    #[test]
    fn mac_is_of_the_id_the_secret_and_the_encryption_key() {
        let (key, other) = (new_key(), new_key());
        let mac = key.api_key_mac("ak_1", "secret");
        assert_ne!(mac, key.api_key_mac("ak_2", "secret"));
        assert_ne!(mac, key.api_key_mac("ak_1", "other"));
        assert_ne!(mac, other.api_key_mac("ak_1", "secret"));
    }
}
