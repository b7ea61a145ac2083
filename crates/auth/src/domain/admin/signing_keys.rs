//! Keys that sign tokens: replaced, and withdrawn.

use accord_token::{PublicKey, verify};

use super::{Admin, AdminError};
use crate::domain::{auth::Auth, key_rotation::KeyMaker};

impl Auth {
    /// Publishes a new signing key. It signs once every verifier has had time to see it.
    pub async fn rotate_key(&self, admin: &Admin<'_>) -> Result<PublicKey, AdminError> {
        let kid = match admin.done().await? {
            Some(done) => done.answer().to_owned(),
            None => admin.rotate_signing_key(self.key_maker()).await?.kid,
        };
        // Read at once, so that verifiers see the key long before it signs.
        let published = self.state.current().await?.published.iter().find(|key| key.kid == kid).cloned();
        published.ok_or(AdminError::UnknownSigningKey(kid))
    }

    /// Withdraws a signing key at once, with everything that it signed. Returns the name of the one that signs now.
    pub async fn retire_key(&self, admin: &Admin<'_>, kid: &str) -> Result<String, AdminError> {
        if !admin.was_done().await? {
            admin.retire_signing_key(self.key_maker(), kid).await?;
        }
        // Read at once, so that verifiers learn of it at once.
        Ok(self.signing_kid().await?)
    }

    /// The name of the key that signs now; empty where none does.
    pub async fn signing_kid(&self) -> Result<String, crate::store::StoreError> {
        let state = self.state.current().await?;
        Ok(state.signing_key(verify::now()).map(|key| key.public().kid.clone()).unwrap_or_default())
    }

    fn key_maker(&self) -> KeyMaker<'_> {
        KeyMaker {
            encryption_key: &self.encryption_key,
            algorithm: self.keys.algorithm,
            publish_before_signing: self.keys.publish_before_signing,
        }
    }
}

impl Admin<'_> {
    async fn rotate_signing_key(&self, maker: KeyMaker<'_>) -> Result<PublicKey, AdminError> {
        let mut tx = self.begin().await?;
        let key = maker.publish_next(&mut tx, self.actor).await?;
        self.remember_answer(&mut tx, &key.kid).await?;
        self.commit(tx).await?;
        Ok(key)
    }

    async fn retire_signing_key(&self, maker: KeyMaker<'_>, kid: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        let keys = self.store.keys(verify::now()).await?;
        let retired = keys.iter().find(|key| key.kid == kid);
        let retired = retired.ok_or_else(|| AdminError::UnknownSigningKey(kid.to_owned()))?;
        maker.retire(&mut tx, &keys, retired, self.actor).await?;
        self.commit(tx).await
    }
}
