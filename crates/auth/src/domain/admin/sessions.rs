//! Logins of persons: families of refresh tokens that can still be renewed.

use accord_token::verify;

use super::{Admin, AdminError, existing};
use crate::store::families::Family;

impl Admin<'_> {
    /// The logins of a person that can still be renewed.
    pub async fn sessions(&self, subject: &str) -> Result<Vec<Family>, AdminError> {
        let principal = existing(self.store, subject).await?;
        let global_epoch = self.store.mark().await?.global_epoch;
        Ok(self.store.families_of(&principal, global_epoch, verify::now()).await?)
    }

    /// Ends a login, with every token that came from it.
    pub async fn end_session(&self, session: &str) -> Result<(), AdminError> {
        let mut tx = self.store.begin().await?;
        let family = self.store.family(session).await?.filter(|family| !family.revoked);
        let family = family.ok_or_else(|| AdminError::SessionUnknown(session.to_owned()))?;
        let revision = tx.next_revision().await?;
        tx.revoke_family(&family.id, revision).await?;
        self.audit_and_commit(tx, "session.end", &format!("{} {}", family.subject, family.id)).await
    }
}
