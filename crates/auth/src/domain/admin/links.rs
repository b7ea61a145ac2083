//! Links: as whom somebody of another issuer logs in.

use super::{Admin, AdminError, existing};
use crate::store::{links::Link, principals::is_name};

impl Admin<'_> {
    /// Lets somebody of another issuer log in as this principal.
    pub async fn link(&self, subject: &str, link: &Link) -> Result<(), AdminError> {
        for name in [&link.issuer, &link.external] {
            if !is_name(name) {
                return Err(AdminError::Name(name.clone()));
            }
        }
        let mut tx = self.begin().await?;
        self.expected(existing(self.store, subject).await?)?;
        if !tx.add_link(link, subject).await? {
            return Err(AdminError::Linked(link.external.clone()));
        }
        self.audit_and_commit(tx, "principal.link", &format!("{subject} {} {}", link.issuer, link.external)).await
    }

    /// Takes a link away, and ends what the principal's logins have brought: nobody knows which came by it.
    pub async fn unlink(&self, subject: &str, link: &Link) -> Result<(), AdminError> {
        let mut tx = self.begin().await?;
        self.expected(existing(self.store, subject).await?)?;
        let is_theirs = self.store.linked(&link.issuer, &link.external).await?.as_deref() == Some(subject);
        if !is_theirs || !tx.remove_link(link).await? {
            return Err(AdminError::NotLinked { subject: subject.to_owned(), external: link.external.clone() });
        }
        let revision = tx.next_revision().await?;
        tx.raise_epoch(subject, accord_token::verify::now(), revision).await?;
        self.audit_and_commit(tx, "principal.unlink", &format!("{subject} {} {}", link.issuer, link.external)).await
    }

    /// The links of a principal.
    pub async fn links(&self, subject: &str) -> Result<Vec<Link>, AdminError> {
        Ok(self.store.links_of(subject).await?)
    }
}
