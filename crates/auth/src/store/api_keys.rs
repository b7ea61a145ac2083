//! API keys: whose they are, what they are narrowed to, and what proves that somebody has one. No secret is here.

use sqlx::{Row, any::AnyRow};

use super::{Store, StoreError, Transaction, unsigned};

/// How much later a use is written down than the one before, in seconds: nobody waits for it, but it is a write all the same.
pub(super) const USE_INTERVAL: i64 = 60;

/// A key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// Its public part, `ak_` included.
    pub id: String,
    /// As whom it acts.
    pub subject: String,
    /// What its secret proves itself by.
    pub mac: String,
    /// The encryption key under which that is made; empty where a build before made it.
    pub key_id: String,
    /// What it is for, as its owner says.
    pub note: String,
    /// The permissions that it is narrowed to; empty: all of its subject.
    pub scope: String,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When it ends; 0 where it does not.
    pub expires_at: i64,
    /// Whether it is disabled: refused until it is enabled again.
    pub disabled: bool,
    /// Counts what ends the tokens that come from it.
    pub edition: i64,
    /// Counts its changes, from 1.
    pub version: u64,
    /// When it was last used, to a minute; 0 where it never was.
    pub used_at: i64,
}

impl ApiKey {
    /// The name in tokens that come from it, by which they are revoked.
    pub fn source(&self) -> String {
        format!("{}.{}", self.id, self.edition)
    }

    /// Whether it lets anybody in at this moment.
    pub fn is_valid(&self, now: i64) -> bool {
        !self.disabled && (self.expires_at == 0 || now < self.expires_at)
    }
}

impl Store {
    /// The key of this id.
    pub async fn api_key(&self, id: &str) -> Result<Option<ApiKey>, StoreError> {
        let row = sqlx::query(
            "SELECT id, subject, mac, note, scope, created_at, expires_at, disabled, edition, used_at, version, key_id
             FROM api_keys WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.connections())
        .await?;
        row.as_ref().map(key).transpose()
    }

    /// The first keys after this id, of a subject or of all; none where that was the last.
    pub async fn api_keys_after(&self, last: &str, subject: Option<&str>) -> Result<Vec<ApiKey>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, subject, mac, note, scope, created_at, expires_at, disabled, edition, used_at, version, key_id
             FROM api_keys WHERE id > $1 AND ($2 = '' OR subject = $2) ORDER BY id LIMIT 500",
        )
        .bind(last)
        .bind(subject.unwrap_or_default())
        .fetch_all(self.connections())
        .await?;
        rows.iter().map(key).collect()
    }

    /// Writes down that a key was used, if that was not done just before.
    pub(crate) async fn touch_api_key(&self, id: &str, now: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE api_keys SET used_at = $2 WHERE id = $1 AND used_at <= $3")
            .bind(id)
            .bind(now)
            .bind(now - USE_INTERVAL)
            .execute(self.connections())
            .await?;
        Ok(())
    }

    /// Keeps what a key's secret proves itself by under another encryption key, where it is still what `key` has.
    pub(crate) async fn remac_api_key(&self, key: &ApiKey, mac: &str, key_id: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE api_keys SET mac = $3, key_id = $4 WHERE id = $1 AND mac = $2")
            .bind(&key.id)
            .bind(&key.mac)
            .bind(mac)
            .bind(key_id)
            .execute(self.connections())
            .await?;
        Ok(())
    }
}

impl ApiKey {
    /// Whether its use at this moment is to be written down.
    pub(crate) fn is_use_news(&self, now: i64) -> bool {
        self.used_at <= now - USE_INTERVAL
    }
}

impl Transaction {
    /// Adds a key.
    pub async fn add_api_key(&mut self, key: &ApiKey) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO api_keys (id, subject, mac, note, scope, created_at, expires_at, disabled, edition, used_at, key_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 1, 0, $8)",
        )
        .bind(&key.id)
        .bind(&key.subject)
        .bind(&key.mac)
        .bind(&key.note)
        .bind(&key.scope)
        .bind(key.created_at)
        .bind(key.expires_at)
        .bind(&key.key_id)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Changes when a key ends, whether it is refused, and by its edition the name of what comes from it.
    pub async fn change_api_key(&mut self, key: &ApiKey) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE api_keys SET expires_at = $2, disabled = $3, edition = $4, version = version + 1 WHERE id = $1",
        )
        .bind(&key.id)
        .bind(key.expires_at)
        .bind(i64::from(key.disabled))
        .bind(key.edition)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Takes a key away.
    pub async fn remove_api_key(&mut self, id: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM api_keys WHERE id = $1").bind(id).execute(&mut *self.inner).await?;
        Ok(())
    }
}

fn key(row: &AnyRow) -> Result<ApiKey, StoreError> {
    Ok(ApiKey {
        id: row.try_get(0)?,
        subject: row.try_get(1)?,
        mac: row.try_get(2)?,
        note: row.try_get(3)?,
        scope: row.try_get(4)?,
        created_at: row.try_get(5)?,
        expires_at: row.try_get(6)?,
        disabled: row.try_get::<i64, _>(7)? != 0,
        edition: row.try_get(8)?,
        used_at: row.try_get(9)?,
        version: unsigned(row.try_get(10)?),
        key_id: row.try_get(11)?,
    })
}
