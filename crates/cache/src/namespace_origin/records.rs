//! Records as the origin of a namespace: rows of ours in the store of the cache, SQLite or PostgreSQL, which last. What is put with
//! `write = "through"` goes there first.
//!
//! Invariants:
//! - Each write is a single statement, so nothing comes between its comparison and what it changes.
//! - What was acknowledged is durable.
//! - A version is never used twice for a key: it grows with each write of a row, and begins with the time of the first one.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use accord_api::accord::fault::v1::Reason;
use accord_mesh::Question;
use accord_readthrough::{Load, Loaded};
use accord_runtime::config::bound::{HOUR, Time};
use accord_runtime::fault;
use accord_store::{Connections, Location, Migrations, Pool, log_failure, retry};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::any::AnyRow;
use sqlx::{AssertSqlSafe, Row};
use tonic::Status;

use super::{KeyCaller, KeyOrigin};
use crate::origin_failure::failure_of;

/// Reads beside the one write at a time that SQLite takes.
const CONNECTIONS: Connections = Connections { sqlite: 4, postgres: 16 };

/// Most keys of one query.
const MOST_KEYS: usize = 100;

/// Most bytes of the values that one query answers with.
const MOST_BYTES: usize = 16 * 1024 * 1024;

/// Longest key of a record: with tenant and namespace it has to fit into an index of PostgreSQL.
pub(crate) const LONGEST_KEY: usize = 1024;

const MIGRATIONS: Migrations = Migrations {
    table: "namespace_schema_steps",
    lock: 4_702_111_234_474_983_747,
    steps: &[&["
    CREATE TABLE namespace_records (
        namespace TEXT NOT NULL,
        tenant BINARY_TYPE NOT NULL,
        key BINARY_TYPE NOT NULL,
        value BINARY_TYPE NOT NULL,
        version BIGINT NOT NULL,
        PRIMARY KEY (namespace, tenant, key)
    )"]],
};

/// A version that is higher than any of the row's, and, for the first one, than those of rows that were there before.
const UPSERT: &str = "
    INSERT INTO namespace_records (namespace, tenant, key, value, version) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (namespace, tenant, key) DO UPDATE SET value = excluded.value, version =
        CASE WHEN namespace_records.version >= excluded.version
            THEN namespace_records.version + 1 ELSE excluded.version END
    RETURNING version";

const INSERT: &str = "
    INSERT INTO namespace_records (namespace, tenant, key, value, version) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (namespace, tenant, key) DO NOTHING
    RETURNING version";

const REPLACE: &str = "
    UPDATE namespace_records SET value = $4, version = CASE WHEN version >= $5 THEN version + 1 ELSE $5 END
    WHERE namespace = $1 AND tenant = $2 AND key = $3 AND version = $6
    RETURNING version";

const DELETE: &str = "
    DELETE FROM namespace_records WHERE namespace = $1 AND tenant = $2 AND key = $3 RETURNING version";

const DELETE_VERSION: &str = "
    DELETE FROM namespace_records WHERE namespace = $1 AND tenant = $2 AND key = $3 AND version = $4
    RETURNING version";

const FIND: &str = "SELECT version FROM namespace_records WHERE namespace = $1 AND tenant = $2 AND key = $3";

/// The section `[namespace.records]`: the namespace keeps its values in the cache's own store, `records.url`, as well.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RecordsConfig {
    /// The longest time of a load or a write; what its caller has left may be less. 1ms to 1h. Default: `1s`.
    #[serde(with = "Time::<1, HOUR>")]
    pub timeout: Duration,
}

impl Default for RecordsConfig {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(1) }
    }
}

/// The records of all namespaces. Clones share their connections.
#[derive(Clone, Debug)]
pub struct KeyRecords(Pool);

impl KeyRecords {
    /// Opens them and makes their table. `sqlite://…` makes the file where it is missing.
    pub async fn open(url: &str) -> Result<Self, accord_store::Error> {
        Ok(Self(Pool::open(&Location::parse(url)?, CONNECTIONS, &MIGRATIONS).await?))
    }

    /// Closes all connections; whatever is asked afterwards fails.
    pub async fn close(&self) {
        self.0.close().await;
    }
}

/// What a record must be for a write, or the write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Required {
    /// Whatever it is.
    Anything,
    /// There is none.
    Nothing,
    /// Of this version.
    Version(i64),
    /// Of a version that no record ever has: it is always refused.
    Impossible,
}

/// Why a record was not written.
#[derive(Debug)]
pub enum NotWritten {
    /// It is not what was required. Nothing happened.
    Conflict,
    /// Nobody knows whether it was written.
    Open(Status),
}

/// The records of one namespace.
#[derive(Debug)]
pub struct RecordsOrigin {
    records: KeyRecords,
    namespace: Arc<str>,
    timeout: Duration,
    max_value_bytes: usize,
}

impl RecordsOrigin {
    /// Of a namespace of this name whose values may have so many bytes.
    pub fn new(config: &RecordsConfig, records: KeyRecords, namespace: &str, max_value_bytes: usize) -> Self {
        Self { records, namespace: namespace.into(), timeout: config.timeout, max_value_bytes }
    }

    /// Puts a value; the version that it has now.
    pub async fn put(
        &self,
        (tenant, key): (&str, &str),
        value: &[u8],
        required: Required,
        time: Duration,
    ) -> Result<i64, NotWritten> {
        let (statement, version) = match required {
            Required::Anything => (UPSERT, None),
            Required::Nothing => (INSERT, None),
            Required::Version(version) => (REPLACE, Some(version)),
            Required::Impossible => return Err(NotWritten::Conflict),
        };
        let written = self.within(time, || {
            let query = sqlx::query(statement).bind(&*self.namespace);
            let query = query.bind(tenant.as_bytes().to_vec()).bind(key.as_bytes().to_vec());
            let query = query.bind(value.to_vec()).bind(micros());
            let query = if let Some(version) = version { query.bind(version) } else { query };
            query.fetch_optional(self.records.0.connections())
        });
        let row = written.await.map_err(NotWritten::Open)?.ok_or(NotWritten::Conflict)?;
        row.try_get("version").map_err(|error| NotWritten::Open(self.failed(&error.into())))
    }

    /// Deletes a value, if there is one; the version that it had.
    pub async fn delete(
        &self,
        (tenant, key): (&str, &str),
        required: Required,
        time: Duration,
    ) -> Result<Option<i64>, NotWritten> {
        let (statement, version) = match required {
            Required::Anything => (DELETE, None),
            Required::Nothing => (FIND, None),
            Required::Version(version) => (DELETE_VERSION, Some(version)),
            Required::Impossible => return Err(NotWritten::Conflict),
        };
        let deleted = self.within(time, || {
            let query = sqlx::query(statement).bind(&*self.namespace);
            let query = query.bind(tenant.as_bytes().to_vec()).bind(key.as_bytes().to_vec());
            let query = if let Some(version) = version { query.bind(version) } else { query };
            query.fetch_optional(self.records.0.connections())
        });
        let row = deleted.await.map_err(NotWritten::Open)?;
        let version = row.map(|row| row.try_get("version")).transpose();
        let version = version.map_err(|error| NotWritten::Open(self.failed(&error.into())))?;
        match (required, version) {
            (Required::Nothing, Some(_)) | (Required::Version(_), None) => Err(NotWritten::Conflict),
            (_, version) => Ok(version),
        }
    }

    async fn rows(&self, keys: &[&str], tenant: &str, time: Duration) -> Result<Vec<AnyRow>, Status> {
        let places: Vec<_> = (3..keys.len() + 3).map(|number| format!("${number}")).collect();
        let (select, places) = ("SELECT key, value, version FROM namespace_records", places.join(", "));
        let statement = format!("{select} WHERE namespace = $1 AND tenant = $2 AND key IN ({places})");
        self.within(time, || {
            let query = sqlx::query(AssertSqlSafe(statement.clone())).bind(&*self.namespace);
            let query = query.bind(tenant.as_bytes().to_vec());
            let query = keys.iter().fold(query, |query, key| query.bind(key.as_bytes().to_vec()));
            query.fetch_all(self.records.0.connections())
        })
        .await
    }

    /// Runs a statement within this time, and again where the database says that it lost against another one.
    async fn within<T, F: Future<Output = Result<T, sqlx::Error>>>(
        &self,
        time: Duration,
        statement: impl FnMut() -> F,
    ) -> Result<T, Status> {
        let done = tokio::time::timeout(time.min(self.timeout), retry(statement)).await;
        done.map_err(|_| {
            let problem = format!("the records of the namespace {} did not answer in time", self.namespace);
            fault::status(Reason::DeadlineExceeded, problem)
        })?
        .map_err(|error| self.failed(&error))
    }

    /// What the engine says may quote keys: it stays in the log of the operator.
    fn failed(&self, error: &accord_store::Error) -> Status {
        log_failure(error);
        let problem = format!("the records of the namespace {} can't be reached", self.namespace);
        fault::status(Reason::UpstreamUnavailable, problem)
    }

    fn load_of(&self, row: &AnyRow) -> Result<(Vec<u8>, Loaded), sqlx::Error> {
        let (key, value) = (row.try_get("key")?, row.try_get::<Vec<u8>, _>("value")?);
        let version = u64::try_from(row.try_get::<i64, _>("version")?).ok();
        let load: Load = if value.len() <= self.max_value_bytes {
            Ok(Bytes::from(value))
        } else {
            let (size, most) = (value.len(), self.max_value_bytes);
            let problem = format!("the value of the record has {size} bytes, more than the namespace's {most}");
            Err(failure_of(&fault::status(Reason::ResponseTooLarge, problem)))
        };
        Ok((key, Loaded { version, ..load.into() }))
    }
}

#[tonic::async_trait]
impl KeyOrigin for RecordsOrigin {
    fn most_keys(&self) -> usize {
        (MOST_BYTES / self.max_value_bytes.max(1)).clamp(1, MOST_KEYS)
    }

    fn question(&self) -> Option<Question<'_>> {
        None
    }

    async fn load(&self, keys: &[&str], caller: &KeyCaller, time: Duration) -> Vec<Loaded> {
        let rows = self.rows(keys, &caller.tenant, time).await.and_then(|rows| {
            let loads = rows.iter().map(|row| self.load_of(row)).collect::<Result<Vec<_>, _>>();
            loads.map_err(|error| self.failed(&error.into()))
        });
        super::by_key(keys, rows)
    }
}

/// Microseconds since 1970.
fn micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}
