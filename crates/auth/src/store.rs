//! What must last, in SQLite or PostgreSQL, through one text of SQL.
//!
//! Invariants:
//! - Every change runs in a [`Change`], which holds the store's write lock from its first statement: what is read in it
//!   is still true when it commits, and revisions become visible in their order.
//! - What `commit` acknowledged is durable.
//! - Binary values are base64url text, because the two engines name their binary types differently.

use std::{
    fs::OpenOptions,
    io,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use opentelemetry::{KeyValue, metrics::Histogram};
use sqlx::{Any, AnyPool, Connection, Executor, Row, Transaction, any::AnyPoolOptions};
use tokio::time::timeout;
use tonic::Status;

use accord_api::accord::fault::v1::Reason;
use accord_runtime::{fault, telemetry};

pub mod audit;
pub mod families;
pub mod keys;
pub mod principals;
pub mod revocations;
mod schema;

/// How long the store may take before it counts as down.
const PATIENCE: Duration = Duration::from_secs(2);

/// The store can't be reached, or failed.
#[derive(Debug, thiserror::Error)]
#[error("the store failed: {0}")]
pub struct StoreError(#[from] sqlx::Error);

impl StoreError {
    /// Tells the operator, once a second at most: every call fails while the store does, and what is full may be the disk.
    pub fn tell(&self) {
        static TOLD: Mutex<Option<Instant>> = Mutex::new(None);
        let mut told = TOLD.lock().unwrap_or_else(PoisonError::into_inner);
        if told.is_none_or(|told| told.elapsed() >= Duration::from_secs(1)) {
            *told = Some(Instant::now());
            tracing::error!(error = %self.0, "the store failed");
        }
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        // What the engine says may quote values: it belongs into the log of the operator, not into an answer.
        error.tell();
        fault::status(Reason::AuthUnavailable, "auth can't reach its store")
    }
}

/// The store. Clones share its connections.
#[derive(Clone)]
pub struct Store {
    pool: AnyPool,
    engine: Engine,
    latency: Histogram<f64>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Engine {
    Sqlite,
    Postgres,
}

impl Engine {
    /// What is said on each new connection.
    fn settings(self) -> &'static [&'static str] {
        match self {
            // FULL: a commit is on disk before it is acknowledged, also in the write-ahead log.
            Engine::Sqlite => &[
                "PRAGMA busy_timeout = 2000",
                "PRAGMA journal_mode = WAL",
                "PRAGMA synchronous = FULL",
                "PRAGMA foreign_keys = ON",
            ],
            Engine::Postgres => &["SET statement_timeout = '5s'", "SET lock_timeout = '2s'"],
        }
    }
}

/// A change in the making: dropped without `commit`, it never happened.
pub struct Change {
    transaction: Transaction<'static, Any>,
    began: Instant,
    latency: Histogram<f64>,
}

impl Store {
    /// Opens the store and brings its tables up to date. `sqlite://…` makes the file where it is missing.
    pub async fn open(url: &str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let engine = if url.starts_with("postgres") { Engine::Postgres } else { Engine::Sqlite };
        let settings = engine.settings();
        let options = AnyPoolOptions::new().max_connections(16).acquire_timeout(PATIENCE);
        let options = options.after_connect(move |connection, _| {
            Box::pin(async move {
                for setting in settings {
                    connection.execute(*setting).await?;
                }
                Ok(())
            })
        });
        // Two kinds of connections are given up rather than used again: one that never answers, since its server went away
        // without a word, would keep its place until the kernel gives it up, a quarter of an hour later; and one that
        // believes itself in a transaction, which a full disk had SQLite end, would refuse every other one.
        let options = options.after_release(|connection, _| {
            Box::pin(async move {
                within(PATIENCE, async { Ok(connection.ping().await?) }).await.map_err(|silent| silent.0)?;
                Ok(!connection.is_in_transaction())
            })
        });
        if let Some(file) = sqlite_file(url) {
            make_private(&file)?;
        }
        let pool = options.connect(&address(url, engine)).await?;
        let latency = telemetry::meter()
            .f64_histogram("accord.auth.store.duration")
            .with_unit("s")
            .with_boundaries(vec![0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0])
            .with_description("How long the store takes")
            .build();
        let store = Self { pool, engine, latency };
        schema::migrate(&store).await?;
        Ok(store)
    }

    /// The revision of everything verifiers must know. Reading it proves that the store answers.
    pub async fn revision(&self) -> Result<u64, StoreError> {
        let began = Instant::now();
        let reading = sqlx::query("SELECT value FROM meta WHERE name = 'revision'").fetch_one(&self.pool);
        let read = within(PATIENCE, async { Ok(reading.await?) }).await;
        self.latency.record(began.elapsed().as_secs_f64(), &[KeyValue::new("operation", "revision")]);
        Ok(unsigned(read?.try_get(0)?))
    }

    /// Begins a change, and waits for other changes to end.
    pub async fn change(&self) -> Result<Change, StoreError> {
        let began = Instant::now();
        let transaction = match self.engine {
            // A plain BEGIN that reads before it writes fails where another writer came in between.
            Engine::Sqlite => self.pool.begin_with("BEGIN IMMEDIATE").await?,
            Engine::Postgres => {
                let mut transaction = self.pool.begin().await?;
                sqlx::query("SELECT value FROM meta WHERE name = 'revision' FOR UPDATE")
                    .fetch_one(&mut *transaction)
                    .await?;
                transaction
            }
        };
        Ok(Change { transaction, began, latency: self.latency.clone() })
    }

    /// Closes all connections; whatever is asked afterwards fails.
    pub async fn close(&self) {
        // A connection that hangs is left to the end of the process.
        let _ = timeout(PATIENCE, self.pool.close()).await;
    }
}

/// A store that hangs is a store that is down.
pub async fn within<T>(bound: Duration, work: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
    let silent = || io::Error::new(io::ErrorKind::TimedOut, "it did not answer in time");
    timeout(bound, work).await.unwrap_or_else(|_| Err(StoreError(sqlx::Error::Io(silent()))))
}

impl Change {
    /// Makes the change last.
    pub async fn commit(self) -> Result<(), StoreError> {
        let committed = self.transaction.commit().await;
        self.latency.record(self.began.elapsed().as_secs_f64(), &[KeyValue::new("operation", "change")]);
        Ok(committed?)
    }

    /// The next revision, for a change that verifiers must learn of.
    pub async fn next_revision(&mut self) -> Result<u64, StoreError> {
        let row = sqlx::query("UPDATE meta SET value = value + 1 WHERE name = 'revision' RETURNING value")
            .fetch_one(&mut *self.transaction)
            .await?;
        Ok(unsigned(row.try_get(0)?))
    }
}

/// The file of a SQLite URL.
pub fn sqlite_file(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite://")?;
    Some(Path::new(path.split('?').next()?).to_owned())
}

/// The file holds hashes of secrets, so only its owner reads it; SQLite gives the files beside it the same mode.
fn make_private(file: &Path) -> Result<(), StoreError> {
    let made = OpenOptions::new().append(true).create(true).mode(0o600).open(file);
    let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", file.display()));
    made.map(drop).map_err(|error| StoreError(sqlx::Error::Io(named(error))))
}

/// SQLite makes a missing file only where it is told to. Its path is taken as it stands: the file that was made private is
/// the one that is opened.
fn address(url: &str, engine: Engine) -> String {
    match engine {
        Engine::Postgres => url.to_owned(),
        Engine::Sqlite => {
            let literal = url.replace('%', "%25");
            if url.contains('?') { literal } else { literal + "?mode=rwc" }
        }
    }
}

/// The engines count with a sign; nothing here is ever below zero.
fn unsigned(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
