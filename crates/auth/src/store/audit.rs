//! The audit log of privileged operations: each row carries the hash of the one before, so that none can be changed or
//! taken out unseen. How many there are is kept apart, so that neither can the newest. It is written in the same
//! transaction as what it records; without the row, nothing happens.

use aws_lc_rs::digest::{Context, SHA256};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde::Serialize;
use sqlx::{AnyConnection, Row};

use super::{Store, StoreError, Transaction};

/// One recorded operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditEntry {
    /// Its place in the chain, from 1.
    pub seq: i64,
    /// When, in seconds since 1970.
    pub at: i64,
    /// Who did it.
    pub actor: String,
    /// What was done.
    pub action: String,
    /// To whom or what.
    pub target: String,
    /// The hash of the row before; empty in the first.
    pub previous: String,
    /// The hash of this row.
    pub hash: String,
}

impl AuditEntry {
    fn digest(&self) -> String {
        let mut context = Context::new(&SHA256);
        let numbers = [self.seq.to_string(), self.at.to_string()];
        for part in numbers.iter().chain([&self.actor, &self.action, &self.target, &self.previous]) {
            // Each part is preceded by its length: shifting a character between parts changes the hash.
            context.update(&(part.len() as u64).to_be_bytes());
            context.update(part.as_bytes());
        }
        URL_SAFE_NO_PAD.encode(context.finish())
    }
}

impl Transaction {
    /// Audits what this transaction does.
    pub async fn audit(&mut self, now: i64, actor: &str, action: &str, target: &str) -> Result<(), StoreError> {
        let last = newest(&mut self.inner).await?;
        let (seq, previous) = last.map_or((1, String::new()), |last| (last.seq + 1, last.hash));
        let mut entry = AuditEntry {
            seq,
            at: now,
            actor: actor.to_owned(),
            action: action.to_owned(),
            target: target.to_owned(),
            previous,
            hash: String::new(),
        };
        entry.hash = entry.digest();
        sqlx::query(
            "INSERT INTO audit (seq, at, actor, action, target, previous, hash) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        )
        .bind(entry.seq)
        .bind(entry.at)
        .bind(entry.actor)
        .bind(entry.action)
        .bind(entry.target)
        .bind(entry.previous)
        .bind(entry.hash)
        .execute(&mut *self.inner)
        .await?;
        sqlx::query("UPDATE meta SET value = $1 WHERE name = 'audit'")
            .bind(entry.seq)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

/// Rows that are read at once.
const PAGE: i64 = 500;

/// Holds rows against the ones before.
#[derive(Default)]
struct AuditChain {
    last: i64,
    hash: String,
}

impl AuditChain {
    /// Whether this is the next row, unchanged.
    fn follows(&mut self, entry: &AuditEntry) -> bool {
        let fits = entry.seq == self.last + 1 && entry.previous == self.hash && entry.hash == entry.digest();
        self.last = entry.seq;
        self.hash.clone_from(&entry.hash);
        fits
    }
}

impl Store {
    /// The rows after this place, in their order; the first of them where they are many.
    pub async fn audit_after(&self, seq: i64) -> Result<Vec<AuditEntry>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, at, actor, action, target, previous, hash FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
        )
        .bind(seq)
        .bind(PAGE)
        .fetch_all(self.connections())
        .await?;
        rows.iter().map(entry).collect()
    }

    /// How many rows were written.
    pub async fn count_audit(&self) -> Result<u64, StoreError> {
        Ok(u64::try_from(self.written_audit().await?).unwrap_or_default())
    }

    /// Whether an entry of this number was never written: who has read it has read a store that this one is older than.
    pub async fn is_beyond_audit(&self, seq: i64) -> Result<bool, StoreError> {
        Ok(seq > self.written_audit().await?)
    }

    async fn written_audit(&self) -> Result<i64, StoreError> {
        let row = sqlx::query("SELECT value FROM meta WHERE name = 'audit'").fetch_one(self.connections()).await?;
        Ok(row.try_get(0)?)
    }

    /// Reads the whole log, and returns the place of the first row that is missing or does not fit to the one before.
    pub async fn verify_audit(&self, mut each: impl FnMut(AuditEntry)) -> Result<Option<i64>, StoreError> {
        // Read first: rows that are added meanwhile are more than were counted, never fewer.
        let written = self.written_audit().await?;
        let mut chain = AuditChain::default();
        loop {
            let place = chain.last;
            let page = self.audit_after(place).await?;
            if page.is_empty() {
                return Ok((place < written).then_some(place + 1));
            }
            let mut broken = None;
            for entry in page {
                let expected = chain.last + 1;
                if !chain.follows(&entry) {
                    broken = broken.or(Some(expected));
                }
                each(entry);
            }
            if broken.is_some() {
                return Ok(broken);
            }
        }
    }

    /// The whole log, and the first place where it is broken.
    pub async fn audit_log(&self) -> Result<(Vec<AuditEntry>, Option<i64>), StoreError> {
        let mut entries = Vec::new();
        let broken = self.verify_audit(|entry| entries.push(entry)).await?;
        Ok((entries, broken))
    }
}

async fn newest(connection: &mut AnyConnection) -> Result<Option<AuditEntry>, StoreError> {
    let row = sqlx::query("SELECT seq, at, actor, action, target, previous, hash FROM audit ORDER BY seq DESC LIMIT 1")
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(entry).transpose()
}

fn entry(row: &sqlx::any::AnyRow) -> Result<AuditEntry, StoreError> {
    Ok(AuditEntry {
        seq: row.try_get(0)?,
        at: row.try_get(1)?,
        actor: row.try_get(2)?,
        action: row.try_get(3)?,
        target: row.try_get(4)?,
        previous: row.try_get(5)?,
        hash: row.try_get(6)?,
    })
}
