//! What a reader asks of the database.

use std::time::Duration;

use accord_store::{ANSWER, StoreUrl, within};
use serde::Serialize;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection, Executor, Row};

use super::change::Change;
use super::config::OutboxConfig;
use super::cursor::Snapshot;
use super::install::{TRIGGERS, function, marker, name, text};

/// Rows that are read at once.
pub(super) const READ: usize = 500;

/// Rows that are deleted at once.
const DELETED: i64 = 5_000;

/// A statement that takes longer is ended.
const SETTINGS: &str =
    "SET statement_timeout = '5s'; SET lock_timeout = '2s'; SET idle_in_transaction_session_timeout = '10s'";

/// What the timeline is called where the server does not tell it.
const UNKNOWN: &str = "unknown";

/// A connection to the database of an outbox.
pub(crate) struct Database {
    connection: PgConnection,
    schema: String,
}

/// What is stored of a cursor.
#[derive(Clone, Debug)]
pub(super) struct StoredCursor {
    pub number: i64,
    pub flush_after: Option<i64>,
    /// Of the server that was read; empty before the first reader.
    pub timeline: String,
    pub max_rows: i64,
    /// The lowest floor that writers may have gone by whose rows were not looked at.
    pub floor: i64,
}

/// What was read.
#[derive(Debug)]
pub(super) struct Batch {
    pub snapshot: Snapshot,
    /// The newest number that was taken.
    pub head: i64,
    pub changes: Vec<Change>,
}

/// How far an outbox was read.
#[derive(Debug, Serialize)]
pub(crate) struct Reading {
    /// The number up to which it was read, and the newest that was taken.
    pub(crate) read: i64,
    pub(crate) written: i64,
    pub(crate) max_rows: i64,
    /// Who reads it, if anybody does.
    pub(crate) reader: Option<String>,
    /// Seconds since everything was read.
    pub(crate) read_ago_s: f64,
}

impl Database {
    pub(crate) async fn connect(url: &StoreUrl, schema: &str) -> Result<Self, sqlx::Error> {
        let connecting = async {
            let mut connection = PgConnection::connect(&url.connect_url()?).await?;
            connection.execute(SETTINGS).await?;
            Ok(Self { connection, schema: name(schema) })
        };
        Box::pin(within(ANSWER, connecting)).await
    }

    async fn bounded<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, sqlx::Error> {
        within(ANSWER * 4, work).await
    }

    fn sql(&self, sql: &str) -> AssertSqlSafe<String> {
        AssertSqlSafe(sql.replace("SCHEMA", &self.schema))
    }

    /// Takes or keeps the right to read for this time, where nobody else has it.
    pub(super) async fn hold(&mut self, holder: &str, time: Duration) -> Result<Option<StoredCursor>, sqlx::Error> {
        let sql = self.sql(
            "UPDATE SCHEMA.accord_outbox_cursor SET holder = $1, held_until = clock_timestamp() + $2 * interval '1 second'
            WHERE holder = $1 OR held_until < clock_timestamp()
            RETURNING number, flush_after, timeline, max_rows, floor",
        );
        let query = sqlx::query(sql).bind(holder.to_owned()).bind(time.as_secs_f64());
        let row = Self::bounded(query.fetch_optional(&mut self.connection)).await?;
        row.map(|row| {
            let (number, flush_after) = (row.try_get(0)?, row.try_get(1)?);
            let (timeline, max_rows, floor) = (row.try_get(2)?, row.try_get(3)?, row.try_get(4)?);
            Ok(StoredCursor { number, flush_after, timeline, max_rows, floor })
        })
        .transpose()
    }

    /// Seconds since which everything that had been committed is known to have been read, by whichever reader.
    pub(super) async fn unread_for(&mut self) -> Result<f64, sqlx::Error> {
        let sql =
            self.sql("SELECT EXTRACT(EPOCH FROM clock_timestamp() - read_at)::float8 FROM SCHEMA.accord_outbox_cursor");
        Self::bounded(sqlx::query(sql).fetch_one(&mut self.connection)).await?.try_get(0)
    }

    /// Which history of the database this is: a server that took over may have lost what another had committed.
    pub(super) async fn timeline(&mut self) -> Result<String, sqlx::Error> {
        let query = sqlx::query("SELECT substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8)");
        match Self::bounded(query.fetch_one(&mut self.connection)).await {
            Ok(row) => row.try_get(0),
            Err(sqlx::Error::Database(_)) => Ok(UNKNOWN.to_owned()),
            Err(error) => Err(error),
        }
    }

    /// Rows above a number, and these below it.
    pub(super) async fn read(&mut self, above: i64, missing: Vec<i64>) -> Result<Batch, sqlx::Error> {
        let sql = self.sql(
            "WITH s AS (SELECT pg_current_snapshot() AS it) SELECT pg_snapshot_xmin(s.it)::text::bigint AS xmin,
                pg_current_xact_id()::text::bigint AS next,
                (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM SCHEMA.accord_outbox_numbers) AS head,
                o.number, o.flush, o.tags::text AS tags, o.keys::text AS keys,
                EXTRACT(EPOCH FROM clock_timestamp() - o.written)::float8 AS age
            FROM s LEFT JOIN LATERAL (
                (SELECT * FROM SCHEMA.accord_outbox WHERE number > $1 ORDER BY number LIMIT $3)
                UNION ALL (SELECT * FROM SCHEMA.accord_outbox WHERE number = ANY($2) ORDER BY number LIMIT $3)
            ) AS o ON true ORDER BY o.number",
        );
        let most = i64::try_from(READ).unwrap_or(i64::MAX);
        let query = sqlx::query(sql).bind(above).bind(missing).bind(most);
        let rows = Self::bounded(query.fetch_all(&mut self.connection)).await?;
        let first: &PgRow = rows.first().ok_or(sqlx::Error::RowNotFound)?;
        let snapshot = Snapshot { xmin: first.try_get("xmin")?, next: first.try_get("next")? };
        let head = first.try_get("head")?;
        let changes = rows.iter().filter_map(|row| Change::read(row).transpose()).collect::<Result<_, _>>()?;
        Ok(Batch { snapshot, head, changes })
    }

    /// Lets writers go on behind this number, which every transaction sees at once; whether the right to read was still held. It is
    /// held while this is done, and the floor never sinks: a reader that has lost it takes no room away that another gave.
    pub(super) async fn set_floor(&mut self, holder: &str, number: i64) -> Result<bool, sqlx::Error> {
        let sql = self.sql(
            "WITH held AS (SELECT 1 FROM SCHEMA.accord_outbox_cursor WHERE holder = $1 FOR UPDATE)
            SELECT setval($2::text::regclass, greatest(f.last_value, $3)) FROM held, SCHEMA.accord_outbox_floor AS f",
        );
        let floor = format!("{}.accord_outbox_floor", self.schema);
        let query = sqlx::query(sql).bind(holder.to_owned()).bind(floor).bind(number);
        Ok(Self::bounded(query.fetch_optional(&mut self.connection)).await?.is_some())
    }

    /// Stores a cursor, and keeps the right to read for this time; whether it was still held. Where everything was read, how long
    /// ago in seconds.
    pub(super) async fn store(
        &mut self,
        (holder, time): (&str, Duration),
        (number, flush_after): (i64, Option<i64>),
        (timeline, floor): (&str, i64),
        read_ago: Option<f64>,
    ) -> Result<bool, sqlx::Error> {
        let sql = self.sql(
            "UPDATE SCHEMA.accord_outbox_cursor SET number = $2, flush_after = $3, timeline = $4,
                held_until = clock_timestamp() + $5 * interval '1 second',
                read_at = coalesce(clock_timestamp() - $6 * interval '1 second', read_at), floor = $7
            WHERE holder = $1",
        );
        let query = sqlx::query(sql).bind(holder.to_owned()).bind(number).bind(flush_after).bind(timeline.to_owned());
        let query = query.bind(time.as_secs_f64()).bind(read_ago).bind(floor);
        Ok(Self::bounded(query.execute(&mut self.connection)).await?.rows_affected() > 0)
    }

    /// Deletes some of the rows up to a number; how many.
    pub(super) async fn delete(&mut self, number: i64) -> Result<u64, sqlx::Error> {
        let sql = self.sql(
            "DELETE FROM SCHEMA.accord_outbox WHERE number IN
                (SELECT number FROM SCHEMA.accord_outbox WHERE number <= $1 ORDER BY number LIMIT $2)",
        );
        let query = sqlx::query(sql).bind(number).bind(DELETED);
        Ok(Self::bounded(query.execute(&mut self.connection)).await?.rows_affected())
    }

    /// Gives the right to read back.
    pub(super) async fn release(&mut self, holder: &str) -> Result<(), sqlx::Error> {
        let sql = self.sql("UPDATE SCHEMA.accord_outbox_cursor SET held_until = '-infinity' WHERE holder = $1");
        Self::bounded(sqlx::query(sql).bind(holder.to_owned()).execute(&mut self.connection)).await.map(drop)
    }

    /// Runs these statements as one transaction, without the bounds of a reader.
    pub(crate) async fn run(&mut self, statements: &[String], each: impl Fn()) -> Result<(), sqlx::Error> {
        self.connection.execute("SET statement_timeout = '5min'").await?;
        let mut transaction = self.connection.begin().await?;
        for statement in statements {
            transaction.execute(AssertSqlSafe(statement.clone())).await?;
            each();
        }
        transaction.commit().await
    }

    /// Who this connection is.
    pub(crate) async fn user(&mut self) -> Result<String, sqlx::Error> {
        Self::bounded(sqlx::query("SELECT current_user::text").fetch_one(&mut self.connection)).await?.try_get(0)
    }

    /// How far the outbox was read.
    pub(crate) async fn status(&mut self) -> Result<Reading, sqlx::Error> {
        let sql = self.sql(
            "SELECT c.number, (SELECT CASE WHEN is_called THEN last_value ELSE 0 END FROM SCHEMA.accord_outbox_numbers) AS head,
                c.max_rows, CASE WHEN c.held_until > clock_timestamp() THEN c.holder ELSE '' END AS holder,
                EXTRACT(EPOCH FROM clock_timestamp() - c.read_at)::float8 AS lag FROM SCHEMA.accord_outbox_cursor AS c",
        );
        let row = Self::bounded(sqlx::query(sql).fetch_one(&mut self.connection)).await?;
        let holder: String = row.try_get(3)?;
        Ok(Reading {
            read: row.try_get(0)?,
            written: row.try_get(1)?,
            max_rows: row.try_get(2)?,
            reader: Some(holder).filter(|holder| !holder.is_empty()),
            read_ago_s: row.try_get(4)?,
        })
    }

    /// What is missing of what this configuration wants, in the words of an operator.
    pub(crate) async fn missing(&mut self, outbox: &OutboxConfig) -> Result<Vec<String>, sqlx::Error> {
        let table = text(&format!("{}.accord_outbox_cursor", self.schema));
        let sql = format!("SELECT to_regclass({table}) IS NOT NULL");
        let query = sqlx::query(AssertSqlSafe(sql));
        if !Self::bounded(query.fetch_one(&mut self.connection)).await?.try_get::<bool, _>(0)? {
            return Ok(vec![format!("there is no accord_outbox in the schema {}", outbox.schema)]);
        }
        let mut missing = Vec::new();
        for table in &outbox.table {
            missing.extend(self.missing_of(outbox, table).await?);
        }
        Ok(missing)
    }

    async fn missing_of(
        &mut self,
        outbox: &OutboxConfig,
        table: &super::TableConfig,
    ) -> Result<Vec<String>, sqlx::Error> {
        let (schema, table_name) = table.parts().unwrap_or_default();
        let of = text(&format!("{}.{}", name(schema), name(table_name)));
        // Of the table and each partition: the triggers whose function is the one of this configuration.
        let sql = format!(
            "SELECT t.oid::regclass::text, count(g.oid) FROM pg_class AS t
            LEFT JOIN (pg_trigger AS g JOIN pg_proc AS p ON p.oid = g.tgfoid AND p.proname = {function}
                AND strpos(p.prosrc, {marker}) > 0) ON g.tgrelid = t.oid AND g.tgenabled = 'A'
            WHERE t.oid IN (SELECT to_regclass({of}) UNION SELECT relid FROM pg_partition_tree(to_regclass({of}))) GROUP BY 1",
            function = text(&function(table)),
            marker = text(&marker(outbox, table)),
        );
        let query = sqlx::query(AssertSqlSafe(sql));
        let rows = Self::bounded(query.fetch_all(&mut self.connection)).await?;
        if rows.is_empty() {
            return Ok(vec![format!("there is no table {}", table.name)]);
        }
        let mut missing = Vec::new();
        for row in rows {
            let (of, count): (String, i64) = (row.try_get(0)?, row.try_get(1)?);
            if count != i64::try_from(TRIGGERS.len()).unwrap_or(i64::MAX) {
                missing.push(format!("{of} lacks triggers of this configuration"));
            }
        }
        Ok(missing)
    }
}
