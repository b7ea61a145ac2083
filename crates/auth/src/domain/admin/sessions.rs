//! Logins of persons: families of refresh tokens that can still be renewed.

use accord_token::verify;

use super::{Admin, AdminError, existing};
use crate::store::families::Family;

/// Where a page of logins ended, the newest of which come first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionPlace {
    expires_at: i64,
    id: String,
}

impl SessionPlace {
    /// Before the first.
    pub fn first() -> Self {
        Self { expires_at: i64::MAX, id: String::new() }
    }

    /// After this login.
    pub fn after(family: &Family) -> Self {
        Self { expires_at: family.expires_at, id: family.id.clone() }
    }

    /// As a text.
    pub fn write(&self) -> String {
        format!("{}/{}", self.expires_at, self.id)
    }

    /// What was written, or the first where that is empty; None where it is no such text.
    pub fn parse(text: &str) -> Option<Self> {
        if text.is_empty() {
            return Some(Self::first());
        }
        let (expires_at, id) = text.split_once('/')?;
        Some(Self { expires_at: expires_at.parse().ok()?, id: id.to_owned() })
    }
}

impl Admin<'_> {
    /// The first logins of a person after this place that can still be renewed; none where that was the last.
    pub async fn sessions_after(&self, subject: &str, place: &SessionPlace) -> Result<Vec<Family>, AdminError> {
        let principal = existing(self.store, subject).await?;
        let global_epoch = self.store.mark().await?.global_epoch;
        let after = (place.expires_at, &*place.id);
        Ok(self.store.families_of(&principal, global_epoch, verify::now(), after).await?)
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
