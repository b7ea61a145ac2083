//! A query of a PostgreSQL server as the origin of a namespace. All keys of a load are one query.

use std::time::{Duration, Instant};

use accord_api::accord::fault::v1::Reason;
use accord_mesh::Question;
use accord_readthrough::{Load, Loaded};
use accord_runtime::config::Invalid;
use accord_runtime::config::bound::{self, Count, HOUR, Time};
use accord_runtime::fault;
use accord_store::{Column, Reader, StoreUrl, log_failure};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, Row};
use tokio::sync::OnceCell;
use tonic::Status;

use super::{KeyCaller, KeyOrigin};
use crate::origin_failure::failure_of;

/// Column types that a key can have.
const KEYS: [&str; 2] = ["TEXT", "VARCHAR"];
/// Column types that a value can have; its bytes are those of the text.
const VALUES: [&str; 4] = ["TEXT", "VARCHAR", "BYTEA", "JSON"];
/// Most bytes of an answer. A `BatchGet` answers with less than that.
const MOST_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of a row beside its value.
const BESIDE_VALUE: usize = 8 * 1024;
/// Column types that a version can have.
const VERSIONS: [&str; 2] = ["INT8", "INT4"];

/// The section `[namespace.query]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QueryConfig {
    /// The server, `postgres://user@host/database?sslmode=verify-full`; the user needs no more than the right to read. A password
    /// is better given by a file, with the parameter `password_file`. No default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<StoreUrl>,
    /// The query. `$1` is an array of keys, as in `= ANY($1)`, and `$2` the tenant, where the query names it. It answers with the
    /// columns `key` and `value`, and `version` where there is one, an integer that grows with each change. No default.
    #[serde(deserialize_with = "bound::text")]
    pub sql: String,
    /// Keys of one query; more are several. 1 to 100. Default: 100.
    #[serde(with = "Count::<1, 100>")]
    pub max_keys: usize,
    /// The longest time of a query, after which the server ends it; what its caller has left may be less. 1ms to 1h.
    /// Default: `1s`.
    #[serde(with = "Time::<1, HOUR>")]
    pub timeout: Duration,
    /// Connections at a time; more queries wait, for 2 s at most. 1 to 1000. Default: 8.
    #[serde(with = "Count::<1, 1000>")]
    pub max_connections: u32,
}

impl Default for QueryConfig {
    fn default() -> Self {
        Self { url: None, sql: String::new(), max_keys: 100, timeout: Duration::from_secs(1), max_connections: 8 }
    }
}

impl QueryConfig {
    pub(crate) fn contradictions(&self) -> Vec<Invalid> {
        let mut found = Vec::new();
        let is_server = self.url.as_ref().is_some_and(|url| url.location().file().is_none());
        if !is_server {
            let remedy = "name a server that speaks PostgreSQL's protocol, as in postgres://reader@db/shop";
            found.push(Invalid::new("url", "a query needs a server", remedy));
        }
        if !self.sql.contains("$1") {
            let remedy = "ask for the keys, as in SELECT id AS key, body AS value FROM products WHERE id = ANY($1)";
            found.push(Invalid::new("sql", "the query does not ask for `$1`", remedy));
        }
        found.into_iter().map(|invalid| invalid.under("query".to_owned())).collect()
    }
}

/// A query that answers for the keys of a namespace.
#[derive(Debug)]
pub struct QueryOrigin {
    reader: Reader,
    sql: String,
    /// The query within its bounds, once the server has said what its columns are.
    bounded: OnceCell<String>,
    has_tenant: bool,
    max_keys: usize,
    timeout: Duration,
    namespace: Box<str>,
    max_value_bytes: usize,
}

impl QueryOrigin {
    /// Of a namespace of this name whose values may have so many bytes. Nothing is connected yet.
    pub fn new(config: &QueryConfig, namespace: &str, max_value_bytes: usize) -> Result<Self, accord_store::Error> {
        let location = config.url.as_ref().ok_or(accord_store::Error::Url)?.location();
        Ok(Self {
            reader: Reader::new(location, config.max_connections)?,
            sql: config.sql.clone(),
            bounded: OnceCell::new(),
            has_tenant: config.sql.contains("$2"),
            max_keys: config.max_keys.min(MOST_BYTES / (max_value_bytes + BESIDE_VALUE)).max(1),
            timeout: config.timeout,
            namespace: namespace.into(),
            max_value_bytes,
        })
    }

    async fn rows(&self, keys: &[&str], tenant: &str, time: Duration) -> Result<Vec<PgRow>, Status> {
        // PostgreSQL has no text with a zero in it: such a key is in no row.
        let keys: Vec<String> = keys.iter().filter(|key| !key.contains('\0')).map(|key| (*key).to_owned()).collect();
        let asked = Instant::now();
        let time = time.min(self.timeout);
        let sql = self.bounded.get_or_try_init(|| self.bounded()).await;
        let sql = sql.map_err(|error| self.failed(&error))?.clone();
        let most = keys.len() * (self.max_value_bytes + BESIDE_VALUE);
        let query = sqlx::query(AssertSqlSafe(sql)).bind(keys);
        let query = if self.has_tenant { query.bind(tenant.to_owned()) } else { query };
        let time = time.saturating_sub(asked.elapsed());
        self.reader.rows(query, time, most).await.map_err(|error| self.failed(&error))
    }

    /// The query within its bounds: rows of keys that were not asked for and values that are too large stay at the server.
    async fn bounded(&self) -> Result<String, accord_store::Error> {
        let columns = self.reader.describe(&self.sql).await?;
        let of = |name: &str| columns.iter().find(|column| column.name == name);
        // The size of a json is that of its text.
        let text = if of("value").is_some_and(|value| value.kind == "JSON") { "::text" } else { "" };
        let version = if of("version").is_some() { ", q.version" } else { "" };
        let (query, most) = (self.sql.trim_end().trim_end_matches(';'), self.max_value_bytes);
        Ok(format!(
            "SELECT q.key, CASE WHEN octet_length(q.value{text}) <= {most} THEN q.value END AS value, \
             octet_length(q.value{text}) AS size{version} FROM (\n{query}\n) AS q WHERE q.key = ANY($1)"
        ))
    }

    /// What the server says may quote keys: it stays in the log of the operator.
    fn failed(&self, error: &accord_store::Error) -> Status {
        log_failure(error);
        let namespace = &self.namespace;
        if error.is_timeout() {
            let problem = format!("the query of the namespace {namespace} did not end in time");
            return fault::status(Reason::DeadlineExceeded, problem);
        }
        if matches!(error, accord_store::Error::TooLarge(_)) {
            let problem =
                format!("the query of the namespace {namespace} answers with more rows than it was asked for");
            return fault::status(Reason::ResponseTooLarge, problem);
        }
        let problem = format!("the query of the namespace {namespace} can't be answered; the cache's log says why");
        fault::status(Reason::UpstreamUnavailable, problem)
    }

    fn load_of(&self, row: &PgRow) -> Result<(Vec<u8>, Loaded), sqlx::Error> {
        let key: String = row.try_get("key")?;
        let size: Option<i32> = row.try_get("size")?;
        let value = row.try_get_raw("value")?;
        let version = match row.try_get_raw("version") {
            Ok(_) => {
                let small = |_| row.try_get::<Option<i32>, _>("version").map(|version| version.map(i64::from));
                row.try_get::<Option<i64>, _>("version").or_else(small)?
            }
            Err(_) => None,
        };
        let version = version.and_then(|version| u64::try_from(version).ok());
        Ok((key.into_bytes(), Loaded { version, ..self.loaded(value.as_bytes().ok(), size).into() }))
    }

    /// A value; a NULL is none.
    fn loaded(&self, value: Option<&[u8]>, size: Option<i32>) -> Load {
        let (size, most) = match (value, size) {
            (Some(value), _) => return Ok(Bytes::copy_from_slice(value)),
            (None, None) => return Err(super::absent()),
            (None, Some(size)) => (size, self.max_value_bytes),
        };
        let problem = format!("the value that the query gave has {size} bytes, more than the namespace's {most}");
        Err(failure_of(&fault::status(Reason::ResponseTooLarge, problem)))
    }

    /// Whether the query can stand within another one.
    async fn check_bounded(&self) -> Result<(), String> {
        let checked = async { self.reader.describe(&self.bounded().await?).await };
        match checked.await {
            Err(error) if error.is_of_statement() => Err(format!("it can't stand within another query: {error}")),
            _ => Ok(()),
        }
    }

    /// What of the query does not fit, as the server says. One that does not answer is for later: a load asks it again.
    pub async fn check(&self) -> Result<(), String> {
        match self.reader.describe(&self.sql).await {
            Ok(columns) => match unfit(&columns) {
                Some(unfit) => Err(unfit),
                None => self.check_bounded().await,
            },
            Err(error) if error.is_of_statement() => Err(error.to_string()),
            Err(error) => {
                tracing::warn!(%error, namespace = %self.namespace, "the query of a namespace can't be checked yet");
                Ok(())
            }
        }
    }
}

/// What is wrong with these columns.
fn unfit(columns: &[Column]) -> Option<String> {
    let one = |name: &str, kinds: &[&str], is_needed: bool| {
        let column = columns.iter().find(|column| column.name == name);
        match column {
            None if is_needed => Some(format!("it has no column {name:?}: name one so with AS")),
            Some(Column { kind, .. }) if !kinds.contains(&&**kind) => {
                Some(format!("its column {name:?} is of the type {kind}, and has to be one of {}", kinds.join(", ")))
            }
            _ => None,
        }
    };
    one("key", &KEYS, true).or_else(|| one("value", &VALUES, true)).or_else(|| one("version", &VERSIONS, false))
}

#[tonic::async_trait]
impl KeyOrigin for QueryOrigin {
    fn most_keys(&self) -> usize {
        self.max_keys
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

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> QueryConfig {
        let sql = "SELECT id AS key, body AS value FROM products WHERE id = ANY($1)".to_owned();
        QueryConfig { url: Some("postgres://reader@db/shop".parse().unwrap()), sql, ..QueryConfig::default() }
    }

    fn column(name: &str, kind: &str) -> Column {
        Column { name: name.to_owned(), kind: kind.to_owned() }
    }

    #[test]
    fn query_without_a_server_or_keys_is_refused_at_its_key() {
        let keys = |config: QueryConfig| config.contradictions().into_iter().map(|it| it.key).collect::<Vec<_>>();
        assert_eq!(keys(config()), [""; 0]);
        assert_eq!(keys(QueryConfig { url: None, ..config() }), ["query.url"]);
        assert_eq!(keys(QueryConfig { url: Some(StoreUrl::sqlite("a.db")), ..config() }), ["query.url"]);
        assert_eq!(keys(QueryConfig { sql: "SELECT 1".to_owned(), ..config() }), ["query.sql"]);
    }

    #[test]
    fn columns_that_can_not_be_read_are_named() {
        let key = column("key", "TEXT");
        assert_eq!(unfit(&[key.clone(), column("value", "BYTEA"), column("version", "INT8")]), None);
        for (columns, name) in [
            (vec![column("id", "TEXT"), column("value", "BYTEA")], "\"key\""),
            (vec![column("key", "INT8"), column("value", "BYTEA")], "\"key\""),
            (vec![key.clone()], "\"value\""),
            (vec![key.clone(), column("value", "JSONB")], "\"value\""),
            (vec![key.clone(), column("value", "JSON"), column("version", "TIMESTAMPTZ")], "\"version\""),
        ] {
            let problem = unfit(&columns).unwrap();
            assert!(problem.contains(name), "{problem}");
        }
    }
}
