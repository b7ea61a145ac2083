//! What must last, in SQLite or PostgreSQL.
//!
//! Invariants:
//! - Every change runs in a [`Transaction`], which holds the store's write lock from its first statement: what is read in it
//!   is still true when it commits, and revisions become visible in their order.
//! - What `commit` acknowledged is durable.
//! - Binary values are base64url text, because the two engines name their binary types differently.

use std::time::Instant;

use accord_store::{ANSWER, Connections, Location, Pool, log_failure};
use opentelemetry::{KeyValue, metrics::Histogram};
use sqlx::{AnyPool, Row};

use accord_runtime::telemetry;

pub(crate) use accord_store::within;

mod schema;
pub mod principals;
pub(crate) mod families;
mod requests;
pub mod keys;
pub(crate) mod revocations;
mod audit;

/// SQLite's are for readers: they don't wait for the one that writes.
const CONNECTIONS: Connections = Connections { sqlite: 16, postgres: 16 };

/// The store can't be reached, or failed.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(#[from] accord_store::Error);

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self(error.into())
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
    latency: Histogram<f64>,
}

/// A write transaction: dropped without `commit`, it is rolled back.
pub struct Transaction {
    inner: accord_store::Transaction,
    began: Instant,
    latency: Histogram<f64>,
}

impl Store {
    /// Opens the store and brings its tables up to date. `sqlite://…` makes the file where it is missing.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        let pool = Pool::open(&Location::parse(url)?, CONNECTIONS, &schema::MIGRATIONS).await?;
        let latency = telemetry::meter()
            .f64_histogram("accord.auth.store.duration")
            .with_unit("s")
            .with_description("How long the store takes")
            .build();
        Ok(Self { pool, latency })
    }

    /// The revision of everything verifiers must know. Reading it proves that the store answers.
    pub async fn revision(&self) -> Result<u64, StoreError> {
        let began = Instant::now();
        let reading = sqlx::query("SELECT value FROM meta WHERE name = 'revision'").fetch_one(self.connections());
        let read = within(ANSWER, reading).await;
        self.latency.record(began.elapsed().as_secs_f64(), &[KeyValue::new("operation", "revision")]);
        Ok(unsigned(read?.try_get(0)?))
    }

    /// Begins a write transaction, and waits for others to end.
    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        let began = Instant::now();
        let inner = self.pool.begin("SELECT value FROM meta WHERE name = 'revision' FOR UPDATE").await?;
        Ok(Transaction { inner, began, latency: self.latency.clone() })
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
    pub async fn commit(self) -> Result<(), StoreError> {
        let committed = self.inner.commit().await;
        self.latency.record(self.began.elapsed().as_secs_f64(), &[KeyValue::new("operation", "transaction")]);
        Ok(committed?)
    }

    /// The next revision, for a change that verifiers must learn of.
    pub async fn next_revision(&mut self) -> Result<u64, StoreError> {
        let row = sqlx::query("UPDATE meta SET value = value + 1 WHERE name = 'revision' RETURNING value")
            .fetch_one(&mut *self.inner)
            .await?;
        Ok(unsigned(row.try_get(0)?))
    }
}

/// The engines count with a sign; nothing here is ever below zero.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
