//! What of the store needs which encryption key.

use accord_token::verify;
use sqlx::Row;

use super::{Store, StoreError, Transaction, requests::IDEMPOTENCY_RETENTION};

/// Second factors that are read at once.
const PAGE: i64 = 500;

/// API keys that are named.
const NAMED: i64 = 20;

/// A text that is encrypted, and under which name.
#[derive(Debug)]
pub(crate) struct Sealed {
    /// A `kid`, or whose second factor it is.
    pub(crate) name: String,
    /// The text.
    pub(crate) text: String,
}

/// What can't be made anew from what is in the store: only its holder knows the secret. It is made anew when it is used next.
#[derive(Debug, PartialEq, Eq)]
pub struct Waiting {
    /// API keys that are good.
    pub api_keys: u64,
    /// The first of them.
    pub first_api_keys: Vec<String>,
    /// Logins that can still be renewed.
    pub sessions: u64,
    /// Requests of administrators that are remembered by their key.
    pub requests: u64,
}

impl Store {
    /// The first second factors after this subject, encrypted.
    pub(crate) async fn sealed_factors_after(&self, last: &str) -> Result<Vec<Sealed>, StoreError> {
        let rows =
            sqlx::query("SELECT subject, secret FROM second_factors WHERE subject > $1 ORDER BY subject LIMIT $2")
                .bind(last)
                .bind(PAGE)
                .fetch_all(self.connections())
                .await?;
        let sealed = |row: &sqlx::any::AnyRow| Ok(Sealed { name: row.try_get(0)?, text: row.try_get(1)? });
        rows.iter().map(sealed).collect()
    }

    /// What was made under another encryption key than this one, or under nobody knows which, and is good still.
    pub(crate) async fn waiting_for_key(&self, key_id: &str) -> Result<Waiting, StoreError> {
        let now = verify::now();
        let count = async |sql: &'static str, after: i64| {
            let row = sqlx::query(sql).bind(key_id).bind(after).fetch_one(self.connections()).await?;
            Ok::<_, StoreError>(super::unsigned(row.try_get(0)?))
        };
        let named = sqlx::query(
            "SELECT id FROM api_keys WHERE key_id <> $1 AND (expires_at = 0 OR expires_at > $2) ORDER BY id LIMIT $3",
        )
        .bind(key_id)
        .bind(now)
        .bind(NAMED)
        .fetch_all(self.connections())
        .await?;
        Ok(Waiting {
            api_keys: count(
                "SELECT COUNT(*) FROM api_keys WHERE key_id <> $1 AND (expires_at = 0 OR expires_at > $2)",
                now,
            )
            .await?,
            first_api_keys: named.iter().map(|row| row.try_get(0)).collect::<Result<_, _>>()?,
            sessions: count(
                "SELECT COUNT(*) FROM families JOIN principals ON principals.subject = families.subject
                 WHERE key_id <> $1 AND expires_at > $2 AND dead = 0 AND families.epoch >= principals.epoch
                 AND families.global_epoch >= (SELECT value FROM meta WHERE name = 'global_epoch')",
                now,
            )
            .await?,
            requests: count(
                "SELECT COUNT(*) FROM admin_requests WHERE key_id <> $1 AND at > $2",
                now - IDEMPOTENCY_RETENTION,
            )
            .await?,
        })
    }
}

impl Transaction {
    /// A signing key's private half, encrypted anew; false where it is another one by now.
    pub(crate) async fn reseal_key(&mut self, before: &Sealed, after: &str) -> Result<bool, StoreError> {
        self.reseal("UPDATE keys SET private = $3 WHERE kid = $1 AND private = $2", before, after).await
    }

    /// The same for a second factor.
    pub(crate) async fn reseal_factor(&mut self, before: &Sealed, after: &str) -> Result<bool, StoreError> {
        self.reseal("UPDATE second_factors SET secret = $3 WHERE subject = $1 AND secret = $2", before, after).await
    }

    async fn reseal(&mut self, sql: &'static str, before: &Sealed, after: &str) -> Result<bool, StoreError> {
        let resealed =
            sqlx::query(sql).bind(&before.name).bind(&before.text).bind(after).execute(&mut *self.inner).await?;
        Ok(resealed.rows_affected() == 1)
    }
}
