//! The key that is not in the store: it seals what is, and proves that a refresh token was made here.

use std::{
    fs, io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use accord_runtime::config::Secret;
use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, Nonce, RandomizedNonceKey},
    hmac, rand,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

const KEY: usize = 32;
const NONCE: usize = 12;

/// The vault's key can't be used, or what it should open was not sealed with it.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// No key was given.
    #[error(
        "no key encrypts the store: set `keys.encryption_key_file` to a file made with `accord-auth key new`, or start \
         with `--development`"
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
    /// Sealed with another key, or changed since.
    #[error(
        "the signing key `{0}` in the store was sealed with another encryption key: set `keys.encryption_key_file` to \
         that one, the same for every process on this store"
    )]
    Sealed(String),
    /// The system has no randomness, or the cipher failed.
    #[error("the system's cryptography failed")]
    Failed,
}

/// Two keys, both derived from the one that was given: for sealing, and for making refresh tokens.
pub struct Vault {
    sealing: RandomizedNonceKey,
    making: hmac::Key,
}

impl Vault {
    /// The vault of this key.
    pub fn new(key: &Secret) -> Result<Self, VaultError> {
        let key = URL_SAFE_NO_PAD.decode(key.expose().trim()).map_err(|_| VaultError::Malformed)?;
        if key.len() != KEY {
            return Err(VaultError::Malformed);
        }
        let root = hmac::Key::new(hmac::HMAC_SHA256, &key);
        let derive = |purpose: &[u8]| hmac::sign(&root, purpose);
        let sealing = RandomizedNonceKey::new(&AES_256_GCM, derive(b"accord-auth/seal").as_ref());
        Ok(Self {
            sealing: sealing.map_err(|_| VaultError::Failed)?,
            making: hmac::Key::new(hmac::HMAC_SHA256, derive(b"accord-auth/refresh").as_ref()),
        })
    }

    /// Seals bytes under a name, with AES-256-GCM and a random nonce.
    pub fn seal(&self, name: &str, plain: &[u8]) -> Result<String, VaultError> {
        let mut sealed = plain.to_vec();
        let nonce =
            self.sealing.seal_in_place_append_tag(Aad::from(name), &mut sealed).map_err(|_| VaultError::Failed)?;
        Ok(URL_SAFE_NO_PAD.encode([&nonce.as_ref()[..], &sealed].concat()))
    }

    /// Opens what was sealed under this name; under another name it does not open.
    pub fn open(&self, name: &str, sealed: &str) -> Result<Vec<u8>, VaultError> {
        self.unseal(name, sealed).ok_or_else(|| VaultError::Sealed(name.to_owned()))
    }

    fn unseal(&self, name: &str, sealed: &str) -> Option<Vec<u8>> {
        let mut sealed = URL_SAFE_NO_PAD.decode(sealed).ok()?;
        let (nonce, body) = sealed.split_at_mut_checked(NONCE)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        self.sealing.open_in_place(nonce, Aad::from(name), body).ok().map(|plain| plain.to_vec())
    }

    /// The refresh token of a generation of a family. It is computed, not kept: a stolen store holds none.
    pub fn refresh_token(&self, family: &str, generation: u64) -> String {
        let tag = hmac::sign(&self.making, format!("{family}/{generation}").as_bytes());
        format!("rt_{family}_{generation}_{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// The family and generation of a refresh token that was made here.
    pub fn read_refresh_token(&self, token: &str) -> Option<(String, u64)> {
        let [family, generation, tag] =
            token.strip_prefix("rt_")?.splitn(3, '_').collect::<Vec<_>>().try_into().ok()?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        // `verify` compares in constant time.
        hmac::verify(&self.making, format!("{family}/{generation}").as_bytes(), &tag).ok()?;
        Some((family.to_owned(), generation.parse().ok()?))
    }
}

/// A fresh secret of 32 random bytes, base64url.
pub fn fresh_secret() -> Result<String, VaultError> {
    let mut bytes = [0; KEY];
    rand::fill(&mut bytes).map_err(|_| VaultError::Failed)?;
    Ok(URL_SAFE_NO_PAD.encode(bytes))
}

/// Writes a secret into a new file that only its owner can read. An existing file is never replaced.
pub fn write_secret(path: &Path, secret: &str) -> io::Result<()> {
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    io::Write::write_all(&mut file, format!("{secret}\n").as_bytes())?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vault() -> Vault {
        Vault::new(&Secret::from(fresh_secret().unwrap())).unwrap()
    }

    #[test]
    fn what_is_sealed_opens_only_under_its_name_and_key() {
        let vault = vault();
        let sealed = vault.seal("one", b"the private half").unwrap();
        assert_eq!(vault.open("one", &sealed).unwrap(), b"the private half");
        assert!(vault.open("two", &sealed).is_err());
        assert!(self::vault().open("one", &sealed).is_err());
        assert!(vault.open("one", &sealed[..sealed.len() - 2]).is_err());
    }

    #[test]
    fn a_refresh_token_can_be_made_only_here() {
        let vault = vault();
        let token = vault.refresh_token("family", 7);
        assert_eq!(vault.read_refresh_token(&token), Some(("family".to_owned(), 7)));
        assert_eq!(vault.read_refresh_token(&token.replace("_7_", "_8_")), None);
        assert_eq!(self::vault().read_refresh_token(&token), None);
        assert_eq!(vault.read_refresh_token("rt_family_7"), None);
        assert_eq!(vault.read_refresh_token(&token.replace("rt_", "at_")), None, "it has one spelling");
    }
}
