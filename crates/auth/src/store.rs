//! What must last, in SQLite or PostgreSQL.
//!
//! Invariants:
//! - Every change runs in a [`Transaction`], which holds the store's write lock from its first statement: what is read in it
//!   is still true when it commits, and revisions become visible in their order.
//! - What `commit` acknowledged is durable.
//! - Binary values are base64url text, because the two engines name their binary types differently.

use std::{io::ErrorKind, path::Path, sync::Arc, time::Instant};

use accord_store::{ANSWER, Connections, Location, Pool, SharedRead, log_failure};
use opentelemetry::{KeyValue, metrics::Histogram};
use sqlx::{AnyConnection, AnyPool, Row};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use accord_runtime::telemetry;

pub(crate) use accord_store::within;

pub mod schema;
pub mod principals;
pub mod roles;
pub mod api_keys;
pub mod client_keys;
pub mod relations;
pub mod links;
pub mod certificate_identities;
pub(crate) mod device_codes;
pub(crate) mod families;
pub(crate) mod requests;
mod accounts;
pub mod keys;
pub(crate) mod reseal;
pub mod revocations;
pub(crate) mod audit;
pub mod copy;
pub(crate) mod high_water;

use self::high_water::{HighWaterMark, Mark};

use crate::declared_metrics::STORE_DURATION;

/// SQLite's are for readers: they don't wait for the one that writes.
const CONNECTIONS: Connections = Connections { sqlite: 16, postgres: 16 };

/// Transactions that are under way or wait for the database's lock, of all the connections.
const WRITERS: usize = 4;

/// The store can't be reached, or failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(#[source] Arc<accord_store::Error>);

impl From<accord_store::Error> for StoreError {
    fn from(error: accord_store::Error) -> Self {
        Self(Arc::new(error))
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        accord_store::Error::from(error).into()
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        // To the engines as well a file that can't be written is one of the database's.
        sqlx::Error::Io(error).into()
    }
}

impl StoreError {
    /// Logs it, for operators.
    pub(crate) fn log(&self) {
        log_failure(&self.0);
    }
}

/// The store. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    pool: Pool,
    /// Turns of writers, who wait for one another: without them they would wait with all the connections that readers need.
    writers: Arc<Semaphore>,
    /// Where what was acknowledged is kept besides, since an older copy can be put in the store's place.
    mark: Option<HighWaterMark>,
    /// Asked for at each call, by all of them.
    revision: Arc<SharedRead<u64, StoreError>>,
    latency: Histogram<f64>,
}

/// A write transaction: dropped without `commit`, it is rolled back.
pub struct Transaction {
    inner: accord_store::Transaction,
    _turn: OwnedSemaphorePermit,
    mark: Option<HighWaterMark>,
    /// Whether it takes a revision.
    is_revision: bool,
    began: Instant,
    latency: Histogram<f64>,
}

impl Store {
    /// Opens the store and brings its tables up to date. `sqlite://…` makes the file where it is missing.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        Self::open_with_mark(url, None).await
    }

    /// The same with its mark in this file.
    pub async fn open_with_mark(url: &str, mark_file: Option<&Path>) -> Result<Self, StoreError> {
        let location = Location::parse(url)?;
        let pool = Pool::open(&location, CONNECTIONS, &schema::MIGRATIONS).await?;
        let mark = mark_file.map(HighWaterMark::at).or_else(|| location.file().map(HighWaterMark::beside));
        let latency = STORE_DURATION.histogram(&telemetry::meter());
        let writers = Arc::new(Semaphore::new(WRITERS));
        let store = Self { pool, writers, mark, revision: Arc::default(), latency };
        store.name().await?;
        store.outrank_mark().await?;
        Ok(store)
    }

    /// Names a new store.
    async fn name(&self) -> Result<(), StoreError> {
        let (name, _) = uuid::Uuid::new_v4().as_u64_pair();
        sqlx::query("UPDATE meta SET value = $1 WHERE name = 'store' AND value = 0")
            .bind(signed(name >> 2 | 1))
            .execute(self.connections())
            .await?;
        Ok(())
    }

    /// What it has come to.
    pub async fn mark(&self) -> Result<Mark, StoreError> {
        Ok(read_mark(&mut *self.connections().acquire().await?).await?)
    }

    /// Raises the mark to what the store has come to, also by other processes.
    pub(crate) async fn raise_mark(&self) -> Result<(), StoreError> {
        let Some(file) = &self.mark else { return Ok(()) };
        Ok(file.raise(self.mark().await?).await?)
    }

    /// Where the store is older than what was acknowledged, revokes everything before it is used.
    async fn outrank_mark(&self) -> Result<(), StoreError> {
        let Some(file) = &self.mark else { return Ok(()) };
        match file.read().await {
            // Where it is not older, other processes may have come further than the mark meanwhile.
            Ok(Some(known)) if self.outrank(known).await? => Ok(()),
            Ok(_) => Ok(file.raise(self.mark().await?).await?),
            Err(error) if error.kind() == ErrorKind::InvalidData => {
                tracing::error!(%error, "what was acknowledged can't be read, so every token is revoked");
                let now = self.mark().await?;
                self.outrank(Mark { revision: now.revision + 1, ..now }).await.map(drop)
            }
            // The file may be good where it can be reached: nothing is revoked by a process that can't serve.
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this store is older than somebody knows it: a copy from before, put in its place. What was revoked meanwhile is
    /// not in it, so everything is revoked, under a revision that is newer than all that are known.
    pub async fn outrank(&self, known: Mark) -> Result<bool, StoreError> {
        if !known.is_after(&self.mark().await?) {
            return Ok(false);
        }
        let mut tx = self.begin().await?;
        // Read again under the lock: another process may have done it.
        let now = read_mark(&mut tx.inner).await?;
        if !known.is_after(&now) {
            return Ok(false);
        }
        tx.set_meta("revision", known.revision + 1).await?;
        tx.set_meta("global_epoch", known.global_epoch.max(now.global_epoch)).await?;
        tx.raise_global_epoch().await?;
        tx.retire_all_keys().await?;
        tx.is_revision = true;
        tx.audit(accord_token::verify::now(), "auth", "store.older", &known.revision.to_string()).await?;
        tx.commit().await?;
        tracing::error!(
            revision = now.revision,
            known = known.revision,
            "this store is older than what was acknowledged: everything that was issued before is revoked"
        );
        Ok(true)
    }

    /// The revision of everything verifiers must know, as it is after this was asked. Reading it proves that the store answers.
    pub async fn revision(&self) -> Result<u64, StoreError> {
        self.revision.read(|| self.read_revision()).await
    }

    async fn read_revision(&self) -> Result<u64, StoreError> {
        let began = Instant::now();
        let reading = sqlx::query("SELECT value FROM meta WHERE name = 'revision'").fetch_one(self.connections());
        let read = within(ANSWER, reading).await;
        self.latency.record(began.elapsed().as_secs_f64(), &[KeyValue::new("operation", "revision")]);
        Ok(unsigned(read?.try_get(0)?))
    }

    /// Begins a write transaction, and waits for others to end.
    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        let began = Instant::now();
        let turn = within(ANSWER, async {
            Arc::clone(&self.writers).acquire_owned().await.map_err(|_| StoreError::from(sqlx::Error::PoolClosed))
        });
        let turn = turn.await?;
        let inner = self.pool.begin("SELECT value FROM meta WHERE name = 'revision' FOR UPDATE").await?;
        let (mark, latency) = (self.mark.clone(), self.latency.clone());
        Ok(Transaction { inner, _turn: turn, mark, is_revision: false, began, latency })
    }

    /// Closes all connections; whatever is asked afterwards fails.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    fn connections(&self) -> &AnyPool {
        self.pool.connections()
    }
}

impl Transaction {
    /// Commits: afterwards it is durable.
    pub async fn commit(mut self) -> Result<(), StoreError> {
        let mark = match &self.mark {
            Some(file) if self.is_revision => Some((file.clone(), read_mark(&mut self.inner).await?)),
            _ => None,
        };
        let committed = self.inner.commit().await;
        self.latency.record(self.began.elapsed().as_secs_f64(), &[KeyValue::new("operation", "transaction")]);
        committed?;
        if let Some((file, mark)) = mark {
            file.raise(mark).await?;
        }
        Ok(())
    }

    /// The next revision, for a change that verifiers must learn of.
    pub async fn next_revision(&mut self) -> Result<u64, StoreError> {
        let row = sqlx::query("UPDATE meta SET value = value + 1 WHERE name = 'revision' RETURNING value")
            .fetch_one(&mut *self.inner)
            .await?;
        self.is_revision = true;
        Ok(unsigned(row.try_get(0)?))
    }

    async fn set_meta(&mut self, name: &str, value: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE meta SET value = $1 WHERE name = $2")
            .bind(signed(value))
            .bind(name)
            .execute(&mut *self.inner)
            .await?;
        Ok(())
    }
}

async fn read_mark(connection: &mut AnyConnection) -> Result<Mark, sqlx::Error> {
    let rows = sqlx::query("SELECT name, value FROM meta WHERE name IN ('store', 'revision', 'global_epoch')")
        .fetch_all(connection)
        .await?;
    let mut mark = Mark::default();
    for row in rows {
        let value = unsigned(row.try_get(1)?);
        match row.try_get(0)? {
            "store" => mark.store = value,
            "revision" => mark.revision = value,
            _ => mark.global_epoch = value,
        }
    }
    Ok(mark)
}

/// The engines count with a sign; nothing here is ever below zero.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
