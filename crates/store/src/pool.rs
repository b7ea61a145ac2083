//! Connection pool of a store.

use std::{fmt, sync::Arc, time::Instant};

use sqlx::{
    Any, AnyConnection, AnyPool, AssertSqlSafe, Connection, Executor,
    any::{AnyConnectOptions, AnyPoolOptions},
};
use tokio::time::{sleep, timeout};

use crate::{
    Error, Location, Migrations,
    engine::Engine,
    password::Following,
    retry::{ANSWER, PING, is_starting, retry, within},
};

/// A write transaction: dropped without `commit`, it never happened.
pub type Transaction = sqlx::Transaction<'static, Any>;

/// How many connections a store holds at most.
#[derive(Clone, Copy, Debug)]
pub struct Connections {
    /// To a SQLite file, which is written by one of them at a time.
    pub sqlite: u32,
    /// To a PostgreSQL server.
    pub postgres: u32,
}

/// An open store. Clones share its connections.
#[derive(Clone)]
pub struct Pool {
    connections: AnyPool,
    engine: Engine,
    table: &'static str,
    _password: Option<Arc<Following>>,
}

impl Pool {
    /// Opens a store and brings its tables up to date. A SQLite file is made where it is missing.
    pub async fn open(
        location: &Location,
        connections: Connections,
        migrations: &'static Migrations,
    ) -> Result<Self, Error> {
        sqlx::any::install_default_drivers();
        location.make_file()?;
        let (engine, options) = (location.engine(), location.options()?);
        // A connection outside of the pool: its error is the cause, where the pool's would only say that it waited in vain.
        let mut first = connect(&options, engine).await.map_err(|error| location.refused(error))?;
        migrations.apply(&mut first, engine).await?;
        // It served; whether it ends well changes nothing.
        let _ = timeout(ANSWER, first.close()).await;
        let connections = pool_options(engine, connections).connect_lazy_with(options);
        let password = Following::start(location, connections.clone(), Location::options).map(Arc::new);
        Ok(Self { connections, engine, table: migrations.table, _password: password })
    }

    /// Where a statement runs that needs no transaction.
    pub fn connections(&self) -> &AnyPool {
        &self.connections
    }

    /// Begins a transaction that holds the write lock from its first statement, and waits for others to end. What is read in
    /// it is still true when it commits. `lock` is the statement that takes the lock on PostgreSQL, such as a
    /// `SELECT … FOR UPDATE` of a row that all writers begin with.
    pub async fn begin(&self, lock: &'static str) -> Result<Transaction, Error> {
        retry(|| self.begin_once(lock)).await
    }

    async fn begin_once(&self, lock: &'static str) -> Result<Transaction, sqlx::Error> {
        match self.engine {
            // A plain BEGIN that reads before it writes fails where another writer came in between.
            Engine::Sqlite => self.connections.begin_with("BEGIN IMMEDIATE").await,
            Engine::Postgres => {
                let mut transaction = self.connections.begin().await?;
                transaction.execute(lock).await?;
                Ok(transaction)
            }
        }
    }

    /// Begins a transaction that reads as of one moment, for as long as it takes, and waits for nobody.
    pub async fn snapshot(&self) -> Result<Transaction, Error> {
        let (begin, settings) = self.engine.snapshot();
        let mut transaction = self.connections.begin_with(begin).await?;
        for setting in settings {
            transaction.execute(*setting).await?;
        }
        Ok(transaction)
    }

    /// Asks whether the store answers and its tables are there.
    pub async fn probe(&self) -> Result<(), Error> {
        let count = AssertSqlSafe(format!("SELECT COUNT(*) FROM {}", self.table));
        within(ANSWER, async { Ok(sqlx::query(count).fetch_one(&self.connections).await.map(drop)?) }).await
    }

    /// Closes all connections, so that SQLite's write-ahead log is folded into its file; whatever is asked afterwards fails.
    /// A connection that hangs is left to the end of the process.
    pub async fn close(&self) {
        let _ = timeout(ANSWER, self.connections.close()).await;
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Pool").field("engine", &self.engine).finish_non_exhaustive()
    }
}

fn pool_options(engine: Engine, connections: Connections) -> AnyPoolOptions {
    let most = match engine {
        Engine::Sqlite => connections.sqlite,
        Engine::Postgres => connections.postgres,
    };
    let options = AnyPoolOptions::new().max_connections(most).acquire_timeout(ANSWER);
    let options = options.after_connect(move |connection, _| Box::pin(prepare(connection, engine)));
    // The pool's own test would wait for an answer until the caller gives up.
    let options = options
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(async { Ok(within(PING, connection.ping()).await.is_ok()) }));
    // Two kinds of connections are given up rather than used again: one that never answers, since its server went away
    // without a word, would keep its place until the kernel gives it up, a quarter of an hour later; and one that believes
    // itself in a transaction, which a full disk had SQLite end, would refuse every other one.
    options.after_release(|connection, _| {
        Box::pin(async {
            within(ANSWER, connection.ping()).await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// The first connection. A server that starts, and a file that another process prepares, are waited for.
async fn connect(options: &AnyConnectOptions, engine: Engine) -> Result<AnyConnection, sqlx::Error> {
    let began = Instant::now();
    loop {
        let connecting = async {
            let mut connection = AnyConnection::connect_with(options).await?;
            prepare(&mut connection, engine).await?;
            Ok(connection)
        };
        match within(ANSWER, connecting).await {
            Err(error) if is_starting(&error) && began.elapsed() < ANSWER => sleep(PING / 10).await,
            connected => return connected,
        }
    }
}

async fn prepare(connection: &mut AnyConnection, engine: Engine) -> Result<(), sqlx::Error> {
    for setting in engine.settings() {
        connection.execute(*setting).await?;
    }
    Ok(())
}
