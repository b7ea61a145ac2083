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
        self.end_session_of(None, session).await
    }

    /// The same where it is a login of this person.
    pub async fn end_session_of(&self, person: Option<&str>, session: &str) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        let is_theirs = |family: &Family| !family.revoked && person.is_none_or(|person| family.subject == person);
        let family = self.store.family(session).await?.filter(is_theirs);
        let family = family.ok_or_else(|| AdminError::SessionUnknown(session.to_owned()))?;
        let revision = tx.next_revision().await?;
        tx.revoke_family(&family.id, revision).await?;
        self.audit_and_commit(tx, "session.end", &format!("{} {}", family.subject, family.id)).await
    }
}
