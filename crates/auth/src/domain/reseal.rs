//! Another encryption key takes the place of the one before: what can be opened is sealed anew, and the rest is counted.
//!
//! The secrets of API keys and refresh tokens are known to their holders alone. What proves them is made anew when they are used, so the
//! key before has to be accepted until each was used, or has ended.

use accord_token::verify;

use super::{account::encrypted_name, auth::Auth, encryption_key::EncryptionError};
use crate::store::{
    StoreError,
    reseal::{Sealed, Waiting},
};

/// What was done, and what is left.
#[derive(Debug)]
pub struct Resealed {
    /// The id of the key in use, as rows name it; no secret.
    pub key_id: String,
    /// That of the accepted one.
    pub accepted_key_id: String,
    /// Signing keys that were sealed anew.
    pub signing_keys: u64,
    /// Second factors that were.
    pub second_factors: u64,
    /// Second factors that neither key opens.
    pub lost_second_factors: u64,
    /// What needs the other key still.
    pub waiting: Waiting,
}

/// Nothing can be sealed anew.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// There is nothing that it could take the place of.
    #[error(
        "no other encryption key is accepted, so nothing here can need one; to replace the key, set \
         `keys.encryption_key_file` to the new one and `keys.accepted_encryption_key_file` to the one before"
    )]
    NoOther,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something can't be opened.
    #[error(transparent)]
    Encryption(#[from] EncryptionError),
}

impl Resealed {
    /// Whether nothing needs the other key any more.
    pub fn is_done(&self) -> bool {
        let Waiting { api_keys, sessions, requests, .. } = self.waiting;
        self.lost_second_factors + api_keys + sessions + requests == 0
    }
}

impl Auth {
    /// Seals with the key that is used what the accepted one sealed.
    pub async fn reseal(&self, actor: &str) -> Result<Resealed, ResealError> {
        let key_id = self.encryption_key.id().to_owned();
        let accepted_key_id = self.encryption_key.accepted_id().ok_or(ResealError::NoOther)?.to_owned();
        let signing_keys = self.reseal_signing_keys(actor).await?;
        let (second_factors, lost_second_factors) = self.reseal_second_factors(actor).await?;
        let waiting = self.store.waiting_for_key(self.encryption_key.id()).await?;
        Ok(Resealed { key_id, accepted_key_id, signing_keys, second_factors, lost_second_factors, waiting })
    }

    async fn reseal_signing_keys(&self, actor: &str) -> Result<u64, ResealError> {
        let (mut tx, mut count) = (self.store.begin().await?, 0);
        for key in self.store.keys(verify::now()).await?.into_iter().filter(|key| !key.private.is_empty()) {
            let before = Sealed { name: key.kid, text: key.private };
            if let Some(after) = self.encryption_key.reencrypt(&before.name, &before.text)? {
                count += u64::from(tx.reseal_key(&before, &after).await?);
            }
        }
        if count > 0 {
            tx.audit(verify::now(), actor, "key.reseal", &format!("{count} signing keys")).await?;
        }
        tx.commit().await?;
        Ok(count)
    }

    /// Page by page, so that nobody waits long for the store. How many, and how many can't be opened.
    async fn reseal_second_factors(&self, actor: &str) -> Result<(u64, u64), ResealError> {
        let (mut count, mut unopened, mut after) = (0, 0, String::new());
        loop {
            let page = self.store.sealed_factors_after(&after).await?;
            let Some(newest) = page.last() else { return Ok((count, unopened)) };
            after.clone_from(&newest.name);
            let (mut tx, mut resealed) = (self.store.begin().await?, 0);
            for before in &page {
                match self.encryption_key.reencrypt(&encrypted_name(&before.name), &before.text) {
                    Ok(Some(text)) => resealed += u64::from(tx.reseal_factor(before, &text).await?),
                    Ok(None) => {}
                    Err(EncryptionError::OtherKey(_)) => unopened += 1,
                    Err(error) => return Err(error.into()),
                }
            }
            if resealed > 0 {
                tx.audit(verify::now(), actor, "key.reseal", &format!("{resealed} second factors")).await?;
            }
            tx.commit().await?;
            count += resealed;
        }
    }
}
