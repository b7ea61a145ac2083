//! What persons have beside their password: second factors, and codes to set another password.

use sqlx::Row;

use super::{Store, StoreError, Transaction};

/// A person's second factor.
#[derive(Clone, Debug)]
pub struct SecondFactor {
    /// Its secret, encrypted.
    pub secret: String,
    /// Whether logins take a code of it.
    pub is_confirmed: bool,
    /// The step of the newest code that was used.
    pub last_step: i64,
}

impl Store {
    /// The second factor of a person.
    pub async fn second_factor(&self, subject: &str) -> Result<Option<SecondFactor>, StoreError> {
        let row = sqlx::query("SELECT secret, confirmed, last_step FROM second_factors WHERE subject = $1")
            .bind(subject)
            .fetch_optional(self.connections())
            .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(SecondFactor {
            secret: row.try_get(0)?,
            is_confirmed: row.try_get::<i64, _>(1)? != 0,
            last_step: row.try_get(2)?,
        }))
    }

    /// The hash of the code with which this person may set another password now.
    pub async fn reset_code(&self, subject: &str, now: i64) -> Result<Option<String>, StoreError> {
        let row = sqlx::query("SELECT hash FROM reset_codes WHERE subject = $1 AND expires_at > $2")
            .bind(subject)
            .bind(now)
            .fetch_optional(self.connections())
            .await?;
        Ok(row.map(|row| row.try_get(0)).transpose()?)
    }
}

impl Transaction {
    /// A second factor that is not confirmed yet, in the place of another such one; false where one is confirmed.
    pub async fn enroll_second_factor(&mut self, subject: &str, secret: &str) -> Result<bool, StoreError> {
        let enrolled = sqlx::query(
            "INSERT INTO second_factors (subject, secret, confirmed, last_step) VALUES ($1, $2, 0, 0)
             ON CONFLICT (subject) DO UPDATE SET secret = excluded.secret WHERE second_factors.confirmed = 0",
        )
        .bind(subject)
        .bind(secret)
        .execute(&mut *self.inner)
        .await?;
        Ok(enrolled.rows_affected() == 1)
    }

    /// Confirms it, or takes note of a used code; false where that step or a later one was used by now, or another secret took its
    /// place.
    pub async fn use_second_factor(&mut self, subject: &str, secret: &str, step: i64) -> Result<bool, StoreError> {
        let used = sqlx::query(
            "UPDATE second_factors SET confirmed = 1, last_step = $2
             WHERE subject = $1 AND last_step < $2 AND secret = $3",
        )
        .bind(subject)
        .bind(step)
        .bind(secret)
        .execute(&mut *self.inner)
        .await?;
        Ok(used.rows_affected() == 1)
    }

    /// Takes it away; false where there is none.
    pub async fn remove_second_factor(&mut self, subject: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM second_factors WHERE subject = $1")
            .bind(subject)
            .execute(&mut *self.inner)
            .await?;
        Ok(removed.rows_affected() == 1)
    }

    /// The code with which a person may set another password, by its hash, in the place of an earlier one.
    pub async fn add_reset_code(&mut self, subject: &str, hash: &str, expires_at: i64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO reset_codes (subject, hash, expires_at) VALUES ($1, $2, $3)
             ON CONFLICT (subject) DO UPDATE SET hash = excluded.hash, expires_at = excluded.expires_at",
        )
        .bind(subject)
        .bind(hash)
        .bind(expires_at)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Uses a code up; false where it was, or another one took its place.
    pub async fn use_reset_code(&mut self, subject: &str, hash: &str) -> Result<bool, StoreError> {
        let used = sqlx::query("DELETE FROM reset_codes WHERE subject = $1 AND hash = $2")
            .bind(subject)
            .bind(hash)
            .execute(&mut *self.inner)
            .await?;
        Ok(used.rows_affected() == 1)
    }

    /// A person's password, hashed.
    pub async fn set_password(&mut self, subject: &str, hashed: &str) -> Result<(), StoreError> {
        sqlx::query("UPDATE principals SET password = $2 WHERE subject = $1")
            .bind(subject)
            .bind(hashed)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Another password in the place of this one; false where that is not the person's any more.
    pub async fn replace_password(&mut self, subject: &str, former: &str, hashed: &str) -> Result<bool, StoreError> {
        let replaced = sqlx::query("UPDATE principals SET password = $3 WHERE subject = $1 AND password = $2")
            .bind(subject)
            .bind(former)
            .bind(hashed)
            .execute(&mut *self.inner)
            .await?;
        Ok(replaced.rows_affected() == 1)
    }
}
