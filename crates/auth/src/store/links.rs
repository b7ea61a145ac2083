//! Links: who somebody of another issuer is here.

use sqlx::{Row, any::AnyRow};

use super::{Store, StoreError, Transaction};

/// Somebody of another issuer, who logs in as a principal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// The issuer, as the configuration names it.
    pub issuer: String,
    /// What it calls them.
    pub external: String,
}

impl Store {
    /// As whom somebody of another issuer logs in; None where no link says it.
    pub async fn linked(&self, issuer: &str, external: &str) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT subject FROM links WHERE issuer = $1 AND external = $2")
            .bind(issuer)
            .bind(external)
            .fetch_optional(self.connections())
            .await?;
        row.map(|row| Ok(row.try_get(0)?)).transpose()
    }

    /// The first links after this one, each with its principal, in the order of their issuers and of whom these name; of a principal or
    /// of all. None where that was the last.
    pub async fn links_after(&self, last: &Link, subject: Option<&str>) -> Result<Vec<(Link, String)>, StoreError> {
        let rows = sqlx::query(
            "SELECT issuer, external, subject FROM links
             WHERE (issuer, external) > ($1, $2) AND ($3 = '' OR subject = $3) ORDER BY issuer, external LIMIT 500",
        )
        .bind(&last.issuer)
        .bind(&last.external)
        .bind(subject.unwrap_or_default())
        .fetch_all(self.connections())
        .await?;
        let link = |row: &AnyRow| Ok((Link { issuer: row.try_get(0)?, external: row.try_get(1)? }, row.try_get(2)?));
        rows.iter().map(link).collect()
    }

    /// The links of a principal.
    pub async fn links_of(&self, subject: &str) -> Result<Vec<Link>, StoreError> {
        let rows =
            sqlx::query("SELECT issuer, external FROM links WHERE subject = $1 ORDER BY issuer, external LIMIT 500")
                .bind(subject)
                .fetch_all(self.connections())
                .await?;
        rows.iter().map(|row| Ok(Link { issuer: row.try_get(0)?, external: row.try_get(1)? })).collect()
    }
}

impl Transaction {
    /// Adds a link; false where there is one for this name of this issuer.
    pub async fn add_link(&mut self, link: &Link, subject: &str) -> Result<bool, StoreError> {
        let added =
            sqlx::query("INSERT INTO links (issuer, external, subject) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
                .bind(&link.issuer)
                .bind(&link.external)
                .bind(subject)
                .execute(&mut *self.inner)
                .await?;
        Ok(added.rows_affected() == 1)
    }

    /// Takes a link away; false where there is none.
    pub async fn remove_link(&mut self, link: &Link) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM links WHERE issuer = $1 AND external = $2")
            .bind(&link.issuer)
            .bind(&link.external)
            .execute(&mut *self.inner)
            .await?;
        Ok(removed.rows_affected() == 1)
    }
}
