//! Certificate identities: as whom somebody calls who shows a certificate of that name.

use sqlx::{AssertSqlSafe, Row, any::AnyRow};

use super::{Store, StoreError, Transaction, api_keys::USE_INTERVAL, unsigned};

const COLUMNS: &str = "id, identity, subject, note, created_at, disabled, edition, used_at, version";

/// The name in certificates, and who is meant by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateIdentity {
    /// `ci_` and 16 digits; a name that is added again has another one.
    pub id: String,
    /// `spiffe://TRUST_DOMAIN/PATH` or `dns:NAME`.
    pub identity: String,
    /// As whom its owner acts.
    pub subject: String,
    /// What it is for, as its administrator says.
    pub note: String,
    /// When it was added, in seconds since 1970.
    pub created_at: i64,
    /// Whether it is disabled: refused until it is enabled again.
    pub disabled: bool,
    /// Counts what ends the tokens that come from it.
    pub edition: i64,
    /// Counts its changes, from 1.
    pub version: u64,
    /// When it was last used, to a minute; 0 where it never was.
    pub used_at: i64,
}

impl CertificateIdentity {
    /// The name in tokens that come from it, by which they are revoked.
    pub fn source(&self) -> String {
        format!("{}.{}", self.id, self.edition)
    }

    /// Whether its use at this moment is to be written down.
    pub(crate) fn is_use_news(&self, now: i64) -> bool {
        self.used_at <= now - USE_INTERVAL
    }
}

impl Store {
    /// The one of this name or of this id, which are never spelled alike.
    pub async fn certificate_identity(&self, name: &str) -> Result<Option<CertificateIdentity>, StoreError> {
        let found = format!("SELECT {COLUMNS} FROM certificate_identities WHERE identity = $1 OR id = $1");
        let row = sqlx::query(AssertSqlSafe(found)).bind(name).fetch_optional(self.connections()).await?;
        row.as_ref().map(read).transpose()
    }

    /// The first ones after this name in the order of their names, of a subject or of all; none where that was the last.
    pub async fn certificate_identities_after(
        &self,
        last: &str,
        subject: Option<&str>,
    ) -> Result<Vec<CertificateIdentity>, StoreError> {
        let found = format!(
            "SELECT {COLUMNS} FROM certificate_identities
             WHERE identity > $1 AND ($2 = '' OR subject = $2) ORDER BY identity LIMIT 500"
        );
        let found = sqlx::query(AssertSqlSafe(found)).bind(last).bind(subject.unwrap_or_default());
        found.fetch_all(self.connections()).await?.iter().map(read).collect()
    }

    /// Writes down that one was used, if that was not done just before.
    pub(crate) async fn touch_certificate_identity(&self, id: &str, now: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE certificate_identities SET used_at = $2 WHERE id = $1 AND used_at <= $3")
            .bind(id)
            .bind(now)
            .bind(now - USE_INTERVAL)
            .execute(self.connections())
            .await?;
        Ok(())
    }
}

impl Transaction {
    /// Adds one; false where its name is somebody's already.
    pub async fn add_certificate_identity(&mut self, added: &CertificateIdentity) -> Result<bool, StoreError> {
        let done = sqlx::query(
            "INSERT INTO certificate_identities
             (id, identity, subject, note, created_at, disabled, edition, used_at, version)
             VALUES ($1, $2, $3, $4, $5, 0, 1, 0, 1) ON CONFLICT DO NOTHING",
        )
        .bind(&added.id)
        .bind(&added.identity)
        .bind(&added.subject)
        .bind(&added.note)
        .bind(added.created_at)
        .execute(&mut *self.inner)
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Changes whether one is refused, and by its edition the name of what comes from it.
    pub async fn change_certificate_identity(&mut self, changed: &CertificateIdentity) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE certificate_identities SET disabled = $2, edition = $3, version = version + 1 WHERE id = $1",
        )
        .bind(&changed.id)
        .bind(i64::from(changed.disabled))
        .bind(changed.edition)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Takes one away.
    pub async fn remove_certificate_identity(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM certificate_identities WHERE id = $1").bind(id).execute(&mut *self.inner).await?;
        Ok(())
    }
}

fn read(row: &AnyRow) -> Result<CertificateIdentity, StoreError> {
    Ok(CertificateIdentity {
        id: row.try_get(0)?,
        identity: row.try_get(1)?,
        subject: row.try_get(2)?,
        note: row.try_get(3)?,
        created_at: row.try_get(4)?,
        disabled: row.try_get::<i64, _>(5)? != 0,
        edition: row.try_get(6)?,
        used_at: row.try_get(7)?,
        version: unsigned(row.try_get(8)?),
    })
}
