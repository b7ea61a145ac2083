//! The key that is not in the store: it encrypts signing keys there, and authenticates refresh tokens.
//!
//! A second key is accepted beside it while one takes the other's place (`reseal`): what either made is read, and what is made from now
//! on is of the first one alone.

use std::{io, path::PathBuf, sync::Arc};

use accord_runtime::config::Secret;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    constant_time::verify_slices_are_equal,
    hmac, rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const KEY: usize = 32;
const NONCE: usize = 12;

/// Bytes of a key's name.
const ID: usize = 6;

/// The encryption key can't be used, or what it should decrypt was encrypted with another one.
#[derive(Debug, thiserror::Error)]
pub enum EncryptionError {
    /// No key was given.
    #[error(
        "no key encrypts the store; set `keys.encryption_key_file` (--encryption-key-file) to a file made with \
         `accord-auth key new`, or start with `--development`"
    )]
    NoKey,
    /// The key file can't be read.
    #[error("the encryption key can't be read from `{}`: {source}; `accord-auth key new` makes one", path.display())]
    File {
        /// Where it was looked for.
        path: PathBuf,
        /// Why it can't be read.
        source: io::Error,
    },
    /// Not a key.
    #[error("the encryption key must be 32 bytes as base64url without padding, as `accord-auth key new` makes them")]
    Malformed,
    /// The accepted key is the one in use.
    #[error(
        "`keys.accepted_encryption_key_file` has the key that is in use already: name the other one, or leave it out"
    )]
    SameKey,
    /// Encrypted with another key, or changed since.
    #[error(
        "the signing key `{0}` in the store was encrypted with another encryption key: set `keys.encryption_key_file` to \
         that one, the same for every process on this store, or `keys.accepted_encryption_key_file` while another takes its \
         place"
    )]
    OtherKey(String),
    /// The system has no randomness, or the cipher failed.
    #[error("the system's cryptography failed")]
    Failed,
}

/// The key that is used, and one that is accepted beside it.
pub struct EncryptionKey {
    current: Arc<Derived>,
    accepted: Option<Arc<Derived>>,
}

/// Keys that are derived from one that was given: to encrypt (AES-256-GCM), and to authenticate (HMAC-SHA-256).
struct Derived {
    /// By which rows name the key that they need. It says nothing of the key.
    id: String,
    aead: RandomizedNonceKey,
    hmac: hmac::Key,
    /// Makes clients' secrets that a repeated request brings again.
    client_secrets: hmac::Key,
    api_keys: hmac::Key,
}

impl Derived {
    fn new(key: &Secret) -> Result<Self, EncryptionError> {
        let key = URL_SAFE_NO_PAD.decode(key.expose().trim()).map_err(|_| EncryptionError::Malformed)?;
        if key.len() != KEY {
            return Err(EncryptionError::Malformed);
        }
        let root = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let derive = |purpose: &[u8]| hmac::sign(&root, purpose);
        let aead = RandomizedNonceKey::new(&AES_256_GCM, derive(b"accord-auth/seal").as_ref());
        Ok(Self {
            id: URL_SAFE_NO_PAD.encode(&derive(b"accord-auth/id").as_ref()[..ID]),
            aead: aead.map_err(|_| EncryptionError::Failed)?,
            hmac: hmac::Key::new(hmac::HMAC_SHA256, derive(b"accord-auth/refresh").as_ref()),
            client_secrets: hmac::Key::new(hmac::HMAC_SHA256, derive(b"accord-auth/client-secret").as_ref()),
            api_keys: hmac::Key::new(hmac::HMAC_SHA256, derive(b"accord-auth/api-key").as_ref()),
        })
    }

    fn opened(&self, name: &str, encrypted: &str) -> Option<Vec<u8>> {
        let mut bytes = URL_SAFE_NO_PAD.decode(encrypted).ok()?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        self.aead.open_in_place(nonce, Aad::from(name), text).ok().map(|plain| plain.to_vec())
    }
}

impl EncryptionKey {
    /// From 32 bytes in base64url.
    pub fn new(key: &Secret) -> Result<Self, EncryptionError> {
        Ok(Self { current: Arc::new(Derived::new(key)?), accepted: None })
    }

    /// The same, which reads what was made with this other key as well.
    pub fn accepting(self, other: &Secret) -> Result<Self, EncryptionError> {
        let other = Derived::new(other)?;
        if other.id == self.current.id {
            return Err(EncryptionError::SameKey);
        }
        Ok(Self { accepted: Some(Arc::new(other)), ..self })
    }

    /// The name of the key that is used, as rows have it.
    pub fn id(&self) -> &str {
        &self.current.id
    }

    /// The name of the key that is accepted beside it.
    pub fn accepted_id(&self) -> Option<&str> {
        self.accepted.as_ref().map(|key| &*key.id)
    }

    /// Whether this is the name of a key that is here.
    pub fn knows(&self, id: &str) -> bool {
        self.all().any(|key| key.id == id)
    }

    /// The same keys, of which the one of this name is used, where it is here: what is derived comes out as it did under that one.
    #[must_use]
    pub fn under(&self, id: &str) -> Self {
        match &self.accepted {
            Some(other) if other.id == id => {
                Self { current: Arc::clone(other), accepted: Some(Arc::clone(&self.current)) }
            }
            other => Self { current: Arc::clone(&self.current), accepted: other.clone() },
        }
    }

    fn all(&self) -> impl Iterator<Item = &Derived> {
        std::iter::once(&*self.current).chain(self.accepted.as_deref())
    }

    /// Encrypts under a name (as associated data), with a random nonce.
    pub fn encrypt(&self, name: &str, plain: &[u8]) -> Result<String, EncryptionError> {
        let mut text = plain.to_vec();
        let nonce = self
            .current
            .aead
            .seal_in_place_append_tag(Aad::from(name), &mut text)
            .map_err(|_| EncryptionError::Failed)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce.as_ref()[..], &text].concat()))
    }

    /// Decrypts what was encrypted under this name; under another name it fails.
    pub fn decrypt(&self, name: &str, encrypted: &str) -> Result<Vec<u8>, EncryptionError> {
        let opened = self.all().find_map(|key| key.opened(name, encrypted));
        opened.ok_or_else(|| EncryptionError::OtherKey(name.to_owned()))
    }

    /// The same text, encrypted with the key that is used; None where it is so already.
    pub fn reencrypt(&self, name: &str, encrypted: &str) -> Result<Option<String>, EncryptionError> {
        match self.current.opened(name, encrypted) {
            Some(_) => Ok(None),
            None => Ok(Some(self.encrypt(name, &self.decrypt(name, encrypted)?)?)),
        }
    }

    /// What is kept of an API key's secret: without this key a stolen store can't even be guessed at.
    pub fn api_key_mac(&self, id: &str, secret: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.current.api_keys, format!("{id}_{secret}").as_bytes()))
    }

    /// Whether this is kept of that secret, under either key. The same work whatever is given.
    pub(crate) fn is_api_key_mac(&self, id: &str, secret: &str, kept: &str) -> bool {
        let text = format!("{id}_{secret}");
        let is = |key: &Derived| {
            let mac = URL_SAFE_NO_PAD.encode(hmac::sign(&key.api_keys, text.as_bytes()));
            verify_slices_are_equal(mac.as_bytes(), kept.as_bytes()).is_ok()
        };
        self.all().fold(false, |found, key| is(key) | found)
    }

    /// The refresh token of a generation of a family. It is computed, not kept: a stolen store holds none.
    pub fn refresh_token(&self, family: &str, generation: u64) -> String {
        let tag = hmac::sign(&self.current.hmac, format!("{family}/{generation}").as_bytes());
        format!("rt_{family}_{generation}_{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The secret that belongs to the request of this nonce: the same where the request comes again, and kept nowhere.
    pub fn client_secret(&self, nonce: &str) -> String {
        URL_SAFE_NO_PAD.encode(hmac::sign(&self.current.client_secrets, format!("secret/{nonce}").as_bytes()))
    }

    /// The number in the public id of the API key that belongs to the request of this nonce.
    pub fn api_key_number(&self, nonce: &str) -> u64 {
        let digest = hmac::sign(&self.current.api_keys, format!("id/{nonce}").as_bytes());
        digest.as_ref().iter().take(size_of::<u64>()).fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// A digest by which a request is known again, and by which nobody without this key tries out what was in it.
    pub fn request_digest(&self, request: &[u8]) -> String {
        request_digest(&self.current, request)
    }

    /// Such digests under the key that is accepted.
    pub fn accepted_request_digest(&self, request: &[u8]) -> Option<String> {
        self.accepted.as_deref().map(|key| request_digest(key, request))
    }

    /// The family and generation of a refresh token that was made here.
    pub fn parse_refresh_token(&self, token: &str) -> Option<(String, u64)> {
        let [family, generation, tag] =
            token.strip_prefix("rt_")?.splitn(3, '_').collect::<Vec<_>>().try_into().ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        // `verify` compares in constant time.
        let text = format!("{family}/{generation}");
        self.all().find(|key| hmac::verify(&key.hmac, text.as_bytes(), &tag).is_ok())?;
        Some((family.to_owned(), generation.parse().ok()?))
    }
}

fn request_digest(key: &Derived, request: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(hmac::sign(&key.client_secrets, &[b"request/", request].concat()))
}

/// A new secret of 32 random bytes, base64url.
pub fn generate_secret() -> Result<String, EncryptionError> {
    let mut bytes = [0; KEY];
    rand::fill(&mut bytes).map_err(|_| EncryptionError::Failed)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new_key() -> EncryptionKey {
        EncryptionKey::new(&Secret::from(generate_secret().unwrap())).unwrap()
    }

    #[test]
    fn encrypted_text_decrypts_under_its_name() {
        let key = new_key();
        let encrypted = key.encrypt("one", b"the private half").unwrap();
        assert_eq!(key.decrypt("one", &encrypted).unwrap(), b"the private half");
    }

    #[test]
    fn encrypted_text_does_not_decrypt_under_another_name() {
        let key = new_key();
        assert!(key.decrypt("two", &key.encrypt("one", b"the private half").unwrap()).is_err());
    }

    #[test]
    fn encrypted_text_does_not_decrypt_with_another_key() {
        let encrypted = new_key().encrypt("one", b"the private half").unwrap();
        assert!(new_key().decrypt("one", &encrypted).is_err());
    }

    #[test]
    fn truncated_text_does_not_decrypt() {
        let key = new_key();
        let encrypted = key.encrypt("one", b"the private half").unwrap();
        assert!(key.decrypt("one", &encrypted[..encrypted.len() - 2]).is_err());
    }

    #[test]
    fn refresh_token_parses_to_its_family_and_generation() {
        let key = new_key();
        let token = key.refresh_token("family", 7);
        assert_eq!(key.parse_refresh_token(&token), Some(("family".to_owned(), 7)));
    }

    #[test]
    fn refresh_token_made_with_another_key_is_refused() {
        assert_eq!(new_key().parse_refresh_token(&new_key().refresh_token("family", 7)), None);
    }

    #[test]
    fn refresh_token_with_another_generation_prefix_or_no_tag_is_refused() {
        let key = new_key();
        let token = key.refresh_token("family", 7);
        for forged in [token.replace("_7_", "_8_"), token.replace("rt_", "at_"), "rt_family_7".to_owned()] {
            assert_eq!(key.parse_refresh_token(&forged), None, "{forged}");
        }
    }
}
