//! Revocations: what verifiers must know to refuse a token that was good when it was signed.

use std::{collections::VecDeque, sync::Arc};

use accord_token::{SharedMap, Type, claims::forgotten_before, verify};
use futures_util::TryStreamExt;
use sqlx::Row;

use super::{Store, StoreError, Transaction, high_water::Mark, signed, unsigned};

/// Of an access token, in seconds.
const LONGEST_LIFE: i64 = Type::Access.longest_life().as_secs().cast_signed();

/// Most changes that are told one by one: a verifier that has missed more is told everything.
pub(crate) const MAX_RECENT: usize = 1024;

/// Something that was revoked.
#[derive(Clone, Debug)]
pub(crate) enum Revoked {
    /// The tokens of a subject, and the lowest good epoch.
    Subject(Arc<str>, u64),
    /// One token, and when it would have ended.
    Token(Arc<str>, i64),
}

/// All revocations that still matter.
#[derive(Clone, Debug, Default)]
pub struct Revocations {
    /// Whose they are.
    pub store: u64,
    /// The revision they add up to.
    pub revision: u64,
    /// Each change after this revision is in `recent`: whoever knows an older one is told everything.
    pub complete_since: u64,
    /// Tokens with a lower global epoch are revoked.
    pub global_epoch: u64,
    /// The version of all relations: decisions that were made with an earlier one no longer hold. Never 0 in a store.
    pub relations: u64,
    /// How many signing keys were withdrawn: decisions that were made before may have passports of them, and no longer hold.
    pub retired_keys: u64,
    /// The lowest good epoch of subjects.
    pub subjects: SharedMap<u64>,
    /// When revoked tokens would have ended, by `jti`.
    pub tokens: SharedMap<i64>,
    /// What has come after `complete_since`, each with the revision that brought it. What was read together stands in no order.
    pub(crate) recent: VecDeque<(u64, Revoked)>,
}

impl Revocations {
    /// How far the store was.
    pub(crate) fn mark(&self) -> Mark {
        Mark { store: self.store, revision: self.revision, global_epoch: self.global_epoch }
    }

    pub(crate) fn add(&mut self, revoked: Revoked, revision: u64) {
        match &revoked {
            Revoked::Subject(subject, epoch) => self.subjects.insert(Arc::clone(subject), *epoch),
            Revoked::Token(jti, ends) => self.tokens.insert(Arc::clone(jti), *ends),
        }
        if revision > self.complete_since {
            self.recent.push_back((revision, revoked));
        }
    }

    /// Whoever knows less than the newest change that is left out here is told everything: what stays may be older than that, and nobody
    /// is told a part of it.
    pub(crate) fn bound_recent(&mut self) {
        let excess = self.recent.len().saturating_sub(MAX_RECENT);
        let newest = self.recent.drain(..excess).map(|(revision, _)| revision).max();
        self.complete_since = self.complete_since.max(newest.unwrap_or(0));
    }
}

impl Store {
    /// What was known, with what has come since; everything where nothing was known.
    pub async fn revocations(&self, known: &Revocations, now: i64) -> Result<Revocations, StoreError> {
        // The revision is read first: what is committed in between is then read twice, never missed.
        let Mark { store, revision, global_epoch } = self.mark().await?;
        // Of another store, or of an older copy in this one's place, nothing that was known counts. Neither does it where everything
        // is revoked.
        let is_added = store == known.store && revision >= known.revision && global_epoch == known.global_epoch;
        let mut read =
            if is_added { known.clone() } else { Revocations { complete_since: revision, ..Revocations::default() } };
        let since = signed(read.revision);
        (read.store, read.revision, read.global_epoch) = (store, revision, global_epoch);
        read.relations = self.relations_version().await?;
        read.retired_keys = self.retired_keys().await?;
        self.read_epochs(&mut read, since, now).await?;
        self.read_tokens(&mut read, since, now).await?;
        read.bound_recent();
        Ok(read)
    }

    /// An epoch stays true for ever; one so old that no token from before it is alive is not worth telling.
    async fn read_epochs(&self, read: &mut Revocations, since: i64, now: i64) -> Result<(), StoreError> {
        let mut rows = sqlx::query(
            "SELECT subject, epoch, epoch_revision FROM principals WHERE epoch_revision > $1 AND epoch_at >= $2",
        )
        .bind(since)
        .bind(forgotten_before(now) - LONGEST_LIFE)
        .fetch(self.connections());
        while let Some(row) = rows.try_next().await? {
            let subject = Revoked::Subject(row.try_get::<&str, _>(0)?.into(), unsigned(row.try_get(1)?));
            read.add(subject, unsigned(row.try_get(2)?));
        }
        Ok(())
    }

    /// Tokens that have ended on every clock are left out.
    async fn read_tokens(&self, read: &mut Revocations, since: i64, now: i64) -> Result<(), StoreError> {
        let ended = forgotten_before(now);
        read.tokens.retain(|ends| *ends >= ended);
        let mut rows =
            sqlx::query("SELECT jti, expires_at, revision FROM revoked WHERE revision > $1 AND expires_at >= $2")
                .bind(since)
                .bind(ended)
                .fetch(self.connections());
        while let Some(row) = rows.try_next().await? {
            let token = Revoked::Token(row.try_get::<&str, _>(0)?.into(), row.try_get(1)?);
            read.add(token, unsigned(row.try_get(2)?));
        }
        Ok(())
    }

    /// Deletes revocations of tokens that expired before this moment, and families of refresh tokens that expired with all theirs.
    pub async fn purge_expired(&self, before: i64) -> Result<(), StoreError> {
        sqlx::query("DELETE FROM revoked WHERE expires_at < $1").bind(before).execute(self.connections()).await?;
        sqlx::query("DELETE FROM family_tokens WHERE expires_at < $1").bind(before).execute(self.connections()).await?;
        sqlx::query(
            "DELETE FROM families WHERE expires_at < $1
             AND NOT EXISTS (SELECT 1 FROM family_tokens WHERE family_tokens.family = families.id)",
        )
        .bind(before)
        .execute(self.connections())
        .await?;
        Ok(())
    }
}

impl Transaction {
    /// Revokes one token.
    pub async fn revoke_token(&mut self, jti: &str, expires_at: i64, revision: u64) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO revoked (jti, expires_at, revision) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(jti)
            .bind(expires_at)
            .bind(signed(revision))
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }

    /// Revokes every token of the subject; false where there is no such subject.
    pub async fn raise_epoch(&mut self, subject: &str, now: i64, revision: u64) -> Result<bool, StoreError> {
        let raised = sqlx::query(
            "UPDATE principals SET epoch = epoch + 1, epoch_at = $2, epoch_revision = $3 WHERE subject = $1",
        )
        .bind(subject)
        .bind(now)
        .bind(signed(revision))
        .execute(&mut *self.inner)
        .await?;
        Ok(raised.rows_affected() == 1)
    }

    /// Revokes every token there is. The epoch is at least the time in seconds, so that two copies of a store that go different ways
    /// never come to the same one.
    pub async fn raise_global_epoch(&mut self) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE meta SET value = CASE WHEN value < $1 THEN $1 ELSE value + 1 END WHERE name = 'global_epoch'",
        )
        .bind(verify::now())
        .execute(&mut *self.inner)
        .await?;
        Ok(())
    }
}
