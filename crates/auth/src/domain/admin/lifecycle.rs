//! What becomes of principals and clients once they are there: another secret, a pause, an end.

use std::time::Duration;

use accord_token::verify;

use super::{Admin, AdminError, checked_secret, client_keys::bump_keys_version, existing};
use crate::{
    domain::{client::hash_client_secret, encryption_key::EncryptionError},
    store::{
        Transaction,
        principals::{Client, KnownSecret, Principal, Standing},
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
        let tx = self.begin().await?;
        let client = self.client(id).await?;
        self.expected_version(client.keys_version, id)?;
        let hash = hash_client_secret(&checked_secret(secret()?)?);
        if client.known_secret(&hash) == KnownSecret::Newest {
            return Err(AdminError::SameSecret(id.to_owned()));
        }
        self.replace_secret(tx, (id, &client.secret_hash), &hash, overlap).await
    }

    /// Gives a client the secret of a file, unless it is one that the client has or had: several processes do this at once, with files
    /// that are not all as new, and what the secret is to the client holds until it is replaced.
    pub async fn follow_secret(&self, id: &str, secret: String, overlap: Duration) -> Result<KnownSecret, AdminError> {
        let tx = self.begin().await?;
        let client = self.client(id).await?;
        let hash = hash_client_secret(&checked_secret(secret)?);
        let known = client.known_secret(&hash);
        if known == KnownSecret::Other {
            self.replace_secret(tx, (id, &client.secret_hash), &hash, overlap).await?;
        }
        Ok(known)
    }

    async fn replace_secret(
        &self,
        mut tx: Transaction,
        (id, before): (&str, &str),
        hash: &str,
        overlap: Duration,
    ) -> Result<i64, AdminError> {
        let overlap = i64::try_from(overlap.min(LONGEST_OVERLAP).as_secs()).unwrap_or(0);
        let until = verify::now() + overlap;
        tx.rotate_client(id, hash, before, until).await?;
        bump_keys_version(&mut tx, id).await?;
        self.audit_and_commit(tx, "client.rotate", id).await?;
        Ok(until)
    }

    /// The client of this id.
    pub async fn client(&self, id: &str) -> Result<Client, AdminError> {
        self.store.client(id).await?.ok_or_else(|| AdminError::UnknownClient(id.to_owned()))
    }

    /// What a secret from a file is to its client.
    pub async fn known_secret(&self, id: &str, secret: &str) -> Result<KnownSecret, AdminError> {
        Ok(self.client(id).await?.known_secret(&hash_client_secret(secret)))
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
