//! Requests of administrators that happen once: by the key that the caller gave, with a digest of what was asked.

use sqlx::Row;

use super::{Store, StoreError, Transaction};

/// A request that was made.
#[derive(Clone, Debug)]
pub struct AdminRequest {
    /// What was asked.
    pub digest: String,
    /// A random text of its own.
    pub nonce: String,
    /// What was answered, where what there is now would be another answer; empty else.
    pub answer: String,
    /// The encryption key under which its digest and its secret are made; empty where a build before made it.
    pub key_id: String,
}

/// How long a request of an administrator is remembered by its key, in seconds.
pub(crate) const IDEMPOTENCY_RETENTION: i64 = 24 * 3600;

impl Store {
    /// The request that this caller made with this key; None where there was none.
    pub async fn admin_request(&self, actor: &str, key: &str) -> Result<Option<AdminRequest>, StoreError> {
        let row = sqlx::query("SELECT digest, nonce, answer, key_id FROM admin_requests WHERE actor = $1 AND key = $2")
            .bind(actor)
            .bind(key)
            .fetch_optional(self.connections())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let [digest, nonce] = [row.try_get(0)?, row.try_get(1)?];
        Ok(Some(AdminRequest { digest, nonce, answer: row.try_get(2)?, key_id: row.try_get(3)? }))
    }

    /// Forgets requests from before this moment.
    pub async fn purge_admin_requests(&self, before: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM admin_requests WHERE at < $1").bind(before).execute(self.connections()).await?;
        Ok(())
    }
}

impl Transaction {
    /// Remembers a request; false where there is one with its key.
    pub async fn add_admin_request(
        &mut self,
        actor: &str,
        key: &str,
        request: &AdminRequest,
        now: i64,
    ) -> Result<bool, StoreError> {
        let added = sqlx::query(
            "INSERT INTO admin_requests (actor, key, digest, nonce, at, key_id) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT DO NOTHING",
        )
        .bind(actor)
        .bind(key)
        .bind(&request.digest)
        .bind(&request.nonce)
        .bind(now)
        .bind(&request.key_id)
        .execute(&mut *self.inner)
        .await?;
        Ok(added.rows_affected() == 1)
    }

    /// Remembers what a request was answered.
    pub async fn answer_admin_request(&mut self, actor: &str, key: &str, answer: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE admin_requests SET answer = $3 WHERE actor = $1 AND key = $2")
            .bind(actor)
            .bind(key)
            .bind(answer)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}
