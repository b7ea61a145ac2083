//! Read-only queries on a PostgreSQL server: of tables that are others', by a role that should have no more than the right to
//! read them.

use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, TryStreamExt};
use sqlx::postgres::{PgArguments, PgPoolOptions, PgRow};
use sqlx::query::Query;
use sqlx::{AssertSqlSafe, Column as _, Connection, Executor, PgPool, Postgres, Row, SqlSafeStr, Statement, TypeInfo};
use tokio::time::timeout;

use crate::{
    Error, Location,
    password::Following,
    retry::{ANSWER, PING, within},
};

/// Connections to read from. Clones share them.
#[derive(Clone)]
pub struct Reader {
    connections: PgPool,
    _password: Option<Arc<Following>>,
}

/// A column of what a query answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its type, such as `TEXT`.
    pub kind: String,
}

impl Reader {
    /// At most so many connections; none is made yet.
    pub fn new(location: &Location, connections: u32) -> Result<Self, Error> {
        let options = PgPoolOptions::new().max_connections(connections).acquire_timeout(ANSWER);
        // As for what is written: the pool's own test has no bound, and what does not answer never serves again.
        let options = options
            .test_before_acquire(false)
            .before_acquire(|connection, _| Box::pin(async { Ok(within(PING, connection.ping()).await.is_ok()) }))
            .after_release(|connection, _| Box::pin(async { within(ANSWER, connection.ping()).await.map(|()| true) }));
        let connections = options.connect_lazy_with(location.server_options()?);
        let password = Following::start(location, connections.clone(), Location::server_options);
        Ok(Self { connections, _password: password.map(Arc::new) })
    }

    /// What a query answers, as the server says without running it.
    pub async fn describe(&self, sql: &str) -> Result<Vec<Column>, Error> {
        within(ANSWER, async {
            let mut connection = self.connections.acquire().await?;
            let statement = connection.prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await?;
            let column = |column: &sqlx::postgres::PgColumn| Column {
                name: column.name().to_owned(),
                kind: column.type_info().name().to_owned(),
            };
            Ok(statement.columns().iter().map(column).collect())
        })
        .await
    }

    /// The rows of a query within this time, after which the server ends it as well, and of no more bytes than `most` together. It
    /// can't change anything.
    pub async fn rows(
        &self,
        query: Query<'static, Postgres, PgArguments>,
        time: Duration,
        most: usize,
    ) -> Result<Vec<PgRow>, Error> {
        let asked = Instant::now();
        // A server that gives no connection is not there, however long that takes to show: that is no query that was too slow.
        let connection = timeout(time, self.connections.acquire()).await;
        let mut connection = connection.unwrap_or(Err(sqlx::Error::PoolTimedOut))?;
        let time = time.saturating_sub(asked.elapsed());
        // In one message with the BEGIN. 0 would be no bound.
        let millis = time.as_millis().max(1);
        let begin = format!("BEGIN READ ONLY; SET LOCAL statement_timeout = {millis}");
        let rows = within(time, async {
            let mut transaction = connection.begin_with(AssertSqlSafe(begin)).await?;
            // Dropped, it is rolled back: nothing has to be kept of it, and nobody waits for that.
            gather(query.fetch(&mut *transaction), most).await
        })
        .await;
        if matches!(rows, Err(Error::TooLarge(_))) {
            // What is on its way yet may be without an end: nobody reads it.
            connection.close_on_drop();
        }
        rows
    }

    /// Closes all connections; whatever is asked afterwards fails.
    pub async fn close(&self) {
        let _ = timeout(ANSWER, self.connections.close()).await;
    }
}

/// Rows, for as long as they are of no more bytes than this.
async fn gather(rows: impl Stream<Item = Result<PgRow, sqlx::Error>>, most: usize) -> Result<Vec<PgRow>, Error> {
    let mut rows = pin!(rows);
    let (mut gathered, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await? {
        bytes += size_of::<PgRow>() + size(&row)?;
        if bytes > most {
            return Err(Error::TooLarge(most));
        }
        gathered.push(row);
    }
    Ok(gathered)
}

fn size(row: &PgRow) -> Result<usize, sqlx::Error> {
    // A NULL has none.
    (0..row.len()).map(|index| Ok(row.try_get_raw(index)?.as_bytes().map_or(0, <[u8]>::len))).sum()
}

impl fmt::Debug for Reader {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reader").finish_non_exhaustive()
    }
}
