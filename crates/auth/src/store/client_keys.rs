//! Public keys of clients, and the assertions that they were used for, each of which is good once.

use accord_token::foreign::{ForeignType, Jwk, JwkSet};
use sqlx::Row;

use super::{Store, StoreError, Transaction, signed};

/// The most used assertions of one client that count at once: those that have not ended, or ended within the last five minutes, the
/// longest life of one. Each counts for at least five minutes, whatever end it names, and for at most ten: 33 logins a second fit.
pub(crate) const MAX_ASSERTIONS: i64 = 20_000;

/// A key that a client proves itself with.
#[derive(Clone, Debug)]
pub struct ClientKey {
    /// The key.
    pub jwk: Jwk,
    /// When it was added, in seconds since 1970.
    pub added_at: i64,
    /// When it ends; 0 where it does not.
    pub expires_at: i64,
}

impl ClientKey {
    /// Whether it is accepted at this moment.
    pub fn is_valid(&self, now: i64) -> bool {
        self.expires_at == 0 || now < self.expires_at
    }
}

/// What became of an assertion.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AssertionUse {
    /// It is used for the first time.
    First,
    /// It was used before.
    Again,
    /// Its client has used so many that no further one can be remembered.
    TooMany,
}

impl Store {
    /// The keys of a client, oldest first.
    pub async fn client_keys(&self, client: &str) -> Result<Vec<ClientKey>, StoreError> {
        let rows =
            sqlx::query("SELECT jwk, added_at, expires_at FROM client_keys WHERE client = $1 ORDER BY added_at, kid")
                .bind(client)
                .fetch_all(self.connections())
                .await?;
        let mut keys = Vec::with_capacity(rows.len());
        for row in rows {
            // What this build can't read verifies nothing.
            let Some(jwk) = read(row.try_get(0)?) else { continue };
            keys.push(ClientKey { jwk, added_at: row.try_get(1)?, expires_at: row.try_get(2)? });
        }
        Ok(keys)
    }

    /// The keys that a client's assertions are verified with at this moment.
    pub(crate) async fn valid_client_keys(&self, client: &str, now: i64) -> Result<JwkSet, StoreError> {
        let keys = self.client_keys(client).await?;
        Ok(keys.into_iter().filter(|key| key.is_valid(now)).map(|key| key.jwk).collect())
    }

    /// Forgets assertions and keys that ended before this moment.
    pub async fn purge_client_keys(&self, before: i64) -> Result<(), StoreError> {
        for statement in [
            "DELETE FROM used_assertions WHERE expires_at < $1",
            "DELETE FROM client_keys WHERE expires_at <> 0 AND expires_at < $1",
        ] {
            sqlx::query(statement).bind(before).execute(self.connections()).await?;
        }
        Ok(())
    }
}

fn read(text: &str) -> Option<Jwk> {
    Jwk::read(&serde_json::from_str(text).ok()?).ok()
}

impl Transaction {
    /// Gives the keys of a client another version.
    pub async fn set_client_keys_version(&mut self, client: &str, version: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE clients SET keys_version = $2 WHERE id = $1")
            .bind(client)
            .bind(signed(version))
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Gives a client a key, until it is taken away.
    pub async fn add_client_key(&mut self, client: &str, jwk: &Jwk, now: i64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO client_keys (client, kid, jwk, added_at, expires_at) VALUES ($1, $2, $3, $4, 0)
             ON CONFLICT (client, kid) DO UPDATE SET expires_at = 0",
        )
        .bind(client)
        .bind(&jwk.kid)
        .bind(jwk.to_json().to_string())
        .bind(now)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// Ends a key at this moment.
    pub async fn end_client_key(&mut self, client: &str, kid: &str, expires_at: i64) -> Result<(), StoreError> {
        sqlx::query("UPDATE client_keys SET expires_at = $3 WHERE client = $1 AND kid = $2")
            .bind(client)
            .bind(kid)
            .bind(expires_at)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Takes a key away; false where there is none of this name.
    pub async fn remove_client_key(&mut self, client: &str, kid: &str) -> Result<bool, StoreError> {
        let removed = sqlx::query("DELETE FROM client_keys WHERE client = $1 AND kid = $2")
            .bind(client)
            .bind(kid)
            .execute(&mut *self.inner)
            .await?;
        Ok(removed.rows_affected() == 1)
    }

    /// Remembers that an assertion was used, by a digest of its name.
    pub(crate) async fn use_assertion(
        &mut self,
        client: &str,
        digest: &str,
        expires_at: i64,
        now: i64,
    ) -> Result<AssertionUse, StoreError> {
        let known = sqlx::query("SELECT COUNT(*) FROM used_assertions WHERE client = $1 AND expires_at >= $2")
            .bind(client)
            .bind(now - signed(ForeignType::ClientAssertion.longest_life().as_secs()))
            .fetch_one(&mut *self.inner)
            .await?;
        if known.try_get::<i64, _>(0)? >= MAX_ASSERTIONS {
            return Ok(AssertionUse::TooMany);
        }
        let added = sqlx::query(
            "INSERT INTO used_assertions (client, digest, expires_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING",
        )
        .bind(client)
        .bind(digest)
        .bind(expires_at)
        .execute(&mut *self.inner)
        .await?;
        Ok(if added.rows_affected() == 1 { AssertionUse::First } else { AssertionUse::Again })
    }
}
