//! Schema migrations.

use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection, Executor, Row, Transaction};

use crate::{
    Error,
    engine::Engine,
    retry::{Attempts, MIGRATION, within},
};

/// The schema of one user of a database, as the steps that lead to it.
#[derive(Debug)]
pub struct Migrations {
    /// The table that counts the steps which were applied. Users of one database count apart from each other.
    pub table: &'static str,
    /// The name of the lock under which PostgreSQL's tables change; each user has its own.
    pub lock: i64,
    /// The statements of each step. Each step is applied once, in order, whole or not at all. A released step never
    /// changes; another one is added, and leaves the tables such that the build before can go on with them.
    /// `BINARY_TYPE` stands for the type of a column of bytes.
    pub steps: &'static [&'static [&'static str]],
}

impl Migrations {
    /// Applies what is missing. Replicas that start together wait for each other.
    pub(crate) async fn apply(&self, connection: &mut AnyConnection, engine: Engine) -> Result<(), Error> {
        for setting in engine.migration_settings() {
            connection.execute(*setting).await?;
        }
        // What speaks PostgreSQL's protocol without having its advisory locks answers with a conflict instead.
        let mut attempts = Attempts::default();
        within(MIGRATION, async {
            loop {
                match self.apply_under_lock(connection, engine).await {
                    Err(error) if attempts.again(error.engine()).await => {}
                    applied => return applied,
                }
            }
        })
        .await
    }

    async fn apply_under_lock(&self, connection: &mut AnyConnection, engine: Engine) -> Result<(), Error> {
        let mut transaction = self.lock(connection, engine).await?;
        let table = format!("CREATE TABLE IF NOT EXISTS {} (done BIGINT PRIMARY KEY)", self.table);
        transaction.execute(AssertSqlSafe(table)).await?;
        let done = format!("SELECT COUNT(*) FROM {}", self.table);
        let done = sqlx::query(AssertSqlSafe(done)).fetch_one(&mut *transaction).await?.try_get::<i64, _>(0)?;
        for (index, step) in (0..).zip(self.steps).filter(|(index, _)| *index >= done) {
            self.apply_step(&mut transaction, engine, index, step).await.map_err(|error| Error::Migration {
                table: self.table,
                step: usize::try_from(index + 1).unwrap_or_default(),
                error,
            })?;
        }
        Ok(transaction.commit().await?)
    }

    async fn apply_step(
        &self,
        transaction: &mut Transaction<'_, Any>,
        engine: Engine,
        index: i64,
        step: &[&str],
    ) -> Result<(), sqlx::Error> {
        for statement in step {
            let statement = statement.replace("BINARY_TYPE", engine.binary_type());
            transaction.execute(AssertSqlSafe(statement)).await?;
        }
        let count = format!("INSERT INTO {} (done) VALUES ($1)", self.table);
        sqlx::query(AssertSqlSafe(count)).bind(index).execute(&mut **transaction).await?;
        Ok(())
    }

    /// Two who find a table missing at the same time would both make it, and one of them fail.
    async fn lock<'a>(
        &self,
        connection: &'a mut AnyConnection,
        engine: Engine,
    ) -> Result<Transaction<'a, Any>, sqlx::Error> {
        match engine {
            Engine::Sqlite => connection.begin_with("BEGIN IMMEDIATE").await,
            Engine::Postgres => {
                let mut transaction = connection.begin().await?;
                let lock = format!("SELECT pg_advisory_xact_lock({})", self.lock);
                transaction.execute(AssertSqlSafe(lock)).await?;
                Ok(transaction)
            }
        }
    }
}
