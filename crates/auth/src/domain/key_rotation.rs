//! The lives of signing keys: published, then signing, then kept for what they signed, then gone.

use std::time::Duration;

use accord_token::{Algorithm, PublicKey, SigningKey, Type, claims::LEEWAY, verify};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::encryption_key::{EncryptionError, EncryptionKey};
use crate::store::{Store, StoreError, Transaction, keys::StoredKey};

/// A key could not be made or kept.
#[derive(Debug, thiserror::Error)]
pub enum KeyRotationError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The private half could not be encrypted.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
    /// The key could not be generated.
    #[error(transparent)]
    Key(#[from] accord_token::keys::KeyError),
}

/// Publishes a new key. It signs after `publish_before_signing`, by which time every verifier has seen it.
pub async fn rotate(
    store: &Store,
    encryption_key: &EncryptionKey,
    algorithm: Algorithm,
    publish_before_signing: Duration,
    actor: &str,
) -> Result<PublicKey, KeyRotationError> {
    let mut tx = store.begin().await?;
    let public =
        publish(&mut tx, encryption_key, algorithm, verify::now() + seconds(publish_before_signing), actor).await?;
    tx.commit().await?;
    Ok(public)
}

/// Makes the first key where there is none. It signs at once, on every clock: nobody holds keys yet that could be too old.
pub async fn ensure_key(
    store: &Store,
    encryption_key: &EncryptionKey,
    algorithm: Algorithm,
) -> Result<(), KeyRotationError> {
    let mut tx = store.begin().await?;
    if tx.has_key().await? {
        return Ok(());
    }
    publish(&mut tx, encryption_key, algorithm, 0, "accord-auth").await?;
    Ok(tx.commit().await?)
}

async fn publish(
    tx: &mut Transaction,
    encryption_key: &EncryptionKey,
    algorithm: Algorithm,
    signs_from: i64,
    actor: &str,
) -> Result<PublicKey, KeyRotationError> {
    let key = SigningKey::generate(algorithm)?;
    let public = key.public().clone();
    let stored = StoredKey {
        kid: public.kid.clone(),
        algorithm: algorithm.name().to_owned(),
        public: URL_SAFE_NO_PAD.encode(&public.bytes),
        private: encryption_key.encrypt(&public.kid, &key.to_pkcs8()?)?,
        signs_from,
        signs_until: 0,
        gone_at: 0,
    };
    // Kept as long as the longest token it may have signed, and the clocks' differences.
    tx.add_key(&stored, seconds(Type::Access.longest_life() + 3 * LEEWAY)).await?;
    tx.audit(verify::now(), actor, "key.rotate", &public.kid).await?;
    tx.next_revision().await?;
    Ok(public)
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}
