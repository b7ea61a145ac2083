//! Signing keys, their private halves encrypted.

use sqlx::Row;

use accord_token::claims::LEEWAY;

use super::{Store, StoreError, Transaction};

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

    /// Whether there is any key, read under the write lock.
    pub async fn has_key(&mut self) -> Result<bool, StoreError> {
        let row = sqlx::query("SELECT kid FROM keys LIMIT 1").fetch_optional(&mut *self.inner).await?;
        Ok(row.is_some())
    }
}
