//! The lives of signing keys: published, then signing, then kept for what they signed, then gone; or withdrawn before that.

use std::time::Duration;

use accord_token::{
    Algorithm, PublicKey, SigningKey, Type,
    claims::{LEEWAY, RETENTION},
    verify,
};
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

/// How new keys are made.
#[derive(Clone, Copy)]
pub struct KeyMaker<'a> {
    /// Encrypts their private halves.
    pub encryption_key: &'a EncryptionKey,
    /// What they sign with.
    pub algorithm: Algorithm,
    /// How long they are published before they sign, by which time every verifier has seen them.
    pub publish_before_signing: Duration,
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
    let maker = KeyMaker { encryption_key, algorithm, publish_before_signing };
    let public = maker.publish_next(&mut tx, actor).await?;
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
    let maker = KeyMaker { encryption_key, algorithm, publish_before_signing: Duration::ZERO };
    maker.publish(&mut tx, 0, "accord-auth").await?;
    Ok(tx.commit().await?)
}

impl KeyMaker<'_> {
    pub(super) async fn publish_next(self, tx: &mut Transaction, actor: &str) -> Result<PublicKey, KeyRotationError> {
        self.publish(tx, verify::now() + seconds(self.publish_before_signing), actor).await
    }

    async fn publish(self, tx: &mut Transaction, signs_from: i64, actor: &str) -> Result<PublicKey, KeyRotationError> {
        let key = SigningKey::generate(self.algorithm)?;
        let public = key.public().clone();
        let stored = StoredKey {
            kid: public.kid.clone(),
            algorithm: self.algorithm.name().to_owned(),
            public: URL_SAFE_NO_PAD.encode(&public.bytes),
            private: self.encryption_key.encrypt(&public.kid, &key.to_pkcs8()?)?,
            signs_from,
            signs_until: 0,
            gone_at: 0,
        };
        // Kept as long as the longest token it may have signed, on every clock: what is not verified can't be revoked either.
        tx.add_key(&stored, seconds(Type::Access.longest_life() + RETENTION)).await?;
        tx.audit(verify::now(), actor, "key.rotate", &public.kid).await?;
        tx.next_revision().await?;
        Ok(public)
    }

    /// Withdraws one of these keys at once. Somebody else may have it, so nothing that it signed is good any more; where it signs now,
    /// another one does from now on, whether or not verifiers have heard of that one.
    pub(super) async fn retire(
        self,
        tx: &mut Transaction,
        keys: &[StoredKey],
        retired: &StoredKey,
        actor: &str,
    ) -> Result<(), KeyRotationError> {
        let now = verify::now();
        tx.retire_key(&retired.kid).await?;
        if retired.signs_from > now && !retired.is_overtaken() {
            tx.extend_key_before(retired).await?;
        }
        if retired.signs_at(now) {
            // On the slowest clock as well.
            let signs_from = now - seconds(LEEWAY);
            let ends = Some(retired.signs_until).filter(|ends| *ends != 0);
            let waits = |key: &&StoredKey| ends == Some(key.signs_from) && !key.is_overtaken();
            match keys.iter().find(waits) {
                Some(next) => tx.advance_key(&next.kid, signs_from).await?,
                None => drop(self.publish(tx, signs_from, actor).await?),
            }
        }
        tx.audit(now, actor, "key.retire", &retired.kid).await?;
        tx.next_revision().await?;
        Ok(())
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 2)
}
