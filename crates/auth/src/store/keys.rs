//! Signing keys, their private halves encrypted.

use sqlx::Row;

use accord_token::claims::LEEWAY;

use super::{Store, StoreError, Transaction, unsigned};

/// A signing key's life: published on arrival, signs from `signs_from` until `signs_until`, gone at `gone_at`. Seconds
/// since 1970; 0 where an end is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// Its name.
    pub kid: String,
    /// Its algorithm's name.
    pub algorithm: String,
    /// The public half, base64url.
    pub public: String,
    /// The encrypted private half; empty once it signs no more.
    pub private: String,
    /// Its first signature may not be earlier.
    pub signs_from: i64,
    /// Its last signature.
    pub signs_until: i64,
    /// No token it signed is alive any more.
    pub gone_at: i64,
}

impl StoredKey {
    /// Whether it may sign at this moment; of those that may, the newest does.
    pub fn signs_at(&self, now: i64) -> bool {
        self.signs_from <= now && (self.signs_until == 0 || now < self.signs_until)
    }

    /// Whether another key was to sign sooner: this one never will.
    pub fn is_overtaken(&self) -> bool {
        self.signs_until != 0 && self.signs_until <= self.signs_from
    }
}

impl Store {
    /// All keys that are published at this moment, oldest first.
    pub async fn keys(&self, now: i64) -> Result<Vec<StoredKey>, StoreError> {
        let rows = sqlx::query(
            "SELECT kid, algorithm, public, private, signs_from, signs_until, gone_at FROM keys
             WHERE gone_at = 0 OR gone_at > $1 ORDER BY signs_from, kid",
        )
        .bind(now)
        .fetch_all(self.connections())
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredKey {
                    kid: row.try_get(0)?,
                    algorithm: row.try_get(1)?,
                    public: row.try_get(2)?,
                    private: row.try_get(3)?,
                    signs_from: row.try_get(4)?,
                    signs_until: row.try_get(5)?,
                    gone_at: row.try_get(6)?,
                })
            })
            .collect()
    }

    /// How many keys were taken away before their time.
    pub(super) async fn retired_keys(&self) -> Result<u64, StoreError> {
        let found = sqlx::query("SELECT value FROM meta WHERE name = 'retired_keys'");
        Ok(unsigned(found.fetch_one(self.connections()).await?.try_get(0)?))
    }

    /// Destroys private halves that sign no more, by the slowest clock there may be, and keys that nobody needs any more.
    pub async fn destroy_retired_keys(&self, now: i64) -> Result<(), StoreError> {
        let mut tx = self.begin().await?;
        let slowest = now - i64::try_from(LEEWAY.as_secs()).unwrap_or(0);
        let halves =
            sqlx::query("UPDATE keys SET private = '' WHERE signs_until <> 0 AND signs_until < $1 AND private <> ''")
                .bind(slowest)
                .execute(&mut *tx.inner)
                .await?;
        let keys = sqlx::query("DELETE FROM keys WHERE gone_at <> 0 AND gone_at < $1")
            .bind(now)
            .execute(&mut *tx.inner)
            .await?;
        if halves.rows_affected() + keys.rows_affected() > 0 {
            // Known to all who hold them: the processes that signed, and the verifiers that trusted them.
            tx.next_revision().await?;
        }
        tx.commit().await
    }
}

impl Transaction {
    /// Publishes a key, and ends all others: they sign until it does, and go `kept` seconds later.
    pub async fn add_key(&mut self, key: &StoredKey, kept: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE keys SET signs_until = $1, gone_at = $2 WHERE signs_until = 0 OR signs_until > $1")
            .bind(key.signs_from)
            .bind(key.signs_from + kept)
            .execute(&mut *self.inner)
            .await?;
        sqlx::query(
            "INSERT INTO keys (kid, algorithm, public, private, signs_from, signs_until, gone_at)
             VALUES ($1, $2, $3, $4, $5, 0, 0)",
        )
        .bind(&key.kid)
        .bind(&key.algorithm)
        .bind(&key.public)
        .bind(&key.private)
        .bind(key.signs_from)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Takes a key away with both halves, before its time.
    pub async fn retire_key(&mut self, kid: &str) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM keys WHERE kid = $1").bind(kid).execute(&mut *self.inner).await?;
        sqlx::query("UPDATE meta SET value = value + 1 WHERE name = 'retired_keys'").execute(&mut *self.inner).await?;
        Ok(())
    }

    /// The names of those that may sign, and their private halves, encrypted.
    pub(super) async fn private_keys(&mut self) -> Result<Vec<(String, String)>, StoreError> {
        let rows = sqlx::query("SELECT kid, private FROM keys WHERE private <> ''").fetch_all(&mut *self.inner).await?;
        Ok(rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?)
    }

    /// Takes all keys away: one that was withdrawn may be among those of an older store, and whoever has it can sign anything.
    pub(super) async fn retire_all_keys(&mut self) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM keys").execute(&mut *self.inner).await?;
        sqlx::query("UPDATE meta SET value = value + 1 WHERE name = 'retired_keys'").execute(&mut *self.inner).await?;
        Ok(())
    }

    /// Lets whichever key ends where this one was to begin sign on in its place.
    pub async fn extend_key_before(&mut self, removed: &StoredKey) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE keys SET signs_until = $2, gone_at = $3 WHERE signs_until = $1 AND signs_from < $1 AND private <> ''",
        )
        .bind(removed.signs_from)
        .bind(removed.signs_until)
        .bind(removed.gone_at)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Lets a published key sign from this moment on.
    pub async fn advance_key(&mut self, kid: &str, signs_from: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE keys SET signs_from = $2 WHERE kid = $1")
            .bind(kid)
            .bind(signs_from)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Whether there is any key, read under the write lock.
    pub async fn has_key(&mut self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT kid FROM keys LIMIT 1").fetch_optional(&mut *self.inner).await?;
        Ok(row.is_some())
    }
}
