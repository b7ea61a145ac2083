//! Families of refresh tokens: each use brings the next generation, and only the newest is good.

use sqlx::Row;

use super::{Store, StoreError, Transaction, principals::Principal, signed, unsigned};

/// A family, from a login to its end.
#[derive(Clone, Debug)]
pub struct Family {
    /// Its name.
    pub id: String,
    /// Whose it is.
    pub subject: String,
    /// The subject's epoch at login: a raised one ends the family.
    pub epoch: u64,
    /// The global epoch at login.
    pub global_epoch: u64,
    /// The generation that is good now.
    pub generation: u64,
    /// When that generation came, in milliseconds since 1970.
    pub rotated_at: i64,
    /// When the family ends, in seconds since 1970.
    pub expires_at: i64,
    /// Whether it was revoked before that.
    pub revoked: bool,
    /// The encryption key under which its newest token is made; empty where a build before made it.
    pub key_id: String,
}

impl Store {
    /// The family of this name.
    pub async fn family(&self, id: &str) -> Result<Option<Family>, StoreError> {
        let row = sqlx::query(
            "SELECT subject, epoch, global_epoch, generation, rotated_at, expires_at, dead, key_id FROM families
             WHERE id = $1",
        )
        .bind(id)
        .fetch_optional(self.connections())
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Family {
            id: id.to_owned(),
            subject: row.try_get(0)?,
            epoch: unsigned(row.try_get(1)?),
            global_epoch: unsigned(row.try_get(2)?),
            generation: unsigned(row.try_get(3)?),
            rotated_at: row.try_get(4)?,
            expires_at: row.try_get(5)?,
            revoked: row.try_get::<i64, _>(6)? != 0,
            key_id: row.try_get(7)?,
        }))
    }
}

impl Store {
    /// The first families of a subject after this end and name that can still be renewed under these epochs, the newest first.
    pub async fn families_of(
        &self,
        subject: &Principal,
        global_epoch: u64,
        now: i64,
        (last_end, last_id): (i64, &str),
    ) -> Result<Vec<Family>, StoreError> {
        let rows = sqlx::query(
            "SELECT id, generation, rotated_at, expires_at, key_id FROM families
             WHERE subject = $1 AND dead = 0 AND expires_at > $2 AND epoch >= $3 AND global_epoch >= $4
             AND (expires_at < $5 OR (expires_at = $5 AND id > $6)) ORDER BY expires_at DESC, id LIMIT 500",
        )
        .bind(&subject.subject)
        .bind(now)
        .bind(signed(subject.epoch))
        .bind(signed(global_epoch))
        .bind(last_end)
        .bind(last_id)
        .fetch_all(self.connections())
        .await?;
        let family = |row: &sqlx::any::AnyRow| {
            Ok::<_, sqlx::Error>(Family {
                id: row.try_get(0)?,
                subject: subject.subject.clone(),
                epoch: subject.epoch,
                global_epoch,
                generation: unsigned(row.try_get(1)?),
                rotated_at: row.try_get(2)?,
                expires_at: row.try_get(3)?,
                revoked: false,
                key_id: row.try_get(4)?,
            })
        };
        Ok(rows.iter().map(family).collect::<Result<_, _>>()?)
    }
}

impl Transaction {
    /// Begins a family.
    pub async fn add_family(&mut self, family: &Family) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO families (id, subject, epoch, global_epoch, generation, rotated_at, expires_at, dead, key_id)
             VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8)",
        )
        .bind(&family.id)
        .bind(&family.subject)
        .bind(signed(family.epoch))
        .bind(signed(family.global_epoch))
        .bind(signed(family.generation))
        .bind(family.rotated_at)
        .bind(family.expires_at)
        .bind(&family.key_id)
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }

    /// The next generation, under the encryption key of this name, where the family's still is the newest; false where somebody was
    /// faster.
    pub async fn advance_family(&mut self, family: &Family, key_id: &str, now_millis: i64) -> Result<bool, StoreError> {
        let advanced = sqlx::query(
            "UPDATE families SET generation = generation + 1, rotated_at = $3, key_id = $4
             WHERE id = $1 AND generation = $2 AND dead = 0",
        )
        .bind(&family.id)
        .bind(signed(family.generation))
        .bind(now_millis)
        .bind(key_id)
        .execute(&mut *self.inner)
        .await?;
        Ok(advanced.rows_affected() == 1)
    }

    /// Remembers an access token of a living family, so that it can be revoked together with it; false where the family
    /// has ended.
    pub async fn add_family_token(&mut self, id: &str, jti: &str, expires_at: i64) -> Result<bool, StoreError> {
        let added = sqlx::query(
            "INSERT INTO family_tokens (jti, family, expires_at)
             SELECT $2, id, CAST($3 AS BIGINT) FROM families WHERE id = $1 AND dead = 0",
        )
        .bind(id)
        .bind(jti)
        .bind(expires_at)
        .execute(&mut *self.inner)
        .await?;
        Ok(added.rows_affected() == 1)
    }

    /// Revokes the family and its access tokens.
    pub async fn revoke_family(&mut self, id: &str, revision: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE families SET dead = 1 WHERE id = $1").bind(id).execute(&mut *self.inner).await?;
        sqlx::query(
            "INSERT INTO revoked (jti, expires_at, revision)
             SELECT jti, expires_at, CAST($2 AS BIGINT) FROM family_tokens WHERE family = $1 ON CONFLICT DO NOTHING",
        )
        .bind(id)
        .bind(signed(revision))
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
