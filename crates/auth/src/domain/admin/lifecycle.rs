//! What becomes of principals and clients once they are there: another secret, a pause, an end.

use std::time::Duration;

use accord_token::verify;

use super::{Admin, AdminError, checked_secret, existing};
use crate::{
    domain::{client::hash_client_secret, encryption_key::EncryptionError},
    store::{
        Transaction,
        principals::{Client, Principal, Standing},
    },
};

/// The longest that an earlier secret stays valid beside its successor.
pub const LONGEST_OVERLAP: Duration = Duration::from_hours(30 * 24);

/// A new client's secret can't be made, or not be given to whoever needs it.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The system has no randomness.
    #[error(transparent)]
    Random(#[from] EncryptionError),
    /// It can't be read or written where it was to be.
    #[error("the secret in {place} can't be read or written: {source}")]
    Inaccessible {
        /// Where.
        place: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Admin<'_> {
    /// Gives a client the secret that `secret` brings. The one before is accepted as well until `overlap` has passed, so
    /// that those who hold it can be given the new one in turn; a third is accepted no more. Returns when the one before
    /// ends, in seconds since 1970.
    pub async fn rotate_client(
        &self,
        id: &str,
        overlap: Duration,
        secret: impl FnOnce() -> Result<String, SecretError>,
    ) -> Result<i64, AdminError> {
        let mut tx = self.begin().await?;
        let client = self.client(id).await?;
        let hash = hash_client_secret(&checked_secret(secret()?)?);
        if hash == client.secret_hash {
            return Err(AdminError::SameSecret(id.to_owned()));
        }
        let overlap = i64::try_from(overlap.min(LONGEST_OVERLAP).as_secs()).unwrap_or(0);
        let until = verify::now() + overlap;
        tx.rotate_client(id, &hash, &client.secret_hash, until).await?;
        self.audit_and_commit(tx, "client.rotate", id).await?;
        Ok(until)
    }

    /// The client of this id.
    pub async fn client(&self, id: &str) -> Result<Client, AdminError> {
        self.store.client(id).await?.ok_or_else(|| AdminError::UnknownClient(id.to_owned()))
    }

    /// Whether this is the client's newest secret.
    pub async fn has_secret(&self, id: &str, secret: &str) -> Result<bool, AdminError> {
        Ok(self.client(id).await?.secret_hash == hash_client_secret(secret))
    }

    /// The principal of this name.
    pub async fn principal(&self, subject: &str) -> Result<Principal, AdminError> {
        existing(self.store, subject).await
    }

    /// Lets nobody log in under this name until it is enabled again, and revokes every token of it.
    pub async fn disable(&self, subject: &str) -> Result<(), AdminError> {
        self.set(subject, Standing::Disabled, "principal.disable").await
    }

    /// Lets a disabled principal log in again. Its earlier tokens stay revoked.
    pub async fn enable(&self, subject: &str) -> Result<(), AdminError> {
        self.set(subject, Standing::Active, "principal.enable").await
    }

    /// Takes a principal away with its roles, its password and its client, and revokes every token of it. The name is free
    /// then; what was issued to it before stays revoked.
    pub async fn remove(&self, subject: &str) -> Result<(), AdminError> {
        self.set(subject, Standing::Removed, "principal.remove").await
    }

    async fn set(&self, subject: &str, standing: Standing, action: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        if self.version.is_some() {
            self.expected(existing(self.store, subject).await?)?;
        }
        self.stand(&mut tx, subject, standing).await?;
        let revision = tx.next_revision().await?;
        tx.raise_epoch(subject, verify::now(), revision).await?;
        if standing == Standing::Removed {
            tx.strip(subject).await?;
        }
        self.audit_and_commit(tx, action, subject).await
    }

    async fn stand(&self, tx: &mut Transaction, subject: &str, standing: Standing) -> Result<(), AdminError> {
        let known = tx.set_standing(subject, standing).await?;
        if known { Ok(()) } else { Err(AdminError::Unknown(subject.to_owned())) }
    }
}
